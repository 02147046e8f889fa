"""Simulated brain tumours: volumes, groups, what each channel shows, and the files."""

import dataclasses

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.prepare import load_case
from jaxal.data.simulated import brain, tumours
from jaxal.data.simulated.tumours import ENHANCING, NECROTIC, OEDEMA, TumoursConfig
from jaxal.errors import UserError

CONFIG = TumoursConfig(cases=10, spacing_mm=2.5)
QUIET = dataclasses.replace(CONFIG, noise=0.0, shading=0.0)
T1, T1CE, T2, FLAIR = range(4)


def volume(patient, value, spacing_mm=2.5):
    return np.count_nonzero(patient.label == value) * spacing_mm**3


def of_group(small, config=QUIET, count=4):
    config = dataclasses.replace(config, small_share=float(small))
    return [tumours.simulate(config, index) for index in range(count)]


@pytest.fixture(scope="module")
def both():
    """The same patients once with a small and once with a large enhancing tumour, without noise: everything else that is drawn is the same."""
    return of_group(True), of_group(False)


def test_groups_follow_each_other_as_evenly_as_their_shares_allow():
    small = [tumours.is_small(CONFIG, index) for index in range(100)]
    assert sum(small) == 15
    assert {sum(small[start : start + 20]) for start in range(80)} == {3}
    assert not any(tumours.is_small(dataclasses.replace(CONFIG, small_share=0.0), index) for index in range(50))


@pytest.mark.parametrize("edge_mm3", [2000.0, 7000.0])
def test_the_enhancing_volume_decides_the_group(edge_mm3):
    config = dataclasses.replace(QUIET, edge_mm3=edge_mm3)
    for small, (low, high) in {True: (1 / 6, 7 / 8), False: (9 / 8, 4)}.items():
        volumes = [volume(patient, ENHANCING) for patient in of_group(small, config, 2)]
        assert all(low * edge_mm3 - 50 < mm3 < min(high * edge_mm3, 18_000) + 150 for mm3 in volumes)  # to some voxels of 16 mm³
        assert all((mm3 < edge_mm3) == small for mm3 in volumes)


def test_an_edge_that_the_box_cannot_hold_is_refused():
    for edge_mm3 in (900.0, 11_000.0):
        with pytest.raises(UserError, match=f"edge_mm3 is {edge_mm3:g}; expected 1000 to 10000 mm³"):
            TumoursConfig(cases=1, edge_mm3=edge_mm3)


def test_a_patient_depends_on_the_seed_and_its_number_alone(both):
    again = tumours.simulate(dataclasses.replace(CONFIG, cases=500), 3)
    first = tumours.simulate(CONFIG, 3)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.label, first.label)
    other = tumours.simulate(dataclasses.replace(CONFIG, seed=1), 3)
    assert (other.label != first.label).any()


def test_a_finer_grid_shows_the_same_tumour(both):
    fine = tumours.simulate(dataclasses.replace(QUIET, spacing_mm=2.0, small_share=0.0), 0)
    coarse = both[1][0]
    assert fine.label.shape == (40, 40, 32) and coarse.label.shape == (32, 32, 26)
    assert volume(fine, ENHANCING, 2.0) == pytest.approx(volume(coarse, ENHANCING), rel=0.02)
    places = [(np.array(ndimage.center_of_mass(p.label > 0)) + 0.5) * mm for p, mm in ((fine, 2.0), (coarse, 2.5))]
    np.testing.assert_allclose(*places, atol=1.0)


def test_oedema_surrounds_a_shell_that_surrounds_necrosis(both):
    for patient in both[1]:
        assert set(np.unique(patient.label)) == {0, NECROTIC, OEDEMA, ENHANCING}
        core = np.isin(patient.label, (NECROTIC, ENHANCING))
        assert ndimage.label(core)[1] == 1
        rim = ndimage.binary_dilation(patient.label == NECROTIC) & (patient.label != NECROTIC)
        assert (patient.label[rim] == ENHANCING).mean() > 0.9
        tumour = patient.label > 0
        around = ndimage.binary_dilation(core) & ~core
        assert (patient.label[around] == OEDEMA).mean() > 0.5
        assert np.count_nonzero(tumour) > 1.5 * np.count_nonzero(core)
        assert ndimage.label(tumour, np.ones((3, 3, 3)))[1] == 1


def seen(patient, channel, value):
    return patient.images[channel][patient.label == value].mean()


def test_channels_have_the_contrasts_of_their_sequences(both):
    for patient in both[1]:
        healthy = (patient.label == 0) & (patient.images[T1] > 0)
        t1, t2, flair = (patient.images[channel][healthy] for channel in (T1, T2, FLAIR))
        fluid, white = t1 < np.quantile(t1, 0.02), t1 > np.quantile(t1, 0.8)
        assert t2[fluid].mean() > 1.5 * t2[white].mean()
        assert flair[fluid].mean() < 0.7 * flair[white].mean()
        for channel in (T2, FLAIR):
            assert seen(patient, channel, OEDEMA) > 1.3 * np.median(patient.images[channel][healthy])
        assert seen(patient, T1, OEDEMA) < 0.85 * np.median(t1)
        assert seen(patient, T1, NECROTIC) < 0.8 * seen(patient, T1, OEDEMA)


def uptake(patient):
    """How much brighter than oedema the shell is in T1ce than it is in T1, where both come from one scanner without noise."""
    return seen(patient, T1CE, ENHANCING) / seen(patient, T1CE, OEDEMA) - seen(patient, T1, ENHANCING) / seen(patient, T1, OEDEMA)


def thickness(patient):
    """Of the shell, in mm: twice its volume by its surface."""
    shell = np.pad(patient.label == ENHANCING, 1)
    surface = sum(np.count_nonzero(np.diff(shell.astype(int), axis=axis)) for axis in range(3)) * 2.5**2
    return 2 * volume(patient, ENHANCING) / surface


def test_contrast_agent_shows_the_shell_and_less_of_it_in_small_tumours(both):
    for small, large in zip(*both, strict=True):
        assert 0.1 < uptake(small) < 0.8 * uptake(large)
        assert thickness(small) < thickness(large)


def test_outside_the_brain_everything_is_zero_and_nothing_within(both):
    outside = [(patient.images == 0) for patient in both[1]]
    assert sum(np.count_nonzero(zeros) for zeros in outside) > 0
    for patient, zeros in zip(both[1], outside, strict=True):
        assert (zeros == zeros[0]).all()
        assert (patient.label[zeros[0]] == 0).all()
        assert patient.images.dtype == np.int16 and patient.label.dtype == np.uint8


def test_within_the_brain_a_scanner_that_sees_nothing_does_not_make_background(monkeypatch):
    monkeypatch.setattr(brain, "scan", lambda clean, shading, gain, noise: np.zeros_like(clean))
    images = tumours.simulate(dataclasses.replace(QUIET, spacing_mm=4.0), 0).images
    assert set(np.unique(images)) == {0, 1} and (images == 1).mean() > 0.9


def test_smooth_fields_are_cubic_splines_between_knots():
    rng = np.random.default_rng(0)
    field = tumours.smooth_field(rng, (32, 32, 26), 16.0)
    knots = np.random.default_rng(0).standard_normal((5, 5, 4))
    expected = ndimage.zoom(knots, (32 / 5, 32 / 5, 26 / 4), order=3, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(field, (expected - expected.mean()) / expected.std(), atol=1e-9)


def test_of_parts_that_overlap_the_first_one_counts():
    shares = np.array([[0.6, 0.4, 0.4, 0.4], [0.6, 0.6, 0.4, 0.4], [0.6, 0.6, 0.6, 0.5]])
    assert tumours.Parts(*shares).label.tolist() == [ENHANCING, NECROTIC, OEDEMA, 0]


def test_patients_are_written_as_brats_2019_and_grouped_by_their_enhancing_volume(tmp_path):
    config, done = TumoursConfig(cases=7, spacing_mm=4.0, small_share=0.3), []
    tumours.write_tumours(config, tmp_path / "data", lambda count, total: done.append((count, total)))
    assert done == [(count, 7) for count in range(1, 8)]
    first = tmp_path / "data" / "BraTS19_SIM_0001_1"
    assert sorted(path.name for path in first.iterdir()) == sorted(
        f"BraTS19_SIM_0001_1_{part}.nii.gz" for part in ("flair", "t1", "t1ce", "t2", "seg")
    )
    image, seg = (nibabel.load(first / f"{first.name}_{part}.nii.gz") for part in ("t1ce", "seg"))
    assert (image.get_data_dtype(), seg.get_data_dtype()) == (np.int16, np.uint8)
    np.testing.assert_array_equal(image.affine, [[4, 0, 0, -44], [0, 4, 0, -30], [0, 0, 4, -18], [0, 0, 0, 1]])
    ready = make_ready(
        tmp_path / "data", tmp_path / "prepared", FolderConfig("volume:enhancing", bins=(config.edge_mm3,), levels=2)
    )
    groups = [case.group for case in ready.dataset.cases]
    assert groups == ["<4000" if tumours.is_small(config, index) else ">=4000" for index in range(7)]
    patient = tumours.simulate(config, 4)
    np.testing.assert_array_equal(image.shape, patient.label.shape)
    np.testing.assert_array_equal(load_case(ready.dataset.cases[4], ready.dataset).label == 3, patient.label == ENHANCING)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "prepared"]
    np.testing.assert_array_equal(image.affine[:3, 3], brain.BOX_ORIGIN_MM)


def test_stopped_patients_leave_nothing(tmp_path):
    def stop(count, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tumours.write_tumours(dataclasses.replace(CONFIG, spacing_mm=4.0), tmp_path / "data", stop)
    assert list(tmp_path.iterdir()) == []
