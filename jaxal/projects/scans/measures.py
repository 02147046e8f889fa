"""Dice of proposals with labels, and of later proposals with earlier ones; what was computed before is kept."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from nibabel.orientations import io_orientation

from jaxal.assessment import metrics
from jaxal.files import write_text
from jaxal.labels.survey import survey
from jaxal.projects.kind import Size
from jaxal.projects.project import IGNORE, Project
from jaxal.projects.scans.labels import grid_of, read_label, read_map
from jaxal.projects.state import State
from jaxal.types import Collected, Part


def dice_of_proposals(project: Project, state: State, wanted: Sequence[tuple[str, int, str]]) -> np.ndarray:
    """Dice of a round's proposal for a case and a version of its label, on the case's own grid, `[how many, classes - 1]`."""

    def key(id_: str, round_: int, version: str) -> str:
        return f"{id_}/r{round_:03d}/{state.cases[id_].digest_of(version)[:16]}/{len(state.classes)}"

    def dice(id_: str, round_: int, version: str) -> list[float]:
        guess = read_map(project.proposal_path(id_, round_, ".nii.gz"))
        return dice_of_maps(guess, read_label(project, state, id_, version), len(state.classes))

    return _kept(project.folder / "cache" / "dice.json", wanted, key, dice, len(state.classes) - 1)


def dice_in_parts(project: Project, state: State, wanted: Sequence[tuple[str, int, Part]]) -> np.ndarray:
    """Dice of a round's proposal for a case and the label that counts of it, in a part that has one, `[how many, classes - 1]`."""

    def key(id_: str, round_: int, part: Part) -> str:
        case = state.cases[id_]
        return f"{id_}/r{round_:03d}/{case.digest_of(str(case.counts))[:16]}/{len(state.classes)}/{part}"

    def dice(id_: str, round_: int, part: Part) -> list[float]:
        box = tuple(slice(first, first + length) for first, length in zip(*part, strict=True))
        guess = read_map(project.proposal_path(id_, round_, ".nii.gz"))[box]
        return dice_of_maps(guess, read_label(project, state, id_, str(state.cases[id_].counts))[box], len(state.classes))

    return _kept(project.folder / "cache" / "dice-in-parts.json", wanted, key, dice, len(state.classes) - 1)


def dice_between_rounds(project: Project, state: State, wanted: Sequence[tuple[str, int, int]]) -> np.ndarray:
    """Dice of a later round's proposal for a case and an earlier one's, of cases and both rounds, `[how many, classes - 1]`."""

    def key(id_: str, before: int, after: int) -> str:
        return f"{id_}/r{before:03d}/r{after:03d}/{len(state.classes)}"

    def dice(id_: str, before: int, after: int) -> list[float]:
        maps = [read_map(project.proposal_path(id_, round_, ".nii.gz")) for round_ in (before, after)]
        return dice_of_maps(maps[1], maps[0], len(state.classes))

    return _kept(project.folder / "cache" / "stable.json", wanted, key, dice, len(state.classes) - 1)


def _kept(
    path: Path, wanted: Sequence[tuple], key: Callable[..., str], compute: Callable[..., list[float]], classes: int
) -> np.ndarray:
    """Rows of numbers, from a file where they were computed before."""
    known, is_new = _read(path), False
    for entry in wanted:
        if key(*entry) not in known:
            known[key(*entry)] = [None if np.isnan(value) else value for value in compute(*entry)]
            is_new = True
    if is_new:
        write_text(path, json.dumps(known))
    rows = [[np.nan if value is None else value for value in known[key(*entry)]] for entry in wanted]
    return np.array(rows, np.float64).reshape(len(rows), classes)


def _read(path: Path) -> dict[str, list[float | None]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        return {}


def dice_of_maps(guess: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    """Dice of each class above 0 where the truth is known; NaN where neither has the class."""
    counts = metrics.overlap_of_maps(
        np.where(guess == IGNORE, 0, guess), np.where(truth == IGNORE, 0, truth), classes, truth != IGNORE
    )
    return [float(value) for value in metrics.dice(counts)[1:]]


def sizes_of_proposals(project: Project, ids: Sequence[str], round_: int) -> dict[str, Size]:
    """How much each proposal shows."""
    return {id_: size_of_proposal(project, id_, round_) for id_ in ids}


def size_of_proposal(project: Project, id_: str, round_: int) -> Size:
    """How much a proposal shows."""
    labels = read_map(project.proposal_path(id_, round_, ".nii.gz"))
    counted = survey(labels, int(labels.max(initial=1)))
    voxel_ml = abs(np.linalg.det(grid_of(project.cases[id_]).affine[:3, :3])) / 1000
    return Size(round(float(counted.counts.sum() * voxel_ml), 3), int((labels > 0).any((0, 1)).sum()))


def foreseen_sizes(project: Project, ids: Sequence[str], statistics: Collected) -> dict[str, Size]:
    """How much proposals will show, about: of prepared cases, whose axes are those of RAS, and as many slices as the case's own third axis has in that length."""
    spacing = np.array(project.settings.scans.plan.spacing_mm)
    sizes = {}
    for id_, (count, *slices) in zip(ids, statistics["drawn"].tolist(), strict=True):
        affine = grid_of(project.cases[id_]).affine
        axis = int(io_orientation(affine)[2, 0])
        length = slices[axis] * spacing[axis]
        sizes[id_] = Size(round(float(count * spacing.prod() / 1000), 3), round(length / float(np.linalg.norm(affine[:3, 2]))))
    return sizes
