"""Dynamic coverage and margin mix against the published loop, written out pair by pair."""

import math

import numpy as np
import pytest
from sklearn.preprocessing import minmax_scale

from jaxal.acquisition import competence as module
from jaxal.acquisition.competence import competence, dense_and_unsure, inside_any, pure_balls, size_of


def unit(rng, count, dimensions=3):
    points = rng.normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def published(points, covered, radius, unsure, share, budget):
    """Edges of the graph are dropped as points are covered; both parts are scaled over all cases, of which labelled ones have zero of each."""
    edges = {
        (x, y)
        for x in range(len(points))
        for y in range(len(points))
        if math.dist(points[x], points[y]) < radius and not covered[y]
    }
    unsure, picks, scores = list(unsure), [], []
    for _ in range(budget):
        ranks = [sum(x == place for x, _ in edges) for place in range(len(points))]
        scaled = share * minmax_scale([0, *unsure])[1:] + (1 - share) * minmax_scale([0, *ranks])[1:]
        best = max((place for place in range(len(points)) if place not in picks), key=lambda place: scaled[place])
        new = {y for x, y in edges if x == best}
        edges = {(x, y) for x, y in edges if y not in new}
        unsure[best] = 0
        picks.append(best)
        scores.append(scaled[best])
    return picks, scores


@pytest.mark.parametrize(("share", "radius"), [(0.0, 0.6), (0.3, 0.6), (0.7, 0.9), (1.0, 0.5)])
@pytest.mark.parametrize("at_once", [2**24, 60])
def test_cases_are_chosen_as_by_the_published_loop(rng, monkeypatch, share, radius, at_once):
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", at_once)
    points, unsure = unit(rng, 30), rng.uniform(size=30)
    covered = rng.uniform(size=30) < 0.3
    picks, scores = dense_and_unsure(points, covered, radius, unsure, share, 8)
    expected, of_expected = published(points, covered, radius, unsure, share, 8)
    assert picks.tolist() == expected
    np.testing.assert_allclose(scores, of_expected, rtol=1e-12)


def test_where_everything_is_covered_doubt_alone_decides(rng):
    points, unsure = unit(rng, 12), rng.uniform(size=12)
    picks, _ = dense_and_unsure(points, np.ones(12, bool), 0.5, unsure, 0.2, 5)
    assert picks.tolist() == np.argsort(-unsure)[:5].tolist()


@pytest.mark.parametrize("purity", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("at_once", [2**24, 60])
def test_balls_are_as_pure_as_they_must_be(rng, monkeypatch, purity, at_once):
    monkeypatch.setattr(module, "_NUMBERS_AT_ONCE", at_once)
    points, of = unit(rng, 40), rng.integers(3, size=40)
    size = size_of(points)
    expected = []
    for centre, own in zip(points[:6], of[:6], strict=True):
        low, high = 0.0, 1.1 * size
        while high - low > 0.05 * size:
            middle = (low + high) / 2
            inside = [of[place] == own for place in range(40) if math.dist(points[place], centre) < middle]
            low, high = (middle, high) if np.mean(inside) >= purity else (low, middle)
        expected.append((low + high) / 2)
    radii = pure_balls(points, of, points[:6], of[:6], purity)
    np.testing.assert_allclose(radii, expected, rtol=1e-12)
    inside = [
        any(math.dist(point, centre) < radius for centre, radius in zip(points[:6], radii, strict=True)) for point in points
    ]
    assert inside_any(points, points[:6], radii).tolist() == inside
    assert len(set(radii)) > 1


def test_radii_grow_with_the_features(rng):
    points, of = unit(rng, 40), rng.integers(3, size=40)
    radii = pure_balls(points, of, points[:6], of[:6], 0.5)
    np.testing.assert_allclose(pure_balls(5 + points / 8, of, 5 + points[:6] / 8, of[:6], 0.5), radii / 8, rtol=1e-9)
    around_zero = np.concatenate([points, -points])
    assert size_of(around_zero) == pytest.approx(1.0)  # as in the authors' code, for vectors that lie around zero


def test_competence_is_a_logistic_curve_that_ends_at_one():
    assert competence(1.0) == pytest.approx(1.0)
    assert competence(0.9) == pytest.approx((1 + math.exp(-3)) / 2)
    assert competence(0.0) < 1e-11
    assert competence(0.5, centre=0.5, steepness=10) == pytest.approx((1 + math.exp(-5)) / 2)
