import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.training.averaging import averaged


def average_of(values, decay):
    """Step by step, given the fresh weights and those after each step."""
    average = jnp.float32(values[0])
    for step, value in enumerate(values[1:]):
        average = averaged(average, jnp.float32(value), jnp.int32(step), decay)
    return float(average)


def test_the_average_by_hand():
    """A step's share is 9/10 in the first step and 9/11 in the second; that of a smaller decay is larger."""
    assert average_of([0.0, 1.0], 0.999) == pytest.approx(0.9)
    assert average_of([0.0, 1.0, 3.0], 0.999) == pytest.approx(0.9 * 2 / 11 + 3 * 9 / 11)
    assert average_of([0.0, 1.0, 3.0], 0.05) == pytest.approx(0.95 * 0.05 + 3 * 0.95)


def test_weights_that_stay_are_their_own_average(rng):
    """To the last bit, so that what is not trained does not move."""
    params = {
        "norm": {"frozen_scale": jnp.asarray(rng.normal(size=5), jnp.float32)},
        "kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32),
    }
    average = params
    for step in range(3):
        average = averaged(average, params, jnp.int32(step), 0.999)
    for ours, theirs in zip(jax.tree.leaves(average), jax.tree.leaves(params), strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
