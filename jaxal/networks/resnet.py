"""Residual networks for images and volumes: ResNet-18 and 50 as torchvision has them, ResNet-50 v2, and a small one for small images.

He et al. 2016 (arXiv 1512.03385; v2, with norms before the convolutions, arXiv 1603.05027). The information-gain paper (Mehta et al.
2022, arXiv 2208.00974) takes a ResNet-18 that was trained on ImageNet, puts dropout of 0.2 before the last layer and trains all of it,
batch norms included. Here a network is functions over one pytree that scoring never changes, so norms with statistics of their own
have no place: weights that come from elsewhere keep their batch norms as fixed scales and offsets (`norm="frozen"`), networks
trained from scratch use group norm (Wu & He 2018, arXiv 1803.08494) or instance norm.

Of volumes windows and strides have a third axis of the same length. Mehta, Shui & Arbel 2023 (PMLR 227, appendix) predict clinical scores by a
3-D ResNet-18 with instance norm, PReLU and dropout of 0.2: `ResNetConfig(space_rank=3, norm="instance", activation="prelu")`.
"""

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxal.networks.conv import max_pool_overlapping
from jaxal.networks.layers import (
    Conv,
    Dtype,
    FrozenNorm,
    Norm,
    PRelu,
    draw_channel_masks,
    draw_params,
    drop_channels,
    linear_head,
    only_inside,
    trainable,
)
from jaxal.types import Masks, Model, Output

Array = jax.Array
Architecture = Literal["resnet18", "resnet50", "resnet50_v2", "small"]


class Shape(NamedTuple):
    """Of an architecture: residual blocks by stage, their kind, and how much larger than its inside a bottleneck's output is."""

    blocks: tuple[int, ...]
    bottleneck: bool
    norm_first: bool = False


SHAPES = {
    "resnet18": Shape((2, 2, 2, 2), bottleneck=False),
    "resnet50": Shape((3, 4, 6, 3), bottleneck=True),
    "resnet50_v2": Shape((3, 4, 6, 3), bottleneck=True, norm_first=True),
    "small": Shape((1, 1, 1), bottleneck=False),
}
EXPANSION = 4  # of a bottleneck's output over its inside


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """The shape of a residual network.

    Attributes:
      classes: number of classes, or of whatever else the task reads of the last layer; for regression twice that of targets.
      architecture: `small` has three stages of one block each, for images of some tens of pixels a side.
      width: channels of the first stage; each further one has twice as many.
      entry: how an image comes in: `wide`, a 7 x 7 convolution and a pooling, which divide each side by four, as for ImageNet; or
        `narrow`, one 3 x 3 convolution, for small images.
      norm: `group`, `instance`, or `frozen` for weights that were trained with batch norm.
      groups: number of groups for `group`.
      dropout_rate: probability that a feature is dropped before the last layer.
      dtype: what the network computes in; parameters and everything that ranks stay float32.
      space_rank: 2 for images, 3 for volumes.
      activation: `relu`, or `prelu`, which learns a slope of each channel below zero.
    """

    classes: int = 5
    architecture: Architecture = "resnet18"
    width: int = 64
    entry: Literal["wide", "narrow"] = "wide"
    norm: Literal["group", "frozen", "instance"] = "group"
    groups: int = 32
    dropout_rate: float = 0.2
    dtype: Dtype = "float32"
    space_rank: int = 2
    activation: Literal["relu", "prelu"] = "relu"

    def __post_init__(self):
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate is {self.dropout_rate}; it must be at least 0 and below 1.")
        if self.space_rank not in (2, 3):
            raise ValueError(f"space_rank is {self.space_rank}; a residual network here has 2 or 3 space axes.")
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"width {self.width} is not a multiple of groups {self.groups}.")

    @property
    def described(self) -> dict[str, Any]:
        """Its settings, without those that say nothing of it, as they were written before there was a choice."""
        before = {"space_rank": 2, "activation": "relu"}
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in before or value != before[name]}

    @property
    def shape(self) -> Shape:
        return SHAPES[self.architecture]

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels that leave each stage."""
        expansion = EXPANSION if self.shape.bottleneck else 1
        return tuple(self.width * 2**stage * expansion for stage in range(len(self.shape.blocks)))

    @property
    def features(self) -> int:
        """Inputs of the last layer."""
        return self.channels[-1]


class _Block(nn.Module):
    """A residual block: what its convolutions make of the input is added to it.

    The convolutions have windows of 3 and 3, or for a bottleneck of 1, 3 and 1, along each axis; the stride is that of the first of 3, as in
    torchvision.
    """

    features: int
    stride: int
    config: ResNetConfig

    @nn.compact
    def __call__(self, inputs: Array, inside: Array | None = None) -> Array:
        """What is not `inside`, `[batch, *space, 1]`, counts in no norm and reaches no convolution."""
        config, shape, dtype = self.config, self.config.shape, jnp.dtype(self.config.dtype)
        if shape.bottleneck:
            layers = [(1, self.features, 1), (3, self.features, self.stride), (1, EXPANSION * self.features, 1)]
        else:
            layers = [(3, self.features, self.stride), (3, self.features, 1)]
        entering = normed(config, "norm1", inputs, inside) if shape.norm_first else inputs
        hidden, out, here = entering, layers[-1][1], inside
        for number, (window, features, stride) in enumerate(layers, 1):
            if shape.norm_first and number > 1:
                hidden = normed(config, f"norm{number}", hidden, here)
            hidden = Conv(features, (window,) * config.space_rank, dtype, stride, by_axes=True, name=f"conv{number}")(hidden)
            here = coarser(here, stride)
            if not shape.norm_first:  # the last one's rectifier follows the sum
                hidden = (_norm if number == len(layers) else normed)(config, f"norm{number}", hidden, here)
        if self.stride != 1 or inputs.shape[-1] != out:
            shortcut = Conv(out, (1,) * config.space_rank, dtype, self.stride, name="shortcut_conv")(entering)
            if not shape.norm_first:
                shortcut = _norm(config, "shortcut_norm", shortcut, here)
        else:
            shortcut = inputs
        if shape.norm_first:
            return hidden + shortcut
        return only_inside(_rectified(config, f"prelu{len(layers)}", hidden + shortcut), here)


def _norm(config: ResNetConfig, name: str, values: Array, inside: Array | None) -> Array:
    if config.norm == "frozen":
        return FrozenNorm(name=name)(values)
    return Norm(config.groups if config.norm == "group" else None, name=name)(values, inside)


def _rectified(config: ResNetConfig, name: str, values: Array) -> Array:
    return PRelu(name=name)(values) if config.activation == "prelu" else nn.relu(values)


def normed(config: ResNetConfig, name: str, values: Array, inside: Array | None = None) -> Array:
    """Norm and rectifier, of the module that calls it; zero where it is not inside."""
    return only_inside(_rectified(config, name.replace("norm", "prelu"), _norm(config, name, values, inside)), inside)


def coarser(inside: Array | None, stride: int) -> Array | None:
    """What is inside behind a stride: an element lies where its window's centre does."""
    if inside is None or stride == 1:
        return inside
    return inside[(slice(None), *(slice(None, None, stride),) * (inside.ndim - 2))]


def enter(config: ResNetConfig, inputs: Array, inside: Array | None = None) -> tuple[Array, Array | None]:
    """What stands before the first stage, as layers of the module that calls it.

    Args:
      config: of the network.
      inputs: images or volumes `[batch, *space, channels]`.
      inside: which elements belong to the image, `[batch, *space, 1]`, boolean; all of them without it.

    Returns:
      `[batch, *(space / d), config.width]` with d of 4 or 1 as the entry has it, and what is inside of that.
    """
    dtype, rank = jnp.dtype(config.dtype), config.space_rank
    hidden = only_inside(inputs, inside).astype(dtype)
    if config.entry == "wide":
        hidden, inside = Conv(config.width, (7,) * rank, dtype, 2, name="conv1")(hidden), coarser(inside, 2)
    else:
        hidden = Conv(config.width, (3,) * rank, dtype, by_axes=True, name="conv1")(hidden)
    if not config.shape.norm_first:
        hidden = normed(config, "norm1", hidden, inside)
    if config.entry == "wide":
        hidden, inside = max_pool_overlapping(hidden), coarser(inside, 2)
    return only_inside(hidden, inside), inside


def run_stage(
    config: ResNetConfig, stage: int, stride: int, hidden: Array, inside: Array | None = None, masks: Masks | None = None
) -> tuple[Array, Array | None]:
    """The residual blocks of one stage, as layers of the module that calls it.

    Args:
      config: of the network.
      stage: which one, from 0.
      stride: of its first block.
      hidden: `[batch, *space, channels]`.
      inside: see `enter`.
      masks: of channels before blocks, by the names in `block_inputs`; a block without a mask gets all of them.

    Returns:
      `[batch, *(space / stride), config.channels[stage]]`, and what is inside of that.
    """
    for number in range(config.shape.blocks[stage]):
        name, step = _block_name(stage, number), 1 if number else stride
        hidden = drop_channels(hidden, masks, name)
        hidden, inside = _Block(config.width * 2**stage, step, config, name=name)(hidden, inside), coarser(inside, step)
    return hidden, inside


def block_inputs(config: ResNetConfig) -> dict[str, int]:
    """Channels that enter each residual block, by its name."""
    entering = (config.width, *config.channels)
    return {
        _block_name(stage, number): config.channels[stage] if number else entering[stage]
        for stage, blocks in enumerate(config.shape.blocks)
        for number in range(blocks)
    }


def _block_name(stage: int, number: int) -> str:
    return f"layer{stage + 1}_{number}"


def _require_space(config: ResNetConfig, space: tuple[int, ...], left: tuple[int, ...]) -> None:
    if config.norm == "instance" and math.prod(left) == 1:
        raise ValueError(
            f"Images of {' x '.join(map(str, space))} leave one element to the last stage, whose instance norm makes it zero. Give larger images, "
            "take the entry 'narrow' or the norm 'group'."
        )


class _ResNet(nn.Module):
    config: ResNetConfig

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Images `[batch, *space, channels]` to their pooled features `[batch, features]`, float32."""
        config = self.config
        if inputs.ndim != 2 + config.space_rank:
            raise ValueError(
                f"The images have shape {inputs.shape[1:]}; expected {config.space_rank} space axes and the channels."
            )
        hidden, _ = enter(config, inputs)
        for stage in range(len(config.shape.blocks)):
            hidden, _ = run_stage(config, stage, 2 if stage else 1, hidden)
        _require_space(config, inputs.shape[1:-1], hidden.shape[1:-1])
        if config.shape.norm_first:
            hidden = normed(config, "norm_last", hidden)
        self.param("kernel", nn.initializers.zeros, (config.features, config.classes), jnp.float32)
        self.param("bias", nn.initializers.zeros, (config.classes,), jnp.float32)
        return hidden.astype(jnp.float32).mean(tuple(range(1, hidden.ndim - 1)))


@functools.cache
def resnet(config: ResNetConfig) -> Model:
    """Builds the functions of a residual network (see `types.Model` for their contract); an image is one element.

    Dropout stands before the last layer only, so all of the network but that layer is its deterministic `stem`.
    """
    network = _ResNet(config)

    def init(key: Array, example: Array) -> Any:
        return draw_params(key, jax.eval_shape(network.init, key, example)["params"])

    def stem(params: Any, inputs: Array, inside: Array | None = None) -> Array:
        hidden: Any = network.apply({"params": params}, inputs)
        return hidden

    def tail(params: Any, hidden: Array, masks: Masks | None) -> Output:
        return Output(hidden, hidden, {})

    def draw_masks(key: Array) -> Masks:
        return draw_channel_masks(key, {"head": config.features}, config.dropout_rate)

    return Model(init, stem, tail, linear_head, draw_masks, False, trainable)
