"""Greedy coverage against plain loops, enumeration, and other libraries."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import coverage
from jaxal.acquisition.coverage import (
    Cover,
    dissimilarity,
    gains_of_first,
    greedy_coverage,
    least_distance,
    pure_radius,
    uncovered_by,
    unit_rows,
)

KERNELS = [("gaussian", 0.7), ("ball", 0.6), ("cosine", 1.0)]


def directions(rng, count, dimensions=5):
    points = rng.normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def plain_similarity(points, others, kernel, width):
    """By distances, in float64."""
    square = np.square(points[:, None] - others[None]).sum(-1)
    if kernel == "gaussian":
        return np.exp(-square / width**2)
    return (np.sqrt(square) < width).astype(float) if kernel == "ball" else 1 - square / 4


def plain_coverage(alike, weight, covered, available, budget):
    """All gains anew in each step."""
    covered, left, chosen, gains = covered.copy(), available.copy(), [], []
    for _ in range(budget):
        gain = np.where(left, (weight * np.maximum(alike - covered, 0)).sum(-1), -np.inf)
        place = int(gain.argmax())
        chosen.append(place)
        gains.append(gain[place])
        covered, left[place] = np.maximum(covered, alike[place]), False
    return chosen, gains


@pytest.fixture(params=[coverage._NUMBERS_HELD, 0], ids=["held", "made anew"])
def held(request, monkeypatch):
    monkeypatch.setattr(coverage, "_NUMBERS_HELD", request.param)


@pytest.mark.parametrize(("kernel", "width"), KERNELS)
def test_lazy_steps_choose_what_plain_steps_choose(rng, held, kernel, width):
    points, labelled = directions(rng, 150), directions(rng, 4)
    weight, available = rng.uniform(size=150), rng.uniform(size=150) < 0.8
    uncovered = uncovered_by(points.astype(np.float32), labelled.astype(np.float32), kernel, width)
    np.testing.assert_allclose(1 - uncovered, plain_similarity(points, labelled, kernel, width).max(1), atol=2e-6)
    expected, gains = plain_coverage(plain_similarity(points, points, kernel, width), weight, 1 - uncovered, available, 40)
    cover = Cover(unit_rows(points), weight, uncovered, kernel, width)
    chosen, found = greedy_coverage(cover, available, 40)
    assert chosen.tolist() == expected
    np.testing.assert_allclose(found, gains, rtol=1e-4, atol=1e-4)
    again, _ = greedy_coverage(cover, available, 40, gains_of_first(cover) * 1.2)  # bounds that are known need not be close
    assert again.tolist() == expected


@pytest.mark.parametrize(("kernel", "width"), KERNELS)
def test_the_greedy_set_covers_most_of_what_the_best_covers(rng, kernel, width):
    """At least 1 - 1/e of it, by enumeration of all sets of three; and no less than any set of one."""
    points = directions(rng, 11)
    alike = plain_similarity(points, points, kernel, width)
    _, gains = greedy_coverage(Cover(unit_rows(points), np.ones(11), np.ones(11), kernel, width), np.ones(11, bool), 3)
    best = max(alike[list(chosen)].max(0).sum() for chosen in itertools.combinations(range(11), 3))
    assert (1 - 1 / np.e) * best <= gains.sum() <= best + 1e-4
    assert gains[0] == pytest.approx(alike.sum(1).max(), rel=1e-5)


def test_a_width_of_nothing_chooses_by_weight(rng):
    """UHerding becomes the choice of the most uncertain as its kernel narrows (Bae et al. 2025)."""
    weight = rng.uniform(size=50)
    cover = Cover(unit_rows(directions(rng, 50)), weight, np.ones(50), "gaussian", 1e-3)
    chosen, gains = greedy_coverage(cover, np.ones(50, bool), 7)
    assert chosen.tolist() == np.argsort(-weight)[:7].tolist()
    np.testing.assert_allclose(gains, np.sort(weight)[::-1][:7], rtol=1e-6)


def test_the_ball_counts_points_that_no_ball_holds_yet(rng):
    """As ProbCover's public loop does: it removes the covered points from its graph and takes the vertex of most edges."""
    points, width = directions(rng, 80, 3), 0.5
    edges = np.sqrt(np.square(points[:, None] - points[None]).sum(-1)) < width
    left, expected = edges.copy(), []
    for _ in range(10):
        expected.append(int(left.sum(1).argmax()))
        left[:, edges[expected[-1]]] = False
    chosen, _ = greedy_coverage(Cover(unit_rows(points), np.ones(80), np.ones(80), "ball", width), np.ones(80, bool), 10)
    assert chosen.tolist() == expected


def test_once_all_is_covered_the_earliest_come(held):
    points = unit_rows(np.eye(3)[[0, 0, 0, 1, 1, 2]])
    chosen, gains = greedy_coverage(Cover(points, np.ones(6), np.ones(6), "ball", 0.5), np.array([True] * 4 + [False, True]), 5)
    assert chosen.tolist() == [0, 3, 5, 1, 2]
    assert gains.tolist() == [3, 2, 1, 0, 0]


def test_an_earlier_point_whose_bound_ties_is_looked_at_first():
    """As many bounds of two as are computed at once turn out to be gains of one, and the five before them have bounds of one."""
    bounds = np.array([1.0] * 5 + [2.0] * coverage._ROWS_FIRST)
    fresh = np.zeros(len(bounds), bool)
    place = coverage._best(bounds, fresh, lambda places, uncovered: np.ones(len(places)), jnp.zeros(len(bounds)))
    assert place == 0


def test_embeddings_of_zeros_are_all_alike():
    points = unit_rows(np.zeros((4, 3)))
    assert not np.isnan(np.asarray(points)).any()
    chosen, _ = greedy_coverage(Cover(points, np.ones(4), np.ones(4), "gaussian"), np.ones(4, bool), 4)
    assert chosen.tolist() == [0, 1, 2, 3]


def test_the_radius_is_the_largest_of_which_enough_balls_are_pure(rng):
    """Against radii tried one after the other."""
    points = directions(rng, 60, 3)
    classes = (points[:, 0] > 0).astype(int)
    distance = np.sqrt(np.square(points[:, None] - points[None]).sum(-1))

    def purity(radius):
        return np.mean([(classes[distance[place] < radius] == classes[place]).all() for place in range(60)])

    for share in (0.5, 0.8, 0.95):
        radius = pure_radius(unit_rows(points), classes, share)
        assert purity(radius) >= share
        assert purity(radius * 1.0001 + 1e-5) < share
    assert pure_radius(unit_rows(points), np.zeros(60, int)) == pytest.approx(2.0, abs=1e-5)


def test_the_least_distance_leaves_twins_out(rng):
    points = directions(rng, 20)
    distance = np.sqrt(np.square(points[:, None] - points[None]).sum(-1)) + 9 * np.eye(20)
    assert least_distance(points) == pytest.approx(distance.min())
    assert least_distance(np.concatenate([points, points])) == pytest.approx(distance.min())
    assert least_distance(points[:1]) is None and least_distance(points[[0, 0]]) is None


def test_unlikeness_lies_between_zero_and_one():
    for kernel, width in KERNELS:
        values = np.asarray(dissimilarity(jnp.array([0.0, 1e-9, 0.3, 4.0, 4.0000005]), kernel, width))
        assert values[0] == 0.0
        assert (values <= 1).all() and (np.diff(values) >= 0).all()


@pytest.mark.parametrize(("kernel", "width"), [("gaussian", 0.7), ("cosine", 1.0)])
def test_features_in_a_narrow_cone_are_told_apart(rng, kernel, width):
    """Cosines above 0.99999, as an untrained network's: in single precision one minus them is a few of its last bits."""
    points = unit_rows(10.0 + 0.01 * rng.normal(size=(60, 20)))
    exact = np.asarray(points, np.float64)
    square = np.square(exact[:, None] - exact[None]).sum(-1)
    assert square.max() < 2e-5
    unlike = 1 - plain_similarity(exact, exact, kernel, width) if kernel == "cosine" else -np.expm1(-square / width**2)
    left, expected, added = unlike[0], [], []  # the first has a label
    for _ in range(10):
        gains = np.maximum(left - unlike, 0).sum(1)
        gains[expected] = -1
        expected.append(int(gains.argmax()))
        added.append(gains.max())
        left = np.minimum(left, unlike[expected[-1]])
    uncovered = uncovered_by(points, points[:1], kernel, width)
    chosen, found = greedy_coverage(Cover(points, np.ones(60), uncovered, kernel, width), np.ones(60, bool), 10)
    assert chosen.tolist() == expected
    np.testing.assert_allclose(found, added, rtol=1e-3)
