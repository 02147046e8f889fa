"""How little an image must change, on networks whose answers are known: linear ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.scoring import sensitivity

COUNT, SIDE, CLASSES = 6, 4, 3


@pytest.fixture
def linear(rng):
    """Logits of images as products with known weights, and the images."""
    weights, bias = rng.normal(size=(CLASSES, SIDE * SIDE)), rng.normal(size=CLASSES)
    images = rng.normal(size=(COUNT, SIDE, SIDE, 1))

    def logits(images):
        found = jnp.matmul(images.reshape(len(images), -1), jnp.asarray(weights.T, jnp.float32), precision="highest")
        return (found + jnp.asarray(bias, jnp.float32)[None])[:, :, None]

    return logits, weights, images.reshape(COUNT, -1) @ weights.T + bias, jnp.asarray(images, jnp.float32)


INSIDE, KEYS = jnp.ones((COUNT, 1), bool), jax.random.split(jax.random.key(0), COUNT)


def test_deepfool_of_a_linear_network_is_the_distance_to_the_nearest_boundary(linear):
    logits, weights, found, images = linear
    first, expected = found.argmax(1), []
    for row, own in zip(found, first, strict=True):
        ways = [(row[own] - row[k]) / np.linalg.norm(weights[k] - weights[own]) for k in range(CLASSES) if k != own]
        expected.append(min(ways))
    ours = sensitivity.distance_to_another_class(logits, images, INSIDE, KEYS)
    np.testing.assert_allclose(ours, 1.02 * np.array(expected), rtol=2e-3)  # it crosses the boundary by two per cent


def test_steps_of_a_linear_network_are_counted_as_in_a_plain_loop(linear):
    logits, weights, found, images = linear
    expected = []
    for row, image in zip(found, np.asarray(images, np.float64).reshape(COUNT, -1), strict=True):
        own, moved, steps = row.argmax(), image.copy(), 0
        bias = row - image @ weights.T
        while steps < sensitivity.STEPS:
            z = moved @ weights.T + bias
            p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            slope = (p - np.eye(CLASSES)[own]) @ weights
            moved, steps = moved + sensitivity.STEP * np.sign(slope), steps + 1
            if (moved @ weights.T + bias).argmax() != own:
                break
        expected.append(steps)
    assert len(set(expected)) > 1
    np.testing.assert_array_equal(sensitivity.steps_to_another_class(logits, images, INSIDE, KEYS), expected)


def test_divergence_of_a_linear_network_is_along_the_slope(linear):
    logits, weights, found, images = linear

    def softmax(z):
        return np.exp(z - z.max()) / np.exp(z - z.max()).sum()

    expected = []
    for place, row in enumerate(found):
        start = np.asarray(jax.random.normal(KEYS[place], (SIDE, SIDE, 1)), np.float64).ravel()
        start *= 1e-2 / np.sqrt(np.square(start).mean())
        slope = (softmax(row + start @ weights.T) - softmax(row)) @ weights
        move = sensitivity.STEP * slope / np.sqrt(np.square(slope).mean())
        p, q = softmax(row), softmax(row + move @ weights.T)
        expected.append((p * np.log(p / q)).sum())
    ours = np.asarray(sensitivity.divergence_nearby(logits, images, INSIDE, KEYS))
    np.testing.assert_allclose(ours, expected, rtol=2e-2)
    for seed in range(5):  # no direction at random moves it as far
        away = np.asarray(jax.random.normal(jax.random.key(seed), images.shape)).reshape(COUNT, -1)
        away = away * sensitivity.STEP / np.sqrt(np.square(away).mean(1, keepdims=True))
        for row, move, value in zip(found, away, ours, strict=True):
            p, q = softmax(row), softmax(row + move @ weights.T)
            assert (p * np.log(p / q)).sum() < value


def test_half_of_a_structure_must_go(rng):
    """Eight elements, four of which are a structure: their own brightness decides each."""
    brightness = jnp.asarray([[0.02, 0.07, 0.12, 0.9, -5, -5, -5, -5], [-1.0] * 8], jnp.float32)[..., None]

    def logits(images):
        return jnp.stack([jnp.zeros_like(images[..., 0]), images[..., 0]], 1)

    inside = jnp.ones((2, 8), bool)
    steps = sensitivity.steps_to_another_class(logits, brightness, inside, KEYS[:2])
    assert steps.tolist() == [
        3.0,
        20.0,
    ]  # three of four have gone below zero after three steps; without a structure all count, far away
    outside = inside.at[0, 0].set(False)
    assert float(sensitivity.steps_to_another_class(logits, brightness, outside, KEYS[:2])[0]) == 3.0


def test_flat_networks_are_not_divided_by_nothing():
    images = jnp.zeros((2, 3, 3, 1))

    def logits(images):
        return jnp.zeros((2, 3, 1)) + 0.0 * images.sum()

    for measure in sensitivity.MEASURES.values():
        assert np.isfinite(measure(logits, images, jnp.ones((2, 1), bool), KEYS[:2])).all()
