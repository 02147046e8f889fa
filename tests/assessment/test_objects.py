"""Scores of objects by hand and against a plain loop over them."""

import numpy as np
import pytest

from jaxal.assessment.objects import FoundObjects, found_objects, object_dice, objects_of


def plain_dice(first, second):
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def one_way(objects, others):
    """Each object against the one that overlaps it most, weighted by its area."""
    total = 0.0
    for number in np.unique(objects[objects > 0]):
        mask = objects == number
        overlaps = {other: (mask & (others == other)).sum() for other in np.unique(others[others > 0])}
        best = max(overlaps, key=overlaps.get)
        total += mask.sum() * plain_dice(mask, others == best)
    return total / (objects > 0).sum()


def plain_found(predicted, true):
    found = set()
    for number in np.unique(predicted[predicted > 0]):
        mask = predicted == number
        overlaps = {other: (mask & (true == other)).sum() for other in np.unique(true[true > 0])}
        best = max(overlaps, key=overlaps.get)
        if overlaps[best] >= 0.5 * (true == best).sum():
            found.add(best)
    counts = [len(np.unique(part[part > 0])) for part in (predicted, true)]
    return len(found), counts[0] - len(found), counts[1] - len(found)


def scattered(rng):
    """Rectangles with numbers that do not follow one another; later ones cover earlier ones."""
    objects = np.zeros((40, 40), int)
    for number in rng.permutation(30)[:9]:
        low = rng.integers(0, 34, 2)
        objects[tuple(slice(at, at + size) for at, size in zip(low, rng.integers(3, 12, 2), strict=True))] = number + 1
    return objects


def test_scores_are_those_of_a_plain_loop(rng):
    for _ in range(20):
        predicted, true = scattered(rng), scattered(rng)
        assert object_dice(predicted, true) == pytest.approx((one_way(true, predicted) + one_way(predicted, true)) / 2)
        assert found_objects(predicted, true) == plain_found(predicted, true)


def row(*runs):
    """A row of elements from `(number, length)`."""
    return np.concatenate([np.full(length, number) for number, length in runs])[None]


def test_objects_by_hand():
    """Of true objects of 10, 6 and 4 elements, the first is halved, the second is found but for two elements, the third is missed."""
    true = row((1, 10), (0, 2), (2, 6), (0, 2), (3, 4), (0, 4))
    predicted = row((7, 6), (5, 4), (0, 2), (9, 4), (0, 8), (4, 4))
    of_true = (10 * (2 * 6 / 16) + 6 * (2 * 4 / 10) + 4 * 0) / 20
    of_predicted = (6 * (2 * 6 / 16) + 4 * (2 * 4 / 14) + 4 * (2 * 4 / 10) + 4 * 0) / 18
    assert object_dice(predicted, true) == pytest.approx((of_true + of_predicted) / 2)
    assert found_objects(predicted, true) == (2, 2, 1)  # 6 of 10 and 4 of 6; 4 of 10 is less than a half
    assert found_objects(predicted, true).f1() == pytest.approx(4 / 7)


def test_a_half_is_enough_and_counts_once():
    true = row((1, 8), (0, 2))
    assert found_objects(row((1, 4), (0, 6)), true) == (1, 0, 0)
    assert found_objects(row((1, 3), (0, 7)), true) == (0, 1, 1)
    assert found_objects(row((1, 4), (2, 4), (0, 2)), true) == (1, 1, 0)


def test_merged_objects_are_worse_than_apart():
    true = row((1, 5), (0, 1), (2, 5))
    assert object_dice(true, true) == 1.0
    assert object_dice(row((1, 11)), true) < 0.7
    assert found_objects(row((1, 11)), true) == (1, 0, 1)


def test_empty_maps():
    empty, some = np.zeros((3, 4), int), np.ones((3, 4), int)
    assert np.isnan(object_dice(empty, empty)) and np.isnan(found_objects(empty, empty).f1())
    assert object_dice(empty, some) == object_dice(some, empty) == 0.0
    assert found_objects(some, empty) == (0, 1, 0) and found_objects(empty, some) == (0, 0, 1)
    assert FoundObjects(0, 1, 0).f1() == 0.0
    with pytest.raises(ValueError, match="shapes"):
        object_dice(empty, some[1:])


def test_parts_that_touch_at_a_corner_are_one_object():
    mask = np.zeros((4, 6), bool)
    mask[0, 0] = mask[1, 1] = mask[3, 4] = True
    objects = objects_of(mask)
    assert objects[0, 0] == objects[1, 1] != objects[3, 4]
    assert objects.max() == 2 and (objects[~mask] == 0).all()
