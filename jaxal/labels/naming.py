"""What a file's values mean: names are the key, because programs number segments as they like."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxal.labels.coding import Coded
from jaxal.labels.layers import Segment
from jaxal.labels.refusals import Note, Refused, listed, shown

IGNORE = 255  # not annotated, or readers disagree
IGNORE_NAME = "ignore"


class Meanings(NamedTuple):
    """What the codes of a file mean.

    Attributes:
      table: the class of each code, `[256]`, uint8.
      overlaps: the codes at which segments of several classes overlap, and those classes; the table has the one that wins.
      notes: what was noticed about names.
    """

    table: np.ndarray
    overlaps: dict[int, tuple[int, ...]]
    notes: list[Note]


def meanings(
    voxels: Coded,
    segments: Sequence[Segment] | None,
    classes: Sequence[str],
    *,
    partial: bool = False,
    precedence: Sequence[str] | None = None,
) -> Meanings:
    """The class of each code of a file.

    A file's names decide where it has any; otherwise its values are the project's own. Names are compared without regard to case,
    spaces and underscores, if no two classes become the same. Names without a voxel mean nothing.

    Args:
      voxels: of the file.
      segments: its names, or None.
      classes: the names of the classes 1, 2, … of the project.
      partial: whether voxels may be marked as not annotated, by the name "ignore" or, in a file without names, by the value 255.
      precedence: the classes in the order in which they win where segments overlap; what is not annotated loses. None is the project's
        order.

    Raises:
      Refused: "not-a-map", "fractions", "unknown-name", "unknown-value", "unnamed-value", "name-twice", "value-twice".
    """
    if voxels.is_no_map:
        raise Refused(
            "not-a-map",
            "The file holds more different values than labels can be; it may be the scan itself. Export the segmentation.",
        )
    if voxels.fraction is not None:
        raise Refused(
            "fractions",
            f"A voxel has the value {voxels.fraction:.4g}, which is no whole number, so the map was interpolated or holds "
            "probabilities. Export the segmentation without smoothing or resampling.",
        )
    met = sorted({(layer, float(value)) for layer, values in enumerate(voxels.values[voxels.used].T) for value in values})
    notes: list[Note] = []
    if segments is None:
        known = _by_value([value for _, value in met], classes, partial)
    else:
        known, notes = _by_name([(layer, int(value)) for layer, value in met], segments, classes, partial)
    rank = {name: place for place, name in enumerate(precedence or classes)}
    ranks = {0: len(rank) + 1, IGNORE: len(rank)} | {index: rank[name] for index, name in enumerate(classes, start=1)}
    table = np.zeros(256, np.uint8)
    overlaps = {}
    for code in np.flatnonzero(voxels.used):
        there = {known[layer, int(value)] for layer, value in enumerate(voxels.values[code])}
        table[code] = min(there, key=ranks.__getitem__)
        if len(there - {0}) > 1:
            overlaps[int(code)] = tuple(sorted(there - {0}))
    return Meanings(table, overlaps, notes)


def _by_value(met: Sequence[float], classes: Sequence[str], partial: bool) -> dict[tuple[int, int], int]:
    """The class of each value, in a file of one layer."""
    unknown = [value for value in met if not (0 <= value <= len(classes) or (partial and value == IGNORE))]
    if unknown:
        known = listed(["0 background", *(f"{place} {name}" for place, name in enumerate(classes, start=1))], most=12)
        values = listed([f"{value:g}" for value in unknown])
        mean = f"the value {values}, which means" if len(unknown) == 1 else f"the values {values}, which mean"
        raise Refused(
            "unknown-value",
            f"The file holds {mean} nothing here. Known are {known}. Deliver .seg.nrrd, whose segments have names, or these values.",
        )
    return {(0, int(value)): int(value) for value in met}


def _by_name(
    met: Sequence[tuple[int, int]], segments: Sequence[Segment], classes: Sequence[str], partial: bool
) -> tuple[dict[tuple[int, int], int], list[Note]]:
    """The class of each value in each layer, by the names of segments."""
    names = _named(segments)
    known = {key: 0 for key in met if key[1] == 0}
    notes: list[Note] = []
    unknown: list[str] = []
    classes_met: dict[int, str] = {}
    for key in met:
        if key[1] == 0:
            continue
        if key not in names:
            given = listed([shown(segment.name) for segment in segments], most=12) or "none"
            raise Refused(
                "unnamed-value",
                f"The file holds the value {key[1]}, for which it has no name; its names are {given}. Save the segmentation again, "
                "with a segment for each label.",
            )
        name = names[key]
        index = class_of(name, classes, partial)
        if index is None:
            unknown.append(name)
            continue
        if index != 0 and index in classes_met:
            raise Refused(
                "name-twice", f"Two segments are called {shown(name)}. Merge them, or rename the one that is something else."
            )
        known[key], classes_met[index] = index, name
        if index not in (0, IGNORE) and name != classes[index - 1]:
            notes.append(Note("spelling", f"The segment {shown(name)} was taken as {classes[index - 1]}."))
    if unknown:
        asked = f"{listed([shown(name) for name in unknown])} {'is' if len(unknown) == 1 else 'are'} none of the classes"
        raise Refused(
            "unknown-name",
            f"{asked} of this project, which are {listed(list(classes), most=12)}. Rename or remove it, and deliver again.",
        )
    return known, notes


def _named(segments: Sequence[Segment]) -> dict[tuple[int, int], str]:
    """The name of each value in each layer."""
    names: dict[tuple[int, int], str] = {}
    for segment in segments:
        known = names.setdefault((segment.layer, segment.value), segment.name)
        if known != segment.name:
            raise Refused(
                "value-twice",
                f"The value {segment.value} is called both {shown(known)} and {shown(segment.name)}, so nobody knows which it is. "
                "Save the segmentation again.",
            )
    return names


def class_of(name: str, classes: Sequence[str], partial: bool) -> int | None:
    """The class that a name means: 0 for the background, `IGNORE` for what is not annotated if that is meant; None if it is unknown."""
    if name in classes:
        return classes.index(name) + 1
    plain = [_plain(known) for known in classes]
    if plain.count(_plain(name)) == 1:
        return plain.index(_plain(name)) + 1
    if _plain(name) in ("background", "clear label"):
        return 0
    return IGNORE if partial and _plain(name) == IGNORE_NAME else None


def _plain(name: str) -> str:
    """A name without what people write in different ways: case, spaces, underscores, hyphens, composed letters."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(text.replace("_", " ").replace("-", " ").split())
