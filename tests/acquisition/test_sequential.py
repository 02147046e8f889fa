"""Rules that choose one after the other against plain loops and numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition.sequential import FARTHEST, contextual_distances, falcun, farthest_contexts, ranked_batch


def test_a_ranked_batch_by_hand():
    """Three points on a line and one labelled at zero: far ones first while labels are few, then unsure ones."""
    points, labelled, scores = np.array([[1.0], [3.0], [9.0]]), np.array([[0.0]]), np.array([1.0, 0.2, 0.0])
    places, values = ranked_batch(points, scores, labelled, 3)
    first = 0.75 * (1 - 1 / (1 + np.array([1, 3, 9]))) + 0.25 * scores
    assert places[0] == first.argmax() == 2 and values[0] == pytest.approx(0.675)
    second = 0.5 * (1 - 1 / (1 + np.array([1, 3]))) + 0.5 * scores[:2]
    assert places[1] == second.argmax() == 0 and values[1] == pytest.approx(0.75)
    assert values[2] == pytest.approx(0.25 * (1 - 1 / 3) + 0.75 * 0.2)  # two away from the first
    alone, _ = ranked_batch(points, scores, np.zeros((0, 1)), 1)
    assert alone.tolist() == [1]  # in the middle


def plain_falcun(key, probability, margin, budget, gamma):
    chosen = []
    for step in range(budget):
        near = [
            margin[i] if not chosen else min(np.abs(probability[i] - probability[j]).sum() for j in chosen)
            for i in range(len(margin))
        ]
        left = [i for i in range(len(margin)) if i not in chosen]
        low, high = min(near[i] for i in left), max(near[i] for i in left)
        noise = np.asarray(jax.random.gumbel(jax.random.fold_in(key, step), (len(margin),)))
        chosen.append(max(left, key=lambda i: gamma * np.log(margin[i] + (near[i] - low) / (high - low)) + noise[i]))
    return chosen


def test_falcun_by_loops_and_without_noise(rng):
    probability = rng.dirichlet(np.ones(3), 20)
    ordered = np.sort(probability, -1)
    margin = 1 - (ordered[:, -1] - ordered[:, -2])
    for seed in range(3):
        key = jax.random.key(seed)
        assert falcun(key, probability, margin, 6)[0].tolist() == plain_falcun(key, probability, margin, 6, 10.0)
    places, values = falcun(jax.random.key(0), probability, margin, 2, gamma=1e6)
    assert places[0] == margin.argmax() and values[0] == pytest.approx(margin.max() + 1)


def test_falcun_takes_twins_in_the_end():
    places, _ = falcun(jax.random.key(0), np.full((4, 2), 0.5), np.ones(4), 4)
    assert sorted(places.tolist()) == [0, 1, 2, 3]


def test_contextual_distances_by_loops(rng):
    mixtures = rng.dirichlet(np.ones(3), (5, 3))
    there = rng.uniform(size=(5, 3)) < 0.7
    there[0] = [True, True, False]
    there[4] = [False, False, True]
    mixtures = mixtures * there[..., None]
    mixtures = mixtures.astype(np.float32)
    apart = np.stack([contextual_distances(jnp.asarray(mixtures), jnp.asarray(other)) for other in mixtures])
    for one, image in np.ndindex(5, 5):
        shared = [c for c in range(3) if there[image, c] and there[one, c]]
        pairs = [(mixtures[image, c].astype(float), mixtures[one, c].astype(float)) for c in shared]
        each = [(p * np.log(p / q)).sum() / 2 + (q * np.log(q / p)).sum() / 2 for p, q in pairs]
        assert apart[one, image] == pytest.approx(np.mean(each) if shared else FARTHEST, rel=1e-3, abs=1e-6)
    assert apart[0, 4] == FARTHEST
    places, values = farthest_contexts(jnp.asarray(mixtures), jnp.asarray(np.append(apart[0, :4], -1.0)), 2)
    first = apart[0, :4].argmax()
    second = np.minimum(apart[0, :4], apart[first, :4]).argmax()
    assert places.tolist() == [first, second] and values[1] == pytest.approx(min(apart[0, second], apart[first, second]))
