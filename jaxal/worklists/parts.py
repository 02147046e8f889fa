"""Parts of scans in words that a reader can find them by."""

from collections.abc import Sequence

import numpy as np

from jaxal.labels.placing import Grid
from jaxal.labels.survey import world_axes
from jaxal.types import Part

PLANES = ("sagittal", "coronal", "axial")  # across the axes left-right, back-front, foot-head
SIDES = (("L", "R"), ("P", "A"), ("I", "S"))  # of zero millimetres, as viewers write them
STRAIGHT = (
    1e-3  # by which directions within a slice may lean out of one of the world's planes for the slice to be told by one number
)


def words_of(parts: Sequence[Part], grid: Grid) -> str:
    """All of some parts, in the order in which a reader goes through them; empty where there are none."""
    return "; ".join(words_of_part(part, grid) for part in parts)


def words_of_part(part: Part, grid: Grid) -> str:
    """A part: slices by their number, anything else by its corners, both with their place in millimetres.

    Numbers of slices run as the file stores them and count from 1; voxels count from 0. Programs differ in that, and in the direction in which they show
    slices, so the place in millimetres is told, too, which is the same in all of them.

    Args:
      part: first voxel and length along each axis of the file.
      grid: of the file.
    """
    start, size = part
    across = [axis for axis in range(3) if size[axis] < grid.shape[axis]]
    if len(across) == 1:
        return _slices(across[0], start[across[0]], size[across[0]], grid)
    spans = ", ".join(f"{name} {first} to {first + length - 1}" for name, first, length in zip("ijk", start, size, strict=True))
    lengths = np.linalg.norm(np.asarray(grid.affine)[:3, :3], axis=0) * size
    return f"voxels {spans} (counted from 0), {' x '.join(f'{length:.0f}' for length in lengths)} mm around {_place(middle_of(part, grid))}"


def middle_of(part: Part, grid: Grid) -> np.ndarray:
    """The middle of a part in millimetres to the right, to the front and to the head, `[3]`."""
    start, size = (np.array(ends, np.float64) for ends in part)
    return (np.asarray(grid.affine) @ [*(start + (size - 1) / 2), 1.0])[:3]


def _slices(axis: int, first: int, count: int, grid: Grid) -> str:
    last = first + count - 1
    plane = PLANES[world_axes(grid.affine).index(axis)]
    several = "" if count == 1 else "s"
    numbers = f"{first + 1}" if count == 1 else f"{first + 1} to {last + 1}"
    indices = f"{first}" if count == 1 else f"{first} to {last}"
    ends = [_place_of_slice(axis, number, grid) for number in ((first,) if count == 1 else (first, last))]
    return f"{plane} slice{several} {numbers} of {grid.shape[axis]} ({'ijk'[axis]} = {indices} counted from 0), at {' to '.join(ends)}"


def _place_of_slice(axis: int, number: int, grid: Grid) -> str:
    """Where a slice lies: one number where it is the same in all of the slice, else its middle."""
    start = tuple(number if other == axis else 0 for other in range(3))
    size = tuple(1 if other == axis else length for other, length in enumerate(grid.shape))
    place = middle_of((start, size), grid)
    directions = np.asarray(grid.affine)[:3, :3] / np.linalg.norm(np.asarray(grid.affine)[:3, :3], axis=0)
    world = int(np.abs(directions[:, axis]).argmax())
    is_straight = np.abs(np.delete(directions[world], axis)).max() < STRAIGHT
    return f"{_side(world, place[world])} mm" if is_straight else _place(place)


def _place(place: Sequence[float] | np.ndarray) -> str:
    return ", ".join(_side(world, value) for world, value in enumerate(place)) + " mm"


def _side(world: int, value: float) -> str:
    """A coordinate with the side of zero on which it lies."""
    return f"{SIDES[world][int(value >= 0)]} {abs(value):.1f}"
