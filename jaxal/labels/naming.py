"""What a file's values mean: names are the key, because programs number segments as they like."""

import unicodedata
from collections.abc import Sequence

import numpy as np

from jaxal.labels.layers import Content, Segment
from jaxal.labels.refusals import Note, Refused, listed, shown

IGNORE = 255  # not annotated, or readers disagree
IGNORE_NAME = "ignore"


def tables(content: Content, classes: Sequence[str], partial: bool) -> tuple[list[np.ndarray], list[Note]]:
    """The class of each code, layer by layer, `[256]`, uint8.

    A file's names decide where it has any; otherwise its values are the project's own. Names are compared without regard to case,
    spaces and underscores, if no two classes become the same. Names without a voxel mean nothing.

    Args:
      content: of the file.
      classes: the names of the classes 1, 2, … of the project.
      partial: whether voxels may be marked as not annotated, by the name "ignore" or, in a file without names, by the value 255.

    Raises:
      Refused: "not-a-map", "fractions", "unknown-name", "unknown-value", "name-twice", "value-twice".
    """
    if content.is_no_map:
        raise Refused(
            "not-a-map",
            "The file holds more different values than labels can be; it may be the scan itself. Export the segmentation.",
        )
    if content.fraction is not None:
        raise Refused(
            "fractions",
            f"A voxel has the value {content.fraction:.4g}, which is no whole number, so the map was interpolated or holds "
            "probabilities. Export the segmentation without smoothing or resampling.",
        )
    if content.segments is None:
        return [_by_value(layer.values, layer.used, classes, partial) for layer in content.layers], []
    return _by_name(content, content.segments, classes, partial)


def _by_value(values: np.ndarray, used: np.ndarray, classes: Sequence[str], partial: bool) -> np.ndarray:
    table = np.zeros(256, np.uint8)
    unknown = []
    for code in np.flatnonzero(used):
        value = values[code]
        if 0 <= value <= len(classes) or (partial and value == IGNORE):
            table[code] = value
        else:
            unknown.append(value)
    if unknown:
        known = listed(["0 background", *(f"{place} {name}" for place, name in enumerate(classes, start=1))], most=12)
        are = (
            f"the values {listed([f'{value:g}' for value in sorted(unknown)])}, which mean nothing"
            if len(unknown) > 1
            else (f"the value {unknown[0]:g}, which means nothing")
        )
        raise Refused(
            "unknown-value",
            f"The file holds {are} here. Known are {known}. Deliver .seg.nrrd, whose segments have names, or these values.",
        )
    return table


def _by_name(
    content: Content, segments: Sequence[Segment], classes: Sequence[str], partial: bool
) -> tuple[list[np.ndarray], list[Note]]:
    meanings: dict[tuple[int, int], Segment] = {}
    for segment in segments:
        known = meanings.setdefault((segment.layer, segment.value), segment)
        if known is not segment and known.name != segment.name:
            raise Refused(
                "value-twice",
                f"The value {segment.value} is called both {shown(known.name)} and {shown(segment.name)}, so nobody knows which it is. "
                "Save the segmentation again.",
            )
    notes: list[Note] = []
    result: list[np.ndarray] = []
    unknown: list[str] = []
    classes_met: dict[int, Segment] = {}
    for place, layer in enumerate(content.layers):
        table = np.zeros(256, np.uint8)
        for code in np.flatnonzero(layer.used & (layer.values != 0)):
            met = meanings.get((place, int(layer.values[code])))
            if met is None:
                names = listed([shown(segment.name) for segment in segments], most=12) or "none"
                raise Refused(
                    "unnamed-value",
                    f"The file holds the value {layer.values[code]:g}, for which it has no name; its names are {names}. "
                    "Save the segmentation again, with a segment for each label.",
                )
            index = class_of(met.name, classes, partial)
            if index is None:
                unknown.append(met.name)
                continue
            table[code] = index
            if classes_met.setdefault(index, met) is not met and index != 0:
                raise Refused(
                    "name-twice",
                    f"Two segments are called {shown(met.name)}. Merge them, or rename the one that is something else.",
                )
            if index not in (0, IGNORE) and met.name != classes[index - 1]:
                notes.append(Note("spelling", f"The segment {shown(met.name)} was taken as {classes[index - 1]}."))
        result.append(table)
    if unknown:
        names = listed([shown(name) for name in unknown])
        asked = f"{names} is none of the classes" if len(unknown) == 1 else f"{names} are none of the classes"
        raise Refused(
            "unknown-name",
            f"{asked} of this project, which are {listed(list(classes), most=12)}. Rename or remove it, and deliver again.",
        )
    return result, notes


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
