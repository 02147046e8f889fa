"""Whom a strategy overlooks, and why: whose cases its scores put first, whether those fare worst, and whether the network is sure where it is wrong."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment.intervals import FEWEST, Estimate, student_mean
from jaxal.report.charts import GREY, chart
from jaxal.report.results import FEW_GROUPS, strategy_head
from jaxal.report.tables import Cell, Head, meanings, number, table
from jaxal.rounds.ledger import FULL, RunOnDisk
from jaxal.task_kind import Assessment

KNOWN = ("test", "evaluation")  # parts of the data whose truth is known, the one to be preferred first
FAR_OFF = 0.1  # from the true size, beyond which a size is called wrong
SMALL = 0.01  # gap between groups below which nobody is served badly
Line = Mapping[str, Any]


class Standing(NamedTuple):
    """How one strategy treats the group that fares worst; over seeds, each the mean of its rounds.

    Attributes:
      strategy: its name.
      ahead: chance that a case of the group scores above one of another group.
      asked: share of the group among all that was asked for.
      correlation: rank correlation of the scores with how well cases fare; -1 is best.
      sizes: by group, what is predicted of the structures over what is there.
      weight, error: of the group over the mean of the others: the strategy's weight, and what it lacks of a perfect result. Unknown without weights.
    """

    strategy: str
    ahead: Estimate
    asked: float
    correlation: Estimate
    sizes: Mapping[str, Estimate]
    weight: Estimate
    error: Estimate

    @property
    def verdict(self) -> str:
        """Whether the chance can be told from a half."""
        if np.isnan(self.ahead.low) or self.ahead.low <= 0.5 <= self.ahead.high:
            return ""
        return "finds" if self.ahead.low > 0.5 else "overlooks"


class Overlooked(NamedTuple):
    """What there is to tell of one setting.

    Attributes:
      group: that fares worst after the first training.
      gap: by how much it fares worse than the best, mean over runs.
      part: of the data that this is known of.
      share: of the group among that part's cases.
      standings: of the strategies.
      seeds: how many there are.
    """

    group: str
    gap: float
    part: str
    share: float
    standings: tuple[Standing, ...]
    seeds: int


def overlooked(runs: Sequence[RunOnDisk], assessment: Assessment) -> Overlooked | None:
    """What the ledgers of one setting tell; None where they tell nothing of rankings."""
    part = next((name for name in KNOWN if any(_ranking(line, name) for run in runs for line in run.rounds)), None)
    told = [run for run in runs if run.strategy != FULL and part and any(_ranking(line, part) for line in run.rounds)]
    if part is None or not told:
        return None
    first = [run.rounds[0][assessment.key]["by_group"] for run in told]
    levels = {name: float(np.mean([by_group[name] for by_group in first])) for name in set.intersection(*map(set, first))}
    if len(levels) < 2:
        return None
    group = min(sorted(levels), key=lambda name: levels[name])
    counts = next(ranking["cases"] for run in told for line in run.rounds if (ranking := _ranking(line, part)))
    names = sorted({run.strategy for run in told})
    standings = tuple(_standing(name, [run for run in told if run.strategy == name], group, part, assessment) for name in names)
    gap = max(levels.values()) - levels[group]
    return Overlooked(group, gap, part, counts.get(group, 0) / sum(counts.values()), standings, len({run.seed for run in told}))


def _ranking(line: Line, part: str) -> Mapping[str, Any]:
    return line.get("ranking", {}).get(part, {})


def _standing(name: str, runs: Sequence[RunOnDisk], group: str, part: str, assessment: Assessment) -> Standing:
    def over(value: Callable[[Line], float | None]) -> Estimate:
        return student_mean(np.array([_mean(value(line) for line in run.rounds) for run in runs]))

    def size_of(of: str) -> Callable[[Line], float | None]:
        return lambda line: _ranking(line, part).get("volume_ratio", {}).get(of)

    def error(line: Line) -> float | None:
        return _over_others({of: 1.0 - value for of, value in line[assessment.key]["by_group"].items()}, group)

    asked = [line.get("queried_by_group", {}) for run in runs for line in run.rounds]
    total = sum(sum(counts.values()) for counts in asked)
    groups = sorted({of for run in runs for line in run.rounds for of in _ranking(line, part).get("volume_ratio", {})})
    weights = over(lambda line: _over_others(line.get("group_weights", {}), group))
    return Standing(
        name,
        over(lambda line: _ranking(line, part).get("outranks", {}).get(group)),
        sum(counts.get(group, 0) for counts in asked) / total if total else np.nan,
        over(lambda line: _ranking(line, part).get("correlation")),
        {of: over(size_of(of)) for of in groups},
        weights,
        over(error) if weights.cases else weights,
    )


def _over_others(values: Mapping[str, float], group: str) -> float | None:
    """A group's value over the mean of the others'; None where that is not known."""
    others = [value for name, value in values.items() if name != group]
    return values[group] / float(np.mean(others)) if group in values and others and np.mean(others) > 0 else None


def _mean(values: Iterable[float | None]) -> float:
    """Over what is known; NaN where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else np.nan


# In words


def sentence(found: Overlooked) -> str:
    """Whom which strategies overlook, why, and what to do, as plain text."""
    group = f"group {found.group}"
    if found.gap < SMALL:
        return (
            f"All groups fare alike ({found.gap:.3f} apart after the first training), so there is none that could be overlooked."
        )
    missed, finders = ([one for one in found.standings if one.verdict == kind] for kind in ("overlooks", "finds"))
    told = []
    if missed:
        told.append(
            f"{_names(missed)} overlook{'s' if len(missed) == 1 else ''} {group}, which fares worst: a case of it comes before one of another group with a "
            f"chance of {_chances(missed)}, where a half would be even-handed.{_why(found, missed)}"
        )
    if finders:
        whom = "it" if missed else f"{group}, which fares worst,"
        told.append(f"{_names(finders)} put{'s' if len(finders) == 1 else ''} {whom} first ({_chances(finders)}).")
    if not told:
        why = "three seeds or more are needed to tell" if found.seeds < FEWEST else "no chance can be told from a half"
        told.append(f"Group {found.group} fares worst. Whether a strategy overlooks it is not known: {why}.")
    return " ".join(told)


def _why(found: Overlooked, missed: Sequence[Standing]) -> str:
    """Why cases of the group score low, where their structures are drawn in the wrong size."""
    sizes = [one.sizes[found.group].value for one in missed if found.group in one.sizes]
    if not sizes or not abs(np.mean(sizes) - 1) >= FAR_OFF:
        return ""
    return f" The networks draw its structures {np.mean(sizes):.2f} times as large as they are, and the scores do not show it."


def _names(standings: Sequence[Standing]) -> str:
    names = [one.strategy for one in standings]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _chances(standings: Sequence[Standing]) -> str:
    chances = [one.ahead.value for one in standings]
    low, high = f"{min(chances):.2f}", f"{max(chances):.2f}"
    return low if low == high else f"{low} to {high}"


# In a table and a picture


def section(runs: Sequence[RunOnDisk], assessment: Assessment) -> str:
    """The table and the picture of one setting; nothing where the ledgers tell nothing of rankings."""
    found = overlooked(runs, assessment)
    if found is None:
        return ""
    known = "test cases" if found.part == "test" else "evaluation cases"
    about = (
        f"Scores of {known}, as though they could be asked for; means over seeds of the mean over rounds, below them 95 % intervals (Student's t). "
        f"Group {found.group} is {100 * found.share:.0f} % of those cases."
    )
    pictures = [_picture_of_ranks(found), _picture_of_sizes(found)]
    return (
        f"<section><h3>Whom does a strategy overlook, and why?</h3><p>{html.escape(sentence(found))}</p><p>{html.escape(about)}</p>"
        f'{_table(found, assessment)}<div class="charts">{"".join(pictures)}</div>{_by_round(runs, found)}</section>'
    )


def _columns(found: Overlooked) -> tuple[list[str], bool]:
    """Groups whose sizes are shown, of many the one that fares worst, and whether any strategy weighs groups."""
    groups = sorted({group for one in found.standings for group in one.sizes})
    if len(groups) > FEW_GROUPS:  # which the table has room for
        groups = [found.group] if found.group in groups else []
    return groups, any(one.weight.cases for one in found.standings)


def _heads(found: Overlooked, assessment: Assessment) -> list[Head]:
    groups, weighed = _columns(found)
    heads = [
        Head("verdict", f"whether the chance that a case of group {found.group} comes first can be told from a half"),
        Head(
            f"{found.group} first",
            f"chance that a case of group {found.group} scores above one of another group; 0.5 is even-handed",
        ),
        Head(f"asked of {found.group}", f"share of group {found.group} among all cases that were asked for"),
        Head(
            "worst first",
            f"rank correlation of the score with a case's {assessment.each_title}: -1 where the worst comes first, above 0 the wrong way round",
        ),
    ]
    heads += [
        Head(f"size of {group}", f"what is predicted of the structures of group {group} over what is there; 1 is right")
        for group in groups
    ]
    if weighed:
        heads += [
            Head("weight", f"of group {found.group} over the mean of the others', in strategies that weigh groups"),
            Head(
                "error",
                f"1 - {assessment.title} of group {found.group} over the mean of the others', by the test cases: what the weight stands for",
            ),
        ]
    return heads


def _table(found: Overlooked, assessment: Assessment) -> str:
    heads, lines, (groups, weighed) = _heads(found, assessment), [], _columns(found)
    for one in found.standings:
        verdict = {"": "cannot be told", "finds": f"finds {found.group}", "overlooks": f"overlooks {found.group}"}[one.verdict]
        cells = [
            Cell(one.ahead.value, verdict, kind={"": "", "finds": "better", "overlooks": "worse"}[one.verdict]),
            _cell(one.ahead, 2),
            Cell(one.asked, "–" if np.isnan(one.asked) else f"{100 * one.asked:.0f} %"),
            _cell(one.correlation, 2, signed=True),
            *(_cell(one.sizes[group], 2) if group in one.sizes else Cell(np.nan, "–") for group in groups),
        ]
        if weighed:
            cells += [_cell(one.weight, 2), _cell(one.error, 2)]
        lines.append((strategy_head(one.strategy), cells))
    return table("Whom a strategy overlooks", "strategy", heads, lines) + meanings(heads)


def _cell(estimate: Estimate, digits: int, signed: bool = False) -> Cell:
    known = not np.isnan(estimate.low)
    small = (f"{number(estimate.low, digits, signed)}\u00a0to {number(estimate.high, digits, signed)}",) if known else ()
    return Cell(estimate.value, number(estimate.value, digits, signed), small)


def _by_round(runs: Sequence[RunOnDisk], found: Overlooked) -> str:
    """The chance and the correlation after every training, folded up."""
    lines, most = [], max(len(run.rounds) for run in runs)
    for one in found.standings:
        cells = []
        for place in range(most):
            rankings = [
                _ranking(run.rounds[place], found.part)
                for run in runs
                if run.strategy == one.strategy and place < len(run.rounds)
            ]
            ahead = _mean(ranking.get("outranks", {}).get(found.group) for ranking in rankings)
            right = _mean(ranking.get("correlation") for ranking in rankings)
            cells.append(Cell(ahead, number(ahead, 2), (number(right, 2, True),)))
        lines.append((strategy_head(one.strategy), cells))
    heads = [Head(f"round {place}") for place in range(most)]
    about = f"Chance that a case of group {found.group} comes first, below it the rank correlation of the score with how well a case fares; means over seeds."
    return f"<details><summary>The same after every round</summary><p>{html.escape(about)}</p>{table('By round', 'strategy', heads, lines)}</details>"


def _height(found: Overlooked) -> float:
    return max(2.0, 1.0 + 0.3 * len(found.standings))


def _picture_of_ranks(found: Overlooked) -> str:
    def draw(axis: Any) -> None:
        for place, one in enumerate(found.standings):
            colour = {"": GREY, "finds": "C0", "overlooks": "C1"}[one.verdict]
            if not np.isnan(one.ahead.low):
                axis.plot([one.ahead.low, one.ahead.high], [place, place], color=colour, lw=3, alpha=0.5, solid_capstyle="butt")
            axis.plot([one.ahead.value], [place], "o", color=colour, ms=7)
        axis.axvline(0.5, color=GREY, lw=1, ls="--")
        axis.set_xlim(-0.03, 1.03)  # so that a mark at an end is whole
        _finish(axis, found)

    title = f"Left of the line group {found.group} is overlooked, right of it found"
    return chart(draw, title, f"chance that a case of group {found.group} comes first", _height(found))


def _picture_of_sizes(found: Overlooked) -> str:
    groups, _ = _columns(found)
    if not groups:
        return ""

    def draw(axis: Any) -> None:
        for place, one in enumerate(found.standings):
            values = [one.sizes[group].value for group in groups if group in one.sizes]
            if values:
                axis.plot([min(values), max(values)], [place, place], color=GREY, lw=1, alpha=0.6)
        for number_, group in enumerate(groups):
            values = [one.sizes[group].value if group in one.sizes else np.nan for one in found.standings]
            axis.plot(values, range(len(values)), "os^Dv"[number_ % 5], color=f"C{number_ % 10}", ms=7, label=f"group {group}")
        axis.axvline(1.0, color=GREY, lw=1, ls="--")
        axis.figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=min(4, len(groups)))
        _finish(axis, found)

    return chart(draw, "Right of the line structures are drawn too large", "predicted over true size", _height(found) + 0.3)


def _finish(axis: Any, found: Overlooked) -> None:
    axis.set_yticks(range(len(found.standings)), [one.strategy.replace(",", ",\n") for one in found.standings])
    axis.tick_params(axis="y", labelsize=8)
    axis.set_ylim(-0.6, len(found.standings) - 0.4)
    axis.invert_yaxis()
