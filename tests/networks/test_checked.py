"""What newcomers do wrong with their networks is told in sentences that say what to do; dropout is believed only where it draws."""

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxal
from jaxal.networks import adapters

IMAGES = np.random.default_rng(0).normal(size=(6, 8, 8, 1)).astype(np.float32)
KEY = jax.random.key(0)
FLAGS = {"off": {"train": False}, "on": {"train": True}}


class ByFlag(nnx.Module):
    """Its call's flag overrules what `eval` and `train` set, as in networks that were ported from linen."""

    def __init__(self, rate=0.5):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(1, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.head = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x, train=False):
        x = nnx.relu(self.norm(self.conv(x), use_running_average=not train)).mean((1, 2))
        return self.head(self.dropout(x, deterministic=not train))


class WithFlag(ByFlag):
    def __call__(self, x, train):
        return super().__call__(x, train)


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Conv(4, (3, 3))(x))
        x = nn.Dense(8)(nn.relu(x).mean((1, 2)))
        return nn.Dense(5)(nn.Dropout(0.5, deterministic=not train)(x))


@pytest.fixture(scope="module")
def variables():
    return Convolution().init(KEY, IMAGES[:1])


def made(variables, example=IMAGES[:2], head="Dense_1", **more):
    return adapters.linen(Convolution(), variables, example, head=head, **more)


def test_dropout_that_its_calls_flag_leaves_off_is_no_dropout():
    """Its samples would agree with each other, and BALD would be zero for every image."""
    model, params = adapters.nnx(ByFlag(), IMAGES[:2], head="head")
    assert np.isfinite(jaxal.score(model, params, IMAGES, "entropy")["entropy"]).all()
    with pytest.raises(jaxal.UserError, match=r"drew nothing when the adapter tried it.*of linen and nnx on=\{\"train\": True\}"):
        jaxal.score(model, params, IMAGES, "bald")


@pytest.mark.parametrize("network", [ByFlag, WithFlag])
def test_nnx_takes_the_keywords_of_a_call_and_keeps_its_statistics(network):
    module = network()
    module.norm.mean[...] = jnp.full(4, 0.3)
    model, params = adapters.nnx(module, IMAGES[:2], head="head", **FLAGS)
    certain = np.asarray(model.tail(params, jnp.asarray(IMAGES), None).features)
    dropped = np.asarray(model.tail(params, jnp.asarray(IMAGES), model.draw_masks(KEY)).features)
    np.testing.assert_allclose(dropped[dropped != 0], 2 * certain[dropped != 0], rtol=1e-5)
    assert 0.2 < (dropped != 0).mean() < 0.8
    assert jaxal.score(model, params, IMAGES, "bald")["bald"].min() > 0


def test_a_key_that_equinox_takes_and_does_not_use_is_no_dropout():
    module = eqx.nn.Sequential([eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(64, 5, key=KEY)])
    model, _ = adapters.equinox(module, IMAGES[:2], head=lambda net: net.layers[1])
    assert model.draw_masks(KEY) == {}


class Rare(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(16)(x.reshape(len(x), -1))
        return nn.Dense(5)(nn.Dropout(0.02, deterministic=not train)(x))


def test_dropout_that_drops_rarely_is_seen():
    variables = Rare().init(KEY, IMAGES[:1])
    for stretch in range(4):
        adapters.linen(Rare(), variables, IMAGES[:2] * (1 + stretch), head="Dense_1", on={"train": True})


def plain(features, **more):
    return adapters.function(features, lambda params: (params, jnp.zeros(5)), jnp.ones((64, 5)), IMAGES[:2], **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda v: made(v, on={"train": False}), r"With every key .* no dropout is on\. Give on="),
        (lambda v: adapters.nnx(ByFlag(), IMAGES[:2], head="head", on={}), "no dropout is on"),
        (lambda v: plain(lambda p, x, key: x.reshape(len(x), -1), stochastic=True), "Use the key, or leave stochastic out"),
        (lambda v: adapters.nnx(WithFlag(), IMAGES[:2], head="head"), r"'train'. Keywords of its call go into off="),
        (lambda v: plain(lambda p, x: x.reshape(len(x), -1)), r"It is called as \(params, images, key\)"),
        (lambda v: made({"params": v["params"]}), r"variables lack batch_stats; pass \{'params': …, 'batch_stats': …\}"),
        (lambda v: made((v["params"], v["batch_stats"])), r"variables are a tuple; give all collections, such as \{'params'"),
        (lambda v: made(v["params"]), "variables hold .*; give all collections"),
        (lambda v: made({**v, "params": {"Dense_1": v["params"]["Dense_1"]}}), "params lack 'kernel' of the layer 'Conv_0'"),
        (lambda v: made(v, off={"train": True}, on={"train": False}), "as in training, because its batch_stats would .* swapped"),
        (
            lambda v: adapters.nnx(ByFlag(), IMAGES[:2], head="head", off={"train": True}, on={"train": False}),
            'depends on the other images.*off={"train": False} names the call of evaluation',
        ),
        (lambda v: made(v, head="Conv_0"), "must be its last layer, and was 'Conv_0' of .*Dense_0, Dense_1"),
        (lambda v: made(v, head="Dense_0"), "must be its last layer, and was 'Dense_0' of .*Dense_0, Dense_1"),
        (lambda v: made(v, head=None), "no layer None with a kernel; there are"),
        (lambda v: adapters.linen(Convolution, v, IMAGES[:2], head="Dense_1"), "Convolution is a class; give an instance"),
        (lambda v: adapters.nnx(ByFlag, IMAGES[:2], head="head"), "ByFlag is a class; give an instance"),
        (lambda v: adapters.equinox(ByFlag(), IMAGES[:2], head=lambda net: net.head), "An? Equinox module is needed.*ByFlag"),
        (lambda v: made(v, IMAGES[:2, ..., 0]), r"shape \(3, 3, 1, 4\), and such images take .*images\[..., None\]"),
        (lambda v: made(v, np.moveaxis(IMAGES[:2], -1, 1)), r"of shape \(2, 1, 8, 8\).*np.moveaxis\(images, 1, -1\)"),
        (lambda v: made(v, IMAGES[0]), r"example of shape \(8, 8, 1\), so on images of shape \(8, 1\).*image\[None\]"),
        (lambda v: made(v, IMAGES[0, ..., 0]), r"example of shape \(8, 8\).*images\[..., None\]"),
        (
            lambda v: adapters.nnx(ByFlag(), IMAGES[0, ..., 0], head="head"),
            r"example of shape \(8, 8\), so on images of shape \(8,\).*images\[..., None\]",
        ),
        (lambda v: made(v, [IMAGES[0], IMAGES[0][:4]]), "example's images differ in shape"),
    ],
)
def test_what_is_wrong_with_a_network_is_told_without_foreign_words(make, message, variables):
    with pytest.raises(jaxal.UserError, match=message) as told:
        make(variables)
    assert "flax.readthedocs" not in str(told.value)


def test_an_error_of_flax_that_was_put_into_words_is_not_shown_again(variables):
    with pytest.raises(jaxal.UserError) as told:
        made({"params": variables["params"]})
    assert told.value.__suppress_context__


RGB = np.repeat(IMAGES, 3, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": IMAGES[..., 0]}, r"shape \(8, 8\), but in the example .* had \(8, 8, 1\)\. .*images\[..., None\]"),
        ({"images": IMAGES[0]}, r"A single image is image\[None\]"),
        ({"images": list(IMAGES[..., 0])}, r"images\[..., None\]"),
        ({"images": np.moveaxis(IMAGES, -1, 1)}, r"shape \(1, 8, 8\), but .* had \(8, 8, 1\)\. .*np.moveaxis\(images, 1, -1\)"),
        ({"images": RGB}, r"shape \(8, 8, 3\), but .* had \(8, 8, 1\)\. .*as many channels"),
        ({"images": [[[1, 2], [3]]]}, r"parts must be of one shape, but have \(2,\) and \(1,\)"),
        ({"model": Convolution()}, "model is of type Convolution. An adapter makes one of a network"),
        ({"params": {"Dense_1": {}}}, "its variables lack params.*the adapter returned"),
        ({"params": [1]}, r"several networks are jaxal.ensemble\(\[...\]\)"),
        ({"strategies": "masked_entropy"}, "'masked_entropy' is for images whose elements each have a class"),
        ({"strategies": "AEIG"}, "Did you mean aeig?"),
        ({"strategies": [3]}, "A strategy is named by a text"),
        ({"strategies": "aeig", "evaluation": (IMAGES, np.eye(5)[:5].repeat(2, 0)[:6])}, r"one-hot labels .*labels.argmax\(-1\)"),
        ({"strategies": "aeig", "evaluation": (IMAGES, np.zeros((6, 1), int))}, r"labels\[..., 0\]"),
    ],
)
def test_what_does_not_fit_the_adapters_example_is_refused(variables, change, message):
    model, params = made(variables, on={"train": True})
    with pytest.raises(jaxal.UserError, match=message) as told:
        jaxal.score(**{"model": model, "params": params, "images": IMAGES, "strategies": "entropy", **change})
    assert "flax.readthedocs" not in str(told.value)
    with pytest.raises(jaxal.UserError, match="what an adapter returned, a pair"):
        jaxal.score((model, params), None, IMAGES, "entropy")


def test_params_may_be_a_list_of_layers_and_images_of_another_size():
    def features(params, x, key):
        return (x @ params[0]["kernel"]).mean((1, 2))

    params = [{"kernel": jnp.ones((1, 3))}, {"kernel": jnp.ones((3, 5))}]
    model, params = adapters.function(features, lambda params: (params[1]["kernel"], jnp.zeros(5)), params, IMAGES[:2])
    assert jaxal.score(model, params, IMAGES[:, :5], "entropy")["entropy"].shape == (6,)


def test_a_network_whose_weights_are_not_finite_is_told_as_such(variables):
    model, params = made(variables)
    broken = jax.tree.map(lambda leaf: leaf * np.nan, params)
    with pytest.raises(jaxal.UserError, match="The network's output is not finite for 6 of 6 pool cases, the first is 0"):
        jaxal.score(model, broken, IMAGES, "entropy")
