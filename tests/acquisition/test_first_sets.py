import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from jaxal.acquisition import appearance, first_sets

KEY = jax.random.key(0)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def left(vectors, points):
    return first_sets.distance_left(vectors, points, jnp.full(len(points), 1.0 / len(points)))


def test_points_without_a_share_pull_nothing(rng):
    points, vectors = (jnp.asarray(unit(rng.normal(size=(count, 5))), jnp.float32) for count in (20, 4))
    few = first_sets.distance_left(vectors, points, jnp.where(jnp.arange(20) < 12, 1.0 / 12, 0.0))
    assert float(few) == pytest.approx(float(left(vectors, points[:12])), rel=1e-5)


def test_vectors_descend_as_though_nothing_were_filled_up(rng):
    points = unit(rng.normal(size=(20, 5))).astype(np.float32)
    start = points[np.asarray(jax.random.choice(KEY, 20, (4,), replace=False))]
    share = np.full(20, 1.0 / 20, np.float32)
    plain = first_sets._descended(points, share, start, 300)
    np.testing.assert_allclose(first_sets.free_vectors(KEY, points, 4), plain, atol=5e-6)


def test_free_vectors_make_small_what_the_authors_code_makes_small(rng):
    """The loss as that code has it, point by point; its push is by the other vectors as they stand."""
    points, vectors = unit(rng.normal(size=(20, 5))), unit(rng.normal(size=(4, 5)))
    losses = []
    for point in points:
        similar = vectors @ point / 0.07
        best = int(similar.argmax())
        pushed = np.exp(vectors @ vectors[best] / 0.07).sum()
        losses.append(-np.log(np.exp(similar[best]) / (np.exp(similar[best]) + pushed)))
    ours = left(jnp.asarray(vectors * 3, jnp.float32), jnp.asarray(points, jnp.float32))
    assert float(ours) == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_push_moves_the_nearest_vector_alone(rng):
    """The others are taken as they stand, as in that code."""
    points, vectors = (jnp.asarray(unit(rng.normal(size=(count, 5))), jnp.float32) for count in (20, 4))

    def with_fixed_others(moved):
        moved = moved / jnp.linalg.norm(moved, axis=-1, keepdims=True)
        similar = points @ moved.T / 0.07
        best = similar.argmax(1)
        pushed = jnp.exp(moved[best] @ vectors.T / 0.07).sum(1)
        return -jnp.log(jnp.exp(similar.max(1)) / (jnp.exp(similar.max(1)) + pushed)).mean()

    ours, theirs = jax.grad(left)(vectors, points), jax.grad(with_fixed_others)(vectors)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_free_vectors_find_a_place_in_every_heap(rng):
    centres = np.eye(4)
    points = unit(np.repeat(centres, [40, 40, 40, 40], axis=0) + 0.05 * rng.normal(size=(160, 4)))
    vectors = np.asarray(first_sets.free_vectors(KEY, points.astype(np.float32), 8, steps=1500))
    before = np.asarray(points[np.asarray(jax.random.choice(KEY, 160, (8,), replace=False))])
    lost = [float(left(jnp.asarray(part, jnp.float32), jnp.asarray(points, jnp.float32))) for part in (before, vectors)]
    assert lost[1] < lost[0]
    assert {int(vector.argmax()) for vector in vectors} == {0, 1, 2, 3}


def test_nearest_unused_points_are_those_of_a_loop(rng):
    points, vectors = rng.normal(size=(30, 3)), rng.normal(size=(6, 3))
    vectors[1] = vectors[0]
    left, expected = list(range(30)), []
    for vector in vectors:
        expected.append(min(left, key=lambda place, vector=vector: np.linalg.norm(points[place] - vector)))
        left.remove(expected[-1])
    assert first_sets.nearest_unused(vectors, points).tolist() == expected


def test_density_apart_is_the_rule_written_out(rng):
    points, of = rng.normal(size=(40, 3)), np.repeat(np.arange(4), 10)
    distances = cdist(points, points)
    density = [1 / np.mean(sorted(row)[1:6]) for row in distances]
    chosen = [max(range(10 * c, 10 * c + 10), key=lambda place: density[place]) for c in range(4)]
    first = list(chosen)
    for _ in range(10):
        worth = [density[i] - 0.5 * sum(1 / distances[i, chosen[c]] ** 2 for c in range(4) if c != of[i]) for i in range(40)]
        chosen = [max(range(10 * c, 10 * c + 10), key=lambda place, worth=worth: worth[place]) for c in range(4)]
    assert first_sets.density_apart(points, of).tolist() == chosen
    assert first_sets.density_apart(points, of, weight=0.0).tolist() == first
    assert chosen != first  # or the push would not be seen


def test_one_point_a_cluster_and_twins_are_no_trouble():
    points = np.zeros((4, 2))
    assert sorted(first_sets.density_apart(points, np.arange(4))) == [0, 1, 2, 3]
    assert sorted(first_sets.medoids(points, 4)) == [0, 1, 2, 3]
    assert len(set(first_sets.medoids(points, 2))) == 2
    assert first_sets.density_apart(points[:1], np.zeros(1, int)).tolist() == [0]


@pytest.mark.parametrize("seed", range(5))
def test_medoids_come_close_to_the_best_of_all_sets(seed):
    points = np.random.default_rng(seed).normal(size=(12, 2))
    distances = cdist(points, points)

    def left(places):
        return distances[list(places)].min(0).sum()

    best = min(left(places) for places in itertools.combinations(range(12), 3))
    found = first_sets.medoids(points, 3)
    greedy = []
    for _ in range(3):
        greedy.append(min(set(range(12)) - set(greedy), key=lambda place: left([*greedy, place])))
    assert len(set(found)) == 3
    assert best <= left(found) <= left(greedy) + 1e-12
    assert left(found) < 1.15 * best
    assert first_sets.medoid(points) == min(range(12), key=lambda place: distances[place].sum())


def test_appearance_is_means_of_blocks_and_shares_of_bins(rng):
    image, inside = rng.normal(size=(7, 12, 2)), rng.random((7, 12)) < 0.8
    ours = np.asarray(appearance.appearance(jnp.asarray(image, jnp.float32), jnp.asarray(inside)))
    blocks = np.zeros((6, 6, 2))
    rows, columns = np.arange(7) * 6 // 7, np.arange(12) * 6 // 12
    for row, column in itertools.product(range(6), range(6)):
        place = np.ix_(rows == row, columns == column)
        kept = image[place][inside[place]]
        blocks[row, column] = kept.mean(0) if len(kept) else 0.0
    counts = [np.histogram(np.clip(image[inside][:, channel], -4, 4), 32, (-4, 4))[0] / inside.sum() for channel in (0, 1)]
    np.testing.assert_allclose(ours[:72], blocks.ravel() / np.sqrt(72), atol=1e-6)
    np.testing.assert_allclose(ours[72:], np.concatenate(counts), atol=1e-6)


def test_principal_components_are_those_of_scikit_learn(rng):
    points = rng.normal(size=(30, 9)) * np.arange(1, 10)
    ours, theirs = appearance.principal(points, 4), PCA(4).fit_transform(points)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), rtol=1e-4, atol=1e-4)
    assert appearance.principal(points[:3]).shape == (3, 3)
