"""Convolution and its relatives, in the form that each backend runs fast.

XLA's CPU backend has no fast 3-D convolution. It does have a fast 2-D one, so on a CPU a 3-D convolution is written as a
single 2-D convolution over every slice, with the slice's neighbours in depth stacked as extra channels. On a GPU or TPU the
plain operation is the fast one. `benchmarks/convolution.py` measures all forms; `conv_plain` is the oracle in the tests.
"""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array


def conv(inputs: Array, kernel: Array) -> Array:
    """Convolves with stride 1 and zero padding that keeps the size ("same").

    Args:
      inputs: `[batch, *space, channels]` with two or three space axes.
      kernel: `[*window, channels, features]`, odd windows.

    Returns:
      `[batch, *space, features]`.

    Which form runs is chosen when the program is lowered, so the same traced function exports to every platform.
    """
    if all(size == 1 for size in kernel.shape[:-2]):
        return jnp.einsum("...c,cf->...f", inputs, kernel.reshape(kernel.shape[-2:]))
    if kernel.ndim == 4:
        return conv_plain(inputs, kernel)
    return lax.platform_dependent(inputs, kernel, cpu=conv_by_slices, default=conv_plain)


def conv_plain(inputs: Array, kernel: Array) -> Array:
    """The platform's own convolution: fast on accelerators and in two dimensions, slow in three on a CPU."""
    space = "DHW"[3 - (kernel.ndim - 2) :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(inputs, kernel, (1,) * len(space), "SAME", dimension_numbers=numbers)


def conv_by_slices(inputs: Array, kernel: Array) -> Array:
    """A 3-D convolution as one 2-D convolution: a slice and its neighbours in depth become one slice with more channels."""
    batch, depth, height, width, channels = inputs.shape
    window, features = kernel.shape[0], kernel.shape[-1]
    padded = jnp.pad(inputs, ((0, 0), (window // 2, window // 2), (0, 0), (0, 0), (0, 0)))
    stacked = jnp.concatenate([padded[:, shift : shift + depth] for shift in range(window)], axis=-1)
    stacked = stacked.reshape(batch * depth, height, width, window * channels)
    flat_kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], window * channels, features)
    return conv_plain(stacked, flat_kernel).reshape(batch, depth, height, width, features)


def upsample(inputs: Array, kernel: Array) -> Array:
    """Doubles every space axis: a transposed convolution whose window equals its stride, as one matrix product.

    Args:
      inputs: `[batch, *space, channels]`.
      kernel: `[2, ..., 2, channels, features]`, one matrix for each corner of the doubled cell.

    Returns:
      `[batch, *(2 * space), features]`.
    """
    rank = kernel.ndim - 2
    batch, *space, channels = inputs.shape
    features = kernel.shape[-1]
    matrix = jnp.moveaxis(kernel, -2, 0).reshape(channels, 2**rank * features)
    corners = (inputs.reshape(-1, channels) @ matrix).reshape(batch, *space, *(2,) * rank, features)
    order = [0, *itertools.chain.from_iterable((1 + axis, 1 + rank + axis) for axis in range(rank)), 1 + 2 * rank]
    return corners.transpose(order).reshape(batch, *(2 * size for size in space), features)


def max_pool(inputs: Array) -> Array:
    """Halves every space axis by the maximum of each 2 x ... x 2 cell; space axes must be even."""
    batch, *space, channels = inputs.shape
    _require_even(space)
    cells = inputs.reshape(batch, *itertools.chain.from_iterable((size // 2, 2) for size in space), channels)
    return cells.max(axis=tuple(range(2, 2 + 2 * len(space), 2)))


def _require_even(space: Sequence[int]) -> None:
    if any(size % 2 for size in space):
        raise ValueError(f"Every space axis must be even to be halved, but the shape is {tuple(space)}.")
