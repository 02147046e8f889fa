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
from jaxal.labels.naming import IGNORE, tables
from jaxal.labels.placing import Fit, Grid, Misfit, fit, is_whole, put, relabel, resampled, size_of
from jaxal.labels.refusals import Note, Refused, listed
from jaxal.labels.survey import Survey, centres, survey, volumes_ml

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
        return _receive(path, expected, names, description, trust_grid, resample)
    except Refused as error:
        raise Refused(error.code, f"{expected.case}: {error.sentence}") from error.__cause__


def _receive(
    path: Path, expected: Expected, names: Sequence[str] | None, description: Path | None, trust_grid: bool, resample: bool
) -> Delivered:
    voxels = int(np.prod(expected.grid.shape))
    content = read(path, max(_LARGER * voxels, 1 << 24), names, description)
    way = _way(content, expected, trust_grid, resample) if content.layers else None
    meanings, notes = tables(content, expected.classes, expected.partial)
    labels, drawn = _placed(content, meanings, way, expected)
    counted = survey(labels, len(expected.classes))
    notes += _placing_notes(content, way, expected, drawn, counted, trust_grid)
    _check_emptiness(expected, counted, drawn)
    kind, checksum = content.kind, content.sha256
    del content  # the layers' memory, before the proposal takes its own
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
    grid, given = expected.grid, Grid(content.layers[0].codes.shape, content.affine)
    if trust_grid:
        if tuple(given.shape) != tuple(grid.shape):
            raise Refused(
                "other-size",
                f"The file has {size_of(given.shape)} voxels, the scan {size_of(grid.shape)}, so it cannot be taken as it lies. Export it "
                "with the scan as its reference.",
            )
        return Fit((0, 1, 2), (1, 1, 1), (0, 0, 0))
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


def _placed(
    content: Content, meanings: Sequence[np.ndarray], way: Fit | None, expected: Expected
) -> tuple[np.ndarray, int | None]:
    """The map on the case's grid, and how many voxels of classes the file has; None where no voxel can lie outside.

    Raises:
      Refused: segments overlap, and the project does not say which wins.
    """
    grid = expected.grid
    plain = Fit((0, 1, 2), (1, 1, 1), (0, 0, 0))
    if len(content.layers) == 1 and way == plain and content.layers[0].codes.shape == tuple(grid.shape):
        labels = relabel(content.layers[0].codes, meanings[0])  # in place: the commonest case needs no second map
        return labels, None
    target = np.zeros(grid.shape, np.uint8, order="F")
    rank = _ranks(expected)
    shared = np.zeros((256, 256), np.int64)
    drawn = 0
    for layer, meaning in zip(content.layers, meanings, strict=True):
        codes = layer.codes
        for k in range(codes.shape[2]):
            drawn += int(np.count_nonzero(meaning[codes[..., k]])) if meaning.any() else 0
        if way is None:
            codes = resampled(relabel(codes.copy(order="F"), meaning), Grid(codes.shape, content.affine), grid)
            meaning = np.arange(256, dtype=np.uint8)
        shared += put(target, codes, meaning, plain if way is None else way, rank)
    if shared.any() and rank is None:
        names = dict(enumerate(expected.classes, start=1)) | {IGNORE: "what is not annotated"}
        pairs = [f"{names[a]} and {names[b]} share {shared[a, b]} voxels" for a, b in np.argwhere(shared)]
        raise Refused(
            "overlap",
            f"Segments overlap: {listed(pairs, most=3)}. Let none of them overlap (in Slicer: Segment Editor, Masking, modify other "
            "segments: overwrite all), or let the project say which one wins.",
        )
    return target, drawn if way is not None else None


def _ranks(expected: Expected) -> np.ndarray | None:
    """The rank of each class where segments overlap: the lower one wins; what is not annotated loses."""
    if expected.precedence is None:
        return None
    rank = np.full(256, 256)
    for place, name in enumerate(expected.precedence):
        rank[expected.classes.index(name) + 1] = place
    return rank


def _placing_notes(
    content: Content, way: Fit | None, expected: Expected, drawn: int | None, counted: Survey, trust_grid: bool
) -> list[Note]:
    """What was done to lay the map on the grid."""
    if not content.layers:
        return []
    if way is None:
        return [
            Note(
                "resampled", "The label was drawn on another grid and was taken by the nearest voxels, so its edges are rounded."
            )
        ]
    notes = []
    if trust_grid:
        notes.append(Note("grid-trusted", "The label was taken as it lies, whatever its file says of its place."))
    done = [word for word, holds in (
        ("turned", way.is_turned),
        ("cropped", content.layers[0].codes.shape != tuple(expected.grid.shape[axis] for axis in np.argsort(way.axes))),
    ) if holds]  # fmt: skip
    if done:
        notes.append(
            Note("placed", f"The file is {' and '.join(done)}; it was laid on the scan voxel by voxel, and nothing was lost.")
        )
    kept = int(counted.counts.sum()) + counted.ignored
    if drawn is not None and len(content.layers) == 1 and kept < drawn:
        notes = [note for note in notes if note.code != "placed"]
        notes.append(Note("outside", f"{drawn - kept} of {drawn} drawn voxels lie outside of the scan and were left out."))
    return notes


def _check_emptiness(expected: Expected, counted: Survey, drawn: int | None) -> None:
    if counted.counts.any() or expected.empty_is_meant:
        return
    if drawn is not None and drawn > counted.ignored:
        raise Refused(
            "all-outside", "All drawn voxels lie outside of the scan. Export the segmentation with the scan as its reference."
        )
    raise Refused(
        "empty",
        "The label is empty. If there is nothing to see in this scan, confirm that; otherwise save the segmentation again.",
    )


def _findings(labels: np.ndarray, counted: Survey, expected: Expected) -> list[Note]:
    """The soft checks."""
    classes, history, limits = expected.classes, expected.history, expected.limits
    proposal = expected.proposal() if callable(expected.proposal) else expected.proposal
    notes: list[Note] = []
    is_same = False
    if proposal is not None:
        if proposal.shape != labels.shape:
            raise ValueError(f"{expected.case}: the proposal has shape {proposal.shape}, the scan {labels.shape}")
        is_same = all(np.array_equal(labels[..., k], proposal[..., k]) for k in range(labels.shape[2]))
        notes += findings.unchanged(is_same)
    notes += findings.class_missing(counted, classes, history, limits)
    mirrored: list[Note] = []
    if proposal is not None and not is_same:
        notes += findings.far_from_proposal(findings.dice_with(labels, proposal, len(classes)), classes, limits)
        mirrored = findings.mirrored_to_proposal(labels, proposal, expected.grid.affine, len(classes))
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
