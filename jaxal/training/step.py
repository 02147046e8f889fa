"""One optimizer step: the gradient of each piece of a batch, their sum in a fixed order, and AdamW.

Devices share the pieces. How a batch is cut into pieces depends on the kind of task and the platform, never on the number of devices, and
the pieces' gradients are added in the order of the examples; so on a CPU no number depends on how many cores there are.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxal.training.averaging import Beside, averaged, put_together, taken_apart
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import WHOLE, Batch, Course, Cut, Recipe, gradient_of
from jaxal.training.weighting import Cohort, Shares, first_shares
from jaxal.types import Params

Array = jax.Array


class TrainState(NamedTuple):
    """What the next step needs.

    Attributes:
      params: weights.
      optimizer: its state, perhaps with the weights' average and snapshots (`averaging.taken_apart`).
      step: steps done.
      shares: of GroupDRO; None with other methods.
    """

    params: Params
    optimizer: optax.OptState
    step: Array
    shares: Shares | None = None


def make_mesh(recipe: Recipe, devices: Sequence[jax.Device]) -> Mesh:
    """The devices that train together: as many of those given as the batch can be divided among.

    On a CPU a volume is work enough for a device of its own, and its gradient a piece of its own. Images stay together on one device, which
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
    pieces = recipe.config.batch_size // mesh.size if alone else None

    def on_each(state: TrainState, key: Array, batch: Batch, steps: Array, peak_rate: Array) -> TrainState:
        return take_step(recipe, state, key, batch, steps, peak_rate, Cut(pieces, "examples"))

    cohort = Cohort(P("examples"), P("examples"), P()) if recipe.weighs else None
    batch = Batch(P("examples"), cohort, P("examples") if recipe.config.unlabelled.learns else None)  # type: ignore[arg-type]
    in_specs = (P(), P(), batch, P(), P())
    return jax.jit(jax.shard_map(on_each, mesh=mesh, check_vma=False, in_specs=in_specs, out_specs=P()), donate_argnums=0)


def take_step(
    recipe: Recipe,
    state: TrainState,
    key: Array,
    batch: Batch,
    steps: Array,
    peak_rate: Array,
    cut: Cut = WHOLE,
) -> TrainState:
    """One optimizer step.

    Args:
      recipe: see `Trainer`.
      state: before the step.
      key: of the round and attempt; the step's own is folded from it.
      batch: on several devices, this one's share.
      steps: in all, integer.
      peak_rate: largest learning rate; with a decay by epochs the rate itself.
      cut: how the batch is cut into pieces and shared by devices.
    """
    config = recipe.config
    # XLA does not know that this is the number of pieces. It would put a loop of one turn into the program around it, which gives it other
    # last digits than a loop of several.
    turns = jnp.where(steps >= 0, cut.pieces or 1, 0)
    own, average, snapshots = taken_apart(state.optimizer)
    course = Course(cut, turns, (state.step, steps), average if config.unlabelled.method == "mean_teacher" else None)
    step_key = jax.random.fold_in(key, state.step)
    gradient, shares = gradient_of(recipe, state.params, state.shares, step_key, batch, course)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes integers and floats, which a strict program would refuse
        updates, own = _optimizer(config).update(gradient, own, state.params)
        begin, end, cycle = cycle_of(state.step, steps, config.cycles)
        relative = (
            1.0 if config.decay_per_epoch is not None else relative_rate(state.step - begin, end - begin, config.warmup_share)
        )
        rate = peak_rate * relative
        updates = jax.tree.map(
            lambda update, trained: -rate * update if trained else jnp.zeros_like(update),
            updates,
            recipe.model.trainable(state.params),
        )
        params = optax.apply_updates(state.params, updates)
    if average is not None:
        assert config.average_decay is not None  # `fresh_state` made the state so
        average = averaged(average, params, state.step, config.average_decay)
    if snapshots is not None:
        ends, place = (state.step + 1 == end) & (cycle < config.cycles - 1), jnp.minimum(cycle, config.cycles - 2)
        snapshots = jax.tree.map(
            lambda all_, now: all_.at[place].set(jnp.where(ends, now, all_[place])),
            snapshots,
            params if average is None else average,
        )
    return TrainState(params, put_together(Beside(own, average, snapshots)), state.step + 1, shares)


def cycle_of(step: Array, steps: Array, cycles: int) -> tuple[Array | int, Array, Array]:
    """The first step of a step's cycle, the one after its last, and the number of the cycle; cycles differ by one step in length at most.

    Args:
      step: steps done, integer.
      steps: in all, integer.
      cycles: how many.
    """
    if cycles == 1:
        return 0, steps, jnp.zeros((), jnp.int32)
    bounds = jnp.arange(cycles + 1, dtype=jnp.int32) * steps // cycles
    cycle = jnp.clip((bounds <= step).sum() - 1, 0, cycles - 1)
    return bounds[cycle], bounds[cycle + 1], cycle.astype(jnp.int32)


def _optimizer(config: TrainingConfig) -> optax.GradientTransformation:
    """AdamW without its rate, which depends on the number of steps and so comes in as a number: one program for all rounds."""
    return optax.chain(
        optax.identity() if config.clip_norm is None else optax.clip_by_global_norm(config.clip_norm),
        optax.scale_by_adam(),
        optax.add_decayed_weights(config.weight_decay),
    )


@functools.partial(jax.jit, static_argnums=(0, 2))
def fresh_state(config: TrainingConfig, params: Params, groups: int | None = None) -> TrainState:
    """The state before the first step; `groups` of patients have shares with GroupDRO."""
    snapshots = None
    if config.cycles > 1:
        snapshots = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (config.cycles - 1, *leaf.shape)), params)
    shares = None if groups is None else first_shares(groups)
    average = None if config.average_decay is None else params
    optimizer = put_together(Beside(_optimizer(config).init(params), average, snapshots))
    return TrainState(params, optimizer, jnp.zeros((), jnp.int32), shares)


def trained_weights(state: TrainState) -> Params:
    """The weights that score and are measured: the average over the steps, if there is one."""
    average = taken_apart(state.optimizer).average
    return state.params if average is None else average


def snapshot(state: TrainState, number: int) -> Params:
    """The weights at the end of an earlier cycle: 1 is the one before the last."""
    return jax.tree.map(lambda leaf: leaf[len(leaf) - number], taken_apart(state.optimizer).snapshots)


def with_weights(state: TrainState, params: Params) -> TrainState:
    """A state whose `trained_weights` are these."""
    parts = taken_apart(state.optimizer)
    average = None if parts.average is None else params
    return state._replace(params=params, optimizer=put_together(parts._replace(average=average)))


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
