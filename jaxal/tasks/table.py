"""The kinds of tasks that there are, by the name that ledgers give them."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxal.errors import UserError
from jaxal.task_kind import TaskKind
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.image_segmentation import IMAGE_SEGMENTATION
from jaxal.tasks.regression import REGRESSION
from jaxal.tasks.segmentation import SEGMENTATION

KINDS: Mapping[str, TaskKind] = {kind.name: kind for kind in (SEGMENTATION, IMAGE_SEGMENTATION, CLASSIFICATION, REGRESSION)}


def kind_of(rounds: Sequence[Mapping[str, Any]]) -> TaskKind:
    """The kind of task of a run, by its ledger.

    Raises:
      UserError: this version has no such kind.
    """
    name = rounds[0]["task"]
    if name not in KINDS:
        raise UserError(f"The ledger is of a task of {name!r}; this version of jaxal knows {', '.join(KINDS)}. Update jaxal.")
    return KINDS[name]
