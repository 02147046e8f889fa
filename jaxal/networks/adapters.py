"""Anybody's network as a `Model`: Flax linen or nnx, Equinox, or a plain function with any pytree of parameters.

Most strategies read the input of the last linear layer, the head. So each adapter is told where the head is, and gives the network
without it: `features`, and the head's kernel and bias. `logits` needs no head; what reads features is then refused by name.
Dropout samples run the whole network again, because an adapter cannot know where the first dropout layer stands.

Every adapter runs the network on a few images before it returns (`checked.py`), and refuses one whose head is not its last layer, whose
output is not finite or for one image depends on the others of its batch, or whose dropout, where it was named, draws nothing.
"""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.errors import UserError
from jaxal.networks.checked import Given, checked, few, running
from jaxal.types import Array, Masks, Model, Output, Params

Features = Callable[[Params, Array, Array | None], Array]  # (params, images, key or None) -> [items, *space, features]
Head = Callable[[Params], tuple[Array, Array]]  # params -> kernel [features, classes], bias [classes]

_KEYWORDS = 'Keywords of its call go into off={"train": False} and, with dropout, on={"train": True}.'
_THREE = "It is called as (params, images, key), where key is None without dropout."
_ONE_IMAGE = (
    "It is called with one image and, if it takes one, key=; one that needs more is wrapped, or given to the adapter `function`."
)
_NO_DROPOUT = "Give on={...} with the keywords that switch it on, or none if the network has no dropout."
_NOT_STOCHASTIC = "Use the key, or leave stochastic out."


def function(
    features: Features, head: Head, params: Params, example: np.ndarray, *, stochastic: bool = False
) -> tuple[Model, Params]:
    """A network that is a plain function.

    Args:
      features: `(params, images, key) -> [items, features]`, or `[items, *space, features]` where every element has a class of its
        own. Without a key (None) dropout is off.
      head: `params -> kernel [features, classes], bias [classes]`.
      params: any pytree of arrays.
      example: a few images, `[items, *space, channels]`.
      stochastic: whether a key changes the features, as dropout does.

    Returns:
      The model, and its params.

    Raises:
      UserError: the network does not run on the images, or its output is not what it should be.
    """
    given = Given(None, "what head returns", _THREE, _NOT_STOCHASTIC)
    return checked(_model(features, head, stochastic, params), params, example, given)


def logits(apply: Features, params: Params, example: np.ndarray, *, stochastic: bool = False) -> tuple[Model, Params]:
    """A network of which nothing but its logits is known; strategies that read features are refused.

    Args:
      apply: `(params, images, key) -> [items, classes]`, or `[items, *space, classes]`. Without a key (None) dropout is off.
      params: any pytree of arrays.
      example: a few images, `[items, *space, channels]`.
      stochastic: whether a key changes the logits, as dropout does.

    Returns:
      The model, and its params.

    Raises:
      UserError: as for `function`.
    """
    images = few(example)
    with running(f"The network does not run on images of shape {images.shape[1:]}", _THREE):
        classes = jax.eval_shape(lambda params, images: apply(params, images, None), params, images).shape[-1]

    def head(params: Params) -> tuple[Array, Array]:
        return jnp.eye(classes), jnp.zeros(classes)

    model = _model(apply, head, stochastic, params)._replace(has_features=False)
    return checked(model, params, example, Given(None, "", _THREE, _NOT_STOCHASTIC))


def linen(
    module: Any,
    variables: Mapping[str, Any],
    example: np.ndarray,
    *,
    head: str,
    off: Mapping[str, Any] | None = None,
    on: Mapping[str, Any] | None = None,
) -> tuple[Model, Params]:
    """A Flax linen module.

    Args:
      module: called with images `[items, *space, channels]`.
      variables: its collections; `params` holds the head.
      example: a few images.
      head: the last layer's path, such as `Dense_1` or `decoder/Conv_3`; a dense layer or a convolution of one element.
      off: keywords of a call without dropout, such as `{"train": False}`.
      on: keywords of a call with dropout, such as `{"train": True}`; without them there are no dropout samples. Batch norms take their
        stored statistics all the same, because a score must not depend on the rest of its batch.

    Returns:
      The model, and its params.

    Raises:
      UserError: as for `function`, or there is no such layer.
    """
    import flax.linen as nn

    _check_module(module, nn.Module, "flax.linen module")
    layers = _linear_layers(_params_of(variables))
    if head not in layers:
        raise UserError(f"There is no layer {head!r} with a kernel; there are {', '.join(layers) or 'none'}.")
    path = tuple(head.split("/"))
    variables = jax.tree.map(jnp.asarray, dict(variables))

    def without_head(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
        is_head = context.module.path == path and context.method_name == "__call__"
        return args[0] if is_head else next_function(*args, **kwargs)

    def run(params: Params, images: Array, key: Array | None) -> Any:
        if key is None:
            return module.apply(params, images, **(off or {}))
        with nn.intercept_methods(_with_stored_statistics):
            return module.apply(params, images, **{**(off or {}), **(on or {})}, rngs={"dropout": key})

    def features(params: Params, images: Array, key: Array | None) -> Array:
        with nn.intercept_methods(without_head):
            return run(params, images, key)

    def head_of(params: Params) -> tuple[Array, Array]:
        layer = functools.reduce(operator.getitem, path, params["params"])
        return _matrix(layer["kernel"], head), layer.get("bias", jnp.zeros(layer["kernel"].shape[-1]))

    model = _model(features, head_of, on is not None, variables)._replace(trainable=_only_params)
    return checked(model, variables, example, Given(run, f"{head!r} of {', '.join(layers)}", _KEYWORDS, _NO_DROPOUT))


def _params_of(variables: Params) -> Any:
    if not isinstance(variables, Mapping) or not isinstance(variables.get("params"), Mapping):
        hold = f"hold {', '.join(map(str, variables))}" if isinstance(variables, Mapping) else f"are a {type(variables).__name__}"
        raise UserError(f"The variables {hold}; give all collections, such as {{'params': ..., 'batch_stats': ...}}.")
    return variables["params"]


def _only_params(variables: Params) -> Any:
    return {name: jax.tree.map(lambda leaf, name=name: name == "params", part) for name, part in variables.items()}


def _with_stored_statistics(next_function: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Runs linen's batch norms as in evaluation, whatever their flag says."""
    import flax.linen as nn

    if not isinstance(context.module, nn.BatchNorm) or context.method_name != "__call__":
        return next_function(*args, **kwargs)
    object.__setattr__(context.module, "use_running_average", None)  # of this call's copy; it would contradict the keyword
    return next_function(*args[:1], **{**kwargs, "use_running_average": True})


def nnx(
    module: Any,
    example: np.ndarray,
    *,
    head: str,
    off: Mapping[str, Any] | None = None,
    on: Mapping[str, Any] | None = None,
) -> tuple[Model, Params]:
    """A Flax nnx module, which is left as it is.

    Its dropout layers give the dropout samples; everything else is run as in evaluation, as after `module.eval()`.

    Args:
      module: called with images `[items, *space, channels]`.
      example: a few images.
      head: the last layer's attribute, such as `head` or `decoder.out`; an `nnx.Linear`, or an `nnx.Conv` of one element.
      off: keywords of a call without dropout, such as `{"train": False}`; none are needed where its layers follow `module.eval()`.
      on: keywords of a call with dropout, such as `{"train": True}`. Without them its dropout layers are switched on, and there are
        dropout samples if that changes the output. Batch norms take their stored statistics in both.

    Returns:
      The model, and its params.

    Raises:
      UserError: as for `function`, or there is no such layer.
    """
    from flax import nnx as flax_nnx

    _check_module(module, flax_nnx.Module, "flax.nnx module")
    if not isinstance(head, str):
        raise UserError(f"head is {head!r}; it must be the last layer's attribute as a text, such as 'head' or 'decoder.out'.")
    if not hasattr(layer := _attribute(module, head), "kernel"):
        raise UserError(f"The layer {head!r} is a {type(layer).__name__}, which has no kernel; name the last linear layer.")
    rebuilt, has_dropout, state = _nnx_copies(module)

    def call(copy: Any, images: Array, key: Array | None) -> Any:
        return copy(images, **{**(off or {}), **((on or {}) if key is not None else {})})

    def run(params: Params, images: Array, key: Array | None) -> Any:
        return call(rebuilt(params, key), images, key)

    def features(params: Params, images: Array, key: Array | None) -> Array:
        copy = rebuilt(params, key)
        owner, _, name = head.rpartition(".")
        setattr(_attribute(copy, owner) if owner else copy, name, lambda inputs: inputs)
        return call(copy, images, key)

    def head_of(params: Params) -> tuple[Array, Array]:
        layer = _attribute(rebuilt(params, None), head)
        kernel = layer.kernel[...]
        return _matrix(kernel, head), jnp.zeros(kernel.shape[-1]) if layer.bias is None else layer.bias[...]

    model = _model(features, head_of, has_dropout or on is not None, state)
    return checked(model, state, example, Given(run, repr(head), _KEYWORDS, None if on is None else _NO_DROPOUT))


def _nnx_copies(module: Any) -> tuple[Callable[[Params, Array | None], Any], bool, Params]:
    """How a copy of a module is made of params, without dropout or with a key's; whether it has dropout layers; its params."""
    from flax import nnx as flax_nnx

    off = flax_nnx.clone(module)
    off.eval()
    on = flax_nnx.clone(off)
    try:
        on.set_attributes(flax_nnx.Dropout, deterministic=False)
        has_dropout = True
    except ValueError:  # there is none
        has_dropout = False
    for _, part in flax_nnx.iter_modules(on):
        if isinstance(part, flax_nnx.BatchNorm):
            part.__class__ = _with_stored_statistics_of_nnx(type(part))
    parts: Any = [flax_nnx.split(copy, flax_nnx.RngState, ...) for copy in (off, on)]
    (off_graph, off_rngs, state), (on_graph, on_rngs, _) = parts

    def rebuilt(params: Params, key: Array | None) -> Any:
        if key is None:
            return flax_nnx.merge(off_graph, jax.tree.map(jnp.copy, off_rngs), params)  # a call would count up what is shared
        return flax_nnx.merge(on_graph, _keyed(on_rngs, key), params)

    return rebuilt, has_dropout, state


@functools.cache
def _with_stored_statistics_of_nnx(kind: type) -> type:
    """A class of batch norms that run as in evaluation, whatever flag their call is given."""

    def __call__(self: Any, x: Array, use_running_average: bool | None = None, **more: Any) -> Array:
        return kind.__call__(self, x, use_running_average=True, **more)

    return type(kind)(kind.__name__, (kind,), {"__call__": __call__})


def equinox(module: Any, example: np.ndarray, *, head: Callable[[Any], Any]) -> tuple[Model, Params]:
    """An Equinox module that takes one image at a time, channels first, as Equinox's layers do.

    A network whose `__call__` takes a `key`, and with `inference` off gives something else with each, has dropout samples.

    Args:
      module: called with one image `[channels, *space]`, and with `key=` if it takes one.
      example: a few images, `[items, *space, channels]`, channels last as everywhere in jaxal.
      head: the last layer of a module, such as `lambda net: net.head`; an `eqx.nn.Linear`, or a convolution of one element.

    Returns:
      The model, and its params.

    Raises:
      UserError: as for `function`, or there is no such layer.
    """
    import equinox as eqx

    _check_module(module, eqx.Module, "Equinox module")
    try:
        layer = head(module)
    except (AttributeError, IndexError, KeyError) as error:
        raise UserError(f"The network has no such head ({error}).") from error
    if not hasattr(layer, "weight"):
        raise UserError(f"The head is a {type(layer).__name__}, which has no weight; name the last linear layer.")
    takes_key = "key" in inspect.signature(type(module).__call__).parameters
    params, static = eqx.partition(module, eqx.is_array)

    def run_as(change: Callable[[Any], Any], params: Params, images: Array, key: Array | None) -> Array:
        network = change(eqx.nn.inference_mode(eqx.combine(params, static), key is None))

        def of_one(image: Array) -> Array:
            values = network(jnp.moveaxis(image, -1, 0), **({"key": key} if takes_key else {}))
            return jnp.moveaxis(values, 0, -1)

        return jax.vmap(of_one)(images)

    def without_head(network: Any) -> Any:
        return eqx.tree_at(head, network, eqx.nn.Identity())

    def head_of(params: Params) -> tuple[Array, Array]:
        layer = head(eqx.combine(params, static))
        kernel = jnp.moveaxis(layer.weight, (0, 1), (-1, -2))  # [classes, features, *window] as others have it
        return _matrix(kernel, "head"), jnp.zeros(kernel.shape[-1]) if layer.bias is None else layer.bias.reshape(-1)

    model = _model(functools.partial(run_as, without_head), head_of, takes_key, params)
    given = Given(functools.partial(run_as, lambda network: network), f"a {type(layer).__name__}", _ONE_IMAGE)
    return checked(model, params, example, given)


def _model(features: Features, head: Head, stochastic: bool, params: Params) -> Model:
    """The functions of a network: its stem leaves the images as they are, and its tail runs all of it."""

    def init(key: Array, example: Array) -> Params:
        raise UserError("A network of one's own starts from the weights that it came with; give them as params.")

    def tail(params: Params, hidden: Array, masks: Masks | None) -> Output:
        values = features(params, hidden, masks["key"] if masks else None).astype(jnp.float32)
        return Output(values, values.mean(tuple(range(1, values.ndim - 1))), {})

    def linear(params: Params, masks: Masks | None = None) -> tuple[Array, Array]:
        kernel, bias = head(params)
        return jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32)

    def draw_masks(key: Array) -> Masks:
        return {"key": key} if stochastic else {}

    def trainable(params: Params) -> Any:
        return jax.tree.map(lambda leaf: jnp.issubdtype(leaf.dtype, jnp.floating), params)

    return Model(init, lambda params, images, inside=None: images, tail, linear, draw_masks, True, trainable)


def _linear_layers(params: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Paths of all layers with a kernel."""
    paths = [prefix] if "kernel" in params and prefix else []
    for name, part in params.items():
        if isinstance(part, Mapping):
            paths += _linear_layers(part, f"{prefix}/{name}" if prefix else name)
    return paths


def _matrix(kernel: Array, name: str) -> Array:
    """`[1, ..., 1, features, classes]` as a matrix."""
    if kernel.ndim < 2 or any(length != 1 for length in kernel.shape[:-2]):
        raise UserError(
            f"The layer {name!r} has a kernel of shape {kernel.shape}; the head must be linear in the features of one element."
        )
    return kernel.reshape(kernel.shape[-2:])


def _check_module(module: Any, kind: type, name: str) -> None:
    """Makes sure that an adapter got what it is for."""
    if isinstance(module, type):
        raise UserError(f"{module.__name__} is a class; give an instance of it, {module.__name__}(...).")
    if not isinstance(module, kind):
        raise UserError(
            f"A {name} is needed, but the network is of type {type(module).__name__}; the adapters are linen, nnx, equinox, function and logits."
        )


def _attribute(module: Any, path: str) -> Any:
    try:
        return operator.attrgetter(path)(module)
    except AttributeError as error:
        layers = ", ".join(name for name, value in vars(module).items() if hasattr(value, "kernel")) or "deeper"
        raise UserError(f"The network has no layer {path!r} ({error}); layers with a kernel are {layers}.") from error


def _keyed(rngs: Any, key: Array) -> Any:
    """The state of random streams, each started with a key of its own."""
    leaves, tree = jax.tree.flatten(rngs)
    started = [
        jax.random.fold_in(key, place) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros_like(leaf)
        for place, leaf in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, started)
