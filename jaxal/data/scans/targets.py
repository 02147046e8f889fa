"""Scans with numbers: a table names each case's image files and its value of each target, such as a clinical score.

A table (`.tsv` or `.csv`) has a line for each case and the columns

    case, participant_id    the case and whose scan it is; one of the two names both
    image                   a file for each channel, relative to the table's folder; several channels have a column each
    ADAS13, MMSE, …         the targets that the user names
    anything else           such as a column of groups

`participants.tsv` as `data.simulated.atrophy` writes it is such a table.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.data.cases import Dataset
from jaxal.data.groups import MISSING, columns_named, make_groups, read_rows
from jaxal.data.prepared import padded_example, read_kept
from jaxal.data.scans.folder import FolderConfig, ListedFolder, Ready, Showing, groups_of, make_listed_ready, silently
from jaxal.data.scans.listing import Files, ScanListing
from jaxal.errors import UserError
from jaxal.files import path_within, why_no_file
from jaxal.types import Case, Example, Label

IDS = ("case", "participant_id")
FINITE = float(np.finfo(np.float32).max)  # networks learn numbers in single precision
_LEAVE_OUT = "Fill it in, or leave the case out by removing its line."


class TargetTable(NamedTuple):
    """What a table of targets says.

    Attributes:
      path: of the table.
      listing: its cases, sorted by id, none of which has a label map; there are no classes.
      targets: names.
      values: `[cases, targets]`, float64, in the order of the listing's cases.
      columns: names of all columns.
      rows: what the table says of each case, by id: its line and the text in each column.
    """

    path: Path
    listing: ScanListing
    targets: tuple[str, ...]
    values: np.ndarray
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[int, Mapping[str, str]]]


def read_targets(table: Path, targets: Sequence[str], channels: Sequence[str] = (), need_values: bool = True) -> TargetTable:
    """Reads a table of targets; no image is read.

    Args:
      table: with columns separated by commas in a `.csv`, else by tabs.
      targets: names of the columns of numbers that are to be predicted.
      channels: names of the columns of image files; `image` when left out.
      need_values: whether every case must have its numbers; else a column may be missing or empty, and a number that is unknown is NaN.

    Raises:
      UserError: a column or a file is missing, a value is no finite number, a target has one value in all cases, or a case is there twice; the
        message names table, line and column.
    """
    if not targets:
        raise UserError(f"{table}: nothing says what is to be predicted; name columns of numbers in --targets.")
    channels = tuple(channels) or ("image",)
    if not table.is_file():
        raise UserError(f"{table}: {why_no_file(table)}. It lists a case a line: {', '.join([IDS[1], *channels, *targets])}.")
    names, lines = read_rows(table, "," if table.suffix == ".csv" else "\t")
    _check_columns(table, names, tuple(targets) if need_values else tuple(name for name in targets if name in names), channels)
    cases: dict[str, Files] = {}
    rows: dict[str, tuple[int, Mapping[str, str]]] = {}
    values: dict[str, list[float]] = {}
    for line, row in lines:
        case = _files(table, line, row, channels)
        if case.id in cases:
            raise UserError(
                f"{table}, line {line}: the case {case.id!r} is listed twice, first in line {rows[case.id][0]}. Ids must differ."
            )
        cases[case.id], rows[case.id] = case, (line, row)
        values[case.id] = [
            _value(table, rows[case.id], target) if need_values or _is_known(row, target) else np.nan for target in targets
        ]
    if not cases:
        raise UserError(f"{table}: lists no case.")
    _check_files(table, list(cases.values()), rows)
    listing = ScanListing("table", channels, (), None, tuple(sorted(cases.values())))
    in_order = np.array([values[case.id] for case in listing.cases])
    for target, column in zip(targets, in_order.T, strict=True):
        if need_values and (column == column[0]).all():
            raise UserError(
                f"{table}: the column {target!r} is {column[0]:g} in all {len(column)} cases, so there is nothing to learn. Leave it out of --targets."
            )
    return TargetTable(table, listing, tuple(targets), in_order, tuple(names), rows)


def _check_columns(table: Path, names: Sequence[str], targets: Sequence[str], channels: Sequence[str]) -> None:
    columns = f"its columns are {', '.join(map(repr, names)) or 'none'}"
    if not set(IDS) & set(names):
        raise UserError(f"{table}: has no column 'participant_id' and none 'case', so cases have no names; {columns}.")
    for option, wanted in (("--channels", channels), ("--targets", targets)):
        if twice := [name for name in wanted if wanted.count(name) > 1]:
            raise UserError(f"{option} names {twice[0]!r} twice.")
        if lacking := [name for name in wanted if name not in names]:
            raise UserError(f"{table}: has no column {lacking[0]!r}, which {option} names; {columns}.")
    if both := [name for name in targets if name in (*channels, *IDS)]:
        raise UserError(
            f"{table}: --targets names {both[0]!r}, a column that tells cases or files apart. Name columns of numbers."
        )


def _files(table: Path, line: int, row: Mapping[str, str], channels: Sequence[str]) -> Files:
    """The files of a line. `case` names the case and `participant_id` whose scan it is; one of them alone is both."""
    named = {column: (row[column] or "").strip() for column in IDS if column in row}
    for column, id_ in named.items():
        if not id_ or "/" in id_ or id_.startswith("."):
            what = f"holds {id_!r}, a name that no file can have" if id_ else "is empty"
            raise UserError(f"{table}, line {line}: the column {column!r} {what}. Give the case another name.")
    images = []
    for channel in channels:
        place, given = f"{table}, line {line}, column {channel!r}", (row[channel] or "").strip()
        if given in MISSING:
            raise UserError(f"{place}: is empty, but every case needs every channel. {_LEAVE_OUT}")
        path = path_within(table.parent, given, place)
        if not path.is_file():
            raise UserError(f"{place}: {path}: {why_no_file(path)}. Paths are relative to the table's folder.")
        images.append(path)
    id_, subject = next(iter(named.values())), next(reversed(named.values()))
    return Files(id_, subject, tuple(images), None)


def _check_files(table: Path, cases: Sequence[Files], rows: Mapping[str, tuple[int, Mapping[str, str]]]) -> None:
    """Makes sure that no file is two cases': they could be in two splits."""
    seen: dict[Path, str] = {}
    for case in cases:
        for path in case.images:
            if path in seen:
                raise UserError(
                    f"{table}, line {rows[case.id][0]}: {path} is a file of the case {seen[path]!r}, too. Each file must be of one case and channel."
                )
            seen[path] = case.id


def _is_known(row: Mapping[str, str], target: str) -> bool:
    return (row.get(target) or "").strip() not in MISSING


def _value(table: Path, row: tuple[int, Mapping[str, str]], target: str) -> float:
    line, columns = row
    text, place = (columns[target] or "").strip(), f"{table}, line {line}, column {target!r}"
    if text in MISSING:
        raise UserError(f"{place}: is {repr(text) if text else 'empty'}. {_LEAVE_OUT}")
    try:
        value = float(text) if "_" not in text else None
    except ValueError:
        value = None
    if value is None:
        comma = " with a point, not a comma" if "," in text else ""
        raise UserError(f"{place}: {text!r} is no number. Write one{comma}, or leave the case out by removing its line.")
    if not abs(value) < FINITE:
        raise UserError(f"{place}: {text!r} is not finite. {_LEAVE_OUT}")
    return value


def make_targets_ready(
    table: Path,
    targets: Sequence[str],
    prepared: Path,
    config: FolderConfig,
    showing: Showing = silently,
    holding: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
) -> Ready:
    """Reads a table of targets, checks and prepares its images; `folder.make_ready` for scans with numbers.

    Every case is seen whole, and every image is normalised by its own intensities, since no label map says which matter. The data set's
    classes are the names of the targets.

    Args:
      table: see `read_targets`; the groups are a column of it, unless `config.participants` names another table.
      targets: columns that are to be predicted.
      prepared: where prepared cases are kept.
      config: how to read it; `channels` are columns of image files. Levels and patches decide nothing.
      showing, holding: see `folder.make_ready`.

    Raises:
      UserError: anything that would fail or mislead later; the message names file, line and column.
    """
    read = read_targets(table, targets, config.channels)
    groups = groups_of(table.parent, config, read.listing) if config.participants else _groups(read, config)
    whole = dataclasses.replace(config, patch_voxels=None, levels=1)
    try:
        ready = make_listed_ready(ListedFolder(table.parent, read.listing, *groups), prepared, whole, showing, holding)
    except UserError as error:
        raise UserError(_placed(str(error), read)) from error
    return _with_values(ready, read)


def _groups(read: TargetTable, config: FolderConfig) -> tuple[str | None, dict[str, str]]:
    """The column of the groups, and each subject's; as `folder.groups_of`, but of the table of targets."""
    if config.group_column == "":
        raise UserError("--group-column is empty; it takes the name of a column. Leave it out for the column 'group'.")
    if not (config.group_column or config.bins) and "group" not in read.columns:
        return None, {}
    column = config.group_column or "group"
    columns = columns_named(column, read.columns)
    if lacking := [name for name in columns if name not in read.columns]:
        raise UserError(
            f"{read.path}: has no column {lacking[0]!r}; its columns are {', '.join(map(repr, read.columns))}. See --group-column."
        )
    texts = {id_: {name: (row[name] or "").strip() for name in columns} for id_, (_, row) in read.rows.items()}
    for id_, of_case in texts.items():
        if empty := [name for name, text in of_case.items() if text in MISSING]:
            raise UserError(f"{read.path}, line {read.rows[id_][0]}, column {empty[0]!r}: is empty. {_LEAVE_OUT}")
    groups: dict[str, str] = {}
    by_case = make_groups(read.path, texts, columns, config.bins, config.quantiles)
    for case in read.listing.cases:
        group = by_case[case.id]
        if groups.setdefault(case.subject, group) != group:
            raise UserError(
                f"{read.path}, line {read.rows[case.id][0]}, column {column!r}: {case.subject!r} is in the group {group!r} here and in "
                f"{groups[case.subject]!r} elsewhere. Scans of one subject must be of one group."
            )
    return column, groups


def _placed(message: str, read: TargetTable) -> str:
    """A message of a bad image file, and the place of the table that names the file."""
    for case in read.listing.cases:
        for path, channel in zip(case.images, read.listing.channels, strict=True):
            if message.startswith((f"{path}:", f"{path} ")):
                return f"{message} ({read.path}, line {read.rows[case.id][0]}, column {channel!r} names it.)"
    return message


def _with_values(ready: Ready, read: TargetTable) -> Ready:
    """The data set with its labels, whose fingerprint tells the values, too."""
    labels = {case.id: label_of(values) for case, values in zip(read.listing.cases, read.values.tolist(), strict=True)}
    cases = tuple(case._replace(label=labels[case.id]) for case in ready.dataset.cases)
    told = {id_: list(label.values) for id_, label in labels.items()}
    digest = hashlib.sha256(json.dumps([ready.fingerprint, read.targets, sorted(told.items())]).encode())
    by_case = {id_: {**about, "values": told[id_]} for id_, about in ready.contents["cases"].items()}
    return ready._replace(
        dataset=ready.dataset._replace(cases=cases, classes=read.targets),
        fingerprint=digest.hexdigest()[:16],
        contents={**ready.contents, "targets": list(read.targets), "cases": by_case},
    )


def label_of(values: Sequence[float]) -> Label:
    """The label of a case with these numbers, as the table has them; its version changes when one of them does."""
    numbers = tuple(float(value) for value in values)
    return Label(hashlib.sha256(json.dumps(numbers).encode()).hexdigest()[:16], values=numbers)


def load_targets(case: Case, dataset: Dataset) -> Example:
    """A prepared case, padded at the far ends to the data set's common shape, and its numbers.

    Returns:
      An example whose label is `[targets]`, float32, zero where nobody knows it; `inside` is true everywhere, because each target of each case
      is scored, and `labelled` where the label is known.
    """
    image = padded_example(read_kept(case.image, f"{case.id}-{case.version}.image"), None, dataset.shape).image
    values = case.label.values if case.label else ()
    number = np.array(values or np.zeros(len(dataset.classes)), np.float32)
    return Example(image, number, np.ones(len(number), bool), np.full(len(number), bool(values)))
