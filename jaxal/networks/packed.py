"""Levels of a U-Net with cells of neighbouring elements packed into channels: the same network in another layout, for TPUs.

A TPU multiplies 128 channels at a time and pads what has fewer, so 16 channels take the memory and the traffic of 128. Where a level has
few channels, the elements of each cell, 2 x 2 x 2 in a volume, stand side by side in the channels: place by place, each with all its channels.
The weights are those of the plain network. The kernel of cells is made from the plain one and holds zeros where a window of cells reaches
further than the window of elements.

Cells lie on one of two grids. *Aligned* ones begin with the first element. *Offset* ones begin one element before it, and there is one
more along each axis; what lies outside of the volume is zero. A convolution leads from one grid to the other, which takes windows of 2 x 2 x 2
cells: 2.4 times the products of the plain convolution, where windows of 3 x 3 x 3 aligned cells would take 8 times.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxal.cells import pack
from jaxal.networks.conv import convolve, larger
from jaxal.networks.layers import factor_and_offset, shared_by_groups

Array = jax.Array

# Of fewer items a TPU's compiler makes more by cutting volumes apart, with copies that cost more than the convolution.
_ITEMS_AT_ONCE = 8


def pack_offset(values: Array, cell: Sequence[int]) -> Array:
    """`cells.pack` to offset cells, with zeros outside of the volume."""
    return pack(jnp.pad(values, [(0, 0), *((size // 2,) * 2 for size in cell), (0, 0)]), cell)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(values: Array, places: int) -> Array:
    """The maximum of each aligned cell, `[batch, *cells, places * channels]` to `[..., channels]`: what pooling by the cell's size gives."""
    # A window over the places of a channel, because a TPU's compiler writes each place out by itself, padded, when they are cut apart.
    channels, lead = values.shape[-1] // places, (1,) * (values.ndim - 1)
    least = jnp.array(-jnp.inf, values.dtype)
    window, stride, dilation = (*lead, places), (*lead, 1), (*lead, channels)
    return jax.lax.reduce_window(values, least, jax.lax.max, window, stride, "VALID", window_dilation=dilation)


def _pool_of_places(values: Array, places: int) -> Array:
    return functools.reduce(larger, jnp.split(values, places, -1))


max_pool.defvjp(
    lambda values, places: (max_pool(values, places), values),
    lambda places, values, errors: jax.vjp(functools.partial(_pool_of_places, places=places), values)[1](errors),
)


def upsample(values: Array, kernel: Array, cell: Sequence[int] | None) -> Array:
    """`conv.upsample` to aligned cells of its factors.

    Args:
      values: of the level below, `[batch, *space, channels]` or aligned cells of it.
      kernel: `[*factors, channels, features]`.
      cell: of the level below, if it is packed.

    Returns:
      `[batch, *space, places * features]`, where each element of the level below is one cell.
    """
    *factors, channels, features = kernel.shape
    matrix = jnp.moveaxis(kernel, -2, 0).reshape(channels, math.prod(factors) * features)
    if cell is None:
        return values @ matrix
    places = math.prod(cell)
    apart = jnp.einsum("pq,cf->pqcf", jnp.eye(places, dtype=matrix.dtype), matrix).reshape(*cell, places * channels, -1)
    # As a transposed convolution, which costs a TPU half of a product whose rows are moved afterwards.
    return convolve(values, jnp.flip(apart, range(len(cell))), [(size - 1, size - 1) for size in cell], dilated=cell)


Source = Literal["elements", "aligned", "offset"]


class CellConv(nn.Module):
    """`layers.Conv` with a window of three elements, from elements or cells of one grid to cells.

    Attributes:
      features: of an element.
      cell: its size along each axis, 1 or 2; where it is 1, both grids are the same.
      dtype: to compute in.
    """

    features: int
    cell: tuple[int, ...]
    dtype: Any

    @nn.compact
    def __call__(self, parts: Sequence[Array], source: Source) -> Array:
        """Convolves the concatenation of the parts' channels: to offset cells, from those to aligned ones."""
        entering = (1,) * len(self.cell) if source == "elements" else self.cell
        channels = [part.shape[-1] // math.prod(entering) for part in parts]
        shape = (*(3,) * len(self.cell), sum(channels), self.features)
        kernel = self.param("kernel", nn.initializers.zeros, shape, jnp.float32).astype(self.dtype)
        ends = np.cumsum(channels)[:-1].tolist()
        kernels = [_kernel_of_cells(part, entering, self.cell) for part in jnp.split(kernel, ends, axis=-2)]
        inputs, whole = jnp.concatenate(list(parts), -1), jnp.concatenate(kernels, -2)
        if source == "elements":
            return convolve(inputs, whole, [(size, size) for size in self.cell], self.cell)
        return _convolved(inputs, whole, [(1, 1) if size == 1 or source == "aligned" else (0, 0) for size in self.cell])


def _convolved(inputs: Array, kernel: Array, padding: Sequence[tuple[int, int]]) -> Array:
    if len(padding) == 2 or inputs.shape[0] % _ITEMS_AT_ONCE == 0:
        return convolve(inputs, kernel, padding)
    # The first space axis takes the place of the items, its neighbours that of channels.
    window, *_, features = kernel.shape
    batch, *_, channels = inputs.shape
    padded = jnp.pad(inputs, [(0, 0), padding[0], *[(0, 0)] * 3])
    length = padded.shape[1] - window + 1
    stacked = jnp.concatenate([padded[:, tap : tap + length] for tap in range(window)], -1)
    flat = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], window * channels, features)
    slices = convolve(stacked.reshape(batch * length, *stacked.shape[2:]), flat, padding[1:])
    return slices.reshape(batch, length, *slices.shape[1:])


def _kernel_of_cells(kernel: Array, entering: Sequence[int], cell: Sequence[int]) -> Array:
    """`[3, ..., channels, features]` to `[window, ..., places entering * channels, places * features]`."""
    rank = len(cell)
    window, into, leaving, taps = "abc"[:rank], "ijk"[:rank], "pqr"[:rank], "xyz"[:rank]
    axes = ",".join(map("".join, zip(window, into, leaving, taps, strict=True)))
    tables = [jnp.asarray(_taps(*sizes), kernel.dtype) for sizes in zip(entering, cell, strict=True)]
    cells = jnp.einsum(f"{axes},{taps}uv->{window}{into}u{leaving}v", *tables, kernel, precision="highest")
    channels, features = kernel.shape[-2:]
    return cells.reshape(*cells.shape[:rank], math.prod(entering) * channels, math.prod(cell) * features)


@functools.cache
def _taps(entering: int, size: int) -> np.ndarray:
    """Which tap of three leads from a place of a cell of the window to a place, `[window, entering, size, 3]`; the same from either grid."""
    window = 2 + size if entering == 1 else 2
    taps = np.zeros((window, entering, size, 3), np.float32)
    for cell, place, leaving in itertools.product(range(window), range(entering), range(size)):
        tap = entering * cell + place - leaving
        if 0 <= tap < 3:
            taps[cell, place, leaving, tap] = 1
    return taps


class Inside(NamedTuple):
    """Which elements are inside, by the cells of one grid.

    Attributes:
      space: of the volume, in elements.
      cell: its size along each axis.
      is_offset: which of the two grids.
      elements: `[batch, *space, 1]`, boolean; None where all of them are inside.
    """

    space: tuple[int, ...]
    cell: tuple[int, ...]
    is_offset: bool
    elements: Array | None

    def only(self, values: Array) -> Array:
        """`[batch, *cells, places * channels]` with zeros outside."""
        if self.elements is None:
            return jnp.where(self._within(values.shape[-1]), values, 0) if self.is_offset else values
        packed = (pack_offset if self.is_offset else pack)(self.elements, self.cell)
        return jnp.where(jnp.repeat(packed, values.shape[-1] // packed.shape[-1], -1), values, 0)

    @property
    def size(self) -> Array | float:
        """Elements inside, at least one: a number, or `[batch, 1]`."""
        if self.elements is None:
            return float(math.prod(self.space))
        return jnp.maximum(self.elements.reshape(len(self.elements), -1).sum(1, keepdims=True), 1).astype(jnp.float32)

    def first(self, values: Array) -> Array:
        """Values of the first element that is inside, or without padding of one in the middle, `[batch, channels]`."""
        rank, places = len(self.cell), math.prod(self.cell)
        batch, *cells, packed = values.shape
        if self.elements is None:
            middle = tuple(slice(length // 2, length // 2 + 1) for length in cells)
            return values[(slice(None), *middle, slice(packed // places))].reshape(batch, -1)
        along = jnp.unravel_index(self.elements.reshape(batch, -1).argmax(1), self.space)
        shifted = [place + (size // 2 if self.is_offset else 0) for place, size in zip(along, self.cell, strict=True)]
        place = jnp.ravel_multi_index(
            [part % size for part, size in zip(shifted, self.cell, strict=True)], self.cell, mode="clip"
        )
        rows = jnp.arange(batch)
        of_cell = values[(rows, *(shifted[axis] // self.cell[axis] for axis in range(rank)))]
        return of_cell.reshape(batch, places, -1)[rows, place]

    def _within(self, channels: int) -> Array:
        """What lies within the volume, `[1, *cells, channels]`, from one small table an axis."""
        places = np.unravel_index(np.arange(channels) * math.prod(self.cell) // channels, self.cell)
        within = []
        for axis, (length, size, place) in enumerate(zip(self.space, self.cell, places, strict=True)):
            element = np.arange(length // size + size // 2)[:, None] * size + place - size // 2
            shape = [-1 if other == axis else 1 for other in range(len(self.cell))]
            within.append(jnp.asarray(((element >= 0) & (element < length)).reshape(1, *shape, channels)))
        return functools.reduce(jnp.logical_and, within)


class CellNorm(nn.Module):
    """`layers.Norm` of cells: all places of a channel share its mean and deviation.

    Attributes:
      cell: its size along each axis.
      groups: of channels, as for `layers.Norm`.
    """

    cell: tuple[int, ...]
    groups: int | None

    @nn.compact
    def __call__(self, inputs: Array, inside: Inside) -> Array:
        places, space = math.prod(self.cell), tuple(range(1, inputs.ndim - 1))
        channels = inputs.shape[-1] // places
        scale = self.param("scale", nn.initializers.zeros, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)

        def shared(values: Array) -> Array:  # [batch, channels] by all places
            return jnp.tile(values, places).reshape(len(values), *(1,) * len(space), places * channels)

        # Cut out before it is converted: else a TPU's compiler writes out all of the converted values for it.
        centre = jax.lax.stop_gradient(inside.first(inputs).astype(jnp.float32))
        if self.groups is not None:
            centre = shared_by_groups(centre, self.groups)
        away = inputs.astype(jnp.float32) - shared(centre)
        counted = inside.only(away)
        mean, square = (
            values.sum(space).reshape(-1, places, channels).sum(1) / inside.size for values in (counted, jnp.square(counted))
        )
        factor, offset = factor_and_offset(mean, square, scale, bias, self.groups)
        return (away * shared(factor) + shared(offset)).astype(inputs.dtype)
