"""What an adapter makes sure of before anybody trusts its scores: it runs the network on a few images, and tells what is wrong with it.

What Flax, Equinox or JAX say of a wrong shape or a missing flag is put into words that name what to change.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.arrays import plain
from jaxal.errors import UserError
from jaxal.types import Array, Model, Params

Run = Callable[[Params, Array, Array | None], Any]  # (params, images, key or None) -> the network's own output

_WRONG_SHAPE = "ScopeParamShapeError"
_KEYS = 16  # a rare mask may be the same for some of them, but hardly for all
_SWITCHES = 'off={"train": False} names the call of evaluation, and on={"train": True} the one with dropout'


class Given(NamedTuple):
    """What an adapter knows of the network that it was given.

    Attributes:
      run: the network as it is, whose output the head must give; None where there is none besides the adapter's.
      head: how messages call the layer that was named as its head.
      call: how the network is called, for one that cannot be called so.
      dropout: what to do where dropout was promised and nothing is drawn; None where it was only looked for.
    """

    run: Run | None
    head: str
    call: str
    dropout: str | None = None


def checked(model: Model, params: Params, example: Any, given: Given) -> tuple[Model, Params]:
    """The model and its params, once it was seen to work; without dropout samples where dropout was looked for and not found.

    Raises:
      UserError: see the adapters.
    """
    images = few(example)
    outputs = jax.jit(functools.partial(_outputs, model))
    on_example = f"The network does not run on the example of shape {np.shape(example)}, so on images of shape {images.shape[1:]}"
    if given.run is not None:
        with running(on_example, given.call):
            whole = np.asarray(given.run(params, images, None))
    with running(on_example, given.call) if given.run is None else _without_head(given.head):
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
            f"What the network makes of an image of shape {images.shape[1:]} depends on the other images of its batch, so scores would, too. Run "
            f"it with the stored statistics of its batch norms and without dropout: {_SWITCHES}. Of a single image the example is image[None]."
        )
    if given.run is not None and (whole.shape != logits.shape or not _close(whole, logits)):
        raise UserError(
            f"With the head that was named the output is another than the network's own, of shape {logits.shape} and {whole.shape}; it must be "
            f"its last layer, and the output logits, without a softmax. It was {given.head}."
        )
    model = model._replace(example=images.shape[1:])
    if model.draw_masks(jax.random.key(0)) and not _draws(model, params, images, given):
        if given.dropout is not None:
            raise UserError(f"With every key the network gives the same, so no dropout is on. {given.dropout}")
        model = model._replace(draw_masks=lambda key: {})
    return model, params


def _draws(model: Model, params: Params, images: Array, given: Given) -> bool:
    """Whether another key gives other features: were that taken on trust, members that agree would look like a network that is sure."""
    features = jax.jit(lambda key: model.tail(params, images, model.draw_masks(key)).features)
    with running("With dropout switched on the network does not run on the example", given.call):
        first = np.asarray(features(jax.random.key(0)))
        scale = 1e-5 * float(np.abs(first).max(initial=0.0))
        return any(not np.allclose(features(jax.random.key(key)), first, rtol=0, atol=scale) for key in range(1, _KEYS))


def _outputs(model: Model, params: Params, images: Array) -> tuple[Array, Array]:
    """Features and logits, classes last."""
    features = plain(model.tail(params, model.stem(params, images), None).features)
    kernel, bias = model.head(params)
    if kernel.ndim != 2 or kernel.shape != (features.shape[-1], *bias.shape):
        raise UserError(
            f"The head's kernel has shape {kernel.shape} and its bias {bias.shape}, but without the head the network gives {features.shape[-1]} "
            "numbers; the head must be the network's last layer."
        )
    return features, jnp.matmul(features, kernel, precision="highest") + bias.reshape((1,) * (features.ndim - 1) + (-1,))


# Errors of somebody else's network


@contextlib.contextmanager
def running(trouble: str, call: str) -> Iterator[None]:
    """Tells of whatever a network of somebody else's raises."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if known := explained(error):
            advice = f" {layout('the example')}" if type(error).__name__ == _WRONG_SHAPE else ""
            raise UserError(f"{trouble}: {known}{advice}") from None  # the error says no more
        line = first_line(error)
        if isinstance(error, TypeError) and "argument" in line:
            raise UserError(f"{trouble}: {line.rstrip('.')}. {call}") from error
        raise UserError(f"{trouble}: {line.rstrip('.')}. {layout('the example')}") from error


@contextlib.contextmanager
def _without_head(head: str) -> Iterator[None]:
    """Tells of a network that ran, and does not without its head."""
    try:
        yield
    except UserError:
        raise
    except Exception:
        raise UserError(f"Without the head the rest does not run; it must be its last layer, and was {head}.") from None


def layout(name: str) -> str:
    """How images must lie in an array, and what makes them lie so."""
    return (
        f"If the layout is at fault: {name} must be [items, *space, channels] as the network was trained; without channels write "
        "images[..., None], of channels first np.moveaxis(images, 1, -1), and of a single image image[None]."
    )


def first_line(error: Exception) -> str:
    """What an error says, without the address of a page."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"\s*\(https?://\S+\)", "", line) or type(error).__name__


def explained(error: Exception) -> str | None:
    """What to do about an error of Flax, by its name, so that Flax need not be imported; None where that is not known."""
    kind, line = type(error).__name__, first_line(error)
    quoted = re.findall('"([^"]*)"', line)
    if kind == "ScopeCollectionNotFound":
        named = ", ".join(f"'{name}': …" for name in dict.fromkeys(["params", quoted[1]]))
        return f"its variables lack {quoted[1]}; pass {{{named}}}, all collections that init gave."
    if kind == "ScopeParamNotFoundError":
        return f"its params lack {quoted[0]!r} of the layer {quoted[1].strip('/')!r}, so they are another network's."
    if kind == _WRONG_SHAPE:
        needed, held = re.findall(r"shape (\([^)]*\))", line)
        return f"the layer {quoted[1].strip('/')!r} holds a {quoted[0]} of shape {held}, and such images take one of {needed}."
    if kind == "ModifyScopeVariableError" or (kind == "InvalidRngError" and "dropout" in line):
        does = "its dropout draws" if kind == "InvalidRngError" else f"its {quoted[-1]} would change"
        return f"it runs as in training, because {does}. {_SWITCHES}; are they swapped?"
    return None


# Arrays


def _close(value: Any, expected: Any) -> bool:
    return bool(np.allclose(value, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max(initial=0.0)) + 1e-6))


def few(example: Any) -> Array:
    """Two images: the first one, and its mirror image in intensity where there is only one."""
    try:
        images = np.asarray(example)
    except (TypeError, ValueError):
        raise UserError("The example's images differ in shape; it must be an array [items, *space, channels].") from None
    if images.ndim < 2 or not np.issubdtype(images.dtype, np.number):
        raise UserError(
            f"The example has shape {images.shape} and type {images.dtype}; it must be images [items, *space, channels]."
        )
    if not len(images) or not np.isfinite(images).all():
        raise UserError(f"The example holds {'numbers that are not finite' if len(images) else 'no image'}.")
    return jnp.asarray(np.stack([images[0], images[1] if len(images) > 1 else -images[0]]), jnp.float32)
