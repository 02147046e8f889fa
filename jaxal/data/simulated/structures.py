"""The structures of the MNI152 template that simulated brains are segmented into, cut out of its grey-matter map by hand-made rules.

They are good enough to simulate with, and no anatomical references.
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import numpy as np
from scipy import ndimage

StructureName = Literal["left_caudate", "right_putamen", "deep_structures"]
Cut = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # (T1 from 0 to about 1, grey matter, affine) -> mask


class Structure(NamedTuple):
    """What is segmented, and where.

    Attributes:
      title: as readers know it.
      parts: the classes, from 1 on: how each is cut out of the template.
      box_origin_mm: MNI coordinates of the corner of the box that is simulated around it.
      direction: of the bias that displaces it: away from the ventricles, backwards and up.
    """

    title: str
    parts: Mapping[str, Cut]
    box_origin_mm: tuple[float, float, float]
    direction: tuple[float, float, float]


def caudate_label(grey_matter: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Cuts an approximate left caudate out of a grey-matter map in MNI space.

    Args:
      grey_matter: probability of grey matter, `[x, y, z]`.
      affine: voxel to MNI millimetres, axes parallel to the world's.

    Returns:
      Boolean mask of about 4.4 cm³ at 1 or 2 mm.
    """
    x, y, z = _coordinates_mm(grey_matter.shape, affine)
    body = (grey_matter > 0.5) & (x > -24) & (x < -4) & (y > -20) & (y < 26) & (z > -6) & (z < 28)
    body = ndimage.binary_opening(body)
    body &= ~((y < 0) & (z < 14) & (x > -14)) & ~((y < -2) & (z < 12))  # leaks into the thalamus
    return _body_at(body, affine, (-12.0, 14.0, 8.0), "caudate")


def putamen_label(grey_matter: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Cuts an approximate right putamen out of a grey-matter map in MNI space at 1 mm, about 4.3 cm³; see `caudate_label`."""
    x, y, z = _coordinates_mm(grey_matter.shape, affine)
    body = (grey_matter > 0.45) & (x > 17) & (x < 33) & (y > -12) & (y < 22) & (z > -8) & (z < 16)
    body &= x < 33.5 - 0.22 * np.maximum(0.0, y - 2)  # the claustrum and the insula, which lie closer to the middle in front
    body = ndimage.binary_opening(body, iterations=2)
    return _body_at(body, affine, (26.0, 6.0, 2.0), "putamen")


def left_putamen_label(grey_matter: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """The left putamen by the rules of the right one, seen in a mirror; about 4.2 cm³."""
    mirrored = affine.copy()
    mirrored[0, 3] = -(affine[0, 3] + (len(grey_matter) - 1) * affine[0, 0])
    return putamen_label(grey_matter[::-1], mirrored)[::-1]


def ventricle_label(t1: np.ndarray, grey_matter: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Cuts the front of an approximate left lateral ventricle out of a T1 and a grey-matter map in MNI space at 1 mm; see `caudate_label`."""
    x, y, z = _coordinates_mm(grey_matter.shape, affine)
    fluid = (t1 < 0.45) & (grey_matter < 0.4) & (x < 0) & (x > -28) & (y > -28) & (y < 34) & (z > -2) & (z < 30)
    return _body_at(ndimage.binary_opening(fluid), affine, (-5.0, 12.0, 14.0), "ventricle")


def _coordinates_mm(shape: tuple[int, ...], affine: np.ndarray) -> list[np.ndarray]:
    """MNI coordinates along each axis, each of a shape that broadcasts."""
    return [
        affine[axis, 3] + affine[axis, axis] * np.arange(size).reshape([-1 if a == axis else 1 for a in range(3)])
        for axis, size in enumerate(shape)
    ]


def _body_at(body: np.ndarray, affine: np.ndarray, seed_mm: tuple[float, float, float], title: str) -> np.ndarray:
    """The connected part of a mask that holds a point."""
    components, _ = ndimage.label(body)
    component = components[tuple(np.round(np.linalg.solve(affine, [*seed_mm, 1.0])[:3]).astype(int))]
    if component == 0:
        place = ", ".join(f"{value:g}" for value in seed_mm)
        raise ValueError(f"The grey-matter map has no {title} at MNI ({place}) mm; is it in MNI152 space?")
    return components == component


_CAUDATE: Mapping[str, Cut] = {"left caudate": lambda t1, grey, affine: caudate_label(grey, affine)}
_PUTAMEN: Mapping[str, Cut] = {"right putamen": lambda t1, grey, affine: putamen_label(grey, affine)}
_DEEP: Mapping[str, Cut] = {
    **_CAUDATE,
    "left putamen": lambda t1, grey, affine: left_putamen_label(grey, affine),
    "left ventricle": ventricle_label,
}
_LEFT, _RIGHT = ((-44.0, -30.0, -18.0), (-0.5, -0.35, 0.8)), ((-36.0, -30.0, -18.0), (0.5, -0.35, 0.8))
STRUCTURES: Mapping[StructureName, Structure] = {
    "left_caudate": Structure("left caudate", _CAUDATE, *_LEFT),
    "right_putamen": Structure("right putamen", _PUTAMEN, *_RIGHT),
    "deep_structures": Structure("deep structures", _DEEP, *_LEFT),
}
