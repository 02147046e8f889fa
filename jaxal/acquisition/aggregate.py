"""From a map over elements to one score for a unit."""

import functools

import jax
import jax.numpy as jnp

from jaxal.arrays import count

Array = jax.Array


def masked_mean(values: Array, mask: Array) -> Array:
    """Mean of `values [..., elements]` where `mask` holds; zero where it holds nowhere."""
    return jnp.where(mask, values, 0.0).sum(-1) / count(mask)


def region_of_interest(
    probability: Array, inside: Array, shape: tuple[int, ...], dilate: int = 2, threshold: float = 0.1, at_least: int = 64
) -> Array:
    """The elements around the predicted foreground that a masked score is averaged over (`[PROPOSAL]` for Danaee et al. 2026).

    These are the elements predicted as foreground, dilated, and those whose foreground probability exceeds a threshold. Where
    they are fewer than `at_least`, the elements of largest foreground probability are taken instead: a network that sees no
    foreground is asked where it comes closest, and the score never falls back to the whole volume.

    Args:
      probability: `[classes, elements]`; class 0 is background.
      inside: `[elements]`, elements that belong to the image.
      shape: of the image, with product `elements`.
      dilate: in elements along each axis.
      threshold: of the foreground probability.
      at_least: elements.

    Returns:
      `[elements]`, boolean.
    """
    foreground = jnp.where(inside, 1.0 - probability[0], -1.0)
    near = dilate_mask((probability.argmax(0) > 0) & inside, shape, dilate)
    mask = (near | (foreground > threshold)) & inside
    _, best = jax.lax.top_k(foreground, min(at_least, foreground.size))
    fallback = jnp.zeros(foreground.shape, bool).at[best].set(True) & inside
    return jnp.where(mask.sum() >= at_least, mask, fallback)


def dilate_mask(mask: Array, shape: tuple[int, ...], steps: int) -> Array:
    """Dilates a flat mask `[elements]` of an image of this shape by a cube that reaches `steps` elements each way."""
    grown = mask.reshape(shape)
    for axis, length in enumerate(shape):  # a cube is three lines: 3 (2 steps + 1) comparisons instead of (2 steps + 1)³
        padded = jnp.pad(grown, [(steps, steps) if other == axis else (0, 0) for other in range(len(shape))])
        shifted = [jax.lax.slice_in_dim(padded, start, start + length, axis=axis) for start in range(2 * steps + 1)]
        grown = functools.reduce(jnp.logical_or, shifted)
    return grown.reshape(mask.shape)
