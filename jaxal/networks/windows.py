"""Sliding windows: a network trained on patches sees whole volumes, its windows blended by Gaussian weights.

The last layer of every network here is linear, so blending what goes into it is the same as blending the logits: everything
after the stem works on whole volumes and knows nothing of windows, dropout samples before the last layer included.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.arrays import plain
from jaxal.types import Masks, Model, Output

Array = jax.Array

# Elements of windows that an accelerator sees at once: eight windows of 64³, two of 96³. A U-Net of width 16 keeps about 1.7 KB of each.
_ELEMENTS_AT_ONCE = 2**21


class _Volume(NamedTuple):
    """A volume whose windows are seen later, by the tail, which knows the masks of a sample."""

    inputs: Array
    inside: Array | None


@functools.cache  # so that equal networks share their compiled programs
def windowed(model: Model, patch: tuple[int, ...], overlap: float = 0.5) -> Model:
    """A network for volumes of any size that are at least as large as the patch that it is trained on.

    Inputs of exactly the patch's size go straight through, so the same network serves for training. Larger ones are seen
    through windows of the patch's size, one after the other on a CPU and several at once elsewhere, which lie within the case and not in
    its padding. Where dropout lies before the last layer, windows are run once for all samples; where it lies deeper, every sample runs all of them again.

    Args:
      model: the network.
      patch: size of a window along each axis, in elements.
      overlap: share of a window that the next one overlaps, at least 0 and below 1.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; it must be at least 0 and below 1.")

    def is_patch(inputs: Array) -> bool:
        return inputs.shape[1:-1] == patch

    def blended(params, volume: _Volume, masks: Masks | None) -> Output:
        def see(window: Array, inside: Array | None) -> Output:
            return model.tail(params, model.stem(params, window, inside), masks)

        return _blend(see, volume, patch, overlap)

    def stem(params, inputs: Array, inside: Array | None = None):
        if is_patch(inputs):
            return model.stem(params, inputs, inside)
        volume = _Volume(inputs, inside)
        return volume if model.masked_tail else blended(params, volume, None)

    def tail(params, hidden, masks: Masks | None) -> Output:
        if isinstance(hidden, Output):
            return hidden
        if isinstance(hidden, _Volume):
            return blended(params, hidden, masks)
        return model.tail(params, hidden, masks)

    return model._replace(stem=stem, tail=tail)


class _Sums(NamedTuple):
    """What the windows seen so far add up to: features times weights, weights, and embeddings."""

    features: Array
    weights: Array
    embedding: Array


See = Callable[[Array, Array | None], Output]  # of windows `[windows, *patch, channels]` and what is inside of them


def _blend(
    see: See, volume: _Volume, patch: tuple[int, ...], overlap: float, elements_at_once: int = _ELEMENTS_AT_ONCE
) -> Output:
    """Runs a function over windows of `[batch, *space, channels]` and blends its features; embeddings are averaged.

    Windows lie where they would if the case had no padding, so that what is seen of a case does not depend on the size of the largest.
    Beyond it no window is run, and features are zero.
    """
    space = volume.inputs.shape[1:-1]
    weight, offsets = jnp.asarray(gaussian_weights(patch)), _offsets(space, patch, overlap)
    shapes = jax.eval_shape(see, jax.ShapeDtypeStruct((1, *patch, volume.inputs.shape[-1]), volume.inputs.dtype), None)
    width = jax.eval_shape(plain, shapes.features).shape[-1]
    if shapes.auxiliary:
        raise ValueError(f"Auxiliary outputs {sorted(shapes.auxiliary)} of windows cannot be blended.")

    def of_case(add_windows: Callable[..., _Sums], case: _Volume) -> Output:
        """Of `[*space, channels]`."""
        starts, needed = _places(case.inside, space, patch, offsets)
        start_with = _Sums(jnp.zeros((*space, width)), jnp.zeros(space), jnp.zeros(shapes.embedding.shape[1:]))
        total = add_windows(see, weight, case, starts, needed, start_with)
        features = total.features / jnp.where(total.weights > 0, total.weights, 1.0)[..., None]
        return Output(features, total.embedding / needed.sum().astype(jnp.float32), {})

    one_by_one = functools.partial(jax.lax.map, functools.partial(of_case, _add_each))
    windows, at_once = math.prod(map(len, offsets)), elements_at_once // math.prod(patch)
    if min(windows, at_once) <= 1:
        return one_by_one(volume)
    together = functools.partial(_add_several, -(-windows // -(-windows // at_once)))  # as few turns, of equal size
    return jax.lax.platform_dependent(
        volume, cpu=one_by_one, default=functools.partial(jax.lax.map, functools.partial(of_case, together))
    )


def _add_each(see: See, weight: Array, case: _Volume, starts: Array, needed: Array, total: _Sums) -> _Sums:
    """Adds windows one by one: the fast form on a CPU, whose cache holds one.

    Args:
      see: the network.
      weight: of a window's elements, `[*patch]`.
      case: without an axis of cases.
      starts, needed: see `_places`.
      total: what is there before.
    """

    def add(total: _Sums, place: tuple[Array, Array]) -> tuple[_Sums, None]:
        start, needed = place
        window, inside = (None if part is None else part[None] for part in _window_at(case, start, weight.shape))
        shapes = jax.eval_shape(see, window, inside)
        nothing = jax.tree.map(lambda part: jnp.zeros(part.shape, part.dtype), shapes)
        output = jax.lax.cond(needed, see, lambda window, inside: nothing, window, inside)
        features = _add_at((*start, 0), total.features, plain(output.features)[0] * weight[..., None])
        weights = _add_at((*start,), total.weights, jnp.where(needed, weight, 0.0))
        return _Sums(features, weights, total.embedding + output.embedding[0]), None

    return jax.lax.scan(add, total, (starts, needed))[0]


def _add_several(at_once: int, see: See, weight: Array, case: _Volume, starts: Array, needed: Array, total: _Sums) -> _Sums:
    """The same with several windows in each turn, which fill an accelerator. Those that are needed come first, and turns without any run nothing."""
    order = jnp.argsort(~needed, stable=True)
    turns = -(-len(starts) // at_once)
    padding = turns * at_once - len(starts)
    starts = jnp.pad(starts[order], ((0, padding), (0, 0))).reshape(turns, at_once, -1)
    needed = jnp.pad(needed[order], (0, padding)).reshape(turns, at_once)

    def add(total: _Sums, turn: tuple[Array, Array]) -> tuple[_Sums, None]:
        starts, needed = turn

        def seen(total: _Sums) -> _Sums:
            output = see(*jax.vmap(lambda start: _window_at(case, start, weight.shape))(starts))
            # What the network makes of a window that is not needed may be anything, also NaN.
            embedding = total.embedding + jnp.where(needed[:, None], output.embedding, 0.0).sum(0)
            seen_features = plain(output.features)
            for place in range(at_once):  # windows overlap, so one after the other, and in their order
                own = jnp.where(needed[place], weight[..., None] * seen_features[place], 0.0)
                features = _add_at((*starts[place], 0), total.features, own)
                weights = _add_at((*starts[place],), total.weights, jnp.where(needed[place], weight, 0.0))
                total = _Sums(features, weights, embedding)
            return total

        return jax.lax.cond(needed.any(), seen, lambda total: total, total), None

    return jax.lax.scan(add, total, (starts, needed))[0]


def _window_at(case: _Volume, start: Array, patch: Sequence[int]) -> tuple[Array, Array | None]:
    window = jax.lax.dynamic_slice(case.inputs, (*start, 0), (*patch, case.inputs.shape[-1]))
    return window, None if case.inside is None else jax.lax.dynamic_slice(case.inside, (*start,), patch)


def _add_at(corner: Sequence[Array | int], whole: Array, part: Array) -> Array:
    before = jax.lax.dynamic_slice(whole, corner, part.shape)
    return jax.lax.dynamic_update_slice(whole, before + part, corner)


def _places(
    inside: Array | None, space: Sequence[int], patch: Sequence[int], offsets: Sequence[Sequence[int]]
) -> tuple[Array, Array]:
    """First elements of the windows of a case that may be padded, `[windows, rank]`, and which of them are needed, `[windows]`.

    Args:
      inside: which elements are the case's, a box, `[*space]`; all of them without it.
      space: with the padding.
      patch: size of a window.
      offsets: of a case that fills all of the space (`_offsets`).
    """
    along, new = [], []
    for axis, (length, size, steps) in enumerate(zip(space, patch, offsets, strict=True)):
        first, end = jnp.array(0), jnp.array(length)
        if inside is not None:
            occupied = inside.any([other for other in range(len(space)) if other != axis])
            first, end = jnp.argmax(occupied), length - jnp.argmax(occupied[::-1])
        starts = jnp.clip(jnp.minimum(first + jnp.array(steps), end - size), 0, length - size)
        along.append(starts)
        new.append(jnp.diff(starts, prepend=-1) > 0)  # those past the end would be the last one again
    places, needed = (jnp.stack([part.reshape(-1) for part in jnp.meshgrid(*axes, indexing="ij")], -1) for axes in (along, new))
    return places.astype(jnp.int32), needed.all(-1)


def _offsets(space: Sequence[int], patch: Sequence[int], overlap: float) -> list[list[int]]:
    """How far from the first element the windows along each axis begin, where no border stops them.

    Raises:
      ValueError: an axis is shorter than the patch.
    """
    if any(length < size for length, size in zip(space, patch, strict=True)):
        raise ValueError(f"Volumes of {tuple(space)} are smaller than the patch, {tuple(patch)}. Pad them.")
    steps = [max(1, int(size * (1 - overlap))) for size in patch]
    return [
        [index * step for index in range(-(-(length - size) // step) + 1)]
        for length, size, step in zip(space, patch, steps, strict=True)
    ]


def window_starts(space: Sequence[int], patch: Sequence[int], overlap: float) -> np.ndarray:
    """First elements of the windows, `[windows, rank]`; the last one along each axis ends at the border.

    Raises:
      ValueError: an axis is shorter than the patch.
    """
    along = [
        [min(offset, length - size) for offset in offsets]
        for length, size, offsets in zip(space, patch, _offsets(space, patch, overlap), strict=True)
    ]
    return np.array(list(itertools.product(*along)), np.int32)


def gaussian_weights(patch: Sequence[int], deviation: float = 0.125) -> np.ndarray:
    """Weights of a window's elements, `patch`, largest in the middle, where the network sees most of the surroundings; as MONAI's.

    Args:
      patch: size along each axis.
      deviation: of the Gaussian, as a share of the patch. Weights are at least a thousandth, so that corners seen once keep their digits.
    """
    axes = [np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / (deviation * size)) ** 2) for size in patch]
    weight = np.ones(tuple(patch))
    for axis, values in enumerate(axes):
        weight = weight * values.reshape([-1 if other == axis else 1 for other in range(len(axes))])
    return np.maximum(weight, 1e-3).astype(np.float32)
