"""Statistics of predictions that somebody else's network made: what the pool pass computes, from the members' predictions alone."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.errors import UserError
from jaxal.scoring.members import kept_of_member
from jaxal.scoring.statistics import View
from jaxal.task_kind import Moments, Statistic, TaskKind
from jaxal.types import Array, Collected

_MULTIPLE = 32  # to which sizes are filled up, so that cases of like sizes share their compiled programs


def statistics_of(
    kind: TaskKind, names: Sequence[str], config: Any, members: Iterable[np.ndarray], key: Array, of_probabilities: bool
) -> Collected:
    """Statistics of one case, whose members are read one after the other and never held together.

    The single prediction, which measures such as `entropy` are of, is the members' mean.

    Args:
      kind: of task.
      names: of the statistics; none that needs features.
      config: of the statistics.
      members: `[*space, classes]` each, all of one shape; `space` is empty where an image has one class.
      key: of the case, for statistics that draw.
      of_probabilities: whether members are probabilities; otherwise they are logits.

    Returns:
      Each statistic, without an axis of cases.

    Raises:
      UserError: a statistic measures how members disagree, and there is one only.
    """
    statistics = tuple((name, kind.statistics[name]) for name in sorted(names))
    total: Any = None
    inside, shape = np.zeros(0, bool), tuple[int, ...]()
    by_member: list[Array] = []
    for member in members:
        logits, inside, shape = _prepared(member, of_probabilities)
        total = _first(kind.moments, logits) if total is None else _next(kind.moments, total, logits)
        if any(statistic.needs_each_member for _, statistic in statistics):
            by_member.append(_kept(kind.moments, kind.dense, config, shape, logits, inside))
    assert total is not None, "a case has one member at least"
    needy = sorted(name for name, statistic in statistics if statistic.needs_members)
    if needy and total.members < 2:
        raise UserError(f"{', '.join(needy)}: how members disagree takes the predictions of two at least, and there is one.")
    probabilities = jnp.stack(by_member) if by_member else None
    return jax.device_get(_evaluate(kind.moments, statistics, config, shape, total, probabilities, inside, key))


def _prepared(member: np.ndarray, of_probabilities: bool) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Logits `[classes, elements]` and which elements are real, both filled up to few sizes, and the filled shape."""
    space = member.shape[:-1]
    filled = tuple(-(-size // _MULTIPLE) * _MULTIPLE for size in space)
    padding = [(0, new - old) for new, old in zip(filled, space, strict=True)]
    by_class = np.moveaxis(np.asarray(member, np.float32), -1, 0)
    if of_probabilities:
        by_class = np.log(np.maximum(by_class, 1e-37))
    inside = np.zeros(filled, bool)
    inside[tuple(slice(size) for size in space)] = True
    return np.pad(by_class, [(0, 0), *padding]).reshape(len(by_class), -1), inside.reshape(-1), filled


@functools.partial(jax.jit, static_argnums=0)
def _first(moments: Moments, logits: Array) -> Any:
    return moments.of_members(logits[None])


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _next(moments: Moments, total: Any, logits: Array) -> Any:
    return moments.add(total, logits)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _kept(moments: Moments, dense: bool, config: Any, shape: tuple[int, ...], logits: Array, inside: Array) -> Array:
    return kept_of_member(dense, config, shape, moments.prediction(moments.of_members(logits[None])), inside)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _evaluate(
    moments: Moments,
    statistics: tuple[tuple[str, Statistic], ...],
    config: Any,
    shape: tuple[int, ...],
    total: Any,
    each: Array | None,
    inside: Array,
    key: Array,
) -> Collected:
    logits = jnp.log(jnp.maximum(moments.prediction(total), 1e-37))
    nothing = jnp.zeros((0,))
    single = moments.of_members(logits[None])
    unlabelled, label = jnp.zeros(inside.shape, bool), jnp.zeros(inside.shape, jnp.int32)
    view = View(
        nothing,
        nothing,
        {},
        logits,
        single,
        total,
        each,
        inside,
        unlabelled,
        label,
        key,
        shape,
        None,
        jnp.zeros((*inside.shape, 1)),
        nothing,
    )
    return {name: statistic.evaluate(view, config) for name, statistic in statistics}
