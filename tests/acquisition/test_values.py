"""Uncertainty of predicted numbers against NumPy over members that exist all at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import values


@pytest.fixture
def outputs(rng):
    """Seven members' means and logarithms of variances of two targets: `[members, cases, 2 targets, elements]`."""
    return rng.normal(size=(7, 3, 4, 2))


def check(moments, outputs):
    mean, variance = outputs[:, :, :2], np.exp(outputs[:, :, 2:])
    np.testing.assert_allclose(values.mean_value(moments), mean.mean(0), atol=1e-5)
    np.testing.assert_allclose(values.epistemic_variance(moments), mean.var(0), atol=1e-5)
    np.testing.assert_allclose(values.aleatoric_variance(moments), variance.mean(0), rtol=1e-5)
    np.testing.assert_allclose(values.total_variance(moments), mean.var(0) + variance.mean(0), rtol=1e-5)
    information = 0.5 * np.log((mean.var(0) + variance.mean(0)) / variance.mean(0))
    np.testing.assert_allclose(values.bald(moments), information, atol=1e-5)


def test_streamed_members_are_those_that_exist_at_once(outputs):
    members = jnp.asarray(outputs, jnp.float32)
    check(values.moments_of(members), outputs)
    around = jnp.asarray(np.random.default_rng(5).normal(size=outputs.shape[1:]), jnp.float32)
    streamed = values.no_moments(around)
    for member in members[:3]:
        streamed = values.add_member(streamed, member)
    check(values.join(streamed, values.moments_of(members[3:], around)), outputs)


def test_a_prediction_is_the_mean_and_the_logarithm_of_the_mean_variance(outputs):
    found = np.asarray(values.prediction(values.moments_of(jnp.asarray(outputs, jnp.float32))))
    np.testing.assert_allclose(found[:, :2], outputs[:, :, :2].mean(0), atol=1e-5)
    np.testing.assert_allclose(np.exp(found[:, 2:]), np.exp(outputs[:, :, 2:]).mean(0), rtol=1e-5)


def test_members_that_agree_are_unsure_of_noise_alone():
    same = jnp.broadcast_to(jnp.array([[1000.0], [2.0]]), (20, 2, 1))
    moments = values.moments_of(same)
    assert float(values.epistemic_variance(moments)[0, 0]) == 0.0 == float(values.bald(moments)[0, 0])
    assert float(values.total_variance(moments)[0, 0]) == pytest.approx(np.exp(2.0), rel=1e-6)


def test_a_variance_out_of_bounds_is_kept_finite():
    moments = values.moments_of(jnp.array([[[0.0], [1e9]], [[0.0], [-1e9]]]))
    assert np.isfinite(np.asarray(values.total_variance(moments))).all()


def test_information_of_pairs_is_that_of_two_normal_numbers(rng):
    """From determinants of the members' covariance of each pair, with the noise on its diagonal."""
    pool, evaluation = rng.normal(size=(3, 9, 2)), rng.normal(size=(4, 9, 2))
    noise, of_others = rng.uniform(0.1, 1.0, (3, 2)), rng.uniform(0.1, 1.0, (4, 2))
    evaluation[0] = 3.0 * pool[1] + 5.0  # fully dependent, but for the noise
    expected = np.zeros(3)
    for place in range(3):
        for other in range(4):
            for target in range(2):
                joint = np.cov(pool[place, :, target], evaluation[other, :, target], bias=True)
                joint = joint + np.diag([noise[place, target], of_others[other, target]])
                expected[place] += 0.5 * np.log(joint[0, 0] * joint[1, 1] / np.linalg.det(joint)) / 4
    ours = jax.jit(values.information_of_pairs)(
        *(jnp.asarray(part, jnp.float32) for part in (pool, noise, evaluation, of_others))
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
    assert int(np.argmax(ours)) == 1
