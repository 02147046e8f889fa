"""Weighted k-means against scikit-learn and a plain loop, and typicality worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.neighbors import LocalOutlierFactor

from jaxal.acquisition import clusters
from jaxal.acquisition.clusters import (
    Clusters,
    agglomerated,
    information_density,
    k_means,
    most_typical,
    nearest_to_centres,
    round_robin,
    typicality,
)

KEY = jax.random.key(5)


def start_of(points, weight, count):
    """Where the algorithm starts: the same draws on the same moved points."""
    middle = np.average(points, axis=0, weights=weight)
    places = clusters._start(KEY, jnp.asarray(points - middle, jnp.float32), jnp.asarray(weight, jnp.float32), count)
    return points[np.asarray(places)]


@pytest.mark.parametrize("away", [0.0, 100.0])  # from zero: distances come from products
def test_clusters_are_those_of_scikit_learn(rng, away):
    points, weight = rng.normal(size=(64, 3)) + away, rng.uniform(size=64)
    found = k_means(KEY, points, weight, 8, iterations=100)
    expected = KMeans(8, init=start_of(points, weight, 8), n_init=1, max_iter=100, tol=0).fit(points, sample_weight=weight)
    assert found.of.tolist() == expected.labels_.tolist()
    np.testing.assert_allclose(found.centres, expected.cluster_centers_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.weight, [weight[found.of == place].sum() for place in range(8)], rtol=1e-5)


def test_a_number_of_clusters_that_is_filled_up_is_that_number(rng):
    """Ten points and five clusters are computed as sixteen and eight."""
    points = rng.normal(size=(10, 2))
    found = k_means(KEY, points, np.ones(10), 5)
    assert found.centres.shape == (5, 2) and set(found.of.tolist()) == set(range(5))
    for place in range(5):
        np.testing.assert_allclose(found.centres[place], points[found.of == place].mean(0), rtol=1e-4, atol=1e-5)
    distances = np.square(points[:, None] - found.centres[None]).sum(-1)
    assert found.of.tolist() == distances.argmin(1).tolist()


def test_blocks_change_nothing(rng, monkeypatch):
    points, weight = rng.normal(size=(50, 4)), rng.uniform(size=50)
    whole = k_means(KEY, points, weight, 4)
    monkeypatch.setattr(clusters, "_NUMBERS_AT_ONCE", 24)
    clusters._lloyd.clear_cache()
    parts = k_means(KEY, points, weight, 4)
    clusters._lloyd.clear_cache()
    assert parts.of.tolist() == whole.of.tolist()
    np.testing.assert_allclose(parts.centres, whole.centres, rtol=1e-5)


def test_a_heavy_point_draws_its_centre(rng):
    points, weight = np.array([[0.0], [1.0], [10.0]]), np.array([1.0, 3.0, 1.0])
    found = k_means(KEY, points, weight, 2)
    assert sorted(found.centres[:, 0].tolist()) == pytest.approx([0.75, 10.0])
    assert sorted(found.weight.tolist()) == [1.0, 4.0]


def test_weights_of_nothing_count_alike(rng):
    points = rng.normal(size=(12, 2))
    none, ones = (k_means(KEY, points, weight, 3) for weight in (np.zeros(12), np.ones(12)))
    assert none.of.tolist() == ones.of.tolist()


def test_an_empty_cluster_takes_the_farthest_point():
    """Three of four starts lie on the same place, and two of them are nobody's."""
    points = jnp.asarray(np.array([[100.0], [100.0], [100.0], [101.0], [109.0]], np.float32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clusters, "_start", lambda key, points, weight, clusters: jnp.array([0, 1, 2, 3]))
        clusters._lloyd.clear_cache()
        centres, _ = clusters._lloyd(KEY, points, jnp.ones(5), jnp.ones(4, bool), 30)
    clusters._lloyd.clear_cache()
    assert {100.0, 101.0, 109.0} <= set(np.asarray(centres)[:, 0].tolist())


def test_centres_are_drawn_in_proportion_to_weight_times_squared_distance(rng):
    points, weight = rng.normal(size=(5, 2)), np.array([0.0, 1.0, 2.0, 1.0, 3.0])
    draws = jax.vmap(lambda seed: clusters._start(jax.random.key(seed), jnp.asarray(points), jnp.asarray(weight), 2))(
        jnp.arange(4000)
    )
    first = np.bincount(np.asarray(draws)[:, 0], minlength=5) / 4000
    np.testing.assert_allclose(first, weight / weight.sum(), atol=0.03)
    after = np.asarray(draws)[np.asarray(draws)[:, 0] == 4, 1]
    chance = weight * np.square(points - points[4]).sum(-1)
    np.testing.assert_allclose(np.bincount(after, minlength=5) / len(after), chance / chance.sum(), atol=0.04)


def test_each_cluster_is_stood_for_by_its_nearest_point_that_is_free():
    points = np.array([[0.0], [1.0], [5.0], [6.0]])
    found = Clusters(np.array([[0.9], [5.4]]), np.array([0, 0, 1, 1]), np.array([1.0, 2.0]))
    assert nearest_to_centres(points, np.ones(4, bool), found, 4).tolist() == [2, 1, 3, 0]
    assert nearest_to_centres(points, np.array([True, False, False, True]), found, 2).tolist() == [3, 0]


def test_typicality_by_hand_and_in_blocks(rng, monkeypatch):
    """Of four points on a line the two nearest neighbours; distances are squared."""
    values = typicality(np.array([[0.0], [1.0], [3.0], [7.0]]))
    np.testing.assert_allclose(values, 1 / (np.array([(1 + 9) / 2, (1 + 4) / 2, (4 + 9) / 2, (16 + 36) / 2]) + 1e-5))
    assert typicality(np.zeros((1, 2))).tolist() == [0.0]
    assert typicality(np.zeros((2, 2))).tolist() == pytest.approx([1e5, 1e5])
    points = rng.normal(size=(30, 3))
    whole = typicality(points, 4)
    distances = np.square(points[:, None] - points[None]).sum(-1) + 1e9 * np.eye(30)
    np.testing.assert_allclose(whole, 1 / (np.sort(distances)[:, :4].mean(1) + 1e-5))
    monkeypatch.setattr(clusters, "_NUMBERS_AT_ONCE", 70)
    np.testing.assert_allclose(typicality(points, 4), whole)


def test_density_is_the_mean_closeness(rng, monkeypatch):
    points = rng.normal(size=(30, 3))
    expected = (1 / (1 + np.linalg.norm(points[:, None] - points[None], axis=-1))).mean(1)
    np.testing.assert_allclose(information_density(points), expected)
    monkeypatch.setattr(clusters, "_NUMBERS_AT_ONCE", 70)
    np.testing.assert_allclose(information_density(points), expected)


def test_typical_points_come_cluster_by_cluster():
    """The blob without a label first, then the larger one that has one, then the first again; two strays last."""
    near = np.arange(6.0)[:, None]
    points = np.concatenate([near, [[6.0]], near + 100, [[500.0], [501.0]]])
    of = np.repeat([0, 1, 2], [7, 6, 2])
    labelled = np.zeros(15, bool)
    labelled[0] = True
    places, scores = most_typical(points, of, labelled, 14)
    # Of 100 to 105 all but the ends have two neighbours at one and a third at two; so have of 1 to 6 all but the ends.
    assert places[:2].tolist() == [8, 2]
    assert [of[place] for place in places[:6]] == [1, 0, 1, 0, 1, 0]
    assert sorted(places.tolist()) == list(range(1, 15)) and set(places[-2:].tolist()) == {13, 14}
    assert scores[0] == pytest.approx(1 / ((1 + 1 + 4) / 3 + 1e-5))


def test_clusters_take_turns_the_smallest_first():
    of, draws = np.array([0, 0, 0, 1, 2, 2]), np.array([0.1, 0.9, 0.5, 0.2, 0.3, 0.8])
    assert round_robin(of, draws, 6).tolist() == [3, 5, 1, 4, 2, 0]
    assert round_robin(of, draws, 2).tolist() == [3, 5]


def test_agglomerated_clusters_are_the_blobs(rng):
    points = np.concatenate([rng.normal(size=(5, 2)), rng.normal(size=(3, 2)) + 50])
    of = agglomerated(points, 2)
    assert len(set(of[:5])) == len(set(of[5:])) == 1 and of[0] != of[7]
    assert agglomerated(points[:1], 1).tolist() == [0]


@pytest.mark.parametrize("neighbours", [1, 5, 100])
def test_reachability_is_that_of_scikit_learns_outlier_factor(rng, neighbours):
    points = rng.normal(size=(40, 3))
    theirs = LocalOutlierFactor(min(neighbours, 39)).fit(points)
    np.testing.assert_allclose(clusters.reachability(points, neighbours), 1.0 / theirs._lrd, rtol=1e-6)
    assert clusters.reachability(points[:1]).tolist() == [0.0]
