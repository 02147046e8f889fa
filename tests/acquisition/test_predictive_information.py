"""EPIG against its definition in double precision."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import predictive_information, uncertainty
from jaxal.acquisition.predictive_information import epig


def entropy(p):
    return -(p * np.log(p)).sum()


def plain(pool, targets):
    """H(p_i) + H(p_j) - H(p_ij), pair by pair, mean over the targets."""
    return [np.mean([entropy(i.mean(0)) + entropy(j.mean(0)) - entropy(i.T @ j / len(i)) for j in targets]) for i in pool]


@pytest.mark.parametrize("sharpness", [0.5, 4.0])
def test_epig_is_the_mean_mutual_information(rng, monkeypatch, sharpness):
    pool, targets = (rng.dirichlet(np.ones(3) / sharpness, (count, 6)) * 0.999 + 0.001 / 3 for count in (9, 5))
    found = np.asarray(epig(jnp.asarray(pool, jnp.float32), jnp.asarray(targets, jnp.float32)))
    np.testing.assert_allclose(found, plain(pool, targets), rtol=1e-4, atol=1e-6)
    monkeypatch.setattr(predictive_information, "_NUMBERS_AT_ONCE", 90)  # two items at once
    np.testing.assert_allclose(
        np.asarray(epig(jnp.asarray(pool, jnp.float32), jnp.asarray(targets, jnp.float32))), found, rtol=1e-6
    )


def test_targets_count_as_they_weigh(rng):
    pool, targets = (rng.dirichlet(np.ones(3), (count, 6)) * 0.999 + 0.001 / 3 for count in (9, 5))
    weights = rng.dirichlet(np.ones(5))
    found = np.asarray(epig(jnp.asarray(pool, jnp.float32), jnp.asarray(targets, jnp.float32), jnp.asarray(weights, jnp.float32)))
    by_target = np.array([plain(pool, target[None]) for target in targets])
    np.testing.assert_allclose(found, (by_target * weights[:, None]).sum(0), rtol=1e-4, atol=1e-6)


def test_epig_is_never_more_than_bald(rng):
    """Another label cannot tell more of this one than the member does (data processing)."""
    pool = rng.dirichlet(np.ones(4) / 3, (40, 8))
    logits = jnp.asarray(np.log(np.maximum(np.moveaxis(pool, 0, -1), 1e-30)), jnp.float32)
    bald = np.asarray(uncertainty.bald(uncertainty.moments_of(logits)))
    found = np.asarray(epig(jnp.asarray(pool, jnp.float32), jnp.asarray(pool, jnp.float32)))
    assert (found >= 0).all() and (found <= bald + 1e-5).all() and found.max() > 0.01


def test_members_that_agree_have_nothing_to_tell(rng):
    same = np.repeat(rng.dirichlet(np.ones(3), (7, 1)), 5, axis=1)
    assert np.asarray(epig(jnp.asarray(same, jnp.float32), jnp.asarray(same, jnp.float32))).max() < 1e-9


def test_members_that_hardly_differ_are_told_apart(rng):
    """Against double precision, where the information is a millionth of the entropies whose difference it is."""
    scale = rng.uniform(0.2, 1.0, (30, 1, 1))
    logits = rng.normal(size=(30, 1, 3)) + 1e-3 * scale * rng.normal(size=(30, 10, 3))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = np.asarray(epig(jnp.asarray(p, jnp.float32), jnp.asarray(p[:8], jnp.float32)))
    exact = np.array(plain(p, p[:8]))
    assert np.argsort(found)[-5:].tolist() == np.argsort(exact)[-5:].tolist()


def test_saturated_members_stay_finite():
    sure = jnp.asarray(np.eye(3)[np.array([[0, 1, 2], [0, 0, 0], [1, 1, 0]])], jnp.float32)  # [items, members, classes]
    found = np.asarray(epig(sure, sure))
    assert np.isfinite(found).all() and found[1] == 0
    assert found[0] == pytest.approx((np.log(3) + 0 + entropy(np.array([2 / 3, 1 / 3]))) / 3, rel=1e-5)
