"""Training without labels: a network learns to tell cases apart, or how they are turned, so that its features say how alike cases are."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxal.data.draws import in_turn
from jaxal.data.stream import ahead
from jaxal.errors import within_memory
from jaxal.training.augment import augment
from jaxal.training.config import TrainingConfig
from jaxal.types import Case, Example, Load, Model, Params

Array = jax.Array
Objective = Literal["contrastive", "orientation"]

_SHARPNESS, _RATE, _PROJECTED, _LEAST_SIDE = 0.1, 1e-3, 64, 0.5
_ORIENTATIONS = 4


class Lesson(NamedTuple):
    """All that a step is compiled for.

    Attributes:
      model: whose pooled features learn.
      config: of the training with labels, whose variation of images is made stronger.
      objective: what is learned.
      steps: in all.
      dense: whether cases have padding, which the network is told of (`TaskKind.dense`).
    """

    model: Model
    config: TrainingConfig
    objective: Objective
    steps: int
    dense: bool


class Images(NamedTuple):
    """Images of a step.

    Attributes:
      image: `[images, *space, channels]`.
      inside: `[images, *space]`, boolean; None where there is no padding.
    """

    image: Any
    inside: Any


class _Projection(nn.Module):
    """From pooled features to what is compared or decided."""

    outputs: int

    @nn.compact
    def __call__(self, embedding: Array) -> Array:
        hidden = nn.relu(nn.Dense(128, precision="highest")(embedding))
        return nn.Dense(self.outputs, precision="highest")(hidden)


def learn_alone(
    lesson: Lesson, key: Array, cases: Sequence[Case], load: Load, batch_size: int, progress: Callable[[int, int], None]
) -> tuple[Params, np.ndarray]:
    """Trains without labels.

    Args:
      lesson: what is learned and how long.
      key: of weights and draws.
      cases: at least two.
      load: reads them.
      batch_size: cases a step, at most all; contrastive, each is told from all others.
      progress: called with the steps done and in all; may raise to end.

    Returns:
      The network's params, and each case's mean loss over the last tenth of the steps that it took part in, or its last, `[cases]`.
    """
    size, first = min(batch_size, len(cases)), load(cases[0])
    example = Images(jnp.asarray(first.image[None]), jnp.asarray(first.inside[None]) if lesson.dense else None)
    params = jax.jit(lesson.model.init)(key, example.image)
    head = _Projection(_PROJECTED if lesson.objective == "contrastive" else _ORIENTATIONS)
    embedding = jax.eval_shape(lambda: _embedding(lesson.model, params, example))
    state = {"network": params, "projection": head.lazy_init(jax.random.fold_in(key, 1), embedding)["params"]}
    memory = _optimizer(lesson.steps).init(state)
    last, total, counted = (np.zeros(len(cases)) for _ in range(3))
    what = f"Learning without labels from {size} cases of {' x '.join(map(str, first.image.shape[:-1]))} together"
    for step, (places, images) in enumerate(_batches(lesson, key, cases, load, size)):
        with within_memory(what, "Smaller images need less."):
            state, memory, lost = _take_step(lesson, head, state, memory, jax.random.fold_in(key, step + 2), images)
            last[places] = np.asarray(lost)
        if step >= lesson.steps - -(-lesson.steps // 10):
            total[places] += last[places]
            counted[places] += 1
        progress(step + 1, lesson.steps)
    return state["network"], np.where(counted > 0, total / np.maximum(counted, 1), last)


def steps_for(cases: int, batch_size: int, epochs: int) -> int:
    """Steps that go through all cases so many times."""
    return epochs * -(-cases // min(batch_size, cases))


def _batches(lesson: Lesson, key: Array, cases: Sequence[Case], load: Load, size: int) -> Iterator[tuple[np.ndarray, Images]]:
    """Places of each step's cases, and their images; every epoch goes through all in an order of its own, and borrows from the next for a full batch."""
    seed = [int(word) for word in jax.random.key_data(key).reshape(-1)]

    def read(step: int) -> tuple[np.ndarray, Images]:
        places = np.array(in_turn(seed, step * size, size, len(cases)))
        examples = [load(cases[place]) for place in places]
        inside = np.stack([example.inside for example in examples]) if lesson.dense else None
        return places, Images(np.stack([example.image for example in examples]), inside)

    return ahead(range(lesson.steps), read)


def _optimizer(steps: int) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(_RATE, steps))


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def _take_step(lesson: Lesson, head: nn.Module, state: Params, memory: optax.OptState, key: Array, images: Images):
    """One step of Adam; the state, the optimizer's memory, and each image's loss."""

    def lost(state: Params) -> tuple[Array, Array]:
        values = (_told_apart if lesson.objective == "contrastive" else _told_orientation)(lesson, head, state, key, images)
        return values.mean(), values

    gradient, values = jax.grad(lost, has_aux=True)(state)
    with jax.numpy_dtype_promotion("standard"):
        updates, memory = _optimizer(lesson.steps).update(gradient, memory)
        return optax.apply_updates(state, updates), memory, values


def _told_apart(lesson: Lesson, head: nn.Module, state: Params, key: Array, images: Images) -> Array:
    """How well two variants of each image are told from all other images (SimCLR, Chen et al. 2020, arXiv 2002.05709), `[images]`."""
    views = [_varied(lesson.config, of_view, images, flips=True) for of_view in jax.random.split(key)]
    embedding = _embedding(lesson.model, state["network"], jax.tree.map(lambda *parts: jnp.concatenate(parts), *views))
    return contrast(head.apply({"params": state["projection"]}, embedding))  # type: ignore[arg-type]


def contrast(projected: Array) -> Array:
    """Cross-entropy of finding each vector's twin among all others by cosines over 0.1, mean over the two twins.

    Args:
      projected: twins lie half the rows apart, `[2 images, dimensions]`.

    Returns:
      `[images]`, in nats.
    """
    count = len(projected) // 2
    unit = projected / jnp.sqrt(jnp.maximum(jnp.square(projected).sum(-1, keepdims=True), 1e-12))
    cosines = jnp.matmul(unit, unit.T, precision="highest") / _SHARPNESS
    others = jnp.where(jnp.eye(2 * count, dtype=bool), -jnp.inf, cosines)
    twin = jnp.roll(jnp.arange(2 * count), count)
    of_each = jax.nn.logsumexp(others, axis=1) - jnp.take_along_axis(cosines, twin[:, None], 1)[:, 0]
    return of_each.reshape(2, count).mean(0)


def _told_orientation(lesson: Lesson, head: nn.Module, state: Params, key: Array, images: Images) -> Array:
    """Cross-entropy of telling how each image was turned over, mean over its four orientations, `[images]`.

    They are the flips of its first two axes, which any shape has; Gidaris et al. 2018 (arXiv 1803.07728) rotate by right angles.
    """
    varied = _varied(lesson.config, key, images, flips=False)
    turned = [jax.tree.map(lambda part, axes=axes: jnp.flip(part, axes), varied) for axes in ((), (1,), (2,), (1, 2))]
    embedding = _embedding(lesson.model, state["network"], jax.tree.map(lambda *parts: jnp.concatenate(parts), *turned))
    truth = jnp.repeat(jnp.arange(_ORIENTATIONS), len(images.image))
    lost = optax.softmax_cross_entropy_with_integer_labels(head.apply({"params": state["projection"]}, embedding), truth)
    return lost.reshape(_ORIENTATIONS, -1).mean(0)


def _varied(config: TrainingConfig, key: Array, images: Images, flips: bool) -> Images:
    """Variants of images: the training's own with more contrast, brightness and noise, perhaps flipped, of which a box of at least half each side is left."""
    space = images.image.shape[1:-1]
    axes = tuple(range(len(space))) if flips else ()
    stronger = dataclasses.replace(config, contrast=0.4, brightness=0.4, noise=0.2, flips=axes, rotation_degrees=0.0, scaling=0.0)

    def of_one(key: Array, one: Images) -> Images:
        example = Example(one.image, one.inside, one.inside, one.inside)
        varied = augment(stronger, images.inside is not None, key, example)
        kept = _box(jax.random.fold_in(key, 7), space)
        return Images(jnp.where(kept[..., None], varied.image, 0.0), varied.inside)

    return jax.vmap(of_one)(jax.random.split(key, len(images.image)), images)


def _box(key: Array, space: Sequence[int]) -> Array:
    """Where a box lies that has at least half of each side, `[*space]`, boolean."""
    draws, kept = jax.random.uniform(key, (2, len(space))), jnp.ones(tuple(space), bool)
    for axis, size in enumerate(space):
        length = size * (_LEAST_SIDE + (1.0 - _LEAST_SIDE) * draws[0, axis])
        start, places = draws[1, axis] * (size - length), jnp.arange(size, dtype=jnp.float32)
        within = (places >= jnp.floor(start)) & (places < start + length)
        kept = kept & jnp.broadcast_to(within.reshape((1,) * axis + (-1,) + (1,) * (len(space) - axis - 1)), kept.shape)
    return kept


def _embedding(model: Model, params: Params, images: Images) -> Array:
    return model.tail(params, model.stem(params, images.image, images.inside), None).embedding.astype(jnp.float32)
