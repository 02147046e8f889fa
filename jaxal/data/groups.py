"""Groups of patients from a column of `participants.tsv`: names as they stand, numbers in bins."""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.errors import UserError
from jaxal.files import why_no_file

GROUPS_AT_MOST = 12


_MARKS = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "spaces"}


def read_groups(
    path: Path, column: str, bins: Sequence[float] = (), quantiles: int | None = None, only: Collection[str] | None = None
) -> dict[str, str]:
    """The group of each participant.

    A column of names gives its names. A column of numbers with more than `GROUPS_AT_MOST` different ones, or with `bins`, is cut into
    bins: at the edges given, or else at quantiles of the participants.

    Args:
      path: of the table with a column `participant_id`; its columns are separated by tabs, in a `.csv` by commas.
      column: that names the groups.
      bins: edges between bins, rising; a value on an edge belongs to the upper one.
      quantiles: bins of equal numbers of participants, where no edges are given; at least two, and two when left out.
      only: participants that count; all when left out.

    Raises:
      UserError: the table is not there or not understood, or the column makes no groups.
    """
    return cut_into_groups(path, column, _column(path, column, only), bins, quantiles)


def cut_into_groups(
    path: Path, column: str, values: Mapping[str, str], bins: Sequence[float] = (), quantiles: int | None = None
) -> dict[str, str]:
    """The group of each participant from a column that has been read; see `read_groups`.

    Args:
      path: of the table, for messages.
      column: for messages.
      values: that the column holds, by participant.
      bins, quantiles: see `read_groups`.

    Raises:
      UserError: the column makes no groups.
    """
    if quantiles is not None and quantiles < 2:
        raise UserError(f"--quantiles is {quantiles}; it must be at least 2.")
    numbers = _numbers(values)
    cut = numbers is not None and (bool(bins) or len(set(values.values())) > GROUPS_AT_MOST)
    if quantiles is not None and (bins or not cut):
        why = (
            "--bins are given"
            if bins
            else f"the column {column!r} holds {'few different numbers' if numbers is not None else 'names'}"
        )
        raise UserError(f"--quantiles {quantiles} cuts a column of many different numbers, but {why}. Leave it out.")
    if bins and numbers is None:
        odd = next(value for value in values.values() if _number(value) is None)
        raise UserError(f"{path}: --bins cut numbers, but the column {column!r} holds {odd!r}.")
    different = set(values.values())
    if numbers is not None and cut:
        parts = quantiles or 2
        edges = tuple(bins) or tuple(np.quantile(numbers, np.arange(1, parts) / parts))
        if not bins and len(set(edges)) < len(edges):
            raise UserError(
                f"{path}: too many values of the column {column!r} are the same for --quantiles {parts}; give --bins."
            )
        if list(edges) != sorted(set(edges)):
            raise UserError(f"--bins are {' '.join(f'{edge:g}' for edge in edges)}; expected rising numbers.")
        groups = {id_: _bin(float(value), edges) for id_, value in values.items()}
    elif len(different) > GROUPS_AT_MOST:
        raise UserError(
            f"{path}: the column {column!r} holds {len(different)} different values, such as {sorted(different)[0]!r}. Groups are few "
            f"(at most {GROUPS_AT_MOST}): name another --group-column."
        )
    else:
        groups = dict(values)
    return groups


def columns_of(path: Path, mark: str = "\t") -> list[str]:
    """Names of a table's columns, separated by tabs or commas; none where there is no table.

    Raises:
      UserError: it is not a table.
    """
    return read_rows(path, mark)[0] if path.is_file() else []


def read_rows(path: Path, mark: str = "\t") -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The names of a table's columns, and its rows, each with the number of its line; empty lines are left out.

    Args:
      path: of the table.
      mark: that separates its columns, a tab or a comma.

    Raises:
      UserError: it is not a table, its columns are separated otherwise, or two have one name.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, delimiter=mark, restval="")
            rows = [(table.line_num, row) for row in table if any(str(value).strip() for value in row.values())]
            names = list(table.fieldnames or [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table in UTF-8 ({error}). Save it as tab-separated text in UTF-8.") from error
    others = {other: name for other, name in _MARKS.items() if other != mark}
    if len(names) == 1 and (separated := next((others[other] for other in others if other in names[0].strip()), None)):
        raise UserError(f"{path}: its columns are separated by {separated}; save it as text separated by {_MARKS[mark]}.")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{path}: has two columns {twice[0]!r}. Rename or remove one.")
    return names, rows


def _column(path: Path, column: str, only: Collection[str] | None) -> dict[str, str]:
    if not path.is_file():
        raise UserError(
            f"{path}: {why_no_file(path)}. It names each case's group: tab-separated, a column participant_id and a column {column!r}."
        )
    names, rows = read_rows(path, "," if path.suffix == ".csv" else "\t")
    for needed in ("participant_id", column):
        if needed not in names:
            raise UserError(
                f"{path}: has no column {needed!r}; its columns are {', '.join(map(repr, names)) or 'none'}. See --group-column."
            )
    groups: dict[str, str] = {}
    for line, row in rows:
        id_, group = row["participant_id"], (row[column] or "").strip()
        if only is not None and id_ not in only:
            continue
        if id_ in groups:
            raise UserError(f"{path}, line {line}: the case {id_!r} is listed twice.")
        if group in ("", "n/a"):
            raise UserError(
                f"{path}, line {line}: the case {id_!r} has no group in the column {column!r}. Fill it in or leave the case out."
            )
        groups[id_] = group
    return groups


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _numbers(values: Mapping[str, str]) -> list[float] | None:
    numbers = [_number(value) for value in values.values()]
    finite = [number for number in numbers if number is not None]
    return finite if len(finite) == len(numbers) else None


def _bin(value: float, edges: Sequence[float]) -> str:
    """A bin's name, such as `<60`, `60-75` and `>=75`."""
    place = int(np.searchsorted(edges, value, side="right"))
    if place == 0:
        return f"<{edges[0]:g}"
    if place == len(edges):
        return f">={edges[-1]:g}"
    return f"{edges[place - 1]:g}-{edges[place]:g}"
