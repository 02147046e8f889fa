"""Submodular mutual information with a query set, by its set functions written out."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition.coverage import Cover, gains_of_first, greedy_coverage, unit_rows
from jaxal.acquisition.mutual_information import cosines, most_mutual_information


def test_mutual_information_is_chosen_greedily_by_its_definition():
    """Every step's choice and gain from the set function written out, over all points that are left."""
    rng = np.random.default_rng(4)
    similarity = np.maximum(rng.normal(size=(9, 4)), 0).astype(np.float32)
    available = np.arange(9) != 2

    def value(places):
        rows = similarity[list(places)]
        return rows.max(0).sum() + 0.7 * rows.max(1).sum() if len(places) else 0.0

    places, gains = most_mutual_information(jnp.asarray(similarity), jnp.asarray(available), 5, jnp.float32(0.7))
    taken = []
    for place, gain in zip(places.tolist(), gains.tolist(), strict=True):
        added = {other: value([*taken, other]) - value(taken) for other in range(9) if available[other] and other not in taken}
        assert place == max(added, key=added.get) and gain == pytest.approx(added[place], abs=1e-5)
        taken.append(place)


def test_mutual_information_covers_the_query_set_before_it_repeats_itself():
    """Two points are like the first of the query set and one like the second: without eta one of each is taken."""
    similarity = jnp.array([[1.0, 0.0], [0.9, 0.0], [0.0, 0.5]])
    places, _ = most_mutual_information(similarity, jnp.ones(3, bool), 2, jnp.float32(0.0))
    assert places.tolist() == [0, 2]
    places, _ = most_mutual_information(similarity, jnp.ones(3, bool), 2, jnp.float32(5.0))
    assert places.tolist() == [0, 1]


def test_a_coverage_with_a_floor_is_the_mutual_information_of_both_sides(rng):
    """FLVMI, Σ_i min(max_{j in A} s_ij, η max_q s_iq), written out; s is (1 + cosine) / 2."""
    points, queries = unit_rows(rng.normal(size=(12, 4))), unit_rows(rng.normal(size=(3, 4)))
    alike, sought = ((1 + np.asarray(cosines(points, others))) / 2 for others in (points, queries))
    capped = 0.9 * sought.max(1)

    def value(chosen):
        return np.minimum(alike[:, chosen].max(1), capped).sum() if chosen else 0.0

    cover = Cover(points, np.ones(12), np.ones(12), "cosine", floor=1 - capped)
    places, gains = greedy_coverage(cover, np.ones(12, bool), 4)
    np.testing.assert_allclose(gains_of_first(cover), [value([place]) for place in range(12)], rtol=1e-5)
    chosen = []
    for place, gain in zip(places.tolist(), gains.tolist(), strict=True):
        added = [-1.0 if other in chosen else value([*chosen, other]) - value(chosen) for other in range(12)]
        assert place == int(np.argmax(added)) and gain == pytest.approx(added[place], abs=1e-5)
        chosen.append(place)
