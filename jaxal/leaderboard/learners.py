"""What learns the classes of points: a support vector machine and small networks, as networks that strategies can look at."""

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
_RATE, _BATCH = 1e-3, 32
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
      stochastic: members of a machine do not differ; strategies of members are refused.
    """

    def __init__(self, parts: Parts, stochastic: bool = False):
        pool = parts.pool.inputs
        spread, directions = np.linalg.eigh(self._kernel(pool, pool))
        kept = spread > _LEAST * spread[-1]
        onto = directions[:, kept] / np.sqrt(spread[kept])
        self.inputs = lambda points: (self._kernel(points, pool) @ onto).astype(np.float32)
        width = int(kept.sum())
        params = {"kernel": jnp.zeros((width, 2)), "bias": jnp.zeros(2)}
        self.model, _ = adapters.function(
            lambda params, points, key: points,
            lambda params: (params["kernel"], params["bias"]),
            params,
            np.zeros((2, width), np.float32),
        )

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

    As CDALBench trains (Werner et al. 2024, arXiv 2408.00426): its code means to begin each training from scratch, but keeps no copy of the first weights, so
    both the weights and the optimizer's memory go on. The first training takes 50 epochs. A training ends when the loss of the evaluation set has not fallen for more
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
        self._module, self._parts, self._most, self._patience = Dense(hidden, stochastic), parts, most, patience
        self._optimizer = optax.nadam(_RATE)
        variables = self._module.init(jax.random.key(0), jnp.asarray(parts.pool.inputs[:2]))
        train = {"off": {"train": False}, "on": {"train": True} if stochastic else None}
        self.model, _ = adapters.linen(self._module, variables, parts.pool.inputs[:2], head=f"layer_{len(hidden)}", **train)
        self._train = jax.jit(self._trained, static_argnames=("epochs", "patience"))

    def learn(self, labelled: Points, before: Learned | None, key: Array) -> Learned:
        if before is None:
            params = self._module.init(jax.random.fold_in(key, 0), jnp.asarray(labelled.inputs[:2]))
            before = Learned(params, self._optimizer.init(params))
            epochs, patience = 50, 50
        else:
            epochs, patience = 100, self._patience
        spare = self._most - len(labelled.classes)
        inputs = jnp.asarray(np.pad(labelled.inputs, [(0, spare), (0, 0)]))
        classes = jnp.asarray(np.pad(labelled.classes, (0, spare)).astype(np.int32))
        taught = inputs, classes, jnp.int32(len(labelled.classes))
        return self._train(before, taught, jax.random.fold_in(key, 1), epochs=epochs, patience=patience)

    def _trained(self, before: Learned, taught: tuple[Array, Array, Array], key: Array, epochs: int, patience: int) -> Learned:
        inputs, classes, count = taught
        there = jnp.arange(self._most) < count
        batches = jnp.maximum(count // _BATCH, 1)  # what does not fill a batch is left out of an epoch
        checked, truth = jnp.asarray(self._parts.evaluation.inputs), jnp.asarray(self._parts.evaluation.classes.astype(np.int32))

        def loss_of(params: Params, places: Array, key: Array) -> Array:
            logits = self._module.apply(params, inputs[places], train=True, rngs={"dropout": key})
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, classes[places])
            weights = there[places].astype(jnp.float32)
            return (losses * weights).sum() / weights.sum()

        def epoch(state: tuple[Learned, Array, Array], key: Array) -> tuple[tuple[Learned, Array, Array], None]:
            learned, least, waited = state
            chances = jnp.where(there, jax.random.uniform(key, (self._most,)), jnp.inf)
            order = jnp.argsort(chances)

            def step(number: Array, learned: Learned) -> Learned:
                places = jax.lax.dynamic_slice(order, (number * _BATCH,), (min(_BATCH, self._most),))
                gradient = jax.grad(loss_of)(learned.params, places, jax.random.fold_in(key, number))
                with jax.numpy_dtype_promotion("standard"):
                    updates, memory = self._optimizer.update(gradient, learned.memory, learned.params)
                    return Learned(optax.apply_updates(learned.params, updates), memory)

            learned = jax.lax.fori_loop(0, jnp.where(waited <= patience, batches, 0), step, learned)
            logits = self._module.apply(learned.params, checked)
            loss = optax.softmax_cross_entropy_with_integer_labels(logits, truth).mean()
            waited = jnp.where(loss < least, 0, waited + 1)
            return (learned, jnp.minimum(loss, least), waited), None

        start = before, jnp.float32(jnp.inf), jnp.int32(0)
        return jax.lax.scan(epoch, start, jax.random.split(key, epochs))[0][0]


def _uniform(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """As PyTorch begins a dense layer: uniform within one over the root of what enters it."""
    bound = shape[0] ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _uniform_bias(entering: int) -> Callable[..., Array]:
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -(entering**-0.5), entering**-0.5)
