"""Networks, views and dropout samples against whole forwards, one after the other."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import uncertainty
from jaxal.acquisition.uncertainty import CLASS_MOMENTS
from jaxal.arrays import flat, logits_of
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.unet import UNetConfig, unet
from jaxal.scoring import members
from jaxal.scoring.members import MembersConfig, Stream, stream_members

KEY = jax.random.key(5)
SHAPE = (8, 4, 8)


def stacked_params(model, networks, shape=SHAPE):
    each = [jax.jit(model.init)(jax.random.key(seed), jnp.zeros((1, *shape, 1))) for seed in range(networks)]
    return each, each[0] if networks == 1 else jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)


@functools.partial(jax.jit, static_argnums=0)
def whole(model, params, images, masks):
    return model.tail(params, model.stem(params, images), masks)


def plain(model, each, images, config):
    """Class probabilities of every member, the whole network run for each, `[members, batch, classes, elements]`."""
    result = []
    subsets = [tuple(axis for bit, axis in enumerate(config.flips) if view >> bit & 1) for view in range(2 ** len(config.flips))]
    for (number, params), axes in itertools.product(enumerate(each), subsets):
        for sample in range(max(config.dropout, 1)):
            key = jax.random.fold_in(jax.random.fold_in(KEY, number), sample)
            masks = model.draw_masks(key) if config.dropout else None
            places = tuple(1 + axis for axis in axes)
            output = whole(model, params, jnp.flip(images, places), masks)
            kernel, bias = model.head(params, masks)
            logits = output.features @ kernel
            logits = logits + bias.reshape((1,) * (logits.ndim - 1) + (-1,))
            if logits.ndim == images.ndim:  # one prediction for an image as a whole has no sides
                logits = jnp.flip(logits, places)
            classes = np.moveaxis(np.asarray(jax.nn.softmax(logits, -1), np.float64), -1, 1)
            result.append(classes.reshape(*classes.shape[:2], -1))
    return np.stack(result)


def first_prediction(model, params, hidden):
    """What moments are kept around: `[batch, classes, elements]` without dropout."""
    return jax.nn.softmax(logits_of(flat(model.tail(params, hidden, None)), *model.head(params)), 1)


def check_moments(moments, p):
    """Moments against the probabilities of every member."""
    assert float(moments.members) == len(p)
    np.testing.assert_allclose(np.asarray(uncertainty.mean_probability(moments)), p.mean(0), atol=2e-5)
    np.testing.assert_allclose(np.asarray(uncertainty.variance(moments)), p.var(0).mean(1), atol=2e-5)
    expected_entropy = -(p * np.log(p)).sum(2).mean(0)
    np.testing.assert_allclose(np.asarray(uncertainty.expected_entropy(moments)), expected_entropy, atol=2e-5)


@pytest.mark.parametrize(
    ("dropout", "config"),
    [
        ("head", MembersConfig(dropout=3)),
        ("decoder", MembersConfig(dropout=3)),
        ("bottleneck", MembersConfig(dropout=3)),
        ("head", MembersConfig(networks=3, dropout=0)),
        ("decoder", MembersConfig(flips=(0, 2), dropout=0)),
        ("head", MembersConfig(networks=2, flips=(1,), dropout=2)),
        ("bottleneck", MembersConfig(networks=2, flips=(1,), dropout=2)),
    ],
)
def test_moments_equal_those_of_whole_forwards(rng, dropout, config):
    model = unet(UNetConfig(width=4, levels=2, dropout=dropout, dropout_rate=0.5))
    each, params = stacked_params(model, config.networks)
    images = jnp.asarray(rng.normal(size=(2, *SHAPE, 1)), jnp.float32)

    @jax.jit
    def run(params, images):
        hidden = model.stem(members.first_network(config, params), images)
        around = first_prediction(model, members.first_network(config, params), hidden)
        stream = Stream(model, config, CLASS_MOMENTS, True)
        return stream_members(stream, params, images, hidden, KEY, around, kept=lambda whole: whole[..., ::3])

    moments, kept = run(params, images)
    expected = plain(model, each, images, config)
    check_moments(moments, expected)
    np.testing.assert_allclose(np.asarray(kept), expected[..., ::3], atol=2e-5)


@pytest.mark.parametrize(
    "config",
    [
        MembersConfig(dropout=3),
        MembersConfig(networks=3, dropout=0),
        MembersConfig(flips=(0, 1), dropout=0),
        MembersConfig(networks=2, flips=(1,), dropout=2),
    ],
)
def test_members_of_an_image_with_one_class_equal_whole_forwards(rng, config):
    """One by one in the order of networks, views and samples, and as moments; a flipped image has no prediction to flip back."""
    model = resnet(ResNetConfig(architecture="small", width=8, groups=4, entry="narrow", classes=3, dropout_rate=0.5))
    each, params = stacked_params(model, config.networks, (8, 8))
    images = jnp.asarray(rng.normal(size=(2, 8, 8, 1)), jnp.float32)

    @jax.jit
    def run(params, images):
        hidden = model.stem(members.first_network(config, params), images)
        stream = Stream(model, config, CLASS_MOMENTS, False)
        around = first_prediction(model, members.first_network(config, params), hidden)
        return stream_members(stream, params, images, hidden, KEY, around, kept=lambda whole: whole)

    moments, probability = run(params, images)
    expected = plain(model, each, images, config)
    assert probability.shape == (config.count, 2, 3, 1)
    np.testing.assert_allclose(np.asarray(probability), expected, atol=2e-5)
    check_moments(moments, expected)


@pytest.mark.parametrize(
    ("network", "samples", "turns"),
    [("decoder", 1, 6), ("bottleneck", 2, 3), ("image", 5, 2), ("decoder", 100, 1), ("image", 100, 1)],  # five do not divide six
)
def test_samples_at_once_are_those_one_by_one(rng, as_elsewhere, monkeypatch, network, samples, turns):
    """As an accelerator takes them: as many at once as fit and divide all of them."""
    config, dense = MembersConfig(dropout=6), network != "image"
    if dense:
        model, shape = unet(UNetConfig(width=4, levels=2, dropout=network, dropout_rate=0.5)), SHAPE
    else:
        model, shape = resnet(ResNetConfig(architecture="small", width=8, groups=4, entry="narrow", classes=3)), (8, 8)
    each, params = stacked_params(model, 1, shape)
    images = jnp.asarray(rng.normal(size=(2, *shape, 1)), jnp.float32)
    hidden, around = jax.jit(lambda params, images: (seen := model.stem(params, images), first_prediction(model, params, seen)))(
        params, images
    )
    leave = around[:, 0].size * model.head(params)[0].shape[0]
    numbers = max(leave, sum(leaf.size for leaf in jax.tree.leaves(hidden))) if dense else around.size
    monkeypatch.setattr(members, "_NUMBERS_AT_ONCE", samples * numbers + numbers // 2)
    stream, drawn = Stream(model, config, CLASS_MOMENTS, dense), []
    counted = stream._replace(model=model._replace(draw_masks=lambda key: drawn.append(key) or model.draw_masks(key)))
    expected = plain(model, each, images, config)

    def run(stream):
        return stream_members(stream, params, images, hidden, KEY, around, kept=lambda whole: whole)

    moments, kept = jax.jit(lambda: run(stream))()
    check_moments(moments, expected)
    np.testing.assert_allclose(np.asarray(kept), expected, atol=2e-5)
    lengths = [
        equation.params["length"] for equation in jax.make_jaxpr(lambda: run(counted))().eqns if equation.primitive.name == "scan"
    ]
    assert drawn and lengths[not dense :] in (
        [turns],
        [] if turns == 1 else None,
    )  # the first one of an image is of blocks of elements


def test_blocks_of_elements_do_not_change_the_moments(rng, monkeypatch):
    features, kernels = (
        jnp.asarray(rng.normal(size=(2, 37, 5)), jnp.float32),
        jnp.asarray(rng.normal(size=(4, 5, 3)), jnp.float32),
    )
    biases = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    logits = jnp.stack([logits_of(features, kernel, bias) for kernel, bias in zip(kernels, biases, strict=True)])
    around = jax.nn.softmax(logits[1], 1)
    whole = members.moments_of_heads(CLASS_MOMENTS, features, kernels, biases, around)
    expected = uncertainty.moments_of(logits, around)
    monkeypatch.setattr(members, "_LOGITS_AT_ONCE", {"cpu": 120, "accelerator": 120})  # ten elements a block, the last one ragged
    blocks = members.moments_of_heads(CLASS_MOMENTS, features, kernels, biases, around)
    for whole_part, block_part, expected_part in zip(whole, blocks, expected, strict=True):
        np.testing.assert_allclose(np.asarray(whole_part), np.asarray(expected_part), atol=1e-5)
        np.testing.assert_allclose(np.asarray(block_part), np.asarray(expected_part), atol=1e-5)


@pytest.mark.parametrize("wrong", [{"networks": 0}, {"dropout": -1}, {"flips": (1, 1)}])
def test_impossible_members_are_refused(wrong):
    with pytest.raises(ValueError, match="MembersConfig"):
        MembersConfig(**wrong)
