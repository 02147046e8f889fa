"""Measures and choices on plain arrays, for those who have predictions already: NumPy in, NumPy out.

One layout for all: `[members, items, ..., classes]`, members first and classes last. `members` are the networks, dropout samples or views whose
predictions there are, one of them at least; `...` is nothing, or the space of an image. Logits are given by place and
probabilities by name (`bald(probabilities=p)`); which of the two it is, is never guessed from the values. Results have the inputs'
precision, and high always means "label me". Logarithms are natural.
"""

import contextlib
import functools
import operator
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import gradients, information, selection, uncertainty
from jaxal.arrays import gumbels_of, key_of
from jaxal.errors import UserError
from jaxal.strategies.informative import compiled_gain
from jaxal.types import Array

_NUMBERS_AT_ONCE = 2**24  # of logits, which bounds what a measure holds in memory besides its input


def entropy(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Entropy of the members' mean prediction (Shannon 1948), `[items, ...]`; with several members also called MC entropy."""
    return _of_moments(uncertainty.entropy, logits, probabilities)


def expected_entropy(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Mean over members of each one's own entropy, `[items, ...]`: the uncertainty that more data does not remove."""
    return _of_moments(uncertainty.expected_entropy, logits, probabilities)


def bald(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Mutual information of label and member (Houlsby et al. 2011, arXiv 1112.5745), `[items, ...]`."""
    return _of_moments(uncertainty.bald, logits, probabilities, needs_members=True)


def least_confidence(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """One minus the largest mean probability (Lewis & Gale 1994), `[items, ...]`."""
    return _of_moments(uncertainty.least_confidence, logits, probabilities)


def margin(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """One minus the lead of the most over the second most probable class (Scheffer et al. 2001), `[items, ...]`."""
    return _of_moments(uncertainty.margin, logits, probabilities)


def variation_ratio(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Share of members that do not vote for the class with most votes (Freeman 1965), `[items, ...]`."""
    return _of_moments(uncertainty.variation_ratio, logits, probabilities, needs_members=True)


def mean_std(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Standard deviation of the members' probabilities, mean over classes (Kampffmeyer et al. 2016), `[items, ...]`."""
    return _of_moments(uncertainty.mean_std, logits, probabilities, needs_members=True)


def variance(logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Population variance of the members' probabilities, mean over classes, `[items, ...]`."""
    return _of_moments(uncertainty.variance, logits, probabilities, needs_members=True)


def expected_gradient_length(features: Any, logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Expected length of the last layer's gradient under the mean prediction (Settles et al. 2008), `[items]`.

    Args:
      features: input of the last layer, `[items, features]`.
      logits: `[members, items, classes]`.
      probabilities: the same, instead of logits.
    """
    return _of_gradient(gradients.expected_gradient_length, features, logits, probabilities)


def entropy_gradient_norm(features: Any, logits: Any = None, *, probabilities: Any = None) -> np.ndarray:
    """Length of the entropy's gradient in the last layer (Wang et al. 2022, arXiv 2112.05683), `[items]`.

    Args:
      features: input of the last layer, `[items, features]`.
      logits: `[members, items, classes]`; the mean prediction counts.
      probabilities: the same, instead of logits.
    """
    return _of_gradient(gradients.entropy_gradient_norm, features, logits, probabilities)


def information_gain(
    features: Any,
    head: tuple[Any, Any],
    evaluation: tuple[Any, Any],
    *,
    variant: information.Variant = "aeig",
    step_rate: float | Literal["normalised"] = 3e-3,
    step: information.Step = "sgd",
    renormalise: bool = False,
) -> np.ndarray:
    """Expected fall of the entropy on an evaluation set, were an item labelled and the last layer took one gradient step on it.

    Mehta et al. 2022 (arXiv 2208.00974), equations 1 and 2; in closed form, all labels at once.

    Args:
      features: input of the last layer, `[items, features]`.
      head: the last layer's kernel `[features, classes]` and bias `[classes]`.
      evaluation: the evaluation set's features, `[evaluation items, features]`, and its labels, `[evaluation items]` whole numbers, of which
        only the frequencies are used.
      variant: `eig`, `aeig`, `uig` or `cfig`, which weigh the labels by probability, probability times frequency, alike, or frequency.
      step_rate: rate of the gradient step, or `normalised` by the features' norm.
      step: `sgd`, or `sign` for the first step of a fresh Adam.
      renormalise: divide the labels' weights by their sum; the paper does not.

    Returns:
      `[items]`.

    Raises:
      UserError: the shapes do not fit, a number is not finite, or a label is no class.
    """
    features, kernel, bias = _numbers("features", features, 2), _numbers("kernel", head[0], 2), _numbers("bias", head[1], 1)
    others = _numbers("evaluation features", evaluation[0], 2)
    width, classes = kernel.shape
    _check_widths(width, features=features, evaluation=others)
    if bias.shape != (classes,):
        raise UserError(f"bias has shape {bias.shape}; the kernel has {classes} classes.")
    kernel, bias, others = (part.astype(features.dtype) for part in (kernel, bias, others))
    counts = np.bincount(_labels(evaluation[1], len(others), classes), minlength=classes)
    with _precision(features):
        weights = jnp.ones(len(others), features.dtype)
        of_head = jnp.asarray(kernel), jnp.asarray(bias)
        reference = information.make_reference(jnp.asarray(others.T), *of_head, weights, jnp.asarray(counts, features.dtype))
        probability, _ = uncertainty.softmax_and_entropy(jnp.asarray(kernel.T @ features.T + bias[:, None]))
        items = information.Items(jnp.asarray(features), probability.T)
        gain = compiled_gain(items, reference, variant=variant, rate=step_rate, step=step, renormalise=renormalise)
        return np.asarray(gain.mass + gain.gain)


def select(scores: Any, budget: int) -> np.ndarray:
    """Places of the items with the highest scores, best first, `[budget]`; ties go to the earlier item.

    Args:
      scores: `[items]`.
      budget: how many; all of them when there are fewer.
    """
    scores = _numbers("scores", scores, 1)
    return np.argsort(-scores, kind="stable")[: budget_of(budget, len(scores))]


def power_select(scores: Any, budget: int, *, beta: float = 1.0, seed: int = 0) -> np.ndarray:
    """Places of items drawn without replacement with chances ∝ score^beta (Kirsch et al. 2023, arXiv 2106.12059), `[budget]`.

    Args:
      scores: `[items]`, not negative.
      budget: how many; all of them when there are fewer.
      beta: large: close to `select`; zero: at random.
      seed: of the draw.
    """
    scores = _numbers("scores", scores, 1)
    if (scores < 0).any():
        raise UserError(f"scores must not be negative, but the lowest is {scores.min():g}.")
    noise = gumbels_of(key_of(seed), [str(place) for place in range(len(scores))])
    return select(selection.power_scores(noise, scores, beta), budget)


def k_center(embeddings: Any, labelled: Any, budget: int) -> np.ndarray:
    """Places of the points farthest from all that is labelled or chosen before (Sener & Savarese 2018, arXiv 1708.00489), `[budget]`.

    Args:
      embeddings: `[items, features]`.
      labelled: embeddings of what is labelled, `[labelled, features]`, at least one.
      budget: how many; all of them when there are fewer.
    """
    points, centres = _numbers("embeddings", embeddings, 2), _numbers("labelled", labelled, 2)
    _check_widths(points.shape[1], embeddings=points, labelled=centres)
    with _precision(points):
        return np.asarray(
            selection.k_center(points, centres.astype(points.dtype), jnp.ones(len(points), bool), budget_of(budget, len(points)))[
                0
            ]
        )


def badge(features: Any, logits: Any = None, budget: int = 1, *, probabilities: Any = None, seed: int = 0) -> np.ndarray:
    """Places of items with long and diverse gradients, drawn as k-means++ draws (Ash et al. 2020, arXiv 1906.03671), `[budget]`.

    Args:
      features: input of the last layer, `[items, features]`.
      logits: `[members, items, classes]`; the mean prediction counts.
      budget: how many; all of them when there are fewer.
      probabilities: the same, instead of logits.
      seed: of the draws.
    """
    points, probability = _features_and_prediction(features, logits, probabilities)
    with _precision(points):
        error = gradients.hallucinated_error(jnp.asarray(probability)).T
        available = jnp.ones(len(points), bool)
        key, count = key_of(seed), budget_of(budget, len(points))
        return np.asarray(selection.k_means_plus_plus_of_gradients(key, jnp.asarray(points), error, available, count)[0])


def batch_bald(
    logits: Any = None, budget: int = 1, *, probabilities: Any = None, samples: int = 10_000, seed: int = 0
) -> np.ndarray:
    """Places of the items whose labels together tell most of the members (Kirsch et al. 2019, arXiv 1906.08158), `[budget]`.

    Args:
      logits: `[members, items, classes]`.
      budget: how many; all of them when there are fewer.
      probabilities: the same, instead of logits.
      samples: combinations of labels; exact as long as all of them are fewer.
      seed: of the draws.
    """
    values, are_logits = _predictions(logits, probabilities, needs_members=True)
    if values.ndim != 3:
        raise UserError(f"batch_bald takes [members, items, classes], one class an item, but the shape is {values.shape}.")
    with _precision(values):
        members = jax.nn.softmax(values, -1) if are_logits else jnp.asarray(values)
        items = jnp.moveaxis(members, 0, 1)
        available = jnp.ones(len(items), bool)
        key, count = key_of(seed), budget_of(budget, len(items))
        return np.asarray(selection.batch_bald(key, items, available, count, samples)[0])


def _of_moments(measure: Callable[[Any], Array], logits: Any, probabilities: Any, needs_members: bool = False) -> np.ndarray:
    """A measure of moments, a block of items at a time."""
    values, are_logits = _predictions(logits, probabilities, needs_members)
    size = max(1, _NUMBERS_AT_ONCE * values.shape[1] // values.size)
    with _precision(values):
        blocks = [values[:, start : start + size] for start in range(0, values.shape[1], size)]
        return np.concatenate([np.asarray(_measured(measure, are_logits, block)) for block in blocks])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measured(measure: Callable[[Any], Array], are_logits: bool, values: Array) -> Array:
    members, items, *space, classes = values.shape
    by_class = jnp.moveaxis(values.reshape(members, items, -1, classes), -1, -2)
    moments = (uncertainty.moments_of if are_logits else uncertainty.moments_of_probabilities)(by_class)
    return measure(moments).reshape(items, *space)


def _of_gradient(measure: Callable[[Array, Array], Array], features: Any, logits: Any, probabilities: Any) -> np.ndarray:
    points, probability = _features_and_prediction(features, logits, probabilities)
    with _precision(points):
        return np.asarray(measure(jnp.asarray(points), jnp.asarray(probability)))


def _features_and_prediction(features: Any, logits: Any, probabilities: Any) -> tuple[np.ndarray, np.ndarray]:
    """Features `[items, features]` and the mean prediction `[classes, items]`."""
    points = _numbers("features", features, 2)
    values, are_logits = _predictions(logits, probabilities, needs_members=False)
    if values.ndim != 3 or values.shape[1] != len(points):
        raise UserError(
            f"Predictions [members, items, classes] of {len(points)} items are needed, but their shape is {values.shape}."
        )
    with _precision(points):
        members = jax.nn.softmax(jnp.asarray(values), -1) if are_logits else jnp.asarray(values)
        return points, np.asarray(members.mean(0).T, points.dtype)


def _predictions(logits: Any, probabilities: Any, needs_members: bool) -> tuple[np.ndarray, bool]:
    """What was given, checked, and whether it is logits."""
    if (logits is None) == (probabilities is None):
        raise UserError("Give either logits or probabilities=…, and not both.")
    name, given = ("logits", logits) if probabilities is None else ("probabilities", probabilities)
    values = _numbers(name, given, None)
    if values.ndim < 3:
        raise UserError(
            f"{name} have shape {values.shape}; the layout is [members, items, ..., classes]. Of a single member write {name}[None]."
        )
    if values.shape[-1] < 2:
        raise UserError(f"{name} have shape {values.shape}; the last axis is that of the classes, two at least.")
    if needs_members and values.shape[0] < 2:
        raise UserError(f"{name} have shape {values.shape}, so one member; how members disagree takes two at least.")
    if probabilities is not None:
        off = float(np.abs(values.sum(-1) - 1).max())
        if values.min() < 0 or off > 1e-3:
            raise UserError(
                f"probabilities must not be negative and sum to 1 over the last axis, but the lowest is {values.min():.4g} and a sum is off by "
                f"{off:.4g}. If they are logits, give them as logits."
            )
    return values, probabilities is None


def _numbers(name: str, given: Any, rank: int | None) -> np.ndarray:
    """An array of float32, or float64 if it was that, all finite."""
    values = array_of(name, given)
    if values.dtype == object or not np.issubdtype(values.dtype, np.number) or np.issubdtype(values.dtype, np.complexfloating):
        raise UserError(f"{name} must be numbers, but their type is {values.dtype}.")
    values = values if values.dtype == np.float64 else values.astype(np.float32)
    if rank is not None and values.ndim != rank:
        raise UserError(f"{name} have shape {values.shape}; {rank} axes are needed.")
    if values.size == 0:
        raise UserError(f"{name} have shape {values.shape}, so there are none.")
    if not np.isfinite(values).all():
        broken = np.argwhere(~np.isfinite(values))
        raise UserError(f"{name} hold {len(broken)} numbers that are not finite, first at {tuple(map(int, broken[0]))}.")
    return values


def array_of(name: str, given: Any) -> np.ndarray:
    """An array of whatever NumPy makes one of.

    Raises:
      UserError: it makes none, as of lists whose parts differ in length.
    """
    try:
        return np.asarray(given)
    except Exception as error:  # arrays of other libraries raise what they like
        if isinstance(error, ValueError) and isinstance(given, list | tuple):
            shapes = " and ".join(dict.fromkeys(str(np.shape(part)) if _is_regular(part) else "none" for part in given))
            raise UserError(f"{name} are no array, because their parts must be of one shape, but have {shapes}.") from None
        raise UserError(f"{name} are of type {type(given).__name__}, of which NumPy makes no array: {error}") from error


def _is_regular(part: Any) -> bool:
    try:
        return np.shape(part) is not None
    except ValueError:
        return False


def _check_widths(width: int, **arrays: np.ndarray) -> None:
    if any(values.shape[-1] != width for values in arrays.values()):
        shapes = " and ".join(f"{name} {values.shape}" for name, values in arrays.items())
        raise UserError(f"Each item must have {width} features, but the shapes are {shapes}.")


def _labels(given: Any, items: int, classes: int) -> np.ndarray:
    labels = array_of("labels", given)
    if labels.shape != (items,) or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"Labels have shape {labels.shape} and type {labels.dtype}; {items} whole numbers are needed."
            + one_hot(labels, (items,), classes)
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"Labels reach from {labels.min()} to {labels.max()}; there are {classes} classes, 0 to {classes - 1}.")
    return labels


def one_hot(labels: np.ndarray, needed: tuple[int, ...], classes: int) -> str:
    """What to do with labels that have an axis too many, as a further sentence; empty for others."""
    if labels.ndim != len(needed) + 1 or labels.shape[:-1] != needed or labels.shape[-1] not in (1, classes):
        return ""
    return " Of one-hot labels that is labels.argmax(-1)." if labels.shape[-1] == classes else " That is labels[..., 0]."


def budget_of(budget: int, items: int) -> int:
    """A number of items, all of them when there are fewer.

    Raises:
      UserError: it is no whole number from one upwards.
    """
    try:
        count = operator.index(budget)
    except TypeError:
        raise UserError(f"budget is {budget!r}; it must be a whole number.") from None
    if count < 1:
        raise UserError(f"budget is {count}; it must be one at least.")
    return min(count, items)


def _precision(values: np.ndarray) -> contextlib.AbstractContextManager[Any]:
    """Double precision for those who come with it."""
    return jax.enable_x64(values.dtype == np.float64)
