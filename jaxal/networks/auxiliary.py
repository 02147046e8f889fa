"""A network with one output more, which a strategy asks for."""

import functools

import jax

from jaxal.types import Auxiliary, Masks, Model, Output, Params

Array = jax.Array


@functools.cache  # so that equal networks share their compiled programs
def with_auxiliary(model: Model, auxiliary: Auxiliary) -> Model:
    """The network with an auxiliary output in `Output.auxiliary`.

    Its params are `{"network": the network's, "auxiliary": the output's}`. The network's are drawn as without the output.
    """

    def init(key: Array, example: Array) -> Params:
        params = model.init(key, example)
        output = jax.eval_shape(lambda: model.tail(params, model.stem(params, example), None))
        return {"network": params, "auxiliary": auxiliary.init(jax.random.fold_in(key, 1), output)}

    def stem(params: Params, inputs: Array, inside: Array | None = None):
        return model.stem(params["network"], inputs, inside)

    def tail(params: Params, hidden, masks: Masks | None) -> Output:
        output = model.tail(params["network"], hidden, masks)
        return output._replace(auxiliary={**output.auxiliary, auxiliary.name: auxiliary.apply(params["auxiliary"], output)})

    def head(params: Params, masks: Masks | None = None) -> tuple[Array, Array]:
        return model.head(params["network"], masks)

    def trainable(params: Params):
        return {"network": model.trainable(params["network"]), "auxiliary": jax.tree.map(lambda leaf: True, params["auxiliary"])}

    return Model(init, stem, tail, head, model.draw_masks, model.masked_tail, trainable, model.has_features)
