"""Delivered NIfTI files: axes as stored, values as codes, because canonical axes would hide how a map lies on its scan."""

import warnings

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from jaxal.labels.coding import coded
from jaxal.labels.layers import Content, on_axes
from jaxal.labels.refusals import Refused
from jaxal.labels.streams import Stream

# The header's size, its first field, in either order of bytes.
NIFTI1 = (348).to_bytes(4, "little"), (348).to_bytes(4, "big")
NIFTI2 = (540).to_bytes(4, "little"), (540).to_bytes(4, "big")


def is_nifti(begin: bytes) -> bool:
    """Whether a content that begins like this is a NIfTI file's."""
    return begin[:4] in (*NIFTI1, *NIFTI2)


def read_nifti(stream: Stream, most_voxels: int) -> Content:
    """Reads a NIfTI file of three axes, to the end of its packed data.

    Args:
      stream: of its unpacked bytes.
      most_voxels: more are refused before memory is taken for them.

    Raises:
      Refused: "damaged", "axes", "too-large", "not-a-map".
      Damaged: it ends too early.
    """
    header = _header(stream)
    shape = header.get_data_shape()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) <= 0:
        size = " x ".join(map(str, shape))
        raise Refused(
            "axes", f"The file has the axes {size}; a map of labels has three. Export the segmentation, not the scan or a series."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise Refused("not-a-map", "The file holds colours or complex numbers; a map of labels holds one whole number a voxel.")
    voxels = int(np.prod(shape, dtype=object))
    check_size(shape, voxels, most_voxels)
    slope, intercept = (float(value) if value is not None and np.isfinite(value) else None for value in header.get_slope_inter())
    values = coded(stream, dtype, voxels, slope=1.0 if slope is None else slope, intercept=intercept or 0.0)
    stream.finish()
    affine = np.asarray(header.get_best_affine(), np.float64)
    knows_place = int(header["sform_code"]) > 0 or int(header["qform_code"]) > 0
    return Content("nifti", shape, affine, knows_place, None, on_axes(values, shape))


def _header(stream: Stream) -> nibabel.Nifti1Header:
    """The header; the stream stands at the first voxel afterwards."""
    kind, size = (nibabel.Nifti2Header, 540) if stream.peek(4) in NIFTI2 else (nibabel.Nifti1Header, 348)
    block = stream.exactly(size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = kind(block, check=False)
            header.get_best_affine(), header.get_slope_inter(), header.get_data_dtype(), header.get_data_shape()
        offset = int(header["vox_offset"])
        if not bytes(header["magic"].item()).startswith(b"n+"):
            raise Refused(
                "half-a-pair",
                "The file is one half of a pair (.hdr and .img). Save the segmentation as one .nii.gz file instead.",
            )
    except (HeaderDataError, WrapStructError, ValueError, OverflowError, KeyError):  # nibabel's text may quote the header
        raise Refused(
            "damaged", "The header of the NIfTI file is broken. Save the segmentation again and deliver that file."
        ) from None
    stream.skip(max(offset, size) - size)
    return header


def check_size(shape: tuple[int, ...], voxels: int, most: int) -> None:
    """Refuses a file that promises more voxels than a map of this case can have.

    Raises:
      Refused: "too-large".
    """
    if voxels > most:
        size = " x ".join(map(str, shape))
        raise Refused(
            "too-large",
            f"The file says it holds {size} voxels, far more than the scan has. Export the segmentation with the scan as its reference.",
        )
