"""What a delivered file holds, before anybody asks what it means."""

from typing import NamedTuple

import numpy as np

from jaxal.labels.coding import Coded


class Segment(NamedTuple):
    """A name that a file gives to one value in one of its layers."""

    name: str
    value: int
    layer: int = 0


class Content(NamedTuple):
    """A delivered file.

    Attributes:
      kind: "nifti", "nrrd", "seg.nrrd" or "dicom-seg".
      shape: `[i, j, k]`, axes as stored.
      affine: from voxels to millimetres (RAS+), `[4, 4]`.
      knows_place: whether the file gives an affine at all; where it does not, `affine` is a guess.
      segments: what the file itself calls its values; None where it has no names.
      voxels: `codes [i, j, k]`, and what they mean in each layer; None of a segmentation that says of itself that it is empty.
      sha256: of the file's bytes, in hexadecimal.
    """

    kind: str
    shape: tuple[int, ...]
    affine: np.ndarray
    knows_place: bool
    segments: tuple[Segment, ...] | None
    voxels: Coded | None
    sha256: str = ""


def on_axes(voxels: Coded, shape: tuple[int, ...]) -> Coded:
    """Flat codes on axes of which the first runs fastest, as in NIfTI and NRRD files."""
    return voxels._replace(codes=voxels.codes.reshape(shape, order="F"))
