"""A network that predicts numbers in their own units, though it learns them as though they had mean zero and unit variance."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxal.types import Masks, Model, Output, Params

Array = jax.Array


class Scaled(NamedTuple):
    """A network's params, and the units of what it predicts.

    Attributes:
      params: of the network.
      centre, deviation: of each target, `[targets]`.
    """

    params: Params
    centre: Array
    deviation: Array


@functools.cache  # so that equal networks share their compiled programs
def with_scale(model: Model, centre: tuple[float, ...], deviation: tuple[float, ...]) -> Model:
    """The network with units; its params are `Scaled`.

    The last layer's first half are means: its outputs are multiplied by the deviations, and the centres are added. The second half are logarithms of
    variances, to which twice the logarithms of the deviations are added. The gradient of a Gaussian likelihood in these units is that in units
    of the deviations, so training is the same, and whatever reads the outputs sees the targets' own units.

    Args:
      model: with twice as many outputs as there are targets.
      centre, deviation: of the targets, such as those of the labelled cases.
    """

    def init(key: Array, example: Array) -> Scaled:
        return Scaled(model.init(key, example), jnp.array(centre, jnp.float32), jnp.array(deviation, jnp.float32))

    def trainable(params: Scaled) -> Scaled:
        return Scaled(model.trainable(params.params), False, False)  # type: ignore[arg-type]

    return model._replace(init=init, trainable=trainable, **_of_params(model))


@functools.cache
def _of_params(model: Model) -> dict[str, Any]:
    """What only reads the params: the same for all units, so that all share their compiled programs."""

    def stem(params: Scaled, inputs: Array, inside: Array | None = None) -> Any:
        return model.stem(params.params, inputs, inside)

    def tail(params: Scaled, hidden: Any, masks: Masks | None) -> Output:
        return model.tail(params.params, hidden, masks)

    def head(params: Scaled, masks: Masks | None = None) -> tuple[Array, Array]:
        kernel, bias = model.head(params.params, masks)
        factor = jnp.concatenate([params.deviation, jnp.ones_like(params.deviation)])
        offset = jnp.concatenate([params.centre, 2.0 * jnp.log(params.deviation)])
        of_bias, offset = (jnp.broadcast_to(part, bias.shape) for part in (factor, offset))
        return kernel * jnp.broadcast_to(factor, kernel.shape), bias * of_bias + offset

    return {"stem": stem, "tail": tail, "head": head}
