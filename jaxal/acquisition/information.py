"""Expected information gain of a label, from one gradient step of the linear head in closed form.

Mehta, Shui, Nichyporuk, Arbel 2022 (arXiv 2208.00974) ask of each candidate: if its label were c and the head took one
gradient step on it, how much would the entropy of the predictions on an evaluation set fall? For a linear softmax head that
needs no autodiff: the gradient is an outer product of features and errors, so the changed evaluation logits come from matrix
products that all candidates and all labels share. In volumes the regions of a case play the part of images.

Layout: `features` counts the head's inputs, to which a constant 1 is appended for the bias ("extended"); classes come before
features and elements. The change of entropy is computed directly, never as a difference of two entropies: it is thousands of
times smaller than either and would drown in float32.
"""

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import uncertainty

Array = jax.Array
Variant = Literal["eig", "aeig", "uig", "cfig"]
Step = Literal["sgd", "sign"]


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
    features: Array, probability: Array, inside: Array, shape: tuple[int, ...], size: int, regions: Array
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
    used = (in_volume & inside[index]).astype(features.dtype)
    share = used / jnp.broadcast_to(jnp.maximum(used.sum(-1, keepdims=True), 1.0), used.shape)
    extended = extend(features[index])
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


def step_rates(rate: float | Literal["normalised"], extended: Array, share: float = 0.5) -> Array:
    """The rate of the one step for each candidate, `[..., features + 1] -> [...]`: a number, or `share / |φ|²`, free of the features' scale."""
    square = jnp.square(extended).sum(-1)  # at least 1, from the constant
    return share / square if rate == "normalised" else jnp.full_like(square, rate)


def information_gain(
    candidates: Candidates | Items,
    reference: Reference,
    variant: Variant,
    rate: float | Literal["normalised"],
    step: Step = "sgd",
    renormalise: bool = False,
    block: int = 64,
) -> InformationGain:
    """Expected information gain of labelling each candidate (equations 1 and 2 of the paper), regions or single items.

    Args:
      candidates: with one leading axis `[candidates]`. Of items one Gram product serves all labels.
      reference: the evaluation set.
      variant: see `label_weights`.
      rate: of the one gradient step, see `step_rates`.
      step: `sgd`, or `sign`: the first step of a fresh Adam, which moves every weight by the rate.
      renormalise: divide the weights of the labels by their sum.
      block: candidates computed at once; bounds the memory to `block * classes * elements` numbers.
    """
    weights = label_weights(variant, candidates.probability, reference.class_frequency, renormalise)
    if isinstance(candidates, Items):
        expected = _change_of_items(candidates, weights, reference, rate, step, block)
    else:
        expected = _change_of_regions(candidates, weights, reference, rate, step, block)
    return InformationGain(_mass_part(variant, renormalise, weights, reference), -expected)


def _change_of_regions(candidates: Candidates, weights: Array, reference: Reference, rate, step: Step, block: int) -> Array:
    """Expected change of the evaluation entropy, `[candidates]`."""

    def one(candidate: Candidates, weights: Array, rate: Array) -> Array:
        if step == "sign":  # no sum: the sign of a difference is not the difference of the signs
            directions = jnp.concatenate([jnp.sign(candidate.joint), jnp.sign(_errors_of_the_label(candidate.joint))])
        else:  # one product for all classes and one for all labels, which differ by a one-hot column only
            directions = jnp.concatenate([candidate.joint, candidate.mean[None, :]])
        gram = jnp.matmul(-rate * directions, reference.features, precision="highest")
        other, rest = map(list, jnp.split(gram, [candidate.joint.shape[0]]))
        own = rest if step == "sign" else [part - rest[0] for part in other]
        return _expected_change(other, own, weights, reference)

    return _in_blocks(one, (candidates, weights, step_rates(rate, candidates.mean)), block)


def _change_of_items(items: Items, weights: Array, reference: Reference, rate, step: Step, block: int) -> Array:
    """The same for single items: with φ's products against the evaluation features all labels' logits are outer products."""
    extended = extend(items.features)
    rates = step_rates(rate, extended)

    def one(direction: Array, errors: tuple[Array, Array], weights: Array, rate: Array) -> Array:
        gram = jnp.matmul(-rate * direction, reference.features, precision="highest")
        other, own = ([part * gram for part in error] for error in errors)
        return _expected_change(other, own, weights, reference)

    other, own = items.probability, jnp.moveaxis(_errors_of_the_label(jnp.moveaxis(items.probability, -1, 0)), 0, -1)
    if step == "sign":
        extended, other, own = jnp.sign(extended), jnp.sign(other), jnp.sign(own)
    return _in_blocks(one, (extended, (other, own), weights, rates), block)


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
    own = jnp.einsum("...cf,cf->...", candidates.joint, slope, precision="highest")
    by_label = jnp.einsum("...f,cf->...c", candidates.mean, slope, precision="highest")
    return InformationGain(
        _mass_part(variant, renormalise, weights, reference), rate * (weights.sum(-1) * own - (weights * by_label).sum(-1))
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


def _in_blocks(function, arguments, block: int) -> Array:
    """Maps over the leading axis in blocks of one size; the last block is filled up, so that only one shape is compiled."""
    count = jax.tree.leaves(arguments)[0].shape[0]
    block = min(block, count)
    filled = -(-count // block) * block
    padded = jax.tree.map(lambda part: jnp.pad(part, [(0, filled - count)] + [(0, 0)] * (part.ndim - 1)), arguments)
    return jax.lax.map(lambda part: function(*part), padded, batch_size=block)[:count]


def _expected_change(other: list[Array], own: list[Array], weights: Array, reference: Reference) -> Array:
    """Change of the mean evaluation entropy, expected over the labels that a candidate may have.

    If the label is c, the logits change by `own[c]` in class c and by `other[j]` in every other class j. Only differences of changes
    matter; δ are those from the change of the class that was most probable, so that e = expm1(δ) is zero there and 1 + u, with
    u = Σ p e, is never a small difference of large numbers. The new probabilities are p (1 + e) / (1 + u), and

        ΔH = log1p(u) - Σ p' δ - Σ (p' - p) log p = log1p(u) - Σ p ((1 + e) δ + (e - u) log p) / (1 + u).

    Where the label is the most probable class, all δ are others than for the remaining labels, which share theirs: the first are
    computed once for all labels, since each element has one such class; of the second a label changes its own class's alone, whose
    term is left out of the sum rather than taken from it. δ are cut at ±80, where float32 knows only zero and one; with three classes
    or more, of which two rise that far, the score stays finite but is not exact. The labels are summed before the elements, so that
    all of it is one loop over the elements.

    Args:
      other, own: `[elements]` for every class.
      weights: of the labels, `[classes]`.
    """
    p, log_p = list(reference.probability), list(reference.log_probability)
    top = _largest(p)
    mean_log = sum(a * b for a, b in zip(p, log_p, strict=True))

    def of_top(parts: Sequence[Array]) -> Array:
        return functools.reduce(operator.add, (jnp.where(is_top, part, 0.0) for is_top, part in zip(top, parts, strict=True)))

    def terms(label: int, delta: Array) -> tuple[Array, Array]:
        delta = jnp.clip(delta, -80.0, 80.0)
        e = jnp.expm1(delta)
        return p[label] * e, p[label] * ((1 + e) * delta + e * log_p[label])

    def entropy_change(u: Array, v: Array) -> Array:
        return jnp.log1p(u) - (v - u * mean_log) / (1 + u)

    own_of_top = of_top(own)
    moved = [terms(label, jnp.where(top[label], 0.0, delta - own_of_top)) for label, delta in enumerate(other)]
    change = of_top(list(weights)) * entropy_change(*(sum(part) for part in zip(*moved, strict=True)))
    other_of_top = of_top(other)
    others = _sums_of_the_others([terms(label, delta - other_of_top) for label, delta in enumerate(other)])
    for label, delta in enumerate(own):
        sums = (a + b for a, b in zip(others[label], terms(label, delta - other_of_top), strict=True))
        change = change + weights[label] * entropy_change(*(jnp.where(top[label], 0.0, part) for part in sums))
    # As a product: a sum would be fused with all of the above into one loop that a CPU does not vectorise, at twice the time.
    return jnp.matmul(change, reference.weights, precision="highest")


def _errors_of_the_label(parts: Array) -> Array:
    """p - 1 of each class as minus the sum of the others: one minus a probability that rounds to one would be zero. Classes first."""
    return -jnp.stack([others for (others,) in _sums_of_the_others([(part,) for part in parts])])


def _largest(parts: Sequence[Array]) -> list[Array]:
    """For each part where it is the first of the largest, boolean."""
    most, taken, found = functools.reduce(jnp.maximum, parts), jnp.zeros(parts[0].shape, bool), []
    for part in parts:
        found.append((part == most) & ~taken)
        taken = taken | found[-1]
    return found


def _sums_of_the_others(terms: list[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
    """For each class the sums over all the others: of those before it and of those behind it."""

    def add(one: tuple[Array, ...], other: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(a + b for a, b in zip(one, other, strict=True))

    nothing = tuple(jnp.zeros_like(part) for part in terms[0])
    before = list(itertools.accumulate(terms[:-1], add, initial=nothing))
    behind = list(itertools.accumulate(terms[:0:-1], add, initial=nothing))[::-1]
    return [add(a, b) for a, b in zip(before, behind, strict=True)]
