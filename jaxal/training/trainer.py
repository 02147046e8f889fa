"""Training for one round: a jitted, donated step in a plain Python loop.

A Python loop and not `lax.scan`, so that it can be shown, saved and stopped at every step. Every random draw is keyed by what
it is for (round, attempt, step), so that a training resumed at any step goes on as if never stopped.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.ndimage import map_coordinates

from jaxal.data.cases import Example
from jaxal.networks.layers import is_frozen
from jaxal.scoring.members import flat, logits_of
from jaxal.training import losses
from jaxal.types import Model, Params

Array = jax.Array
Draw = Callable[[int, np.random.Generator], Example]  # a labelled case's number and the draw's own generator


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
      steps: optimizer steps from scratch, besides those per case.
      warm_steps: optimizer steps when starting from the last round's weights, besides those per case.
      steps_per_case: further steps for every labelled case: more cases take longer to learn.
      batch_size: cases a step.
      peak_rate: largest learning rate; warm-up is linear, decay is a cosine to zero.
      decay_per_epoch: factor on the rate after each time through all labelled cases, instead of warm-up and cosine.
      warm_rate: largest learning rate when starting from the last round's weights.
      warmup_share: share of the steps that the rate rises.
      weight_decay: of AdamW.
      dice: whether soft Dice is added to the cross-entropy; for images with one class it says nothing more.
      foreground_weight: factor on the cross-entropy of elements that are not background.
      clip_norm: largest norm of the gradient; None leaves it as it is.
      contrast, brightness: standard deviations of the logarithm of a random gain and of a random offset, images having unit
        deviation.
      noise: standard deviation of the noise's own, random level.
      rotation_degrees, scaling: standard deviations of a random rotation about each axis and of the logarithm of a zoom.
      flips: space axes along which every second example is flipped.
      attempts: trainings with other keys before a collapse is accepted and reported.
    """

    steps: int = 200
    warm_steps: int = 100
    steps_per_case: float = 0
    batch_size: int = 2
    peak_rate: float = 1.2e-2
    warm_rate: float = 4e-3
    warmup_share: float = 0.15
    decay_per_epoch: float | None = None
    weight_decay: float = 1e-4
    dice: bool = True
    foreground_weight: float = 1.0
    clip_norm: float | None = 1.0
    contrast: float = 0.15
    brightness: float = 0.15
    noise: float = 0.1
    rotation_degrees: float = 0.0
    scaling: float = 0.0
    flips: tuple[int, ...] = ()
    attempts: int = 3


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
      model: the network.
      config: how to train it.
      warm: whether trainings start from the last round's weights.
    """

    def __init__(self, model: Model, config: TrainingConfig, warm: bool = False):
        self.model, self.config = model, config
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
        save_now: Callable[[], bool] = lambda: False,
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
          save_now: asked after each step whether to save in passing.
        """
        seed = [int(word) for word in jax.random.key_data(key).reshape(-1)]
        first, steps = int(state.step), self.steps(count)
        for step, batch in enumerate(_batches(seed, first, steps, self.config.batch_size, count, draw), first):
            rate = self._peak_rate * np.float32(self._decay(step, count))
            state = _compiled_step(self.model, self.config, state, key, batch, np.int32(steps), rate)
            state.step.block_until_ready()  # else the loop runs dozens of steps ahead of the device: no stop, no time left
            if progress:
                progress(step + 1, steps)
            if step + 1 == steps:
                break  # the caller keeps what is returned
            stopping = should_stop()
            if save and (stopping or save_now()):
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


def take_step(
    model: Model, config: TrainingConfig, state: TrainState, key: Array, batch: Example, steps: Array, peak_rate: Array
) -> TrainState:
    """One optimizer step.

    Args:
      model, config: see `Trainer`.
      state: before the step.
      key: of the round and attempt; the step's own is folded from it.
      batch: examples with a leading axis.
      steps: in all, integer.
      peak_rate: largest learning rate; with a decay by epochs the rate itself.
    """
    gradient = jax.grad(_loss, 2)(model, config, state.params, jax.random.fold_in(key, state.step), batch)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats, which a strict program would refuse
        updates, optimizer = _optimizer(config).update(gradient, state.optimizer, state.params)
        relative = relative_rate(state.step, steps, config.warmup_share) if config.decay_per_epoch is None else 1.0
        rate = peak_rate * relative
        updates = jax.tree_util.tree_map_with_path(
            lambda path, update: jnp.zeros_like(update) if is_frozen(path) else -rate * update, updates
        )
        params = optax.apply_updates(state.params, updates)
    return TrainState(params, optimizer, state.step + 1)


_compiled_step = jax.jit(take_step, static_argnums=(0, 1), donate_argnums=2)


def _loss(model: Model, config: TrainingConfig, params: Params, key: Array, batch: Example) -> Array:
    count = batch.image.shape[0]
    augment_keys, mask_keys = (
        jax.random.split(jax.random.fold_in(key, 0), count),
        jax.random.split(jax.random.fold_in(key, 1), count),
    )
    batch = jax.vmap(functools.partial(_augment, config))(augment_keys, batch)
    masks = jax.vmap(model.draw_masks)(mask_keys)
    output = model.tail(params, model.stem(params, batch.image), masks)
    logits = logits_of(flat(output), *model.head(params, masks))
    labels, valid = batch.label.reshape(count, -1).astype(jnp.int32), batch.valid.reshape(count, -1)
    classes = logits.shape[1]
    weights = jnp.full((classes,), config.foreground_weight).at[0].set(1.0)
    loss = losses.cross_entropy(logits, labels, valid, weights)
    if config.dice:
        loss = loss + losses.soft_dice(logits, labels, valid, losses.present_foreground(labels, valid, classes))
    return loss.mean()


def _augment(config: TrainingConfig, key: Array, example: Example) -> Example:
    if config.rotation_degrees or config.scaling:
        example = _turn(jax.random.fold_in(key, 0), example, np.deg2rad(config.rotation_degrees), config.scaling)
    if config.flips:
        example = _flip(jax.random.fold_in(key, 2), example, config.flips)
    # One draw for all: on a CPU every draw of another shape costs half a second of compilation.
    draws = jax.random.normal(jax.random.fold_in(key, 1), (3 + example.image.size,))
    image = example.image * jnp.exp(config.contrast * draws[0]) + config.brightness * draws[1]
    noise = config.noise * jnp.abs(draws[2]) * draws[3:].reshape(image.shape)
    return example._replace(image=image + noise)


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


def _flip(key: Array, example: Example, axes: Sequence[int]) -> Example:
    """Flips image and label map along each axis with a chance of one half."""
    flags = jax.random.bernoulli(key, 0.5, (len(axes),))
    for flag, axis in zip(flags, axes, strict=True):
        example = Example(*(jnp.where(flag, jnp.flip(part, axis), part) if part.ndim else part for part in example))
    return example


def _turn(key: Array, example: Example, rotation: float, scaling: float) -> Example:
    """Turns and zooms image and label map about the centre; what comes from outside is the border's value and not valid."""
    shape = example.image.shape[:-1]
    angles = rotation * jax.random.normal(jax.random.fold_in(key, 0), (3,))
    if len(shape) == 2:  # within the plane alone
        angles = angles * jnp.array([0.0, 0.0, 1.0])
    matrix = jnp.exp(scaling * jax.random.normal(jax.random.fold_in(key, 1), ())) * _rotation(angles)[: len(shape), : len(shape)]
    centre = (jnp.array(shape, jnp.float32) - 1) / 2
    grid = jnp.stack(jnp.meshgrid(*(jnp.arange(size, dtype=jnp.float32) for size in shape), indexing="ij"), -1)
    centre = centre.reshape((1,) * len(shape) + (-1,))
    points = list(jnp.moveaxis((grid - centre) @ matrix.T + centre, -1, 0))
    image = jax.vmap(lambda channel: map_coordinates(channel, points, order=1, mode="nearest"), -1, -1)(example.image)
    if not example.label.ndim:  # the class of the image as a whole
        return example._replace(image=image)
    label = map_coordinates(example.label.astype(jnp.float32), points, order=0, mode="nearest")
    valid = map_coordinates(example.valid.astype(jnp.float32), points, order=0, mode="constant")
    return Example(image, label.astype(example.label.dtype), valid > 0)


def _rotation(angles: Array) -> Array:
    """Rotation matrix for a rotation vector, by Rodrigues' formula."""
    x, y, z = angles
    zero = jnp.zeros(())
    generator = jnp.stack([jnp.stack([zero, -z, y]), jnp.stack([z, zero, -x]), jnp.stack([-y, x, zero])])
    return jax.scipy.linalg.expm(generator)


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
