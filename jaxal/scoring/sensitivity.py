"""How little an image must change for its prediction to change: gradients with respect to images, which cost a pass forwards and backwards of their own."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxal.acquisition.aggregate import masked_mean

Array = jax.Array
Logits = Callable[[Array], Array]  # of images, `[images, *space, channels]`, to `[images, classes, elements]`

STEP, STEPS = 0.05, 20  # of the steps to another prediction, in the images' deviations
_PROBE = 1e-2  # where divergence is differentiated: at nothing its gradient is nothing
_OVERSHOOT, _TURNS = 1.02, 50  # of DeepFool


def steps_to_another_class(logits: Logits, images: Array, inside: Array, keys: Array) -> Array:
    """Steps of the basic iterative method until half of the prediction has changed (Kurakin et al. 2017, arXiv 1607.02533), `[images]`, at most 20.

    Each step adds 0.05 times the sign of the cross-entropy's gradient with the first prediction as label. Of a label map those elements count that were predicted as a
    structure, or all where none was; of an image with one class it is the class.

    Args:
      logits: of the network without dropout, as a function of images; padding is not changed, whatever changes.
      images: `[images, *space, channels]`.
      inside: which elements have a prediction, `[images, elements]`, boolean.
      keys: not used.
    """
    first = logits(images).argmax(1)
    structure = inside & (first > 0)
    counted = jnp.where(structure.any(-1, keepdims=True) & (inside.shape[-1] > 1), structure, inside)

    def kept(found: Array) -> Array:
        return masked_mean((found.argmax(1) == first).astype(jnp.float32), counted)

    def lost(moved: Array) -> Array:
        log_probability = jnp.take_along_axis(jax.nn.log_softmax(logits(moved), axis=1), first[:, None], 1)[:, 0]
        return -masked_mean(log_probability, counted).sum()

    def step(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        moved, count, done, turn = state
        towards = jnp.sign(jax.grad(lost)(moved))
        here = done.reshape(-1, *[1] * (moved.ndim - 1))
        moved = jnp.where(here, moved, moved + STEP * towards)
        return moved, count + (~done).astype(jnp.int32), done | (kept(logits(moved)) < 0.5), turn + 1

    start = images, jnp.zeros(len(images), jnp.int32), jnp.zeros(len(images), bool), jnp.int32(0)
    *_, count, _, _ = jax.lax.while_loop(lambda state: (~state[2]).any() & (state[3] < STEPS), step, start)
    return count.astype(jnp.float32)


def divergence_nearby(logits: Logits, images: Array, inside: Array, keys: Array) -> Array:
    """Divergence of the prediction from that of the image moved where it changes fastest, mean over the image (Miyato et al. 2018, arXiv 1704.03976), `[images]`.

    The direction comes from one step of the power method; the move has a root mean square of 0.05.

    Args:
      logits, images, inside: see `steps_to_another_class`.
      keys: of the direction that is begun with, `[images]`.
    """
    known = jax.nn.log_softmax(logits(images), axis=1)

    def divergence(moved: Array) -> Array:
        other = jax.nn.log_softmax(logits(moved), axis=1)
        return masked_mean((jnp.exp(known) * (known - other)).sum(1), inside)

    start = jax.vmap(lambda key, image: jax.random.normal(key, image.shape))(keys, images)
    fastest = jax.grad(lambda moved: divergence(moved).sum())(images + _with_size(start, _PROBE))
    return jnp.maximum(divergence(images + _with_size(fastest, STEP)), 0.0)


def distance_to_another_class(logits: Logits, images: Array, inside: Array, keys: Array) -> Array:
    """Length of the shortest change that DeepFool finds for another class (Ducoffe & Precioso 2018, arXiv 1802.09841), `[images]`; of images that have one class.

    In each turn the nearest class by the linear approximation is gone to, at most 50 times; the change is lengthened by 2 % to cross the boundary.

    Args:
      logits, images, inside, keys: see `steps_to_another_class`.
    """
    count, axes = len(images), tuple(range(1, images.ndim))
    first = logits(images)[:, :, 0].argmax(1)

    def turn(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        change, done, number = state
        found, back = jax.vjp(lambda moved: logits(moved)[:, :, 0], images + _OVERSHOOT * change)
        slopes = jax.vmap(lambda of_class: back(jnp.broadcast_to(of_class[None], found.shape))[0])(jnp.eye(found.shape[1]))
        own = jnp.take_along_axis(slopes, first.reshape(1, -1, *[1] * len(axes)), 0)
        slopes = slopes - own  # [classes, images, ...]
        lengths = jnp.sqrt(jnp.square(slopes).sum(tuple(axis + 1 for axis in axes)))
        behind = jnp.abs(found - jnp.take_along_axis(found, first[:, None], 1)).T + 1e-6
        ways = jnp.where(jnp.arange(found.shape[1])[:, None] == first[None], jnp.inf, behind / jnp.maximum(lengths, 1e-12))
        nearest = ways.argmin(0)
        at = jnp.arange(count)
        size = ways[nearest, at] / jnp.maximum(lengths[nearest, at], 1e-12)
        step = size.reshape(-1, *[1] * len(axes)) * slopes[nearest, at]
        done = done | (logits(images + _OVERSHOOT * change)[:, :, 0].argmax(1) != first)
        return jnp.where(done.reshape(-1, *[1] * len(axes)), change, change + step), done, number + 1

    start = jnp.zeros_like(images), jnp.zeros(count, bool), jnp.int32(0)
    change, *_ = jax.lax.while_loop(lambda state: (~state[1]).any() & (state[2] < _TURNS), turn, start)
    return jnp.sqrt(jnp.square(_OVERSHOOT * change).sum(axes))


def _with_size(change: Array, size: float) -> Array:
    """Changes with a root mean square of a size each; nothing stays nothing."""
    axes = tuple(range(1, change.ndim))
    present = jnp.sqrt(jnp.square(change).mean(axes, keepdims=True))
    return size * change / jnp.where(present > 0, present, 1.0)


MEASURES: Mapping[str, Callable[[Logits, Array, Array, Array], Array]] = {
    "steps_to_another_class": steps_to_another_class,
    "divergence_nearby": divergence_nearby,
    "distance_to_another_class": distance_to_another_class,
}
