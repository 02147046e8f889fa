"""How a network is trained."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxal.training.weighting import Weighting


@dataclasses.dataclass(frozen=True)
class Unlabelled:
    """How cases without a label are learned from; `training/unlabelled.py` has the methods.

    Attributes:
      method: its name.
      weight: of its term, beside the loss of labelled cases.
      ratio: cases without a label for each labelled one of a step.
      ramp: share of the steps in which the weight rises.
      confidence: of FixMatch, probability that a class must have to count.
      decay: of the mean teacher's average.
      alpha: of mixup, both parameters of the Beta distribution of shares.
      of_data: of evidence, weight of what is unsure of the data.
    """

    method: Literal["none", "consistency", "mean_teacher", "fixmatch", "mixup", "evidence"] = "none"
    weight: float = 0.0
    ratio: int = 1
    ramp: float = 0.0
    confidence: float = 0.95
    decay: float = 0.999
    alpha: float = 0.75
    of_data: float = 0.05

    @property
    def learns(self) -> bool:
        """Whether unlabelled cases change anything."""
        return self.weight > 0


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
      steps: optimizer steps from scratch, besides those per case.
      warm_steps: optimizer steps when starting from the last round's weights, besides those per case.
      steps_per_case: further steps for every labelled case: more cases take longer to learn.
      batch_size: cases a step.
      peak_rate: largest learning rate; warm-up is linear, decay is a cosine to zero.
      decay_per_epoch: factor on the rate after each time through all labelled cases, instead of warm-up and cosine.
      warm_rate: largest learning rate when starting from the last round's weights.
      warmup_share: share of the steps that the rate rises.
      weight_decay: of AdamW.
      dice: whether soft Dice is added to the cross-entropy; for images with one class it says nothing more.
      foreground_weight: factor on the cross-entropy of elements that are not of class 0, the background.
      clip_norm: largest norm of the gradient; None leaves it as it is.
      contrast, brightness: standard deviations of the logarithm of a random gain and of a random offset, images having unit
        deviation.
      noise: standard deviation of the noise's own, random level.
      rotation_degrees, scaling: standard deviations of a random rotation about each axis and of the logarithm of a zoom.
      flips: space axes along which every second example is flipped.
      attempts: trainings with other keys before a collapse is reported and the best of them is gone on with.
      weighting: how much groups of patients count.
      average_decay: of the weights' moving average over the steps, which then scores and is measured instead of the last step's weights.
      evidence: weight of what evidence for wrong classes costs (`losses.evidence_divergence`), so that strategies may read how much there is.
      unlabelled: how cases without a label are learned from.
      cycles: how often the rate falls to zero; the weights at the end of each are kept (snapshot ensembles, Huang et al. 2017, arXiv 1704.00109).
    """

    steps: int = 200
    warm_steps: int = 100
    steps_per_case: float = 0
    batch_size: int = 2
    peak_rate: float = 1.2e-2
    warm_rate: float = 4e-3
    warmup_share: float = 0.15
    decay_per_epoch: float | None = None
    weight_decay: float = 1e-4
    dice: bool = True
    foreground_weight: float = 1.0
    clip_norm: float | None = 1.0
    contrast: float = 0.15
    brightness: float = 0.15
    noise: float = 0.1
    rotation_degrees: float = 0.0
    scaling: float = 0.0
    flips: tuple[int, ...] = ()
    attempts: int = 3
    average_decay: float | None = None
    weighting: Weighting = Weighting()  # noqa: RUF009 (frozen)
    evidence: float = 0.0
    unlabelled: Unlabelled = Unlabelled()
    cycles: int = 1


_LATER = ("weighting", "evidence", "unlabelled", "cycles")  # choices that there were not at first


def without_the_undecided(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training, as a mapping, without later choices that were not made: older settings are those without them."""
    as_before = dataclasses.asdict(TrainingConfig())
    return {name: value for name, value in settings.items() if name not in _LATER or value != as_before[name]}


def settings_of(config: TrainingConfig, start: str) -> dict[str, Any]:
    """The settings of training that decide results, ready for JSON.

    Args:
      config: of the training.
      start: from scratch, or from the last round's weights.
    """
    return without_the_undecided({"start": start, **dataclasses.asdict(config), "flips": list(config.flips)})
