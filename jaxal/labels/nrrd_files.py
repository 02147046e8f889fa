"""Delivered NRRD files, Slicer's segmentations among them.

Slicer's keys are described in its documentation, "Segmentation file format (.seg.nrrd)".
"""

import json
import re
import warnings
from collections.abc import Mapping
from typing import Any

import nrrd
import numpy as np

from jaxal.labels.coding import coded
from jaxal.labels.layers import Content, Segment, on_axes
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
_MITK = "org.mitk.multilabel.segmentation.labelgroups"
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
        layers, affine = _axes(header, shape)
        segments = _segments(header, layers)
        encoding = str(header["encoding"]).lower()
    except (KeyError, ValueError, TypeError, IndexError, AttributeError):
        raise Refused("damaged", _BROKEN) from None
    if kind.kind not in "iuf":
        raise Refused("not-a-map", "The file holds blocks of bytes; a map of labels holds one whole number a voxel.")
    grid = shape[-3:]
    if segments is None and layers > 1:
        raise _other_axes(shape)
    if segments is not None and set(grid) == {1}:  # how Slicer writes that there is nothing; its place means nothing
        return Content("seg.nrrd", grid, np.eye(4), False, (), None)
    voxels = int(np.prod(grid, dtype=object))
    check_size(grid, voxels, most_voxels)
    if layers > 256 or (kind.itemsize > 1 and header.get("endian") not in ("little", "big")):
        raise Refused("damaged", _BROKEN)
    data = _data(header, encoding, stream)
    values = coded(data, kind.newbyteorder(">" if header.get("endian") == "big" else "<"), voxels, layers=layers)
    data.finish()
    name = "nrrd" if segments is None else "seg.nrrd"
    return Content(name, grid, np.eye(4) if affine is None else affine, affine is not None, segments, on_axes(values, grid))


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


def _axes(header: Mapping[str, Any], shape: tuple[int, ...]) -> tuple[int, np.ndarray | None]:
    """How many layers there are, which the first of four axes counts; and the affine to RAS+, or None where the header has none."""
    directions = header.get("space directions")
    rows = None if directions is None else np.asarray(directions, np.float64)
    layers = 1
    if len(shape) == 4:
        is_first = next(iter(header.get("kinds", ["?"]))) in ("list", "vector") if rows is None else np.isnan(rows[0]).all()
        if not is_first:
            raise _other_axes(shape)
        layers = shape[0]
        rows = None if rows is None else rows[1:]
    elif len(shape) != 3:
        raise _other_axes(shape)
    if min(shape) <= 0:
        raise _other_axes(shape)
    signs = _SPACES.get(str(header.get("space", "")).lower())
    if rows is None or signs is None or "space origin" not in header:
        return layers, None
    affine = np.eye(4)
    affine[:3, :3] = rows.T
    affine[:3, 3] = np.asarray(header["space origin"], np.float64)
    return layers, np.diag([*signs, 1]) @ affine


def _other_axes(shape: tuple[int, ...]) -> Refused:
    size = " x ".join(map(str, shape))
    return Refused(
        "axes", f"The file has the axes {size}; a map of labels has three. Export the segmentation, not the scan or a series."
    )


def _segments(header: Mapping[str, Any], layers: int) -> tuple[Segment, ...] | None:
    """The named segments in the order of their numbers; None in a file that is no segmentation.

    Where value and layer are not given, as in Slicer before 4.11, each segment has the value 1, in a layer of its own if there are several.
    """
    if _MITK in header:
        return _segments_of_mitk(str(header[_MITK]))
    numbers = sorted({int(match[1]) for key in header if (match := re.match(r"Segment(\d+)_", key))})
    if not numbers and not any(key.startswith("Segmentation_") for key in header):
        return None
    segments = []
    for place, number in enumerate(numbers):
        field = f"Segment{number}_"
        name = header.get(f"{field}Name") or header.get(f"{field}ID") or f"Segment {number}"
        name = re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], str(name)).strip()
        segments.append(
            Segment(name, int(header.get(f"{field}LabelValue", 1)), int(header.get(f"{field}Layer", place if layers > 1 else 0)))
        )
    return tuple(segments)


def _segments_of_mitk(text: str) -> tuple[Segment, ...]:
    """MITK names its labels in JSON: groups, which are layers, of labels with names and values (`mitkMultiLabelSegmentationIO`)."""
    return tuple(
        Segment(str(label["name"]).strip(), int(label["value"]), layer)
        for layer, group in enumerate(json.loads(text))
        for label in group.get("labels") or ()
    )


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
