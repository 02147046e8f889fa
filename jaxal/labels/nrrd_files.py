"""Delivered NRRD files, Slicer's segmentations among them.

Slicer's keys are described in its documentation, "Segmentation file format (.seg.nrrd)".
"""

import re
import warnings
from collections.abc import Mapping
from typing import Any

import nrrd
import numpy as np

from jaxal.labels.coding import coded
from jaxal.labels.layers import Content, Segment, layers_of
from jaxal.labels.nifti_files import check_size
from jaxal.labels.refusals import Refused
from jaxal.labels.streams import Bytes, Stream, bunzipped, gunzipped, pieces

_LONGEST_HEADER = 1 << 24  # bytes
# What a space is called, and the signs that turn it to RAS+.
_SPACES = {
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
}
_TYPES = nrrd.reader._TYPEMAP_NRRD2NUMPY
_BROKEN = "The header of the NRRD file is broken. Save the segmentation again and deliver that file."


def read_nrrd(stream: Stream, most_voxels: int) -> Content:
    """Reads a NRRD file of three axes, or of layers and three axes, to the end of its packed data.

    The text of its header is UTF-8, so it is not left to pynrrd, which reads ASCII and drops all other letters.

    Args:
      stream: of its bytes, at the beginning.
      most_voxels: more, in one layer, are refused before memory is taken for them.

    Raises:
      Refused: "damaged", "axes", "too-large", "not-a-map", "half-a-pair", "unknown-packing".
      Damaged: it ends too early.
    """
    header = _header(stream)
    try:
        shape = tuple(int(size) for size in header["sizes"])
        kind = np.dtype(_TYPES[header["type"]])
        segments = _segments(header)
        layer_axis, affine = _axes(header, shape)
        encoding = str(header["encoding"]).lower()
    except (KeyError, ValueError, TypeError, IndexError):
        raise Refused("damaged", _BROKEN) from None
    if kind.kind not in "iuf":
        raise Refused("not-a-map", "The file holds blocks of bytes; a map of labels holds one whole number a voxel.")
    grid = tuple(size for axis, size in enumerate(shape) if axis != layer_axis)
    if segments is not None and set(grid) == {1}:  # how Slicer writes that there is nothing; its place means nothing
        return Content("seg.nrrd", (), np.eye(4), False, ())
    layers = shape[layer_axis] if layer_axis is not None else 1
    check_size(grid, int(np.prod(grid, dtype=object)) * max(layers // 256, 1), most_voxels)
    if kind.itemsize > 1 and header.get("endian") not in ("little", "big"):
        raise Refused("damaged", _BROKEN)
    dtype = kind.newbyteorder(">" if header.get("endian") == "big" else "<")
    data = _data(header, encoding, stream)
    values = coded(data, dtype, int(np.prod(shape, dtype=object)))
    data.finish()
    knows_place = affine is not None
    name = "nrrd" if segments is None else "seg.nrrd"
    place = affine if affine is not None else np.eye(4)
    return Content(name, layers_of(values, shape, layer_axis), place, knows_place, segments, values.fraction, values.is_no_map)


def _header(stream: Stream) -> Mapping[str, Any]:
    """The fields; the stream stands at the first byte of the data afterwards."""
    size = 1 << 14
    while True:
        begin = stream.peek(size)
        end = re.search(rb"\r?\n\r?\n", begin)
        if end or len(begin) < size or size >= _LONGEST_HEADER:
            break
        size *= 4
    if end is None:
        raise Refused("damaged", _BROKEN)
    text = stream.exactly(end.end())[: end.start()].decode("utf-8", errors="replace")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = nrrd.read_header(text.splitlines())
    except (nrrd.NRRDError, ValueError, IndexError, TypeError, StopIteration):  # their text may quote the header
        raise Refused("damaged", _BROKEN) from None
    if "data file" in header or "datafile" in header:  # its path could lead anywhere
        raise Refused(
            "half-a-pair", "The file is only a header whose voxels lie in another file. Save it as one file (.nrrd, not .nhdr)."
        )
    return header


def _axes(header: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int | None, np.ndarray | None]:
    """Which axis counts layers, or None; and the affine to RAS+, or None where the header has none."""
    directions = header.get("space directions")
    layer_axis = None
    rows = None if directions is None else np.asarray(directions, np.float64)
    if len(shape) == 4:
        if rows is not None and rows.shape == (4, 3) and np.isnan(rows).all(1).sum() == 1:
            layer_axis = int(np.flatnonzero(np.isnan(rows).all(1))[0])
            rows = np.delete(rows, layer_axis, axis=0)
        elif rows is None and next(iter(header.get("kinds", ["?"]))) in ("list", "vector"):
            layer_axis = 0
    if len(shape) - (layer_axis is not None) != 3 or min(shape) <= 0:
        size = " x ".join(map(str, shape))
        raise Refused(
            "axes", f"The file has the axes {size}; a map of labels has three. Export the segmentation, not the scan or a series."
        )
    signs = _SPACES.get(str(header.get("space", "")).lower())
    if rows is None or signs is None or "space origin" not in header:
        return layer_axis, None
    affine = np.eye(4)
    affine[:3, :3] = rows.T
    affine[:3, 3] = np.asarray(header["space origin"], np.float64)
    return layer_axis, np.diag([*signs, 1]) @ affine


def _segments(header: Mapping[str, Any]) -> tuple[Segment, ...] | None:
    """The named segments in the order of their numbers; None in a file that is no segmentation.

    Where value and layer are not given, as in Slicer before 4.11, each segment has a layer of its own and the value 1.
    """
    numbers = sorted({int(match[1]) for key in header if (match := re.match(r"Segment(\d+)_", key))})
    if not numbers and not any(key.startswith("Segmentation_") for key in header):
        return None
    segments = []
    for place, number in enumerate(numbers):
        field = f"Segment{number}_"
        name = header.get(f"{field}Name") or header.get(f"{field}ID") or f"Segment {number}"
        name = str(name).replace("\\n", " ").replace("\\\\", "\\").strip()
        segments.append(Segment(name, int(header.get(f"{field}LabelValue", 1)), int(header.get(f"{field}Layer", place))))
    return tuple(segments)


def _data(header: Mapping[str, Any], encoding: str, stream: Stream) -> Stream:
    """The unpacked values."""
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    skipped = int(header.get("byte skip", header.get("byteskip", 0)))
    if encoding not in ("raw", "gzip", "gz", "bzip2", "bz2") or lines or skipped:
        raise Refused(
            "unknown-packing",
            "The voxels of the NRRD file are packed in an unusual way. Save it with gzip compression, or as .nii.gz.",
        )
    source: Bytes = stream
    if encoding == "raw":
        return Stream(pieces(source))
    return Stream(gunzipped(source) if encoding.startswith("g") else bunzipped(source))
