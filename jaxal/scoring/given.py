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
    statistics = _named(kind, names)
    total: Any = None
    inside, shape = np.zeros(0, bool), tuple[int, ...]()
    by_member: list[Array] = []
    for member in members:
        logits, inside, shape = _prepared(member, of_probabilities)
        total = _first(kind.moments, logits) if total is None else _next(kind.moments, total, logits)
        if any(statistic.needs_each_member for _, statistic in statistics):
            by_member.append(_kept(kind.moments, kind.dense, config, shape, logits, inside))
    assert total is not None, "a case has one member at least"
    _check_that_members_can_disagree(statistics, int(total.members))
    probabilities = jnp.stack(by_member) if by_member else None
    return jax.device_get(_evaluate(kind.moments, statistics, config, shape, total, probabilities, inside, key))


def statistics_of_images(
    kind: TaskKind, names: Sequence[str], config: Any, members: np.ndarray, keys: Array, of_probabilities: bool
) -> Collected:
    """The same of many images that have one class each, all at once.

    Args:
      kind, names, config, of_probabilities: see `statistics_of`.
      members: of each image, `[images, members, classes]`.
      keys: of the images.

    Returns:
      Each statistic, with a leading axis of images.

    Raises:
      UserError: see `statistics_of`.
    """
    statistics, count = _named(kind, names), len(members)
    _check_that_members_can_disagree(statistics, members.shape[1])
    places = np.minimum(np.arange(2 ** (count - 1).bit_length()), count - 1)  # filled up to few sizes
    logits = _logits(members[places], of_probabilities)[..., None]
    return jax.tree.map(
        lambda part: part[:count], jax.device_get(_evaluate_images(kind.moments, statistics, config, logits, keys[places]))
    )


def _named(kind: TaskKind, names: Sequence[str]) -> tuple[tuple[str, Statistic], ...]:
    return tuple((name, kind.statistics[name]) for name in sorted(names))


def _check_that_members_can_disagree(statistics: tuple[tuple[str, Statistic], ...], members: int) -> None:
    needy = sorted(name for name, statistic in statistics if statistic.needs_members)
    if needy and members < 2:
        raise UserError(f"{', '.join(needy)}: how members disagree takes the predictions of two at least, and there is one.")


def _logits(predictions: np.ndarray, of_probabilities: bool) -> np.ndarray:
    values = np.asarray(predictions, np.float32)
    return np.log(np.maximum(values, 1e-37)) if of_probabilities else values


def _prepared(member: np.ndarray, of_probabilities: bool) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Logits `[classes, elements]` and which elements are real, both filled up to few sizes, and the filled shape."""
    space = member.shape[:-1]
    filled = tuple(-(-size // _MULTIPLE) * _MULTIPLE for size in space)
    padding = [(0, new - old) for new, old in zip(filled, space, strict=True)]
    by_class = np.moveaxis(_logits(member, of_probabilities), -1, 0)
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


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _evaluate_images(
    moments: Moments, statistics: tuple[tuple[str, Statistic], ...], config: Any, logits: Array, keys: Array
) -> Collected:
    def of_image(logits: Array, key: Array) -> Collected:  # [members, classes, 1]
        each = jax.vmap(lambda member: moments.prediction(moments.of_members(member[None])))(logits)
        view = _view(moments, moments.of_members(logits), each, jnp.ones(1, bool), key)
        return {name: statistic.evaluate(view, config) for name, statistic in statistics}

    return jax.vmap(of_image)(logits, keys)


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
    view = _view(moments, total, each, inside, key)._replace(shape=shape)
    return {name: statistic.evaluate(view, config) for name, statistic in statistics}


def _view(moments: Moments, total: Any, each: Array | None, inside: Array, key: Array) -> View:
    """What is known of a case of which there are predictions alone."""
    logits = jnp.log(jnp.maximum(moments.prediction(total), 1e-37))
    single, nothing, image = moments.of_members(logits[None]), jnp.zeros((0,)), jnp.zeros((*inside.shape, 1))
    unlabelled, label = jnp.zeros(inside.shape, bool), jnp.zeros(inside.shape, jnp.int32)
    known = (logits, single, total, each, inside, unlabelled, label, key)
    return View(nothing, nothing, {}, *known, (), None, image, nothing)
