"""A U-Net for volumes and images, split where the first dropout layer stands (Ronneberger et al. 2015, arXiv 1505.04597)."""

import dataclasses
import functools
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxal.networks.conv import conv, max_pool, upsample
from jaxal.types import Masks, Model, Output, Params

Array = jax.Array
Dropout = Literal["head", "decoder", "bottleneck"]


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """The shape of a U-Net.

    Attributes:
      classes: number of classes, background included.
      width: channels at full resolution; each level below has twice as many.
      levels: number of resolutions. Every space axis must be a multiple of `2 ** (levels - 1)`.
      space_rank: 3 for volumes, 2 for images.
      norm: `instance`, or `group` with `groups` groups; neither depends on the batch.
      groups: number of groups for `group`.
      dropout: where channels are dropped: before the last layer, before each decoder block, or after the bottleneck.
      dropout_rate: probability that a channel is dropped.
      foreground_prior: share of foreground that a fresh network predicts everywhere (as Lin et al. 2017, arXiv 1708.02002).
        A structure is a percent of its volume; starting from one half, trainings took more steps, and one collapsed.
      dtype: what the network computes in; parameters and everything that ranks stay float32.
    """

    classes: int = 2
    width: int = 8
    levels: int = 3
    space_rank: int = 3
    norm: Literal["instance", "group"] = "instance"
    groups: int = 8
    dropout: Dropout = "head"
    dropout_rate: float = 0.2
    foreground_prior: float = 0.05
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate is {self.dropout_rate}; it must be at least 0 and below 1.")
        if self.space_rank not in (2, 3):
            raise ValueError(f"space_rank is {self.space_rank}; a U-Net here has 2 or 3 space axes.")
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"width {self.width} is not a multiple of groups {self.groups}.")

    @property
    def multiple(self) -> int:
        """Every space axis of the input must be a multiple of this."""
        return 2 ** (self.levels - 1)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels by level, from full resolution down."""
        return tuple(self.width * 2**level for level in range(self.levels))


class _Conv(nn.Module):
    features: int
    window: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (*self.window, inputs.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.zeros, shape, jnp.float32)
        return conv(inputs, kernel.astype(self.dtype))


class _Upsample(nn.Module):
    features: int
    space_rank: int
    dtype: Any

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape = (*(2,) * self.space_rank, inputs.shape[-1], self.features)
        kernel = self.param("corners", nn.initializers.zeros, shape, jnp.float32)
        return upsample(inputs, kernel.astype(self.dtype))


class _Norm(nn.Module):
    """Instance or group norm with float32 statistics."""

    groups: int | None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        channels = inputs.shape[-1]
        scale = self.param("scale", nn.initializers.zeros, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        values = inputs.astype(jnp.float32)
        space = tuple(range(1, inputs.ndim - 1))
        mean, square = values.mean(space), jnp.square(values).mean(space)
        if self.groups is not None:
            mean, square = (
                jnp.repeat(_mean_of_groups(part, self.groups), channels // self.groups, -1) for part in (mean, square)
            )
        factor = scale[None] * jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0.0) + 1e-5)
        offset = bias[None] - mean * factor
        shape = (inputs.shape[0], *(1,) * len(space), channels)
        return (values * factor.reshape(shape) + offset.reshape(shape)).astype(inputs.dtype)


def _mean_of_groups(values: Array, groups: int) -> Array:
    return values.reshape(values.shape[0], groups, -1).mean(-1)


class _Block(nn.Module):
    """Twice: convolution, norm, leaky ReLU."""

    features: int
    config: UNetConfig

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        config = self.config
        hidden = inputs
        for _ in range(2):
            hidden = _Conv(self.features, (3,) * config.space_rank, jnp.dtype(config.dtype))(hidden)
            hidden = _Norm(config.groups if config.norm == "group" else None)(hidden)
            hidden = nn.leaky_relu(hidden, 0.01)
        return hidden


class _UNet(nn.Module):
    config: UNetConfig

    def setup(self):
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        self.encoders = [_Block(channels, config) for channels in config.channels]
        self.decoders = [_Block(channels, config) for channels in config.channels[:-1]]
        self.upsamples = [_Upsample(channels, config.space_rank, dtype) for channels in config.channels[:-1]]
        self.kernel = self.param("kernel", nn.initializers.zeros, (config.width, config.classes), jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros, (config.classes,), jnp.float32)

    def encode(self, inputs: Array) -> tuple[Array, ...]:
        hidden = inputs.astype(self.config.dtype)
        levels = []
        for level, encoder in enumerate(self.encoders):
            hidden = encoder(max_pool(hidden) if level else hidden)
            levels.append(hidden)
        return tuple(levels)

    def decode(self, levels: tuple[Array, ...], masks: Masks | None) -> Array:
        hidden = _drop(levels[-1], masks, "bottleneck")
        for level in reversed(range(len(levels) - 1)):
            joined = jnp.concatenate([levels[level], self.upsamples[level](hidden)], axis=-1)
            hidden = self.decoders[level](_drop(joined, masks, f"decoder_{level}"))
        return hidden

    def __call__(self, inputs: Array) -> Array:
        return self.decode(self.encode(inputs), None)


def _drop(inputs: Array, masks: Masks | None, name: str) -> Array:
    """Multiplies channels by their mask, `[channels]` or `[batch, channels]`, if there is one of this name."""
    if masks is None or name not in masks:
        return inputs
    mask = masks[name].astype(inputs.dtype)
    batch = mask.shape[0] if mask.ndim == 2 else 1
    return inputs * mask.reshape(batch, *(1,) * (inputs.ndim - 2), mask.shape[-1])


def _mask_channels(config: UNetConfig) -> dict[str, int]:
    """The channels that can be dropped, by the name of their mask."""
    if config.dropout == "head":
        return {"head": config.width}
    if config.dropout == "bottleneck":
        return {"bottleneck": config.channels[-1]}
    return {f"decoder_{level}": 2 * channels for level, channels in enumerate(config.channels[:-1])}


def _draw_params(key: Array, shapes: Params, foreground_prior: float) -> Params:
    """Draws all weights from one stream of normal numbers.

    Flax would draw each weight by itself, and XLA takes half a second to compile each draw on a CPU: 18 s for this network
    against 0.4 s for one draw that is cut into pieces.
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
            case "scale":
                drawn.append(jnp.ones_like(values))
            case "bias":
                drawn.append(jnp.zeros_like(values))
    params = jax.tree.unflatten(tree, drawn)
    background = np.log((1 - foreground_prior) / foreground_prior * (params["bias"].size - 1))
    return {**params, "bias": params["bias"].at[0].set(background)}


@functools.cache
def unet(config: UNetConfig) -> Model:
    """Builds the functions of a U-Net (see `types.Model` for their contract); of equal configurations they are the same functions.

    The deterministic part, `stem`, reaches as far as the first dropout layer: the encoder for `decoder` and `bottleneck`, the
    whole network but its last layer for `head`, where a mask folds into the last layer's kernel and a dropout sample costs
    one small matrix product.
    """
    network = _UNet(config)
    channels = _mask_channels(config)

    def init(key: Array, example: Array):
        return _draw_params(key, jax.eval_shape(network.init, key, example)["params"], config.foreground_prior)

    def stem(params, inputs: Array):
        levels = network.apply({"params": params}, inputs, method="encode")
        embedding = levels[-1].astype(jnp.float32).mean(tuple(range(1, inputs.ndim - 1)))
        if config.dropout != "head":
            return levels, embedding
        return network.apply({"params": params}, levels, None, method="decode"), embedding

    def tail(params, hidden, masks: Masks | None) -> Output:
        content, embedding = hidden
        if config.dropout != "head":
            content = network.apply({"params": params}, content, masks, method="decode")
        return Output(content.astype(jnp.float32), embedding, {})

    def head(params, masks: Masks | None = None):
        kernel = params["kernel"]
        if masks is not None and "head" in masks:
            mask = masks["head"][..., :, None]
            kernel = mask * jnp.broadcast_to(kernel, (*mask.shape[:-1], kernel.shape[-1]))
        return kernel, params["bias"]

    def draw_masks(key: Array) -> Masks:
        keep = 1.0 - config.dropout_rate
        keys = jax.random.split(key, len(channels))
        return {
            name: jax.random.bernoulli(part, keep, (size,)).astype(jnp.float32) / keep
            for part, (name, size) in zip(keys, channels.items(), strict=True)
        }

    return Model(init, stem, tail, head, draw_masks, masked_tail=config.dropout != "head")
