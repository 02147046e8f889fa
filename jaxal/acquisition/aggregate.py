"""From a map over elements to one score for a unit."""

import functools

import jax
import jax.numpy as jnp

from jaxal.arrays import count

Array = jax.Array


def masked_mean(values: Array, mask: Array) -> Array:
    """Mean of `values [..., elements]` where `mask` holds; zero where it holds nowhere."""
    return jnp.where(mask, values, 0.0).sum(-1) / count(mask)


def sum_over_size(values: Array, mask: Array, size: Array, at_least: int = 64) -> Array:
    """Sum of `values [..., elements]` where `mask` holds, over a structure's size: what a larger structure has more of does not count twice.

    Args:
      values: such as entropies.
      mask: `[elements]`, boolean.
      size: elements that are predicted to be of the structure, `[]`.
      at_least: size that a smaller structure counts as, because one that is not found at all has none.
    """
    return jnp.where(mask, values, 0.0).sum(-1) / jnp.maximum(size, at_least).astype(values.dtype)


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
    values, places = largest(foreground, min(at_least, foreground.size))
    # The elements of these places, told by comparison: a TPU scatters slowly. Of equal values the first ones were taken. What is NaN is among
    # them, so that a broken network's score is NaN, too, and not zero.
    value, place = _last(values), _last(places)
    last = (foreground == value) & (jnp.arange(foreground.size) <= place)
    fallback = (~(foreground <= value) | last) & inside
    return jnp.where(mask.sum() >= at_least, mask, fallback)


def _last(values: Array) -> Array:
    """The last of some values, as a sum: of a slice of the largest values the compiler for CPUs makes a sort of all, which takes sixty times as long."""
    return jnp.where(jnp.arange(len(values)) == len(values) - 1, values, 0).sum(dtype=values.dtype)


_ROWS = 64  # of values that are searched by themselves


def largest(values: Array, count: int) -> tuple[Array, Array]:
    """The largest of a vector in order and their places, as `lax.top_k` finds them; of equal ones the first.

    A TPU's compiler takes 14 s for that search among the voxels of a volume of 96 x 96 x 96, and one for a search by rows; on a CPU it is the
    fast one.
    """

    def plain(values: Array) -> tuple[Array, Array]:
        best, places = jax.lax.top_k(values, count)
        return best, places

    if -(-values.size // _ROWS) <= count:
        return plain(values)
    return jax.lax.platform_dependent(values, cpu=plain, default=functools.partial(largest_by_rows, count=count))


def largest_by_rows(values: Array, count: int) -> tuple[Array, Array]:
    """The same from the largest of each row, `[elements]`; there are more elements than `count` in a row."""
    length = -(-values.size // _ROWS)
    rows = jnp.pad(values, (0, _ROWS * length - values.size), constant_values=-jnp.inf).reshape(_ROWS, length)
    best, places = jax.lax.top_k(rows, count)
    chosen, rank = jax.lax.top_k(best.reshape(-1), count)
    return chosen, (rank // count) * length + places.reshape(-1)[rank]


def dilate_mask(mask: Array, shape: tuple[int, ...], steps: int) -> Array:
    """Dilates a flat mask `[elements]` of an image of this shape by a cube that reaches `steps` elements each way."""
    grown = mask.reshape(shape)
    for axis, length in enumerate(shape):  # a cube is three lines: 3 (2 steps + 1) comparisons instead of (2 steps + 1)³
        padded = jnp.pad(grown, [(steps, steps) if other == axis else (0, 0) for other in range(len(shape))])
        shifted = [jax.lax.slice_in_dim(padded, start, start + length, axis=axis) for start in range(2 * steps + 1)]
        grown = functools.reduce(jnp.logical_or, shifted)
    return grown.reshape(mask.shape)
