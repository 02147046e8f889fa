"""ITK-SNAP's label descriptions: a text beside the NIfTI file that says what its values mean."""

import shlex
from pathlib import Path

from jaxal.labels.layers import Segment
from jaxal.labels.refusals import Refused

_LARGEST = 1 << 20  # bytes
_COLUMNS = 8  # IDX R G B A VIS MSH "NAME"


def read_label_description(path: Path, must_be_one: bool) -> tuple[Segment, ...] | None:
    """The values and names of a label description, without 0, which ITK-SNAP calls "Clear Label".

    Args:
      path: of the text.
      must_be_one: whether anything else is an error. If not, it may be missing, or be some other text.

    Raises:
      Refused: "label-description".
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise OSError
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        if must_be_one:
            raise Refused("label-description", "The label description cannot be read. Export it again from ITK-SNAP.") from None
        return None
    is_one = "ITK-SnAP Label Description File" in text
    segments: list[Segment] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            row = shlex.split(line)
            if len(row) != _COLUMNS:
                raise ValueError
            segment = Segment(row[-1].strip(), int(row[0]))
        except ValueError:
            if not (must_be_one or is_one):
                return None
            raise Refused(
                "label-description",
                f"Line {number} of the label description is not 'IDX R G B A VIS MSH \"NAME\"'. Export it again from ITK-SNAP.",
            ) from None
        if segment.value != 0:
            segments.append(segment)
    return tuple(segments) if segments or must_be_one or is_one else None
