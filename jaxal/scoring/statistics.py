"""What the pool pass computes of each unit: small pure functions of a `View`.

To add one, write the function and give it a row in `STATISTICS`. A statistic's result must be small: a number, an embedding,
the moments of regions, never a map.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import aggregate, gradients, information, uncertainty
from jaxal.acquisition.uncertainty import ClassMoments
from jaxal.assessment import calibration, metrics
from jaxal.training.losses import count

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class StatisticsConfig:
    """Choices inside the statistics.

    Attributes:
      roi_dilate: elements by which the predicted foreground is grown to the region of interest.
      roi_threshold: foreground probability above which an element belongs to it in any case.
      roi_at_least: elements it has at least.
      region_size: side of a region in elements; about 8 mm (4 elements at 2 mm).
      regions_at_most: regions of a case that are kept, those with most of the region of interest.
      evaluation_samples: elements drawn from each evaluation case, half of them near the structure.
    """

    roi_dilate: int = 2
    roi_threshold: float = 0.1
    roi_at_least: int = 64
    region_size: int = 4
    regions_at_most: int = 128
    evaluation_samples: int = 128


class View(NamedTuple):
    """One unit as the statistics see it. Elements are flat; maps have classes first and elements last.

    An image that has one class as a whole is a unit of a single element, and its shape is empty.

    Attributes:
      features: input of the linear head with dropout off, `[elements, features]` as the network leaves it.
      embedding: the network's pooled features, `[embedding]`.
      logits: with dropout off, `[classes, elements]`.
      single: moments of that one prediction.
      members: moments over the members, or None when no statistic asked for them.
      member_probability: of each member, `[members, classes, elements]`, or None; only statistics of whole images may ask for it.
      valid: elements that belong to the image, `[elements]`.
      label: the truth, `[elements]` integers; only statistics of labelled cases may read it.
      key: random key of this unit, from the round and the case's id.
      shape: of the image, Python integers with product `elements`.
    """

    features: Array
    embedding: Array
    logits: Array
    single: ClassMoments
    members: ClassMoments | None
    member_probability: Array | None
    valid: Array
    label: Array
    key: Array
    shape: tuple[int, ...]


class Regions(NamedTuple):
    """The regions of a unit that meet its region of interest; of an image with one class it is the image.

    Attributes:
      candidates: their label-gradient moments, leading axis `[regions]`.
      used: which of the slots hold such a region, `[regions]`.
    """

    candidates: information.Candidates | information.Items
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


class Prediction(NamedTuple):
    """What an image is, and what the network takes it for.

    Attributes:
      label: the true class, integer.
      probability: `[classes]`.
    """

    label: Array
    probability: Array


class Statistic(NamedTuple):
    """A row of the table: `evaluate(view, config) -> pytree of small arrays`, whether it reads `view.members`, and whether each of them."""

    evaluate: Callable[[View, StatisticsConfig], Any]
    needs_members: bool = False
    needs_each_member: bool = False


def _mean_of(measure: Callable[[ClassMoments], Array], of_members: bool = False) -> Statistic:
    def evaluate(view: View, config: StatisticsConfig) -> Array:
        return aggregate.masked_mean(measure(view.members if of_members else view.single), view.valid)

    return Statistic(evaluate, of_members)


def _region_of_interest(view: View, config: StatisticsConfig) -> Array:
    if not view.shape:
        return view.valid
    probability = uncertainty.mean_probability(view.single)
    return aggregate.region_of_interest(
        probability, view.valid, view.shape, config.roi_dilate, config.roi_threshold, config.roi_at_least
    )


def masked_entropy(view: View, config: StatisticsConfig) -> Array:
    """Entropy as a share of its maximum log C, averaged over the region of interest: in [0, 1], whatever the volume."""
    scaled = uncertainty.entropy(view.single) / np.log(view.logits.shape[0])
    return aggregate.masked_mean(scaled, _region_of_interest(view, config))


def _mean_over_region_of_interest(measure: Callable[[Array, Array], Array]) -> Callable[[View, StatisticsConfig], Array]:
    """The mean of a measure of features and probabilities over the region of interest."""

    def evaluate(view: View, config: StatisticsConfig) -> Array:
        values = measure(view.features, uncertainty.mean_probability(view.single))
        return aggregate.masked_mean(values, _region_of_interest(view, config))

    return evaluate


def foreground(view: View, config: StatisticsConfig) -> Array:
    """Share of the elements that the network takes for foreground, in expectation: never zero, so that every case has a chance."""
    return aggregate.masked_mean(1.0 - uncertainty.mean_probability(view.single)[0], view.valid)


def head_gradient(view: View, config: StatisticsConfig) -> Array:
    """Gradient of the cross-entropy with the predicted labels, averaged over the region of interest, `[classes, features + 1]`."""
    error = gradients.hallucinated_error(uncertainty.mean_probability(view.single))
    return gradients.mean_gradient(view.features, error, _region_of_interest(view, config))


def regions(view: View, config: StatisticsConfig) -> Regions:
    """The label-gradient moments of the regions of interest; one region plays the part that one image has in classification."""
    probability = uncertainty.mean_probability(view.single)
    if not view.shape:
        return Regions(information.Items(view.features, probability.T), view.valid)
    interest = _region_of_interest(view, config).astype(jnp.float32)
    share = information.block_mean(interest, view.valid, view.shape, config.region_size)
    most, chosen = jax.lax.top_k(share, min(config.regions_at_most, share.size))
    candidates = information.region_candidates(view.features, probability, view.valid, view.shape, config.region_size, chosen)
    return Regions(candidates, most > 0)


def evaluation_sample(view: View, config: StatisticsConfig) -> EvaluationSample:
    """Draws elements without replacement, half near the true structure, weighted so that means over the volume stay unbiased."""
    classes = jnp.arange(view.logits.shape[0], dtype=view.label.dtype)
    if not view.shape:
        return EvaluationSample(view.features.T, jnp.ones(1), (view.label == classes).astype(jnp.int32))
    near = aggregate.dilate_mask((view.label > 0) & view.valid, view.shape, config.roi_dilate) & view.valid
    draw = jax.random.uniform(view.key, near.shape)
    per_stratum = config.evaluation_samples // 2
    features, weights = [], []
    for stratum in (near, view.valid & ~near):
        value, index = jax.lax.top_k(jnp.where(stratum, draw, -1.0), min(per_stratum, draw.size))
        drawn = value >= 0
        features.append(view.features[index].T)
        weights.append(jnp.where(drawn, count(stratum) / count(drawn), 0.0))
    counts = ((view.label[None, :] == classes[:, None]) & near[None, :]).sum(-1)
    return EvaluationSample(jnp.concatenate(features, -1), jnp.concatenate(weights), counts)


def prediction(view: View, config: StatisticsConfig) -> Prediction:
    _require_image(view, "prediction")
    return Prediction(view.label[0], uncertainty.mean_probability(view.single)[:, 0])


def member_probability(view: View, config: StatisticsConfig) -> Array:
    """What each member predicts, `[members, classes]`: joint strategies need more than moments."""
    _require_image(view, "member_probability")
    return view.member_probability[:, :, 0]


def _require_image(view: View, name: str) -> None:
    if view.shape:
        raise ValueError(f"{name!r} is a statistic of images with one class, not of label maps of shape {view.shape}.")


def overlap(view: View, config: StatisticsConfig) -> metrics.Overlap:
    return metrics.overlap(view.logits, view.label, view.valid)


def calibration_sums(view: View, config: StatisticsConfig) -> calibration.CalibrationSums:
    return calibration.calibration_sums(view.logits, view.label, view.valid)


STATISTICS: Mapping[str, Statistic] = {
    "entropy": _mean_of(uncertainty.entropy),
    "least_confidence": _mean_of(uncertainty.least_confidence),
    "margin": _mean_of(uncertainty.margin),
    "masked_entropy": Statistic(masked_entropy),
    "foreground": Statistic(foreground),
    "mc_entropy": _mean_of(uncertainty.entropy, of_members=True),
    "variation_ratio": _mean_of(uncertainty.variation_ratio, of_members=True),
    "mean_std": _mean_of(uncertainty.mean_std, of_members=True),
    "bald": _mean_of(uncertainty.bald, of_members=True),
    "egl": Statistic(_mean_over_region_of_interest(gradients.expected_gradient_length)),
    "gradient_norm": Statistic(_mean_over_region_of_interest(gradients.entropy_gradient_norm)),
    "head_gradient": Statistic(head_gradient),
    "embedding": Statistic(lambda view, config: view.embedding),
    "regions": Statistic(regions),
    "evaluation_sample": Statistic(evaluation_sample),
    "prediction": Statistic(prediction),
    "member_probability": Statistic(member_probability, needs_members=True, needs_each_member=True),
    "overlap": Statistic(overlap),
    "calibration": Statistic(calibration_sums),
}
