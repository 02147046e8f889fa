"""The second half of a round: labels come in, and the ledger gets its line."""

from collections.abc import Mapping
from typing import Any

from jaxal import hosts
from jaxal.data.parts import read_unit
from jaxal.rounds.protocol import asked_units
from jaxal.rounds.setup import Run
from jaxal.rounds.state import State
from jaxal.scoring.journal import Journal
from jaxal.types import Label


def commit(run: Run, state: State, answers: Mapping[str, Label]) -> dict[str, Any]:
    """Takes labels in and ends the round.

    Args:
      run: whose.
      state: with a query that waits.
      answers: labels by the names of their units; a unit of the query without one goes back to the pool, one that was refused does not.

    Returns:
      The round's line, which is in the ledger now.

    Raises:
      ValueError: no query waits, or an answer was not asked for.
    """
    if state.pending is None:
        raise ValueError(f"{run.folder}: no query waits for answers.")
    record = dict(state.pending)
    asked = asked_units(record)
    if strange := sorted(answers.keys() - set(asked)):
        raise ValueError(f"{run.folder}: {strange[0]!r} was not asked for; the query is {', '.join(asked)}.")
    refused = {name: answers[name].refusal for name in asked if name in answers and answers[name].refusal}
    units = [read_unit(name, run.cases) for name in asked if name in answers and name not in refused]
    record |= run.task.kind.assessment.answered([unit.case._replace(label=answers[unit.id]) for unit in units if unit])
    record["label_versions"] = {unit: label.version for unit, label in answers.items()}
    if refused:
        record["refused"] = refused
    if unanswered := [unit for unit in asked if unit not in answers]:
        record["unanswered"] = unanswered
    if hosts.is_leader():
        run.labels.keep(answers)
        run.ledger.append(record)
        forget(run)
    return record


def forget(run: Run) -> None:
    """Removes what was kept for a kill, once the ledger has it."""
    run.pending.unlink(missing_ok=True)
    Journal(run.folder / "scores").clear()


def forget_leftovers(run: Run, state: State) -> None:
    """Removes what a kill just after the last round's line left behind; a query that waits, and a round under way, stay."""
    if state.pending is None and state.round >= run.config.rounds:
        forget(run)
