"""Reads a delivered file. Its first bytes say what it is, because the name that a browser sends may end in anything."""

from collections.abc import Sequence
from pathlib import Path

from jaxal.labels.dicom_files import read_dicom
from jaxal.labels.label_description import read_label_description
from jaxal.labels.layers import Content, Segment
from jaxal.labels.nifti_files import is_nifti, read_nifti
from jaxal.labels.nrrd_files import read_nrrd
from jaxal.labels.refusals import Refused
from jaxal.labels.streams import PIECE, Damaged, Hashed, unpacked

ENDINGS = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".dcm")
_KNOWN = "Deliver .seg.nrrd or .nii.gz."
# How contents begin that readers hand in by mistake, and what they are.
_MISTAKES = (
    (b"version https://git-lfs", "a pointer to a file that was not fetched"),
    (b"PK\x03\x04", "a zip archive, as a scene that was saved as .mrb"),
    (b"ObjectType", "a MetaImage (.mha, .mhd)"),
    (b"<MRML", "a scene (.mrml)"),
    (b"<?xml", "XML"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x89HDF", "an HDF5 file"),
    (b"# vtk", "a surface"),
    (b"solid ", "a surface"),
    (b"{", "JSON"),
)


def ending_of(name: str) -> str:
    """The known ending of a file's name, in small letters; empty if it has none."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")


def stem(name: str) -> str:
    """A file's name without its known ending, whatever case that is written in."""
    return name[: len(name) - len(ending_of(name))]


def read(path: Path, most_voxels: int, names: Sequence[str] | None = None, description: Path | None = None) -> Content:
    """Reads a delivered file; nothing on disk is changed.

    Args:
      path: of the file.
      most_voxels: more, in one layer, are refused before memory is taken for them.
      names: the k-th is that of the value k in a file that has no names of its own, as MONAI Label's `label_info` has them. The name
        "background" is left out before counting, as Slicer leaves it out, and its `idx` means nothing.
      description: ITK-SNAP's label description; None takes the `.txt` of the same name beside the file, if that is one.

    Raises:
      Refused: the file is none of those that can be read, or is damaged.
    """
    try:
        if path.stat().st_size == 0:
            raise Refused("empty-file", "The file is empty. Save the segmentation again and deliver that file.")
        with path.open("rb") as file:
            source = Hashed(file)
            content = _read(source, most_voxels)._replace(sha256=source.sha256())
    except Damaged as error:
        raise Refused("damaged", f"The file is damaged: {error}. Copy it again, or save the segmentation again.") from None
    except MemoryError:
        raise Refused(
            "too-large", "The file needs more memory than there is. Export the segmentation with the scan as its reference."
        ) from None
    except OSError as error:
        raise Refused("unreadable", f"The file cannot be read ({error.strerror}). Deliver it again.") from None
    if content.segments is None and names is not None:
        foreground = [name for name in names if name.strip().casefold() != "background"]
        return content._replace(segments=tuple(Segment(name, place + 1) for place, name in enumerate(foreground)))
    if content.segments is None:
        beside = path.with_name(stem(path.name) + ".txt")
        rows = read_label_description(description or beside, must_be_one=description is not None)
        return content if rows is None else content._replace(segments=rows)
    return content


def _read(source: Hashed, most_voxels: int) -> Content:
    stream = unpacked(source)
    begin = stream.peek(400)
    if is_nifti(begin):
        return read_nifti(stream, most_voxels)
    if begin.startswith(b"NRRD0"):
        return read_nrrd(stream, most_voxels)
    if begin[128:132] == b"DICM":
        parts = []
        while part := stream.read(PIECE):
            parts.append(part)
        return read_dicom(b"".join(parts), most_voxels)
    what = next((what for sign, what in _MISTAKES if begin.lstrip().startswith(sign)), None)
    if what is None and begin.count(0) == len(begin):
        raise Refused("damaged", "The file holds zeros only, so its copy did not succeed. Copy it again.")
    said = f"The file is {what}, not a segmentation." if what else "The file is no NIfTI, NRRD or DICOM segmentation."
    raise Refused("unknown-format", f"{said} {_KNOWN}")
