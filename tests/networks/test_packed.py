"""Levels in cells are the plain network in another layout."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import information
from jaxal.acquisition.aggregate import largest_by_rows
from jaxal.arrays import flat, logits_of, plain, rows_of
from jaxal.cells import Cells, pack
from jaxal.networks import conv, packed
from jaxal.networks import unet as unet_module
from jaxal.networks.unet import UNetConfig, unet
from jaxal.networks.windows import windowed
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Batch, Recipe
from jaxal.training.step import fresh_state, take_step
from jaxal.types import Example

VOLUME = UNetConfig(width=4, foreground_prior=0.4)
CONFIGS = {
    "instance norm": (VOLUME, (16, 8, 8)),
    "group norm, decoder dropout": (UNetConfig(width=8, levels=2, norm="group", groups=4, dropout="decoder"), (4, 8, 4)),
    "thick slices": (UNetConfig(width=4, levels=2, pooling=((1, 2, 2),), dropout="bottleneck"), (3, 8, 4)),
    "images, dropout in the decoder": (UNetConfig(width=4, space_rank=2, dropout="decoder"), (16, 24)),
    "a level of many channels": (UNetConfig(width=6, levels=3), (8, 8, 4)),
}

GRADIENTS = "group norm, decoder dropout"  # whose gradients are compared, and so its predictions, too


def both(config, shape, padded, batch=2):
    """The plain and the packed network with the same weights, images, what is inside of them, and a dropout mask."""
    images = jax.random.normal(jax.random.key(0), (batch, *shape, 1))
    inside = jnp.ones((batch, *shape), bool)
    if padded:
        inside = inside.at[0, -3:].set(False).at[1, :, -2:].set(False).at[1, :1].set(False)
    models = unet(config, padded), unet(config, padded, is_packed=True)
    params = models[0].init(jax.random.key(1), images[:1])
    again = models[1].init(jax.random.key(1), images[:1])
    jax.tree.map(np.testing.assert_array_equal, params, again)
    return models, params, images, inside, models[0].draw_masks(jax.random.key(2))


@pytest.mark.parametrize(
    ("name", "padded"),
    [(name, name != "thick slices") for name in CONFIGS if name != GRADIENTS],
)
def test_a_packed_network_is_the_plain_one(name, padded, monkeypatch):
    if name == "a level of many channels":
        monkeypatch.setattr(unet_module, "_LANES", 12)  # of which the second level has as many
    models, params, images, inside, masks = both(*CONFIGS[name], padded)

    def features(model, params):
        output = model.tail(params, model.stem(params, images, inside), masks)
        return plain(output.features), output.embedding

    (expected, embedding), (ours, own) = (jax.jit(features, static_argnums=0)(model, params) for model in models)
    output = jax.eval_shape(lambda: models[1].tail(params, models[1].stem(params, images, inside), masks))
    assert isinstance(output.features, Cells)
    np.testing.assert_allclose(ours, expected, atol=3e-5)
    np.testing.assert_allclose(own, embedding, atol=1e-5)


def test_a_packed_network_has_the_gradients_of_the_plain_one():
    models, params, images, inside, masks = both(*CONFIGS[GRADIENTS], True)
    direction = jax.random.normal(jax.random.key(3), (*inside.shape, 8))

    def loss(model, params):
        output = model.tail(params, model.stem(params, images, inside), masks)
        return jnp.where(inside[..., None], plain(output.features) * direction, 0.0).sum()

    (value, expected), (own, ours) = (jax.jit(jax.value_and_grad(loss, 1), static_argnums=0)(model, params) for model in models)
    np.testing.assert_allclose(own, value, rtol=1e-4)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()) + 1e-6)


def test_few_items_are_convolved_as_many():
    """The form of few items, which stacks neighbouring slices, and that of eight."""
    kernel = {"params": {"kernel": jax.random.normal(jax.random.key(0), (3, 3, 3, 2, 4))}}
    images = jax.random.normal(jax.random.key(1), (8, 4, 5, 3, 8 * 2))
    of_cells = packed.CellConv(4, (2, 2, 2), jnp.dtype("float32"))
    together = of_cells.apply(kernel, [images], "aligned")
    apart = jnp.concatenate([of_cells.apply(kernel, [images[index : index + 1]], "aligned") for index in range(8)])
    np.testing.assert_allclose(apart, together, atol=1e-4)
    assert together.shape == (8, 5, 6, 4, 8 * 4)


def test_the_pass_computes_the_same_of_cells():
    """Every statistic: logits, members, gradients, regions, drawn elements."""
    config = UNetConfig(width=4, levels=2, foreground_prior=0.4)
    models, params, images, inside, _ = both(config, (16, 8, 24), True)
    labels = (jax.random.uniform(jax.random.key(4), inside.shape) > 0.7).astype(jnp.uint8)
    members, numbers = MembersConfig(dropout=4, flips=(0,)), jnp.arange(2, dtype=jnp.uint32)
    results = []
    for model in models:
        pass_ = Pass(SEGMENTATION, model, sorted(SEGMENTATION.statistics), members, 2, StatisticsConfig(), jax.devices()[:1])
        results.append(pass_.lower(params, jax.random.key(5), Example(images, labels, inside, inside), numbers).compile())
    given = pass_._with_values(params)
    expected, ours = (
        compiled(given, jax.random.key(5), Example(images, labels, inside, inside), numbers) for compiled in results
    )
    for (path, one), other in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(expected), strict=True):
        scale = float(np.abs(np.asarray(other, np.float64)).max()) + 1e-9
        np.testing.assert_allclose(one, other, atol=1e-4 * scale, err_msg=jax.tree_util.keystr(path))


def test_windows_of_a_packed_network_are_those_of_the_plain_one():
    models, params, images, inside, _ = both(VOLUME, (12, 8, 8), False)
    expected, ours = (
        plain((model := windowed(each, (8, 8, 8))).tail(params, model.stem(params, images, inside), None).features)
        for each in models
    )
    np.testing.assert_allclose(ours, expected, atol=3e-5)


@pytest.mark.parametrize("cell", [(2, 2, 1), (1, 2, 2)])
def test_features_by_cells_are_read_as_plain_ones(cell):
    features = jax.random.normal(jax.random.key(0), (3, 2, 6, 4, 5))
    packed_features = pack(features, cell)
    cells = Cells(packed_features.reshape(3, -1, 20), packed_features.shape[1:4], cell)
    matrix = jax.random.normal(jax.random.key(1), (5, 7))
    np.testing.assert_array_equal(cells.unpacked(), features)
    plain_logits = logits_of(features.reshape(3, -1, 5), matrix, jnp.arange(7.0))
    np.testing.assert_allclose(logits_of(cells, matrix, jnp.arange(7.0)), plain_logits, atol=1e-5)
    of_items = jnp.stack([matrix, 2 * matrix, -matrix])
    expected = logits_of(features.reshape(3, -1, 5), of_items, jnp.arange(7.0))
    np.testing.assert_allclose(logits_of(cells, of_items, jnp.arange(7.0)), expected, atol=1e-5)

    one = Cells(cells.values[0], cells.grid, cells.cell)
    index = jnp.array([[0, 47, 13], [5, 13, 2]])
    np.testing.assert_array_equal(rows_of(one, index), features[0].reshape(-1, 5)[index])
    maps = jnp.arange(2 * 48.0).reshape(2, 48)
    np.testing.assert_array_equal(one.by_element(one.by_cell(maps)), maps)
    np.testing.assert_allclose(one.sums(maps), maps @ features[0].reshape(-1, 5), rtol=1e-5, atol=1e-3)


def test_a_pooled_cell_is_its_largest_element():
    values = jnp.round(jax.random.normal(jax.random.key(0), (1, 4, 4, 4, 3)), 1)  # with ties
    cells = pack(values, (2, 2, 2))
    np.testing.assert_array_equal(packed.max_pool(cells, 8), conv.max_pool(values))
    expected = jax.grad(lambda values: (conv.max_pool(values) ** 2).sum())(values)
    ours = jax.grad(lambda values: (packed.max_pool(pack(values, (2, 2, 2)), 8) ** 2).sum())(values)
    np.testing.assert_allclose(ours.sum((1, 2, 3)), expected.sum((1, 2, 3)), rtol=1e-6)  # of equal ones either may get it


def test_the_search_by_rows_finds_what_top_k_finds():
    values = jnp.round(jax.random.uniform(jax.random.key(0), (1000,)), 1).at[::3].set(-1.0)  # with many ties
    for one, other in zip(largest_by_rows(values, 12), jax.lax.top_k(values, 12), strict=True):
        np.testing.assert_array_equal(one, other)
    few = jnp.full(1000, -jnp.inf).at[7].set(1.0)
    assert largest_by_rows(few, 3)[1][0] == 7


def test_flat_leaves_cells_as_they_are():
    models, params, images, inside, _ = both(VOLUME, (8, 8, 8), False)
    output = jax.jit(lambda: models[1].tail(params, models[1].stem(params, images, inside), None))()
    assert flat(output) is output.features


def test_cubes_are_summed_by_products_as_they_are():
    values = jax.random.uniform(jax.random.key(0), (3, 6 * 9 * 5))
    ours = information.block_sum_by_products(values, (6, 9, 5), 4)
    np.testing.assert_allclose(ours, information.block_sum(values, (6, 9, 5), 4), rtol=1e-6)


def test_a_training_step_of_a_packed_network_lowers_for_a_tpu():
    recipe = Recipe(unet(VOLUME, True, is_packed=True), TrainingConfig(batch_size=2), SEGMENTATION.loss, True)
    image, labels = jnp.zeros((2, 8, 8, 8, 1)), jnp.zeros((2, 8, 8, 8), jnp.uint8)
    state = jax.eval_shape(lambda: fresh_state(recipe.config, recipe.model.init(jax.random.key(0), image[:1])))
    step = jax.jit(functools.partial(take_step, recipe))
    arguments = jax.random.key(0), Batch(Example(image, labels, labels == 0, labels == 0)), np.int32(5), np.float32(0.1)
    text = jax.export.export(step, platforms=["tpu"])(state, *arguments).mlir_module()
    assert "stablehlo.reduce_window" in text  # pooling as cells have it
