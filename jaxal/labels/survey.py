"""One look at a map of labels: how much of each class there is, and where."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage, sparse

from jaxal.labels.naming import IGNORE
from jaxal.labels.placing import Grid

_BUDGET = 1 << 28  # voxels in boxes around classes that pieces are counted in; whatever is beyond that goes uncounted


class Survey(NamedTuple):
    """Counts of a map.

    Attributes:
      profiles: for each axis, the voxels of each class at each place of it, `[classes + 1, length]`.
      ignored: voxels that are not annotated.
    """

    profiles: tuple[np.ndarray, np.ndarray, np.ndarray]
    ignored: int

    @property
    def counts(self) -> np.ndarray:
        """Voxels by class, `[classes + 1]`; those of the background are not counted."""
        return self.profiles[2].sum(1)

    def box(self, index: int) -> tuple[slice, ...]:
        """The smallest box around a class, which must be there."""
        bounds = [np.flatnonzero(profile[index]) for profile in self.profiles]
        return tuple(slice(int(places[0]), int(places[-1]) + 1) for places in bounds)


def survey(labels: np.ndarray, classes: int) -> Survey:
    """Counts the classes of a map along its axes, a slice at a time.

    Args:
      labels: `[i, j, k]`, uint8, values 0 to `classes` or `IGNORE`.
      classes: how many there are besides the background.
    """
    rows = classes + 2  # the last one counts what is not annotated
    profiles = [np.zeros((rows, length), np.int64) for length in labels.shape]
    row_of = np.arange(256)
    row_of[IGNORE] = classes + 1
    length = labels.shape[0]
    for k in range(labels.shape[2]):
        flat = labels[..., k].ravel(order="F")
        places = np.flatnonzero(flat)
        if not len(places):
            continue
        row = row_of[flat[places]]
        for axis, place in enumerate((places % length, places // length)):
            size = labels.shape[axis]
            profiles[axis] += np.bincount(row * size + place, minlength=rows * size).reshape(rows, size)
        profiles[2][:, k] = np.bincount(row, minlength=rows)
    ignored = int(profiles[2][-1].sum())
    return Survey(tuple(profile[:-1] for profile in profiles), ignored)  # type: ignore[arg-type]


def volumes_ml(counted: Survey, grid: Grid) -> np.ndarray:
    """Volumes by class, `[classes + 1]`, in millilitres; the background's is 0."""
    voxel = abs(np.linalg.det(np.asarray(grid.affine)[:3, :3])) / 1000
    return counted.counts * voxel


def centres(counted: Survey, grid: Grid) -> dict[int, np.ndarray]:
    """Where the classes lie: the centre of each that is there, as shares of the scan from left to right, back to front, foot to head.

    Shares instead of millimetres, because scans begin at different places of the world.
    """
    axes, signs = _toward_ras(grid.affine)
    result = {}
    for index in np.flatnonzero(counted.counts):
        shares = []
        for profile in counted.profiles:
            weights = profile[index]
            shares.append(float((weights @ (np.arange(len(weights)) + 0.5)) / weights.sum() / len(weights)))
        place = np.array([shares[axis] if sign > 0 else 1 - shares[axis] for axis, sign in zip(axes, signs, strict=True)])
        result[int(index)] = place
    return result


def _toward_ras(affine: np.ndarray) -> tuple[list[int], list[int]]:
    """Which of the grid's axes runs nearest to right, front and head, and whether it runs that way (1) or the other (-1)."""
    linear = np.asarray(affine)[:3, :3]
    linear = linear / np.linalg.norm(linear, axis=0)
    axes, left = [0, 0, 0], np.abs(linear)
    for _ in range(3):  # the clearest first
        world, axis = np.unravel_index(left.argmax(), (3, 3))
        axes[world] = int(axis)
        left[world, :] = left[:, axis] = -1
    return axes, [1 if linear[world, axis] > 0 else -1 for world, axis in enumerate(axes)]


def world_axes(affine: np.ndarray) -> list[int]:
    """The grid's axes nearest to left-right, back-front and foot-head."""
    return _toward_ras(affine)[0]


def pieces(labels: np.ndarray, counted: Survey, index: int) -> np.ndarray:
    """Sizes in voxels of the connected pieces of a class, largest first.

    Pieces are found slice by slice and joined where they lie upon each other, because labels of a whole volume would take four bytes a
    voxel. Within a slice voxels that touch at a corner are joined, too.
    """
    part = labels[counted.box(index)]
    sizes, first, second = [], [], []
    before, offset_before, offset = None, 0, 0
    for k in range(part.shape[2]):
        numbers, count = ndimage.label(part[..., k] == index, structure=np.ones((3, 3)))
        sizes.append(np.bincount(numbers.ravel(order="K"), minlength=count + 1)[1:])
        if before is not None:
            both = (numbers > 0) & (before > 0)
            pairs = np.unique(before[both].astype(np.int64) * (count + 1) + numbers[both])
            first.append(pairs // (count + 1) - 1 + offset_before)
            second.append(pairs % (count + 1) - 1 + offset)
        before, offset_before = numbers, offset
        offset += count
    joined = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in (first, second))
    rows, columns = joined
    links = sparse.coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(offset, offset))
    total, piece = sparse.csgraph.connected_components(links, directed=False)
    return np.sort(np.bincount(piece, weights=np.concatenate(sizes), minlength=total).astype(np.int64))[::-1]


def affordable(counted: Survey) -> list[int]:
    """The classes that are there, as far as the boxes around them can be searched in a second or two."""
    left, chosen = _BUDGET, []
    for index in np.flatnonzero(counted.counts):
        left -= int(np.prod([span.stop - span.start for span in counted.box(int(index))]))
        if left < 0:
            break
        chosen.append(int(index))
    return chosen


def gaps(labels: np.ndarray, counted: Survey, index: int, most: int = 2) -> list[tuple[int, int]]:
    """Slices that were left out: without a class, though it lies upon itself in the slices before and after.

    Args:
      labels: `[i, j, k]`.
      counted: of that map.
      index: the class.
      most: how many slices in a row may be missing; a longer gap parts two things.

    Returns:
      Axis and slice of each gap's beginning.
    """
    result = []
    for axis, profile in enumerate(counted.profiles):
        there = np.flatnonzero(profile[index])
        steps = np.diff(there)
        for place in np.flatnonzero((steps > 1) & (steps <= most + 1)):
            before, after = (labels.take(int(there[place + side]), axis) == index for side in (0, 1))
            if (before & after).any():
                result.append((axis, int(there[place]) + 1))
    return result
