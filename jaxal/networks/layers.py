"""Layers that the networks share, and how their weights are drawn."""

from collections.abc import Mapping
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxal.networks.conv import conv
from jaxal.types import Masks, Params

Array = jax.Array
Dtype = Literal["float32", "bfloat16"]


def dtype_here(on_cpu: Dtype) -> Dtype:
    """What networks compute in on this machine if nobody says it: GPUs and TPUs wait for memory, and bfloat16 is half of it."""
    return on_cpu if jax.default_backend() == "cpu" else "bfloat16"


class Conv(nn.Module):
    """A convolution without bias; `by_axes` is that of `conv.conv`."""

    features: int
    window: tuple[int, ...]
    dtype: Any
    stride: int = 1
    by_axes: bool = False

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (*self.window, inputs.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.zeros, shape, jnp.float32)
        return conv(inputs, kernel.astype(self.dtype), self.stride, self.by_axes)


class Norm(nn.Module):
    """Instance norm, or with `groups` group norm, with float32 statistics; neither depends on the batch, nor on what is not `inside`."""

    groups: int | None = None

    @nn.compact
    def __call__(self, inputs: Array, inside: Array | None = None) -> Array:
        channels = inputs.shape[-1]
        scale = self.param("scale", nn.initializers.zeros, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        values = inputs.astype(jnp.float32)
        space = tuple(range(1, inputs.ndim - 1))
        # Around one of the values: of values far from zero a mean of squares less the square of the mean would be rounding.
        centre = jax.lax.stop_gradient(_first_inside(values, inside))
        if self.groups is not None:
            centre = shared_by_groups(centre, self.groups)
        away = values - centre
        mean, square = mean_inside(away, inside), mean_inside(jnp.square(away), inside)
        factor, offset = factor_and_offset(mean, square, scale, bias, self.groups)
        shape = (inputs.shape[0], *(1,) * len(space), channels)
        return (away * factor.reshape(shape) + offset.reshape(shape)).astype(inputs.dtype)


def mean_inside(values: Array, inside: Array | None) -> Array:
    """Mean over space, `[batch, channels]`.

    Args:
      values: `[batch, *space, channels]`.
      inside: which elements count, `[batch, *space, 1]`, boolean; all of them without it.
    """
    if inside is None:
        return values.mean(tuple(range(1, values.ndim - 1)))
    batch, *_, channels = values.shape
    weights = inside.reshape(batch, -1).astype(values.dtype)
    # As a matrix product, because that is the fastest form on a CPU: a U-Net takes 1.07 times as long as without a mask, with a sum 1.12.
    total = jnp.einsum("be,bec->bc", weights, values.reshape(batch, -1, channels), precision="highest")
    return total / jnp.maximum(weights.sum(1, keepdims=True), 1.0)


def only_inside(values: Array, inside: Array | None) -> Array:
    """Zeros what is not inside, `[batch, *space, 1]`, as what lies beyond the border of an image is zero."""
    return values if inside is None else jnp.where(inside, values, 0)


def _first_inside(values: Array, inside: Array | None) -> Array:
    """Each item's first element that is inside, `[batch, 1, ..., 1, channels]`."""
    if inside is None:
        return values[(slice(None), *(slice(0, 1),) * (values.ndim - 2))]
    batch, *space, channels = values.shape
    first = jnp.argmax(inside.reshape(batch, -1, 1), axis=1, keepdims=True)
    return jnp.take_along_axis(values.reshape(batch, -1, channels), first, axis=1).reshape(batch, *(1,) * len(space), channels)


def factor_and_offset(mean: Array, square: Array, scale: Array, bias: Array, groups: int | None) -> tuple[Array, Array]:
    """By what values are multiplied, and what is added then, so that they have the mean and the deviation of a norm, `[batch, channels]`.

    Args:
      mean, square: of the values and of their squares, `[batch, channels]`.
      scale, bias: the norm's, `[channels]`.
      groups: see `Norm`.
    """
    if groups is not None:
        mean, square = shared_by_groups(mean, groups), shared_by_groups(square, groups)
    factor = scale[None] * jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0.0) + 1e-5)
    return factor, bias[None] - mean * factor


def shared_by_groups(values: Array, groups: int) -> Array:
    """Each channel's group's mean, `[..., channels]`."""
    size = values.shape[-1] // groups
    return jnp.repeat(values.reshape(*values.shape[:-1], groups, size).mean(-1), size, -1)


class FrozenNorm(nn.Module):
    """What a batch norm does once its statistics are fixed: a scale and an offset of each channel, which training leaves alone."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (inputs.shape[-1],)
        scale = self.param("frozen_scale", nn.initializers.zeros, shape, jnp.float32)
        offset = self.param("frozen_bias", nn.initializers.zeros, shape, jnp.float32)
        scale, offset = jax.lax.stop_gradient((scale, offset))
        lead = (1,) * (inputs.ndim - 1)
        return (inputs * scale.reshape(*lead, -1) + offset.reshape(*lead, -1)).astype(inputs.dtype)


class PRelu(nn.Module):
    """A rectifier with a slope below zero that is learnt, one a channel (He et al. 2015, arXiv 1502.01852, eq. 1)."""

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        slope = self.param("slope", nn.initializers.zeros, (inputs.shape[-1],), jnp.float32).astype(inputs.dtype)
        return jnp.where(inputs > 0, inputs, slope.reshape(*(1,) * (inputs.ndim - 1), -1) * inputs)


def trainable(params: Params) -> Any:
    """Which leaves training may change: all but those of `FrozenNorm`, which tell it by their names."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: not path[-1].key.startswith("frozen_"), params)


def draw_params(key: Array, shapes: Params) -> Params:
    """Draws all weights from one stream of normal numbers.

    Flax would draw each weight by itself, and XLA takes half a second to compile each draw on a CPU: 18 s for a U-Net against
    0.4 s for one draw that is cut into pieces.

    Args:
      key: of the draw.
      shapes: arrays or their shapes; the name of each says how it is drawn.
    """
    paths, tree = jax.tree_util.tree_flatten_with_path(shapes)
    normal = jax.random.normal(key, (sum(leaf.size for _, leaf in paths),))
    drawn, start = [], 0
    for path, leaf in paths:
        values = normal[start : start + leaf.size].reshape(leaf.shape)
        start += leaf.size
        match path[-1].key:
            case "kernel":  # He et al. 2015 (arXiv 1502.01852); the head's is followed by no rectifier
                gain = 1.0 if len(path) == 1 else 2.0
                drawn.append(values * np.sqrt(gain / np.prod(leaf.shape[:-1])))
            case "corners":  # each output voxel sees one corner of the window, so the fan-in is the channel count
                drawn.append(values * np.sqrt(1.0 / leaf.shape[-2]))
            case "scale" | "frozen_scale":
                drawn.append(jnp.ones_like(values))
            case "bias" | "frozen_bias":
                drawn.append(jnp.zeros_like(values))
            case "slope":  # of `PRelu`, as its paper begins
                drawn.append(jnp.full_like(values, 0.25))
            case name:
                known = "kernel, corners, scale, bias and slope"
                raise ValueError(f"A parameter is called {name!r}; how it is drawn is known of {known}.")
    return jax.tree.unflatten(tree, drawn)


def linear_head(params: Params, masks: Masks | None = None) -> tuple[Array, Array]:
    """Kernel and bias of the last layer; a mask of its input (named "head") is folded into the kernel."""
    kernel = params["kernel"]
    if masks is not None and "head" in masks:
        mask = masks["head"][..., :, None]
        kernel = mask * jnp.broadcast_to(kernel, (*mask.shape[:-1], kernel.shape[-1]))
    return kernel, params["bias"]


def draw_channel_masks(key: Array, channels: Mapping[str, int], dropout_rate: float) -> Masks:
    """One member's masks, by name: a channel is dropped, or kept and divided by the chance to be kept."""
    keep = 1.0 - dropout_rate
    keys = jax.random.split(key, len(channels))
    return {
        name: jax.random.bernoulli(part, keep, (size,)).astype(jnp.float32) / keep
        for part, (name, size) in zip(keys, channels.items(), strict=True)
    }


def drop_channels(inputs: Array, masks: Masks | None, name: str) -> Array:
    """Multiplies channels by their mask, `[channels]` or `[batch, channels]`, if there is one of this name."""
    if masks is None or name not in masks:
        return inputs
    mask = masks[name].astype(inputs.dtype)
    batch = mask.shape[0] if mask.ndim == 2 else 1
    return inputs * mask.reshape(batch, *(1,) * (inputs.ndim - 2), mask.shape[-1])
