"""Residual networks for images: ResNet-18 and 50 as torchvision has them, ResNet-50 v2, and a small one for small images.

He et al. 2016 (arXiv 1512.03385; v2, with norms before the convolutions, arXiv 1603.05027). The information-gain paper (Mehta et al.
2022, arXiv 2208.00974) takes a ResNet-18 that was trained on ImageNet, puts dropout of 0.2 before the last layer and trains all of it,
batch norms included. Here a network is functions over one pytree that scoring never changes, so norms with statistics of their own
have no place: weights that come from elsewhere keep their batch norms as fixed scales and offsets (`norm="frozen"`), networks
trained from scratch use group norm (Wu & He 2018, arXiv 1803.08494).
"""

import dataclasses
import functools
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxal.networks.conv import max_pool_overlapping
from jaxal.networks.layers import Conv, Dtype, FrozenNorm, Norm, draw_channel_masks, draw_params, linear_head, trainable
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
      classes: number of classes.
      architecture: `small` has three stages of one block each, for images of some tens of pixels a side.
      width: channels of the first stage; each further one has twice as many.
      entry: how an image comes in: `wide`, a 7 x 7 convolution and a pooling, which divide each side by four, as for ImageNet; or
        `narrow`, one 3 x 3 convolution, for small images.
      norm: `group`, or `frozen` for weights that were trained with batch norm.
      groups: number of groups for `group`.
      dropout_rate: probability that a feature is dropped before the last layer.
      dtype: what the network computes in; parameters and everything that ranks stay float32.
    """

    classes: int = 5
    architecture: Architecture = "resnet18"
    width: int = 64
    entry: Literal["wide", "narrow"] = "wide"
    norm: Literal["group", "frozen"] = "group"
    groups: int = 32
    dropout_rate: float = 0.2
    dtype: Dtype = "float32"

    def __post_init__(self):
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate is {self.dropout_rate}; it must be at least 0 and below 1.")
        if self.norm == "group" and self.width % self.groups:
            raise ValueError(f"width {self.width} is not a multiple of groups {self.groups}.")

    @property
    def shape(self) -> Shape:
        return SHAPES[self.architecture]

    @property
    def features(self) -> int:
        """Inputs of the last layer."""
        return self.width * 2 ** (len(self.shape.blocks) - 1) * (EXPANSION if self.shape.bottleneck else 1)


class _Block(nn.Module):
    """A residual block: what its convolutions make of the input is added to it.

    The convolutions are two of 3 x 3, or for a bottleneck 1 x 1, 3 x 3 and 1 x 1; the stride is that of the first 3 x 3 one, as in torchvision.
    """

    features: int
    stride: int
    config: ResNetConfig

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        shape, dtype = self.config.shape, jnp.dtype(self.config.dtype)
        if shape.bottleneck:
            layers = [(1, self.features, 1), (3, self.features, self.stride), (1, EXPANSION * self.features, 1)]
        else:
            layers = [(3, self.features, self.stride), (3, self.features, 1)]
        entering = nn.relu(_norm(self.config, "norm1")(inputs)) if shape.norm_first else inputs
        hidden, out = entering, layers[-1][1]
        for number, (window, features, stride) in enumerate(layers, 1):
            if shape.norm_first and number > 1:
                hidden = nn.relu(_norm(self.config, f"norm{number}")(hidden))
            hidden = Conv(features, (window, window), dtype, stride, name=f"conv{number}")(hidden)
            if not shape.norm_first:
                hidden = _norm(self.config, f"norm{number}")(hidden)
                hidden = hidden if number == len(layers) else nn.relu(hidden)
        if self.stride != 1 or inputs.shape[-1] != out:
            shortcut = Conv(out, (1, 1), dtype, self.stride, name="shortcut_conv")(entering)
            if not shape.norm_first:
                shortcut = _norm(self.config, "shortcut_norm")(shortcut)
        else:
            shortcut = inputs
        return hidden + shortcut if shape.norm_first else nn.relu(hidden + shortcut)


def _norm(config: ResNetConfig, name: str) -> nn.Module:
    return FrozenNorm(name=name) if config.norm == "frozen" else Norm(config.groups, name=name)


class _ResNet(nn.Module):
    config: ResNetConfig

    @nn.compact
    def __call__(self, inputs: Array) -> Array:
        """Images `[batch, height, width, channels]` to their pooled features `[batch, features]`, float32."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        hidden = inputs.astype(dtype)
        if config.entry == "wide":
            hidden = Conv(config.width, (7, 7), dtype, 2, name="conv1")(hidden)
        else:
            hidden = Conv(config.width, (3, 3), dtype, name="conv1")(hidden)
        if not config.shape.norm_first:
            hidden = nn.relu(_norm(config, "norm1")(hidden))
        if config.entry == "wide":
            hidden = max_pool_overlapping(hidden)
        for stage, blocks in enumerate(config.shape.blocks):
            for number in range(blocks):
                stride = 2 if stage and not number else 1
                hidden = _Block(config.width * 2**stage, stride, config, name=f"layer{stage + 1}_{number}")(hidden)
        if config.shape.norm_first:
            hidden = nn.relu(_norm(config, "norm_last")(hidden))
        self.param("kernel", nn.initializers.zeros, (config.features, config.classes), jnp.float32)
        self.param("bias", nn.initializers.zeros, (config.classes,), jnp.float32)
        return hidden.astype(jnp.float32).mean((1, 2))


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
