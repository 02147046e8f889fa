"""The networks of a run and their trainings, round after round."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from jaxal import hosts
from jaxal.data.guesses import as_trained
from jaxal.errors import UserError
from jaxal.rounds.checkpoint import Checkpoints
from jaxal.rounds.passes import run_pass
from jaxal.rounds.pseudo_labels import with_pseudo_labels
from jaxal.rounds.saving import beside
from jaxal.rounds.setup import Run
from jaxal.rounds.state import State
from jaxal.scoring.pool_pass import Pass
from jaxal.training.step import snapshot, trained_weights, with_weights
from jaxal.training.trainer import Draw, Interrupted, Pool, Saving, Trainer, TrainState
from jaxal.training.weighting import Membership, membership_of
from jaxal.types import Array, Case, Params, Seen

Progress = Callable[[int, int], None]

STEPS_AT_MOST = 10**6  # of one attempt, so that checkpoints of later attempts have higher numbers


class Trained(NamedTuple):
    """A network after a round's training.

    Attributes:
      params: its weights.
      labelled: the cases that it was trained on, with their statistics.
      failures: trainings that collapsed.
    """

    params: Params
    labelled: Seen
    failures: int


def make_networks(run: Run) -> list["Network"]:
    """The networks of a run, whose checkpoints lie in its folder."""
    return [Network(run, number) for number in range(run.config.members.networks)]


def train_all(networks: Sequence["Network"], state: State, labelled_pass: Pass) -> list[Trained]:
    """Trains all networks for one round, several at once where that is faster; the weights are those of one after the other.

    Of a training in cycles the further networks are weights at the ends of earlier ones.
    """
    if networks[0].cycles > 1:
        first = networks[0].train(state, labelled_pass)
        return [first, *(first._replace(params=network.restored(state.round)) for network in networks[1:])]
    begun: Sequence[Params | None] = [None] * len(networks)
    if hosts.is_leader() and len(networks) > 1 and (at_once := networks[0].at_once()) > 1:
        begun = _begin_together(networks, state, at_once)
    return [network.train(state, labelled_pass, params) for network, params in zip(networks, begun, strict=True)]


def _begin_together(networks: Sequence["Network"], state: State, at_once: int) -> list[Params]:
    """The first attempt of each network, in threads: while one waits for a core, another computes."""
    failed = threading.Event()
    with networks[0].progress(state, len(networks)) as progress, ThreadPoolExecutor(at_once, "network") as pool:
        told = _added(progress, len(networks))

        def begin(number: int) -> Params | Exception:
            try:
                return networks[number].begin(state, lambda done, steps: told(number, done, steps), failed.is_set)
            except Exception as error:  # raised below, once the others have saved and ended
                failed.set()
                return error

        results = list(pool.map(begin, range(len(networks))))
    if errors := [result for result in results if isinstance(result, Exception)]:
        raise min(errors, key=lambda error: isinstance(error, Interrupted))  # what made the others stop is what is told
    return results


def _added(progress: Progress, count: int) -> Callable[[int, int, int], None]:
    """Of several trainings of as many steps each, the steps of all of them."""
    by_number, lock = [0] * count, threading.Lock()

    def tell(number: int, done: int, steps: int) -> None:
        with lock:
            by_number[number] = done
            progress(sum(by_number), count * steps)

    return tell


class Network:
    """One network of a run.

    Args:
      run: whose.
      number: of the network among several.
    """

    def __init__(self, run: Run, number: int):
        folder, self.cycles = run.folder / "checkpoints", run.task.training.cycles
        self._checkpoints = Checkpoints(folder / f"network-{number}" if number and self.cycles == 1 else folder)
        self._attempts = Checkpoints(run.folder / "collapsed" / f"network-{number}")  # the best one of each round that collapsed
        self._run, self._number = run, number

    def at_once(self) -> int:
        """How many networks train at once. On a CPU a network of images keeps one device and not all of its cores busy (`training.step.make_mesh`)."""
        devices = jax.local_devices()
        return len(devices) if devices[0].platform == "cpu" and not self._run.task.kind.dense else 1

    def progress(self, state: State, count: int = 1) -> contextlib.AbstractContextManager[Progress]:
        """Where is told how far the training of so many networks is."""
        several = f"{count} networks " if count > 1 else ""
        return self._run.watcher.progress(f"training {several}on {len(state.labelled)}")

    def begin(self, state: State, progress: Progress, should_end: Callable[[], bool]) -> Params:
        """The first training of a round, or the one that was interrupted, on the leader.

        Args:
          state: of the run.
          progress: is told how far the training is.
          should_end: makes it end early, like the watcher.
        """
        saved = self._checkpoints.latest(state.round)
        attempt = saved[1]["attempt"] if saved else 0
        return self._fit(state, attempt, saved is not None, progress, should_end)

    def train(self, state: State, labelled_pass: Pass, begun: Params | None = None) -> Trained:
        """Trains one round, again with another key if the network collapsed.

        Args:
          state: of the run.
          labelled_pass: what is to be known of the labelled cases.
          begun: weights from `begin`.
        """
        run, round_, assessment = self._run, state.round, self._run.task.kind.assessment
        attempts = run.task.training.attempts
        saved = self._checkpoints.latest(round_) if hosts.is_leader() else None
        first = hosts.share_json(saved[1]["attempt"] if saved else 0)
        for attempt in range(first, attempts):
            resume = saved is not None and attempt == first
            is_done = begun is not None and attempt == first
            params = hosts.share(begun) if is_done else self._shared_fit(state, attempt, resume)
            labelled = self._on_labelled(state, labelled_pass, params)
            success = assessment.success(labelled)
            if success is None or success >= assessment.collapsed_below:
                return Trained(params, labelled, attempt)
            self._keep_if_best(round_, attempt, success, params)
            run.watcher.note(
                f"Training collapsed ({assessment.success_title} {success:.3f} on its own labelled cases), attempt {attempt + 1} of {attempts}: "
                + (
                    "going on with the best of them; do not trust this round."
                    if attempt + 1 == attempts
                    else "training again with another key."
                )
            )
        params = self._best_attempt(round_)
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            raise UserError(
                f"Training of round {round_} diverged in every attempt: weights are not finite. Look at the images' intensities."
            )
        return Trained(params, self._on_labelled(state, labelled_pass, params), attempts)

    def _on_labelled(self, state: State, labelled_pass: Pass, params: Params) -> Seen:
        run = self._run
        statistics = run_pass(labelled_pass, params, state.key, state.labelled, run.load_labelled, run.watcher, "labelled set")
        return Seen(state.labelled, statistics)

    def _keep_if_best(self, round_: int, attempt: int, success: float, params: Params) -> None:
        """Keeps the best of the attempts that collapsed, so that a run that is killed in a later one knows it still."""
        if not hosts.is_leader() or self._run.task.training.attempts == 1:
            return
        finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
        rank, before = [finite, success], self._attempts.latest(round_)
        if before is None or rank > before[1]["rank"]:
            self._attempts.save(round_, attempt, params, {"rank": rank})

    def _best_attempt(self, round_: int) -> Params:
        """The weights of the best attempt, which become those that the round leaves."""
        like = self._like(round_)
        if not hosts.is_leader():
            return hosts.share(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.params))
        training, attempts = self._checkpoints.restore(round_, like), self._run.task.training.attempts
        if attempts > 1:
            training = with_weights(training, self._attempts.restore(round_, like.params))
            latest, last = self._checkpoints.latest(round_), attempts * STEPS_AT_MOST
            if latest is None or latest[0] < last:  # a run that was killed here has it already
                self._checkpoints.save(round_, last, training, {"round": round_, "attempt": attempts - 1})
        return hosts.share(trained_weights(training))

    def _key(self, key: Array) -> Array:
        """The network's own key of a round."""
        if self._number == 0:
            return jax.random.fold_in(key, 0)
        return jax.random.fold_in(jax.random.fold_in(key, 3), self._number)

    def _is_warm(self, round_: int) -> bool:
        return self._run.config.start == "warm" and round_ > 0

    def _trainer(self, warm: bool) -> Trainer:
        task = self._run.task
        groups = len(task.dataset.groups)
        return Trainer(task.kind, task.model, task.training, warm, self._run.strategy.auxiliary, task.further, groups)

    def _shared_fit(self, state: State, attempt: int, resume: bool) -> Params:
        """One training, on the leader; the other hosts get its weights."""
        if not hosts.is_leader():
            return hosts.share(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._like(state.round).params))
        with self.progress(state) as progress:
            return hosts.share(self._fit(state, attempt, resume, progress))

    def _fit(
        self, state: State, attempt: int, resume: bool, progress: Progress, should_end: Callable[[], bool] = lambda: False
    ) -> Params:
        run, round_ = self._run, state.round
        # A collapse of warm weights is answered from scratch: the old weights may be what is broken.
        is_warm = self._is_warm(round_) and attempt == 0
        trainer, key = self._trainer(is_warm), jax.random.fold_in(self._key(state.key), attempt)
        cases = with_pseudo_labels(run, round_, state.labelled)
        training = trainer.start(key, run.load_labelled(state.labelled[0]), self._stored(round_ - 1) if is_warm else None)
        if resume:
            training = self._checkpoints.restore(round_, training)
        if resumed_at := int(training.step):
            progress(resumed_at, trainer.steps(len(cases)))

        def write(training: TrainState) -> None:
            step = attempt * STEPS_AT_MOST + int(training.step)
            self._checkpoints.save(round_, step, training, {"round": round_, "attempt": attempt})

        def should_stop() -> bool:
            return run.watcher.should_stop() or should_end()

        with beside(write) as save:  # durable at its end, before anything speaks of this training
            draw, seconds = _draw(run, cases), run.config.save_every_seconds
            labelled = _membership(run, cases)
            training = trainer.fit(
                key, labelled, draw, training, progress, should_stop, Saving(save, seconds), _unlabelled(run, state)
            )
            if int(training.step) > resumed_at:
                save(training)
        return trained_weights(training)

    def restored(self, round_: int) -> Params:
        """The weights that a finished round left, on every host."""
        if hosts.is_leader():
            return hosts.share(self._stored(round_))
        return hosts.share(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._like(round_).params))

    def student(self, round_: int) -> Params:
        """The weights of the last step of a finished round's training, which `restored` gives the average of; on every host."""
        like = self._like(round_)
        if hosts.is_leader():
            return hosts.share(self._checkpoints.restore(round_, like).params)
        return hosts.share(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like.params))

    def _stored(self, round_: int) -> Params:
        state = self._checkpoints.restore(round_, self._like(round_))
        return snapshot(state, self._number) if self.cycles > 1 and self._number else trained_weights(state)

    def _like(self, round_: int) -> TrainState:
        """Shapes and types of a round's state."""
        trainer, example = self._trainer(self._is_warm(round_)), self._run.load_labelled(self._run.task.initial[0])
        return jax.eval_shape(lambda: trainer.start(jax.random.key(0), example))


def _membership(run: Run, labelled: Sequence[Case]) -> int | Membership:
    """How many labelled cases there are; for methods of training that look at groups, which ones they belong to."""
    if run.task.training.weighting.method == "erm":
        return len(labelled)
    return membership_of([case.group for case in labelled], [case.category for case in labelled], run.task.dataset.groups)


def _unlabelled(run: Run, state: State) -> Pool | None:
    """The pool's cases, where training learns from them."""
    if not run.task.training.unlabelled.learns:
        return None
    cases = list(dict.fromkeys(unit.case._replace(label=None) for unit in state.pool))
    return Pool(len(cases), _draw(run, cases))


def _draw(run: Run, labelled: Sequence[Case]) -> Draw:
    if run.task.draw is None:
        return lambda index, rng: as_trained(run.load_labelled, labelled[index])
    draw = run.task.draw
    return lambda index, rng: draw(labelled[index], rng)
