"""The networks of a run and their trainings, round after round."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxal import hosts
from jaxal.errors import UserError
from jaxal.rounds.checkpoint import Checkpoints
from jaxal.rounds.passes import run_pass
from jaxal.rounds.saving import beside
from jaxal.rounds.setup import Run
from jaxal.rounds.state import State
from jaxal.scoring.pool_pass import Pass
from jaxal.training.trainer import Draw, Trainer, TrainState
from jaxal.types import Array, Case, Params, Seen

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


class Network:
    """One network of a run.

    Args:
      run: whose.
      number: of the network among several.
    """

    def __init__(self, run: Run, number: int):
        folder = run.folder / "checkpoints"
        self._checkpoints = Checkpoints(folder / f"network-{number}" if number else folder)
        self._run, self._number = run, number

    def train(self, state: State, labelled_pass: Pass) -> Trained:
        """Trains one round, again with another key if the network collapsed."""
        run, round_, assessment = self._run, state.round, self._run.task.kind.assessment
        key, attempts = self._key(state.key), run.task.training.attempts
        last = self._stored(round_ - 1) if self._is_warm(round_) and hosts.is_leader() else None
        saved = self._checkpoints.latest(round_) if hosts.is_leader() else None
        first = hosts.share_json(saved[1]["attempt"] if saved else 0)
        for attempt in range(first, attempts):
            # A collapse of warm weights is answered from scratch: the old weights may be what is broken.
            start = last if attempt == 0 else None
            resume = saved is not None and attempt == first
            params = self._fit(state, attempt, jax.random.fold_in(key, attempt), start, resume)
            statistics = run_pass(
                labelled_pass,
                params,
                state.key,
                state.labelled,
                run.load_labelled,
                run.watcher,
                "labelled set",
            )
            labelled = Seen(state.labelled, statistics)
            success = assessment.success(labelled)
            if success is None or success >= assessment.collapsed_below:
                return Trained(params, labelled, attempt)
            run.watcher.note(
                f"Training collapsed ({assessment.success_title} {success:.3f} on its own labelled cases), attempt {attempt + 1} of {attempts}: "
                + (
                    "going on with it; do not trust this round."
                    if attempt + 1 == attempts
                    else "training again with another key."
                )
            )
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
            raise UserError(
                f"Training of round {round_} diverged in every attempt: weights are not finite. Look at the images' intensities."
            )
        return Trained(params, labelled, attempts)

    def _key(self, key: Array) -> Array:
        """The network's own key of a round."""
        if self._number == 0:
            return jax.random.fold_in(key, 0)
        return jax.random.fold_in(jax.random.fold_in(key, 3), self._number)

    def _is_warm(self, round_: int) -> bool:
        return self._run.config.start == "warm" and round_ > 0

    def _trainer(self, warm: bool) -> Trainer:
        task = self._run.task
        return Trainer(task.kind, task.model, task.training, warm, self._run.strategy.auxiliary)

    def _fit(self, state: State, attempt: int, key: Array, start: Params | None, resume: bool) -> Params:
        """One training, on the leader; the other hosts get its weights."""
        run, round_, trainer = self._run, state.round, self._trainer(self._is_warm(state.round) and attempt == 0)
        training = trainer.start(key, run.load_labelled(state.labelled[0]), start)
        if hosts.is_leader():
            if resume:
                training = self._checkpoints.restore(round_, training)
            resumed_at = int(training.step)

            def write(training: TrainState) -> None:
                step = attempt * STEPS_AT_MOST + int(training.step)
                self._checkpoints.save(round_, step, training, {"round": round_, "attempt": attempt})

            with beside(write) as save:  # durable at its end, before anything speaks of this training
                with run.watcher.progress(f"training on {len(state.labelled)}") as progress:
                    draw, stop, seconds = _draw(run, state.labelled), run.watcher.should_stop, run.config.save_every_seconds
                    training = trainer.fit(key, len(state.labelled), draw, training, progress, stop, save, seconds)
                if int(training.step) > resumed_at:
                    save(training)
        return hosts.share(training.params)

    def restored(self, round_: int) -> Params:
        """The weights that a finished round left, on every host."""
        if hosts.is_leader():
            return hosts.share(self._stored(round_))
        return hosts.share(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self._like(round_).params))

    def _stored(self, round_: int) -> Params:
        return self._checkpoints.restore(round_, self._like(round_)).params

    def _like(self, round_: int) -> TrainState:
        """Shapes and types of a round's state."""
        trainer, example = self._trainer(self._is_warm(round_)), self._run.load_labelled(self._run.task.initial[0])
        return jax.eval_shape(lambda: trainer.start(jax.random.key(0), example))


def _draw(run: Run, labelled: Sequence[Case]) -> Draw:
    if run.task.draw is None:
        return lambda index, rng: run.load_labelled(labelled[index])
    draw = run.task.draw
    return lambda index, rng: draw(labelled[index], rng)
