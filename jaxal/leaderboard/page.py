"""The leaderboard as one HTML page and as Markdown: what was found first, then a table for each task."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.assessment.intervals import Estimate
from jaxal.assessment.ranks import not_told_apart
from jaxal.files import write_text
from jaxal.leaderboard.board import BASELINE, Ranks, Row, ranks_of, read_runs, rows_of
from jaxal.leaderboard.tasks import CHEAP, TASKS
from jaxal.report.advice import FILE, Evidence, Found, Measured, write_evidence
from jaxal.report.charts import GREY, chart
from jaxal.report.looks import document

Board = Mapping[str, Mapping[str, Row]]
HEAD = ("strategy", "area", "over random", "ms a query", "failures")
_GLANCE = "Area under the learning curve less random sampling's, on each task; bold where the interval of 95 % leaves zero out."
_LOOKS = {1: ' class="better"', -1: ' class="worse"', 0: ""}
_BAR = 0.22  # inches of a strategy in the diagram


def write(folder: Path) -> tuple[str, list[Path]]:
    """Writes leaderboard.html, leaderboard.md and leaderboard.json of a folder of runs; returns what was found, in a sentence or two, and where they lie."""
    board = {task: rows_of(runs) for task, runs in read_runs(folder).items()}
    board = {task: board[task] for task in [*TASKS, *board] if task in board}  # in the order of the tasks
    rankings, found = _rankings(board), _found(board)
    page, text = folder / "leaderboard.html", folder / "leaderboard.md"
    write_text(page, document("Leaderboard", _html(board, rankings, found)))
    write_text(text, _markdown(board, rankings, found))
    write_evidence(folder / FILE, _evidence(board))
    return found, [page, text, folder / FILE]


def _rankings(board: Board) -> dict[str, Ranks]:
    """By title: over the tasks on which all strategies are tried, and over all, which but a few have been through."""
    cheap = [task for task in board if task in CHEAP]
    found = {"Over the cheap tasks": ranks_of(board, cheap)} if 1 < len(cheap) < len(board) else {}
    found["Over all tasks"] = ranks_of(board, list(board))
    return {title: ranks for title, ranks in found.items() if ranks}


def _evidence(board: Board) -> Evidence:
    """What is known of the library's own tasks, for those who ask what to use."""
    known = {task: rows for task, rows in board.items() if task in TASKS}
    return {
        task: Measured(
            TASKS[task].about,
            TASKS[task].measure,
            TASKS[task].setting,
            {name: Found(row.over_random, row.milliseconds, row.failures) for name, row in rows.items() if not row.is_refused},
        )
        for task, rows in known.items()
    }


def _found(board: Board) -> str:
    """What a busy reader is told first."""
    verdicts = {name: [rows[name].verdict for rows in board.values() if name in rows] for rows in board.values() for name in rows}
    verdicts.pop(BASELINE, None)
    tried = {
        name: signs
        for name, signs in verdicts.items()
        if any(name in rows and not rows[name].is_refused for rows in board.values())
    }
    if not tried:
        return "Nothing but random sampling has been tried so far."
    worse = sorted(name for name, signs in tried.items() if -1 in signs)
    names = f": {', '.join(worse)}" if len(worse) <= 12 else ""
    told = f"{len(worse)} are worse than random on at least one{names}." if worse else "None is surely worse than random on any."
    surest = max((sum(signs), -signs.count(-1)) for signs in tried.values())
    leaders = sorted(name for name, signs in tried.items() if (sum(signs), -signs.count(-1)) == surest)
    among = f"Of {len(tried)} on {'one task' if len(board) == 1 else f'{len(board)} tasks'}"
    if surest[0] <= 0:
        return f"{among}, no strategy is surely better than random sampling more often than worse. {told}"
    shown = ", ".join(leaders[:8]) + (f" and {len(leaders) - 8} more" if len(leaders) > 8 else "")
    return f"{among}, these strategies beat random sampling most surely: {shown} (better on {surest[0] - surest[1]}, worse on {-surest[1]}). {told}"


def _by_chance(board: Board) -> str:
    """How many verdicts would be there if no strategy did anything."""
    tried = [
        row for rows in board.values() for name, row in rows.items() if name != BASELINE and not np.isnan(row.over_random.low)
    ]
    better, worse = (sum(row.verdict == sign for row in tried) for sign in (1, -1))
    of_each = len(tried) * 0.025
    return (
        f"{len(tried)} differences from random sampling were measured, {better} of them surely above zero and {worse} surely below. "
        f"By chance alone {of_each:.1f} of either would be, since each interval is one of 95 %."
    )


def _told(estimate: Estimate, sign: str = "") -> str:
    if np.isnan(estimate.value):
        return "–"
    interval = "" if np.isnan(estimate.low) else f" [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"
    return f"{estimate.value:{sign}.3f}{interval}"


def _cells(name: str, row: Row) -> list[str]:
    milliseconds = "–" if np.isnan(row.milliseconds) else f"{row.milliseconds:.0f}"
    return [name, _told(row.area), _told(row.over_random, "+"), milliseconds, str(row.failures)]


def _refused(rows: Mapping[str, Row]) -> dict[str, str]:
    """What does not fit, with the reason."""
    return {name: row.trouble.removeprefix(f"{name}: ") for name, row in rows.items() if row.is_refused}


def _glance(board: Board, rankings: Mapping[str, Ranks]) -> dict[str, list[Row | None]]:
    """Each strategy's rows on all tasks, None where it was not tried or does not fit; those of the first ranking first, in its order."""
    ranked = next(iter(rankings.values())).names if rankings else ()
    fits = sorted({name for rows in board.values() for name, row in rows.items() if not row.is_refused} - {BASELINE})
    order = [name for name in ranked if name != BASELINE] + [name for name in fits if name not in ranked]
    rows = {name: [of_task.get(name) for of_task in board.values()] for name in order}
    return {name: [None if row is None or row.is_refused else row for row in found] for name, found in rows.items()}


def _briefly(row: Row | None) -> str:
    return "–" if row is None or np.isnan(row.over_random.value) else f"{row.over_random.value:+.3f}"


def _seeds(rows: Mapping[str, Row]) -> str:
    seeds = max(row.area.cases for row in rows.values())
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def _about(task: str, rows: Mapping[str, Row]) -> str:
    about = f"{TASKS[task].about}. " if task in TASKS else ""
    measure = TASKS[task].measure if task in TASKS else "measure"
    return (
        f"{about}Area: mean height of the curve of {measure} over the labels; over {_seeds(rows)}, with 95 % intervals of the mean "
        f"and of the paired difference from random."
    )


def _ranked(ranks: Ranks) -> str:
    told = f"Mean rank of {len(ranks.names)} strategies over {len(ranks.tasks)} tasks. Two differ if their ranks lie {ranks.difference:.1f} apart (Nemenyi's test, 5 %)"
    return f"{told}; that all are equal has a chance of {ranks.chance:.2g} (Friedman's test)."


def _markdown(board: Board, rankings: Mapping[str, Ranks], found: str) -> str:
    lines = [f"**{found}**", "", _by_chance(board)]
    if len(board) > 1:
        lines += ["", "## At a glance", "", _GLANCE, "", f"| strategy | {' | '.join(board)} |", "|---" * (1 + len(board)) + "|"]
        for name, found_on in _glance(board, rankings).items():
            cells = [f"**{_briefly(row)}**" if row and row.verdict else _briefly(row) for row in found_on]
            lines.append(f"| {' | '.join([f'`{name}`', *cells])} |")
    for title, ranks in rankings.items():
        lines += ["", f"## {title}", "", _ranked(ranks), "", "| strategy | mean rank |", "|---|---|"]
        lines += [f"| `{name}` | {rank:.1f} |" for name, rank in zip(ranks.names, ranks.ranks, strict=True)]
    for task, rows in board.items():
        lines += ["", f"## {task}", "", _about(task, rows), "", f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
        for name, row in rows.items():
            if not row.is_refused:
                first, *cells = _cells(name, row)
                lines.append(f"| {' | '.join([f'`{first}`', *cells])} |")
        if refused := _refused(rows):
            lines += ["", "Does not fit:", "", *(f"- `{name}`: {why}" for name, why in refused.items())]
    return "\n".join(lines) + "\n"


def _html(board: Board, rankings: Mapping[str, Ranks], found: str) -> str:
    parts = ["<h1>Leaderboard</h1>", f'<p class="lead">{html.escape(found)}</p>', f"<p>{html.escape(_by_chance(board))}</p>"]
    if len(board) > 1:
        parts += ["<h2>At a glance</h2>", f"<p>{_GLANCE}</p>", _glance_table(board, rankings)]
    for title, ranks in rankings.items():
        parts += [
            f"<h2>{html.escape(title)}</h2>",
            f"<p>{html.escape(_ranked(ranks))}</p>",
            '<div class="charts">',
            _diagram(ranks),
            "</div>",
        ]
    for task, rows in board.items():
        parts += [f"<h2>{html.escape(task)}</h2>", f"<p>{html.escape(_about(task, rows))}</p>", _table(rows)]
        if refused := _refused(rows):
            listed = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(why)}</dd>" for name, why in refused.items())
            parts.append(f"<details><summary>{len(refused)} that do not fit, and why</summary><dl>{listed}</dl></details>")
    return "\n".join(parts)


def _glance_table(board: Board, rankings: Mapping[str, Ranks]) -> str:
    lines = []
    for name, found_on in _glance(board, rankings).items():
        cells = "".join(f"<td{_LOOKS[row.verdict] if row else ''}>{_briefly(row)}</td>" for row in found_on)
        lines.append(f'<tr><th scope="row">{html.escape(name)}</th>{cells}</tr>')
    return _scrolled(["strategy", *board], lines)


def _table(rows: Mapping[str, Row]) -> str:
    lines = []
    for name, row in rows.items():
        if row.is_refused:
            continue
        first, area, over, *rest = map(html.escape, _cells(name, row))
        others = "".join(f"<td>{cell}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{first}</th><td>{area}</td><td{_LOOKS[row.verdict]}>{over}</td>{others}</tr>')
    return _scrolled(HEAD, lines)


def _scrolled(titles: Sequence[str], lines: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in titles)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _diagram(ranks: Ranks) -> str:
    """Demšar's diagram, upright: a line for each strategy, and bars along those that are not told apart."""
    names: Sequence[str] = ranks.names

    def draw(axis) -> None:
        places = range(len(names))
        axis.plot(ranks.ranks, places, "o", ms=4)
        for number, (first, last) in enumerate(not_told_apart(ranks.ranks, ranks.difference)):
            beside = ranks.ranks[-1] + 0.6 + 0.4 * number
            axis.plot([beside, beside], [first - 0.25, last + 0.25], color=GREY, lw=2.5, solid_capstyle="butt")
        axis.set_yticks(places, names, fontsize=7.5)
        axis.set_ylim(len(names) - 0.4, -0.6)  # the best above

    title = "Mean ranks; bars join what is not told apart"
    return chart(draw, title, "mean rank, 1 is best", 0.9 + _BAR * len(names))
