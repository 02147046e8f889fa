"""What images look like, without a network: coarse brightness and how much there is of each."""

import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

GRID, BINS, RANGE = 6, 32, 4.0  # blocks along each axis, bins of brightness, and the deviations from the mean that they cover
COMPONENTS = 64


def appearance(image: Array, inside: Array) -> Array:
    """Means of the blocks of a coarse grid, and each channel's histogram.

    Args:
      image: `[*space, channels]`, of mean zero and unit deviation or so.
      inside: which elements belong to it, `[*space]`, boolean.

    Returns:
      `[features]`: the blocks' means and shares of the bins, which count as much as the blocks together.
    """
    space, channels = inside.shape, image.shape[-1]
    weight = inside.astype(jnp.float32)
    sums = jnp.concatenate([image * weight[..., None], weight[..., None]], -1)
    for axis, size in enumerate(space):
        blocks = min(GRID, size)
        of = jnp.arange(size) * blocks // size
        sums = jnp.moveaxis(jax.ops.segment_sum(jnp.moveaxis(sums, axis, 0), of, blocks), 0, axis)
    means = sums[..., :channels] / jnp.broadcast_to(jnp.maximum(sums[..., channels:], 1.0), (*sums.shape[:-1], channels))
    bins = jnp.clip((image + RANGE) / (2 * RANGE) * BINS, 0, BINS - 1).astype(jnp.int32)
    bins = bins + BINS * jnp.broadcast_to(jnp.arange(channels, dtype=jnp.int32), bins.shape)
    counts = jax.ops.segment_sum(jnp.broadcast_to(weight[..., None], bins.shape).ravel(), bins.ravel(), BINS * channels)
    shares = counts / jnp.maximum(weight.sum(), 1.0)
    return jnp.concatenate([means.ravel() / jnp.sqrt(means.size), shares])


def principal(points: np.ndarray, components: int = COMPONENTS) -> np.ndarray:
    """Coordinates along the directions in which points differ most, about their mean, `[points, at most components]` (PCA)."""
    centred = np.asarray(points, np.float64) - np.mean(points, 0)
    left, size, directions = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(
        directions[np.arange(len(directions)), np.abs(directions).argmax(1)]
    )  # of which a decomposition leaves the choice
    count = min(components, len(size))
    return (left * size * signs)[:, :count].astype(np.float32)
