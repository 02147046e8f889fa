"""Features of elements that lie in cells: neighbours side by side in the channels, as a network with packed levels leaves them.

Taking them apart would cost a TPU more than the network's last layers, since it pads a few channels to 128. So what reads features
multiplies them as they lie, and only what comes out of it, a number or two an element, is put into the order of the volume.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["grid", "cell"])
@dataclasses.dataclass(frozen=True)
class Cells:
    """Features by cells.

    Attributes:
      values: `[batch, cells, places * features]`, of one item without `batch`.
      grid: cells along each axis.
      cell: elements of a cell along each axis; their product are its places.
    """

    values: Array
    grid: tuple[int, ...]
    cell: tuple[int, ...]

    @property
    def places(self) -> int:
        return math.prod(self.cell)

    @property
    def space(self) -> tuple[int, ...]:
        return tuple(length * size for length, size in zip(self.grid, self.cell, strict=True))

    def times(self, matrix: Array) -> Array:
        """Products of each element's features with a matrix, `[features, columns]` or `[batch, features, columns]`, in float32.

        Returns:
          `[batch, columns, elements by cells]`, see `by_element`; of one item without `batch`.
        """
        *_, columns = matrix.shape
        places, values = self.places, self.values.astype(jnp.float32)
        blocks = jnp.einsum("pq,...fc->...pfcq", jnp.eye(places, dtype=jnp.float32), matrix)
        blocks = blocks.reshape(*matrix.shape[:-2], values.shape[-1], columns * places)
        equation = "...nk,...km->...mn" if matrix.ndim == 3 else "...nk,km->...mn"
        products = jnp.einsum(equation, values, blocks, precision="highest")
        return products.reshape(*products.shape[:-2], columns, -1)

    def sums(self, weights: Array) -> Array:
        """Sums of one item's features by weights of the elements, `[columns, elements]`, to `[columns, features]`."""
        places, columns = self.places, len(weights)
        by_place = self.by_cell(weights).reshape(columns * places, -1)
        every = jnp.matmul(by_place, self.values.astype(jnp.float32), precision="highest")
        return jnp.einsum("cppf->cf", every.reshape(columns, places, places, -1))

    def rows(self, index: Array) -> Array:
        """One item's features of some elements, `[...]` places in the order of the volume, to `[..., features]`, in float32."""
        place = jnp.unravel_index(index, self.space)
        cell = [part // size for part, size in zip(place, self.cell, strict=True)]
        within = [part % size for part, size in zip(place, self.cell, strict=True)]
        of_cells = self.values[_raveled(cell, self.grid)]
        of_places = of_cells.reshape(*index.shape, self.places, -1)
        chosen = jnp.take_along_axis(of_places, _raveled(within, self.cell)[..., None, None], axis=-2)
        return chosen[..., 0, :].astype(jnp.float32)

    def by_element(self, maps: Array) -> Array:
        """Puts maps, `[..., elements by cells]`, into the order of the volume; by cells all cells of one place follow each other."""
        rank, lead = len(self.cell), maps.ndim - 1
        split = maps.reshape(*maps.shape[:-1], *self.cell, *self.grid)
        # A product, because a TPU's compiler takes minutes for a transposition that moves elements along the last axis.
        rows = jnp.einsum("...pc,pce->...e", jnp.moveaxis(split, lead + rank - 1, -2), self._order_of_last(), precision="highest")
        order = itertools.chain.from_iterable((lead + rank - 1 + axis, lead + axis) for axis in range(rank - 1))
        return rows.transpose(*range(lead), *order, lead + 2 * rank - 2).reshape(maps.shape)

    def by_cell(self, maps: Array) -> Array:
        """The inverse of `by_element`."""
        rank, lead = len(self.cell), maps.ndim - 1
        parts = itertools.chain.from_iterable(zip(self.grid[:-1], self.cell[:-1], strict=True))
        rows = maps.reshape(*maps.shape[:-1], *parts, self.space[-1])
        split = jnp.einsum("...e,pce->...pc", rows, self._order_of_last(), precision="highest")
        outer = lead + 2 * rank - 2
        order = [*range(lead + 1, outer, 2), outer, *range(lead, outer, 2), outer + 1]
        return split.transpose(*range(lead), *order).reshape(maps.shape)

    def _order_of_last(self) -> Array:
        """Where the elements along the last axis lie in cells: zeros and ones, `[places, cells, elements]`."""
        place, cell, element = np.ogrid[: self.cell[-1], : self.grid[-1], : self.space[-1]]
        return jnp.asarray(element == cell * self.cell[-1] + place, jnp.float32)

    def unpacked(self) -> Array:
        """`[batch, *space, features]`, float32."""
        width = self.values.shape[-1] // self.places
        maps = self.by_element(self.times(jnp.eye(width)))  # as products, for the same reason as there
        return jnp.moveaxis(maps, -2, -1).reshape(len(self.values), *self.space, width)


def _raveled(places: Sequence[Array], sizes: Sequence[int]) -> Array:
    return functools.reduce(lambda total, part: total * part[1] + part[0], zip(places, sizes, strict=True), jnp.int32(0))


def pack(values: Array, cell: Sequence[int]) -> Array:
    """`[batch, *space, channels]` to cells, `[batch, *cells, places * channels]`; space axes are multiples of the cell's."""
    rank = len(cell)
    batch, *space, channels = values.shape
    split = [part for length, size in zip(space, cell, strict=True) for part in (length // size, size)]
    order = [0, *range(1, 1 + 2 * rank, 2), *range(2, 2 + 2 * rank, 2), 1 + 2 * rank]
    return values.reshape(batch, *split, channels).transpose(order).reshape(batch, *split[::2], math.prod(cell) * channels)
