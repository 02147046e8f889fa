"""The compiled passes of a round, over the pool, the labelled, the evaluation and the test cases."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax

from jaxal.rounds.setup import Run, scoring_model
from jaxal.scoring.journal import Journal
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.strategies.contract import Needs
from jaxal.training.trainer import Interrupted
from jaxal.types import Array, Case, Collected, Load, Model, Params, Watcher


class Passes(NamedTuple):
    """One pass for each split, None where nothing is to be computed of it; that of the labelled cases takes params as they were trained.

    That of the evaluation cases takes all of the pool's networks where `evaluation_by_all` says so: a strategy asks what members have in common on both.
    That of the test cases takes all of the round's networks where uncertainty curves are asked for, else the first one.
    """

    pool: Pass | None
    labelled: Pass
    evaluation: Pass | None
    refused: Pass | None
    test: Pass
    evaluation_by_all: bool


def make_passes(run: Run, needs: Needs, last_network: bool | Literal["alone", "student"] = False) -> Passes:
    """The passes that strategies with these needs ask for.

    Args:
      run: whose.
      needs: of all strategies that are to score.
      last_network: whether that of the round before is a member; see `Strategy.last_network`.
    """
    task, config = run.task, run.config
    two_alone = last_network in ("alone", "student")

    def make(names: Sequence[str], networks: int = 1, model: Model | None = None) -> Pass:
        alone = two_alone and networks > 1
        members = MembersConfig(networks, dropout=0) if alone else dataclasses.replace(config.members, networks=networks)
        return Pass(task.kind, model or scoring_model(run), names, members, config.batch_size, task.statistics)

    assessment, all_networks = task.kind.assessment, 2 if two_alone else config.members.networks + bool(last_network)
    evaluation_by_all = any(task.kind.statistics[name].needs_members for name in needs.evaluation)
    return Passes(
        make(needs.pool, all_networks) if needs.pool else None,
        make((*assessment.labelled, *needs.labelled), model=task.model),
        make(needs.evaluation, all_networks if evaluation_by_all else 1) if needs.evaluation else None,
        make(needs.refused) if needs.refused else None,
        make((*assessment.test, task.kind.curves.statistic), config.members.networks)
        if config.uncertainty_curves
        else make(assessment.test),
        evaluation_by_all,
    )


def run_pass(
    pass_: Pass | None,
    params: Params,
    key: Array,
    cases: Sequence[Case],
    load: Load,
    watcher: Watcher,
    what: str,
    journal: Journal | None = None,
) -> Collected:
    """Runs a pass with the round's key, showing how far it is; nothing without one or without cases."""
    if pass_ is None or not cases:
        return {}
    with watcher.progress(what) as progress:
        return pass_(params, jax.random.fold_in(key, 1), cases, load, stoppable(progress, watcher), journal)


def stoppable(progress: Callable[[int, int], None], watcher: Watcher) -> Callable[[int, int], None]:
    """Progress that also asks whether to stop."""

    def report(done: int, total: int) -> None:
        progress(done, total)
        if watcher.should_stop():
            raise Interrupted

    return report
