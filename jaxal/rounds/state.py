"""Where a run stands. It is read from what is on disk whenever it is needed, and kept nowhere else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxal import hosts
from jaxal.errors import UserError
from jaxal.rounds.ledger import answered_units
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
    done, pending = hosts.share_json((run.ledger.read(), _read_pending(run.pending)) if hosts.is_leader() else None)
    done = done[:rounds]
    units, given = run.units, [unit for line in done for unit in answered_units(line)]
    if strange := sorted(set(given) - units.keys()):
        raise UserError(f"{run.ledger.path}: speaks of {strange[0]!r}, which is not in the pool. Is it another data set's?")
    answered = [units[unit].case._replace(label=run.labels[unit]) for unit in given]
    labelled = sorted([*run.task.initial, *answered])
    left = units.keys() - {case.id for case in labelled}
    waits = pending if pending and pending["round"] == len(done) and rounds is None else None
    key = jax.random.fold_in(jax.random.key(run.config.seed), len(done))
    return State(done, labelled, [units[unit] for unit in sorted(left)], waits, len(done), key)


def last_finished(run: Run) -> State:
    """The state from which the last finished round was proposed.

    Raises:
      UserError: no round is finished.
    """
    done = read_state(run).done
    if not done:
        raise UserError(f"{run.folder}: no round is finished there, so there is no network to work with.")
    return read_state(run, len(done) - 1)


def _read_pending(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not the record of a round ({error}). Delete it; its round is then run again.") from error
