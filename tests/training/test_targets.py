"""Maps that further outputs are trained on go with their example wherever it goes, and cost nothing where there are none."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxal.data.stream import ahead, kept, stacked
from jaxal.training.augment import augment
from jaxal.training.config import TrainingConfig
from jaxal.types import Case, Example

STILL = TrainingConfig(contrast=0.0, brightness=0.0, noise=0.0)
MOVING = {"flipped": dataclasses.replace(STILL, flips=(0, 1)), "turned": dataclasses.replace(STILL, rotation_degrees=25.0)}


def example_of(seed=0, targets=True):
    """An L in a plane, which looks different however it is flipped; the target is the label itself."""
    label = np.zeros((16, 12), np.uint8)
    label[3:12, 4:6], label[10:12, 4:9] = 1, 1
    image = np.random.default_rng(seed).normal(size=(16, 12, 3)).astype(np.float32)
    everywhere = np.ones(label.shape, bool)
    return Example(image, label, everywhere, everywhere, {"contour": label} if targets else None)


@pytest.mark.parametrize("how", MOVING)
def test_targets_move_as_labels_do(how):
    move = jax.jit(augment, static_argnums=(0, 1))
    moved = [move(MOVING[how], True, jax.random.key(seed), example_of()) for seed in range(6)]
    for example in moved:
        assert example.targets["contour"].dtype == np.uint8
        np.testing.assert_array_equal(example.targets["contour"], example.label)
    assert len({np.asarray(example.label).tobytes() for example in moved}) > 2


@pytest.mark.parametrize("how", MOVING)
def test_of_an_image_with_one_class_targets_move_and_the_class_stays(how):
    whole, flag = example_of(), np.array(True)
    example = whole._replace(label=np.array(1, np.uint8), inside=flag, labelled=flag)
    for seed in range(4):
        moved = augment(MOVING[how], False, jax.random.key(seed), example)
        expected = augment(MOVING[how], True, jax.random.key(seed), whole)
        np.testing.assert_array_equal(moved.targets["contour"], expected.label)
        np.testing.assert_array_equal(moved.image, expected.image)
        assert (moved.label.shape, int(moved.label)) == ((), 1)


@pytest.mark.parametrize("how", MOVING)
def test_what_is_no_target_changes_nothing(how):
    alone = augment(MOVING[how], True, jax.random.key(3), example_of(targets=False))
    beside = augment(MOVING[how], True, jax.random.key(3), example_of())
    assert alone.targets is None
    for name in ("image", "label", "inside", "labelled"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(beside, name))


def test_batches_hold_targets_of_all_or_none():
    batch = stacked([example_of(0), example_of(1)])
    assert batch.targets["contour"].shape == (2, 16, 12)
    assert stacked([example_of(targets=False)] * 2).targets is None
    seen = list(ahead(range(3), lambda seed: example_of(seed)))
    assert all(example.targets["contour"].sum() == example.label.sum() for example in seen)
    doubled = jax.vmap(lambda example: jax.tree.map(lambda part: part + part, example))(batch)
    np.testing.assert_array_equal(doubled.targets["contour"], 2 * batch.targets["contour"])
    assert jax.vmap(lambda example: example.image.sum())(batch._replace(targets=None)).shape == (2,)


def test_memory_counts_targets():
    example, reads = example_of(), []
    size = sum(part.nbytes for part in (*example[:4], example.targets["contour"]))

    def load(case):
        reads.append(case)
        return example

    for room, expected in ((size, 1), (size - 1, 2)):
        reads.clear()
        read = kept(load, bytes_at_most=room)
        read(Case("a", "", None)), read(Case("a", "", None))
        assert len(reads) == expected
