"""A user's folder made ready: found, looked at, planned for, prepared. What it takes to call a data set one's own."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from jaxal.data.cases import Dataset, file_fingerprint
from jaxal.data.groups import read_groups
from jaxal.data.scans.layouts import Found, find_cases
from jaxal.data.scans.plan import Plan, Scaling, look_at_all, make_plan, to_json
from jaxal.data.scans.prepare import prepare
from jaxal.errors import UserError
from jaxal.rounds.checkpoint import write_text

Showing = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]  # from what is done to who is told how far it is


def _silently(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    return contextlib.nullcontext(lambda done, total: None)


@dataclasses.dataclass(frozen=True)
class FolderConfig:
    """How a folder is to be read.

    Attributes:
      group_column: column of the table of participants that names each case's group.
      participants: that table; `participants.tsv` in the folder when left out.
      bins: edges that cut a column of numbers into groups.
      quantiles: groups of equal size for a column of many numbers, where no edges are given.
      channels: in BIDS, the suffixes to take; all when empty.
      spacing_mm: voxel size along each axis instead of one derived from the data.
      patch_voxels: of a patch, at most; cases that are larger are trained on in patches and scored in windows.
      levels: of the network; derived from the data when left out.
    """

    group_column: str = "group"
    participants: Path | None = None
    bins: tuple[float, ...] = ()
    quantiles: int = 2
    channels: tuple[str, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    patch_voxels: int = 2**17
    levels: int | None = None


class Ready(NamedTuple):
    """A data set that can be trained on.

    Attributes:
      dataset: its prepared cases.
      plan: how they were prepared, and why so.
      found: where they came from.
      fingerprint: sixteen hexadecimal digits that change when a case, its group or a file's content does, wherever the folder lies.
    """

    dataset: Dataset
    plan: Plan
    found: Found
    fingerprint: str


def make_ready(
    folder: Path,
    prepared: Path,
    config: FolderConfig,
    showing: Showing = _silently,
) -> Ready:
    """Finds, checks, plans and prepares; what was done before for the same files and configuration is not done again.

    Args:
      folder: in one of the layouts (`layouts.py`); nothing is written to it.
      prepared: where prepared cases and plans are kept.
      config: how to read it.
      showing: tells how far the work is, such as `report.Display.progress`.

    Raises:
      UserError: anything that would fail or mislead later; the message names the file, what it holds and what to do.
    """
    found = find_cases(folder, config.channels or None)
    # In BIDS subjects without a label map are usual; elsewhere one is a mistake, which is told below.
    only = {case.subject for case in found.cases} if found.layout == "BIDS" else None
    table = config.participants or folder / "participants.tsv"
    groups = read_groups(table, config.group_column, config.bins, config.quantiles, only)
    _check_participants(table, folder, found, groups)
    files = {case.id: file_fingerprint((*case.images, case.label)) for case in found.cases}
    digest = hashlib.sha256(json.dumps([found.channels, found.classes, found.ignore, sorted(files.items())]).encode())
    of_plan = dataclasses.replace(config, group_column="", participants=None, bins=(), quantiles=2)  # groups do not change a plan
    plan_path = prepared / f"plan-{_short(digest, json.dumps(dataclasses.asdict(of_plan)))}.json"
    plan = _read_plan(plan_path)
    if plan is None:
        with showing("checking files") as progress:
            looks = look_at_all(found, progress)
        plan = make_plan(found.channels, looks, config.patch_voxels, config.spacing_mm or None, config.levels)
        write_text(plan_path, json.dumps(to_json(plan, found), indent=2) + "\n")
    with showing("preparing") as progress:
        dataset = prepare(found, groups, plan, prepared, files, progress)
    return Ready(
        dataset, plan, found, _short(digest, json.dumps(sorted((case.id, groups[case.subject]) for case in found.cases)))
    )


def _short(digest, more: str) -> str:
    whole = digest.copy()
    whole.update(more.encode())
    return whole.hexdigest()[:16]


def _read_plan(path: Path) -> Plan | None:
    """A plan that was made before; anything else makes it be made anew."""
    try:
        stored = json.loads(path.read_text())
        values = {field.name: stored[field.name] for field in dataclasses.fields(Plan)}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    scaling = tuple(Scaling(**channel) for channel in values.pop("scaling"))
    return Plan(scaling=scaling, **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _check_participants(path: Path, folder: Path, found: Found, groups: dict[str, str]) -> None:
    subjects = {case.subject for case in found.cases}
    for case in found.cases:
        if case.subject not in groups:
            raise UserError(f"{path}: does not list the case {case.subject!r}, so it has no group.")
    for id_ in sorted(groups.keys() - subjects):
        raise UserError(f"{path}: lists the case {id_!r}, but {folder} holds no such case.")
    if len({groups[subject] for subject in subjects}) < 2:
        raise UserError(
            f"{path}: all {len(subjects)} cases are in the group {groups[min(subjects)]!r}. Fairness compares groups: name a --group-column "
            "with at least two."
        )
