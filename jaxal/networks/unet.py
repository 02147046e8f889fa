"""A U-Net for volumes and images, split where the first dropout layer stands (Ronneberger et al. 2015, arXiv 1505.04597)."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxal.cells import Cells
from jaxal.networks import packed
from jaxal.networks.conv import max_pool, upsample
from jaxal.networks.layers import (
    Conv,
    Dtype,
    Norm,
    draw_channel_masks,
    draw_params,
    drop_channels,
    linear_head,
    mean_inside,
    only_inside,
    trainable,
)
from jaxal.types import Masks, Model, Output

Array = jax.Array
Dropout = Literal["head", "decoder", "bottleneck"]

_LANES = 128  # channels that a TPU takes at once; levels of fewer are packed


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """The shape of a U-Net.

    Attributes:
      classes: number of classes, background included.
      width: channels at full resolution; each level below has twice as many.
      levels: number of resolutions. Every space axis must be a multiple of `2 ** (levels - 1)`, or of what `pooling` says.
      space_rank: 3 for volumes, 2 for images.
      norm: `instance`, or `group` with `groups` groups; neither depends on the batch.
      groups: number of groups for `group`.
      dropout: where channels are dropped: before the last layer, before each decoder block, or after the bottleneck.
      dropout_rate: probability that a channel is dropped.
      foreground_prior: share of foreground that a fresh network predicts everywhere (as Lin et al. 2017, arXiv 1708.02002).
        A structure is a percent of its volume; starting from one half, trainings took more steps, and one collapsed.
      dtype: what the network computes in; parameters and everything that ranks stay float32.
      pooling: from each level to the next below, by what each space axis is divided, 1 or 2, so that thick slices stay apart while
        axes within them are halved; all by 2 when empty.
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
    dtype: Dtype = "float32"
    pooling: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self):
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate is {self.dropout_rate}; it must be at least 0 and below 1.")
        if self.space_rank not in (2, 3):
            raise ValueError(f"space_rank is {self.space_rank}; a U-Net here has 2 or 3 space axes.")
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"width {self.width} is not a multiple of groups {self.groups}.")
        rightly = (len(step) == self.space_rank and set(step) <= {1, 2} and 2 in step for step in self.pooling)
        if self.pooling and (len(self.pooling) != self.levels - 1 or not all(rightly)):
            raise ValueError(
                f"pooling is {self.pooling}; {self.levels} levels of {self.space_rank} axes need {self.levels - 1} tuples of "
                f"{self.space_rank} factors, each 1 or 2 and one of them 2."
            )

    @property
    def factors(self) -> tuple[tuple[int, ...], ...]:
        """By what each space axis is divided from each level to the next."""
        return self.pooling or ((2,) * self.space_rank,) * (self.levels - 1)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels by level, from full resolution down."""
        return tuple(self.width * 2**level for level in range(self.levels))


class _Upsample(nn.Module):
    features: int
    factors: tuple[int, ...]
    dtype: Any
    cell: tuple[int, ...] | None
    cell_below: tuple[int, ...] | None

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """To cells of this level, if it is packed, from those of the level below, if that one is."""
        shape = (*self.factors, inputs.shape[-1] // math.prod(self.cell_below or ()), self.features)
        kernel = self.param("corners", nn.initializers.zeros, shape, jnp.float32).astype(self.dtype)
        return packed.upsample(inputs, kernel, self.cell_below) if self.cell else upsample(inputs, kernel)


class _Block(nn.Module):
    """Twice: convolution, norm, leaky ReLU. What is not inside is zero afterwards, as it is beyond the border of the volume.

    Attributes:
      features: channels that leave it.
      config: of the network.
      cell: of what enters and leaves it, if it is packed.
    """

    features: int
    config: UNetConfig
    cell: tuple[int, ...] | None

    @nn.compact
    def __call__(self, parts: Sequence[Array], inside: Array | None, source: packed.Source) -> Array:
        """Parts are what enters, channel after channel, several only where the block is packed, which is told whether they are cells."""
        if self.cell is not None:
            return self._packed(parts, self.cell, inside, source)
        config = self.config
        (hidden,) = parts
        for _ in range(2):
            hidden = Conv(self.features, (3,) * config.space_rank, jnp.dtype(config.dtype))(hidden)
            hidden = Norm(config.groups if config.norm == "group" else None)(hidden, inside)
            hidden = only_inside(nn.leaky_relu(hidden, 0.01), inside)
        return hidden

    def _packed(self, parts: Sequence[Array], cell: tuple[int, ...], inside: Array | None, source: packed.Source) -> Array:
        config, groups = self.config, self.config.groups if self.config.norm == "group" else None
        sizes = (1,) * len(cell) if source == "elements" else cell
        space = tuple(length * size for length, size in zip(parts[0].shape[1:-1], sizes, strict=True))
        for index in range(2):  # the names are those that the plain layers get, whose weights these are
            there = packed.Inside(space, cell, index == 0, inside)
            hidden = packed.CellConv(self.features, cell, jnp.dtype(config.dtype), name=f"Conv_{index}")(parts, source)
            hidden = packed.CellNorm(cell, groups, name=f"Norm_{index}")(hidden, there)
            parts, source = [there.only(nn.leaky_relu(hidden, 0.01))], "offset"
        return parts[0]


class _Level(NamedTuple):
    """What the encoder leaves of one resolution: activations, and which of them are inside, `[batch, *space, 1]`, if that is known."""

    hidden: Array
    inside: Array | None


class _UNet(nn.Module):
    config: UNetConfig
    is_packed: bool = False

    def setup(self):
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        self.encoders = [_Block(channels, config, self.cell(level)) for level, channels in enumerate(config.channels)]
        self.decoders = [_Block(channels, config, self.cell(level)) for level, channels in enumerate(config.channels[:-1])]
        below = zip(config.channels, config.factors, strict=False)
        self.upsamples = [
            _Upsample(channels, factors, dtype, self.cell(level), self.cell(level + 1))
            for level, (channels, factors) in enumerate(below)
        ]
        self.kernel = self.param("kernel", nn.initializers.zeros, (config.width, config.classes), jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros, (config.classes,), jnp.float32)

    def cell(self, level: int) -> tuple[int, ...] | None:
        """Of a level that is packed: as large as what is pooled to one element of the next."""
        below = level + 1 < self.config.levels
        return self.config.factors[level] if self.is_packed and below and self.config.channels[level] < _LANES else None

    def encode(self, inputs: Array, inside: Array | None) -> tuple[_Level, ...]:
        hidden = only_inside(inputs, inside).astype(self.config.dtype)
        levels: list[_Level] = []
        for level, encoder in enumerate(self.encoders):
            if level:  # a coarse element is inside if any of its fine ones is
                factors = self.config.factors[level - 1]
                is_packed = self.cell(level - 1) is not None
                hidden = packed.max_pool(hidden, math.prod(factors)) if is_packed else max_pool(hidden, factors)
                inside = None if inside is None else max_pool(inside, factors)
            hidden = encoder([hidden], inside, "elements")
            levels.append(_Level(hidden, inside))
        return tuple(levels)

    def decode(self, levels: tuple[_Level, ...], masks: Masks | None) -> Array:
        """Activations of full resolution, in cells if they are packed."""
        hidden = drop_channels(levels[-1].hidden, masks, "bottleneck")
        for level in reversed(range(len(levels) - 1)):
            parts: Sequence[Array] = [levels[level].hidden, self.upsamples[level](hidden)]
            if (cell := self.cell(level)) is not None:
                parts = _drop_parts(parts, masks, f"decoder_{level}", math.prod(cell))
            else:
                parts = [drop_channels(jnp.concatenate(parts, axis=-1), masks, f"decoder_{level}")]
            hidden = self.decoders[level](parts, levels[level].inside, "aligned")
        return hidden

    def __call__(self, inputs: Array) -> Array:
        return self.decode(self.encode(inputs, None), None)


def _drop_parts(parts: Sequence[Array], masks: Masks | None, name: str, places: int) -> Sequence[Array]:
    """`drop_channels` of what is concatenated later, each part with its own of the mask's channels, at every place of a cell."""
    if masks is None or name not in masks:
        return parts
    ends = np.cumsum([part.shape[-1] // places for part in parts])[:-1].tolist()
    of_parts = jnp.split(masks[name], ends, axis=-1)
    return [drop_channels(part, {name: jnp.tile(mask, places)}, name) for part, mask in zip(parts, of_parts, strict=True)]


def _mask_channels(config: UNetConfig) -> dict[str, int]:
    """The channels that can be dropped, by the name of their mask."""
    if config.dropout == "head":
        return {"head": config.width}
    if config.dropout == "bottleneck":
        return {"bottleneck": config.channels[-1]}
    return {f"decoder_{level}": 2 * channels for level, channels in enumerate(config.channels[:-1])}


@functools.cache
def unet(config: UNetConfig, padded: bool = False, is_packed: bool = False) -> Model:
    """Builds the functions of a U-Net (see `types.Model` for their contract); of equal configurations they are the same functions.

    The deterministic part, `stem`, reaches as far as the first dropout layer: the encoder for `decoder` and `bottleneck`, the
    whole network but its last layer for `head`, where a mask folds into the last layer's kernel and a dropout sample costs
    one small matrix product.

    Args:
      config: its shape.
      padded: whether images may be padded. Then no norm counts what is not inside, and every layer sees zeros there, so that the prediction
        of a case depends on the case alone and not on how much it is padded. Without padding the same weights are the same network, and
        faster.
      is_packed: whether levels of few channels compute in cells (`networks/packed.py`): for TPUs. The weights are those of the plain
        network; what it computes differs by rounding.
    """
    network = _UNet(config, is_packed)
    channels = _mask_channels(config)

    def init(key: Array, example: Array):
        params = draw_params(key, jax.eval_shape(network.init, key, example)["params"])
        prior = config.foreground_prior
        background = np.log((1 - prior) / prior * (config.classes - 1))
        return {**params, "bias": params["bias"].at[0].set(background)}

    def stem(params, inputs: Array, inside: Array | None = None):
        inside = inside[..., None] if padded and inside is not None else None
        levels: Any = network.apply({"params": params}, inputs, inside, method="encode")
        embedding = mean_inside(levels[-1].hidden.astype(jnp.float32), levels[-1].inside)
        if config.dropout != "head":
            return levels, embedding
        return network.apply({"params": params}, levels, None, method="decode"), embedding

    def tail(params, hidden, masks: Masks | None) -> Output:
        content, embedding = hidden
        if config.dropout != "head":
            content = network.apply({"params": params}, content, masks, method="decode")
        cell = network.cell(0)
        if cell is not None:
            batch, *grid, channels = content.shape
            return Output(Cells(content.reshape(batch, -1, channels), tuple(grid), cell), embedding, {})
        return Output(content.astype(jnp.float32), embedding, {})

    def draw_masks(key: Array) -> Masks:
        return draw_channel_masks(key, channels, config.dropout_rate)

    return Model(init, stem, tail, linear_head, draw_masks, config.dropout != "head", trainable)
