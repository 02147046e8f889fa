"""Training for one round: a jitted, donated step in a plain Python loop.

A Python loop and not `lax.scan`, so that it can be shown, saved and stopped at every step. Every random draw is keyed by what
it is for (round, attempt, step), so that a training resumed at any step goes on as if never stopped.
"""

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxal.arrays import flat, logits_of
from jaxal.training.augment import augment
from jaxal.training.config import TrainingConfig
from jaxal.types import Auxiliary, Example, Model, Params, TaskKind

Array = jax.Array
Draw = Callable[[int, np.random.Generator], Example]  # a labelled case's number and the draw's own generator


class Recipe(NamedTuple):
    """All that a step is compiled for; of equal ones there is one program.

    Attributes:
      model: the network.
      config: how to train it.
      loss, dense: of the kind of task (`types.TaskKind`).
      auxiliary: an output with a loss of its own.
    """

    model: Model
    config: TrainingConfig
    loss: Callable[[TrainingConfig, Array, Example], Array]
    dense: bool
    auxiliary: Auxiliary | None = None


class TrainState(NamedTuple):
    """What the next step needs."""

    params: Params
    optimizer: optax.OptState
    step: Array


class Interrupted(Exception):
    """Training was asked to stop; the state was handed to `save` first."""


class Trainer:
    """Training for one model and one configuration; equal ones share their compiled programs.

    Args:
      kind: of task, which has the loss.
      model: the network.
      config: how to train it.
      warm: whether trainings start from the last round's weights.
      auxiliary: of the model's outputs that has a loss of its own (`networks.auxiliary.with_auxiliary`).
    """

    def __init__(
        self, kind: TaskKind, model: Model, config: TrainingConfig, warm: bool = False, auxiliary: Auxiliary | None = None
    ):
        self.model, self.config = model, config
        self._recipe = Recipe(model, config, kind.loss, kind.dense, auxiliary)
        self._base_steps = config.warm_steps if warm else config.steps
        self._peak_rate = np.float32(config.warm_rate if warm else config.peak_rate)

    def steps(self, labelled: int) -> int:
        """Optimizer steps for this many labelled cases."""
        return self._base_steps + round(self.config.steps_per_case * labelled)

    def start(self, key: Array, example: Example, params: Params | None = None) -> TrainState:
        """A fresh state, from given weights or from weights drawn with the key."""
        if params is None:
            params = jax.jit(self.model.init)(key, jnp.asarray(example.image[None]))
        return _fresh_state(self.config, params)

    def fit(
        self,
        key: Array,
        count: int,
        draw: Draw,
        state: TrainState,
        progress: Callable[[int, int], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        save: Callable[[TrainState], None] | None = None,
        save_every_seconds: float = math.inf,
    ) -> TrainState:
        """Trains on from a state to the last step.

        Args:
          key: of the round and attempt.
          count: labelled cases.
          draw: makes an example of a labelled case, whole or a patch at random; read ahead while the device works.
          state: from `start` or a checkpoint; its buffers are given up.
          progress: called with the steps done and the steps in all.
          should_stop: asked after each step; when it says yes, the state is saved and `Interrupted` raised.
          save: writes a state.
          save_every_seconds: between saves in passing.
        """
        seed = [int(word) for word in jax.random.key_data(key).reshape(-1)]
        first, steps, due = int(state.step), self.steps(count), _Every(save_every_seconds)
        for step, batch in enumerate(_batches(seed, first, steps, self.config.batch_size, count, draw), first):
            rate = self._peak_rate * np.float32(self._decay(step, count))
            state = _compiled_step(self._recipe, state, key, batch, np.int32(steps), rate)
            state.step.block_until_ready()  # else the loop runs dozens of steps ahead of the device: no stop, no time left
            if progress:
                progress(step + 1, steps)
            if step + 1 == steps:
                break  # the caller keeps what is returned
            stopping = should_stop()
            if save and (stopping or due()):
                save(state)
            if stopping:
                raise Interrupted
        return state

    def _decay(self, step: int, count: int) -> float:
        epoch = step * self.config.batch_size // count
        return 1.0 if self.config.decay_per_epoch is None else self.config.decay_per_epoch**epoch


def whole(examples: Sequence[Example]) -> Draw:
    """Draws examples that are in memory as they are."""
    return lambda index, rng: examples[index]


def _optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW without its rate, which depends on the number of steps and so comes in as a number: one program for all rounds."""
    return optax.chain(
        optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(config.weight_decay),
    )


@functools.partial(jax.jit, static_argnums=0)
def _fresh_state(config: TrainingConfig, params: Params) -> TrainState:
    return TrainState(params, _optimizer(config).init(params), jnp.zeros((), jnp.int32))


def take_step(recipe: Recipe, state: TrainState, key: Array, batch: Example, steps: Array, peak_rate: Array) -> TrainState:
    """One optimizer step.

    Args:
      recipe: see `Trainer`.
      state: before the step.
      key: of the round and attempt; the step's own is folded from it.
      batch: examples with a leading axis.
      steps: in all, integer.
      peak_rate: largest learning rate; with a decay by epochs the rate itself.
    """
    config = recipe.config
    gradient = jax.grad(_loss, 1)(recipe, state.params, jax.random.fold_in(key, state.step), batch)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats, which a strict program would refuse
        updates, optimizer = _optimizer(config).update(gradient, state.optimizer, state.params)
        relative = relative_rate(state.step, steps, config.warmup_share) if config.decay_per_epoch is None else 1.0
        rate = peak_rate * relative
        updates = jax.tree.map(
            lambda update, trained: -rate * update if trained else jnp.zeros_like(update),
            updates,
            recipe.model.trainable(state.params),
        )
        params = optax.apply_updates(state.params, updates)
    return TrainState(params, optimizer, state.step + 1)


_compiled_step = jax.jit(take_step, static_argnums=0, donate_argnums=1)


def _loss(recipe: Recipe, params: Params, key: Array, batch: Example) -> Array:
    count, model = batch.image.shape[0], recipe.model
    augment_keys, mask_keys = (
        jax.random.split(jax.random.fold_in(key, 0), count),
        jax.random.split(jax.random.fold_in(key, 1), count),
    )
    batch = jax.vmap(functools.partial(augment, recipe.config, recipe.dense))(augment_keys, batch)
    masks = jax.vmap(model.draw_masks)(mask_keys)
    inside = batch.inside if recipe.dense else None
    output = model.tail(params, model.stem(params, batch.image, inside), masks)
    losses = recipe.loss(recipe.config, logits_of(flat(output), *model.head(params, masks)), batch)
    if recipe.auxiliary:
        losses = losses + recipe.auxiliary.loss(output.auxiliary[recipe.auxiliary.name], losses, batch)
    return losses.mean()


def relative_rate(step: Array, steps: Array, warmup_share: float) -> Array:
    """The learning rate as a share of its peak: a linear rise, then a cosine to zero (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Args:
      step: steps done, integer.
      steps: steps in all, integer.
      warmup_share: share of the steps that the rate rises; the rise takes at least one step.
    """
    step, steps = jnp.float32(step), jnp.float32(steps)
    warmup = jnp.maximum(jnp.floor(warmup_share * steps), 1.0)
    decay = (step - warmup) / jnp.maximum(steps - warmup, 1.0)
    return jnp.where(step < warmup, step / warmup, 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(decay, 0.0, 1.0))))


def _batches(seed: list[int], first: int, steps: int, size: int, count: int, draw: Draw) -> Iterator[Example]:
    """The batches of steps `first` to `steps`, two read ahead; each depends on its step alone."""

    def read(step: int) -> Example:
        rngs = [np.random.default_rng([*seed, step, position, 1]) for position in range(size)]
        chosen = [draw(index, rng) for index, rng in zip(_batch_indices(seed, step, size, count), rngs, strict=True)]
        return Example(*(np.stack(part) for part in zip(*chosen, strict=True)))

    if first < steps:
        reader = grain.MapDataset.source(range(first, steps)).map(read)
        yield from reader.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))


def _batch_indices(seed: list[int], step: int, size: int, count: int) -> list[int]:
    """The cases of a step: every epoch goes through all of them in an order of its own."""
    places = range(step * size, (step + 1) * size)
    orders = {epoch: np.random.default_rng([*seed, epoch]).permutation(count) for epoch in {place // count for place in places}}
    return [int(orders[place // count][place % count]) for place in places]


class _Every:
    """Says yes once every so many seconds."""

    def __init__(self, seconds: float):
        self._seconds, self._last = seconds, time.monotonic()

    def __call__(self) -> bool:
        due = time.monotonic() - self._last >= self._seconds
        if due:
            self._last = time.monotonic()
        return due
