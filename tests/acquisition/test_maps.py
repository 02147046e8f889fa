"""Scores of whole label maps against loops over members, pairs and neighbours."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, optimize

from jaxal.acquisition import maps, uncertainty

MEMBERS, CLASSES, ELEMENTS = 5, 3, 60


@pytest.fixture
def logits(rng):
    return (2 * rng.normal(size=(MEMBERS, CLASSES, ELEMENTS))).astype(np.float32)


@pytest.fixture
def inside(rng):
    return rng.uniform(size=ELEMENTS) < 0.8


def of_votes(measure, logits, inside):
    moments = uncertainty.moments_of(jnp.asarray(logits))
    return float(measure(moments.votes, moments.members, jnp.asarray(inside)))


def test_the_intersection_of_all_members_by_loops(logits, inside):
    labels = logits.argmax(1)[:, inside]
    expected = np.mean([1 - (labels == c).all(0).sum() / (labels == c).any(0).sum() for c in (1, 2)])
    assert of_votes(maps.disagreement_on_intersection, logits, inside) == pytest.approx(expected, rel=1e-6)


def test_pairs_of_members_by_loops(logits, inside):
    labels = logits.argmax(1)[:, inside]

    def pooled(class_):
        pairs = [(labels[s] == class_, labels[t] == class_) for s, t in itertools.combinations(range(MEMBERS), 2)]
        return sum(2 * (a & b).sum() for a, b in pairs) / sum(a.sum() + b.sum() for a, b in pairs)

    expected = 1 - (pooled(1) + pooled(2)) / 2
    assert of_votes(maps.disagreement_of_pairs, logits, inside) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("measure", [maps.disagreement_on_intersection, maps.disagreement_of_pairs])
def test_members_that_agree_do_not_disagree(logits, inside, measure):
    """Also on a structure that none of them sees, alone and beside one that all see."""
    same = np.repeat(logits[:1], MEMBERS, 0)
    assert of_votes(measure, same, inside) == 0.0
    same[:, 2] = -99.0
    assert of_votes(measure, same, inside) == 0.0
    same[:, 1] = -99.0
    assert of_votes(measure, same, inside) == 0.0
    apart = np.zeros((2, 2, 2), np.float32)
    apart[0, 1, 0] = apart[1, 1, 1] = 9.0
    assert of_votes(measure, apart, np.ones(2, bool)) == 1.0
    assert of_votes(measure, apart, np.array([True, False])) == 1.0


def test_the_expected_dice_is_that_of_draws(rng, inside):
    probability = np.exp(rng.normal(size=(2, ELEMENTS)))
    probability /= probability.sum(0)
    draws = rng.uniform(size=(2, 4000, ELEMENTS)) < probability[1] * inside
    expected = 1 - 2 * (draws[0] & draws[1]).sum() / (draws[0].sum() + draws[1].sum())
    found = float(maps.expected_error_of_dice(jnp.asarray(probability), jnp.asarray(inside)))
    assert found == pytest.approx(expected, abs=5e-3)
    sure = jnp.asarray(np.eye(2, dtype=np.float32)[:, [0, 1, 1]])
    assert float(maps.expected_error_of_dice(sure, jnp.ones(3, bool))) == 0.0
    assert float(maps.expected_error_of_dice(sure[:, :1], jnp.ones(1, bool))) == 0.0  # surely nothing is foreground


def test_an_image_that_surely_has_no_structure_does_not_come_first():
    """Of 4000 elements two are the least that a structure counts as."""
    inside = jnp.ones(4000, bool)
    empty = jnp.full((2, 4000), 1e-6).at[0].set(1 - 1e-6)
    assert float(maps.expected_error_of_dice(empty, inside)) == pytest.approx(4000 * 1e-6 / 2, rel=1e-3)
    unsure = empty.at[1, :50].set(0.4)
    assert float(maps.expected_error_of_dice(unsure, inside)) == pytest.approx(0.6, abs=1e-3)


def neighbours(probability, inside, shape):
    """For each element, those of its cube of three that belong to the image."""
    index = np.arange(inside.size).reshape(shape)
    for place in itertools.product(*map(range, shape)):
        box = index[tuple(slice(max(0, i - 1), i + 2) for i in place)].reshape(-1)
        yield probability[:, box[inside[box]]]


def entropy(p):
    return -(p * np.log(p)).sum(0)


@pytest.mark.parametrize("shape", [(4, 5, 3), (6, 10)])
def test_neighbourhoods_by_loops(rng, inside, shape):
    probability = np.exp(rng.normal(size=(CLASSES, ELEMENTS)))
    probability /= probability.sum(0)
    near = list(neighbours(probability, inside, shape))
    arguments = jnp.asarray(probability), jnp.asarray(inside), shape
    there = np.array([part.shape[1] > 0 for part in near])
    disagreement = [entropy(part.mean(1)) - entropy(part).mean() if part.size else 0 for part in near]
    found = np.asarray(maps.neighbourhood_disagreement(*arguments))
    np.testing.assert_allclose(found[there], np.array(disagreement)[there], atol=2e-6)

    def impurity(part):
        share = np.bincount(part.argmax(0), minlength=CLASSES) / part.shape[1]
        return -(share[share > 0] * np.log(share[share > 0])).sum() * entropy(part).mean() / np.log(CLASSES) ** 2

    expected = [impurity(part) if part.size else 0 for part in near]
    np.testing.assert_allclose(np.asarray(maps.impurity_times_entropy(*arguments)), expected, atol=2e-6)


def test_box_sums_equal_scipy(rng):
    values = rng.normal(size=(5, 6, 7)).astype(np.float32)
    expected = ndimage.convolve(values, np.ones((5, 5, 5)), mode="constant")
    found = np.asarray(maps.box_sum(jnp.asarray(values.reshape(-1)), values.shape, 2)).reshape(values.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_energy_is_low_where_a_class_is_sure(rng):
    values = np.asarray(maps.free_energy(jnp.array([[9.0, 0.0, 2000.0], [0.0, 0.0, 0.0]])))
    np.testing.assert_allclose(values, [-np.log(np.exp(9) + 1), -np.log(2), -2000.0], rtol=1e-6)


def test_the_boundary_is_as_far_as_the_shortest_step_that_changes_the_class(rng):
    """The shortest step across each plane between two classes, found by a solver; and one class alone has none."""
    weights, bias, features = rng.normal(size=(CLASSES, 4)), rng.normal(size=CLASSES), rng.normal(size=(6, 4))
    lengths = np.linalg.norm(weights[:, None] - weights[None], axis=-1)
    logits = features @ weights.T + bias
    found = np.asarray(maps.nearness_to_boundary(jnp.asarray(logits.T, jnp.float32), jnp.asarray(lengths, jnp.float32)))

    def square_of_step(x, best, other):
        normal, offset = weights[other] - weights[best], bias[other] - bias[best]
        plane = {"type": "eq", "fun": lambda step: normal @ (x + step) + offset}
        return optimize.minimize(lambda step: step @ step, np.zeros(4), constraints=plane).fun

    for x, z, nearness in zip(features, logits, found, strict=True):
        squares = [square_of_step(x, z.argmax(), other) for other in range(CLASSES) if other != z.argmax()]
        assert -nearness == pytest.approx(np.sqrt(min(squares)), rel=1e-3)
    same = maps.nearness_to_boundary(jnp.array([[1.0], [0.0]]), jnp.zeros((2, 2)))
    assert np.isfinite(same).all()


@pytest.mark.parametrize("scale", [0.0, 1e4])
def test_saturated_and_even_predictions_stay_finite(logits, inside, scale):
    moments = uncertainty.moments_of(jnp.asarray(scale * logits))
    probability, here = uncertainty.mean_probability(moments), jnp.asarray(inside)
    values = [
        maps.disagreement_on_intersection(moments.votes, moments.members, here),
        maps.disagreement_of_pairs(moments.votes, moments.members, here),
        maps.expected_error_of_dice(probability, here),
        maps.neighbourhood_disagreement(probability, here, (4, 5, 3)),
        maps.impurity_times_entropy(probability, here, (4, 5, 3)),
        maps.free_energy(jnp.asarray(scale * logits[0])),
    ]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(values))


def test_disagreement_with_sides_is_dice_structure_by_structure(rng):
    sides, last, inside = rng.normal(size=(2, 3, 30)), rng.normal(size=(3, 30)), rng.random(30) < 0.8
    values = []
    for side in sides:
        for label in (1, 2):
            one, other = ((part.argmax(0) == label) & inside for part in (side, last))
            values.append(1 - 2 * (one & other).sum() / (one.sum() + other.sum()))
    ours = maps.disagreement_with_sides(jnp.asarray(sides, jnp.float32), jnp.asarray(last, jnp.float32), jnp.asarray(inside))
    assert float(ours) == pytest.approx(np.mean(values), rel=1e-5)
    nothing = jnp.zeros((3, 30)).at[0].set(1.0)
    assert float(maps.disagreement_with_sides(jnp.stack([nothing, nothing]), nothing, jnp.asarray(inside))) == 0.0
