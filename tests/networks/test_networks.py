import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.networks import conv as fast
from jaxal.networks import conv_tiles
from jaxal.networks.layers import Norm, draw_params
from jaxal.networks.unet import UNetConfig, unet

SPACE = {2: (8, 12), 3: (8, 4, 12)}


def example(rank=3, batch=2, channels=1):
    return jnp.asarray(np.random.default_rng(1).normal(size=(batch, *SPACE[rank], channels)), jnp.float32)


def assert_convolutions_agree(form, inputs, kernel, tolerance):
    """Values and gradients, within a share of the largest."""

    def compiled(form):
        def total(inputs, kernel):
            outputs = form(inputs, kernel)
            return jnp.sin(outputs).sum(), outputs

        return jax.tree.leaves(jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(inputs, kernel))

    for ours, plain in zip(compiled(form), compiled(fast.conv_plain), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(plain), rtol=0, atol=tolerance * np.abs(plain).max())


WINDOWS = [(1, 4, (3, 3, 3)), (5, 3, (3, 3, 3)), (4, 4, (1, 1, 1)), (2, 3, (5, 5, 5)), (2, 2, (1, 3, 5))]
FROM = ("WINOGRAD_FROM", "WINOGRAD_GRADIENT_FROM", "WINOGRAD_TWICE_FROM")


@pytest.fixture(params=[(), FROM[:2], FROM[2:], FROM], ids=["side by side", "depth", "height", "both"])
def transformed(request, monkeypatch):
    """Along which axes Winograd's transform is used, whatever the number of channels.

    JAX keeps what it traced of a function and its shapes, and does not see that such a number has changed.
    """
    for name in FROM:
        monkeypatch.setattr(conv_tiles, name, 0 if name in request.param else 10**9)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize(("channels", "features", "window"), WINDOWS)
def test_fast_convolution_equals_the_plain_one_with_its_gradient(rng, channels, features, window):
    inputs = jnp.asarray(rng.normal(size=(2, 5, 6, 7, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(*window, channels, features)), jnp.float32)
    assert_convolutions_agree(fast.conv, inputs, kernel, 2e-5)


@pytest.mark.parametrize("space", [(6, 5, 4), (5, 6, 3), (1, 2, 2), (3, 1, 1)])
@pytest.mark.usefixtures("transformed", "float64")
def test_every_form_of_the_tiles_is_the_convolution(rng, space):
    """Odd lengths leave a period incomplete; double precision, since the transform's rounding is another one."""
    inputs, kernel = jnp.asarray(rng.normal(size=(2, *space, 3))), jnp.asarray(rng.normal(size=(3, 3, 3, 3, 2)))
    assert_convolutions_agree(fast.conv, inputs, kernel, 1e-12)


def test_the_transform_rounds_little_more(rng):
    """Channels as a U-Net of width 16 has them, in single precision."""
    inputs = jnp.asarray(rng.normal(size=(1, 8, 8, 8, 64)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 3, 64, 64)), jnp.float32)
    assert conv_tiles.WINOGRAD_TWICE_FROM <= 64 * 64
    plain = np.asarray(fast.conv_plain(inputs, kernel))
    np.testing.assert_allclose(fast.conv(inputs, kernel), plain, rtol=0, atol=2e-6 * np.abs(plain).max())


@pytest.mark.parametrize("space", [(2, 2), (1, 5), (2, 7), (6, 5)])
@pytest.mark.parametrize(("window", "stride"), [(3, 1), (3, 2), (7, 2), (1, 2)])
def test_images_smaller_than_the_window_are_convolved_alike(rng, space, window, stride):
    inputs = jnp.asarray(rng.normal(size=(3, *space, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(window, window, 4, 5)), jnp.float32)

    def compiled(form):
        """What the form gives, and a sum over it with its gradient; one program for all of it."""

        def total(inputs, kernel):
            outputs = form(inputs, kernel, stride)
            return jnp.sin(outputs).sum(), outputs

        (value, outputs), gradient = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(inputs, kernel)
        return outputs, (value, *gradient)

    plain, plain_total = compiled(fast.conv_plain)
    assert plain.shape == (3, *(-(-length // stride) for length in space), 5)
    for form in (fast.conv, fast.conv_by_patches):
        fast_outputs, fast_total = compiled(form)
        np.testing.assert_allclose(np.asarray(fast_outputs), np.asarray(plain), atol=2e-5)
        for ours, theirs in zip(fast_total, plain_total, strict=True):
            np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=1e-4)
    traced = jax.jit(fast.conv, static_argnums=2).trace(inputs, kernel, stride)
    small = window > 1 and -(-min(space) // stride) < window
    assert ("stablehlo.convolution" in traced.lower(lowering_platforms=("cpu",)).as_text()) == (window > 1 and not small)


@pytest.mark.parametrize(
    ("space", "window", "stride"), [((5, 4, 7), (3, 3, 3), 2), ((3, 9, 2), (7, 5, 3), 2), ((2, 1, 4), (3, 3, 3), 1)]
)
def test_strides_and_small_volumes_are_convolved_by_axes(rng, space, window, stride):
    """In double precision, with its gradient; on accelerators the platform's own operation runs."""
    with jax.enable_x64(True):
        inputs, kernel = jnp.asarray(rng.normal(size=(2, *space, 3))), jnp.asarray(rng.normal(size=(*window, 3, 4)))
        form = functools.partial(fast.conv, stride=stride, by_axes=True)
        plain = functools.partial(fast.conv_plain, stride=stride)
        ours, theirs = (
            jax.jit(lambda inputs, kernel, form=form: jax.vjp(form, inputs, kernel)[1](jnp.sin(form(inputs, kernel))))(
                inputs, kernel
            )
            for form in (form, plain)
        )
        assert form(inputs, kernel).shape == (2, *(-(-length // stride) for length in space), 4)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(other), atol=1e-11)
        traced = jax.jit(form).trace(inputs, kernel)
    lowered = [traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")]
    assert ["stablehlo.convolution" in text for text in lowered] == [False, True]


@pytest.mark.parametrize("tile_bytes", [1, 9_000, 25_000, 80_000])
@pytest.mark.usefixtures("transformed", "float64")
def test_tiles_of_any_size_give_the_same(rng, tile_bytes, monkeypatch):
    """One row, some rows, some slices a tile; with none does the volume come out even."""
    inputs, kernel = jnp.asarray(rng.normal(size=(2, 7, 5, 6, 3))), jnp.asarray(rng.normal(size=(3, 3, 3, 3, 4)))
    for name in ("TILE_BYTES", "GRADIENT_TILE_BYTES"):
        monkeypatch.setattr(conv_tiles, name, tile_bytes)
    assert_convolutions_agree(fast.conv, inputs, kernel, 1e-12)


def test_a_volume_is_cut_into_slices_or_rows():
    """20 slices of 12 rows, 100 bytes a row."""
    assert conv_tiles._tiling(20, 12, 100, 1) == (1, 1, 20, 12)
    assert conv_tiles._tiling(20, 12, 100, 500) == (1, 4, 20, 3)
    assert conv_tiles._tiling(20, 12, 100, 1200) == (1, 12, 20, 1)
    assert conv_tiles._tiling(20, 12, 100, 3700) == (3, 12, 7, 1)
    assert conv_tiles._tiling(20, 12, 100, 10**6) == (20, 12, 1, 1)


@pytest.mark.usefixtures("transformed")
def test_tiles_work_in_loops_and_under_vmap(rng):
    inputs = jnp.asarray(rng.normal(size=(1, 4, 4, 6, 2)), jnp.float32)
    kernels = jnp.asarray(rng.normal(size=(3, 3, 3, 3, 2, 2)), jnp.float32)

    def total(form, kernels):
        looped = jax.lax.scan(lambda hidden, kernel: (form(hidden, kernel), None), inputs, kernels)[0].sum()
        return looped + jnp.sin(jax.vmap(form, (None, 0))(inputs, kernels)).sum()

    ours, plain = (
        jax.value_and_grad(lambda kernels, form=form: total(form, kernels))(kernels) for form in (fast.conv, fast.conv_plain)
    )
    for our_part, plain_part in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(np.asarray(our_part), np.asarray(plain_part), rtol=1e-4, atol=2e-5 * np.abs(plain_part).max())


def test_convolution_takes_the_fast_form_on_a_cpu_and_the_plain_one_elsewhere():
    inputs, kernel = jnp.zeros((1, 4, 4, 4, 2)), jnp.zeros((3, 3, 3, 2, 2))
    traced = jax.jit(fast.conv).trace(inputs, kernel)
    on_cpu = traced.lower(lowering_platforms=("cpu",)).as_text()
    on_tpu = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert "convolution" not in on_cpu
    assert "[b, 0, 1, 2, f]" in on_tpu


@pytest.mark.parametrize("rank", [2, 3])
def test_upsample_equals_the_transposed_convolution(rng, rank):
    inputs = jnp.asarray(rng.normal(size=(2, *(3, 4, 5)[:rank], 6)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2,) * rank + (6, 3)), jnp.float32)
    space = "DHW"[-rank:]
    flipped = jnp.flip(kernel, tuple(range(rank)))
    plain = jax.lax.conv_transpose(inputs, flipped, (2,) * rank, "VALID", dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
                                   transpose_kernel=False)  # fmt: skip
    np.testing.assert_allclose(np.asarray(fast.upsample(inputs, kernel)), np.asarray(plain), atol=1e-5)


def test_upsample_leaves_an_axis_alone(rng):
    inputs, kernel = rng.normal(size=(2, 3, 4, 5, 6)), rng.normal(size=(2, 1, 2, 6, 3))
    upsampled = np.asarray(fast.upsample(jnp.asarray(inputs, jnp.float32), jnp.asarray(kernel, jnp.float32)))
    assert upsampled.shape == (2, 6, 4, 10, 3)
    for x, z in np.ndindex(2, 2):
        np.testing.assert_allclose(upsampled[:, x::2, :, z::2], inputs @ kernel[x, 0, z], atol=1e-4)


def test_max_pool_equals_a_loop(rng):
    inputs = rng.normal(size=(2, 4, 6, 2, 3)).astype(np.float32)
    pooled = np.asarray(fast.max_pool(jnp.asarray(inputs)))
    for x, y, z in np.ndindex(2, 3, 1):
        cell = inputs[:, 2 * x : 2 * x + 2, 2 * y : 2 * y + 2, 2 * z : 2 * z + 2]
        np.testing.assert_array_equal(pooled[:, x, y, z], cell.max((1, 2, 3)))
        in_plane = np.asarray(fast.max_pool(jnp.asarray(inputs), (2, 2, 1)))
        np.testing.assert_array_equal(in_plane[:, x, y, z], inputs[:, 2 * x : 2 * x + 2, 2 * y : 2 * y + 2, z].max((1, 2)))
    with pytest.raises(ValueError, match=r"even.*\(3, 4\)"):
        fast.max_pool(jnp.zeros((1, 3, 4, 1)))


@pytest.mark.parametrize("space", [(8, 8), (5, 8), (1, 2), (4, 3, 5)])
def test_overlapping_cells_are_pooled_as_flax_does(rng, space):
    """The gradient, too; and on accelerators Flax's own operation runs."""
    inputs = jnp.asarray(rng.normal(size=(2, *space, 3)), jnp.float32)

    def plain(inputs):
        return nn.max_pool(inputs, (3,) * len(space), (2,) * len(space), padding=((1, 1),) * len(space))

    def total(form, inputs):
        outputs = form(inputs)
        return jnp.sin(outputs).sum(), outputs

    (_, ours), our_gradient = jax.jit(jax.value_and_grad(functools.partial(total, fast.max_pool_overlapping), has_aux=True))(
        inputs
    )
    (_, expected), gradient = jax.jit(jax.value_and_grad(functools.partial(total, plain), has_aux=True))(inputs)
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))
    np.testing.assert_allclose(np.asarray(our_gradient), np.asarray(gradient), atol=1e-6)
    traced = jax.jit(fast.max_pool_overlapping).trace(inputs)
    lowered = [traced.lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda")]
    assert ["reduce_window" in text for text in lowered] == [False, True]


@pytest.mark.parametrize(("features", "batch", "window"), [(4, 6, 3), (4, 5, 3), (fast._ONE_CORE_FEATURES + 1, 2, 3), (4, 6, 5)])
def test_a_batch_in_halves_is_convolved_as_a_whole(rng, features, batch, window):
    """Few features, an odd batch, many features, a large window."""
    inputs = jnp.asarray(rng.normal(size=(batch, 7, 6, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(window, window, 3, features)), jnp.float32)
    with jax.enable_x64(True):
        assert_convolutions_agree(fast.conv, inputs.astype(jnp.float64), kernel.astype(jnp.float64), 1e-11)
    text = jax.jit(fast.conv).trace(inputs, kernel).lower(lowering_platforms=("cpu",)).as_text()
    is_halved = features <= fast._ONE_CORE_FEATURES and batch % 2 == 0 and window == 3
    assert text.count("stablehlo.convolution") == 1 + is_halved


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, inputs, masks=None):
    """The network as one compiled program; step by step every operation would be compiled by itself."""
    return model.tail(params, model.stem(params, inputs), masks)


@functools.partial(jax.jit, static_argnums=0)
def with_head(model, params, output, masks=None):
    kernel, bias = model.head(params, masks)
    return jnp.einsum("b...f,fc->b...c", output.features, kernel) + bias.reshape((1,) * (output.features.ndim - 1) + (-1,))


def logits(model, params, inputs, masks=None):
    return with_head(model, params, run(model, params, inputs, masks), masks)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("dropout", ["head", "decoder", "bottleneck"])
@pytest.mark.parametrize("norm", ["instance", "group"])
def test_shapes_and_dropout_places(rank, dropout, norm):
    levels = 5 - rank  # volumes take long to compile
    config = UNetConfig(3, 4, levels, rank, dropout=dropout, norm=norm, groups=2, dropout_rate=0.5)
    model, inputs = unet(config), example(rank)
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    output = run(model, params, inputs)
    assert output.features.shape == (2, *SPACE[rank], 4)
    assert output.embedding.shape == (2, 4 * 2 ** (levels - 1))
    plain = logits(model, params, inputs)
    assert plain.shape == (2, *SPACE[rank], 3)
    masks = model.draw_masks(jax.random.key(3))
    assert all(mask.ndim == 1 and set(np.unique(mask)) <= {0.0, 2.0} for mask in masks.values())
    assert not np.allclose(np.asarray(logits(model, params, inputs, masks)), np.asarray(plain))
    kept = jax.tree.map(jnp.ones_like, masks)
    np.testing.assert_allclose(np.asarray(logits(model, params, inputs, kept)), np.asarray(plain), atol=1e-6)


def test_slices_that_are_not_pooled_are_any_number():
    config = UNetConfig(2, 2, 3, pooling=((2, 2, 1), (2, 1, 1)))
    model, inputs = unet(config), jnp.asarray(np.random.default_rng(0).normal(size=(1, 8, 6, 5, 1)), jnp.float32)
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    assert run(model, params, inputs).features.shape == (1, 8, 6, 5, 2)
    assert [params[f"upsamples_{level}"]["corners"].shape for level in (0, 1)] == [(2, 2, 1, 4, 2), (2, 1, 1, 8, 4)]


def test_pooling_by_two_everywhere_is_the_default_bit_for_bit():
    inputs = example()
    plain, told = (unet(UNetConfig(width=2, levels=2, pooling=pooling)) for pooling in ((), ((2, 2, 2),)))
    params = jax.jit(plain.init)(jax.random.key(0), inputs)
    chex.assert_trees_all_equal(params, jax.jit(told.init)(jax.random.key(0), inputs))
    chex.assert_trees_all_equal(run(plain, params, inputs), run(told, params, inputs))


@pytest.mark.parametrize("pooling", [((2, 2, 1),), ((2, 2), (2, 2)), ((3, 2, 2), (2, 2, 2)), ((1, 1, 1), (2, 2, 2))])
def test_pooling_that_does_not_fit_is_refused(pooling):
    with pytest.raises(ValueError, match="3 levels of 3 axes need 2 tuples"):
        UNetConfig(levels=3, pooling=pooling)


def test_masks_per_item_equal_items_one_by_one():
    inputs = example()
    params = jax.jit(unet(UNetConfig(width=4, levels=2)).init)(jax.random.key(0), inputs)  # whatever the place of dropout
    for dropout in ("head", "decoder", "bottleneck"):
        model = unet(UNetConfig(width=4, levels=2, dropout=dropout))
        masks = jax.vmap(model.draw_masks)(jax.random.split(jax.random.key(1), 2))
        output = run(model, params, inputs, masks)
        kernel, bias = model.head(params, masks)
        together = jnp.einsum("bxyzf,bfc->bxyzc" if kernel.ndim == 3 else "bxyzf,fc->bxyzc", output.features, kernel)
        for item in range(2):
            item_masks = jax.tree.map(lambda mask, item=item: mask[item], masks)
            alone = logits(model, params, inputs[item : item + 1], item_masks)
            np.testing.assert_allclose(np.asarray(together[item] + bias.reshape(1, 1, 1, -1)), np.asarray(alone[0]), atol=1e-5)


def test_bfloat16_stays_inside_the_network():
    inputs = example()
    single, half = (unet(UNetConfig(width=4, levels=2, dtype=dtype)) for dtype in ("float32", "bfloat16"))
    params = jax.jit(single.init)(jax.random.key(0), inputs)
    assert jax.tree.map(lambda leaf: leaf.dtype, params) == jax.tree.map(
        lambda leaf: leaf.dtype, jax.jit(half.init)(jax.random.key(0), inputs)
    )
    output = run(half, params, inputs)
    assert output.features.dtype == output.embedding.dtype == jnp.float32
    exact = run(single, params, inputs)
    assert 0 < np.abs(np.asarray(output.features - exact.features)).max() < 0.3


def test_dropout_keeps_the_mean(rng):
    model = unet(UNetConfig(width=8, dropout_rate=0.25))
    masks = jax.vmap(model.draw_masks)(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(np.asarray(masks["head"]).mean(0), 1.0, atol=0.05)


@pytest.mark.parametrize("groups", [None, 2])
def test_norms_of_values_far_from_zero_lose_nothing(rng, groups):
    """Mean over deviation of 1000: a mean of squares less the square of the mean was 16 % wrong there."""
    values = rng.normal(size=(2, 8, 8, 8, 4))
    params = {"params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}}
    far, near = (np.asarray(Norm(groups).apply(params, jnp.asarray(values + mean, jnp.float32))) for mean in (1000.0, 0.0))
    np.testing.assert_allclose(far, near, atol=2e-3)


@pytest.mark.parametrize(("groups", "theirs"), [(None, nn.InstanceNorm(epsilon=1e-5)), (2, nn.GroupNorm(2, epsilon=1e-5))])
def test_norms_equal_flax(rng, groups, theirs):
    inputs = jnp.asarray(3 + 2 * rng.normal(size=(2, 4, 5, 6, 8)), jnp.float32)
    params = {
        "params": {"scale": jnp.asarray(rng.normal(size=8), jnp.float32), "bias": jnp.asarray(rng.normal(size=8), jnp.float32)}
    }
    with jax.numpy_rank_promotion("allow"):
        expected = theirs.apply(params, inputs)
    np.testing.assert_allclose(np.asarray(Norm(groups).apply(params, inputs)), np.asarray(expected), atol=2e-5)


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_an_item_does_not_see_its_neighbours(norm):
    model = unet(UNetConfig(width=4, levels=2, norm=norm, groups=2))
    inputs = example()
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    together = logits(model, params, inputs)
    np.testing.assert_allclose(np.asarray(together[:1]), np.asarray(logits(model, params, inputs[:1])), atol=1e-5)


def test_instance_norm_forgets_gain_and_offset_of_the_image():
    model, inputs = unet(UNetConfig(width=4, levels=2)), example()
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    assert np.abs(np.asarray(logits(model, params, inputs))).max() > 0.1
    # Zero padding makes the border see the offset, so only the gain is exact.
    np.testing.assert_allclose(
        np.asarray(logits(model, params, 3 * inputs)), np.asarray(logits(model, params, inputs)), atol=2e-3
    )


def test_a_fresh_network_predicts_the_prior_and_its_activations_have_unit_size():
    model = unet(UNetConfig(classes=3, width=8, foreground_prior=0.05))
    inputs = example()
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    _, bias = model.head(params)
    np.testing.assert_allclose(np.asarray(jax.nn.softmax(bias)), [0.95, 0.025, 0.025], rtol=1e-4)
    features = run(model, params, inputs).features
    assert 0.5 < float(features.std()) < 2


def test_gradient_is_finite_for_a_constant_image():
    model = unet(UNetConfig(width=4, levels=2))
    inputs = jnp.zeros((1, *SPACE[3], 1))
    params = jax.jit(model.init)(jax.random.key(0), inputs)
    gradient = jax.jit(jax.grad(lambda params: jnp.square(logits(model, params, inputs)).sum()))(params)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("wrong", [{"dropout_rate": 1.0}, {"space_rank": 4}, {"norm": "group", "width": 6}])
def test_wrong_configurations_are_refused(wrong):
    name, value = list(wrong.items())[-1]
    with pytest.raises(ValueError, match=f"{name}( is)? {value}"):
        UNetConfig(**wrong)


def test_a_parameter_that_nobody_knows_how_to_draw_is_named():
    with pytest.raises(ValueError, match="A parameter is called 'gain'; how it is drawn is known of kernel"):
        draw_params(jax.random.key(0), {"layer": {"gain": jnp.zeros(3)}})
