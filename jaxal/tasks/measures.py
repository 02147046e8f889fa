"""Measures that all kinds of tasks have, and how numbers are shown."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxal.task_kind import Assessment, Budget, Measure

# What the mean curve over seeds comes to, for any kind of task.
LABELS = {
    "labels": Measure("labels to 95 %", "labelled cases at which the mean curve reaches 95 % of training on everything", True, 1),
    "share": Measure("% of pool to 95 %", "the same as a share of all cases that could be labelled, in percent", True, 1),
    "labelled_share": Measure(
        "% labelled to 95 %",
        "share of all pixels or voxels that is labelled where the mean curve reaches 95 % of training on everything",
        True,
        1,
    ),
}
# What networks of all kinds of tasks are told of their probabilities.
OF_PROBABILITIES = {
    "nll": Measure("NLL", "negative log-likelihood an element, in nats", True),
    "ece": Measure("ECE", "expected calibration error: how far confidence lies from accuracy", True),
    "ece_classwise": Measure("ECE by class", "the same of each class's own probability, mean over the classes", True),
    "brier": Measure("Brier", "mean squared distance between probabilities and truth, mean over the classes", True),
}


def pool_of(entry: Mapping[str, Any]) -> int | None:
    """Cases that could be labelled in all, by a ledger's line; older ones do not say."""
    return read_of(entry) + entry["pool"] if "pool" in entry else None


def read_of(entry: Mapping[str, Any]) -> int:
    """Cases that readers have looked at by a ledger's line: those that are labelled, and those that they refused, which cost as much."""
    labelled: int = entry["labelled"]
    return labelled + entry.get("refused_before", 0)


def share_of_elements(entry: Mapping[str, Any]) -> float:
    """Of all elements that could have a label those that have one, in percent, by a ledger's line that says it."""
    return 100.0 * entry["labelled_elements"] / entry["pool_elements"]


def _after_cases(low: float, high: float) -> str:
    return f"after {_range(f'{low:g}', f'{high:g}')} labelled case{'' if high == 1 else 's'}"


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


CASES = Budget(
    "labelled cases",
    read_of,
    pool_of,
    read_of,
    "labels",
    "{:g}".format,
    _after_cases,
)


def shares_of(elements: str) -> Budget:
    """The budget of runs that ask for parts of cases, of which numbers of cases say little.

    Initial sets of seeds differ in elements, so lines of one round are averaged, not those of one share.

    Args:
      elements: what people call them, as `TaskKind.elements`.
    """

    def after(low: float, high: float) -> str:
        return f"with {_range(f'{low:.1f}', f'{high:.1f}')}\u00a0% of all {elements} labelled"

    return Budget(
        title=f"labelled {elements}, % of all",
        spent=share_of_elements,
        pool=lambda entry: None,
        place=lambda entry: entry["round"],
        needed="labelled_share",
        shown="{:.1f}\u00a0%".format,
        after=after,
    )


def measure_of(assessment: Assessment, name: str) -> Measure:
    """A column of the tables by its name."""
    of_group = Measure(name.replace(f"{assessment.key}_", f"{assessment.title} "), "over the group's test cases")
    return {**assessment.measures, **LABELS}.get(name, of_group)


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not known."""
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"


def probabilities_of(entry: Mapping[str, Any]) -> dict[str, float]:
    """What a ledger's line says of the network's probabilities; those of older versions say less."""
    return {name: entry[name] for name in OF_PROBABILITIES if name in entry}
