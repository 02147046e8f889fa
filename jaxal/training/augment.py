"""Random variants of examples, so that a network does not learn the few it has by heart."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from jaxal.training.config import TrainingConfig
from jaxal.types import Example

Array = jax.Array


def augment(config: TrainingConfig, dense: bool, key: Array, example: Example) -> Example:
    """A random variant of an example.

    Args:
      config: how much of what.
      dense: whether labels are maps, which move with their image.
      key: of the draw.
      example: one, as the network gets it.
    """
    if config.rotation_degrees or config.scaling:
        example = _turn(jax.random.fold_in(key, 0), example, dense, np.deg2rad(config.rotation_degrees), config.scaling)
    if config.flips:
        example = _flip(jax.random.fold_in(key, 2), example, dense, config.flips)
    # One draw for all: on a CPU every draw of another shape costs half a second of compilation.
    draws = jax.random.normal(jax.random.fold_in(key, 1), (3 + example.image.size,))
    image = example.image * jnp.exp(config.contrast * draws[0]) + config.brightness * draws[1]
    noise = config.noise * jnp.abs(draws[2]) * draws[3:].reshape(image.shape)
    return example._replace(image=image + noise)


def _flip(key: Array, example: Example, dense: bool, axes: Sequence[int]) -> Example:
    """Flips image, targets and label map along each axis with a chance of one half."""
    flags = jax.random.bernoulli(key, 0.5, (len(axes),))
    moving = example if dense else Example(example.image, None, None, None, example.targets)
    for flag, axis in zip(flags, axes, strict=True):
        moving = jax.tree.map(lambda part, flag=flag, axis=axis: jnp.where(flag, jnp.flip(part, axis), part), moving)
    return moving if dense else example._replace(image=moving.image, targets=moving.targets)


def _turn(key: Array, example: Example, dense: bool, rotation: float, scaling: float) -> Example:
    """Turns and zooms image, targets and label map about the centre; what comes from outside is the border's value and has no label."""
    shape = example.image.shape[:-1]
    angles = rotation * jax.random.normal(jax.random.fold_in(key, 0), (3,))
    if len(shape) == 2:  # within the plane alone
        angles = angles * jnp.array([0.0, 0.0, 1.0])
    matrix = jnp.exp(scaling * jax.random.normal(jax.random.fold_in(key, 1), ())) * _rotation(angles)[: len(shape), : len(shape)]
    centre = (jnp.array(shape, jnp.float32) - 1) / 2
    grid = jnp.stack(jnp.meshgrid(*(jnp.arange(size, dtype=jnp.float32) for size in shape), indexing="ij"), -1)
    centre = centre.reshape((1,) * len(shape) + (-1,))
    # In full precision, because by default a TPU rounds to eight bits: to half an element, where 64 lie between it and the centre.
    points = list(jnp.moveaxis(jnp.matmul(grid - centre, matrix.T, precision="highest") + centre, -1, 0))
    image = jax.vmap(lambda channel: map_coordinates(channel, points, order=1, mode="nearest"), -1, -1)(example.image)

    def moved(part: Array, mode: str) -> Array:
        return map_coordinates(part.astype(jnp.float32), points, order=0, mode=mode).astype(part.dtype)

    example = example._replace(image=image, targets=jax.tree.map(lambda part: moved(part, "constant"), example.targets))
    if not dense:  # the class of the image as a whole stays
        return example
    inside, labelled = (moved(part, "constant") for part in (example.inside, example.labelled))
    return example._replace(label=moved(example.label, "nearest"), inside=inside, labelled=labelled)


def _rotation(angles: Array) -> Array:
    """Rotation matrix for a rotation vector, by Rodrigues' formula."""
    x, y, z = angles
    zero = jnp.zeros(())
    generator = jnp.stack([jnp.stack([zero, -z, y]), jnp.stack([z, zero, -x]), jnp.stack([-y, x, zero])])
    # sin θ / θ and (1 - cos θ) / θ², which are 1 and 1/2 at zero; jnp.sinc is sin(π x) / (π x). No matrix is factorised.
    angle = jnp.sqrt(jnp.maximum(jnp.square(angles).sum(), 1e-30))
    sine, cosine = jnp.sinc(angle / jnp.pi), 0.5 * jnp.square(jnp.sinc(angle / (2 * jnp.pi)))
    squared = jnp.matmul(generator, generator, precision="highest")
    return jnp.eye(3) + sine * generator + cosine * squared
