"""A user's folder made ready for training: its cases are found, checked, planned for and prepared."""

import contextlib
import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from jaxal.data.cases import Dataset, Fingerprint, fingerprint_of
from jaxal.data.groups import Quantiles, columns_of, read_groups
from jaxal.data.scans.layouts import find_cases, ids_by_name
from jaxal.data.scans.listing import ScanListing
from jaxal.data.scans.plan import Look, Plan, check_looks, look_at, make_plan
from jaxal.data.scans.prepare import prepare
from jaxal.data.scans.volumes import PREFIX, class_asked, groups_by_volume
from jaxal.errors import UserError
from jaxal.files import write_whole

SPACINGS_APART, SPACING_AT_MOST = 50.0, 100.0  # times the median; millimetres
Showing = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]  # from what is done to who is told how far it is


def silently(what: str) -> AbstractContextManager[Callable[[int, int], None]]:
    """Shows nothing."""
    return contextlib.nullcontext(lambda done, total: None)


@dataclasses.dataclass(frozen=True)
class FolderConfig:
    """How a folder is to be read.

    Attributes:
      group_column: column of the table of participants that names each case's group; `group`, if there is one, when left out. `volume:CLASS`
        takes the volume of a class in mm³ for a number of each case.
      participants: that table; `participants.tsv` in the folder when left out.
      bins: edges that cut a column of numbers into groups.
      quantiles: groups of equal size for a column of many numbers, where no edges are given.
      channels: in BIDS, the suffixes to take; all when empty.
      spacing_mm: voxel size along each axis instead of one derived from the data.
      patch_voxels: of a patch, at most; cases that are larger are trained on in patches and scored in windows. None where cases must be seen
        whole, however large.
      levels: of the network; derived from the data when left out.
      need_labels: whether a case without a label map is a mistake.
      plan: made before, and kept whatever labels have come since.
    """

    group_column: str | None = None
    participants: Path | None = None
    bins: tuple[float, ...] = ()
    quantiles: Quantiles = None
    channels: tuple[str, ...] = ()
    spacing_mm: tuple[float, ...] = ()
    patch_voxels: int | None = 2**17
    levels: int | None = None
    need_labels: bool = True
    plan: Plan | None = None


class ListedFolder(NamedTuple):
    """Cases that were found and are to be made ready.

    Attributes:
      folder: that their files lie in.
      listing: of them.
      group_column: that the groups were taken from; None where there are no groups.
      groups: of each subject.
      measured: class by whose volume cases are grouped instead; None where they are not.
    """

    folder: Path
    listing: ScanListing
    group_column: str | None
    groups: Mapping[str, str]
    measured: int | None = None


class Ready(NamedTuple):
    """A data set that can be trained on.

    Attributes:
      dataset: its prepared cases.
      plan: how they were prepared, and why so.
      listing: of the folder that they came from.
      fingerprint: sixteen hexadecimal digits that change when a case, its group or a file's content does, wherever the folder lies.
      group_column: that the groups were taken from; None where there are no groups.
      constant: images that have one value everywhere, as texts `case (channel)`.
      contents: what the fingerprint is of, ready for JSON: names of channels and classes, and each case's group, files (bytes by name), and
        digests of image and label.
    """

    dataset: Dataset
    plan: Plan
    listing: ScanListing
    fingerprint: str
    group_column: str | None
    constant: tuple[str, ...] = ()
    contents: Mapping[str, Any] = MappingProxyType({})


def make_ready(
    folder: Path,
    prepared: Path,
    config: FolderConfig,
    showing: Showing = silently,
    holding: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Ready:
    """Finds, checks, plans and prepares; what was done before for the same files and configuration is not done again.

    Args:
      folder: in one of the layouts (`layouts.py`); nothing is written to it.
      prepared: where prepared cases and plans are kept.
      config: how to read it.
      showing: tells how far the work is, such as `report.terminal.Display.progress`.
      holding: holds `prepared` while it is written to, so that of several processes one does it.

    Raises:
      UserError: anything that would fail or mislead later; the message names the file, what it holds and what to do.
    """
    listing = find_cases(folder, config.channels or None, config.need_labels)
    measured = class_asked(config.group_column, config.participants, listing)
    column, groups = (config.group_column, {}) if measured is not None else groups_of(folder, config, listing)
    return make_listed_ready(ListedFolder(folder, listing, column, groups, measured), prepared, config, showing, holding)


def make_listed_ready(
    listed: ListedFolder,
    prepared: Path,
    config: FolderConfig,
    showing: Showing = silently,
    holding: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Ready:
    """Checks, plans and prepares cases that were found before; arguments and errors are those of `make_ready`."""
    folder, listing, column, of_subjects, measured = listed
    files = {case.id: fingerprint_of(case.images, case.label) for case in listing.cases}
    plan = config.plan
    with holding():
        with showing("checking files") as progress:  # also of a plan made before
            looks = look_at_all(listing, files, prepared / "looks", progress)
        check_looks(looks, listing)
        check_spacings(looks, listing)
        groups = {case.id: of_subjects.get(case.subject, "") for case in listing.cases}
        if measured is not None:
            groups = groups_by_volume(looks, listing, measured, config.bins, config.quantiles)
        if plan is None:
            plan = make_plan(listing.channels, looks, config.patch_voxels, config.spacing_mm or None, config.levels)
        with showing("preparing") as progress:
            dataset = prepare(listing, groups, plan, prepared, files, progress)
    whole = [*listing.meaning, sorted((id_, content.whole) for id_, content in files.items())]
    digest = hashlib.sha256(json.dumps(whole).encode())
    digest.update(json.dumps(sorted(groups.items())).encode())
    constant = [
        f"{case.id} ({channel})"
        for case, look in zip(listing.cases, looks, strict=True)
        for channel, same in zip(listing.channels, look.constant, strict=True)
        if same
    ]
    contents = _contents(folder, listing, groups, files)
    return Ready(dataset, plan, listing, digest.hexdigest()[:16], column, tuple(constant), contents)


def _contents(folder: Path, listing: ScanListing, groups: Mapping[str, str], files: Mapping[str, Fingerprint]) -> dict[str, Any]:
    cases = {
        case.id: {
            "group": groups[case.id],
            "image": files[case.id].image,
            "label": files[case.id].label,
            "files": {
                path.relative_to(folder).as_posix(): path.stat().st_size
                for path in (*case.images, case.label)
                if path is not None
            },
        }
        for case in listing.cases
    }
    about = {"channels": list(listing.channels), "classes": list(listing.classes), "ignore": listing.ignore}
    return {**about, **({"values": list(listing.values)} if listing.values else {}), "cases": cases}


def groups_of(folder: Path, config: FolderConfig, listing: ScanListing) -> tuple[str | None, dict[str, str]]:
    """The column that names the groups, and each subject's; without a table or a column `group`, nobody has one.

    Raises:
      UserError: the table does not name the groups, or they are asked for by volume, which is known from label maps alone.
    """
    table, column = config.participants or folder / "participants.tsv", config.group_column
    if column == "":
        raise UserError("--group-column is empty; it takes the name of a column. Leave it out for the column 'group'.")
    if column and column.startswith(PREFIX):
        raise UserError(
            f"--group-column {column}: groups by volume are for studies; a project's label maps come later. Name a column of a table."
        )
    if not (column or config.participants or config.bins) and "group" not in columns_of(table):
        return None, {}
    # In BIDS subjects without a label map are usual; elsewhere one is a mistake, which is told below.
    only = {case.subject for case in listing.cases} if listing.layout == "BIDS" else None
    groups = read_groups(table, column or "group", config.bins, config.quantiles, only)
    subjects = {case.subject for case in listing.cases}
    for case in listing.cases:
        if case.subject not in groups:
            listed = f"; it lists {', '.join(map(repr, sorted(groups)[:3]))} …" if groups else ""
            raise UserError(f"{table}: does not list the case {case.subject!r}, so it has no group{listed}. Add a line for it.")
    untouched = ids_by_name(folder / "imagesTs")  # a table may list the scans of the test set, too
    for id_ in sorted(groups.keys() - subjects - untouched):
        raise UserError(f"{table}: lists the case {id_!r}, but {folder} holds no such case.")
    return column or "group", groups


def look_at_all(
    listing: ScanListing, files: Mapping[str, Fingerprint], kept: Path, progress: Callable[[int, int], None]
) -> list[Look]:
    """Reads and checks every case whose files were not looked at before, one at a time.

    Raises:
      UserError: a file is bad.
    """
    looks: list[Look] = []
    meaning = hashlib.sha256(json.dumps(listing.meaning).encode()).hexdigest()[:8]
    for case in listing.cases:
        path = kept / f"{case.id}-{files[case.id].whole}-{meaning}.npz"
        look = _stored_look(path)
        if look is None:
            look = look_at(case, listing)
            _store_look(path, look)
        looks.append(look)
        progress(len(looks), len(listing.cases))
    return looks


def check_spacings(looks: Sequence[Look], listing: ScanListing) -> None:
    """Makes sure that voxel sizes are millimetres, as far as one can tell: tools write metres and micrometres, too.

    Raises:
      UserError: the voxels of a case are fifty times as large or as small as the median case's, or all are larger than 10 cm.
    """
    sizes = np.array([np.exp(np.mean(np.log(look.spacing_mm))) for look in looks])
    median = float(np.median(sizes))
    for case, look, size in zip(listing.cases, looks, sizes, strict=True):
        voxels = " x ".join(f"{length:g}" for length in look.spacing_mm)
        if not 1 / SPACINGS_APART < size / median < SPACINGS_APART:
            raise UserError(
                f"{case.images[0]}: its voxels are {voxels} mm, those of the median case about {median:.3g} mm. Is its affine in another unit? "
                "Write it in millimetres, or leave the case out."
            )
        if median > SPACING_AT_MOST:
            raise UserError(
                f"{case.images[0]}: its voxels are {voxels} mm. Is its affine in another unit? Write it in millimetres."
            )


def _stored_look(path: Path) -> Look | None:
    """A look at a case that was kept; anything else makes it be looked at anew."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            shape, spacing = stored["shape"].tolist(), stored["spacing_mm"].tolist()
            found = (
                stored[name] for name in ("intensities", "classes", "constant", "volumes_mm3")
            )  # versions before kept no volumes
            return Look(tuple(shape), tuple(spacing), *found)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _store_look(path: Path, look: Look) -> None:
    write_whole(path, lambda file: np.savez(file, **look._asdict()))
