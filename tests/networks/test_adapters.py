"""Anybody's network: its logits, its dropout, and what is refused."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxal
from jaxal.arrays import flat, logits_of
from jaxal.networks import adapters

IMAGES = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
KEY = jax.random.key(3)


class Perceptron(nn.Module):
    """With layers that go wrong in many ways."""

    last: str = "nothing"
    norm: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.Dense(16)(x.reshape(len(x), -1)))
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dense(5)(nn.Dropout(0.5, deterministic=not train)(x))
        return nn.softmax(x) if self.last == "softmax" else x * jnp.inf if self.last == "infinite" else x


class Nested(nn.Module):
    """Every element has a class; the head is a convolution of one element in another module."""

    window: int = 1

    @nn.compact
    def __call__(self, x):
        class Decoder(nn.Module):
            window: int

            @nn.compact
            def __call__(self, x):
                return nn.Conv(3, (self.window, self.window), use_bias=False, name="out")(x)

        return Decoder(self.window, name="decoder")(nn.relu(nn.Conv(4, (3, 3))(x)))


class Small(nnx.Module):
    def __init__(self, rngs, rate=0.5):
        self.inner = nnx.Sequential(nnx.Linear(64, 16, rngs=rngs), nnx.relu)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        if rate:
            self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.head = nnx.Linear(16, 5, rngs=rngs)

    def __call__(self, x):
        x = self.norm(self.inner(x.reshape(len(x), -1)))
        return self.head(self.dropout(x) if hasattr(self, "dropout") else x)


class Maps(eqx.Module):
    first: eqx.nn.Conv2d
    dropout: eqx.nn.Dropout
    head: eqx.nn.Conv2d

    def __init__(self, key):
        first_key, head_key = jax.random.split(key)
        self.first = eqx.nn.Conv2d(1, 4, 3, padding=1, key=first_key)
        self.dropout = eqx.nn.Dropout(0.5)
        self.head = eqx.nn.Conv2d(4, 3, 1, key=head_key)

    def __call__(self, x, *, key=None):
        return self.head(self.dropout(jax.nn.relu(self.first(x)), key=key))


def logits_by(model, params, images, masks=None):
    """Classes last."""
    output = model.tail(params, model.stem(params, jnp.asarray(images)), masks)
    logits = logits_of(flat(output)[:, None] if output.features.ndim == 1 else flat(output), *model.head(params, masks))
    return np.moveaxis(np.asarray(logits), 1, -1).reshape(*output.features.shape[:-1], -1)


def perceptron(**more):
    module = Perceptron(**more)
    return module, module.init(jax.random.key(0), IMAGES[:1])


def test_linen_gives_the_modules_logits_and_its_dropout():
    module, variables = perceptron()
    model, params = adapters.linen(module, variables, IMAGES[:2], head="Dense_1", on={"train": True})
    np.testing.assert_allclose(logits_by(model, params, IMAGES), module.apply(variables, IMAGES), rtol=1e-5, atol=1e-6)
    sampled = logits_by(model, params, IMAGES[:1], model.draw_masks(KEY))
    expected = module.apply(variables, IMAGES[:1], train=True, rngs={"dropout": KEY})
    np.testing.assert_allclose(sampled, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(sampled, logits_by(model, params, IMAGES[:1]))


def test_dropout_samples_of_a_pass_are_runs_of_the_module():
    """BALD by hand: the module run again for each sample, with the keys that the pass draws."""
    module, variables = perceptron()
    model, params = adapters.linen(module, variables, IMAGES[:2], head="Dense_1", on={"train": True})
    options = jaxal.ScoreOptions(dropout_samples=4, batch_size=1, seed=5)
    scores = jaxal.score(model, params, IMAGES, "bald", options=options)["bald"]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(jax.random.key(5), 1), 0), 0)
    keys = [jax.random.fold_in(key, sample) for sample in range(4)]
    rows = [[module.apply(variables, image[None], train=True, rngs={"dropout": key})[0] for image in IMAGES] for key in keys]
    np.testing.assert_allclose(scores, jaxal.bald(np.array(rows)), rtol=1e-4, atol=1e-6)
    assert scores.min() > 1e-3


class Flagged(nn.Module):
    """One required flag for its batch norms and its dropout, as most networks have it."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(16)(x.reshape(len(x), -1)))
        return nn.Dense(5)(nn.Dropout(0.5, deterministic=not train)(x))


class Fixed(nn.Module):
    """The same whose batch norm always takes its stored statistics."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=True)(nn.Dense(16)(x.reshape(len(x), -1)))
        return nn.Dense(5)(nn.Dropout(0.5, deterministic=not train)(x))


def test_a_flag_that_switches_batch_norms_too_leaves_their_statistics_stored():
    variables = Flagged().init(KEY, IMAGES[:1], train=False)
    variables["batch_stats"] = jax.tree.map(lambda leaf: leaf + 0.3, variables["batch_stats"])
    flags = {"off": {"train": False}, "on": {"train": True}}
    model, params = adapters.linen(Flagged(), variables, IMAGES[:2], head="Dense_1", **flags)
    expected = Fixed().apply(variables, IMAGES[:2], train=True, rngs={"dropout": KEY})
    np.testing.assert_allclose(logits_by(model, params, IMAGES[:2], {"key": KEY}), expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(jaxal.score(model, params, IMAGES, "bald")["bald"]).all()
    with pytest.raises(jaxal.UserError, match=r"required positional argument: 'train'.*go into off="):
        adapters.linen(Flagged(), variables, IMAGES[:2], head="Dense_1")


def test_dropout_that_does_not_run_is_told_when_the_adapter_is_made():
    with pytest.raises(jaxal.UserError, match="With dropout switched on the network does not run"):
        linen(*perceptron(), on={"training": True})


def test_linen_heads_may_be_nested_convolutions_without_bias():
    module = Nested()
    variables = module.init(jax.random.key(0), IMAGES[:1])
    model, params = adapters.linen(module, variables, IMAGES[:2], head="decoder/out")
    assert model.tail(params, model.stem(params, jnp.asarray(IMAGES)), None).features.shape == (6, 8, 8, 4)
    np.testing.assert_allclose(logits_by(model, params, IMAGES), module.apply(variables, IMAGES), rtol=1e-5, atol=1e-6)


def test_stored_statistics_of_linen_are_not_trained():
    module, variables = perceptron(norm=True)
    model, params = adapters.linen(module, variables, IMAGES[:2], head="Dense_1")
    trained = model.trainable(params)
    assert all(jax.tree.leaves(trained["params"]))
    assert not any(jax.tree.leaves(trained["batch_stats"]))


def test_nnx_gives_the_modules_logits_and_its_dropout_and_leaves_it_alone():
    module = Small(nnx.Rngs(0))
    module.norm.mean[...] = jnp.full(16, 0.3)
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.RngState))))
    model, params = adapters.nnx(module, IMAGES[:2], head="head")
    sampled = [logits_by(model, params, IMAGES, model.draw_masks(jax.random.key(number))) for number in (0, 0, 1)]
    np.testing.assert_array_equal(sampled[0], sampled[1])
    assert not np.allclose(sampled[0], sampled[2])
    after = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.RngState))))
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert not module.dropout.deterministic
    module.eval()
    np.testing.assert_allclose(logits_by(model, params, IMAGES), module(IMAGES), rtol=1e-5, atol=1e-6)


def test_half_of_the_features_of_nnx_are_dropped():
    model, params = adapters.nnx(Small(nnx.Rngs(0)), IMAGES[:2], head="head")
    kept = [
        model.tail(params, jnp.asarray(IMAGES), model.draw_masks(jax.random.key(number))).features != 0 for number in range(20)
    ]
    assert (
        0.4 < np.mean(np.asarray(kept)) / np.mean(np.asarray(model.tail(params, jnp.asarray(IMAGES), None).features) != 0) < 0.6
    )


def test_nnx_without_dropout_draws_none():
    model, _ = adapters.nnx(Small(nnx.Rngs(0), rate=0), IMAGES[:2], head="head")
    assert model.draw_masks(KEY) == {}


def test_equinox_gives_the_modules_maps_and_its_dropout():
    module = Maps(jax.random.key(0))
    model, params = adapters.equinox(module, IMAGES[:2], head=lambda net: net.head)
    still = eqx.nn.inference_mode(module)
    expected = [np.moveaxis(still(jnp.moveaxis(jnp.asarray(image), -1, 0)), 0, -1) for image in IMAGES]
    np.testing.assert_allclose(logits_by(model, params, IMAGES), np.stack(expected), rtol=1e-5, atol=1e-5)
    dropped = model.tail(params, jnp.asarray(IMAGES), model.draw_masks(KEY)).features
    certain = model.tail(params, jnp.asarray(IMAGES), None).features
    kept = np.asarray(dropped) != 0
    np.testing.assert_allclose(np.asarray(dropped)[kept], 2 * np.asarray(certain)[kept], rtol=1e-5)
    assert 0.4 < kept.mean() / (np.asarray(certain) != 0).mean() < 0.6


def test_a_function_may_have_tuples_for_params():
    rng = np.random.default_rng(1)
    params = (jnp.asarray(rng.normal(size=(64, 5)), jnp.float32), [jnp.zeros(5), jnp.ones((), jnp.int32)])

    def features(params, images, key):
        values = images.reshape(len(images), -1)
        return values if key is None else values * jax.random.bernoulli(key, 0.5, (1, 64)).astype(jnp.float32)

    model, params = adapters.function(features, lambda params: (params[0], params[1][0]), params, IMAGES[:2], stochastic=True)
    expected = IMAGES.reshape(6, -1) @ np.asarray(params[0])
    np.testing.assert_allclose(logits_by(model, params, IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert model.trainable(params) == (True, [True, False])
    assert jaxal.score(model, params, IMAGES, "bald")["bald"].min() > 0
    with pytest.raises(jaxal.UserError, match="starts from the weights that it came with"):
        model.init(KEY, IMAGES)


@pytest.mark.parametrize("strategy", ["badge", "coreset", "egl", "gradient_norm", "eig"])
def test_of_logits_alone_what_reads_features_is_refused(strategy):
    module, variables = perceptron()
    model, params = adapters.logits(lambda variables, x, key: module.apply(variables, x), variables, IMAGES[:2])
    expected = jaxal.entropy(np.asarray(module.apply(variables, IMAGES))[None])
    np.testing.assert_allclose(jaxal.score(model, params, IMAGES, "entropy")["entropy"], expected, rtol=1e-4)
    with pytest.raises(jaxal.UserError, match=f"{strategy}: reads the features before the last layer"):
        jaxal.score(model, params, IMAGES, ["entropy", strategy], labelled=(IMAGES, None), evaluation=(IMAGES, np.zeros(6, int)))


def linen(module, variables, images=IMAGES[:2], head="Dense_1", **more):
    return adapters.linen(module, variables, images, head=head, **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: linen(*perceptron(), head="Dense_7"), "no layer 'Dense_7' with a kernel; there are Dense_0, Dense_1"),
        (lambda: linen(*perceptron(), head="Dense_0"), "it must be its last layer"),
        (lambda: linen(*perceptron(last="softmax")), "another than the network's own.*without a softmax"),
        (lambda: linen(*perceptron(last="infinite")), "output on the example images is not finite"),
        (lambda: linen(*perceptron(norm=True), off={"train": True}), "does not run"),
        (lambda: linen(*perceptron(), images=IMAGES[:2, :4]), "does not run on the example"),
        (lambda: linen(*perceptron(), images=IMAGES[:0]), "holds no image"),
        (lambda: linen(*perceptron(), images=IMAGES[:2] * np.nan), "not finite"),
        (lambda: linen(*perceptron(), off={"training": False}), "does not run on the example"),
        (lambda: linen(perceptron()[0], perceptron()[1]["params"]), "give all collections, such as"),
        (lambda: adapters.nnx(Small(nnx.Rngs(0)), IMAGES[:2], head=lambda net: net.head), "as a text, such as 'head'"),
        (
            lambda: linen(Nested(window=3), Nested(window=3).init(KEY, IMAGES[:1]), head="decoder/out"),
            "must be linear in the features of one element",
        ),
        (lambda: adapters.nnx(Small(nnx.Rngs(0)), IMAGES[:2], head="haed"), "no layer 'haed'.*layers with a kernel are head"),
        (lambda: adapters.nnx(Small(nnx.Rngs(0)), IMAGES[:2], head="dropout"), "is a Dropout, which has no kernel"),
        (lambda: adapters.equinox(Maps(KEY), IMAGES[:2], head=lambda net: net.tail), "no such head"),
        (lambda: adapters.equinox(Maps(KEY), IMAGES[:2], head=lambda net: net.dropout), "is a Dropout, which has no weight"),
        (
            lambda: adapters.equinox(Maps(KEY), IMAGES[:2], head=lambda net: net.first),
            "it must be its last layer",
        ),
        (
            lambda: adapters.function(
                lambda params, x, key: x.reshape(len(x), -1) - x.mean(),
                lambda params: (params, jnp.zeros(2)),
                jnp.ones((64, 2)),
                IMAGES[:1],
            ),
            "depends on the other images of its batch",
        ),
        (
            lambda: adapters.function(
                lambda params, x, key: x[:, :4], lambda params: (params, jnp.zeros(2)), jnp.ones((1, 2)), IMAGES[:2]
            ),
            "one vector for the image, or one for every element",
        ),
    ],
)
def test_networks_that_are_not_what_was_said_are_refused(make, message):
    with pytest.raises(jaxal.UserError, match=message):
        make()
