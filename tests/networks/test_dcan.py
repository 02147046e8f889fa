"""The contour-aware network: its encoder, dropout, padding, outputs that nobody asks for, and that it learns."""

import functools
import operator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from jaxal.arrays import flat, logits_of
from jaxal.assessment.objects import found_objects, separated
from jaxal.data.images.contours import contour_map
from jaxal.networks.conv import enlarge
from jaxal.networks.dcan import DCANConfig, dcan, multiple_of
from jaxal.networks.layers import draw_params
from jaxal.networks.resnet import ResNetConfig, block_inputs, resnet, run_stage
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.losses import auxiliary_weight, contour_aware, cross_entropy
from jaxal.types import Example

SMALL = DCANConfig(architecture="small", width=4, groups=2, features=4, dropout="all")
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 16, 3)), jnp.float32)
KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=0)
def fresh(model, images):
    return model.init(KEY, images)


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, images, inside=None, masks=None):
    return model.tail(params, model.stem(params, images, inside), masks)


def assert_alike(ours, theirs, atol=2e-5):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=atol)


# Enlarging


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_enlarging_is_linear_interpolation(rng, factor):
    values = rng.normal(size=(2, 3, 5, 2)).astype(np.float32)

    def along(axis, values):
        size = values.shape[axis]
        places = np.arange(factor * size) / factor
        return np.apply_along_axis(lambda row: np.interp(places, np.arange(size), row), axis, values)

    np.testing.assert_allclose(np.asarray(enlarge(jnp.asarray(values), factor)), along(1, along(2, values)), atol=1e-6)


def test_enlarging_twice_is_enlarging_by_the_product(rng):
    values = jnp.asarray(rng.normal(size=(1, 3, 4, 2)), jnp.float32)
    np.testing.assert_allclose(np.asarray(enlarge(enlarge(values, 4), 2)), np.asarray(enlarge(values, 8)), atol=1e-6)


def test_enlarging_ends_where_the_image_does(rng):
    values = jnp.asarray(rng.normal(size=(1, 4, 5, 2)), jnp.float32)
    inside = jnp.zeros((1, 4, 5, 1), bool).at[:, :3, :2].set(True)
    np.testing.assert_allclose(
        np.asarray(enlarge(values, 4, inside)[:, :12, :8]), np.asarray(enlarge(values[:, :3, :2], 4)), atol=1e-6
    )


# Encoder


@pytest.mark.parametrize(("architecture", "weights"), [("resnet18", 11_166_912), ("resnet50_v2", 23_454_912)])
def test_the_encoder_is_that_of_a_residual_network(architecture, weights):
    """By name and shape; its kernels have as many numbers as torchvision's without norms and the last layer."""
    settings = {"architecture": architecture, "width": 64, "groups": 32}
    whole = jax.eval_shape(resnet(ResNetConfig(**settings)).init, KEY, IMAGES)
    ours = jax.eval_shape(dcan(DCANConfig(features=32, **settings)).init, KEY, IMAGES)
    encoder = {name: part for name, part in whole.items() if name not in ("kernel", "bias")}
    assert {name: ours[name] for name in encoder} == encoder
    kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(encoder) if path[-1].key == "kernel"]
    assert sum(leaf.size for leaf in kernels) == weights


@pytest.mark.parametrize(("architecture", "entry", "multiple"), [("resnet18", "wide", 16), ("small", "narrow", 4)])
def test_other_sizes_are_refused(architecture, entry, multiple):
    config = DCANConfig(architecture=architecture, entry=entry, width=4, groups=2, features=4)
    model = dcan(config)
    assert multiple_of(config) == multiple
    height, width = 3 * multiple, multiple
    images = jax.ShapeDtypeStruct((1, height, width, 3), np.float32)
    params = jax.eval_shape(model.init, KEY, images)
    output = jax.eval_shape(lambda params, images: model.tail(params, model.stem(params, images), None), params, images)
    assert output.features.shape == (1, height, width, 4)
    for wrong in ((height + 1, width), (height, width + multiple // 2)):
        with pytest.raises(ValueError, match=f"{wrong[0]} x {wrong[1]} pixels: both sides must be multiples of {multiple}"):
            jax.eval_shape(model.stem, params, jax.ShapeDtypeStruct((1, *wrong, 3), np.float32))


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="features 10 is not a multiple of groups 4"):
        DCANConfig(features=10)
    with pytest.raises(ValueError, match="dropout_rate"):
        DCANConfig(dropout_rate=1.0)


def test_outputs_have_their_shapes_and_are_float32():
    for dtype in ("float32", "bfloat16"):
        model = dcan(DCANConfig(classes=3, architecture="small", width=8, features=16, dtype=dtype))
        params = jax.eval_shape(model.init, KEY, IMAGES)
        output = jax.eval_shape(lambda params, model=model: model.tail(params, model.stem(params, IMAGES), None), params)
        assert output.features.shape == (2, 32, 16, 16) and output.embedding.shape == (2, 32)
        assert {name: leaf.shape for name, leaf in output.auxiliary.items()} == {
            "side_objects": (2, 3, 3, 32, 16), "contour": (2, 32, 16), "side_contours": (2, 3, 32, 16)}  # fmt: skip
        assert {leaf.dtype.name for leaf in jax.tree.leaves((output, params))} == {"float32"}


# Dropout


def test_masks_are_of_the_channels_that_enter_blocks():
    config = DCANConfig(architecture="resnet50_v2", width=8)
    deep, every = dcan(config), dcan(DCANConfig(architecture="resnet50_v2", width=8, dropout="all"))
    channels = block_inputs(config.encoder)
    assert (channels["layer1_0"], channels["layer1_1"], channels["layer3_0"], channels["layer4_2"]) == (8, 32, 64, 256)
    masks = every.draw_masks(KEY)
    assert {name: mask.shape for name, mask in masks.items()} == {name: (size,) for name, size in channels.items()}
    assert set(np.unique(np.concatenate(list(masks.values())))) == {0.0, 2.0}
    assert list(deep.draw_masks(KEY)) == [name for name in channels if name[:6] in ("layer3", "layer4")]


def test_a_mask_is_a_factor_on_what_enters_a_block():
    """And on nothing else: the same as kernels that read so much less, or more, of each channel."""
    model = dcan(SMALL)
    params = fresh(model, IMAGES)
    masks = model.draw_masks(jax.random.key(4))
    scaled = dict(params)
    for name, mask in masks.items():
        if name != "layer1_0":  # what goes by the convolutions of this block is masked, too, and no kernel reads it
            rows = mask[None, None, :, None]
            scaled[name] = {
                part: {"kernel": leaves["kernel"] * rows} if part in ("conv1", "shortcut_conv") else leaves
                for part, leaves in params[name].items()
            }
    ones = jax.tree.map(jnp.ones_like, masks)
    assert_alike(
        run(model, params, IMAGES, masks=masks), run(model, scaled, IMAGES, masks={**ones, "layer1_0": masks["layer1_0"]})
    )
    without = run(model, params, IMAGES)
    assert np.abs(np.asarray(run(model, params, IMAGES, masks=masks).features - without.features)).max() > 0.05
    assert_alike(run(model, params, IMAGES, masks=ones), without)


def test_a_member_is_one_function_of_each_item():
    model = dcan(SMALL)
    params = fresh(model, IMAGES)
    masks = model.draw_masks(jax.random.key(4))
    together = run(model, params, IMAGES, masks=masks)
    for item in range(2):
        alone = run(model, params, IMAGES[item : item + 1], masks=masks)
        assert_alike(jax.tree.map(operator.itemgetter(slice(item, item + 1)), together), alone)


def test_in_training_each_item_has_masks_of_its_own():
    model = dcan(SMALL)
    params = fresh(model, IMAGES)
    masks = jax.vmap(model.draw_masks)(jax.random.split(KEY, 2))
    together = run(model, params, IMAGES, masks=masks)
    for item in range(2):
        alone = run(model, params, IMAGES[item : item + 1], masks=jax.tree.map(operator.itemgetter(item), masks))
        assert_alike(jax.tree.map(operator.itemgetter(slice(item, item + 1)), together), alone)


# Padding


def padded(values, room, rng):
    """In more room, with anything in the padding, and what is inside of it."""
    _, height, width, channels = values.shape
    image, inside = rng.normal(size=(2, *room, channels)), np.zeros((2, *room), bool)
    image[:, :height, :width], inside[:, :height, :width] = values, True
    return jnp.asarray(image, jnp.float32), jnp.asarray(inside)


@pytest.mark.parametrize("size", [(27, 14), (31, 16)])
def test_a_prediction_does_not_depend_on_the_padding(rng, size):
    """Of an image that ends within a cell of the deepest map, and of one that ends where the least room does."""
    model = dcan(DCANConfig(architecture="small", width=4, groups=2, features=4), padded=True)
    height, width = size
    params, images = fresh(model, IMAGES), IMAGES[:, :height, :width]
    masks = model.draw_masks(KEY)
    least, more = (run(model, params, *padded(images, room, rng), masks) for room in ((32, 16), (48, 64)))

    def of_image(output):
        auxiliary = {name: part[..., :height, :width] for name, part in output.auxiliary.items()}
        return output.features[:, :height, :width], auxiliary, output.embedding

    assert_alike(of_image(more), of_image(least))


def test_without_padding_it_is_the_same_network():
    params = fresh(dcan(SMALL), IMAGES)
    everywhere = jnp.ones(IMAGES.shape[:-1], bool)
    assert_alike(run(dcan(SMALL, padded=True), params, IMAGES, everywhere), run(dcan(SMALL), params, IMAGES))


class Stage(nn.Module):
    config: ResNetConfig

    @nn.compact
    def __call__(self, values, inside):
        return run_stage(self.config, 0, 2, values, inside)


@pytest.mark.parametrize("architecture", ["resnet50_v2", "resnet18"])
def test_stages_do_not_depend_on_the_padding(rng, architecture):
    """Of both versions, whose norms come first or last."""
    config = ResNetConfig(architecture=architecture, width=4, groups=2)
    stage, images = Stage(config), rng.normal(size=(2, 5, 6, 4))
    params = draw_params(KEY, jax.eval_shape(stage.init, KEY, jnp.zeros((1, 4, 4, 4)), None)["params"])
    apply, outputs = jax.jit(lambda *arguments: stage.apply({"params": params}, *arguments)), []
    for room in ((5, 6), (9, 12)):
        values, inside = padded(images, room, rng)
        entering = values if config.shape.norm_first else jnp.where(inside[..., None], values, 0)
        left, there = apply(entering, inside[..., None])
        assert there.sum() == there[:, :3, :3].sum() == 2 * 3 * 3
        outputs.append(left[:, :3, :3])
    assert_alike(outputs[1], outputs[0])
    assert_alike(outputs[0], apply(jnp.asarray(images, jnp.float32), None)[0])


# What is asked for


def test_outputs_that_nobody_asks_for_cost_nothing():
    model = dcan(SMALL)
    params = jax.eval_shape(model.init, KEY, IMAGES)
    space = IMAGES.shape[1:-1]
    flags = jax.ShapeDtypeStruct((1, *space), bool)
    batch = Example(jax.ShapeDtypeStruct((1, *space, 3), np.float32), jax.ShapeDtypeStruct((1, *space), np.uint8), flags, flags)

    def without(params, hidden, masks):
        return model.tail(params, hidden, masks)._replace(auxiliary={})

    def cost(model):
        pass_ = Pass(SEGMENTATION, model, ("entropy", "embedding"), MembersConfig(), 1, tiny.STATISTICS, jax.devices()[:1])
        program = pass_.lower(params, KEY, batch, jax.ShapeDtypeStruct((1,), np.uint32)).compile()
        return program.cost_analysis()["flops"]

    assert cost(model) == cost(model._replace(tail=without))


# Training


def discs(rng, count, side=32):
    """Images of two discs that touch, each item's objects and their contours."""
    places = np.stack(np.meshgrid(*2 * [np.arange(side)], indexing="ij"), -1)
    objects = np.zeros((count, side, side), int)
    for item in range(count):
        angle, middle = rng.uniform(0, np.pi), side / 2 + rng.uniform(-2, 2, 2)
        step = 6.5 * np.array([np.sin(angle), np.cos(angle)])
        for number, centre in enumerate((middle - step, middle + step), 1):
            objects[item][np.square(places - centre).sum(-1) <= 6.4**2] = number
    images = (objects[..., None] > 0) + rng.normal(0, 0.3, (count, side, side, 1))
    contours = np.stack([contour_map(part, radius=1) for part in objects])
    return jnp.asarray(images, jnp.float32), objects, contours


def loss_of(model, params, masks, images, labels, contours, side_weight):
    output = model.tail(params, model.stem(params, images), masks)
    labelled = jnp.ones(labels.shape, bool)
    logits = logits_of(flat(output), *model.head(params, masks))
    of_classes = cross_entropy(logits, labels.reshape(len(labels), -1), labelled.reshape(len(labels), -1))
    return (of_classes + contour_aware(output.auxiliary, labels, contours, labelled, side_weight)).mean()


@functools.partial(jax.jit, static_argnums=0)
def stepped(model, params, moments, step, images, labels, contours):
    """One step of Adam, without its corrections."""
    masks = jax.vmap(model.draw_masks)(jax.random.split(jax.random.fold_in(KEY, step), len(images)))
    weight = auxiliary_weight(step, jnp.int32(60))
    gradient = jax.grad(loss_of, 1)(model, params, masks, images, labels, contours, weight)
    first = jax.tree.map(lambda old, new: 0.8 * old + 0.2 * new, moments[0], gradient)
    second = jax.tree.map(lambda old, new: 0.95 * old + 0.05 * jnp.square(new), moments[1], gradient)
    moved = jax.tree.map(lambda leaf, mean, square: leaf - 1e-2 * mean / (jnp.sqrt(square) + 1e-3), params, first, second)
    return moved, (first, second), gradient


def test_it_learns_to_tell_discs_apart_and_every_weight_takes_part(rng):
    model = dcan(DCANConfig(architecture="small", entry="narrow", width=8, groups=2, features=8))
    images, objects, contours = discs(rng, 24)
    labels = (objects > 0).astype(np.int32)
    params = fresh(model, images[:1])
    assert all(jax.tree.leaves(model.trainable(params)))  # no norm has statistics of its own

    def scores(params):
        output = run(model, params, images[16:])
        logits = np.asarray(logits_of(flat(output), *model.head(params)))
        foreground = (logits[:, 1] > logits[:, 0]).reshape(objects[16:].shape).astype(float)
        contour = np.asarray(jax.nn.sigmoid(output.auxiliary["contour"]))
        found = [
            found_objects(separated(*maps), true).f1() for *maps, true in zip(foreground, contour, objects[16:], strict=True)
        ]
        there = contours[16:] > 0
        return np.mean(found), contour[there].mean() - contour[~there].mean()

    before = scores(params)
    moments = jax.tree.map(jnp.zeros_like, (params, params))
    for step in range(60):
        chosen = rng.choice(16, 4, replace=False)
        batch = images[chosen], labels[chosen], contours[chosen]
        params, moments, gradient = stepped(model, params, moments, jnp.int32(step), *batch)
        if step == 0:
            silent = [path for path, leaf in jax.tree_util.tree_leaves_with_path(gradient) if not np.abs(leaf).max() > 0]
            assert silent == []
    f1, contrast = scores(params)
    assert f1 > 0.9 > 0.5 > before[0]
    assert contrast > 0.5 > 0.1 > before[1]
