"""Several readers' maps as one, against SimpleITK's values (tests/fixtures/make_label_merging.py) and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from readers_maps import SHAPE, readers

from jaxal.labels.merging import agreed, majority, merge
from jaxal.labels.naming import IGNORE
from jaxal.labels.staple import expectation_maximization, staple

VALUES = json.loads((Path(__file__).parents[1] / "fixtures" / "label_merging.json").read_text())["merged"]
KINDS = [tuple(map(int, key.split("-"))) for key in VALUES]


def expected(digits):
    return np.array([IGNORE if digit == "-" else int(digit) for digit in digits], np.uint8).reshape(SHAPE)


@pytest.mark.parametrize("classes, count", KINDS)
def test_staple_is_simpleitks(classes, count):
    """On the whole image, which SimpleITK looks at: confusion matrices to 1e-5, since both stop near their limit, and every label."""
    values = VALUES[f"{classes}-{count}"]
    maps = readers(classes, count)
    said = np.stack([labels.ravel() for labels in maps], axis=1)
    weights, confusion = expectation_maximization(said, np.ones(len(said)), classes)
    theirs = np.array(values["confusion"])[:, : classes + 1].transpose(0, 2, 1)  # theirs has what was said down, undecided last
    np.testing.assert_allclose(confusion, theirs, atol=1e-5)
    np.testing.assert_array_equal(weights.argmax(1).reshape(SHAPE), expected(values["staple"]))
    if classes == 1:
        np.testing.assert_allclose(weights[:, 1], values["probability"], atol=1e-4)
        np.testing.assert_allclose(confusion[:, 1, 1], values["sensitivity"], atol=1e-5)
        np.testing.assert_allclose(confusion[:, 0, 0], values["specificity"], atol=1e-5)


@pytest.mark.parametrize("classes, count", KINDS)
def test_majority_is_simpleitks_voting(classes, count):
    labels = majority(readers(classes, count), classes)
    np.testing.assert_array_equal(labels, expected(VALUES[f"{classes}-{count}"]["voting"]))
    assert count != 4 or (labels == IGNORE).any()


@pytest.mark.parametrize("classes, count", KINDS)
def test_staple_is_the_estimate_of_every_voxel(classes, count):
    """Cropped to the box around all labels and two voxels more, as if the rest of the image were not there."""
    maps = readers(classes, count)
    labels, performances = staple(maps, classes)
    places = np.argwhere(np.any(maps, axis=0))
    box = tuple(slice(max(low - 2, 0), high + 3) for low, high in zip(places.min(0), places.max(0), strict=True))
    said = np.stack([part[box].ravel() for part in maps], axis=1)
    weights, confusion = expectation_maximization(said, np.ones(len(said)), classes)
    right = np.zeros(SHAPE, np.uint8)
    right[box] = weights.argmax(1).reshape(right[box].shape)
    np.testing.assert_array_equal(labels, right)
    np.testing.assert_allclose([part.confusion for part in performances], confusion, atol=1e-6)


def test_more_background_makes_no_reader_better():
    maps = readers(2, 3)
    labels, performances = staple(maps, 2)
    wide = [np.pad(part, ((0, 0), (0, 0), (0, 40))) for part in maps]
    wide_labels, wide_performances = staple(wide, 2)
    np.testing.assert_array_equal(wide_labels[..., : SHAPE[2]], labels)
    assert not wide_labels[..., SHAPE[2] :].any()
    for first, second in zip(performances, wide_performances, strict=True):
        np.testing.assert_allclose(first.confusion, second.confusion, atol=0.02)  # the margin is all that may come in
    wider, _ = staple([np.pad(part, ((0, 0), (0, 0), (0, 80))) for part in maps], 2)
    np.testing.assert_array_equal(wider[..., : wide_labels.shape[2]], wide_labels)


def test_staple_trusts_the_better_reader():
    """Two sloppy readers against three careful ones who differ in little."""
    truth = readers(1, 1)[0]
    sloppy = [np.roll(truth, shift, axis=0) for shift in (3, -3)]
    labels, performances = staple([truth, truth, truth, *sloppy], 1)
    np.testing.assert_array_equal(labels, truth)
    sensitivities = [part.sensitivity[1] for part in performances]
    assert sensitivities[:3] == pytest.approx([1, 1, 1]) and max(sensitivities[3:]) < 0.6


def test_staple_of_nothing_and_of_ties():
    nothing = np.zeros((4, 4, 4), np.uint8)
    labels, _ = staple([nothing] * 3, 2)
    assert not labels.any()
    maps = [nothing.copy() for _ in range(3)]
    for value, labels in enumerate(maps, start=1):
        labels[1, 1, 1] = value
    assert staple(maps, 3)[0][1, 1, 1] == IGNORE  # each says something else, and all are as good


def test_two_readers_agree_or_nobody_knows():
    first = np.array([[[0, 1, 1, 2, 255, 255, 0]]], np.uint8)
    second = np.array([[[0, 1, 2, 2, 1, 255, 255]]], np.uint8)
    right = [[[0, 1, 255, 2, 1, 255, 0]]]
    np.testing.assert_array_equal(agreed(first, second), right)
    merged = merge({"ben": second, "anna": first}, ("liver", "tumour"))
    np.testing.assert_array_equal(merged.labels, right)
    assert merged.labels.dtype == np.uint8
    np.testing.assert_allclose(merged.dice["anna", "ben"], [2 / 3, 2 / 3])
    assert merged.disputed and "anna and ben on liver (Dice 0.67)" in merged.sentence
    assert not merge({"ben": second, "anna": first}, ("liver", "tumour"), least_dice=0.6).disputed


def test_what_only_one_reader_saw_is_disputed():
    first, second = np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 3), np.uint8)
    first[0] = second[0] = 1
    assert not merge({"a": first, "b": second}, ("liver", "tumour")).disputed
    assert merge({"a": first, "b": second}, ("liver", "tumour")).sentence == ""
    second[2, 2, 2] = 2
    merged = merge({"a": first, "b": second}, ("liver", "tumour"))
    assert merged.disputed and "tumour (Dice 0.00)" in merged.sentence and "liver" not in merged.sentence


def test_majority_by_hand():
    maps = [np.array([[[value]]], np.uint8) for value in (1, 1, 0)]
    assert majority(maps, 2).item() == 1
    for votes, winner in {
        (0, 1, 2): IGNORE,
        (1, 1, 2, 2): IGNORE,
        (2, 2, 1, 0): 2,
        (255, 1, 1): 1,
        (255, 255, 0): 0,
        (255,) * 3: IGNORE,
    }.items():
        assert majority([np.array([[[vote]]], np.uint8) for vote in votes], 2).item() == winner


@pytest.mark.parametrize("method", ["majority", "staple"])
def test_the_order_of_readers_does_not_matter(method):
    maps = dict(zip(("dora", "anna", "ben", "carl"), readers(2, 4), strict=True))
    first = merge(maps, ("a", "b"), method=method)
    second = merge(dict(reversed(maps.items())), ("a", "b"), method=method)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.sentence == second.sentence and len(first.dice) == 6
    assert (first.performance is None) == (method == "majority")
    if first.performance is not None:
        _, alone = staple([maps["dora"], maps["anna"], maps["ben"], maps["carl"]], 2)
        np.testing.assert_allclose(first.performance["dora"].confusion, alone[0].confusion, atol=1e-6)


def test_staple_leaves_out_what_is_not_annotated():
    maps = readers(1, 3)
    half = maps[0].copy()
    half[:, :, 4:] = IGNORE
    labels, performances = staple([half, maps[1], maps[2]], 1)
    same = staple(maps, 1)[0]
    assert (labels != same).mean() < 0.05 and labels.max() <= IGNORE
    assert performances[0].confusion.sum(1) == pytest.approx([1, 1])


def test_wrong_maps_are_an_error():
    for maps, method in (
        ({"a": np.zeros((2, 2, 2))}, "majority"),
        ({"a": np.zeros((2, 2, 2)), "b": np.zeros((2, 2, 3))}, "majority"),
    ):
        with pytest.raises(ValueError):
            merge(maps, ("x",), method=method)
    with pytest.raises(ValueError):
        merge({"a": np.zeros((2, 2, 2)), "b": np.zeros((2, 2, 2))}, ("x",), method="vote")
