"""One optimizer step: the gradient of each group of examples, their sum in a fixed order, and AdamW.

Devices share the groups. How a batch is cut into groups depends on the kind of task and the platform, never on the number of devices, and
the groups' gradients are added in the order of the examples; so on a CPU no number depends on how many cores there are.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxal.arrays import flat, logits_of
from jaxal.training.augment import augment
from jaxal.training.averaging import Averaging, averaged
from jaxal.training.config import TrainingConfig
from jaxal.types import Auxiliary, Example, FurtherLoss, Model, Params

Array = jax.Array
Clock = tuple[Array, Array]  # steps done, steps in all


class Recipe(NamedTuple):
    """All that a step is compiled for; of equal ones there is one program.

    Attributes:
      model: the network.
      config: how to train it.
      loss, dense: of the kind of task (`task_kind.TaskKind`).
      auxiliary: an output with a loss of its own, which a strategy asked for.
      further: loss of the further outputs that the network has itself (`types.FurtherLoss`).
      in_parts: of the kind of task; an example's loss then weighs as much as it has labelled elements.
      plane: of the kind of task; its images have two space axes.
    """

    model: Model
    config: TrainingConfig
    loss: Callable[[TrainingConfig, Array, Example], Array]
    dense: bool
    auxiliary: Auxiliary | None = None
    further: FurtherLoss | None = None
    in_parts: bool = False
    plane: bool = False

    @property
    def of_volumes(self) -> bool:
        """Whether each example is a volume, with labels for its elements."""
        return self.dense and not self.plane


class TrainState(NamedTuple):
    """What the next step needs."""

    params: Params
    optimizer: optax.OptState
    step: Array


def make_mesh(recipe: Recipe, devices: Sequence[jax.Device]) -> Mesh:
    """The devices that train together: as many of those given as the batch can be divided among.

    On a CPU a volume is work enough for a device of its own, and its gradient a group of its own. Images stay together on one device, which
    has all cores for its products: a ResNet-18's weights are large, and two devices that go through them took no less time than one. One after the
    other, in a loop, the gradients of images would take five times as long, because XLA has no fast gradient of a 2-D convolution there.
    """
    parts = recipe.config.batch_size if recipe.of_volumes or devices[0].platform != "cpu" else 1
    count = max(number for number in range(1, len(devices) + 1) if parts % number == 0)
    return Mesh(np.array(devices[:count]), ("examples",))


def everywhere(mesh: Mesh) -> NamedSharding:
    """Where a state lies: whole on each device."""
    return NamedSharding(mesh, P())


@functools.lru_cache(maxsize=64)
def compiled_step(recipe: Recipe, mesh: Mesh) -> jax.stages.Wrapped:
    """`take_step` on the devices of a mesh; it gives up the buffers of the state."""
    alone = recipe.of_volumes and recipe.config.batch_size > 1 and mesh.devices.flat[0].platform == "cpu"
    groups = recipe.config.batch_size // mesh.size if alone else None

    def on_each(state: TrainState, key: Array, batch: Example, steps: Array, peak_rate: Array) -> TrainState:
        return take_step(recipe, state, key, batch, steps, peak_rate, groups, "examples")

    in_specs = (P(), P(), P("examples"), P(), P())
    return jax.jit(jax.shard_map(on_each, mesh=mesh, check_vma=False, in_specs=in_specs, out_specs=P()), donate_argnums=0)


def take_step(
    recipe: Recipe,
    state: TrainState,
    key: Array,
    batch: Example,
    steps: Array,
    peak_rate: Array,
    groups: int | None = None,
    axis: str | None = None,
) -> TrainState:
    """One optimizer step.

    Args:
      recipe: see `Trainer`.
      state: before the step.
      key: of the round and attempt; the step's own is folded from it.
      batch: examples with a leading axis; on several devices, this one's share.
      steps: in all, integer.
      peak_rate: largest learning rate; with a decay by epochs the rate itself.
      groups: of the examples at hand that yield a gradient of their own, one after the other; without it all come together.
      axis: name of the devices' axis, if there are several.
    """
    config = recipe.config
    # XLA does not know that this is the number of groups. It would put a loop of one turn into the program around it, which gives it other
    # last digits than a loop of several.
    turns = jnp.where(steps >= 0, groups or 1, 0)
    gradient = _gradient(
        recipe, state.params, jax.random.fold_in(key, state.step), batch, (groups, turns, (state.step, steps)), axis
    )
    own = state.optimizer.optimizer if isinstance(state.optimizer, Averaging) else state.optimizer
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats, which a strict program would refuse
        updates, optimizer = _optimizer(config).update(gradient, own, state.params)
        relative = relative_rate(state.step, steps, config.warmup_share) if config.decay_per_epoch is None else 1.0
        rate = peak_rate * relative
        updates = jax.tree.map(
            lambda update, trained: -rate * update if trained else jnp.zeros_like(update),
            updates,
            recipe.model.trainable(state.params),
        )
        params = optax.apply_updates(state.params, updates)
    if isinstance(state.optimizer, Averaging):
        assert config.average_decay is not None  # `fresh_state` made the state so
        optimizer = Averaging(optimizer, averaged(state.optimizer.average, params, state.step, config.average_decay))
    return TrainState(params, optimizer, state.step + 1)


def _gradient(
    recipe: Recipe, params: Params, key: Array, batch: Example, course: tuple[int | None, Array, Clock], axis: str | None
) -> Params:
    """The gradient of the mean loss of all devices' examples: the mean of the groups' gradients, added in their order.

    Args:
      recipe, params, key, batch, axis: see `take_step`.
      course: groups, their number as XLA knows it, and the clock.
    """
    groups, turns, clock = course
    count, own = batch.image.shape[0], groups or 1
    devices, place = (1, 0) if axis is None else (jax.lax.axis_size(axis), jax.lax.axis_index(axis))
    keys = [jax.random.split(jax.random.fold_in(key, purpose), count * devices) for purpose in (0, 1)]
    keys = [jax.lax.dynamic_slice_in_dim(part, place * count, count) for part in keys]
    weights = _weights(batch, axis) if recipe.in_parts else None
    if groups is None:
        gradients = jax.tree.map(lambda part: part[None], jax.grad(_loss, 1)(recipe, params, clock, *keys, batch, weights))
    else:
        gradients = _one_by_one(recipe, params, clock, (*keys, batch, weights), groups, turns)
    if devices > 1:
        gradients = jax.tree.map(lambda part: jax.lax.all_gather(part, axis, tiled=True), gradients)
    total = own * devices
    return jax.tree.map(lambda part: functools.reduce(jnp.add, (part[group] for group in range(total))) / total, gradients)


def _weights(batch: Example, axis: str | None) -> Array:
    """How many labelled elements each example has, over their mean in the whole batch, `[examples]`: an element then weighs the same in all."""
    counts = batch.labelled.reshape(len(batch.labelled), -1).sum(-1).astype(jnp.float32)
    of_all = counts if axis is None else jax.lax.all_gather(counts, axis, tiled=True)
    return counts / jnp.maximum(of_all.mean(), 1.0)


def _one_by_one(
    recipe: Recipe, params: Params, clock: Clock, examples: tuple[Array | Example | None, ...], groups: int, turns: Array
) -> Params:
    """Each group's own gradient, `[groups, ...]`, one after the other."""
    parts = jax.tree.map(lambda part: part.reshape(groups, part.shape[0] // groups, *part.shape[1:]), examples)

    def put(group: Array, gradients: Params) -> Params:
        part = jax.tree.map(lambda all_: jax.lax.dynamic_index_in_dim(all_, group, keepdims=False), parts)
        gradient = jax.grad(_loss, 1)(recipe, params, clock, *part)
        return jax.tree.map(lambda all_, one: jax.lax.dynamic_update_index_in_dim(all_, one, group, 0), gradients, gradient)

    nothing = jax.tree.map(lambda part: jnp.zeros((groups, *part.shape), part.dtype), params)
    return jax.lax.fori_loop(0, turns, put, nothing)


def _loss(
    recipe: Recipe, params: Params, clock: Clock, augment_keys: Array, mask_keys: Array, batch: Example, weights: Array | None
) -> Array:
    model = recipe.model
    batch = jax.vmap(functools.partial(augment, recipe.config, recipe.dense))(augment_keys, batch)
    masks = jax.vmap(model.draw_masks)(mask_keys)
    inside = batch.inside if recipe.dense else None
    output = model.tail(params, model.stem(params, batch.image, inside), masks)
    losses = recipe.loss(recipe.config, logits_of(flat(output), *model.head(params, masks)), batch)
    if recipe.further:
        losses = losses + recipe.further(output.auxiliary, batch, *clock)
    if recipe.auxiliary:
        losses = losses + recipe.auxiliary.loss(output.auxiliary[recipe.auxiliary.name], losses, batch)
    return losses.mean() if weights is None else (losses * weights).mean()


def _optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW without its rate, which depends on the number of steps and so comes in as a number: one program for all rounds."""
    return optax.chain(
        optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(config.weight_decay),
    )


@functools.partial(jax.jit, static_argnums=0)
def fresh_state(config: TrainingConfig, params: Params) -> TrainState:
    """The state before the first step."""
    optimizer = _optimizer(config).init(params)
    if config.average_decay is not None:
        optimizer = Averaging(optimizer, params)
    return TrainState(params, optimizer, jnp.zeros((), jnp.int32))


def trained_weights(state: TrainState) -> Params:
    """The weights that score and are measured: the average over the steps, if there is one."""
    return state.optimizer.average if isinstance(state.optimizer, Averaging) else state.params


def with_weights(state: TrainState, params: Params) -> TrainState:
    """A state whose `trained_weights` are these."""
    if isinstance(state.optimizer, Averaging):
        return state._replace(params=params, optimizer=state.optimizer._replace(average=params))
    return state._replace(params=params)


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
