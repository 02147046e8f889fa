"""Label maps on the grids that the cases came with."""

import os
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations

from jaxal.data.scans.nifti import open_image
from jaxal.data.scans.resampling import most_probable, resample
from jaxal.files import writing


def to_original_grid(probability: np.ndarray, source: Path, values: Sequence[int] = ()) -> nibabel.Nifti1Image:
    """The most probable class on the grid of a file, axes, affine and all.

    Args:
      probability: `[classes, *shape]` of the prepared case, without padding.
      source: the label map or image whose grid it is.
      values: of the classes in the map; their numbers when left out.
    """
    original = open_image(source)
    turned = _turned_shape(original)
    winner = most_probable(resample(share, turned, order=1) for share in probability)  # one class at a time in memory
    return _as_stored(np.array(values, np.uint8)[winner] if values else winner, original)


def values_on_original_grid(values: np.ndarray, source: Path) -> nibabel.Nifti1Image:
    """A number a voxel, such as how unsure a prediction is, on the grid of a file; linear between the voxels of the prepared case.

    Args:
      values: `[*shape]` of the prepared case, without padding.
      source: the image whose grid it is.
    """
    original = open_image(source)
    return _as_stored(resample(values, _turned_shape(original), order=1).astype(np.float32), original)


def _turned_shape(original: nibabel.Nifti1Image) -> tuple[int, ...]:
    """A file's size along the RAS axes."""
    turn = orientations.io_orientation(original.affine)
    return tuple(np.array(original.shape[:3])[np.argsort(turn[:, 0])])


def _as_stored(values: np.ndarray, original: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    """Values in RAS order as a file's axes have them, with the file's place in space."""
    turn = orientations.io_orientation(original.affine)  # from the file's axes to RAS
    back = orientations.ornt_transform(np.array([[axis, 1] for axis in range(3)]), turn)
    image = nibabel.Nifti1Image(orientations.apply_orientation(values, back), original.affine)
    image.header.set_xyzt_units("mm")
    for name in ("qform", "sform"):  # viewers differ in which of the two they believe, so both stay what they were
        affine, code = getattr(original, f"get_{name}")(coded=True)
        getattr(image, f"set_{name}")(affine, int(code))
    return image


def write_image(path: Path, image: nibabel.Nifti1Image) -> None:
    """Writes a `.nii.gz` aside and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        with writing(path):
            nibabel.save(image, aside)
            os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
