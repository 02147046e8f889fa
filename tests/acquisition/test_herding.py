import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxal.acquisition.herding import least_discrepancy


def discrepancy(chosen, points, width):
    """Squared, with all pairs written out."""

    def mean(some, others):
        return np.exp(-cdist(some, others, "sqeuclidean") / width**2).mean()

    return mean(chosen, chosen) - 2 * mean(chosen, points) + mean(points, points)


@pytest.mark.parametrize("known", [0, 4])
@pytest.mark.parametrize("width", [0.5, 2.0])
def test_each_choice_is_the_best_of_all_by_enumeration(rng, known, width):
    points, labelled = rng.normal(size=(25, 3)), rng.normal(size=(known, 3))
    places, gains = least_discrepancy(points, labelled, 6, width)
    in_set, left = [*labelled], list(range(25))
    before = (
        discrepancy(labelled, points, width)
        if known
        else discrepancy(points, points, width) + np.exp(-cdist(points, points, "sqeuclidean") / width**2).mean()
    )
    for place, gain in zip(places, gains, strict=True):
        after = {one: discrepancy([*in_set, points[one]], points, width) for one in left}
        assert place == min(left, key=after.get)
        assert gain == pytest.approx(before - after[place], rel=1e-6, abs=1e-12)
        before = after[place]
        in_set.append(points[place])
        left.remove(place)


def test_heaps_are_chosen_from_by_their_size(rng):
    heaps = np.repeat(10 * np.eye(3), [30, 20, 10], axis=0) + 0.1 * rng.normal(size=(60, 3))
    places, _ = least_discrepancy(heaps, heaps[:0], 12)
    assert [int(((places >= first) & (places < last)).sum()) for first, last in ((0, 30), (30, 50), (50, 60))] == [6, 4, 2]
