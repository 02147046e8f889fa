"""Pseudo-labels on disk, and examples that take them for labels."""

import numpy as np
import pytest

from jaxal.data.guesses import has_guess, read_guess, sure_classes, with_guess, write_guess
from jaxal.data.prepared import UNLABELLED
from jaxal.errors import UserError
from jaxal.types import Example, Label


def example(shape=(4, 5)):
    labelled = np.zeros(shape, bool)
    labelled[:2, :2] = True
    label = np.where(labelled, 1, 0).astype(np.uint8)
    inside = np.ones(shape, bool)
    return Example(np.zeros((*shape, 1), np.float32), label, inside, labelled, {"contour": label.copy(), "other": label.copy()})


def guessed(place):
    return Label("v", guess=place)


def test_what_is_sure_has_little_entropy():
    """The entropy of 0.1 and 0.9 is 0.469 bits."""
    foreground = np.array([0.0, 0.1, 0.5, 0.9, 1.0])
    probability = np.stack([1 - foreground, foreground])
    assert sure_classes(probability, 0.47).tolist() == [0, 0, UNLABELLED, 1, 1]
    assert sure_classes(probability, 0.46).tolist() == [0, UNLABELLED, UNLABELLED, UNLABELLED, 1]
    assert set(sure_classes(probability, 0.0)) == {UNLABELLED}
    of_three = np.stack([*(probability / 2), np.full(5, 0.5)])  # shares are of the entropy of three classes
    assert set(sure_classes(of_three, 0.6)) == {UNLABELLED} and sure_classes(of_three, 0.65)[[0, 4]].tolist() == [0, 1]


def test_readers_labels_come_first_and_padding_stays_unlabelled(tmp_path):
    classes = np.array([[0, 0, 1, 0], [0, 0, 1, 0], [0, 1, UNLABELLED, 1], [UNLABELLED] * 4], np.uint8)
    write_guess(tmp_path / "case", classes, {"contour": classes == 1})
    before = example()  # a column longer
    taken = with_guess(before, guessed(tmp_path / "case"))
    assert taken.label.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0] * 5]
    assert taken.labelled.astype(int).tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [1, 1, 0, 1, 0], [0] * 5]
    assert taken.targets["contour"].tolist() == taken.label.tolist() and taken.label.dtype == np.uint8
    assert taken.targets["other"] is before.targets["other"]
    assert with_guess(before, None) is before and with_guess(before, Label("v")) is before


def test_a_patch_takes_its_own_place(tmp_path):
    classes = np.arange(20, dtype=np.uint8).reshape(4, 5) % 3
    write_guess(tmp_path / "case", classes, {})
    patch = Example(np.zeros((2, 3, 1), np.float32), *(np.zeros((2, 3), kind) for kind in (np.uint8, bool, bool)))
    patch = patch._replace(inside=np.ones((2, 3), bool))
    taken = with_guess(patch, guessed(tmp_path / "case"), (slice(1, 3), slice(2, 5)))
    assert (taken.label == classes[1:3, 2:5]).all() and taken.labelled.all() and taken.targets is None


def test_a_file_that_was_written_again_is_read_again(tmp_path):
    assert not has_guess(tmp_path / "of" / "case")
    for value in (0, 1):
        write_guess(tmp_path / "of" / "case", np.full((2, 2), value, np.uint8), {})
        assert (read_guess(tmp_path / "of" / "case") == value).all() and has_guess(tmp_path / "of" / "case")


def test_a_file_that_is_gone_or_damaged_is_told(tmp_path):
    (tmp_path / "bad.label.npy").write_bytes(b"nothing")
    write_guess(tmp_path / "cut", np.zeros((9, 9), np.uint8), {})
    whole = (tmp_path / "cut.label.npy").read_bytes()
    (tmp_path / "cut.label.npy").write_bytes(whole[: len(whole) - 9])
    for name in ("bad", "none", "cut"):
        with pytest.raises(UserError, match=rf"{name}\.label\.npy: no pseudo-labels can be read there"):
            read_guess(tmp_path / name)
