"""Windows of a map: their sums, and the best of them that do not overlap.

A window is a region of an image, a box of a volume or one of its slices: a part that is asked for at once. All positions are looked at, as
Mackowiak et al. 2018 (arXiv 1810.09726) ask for regions, and nothing is kept of a position but its score. Elements that have a label already
count zero, so a window is worth what is new in it.

Layout: maps are `[*shape]`; the entry of a position is that of the window whose first corner lies there.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

LEAST = 1e-30  # what an element counts that a measure gives nothing: a window of such elements comes last, and not never
_AT_ONCE = 2**22  # elements of a map whose sums are made in one go; of a larger one slab by slab, in the memory of the map itself
_SLAB = 2**18  # elements of a slab, which stays in a core's cache


class Search(NamedTuple):
    """Which windows are looked for.

    Attributes:
      size: elements along each axis; zero is the whole axis.
      stride: between positions along each axis; besides them a window may end where the image ends.
      at_most: windows of a case.
      overlap: whether they may overlap one another.
    """

    size: tuple[int, ...]
    stride: int = 1
    at_most: int = 1
    overlap: bool = False


class Windows(NamedTuple):
    """The best windows of a case, best first, in slots.

    Attributes:
      score: `[slots]`; zero for a slot that stayed empty.
      start, size: `[slots, axes]`, in elements; cut off where the image is smaller than a window.
      cost: elements that have no label yet, `[slots]`; zero for a slot that stayed empty.
    """

    score: Array
    start: Array
    size: Array
    cost: Array


class Tiles(NamedTuple):
    """A case cut into windows that lie side by side, in slots.

    Attributes:
      embedding: mean features of each, `[slots, features]`.
      start, size: `[slots, axes]`, in elements; the last along an axis is as long as what is left. All sizes are zero of a slot beyond the image.
      cost: elements that have no label yet, `[slots]`.
    """

    embedding: Array
    start: Array
    size: Array
    cost: Array


class Extent(NamedTuple):
    """Where the image lies in its padding: first element and length along each axis, `[axes]` each."""

    first: Array
    length: Array


def window_sums(values: Array, size: tuple[int, ...]) -> Array:
    """Sums of all windows, `[*shape]` to `[*shape]`; a window that reaches beyond the end is cut off.

    Sums grow by doubling along one axis after the other. Nothing is ever subtracted: where all elements are zero the sum is, and in float32
    it is as exact as adding in pairs, which a summed-area table of a large volume is not. A map that is given up
    (`jax.jit(..., donate_argnums=0)`) is overwritten by its sums, which then need no memory of their own.
    """
    chex.assert_rank(values, len(size))

    def of_slab(slab: Array) -> Array:
        return functools.reduce(lambda sums, axis: _along(sums, size[axis], axis), range(1, slab.ndim), slab)

    if values.size <= _AT_ONCE or values.ndim == 1:
        return _along(of_slab(values), size[0], 0)
    return _by_slabs(_by_slabs(values, 0, of_slab), 1, lambda slab: _along(slab, size[0], 0))


def _along(values: Array, size: int, axis: int) -> Array:
    """Sums of `size` elements in a row along an axis: of one, two, four …, joined as the number's binary digits say."""
    size = min(size, values.shape[axis])
    parts, done, power, doubled = [], 0, 1, values  # `doubled` sums so many as `power` says
    while done < size:
        if size & power:
            parts.append(_ahead(doubled, done, axis))
            done += power
        if done < size:
            doubled = doubled + _ahead(doubled, power, axis)
            power *= 2
    return functools.reduce(jnp.add, parts)


def _ahead(values: Array, steps: int, axis: int) -> Array:
    """The values that lie so many steps further along an axis; beyond the end zero."""
    if steps == 0:
        return values
    kept = jax.lax.slice_in_dim(values, steps, None, axis=axis)
    return jnp.pad(kept, [(0, steps if other == axis else 0) for other in range(values.ndim)])


def _by_slabs(values: Array, axis: int, function: Callable[[Array], Array]) -> Array:
    """Puts slabs of a map through a function that keeps their shape, in the place where they lie."""
    length = values.shape[axis]
    thick = max(1, min(length, _SLAB * length // values.size))

    def put(number: Array, values: Array) -> Array:
        start = jnp.minimum(number * thick, length - thick)
        slab = jax.lax.dynamic_slice_in_dim(values, start, thick, axis)
        return jax.lax.dynamic_update_slice_in_dim(values, function(slab), start, axis)

    whole = jax.lax.fori_loop(0, length // thick, put, values)
    if rest := length % thick:
        slab = jax.lax.slice_in_dim(whole, length - rest, length, axis=axis)
        whole = jax.lax.dynamic_update_slice_in_dim(whole, function(slab), length - rest, axis)
    return whole


def sizes_in(shape: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """A window's size in arrays of this shape, where zero is the whole axis and none is longer than its axis."""
    return tuple(min(length, part or length) for length, part in zip(shape, size, strict=True))


def extent_of(inside: Array) -> Extent:
    """The smallest box that holds an image, `[*shape]`, boolean; of no image nothing."""
    first, length = [], []
    for axis in range(inside.ndim):
        held = inside.any(tuple(other for other in range(inside.ndim) if other != axis))
        first.append(held.argmax())
        length.append(held.size - held[::-1].argmax() - held.argmax())
    some = inside.any()
    return Extent(jnp.stack(first).astype(jnp.int32), jnp.where(some, jnp.stack(length), 0).astype(jnp.int32))


def window_means(values: Array, open_: Array, extent: Extent, search: Search) -> Array:
    """Mean of a measure over each window, where elements that have a label count zero; -inf where no window may lie.

    Args:
      values: `[*shape]`, not negative.
      open_: elements of the image that have no label yet, `[*shape]`, boolean. A window holds one of them at least.
      extent: of the image. Windows lie within it; along an axis where it is shorter than a window they begin with it.
      search: size and stride.
    """
    chex.assert_equal_shape([values, open_])
    size = sizes_in(values.shape, search.size)
    sums = window_sums(jnp.where(open_, jnp.maximum(values, LEAST), 0.0), size)
    elements = jnp.minimum(extent.length, jnp.array(size, jnp.int32)).prod().astype(sums.dtype)
    return jnp.where(_may_lie(values.shape, size, extent, search.stride) & (sums > 0), sums / elements, -jnp.inf)


def _may_lie(shape: tuple[int, ...], size: tuple[int, ...], extent: Extent, stride: int) -> Array:
    """Where windows may begin, `[*shape]`, boolean."""
    allowed = jnp.ones((1,) * len(shape), bool)
    for axis, (length, window) in enumerate(zip(shape, size, strict=True)):
        room = jnp.maximum(extent.length[axis] - window, 0)
        place = jnp.arange(length) - extent.first[axis]
        on_axis = (place >= 0) & (place <= room) & ((place % stride == 0) | (place == room))
        allowed = allowed & on_axis.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return allowed


def power_noise(key: Array, scores: Array, beta: Array | float) -> Array:
    """log s + Gumbel(0, 1/β) of every position (Kirsch et al. 2023, arXiv 2106.12059; nnActive for patches); β = 0 is at random."""
    noise = jax.random.gumbel(key, scores.shape)
    drawn = jnp.where(beta > 0, jnp.log(jnp.maximum(scores, LEAST)) * beta, 0.0) + noise
    return jnp.where(scores > -jnp.inf, drawn, -jnp.inf)


def best_windows(scores: Array, open_: Array, extent: Extent, search: Search) -> Windows:
    """The best windows, one after the other: the largest score whose window touches none that was chosen before.

    Windows of other cases never touch, so the best of a pool are the best of its cases' best.

    Args:
      scores: of all positions, `[*shape]`; -inf where no window may lie.
      open_: see `window_means`.
      extent: of the image.
      search: what is looked for.
    """
    size = sizes_in(scores.shape, search.size)
    score, start, _ = pick(scores, (1,) * len(size) if search.overlap else size, search.at_most)
    used = score > -jnp.inf

    def cost_of(start: Array) -> Array:
        return jax.lax.dynamic_slice(open_, list(start), size).sum()

    cost = jax.lax.map(cost_of, start)
    cut = jnp.minimum(jnp.array(size, jnp.int32), extent.length)
    return Windows(
        jnp.where(used, score, 0.0), start, jnp.broadcast_to(cut[None], start.shape), jnp.where(used, cost, 0).astype(jnp.int32)
    )


def pick(scores: Array, reach: tuple[int, ...], count: int) -> tuple[Array, Array, Array]:
    """The largest entries of a map, one after the other, each of which strikes out those around it.

    The largest of every row is kept, so that a pick looks through rows and through what it changed, and not through the map.

    Args:
      scores: `[*shape]`.
      reach: along each axis; entries nearer than this along all axes are struck out, the entry itself in any case.
      count: entries.

    Returns:
      Their scores, `[count]`, -inf where nothing was left, places `[count, axes]`, and the map with what was struck out as -inf. Of equal
      ones the first is taken.
    """
    if scores.ndim == 1:
        score, place, left = pick(scores[None], (1, *reach), count)
        return score, place[:, 1:], left[0]
    shape = scores.shape
    lines = [min(2 * part - 1, length) for part, length in zip(reach[:-1], shape, strict=False)]

    def take(state: tuple[Array, Array], _: None):
        scores, of_row = state
        best = of_row.max()
        row = jnp.stack(jnp.unravel_index(of_row.argmax(), shape[:-1])).astype(jnp.int32)
        in_row = jax.lax.dynamic_slice(scores, [*row, jnp.zeros((), jnp.int32)], (*(1,) * len(row), shape[-1])).reshape(-1)
        place = jnp.append(row, in_row.argmax().astype(jnp.int32))
        first = [jnp.clip(place[axis] - reach[axis] + 1, 0, shape[axis] - line) for axis, line in enumerate(lines)]
        corner = [*first, jnp.zeros((), jnp.int32)]
        around = jax.lax.dynamic_slice(scores, corner, (*lines, shape[-1]))
        struck = jnp.ones((1,) * len(shape), bool)
        for axis, length in enumerate(around.shape):
            near = jnp.abs(jnp.arange(length) + corner[axis] - place[axis]) < reach[axis]
            struck = struck & near.reshape([-1 if other == axis else 1 for other in range(len(shape))])
        # Whatever reads the map comes before what changes it, so that XLA need not copy it for every pick.
        around = jnp.where(struck, -jnp.inf, around)
        scores = jax.lax.dynamic_update_slice(scores, around, corner)
        of_row = jax.lax.dynamic_update_slice(of_row, around.max(-1), first)
        return (scores, of_row), (best, place)

    (left, _), (score, place) = jax.lax.scan(take, (scores, scores.max(-1)), None, length=count)
    return score, place, left


def tiles_of(features: Array, inside: Array, open_: Array, extent: Extent, size: tuple[int, ...]) -> Tiles:
    """A case cut into windows side by side, from the image's first corner on.

    Args:
      features: `[*shape, features]`.
      inside: elements of the image, `[*shape]`, boolean.
      open_: those that have no label yet.
      extent: of the image.
      size: of a window, as `sizes_in` gives it.
    """
    shape = inside.shape
    counts = [-(-length // part) for length, part in zip(shape, size, strict=True)]
    slot = jnp.zeros(shape, jnp.int32)
    for axis, (length, part, count) in enumerate(zip(shape, size, counts, strict=True)):
        place = jnp.clip((jnp.arange(length, dtype=jnp.int32) - extent.first[axis]) // part, 0, count - 1)
        slot = slot * count + place.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    slots = math.prod(counts)

    def summed(values: Array) -> Array:
        return (
            jnp.zeros((slots, *values.shape[len(shape) :]), values.dtype)
            .at[slot.reshape(-1)]
            .add(values.reshape(-1, *values.shape[len(shape) :]))
        )

    held, cost = summed(inside.astype(jnp.int32)), summed(open_.astype(jnp.int32))
    means = summed(jnp.where(inside[..., None], features, 0.0)) / jnp.maximum(held, 1)[:, None].astype(features.dtype)
    places = jnp.stack(jnp.unravel_index(jnp.arange(slots), counts), -1).astype(jnp.int32)
    whole = jnp.array(size, jnp.int32)[None]
    left = extent.length[None] - places * whole
    return Tiles(means, extent.first[None] + places * whole, jnp.where(held[:, None] > 0, jnp.minimum(whole, left), 0), cost)


def overlap(start: np.ndarray, size: np.ndarray, others: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether a box, `[axes]`, shares an element with each of others, `[boxes, axes]`; `[boxes]`."""
    return ((start < others + sizes) & (others < start + size)).all(-1)
