"""The report's tables as HTML: they sort by a click, and the shorter side of a long table lies across, so that it fits the page."""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxal.report.comparison import FEWEST_SEEDS, Estimate

COLUMNS_AT_MOST = 10  # beyond them the shorter side of a table lies across
COLUMNS_ON_PAPER = 15  # beyond them the paper is turned


class Head(NamedTuple):
    """The head of a column or a line.

    Attributes:
      title, meaning: what a reader sees, and its explanation.
      key: by which lines are sorted; the title if left out.
    """

    title: str
    meaning: str = ""
    key: float | None = None


class Cell(NamedTuple):
    """A number in a table.

    Attributes:
      value: by which lines are sorted; NaN comes last.
      shown, small: text, and what stands below it in small print.
      kind: `better` or `worse` than what it is compared with, beyond doubt.
    """

    value: float
    shown: str
    small: tuple[str, ...] = ()
    kind: str = ""


Line = tuple[Head, Sequence[Cell]]


def table(name: str, corner: str, columns: Sequence[Head], lines: Sequence[Line], kind: str = "") -> str:
    """A table in a box of its own, which alone scrolls where the window is too narrow.

    Args:
      name: of the table, for those who cannot see it.
      corner: what the lines are.
      columns: their heads.
      lines: each with a cell a column.
      kind: a class for its looks.
    """
    heads = "".join(_column_head(head) for head in (Head(corner), *columns))
    body = "".join(f"<tr>{_line_head(head)}{''.join(map(_cell, cells))}</tr>" for head, cells in lines)
    wide = " wide" if len(columns) > COLUMNS_ON_PAPER else ""
    return (
        f'<div class="scroll{wide}" role="region" tabindex="0" aria-label="{html.escape(name)}"><table class="{f"sortable {kind}".strip()}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def fitted(name: str, corner: str, columns: Sequence[Head], lines: Sequence[Line], across: str) -> str:
    """A table that is turned where it has many columns and fewer lines; `across` is what the columns are."""
    if len(columns) <= max(COLUMNS_AT_MOST, len(lines)):
        return table(name, corner, columns, lines)
    turned = [(column, [cells[place] for _, cells in lines]) for place, column in enumerate(columns)]
    return table(name, across, [head for head, _ in lines], turned)


def meanings(columns: Sequence[Head]) -> str:
    """What the columns mean, folded up: a tooltip is out of reach on paper and on a phone."""
    listed = "".join(
        f"<dt>{html.escape(head.title)}</dt><dd>{html.escape(head.meaning)}</dd>" for head in columns if head.meaning
    )
    return f"<details><summary>What the columns mean</summary><dl>{listed}</dl></details>"


def _column_head(head: Head) -> str:
    tooltip = f' title="{html.escape(head.meaning)}"' if head.meaning else ""
    return f'<th scope="col"><button type="button"{tooltip}>{breakable(head.title)}</button></th>'


def _line_head(head: Head) -> str:
    tooltip = f' title="{html.escape(head.meaning)}"' if head.meaning else ""
    key = html.escape(head.title) if head.key is None else f"{head.key}"
    return f'<th scope="row" data-value="{key}"{tooltip}>{breakable(head.title)}</th>'


def _cell(cell: Cell) -> str:
    kind = f' class="{cell.kind}"' if cell.kind else ""
    small = "".join(f"<small>{html.escape(text)}</small>" for text in cell.small)
    return f'<td{kind} data-value="{_key(cell.value)}">{html.escape(cell.shown)}{small}</td>'


def _key(value: float) -> str:
    """What a column is sorted by; numbers that are not known come last."""
    return f"{value}" if np.isfinite(value) else "-Infinity" if value < 0 else "Infinity"


def breakable(name: str) -> str:
    """A strategy's name with its options, which may break behind a comma or an equals sign; escaped."""
    return html.escape(name).replace(",", ",<wbr>").replace("=", "=<wbr>").replace("_", "_<wbr>")


# Numbers


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number that a line never breaks within; a dash for what is not known."""
    return "–" if np.isnan(value) else f"{value:{'+' if signed else ''}.{digits}f}".replace("-", "−")


def has_interval(estimate: Estimate, seeds: int) -> bool:
    """Whether there is an interval to show: NaN stands for ends that are not known, and so do two infinite ones."""
    low, high = estimate.low, estimate.high
    return seeds >= FEWEST_SEEDS and low < high and bool(np.isfinite(low) or np.isfinite(high))


def interval(estimate: Estimate, digits: int, signed: bool = False) -> str:
    """In words where an end is infinite, as with goals that may lie beyond the last round."""
    if np.isinf(estimate.high):
        return f"at least {number(estimate.low, digits, signed)}"
    if np.isinf(estimate.low):
        return f"at most {number(estimate.high, digits, signed)}"
    return f"{number(estimate.low, digits, signed)}\u00a0to {number(estimate.high, digits, signed)}"
