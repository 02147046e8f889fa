import dataclasses

import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from scipy import ndimage

from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.prepare import load_case
from jaxal.data.simulated import brain
from jaxal.data.simulated.structures import STRUCTURES, caudate_label
from jaxal.data.simulated.velocities import thinning_field

CONFIG = brain.BrainConfig(cases=6, spacing_mm=4.0, bias="strong")


@pytest.fixture(scope="module")
def subjects():
    return [brain.simulate(CONFIG, index) for index in range(6)]


def centre(label):
    return np.array(ndimage.center_of_mass(label)) * CONFIG.spacing_mm


def test_the_label_is_one_left_caudate_of_plausible_size():
    template = brain.load_template()
    volume_cm3 = template.label.sum() / 1000
    assert 3.5 < volume_cm3 < 6.0
    _, count = ndimage.label(template.label)
    assert count == 1
    x, y, z = np.array(ndimage.center_of_mass(template.label)) + template.origin_mm
    assert -20 < x < -8
    assert 0 < y < 20
    assert 2 < z < 18
    inside = template.image[template.label > 0].mean()
    shell = ndimage.binary_dilation(template.label > 0, iterations=3) & (template.label == 0)
    assert template.image[shell].std() > 0
    assert 0.4 < inside < 0.9  # grey matter, darker than white matter at 1


def test_a_map_without_a_caudate_is_refused():
    with pytest.raises(ValueError, match="MNI152"):
        caudate_label(
            np.zeros((91, 109, 91)), np.diag([2.0, 2.0, 2.0, 1.0]) + np.array([[0, 0, 0, v] for v in (-90, -126, -72, 0)])
        )


def test_scaling_and_squaring_of_a_linear_field_is_the_matrix_exponential():
    grid = np.stack(np.meshgrid(*(np.arange(17.0),) * 3, indexing="ij"))
    offset = grid - 8.0
    velocity = jnp.asarray(np.stack([-0.2 * offset[1], 0.2 * offset[0], np.zeros_like(offset[0])]), jnp.float32)  # a rotation
    displacement = np.asarray(brain.integrate(velocity))
    turned = np.stack(
        [np.cos(0.2) * offset[0] - np.sin(0.2) * offset[1], np.sin(0.2) * offset[0] + np.cos(0.2) * offset[1], offset[2]]
    )
    middle = (slice(None), *(slice(5, 12),) * 3)
    np.testing.assert_allclose((offset + displacement)[middle], turned[middle], atol=5e-3)


def test_a_field_and_its_negative_undo_each_other():
    fields = brain._fields()
    velocity = jnp.asarray(1.5 * fields.subject[0] / 4.0)
    forth, back = brain.integrate(velocity), brain.integrate(-velocity)
    there = brain.grid(velocity.shape[1:]) + forth
    again = there + brain.sample(back, there)
    middle = (slice(None), *(slice(6, -6),) * 3)
    np.testing.assert_allclose(np.asarray(again)[middle], np.asarray(brain.grid(velocity.shape[1:]))[middle], atol=0.02)


def test_jacobian_of_a_linear_map():
    grid = np.stack(np.meshgrid(*(np.arange(5.0),) * 3, indexing="ij"))
    matrix = np.array([[1.0, 0.2, 0.0], [0.0, 2.0, 0.0], [0.1, 0.0, 0.5]])
    points = jnp.asarray(np.einsum("ij,jxyz->ixyz", matrix, grid), jnp.float32)
    np.testing.assert_allclose(np.asarray(brain.jacobian_determinant(points)), np.linalg.det(matrix), rtol=1e-5)


def test_the_bias_field_moves_the_caudate_as_one_and_keeps_volume():
    fields = brain._fields()
    step = int(brain.FIELD_SPACING_MM / brain.TEMPLATE_SPACING_MM)
    inside = brain.load_template().label[::step, ::step, ::step] > 0.5
    moved = fields.bias[:, inside]
    direction = np.array(STRUCTURES["left_caudate"].direction)
    direction = direction / np.linalg.norm(direction)
    assert (direction @ moved).mean() > 0.7
    divergence = sum(np.gradient(fields.bias[axis], brain.FIELD_SPACING_MM, axis=axis) for axis in range(3))
    assert np.abs(divergence[1:-1, 1:-1, 1:-1]).max() < 1e-4  # per mm; the field itself is about one


def test_subject_fields_are_orthogonal_and_of_unit_size():
    basis = brain._fields().subject.reshape(10, -1).astype(np.float64)
    gram = basis @ basis.T / (basis.shape[1] / 3)
    np.testing.assert_allclose(gram, np.eye(10), atol=1e-5)


def test_maps_do_not_fold(subjects):
    assert min(subject.jacobian_min for subject in subjects) > 0.1


def test_only_group_b_is_biased_and_everything_else_is_shared(subjects):
    for index, subject in enumerate(subjects):
        unbiased = brain.simulate(dataclasses.replace(CONFIG, bias="none"), index)
        if index % 2 == 0:
            assert subject.bias_coefficient == 0.0
            np.testing.assert_array_equal(subject.image, unbiased.image)
            np.testing.assert_array_equal(subject.label, unbiased.label)
        else:
            weak = brain.simulate(dataclasses.replace(CONFIG, bias="weak"), index)
            assert subject.bias_coefficient == pytest.approx(weak.bias_coefficient + 1.0, abs=1e-5)
            shift = centre(subject.label) - centre(unbiased.label)
            direction = np.array(STRUCTURES["left_caudate"].direction)
            direction = direction / np.linalg.norm(direction)
            velocity = CONFIG.bias_mm * subject.bias_coefficient
            assert 0.4 * velocity - 2 < shift @ direction < velocity + 2  # the field is at rest, so what leaves it slows down


def test_bias_keeps_the_volume(subjects):
    for index in (1, 3, 5):
        unbiased = brain.simulate(dataclasses.replace(CONFIG, bias="none"), index)
        assert np.count_nonzero(subjects[index].label) == pytest.approx(np.count_nonzero(unbiased.label), rel=0.2)


@pytest.mark.parametrize("bias", ["thin_strong", "thin_weak"])
def test_thinning_takes_volume_from_group_b_alone_and_never_folds(bias):
    """The border moves in from all sides, so volume goes and the middle stays."""
    config, plain = (dataclasses.replace(CONFIG, bias=kind, spacing_mm=2.0) for kind in (bias, "none"))
    for index in (0, 1, 3):
        subject, unbiased = brain.simulate(config, index), brain.simulate(plain, index)
        assert subject.jacobian_min > 0.3
        volumes = np.count_nonzero(subject.label), np.count_nonzero(unbiased.label)
        if index == 0:
            np.testing.assert_array_equal(subject.label, unbiased.label)
            continue
        assert (volumes[0] < volumes[1]) == (subject.bias_coefficient > 0)
        shift = np.array(ndimage.center_of_mass(subject.label)) - np.array(ndimage.center_of_mass(unbiased.label))
        assert np.linalg.norm(shift) * 2.0 < 1.5  # millimetres


def test_a_thinning_field_points_inwards_and_is_at_most_one_long():
    ball = np.linalg.norm(np.stack(np.meshgrid(*(np.arange(-12, 13),) * 3, indexing="ij")), axis=0) < 6
    field = thinning_field(ball.astype(np.float32))
    assert np.linalg.norm(field, axis=0).max() == pytest.approx(1.0)
    assert field[0, 6, 12, 12] > 0.9 and field[0, 18, 12, 12] < -0.9 and abs(field[0, 12, 12, 12]) < 1e-6


def test_settings_of_displaced_cohorts_are_written_as_before():
    assert "thin_mm" not in CONFIG.described and "thin_mm" in dataclasses.replace(CONFIG, bias="thin_weak").described


def test_the_right_putamen_is_one_body_of_plausible_size_on_the_other_side():
    template = brain.load_template("right_putamen")
    assert 3.5 < template.label.sum() / 1000 < 5.0  # cm³
    assert ndimage.label(template.label)[1] == 1
    x, y, z = np.array(ndimage.center_of_mass(template.label)) + template.origin_mm
    assert 22 < x < 30 and -4 < y < 10 and -6 < z < 8
    config = dataclasses.replace(CONFIG, structure="right_putamen", bias="thin_strong", spacing_mm=2.0)
    thin, plain = brain.simulate(config, 1), brain.simulate(dataclasses.replace(config, bias="none"), 1)
    assert thin.jacobian_min > 0.3 and np.count_nonzero(thin.label) < np.count_nonzero(plain.label)
    edge = np.ones(config.shape, bool)
    edge[1:-1, 1:-1, 1:-1] = False
    assert not (plain.label.astype(bool) & edge).any()
    assert config.described["structure"] == "right_putamen" and "structure" not in CONFIG.described


def test_deep_structures_are_classes_that_do_not_overlap():
    template = brain.load_template("deep_structures")
    assert list(STRUCTURES["deep_structures"].parts) == ["left caudate", "left putamen", "left ventricle"]
    assert template.parts.sum(0).max() == 1
    for part, x_mm in zip(template.parts, (-13, -26, -8), strict=True):
        assert 3.5 < part.sum() / 1000 < 5.5  # cm³
        assert ndimage.label(part)[1] == 1
        assert ndimage.center_of_mass(part)[0] + template.origin_mm[0] == pytest.approx(x_mm, abs=2)
    assert template.image[template.parts[2] > 0].max() < 0.5 < template.image[template.parts[1] > 0].min()
    config = dataclasses.replace(CONFIG, structure="deep_structures")
    alone = brain.simulate(dataclasses.replace(config, structure="left_caudate"), 1)
    together = brain.simulate(config, 1)
    np.testing.assert_array_equal(together.image, alone.image)
    assert np.mean((together.label == 1) == alone.label) > 0.999  # where several meet, none need have half of a voxel
    assert set(np.unique(together.label)) == {0, 1, 2, 3} and together.bias_coefficient and together.jacobian_min > 0.3


def test_a_cohort_of_another_structure_says_so(tmp_path):
    brain.write_cohort(dataclasses.replace(CONFIG, cases=2, structure="right_putamen"), tmp_path / "cohort")
    ready = make_ready(tmp_path / "cohort", tmp_path / "prepared", FolderConfig(levels=3))
    assert ready.dataset.classes == ("background", "right putamen")
    origin = nibabel.load(ready.listing.cases[0].images[0]).affine[:3, 3]
    np.testing.assert_array_equal(origin, [-36.0, -30.0, -18.0])


def test_the_label_follows_the_image():
    """Simulated without noise, the caudate's border in the image and in the label coincide: correlate inside against shell."""
    quiet = dataclasses.replace(CONFIG, noise=0.0, shading=0.0, spacing_mm=2.0)
    template = brain.load_template()
    inside_template = template.image[template.label > 0].mean()
    for index in (0, 1, 3):
        subject = brain.simulate(quiet, index)
        gain = np.percentile(subject.image, 99)
        inside = subject.image[subject.label > 0].mean() / gain
        assert inside == pytest.approx(inside_template / np.percentile(template.image, 99), rel=0.08)


def test_a_subject_does_not_depend_on_the_cohort_size(subjects):
    again = brain.simulate(dataclasses.replace(CONFIG, cases=500), 3)
    np.testing.assert_array_equal(again.image, subjects[3].image)
    assert brain.simulate(dataclasses.replace(CONFIG, seed=1), 3).label.tolist() != subjects[3].label.tolist()


def test_a_cohort_is_read_by_the_common_reader_and_by_nibabel(tmp_path, subjects):
    done = []
    brain.write_cohort(CONFIG, tmp_path / "cohort", lambda count, total: done.append((count, total)))
    assert done[-1] == (6, 6)
    ready = make_ready(tmp_path / "cohort", tmp_path / "prepared", FolderConfig(levels=3))
    dataset = ready.dataset
    assert dataset.groups == ("A", "B")
    assert dataset.classes == ("background", "left caudate")
    assert dataset.shape == CONFIG.shape == (20, 20, 16)
    assert dataset.spacing_mm == (4.0, 4.0, 4.0)
    np.testing.assert_array_equal(load_case(dataset.cases[3], dataset).label, subjects[3].label)
    image = nibabel.load(ready.listing.cases[3].images[0])
    assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(image.affine[:3, 3], brain.BOX_ORIGIN_MM)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort", "prepared"]


def test_an_interrupted_cohort_leaves_nothing(tmp_path):
    def stop(count, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        brain.write_cohort(CONFIG, tmp_path / "cohort", stop)
    assert list(tmp_path.iterdir()) == []


def test_folding_effects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="folds"):
        brain.write_cohort(dataclasses.replace(CONFIG, subject_mm=60.0), tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []
