"""Where every case stands: a map with a sign for each case, counts by group, and a table that can be searched without a server."""

import html
from collections import Counter
from collections.abc import Sequence

from jaxal.projects.status import STATUSES, CaseStatus, Status, parts_in_words
from jaxal.report.tables import Cell, Head, breakable, table

WORDS = {
    "labelled": "labelled",
    "asked": "asked for",
    "disputed": "disputed",
    "unlabelled": "not asked for yet",
    "excluded": "left out",
}
MOST_PRINTED = 150  # cases of which all are printed; of more, those of which there is nothing to tell are not
UNKNOWN_NUMBER, UNKNOWN_TEXT = "Infinity", "~"  # sort behind all that is known


def section(status: Status) -> str:
    """The section of the page; a project without groups has no word of them."""
    groups = sorted({case.group for case in status.cases})
    grouped = groups not in ([], [""])
    quiet = sum(case.status == "unlabelled" for case in status.cases) if len(status.cases) > MOST_PRINTED else 0
    parts = [
        '<section id="cases"><h2>Where every case stands</h2>',
        f"<p>{parts_in_words(status.parts)}</p>" if status.parts is not None else "",
        _keys(status),
        *(_map(group, [case for case in status.cases if case.group == group], grouped) for group in groups),
        _counts(status, groups) if grouped else "",
        _tools(groups if grouped else []),
        _table(status, grouped, quiet > 0),
        f'<p class="on-paper">{quiet} cases that are not asked for yet are not printed in the table.</p>' if quiet else "",
        "</section>",
    ]
    return "\n".join(part for part in parts if part)


def _keys(status: Status) -> str:
    """What the signs mean, with counts; a press shows these cases alone."""
    keys = "".join(
        f'<button type="button" aria-pressed="false" data-status="{name}"><i class="{name}"></i>{status.counts.get(name, 0)} {WORDS[name]}</button>'
        for name in STATUSES
        if status.counts.get(name, 0)
    )
    return f'<div class="signs" role="group" aria-label="Show cases that are">{keys}</div>'


def _map(group: str, cases: Sequence[CaseStatus], grouped: bool) -> str:
    counts = Counter(case.status for case in cases)
    told = ", ".join(f"{counts[name]} {WORDS[name]}" for name in STATUSES if counts[name])
    ordered = sorted(cases, key=lambda case: (STATUSES.index(case.status), case.id))
    signs = "".join(
        f'<i class="{case.status}" data-case="{html.escape(case.id)}" title="{html.escape(case.id)}: {WORDS[case.status]}"></i>'
        for case in ordered
    )
    name = html.escape(_named(group)) if grouped else ""
    title = f"<h3>{name}</h3>" if grouped else ""
    return f'{title}<div class="map" role="img" aria-label="{f"{name}: " if grouped else ""}{told}">{signs}</div>'


def _named(group: str) -> str:
    return f"Group {group}" if group else "Without a group"


def _counts(status: Status, groups: Sequence[str]) -> str:
    lines = []
    for group in groups:
        counts = Counter(case.status for case in status.cases if case.group == group)
        values = [*(counts[name] for name in STATUSES), counts.total()]
        lines.append((Head(group or "without a group"), [Cell(value, str(value)) for value in values]))
    return table("Cases by group", "group", [*(Head(WORDS[name]) for name in STATUSES), Head("all")], lines)


def _tools(groups: Sequence[str]) -> str:
    """A search that works on a page from disk; it is shown where scripts run."""
    options = "".join(f'<option value="{html.escape(group)}">{html.escape(_named(group))}</option>' for group in groups)
    choice = f'<label>Group <select id="of-group"><option value="*">all</option>{options}</select></label>' if groups else ""
    return (
        '<div class="tools" hidden><label>Search <input id="find" type="search" placeholder="case, reader, note …" autocomplete="off"></label>'
        f'{choice}<output id="shown" aria-live="polite"></output></div>'
    )


def _table(status: Status, grouped: bool, hide_quiet: bool) -> str:
    titles = [
        "case",
        *(["group"] if grouped else []),
        "stands",
        "round",
        "readers",
        "label",
        *(["labelled, %"] if status.parts is not None else []),
        "since",
        "minutes",
        "notes and reasons",
    ]
    heads = "".join(f'<th scope="col"><button type="button">{title}</button></th>' for title in titles)
    rows = "".join(_row(case, grouped, hide_quiet) for case in status.cases)
    return (
        '<div class="scroll tall" role="region" tabindex="0" aria-label="Cases"><table class="sortable every-case">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(case: CaseStatus, grouped: bool, hide_quiet: bool) -> str:
    remarks = "; ".join([*(note.replace("-", " ") for note in case.notes), *([case.why] if case.why else [])])
    cells = [
        *([_text(case.group)] if grouped else []),
        f'<td class="stands" data-value="{STATUSES.index(case.status)}"><i class="{case.status}"></i>{WORDS[case.status]}</td>',
        _number(case.round, 0),
        _text(", ".join(case.readers)),
        _text((case.label or "").replace("/", " + ")),
        *([] if case.share is None else [_number(100 * case.share, 1)]),
        _text((case.accepted or "")[:10]),
        _number(case.minutes, 1 if case.minutes is None or case.minutes >= 1 else 2),
        _text(remarks),
    ]
    quiet = ' class="quiet"' if hide_quiet and case.status == "unlabelled" else ""
    name = html.escape(case.id)
    return (
        f'<tr data-status="{case.status}" data-group="{html.escape(case.group)}"{quiet}>'
        f'<th scope="row" data-value="{name}">{breakable(case.id)}</th>{"".join(cells)}</tr>'
    )


def _text(text: str) -> str:
    return f'<td data-value="{html.escape(text) or UNKNOWN_TEXT}">{html.escape(text)}</td>'


def _number(value: float | None, digits: int) -> str:
    return f'<td data-value="{UNKNOWN_NUMBER if value is None else value}">{"" if value is None else f"{value:.{digits}f}"}</td>'
