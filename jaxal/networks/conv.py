"""Convolution and its relatives, in the form that each backend runs fast.

XLA's CPU backend has no fast 3-D convolution, and for gradients inside loops it falls back to one that is tens of times
slower. Its matrix product is fast everywhere. So on a CPU a 3-D convolution goes through the volume tile by tile: each voxel's
neighbours in depth and height are stacked as channels, small enough to stay in the cache, one matrix product yields what they
add to three neighbouring columns, and the three are shifted and summed. On a GPU or TPU the plain operation is the fast one.
`benchmarks/convolution.py` measures the forms; `conv_plain` is the oracle in the tests.
"""

import contextlib
import contextvars
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array

# Bytes of a tile's stacked neighbours. One device that has all cores to itself wants large products to share out among them;
# where every core is a device of its own, a tile has to fit that core's cache. No size changes any bit of a forward result.
TILE_BYTES_ALONE, TILE_BYTES_SHARED = 4 * 2**20, 2**20

_sharing: contextvars.ContextVar[bool] = contextvars.ContextVar("sharing", default=False)


@contextlib.contextmanager
def devices_share_cores(sharing: bool) -> Iterator[None]:
    """Convolutions traced herein are for a CPU whose cores several devices share at the same time."""
    token = _sharing.set(sharing)
    try:
        yield
    finally:
        _sharing.reset(token)


def conv(inputs: Array, kernel: Array, stride: int = 1) -> Array:
    """Convolves with as much zero padding on either side as keeps the size at stride 1.

    Args:
      inputs: `[batch, *space, channels]` with two or three space axes.
      kernel: `[*window, channels, features]`, odd windows.
      stride: elements from one window to the next, along every axis; above 1 in two dimensions only.

    Returns:
      `[batch, *space, features]`, space divided by the stride and rounded up.

    Which form runs is chosen when the program is lowered, so the same traced function exports to every platform.
    """
    if all(size == 1 for size in kernel.shape[:-2]):
        kept = inputs if stride == 1 else inputs[(slice(None), *(slice(None, None, stride),) * (inputs.ndim - 2))]
        return jnp.einsum("...c,cf->...f", kept, kernel.reshape(kernel.shape[-2:]))
    if kernel.ndim == 4:  # in two dimensions the plain form is the faster one on a CPU, too, but for its gradient in loops
        if all(size >= length for size, length in zip(inputs.shape[1:-1], kernel.shape, strict=False)):
            return conv_plain(inputs, kernel, stride)
        # Of an image smaller than the window XLA makes something else: 512 channels of 2 x 2 take 90 times as long.
        on_cpu, elsewhere = (functools.partial(form, stride=stride) for form in (conv_by_patches, conv_plain))
        return lax.platform_dependent(inputs, kernel, cpu=on_cpu, default=elsewhere)
    if stride != 1:
        raise ValueError("A convolution of a volume with a stride is slow on every platform's CPU; pool instead.")
    tile_bytes = TILE_BYTES_SHARED if _sharing.get() else TILE_BYTES_ALONE
    by_tiles = functools.partial(conv_by_tiles, tile_bytes=tile_bytes)
    return lax.platform_dependent(inputs, kernel, cpu=by_tiles, default=conv_plain)


def conv_plain(inputs: Array, kernel: Array, stride: int = 1) -> Array:
    """The platform's own convolution: fast on accelerators and in two dimensions, slow in three on a CPU."""
    space = "DHW"[3 - (kernel.ndim - 2) :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    padding = [(size // 2, size // 2) for size in kernel.shape[:-2]]
    return lax.conv_general_dilated(inputs, kernel, (stride,) * len(space), padding, dimension_numbers=numbers)


def conv_by_patches(inputs: Array, kernel: Array, stride: int = 1) -> Array:
    """A 2-D convolution as one matrix product with all of each window's neighbours stacked as channels: for images of a few pixels."""
    space, *_, channels, features = inputs.shape[1:-1], *kernel.shape
    reach = [size // 2 for size in kernel.shape[:2]]
    padded = jnp.pad(inputs, [(0, 0), *((length, length) for length in reach), (0, 0)])
    ends = [stride * (-(-length // stride) - 1) + 1 for length in space]
    neighbours = [
        padded[:, top : top + ends[0] : stride, left : left + ends[1] : stride]
        for top, left in itertools.product(*map(range, kernel.shape[:2]))
    ]
    stacked = jnp.concatenate(neighbours, axis=-1)
    return stacked @ kernel.reshape(len(neighbours) * channels, features)


class _Tiling(NamedTuple):
    """How a volume is cut: slices and rows of a tile, and how many tiles there are along each of these axes."""

    depth: int
    height: int
    along_depth: int
    along_height: int

    def start(self, index: Array) -> tuple[Array, Array, Array]:
        """Batch item, first slice and first row of a tile."""
        item, rest = index // (self.along_depth * self.along_height), index % (self.along_depth * self.along_height)
        return item, rest // self.along_height * self.depth, rest % self.along_height * self.height

    def missing(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Slices and rows that the volume lacks for whole tiles."""
        return self.depth * self.along_depth - shape[1], self.height * self.along_height - shape[2]


def _tiling(shape: tuple[int, ...], window: Sequence[int], itemsize: int, tile_bytes: int) -> _Tiling:
    _, depth, height, width, channels = shape
    bytes_a_row = window[0] * window[1] * channels * (width + window[2] - 1) * itemsize
    rows = max(1, tile_bytes // bytes_a_row)
    if rows >= height:
        along_depth = -(-depth // max(1, rows // height))
        return _Tiling(-(-depth // along_depth), height, along_depth, 1)
    along_height = -(-height // rows)
    return _Tiling(1, -(-height // along_height), depth, along_height)


def _stacked_tiles(inputs: Array, window: Sequence[int], tiling: _Tiling):
    """A function from a tile's index to its voxels' neighbours in depth and height, `[voxels of padded rows, neighbours * channels]`."""
    reach = [size // 2 for size in window]
    missing = tiling.missing(inputs.shape)
    padding = [(0, 0), (reach[0], reach[0] + missing[0]), (reach[1], reach[1] + missing[1]), (reach[2], reach[2]), (0, 0)]
    padded = jnp.pad(inputs, padding)
    size = (1, tiling.depth + window[0] - 1, tiling.height + window[1] - 1, *padded.shape[3:])
    offsets = list(itertools.product(range(window[0]), range(window[1])))

    def stacked(index: Array) -> Array:
        tile = lax.dynamic_slice(padded, (*tiling.start(index), 0, 0), size)[0]
        neighbours = [tile[d : d + tiling.depth, h : h + tiling.height] for d, h in offsets]
        return jnp.concatenate(neighbours, axis=-1).reshape(-1, len(offsets) * inputs.shape[-1])

    return stacked


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_by_tiles(inputs: Array, kernel: Array, tile_bytes: int = TILE_BYTES_ALONE) -> Array:
    """A 3-D convolution as matrix products over tiles; as fast in loops and under `vmap`, with its gradient."""
    batch, depth, height, width, _ = inputs.shape
    *window, _, features = kernel.shape
    tiling = _tiling(inputs.shape, window, inputs.dtype.itemsize, tile_bytes)
    stacked = _stacked_tiles(inputs, window, tiling)
    matrix = kernel.transpose(0, 1, 3, 2, 4).reshape(-1, window[2] * features)

    def of_tile(_, index: Array):
        columns = (stacked(index) @ matrix).reshape(tiling.depth, tiling.height, -1, window[2], features)
        return None, sum(columns[:, :, shift : shift + width, shift] for shift in range(window[2]))

    tiles = batch * tiling.along_depth * tiling.along_height
    _, outputs = lax.scan(of_tile, None, jnp.arange(tiles))
    grid = outputs.reshape(batch, tiling.along_depth, tiling.along_height, tiling.depth, tiling.height, width, features)
    # Tiles hold one slice, or all rows of several: either way the axes stand in order once they are joined.
    volume = grid.reshape(batch, tiling.depth * tiling.along_depth, -1, width, features)
    return volume[:, :depth, :height]


def _forward(inputs: Array, kernel: Array, tile_bytes: int):
    return conv_by_tiles(inputs, kernel, tile_bytes), (inputs, kernel)


def _backward(tile_bytes: int, saved: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    inputs, kernel = saved
    mirrored = jnp.flip(kernel, (0, 1, 2)).swapaxes(3, 4)
    return conv_by_tiles(cotangent, mirrored, tile_bytes), _kernel_gradient(inputs, kernel, cotangent, tile_bytes)


def _kernel_gradient(inputs: Array, kernel: Array, cotangent: Array, tile_bytes: int) -> Array:
    batch, _, _, width, channels = inputs.shape
    *window, _, features = kernel.shape
    tiling = _tiling(inputs.shape, window, inputs.dtype.itemsize, tile_bytes)
    stacked = _stacked_tiles(inputs, window, tiling)
    missing, beyond = tiling.missing(inputs.shape), window[2] - 1
    padded = jnp.pad(cotangent, [(0, 0), (0, missing[0]), (0, missing[1]), (beyond, beyond), (0, 0)])
    size = (1, tiling.depth, tiling.height, *padded.shape[3:])

    def add(total: Array, index: Array):
        tile = lax.dynamic_slice(padded, (*tiling.start(index), 0, 0), size)[0]
        columns = [tile[:, :, beyond - shift : 2 * beyond - shift + width] for shift in range(window[2])]
        return total + stacked(index).T @ jnp.concatenate(columns, axis=-1).reshape(-1, window[2] * features), None

    nothing = jnp.zeros((window[0] * window[1] * channels, window[2] * features), kernel.dtype)
    total, _ = lax.scan(add, nothing, jnp.arange(batch * tiling.along_depth * tiling.along_height))
    return total.reshape(window[0], window[1], channels, window[2], features).transpose(0, 1, 3, 2, 4)


conv_by_tiles.defvjp(_forward, _backward)


def upsample(inputs: Array, kernel: Array) -> Array:
    """Enlarges space: a transposed convolution whose window equals its stride, as one matrix product.

    Args:
      inputs: `[batch, *space, channels]`.
      kernel: `[*factors, channels, features]`, one matrix for each corner of the enlarged cell; a factor of 1 leaves its axis alone.

    Returns:
      `[batch, *(factors * space), features]`.
    """
    rank, factors = kernel.ndim - 2, kernel.shape[:-2]
    batch, *space, channels = inputs.shape
    features = kernel.shape[-1]
    matrix = jnp.moveaxis(kernel, -2, 0).reshape(channels, math.prod(factors) * features)
    corners = (inputs.reshape(-1, channels) @ matrix).reshape(batch, *space, *factors, features)
    order = [0, *itertools.chain.from_iterable((1 + axis, 1 + rank + axis) for axis in range(rank)), 1 + 2 * rank]
    return corners.transpose(order).reshape(
        batch, *(factor * size for factor, size in zip(factors, space, strict=True)), features
    )


def max_pool(inputs: Array, factors: Sequence[int] | None = None) -> Array:
    """Divides every space axis by its factor, 2 when left out, by the maximum of each cell; space axes must be multiples."""
    batch, *space, channels = inputs.shape
    factors = factors or (2,) * len(space)
    _require_multiples(space, factors)
    halves = ((size // factor, factor) for size, factor in zip(space, factors, strict=True))
    cells = inputs.reshape(batch, *itertools.chain.from_iterable(halves), channels)
    return cells.max(axis=tuple(range(2, 2 + 2 * len(space), 2)))


def _require_multiples(space: Sequence[int], factors: Sequence[int]) -> None:
    if any(size % factor for size, factor in zip(space, factors, strict=True)):
        raise ValueError(
            f"Every space axis must be even to be halved, but the shape is {tuple(space)}, divided by {tuple(factors)}."
        )
