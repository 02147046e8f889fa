"""Parts of prepared scans on the scans' own grids, and back.

Networks see a scan resampled, with its axes turned to run to the right, to the front and to the head (RAS). Readers see it as its file stores it. What is
chosen on the prepared grid is asked for on the scan's own one. It grows outwards to whole voxels there, so that nothing which was chosen is lost. A
part that covers an axis of the prepared scan covers all of it in the file, so a slice becomes whole slices.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from nibabel import orientations

from jaxal.data.scans.plan import resampled_shape, spacing_of
from jaxal.types import Part

THICKER = 1.2  # times the other axes' voxels, from which on a scan has slices that everybody would call so


class Grids(NamedTuple):
    """How a scan's own grid lies over its prepared one.

    Attributes:
      own: voxels along the axes of the file.
      prepared: elements along the axes of the prepared scan, without padding.
      runs_along: of each axis of the file, which axis of the prepared scan it is.
      is_reversed: of each axis of the file, whether it runs the other way.
    """

    own: tuple[int, ...]
    prepared: tuple[int, ...]
    runs_along: tuple[int, ...]
    is_reversed: tuple[bool, ...]


def grids_of(shape: Sequence[int], affine: np.ndarray, spacing_mm: Sequence[float]) -> Grids:
    """The grids of a scan that is prepared with a spacing.

    Args:
      shape: of the file.
      affine: from its voxels to millimetres (RAS+), `[3, 4]` or `[4, 4]`.
      spacing_mm: of the prepared scan along its axes.
    """
    affine = np.vstack([np.asarray(affine, np.float64)[:3], (0.0, 0.0, 0.0, 1.0)])
    turn = orientations.io_orientation(affine)
    runs_along = tuple(int(axis) for axis in turn[:, 0])
    order = np.argsort(runs_along)
    spacing = np.array(spacing_of(affine))[order]
    prepared = resampled_shape(np.array(shape)[order].tolist(), spacing.tolist(), spacing_mm)
    return Grids(tuple(map(int, shape)), prepared, runs_along, tuple(bool(way < 0) for way in turn[:, 1]))


def to_own_grid(part: Part, grids: Grids) -> Part:
    """The smallest part of the file that holds all of a part of the prepared scan."""
    start, size = [], []
    for length, axis, is_reversed in zip(grids.own, grids.runs_along, grids.is_reversed, strict=True):
        first, count, elements = part[0][axis], part[1][axis], grids.prepared[axis]
        begin, end = first * length // elements, -(-(first + count) * length // elements)
        start.append(length - end if is_reversed else begin)
        size.append(end - begin)
    return tuple(start), tuple(size)


def to_prepared_grid(part: Part, grids: Grids) -> Part:
    """The elements of the prepared scan whose centres lie in a part of the file; there may be none."""
    start, size = [0] * len(grids.own), [0] * len(grids.own)
    for own_axis, axis in enumerate(grids.runs_along):
        first, count = part[0][own_axis], part[1][own_axis]
        length, elements = grids.own[own_axis], grids.prepared[axis]
        begin = length - first - count if grids.is_reversed[own_axis] else first
        low, high = (_first_centre(place, length, elements) for place in (begin, begin + count))
        start[axis], size[axis] = low, high - low
    return tuple(start), tuple(size)


def _first_centre(place: int, length: int, elements: int) -> int:
    """The first of some elements over the same extent as `length` voxels whose centre does not lie before a voxel."""
    return -(-(2 * place * elements - length) // (2 * length))


def slices_lie_along(affine: np.ndarray) -> int:
    """The axis of the prepared scan along which a scan's own slices lie one behind the other: that of its thickest voxels, else of the file's last axis."""
    affine = np.vstack([np.asarray(affine, np.float64)[:3], (0.0, 0.0, 0.0, 1.0)])
    spacing = np.array(spacing_of(affine))
    thickest = int(spacing.argmax())
    is_clear = spacing[thickest] > THICKER * np.delete(spacing, thickest).max()
    return int(orientations.io_orientation(affine)[thickest if is_clear else 2, 0])
