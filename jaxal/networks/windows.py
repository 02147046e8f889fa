"""Sliding windows: a network trained on patches sees whole volumes, its windows blended by Gaussian weights.

The last layer of every network here is linear, so blending what goes into it is the same as blending the logits: everything
after the stem works on whole volumes and knows nothing of windows, dropout samples before the last layer included.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.types import Masks, Model, Output

Array = jax.Array


class _Volume(NamedTuple):
    """A volume whose windows are seen later, by the tail, which knows the masks of a sample."""

    inputs: Array


@functools.cache  # so that equal networks share their compiled programs
def windowed(model: Model, patch: tuple[int, ...], overlap: float = 0.5) -> Model:
    """A network for volumes of any size that are at least as large as the patch that it is trained on.

    Inputs of exactly the patch's size go straight through, so the same network serves for training. Larger ones are seen
    through windows of the patch's size, one after the other. Where dropout lies before the last layer, windows are run once
    for all samples; where it lies deeper, every sample runs all of them again.

    Args:
      model: the network.
      patch: size of a window along each axis, in elements.
      overlap: share of a window that the next one overlaps, at least 0 and below 1.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; it must be at least 0 and below 1.")

    def is_patch(inputs: Array) -> bool:
        return inputs.shape[1:-1] == patch

    def stem(params, inputs: Array):
        if is_patch(inputs):
            return model.stem(params, inputs)
        if model.masked_tail:
            return _Volume(inputs)
        return _blend(lambda window: model.tail(params, model.stem(params, window), None), inputs, patch, overlap)

    def tail(params, hidden, masks: Masks | None) -> Output:
        if isinstance(hidden, Output):
            return hidden
        if isinstance(hidden, _Volume):
            return _blend(lambda window: model.tail(params, model.stem(params, window), masks), hidden.inputs, patch, overlap)
        return model.tail(params, hidden, masks)

    return model._replace(stem=stem, tail=tail)


def _blend(see, inputs: Array, patch: tuple[int, ...], overlap: float) -> Output:
    """Runs a function over all windows of `[batch, *space, channels]` and blends its features; embeddings are averaged.

    Small cases are padded by zeros to the largest one's size. All windows of zeros come out alike, so only the first is run.
    """
    space = inputs.shape[1:-1]
    starts = window_starts(space, patch, overlap)
    weight = gaussian_weights(patch)
    size = (inputs.shape[0], *patch, inputs.shape[-1])
    shapes = jax.eval_shape(see, jax.ShapeDtypeStruct(size, inputs.dtype))
    if shapes.auxiliary:
        raise ValueError(f"Auxiliary outputs {sorted(shapes.auxiliary)} of windows cannot be blended.")

    def add(total: tuple[Array, Array, Output, Array], start: Array):
        features, embedding, of_zeros, known = total
        corner = (0, *start, 0)
        window = jax.lax.dynamic_slice(inputs, corner, size)
        zeros = ~jnp.any(window)
        output = jax.lax.cond(zeros & known, lambda window: of_zeros, see, window)
        of_zeros = jax.tree.map(lambda new, old: jnp.where(zeros, new, old), output, of_zeros)
        own = output.features * jnp.asarray(weight)[None, ..., None]
        before = jax.lax.dynamic_slice(features, corner, own.shape)
        features = jax.lax.dynamic_update_slice(features, before + own, corner)
        return (features, embedding + output.embedding, of_zeros, known | zeros), None

    features = jnp.zeros((inputs.shape[0], *space, shapes.features.shape[-1]))
    nothing = jax.tree.map(lambda part: jnp.zeros(part.shape, part.dtype), shapes)
    start_with = (features, jnp.zeros(shapes.embedding.shape), nothing, jnp.array(False))
    (features, embedding, _, _), _ = jax.lax.scan(add, start_with, jnp.asarray(starts))
    total_weight = np.zeros(space, np.float32)
    for start in starts:
        total_weight[tuple(slice(first, first + length) for first, length in zip(start, patch, strict=True))] += weight
    return Output(features / jnp.asarray(total_weight)[None, ..., None], embedding / len(starts), {})


def window_starts(space: Sequence[int], patch: Sequence[int], overlap: float) -> np.ndarray:
    """First elements of the windows, `[windows, rank]`; the last one along each axis ends at the border.

    Raises:
      ValueError: an axis is shorter than the patch.
    """
    if any(length < size for length, size in zip(space, patch, strict=True)):
        raise ValueError(f"Volumes of {tuple(space)} are smaller than the patch, {tuple(patch)}. Pad them.")
    along = []
    for length, size in zip(space, patch, strict=True):
        step = max(1, int(size * (1 - overlap)))
        count = -(-(length - size) // step) + 1
        along.append([min(index * step, length - size) for index in range(count)])
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
