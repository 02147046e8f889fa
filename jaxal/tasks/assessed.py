"""How networks are assessed, and what the pages and tables that show it must know: one `Assessment` for each kind of task.

The ledger, the comparison, the report and the terminal speak of a main measure and its parts; what that measure is, and how it is
computed again on resampled test cases, stands in `segmentation.py` (Dice) and `classification.py` (AUC) alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from jaxal.strategies.table import Seen

GOAL = 0.95  # of the main measure that training on everything reaches


class Curve(Protocol):
    """One run over its rounds, as the comparison sees it.

    Attributes:
      labelled: cases labelled in each round, `[rounds]`.
      pool: cases that could be labelled in all; None in ledgers that do not say.
      strata: of the test cases, `[cases]`: in a replicate as many are drawn of each.
    """

    labelled: np.ndarray
    pool: int | None
    strata: np.ndarray

    def levels(self, cases: np.ndarray | None) -> np.ndarray:
        """The main measure after each round, `[..., rounds]`.

        Args:
          cases: places of the test cases in each replicate, `[replicates, cases]`; without them the cases as they are.
        """
        ...

    def measures(self, levels: np.ndarray, cases: np.ndarray | None) -> dict[str, np.ndarray]:
        """What the run comes to, `[...]` each, given its levels on the same cases."""
        ...


class Measure(NamedTuple):
    """A column of the tables: its title, what it means, whether less of it is better, and how many digits are shown."""

    title: str
    meaning: str
    lower_is_better: bool = False
    digits: int = 3


# What the mean curve over seeds comes to, for any kind of task.
LABELS = {
    "labels": Measure("labels to 95 %", "labelled cases at which the mean curve reaches 95 % of training on everything", True, 1),
    "share": Measure("% of pool to 95 %", "the same as a share of all cases that could be labelled, in percent", True, 1),
}


class Column(NamedTuple):
    """A column of the table on the terminal: its title, and its cell in a ledger's line."""

    title: str
    cell: Callable[[Mapping[str, Any]], str]


class Assessment(NamedTuple):
    """How networks of one kind of task are assessed.

    Attributes:
      key: of the main measure in the ledger's lines, which hold it `overall`, `by_group` and `by_class`.
      title: of the main measure.
      labelled: statistics to collect over the labelled cases.
      test: statistics to collect over the test cases.
      success: of a training on its own labelled cases; None where it cannot be told.
      success_title: what that is.
      collapsed_below: success that tells a collapsed training.
      entries: `(labelled, test, classes) -> entries of the ledger`, ready for JSON.
      curve_of: a run's ledger as a curve.
      measures: columns of the tables, by the name that `Curve.measures` gives them, besides `LABELS`; names that are in neither are the
        main measure of a group.
      in_short: those of them that the terminal shows.
      columns: of the terminal's table of rounds, given the groups.
      queried: entry of the ledger that counts the queried cases by what matters: by group, or by class.
      pictures: what is to be seen on those of queried cases.
    """

    key: str
    title: str
    labelled: tuple[str, ...]
    test: tuple[str, ...]
    success: Callable[[Seen], float | None]
    success_title: str
    collapsed_below: float
    entries: Callable[[Seen, Seen, Sequence[str]], dict[str, Any]]
    curve_of: Callable[[Sequence[Mapping[str, Any]]], Curve]
    measures: Mapping[str, Measure]
    in_short: tuple[str, ...]
    columns: Callable[[Sequence[str]], list[Column]]
    queried: str
    pictures: str

    def measure(self, name: str) -> Measure:
        """A column by its name."""
        of_group = Measure(name.replace(f"{self.key}_", f"{self.title} "), "over the group's test cases")
        return {**self.measures, **LABELS}.get(name, of_group)


def pool_of(rounds: Sequence[Mapping[str, Any]]) -> int | None:
    """Cases that could be labelled in all, by a run's ledger; older ones do not say."""
    return rounds[0]["labelled"] + rounds[0]["pool"] if "pool" in rounds[0] else None


def area_under(labelled: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean height of a learning curve, `[..., rounds] -> [...]`: its area by trapezoids over the labels that it spans."""
    if len(labelled) == 1:
        return values[..., 0]
    return np.trapezoid(values, labelled, axis=-1) / (labelled[-1] - labelled[0])


def labels_needed(labelled: np.ndarray, values: np.ndarray, goal: float | np.ndarray) -> np.ndarray:
    """Labels at which a curve first reaches a goal, `[..., rounds]` and `[...]` to `[...]`; infinity where it does not."""
    reached = values >= np.asarray(goal)[..., None]
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(values, index[..., None], -1)[..., 0] for index in (first, before))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first == before, 0.0, (goal - low) / rise)
    needed = labelled[before] + share * (labelled[first] - labelled[before])
    return np.where(reached.any(-1), needed, np.inf)


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not known."""
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"
