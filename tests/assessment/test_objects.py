"""Scores of objects by hand and against a plain loop over them."""

import numpy as np
import pytest

from jaxal.assessment.objects import FoundObjects, found_objects, object_dice, objects_of, separated
from jaxal.data.images.contours import contour_map


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


def discs(radius, *centres, shape=(40, 50)):
    """The number of each pixel's disc; where two meet it is the first one's."""
    rows, columns = np.indices(shape)
    objects = np.zeros(shape, int)
    for number, (row, column) in reversed(list(enumerate(centres, 1))):
        objects[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = number
    return objects


@pytest.mark.parametrize("radius", [1, 3])
def test_contours_tell_touching_discs_apart_and_give_back_what_they_took(radius):
    true = discs(9.0, (20, 15), (20, 32))
    foreground, contour = (true > 0).astype(float), contour_map(true, radius).astype(float)
    assert objects_of(true > 0).max() == 1
    parts = separated(foreground, contour, radius + 2)
    assert set(np.unique(parts)) == {0, 1, 2}
    np.testing.assert_array_equal(parts > 0, true > 0)
    assert object_dice(parts, true) > 0.99
    np.testing.assert_array_equal(separated(foreground, np.zeros(true.shape)), objects_of(true > 0))


def test_what_is_foreground_and_what_is_contour():
    foreground, contour = np.full((1, 30), 0.5), np.full((1, 30), 0.199)
    foreground[0, :2], contour[0, 10] = 0.499, 0.2
    parts = separated(foreground, contour, reach=1, smallest=2)
    assert parts[0].tolist() == [0] * 2 + [1] * 9 + [2] * 19  # what is as near to both goes to the first
    np.testing.assert_array_equal(
        separated(foreground, contour, reach=0.5, smallest=2)[0], np.where(np.arange(30) == 10, 0, parts[0])
    )


def test_small_objects_are_none_and_their_place_stays_empty():
    true = discs(5.0, (2, 40), (20, 10), (20, 25))
    true[true == 1] = 0
    true[2, 36:40] = 1
    foreground, contour = (true > 0).astype(float), np.zeros(true.shape)
    np.testing.assert_array_equal(separated(foreground, contour, smallest=5), np.maximum(true - 1, 0))
    np.testing.assert_array_equal(separated(foreground, contour, smallest=4), true)
    assert not separated(foreground, contour, smallest=1000).any()
    assert not separated(foreground, np.ones(true.shape)).any()


def test_a_slanting_contour_of_one_element_separates():
    foreground, contour = np.ones((20, 20)), np.eye(20)
    parts = separated(foreground, contour, reach=0)
    assert parts[0, 19] != parts[19, 0] and parts.max() == 2


def test_objects_far_from_what_they_lost_do_not_get_it_back():
    foreground, contour = np.ones((1, 40)), np.zeros((1, 40))
    contour[0, 25:] = 1.0
    parts = separated(foreground, contour, reach=4.0)
    assert parts[0].tolist() == [1] * 29 + [0] * 11
