"""Weights averaged over the steps of a training, which predict better than those of its last step."""

import jax
import jax.numpy as jnp

from jaxal.types import Params

Array = jax.Array

DECAY = 0.999


def averaged(average: Params, params: Params, step: Array, decay: float = DECAY) -> Params:
    """The exponential moving average after one step more (Polyak & Juditsky 1992, in the form of Tarvainen & Valpola 2017, arXiv 1703.01780).

    Early the average follows closely, because it would else remember the weights that were drawn: a step's share is `1 - decay`, but at least
    9 / (10 + step), so that ten steps in it is one half and a thousand steps in one in a hundred.

    Args:
      average: before the step, a pytree of arrays; at the start the fresh weights.
      params: after the step.
      step: steps that the average has seen, integer, 0 at the start.
      decay: share of the average that stays, in the long run.

    Returns:
      A pytree of the same shapes and types.
    """
    seen = jnp.float32(step)
    stays = jnp.minimum(decay, (1.0 + seen) / (10.0 + seen))
    return jax.tree.map(lambda old, new: (old + (1.0 - stays) * (new - old)).astype(old.dtype), average, params)
