"""Where a run stands. It is read from what is on disk whenever it is needed, and kept nowhere else."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxal import hosts
from jaxal.arrays import key_of
from jaxal.errors import UserError
from jaxal.rounds.protocol import answered_units, asked_units
from jaxal.rounds.setup import Run
from jaxal.types import Array, Case, Unit


class State(NamedTuple):
    """What the next step needs.

    Attributes:
      done: the ledger's lines.
      labelled: cases that have labels.
      pool: units that may be queried, by id.
      pending: the line of a round whose query waits for answers; None where there is none.
      round: number of the round that comes next, or whose query waits.
      key: from which all keys of that round are folded.
    """

    done: Sequence[Mapping[str, Any]]
    labelled: Sequence[Case]
    pool: Sequence[Unit]
    pending: dict[str, Any] | None
    round: int
    key: Array


def read_state(run: Run, rounds: int | None = None) -> State:
    """The state of a run, the same on all hosts.

    Args:
      run: whose.
      rounds: as it was when so many were done; as it is now when left out.
    """
    done, pending = hosts.share_json(run.ledger.read_with_pending(run.pending) if hosts.is_leader() else None)
    done = done[:rounds]
    given = [unit for line in done for unit in answered_units(line)]
    asked = [*given, *(asked_units(pending) if pending else ())]
    if strange := sorted(set(asked) - run.units.keys()):
        raise UserError(f"{run.ledger.path}: speaks of {strange[0]!r}, which is not in the pool. Is it another data set's?")
    answered: dict[Case, list[str]] = {}
    for unit in given:
        answered.setdefault(run.units[unit].case, []).append(unit)
    held_out = {unit for line in done for unit in line.get("held_out", ())}  # never trained on
    labelled = [
        case._replace(label=run.labels.of(case, units)) for case, units in answered.items() if not held_out.intersection(units)
    ]
    taken, initial = set(given), {case.id for case in run.task.initial}
    pool = [unit for id_, unit in sorted(run.units.items()) if id_ not in taken and unit.case.id not in initial]
    waits = pending if pending and pending["round"] == len(done) and rounds is None else None
    key = jax.random.fold_in(key_of(run.config.seed), len(done))
    return State(done, sorted([*run.task.initial, *labelled]), pool, waits, len(done), key)


def last_finished(run: Run) -> State:
    """The state from which the last finished round was proposed.

    Raises:
      UserError: no round is finished.
    """
    done = read_state(run).done
    if not done:
        raise UserError(f"{run.folder}: no round is finished there, so there is no network to work with.")
    return read_state(run, len(done) - 1)
