"""Groups of patients from columns of a table: names as they stand, numbers in bins, several columns together."""

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxal.errors import UserError
from jaxal.files import why_no_file

GROUPS_AT_MOST = 12
MISSING = ("", "n/a", "na", "nan", "N/A", "NA", "NaN")  # as BIDS, spreadsheets and pandas write what nobody knows
Quantiles = int | Literal["edges only"] | None  # without a number, numbers are cut at given edges only, or at the median
EDGES_ONLY: Literal["edges only"] = "edges only"
WithoutGroup = Literal["refuse", "leave-out"]


_MARKS = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "spaces"}


class Grouping(NamedTuple):
    """Which column names the groups, and how numbers there are cut; see `make_groups`.

    Attributes:
      column: `group`, if there is one, when left out (of GlaS ` grade (GlaS)`); several are separated by commas, and each combination of their
        values is a group.
      bins, quantiles: edges, or the number of groups of equal size, or `EDGES_ONLY`.
      without: of images, whether those that have no value in the column are a mistake or are left out.
    """

    column: str | None = None
    bins: Sequence[float] = ()
    quantiles: Quantiles = None
    without: WithoutGroup = "refuse"


def read_groups(
    path: Path, column: str, bins: Sequence[float] = (), quantiles: Quantiles = None, only: Collection[str] | None = None
) -> dict[str, str]:
    """The group of each participant; see `make_groups`.

    Args:
      path: of the table with a column `participant_id`; its columns are separated by tabs, in a `.csv` by commas.
      column: that names the groups; several are separated by commas.
      bins, quantiles: see `make_groups`.
      only: participants that count; all when left out.

    Raises:
      UserError: the table is not there or not understood, a participant has no group, or the column makes no groups.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: {why_no_file(path)}. It names each case's group: tab-separated, a column participant_id and a column {column!r}."
        )
    names, rows = read_rows(path, "," if path.suffix == ".csv" else "\t")
    columns = columns_named(column, names)
    for needed in ("participant_id", *columns):
        if needed not in names:
            raise UserError(
                f"{path}: has no column {needed!r}; its columns are {', '.join(map(repr, names)) or 'none'}. See --group-column."
            )
    values: dict[str, dict[str, str]] = {}
    for line, row in rows:
        id_ = row["participant_id"]
        if only is not None and id_ not in only:
            continue
        if id_ in values:
            raise UserError(f"{path}, line {line}: the case {id_!r} is listed twice.")
        values[id_] = {name: (row[name] or "").strip() for name in columns}
        if empty := [name for name, value in values[id_].items() if value in MISSING]:
            raise UserError(
                f"{path}, line {line}: the case {id_!r} has no group in the column {empty[0]!r}. Fill it in or leave the case out."
            )
    return make_groups(path, values, columns, bins, quantiles)


def columns_named(column: str, names: Sequence[str]) -> tuple[str, ...]:
    """The columns that `--group-column` stands for: a table's column of that name, else all that it lists, separated by commas."""
    if column in names:
        return (column,)
    return tuple(dict.fromkeys(part.strip() for part in column.split(",") if part.strip())) or (column,)


def make_groups(
    source: object,
    values: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    bins: Sequence[float] = (),
    quantiles: Quantiles = None,
) -> dict[str, str]:
    """The group of each case, from rows of a table that were read.

    A column of names gives its names. A column of numbers with more than `GROUPS_AT_MOST` different ones, or with `bins`, is cut into
    bins: at the edges given, or else at quantiles of the cases. Of several columns each combination that occurs is a group, such as
    `female, >=60`; `bins` and `quantiles` are for the one that holds numbers.

    Args:
      source: the table, for messages.
      values: each case's value in each of the columns; none is missing.
      columns: that name the groups.
      bins: edges between bins, rising; a value on an edge belongs to the upper one.
      quantiles: bins of equal numbers of cases, where no edges are given; at least two, and two when left out. With `EDGES_ONLY` there are
        none, and numbers without edges are refused.

    Raises:
      UserError: the columns make no groups, or too many.
    """
    check_quantiles(quantiles, bins)
    by_column = {column: {id_: row[column] for id_, row in values.items()} for column in columns}
    asked = _column_to_cut(source, by_column) if bins or isinstance(quantiles, int) else None
    parts = [
        _groups_of(
            source,
            column,
            of,
            bins if column == asked else (),
            quantiles if column == asked or quantiles == EDGES_ONLY else None,
        )
        for column, of in by_column.items()
    ]
    groups = {id_: ", ".join(part[id_] for part in parts) for id_ in values}
    different = set(groups.values())
    if len(different) > GROUPS_AT_MOST:
        raise UserError(
            f"{source}: the columns {', '.join(map(repr, columns))} make {len(different)} groups, such as {min(different)!r}. Groups are few "
            f"(at most {GROUPS_AT_MOST}): name fewer columns as --group-column, or cut numbers into fewer bins (--bins)."
        )
    return groups


def check_several(groups: Collection[str], column: str) -> None:
    """Makes sure that there are groups to tell apart, for what compares or weighs them.

    Args:
      groups: of all cases.
      column: that they come from.

    Raises:
      UserError: all cases are in one group, or there are none.
    """
    different = set(groups)
    if len(different) > 1:
        return
    (name,) = different or {""}
    told = f"all {len(groups)} cases are of the group {name!r}" if name else "no case has a group"
    raise UserError(
        f"--group-column {column}: {told}, and at least two groups are needed. Name another column, or cut its numbers elsewhere (--bins)."
    )


def _column_to_cut(source: object, by_column: Mapping[str, Mapping[str, str]]) -> str:
    """The column that bins are for: the only one, else the only one of numbers, of many different ones if there are several."""
    if len(by_column) == 1:
        return next(iter(by_column))
    numeric = [column for column, values in by_column.items() if _numbers(values) is not None]
    many = [column for column in numeric if len(set(by_column[column].values())) > GROUPS_AT_MOST]
    candidates = many or numeric
    if len(candidates) != 1:
        told = (
            f"{' and '.join(map(repr, candidates))} hold them" if candidates else f"{', '.join(map(repr, by_column))} hold names"
        )
        raise UserError(f"{source}: --bins and --quantiles cut one column of numbers, but {told}. Name one column of numbers.")
    return candidates[0]


def _groups_of(
    source: object, column: str, values: Mapping[str, str], bins: Sequence[float], quantiles: Quantiles
) -> Mapping[str, str]:
    """The groups that one column makes; see `make_groups`."""
    numbers = _numbers(values)
    cut = numbers is not None and (bool(bins) or len(set(values.values())) > GROUPS_AT_MOST)
    if isinstance(quantiles, int) and not cut:
        what = "few different numbers" if numbers is not None else "names"
        raise UserError(
            f"--quantiles {quantiles} cuts a column of many different numbers, but the column {column!r} holds {what}. Leave it out."
        )
    if bins and numbers is None:
        odd = next(value for value in values.values() if _number(value) is None)
        raise UserError(f"{source}: --bins cut numbers, but the column {column!r} holds {odd!r}.")
    different = set(values.values())
    if numbers is not None and cut:
        return in_bins({id_: float(value) for id_, value in values.items()}, bins, quantiles, f"{source}: the column {column!r}")
    if len(different) > GROUPS_AT_MOST:
        raise UserError(
            f"{source}: the column {column!r} holds {len(different)} different values, such as {min(different)!r}. Groups are few "
            f"(at most {GROUPS_AT_MOST}): name another --group-column."
        )
    return values


def check_quantiles(quantiles: Quantiles, bins: Sequence[float]) -> None:
    """Makes sure that quantiles can be cut at.

    Raises:
      UserError: they are fewer than two, or there are edges, too.
    """
    if quantiles == EDGES_ONLY:
        return
    if quantiles is not None and quantiles < 2:
        raise UserError(f"--quantiles is {quantiles}; it must be at least 2.")
    if quantiles is not None and bins:
        raise UserError(f"--quantiles {quantiles} cuts a column of many different numbers, but --bins are given. Leave it out.")


def in_bins(numbers: Mapping[str, float], bins: Sequence[float], quantiles: Quantiles, named: str) -> dict[str, str]:
    """The bin of each number, such as `<60`, `60-75` and `>=75`.

    Args:
      numbers: by what they are of.
      bins: edges between bins, rising; a number on an edge belongs to the upper one.
      quantiles: bins of equal sizes, where no edges are given; two when left out, none with `EDGES_ONLY`.
      named: what the numbers are, for messages.

    Raises:
      UserError: the edges do not rise, too many numbers are the same, or nothing says where to cut.
    """
    if quantiles == EDGES_ONLY and not bins:
        middle = float(np.median(list(numbers.values())))
        raise UserError(
            f"{named} holds numbers, and nothing says where groups part. Give edges, such as --bins {middle:g}, which is the middle."
        )
    parts = quantiles if isinstance(quantiles, int) else 2
    edges = tuple(bins) or tuple(np.quantile(list(numbers.values()), np.arange(1, parts) / parts))
    if not bins and len(set(edges)) < len(edges):
        raise UserError(f"{named}: too many values are the same for --quantiles {parts}; give --bins.")
    if list(edges) != sorted(set(edges)):
        raise UserError(f"--bins are {' '.join(f'{edge:g}' for edge in edges)}; expected rising numbers.")
    return {id_: _bin(number, edges) for id_, number in numbers.items()}


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
