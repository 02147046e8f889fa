"""A 3-D convolution and its gradient as matrix products over tiles of the volume: the form for CPUs.

A tile's voxels and their neighbours in height are copied side by side into one matrix, small enough to stay in the cache; its product with
the kernel yields what they add to the neighbouring columns, which are shifted and summed. Neighbours in depth either stand in that matrix,
too, or, where channels are many enough, slices go through Winograd's transform first (Lavin & Gray 2016, arXiv 1509.09308), which
takes four products for two slices instead of six; of yet more channels rows go through it, too. The gradient is one loop of the same kind: the tiles of errors that
yield the gradient of the input also yield, against the input's columns, that of the kernel.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

Array = jax.Array
T = TypeVar("T")

# Bytes of what a tile stacks and what comes of it, which should stay in a core's cache; the same for any number of devices, because a
# kernel's gradient is summed over tiles. Products that two cores share are faster in larger tiles, gradients in smaller ones.
TILE_BYTES, GRADIENT_TILE_BYTES = 2**22, 5 * 2**19
# Channels times features from which slices are transformed; below, products become too narrow to be fast. A gradient has twice as many.
WINOGRAD_FROM, WINOGRAD_GRADIENT_FROM, WINOGRAD_TWICE_FROM = 256, 64, 4096


class _Scheme(NamedTuple):
    """How neighbours along one axis are summed.

    Attributes:
      period: places that come out together.
      reads: places that they are made of.
      products: how many there are.
      taps: places that a product gets side by side.
      stacked: of the places read, what each product gets, a list for each.
      outputs: of the products, the places that come out.
      spread: of the errors of the places that come out, those of the products.
      matrices: of a kernel `[window, ...]`, that of each product, `[taps, ...]`.
      gathered: of the gradients of the products' kernels, that of the kernel.
    """

    period: int
    reads: int
    products: int
    taps: int
    stacked: Callable[[list[Array]], list[list[Array]]]
    outputs: Callable[[list[Array]], list[Array]]
    spread: Callable[[list[Array]], list[Array]]
    matrices: Callable[[Array], list[Array]]
    gathered: Callable[[list[Array]], Array]


def _same(values: list[Array]) -> list[Array]:
    return values


@functools.cache
def _side_by_side(window: int) -> _Scheme:
    """One product for each place, of all its neighbours."""
    return _Scheme(
        1, window, 1, window, lambda places: [places], _same, _same, lambda kernel: [kernel], lambda gradients: gradients[0]
    )


def _winograd_stacked(d: list[Array]) -> list[list[Array]]:
    return [[d[0] - d[2]], [d[1] + d[2]], [d[2] - d[1]], [d[1] - d[3]]]


def _winograd_outputs(m: list[Array]) -> list[Array]:
    return [m[0] + m[1] + m[2], m[1] - m[2] - m[3]]


def _winograd_spread(e: list[Array]) -> list[Array]:
    return [e[0], e[0] + e[1], e[0] - e[1], -e[1]]


def _winograd_matrices(kernel: Array) -> list[Array]:
    first, middle, last = kernel
    outer = first + last
    return [part[None] for part in (first, 0.5 * (outer + middle), 0.5 * (outer - middle), last)]


def _winograd_gathered(gradients: list[Array]) -> Array:
    first, plus, minus, last = (part[0] for part in gradients)
    outer = 0.5 * (plus + minus)
    return jnp.stack([first + outer, 0.5 * (plus - minus), last + outer])


_WINOGRAD = _Scheme(
    2, 4, 4, 1, _winograd_stacked, _winograd_outputs, _winograd_spread, _winograd_matrices, _winograd_gathered
)  # fmt: skip


def _transposed(grid: list[list[T]]) -> list[list[T]]:
    return [list(column) for column in zip(*grid, strict=True)]


class _Grid(NamedTuple):
    """A scheme along depth and one along height; grids are lists over places or products in depth of lists over those in height."""

    depth: _Scheme
    height: _Scheme

    def stacked(self, places: list[list[Array]]) -> list[list[Array]]:
        """Of the places read, what each product gets side by side, for all products in order."""
        in_depth = [self.depth.stacked(column) for column in _transposed(places)]  # [reads of height][products][taps]
        products = []
        for product in range(len(in_depth[0])):
            taps = [self.height.stacked([column[product][tap] for column in in_depth]) for tap in range(self.depth.taps)]
            products += [[part for tap in of_product for part in tap] for of_product in _transposed(taps)]
        return products

    def outputs(self, products: list[Array]) -> list[list[Array]]:
        """Of the products in order, the places that come out."""
        rows = [self.height.outputs(row) for row in self._rows(products)]
        return _transposed([self.depth.outputs(column) for column in _transposed(rows)])

    def spread(self, errors: list[list[Array]]) -> list[Array]:
        """Of the errors of the places that come out, those of the products in order."""
        rows = _transposed([self.depth.spread(column) for column in _transposed(errors)])
        return [part for row in rows for part in self.height.spread(row)]

    def parts(self, kernel: Array) -> list[Array]:
        """Of a kernel `[*window, channels, features]` that of each product, `[taps, window width, channels, features]`."""
        rows = [self.height.matrices(part.swapaxes(0, 1)) for part in self.depth.matrices(kernel)]
        return [part.swapaxes(0, 1).reshape(-1, *kernel.shape[2:]) for row in rows for part in row]

    def gathered(self, gradients: list[Array]) -> Array:
        """Of the gradients of `parts` that of the kernel."""
        shape = (self.depth.taps, self.height.taps, *gradients[0].shape[1:])
        rows = self._rows([part.reshape(shape).swapaxes(0, 1) for part in gradients])
        return self.depth.gathered([self.height.gathered(row).swapaxes(0, 1) for row in rows])

    def _rows(self, products: list[Array]) -> list[list[Array]]:
        count = self.height.products
        return [products[start : start + count] for start in range(0, len(products), count)]


class _Tiling(NamedTuple):
    """How a volume is cut: periods of a tile in depth and height, and how many tiles there are along each of these axes."""

    depth: int
    height: int
    along_depth: int
    along_height: int

    def start(self, index: Array) -> tuple[Array, Array, Array]:
        """Batch item and first periods of a tile."""
        # `lax.div` and `lax.rem`, because // and % also care for signs, again in each of a loop's many programs.
        rows, tiles = (jnp.asarray(count, index.dtype) for count in (self.along_height, self.along_depth * self.along_height))
        item, rest = lax.div(index, tiles), lax.rem(index, tiles)
        return item, lax.div(rest, rows) * self.depth, lax.rem(rest, rows) * self.height


def _tiling(depth: int, height: int, bytes_a_row: int, tile_bytes: int) -> _Tiling:
    rows = max(1, tile_bytes // bytes_a_row)
    if rows >= height:
        along_depth = -(-depth // max(1, rows // height))
        return _Tiling(-(-depth // along_depth), height, along_depth, 1)
    along_height = -(-height // rows)
    return _Tiling(1, -(-height // along_height), depth, along_height)


class _Walk:
    """The tiles of a volume that is convolved.

    Args:
      inputs: `[batch, depth, height, width, channels]`.
      window: of the kernel.
      features: that come out.
      grid: how neighbours in depth and height are summed.
      tile_bytes: largest size of a tile.
    """

    def __init__(self, inputs: Array, window: Sequence[int], features: int, grid: _Grid, tile_bytes: int):
        self.batch, *self.space, self.channels = inputs.shape
        self.window, self.features = window, features
        self.dtype, self.grid = inputs.dtype, grid
        self.products, self.taps = grid.depth.products * grid.height.products, grid.depth.taps * grid.height.taps
        self.padded_width = self.space[2] + self.window[2] - 1
        numbers = self.products * (self.taps * self.channels + self.window[2] * self.features) * self.padded_width
        depth, height = (-(-length // scheme.period) for length, scheme in zip(self.space, grid, strict=False))
        self.tiling = _tiling(depth, height, numbers * self.dtype.itemsize, tile_bytes)
        self.count = self.batch * self.tiling.along_depth * self.tiling.along_height
        self._padded = self._in_periods(inputs, [size // 2 for size in self.window])
        self._some_values = (inputs.reshape(-1)[number % inputs.size] for number in itertools.count())

    def _in_periods(self, values: Array, reach: Sequence[int]) -> Array:
        """Padded to whole tiles and by the reach, and cut into periods: `[batch, *depth, *height, columns, channels]`.

        An axis is cut in two, `[periods, period]`, where its period is more than one place. XLA copies whole volumes for an axis of one.
        """
        padding = [(0, 0)]
        for axis, (length, scheme) in enumerate(zip(self._lengths(), self.grid, strict=True)):
            places = -(-(length * scheme.period + 2 * reach[axis]) // scheme.period) * scheme.period
            padding.append((reach[axis], places - reach[axis] - self.space[axis]))
        padded = jnp.pad(values, [*padding, (reach[2], reach[2]), (0, 0)])
        cut = [[length // scheme.period, scheme.period] for length, scheme in zip(padded.shape[1:3], self.grid, strict=True)]
        return padded.reshape(padded.shape[0], *self._without_ones(cut), *padded.shape[3:])

    def _lengths(self) -> tuple[int, int]:
        """Periods of the whole volume."""
        return self.tiling.depth * self.tiling.along_depth, self.tiling.height * self.tiling.along_height

    def _without_ones(self, pairs: Sequence[Sequence[T]]) -> list[T]:
        """For depth and height what is said of periods and of places in them; nothing is said of places where a period has one."""
        return [part for pair, scheme in zip(pairs, self.grid, strict=True) for part in (pair if scheme.period > 1 else pair[:1])]

    def _part(self, values: Array, index: Array, depth: int, height: int) -> Array:
        """Of each period of a tile one place, counted from the period's first: `[periods, periods, columns, channels]`."""
        item, *first = self.tiling.start(index)
        moved = zip(first, (depth, height), self.grid, strict=True)
        start: list[Array | int]
        start = self._without_ones([(begin + move // scheme.period, move % scheme.period) for begin, move, scheme in moved])
        size = self._without_ones([(length, 1) for length in self.tiling[:2]])
        part = lax.dynamic_slice(values, (item, *start, 0, 0), (1, *size, *values.shape[-2:]))
        return part.reshape(*self.tiling[:2], *values.shape[-2:])

    def _places(self, values: Array, index: Array, depth: int, height: int) -> list[list[Array]]:
        return [[self._part(values, index, down, along) for along in range(height)] for down in range(depth)]

    def scratch(self) -> list[Array]:
        """Room for what each product multiplies. It is filled anew in place: joining copies would cost as much again."""
        shape = (*self.tiling[:2], self.padded_width, self.taps * self.channels)
        return [self._empty(shape) for _ in range(self.products)]

    def stacked(self, scratch: list[Array], index: Array) -> list[Array]:
        """The scratch with a tile's voxels beside their neighbours."""
        places = self._places(self._padded, index, self.grid.depth.reads, self.grid.height.reads)
        filled = list(scratch)
        for product, parts in enumerate(self.grid.stacked(places)):
            for tap, part in enumerate(parts):
                filled[product] = lax.dynamic_update_slice(filled[product], part, (0, 0, 0, tap * self.channels))
        return filled

    def slices(self, products: list[Array]) -> Array:
        """What the products of a tile come to: `[1, *depth, *height, columns, features]`, cut as in `_in_periods`."""
        shape = (*self.tiling[:2], self.padded_width, self.window[2], self.features)
        products = [part.reshape(shape) for part in products]
        width = self.space[2]

        def shifted(part: Array) -> Array:
            return sum((part[:, :, shift : shift + width, shift] for shift in range(1, self.window[2])), part[:, :, :width, 0])

        def joined(parts: list[Array], axis: int) -> Array:
            return jnp.stack(parts, axis) if len(parts) > 1 else parts[0]

        return joined([joined([shifted(part) for part in row], 2) for row in self.grid.outputs(products)], 1)[None]

    def room(self) -> Array:
        """For what all tiles come to."""
        cut = [(length, scheme.period) for length, scheme in zip(self._lengths(), self.grid, strict=True)]
        return self._empty((self.batch, *self._without_ones(cut), self.space[2], self.features))

    def _empty(self, shape: tuple[int, ...]) -> Array:
        """An array that is written before it is read. Of equal ones XLA keeps one for all loops and copies it for each, which takes longer
        than filling each with a value of its own."""
        return jnp.broadcast_to(next(self._some_values), shape)

    def put(self, volume: Array, slices: Array, index: Array) -> Array:
        """The volume of `room` with a tile's slices at their place."""
        item, depth, height = self.tiling.start(index)
        place = self._without_ones([(depth, jnp.zeros_like(depth)), (height, jnp.zeros_like(height))])
        return lax.dynamic_update_slice(volume, slices, (item, *place, 0, 0))

    def whole(self, volume: Array) -> Array:
        """`[batch, depth, height, width, features]` of what `put` filled."""
        places = (length * scheme.period for length, scheme in zip(self._lengths(), self.grid, strict=True))
        return volume.reshape(self.batch, *places, *volume.shape[-2:])[:, : self.space[0], : self.space[1]]

    def columns(self, values: Array) -> Callable[[list[Array], Array], list[Array]]:
        """Like `stacked` for values where features come out: each beside its neighbours in width, so that a product with what is
        stacked is the kernel's gradient."""
        in_periods = self._in_periods(values, [0, 0, 0])

        def filled(scratch: list[Array], index: Array) -> list[Array]:
            places = self._places(in_periods, index, self.grid.depth.period, self.grid.height.period)
            columns = list(scratch)
            for product, part in enumerate(self.grid.spread(places)):
                for shift in range(self.window[2]):
                    columns[product] = lax.dynamic_update_slice(columns[product], part, (0, 0, shift, shift * self.features))
            return columns

        return filled

    def column_scratch(self) -> list[Array]:
        """Room for `columns`; what lies beyond the border stays zero, of which XLA does not know (see `_empty`)."""
        shape = (*self.tiling[:2], self.padded_width, self.window[2] * self.features)
        zero = jnp.zeros((), self.dtype)  # a value that is clamped to it is NaN if it was, and then so are all gradients
        return [jnp.broadcast_to(lax.clamp(zero, next(self._some_values), zero), shape) for _ in range(self.products)]


def _rows(values: Array) -> Array:
    return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])


def _grid(kernel: Array, winograd_from: int, twice_from: int) -> _Grid:
    depth, height, _, channels, features = kernel.shape
    size = channels * features
    return _Grid(
        _WINOGRAD if depth == 3 and size >= winograd_from else _side_by_side(depth),
        _WINOGRAD if height == 3 and size >= twice_from else _side_by_side(height),
    )


def convolved(inputs: Array, kernel: Array) -> Array:
    """A 3-D convolution as matrix products over tiles; as fast in loops and under `vmap`. JAX cannot take its gradient; see `gradients`.

    Args:
      inputs: `[batch, depth, height, width, channels]`.
      kernel: `[*window, channels, features]`, odd windows.

    Returns:
      `[batch, depth, height, width, features]`.
    """
    *window, _, features = kernel.shape
    walk = _Walk(inputs, window, features, _grid(kernel, WINOGRAD_FROM, WINOGRAD_TWICE_FROM), TILE_BYTES)
    matrices = [part.swapaxes(1, 2).reshape(-1, window[2] * features) for part in walk.grid.parts(kernel)]

    def of_tile(index: Array, carry: tuple[list[Array], Array]):
        scratch, volume = carry
        scratch = walk.stacked(scratch, index)
        products = [_rows(part) @ matrix for part, matrix in zip(scratch, matrices, strict=True)]
        return scratch, walk.put(volume, walk.slices(products), index)

    _, volume = lax.fori_loop(0, walk.count, of_tile, (walk.scratch(), walk.room()))
    return walk.whole(volume)


def gradients(inputs: Array, kernel: Array, errors: Array) -> tuple[Array, Array]:
    """Of inputs and kernel, for errors of what comes out.

    The input's gradient is a convolution of the errors with the mirrored kernel, whose own gradient comes of the same tiles. Matrices stand
    as `[window width * channels, taps * features]`, so that the kernel of many channels is never transposed.
    """
    *window, channels, features = kernel.shape
    grid = _grid(kernel, WINOGRAD_GRADIENT_FROM, WINOGRAD_TWICE_FROM)
    walk = _Walk(errors, window, channels, grid, GRADIENT_TILE_BYTES)
    columns = walk.columns(inputs)
    matrices = [part.transpose(1, 2, 0, 3).reshape(window[2] * channels, -1) for part in grid.parts(_mirrored(kernel))]

    def of_tile(index: Array, carry):
        scratch, column_scratch, totals, volume = carry
        scratch, column_scratch = walk.stacked(scratch, index), columns(column_scratch, index)
        stacked = [_rows(part) for part in scratch]
        products = [
            lax.dot_general(part, matrix, (((1,), (1,)), ((), ()))) for part, matrix in zip(stacked, matrices, strict=True)
        ]
        parts = zip(totals, column_scratch, stacked, strict=True)
        totals = [total + product_of(_rows(column), part) for total, column, part in parts]
        return scratch, column_scratch, totals, walk.put(volume, walk.slices(products), index)

    # Products of many columns are faster from the other side; they are small enough to be turned afterwards.
    turned = window[2] > 1

    def product_of(columns: Array, stacked: Array) -> Array:
        return stacked.T @ columns if turned else columns.T @ stacked

    nothing = [jnp.zeros_like(matrix.T if turned else matrix) for matrix in matrices]
    begin = (walk.scratch(), walk.column_scratch(), nothing, walk.room())
    _, _, totals, volume = lax.fori_loop(0, walk.count, of_tile, begin)
    shape = (window[2], channels, -1, features)
    parts = [(part.T if turned else part).reshape(shape).transpose(2, 0, 1, 3) for part in totals]
    return walk.whole(volume), _mirrored(grid.gathered(parts))


def _mirrored(kernel: Array) -> Array:
    return jnp.flip(kernel, (0, 1, 2))
