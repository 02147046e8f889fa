"""Rounds in which every query is answered at once, by the labels that lie beside the images."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxal import hosts
from jaxal.rounds.commit import commit, forget_leftovers
from jaxal.rounds.ledger import Ledger
from jaxal.rounds.propose import propose
from jaxal.rounds.protocol import asked_units
from jaxal.rounds.setup import Run, check_strategy
from jaxal.rounds.state import read_state


def simulate(run: Run, sibling: Path | None = None) -> Iterator[dict[str, Any]]:
    """Runs the rounds that are not done yet.

    Args:
      run: a strategy's, with a seed.
      sibling: folder of another strategy's run of the same seed, whose first network is taken instead of training the same again.

    Yields:
      The record of each round: those found in the ledger first, then each new one when it is durable.
    """
    state = read_state(run)
    check_strategy(run, [*state.done, *([state.pending] if state.pending else [])])
    if sibling and hosts.is_leader():
        _take_first_network(run, sibling)
    yield from map(dict, state.done)
    if hosts.is_leader():
        forget_leftovers(run, state)
    while state.round < run.config.rounds:
        if state.done and not asked_units(state.done[-1]):
            run.watcher.note("The pool is empty: further rounds would train on the same cases.")
            return
        if state.pending is None:
            propose(run, state)
            state = read_state(run)
            assert state.pending is not None
        yield commit(run, state, run.labels.ask(asked_units(state.pending)))
        state = read_state(run)


def _take_first_network(run: Run, sibling: Path) -> None:
    """Copies the checkpoint of the first round, which no strategy has touched yet, if it is finished and made alike."""
    done = Ledger(sibling / "rounds.jsonl").read()
    alike = (
        done
        and done[0]["config"] == run.config_hash
        and _before_the_first(done[0].get("strategy")) == _before_the_first(run.identity)
    )
    if (run.folder / "checkpoints").exists() or not alike:
        return
    aside = run.folder / ".checkpoints"
    shutil.rmtree(aside, ignore_errors=True)
    for path in (sibling / "checkpoints").glob("**/round-000"):
        shutil.copytree(path, aside / path.relative_to(sibling / "checkpoints"))
    if aside.exists():
        aside.rename(run.folder / "checkpoints")


def _before_the_first(strategy: Any) -> tuple[Any, Any]:
    """What of a strategy acts before it has chosen: a head of the network, and how the first set is chosen."""
    identity = strategy or {}
    return identity.get("auxiliary"), [rule for rule in identity.get("rules", ()) if rule["name"] == "cold"]
