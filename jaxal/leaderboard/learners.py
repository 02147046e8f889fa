"""What learns the classes of points: a support vector machine and small networks, as networks that strategies can look at."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxal.leaderboard.points import Parts, Points
from jaxal.networks import adapters
from jaxal.types import Model, Params

Array = jax.Array
_BATCH = 32
_OPTIMIZER = optax.nadam(1e-3)
_LEAST = 1e-6  # of the largest share of the kernel's spread, below which a direction is rounding


class Learned(NamedTuple):
    """A network after one round.

    Attributes:
      params: its weights.
      memory: what the next round's training goes on from.
    """

    params: Params
    memory: Any


class Learner(Protocol):
    """Learns the points of one draw of a task, round after round.

    Attributes:
      model: what strategies look at.
      inputs: points as that network takes them, `[cases, dimensions] -> [cases, width]`.
    """

    model: Model
    inputs: Callable[[np.ndarray], np.ndarray]

    def learn(self, labelled: Points, before: Learned | None, key: Array) -> Learned:
        """Trains on what is labelled, from where the last round ended."""
        ...


class SupportVectors:
    """A support vector machine with a Gaussian kernel, gamma one over the dimensions and C = 1, with a fresh fit in each round.

    A kernel machine is linear in the space of its kernel. The points of the pool span the part of that space that matters; a point's coordinates there are its
    inputs, so products and distances are the kernel's, and a last layer holds the machine.

    Args:
      parts: of the task.
    """

    def __init__(self, parts: Parts):
        pool = parts.pool.inputs
        spread, directions = np.linalg.eigh(self._kernel(pool, pool))
        kept = spread > _LEAST * spread[-1]
        onto = directions[:, kept] / np.sqrt(spread[kept])
        self.inputs = lambda points: (self._kernel(points, pool) @ onto).astype(np.float32)
        self.model = _last_layer(int(kept.sum()))

    def learn(self, labelled: Points, before: Learned | None, key: Array) -> Learned:
        from sklearn.svm import SVC

        machine = SVC(gamma="auto").fit(labelled.inputs, labelled.classes)
        normal = machine.dual_coef_[0] @ self.inputs(machine.support_vectors_)
        kernel, bias = np.stack([-normal, normal], -1), np.concatenate([-machine.intercept_, machine.intercept_])
        return Learned({"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}, None)

    @staticmethod
    def _kernel(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        from sklearn.metrics.pairwise import rbf_kernel

        return rbf_kernel(some.astype(np.float64), others.astype(np.float64))


class Dense(nn.Module):
    """Dense layers with rectifiers, and perhaps dropout of a fifth before each but the first.

    Attributes:
      hidden: widths of the layers before the last.
      drops: whether there is dropout.
    """

    hidden: tuple[int, ...]
    drops: bool = False

    @nn.compact
    def __call__(self, points: Array, train: bool = False) -> Array:
        for number, width in enumerate((*self.hidden, 2)):
            if self.drops and (number or not self.hidden):
                points = nn.Dropout(0.2, deterministic=not train)(points)
            layer = nn.Dense(width, kernel_init=_uniform, bias_init=_uniform_bias(points.shape[-1]), name=f"layer_{number}")
            points = layer(points) if number == len(self.hidden) else nn.relu(layer(points))
        return points


class Network:
    """Dense layers that go on from the last round's weights, 100 epochs a round in batches of 32 by Adam with Nesterov's momentum.

    As CDALBench trains (Werner et al. 2024, arXiv 2408.00426). Its code knows two modes; the one that means to begin each training from scratch keeps no copy
    of the first weights, so in both the weights and the optimizer's memory go on. The first training takes 50 epochs. A training ends when the loss of the evaluation set has not fallen for more
    epochs than it has patience for.

    Args:
      parts: of the task.
      hidden: widths of the layers before the last.
      most: points that are labelled in the last round; what is compiled has room for them.
      stochastic: whether the network has dropout, as theirs has for strategies of members alone.
      patience: in epochs; the first training has one of 50.
    """

    def __init__(self, parts: Parts, hidden: tuple[int, ...], most: int, stochastic: bool, patience: int):
        self.inputs = lambda points: points
        self._module, self._most, self._patience = Dense(hidden, stochastic), most, patience
        self._evaluation = jnp.asarray(parts.evaluation.inputs), jnp.asarray(parts.evaluation.classes.astype(np.int32))
        self.model = _network(self._module, parts.pool.inputs.shape[1])

    def learn(self, labelled: Points, before: Learned | None, key: Array) -> Learned:
        if before is None:
            params = self._module.init(jax.random.fold_in(key, 0), jnp.asarray(labelled.inputs[:2]))
            before = Learned(params, _OPTIMIZER.init(params))
            epochs, patience = 50, 50
        else:
            epochs, patience = 100, self._patience
        spare = self._most - len(labelled.classes)
        inputs = jnp.asarray(np.pad(labelled.inputs, [(0, spare), (0, 0)]))
        classes = jnp.asarray(np.pad(labelled.classes, (0, spare)).astype(np.int32))
        taught = Taught(inputs, classes, jnp.int32(len(labelled.classes)), *self._evaluation)
        return _trained(self._module, before, taught, jax.random.fold_in(key, 1), epochs=epochs, patience=patience)


class Taught(NamedTuple):
    """What a network learns from: `[most, dimensions]` and `[most]`, of which the first `known` are labelled, and the evaluation set."""

    inputs: Array
    classes: Array
    known: Array
    checked: Array
    truth: Array


@functools.partial(jax.jit, static_argnames=("module", "epochs", "patience"))
def _trained(module: Dense, before: Learned, taught: Taught, key: Array, *, epochs: int, patience: int) -> Learned:
    """A training of one round; compiled once for all draws of a task."""
    most = len(taught.classes)
    there = jnp.arange(most) < taught.known
    batches = jnp.maximum(taught.known // _BATCH, 1)  # what does not fill a batch is left out of an epoch

    def loss_of(params: Params, places: Array, key: Array) -> Array:
        logits = module.apply(params, taught.inputs[places], train=True, rngs={"dropout": key})
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, taught.classes[places])
        weights = there[places].astype(jnp.float32)
        return (losses * weights).sum() / weights.sum()

    def epoch(state: tuple[Learned, Array, Array], key: Array) -> tuple[tuple[Learned, Array, Array], None]:
        learned, least, waited = state
        order = jnp.argsort(jnp.where(there, jax.random.uniform(key, (most,)), jnp.inf))

        def step(number: Array, learned: Learned) -> Learned:
            places = jax.lax.dynamic_slice(order, (number * _BATCH,), (min(_BATCH, most),))
            gradient = jax.grad(loss_of)(learned.params, places, jax.random.fold_in(key, number))
            with jax.numpy_dtype_promotion("standard"):
                updates, memory = _OPTIMIZER.update(gradient, learned.memory, learned.params)
                return Learned(optax.apply_updates(learned.params, updates), memory)

        learned = jax.lax.fori_loop(0, jnp.where(waited <= patience, batches, 0), step, learned)
        loss = optax.softmax_cross_entropy_with_integer_labels(module.apply(learned.params, taught.checked), taught.truth).mean()
        waited = jnp.where(loss < least, 0, waited + 1)
        return (learned, jnp.minimum(loss, least), waited), None

    start = before, jnp.float32(jnp.inf), jnp.int32(0)
    return jax.lax.scan(epoch, start, jax.random.split(key, epochs))[0][0]


# Passes are compiled for each model, so of learners that are alike there is one.


@functools.cache
def _last_layer(width: int) -> Model:
    params = {"kernel": jnp.zeros((width, 2)), "bias": jnp.zeros(2)}
    example = np.zeros((2, width), np.float32)
    return adapters.function(
        lambda params, points, key: points, lambda params: (params["kernel"], params["bias"]), params, example
    )[0]


@functools.cache
def _network(module: Dense, dimensions: int) -> Model:
    example = np.zeros((2, dimensions), np.float32)
    example[1] = 1.0
    variables = module.init(jax.random.key(0), jnp.asarray(example))
    on = {"train": True} if module.drops else None
    return adapters.linen(module, variables, example, head=f"layer_{len(module.hidden)}", off={"train": False}, on=on)[0]


def _uniform(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """As PyTorch begins a dense layer: uniform within one over the root of what enters it."""
    bound = shape[0] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _uniform_bias(entering: int) -> Callable[..., Array]:
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -(entering**-0.5), entering**-0.5)
