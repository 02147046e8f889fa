"""A head whose mixture of normal distributions says where numbers may be of two kinds (`strategies.values.mixture_variance`)."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxal.acquisition import values
from jaxal.acquisition.values import Mixture
from jaxal.errors import UserError
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import REGRESSION_STRATEGIES
from jaxal.strategies.values import mixture_variance
from jaxal.types import Example, Output


def given(rng, items, targets):
    output = Output(jnp.asarray(rng.normal(size=(items, 1, 6)), jnp.float32), jnp.ones((items, 3)), {})
    centre = jnp.tile(jnp.arange(float(targets)), (items, 1))
    return output, jnp.concatenate([centre, jnp.zeros((items, targets))], 1)[..., None]


def test_the_loss_is_the_mixtures_likelihood_over_what_is_known(rng):
    weight, mean, log_variance = rng.normal(size=(3, 5, 2, 4))
    weight = np.log(np.exp(weight) / np.exp(weight).sum(-1, keepdims=True))
    mixture = Mixture(*(jnp.asarray(part, jnp.float32) for part in (weight, mean, log_variance)))
    label, known = rng.normal(size=(5, 2)), rng.random((5, 2)) < 0.6
    density = (np.exp(weight) * stats.norm.pdf(label[..., None], mean, np.exp(0.5 * log_variance))).sum(-1)
    plain = -np.log(density) - 0.5 * np.log(2 * np.pi)
    batch = Example(None, jnp.asarray(np.where(known, label, np.nan), jnp.float32), None, jnp.asarray(known))
    found = mixture_variance().auxiliary.loss(mixture, None, None, batch)
    np.testing.assert_allclose(found, np.where(known, plain, 0.0).sum(1), rtol=1e-4, atol=1e-5)


def test_both_variances_together_are_the_mixtures(rng):
    weight, mean, deviation = np.array([0.2, 0.5, 0.3]), np.array([-1.0, 2.0, 2.5]), np.array([0.5, 1.0, 0.1])
    mixture = Mixture(*(jnp.asarray(part, jnp.float32) for part in (np.log(weight), mean, 2 * np.log(deviation))))
    second = (weight * (deviation**2 + mean**2)).sum()
    both = values.variance_between(mixture) + values.variance_within(mixture)
    assert float(both) == pytest.approx(second - (weight * mean).sum() ** 2, rel=1e-5)
    assert float(values.variance_within(mixture)) == pytest.approx((weight * deviation**2).sum(), rel=1e-5)


def trained(head, read, batch, steps=1500):
    """The head alone, as the network's gradient trains it."""
    optimizer = optax.adam(1e-2)
    params = head.init(jax.random.key(0), jax.eval_shape(lambda: read))

    def step(state, _):
        params, memory = state
        gradient = jax.grad(lambda params: head.loss(head.apply(params, read), None, None, batch).mean())(params)
        updates, memory = optimizer.update(gradient, memory)
        return (optax.apply_updates(params, updates), memory), None

    start = params, optimizer.init(params)
    return jax.jit(lambda: jax.lax.scan(step, start, None, steps)[0][0])()


@pytest.fixture
def adam():
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_numbers_of_two_kinds_have_components_apart_and_those_of_one_kind_have_not(rng, adam):
    """The first target is 3 above or below its prediction, whatever the image; the second has the same variance and one peak."""
    head = mixture_variance(components=3).auxiliary
    output, logits = given(rng, 400, 2)
    kind = np.where(np.arange(400) % 2, 3.0, -3.0)
    label = np.stack([kind + 0.3 * rng.normal(size=400), 1.0 + 3.0 * rng.normal(size=400)], 1)
    output = output._replace(features=jnp.zeros_like(output.features))
    read = head.read(output, logits)
    batch = Example(None, jnp.asarray(label, jnp.float32), None, jnp.ones((400, 2), bool))
    mixture = head.apply(trained(head, read, batch), read)
    between, within = values.variance_between(mixture)[0], values.variance_within(mixture)[0]
    assert float(between[0]) == pytest.approx(9.0, rel=0.15) and float(within[0]) < 0.3
    np.testing.assert_allclose(between + within, label.var(0), rtol=0.1)
    assert float(within[1]) > 3.0


@pytest.mark.parametrize("unit", [1e4, 1e-4])
def test_units_change_no_score(rng, unit):
    strategy = mixture_variance(aleatoric=True)
    head = strategy.auxiliary
    output, logits = given(rng, 5, 2)
    scores = []
    for one in (1.0, unit):
        scaled = jnp.concatenate([logits[:, :2] * one, logits[:, 2:] + 2 * np.log(one)], 1)
        read = head.read(output, scaled)
        params = head.init(jax.random.key(1), jax.eval_shape(lambda read=read: read))
        statistics = {"auxiliary": {"mixture": head.apply(params, read)}}
        scores.append(strategy.score(statistics, types.SimpleNamespace(value=np.full(2, 4.0 * one**2))))
    assert scores[0].shape == (5,) and len(set(scores[0].tolist())) == 5
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3)


def test_a_head_changes_neither_features_nor_prediction(rng):
    head = mixture_variance().auxiliary
    output, logits = given(rng, 4, 2)
    params = head.init(jax.random.key(1), jax.eval_shape(lambda: head.read(output, logits)))
    batch = Example(None, jnp.ones((4, 2)), None, jnp.ones((4, 2), bool))

    def lost(features, logits):
        read = head.read(output._replace(features=features), logits)
        return head.loss(head.apply(params, read), logits, None, batch).sum()

    for gradient in jax.grad(lost, (0, 1))(output.features, logits):
        assert not np.asarray(gradient).any()


def test_a_mixture_has_two_components_at_least():
    with pytest.raises(UserError, match="components is 1; a mixture has two at least"):
        named_strategy("mixture_variance,components=1", REGRESSION_STRATEGIES)
