"""Label maps on the grids that the cases came with."""

import os
from pathlib import Path

import nibabel
import numpy as np
from nibabel import orientations

from jaxal.data.scans.nifti import open_image
from jaxal.data.scans.resampling import most_probable, resample
from jaxal.files import writing


def to_original_grid(probability: np.ndarray, source: Path) -> nibabel.Nifti1Image:
    """The most probable class on the grid of a file, axes, affine and all.

    Args:
      probability: `[classes, *shape]` of the prepared case, without padding.
      source: the label map or image whose grid it is.
    """
    original = open_image(source)
    grid = original.shape[:3]
    turn = orientations.io_orientation(original.affine)  # from the file's axes to RAS
    turned = tuple(np.array(grid)[np.argsort(turn[:, 0])])
    winner = most_probable(resample(share, turned, order=1) for share in probability)  # one class at a time in memory
    back = orientations.ornt_transform(np.array([[axis, 1] for axis in range(3)]), turn)
    image = nibabel.Nifti1Image(orientations.apply_orientation(winner, back), original.affine)
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
