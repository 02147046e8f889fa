"""The kinds of tasks that there are, by the name that ledgers give them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import TaskKind

KINDS: Mapping[str, TaskKind] = {kind.name: kind for kind in (SEGMENTATION, CLASSIFICATION)}


def kind_of(rounds: Sequence[Mapping[str, Any]]) -> TaskKind:
    """The kind of task of a run, by its ledger."""
    return KINDS[rounds[0]["task"]]
