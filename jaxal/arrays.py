"""Small functions that several rooms need."""

import functools
import operator
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.cells import Cells
from jaxal.types import Masks, Model, Output, Params

Array = jax.Array
Features = Array | Cells


def logits_of(features: Features, kernel: Array, bias: Array) -> Array:
    """Logits, classes first: `[batch, elements, features]` and `[(batch,) features, classes]` to `[batch, classes, elements]`."""
    if isinstance(features, Cells):
        return features.by_element(features.times(kernel)) + bias[None, :, None]
    equation = "bnf,bfc->bcn" if kernel.ndim == 3 else "bnf,fc->bcn"
    return jnp.einsum(equation, features, kernel, precision="highest") + bias[None, :, None]


def flat(output: Output) -> Features:
    """`[batch, *space, features]` to `[batch, elements, features]`; what lies in cells is flat."""
    if isinstance(output.features, Cells):
        return output.features
    return output.features.reshape(output.features.shape[0], -1, output.features.shape[-1])


def logits_of_images(model: Model, params: Params, images: Array, inside: Array | None, masks: Masks | None = None) -> Array:
    """What a network says of images, `[images, classes, elements]`; without masks, without dropout."""
    output = model.tail(params, model.stem(params, images, inside), masks)
    return logits_of(flat(output), *model.head(params, masks))


def plain(features: Features) -> Array:
    """`[batch, *space, features]`, whatever the network left."""
    return features.unpacked() if isinstance(features, Cells) else features


def rows_of(features: Features, index: Array) -> Array:
    """One item's features of some elements, `[elements, features]` and `[...]` places to `[..., features]`."""
    return features.rows(index) if isinstance(features, Cells) else features[index]


def one_hot(labels: Array, classes: int) -> Array:
    """`[..., elements]` to `[..., classes, elements]`, float32."""
    return jax.nn.one_hot(labels, classes, axis=-2, dtype=jnp.float32)


def by_class(values: Array) -> list[Array]:
    """`[..., classes, elements]`, class by class: what is written so XLA's CPU backend turns into one loop over the elements."""
    return [values[..., label, :] for label in range(values.shape[-2])]


def exponentials_of(logits: Sequence[Array]) -> tuple[list[Array], list[Array], Array]:
    """exp(z - m), z - m, and the sum of the first over the classes, with m the largest logit."""
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, logits))
    shifted = [part - largest for part in logits]
    exponentials = [jnp.exp(part) for part in shifted]
    return exponentials, shifted, functools.reduce(operator.add, exponentials)


def count(mask: Array) -> Array:
    """Number of true elements along the last axis as float32, at least one: safe to divide by."""
    return jnp.maximum(mask.sum(-1), 1).astype(jnp.float32)


def numbers_of(names: Sequence[str]) -> np.ndarray:
    """A number for each name that is the same on every machine and in every run (Python's own hash is not), `[names]` uint32."""
    return np.array([zlib.crc32(name.encode()) for name in names], np.uint32)


def key_of(seed: int) -> Array:
    """The key of a seed. Keys see 32 bits of it; what is above them is folded in."""
    key = jax.random.key(seed % 2**32)
    return key if 0 <= seed < 2**32 else jax.random.fold_in(key, (seed >> 32) % 2**32)


def keys_of(key: Array, names: Sequence[str]) -> Array:
    """A key for each name, whatever the other names are and in whatever order they come, `[names]`."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, _filled(names))[: len(names)]


def chances_of(key: Array, names: Sequence[str]) -> np.ndarray:
    """A uniform number for each name, from its key (`keys_of`), `[names]` float32; one small program for many numbers of names."""
    return np.asarray(_chances(key, _filled(names)))[: len(names)]


@jax.jit
def _chances(key: Array, numbers: Array) -> Array:
    return jax.vmap(lambda number: jax.random.uniform(jax.random.fold_in(key, number)))(numbers)


def gumbels_of(key: Array, names: Sequence[str]) -> np.ndarray:
    """A number from the standard Gumbel distribution for each name, as `chances_of` draws uniform ones, `[names]` float32."""
    return np.asarray(_gumbels(key, _filled(names)))[: len(names)]


@jax.jit
def _gumbels(key: Array, numbers: Array) -> Array:
    return jax.vmap(lambda number: jax.random.gumbel(jax.random.fold_in(key, number)))(numbers)


def uniforms(key: Array, count: int) -> np.ndarray:
    """Uniform numbers, `[count]` float32: the first of as many as a power of two, so that few sizes are compiled."""
    return np.asarray(jax.random.uniform(key, (_power_of_two(count),)))[:count]


def gumbels(key: Array, count: int) -> np.ndarray:
    """Numbers from the standard Gumbel distribution, as `uniforms` draws uniform ones."""
    return np.asarray(jax.random.gumbel(key, (_power_of_two(count),)))[:count]


def _filled(names: Sequence[str]) -> np.ndarray:
    """Their numbers, filled up to a power of two, so that few sizes are compiled."""
    return np.pad(numbers_of(names), (0, _power_of_two(len(names)) - len(names)))


def _power_of_two(count: int) -> int:
    """The least that is no smaller."""
    return 2 ** (count - 1).bit_length() if count else 1
