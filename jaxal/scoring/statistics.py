"""What the pool pass computes of each case: small pure functions of a `View`.

Those of every kind of task are here; each kind adds its own in its file of `tasks/`. A statistic's result must be small: a
number, an embedding, the moments of regions, never a map.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxal.acquisition import aggregate, evidence, gradients, information, maps, uncertainty
from jaxal.acquisition.regions import Search
from jaxal.arrays import Features
from jaxal.assessment.temperature import temperature_sums
from jaxal.task_kind import Statistic

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class StatisticsConfig:
    """Choices inside the statistics of label maps.

    Attributes:
      roi_dilate: elements by which the predicted foreground is grown to the region of interest.
      roi_threshold: foreground probability above which an element belongs to it in any case.
      roi_at_least: elements it has at least.
      region_size: side of a region in elements; about 8 mm (4 elements at 2 mm).
      regions_at_most: regions of a case that are kept, those with most of the region of interest.
      evaluation_samples: elements drawn from each evaluation case, half of them near the structure.
      windows: which parts of a case may be asked for; None where cases are asked for as a whole.
      regions: structures whose uncertainty is assessed, by name, as unions of classes; each class above 0 by itself when empty.
    """

    roi_dilate: int = 2
    roi_threshold: float = 0.1
    roi_at_least: int = 64
    region_size: int = 4
    regions_at_most: int = 128
    evaluation_samples: int = 128
    windows: Search | None = None
    regions: tuple[tuple[str, tuple[int, ...]], ...] = ()


class View(NamedTuple):
    """One case as the statistics see it. Elements are flat; maps have classes first and elements last.

    An image that has one class as a whole is a case of a single element, and its shape is empty.

    Attributes:
      features: input of the linear head with dropout off, `[elements, features]` as the network leaves it.
      embedding: the network's pooled features, `[embedding]`.
      auxiliary: the network's further outputs, by name.
      logits: with dropout off, `[classes, elements]`.
      single: moments of that one prediction.
      members: moments over the members, or None when no statistic asked for them.
      member_probability: of each member, or None when no statistic asked for them: `[members, classes, 1]` of an image with one class,
        `[members, classes, blocks]` of a map, the means of its blocks (`information.block_mean`).
      inside: elements that belong to the image, `[elements]`; measures of uncertainty are over them.
      labelled: elements that have a label, `[elements]`; measures of success are over them.
      label: the truth where it is known, `[elements]` integers; only statistics of labelled cases may read it.
      key: random key of this case, from the round and the case's id.
      shape: of the image, Python integers with product `elements`.
      given: what the strategy gives this statistic in a round, such as the power of a noise; None for one that takes nothing.
      image: `[elements, channels]` of the image, as the network sees it.
      kernel: of the last layer, `[features, classes]`.
      sensitivity: how little the image must change for its prediction to change, by name, a number each (`scoring.sensitivity.MEASURES`); those that a
        statistic asked for.
    """

    features: Features
    embedding: Array
    auxiliary: Mapping[str, Any]
    logits: Array
    single: Any
    members: Any
    member_probability: Array | None
    inside: Array
    labelled: Array
    label: Array
    key: Array
    shape: tuple[int, ...]
    given: Any
    image: Array
    kernel: Array
    sensitivity: Mapping[str, Array] = {}


class Regions(NamedTuple):
    """The regions of a case that meet its region of interest; of an image with one class it is the image.

    Attributes:
      candidates: their label-gradient moments, leading axis `[regions]`.
      used: which of the slots hold such a region, `[regions]`.
    """

    candidates: information.Candidates | information.Items
    used: Array


class MemberRegions(NamedTuple):
    """What each member predicts of the regions of a case that meet its region of interest.

    Attributes:
      probability: means over the region, `[regions, members, classes]`.
      used: which of the slots hold such a region, `[regions]`.
    """

    probability: Array
    used: Array


class EvaluationSample(NamedTuple):
    """Elements drawn from an evaluation case, near the structure and elsewhere.

    Attributes:
      features: `[features, samples]`.
      weights: elements that each sample stands for, `[samples]`; zero for a slot that stayed empty.
      class_counts: elements of each class near the structure, `[classes]`.
    """

    features: Array
    weights: Array
    class_counts: Array


Interest = Callable[[View, Any], Array]  # (view, config) -> the elements that matter, [elements], boolean


def mean_of(measure: Callable[[Any], Array], of_members: bool = False) -> Statistic:
    """The mean of a measure of moments over the image."""

    def evaluate(view: View, config: Any) -> Array:
        return aggregate.masked_mean(measure(view.members if of_members else view.single), view.inside)

    return Statistic(evaluate, of_members)


def mean_over(interest: Interest, measure: Callable[[Features, Array], Array]) -> Statistic:
    """The mean of a measure of features and probabilities over the elements of interest."""

    def evaluate(view: View, config: Any) -> Array:
        values = measure(view.features, uncertainty.mean_probability(view.single))
        return aggregate.masked_mean(values, interest(view, config))

    return Statistic(evaluate, needs_features=True)


def head_gradient(interest: Interest) -> Statistic:
    """Gradient of the cross-entropy with the predicted labels, averaged over the elements of interest, `[classes, features + 1]`."""

    def evaluate(view: View, config: Any) -> Array:
        error = gradients.hallucinated_error(uncertainty.mean_probability(view.single))
        return gradients.mean_gradient(view.features, error, interest(view, config))

    return Statistic(evaluate, needs_features=True)


def at_temperature(measure: Callable[[Any], Array]) -> Statistic:
    """The mean over the image of a measure of the single prediction whose logits are divided by a temperature that the strategy gives."""

    def evaluate(view: View, config: Any) -> Array:
        return aggregate.masked_mean(measure(uncertainty.moments_of((view.logits / view.given)[None])), view.inside)

    return Statistic(evaluate, given=1.0)


def dissent(interest: Interest) -> Statistic:
    """Share of the members that do not vote for the class of the single prediction, mean over the elements of interest."""

    def evaluate(view: View, config: Any) -> Array:
        own = view.single.votes * view.members.votes  # the single prediction has one vote
        return aggregate.masked_mean(1.0 - own.sum(0) / view.members.members, interest(view, config))

    return Statistic(evaluate, needs_members=True)


def class_shares(interest: Interest) -> Statistic:
    """Mean probability of each class over the elements of interest, `[classes]`."""
    return Statistic(
        lambda view, config: aggregate.masked_mean(uncertainty.mean_probability(view.single), interest(view, config))
    )


def entropy_by_class(view: View, config: Any) -> Array:
    """Mean entropy of the image, and of each class its part p H, `[1 + classes]` (as ClaSP PE divides it, arXiv 2601.13677)."""
    entropy = uncertainty.entropy(view.single)
    parts = jnp.concatenate([entropy[None], uncertainty.mean_probability(view.single) * entropy[None]])
    return aggregate.masked_mean(parts, view.inside)


def evidential_uncertainties(view: View, config: Any) -> tuple[Array, Array]:
    """How unsure the network is of the distribution over classes, and of the class besides, each a mean over the image."""
    of_distribution, of_data = evidence.uncertainties(view.logits)
    return aggregate.masked_mean(of_distribution, view.inside), aggregate.masked_mean(of_data, view.inside)


def class_counts(view: View, config: Any) -> Array:
    """How many elements are labelled of each class, `[classes]`."""
    classes = jnp.arange(view.logits.shape[0], dtype=view.label.dtype)
    return ((view.label[None, :] == classes[:, None]) & view.labelled[None, :]).sum(-1)


def contextual_mixtures(view: View, config: Any) -> Array:
    """For each predicted class the mean prediction of its elements, weighted by entropy, `[classes, classes]`; zeros of a class that is not predicted."""
    probability, entropy = uncertainty.mean_probability(view.single), uncertainty.entropy(view.single)
    best = probability.argmax(0)

    def of_class(class_: Array) -> Array:
        own = (best == class_) & view.inside
        # Where nothing is unsure, all count alike.
        weight = jnp.where(own, jnp.where((jnp.where(own, entropy, 0.0) > 0).any(), entropy, 1.0), 0.0)
        total = weight.sum()
        return (probability * weight[None]).sum(-1) / jnp.where(total > 0, total, 1.0)

    return jax.lax.map(of_class, jnp.arange(len(probability)))


def nearness_to_boundary(interest: Interest) -> Statistic:
    """Mean nearness of the elements of interest to another class."""

    def evaluate(view: View, config: Any) -> Array:
        lengths = jnp.linalg.norm(view.kernel[:, :, None] - view.kernel[:, None, :], axis=0)
        return aggregate.masked_mean(maps.nearness_to_boundary(view.logits, lengths), interest(view, config))

    return Statistic(evaluate, needs_features=True)


def _of_inputs(name: str) -> Statistic:
    """A measure of `scoring.sensitivity` as it stands."""
    return Statistic(lambda view, config: view.sensitivity[name], needs_features=True, of_inputs=name)


OF_INPUTS: Mapping[str, Statistic] = {name: _of_inputs(name) for name in ("steps_to_another_class", "divergence_nearby")}
OF_INPUTS_OF_IMAGES: Mapping[str, Statistic] = {"distance_to_another_class": _of_inputs("distance_to_another_class")}


def of_classes(interest: Interest) -> dict[str, Statistic]:
    """The statistics of every kind of task that predicts classes.

    Args:
      interest: the elements over which gradients are averaged.
    """
    return {
        "entropy": mean_of(uncertainty.entropy),
        "least_confidence": mean_of(uncertainty.least_confidence),
        "margin": mean_of(uncertainty.margin),
        "gini": mean_of(uncertainty.gini),
        "best_versus_second": mean_of(uncertainty.best_versus_second),
        "tempered_entropy": at_temperature(uncertainty.entropy),
        "tempered_margin": at_temperature(uncertainty.margin),
        "free_energy": Statistic(
            lambda view, config: aggregate.masked_mean(maps.free_energy(view.logits), view.inside), needs_logits=True
        ),
        "evidential_uncertainties": Statistic(evidential_uncertainties, needs_logits=True),
        "mc_entropy": mean_of(uncertainty.entropy, of_members=True),
        "variation_ratio": mean_of(uncertainty.variation_ratio, of_members=True),
        "mean_std": mean_of(uncertainty.mean_std, of_members=True),
        "variance": mean_of(uncertainty.variance, of_members=True),
        "vote_entropy": mean_of(uncertainty.vote_entropy, of_members=True),
        "pairwise_divergence": mean_of(uncertainty.pairwise_divergence, of_members=True),
        "bald": mean_of(uncertainty.bald, of_members=True),
        "dissent": dissent(interest),
        "class_shares": class_shares(interest),
        "class_counts": Statistic(class_counts),
        "entropy_by_class": Statistic(entropy_by_class),
        "contextual_mixtures": Statistic(contextual_mixtures),
        "nearness_to_boundary": nearness_to_boundary(interest),
        **OF_INPUTS,
        "egl": mean_over(interest, gradients.expected_gradient_length),
        "gradient_norm": mean_over(interest, gradients.entropy_gradient_norm),
        "head_gradient": head_gradient(interest),
        "embedding": Statistic(lambda view, config: view.embedding, needs_features=True),
        "auxiliary": Statistic(lambda view, config: dict(view.auxiliary)),
        "temperature": Statistic(lambda view, config: temperature_sums(view.logits, view.label, view.labelled)),
    }
