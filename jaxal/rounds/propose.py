"""The first half of a round: train, look at how good the network is, score what is not labelled, and choose what to ask for.

What a round proposes is durable before anybody is asked (`pending.json`). Everything random is keyed by seed and round, so a run
that was killed proposes what it would have proposed. On several hosts all go through the same rounds; the leader trains and writes,
and every pass is shared out.
"""

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxal import hosts
from jaxal.acquisition.selection import Query, top_k
from jaxal.files import write_text
from jaxal.rounds import ranking
from jaxal.rounds.calibrated import calibrated
from jaxal.rounds.first_set import told_of_first_set
from jaxal.rounds.networks import Network, make_networks, train_all
from jaxal.rounds.passes import Passes, make_passes, run_pass
from jaxal.rounds.pictures import draw_queried
from jaxal.rounds.protocol import Beside, Shares, beside, random_count
from jaxal.rounds.pseudo_labels import keep_pseudo_labels, needs_with_classes
from jaxal.rounds.record import Finished, record_of
from jaxal.rounds.setup import Run, scoring_model
from jaxal.rounds.state import State
from jaxal.scoring.journal import Journal
from jaxal.scoring.members import stack_networks
from jaxal.scoring.pool_pass import Given
from jaxal.strategies.contract import Context, Decision, Needs, Strategy, decide, given_by, score_pool
from jaxal.types import Case, Collected, Params, Seen, Unit


class Chosen(NamedTuple):
    """What the first half of a round came to.

    Attributes:
      params: weights of the first network.
      scoring: the same as `setup.scoring_model` takes them.
      labelled: what it was trained on, with the assessment's statistics.
      test: the test cases, with the assessment's statistics.
      pool: what was asked of the pool's cases.
      decision: the strategy's.
      failures: trainings that collapsed.
      seconds: by phase.
      told: entries of the ledger that were asked for: by what temperature each network's logits were divided, uncertainty curves.
      would_take: of cases that are never trained on, those that the strategy would have chosen, had they been in the pool.
    """

    params: Params
    scoring: Params
    labelled: Seen
    test: Seen
    pool: Collected
    decision: Decision
    failures: int
    seconds: dict[str, float]
    told: dict[str, Any]
    would_take: tuple[str, ...] = ()


def propose(run: Run, state: State) -> Query:
    """Proposes what to label next, and leaves it in the run's folder with all that is known of the round.

    Raises:
      Interrupted: the watcher asked to stop; what is finished is kept.
    """
    shares = run.config.shares
    at_random = random_count(shares, run.config.query_size, len(state.pool)) if shares else 0
    config = dataclasses.replace(run.config, query_size=run.config.query_size - at_random)
    chosen = choose(run._replace(config=config), state)
    if hosts.is_leader():
        draw_queried(run, state, chosen.decision.query.units, chosen.scoring)
        pseudo_labels = keep_pseudo_labels(run, state, chosen.decision.query.units, chosen.scoring, chosen.pool)
        finished = Finished(
            state.round,
            chosen.labelled,
            len(state.refused),
            chosen.test,
            len(state.pool),
            chosen.decision,
            chosen.failures,
            chosen.seconds,
        )
        record = record_of(run, finished) | chosen.told | pseudo_labels | (told_of_first_set(run) if state.round == 0 else {})
        if shares:
            drawn = _beside(run, state, shares, chosen.decision.query.units, at_random)
            record |= {"queried_at_random": list(drawn.drawn), "held_out": list(drawn.held_out)}
        write_text(run.pending, json.dumps(record, allow_nan=False) + "\n")
    return chosen.decision.query


def _beside(run: Run, state: State, shares: Shares, chosen: Sequence[str], count: int) -> Beside:
    """What is asked for beside the strategy's choice."""
    groups = {unit.id: unit.group for unit in state.pool if unit.id not in set(chosen)}
    before = [sum(len(line[entry]) for line in state.done) for entry in ("queried_at_random", "held_out")]
    return beside(list(groups), groups, count, (before[0], before[1]), shares, run.config.seed, state.round + 2)


def choose(run: Run, state: State, kept: Sequence[Unit] = ()) -> Chosen:
    """Trains, looks at the test cases, scores the pool and lets the strategy choose; nothing but checkpoints and scores is written.

    Args:
      run: whose.
      state: of it.
      kept: units that are never trained on, of which is asked whether the strategy would have chosen them.

    Raises:
      Interrupted: the watcher asked to stop; what is finished is kept.
    """
    seconds: dict[str, float] = {}
    networks, key = make_networks(run), state.key
    passes = make_passes(run, _needs(run), run.strategy.last_network)
    with _timed(seconds, "train"):
        trained = train_all(networks, state, passes.labelled)
    cases = run.task.splits.test
    with _timed(seconds, "evaluate"):
        params = calibrated(run, state, [network.params for network in trained])
        tested = stack_networks(params) if run.config.uncertainty_curves else params[0]
        seen = Seen(cases, run_pass(passes.test, tested, key, cases, run.task.load, run.watcher, "evaluating"))
    with _timed(seconds, "score"):
        if run.strategy.last_network:
            params = (params if run.strategy.last_network is True else params[:1]) + _other(run, state, networks[0], params)
        looks = look_at_splits(run, [run.strategy], state, passes, params, trained[0].labelled)
    with _timed(seconds, "select"):
        decision = decide_for(run, run.strategy, state, params[0], looks)
        would_take = _would_take(run, state, passes, params, looks, kept) if kept else ()
    with _timed(seconds, "rank"):
        told = _curves(run, seen) | _ranking(run, state, passes, params, tested, looks, decision, seen)
    first = trained[0]
    told |= {"temperatures": [round(float(one.temperature), 6) for one in params]} if run.config.calibrate != "none" else {}
    return Chosen(first.params, params[0], first.labelled, seen, looks.pool, decision, first.failures, seconds, told, would_take)


def _needs(run: Run) -> Needs:
    """What is asked of the pool and of the other splits by all that reads it."""
    needs = needs_with_classes(run)
    return needs._replace(pool=tuple(dict.fromkeys([*needs.pool, *(run.prices.needs if run.prices else ())])))


def _other(run: Run, state: State, network: Network, params: Sequence[Params]) -> list[Params]:
    """The network that stands beside the round's own: before its weights were averaged, or of the round before; in the first round the round's own."""
    if run.strategy.last_network == "student":
        return calibrated(run, state, [network.student(state.round)])
    return calibrated(run, state, [network.restored(state.round - 1)]) if state.round else list(params[:1])


def _curves(run: Run, test: Seen) -> dict[str, Any]:
    """Whether the round's networks know when they are wrong, for the ledger; nothing where that is not asked for."""
    if not run.config.uncertainty_curves:
        return {}
    return {"uncertainty_curves": run.task.kind.curves.entries(test, run.task.dataset.classes, run.task.statistics)}


def _ranking(
    run: Run,
    state: State,
    passes: Passes,
    params: Sequence[Params],
    tested: Params,
    looks: "Looks",
    decision: Decision,
    test: Seen,
) -> dict[str, Any]:
    """Whom the scores put first, for the ledger; nothing where there are no groups.

    Cases whose truth is known are scored as though they were in the pool, by the pass that the pool has gone through.
    """
    if not ranking.is_told(run):
        return {}
    weights = Given(stack_networks(params), _given_by([run.strategy], run, state, params[0], looks.evaluation))
    context, head = _context(run, state)._replace(refused=looks.refused), scoring_model(run).head(params[0])

    def scores_of(cases: Sequence[Case]) -> np.ndarray:
        pool = [Unit(case._replace(label=None)) for case in cases]  # as strategies see the pool
        statistics = run_pass(passes.pool, weights, state.key, cases, run.task.load, run.watcher, "ranking")
        return score_pool(run.strategy, context._replace(pool=pool), head, statistics, looks.labelled, looks.evaluation)[0]

    cases = run.task.splits.evaluation
    evaluation = Seen(cases, run_pass(passes.test, tested, state.key, cases, run.task.load, run.watcher, "evaluation set"))
    parts = [(name, seen) for name, seen in (("test", test), ("evaluation", evaluation)) if seen.cases]
    known = [ranking.Known(name, seen, scores_of(seen.cases)) for name, seen in parts]
    return ranking.entries(run, state.pool, decision.scores, known)


def _would_take(
    run: Run, state: State, passes: Passes, params: Sequence[Params], looks: "Looks", kept: Sequence[Unit]
) -> tuple[str, ...]:
    """Which of some units the strategy would have put before the last unit that it chose of the pool, had they been in it.

    Where it chooses by score, those whose score is not below the last chosen unit's; where it chooses a set, those that it chooses from both.
    """
    cases, names = [unit.case for unit in kept], {unit.id for unit in kept}
    values = _given_by([run.strategy], run, state, params[0], looks.evaluation)
    weights, journal = Given(stack_networks(params), values), open_journal(run)
    statistics = run_pass(passes.pool, weights, state.key, cases, run.task.load, run.watcher, "scoring beside", journal)
    joined = jax.tree.map(lambda first, second: np.concatenate([first, second]), looks.pool, statistics) if statistics else {}
    both = state._replace(pool=[*state.pool, *kept])
    decision = decide_for(run, run.strategy, both, params[0], looks._replace(pool=joined))
    ids = [unit.id for unit in both.pool]
    if decision.query.units != top_k(ids, decision.scores, len(decision.query.units)).units:
        return tuple(sorted(names.intersection(decision.query.units)))
    score = dict(zip(ids, decision.scores, strict=True))
    of_pool = [unit.id for unit in state.pool]
    last = top_k(of_pool, np.array([score[id_] for id_ in of_pool]), run.config.query_size).units[-1:]
    return tuple(sorted(id_ for id_ in names if all((-score[id_], id_) < (-score[other], other) for other in last)))


class Looks(NamedTuple):
    """What strategies may know: statistics of the pool's cases, and the labelled, the evaluation and the refused cases with theirs."""

    pool: Collected
    labelled: Seen
    evaluation: Seen
    refused: Seen


def look_at_splits(
    run: Run, strategies: Sequence[Strategy], state: State, passes: Passes, params: Sequence[Params], labelled: Seen
) -> Looks:
    """What strategies may know of the pool, the labelled and the evaluation cases; of several networks the first speaks for itself."""
    key, journal = state.key, open_journal(run)
    cases, evaluating = run.task.splits.evaluation, stack_networks(params) if passes.evaluation_by_all else params[0]
    evaluation = Seen(cases, run_pass(passes.evaluation, evaluating, key, cases, run.task.load, run.watcher, "evaluation set"))
    unread = [case._replace(label=None) for case in state.refused]
    of_refused = run_pass(passes.refused, params[0], key, unread, run.task.load, run.watcher, "refused cases")
    weights = Given(stack_networks(params), _given_by(strategies, run, state, params[0], evaluation))
    pool = list(dict.fromkeys(unit.case for unit in state.pool))  # of several units of a case, the case is seen once
    statistics = run_pass(passes.pool, weights, key, pool, run.task.load, run.watcher, "scoring", journal)
    return Looks(statistics, labelled, evaluation, Seen(unread, of_refused))


def _given_by(strategies: Sequence[Strategy], run: Run, state: State, params: Params, evaluation: Seen) -> Mapping[str, Any]:
    """What the strategies give the statistics of the pool."""
    return given_by(strategies, _context(run, state), scoring_model(run).head(params), evaluation)


def _context(run: Run, state: State) -> Context:
    training, config = run.task.training, run.config
    rate = training.warm_rate if config.start == "warm" else training.peak_rate
    last = state.done[-1] if state.done else None
    key = jax.random.fold_in(state.key, 2)
    return Context(key, state.pool, state.round, config.rounds, rate, last, config.query_elements)


def decide_for(run: Run, strategy: Strategy, state: State, params: Params, looks: Looks) -> Decision:
    """What a strategy would ask for in this round."""
    context, head = _context(run, state)._replace(refused=looks.refused), scoring_model(run).head(params)
    budget = run.config.query_size
    if run.prices:
        costs = run.prices.of(looks.pool, context.ids)
        pool = [unit._replace(cost=float(cost)) for unit, cost in zip(context.pool, costs, strict=True)]
        at_most = max(run.prices.at_most, float(costs.min()))
        context, budget = context._replace(pool=pool, cost_at_most=at_most), int(at_most // costs.min())
    return decide(strategy, context, head, looks.pool, looks.labelled, looks.evaluation, budget)


def open_journal(run: Run) -> Journal:
    """Where each case's results are kept as they come, until the round is done."""
    return Journal(run.folder / "scores", run.config_hash, hosts.index())


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = round(time.perf_counter() - start, 3)
