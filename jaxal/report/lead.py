"""The sentence that the report begins with: what was found, whether it can be told from zero, and what to label next.

It says only what the ledgers show. A difference counts as told from zero where the 95 % interval of the paired difference excludes zero; of
fewer than three seeds nothing is told, because their spread says too little of what other seeds would give.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from jaxal.data.parts import part_of
from jaxal.report.asked import Asked
from jaxal.report.comparison import FEWEST_SEEDS, Comparison, Estimate
from jaxal.report.tables import has_interval
from jaxal.rounds.ledger import FULL, RunOnDisk
from jaxal.task_kind import Budget

UNITS_AT_MOST = 5  # that the sentence names
LEVEL = "no strategy is ahead"
BASES = ("random", "entropy")  # the strategies whose differences from others are known, the plainer one first


def sentence(runs: Sequence[RunOnDisk], comparison: Comparison, queries: Sequence[Asked], unfinished: bool = False) -> str:
    """What one setting of a study comes to, as plain text.

    Args:
      runs: of the setting.
      comparison: of these runs.
      queries: what each run asks for next.
      unfinished: whether rounds are still to come.
    """
    curves = [run for run in runs if run.strategy != FULL]
    if not curves:
        reached = np.mean([run.rounds[-1][comparison.assessment.key]["overall"] for run in runs])
        return (
            f"No strategy has finished a round yet; training on everything reaches {comparison.assessment.title} {reached:.3f}."
        )
    strategies = list(comparison.table) or sorted({run.strategy for run in curves})
    if len(strategies) > 1 and not comparison.table:
        return f"{len(strategies)} strategies ran, but their ledgers hold no single test cases, so none can be called ahead."
    seeds = comparison.seeds if comparison.table else sorted({run.seed for run in curves})
    compared = [run for run in curves if run.strategy in strategies and run.seed in seeds]
    rounds = min(len(run.rounds) for run in compared)
    if len(strategies) > 1:
        best, result = _order(comparison, comparison.assessment.key)[0], _ahead(comparison, comparison.assessment.key, rounds)
    else:
        best, result = strategies[0], _reached(compared, rounds, comparison)
    budget = comparison.budget
    labelled = sorted({budget.spent(run.rounds[rounds - 1]) for run in compared})
    after = budget.after(labelled[0], labelled[-1])
    behind = any(len(run.rounds) < rounds for run in curves)
    begin = f"So far, {after}" if unfinished or behind else f"{after[0].upper()}{after[1:]}"
    asked = "what each asks for next is listed below"
    if not result.startswith(LEVEL):
        asked = _asked([query for query in queries if query.strategy == best and query.seed in seeds], labelled, budget)
    return f"{begin}, {result}; {asked}."


def groups_sentence(comparison: Comparison) -> str:
    """Which strategy is ahead for the worst-served group, as plain text; nothing where groups are not compared."""
    if len(comparison.table) < 2 or "worst_group" not in next(iter(comparison.table.values())):
        return ""
    return f"For the worst-served group, {_ahead(comparison, 'worst_group')}."


def _order(comparison: Comparison, measure: str) -> list[str]:
    """The strategies with the highest value first, those without a value last."""

    def place(name: str) -> tuple[bool, float]:
        value = comparison.table[name][measure].value
        return bool(np.isnan(value)), -value

    return sorted(comparison.table, key=place)


def _ahead(comparison: Comparison, measure: str, rounds: int = 0) -> str:
    """Which strategy is ahead in a measure, by how much, and whether that can be told from zero."""
    order, title = _order(comparison, measure), comparison.assessment.title
    value = {name: comparison.table[name][measure].value for name in order}
    best, second = order[:2]
    if value[best] == value[order[-1]]:
        why = ", since they share the first network" if rounds == 1 else ""
        return f"{LEVEL}: all {len(order)} have {title} {value[best]:.3f}{why}"
    base, change = _difference_of_best(comparison, measure, order)
    if value[best] == value[base]:
        return f"{best} and {base} are level at {title} {value[best]:.3f}"
    following = f"; next is {second} with {value[second]:.3f}" if second != base else ""
    amount = _short(value[best] - value[base])
    return (
        f"{best} is ahead of {base} by {amount} in {title} ({value[best]:.3f} against {value[base]:.3f}{following}), "
        f"{_verdict(change, len(comparison.seeds), len(order))}"
    )


def _difference_of_best(comparison: Comparison, measure: str, order: Sequence[str]) -> tuple[str, Estimate | None]:
    """What the best strategy is measured against, random if it can be, and its paired difference from that, where it is known."""
    best, second = order[:2]
    for base in BASES:
        if base == best:
            change = comparison.differences[best][second][measure]
            return second, Estimate(-change.value, -change.high, -change.low)
        if base in comparison.differences:
            return base, comparison.differences[base][best][measure]
    return second, None


def _verdict(change: Estimate | None, seeds: int, strategies: int) -> str:
    counted = f"{seeds} seed{'' if seeds == 1 else 's'}"
    if seeds < FEWEST_SEEDS:
        return f"a difference that cannot be told from zero, because {counted} {'is' if seeds == 1 else 'are'} too few"
    if change is None:
        return "of which no interval is known, because neither random nor entropy ran"
    if not has_interval(change, seeds):
        return "a difference that cannot be told from zero, because no interval of the difference is known"
    interval = f"95 % interval {_short(change.low)} to {_short(change.high)} over {counted}"
    if change.low <= 0 <= change.high:
        return f"a difference that cannot be told from zero ({interval})"
    chosen = f", not corrected for choosing the best of {strategies}" if strategies > 2 else ""
    return f"a difference that can be told from zero ({interval}{chosen})"


def _reached(runs: Sequence[RunOnDisk], rounds: int, comparison: Comparison) -> str:
    """How good the only strategy is, overall and for the group that it serves worst."""
    last, key = [run.rounds[rounds - 1] for run in runs], comparison.assessment.key
    mean = np.mean([line[key]["overall"] for line in last])
    counts = sorted({len(line["test"]) for line in last if "test" in line})
    on = f" on {counts[0]} test cases" if len(counts) == 1 else ""
    over = f" in the mean over {len(runs)} seeds" if len(runs) > 1 else ""
    groups = sorted(set.intersection(*(set(line[key]["by_group"]) for line in last)))
    worst = ""
    if len(groups) > 1:
        of_group = {group: np.mean([line[key]["by_group"][group] for line in last]) for group in groups}
        lowest = min(of_group, key=lambda group: of_group[group])
        worst = f", but {of_group[lowest]:.3f} for group {lowest}, which it serves worst"
    return f"{runs[0].strategy} reaches {comparison.assessment.title} {mean:.3f}{on}{over}{worst}"


def _asked(queries: Sequence[Asked], labelled: Sequence[float], budget: Budget) -> str:
    """What the first of one strategy's runs asks for; `labelled` is what the sentence has spoken of."""
    query = queries[0]
    strategy_named = f"{query.strategy}, seed {query.seed}," if len(queries) > 1 else query.strategy
    if not query.units:
        return f"the pool of {strategy_named.rstrip(',')} is exhausted, so there is nothing left to label"
    parts, units = _by_case(query.units)
    more = len(units) - UNITS_AT_MOST
    named = units[:UNITS_AT_MOST] + ([f"{more} more{parts and (' case' if more == 1 else ' cases')}"] if more > 0 else [])
    listed = parts + " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
    when = "" if labelled[0] <= query.labelled <= labelled[-1] else f" (chosen {budget.after(query.labelled, query.labelled)})"
    return f"{strategy_named} asks next for {listed}{when}"


def _by_case(units: Sequence[str]) -> tuple[str, list[str]]:
    """Of parts how many there are, and their cases with more than one of them: where parts lie would bury the sentence. Of cases their names."""
    parts = [found for found in map(part_of, units) if found]
    if len(parts) < len(units):
        return "", list(units)
    counts = Counter(case for case, _ in parts)
    named = [case if count == 1 else f"{case} ({count})" for case, count in counts.items()]
    return f"{len(parts)} part{'' if len(parts) == 1 else 's'} of ", named


def _short(value: float) -> str:
    """A difference with as many digits as tell it from zero, four at least."""
    digits = 4 if abs(value) >= 0.00005 or value == 0 else 1 - int(np.floor(np.log10(abs(value))))
    return f"{value:.{digits}f}".replace("-", "−")
