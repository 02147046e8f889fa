import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma

from jaxal.acquisition import evidence


def test_the_excess_of_digamma_is_scipys():
    x = np.concatenate([np.geomspace(np.exp(-10), np.exp(12), 400), [1.0, 6.0]])
    ours = np.asarray(evidence.excess_of_digamma(jnp.asarray(x, jnp.float32)))
    np.testing.assert_allclose(ours, digamma(x + 1) - np.log(x), rtol=3e-5)


@pytest.mark.parametrize("classes", [2, 5])
def test_uncertainties_are_scipys_and_sum_to_the_entropy(rng, classes):
    logits = rng.normal(scale=3, size=(classes, 60)).astype(np.float32)
    alpha = np.exp(logits.astype(np.float64))
    total, share = alpha.sum(0), alpha / alpha.sum(0)
    of_data = (share * (digamma(total + 1) - digamma(alpha + 1))).sum(0)
    entropy = -(share * np.log(share)).sum(0)
    ours = [np.asarray(part) for part in evidence.uncertainties(jnp.asarray(logits))]
    np.testing.assert_allclose(ours[0], entropy - of_data, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(ours[1], of_data, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(ours[0] + ours[1], entropy, rtol=1e-4, atol=1e-6)


def test_uncertainties_are_those_of_sampled_distributions(rng):
    logits = np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 0.0]], np.float32)
    samples = np.stack([rng.dirichlet(alpha, 200_000) for alpha in np.exp(logits.T)])
    expected = -(samples * np.log(np.maximum(samples, 1e-300))).sum(-1).mean(1)
    mean = samples.mean(1)
    ours = [np.asarray(part) for part in evidence.uncertainties(jnp.asarray(logits))]
    np.testing.assert_allclose(ours[1], expected, rtol=1e-2)
    np.testing.assert_allclose(ours[0], -(mean * np.log(mean)).sum(-1) - expected, rtol=2e-2)


def test_more_evidence_of_the_same_kind_leaves_the_data_alone_uncertain():
    """A thousand times the evidence: the distribution is known, the class is not."""
    few, many = (np.asarray(evidence.uncertainties(jnp.full((2, 1), np.log(alpha)))) for alpha in (0.5, 500.0))
    assert many[0] < 0.01 * few[0] and many[1] > few[1]
    assert many[1] == pytest.approx(np.log(2), rel=2e-3)


def test_extreme_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 0.0]])
    for part in evidence.uncertainties(logits):
        assert np.isfinite(part).all() and (np.asarray(part) >= 0).all()
