"""A network whose logits are divided by a temperature: as sure as it is right, and with the same most probable classes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxal.types import Masks, Model, Output, Params

Array = jax.Array


class Tempered(NamedTuple):
    """A network's params, and the temperature that its logits are divided by."""

    params: Params
    temperature: Array


@functools.cache  # so that equal networks share their compiled programs
def with_temperature(model: Model) -> Model:
    """The network with a temperature (Guo et al. 2017, arXiv 1706.04599); its params are `Tempered`. Features stay, the head is divided."""

    def init(key: Array, example: Array) -> Tempered:
        return Tempered(model.init(key, example), jnp.ones(()))

    def stem(params: Tempered, inputs: Array, inside: Array | None = None) -> Any:
        return model.stem(params.params, inputs, inside)

    def tail(params: Tempered, hidden: Any, masks: Masks | None) -> Output:
        return model.tail(params.params, hidden, masks)

    def head(params: Tempered, masks: Masks | None = None) -> tuple[Array, Array]:
        kernel, bias = model.head(params.params, masks)
        return kernel / params.temperature, bias / params.temperature

    return model._replace(init=init, stem=stem, tail=tail, head=head, trainable=lambda params: model.trainable(params.params))
