"""Anybody's network as a `Model`: Flax linen or nnx, Equinox, or a plain function with any pytree of parameters.

Most strategies read the input of the last linear layer, the head. So each adapter is told where the head is, and gives the network
without it: `features`, and the head's kernel and bias. `logits` needs no head; what reads features is then refused by name.
Dropout samples run the whole network again, because an adapter cannot know where the first dropout layer stands.

Every adapter runs the network once on a few images, and refuses one whose head is not its last layer, whose output is not finite, or
whose output for one image depends on the others of its batch, or that does not run with dropout as it was told to.
"""

import contextlib
import functools
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.errors import UserError
from jaxal.types import Array, Masks, Model, Output, Params

Features = Callable[[Params, Array, Array | None], Array]  # (params, images, key or None) -> [items, *space, features]
Head = Callable[[Params], tuple[Array, Array]]  # params -> kernel [features, classes], bias [classes]

_TROUBLE = "The network does not run on the example"
_TROUBLE_WITH_DROPOUT = "With dropout switched on the network does not run on the example"
_TROUBLE_WITHOUT_HEAD = "Without the head that was named (it must be its last layer) the network does not run on the example"


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
    return _checked(_model(features, head, stochastic, params), params, example, None)


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
    images = _few(example)
    with _running(images, _TROUBLE):
        classes = jax.eval_shape(lambda params, images: apply(params, images, None), params, images).shape[-1]

    def head(params: Params) -> tuple[Array, Array]:
        return jnp.eye(classes), jnp.zeros(classes)

    model = _model(apply, head, stochastic, params)._replace(has_features=False)
    return _checked(model, params, example, None)


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

    layers = _linear_layers(_params_of(variables))
    if head not in layers:
        raise UserError(f"There is no layer {head!r} with a kernel; there are {', '.join(layers) or 'none'}.")

    def head_of(params: Params) -> tuple[Array, Array]:
        layer = functools.reduce(operator.getitem, path, params["params"])
        return _matrix(layer["kernel"], head), layer.get("bias", jnp.zeros(layer["kernel"].shape[-1]))

    model = _model(features, head_of, on is not None, variables)._replace(trainable=_only_params)
    return _checked(model, variables, example, run)


def _params_of(variables: Params) -> Any:
    if "params" not in variables:
        raise UserError(f"The variables hold {', '.join(variables)}; give all collections, such as {{'params': ...}}.")
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


def nnx(module: Any, example: np.ndarray, *, head: str) -> tuple[Model, Params]:
    """A Flax nnx module, which is left as it is.

    Its dropout layers give the dropout samples; everything else is run as in evaluation.

    Args:
      module: called with images `[items, *space, channels]`.
      example: a few images.
      head: the last layer's attribute, such as `head` or `decoder.out`; an `nnx.Linear`, or an `nnx.Conv` of one element.

    Returns:
      The model, and its params.

    Raises:
      UserError: as for `function`, or there is no such layer.
    """
    from flax import nnx as flax_nnx

    if not isinstance(head, str):
        raise UserError(f"head is {head!r}; it must be the last layer's attribute as a text, such as 'head' or 'decoder.out'.")
    layer = _attribute(module, head)
    off = flax_nnx.clone(module)
    off.eval()
    on = flax_nnx.clone(off)
    try:
        on.set_attributes(flax_nnx.Dropout, deterministic=False)
        stochastic = True
    except ValueError:  # there is no dropout layer
        stochastic = False
    parts: Any = [flax_nnx.split(copy, flax_nnx.RngState, ...) for copy in (off, on)]
    (off_graph, off_rngs, state), (on_graph, on_rngs, _) = parts

    def rebuilt(params: Params, key: Array | None) -> Any:
        if key is None:
            return flax_nnx.merge(off_graph, off_rngs, params)
        return flax_nnx.merge(on_graph, _keyed(on_rngs, key), params)

    def run(params: Params, images: Array, key: Array | None) -> Any:
        return rebuilt(params, key)(images)

    def features(params: Params, images: Array, key: Array | None) -> Array:
        copy = rebuilt(params, key)
        owner, _, name = head.rpartition(".")
        setattr(_attribute(copy, owner) if owner else copy, name, lambda inputs: inputs)
        return copy(images)

    def head_of(params: Params) -> tuple[Array, Array]:
        layer = _attribute(rebuilt(params, None), head)
        kernel = layer.kernel[...]
        return _matrix(kernel, head), jnp.zeros(kernel.shape[-1]) if layer.bias is None else layer.bias[...]

    if not hasattr(layer, "kernel"):
        raise UserError(f"The layer {head!r} is a {type(layer).__name__}, which has no kernel; name the last linear layer.")
    return _checked(_model(features, head_of, stochastic, state), state, example, run)


def equinox(module: Any, example: np.ndarray, *, head: Callable[[Any], Any]) -> tuple[Model, Params]:
    """An Equinox module that takes one image at a time, channels first, as Equinox's layers do.

    A network whose `__call__` takes a `key` has dropout; the samples run it with `inference` off.

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
    return _checked(model, params, example, functools.partial(run_as, lambda network: network))


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


def _checked(model: Model, params: Params, example: np.ndarray, run: Features | None) -> tuple[Model, Params]:
    """The model and its params, once it was seen to work.

    Args:
      run: the network as it was given, whose output the head must give; None where there is none.

    Raises:
      UserError: see the adapters.
    """
    images = _few(example)
    outputs = jax.jit(functools.partial(_outputs, model))
    if run is not None:
        with _running(images, _TROUBLE):
            whole = np.asarray(run(params, images, None))
    with _running(images, _TROUBLE if run is None else _TROUBLE_WITHOUT_HEAD):
        features, logits = outputs(params, images)
        alone, _ = outputs(params, images[:1])
    if features.ndim != 2 and features.shape[1:-1] != images.shape[1:-1]:
        raise UserError(
            f"The network makes features of shape {features.shape[1:]} of an image of shape {images.shape[1:]}; it must give one vector for "
            "the image, or one for every element."
        )
    if not np.isfinite(logits).all():
        raise UserError("The network's output on the example images is not finite.")
    if not _close(alone, features[:1]):
        raise UserError(
            "What the network makes of an image depends on the other images of its batch, so scores would, too. Run its batch norms with "
            "their stored statistics."
        )
    if run is not None and (whole.shape != logits.shape or not _close(whole, logits)):
        raise UserError(
            f"With the head that was named the output is another than the network's own, of shape {logits.shape} and {whole.shape}; it must be "
            "its last layer, and the output logits, without a softmax."
        )
    if masks := model.draw_masks(jax.random.key(0)):
        with _running(images, _TROUBLE_WITH_DROPOUT):
            model.tail(params, images, masks)
    return model, params


def _outputs(model: Model, params: Params, images: Array) -> tuple[Array, Array]:
    """Features and logits, classes last."""
    features = model.tail(params, model.stem(params, images), None).features
    kernel, bias = model.head(params)
    if kernel.ndim != 2 or kernel.shape != (features.shape[-1], *bias.shape):
        raise UserError(
            f"The head's kernel has shape {kernel.shape} and its bias {bias.shape}, but without the head the network gives {features.shape[-1]} "
            "numbers; the head must be the network's last layer."
        )
    return features, jnp.matmul(features, kernel, precision="highest") + bias.reshape((1,) * (features.ndim - 1) + (-1,))


@contextlib.contextmanager
def _running(images: Array, trouble: str) -> Iterator[None]:
    """Tells of whatever a network of somebody else's raises."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        keywords = isinstance(error, TypeError) and "argument" in first_line
        advice = ' Keywords of its call go into off={"train": False} and, with dropout, on={"train": True}.' if keywords else ""
        raise UserError(f"{trouble}, images of shape {images.shape}: {first_line}{advice}") from error


def _close(value: Any, expected: Any) -> bool:
    return bool(np.allclose(value, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max(initial=0.0)) + 1e-6))


def _few(example: np.ndarray) -> Array:
    """Two images: the first one, and its mirror image in intensity where there is only one."""
    images = np.asarray(example)
    if images.ndim < 2 or not np.issubdtype(images.dtype, np.number):
        raise UserError(
            f"The example has shape {images.shape} and type {images.dtype}; it must be images [items, *space, channels]."
        )
    if not len(images) or not np.isfinite(images).all():
        raise UserError(f"The example holds {'numbers that are not finite' if len(images) else 'no image'}.")
    return jnp.asarray(np.stack([images[0], images[1] if len(images) > 1 else -images[0]]), jnp.float32)


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
