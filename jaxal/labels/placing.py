"""Places a map of labels on the grid of its case without losing a voxel, or says why that cannot be done."""

import itertools
from typing import NamedTuple

import numpy as np
from scipy import ndimage

TOLERANCE = 0.05  # voxels of the case, by which a corner of the map may be off


class Grid(NamedTuple):
    """A grid of voxels as a file stores it: shape `[i, j, k]`, and the affine from voxels to millimetres (RAS+), `[4, 4]`."""

    shape: tuple[int, ...]
    affine: np.ndarray


class Fit(NamedTuple):
    """How a map lies on a grid: voxel `b` of the map's axis `axes[a]` is the grid's voxel `signs[a] * b + shift[a]` of axis `a`."""

    axes: tuple[int, int, int]
    signs: tuple[int, int, int]
    shift: tuple[int, int, int]

    @property
    def is_turned(self) -> bool:
        """Whether axes are exchanged or run the other way."""
        return self.axes != (0, 1, 2) or self.signs != (1, 1, 1)


AS_IT_LIES = Fit((0, 1, 2), (1, 1, 1), (0, 0, 0))


class Misfit(NamedTuple):
    """Why a map does not lie on a grid: a fixed short word, and a sentence that names the numbers that differ."""

    code: str
    sentence: str


def fit(grid: Grid, given: Grid, knows_place: bool = True) -> Fit | Misfit:
    """Finds axes, signs and a shift by whole voxels that take a map to a grid, if no corner of it moves by more than 0.05 voxels.

    Args:
      grid: of the case.
      given: the grid of the map.
      knows_place: whether the map's file gives an affine at all; without one a guess may still be right.
    """
    lost = not knows_place or _is_bare(given.affine)
    affine = np.asarray(given.affine, np.float64)
    columns = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * np.prod(columns):
        return Misfit(
            "broken-affine", "The file's affine gives voxels no volume. Export the segmentation with the scan as its reference."
        )
    to_grid = np.linalg.inv(grid.affine) @ affine
    turn = _nearest_turn(to_grid[:3, :3])
    if turn is not None:
        corners = np.array(list(itertools.product(*((-0.5, size - 0.5) for size in given.shape))))
        left = corners @ (to_grid[:3, :3] - turn).T + to_grid[:3, 3]  # what is left once axes are turned, at each corner
        shift = np.rint(left.mean(0))
        if np.abs(left - shift).max() <= TOLERANCE:
            return _overlapping(grid, given, turn, shift)
    if lost and tuple(given.shape) == tuple(grid.shape):
        return Misfit(
            "affine-lost",
            f"The file has the scan's size, {size_of(given.shape)}, but has lost its place in space ({_difference(grid, given)}). Export it "
            "again with the scan as its reference; if it was neither cropped nor turned, it can be taken as it lies (--trust-grid).",
        )
    if not knows_place:
        return Misfit(
            "no-place",
            f"The file does not say where it lies, and its size {size_of(given.shape)} is not the scan's {size_of(grid.shape)}. Export it "
            "with the scan as its reference.",
        )
    return _misfit(grid, given, to_grid)


def _nearest_turn(linear: np.ndarray) -> np.ndarray | None:
    """The signed permutation nearest to a matrix, or None where two axes would go to one."""
    target = np.abs(linear).argmax(0)
    if len(set(target)) < 3:
        return None
    turn = np.zeros((3, 3))
    turn[target, range(3)] = np.sign(linear[target, range(3)])
    return turn


def _overlapping(grid: Grid, given: Grid, turn: np.ndarray, shift: np.ndarray) -> Fit | Misfit:
    axes = tuple(int(axis) for axis in np.abs(turn).argmax(1))
    placed = Fit(axes, tuple(int(sign) for sign in turn.sum(1)), tuple(int(step) for step in shift))  # type: ignore[arg-type]
    if any(target.start >= target.stop for target, _ in spans(grid, given.shape, placed)):
        return Misfit(
            "elsewhere",
            "The label lies altogether outside the scan. It may belong to another scan; export it with this scan as its reference.",
        )
    return placed


def spans(grid: Grid, shape: tuple[int, ...], placed: Fit) -> list[tuple[slice, slice]]:
    """For each axis of the grid: which part of it a map covers, and which part of the map, once turned, that is."""
    pairs = []
    for axis, sign, shift, size in zip(placed.axes, placed.signs, placed.shift, grid.shape, strict=True):
        length = shape[axis]
        start = shift if sign > 0 else shift - (length - 1)
        low, high = max(start, 0), min(start + length, size)
        pairs.append((slice(low, high), slice(low - start, high - start)))
    return pairs


def turned(codes: np.ndarray, placed: Fit) -> np.ndarray:
    """A view of a map with the grid's axes in the grid's directions."""
    return codes.transpose(placed.axes)[tuple(slice(None, None, sign) for sign in placed.signs)]


def put(target: np.ndarray, codes: np.ndarray, table: np.ndarray, placed: Fit) -> None:
    """Writes the classes of a map into that of a case; outside of the map nothing changes.

    Args:
      target: on the case's grid, `[i, j, k]`, uint8; changed here.
      codes: `[i, j, k]`, uint8, axes as stored.
      table: the class of each code, `[256]`, uint8.
      placed: how the map lies on the grid.
    """
    places = spans(Grid(target.shape, np.eye(4)), codes.shape, placed)
    part = target[tuple(there for there, _ in places)]
    source = turned(codes, placed)[tuple(here for _, here in places)]
    for k in range(part.shape[2]):  # a slice at a time, so that no second map is in memory
        part[..., k] = table[source[..., k]]


def relabel(codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Turns codes into classes where they lie, a slice at a time."""
    for k in range(codes.shape[2]):
        codes[..., k] = table[codes[..., k]]
    return codes


def resampled(classes: np.ndarray, given: Grid, grid: Grid) -> np.ndarray:
    """A map on another grid, by the nearest voxel, which is also what one-hot maps resampled by the nearest voxel give; outside is 0."""
    to_given = np.linalg.inv(given.affine) @ grid.affine
    target = np.zeros(grid.shape, np.uint8, order="F")
    ndimage.affine_transform(
        classes, to_given[:3, :3], to_given[:3, 3], grid.shape, target, order=0, mode="constant", cval=0, prefilter=False
    )
    return target


def is_whole(grid: Grid, given: Grid) -> bool:
    """Whether a map covers a grid exactly, however its axes are turned."""
    placed = fit(grid, given)
    if isinstance(placed, Misfit):
        return False
    covered = spans(grid, given.shape, placed)
    return all(
        there == slice(0, size) and here == slice(0, given.shape[axis])
        for (there, here), size, axis in zip(covered, grid.shape, placed.axes, strict=True)
    )


def size_of(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _is_bare(affine: np.ndarray) -> bool:
    """Whether an affine is what programs write that know none: axes along the world's, one corner at its origin."""
    linear = affine[:3, :3]
    return not affine[:3, 3].any() and np.count_nonzero(linear) == 3 and bool((np.abs(np.diag(linear)) > 0).all())


def _difference(grid: Grid, given: Grid) -> str:
    """The number of two affines that differs most, row and column counted from 1."""
    differences = np.abs(np.asarray(given.affine) - grid.affine)[:3]
    row, column = np.unravel_index(differences.argmax(), (3, 4))
    return f"row {row + 1}, column {column + 1} of its affine is {given.affine[row, column]:g} instead of {grid.affine[row, column]:g}"


def _misfit(grid: Grid, given: Grid, to_grid: np.ndarray) -> Misfit:
    """Names what differs most plainly: the size of voxels, then directions, then the place between voxels."""
    sizes = [np.linalg.norm(np.asarray(part.affine)[:3, :3], axis=0) for part in (grid, given)]
    units = [np.asarray(part.affine)[:3, :3] / size for part, size in zip((grid, given), sizes, strict=True)]
    cosines = units[0].T @ units[1]  # the grid's axes down, the map's across
    target = np.abs(cosines).argmax(0)
    pairs = target if len(set(target)) == 3 else np.array([0, 1, 2])
    same = (
        "It has the scan's size, so if it was drawn on this scan it can be taken as it lies (--trust-grid)."
        if (tuple(given.shape) == tuple(grid.shape))
        else "Draw on the scan itself. Whoever runs the project can have it resampled, which rounds its edges to the scan's voxels."
    )
    if (np.abs(sizes[1] / sizes[0][pairs] - 1) * given.shape > TOLERANCE).any():
        first, second = (" x ".join(f"{size:.4g}" for size in part) for part in (sizes[1], sizes[0][pairs]))
        return Misfit(
            "other-spacing",
            f"The label's voxels measure {first} mm, the scan's {second} mm, so it was drawn on another grid. {same}",
        )
    angle = float(np.degrees(np.arccos(np.clip(np.abs(cosines).max(0), -1, 1))).max())
    if np.radians(angle) * max(given.shape) > TOLERANCE:
        return Misfit("other-directions", f"The label's axes are turned by {angle:.3g} degrees against the scan's. {same}")
    off = to_grid[:3, 3] - np.rint(to_grid[:3, 3])
    steps = ", ".join(f"{step:.2f}" for step in off)
    return Misfit(
        "between-voxels", f"The label lies between the scan's voxels: it is shifted by {steps} voxels along its axes. {same}"
    )
