"""Takes a delivered label in: reads it, checks it, places it on its case's own grid. Nothing is written here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.labels import findings
from jaxal.labels.findings import History, Limits
from jaxal.labels.formats import read
from jaxal.labels.layers import Content
from jaxal.labels.naming import IGNORE, meanings
from jaxal.labels.placing import AS_IT_LIES, Fit, Grid, Misfit, fit, is_whole, put, relabel, resampled, size_of
from jaxal.labels.refusals import Note, Refused, listed
from jaxal.labels.survey import Survey, centres, survey, volumes_ml
from jaxal.types import Part

_LARGER = 64  # times the case's voxels that a delivered map may have: a copy resampled to voxels of a quarter of the size


@dataclass(frozen=True)
class Expected:
    """What is known of a case before its label comes.

    Attributes:
      case: its id, which sentences begin with.
      grid: of its image file as stored.
      classes: names of the classes 1, 2, … of the project, without the background; at most 254.
      proposal: the map that the reader began with, on that grid; or what reads it when it is wanted, so that it need not be in memory
        while the file is read.
      others: grids of the project's other cases, by id.
      history: what labelled cases were like.
      minutes: that the reading took, if known.
      empty_is_meant: the reader said that there is nothing to see.
      precedence: names of classes; where segments overlap, the one that comes first wins. Without it overlaps are refused.
      partial: voxels may be marked as not annotated.
      hard: codes of notes that refuse a delivery in this project.
      limits: from where on something is odd.
      parts: of the case that are asked for, on its grid; only they are checked and taken. Empty where all of it is asked for.
      asked_for: these parts in words.
    """

    case: str
    grid: Grid
    classes: tuple[str, ...]
    proposal: np.ndarray | Callable[[], np.ndarray] | None = None
    others: Mapping[str, Grid] = field(default_factory=dict)
    history: History = field(default_factory=History)
    minutes: float | None = None
    empty_is_meant: bool = False
    precedence: tuple[str, ...] | None = None
    partial: bool = False
    hard: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)
    parts: tuple[Part, ...] = ()
    asked_for: str = ""

    def __post_init__(self) -> None:
        names = ["", *self.classes]
        if len(set(names)) != len(names) or len(names) > IGNORE:
            raise ValueError(f"classes must be 1 to 254 different names, not {self.classes}")
        if unknown := self.hard - set(findings.CODES):
            raise ValueError(f"no notes have the codes {sorted(unknown)}; known are {', '.join(findings.CODES)}")
        if self.precedence is not None and set(self.precedence) != set(self.classes):
            raise ValueError(f"precedence must name each class once, not {self.precedence}")


class Delivered(NamedTuple):
    """A label that was taken.

    Attributes:
      labels: on the case's own grid, `[i, j, k]`, uint8: 0 background, 1, 2, … the classes, 255 not annotated.
      notes: what was noticed.
      kind: of the file: "nifti", "nrrd", "seg.nrrd" or "dicom-seg".
      sha256: of the file's bytes.
      volumes_ml: by class that is there.
      centres: where each of them lies, as shares of the scan from left to right, back to front, foot to head.
    """

    labels: np.ndarray
    notes: tuple[Note, ...]
    kind: str
    sha256: str
    volumes_ml: dict[str, float]
    centres: dict[str, tuple[float, ...]]


def receive(
    path: Path,
    expected: Expected,
    *,
    names: Sequence[str] | None = None,
    description: Path | None = None,
    trust_grid: bool = False,
    resample: bool = False,
) -> Delivered:
    """Reads, checks and places a delivered label. The first check that fails answers.

    Args:
      path: of the file, which is only read.
      expected: what is known of the case.
      names: the k-th is that of the value k, for files without names of their own.
      description: ITK-SNAP's label description, if it does not lie beside the file under its name.
      trust_grid: takes a file of the scan's size as it lies, whatever its affine says.
      resample: takes a file on another grid by the nearest voxel.

    Raises:
      Refused: the label cannot be taken; its sentence begins with the case.
    """
    try:
        with np.errstate(all="ignore"):  # damaged headers hold any numbers; what comes of them is checked
            return _receive(path, expected, names, description, trust_grid, resample)
    except Refused as error:
        raise Refused(error.code, f"{expected.case}: {error.sentence}") from error.__cause__


def _receive(
    path: Path, expected: Expected, names: Sequence[str] | None, description: Path | None, trust_grid: bool, resample: bool
) -> Delivered:
    voxels = int(np.prod(expected.grid.shape))
    content = read(path, max(_LARGER * voxels, 1 << 24), names, description)
    if content.voxels is None:
        labels, drawn, notes = np.zeros(expected.grid.shape, np.uint8, order="F"), 0, []
    else:
        way = _way(content, expected, trust_grid, resample)
        known = meanings(
            content.voxels, content.segments, expected.classes, partial=expected.partial, precedence=expected.precedence
        )
        counts = _counts(content.voxels.codes)
        if known.overlaps and expected.precedence is None:
            raise _overlap(known.overlaps, counts, expected.classes)
        drawn = int(counts[known.table != 0].sum())
        labels = _placed(content, known.table, way, expected.grid)
        notes = known.notes + _placing_notes(content.shape, way, expected.grid, trust_grid)
    counted = survey(labels, len(expected.classes))
    _check_emptiness(expected, counted, drawn)
    if expected.parts:
        labels = only_parts(labels, expected.parts)
        _check_emptiness_of_parts(expected, counted, asked := survey(labels, len(expected.classes)))
    if drawn > (kept := int(counted.counts.sum()) + counted.ignored) and not resample:
        notes = [note for note in notes if note.code != "placed"]
        notes.append(Note("outside", f"{drawn - kept} of {drawn} drawn voxels lie outside of the scan and were left out."))
    kind, checksum = content.kind, content.sha256
    del content  # its memory, before the proposal takes its own
    counted = asked if expected.parts else counted
    notes += _findings(labels, counted, expected)
    for note in notes:
        if note.code in expected.hard:
            raise Refused(note.code, note.sentence)
    volumes = volumes_ml(counted, expected.grid)
    return Delivered(
        labels,
        tuple(notes),
        kind,
        checksum,
        {name: float(volumes[place]) for place, name in enumerate(expected.classes, start=1) if volumes[place] > 0},
        {expected.classes[index - 1]: tuple(map(float, place)) for index, place in centres(counted, expected.grid).items()},
    )


def _way(content: Content, expected: Expected, trust_grid: bool, resample: bool) -> Fit | None:
    """How the layers lie on the case's grid; None if they are to be resampled.

    Raises:
      Refused: they do not, or they lie on another case's grid.
    """
    grid, given = expected.grid, Grid(content.shape, content.affine)
    if trust_grid:
        if tuple(given.shape) != tuple(grid.shape):
            raise Refused(
                "other-size",
                f"The file has {size_of(given.shape)} voxels, the scan {size_of(grid.shape)}, so it cannot be taken as it lies. Export it "
                "with the scan as its reference.",
            )
        return AS_IT_LIES
    placed = fit(grid, given, content.knows_place)
    if isinstance(placed, Fit) and is_whole(grid, given):
        return placed
    for case, other in expected.others.items():
        if content.knows_place and case != expected.case and is_whole(other, given):
            raise Refused(
                "other-case", f"The label fits the scan of case {case}, not this one. Deliver it there, or open the right scan."
            )
    if isinstance(placed, Misfit):
        if resample and placed.code in ("other-spacing", "other-directions", "between-voxels"):
            return None
        raise Refused(placed.code, placed.sentence)
    return placed


def _counts(codes: np.ndarray) -> np.ndarray:
    """Voxels by code, `[256]`; a slice at a time, because counting takes eight bytes a voxel."""
    return np.sum([np.bincount(codes[..., k].ravel(order="K"), minlength=256) for k in range(codes.shape[2])], axis=0)


def _overlap(overlaps: Mapping[int, tuple[int, ...]], counts: np.ndarray, classes: Sequence[str]) -> Refused:
    names = dict(enumerate(classes, start=1)) | {IGNORE: "what is not annotated"}
    shared = sorted(((" and ".join(names[index] for index in there), int(counts[code])) for code, there in overlaps.items()))
    pairs = [f"{who} share {count} {'voxel' if count == 1 else 'voxels'}" for who, count in shared]
    return Refused(
        "overlap",
        f"Segments overlap: {listed(pairs, most=3)}. Let none of them overlap (in Slicer: Segment Editor, Masking, modify other "
        "segments: overwrite all), or let the project say which one wins.",
    )


def _placed(content: Content, table: np.ndarray, way: Fit | None, grid: Grid) -> np.ndarray:
    """The map on the case's grid."""
    assert content.voxels is not None
    codes = content.voxels.codes
    if way is None:
        return resampled(relabel(codes, table), Grid(content.shape, content.affine), grid)
    if way == AS_IT_LIES and content.shape == tuple(grid.shape):
        return relabel(codes, table)  # in place: the commonest case needs no second map
    target = np.zeros(grid.shape, np.uint8, order="F")
    put(target, codes, table, way)
    return target


def _placing_notes(shape: tuple[int, ...], way: Fit | None, grid: Grid, trust_grid: bool) -> list[Note]:
    """What was done to lay the map on the grid."""
    if way is None:
        return [
            Note(
                "resampled", "The label was drawn on another grid and was taken by the nearest voxels, so its edges are rounded."
            )
        ]
    if trust_grid:
        return [Note("grid-trusted", "The label was taken as it lies, whatever its file says of its place.")]
    is_cropped = tuple(shape[axis] for axis in way.axes) != tuple(grid.shape)
    done = [word for word, holds in (("turned", way.is_turned), ("cropped", is_cropped)) if holds]
    if not done:
        return []
    return [Note("placed", f"The file is {' and '.join(done)}; it was laid on the scan voxel by voxel, and nothing was lost.")]


def only_parts(labels: np.ndarray, parts: Sequence[Part]) -> np.ndarray:
    """A map of which some parts are known, and the rest is not annotated, `[i, j, k]`, uint8."""
    known = np.full(labels.shape, IGNORE, np.uint8, order="F")
    for start, size in parts:
        box = tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
        known[box] = labels[box]
    return known


def _check_emptiness_of_parts(expected: Expected, counted: Survey, asked: Survey) -> None:
    if asked.counts.any() or expected.empty_is_meant:
        return
    elsewhere = "Something is drawn elsewhere in the scan, which nobody asked for. " if counted.counts.any() else ""
    raise Refused(
        "empty",
        f"Nothing is drawn in what was asked for: {expected.asked_for}. {elsewhere}If there is nothing to see there, confirm that; "
        "otherwise draw there and save the segmentation again.",
    )


def _check_emptiness(expected: Expected, counted: Survey, drawn: int) -> None:
    if counted.counts.any() or expected.empty_is_meant or (expected.parts and drawn == counted.ignored):
        return
    if drawn > counted.ignored:
        raise Refused(
            "all-outside", "All drawn voxels lie outside of the scan. Export the segmentation with the scan as its reference."
        )
    raise Refused(
        "empty",
        "The label is empty. If there is nothing to see in this scan, confirm that; otherwise save the segmentation again.",
    )


def _findings(labels: np.ndarray, counted: Survey, expected: Expected) -> list[Note]:
    """The soft checks. Of parts it is not known how large a class usually is in them, where it lies, or where it must be."""
    classes, history, limits = expected.classes, expected.history, expected.limits
    proposal = expected.proposal() if callable(expected.proposal) else expected.proposal
    notes: list[Note] = []
    is_same = False
    if proposal is not None:
        if proposal.shape != labels.shape:
            raise ValueError(f"{expected.case}: the proposal has shape {proposal.shape}, the scan {labels.shape}")
        if expected.parts:
            proposal = only_parts(proposal, expected.parts)
        is_same = all(np.array_equal(labels[..., k], proposal[..., k]) for k in range(labels.shape[2]))
        notes += findings.unchanged(
            is_same and not (expected.parts and not counted.counts.any())
        )  # of nothing nothing was taken over
    if not expected.parts:
        notes += findings.class_missing(counted, classes, history, limits)
    mirrored: list[Note] = []
    if proposal is not None and not is_same:
        notes += findings.far_from_proposal(findings.dice_with(labels, proposal, len(classes)), classes, limits)
        mirrored = findings.mirrored_to_proposal(labels, proposal, expected.grid.affine, len(classes))
    if expected.parts:
        notes += mirrored
    else:
        notes += mirrored or findings.mirrored_to_usual(counted, expected.grid, classes, history, limits)
        notes += findings.odd_volume(counted, expected.grid, classes, history, limits)
        notes += findings.fragments(labels, counted, classes, limits)
        notes += findings.left_out(labels, counted, classes)
    notes += findings.too_fast(expected.minutes, history, limits)
    if expected.empty_is_meant and counted.counts.any():
        notes.append(
            Note("not-empty", "It was said that there is nothing to see, but the label is not empty. It was taken as it is.")
        )
    return notes
