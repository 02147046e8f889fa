"""A network with one output more, which a strategy asks for, and the small head that most of them are."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxal.arrays import flat, logits_of, plain
from jaxal.cells import Cells
from jaxal.types import Auxiliary, AuxiliaryLoss, Masks, Model, Output, Params

Array = jax.Array


@functools.cache  # so that equal networks share their compiled programs
def with_auxiliary(model: Model, auxiliary: Auxiliary) -> Model:
    """The network with an auxiliary output in `Output.auxiliary`.

    Its params are `{"network": the network's, "auxiliary": the output's}`. The network's are drawn as without the output.
    """

    def reading(params: Params, output: Output, masks: Masks | None):
        return auxiliary.read(output, logits_of(flat(output), *model.head(params, masks)))

    def init(key: Array, example: Array) -> Params:
        params = model.init(key, example)
        read = jax.eval_shape(lambda: reading(params, model.tail(params, model.stem(params, example), None), None))
        return {"network": params, "auxiliary": auxiliary.init(jax.random.fold_in(key, 1), read)}

    def stem(params: Params, inputs: Array, inside: Array | None = None):
        return model.stem(params["network"], inputs, inside)

    def tail(params: Params, hidden, masks: Masks | None) -> Output:
        output = model.tail(params["network"], hidden, masks)
        value = auxiliary.apply(params["auxiliary"], reading(params["network"], output, masks))
        return output._replace(auxiliary={**output.auxiliary, auxiliary.name: value})

    def head(params: Params, masks: Masks | None = None) -> tuple[Array, Array]:
        return model.head(params["network"], masks)

    def trainable(params: Params):
        return {"network": model.trainable(params["network"]), "auxiliary": jax.tree.map(lambda leaf: True, params["auxiliary"])}

    return Model(init, stem, tail, head, model.draw_masks, model.masked_tail, trainable, model.has_features)


@functools.cache  # so that equal heads are one, and share their compiled programs
def pooled_head(
    name: str, loss: AuxiliaryLoss | None = None, comparison: Callable[[Array, Array], Array] | None = None
) -> Auxiliary:
    """A number for each item from its pooled features, whose training leaves the features alone.

    The networks are so those of any other strategy; Yoo & Kweon 2019 (arXiv 1905.03677) let the head change them during six tenths of the training.
    """
    return Auxiliary(name, _drawn, _applied, loss, pooled, comparison)


def pooled(output: Output, logits: Array) -> tuple[Array, Array]:
    """What the deepest layer has, and the means of the last layer's input, `[batch, ...]` each."""
    features = flat(output._replace(features=plain(output.features)))
    assert not isinstance(features, Cells)
    return jax.lax.stop_gradient((output.embedding.astype(jnp.float32), features.mean(1)))


def _drawn(key: Array, read: tuple[Array, Array]) -> Params:
    return Head(1).lazy_init(key, *read)["params"]


def _applied(params: Params, read: tuple[Array, Array]) -> Array:
    values: Any = Head(1).apply({"params": params}, *read)
    return values[:, 0]


class Head(nn.Module):
    """Each stage of the network goes through a hidden layer of its own, `[batch, ...]` each to `[batch, outputs]`."""

    outputs: int
    width: int = 128

    @nn.compact
    def __call__(self, *stages: Array) -> Array:
        hidden = [nn.relu(nn.Dense(self.width, precision="highest")(stage)) for stage in stages]
        return nn.Dense(self.outputs, precision="highest")(jnp.concatenate(hidden, -1))
