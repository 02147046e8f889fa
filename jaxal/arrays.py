"""Small functions of arrays that several rooms need."""

import jax
import jax.numpy as jnp

from jaxal.types import Output

Array = jax.Array


def logits_of(features: Array, kernel: Array, bias: Array) -> Array:
    """Logits, classes first: `[batch, elements, features]` and `[(batch,) features, classes]` to `[batch, classes, elements]`."""
    equation = "bnf,bfc->bcn" if kernel.ndim == 3 else "bnf,fc->bcn"
    return jnp.einsum(equation, features, kernel, precision="highest") + bias[None, :, None]


def flat(output: Output) -> Array:
    """`[batch, *space, features]` to `[batch, elements, features]`."""
    return output.features.reshape(output.features.shape[0], -1, output.features.shape[-1])


def one_hot(labels: Array, classes: int) -> Array:
    """`[..., elements]` to `[..., classes, elements]`, float32."""
    return jax.nn.one_hot(labels, classes, axis=-2, dtype=jnp.float32)


def count(mask: Array) -> Array:
    """Number of true elements along the last axis as float32, at least one: safe to divide by."""
    return jnp.maximum(mask.sum(-1), 1).astype(jnp.float32)
