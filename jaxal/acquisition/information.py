"""Expected information gain of a label, from one gradient step of the linear head in closed form.

Mehta, Shui, Nichyporuk, Arbel 2022 (arXiv 2208.00974) ask of each candidate: if its label were c and the head took one
gradient step on it, how much would the entropy of the predictions on an evaluation set fall? For a linear softmax head that
needs no autodiff: the gradient is an outer product of features and errors, so the changed evaluation logits come from matrix
products that all candidates and all labels share. In volumes the regions of a case play the part of images.

Layout: `features` counts the head's inputs, to which a constant 1 is appended for the bias ("extended"); classes come before
features and elements. The change of entropy is computed directly, never as a difference of two entropies (`entropy_change.py`): it
is thousands of times smaller than either and would drown in float32.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import uncertainty
from jaxal.acquisition.entropy_change import LONG, expected_change, expected_change_of_long_steps, sums_of_the_others
from jaxal.arrays import Features, rows_of

Array = jax.Array
Variant = Literal["eig", "aeig", "uig", "cfig"]
Step = Literal["sgd", "sign"]
Expected = Callable[..., Array]  # one of the formulas of entropy_change.py

# Candidates computed at once: few on a CPU, whose cache they must fit, and on an accelerator as many as make so many changed logits.
_CANDIDATES_AT_ONCE, _LOGITS_AT_ONCE = 64, 2**26


class Candidates(NamedTuple):
    """What a candidate's label gradient is made of; a region's is the mean over its elements.

    With φ the extended features and p the predicted probabilities, the gradient of the cross-entropy for label c with respect
    to column j of the head is `joint[j] - [j = c] * mean`.

    Attributes:
      mean: mean of φ, `[..., features + 1]`.
      joint: mean of p φ, `[..., classes, features + 1]`; its last entry is the mean probability.
    """

    mean: Array
    joint: Array

    @property
    def probability(self) -> Array:
        """Mean predicted probability, `[..., classes]`."""
        return self.joint[..., -1]


class Items(NamedTuple):
    """Candidates that are single items, such as whole images, by the two sides of their gradients.

    Attributes:
      features: `[..., features]`.
      probability: `[..., classes]`.
    """

    features: Array
    probability: Array


class Reference(NamedTuple):
    """The evaluation elements, seen by the current model.

    Attributes:
      features: extended, `[features + 1, elements]`.
      probability, log_probability: `[classes, elements]`.
      entropy: `[elements]`.
      weights: importance of each element, summing to one, `[elements]`.
      class_frequency: share of each class among the evaluation labels, `[classes]`.
    """

    features: Array
    probability: Array
    log_probability: Array
    entropy: Array
    weights: Array
    class_frequency: Array

    @property
    def mean_entropy(self) -> Array:
        return (self.weights * self.entropy).sum()


class InformationGain(NamedTuple):
    """The two parts of a score, `[candidates]` each: the score is their sum, high means "label me".

    Attributes:
      mass: (1 - Σq) H₁, what is left because the weights q of the literal AEIG do not sum to one; zero for the others.
      gain: -Σ_c q_c ΔH_c, the expected fall of the evaluation entropy.
    """

    mass: Array | np.ndarray
    gain: Array | np.ndarray


NO_GAIN = InformationGain(np.zeros(0, np.float32), np.zeros(0, np.float32))  # of no candidates


def extend(features: Array, axis: int = -1) -> Array:
    """Appends the constant 1 that the bias multiplies."""
    shape = list(features.shape)
    shape[axis] = 1
    return jnp.concatenate([features, jnp.ones(shape, features.dtype)], axis=axis)


def make_reference(features: Array, kernel: Array, bias: Array, weights: Array, class_frequency: Array) -> Reference:
    """Prepares the evaluation set.

    Args:
      features: `[features, elements]`.
      kernel, bias: of the head, `[features, classes]` and `[classes]`.
      weights: `[elements]`, not negative; they are divided by their sum.
      class_frequency: `[classes]`, divided by its sum; all zero counts as all alike.
    """
    chex.assert_rank([features, kernel, bias, weights, class_frequency], [2, 2, 1, 1, 1])
    logits = jnp.matmul(kernel.T, features, precision="highest") + bias[:, None]
    probability, entropy = uncertainty.softmax_and_entropy(logits)
    return Reference(
        extend(features, 0),
        probability,
        jax.nn.log_softmax(logits, axis=0),
        entropy,
        weights / weights.sum(),
        _shares(class_frequency),
    )


def _shares(counts: Array) -> Array:
    counts = jnp.where(counts.sum() > 0, counts, jnp.ones_like(counts))
    return counts / counts.sum()


def candidates_of(items: Items) -> Candidates:
    """The same as candidates whose products are written out."""
    mean = extend(items.features)
    return Candidates(mean, items.probability[..., :, None] * mean[..., None, :])


def region_candidates(
    features: Features, probability: Array, inside: Array, shape: tuple[int, ...], size: int, regions: Array
) -> Candidates:
    """Candidates that are cubes of `size` elements a side; a cube averages over those of its elements that belong to the image.

    Args:
      features: `[elements, features]`.
      probability: `[classes, elements]`.
      inside: elements that belong to the image, `[elements]`, boolean.
      shape: of the volume, with product `elements`.
      size: elements along each axis.
      regions: which cubes, as places in the order of `block_mean`, `[regions]` integers. Only their elements are touched.

    Returns:
      Candidates with one leading axis of regions.
    """
    index, in_volume = region_elements(regions, shape, size)
    used = (in_volume & inside[index]).astype(probability.dtype)
    share = used / jnp.broadcast_to(jnp.maximum(used.sum(-1, keepdims=True), 1.0), used.shape)
    extended = extend(rows_of(features, index))
    mean = jnp.einsum("rv,rvf->rf", share, extended, precision="highest")
    joint = jnp.einsum("crv,rvf->rcf", probability[:, index] * share[None], extended, precision="highest")
    return Candidates(mean, joint)


def region_elements(regions: Array, shape: tuple[int, ...], size: int) -> tuple[Array, Array]:
    """The elements of cubes: places in the flat volume `[regions, size ** rank]`, and which of them lie inside it."""
    blocks = tuple(-(-length // size) for length in shape)
    offsets = np.indices((size,) * len(shape), np.int32).reshape(len(shape), -1)
    corners = jnp.unravel_index(regions, blocks)
    index, inside = jnp.zeros((), jnp.int32), jnp.ones((), bool)
    for corner, offset, length in zip(corners, offsets, shape, strict=True):
        place = size * corner[:, None].astype(jnp.int32) + offset[None, :]
        index, inside = index * length + jnp.minimum(place, length - 1), inside & (place < length)
    return index, inside


def block_mean(values: Array, inside: Array, shape: tuple[int, ...], size: int) -> Array:
    """Means of the elements inside the image by cubes of `size` a side, `[..., elements]` to `[..., regions]`; of none zero."""
    counts = _block_sum(inside.astype(values.dtype), shape, size)
    summed = _block_sum(jnp.where(inside, values, 0.0), shape, size)
    return summed / jnp.broadcast_to(jnp.maximum(counts, 1.0), summed.shape)


def _block_sum(values: Array, shape: tuple[int, ...], size: int) -> Array:
    on_cpu, others = (functools.partial(form, shape=shape, size=size) for form in (block_sum, block_sum_by_products))
    return jax.lax.platform_dependent(values, cpu=on_cpu, default=others)


def block_sum_by_products(values: Array, shape: tuple[int, ...], size: int) -> Array:
    """`block_sum` by a product with zeros and ones along each axis: a TPU's compiler gives the plain sum arrays of sixteen times their size."""
    sums = values.reshape(*values.shape[:-1], *shape)
    for length in reversed(shape):  # the last axis, which then stands first
        element, block = np.ogrid[:length, : -(-length // size)]
        belongs = jnp.asarray(element // size == block, values.dtype)
        sums = jnp.moveaxis(jnp.matmul(sums, belongs, precision="highest"), -1, values.ndim - 1)
    return sums.reshape(*values.shape[:-1], -1)


def block_sum(values: Array, shape: tuple[int, ...], size: int) -> Array:
    """Sums of cubes of `size` elements a side, `[..., elements]` to `[..., regions]`."""
    lead = values.shape[:-1]
    blocks = [-(-length // size) for length in shape]
    padding = [(0, 0)] * len(lead) + [(0, count * size - length) for count, length in zip(blocks, shape, strict=True)]
    split = [part for count in blocks for part in (count, size)]
    cubes = jnp.pad(values.reshape(*lead, *shape), padding).reshape(*lead, *split)
    summed = cubes.sum(tuple(range(len(lead) + 1, len(lead) + 2 * len(shape), 2)))
    return summed.reshape(*lead, -1)


def label_weights(variant: Variant, probability: Array, class_frequency: Array, renormalise: bool = False) -> Array:
    """The weights q of the hypotheses "the label is c": `probability [..., classes]`, `class_frequency [classes]`.

    `eig` takes P, `aeig` P f (not summing to one, as its paper writes it, unless renormalised), `uig` 1/C, `cfig` f.
    """
    class_frequency = jnp.broadcast_to(class_frequency, probability.shape)
    if variant == "eig":
        weights = probability
    elif variant == "aeig":
        weights = probability * class_frequency
    elif variant == "uig":
        weights = jnp.full_like(probability, 1 / probability.shape[-1])
    elif variant == "cfig":
        weights = class_frequency
    else:
        raise ValueError(f"variant is {variant!r}; it must be eig, aeig, uig or cfig.")
    return weights / weights.sum(-1, keepdims=True) if renormalise else weights


def mass(probability: Array, class_frequency: Array | np.ndarray) -> Array:
    """1 - Σ P f, `[...]`: how rare the predicted classes are. AEIG without its information gain, kept as its ablation."""
    return 1.0 - (probability * jnp.broadcast_to(class_frequency, probability.shape)).sum(-1)


def step_rates(rate: Array | float | Literal["normalised"], extended: Array, share: float = 0.5) -> Array:
    """The rate of the one step for each candidate, `[..., features + 1] -> [...]`: a number, or `share / |φ|²`, free of the features' scale."""
    square = jnp.square(extended).sum(-1)  # at least 1, from the constant
    return share / square if isinstance(rate, str) else jnp.broadcast_to(jnp.asarray(rate, square.dtype), square.shape)


def information_gain(
    candidates: Candidates | Items,
    reference: Reference,
    variant: Variant,
    rate: Array | float | Literal["normalised"],
    step: Step = "sgd",
    renormalise: bool = False,
    block: int | None = None,
    long_steps: bool | None = None,
) -> InformationGain:
    """Expected information gain of labelling each candidate (equations 1 and 2 of the paper), regions or single items.

    Args:
      candidates: with one leading axis `[candidates]`. Of items one Gram product serves all labels.
      reference: the evaluation set.
      variant: see `label_weights`.
      rate: of the one gradient step, see `step_rates`.
      step: `sgd`, or `sign`: the first step of a fresh Adam, which moves every weight by the rate.
      renormalise: divide the weights of the labels by their sum.
      block: candidates computed at once; bounds the memory to `2 * block * classes * elements` numbers. Left out, as many as suit the
        platform.
      long_steps: whether to take the formula that is exact for steps of any length, at about twice the cost (1.7 times with three
        classes, 2.4 with five). Left out, it is taken where `steps_may_be_long`; within `jax.jit` it must be said, because arrays
        have no values there.
    """
    if long_steps is None:
        long_steps = bool(steps_may_be_long(candidates, reference, rate, step))
    expected = expected_change_of_long_steps if long_steps else expected_change
    weights = label_weights(variant, candidates.probability, reference.class_frequency, renormalise)
    if isinstance(candidates, Items):
        change_of_candidate, arguments = _change_of_item(candidates, reference, rate, step, expected)
    else:
        change_of_candidate, arguments = _change_of_region(candidates, reference, rate, step, expected)
    if block is None:
        most = max(_LOGITS_AT_ONCE // (2 * reference.probability.size), _CANDIDATES_AT_ONCE)
        on_cpu, elsewhere = (functools.partial(_in_blocks, change_of_candidate, size) for size in (_CANDIDATES_AT_ONCE, most))
        change = jax.lax.platform_dependent((weights, *arguments), cpu=on_cpu, default=elsewhere)
    else:
        change = _in_blocks(change_of_candidate, block, (weights, *arguments))
    return InformationGain(_mass_part(variant, renormalise, weights, reference), -change)


@functools.partial(jax.jit, static_argnames=("rate", "step"))
def steps_may_be_long(
    candidates: Candidates | Items, reference: Reference, rate: float | Literal["normalised"], step: Step = "sgd"
) -> Array:
    """Whether some log-odds may change by more than `entropy_change.LONG`, a boolean, as far as lengths of features and gradients tell.

    A step moves column j of the head by rate g_j, and no logit by more than rate |g_j| |φ|. Training rates are far from long steps.
    """
    if isinstance(candidates, Items):  # errors are at most one
        features = extend(candidates.features)
        gradients = features[:, None]
    else:
        features = candidates.mean
        gradients = jnp.concatenate([candidates.joint, candidates.joint - features[:, None]], 1)
    longest = _length(jnp.sign(gradients) if step == "sign" else gradients).max(-1)
    return 2 * (step_rates(rate, features) * longest).max() * _length(reference.features, 0).max() > LONG


def _length(vectors: Array, axis: int = -1) -> Array:
    return jnp.sqrt(jnp.square(vectors).sum(axis))


def _change_of_region(candidates: Candidates, reference: Reference, rate, step: Step, expected: Expected):
    """`(label weights, ...) -> expected change of the evaluation entropy` of one candidate, and its further arguments `[candidates, ...]`."""

    def change_of_candidate(weights: Array, candidate: Candidates, rate: Array) -> Array:
        if step == "sign":  # no sum: the sign of a difference is not the difference of the signs
            directions = jnp.concatenate([jnp.sign(candidate.joint), jnp.sign(_errors_of_the_label(candidate.joint))])
        else:  # one product for all classes and one for all labels, which differ by a one-hot column only
            directions = jnp.concatenate([candidate.joint, candidate.mean[None, :]])
        gram = jnp.matmul(-rate * directions, reference.features, precision="highest")
        as_other, rest = map(list, jnp.split(gram, [candidate.joint.shape[0]]))
        as_label = rest if step == "sign" else [part - rest[0] for part in as_other]
        return expected(as_other, as_label, weights, reference)

    return change_of_candidate, (candidates, step_rates(rate, candidates.mean))


def _change_of_item(items: Items, reference: Reference, rate, step: Step, expected: Expected):
    """The same for single items: with φ's products against the evaluation features all labels' logits are outer products."""
    extended = extend(items.features)
    rates = step_rates(rate, extended)

    def change_of_candidate(weights: Array, direction: Array, errors: tuple[Array, Array], rate: Array) -> Array:
        gram = jnp.matmul(-rate * direction, reference.features, precision="highest")
        as_other, as_label = ([part * gram for part in error] for error in errors)
        return expected(as_other, as_label, weights, reference)

    error_as_other = items.probability
    error_as_label = jnp.moveaxis(_errors_of_the_label(jnp.moveaxis(items.probability, -1, 0)), 0, -1)
    if step == "sign":
        extended, error_as_other, error_as_label = jnp.sign(extended), jnp.sign(error_as_other), jnp.sign(error_as_label)
    return change_of_candidate, (extended, (error_as_other, error_as_label), rates)


def linear_information_gain(
    candidates: Candidates | Items, reference: Reference, variant: Variant, rate: float, renormalise: bool = False
) -> InformationGain:
    """The first order of `information_gain` in the rate, for any leading axes: cases, regions, or every element of a volume.

    With M the gradient of the mean evaluation entropy with respect to the head, a step for label c changes the entropy by
    -rate <M, joint - mean ⊗ e_c>, so no evaluation element is looked at again: a dense map costs one small product an element.
    For single elements the first order of EIG is zero.

    Args:
      candidates: with any leading axes.
      reference: the evaluation set.
      variant, renormalise: see `label_weights`.
      rate: of the one gradient step.

    Returns:
      `[...]` each.
    """
    candidates = candidates_of(candidates) if isinstance(candidates, Items) else candidates
    weights = label_weights(variant, candidates.probability, reference.class_frequency, renormalise)
    slope = entropy_gradient(reference)
    of_joint = jnp.einsum("...cf,cf->...", candidates.joint, slope, precision="highest")
    by_label = jnp.einsum("...f,cf->...c", candidates.mean, slope, precision="highest")
    return InformationGain(
        _mass_part(variant, renormalise, weights, reference), rate * (weights.sum(-1) * of_joint - (weights * by_label).sum(-1))
    )


def entropy_gradient(reference: Reference) -> Array:
    """Gradient of the mean evaluation entropy with respect to the head, `[classes, features + 1]`: ∂H/∂z_j = -p_j (log p_j + H)."""
    by_logit = -reference.probability * (reference.log_probability + reference.entropy[None, :])
    return jnp.matmul(by_logit * reference.weights[None, :], reference.features.T, precision="highest")


def _mass_part(variant: Variant, renormalise: bool, weights: Array, reference: Reference) -> Array:
    """(1 - Σq) H₁, and exactly zero where the weights sum to one: their rounding error times H₁ would drown a small gain."""
    if variant != "aeig" or renormalise:
        return jnp.zeros(weights.shape[:-1], weights.dtype)
    return (1.0 - weights.sum(-1)) * reference.mean_entropy


def _in_blocks(function, block: int, arguments) -> Array:
    """Maps over the leading axis in blocks of one size; the last block is filled up, so that only one shape is compiled."""
    count = jax.tree.leaves(arguments)[0].shape[0]
    block = min(block, count)
    filled = -(-count // block) * block
    padded = jax.tree.map(lambda part: jnp.pad(part, [(0, filled - count)] + [(0, 0)] * (part.ndim - 1)), arguments)
    return jax.lax.map(lambda part: function(*part), padded, batch_size=block)[:count]


def _errors_of_the_label(parts: Array) -> Array:
    """p - 1 of each class as minus the sum of the others: one minus a probability that rounds to one would be zero. Classes first."""
    return -jnp.stack([others for (others,) in sums_of_the_others([(part,) for part in parts])])
