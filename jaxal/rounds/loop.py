"""The round loop: train, evaluate, score, select, ask the oracle, and write down what was done.

State that the next round needs is only this: the ledger (which cases were queried) and, when trainings start warm, the last
round's weights. Everything random is keyed by seed and round, so a run that was killed goes on as if nothing had happened.
On several hosts all go through the same rounds; the leader trains and writes, and every pass is shared out.
"""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import jax
import numpy as np

from jaxal import hosts
from jaxal.data.cases import Case, Dataset, Example, Splits
from jaxal.data.stream import kept
from jaxal.errors import UserError
from jaxal.labels.oracle import simulated, without_label
from jaxal.rounds.checkpoint import Checkpoints, Ledger
from jaxal.rounds.record import record_of
from jaxal.scoring.journal import Journal
from jaxal.scoring.members import MembersConfig, predict
from jaxal.scoring.pool_pass import Collected, Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.strategies import table as strategies
from jaxal.strategies.table import Context, Needs, Seen, StrategyConfig
from jaxal.tasks.assessed import Assessment
from jaxal.tasks.pictures import draw_case, picture_path, write_picture
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.trainer import Interrupted, Trainer, TrainingConfig, TrainState
from jaxal.types import Model, Params

PICTURES_A_ROUND = 12  # of the queried cases, best first


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How rounds are run.

    Attributes:
      rounds: trainings. Each ends with a query; the last one's is what to label next.
      query_size: cases a query.
      seed: of the weights and every draw.
      start: whether each round trains from scratch or from the last round's weights.
      members: whose disagreement the strategies that ask for it measure; of its networks each is trained by itself, and the
        first is the one that is evaluated.
      batch_size: cases scored at once on each device.
      save_every_seconds: between checkpoints within a training; decides what a kill costs, never a result.
    """

    rounds: int
    query_size: int
    seed: int
    start: Literal["scratch", "warm"] = "scratch"
    members: MembersConfig = MembersConfig()  # noqa: RUF009 (frozen)
    batch_size: int = 2
    save_every_seconds: float = 60.0


class Task(NamedTuple):
    """What there is to learn from and with.

    Attributes:
      model: the network.
      dataset: names of groups and classes.
      splits: pool, evaluation and test cases.
      initial: cases of the pool that are labelled at the start.
      load: reads a case.
      draw: makes a training example of a case, such as a patch at random; the whole case when left out.
      picture: a queried case as a picture; drawn with its label map and prediction when left out.
      training, statistics, strategy: configuration of the parts.
      assessment: how networks are assessed, which depends on the kind of task.
      table: the strategies of this kind of task.
      settings: everything that decides results, ready for JSON.
    """

    model: Model
    dataset: Dataset
    splits: Splits
    initial: Sequence[Case]
    load: Callable[[Case], Example]
    training: TrainingConfig
    statistics: StatisticsConfig
    strategy: StrategyConfig
    assessment: Assessment = SEGMENTATION
    table: strategies.Table = strategies.STRATEGIES
    draw: Callable[[Case, np.random.Generator], Example] | None = None
    picture: Callable[[Case], bytes] | None = None
    settings: Mapping[str, Any] = MappingProxyType({})

    @property
    def config_hash(self) -> str:
        """Eight hexadecimal digits of the settings, for the ledger."""
        return config_hash(self.settings)


class Watcher(Protocol):
    """Who is told how far the work is, and may ask for it to end."""

    def progress(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]: ...

    def note(self, text: str) -> None: ...

    def should_stop(self) -> bool: ...


class Found(NamedTuple):
    """What the passes of a round found for its strategies."""

    pool: Collected
    labelled: Seen
    evaluation: Seen


class Passes:
    """The compiled passes that strategies with these needs ask for."""

    def __init__(self, needs: Needs, config: LoopConfig, task: Task):
        self._task = task
        self._pool = _make_pass(needs.pool, config, task, config.members.networks)
        self._evaluation = _make_pass(needs.evaluation, config, task)
        self.labelled = _make_pass((*task.assessment.labelled, *needs.labelled), config, task)
        self.test = _make_pass(task.assessment.test, config, task)

    def collect(
        self, params: Sequence[Params], key: jax.Array, pool: Sequence[Case], labelled: Seen, watcher: Watcher, journal: Journal
    ) -> Found:
        """Runs over the pool, whose labels stay hidden, and the evaluation set; of several networks the first speaks for itself."""
        load, cases = self._task.load, self._task.splits.evaluation
        together = params[0] if len(params) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *params)
        statistics = run_pass(self._pool, together, key, pool, without_label(load), watcher, "scoring", journal)
        evaluation = run_pass(self._evaluation, params[0], key, cases, load, watcher, "evaluation set")
        return Found(statistics, labelled, Seen(cases, evaluation))


def run(
    folder: Path, name: str, config: LoopConfig, task: Task, watcher: Watcher, sibling: Path | None = None
) -> Iterator[dict[str, Any]]:
    """Runs the rounds that are not done yet.

    Args:
      folder: of this run; holds `rounds.jsonl` and `checkpoints`.
      name: of the strategy.
      config: how many rounds and how.
      task: data, network and configuration.
      watcher: gets progress; `Interrupted` is raised at the next step once it says stop.
      sibling: folder of another strategy's run of the same seed, whose first network is taken instead of training the same again.

    Yields:
      The record of each round: those found in the ledger first, then each new one when it is durable.
    """
    if sibling and hosts.is_leader():
        _take_first_network(folder, sibling, task)
    ledger, journal = Ledger(folder / "rounds.jsonl"), Journal(folder / "scores", task.config_hash, hosts.index())
    strategy = strategies.named_strategy(name, task.strategy, task.table)
    passes, networks = Passes(strategy.needs, config, task), make_networks(folder, config, task)
    by_id = {case.id: case for case in task.splits.pool}
    labelled = sorted(task.initial)
    done = hosts.share_json(ledger.read() if hosts.is_leader() else None)
    for record in done:
        yield record
        labelled = sorted(labelled + [by_id[id_] for id_ in record["queried"]])
    for round_ in range(len(done), config.rounds):
        if done and not done[-1]["queried"]:
            watcher.note("The pool is empty: further rounds would train on the same cases.")
            return
        seconds: dict[str, float] = {}
        key = round_key(config, round_)
        with _timed(seconds, "train"):
            trained = [network.train(round_, key, labelled, passes.labelled, watcher) for network in networks]
            params, seen, failures = trained[0]
        with _timed(seconds, "evaluate"):
            test = run_pass(passes.test, params, key, task.splits.test, task.load, watcher, "evaluating")
        pool = sorted(set(task.splits.pool) - set(labelled))
        with _timed(seconds, "score"):
            found = passes.collect([own for own, _, _ in trained], key, pool, seen, watcher, journal)
        with _timed(seconds, "select"):
            context = Context(jax.random.fold_in(key, 2), pool)
            decision = strategies.score_and_select(strategy, context, task.model.head(params), *found, config.query_size)
        queried = [by_id[id_] for id_ in decision.query.units]
        tested = Seen(task.splits.test, test)
        about = (seconds, task.config_hash, task.dataset.classes, task.assessment)
        record = record_of(round_, seen, queried, decision, tested, len(pool), failures, *about)
        if hosts.is_leader():
            for case in queried[:PICTURES_A_ROUND]:
                picture = task.picture(case) if task.picture else _picture(task, params, simulated(task.load)(case))
                if picture:
                    write_picture(picture_path(folder, round_, case.id), picture)
            ledger.append(record)
            journal.clear()
        yield record
        done.append(record)
        labelled = sorted(labelled + queried)


def _picture(task: Task, params: Params, example: Example) -> bytes | None:
    """What a reader would want to see of a case; nothing of label maps in two dimensions so far."""
    if example.label.ndim == 3:
        return draw_case(example, predict(task.model, params, example.image), task.dataset.spacing_mm)
    return None


def _take_first_network(folder: Path, sibling: Path, task: Task) -> None:
    """Copies the checkpoint of the first round, which no strategy has touched yet, if it is finished and made alike."""
    done = Ledger(sibling / "rounds.jsonl").read()
    if (folder / "checkpoints").exists() or not done or done[0]["config"] != task.config_hash:
        return
    aside = folder / ".checkpoints"
    shutil.rmtree(aside, ignore_errors=True)
    for path in (sibling / "checkpoints").glob("**/round-000"):
        shutil.copytree(path, aside / path.relative_to(sibling / "checkpoints"))
    if aside.exists():
        aside.rename(folder / "checkpoints")


def round_key(config: LoopConfig, round_: int) -> jax.Array:
    return jax.random.fold_in(jax.random.key(config.seed), round_)


def _make_pass(names: Sequence[str], config: LoopConfig, task: Task, networks: int = 1) -> Pass | None:
    members = dataclasses.replace(config.members, networks=networks)
    return Pass(task.model, names, members, config.batch_size, task.statistics) if names else None


def run_pass(
    pass_: Pass | None,
    params: Params,
    key: jax.Array,
    cases: Sequence[Case],
    load,
    watcher: Watcher,
    what: str,
    journal: Journal | None = None,
) -> Collected:
    """Runs a pass, showing how far it is; nothing without one or without cases."""
    if pass_ is None or not cases:
        return {}
    with watcher.progress(what) as progress:

        def report(done: int, total: int) -> None:
            progress(done, total)
            if watcher.should_stop():
                raise Interrupted

        return pass_(params, jax.random.fold_in(key, 1), cases, load, report, journal)


def last_round(folder: Path, task: Task) -> tuple[int, list[Case]]:
    """Number of a run's last finished round, and the cases that it was trained on.

    Raises:
      UserError: no round is finished.
    """
    done = hosts.share_json(Ledger(folder / "rounds.jsonl").read() if hosts.is_leader() else None)
    if not done:
        raise UserError(f"{folder}: no round is finished there, so there is no network to work with.")
    by_id = {case.id: case for case in task.splits.pool}
    return len(done) - 1, sorted([*task.initial, *(by_id[id_] for record in done[:-1] for id_ in record["queried"])])


def make_networks(folder: Path, config: LoopConfig, task: Task) -> list["Network"]:
    """The networks of a run, whose checkpoints lie in its folder; the labelled cases that they read are kept in memory once."""
    task = task._replace(load=kept(task.load))
    return [Network(folder / "checkpoints", number, task, config) for number in range(config.members.networks)]


class Network:
    """One network of the loop and its trainings, round after round."""

    def __init__(self, folder: Path, number: int, task: Task, config: LoopConfig):
        self._checkpoints = Checkpoints(folder / f"network-{number}" if number else folder)
        self._number, self._task, self._config = number, task, config
        self._trainers = {warm: Trainer(task.model, task.training, warm) for warm in (False, True)}
        self._last: Params | None = None

    def train(
        self, round_: int, key: jax.Array, labelled: Sequence[Case], pass_: Pass, watcher: Watcher
    ) -> tuple[Params, Seen, int]:
        """Trains one round, again with another key if the network collapsed; returns weights, labelled statistics, failed attempts."""
        task, warm = self._task, self._config.start == "warm" and round_ > 0
        if warm and self._last is None and hosts.is_leader():
            self._last = self._stored(round_ - 1)
        answer = simulated(self._task.load)
        key_of_network = (
            jax.random.fold_in(key, 0) if self._number == 0 else jax.random.fold_in(jax.random.fold_in(key, 3), self._number)
        )
        saved = self._checkpoints.latest(round_) if hosts.is_leader() else None
        first = hosts.share_json(saved[1]["attempt"] if saved else 0)
        for attempt in range(first, task.training.attempts):
            attempt_key = jax.random.fold_in(key_of_network, attempt)
            # A collapse of warm weights is answered from scratch: the old weights may be what is broken.
            start = self._last if warm and attempt == 0 else None
            resume = saved is not None and attempt == first
            params = self._fit(round_, attempt, attempt_key, labelled, warm, start, resume, watcher)
            statistics = run_pass(pass_, params, key, labelled, answer, watcher, "labelled set")
            success = task.assessment.success(Seen(labelled, statistics))
            if success is None or success >= task.assessment.collapsed_below:
                break
            last = attempt + 1 == task.training.attempts
            watcher.note(
                f"Training collapsed ({task.assessment.success_title} {success:.3f} on its own labelled cases), attempt {attempt + 1} of {task.training.attempts}: "
                + ("going on with it; do not trust this round." if last else "training again with another key.")
            )
        else:
            attempt = task.training.attempts
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
                raise UserError(
                    f"Training of round {round_} diverged in every attempt: weights are not finite. Look at the images' intensities."
                )
        self._last = params
        return params, Seen(labelled, statistics), attempt

    def _fit(
        self,
        round_: int,
        attempt: int,
        key: jax.Array,
        labelled: Sequence[Case],
        warm: bool,
        start,
        resume: bool,
        watcher: Watcher,
    ) -> Params:
        """One training, on the leader; the other hosts get its weights."""
        trainer, answer = self._trainers[warm], simulated(self._task.load)
        state = trainer.start(key, answer(labelled[0]), start)

        def draw(index: int, rng: np.random.Generator) -> Example:
            return self._task.draw(labelled[index], rng) if self._task.draw else answer(labelled[index])

        if hosts.is_leader():
            if resume:
                state = self._checkpoints.restore(round_, state)
            resumed_at, steps = int(state.step), trainer.steps(len(labelled))

            def save(state: TrainState) -> None:
                self._checkpoints.save(
                    round_, attempt * (steps + 1) + int(state.step), state, {"round": round_, "attempt": attempt}
                )

            with watcher.progress(f"training on {len(labelled)}") as progress:
                due = _Every(self._config.save_every_seconds)
                state = trainer.fit(key, len(labelled), draw, state, progress, watcher.should_stop, save, due)
            if resumed_at < steps:
                save(state)
        return hosts.share(state.params)

    def restored(self, round_: int) -> Params:
        """The weights that a finished round left, on every host."""
        if hosts.is_leader():
            return hosts.share(self._stored(round_))
        return hosts.share(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._like(round_).params))

    def _stored(self, round_: int) -> Params:
        return self._checkpoints.restore(round_, self._like(round_)).params

    def _like(self, round_: int) -> TrainState:
        """Shapes and types of a round's state."""
        trainer = self._trainers[self._config.start == "warm" and round_ > 0]
        example = self._task.load(self._task.initial[0])
        return jax.eval_shape(lambda: trainer.start(jax.random.key(0), example))


class _Every:
    """Says yes once every so many seconds."""

    def __init__(self, seconds: float):
        self._seconds, self._last = seconds, time.monotonic()

    def __call__(self) -> bool:
        due = time.monotonic() - self._last >= self._seconds
        if due:
            self._last = time.monotonic()
        return due


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[phase] = round(time.perf_counter() - start, 3)


def config_hash(identity: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of a configuration."""
    return hashlib.sha256(json.dumps(dict(identity), sort_keys=True).encode()).hexdigest()[:8]
