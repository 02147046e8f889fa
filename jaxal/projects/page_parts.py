"""The parts of a project's page that hold numbers."""

import html
from collections.abc import Sequence

import numpy as np

from jaxal.assessment.extrapolation import FEWEST_ROUNDS, Extrapolation
from jaxal.assessment.intervals import FEWEST, UNKNOWN, Estimate, bounded_mean
from jaxal.assessment.minutes import LONGEST
from jaxal.assessment.reader_error import ACCURACY
from jaxal.projects.curve_charts import Series, charts, in_numbers
from jaxal.projects.estimates import Estimates, Nodding, Point, VolumeBias
from jaxal.projects.past import Past
from jaxal.projects.status import Status
from jaxal.report.charts import FEW_CHARTS
from jaxal.report.tables import Cell, Head, number, table
from jaxal.worklists.page import duration

PLACES = (
    ("readers", "Readers"),
    ("cases", "Cases"),
    ("network", "How good the network is"),
    ("agreement", "How far readers agree"),
    ("effort", "Minutes"),
    ("ahead", "Whether to go on"),
    ("back", "What came back"),
)
OF_A_CLASS = "Of a class it is the share of its images that are recognised. "
BACK_AT_ONCE = 12  # lines of what came back, beyond which older ones are folded up
WENT = {
    "returned": "was returned to",
    "reopened": "is asked for again from",
    "released": "was taken from",
    "skipped": "was given back by",
}


def copied(command: str) -> str:
    """A command with a button that copies it."""
    return f'<div class="copy"><code>{html.escape(command)}</code><button type="button">Copy</button></div>'


def moment(time: str) -> str:
    """An instant as people read it."""
    return f'<time datetime="{html.escape(time)}">{html.escape(time[:16].replace("T", " "))} UTC</time>'


def by(version: str) -> str:
    """Which jaxal wrote a page, if that is known."""
    return f" by jaxal {html.escape(version)}" if version else ""


def _section(place: str, *parts: str) -> str:
    title = {"readers": "What next, and for whom"}.get(place, dict(PLACES)[place])
    return f'<section id="{place}"><h2>{title}</h2>\n' + "\n".join(part for part in parts if part) + "</section>"


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>" if text else ""


def _cell(estimate: Estimate, digits: int = 3, signed: bool = False, unit: str = "case") -> Cell:
    """An estimate, its interval, and of how many cases or parts of cases it is."""
    if np.isnan(estimate.value):
        return Cell(np.nan, "–")
    interval = (
        ("no interval",)
        if np.isnan(estimate.low)
        else (f"{number(estimate.low, digits, signed)}\u00a0to {number(estimate.high, digits, signed)}",)
    )
    cases = (_counted(estimate.cases, unit),) if estimate.cases else ()
    return Cell(estimate.value, number(estimate.value, digits, signed), (*interval, *cases))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# Readers


def readers(status: Status, estimates: Estimates) -> str:
    """What each reader has to do, has done and needs for it."""
    columns = [
        Head("to read", "cases that the reader has open"),
        Head("waiting", "files in the reader's inbox that nobody has taken in yet"),
        Head("taken", "labels of the reader that were accepted"),
        Head("minutes a case", "median of the readings whose minutes are known"),
        Head("unchanged", "labels that are the proposal, voxel for voxel, of those that began from one"),
    ]
    lines = []
    for reader in status.readers:
        back = (f"{reader.returned} came back",) if reader.returned else ()
        minutes = np.nan if reader.minutes is None else reader.minutes
        cells = [
            Cell(reader.open, str(reader.open), back),
            Cell(reader.waiting, str(reader.waiting)),
            Cell(reader.accepted, str(reader.accepted)),
            Cell(minutes, number(minutes, digits_of(minutes))),
            _unchanged(estimates.nodding[reader.name]),
        ]
        lines.append((Head(f"{reader.name}{'' if reader.present else ' (away)'}", "", None), cells))
    told = _section_of_nodding(estimates)
    return _section("readers", table("Readers", "reader", columns, lines), told)


def digits_of(minutes: float) -> int:
    """Digits that minutes are told with: classes are chosen within seconds."""
    return 1 if minutes >= 1 else 2


def _unchanged(nodding: Nodding) -> Cell:
    if not nodding.shown and not nodding.unchanged:
        return Cell(np.nan, "–")
    share = nodding.unchanged / nodding.shown if nodding.shown else np.nan
    return Cell(share, f"{nodding.unchanged} of {nodding.shown}", ("look at these",) if nodding.is_much else ())


def _section_of_nodding(estimates: Estimates) -> str:
    much = [name for name, nodding in estimates.nodding.items() if nodding.is_much]
    if not much:
        return ""
    who = ", ".join(map(html.escape, much))
    return (
        f'<p><span class="flag">{who}</span>: more than a third of the labels that began from a proposal are the proposal, voxel for voxel. '
        "It may have been right; or a reader who is shown a proposal stays close to it (anchoring). Look at a few of them before you go on.</p>"
    )


# The network


def network(status: Status, estimates: Estimates) -> str:
    """The honest curve: what each round's network was worth on cases that it had never seen."""
    points = [point for point in estimates.curve if point.honest is not None]
    if not points:
        waiting = sum(point.waiting for point in estimates.curve)
        why = (
            f"{_counted(waiting, 'label')} that would tell {'is' if waiting == 1 else 'are'} not there yet."
            if waiting
            else "No network has been trained yet."
        )
        return _section("network", _paragraph(f"Nothing is known yet. {why}"))
    groups = _groups(points)
    about = (
        f"{status.score.capitalize()} of each round's network by the readers' labels, on {status.unit}s that it was not trained on: what its round asked for, "
        f"and a random share of all the rest, weighted by how many there are of each. So it speaks for all {status.unit}s that had no label then. "
        f"{OF_A_CLASS if status.score == ACCURACY.name else ''}Lines are intervals; an empty point has none, because fewer than {FEWEST} {status.unit}s are known."
    )
    return _section(
        "network",
        _paragraph(about),
        _truth(status, estimates),
        *_charts(status, points, groups),
        _curve(status, estimates, groups),
    )


def _groups(points: Sequence[Point]) -> list[str]:
    groups = sorted({group for point in points if point.honest for group in point.honest.by_group})
    return groups if groups != [""] else []


def _truth(status: Status, estimates: Estimates) -> str:
    if estimates.truth is None:
        return ""
    return _paragraph(
        f"Readers err, too. If they and the network err independently of each other, the last network's {status.score} with the truth is about "
        f"{in_numbers(estimates.truth)}; what all readers do wrong alike nobody can see here."
    )


def _charts(status: Status, points: Sequence[Point], groups: Sequence[str]) -> list[str]:
    """Charts of all cases and of each class, and of each group, folded up where there are many."""
    known = [(point.trained_on, point.honest) for point in points if point.honest is not None]
    series = [Series("All classes", [(count, honest.over_all) for count, honest in known])]
    if len(status.classes) > 1:
        series += [
            Series(name, [(count, honest.by_class[place]) for count, honest in known])
            for place, name in enumerate(status.classes)
        ]
    of_groups = [
        Series(
            f"Group {group}" if group else "Without a group",
            [(count, honest.by_group.get(group, UNKNOWN)) for count, honest in known],
        )
        for group in groups
    ]
    drawn = charts([*series, *of_groups])
    folded = drawn[len(series) :] if len(groups) > FEW_CHARTS else []
    behind = "".join(folded)
    return [
        f'<div class="charts">{"".join(drawn[: len(drawn) - len(folded)])}</div>',
        f'<details><summary>{status.score.capitalize()} by group ({len(folded)} charts)</summary><div class="charts">{behind}</div></details>'
        if folded
        else "",
    ]


def _curve(status: Status, estimates: Estimates, groups: Sequence[str]) -> str:
    classes = status.classes if len(status.classes) > 1 else ()
    columns = [
        Head("labels", "that the network was trained on"),
        Head("all classes"),
        *(Head(name) for name in classes),
        *(Head(f"group {group}" if group else "without a group") for group in groups),
        Head("waiting", f"{status.unit}s whose labels are not there yet"),
    ]
    lines = []
    for point in reversed(estimates.curve):
        honest = point.honest
        values = [UNKNOWN] * (1 + len(classes) + len(groups))
        if honest is not None:
            of_classes = honest.by_class if classes else ()
            values = [honest.over_all, *of_classes, *(honest.by_group.get(group, UNKNOWN) for group in groups)]
        ends = Cell(point.trained_on, str(point.trained_on)), Cell(point.waiting, str(point.waiting))
        told = [_cell(value, unit=status.unit) for value in values]
        lines.append((Head(f"round {point.round}", "", point.round), [ends[0], *told, ends[1]]))
    return table("The honest curve", "network of", columns, lines)


# Readers among each other


def agreement(status: Status, past: Past, estimates: Estimates) -> str:
    """How far two readers of one case agree, and who draws more than others."""
    if not past.pairs:
        return _section("agreement", _paragraph("No case has been read by two readers yet."))
    chosen = status.score == ACCURACY.name
    columns = [Head("both chose it, of images of which one did" if chosen else "Dice between two readers")]
    lines = [(Head(name), [_cell(estimate)]) for name, estimate in zip(status.classes, estimates.agreement, strict=True)]
    disputed = sum(pair.disputed for pair in past.pairs)
    about = (
        f"Of {_counted(len(past.pairs), 'case')} that two readers read, neither of whom knew of the other; on {disputed} of them they "
        f"differed so much that somebody else was asked. Of fewer than {FEWEST} cases there is no interval."
    )
    return _section(
        "agreement",
        _paragraph(about),
        _same(past, estimates) if chosen else "",
        table("Agreement by class", "class", columns, lines),
        _biases("Who draws more than the other reader of a case", estimates.between),
        _biases("Who draws more than the proposal", estimates.from_proposal),
        ""
        if chosen
        else _paragraph(
            "Bland and Altman's bias: a reader whose interval excludes zero draws systematically more or less. Of twenty unbiased readers "
            "and classes one is called so by chance."
        ),
    )


def _same(past: Past, estimates: Estimates) -> str:
    """How often readers chose the same class, and kappa, which takes away what chance alone would do."""
    same = sum(len(set(pair.chosen)) == 1 for pair in past.pairs)
    share = bounded_mean(np.array([len(set(pair.chosen)) == 1 for pair in past.pairs], np.float64))
    kappa = f" Cohen's kappa is {in_numbers(estimates.kappa)}." if not np.isnan(estimates.kappa.value) else ""
    return _paragraph(f"They chose the same class for {same} of {len(past.pairs)} images, a share of {in_numbers(share)}.{kappa}")


def _biases(title: str, biases: Sequence[VolumeBias]) -> str:
    """Bland and Altman's bias; it is called systematic where the interval excludes zero."""
    if not biases:
        return ""
    columns = [
        Head("more, ml", "mean difference of volumes"),
        Head("more, %", "of the mean of both volumes"),
        Head("95 % of cases, %", "limits of agreement, if differences are normal"),
    ]
    lines = []
    for entry in biases:
        percent = entry.percent
        limits = (
            "–" if np.isnan(percent.lowest) else f"{number(percent.lowest, 0, True)}\u00a0to {number(percent.highest, 0, True)}"
        )
        cells = [_cell(entry.millilitres.bias, 2, True), _cell(percent.bias, 1, True), Cell(percent.lowest, limits)]
        if percent.systematic():
            cells[1] = cells[1]._replace(small=(*cells[1].small, "systematic"))
        lines.append((Head(f"{entry.reader}, {entry.of}"), cells))
    return f"<h3>{title}</h3>{table(title, 'reader, class', columns, lines)}"


# Minutes


def effort(status: Status, estimates: Estimates) -> str:
    """Minutes spent, and what the next query would take."""
    taken = sum(reader.accepted for reader in status.readers)
    spent = duration(estimates.spent) if estimates.spent else "No minutes"
    lines = [f"{spent} of reading are known, of {estimates.known} of {_counted(taken, 'label')}."]
    if estimates.typical.cases:
        lines.append(f"A reading takes {in_numbers(estimates.typical, digits_of(estimates.typical.value))} minutes (median).")
    if estimates.long:
        lines.append(
            f"{_counted(estimates.long, 'reading')} took more than {LONGEST / 60:.0f} hours from opening to handing in; probably a night lay "
            f"between, so {'it is' if estimates.long == 1 else 'they are'} left out here. With {'it' if estimates.long == 1 else 'them'} "
            f"the minutes come to {status.minutes:.0f}."
        )
    cost = estimates.cost
    if cost is None:
        lines.append("Nothing is left to ask for.")
    else:
        interval = "" if np.isnan(cost.minutes.low) else f" ({duration(cost.minutes.low)} to {duration(cost.minutes.high)})"
        guess = ", which is a guess as long as so few readings are known" if cost.is_guess else ""
        lines.append(
            f"The next query would ask for {_counted(cost.cases, status.unit)} in {_counted(cost.readings, 'reading')} "
            f"and take about {duration(cost.minutes.value)}{interval}{guess}."
        )
    return _section("effort", _listed(lines))


def _listed(lines: Sequence[str]) -> str:
    return f'<ul class="plain">{"".join(f"<li>{html.escape(line)}</li>" for line in lines)}</ul>'


# Whether to go on


def ahead(status: Status, estimates: Estimates) -> str:
    """What goals would still take, and what rules for stopping say."""
    left = len(status.cases) - status.counts.get("labelled", 0) - status.counts.get("excluded", 0)
    left = left if status.parts is None else status.parts.left
    told = [f"{goal.sentence}{_beyond(goal, left)}" for goal in estimates.goals] or [
        f"How many labels {'an' if status.score == ACCURACY.name else 'a'} {status.score} of 0.9, say, would still take cannot be told before {FEWEST_ROUNDS} rounds have an interval."
    ]
    rows = "".join(
        f'<tr><th scope="row">{html.escape(verdict.name)}</th><td><span class="verdict{" reached" if verdict.state == "reached" else ""}">'
        f"{html.escape(verdict.state)}</span></td><td>{html.escape(verdict.sentence)}</td></tr>"
        for verdict in estimates.verdicts
    )
    rules = (
        '<div class="scroll" role="region" tabindex="0" aria-label="Rules for stopping"><table class="told"><thead><tr><th scope="col">rule</th>'
        f'<th scope="col">verdict</th><th scope="col">why</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return _section(
        "ahead",
        _listed(told),
        "<h3>Rules for stopping</h3>",
        _paragraph("They are shown, and nothing acts upon them: you decide. " + (estimates.caution if estimates.caution else "")),
        rules,
    )


def _beyond(goal: Extrapolation, left: int) -> str:
    return f" That is more than the {left} that can still be had." if goal.more.low > left else ""


# What came back


def back(status: Status, past: Past) -> str:
    """What was returned, refused and left out, and why; the newest first."""
    rows = [
        (entry.time, entry.case, f"{WENT[entry.kind]} {entry.reader}", f"{entry.why}{f' ({entry.by})' if entry.by else ''}")
        for entry in past.back
    ]
    rows += [(time, case, f"was refused from {reader}", sentence) for time, reader, case, sentence in status.refused]
    rows.sort(key=lambda row: row[0], reverse=True)
    left_out = [("", case.id, "is left out", case.why) for case in status.cases if case.status == "excluded"]
    rows += left_out
    if not rows:
        return _section("back", _paragraph("Nothing was returned, refused or left out."))
    older = rows[BACK_AT_ONCE:]
    behind = f"<details><summary>{len(older)} more</summary>{_told(older)}</details>" if older else ""
    return _section("back", _told(rows[:BACK_AT_ONCE]), behind)


def _told(rows: Sequence[tuple[str, str, str, str]]) -> str:
    listed = "".join(
        f'<tr><th scope="row">{html.escape(case)}</th><td>{moment(time) if time else ""}</td><td>{html.escape(what)}</td><td>{html.escape(why)}</td></tr>'
        for time, case, what, why in rows
    )
    heads = "".join(f'<th scope="col">{title}</th>' for title in ("case", "when", "what", "why"))
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="What came back"><table class="told"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{listed}</tbody></table></div>"
    )
