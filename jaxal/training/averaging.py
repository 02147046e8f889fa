"""Weights beside those that learn: their average over the steps, which scores more steadily, and what they were at the ends of earlier cycles."""

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


class Snapshots(NamedTuple):
    """An optimizer's state, perhaps with an average, with the weights at the ends of earlier cycles beside it.

    Attributes:
      optimizer: a state, or an `Averaging`.
      weights: leading axis of all cycles but the last, the earliest first.
    """

    optimizer: Any
    weights: Params


class Beside(NamedTuple):
    """An optimizer's state taken apart: its own, the average and the snapshots, None where there are none."""

    own: Any
    average: Params | None
    snapshots: Params | None


def taken_apart(optimizer: Any) -> Beside:
    """What a state of an optimizer holds."""
    snapshots = optimizer.weights if isinstance(optimizer, Snapshots) else None
    inner = optimizer.optimizer if isinstance(optimizer, Snapshots) else optimizer
    return Beside(inner.optimizer, inner.average, snapshots) if isinstance(inner, Averaging) else Beside(inner, None, snapshots)


def put_together(parts: Beside) -> Any:
    """The state of which `taken_apart` makes these parts; one that holds no more than its own is as optax made it, so that checkpoints of all versions are alike."""
    inner = parts.own if parts.average is None else Averaging(parts.own, parts.average)
    return inner if parts.snapshots is None else Snapshots(inner, parts.snapshots)


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
