"""Weights that are averaged over the steps of a training, which score more steadily than those of its last step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxal.types import Params

Array = jax.Array


class Averaging(NamedTuple):
    """An optimizer's state with the average of the weights beside it.

    Attributes:
      optimizer: its own state.
      average: of the weights, of their shapes.
    """

    optimizer: Any
    average: Params


def averaged(average: Params, params: Params, step: Array, decay: float) -> Params:
    """The exponential moving average of weights after one step more (Polyak & Juditsky 1992; Tarvainen & Valpola 2017, arXiv 1703.01780).

    In the first steps the decay is smaller, min(decay, (1 + step) / (10 + step)), so that the weights that were drawn are soon forgotten.

    Args:
      average, params: the average before, and the weights after the step.
      step: steps done before, integer.
      decay: of the average, in [0, 1).
    """
    done = step.astype(jnp.float32)
    share = jnp.minimum(decay, (1.0 + done) / (10.0 + done))
    return jax.tree.map(lambda before, now: share * before + (1.0 - share) * now, average, params)
