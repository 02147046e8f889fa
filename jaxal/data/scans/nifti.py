"""Reading and writing NIfTI volumes, with everything that can be wrong with a file found here."""

import gzip
import logging
import os
import zlib
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from jaxal.errors import UserError
from jaxal.files import why_no_file, writing


class Volume(NamedTuple):
    """A scan: `values [x, y, z]`, perhaps with channels last, and the affine from voxels to millimetres (RAS+), `[4, 4]`."""

    values: np.ndarray
    affine: np.ndarray


def read_image(path: Path) -> Volume:
    """Reads a 3-D image, or one whose fourth axis are channels, as float32 `[x, y, z, channels]`.

    scl_slope and scl_inter are applied, axes turned to RAS+.

    Raises:
      UserError: the file is missing, empty, truncated, no NIfTI, has other axes, or holds NaN or infinity.
    """
    volume = _read(path, axes=(3, 4))
    if volume.values.ndim == 3:
        volume = volume._replace(values=volume.values[..., None])
    with np.errstate(over="ignore"):  # told of below
        values = volume.values.astype(np.float32)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise UserError(
            f"{path}: {bad} of {values.size} voxels are NaN, infinite or beyond 3e38. Replace them or leave the case out."
        )
    return Volume(values, volume.affine)


def read_label(path: Path) -> Volume:
    """Reads a 3-D label map as uint8 (at most 255 classes).

    Raises:
      UserError: as `read_image`, or a value is not a whole number from 0 to 255.
    """
    volume = _read(path, axes=(3,))
    values = volume.values
    rounded = np.round(values)
    if not np.array_equal(values, rounded) or values.min() < 0 or values.max() > 255:
        odd = values[(values != rounded) | (values < 0) | (values > 255) | np.isnan(values)].reshape(-1)[0]
        raise UserError(f"{path}: a label map holds whole numbers from 0 to 255, but one voxel is {odd:g}.")
    return Volume(rounded.astype(np.uint8), volume.affine)


def _read(path: Path, axes: tuple[int, ...]) -> Volume:
    if not path.is_file():
        raise UserError(f"{path}: {why_no_file(path)}.")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty. Copy it again from its source.")
    image = open_image(path)
    if len(image.shape) == 4 and image.shape[3] == 1 and 4 not in axes:
        image = image.slicer[..., 0]
    if len(image.shape) not in axes:
        expected = "three axes" if axes == (3,) else "three axes, or a fourth of channels"
        raise UserError(f"{path}: has shape {image.shape}; expected {expected}.")
    if 0 in image.shape:
        raise UserError(
            f"{path}: has shape {image.shape}, so it holds no voxel. Copy it again from its source, or leave the case out."
        )
    if image.get_data_dtype().kind not in "iuf":
        raise UserError(f"{path}: holds values of type {image.get_data_dtype()}; expected plain whole or real numbers.")
    lengths = np.linalg.norm(np.asarray(image.affine, np.float64)[:3, :3], axis=0)
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) <= 1e-6 * np.prod(lengths):
        raise UserError(
            f"{path}: its affine gives voxels no volume ({'; '.join(' '.join(f'{value:g}' for value in row) for row in image.affine[:3])}). Write "
            "the right one."
        )
    try:
        image = nibabel.as_closest_canonical(image)
        values = np.asanyarray(image.dataobj)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path}: the file is truncated or damaged ({_brief(error)}). Copy it again from its source.") from error
    return Volume(values, np.asarray(image.affine, np.float64))


def open_image(path: Path) -> nibabel.Nifti1Image:
    """The file as nibabel sees it, axes as they are; packed or not, whatever its name says.

    Raises:
      UserError: it is no NIfTI.
    """
    try:
        content = _unpacked(path.read_bytes())
        if content.startswith(b"version https://git-lfs"):
            raise ValueError("it is a pointer of Git LFS, whose file was not fetched (git lfs pull)")
        if content[:4] not in (*_NIFTI1, *_NIFTI2):
            raise ValueError("it does not begin as a NIfTI file does")
        kind = nibabel.Nifti2Image if content[:4] in _NIFTI2 else nibabel.Nifti1Image
        image = kind.from_bytes(content)
        promised = int(np.prod(image.shape, dtype=object)) * image.get_data_dtype().itemsize
        if promised > len(content):
            size = " x ".join(map(str, image.shape))
            raise ValueError(f"its header promises {size} values, {promised:,} bytes, but there are {len(content):,}")
        return image
    except PermissionError:
        raise
    except (ImageFileError, HeaderDataError, WrapStructError, ValueError, OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not a readable NIfTI file ({_brief(error)}). Copy it again from its source.") from error


# The header's size, its first field, in either order of bytes.
_NIFTI1 = (348).to_bytes(4, "little"), (348).to_bytes(4, "big")
_NIFTI2 = (540).to_bytes(4, "little"), (540).to_bytes(4, "big")
logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # of a damaged header one message is enough


def _unpacked(content: bytes) -> bytes:
    """Unpacks gzip to its end, so that its checksum is verified, which nibabel's own reading leaves out."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    parts = []
    while content.startswith(b"\x1f\x8b"):  # gzip files may be several in one; garbage after the last is left alone
        stream = zlib.decompressobj(wbits=31)
        parts.append(stream.decompress(content))
        if not stream.eof:
            raise EOFError("the compressed data end too early")
        content = stream.unused_data
    return b"".join(parts)


def _brief(error: Exception) -> str:
    text = str(error).split("\n")[0]
    return text if len(text) < 160 else text[:157] + "..."


def write_volume(path: Path, volume: Volume) -> None:
    """Writes a `.nii.gz`; the same volume gives the same bytes. Not atomic: callers write a folder aside and rename it."""
    image = nibabel.Nifti1Image(volume.values, volume.affine)
    image.header.set_xyzt_units("mm")
    with (
        writing(path),
        open(path, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=1, mtime=0) as packed,
    ):
        packed.write(image.to_bytes())
        packed.flush()
        raw.flush()
        os.fsync(raw.fileno())
