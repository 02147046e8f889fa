"""How far two label maps lie apart in millimetres, and which lesions both of them have."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

PERCENTILE = 95.0


class Apart(NamedTuple):
    """How far the surfaces of two structures lie apart.

    Attributes:
      hausdorff95_mm: NaN where both are empty, infinity where one is.
      surface_dice: in [0, 1]; NaN where both are empty, 0 where one is.
    """

    hausdorff95_mm: float
    surface_dice: float


class SurfaceDistances(NamedTuple):
    """Mean and 95th percentile of the distances between two surfaces, in mm: NaN where both structures are empty, infinity where one is.

    Attributes:
      mean_there: from the first's surface to the second's; large where the first has what the second lacks.
      mean_back: from the second's surface to the first's.
      mean: over the elements of both surfaces.
      percentile95_there, percentile95_back: the same of the percentile.
    """

    mean_there: float
    mean_back: float
    mean: float
    percentile95_there: float
    percentile95_back: float

    @property
    def hausdorff95(self) -> float:
        """The larger of both percentiles (Huttenlocher et al. 1993)."""
        return max(self.percentile95_there, self.percentile95_back)


class Detection(NamedTuple):
    """Connected components of two maps, and how many of them touch one of the other map."""

    first: int
    first_met: int
    second: int
    second_met: int

    def agreement(self) -> float:
        """Share of all components that the other map meets, in [0, 1]; NaN where neither has any. For two readers alike, it is symmetric."""
        both = self.first + self.second
        return (self.first_met + self.second_met) / both if both else np.nan


def surface_distances(first: np.ndarray, second: np.ndarray, spacing_mm: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances in mm from each surface element of one structure to the other's surface, and back.

    A structure's surface is those of its elements that have a direct neighbour outside of it; beyond the image is outside.

    Args:
      first, second: `[*shape]`, boolean.
      spacing_mm: of the axes.

    Returns:
      `[elements of the first's surface]` and `[elements of the second's surface]`; infinite where the other structure is empty.
    """
    if first.shape != second.shape or len(spacing_mm) != first.ndim:
        raise ValueError(f"Maps of shapes {first.shape} and {second.shape} with spacing {tuple(spacing_mm)}.")
    box = _box(first | second)
    surfaces = [part[box] & ~ndimage.binary_erosion(part[box]) for part in (first, second)]
    away = [
        ndimage.distance_transform_edt(~surface, sampling=spacing_mm) if surface.any() else np.full(surface.shape, np.inf)
        for surface in surfaces
    ]
    return away[1][surfaces[0]], away[0][surfaces[1]]


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds all true elements; distances inside do not depend on what lies outside of it."""
    if not mask.any():
        return tuple(slice(0, 1) for _ in mask.shape)
    edges = []
    for axis in range(mask.ndim):
        held = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        edges.append(slice(int(held[0]), int(held[-1]) + 1))
    return tuple(edges)


def distances_between(first: np.ndarray, second: np.ndarray, spacing_mm: Sequence[float]) -> SurfaceDistances:
    """Directed and symmetric distances of two structures' surfaces, which are counted in elements, as MONAI does.

    Args:
      first, second: `[*shape]`, boolean.
      spacing_mm: of the axes.
    """
    return _summary(*surface_distances(first, second, spacing_mm))


def _summary(there: np.ndarray, back: np.ndarray) -> SurfaceDistances:
    if not len(there) or not len(back):
        return SurfaceDistances(*[np.inf if len(there) or len(back) else np.nan] * 5)
    means = [float(part.mean()) for part in (there, back, np.concatenate([there, back]))]
    return SurfaceDistances(*means, *(float(np.percentile(part, PERCENTILE)) for part in (there, back)))


def apart(first: np.ndarray, second: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float) -> Apart:
    """95th percentile Hausdorff distance (Huttenlocher et al. 1993) and surface Dice (Nikolov et al. 2018, arXiv 1809.04430).

    The distance is the larger of the two directed percentiles; surface Dice is the share of both surfaces' elements that lie
    within the tolerance of the other surface. Surfaces are counted in elements, as MONAI does; DeepMind's `surface-distance` weighs them by
    area, which differs on curved surfaces and where the spacing is not the same along all axes.

    Args:
      first, second: `[*shape]`, boolean.
      spacing_mm: of the axes.
      tolerance_mm: at least 0; what counts as the same surface.
    """
    there, back = surface_distances(first, second, spacing_mm)
    near, elements = int((there <= tolerance_mm).sum() + (back <= tolerance_mm).sum()), len(there) + len(back)
    return Apart(_summary(there, back).hausdorff95, near / elements if elements else np.nan)


def detection(first: np.ndarray, second: np.ndarray) -> Detection:
    """Counts the components of two structures, `[*shape]`, boolean, that overlap one of the other; corners connect."""
    corners = ndimage.generate_binary_structure(first.ndim, first.ndim)
    counts = []
    for mask, other in ((first, second), (second, first)):
        components, count = ndimage.label(mask, corners)
        counts += [count, len(np.unique(components[other & mask]))]
    return Detection(*(int(count) for count in counts))
