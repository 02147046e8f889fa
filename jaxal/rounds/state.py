"""Where a run stands. It is read from what is on disk whenever it is needed, and kept nowhere else."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxal import hosts
from jaxal.arrays import key_of
from jaxal.data.cases import by_refusal
from jaxal.data.parts import mask_of, read_unit
from jaxal.errors import UserError
from jaxal.rounds.protocol import answered_units, asked_units
from jaxal.rounds.setup import Run
from jaxal.types import Array, Case, Label, Unit


class State(NamedTuple):
    """What the next step needs.

    Attributes:
      done: the ledger's lines.
      labelled: cases that have labels.
      refused: cases that readers would not label.
      pool: cases that may be queried as a whole or in parts, by id, with what is known of their labels.
      pending: the line of a round whose query waits for answers; None where there is none.
      round: number of the round that comes next, or whose query waits.
      key: from which all keys of that round are folded.
    """

    done: Sequence[Mapping[str, Any]]
    labelled: Sequence[Case]
    refused: Sequence[Case]
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
    asked = {name: read_unit(name, run.cases) for name in [*given, *(asked_units(pending) if pending else ())]}
    if strange := sorted(name for name, unit in asked.items() if unit is None):
        raise UserError(f"{run.ledger.path}: speaks of {strange[0]!r}, which is not in the pool. Is it another data set's?")
    answered: dict[str, list[Unit]] = {}
    for name in given:
        if unit := asked[name]:
            answered.setdefault(unit.case.id, []).append(unit)
    known = {id_: run.labels.of(run.cases[id_], [unit.id for unit in units]) for id_, units in answered.items()}
    held_out = {unit.case.id for line in done for name in line.get("held_out", ()) if (unit := asked[name])}  # never trained on
    answered_cases = [run.cases[id_]._replace(label=label) for id_, label in known.items() if id_ not in held_out]
    labelled, refused = by_refusal([*run.task.initial, *answered_cases])
    initial = {case.id for case in run.task.initial}
    pool = [
        Unit(case._replace(label=known.get(id_)))
        for id_, case in sorted(run.cases.items())
        if id_ not in initial and not (id_ in known and is_whole(run, case, known[id_]))
    ]
    waits = pending if pending and pending["round"] == len(done) and rounds is None else None
    key = jax.random.fold_in(key_of(run.config.seed), len(done))
    return State(done, labelled, refused, pool, waits, len(done), key)


def is_whole(run: Run, case: Case, label: Label) -> bool:
    """Whether a label is known of all elements of a case."""
    if label.parts is None or run.task.shape_of is None:
        return True
    return bool(mask_of(label.parts, run.task.shape_of(case)).all())


def last_finished(run: Run) -> State:
    """The state from which the last finished round was proposed.

    Raises:
      UserError: no round is finished.
    """
    done = read_state(run).done
    if not done:
        raise UserError(f"{run.folder}: no round is finished there, so there is no network to work with.")
    return read_state(run, len(done) - 1)
