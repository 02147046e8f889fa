"""Learning from cases that nobody labelled: the network is to say of a strongly varied image what it, or its average, says of the image itself.

One term of the loss serves all methods. They differ in who is the teacher and in how far the network must agree with it. Its weight rises during most of a training:
on simulated images with six labels FixMatch at full weight from the first step on agreed with itself on two of three classes, in all of four draws.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from jaxal.acquisition.evidence import uncertainties
from jaxal.arrays import by_class, count, flat, logits_of, logits_of_images
from jaxal.named_options import made_by_name
from jaxal.training.augment import augment
from jaxal.training.config import TrainingConfig, Unlabelled
from jaxal.training.losses import cross_entropy
from jaxal.types import Example, Masks, Model, Params

Array = jax.Array

NO_EVIDENCE = "--unlabelled evidence: networks tell no evidence as they are trained here. Add --evidence 1."
_STRONGER = {"contrast": 0.4, "brightness": 0.4, "noise": 0.3, "flips": (), "rotation_degrees": 0.0, "scaling": 0.0}


def none() -> Unlabelled:
    """Only labelled cases are trained on."""
    return Unlabelled()


def consistency(*, weight: float = 1.0, ratio: int = 1, ramp: float = 0.8) -> Unlabelled:
    """Predictions of two variants of an image are drawn together (Gao et al. 2020, arXiv 1910.07153): their squared distance, mean over the image.

    Both are turned and moved alike; the second differs in contrast, brightness and noise, and is drawn towards the first, which has no gradient of it.

    Args:
      weight: of it, beside the loss of labelled cases.
      ratio: cases without a label for each labelled one of a step.
      ramp: share of the steps in which the weight rises to its full size.
    """
    return _checked(Unlabelled("consistency", weight, ratio, ramp))


def mean_teacher(*, weight: float = 1.0, ratio: int = 1, ramp: float = 0.8, decay: float = 0.999) -> Unlabelled:
    """Predictions are drawn to those of the weights' moving average, which then scores and is measured (Tarvainen & Valpola 2017, arXiv 1703.01780).

    Args:
      weight: of the squared distance, mean over the image, beside the loss of labelled cases.
      ratio: cases without a label for each labelled one of a step.
      ramp: share of the steps in which the weight rises to its full size.
      decay: of the average.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay is {decay:g}; it must be at least 0 and below 1.")
    return _checked(Unlabelled("mean_teacher", weight, ratio, ramp, decay=decay))


def fixmatch(*, weight: float = 1.0, ratio: int = 1, confidence: float = 0.95, ramp: float = 0.8) -> Unlabelled:
    """What the network is sure of is its label for a strongly varied image (Sohn et al. 2020, arXiv 2001.07685).

    Args:
      weight: of the cross-entropy, beside the loss of labelled cases.
      ratio: cases without a label for each labelled one of a step; the paper has 7.
      confidence: probability that a class must have to count.
      ramp: share of the steps in which the weight rises to its full size; the paper's trainings of a million steps have none.
    """
    if not 0 <= confidence < 1:
        raise ValueError(f"confidence is {confidence:g}; it must be at least 0 and below 1.")
    return _checked(Unlabelled("fixmatch", weight, ratio, ramp, confidence))


def mixup(*, weight: float = 1.0, ratio: int = 2, ramp: float = 0.8, alpha: float = 0.75) -> Unlabelled:
    """Of two images whose features are mixed, behind the layers before the first dropout, the network is to say the same mixture of what it says of each (latent mixup, Xu et
    al. 2021, MICCAI; mixed targets as in Verma et al. 2019, arXiv 1903.03825).

    Args:
      weight: of the squared distance, mean over the image, beside the loss of labelled cases.
      ratio: cases without a label for each labelled one of a step, two at least, because each is mixed with the next.
      ramp: share of the steps in which the weight rises to its full size.
      alpha: of the Beta distribution that shares are drawn from; below 1 one of the two prevails.
    """
    if ratio < 2:
        raise ValueError(f"ratio is {ratio}; two cases are mixed, so it must be at least 2.")
    if alpha <= 0:
        raise ValueError(f"alpha is {alpha:g}; it must be above 0.")
    return _checked(Unlabelled("mixup", weight, ratio, ramp, alpha=alpha))


def evidence(*, weight: float = 1.0, ratio: int = 1, ramp: float = 0.8, of_data: float = 0.05) -> Unlabelled:
    """Networks that tell evidence are to have some on the pool, too: what they are unsure of the distribution over classes is brought down, and a little of the rest (DUC, Xie
    et al. 2023, arXiv 2302.13824).

    Args:
      weight: of both, mean over the image, beside the loss of labelled cases.
      ratio: cases without a label for each labelled one of a step.
      ramp: share of the steps in which the weight rises to its full size; the paper has none.
      of_data: how much being unsure of the class counts where the distribution is known; the paper has 0.05.
    """
    if of_data < 0:
        raise ValueError(f"of_data is {of_data:g}; it must not be negative.")
    return _checked(Unlabelled("evidence", weight, ratio, ramp, of_data=of_data))


METHODS: Mapping[str, Callable[..., Unlabelled]] = {
    make.__name__: make for make in (none, consistency, mean_teacher, fixmatch, mixup, evidence)
}


def named_unlabelled(text: str) -> Unlabelled:
    """The method of a name, perhaps with options behind it: `fixmatch,ratio=7`.

    Raises:
      UserError: there is no such method or option, or the option takes no such value.
    """
    return made_by_name(text, METHODS, "--unlabelled", "There is no way {} to learn from unlabelled cases")


def _checked(method: Unlabelled) -> Unlabelled:
    """The method as it is.

    Raises:
      ValueError: a number is out of range.
    """
    if method.weight < 0:
        raise ValueError(f"weight is {method.weight:g}; it must not be negative.")
    if method.ratio < 1:
        raise ValueError(f"ratio is {method.ratio}; it must be at least 1.")
    if not 0 <= method.ramp <= 1:
        raise ValueError(f"ramp is {method.ramp:g}; it is a share from 0 to 1.")
    return method


def weight_at(method: Unlabelled, step: Array, steps: Array) -> Array:
    """The weight of the term, which rises as exp(-5 (1 - t)²) does while predictions mean little yet.

    Args:
      method: with its full size.
      step, steps: done, and in all; integers.
    """
    step, steps = step.astype(jnp.float32), steps.astype(jnp.float32)
    share = jnp.clip(step / jnp.maximum(method.ramp * steps, 1.0), 0.0, 1.0)
    return method.weight * jnp.exp(-5.0 * jnp.square(1.0 - share))


def term(
    config: TrainingConfig, model: Model, dense: bool, params: Params, teacher: Params, keys: tuple[Array, Array], batch: Example
) -> Array:
    """What each unlabelled example adds to the loss, before its weight, `[examples]`.

    Args:
      config: of the training, with the method.
      model: the network.
      dense: whether elements have predictions of their own.
      params, teacher: weights that learn, and those that say what is to be learned; the teacher has no dropout and is not changed.
      keys: of the variation and of the dropout of each example, `[examples]` each.
      batch: the examples; their labels are not read.
    """
    method, varied = config.unlabelled, jax.vmap(functools.partial(augment, config, dense))(keys[0], batch)
    masks = jax.vmap(model.draw_masks)(keys[1])
    inside, there = (varied.inside if dense else None), varied.inside.reshape(len(varied.image), -1)
    if method.method == "evidence":
        return doubt(method, logits_of_images(model, params, varied.image, inside, masks), there)
    said = jax.lax.stop_gradient(logits_of_images(model, teacher, varied.image, inside))
    if method.method == "mixup":
        return _of_pairs(method, model, params, keys[0], varied._replace(inside=inside), masks, said, there)
    stronger = dataclasses.replace(config, **_STRONGER)  # type: ignore[arg-type]
    again = jax.vmap(lambda key, one: augment(stronger, dense, jax.random.fold_in(key, 1), one))(keys[0], varied)
    own = logits_of_images(model, params, again.image, inside, masks)
    return disagreement(method, own, said, there)


def disagreement(method: Unlabelled, own: Array, said: Array, inside: Array) -> Array:
    """How far predictions are from the teacher's, mean over the elements inside, `[examples]`.

    Args:
      method: `fixmatch` counts the cross-entropy with the teacher's class where it is sure enough, the others the squared distance of probabilities.
      own, said: logits, `[examples, classes, elements]`.
      inside: `[examples, elements]`, boolean.
    """
    taught = jax.nn.softmax(said, axis=-2)
    if method.method == "fixmatch":
        sure = taught.max(-2) >= method.confidence
        # Of all elements and not of the sure ones alone, so that few sure ones weigh little.
        return cross_entropy(own, taught.argmax(-2), inside & sure) * count(inside & sure) / count(inside)
    return _distance(own, taught, inside)


def _distance(own: Array, taught: Array, inside: Array) -> Array:
    """Squared distance of the probabilities of logits to others, summed over classes, mean over the elements inside, `[examples]`."""
    distance = sum((jnp.square(part) for part in by_class(jax.nn.softmax(own, axis=-2) - taught)), jnp.zeros(()))
    return jnp.where(inside, distance, 0.0).sum(-1) / count(inside)


def doubt(method: Unlabelled, logits: Array, inside: Array) -> Array:
    """How unsure networks that tell evidence are of the distribution over classes, and a share of what they are unsure of besides, mean over the elements inside, `[examples]`.

    Args:
      method: with that share.
      logits: `[examples, classes, elements]`.
      inside: `[examples, elements]`, boolean.
    """
    of_distribution, of_data = uncertainties(logits)
    return jnp.where(inside, of_distribution + method.of_data * of_data, 0.0).sum(-1) / count(inside)


def _of_pairs(
    method: Unlabelled, model: Model, params: Params, keys: Array, batch: Example, masks: Masks, said: Array, there: Array
) -> Array:
    """Each example mixed with the next of those that belong to the same labelled example, so that it does not matter how a batch is cut; see `mixup`."""
    draw = jax.vmap(lambda key: jax.random.beta(jax.random.fold_in(key, 2), method.alpha, method.alpha))
    share = draw(keys)

    def mixed(part: Array) -> Array:
        groups = part.reshape(-1, method.ratio, *part.shape[1:])
        other = jnp.roll(groups, -1, axis=1).reshape(part.shape)
        if part.dtype == bool:
            return part & other
        own = share.reshape(-1, *[1] * (part.ndim - 1)).astype(part.dtype)
        return own * part + (1 - own) * other

    hidden = jax.tree.map(mixed, model.stem(params, batch.image, batch.inside))
    output = model.tail(params, hidden, masks)
    return _distance(logits_of(flat(output), *model.head(params, masks)), mixed(jax.nn.softmax(said, axis=-2)), mixed(there))
