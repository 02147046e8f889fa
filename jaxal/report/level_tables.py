"""The report's tables of what it took to reach given levels, of calibration at equal levels, and of the foreground that was asked for."""

import html
from collections.abc import Sequence

import numpy as np

from jaxal.assessment.learning_curves import Reached, Spread
from jaxal.report.comparison import Comparison
from jaxal.report.levels import AT_GOAL, Level
from jaxal.report.results import strategy_head
from jaxal.report.tables import Cell, Head, Line, number, table
from jaxal.task_kind import Budget
from jaxal.tasks.measures import OF_PROBABILITIES, measure_of


def section(comparison: Comparison) -> str:
    """All three tables, as far as there is something to say."""
    return _needed(comparison) + _calibration(comparison) + _foreground(comparison)


def title_of(level: Level, main: str) -> str:
    """What a level is called."""
    return f"{main} {level.goal:.2f}" if level.share is None else f"{100 * level.share:.0f} % of everything"


def _needed(comparison: Comparison) -> str:
    if not comparison.levels:
        return ""
    budget, main = comparison.budget, comparison.assessment.title
    first = next(iter(comparison.levels.values()))
    heads = [Head(title_of(level, main), _meaning(level, main)) for level in first]
    lines: list[Line] = [
        (strategy_head(strategy), [_cell(level.found, budget) for level in levels])
        for strategy, levels in comparison.levels.items()
    ]
    name = f"{budget.title[0].upper()}{budget.title[1:]}, to reach given levels"
    about = (
        "Where each seed's curve first reaches the level, mean and standard deviation over seeds; between rounds curves are straight lines. Where some "
        "seeds do not get there in these rounds, that is said, and the number is of the others."
    )
    return f"<h3>{html.escape(name)}</h3><p>{about}</p>{table(name, 'strategy', heads, lines)}"


def _meaning(level: Level, main: str) -> str:
    return f"of training on everything; {main} {level.goal:.3f} in the mean" if level.share is not None else ""


def _cell(found: Reached, budget: Budget) -> Cell:
    """How much it took; where not all seeds got there, that comes first, and what it took the others below it."""
    mean, deviation = (
        "–" if np.isnan(value) else budget.shown(round(value, 1)) for value in (found.needed.mean, found.needed.deviation)
    )
    start = f"from the start in {found.from_start} of {found.of}" if found.from_start else ""
    if not found.reached:
        return Cell(np.inf, "not reached", (f"in none of {found.of}",) if found.of > 1 else ())
    if found.from_start == found.of:
        return Cell(found.needed.mean, f"at most {mean}", ("reached from the start",))
    told = f"{mean} ±\u00a0{deviation}" if found.reached > 1 else mean
    if found.reached < found.of:
        missed = found.of - found.reached
        return Cell(np.inf, f"not reached in {missed} of {found.of}", tuple(filter(None, (f"others {told}", start))))
    return Cell(found.needed.mean, told, (start,) if start else ())


def _calibration(comparison: Comparison) -> str:
    """Where strategies are equally good: at the highest level that most runs pass on their way."""
    place = _compared_level(list(comparison.levels.values()))
    if place is None or len(comparison.levels) < 2:
        return ""
    level = next(iter(comparison.levels.values()))[place]
    known = [name for name in AT_GOAL if all(name in levels[place].found.at_goal for levels in comparison.levels.values())]
    lines: list[Line] = []
    for strategy, levels in comparison.levels.items():
        at_goal = levels[place].found.at_goal
        lines.append((strategy_head(strategy), [_spread(at_goal[name], 4) for name in known]))
    heads = [Head(OF_PROBABILITIES[name].title, OF_PROBABILITIES[name].meaning) for name in known]
    name = f"Calibration at {title_of(level, comparison.assessment.title)}"
    about = (
        "A better network is often the better calibrated one. So these are of the moment at which each seed's curve crosses the same level; seeds that "
        "began above it or do not reach it are left out. levels.csv has the other levels."
    )
    return f"<h3>{html.escape(name)}</h3><p>{about}</p>{table(name, 'strategy', heads, lines)}"


def _compared_level(levels: Sequence[Sequence[Level]]) -> int | None:
    """The level at which the most strategies can be compared, the highest of equals; None where it is not two of them."""
    counts = [
        sum(any(not np.isnan(one.mean) for one in of_strategy[place].found.at_goal.values()) for of_strategy in levels)
        for place in range(min(map(len, levels), default=0))
    ]
    if max(counts, default=0) < 2:
        return None
    return max(range(len(counts)), key=lambda place: (counts[place], levels[0][place].goal))


def _foreground(comparison: Comparison) -> str:
    if not comparison.foreground:
        return ""
    lines: list[Line] = []
    for strategy, found in comparison.foreground.items():
        cells = [
            _spread(Spread(100 * found.asked.mean, 100 * found.asked.deviation), 1),
            Cell(100 * found.pool, number(100 * found.pool, 1)),
            Cell(found.efficiency, number(found.efficiency, 1)),
        ]
        lines.append((strategy_head(strategy), cells))
    main = measure_of(comparison.assessment, comparison.assessment.key).title
    heads = [
        Head("% foreground asked for", "share of foreground in what was asked for and is labelled now, in percent"),
        Head("% in the pool", "the same of everything that could be asked for"),
        Head(
            "foreground efficiency",
            f"how fast {main} rises with the share of the foreground that is labelled: the rate b of c - (c - y0) exp(-b (x - x0)), fitted to all "
            "seeds, with c that of training on everything (nnActive, arXiv 2511.19183). Negative where the curve falls",
        ),
    ]
    name = "Foreground asked for"
    about = (
        "Background is labelled at a glance and foreground is not, so a strategy that asks for much foreground costs more than its share of elements "
        "says; its efficiency is counted in foreground alone."
    )
    return f"<h3>{name}</h3><p>{about}</p>{table(name, 'strategy', heads, lines)}"


def _spread(of: Spread, digits: int) -> Cell:
    return Cell(
        of.mean, number(of.mean, digits), (f"±\u00a0{number(of.deviation, digits)}",) if not np.isnan(of.deviation) else ()
    )
