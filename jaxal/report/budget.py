"""How labels are counted in a folder: in cases, or where parts of cases are asked for as the share of all elements that is labelled."""

from collections.abc import Sequence

from jaxal.data.parts import part_of
from jaxal.rounds.ledger import RunOnDisk
from jaxal.rounds.protocol import asked_units
from jaxal.task_kind import Budget
from jaxal.tasks.measures import CASES, shares_of
from jaxal.tasks.table import kind_of

ENTRIES = ("labelled_elements", "pool_elements")  # of a ledger's line; older versions have none


def budget_of(runs: Sequence[RunOnDisk], folder: Sequence[RunOnDisk] = ()) -> Budget:
    """How the labels of one setting are counted.

    As soon as a run of the folder asks for parts, all settings whose ledgers know their elements are counted in them, so that whole cases and parts
    stand on one axis.

    Args:
      runs: of the setting.
      folder: all runs that are shown together with them.
    """
    lines = [entry for run in runs for entry in run.rounds]
    if any(map(asks_for_parts, (*runs, *folder))) and all(name in entry for entry in lines for name in ENTRIES):
        return shares_of(kind_of(runs[0].rounds).elements)
    return CASES


def asks_for_parts(run: RunOnDisk) -> bool:
    """Whether any of a run's queries holds a part of a case."""
    return any(part_of(name) for entry in run.rounds for name in asked_units(entry))
