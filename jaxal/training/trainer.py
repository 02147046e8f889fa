"""Training for one round: a jitted, donated step in a plain Python loop.

A Python loop and not `lax.scan`, so that it can be shown, saved and stopped at every step. Every random draw is keyed by what
it is for (round, attempt, step), so that a training resumed at any step goes on as if never stopped.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.data.draws import in_turn
from jaxal.data.stream import ahead, stacked
from jaxal.errors import UserError, within_memory
from jaxal.task_kind import TaskKind
from jaxal.training.config import TrainingConfig, Unlabelled
from jaxal.training.gradient import Batch, Recipe
from jaxal.training.step import TrainState, compiled_step, everywhere, fresh_state, make_mesh
from jaxal.training.unlabelled import NO_EVIDENCE
from jaxal.training.weighting import Cohort, Membership, Order, Weighting, equal_weights
from jaxal.types import Auxiliary, Example, FurtherLoss, Model, Params

Array = jax.Array
Draw = Callable[[int, np.random.Generator], Example]  # a labelled case's number and the draw's own generator

# Steps that are sent while an earlier one computes, so that an accelerator never waits for Python or for the next batch. On a CPU all of
# them share the same cores. More than a few would put off a stop, and the time left would count what nobody has computed.
_STEPS_AHEAD = {"cpu": 0, "accelerator": 2}


class Saving(NamedTuple):
    """Where states go.

    Attributes:
      save: writes a state, whose buffers the next step takes: what it keeps it must copy.
      every_seconds: between saves in passing; before a stop it is saved in any case.
    """

    save: Callable[[TrainState], None]
    every_seconds: float = math.inf


class Pool(NamedTuple):
    """Cases without a label.

    Attributes:
      cases: how many there are.
      draw: makes an example of one, whole or a patch at random.
    """

    cases: int
    draw: Draw


class Interrupted(Exception):
    """Training was asked to stop; the state was handed to `save` first."""


class Trainer:
    """Training for one model and one configuration, on all devices of this host; equal ones share their compiled programs.

    Args:
      kind: of task, which has the loss.
      model: the network.
      config: how to train it.
      warm: whether trainings start from the last round's weights.
      auxiliary: of the model's outputs that has a loss of its own (`networks.auxiliary.with_auxiliary`).
      further: loss of the outputs that the network has itself besides its task's.
      groups: of patients in the whole data set; only methods that look at groups need to know.

    Raises:
      UserError: an output learns by comparing cases, and each batch has but one.
    """

    def __init__(
        self,
        kind: TaskKind,
        model: Model,
        config: TrainingConfig,
        warm: bool = False,
        auxiliary: Auxiliary | None = None,
        further: FurtherLoss | None = None,
        groups: int = 1,
    ):
        if auxiliary and auxiliary.comparison and config.batch_size < 2:
            raise UserError(f"The output {auxiliary.name!r} learns by comparing cases, and the training takes one at a time.")
        config = _as_trained(config)
        self.model, self.config = model, config
        # Where a method decides only which cases come, the program is that of ERM.
        compiled = config if config.weighting.weighs else dataclasses.replace(config, weighting=Weighting())
        self._recipe = Recipe(model, compiled, kind.loss, kind.dense, auxiliary, further, kind.in_parts, kind.plane)
        self._groups = groups if config.weighting.dro else None
        self._mesh = make_mesh(self._recipe, jax.local_devices())
        self._base_steps = config.warm_steps if warm else config.steps
        self._peak_rate = np.float32(config.warm_rate if warm else config.peak_rate)

    def steps(self, labelled: int) -> int:
        """Optimizer steps for this many labelled cases."""
        return self._base_steps + round(self.config.steps_per_case * labelled)

    def start(self, key: Array, example: Example, params: Params | None = None) -> TrainState:
        """A fresh state, from given weights or from weights drawn with the key."""
        if params is None:
            params = jax.jit(self.model.init)(key, jnp.asarray(example.image[None]))
        return fresh_state(self._recipe.config, params, self._groups)

    def fit(
        self,
        key: Array,
        labelled: int | Membership,
        draw: Draw,
        state: TrainState,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        saving: Saving | None = None,
        unlabelled: Pool | None = None,
    ) -> TrainState:
        """Trains on from a state to the last step.

        Args:
          key: of the round and attempt.
          labelled: how many labelled cases there are, or which groups they belong to, as methods other than ERM need to know.
          draw: makes an example of a labelled case, whole or a patch at random; read ahead while the device works.
          state: from `start` or a checkpoint; its buffers are given up.
          progress: called with the steps done and the steps in all; a step is done when the device has computed it.
          should_stop: asked after each step that was sent; when it says yes, the state after it is saved and `Interrupted` raised.
          saving: where states go; nowhere when left out.
          unlabelled: cases without a label, which `TrainingConfig.unlabelled` learns from; without them it does not.
        """
        membership, count = (None, labelled) if isinstance(labelled, int) else (labelled, len(labelled.group))
        seed = [int(word) for word in jax.random.key_data(key).reshape(-1)]
        first, steps, due = int(state.step), self.steps(count), _Every(saving.every_seconds if saving else math.inf)
        others = unlabelled if self.config.unlabelled.learns and unlabelled and unlabelled.cases else None
        take_step = compiled_step(self._recipe if others else _of_labels_alone(self._recipe), self._mesh)
        state = jax.device_put(state, everywhere(self._mesh))
        running: collections.deque[Array] = collections.deque()  # a number that is there once its step is computed
        bound = _STEPS_AHEAD["cpu" if self._mesh.devices.flat[0].platform == "cpu" else "accelerator"]
        order = Order(self.config.weighting, membership, count, seed, self.config.batch_size)
        cohort_of = self._cohorts(order, membership)
        asked = self.config.batch_size * self.config.unlabelled.ratio
        for step, (examples, further) in enumerate(_batches(seed, range(first, steps), order, draw, others, asked), first):
            rate = self._peak_rate * np.float32(self._decay(step, order.count))
            is_last = step + 1 == steps
            with within_memory(
                self._told(examples), "A smaller batch_size of the training, or smaller patches or images, need less."
            ):
                batch = Batch(examples, cohort_of(step), further)
                state = take_step(state, key, batch, np.int32(steps), rate)
                running.append(jnp.copy(state.step) if bound else state.step)  # the next step takes the state's own
                # Without a bound the loop runs dozens of steps ahead: no stop, and no time left.
                while len(running) > (0 if is_last else bound):
                    running.popleft().block_until_ready()
                    if progress:
                        progress(step + 1 - len(running), steps)
            if is_last:
                break  # the caller keeps what is returned
            stopping = should_stop()
            if saving and (stopping or due()):
                saving.save(_on_one_device(state))
            if stopping:
                raise Interrupted
        return _on_one_device(state)

    def _cohorts(self, order: Order, membership: Membership | None) -> Callable[[int], Cohort | None]:
        """What each step is told of the groups of its cases."""
        if not self._recipe.weighs:
            return lambda step: None
        assert membership is not None
        weighting, group, sizes = self.config.weighting, membership.group, membership.sizes.astype(np.float32)
        weight = equal_weights(membership) if weighting.method == "balanced" else np.ones(len(group), np.float32)

        def of_step(step: int) -> Cohort:
            places = order.at(step)
            return Cohort(group[places], weight[places], sizes)

        return of_step

    def _told(self, batch: Example) -> str:
        count, *shape = batch.image.shape
        return f"A training step on {count} cases of {' x '.join(map(str, shape))} together, on {self._mesh.size} devices,"

    def _decay(self, step: int, count: int) -> float:
        epoch = step * self.config.batch_size // count
        return 1.0 if self.config.decay_per_epoch is None else self.config.decay_per_epoch**epoch


def _on_one_device(state: TrainState) -> TrainState:
    """A state without its copies on the other devices."""
    return jax.tree.map(lambda part: part.addressable_data(0), state)


def whole(examples: Sequence[Example]) -> Draw:
    """Draws examples that are in memory as they are."""
    return lambda index, rng: examples[index]


def _batches(
    seed: list[int], steps: range, order: Order, draw: Draw, others: Pool | None, asked: int
) -> Iterator[tuple[Example, Example | None]]:
    """The labelled and unlabelled examples of these steps, read ahead; each depends on its step alone."""

    def examples(step: int, places: Sequence[int], draw: Draw, purpose: int) -> Example:
        rngs = [np.random.default_rng([*seed, step, position, purpose]) for position in range(len(places))]
        return stacked([draw(index, rng) for index, rng in zip(places, rngs, strict=True)])

    def read(step: int) -> tuple[Example, Example | None]:
        labelled = examples(step, order.at(step), draw, 1)
        if others is None:
            return labelled, None
        return labelled, examples(step, in_turn([*seed, 3], step * asked, asked, others.cases), others.draw, 2)

    return ahead(steps, read)


def _as_trained(config: TrainingConfig) -> TrainingConfig:
    """The configuration with what its method for unlabelled cases brings along: a mean teacher is an average of the weights.

    Raises:
      UserError: groups of patients weigh differently, and nobody has said what they weigh without labels.
    """
    if not config.unlabelled.learns:
        return dataclasses.replace(config, unlabelled=Unlabelled())
    if config.weighting.weighs:
        raise UserError(
            f"Learning from unlabelled cases ({config.unlabelled.method}) does not go together with groups whose losses weigh differently "
            f"({config.weighting.method}). Leave one of the two out."
        )
    if config.unlabelled.method == "evidence" and not config.evidence:
        raise UserError(NO_EVIDENCE)
    is_teacher = config.unlabelled.method == "mean_teacher"
    return dataclasses.replace(config, average_decay=config.unlabelled.decay) if is_teacher else config


def _of_labels_alone(recipe: Recipe) -> Recipe:
    """The recipe where no case is left without a label."""
    return recipe._replace(config=dataclasses.replace(recipe.config, unlabelled=Unlabelled()))


class _Every:
    """Says yes once every so many seconds."""

    def __init__(self, seconds: float):
        self._seconds, self._last = seconds, time.monotonic()

    def __call__(self) -> bool:
        due = time.monotonic() - self._last >= self._seconds
        if due:
            self._last = time.monotonic()
        return due
