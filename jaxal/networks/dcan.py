"""A contour-aware network for objects that touch, such as glands: a residual encoder, and a decoder with two branches.

Chen et al. 2016 (DCAN, arXiv 1604.02677) bring feature maps of several depths to full resolution, once for objects and once for their
contours; objects that touch are told apart where a contour runs between them (`assessment.objects`). Each depth has a classifier of its
own, a side output, which only training looks at, and the maps of all depths are fused to what counts. Li & Alstrøm 2020 put it on a
ResNet-50 v2 and drop channels with a chance of one half before residual blocks, in training and for dropout samples.

Here small maps are reduced to few channels first and enlarged afterwards. Enlarging is linear interpolation: on a CPU it is as fast as a
transposed convolution whose window equals its stride, needs no weights, and leaves no pattern of cells in the maps. Linear interpolation by four
and then by two is that by eight, so the maps of all depths are added at the finest resolution and only their sum is brought to full resolution.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxal.networks.conv import enlarge
from jaxal.networks.layers import (
    Conv,
    Dtype,
    Norm,
    draw_channel_masks,
    draw_params,
    linear_head,
    mean_inside,
    only_inside,
    trainable,
)
from jaxal.networks.resnet import Architecture, ResNetConfig, block_inputs, enter, normed, run_stage
from jaxal.types import Masks, Model, Output

Array = jax.Array

SIDES = 3  # stages, the deepest ones, that have side outputs


@dataclasses.dataclass(frozen=True)
class DCANConfig:
    """The shape of a contour-aware network.

    Attributes:
      classes: number of classes, background included.
      architecture, width, entry, norm, groups: of the encoder, see `resnet.ResNetConfig`. The decoder always has group norm.
      features: channels of each branch of the decoder, and inputs of the last layer.
      dropout: where channels are dropped: before `all` residual blocks, or before the `deep` ones, those of the last two stages, as the code of
        Li & Alstrøm has it. Then all before them runs once for all dropout samples.
      dropout_rate: probability that a channel is dropped.
      dtype: what the network computes in; parameters and everything that ranks stay float32.
    """

    classes: int = 2
    architecture: Architecture = "resnet18"
    width: int = 16
    entry: Literal["wide", "narrow"] = "wide"
    norm: Literal["group", "frozen"] = "group"
    groups: int = 4
    features: int = 16
    dropout: Literal["all", "deep"] = "deep"
    dropout_rate: float = 0.5
    dtype: Dtype = "float32"

    def __post_init__(self):
        if self.features % self.groups:
            raise ValueError(f"features {self.features} is not a multiple of groups {self.groups}.")
        _ = self.encoder  # refuses what a residual network refuses

    @property
    def encoder(self) -> ResNetConfig:
        own, theirs = ({field.name for field in dataclasses.fields(config)} for config in (self, ResNetConfig))
        return ResNetConfig(**{name: getattr(self, name) for name in own & theirs})

    @property
    def strides(self) -> tuple[int, ...]:
        """Of each stage. A fourth one has no stride: objects would be too few elements large."""
        return (1, 2, 2, 1)[: len(self.encoder.shape.blocks)]

    @property
    def factors(self) -> tuple[int, ...]:
        """By what the sides of an image are divided where each stage ends."""
        factors, factor = [], 4 if self.entry == "wide" else 1
        for stride in self.strides:
            factor *= stride
            factors.append(factor)
        return tuple(factors)

    @property
    def first_dropped(self) -> int:
        """The first stage whose blocks drop channels."""
        return len(self.strides) - 2 if self.dropout == "deep" else 0


def multiple_of(config: DCANConfig) -> int:
    """What both sides of an image must be multiples of."""
    return config.factors[-1]


class _Map(NamedTuple):
    """What a stage leaves: `[batch, height, width, channels]`, and what is inside, `[batch, height, width, 1]`, if that is known."""

    values: Array
    inside: Array | None


class _Stem(nn.Module):
    """All before the first block that drops channels."""

    config: DCANConfig

    @nn.compact
    def __call__(self, images: Array, inside: Array | None) -> list[_Map]:
        """Maps of the stages, or what enters the first one if none is here."""
        entered = _Map(*enter(self.config.encoder, images, inside))
        return _run(self.config, range(self.config.first_dropped), entered, None) or [entered]


class _Tail(nn.Module):
    """All from the first block on that drops channels, up to the last layer."""

    config: DCANConfig

    @nn.compact
    def __call__(self, hidden: list[_Map], masks: Masks | None) -> Output:
        """What is hidden is what `_Stem` leaves."""
        config, first = self.config, self.config.first_dropped
        maps = (hidden if first else []) + _run(config, range(first, len(config.strides)), hidden[-1], masks)
        if config.encoder.shape.norm_first:
            maps[-1] = maps[-1]._replace(values=normed(config.encoder, "norm_last", *maps[-1]))
        embedding = mean_inside(maps[-1].values.astype(jnp.float32), maps[-1].inside)
        self.param("kernel", nn.initializers.zeros, (config.features, config.classes), jnp.float32)
        self.param("bias", nn.initializers.zeros, (config.classes,), jnp.float32)
        features, side_objects = _Branch(config.classes, config, name="objects")(maps)
        contour_features, side_contours = _Branch(1, config, name="contours")(maps)
        contour = nn.Dense(1, name="contour")(contour_features)[..., 0]
        return Output(
            features, embedding, {"side_objects": side_objects, "contour": contour, "side_contours": side_contours[:, :, 0]}
        )


def _run(config: DCANConfig, stages: range, entering: _Map, masks: Masks | None) -> list[_Map]:
    """The maps of these stages, layers of the module that calls it."""
    maps = [entering]
    for stage in stages:
        maps.append(_Map(*run_stage(config.encoder, stage, config.strides[stage], *maps[-1], masks)))
    return maps[1:]


class _Branch(nn.Module):
    """Brings the maps of all stages to full resolution: for objects, or for contours."""

    outputs: int
    config: DCANConfig

    @nn.compact
    def __call__(self, maps: list[_Map]) -> tuple[Array, Array]:
        """Fused features `[batch, height, width, features]` and side outputs `[batch, sides, outputs, height, width]`, float32."""
        strides, factors = self.config.strides, self.config.factors
        reduced = []
        for number, map_ in enumerate(maps, 1):
            values, inside = self._normed(map_, 1, f"reduce{number}")
            reduced.append(_Map(only_inside(nn.relu(values), inside), inside))
        fused = self._normed(_joined(reduced, strides, operator.add), 3, "fuse")
        # The rectifier comes last, so that edges may run between the elements that are interpolated.
        features = nn.relu(enlarge(fused.values, factors[0], fused.inside)).astype(jnp.float32)
        sides = []
        for number, (values, inside) in list(enumerate(reduced, 1))[-SIDES:]:
            sides.append(_Map(nn.Dense(self.outputs, name=f"side{number}")(values.astype(jnp.float32)), inside))
        beside = _joined(sides, strides[-SIDES:], lambda finer, coarse: jnp.concatenate([finer, coarse], -1))
        logits = jnp.moveaxis(enlarge(beside.values, factors[-SIDES], beside.inside), -1, 1)
        return features, logits.reshape(len(logits), SIDES, self.outputs, *logits.shape[2:])

    def _normed(self, entering: _Map, window: int, name: str) -> _Map:
        """Convolution and norm."""
        values, inside = entering
        values = Conv(self.config.features, (window, window), jnp.dtype(self.config.dtype), name=name)(values)
        return _Map(Norm(self.config.groups, name=f"norm_{name}")(values, inside), inside)


def _joined(maps: list[_Map], strides: Sequence[int], join: Callable[[Array, Array], Array]) -> _Map:
    """All maps at the resolution of the first one: from the last one on each is enlarged by its stride and joined to the one before."""
    below = maps[-1]
    for finer, stride in zip(maps[-2::-1], strides[:0:-1], strict=True):
        below = _Map(join(finer.values, enlarge(below.values, stride, below.inside)), finer.inside)
    return below


@functools.cache
def dcan(config: DCANConfig, padded: bool = False) -> Model:
    """Builds the functions of a contour-aware network (see `types.Model`); of equal configurations they are the same functions.

    `Output.auxiliary` has `side_objects`, logits `[batch, sides, classes, height, width]`, and logits of contours: `contour`
    `[batch, height, width]` and `side_contours` `[batch, sides, height, width]`. Whoever reads none of them computes none. Names of the
    encoder's params are those of a residual network.

    Args:
      config: its shape.
      padded: whether images may be padded at the far ends. Then no norm counts what is not inside, and layers see zeros there, so that a prediction
        does not depend on how much an image is padded. Without padding the same weights are the same network, and faster.
    """
    entry, rest, channels = _Stem(config), _Tail(config), _mask_channels(config)

    def init(key: Array, example: Array) -> Any:
        _require_multiples(config, example)

        def drawn(images: Array) -> Any:
            hidden, of_stem = entry.init_with_output(key, images, None)
            return {**of_stem["params"], **rest.init(key, hidden, None)["params"]}

        return draw_params(key, jax.eval_shape(drawn, example))

    def stem(params: Any, inputs: Array, inside: Array | None = None) -> Any:
        _require_multiples(config, inputs)
        return entry.apply({"params": params}, inputs, inside[..., None] if padded and inside is not None else None)

    def tail(params: Any, hidden: Any, masks: Masks | None) -> Output:
        output: Any = rest.apply({"params": params}, hidden, masks)
        return output

    def draw_masks(key: Array) -> Masks:
        return draw_channel_masks(key, channels, config.dropout_rate)

    return Model(init, stem, tail, linear_head, draw_masks, True, trainable)


def _mask_channels(config: DCANConfig) -> dict[str, int]:
    """The channels that can be dropped, by the name of their block."""
    places = enumerate(block_inputs(config.encoder).items())
    before = sum(config.encoder.shape.blocks[: config.first_dropped])
    return {name: size for place, (name, size) in places if place >= before}


def _require_multiples(config: DCANConfig, images: Array) -> None:
    _, height, width, _ = images.shape
    multiple = multiple_of(config)
    if height % multiple or width % multiple:
        raise ValueError(
            f"Images of {height} x {width} pixels: both sides must be multiples of {multiple} for this network; pad the images."
        )
