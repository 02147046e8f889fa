"""What is noticed about a label that is taken all the same."""

import tracemalloc

import label_files
import numpy as np
import pytest

from jaxal.labels import coding, streams
from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.findings import CODES, History, dice_with, mirrored_to_proposal
from jaxal.labels.placing import Grid
from jaxal.labels.survey import centres, gaps, pieces, survey, volumes_ml

AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])  # the first axis runs to the left
AFFINE[:3, 3] = 30, -20, 10
SHAPE = (30, 24, 20)
CLASSES = ("liver", "tumour")


def ball(centre, radius):
    places = np.meshgrid(*(np.arange(size) for size in SHAPE), indexing="ij")
    return sum((place - middle) ** 2 for place, middle in zip(places, centre, strict=True)) <= radius**2


def drawn():
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((8, 10, 9), 5.5)] = 1
    labels[ball((8, 10, 9), 2.5)] = 2
    return labels


def notes(tmp_path, labels, **known):
    path = label_files.write_nifti(tmp_path / "d.nii.gz", labels, AFFINE)
    delivered = receive(path, Expected("c", Grid(SHAPE, AFFINE), CLASSES, **known))
    np.testing.assert_array_equal(delivered.labels, labels)
    assert {note.code for note in delivered.notes} <= set(CODES)
    assert all(note.sentence.endswith(".") for note in delivered.notes)
    return {note.code: note.sentence for note in delivered.notes}


def test_an_ordinary_label_is_not_remarked_upon(tmp_path):
    labels = drawn()
    volume = volumes_ml(survey(labels, 2), Grid(SHAPE, AFFINE))
    usual = History(
        9,
        {"liver": 1.0, "tumour": 0.5},
        {"liver": [volume[1] * factor for factor in (0.8, 0.9, 1, 1.1, 1.2)], "tumour": [volume[2]] * 5},
        {"liver": [centres(survey(labels, 2), Grid(SHAPE, AFFINE))[1]] * 6},
        [10.0] * 9,
    )
    proposal = np.roll(labels, 1, axis=0)
    assert notes(tmp_path, labels, history=usual, minutes=9.0, proposal=proposal) == {}
    assert notes(tmp_path, labels, history=usual, minutes=9.0, proposal=lambda: proposal) == {}


def test_unchanged(tmp_path):
    assert "voxel for voxel" in notes(tmp_path, drawn(), proposal=drawn())["unchanged"]
    nearly = drawn()
    nearly[8, 10, 9] = 1
    assert "unchanged" not in notes(tmp_path, drawn(), proposal=nearly)


def test_class_missing(tmp_path):
    labels = np.minimum(drawn(), 1)
    usual = History(10, {"liver": 1.0, "tumour": 0.9})
    assert "tumour (in 90%)" in notes(tmp_path, labels, history=usual)["class-missing"]
    assert notes(tmp_path, labels, history=History(10, {"liver": 1.0, "tumour": 0.8})) == {}
    assert notes(tmp_path, labels, history=History(4, {"tumour": 1.0})) == {}  # too few cases to say what is usual


def test_far_from_proposal(tmp_path):
    proposal = np.zeros(SHAPE, np.uint8)
    proposal[ball((14, 12, 9), 5)] = 1
    said = notes(tmp_path, drawn(), proposal=proposal)
    value = dice_with(drawn(), proposal, 2)
    assert 0 < value[0] < 0.3 and value[1] == 0
    assert f"liver (Dice {value[0]:.2f}), tumour (Dice 0.00)" in said["far-from-proposal"]


def test_dice_leaves_out_what_is_not_annotated():
    first, second = np.array([[[1, 1, 0, 255, 2]]], np.uint8), np.array([[[1, 0, 255, 1, 0]]], np.uint8)
    np.testing.assert_allclose(dice_with(first, second, 3), [2 * 1 / (2 + 1), 0, np.nan])


@pytest.mark.parametrize(
    "axes, words",
    [
        ((0,), "once left and right are"),
        ((1,), "once front and back are"),
        ((0, 1), "left and right and front and back"),
        ((2,), "head and foot"),
    ],
)
@pytest.mark.parametrize("known", ["proposal", "usual places"])
def test_mirrored(tmp_path, axes, words, known):
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((6, 6, 5), 4.5)] = 1
    labels[ball((6, 9, 5), 2.5)] = 2
    right, code = {"proposal": np.roll(labels, 1, axis=1)}, "mirrored"
    if known == "usual places":
        code, place = "other-side", centres(survey(labels, 2), Grid(SHAPE, AFFINE))[1]
        shifts = np.random.default_rng(0).normal(0, 0.03, (8, 3))
        right = {"history": History(8, centres={"liver": [place + shift for shift in shifts]})}
    assert code not in notes(tmp_path, labels, **right)
    assert words in notes(tmp_path, np.flip(labels, axes), **right)[code]
    assert code not in notes(tmp_path, np.roll(labels, 5, axis=1), **right)  # elsewhere, but not mirrored


def test_sides_are_the_bodys_not_the_files():
    """Axes to the head, the right and the back: flipping the first exchanges head and foot."""
    affine = np.array([[0, 1.0, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    labels = np.zeros(SHAPE, np.uint8)
    labels[ball((6, 6, 5), 4.5)] = 1
    for axis, words in enumerate(("once head and foot are", "once left and right are", "once front and back are")):
        assert words in mirrored_to_proposal(np.flip(labels, axis), labels, affine, 1)[0].sentence


def test_odd_volume(tmp_path):
    volume = volumes_ml(survey(drawn(), 2), Grid(SHAPE, AFFINE))
    assert volume[1] == pytest.approx((drawn() == 1).sum() * 2 / 1000)
    usual = [volume[1] * 3 * factor for factor in (0.9, 0.95, 1.0, 1.05, 1.1)]
    assert (
        f"liver has {volume[1]:.3g} ml, usual are {3 * volume[1]:.3g} ml"
        in notes(tmp_path, drawn(), history=History(5, volumes_ml={"liver": usual}))["odd-volume"]
    )
    assert notes(tmp_path, drawn(), history=History(5, volumes_ml={"liver": usual[:4]})) == {}
    spread = [volume[1] * 3 * factor for factor in (0.3, 0.5, 1.0, 2.0, 3.3)]
    assert notes(tmp_path, drawn(), history=History(5, volumes_ml={"liver": spread})) == {}
    alike = [volume[1] * 1.2] * 9  # without any spread a tenth counts as one deviation
    assert notes(tmp_path, drawn(), history=History(9, volumes_ml={"liver": alike})) == {}


def test_fragments(tmp_path):
    labels = drawn()
    for place in ((20, 20, 2), (25, 3, 15), (27, 20, 18)):
        labels[place] = 1
    assert "liver has 3 tiny pieces of 3 voxels together" in notes(tmp_path, labels)["fragments"]
    labels[27, 20, 18] = 0
    assert notes(tmp_path, labels) == {}
    lesions = np.zeros(SHAPE, np.uint8)
    for place in ((4, 4, 4), (15, 15, 10), (25, 5, 15), (5, 18, 15)):
        lesions[ball(place, 2)] = 1
    assert notes(tmp_path, lesions) == {}  # many pieces of one size are nothing odd


def test_pieces_are_those_of_a_whole_volume(rng):
    """Slice by slice as in space at once, where voxels of a slice that touch at a corner belong together."""
    from scipy import ndimage

    labels = (rng.random((9, 8, 7)) < 0.3).astype(np.uint8)
    structure = np.zeros((3, 3, 3))
    structure[..., 1] = structure[1, 1] = 1
    numbers, _ = ndimage.label(labels, structure)
    np.testing.assert_array_equal(pieces(labels, survey(labels, 1), 1), np.sort(np.bincount(numbers.ravel())[1:])[::-1])


def test_gaps(tmp_path):
    labels = drawn()
    labels[..., 8] = 0
    assert "liver is not in slice 8 of the third axis" in notes(tmp_path, labels)["gaps"]
    labels = drawn()
    labels[7:9] = 0
    assert "tumour is not in slice 7 of the first axis" in notes(tmp_path, labels)["gaps"]
    apart = np.zeros(SHAPE, np.uint8)
    apart[3:6, 3:6, 3:6] = apart[10:14, 10:14, 7:11] = 1  # a slice lies between them, but nothing was left out
    assert notes(tmp_path, apart) == {}
    assert gaps(apart, survey(apart, 2), 1) == []


def test_too_fast(tmp_path):
    assert "0.2 minutes" in notes(tmp_path, drawn(), minutes=0.2)["too-fast"]
    assert notes(tmp_path, drawn(), minutes=0.6) == {}
    slow = History(8, minutes=[20.0, 25, 30, 20, 25])
    assert "too-fast" in notes(tmp_path, drawn(), minutes=4.9, history=slow)
    assert notes(tmp_path, drawn(), minutes=5.1, history=slow) == {}


def test_said_to_be_empty_but_is_not(tmp_path):
    assert "not-empty" in notes(tmp_path, drawn(), empty_is_meant=True)
    assert notes(tmp_path, np.zeros(SHAPE, np.uint8), empty_is_meant=True) == {}


def test_centres_are_shares_in_the_directions_of_the_body():
    labels = np.zeros((10, 20, 40), np.uint8)
    labels[2, 5, 30] = 1
    to_left_up_back = np.array([[-1.0, 0, 0, 0], [0, 0, -3, 0], [0, 2, 0, 0], [0, 0, 0, 1]])  # axes to the left, head and back
    np.testing.assert_allclose(
        centres(survey(labels, 1), Grid(labels.shape, to_left_up_back))[1], [1 - 0.25, 1 - 30.5 / 40, 5.5 / 20]
    )


def test_a_survey_counts_all_classes_at_all_places(rng):
    labels = rng.integers(0, 4, (6, 5, 4)).astype(np.uint8)
    labels[labels == 3] = 255
    for order in ("C", "F"):
        counted = survey(np.array(labels, order=order), 2)
        for value in (1, 2):
            for axis in range(3):
                others = tuple(other for other in range(3) if other != axis)
                np.testing.assert_array_equal(counted.profiles[axis][value], (labels == value).sum(others))
            places = np.argwhere(labels == value)
            assert [(span.start, span.stop) for span in counted.box(value)] == list(
                zip(places.min(0), places.max(0) + 1, strict=True)
            )
        assert counted.ignored == (labels == 255).sum() and counted.counts[0] == 0


@pytest.mark.parametrize("kind", ["as it lies", "turned", "layers"])
def test_memory_stays_under_three_maps(tmp_path, monkeypatch, kind):
    """One byte a voxel is read, one is placed; the proposal comes once the file's memory is free."""
    for module, name in ((coding, "CHUNK"), (streams, "PIECE")):
        monkeypatch.setattr(module, name, 1 << 13)
    labels = np.zeros((160, 160, 100), np.uint8)
    labels[20:120, 30:100, 10:90], labels[40:60, 40:60, 40:60] = 1, 2
    path = tmp_path / "d.seg.nrrd"
    lines = label_files.segment_lines([("liver", 1, 0), ("tumour", 2, 0)])
    if kind == "layers":
        lines = label_files.segment_lines([("liver", 1, 0), ("tumour", 2, 1)])
        label_files.write_nrrd(path, np.stack([labels * (labels == value) for value in (1, 2, 0)]), np.eye(4), lines)
    else:
        turned = labels.transpose(1, 2, 0) if kind == "turned" else labels
        label_files.write_nrrd(path, turned, np.eye(4)[:, [1, 2, 0, 3]] if kind == "turned" else np.eye(4), lines)
    expected = Expected("c", Grid(labels.shape, np.eye(4)), CLASSES, proposal=lambda: np.roll(labels, 1, axis=0))
    tracemalloc.start()
    try:
        delivered = receive(path, expected)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(delivered.labels, labels)
    assert peak < 3 * labels.size
