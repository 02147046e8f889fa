"""Measures that all kinds of tasks have, and how numbers are shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxal.task_kind import Assessment, Measure

# What the mean curve over seeds comes to, for any kind of task.
LABELS = {
    "labels": Measure("labels to 95 %", "labelled cases at which the mean curve reaches 95 % of training on everything", True, 1),
    "share": Measure("% of pool to 95 %", "the same as a share of all cases that could be labelled, in percent", True, 1),
}


def measure_of(assessment: Assessment, name: str) -> Measure:
    """A column of the tables by its name."""
    of_group = Measure(name.replace(f"{assessment.key}_", f"{assessment.title} "), "over the group's test cases")
    return {**assessment.measures, **LABELS}.get(name, of_group)


def pool_of(rounds: Sequence[Mapping[str, Any]]) -> int | None:
    """Cases that could be labelled in all, by a run's ledger; older ones do not say."""
    return rounds[0]["labelled"] + rounds[0]["pool"] if "pool" in rounds[0] else None


def number(value: float | None) -> str:
    """Three digits, or a dash for what is not known."""
    return "–" if value is None or np.isnan(value) else f"{value:.3f}"
