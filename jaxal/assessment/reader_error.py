"""From agreement with readers to agreement with the truth, as far as readers' differences tell.

Both corrections suppose that readers err independently of each other and of the network. What all readers do wrong alike nobody can see.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxal.assessment.honest_curve import mean_dice
from jaxal.assessment.intervals import UNKNOWN, Estimate, student_mean


def readers_agreement(pairs: Sequence[Sequence[float]]) -> Estimate:
    """Mean agreement of two readers.

    Args:
      pairs: of each case that two have read, by class: Dice; or of an image 1 at the class that both chose, 0 at the classes that one
        chose, NaN elsewhere. Pairs that were disputed are left out by the caller where others decided their labels.
    """
    return student_mean(mean_dice(np.array(pairs))) if len(pairs) else UNKNOWN


def dice_with_truth(measured: Estimate, agreement: Estimate, classes: int) -> Estimate:
    """Dice with the truth from Dice with readers.

    Half of what two readers lack in Dice is one reader's own error, and a network that errs independently of them loses it in full.

    Args:
      measured: mean Dice with readers.
      agreement: of two readers; without an interval it is taken as certain.
      classes: how many there are.

    Returns:
      The interval joins those of both. What was measured, where readers' agreement is not known.
    """
    return _with_truth(measured, agreement, lambda dice, agreed: min(dice + (1 - agreed) / 2, 1.0))


def accuracy_with_truth(measured: Estimate, agreement: Estimate, classes: int) -> Estimate:
    """Accuracy against the truth from accuracy against readers.

    A reader who errs with probability e names any other class. Then two agree with probability (1 - e)² + e² / (classes - 1), which
    tells e, and a network of accuracy a names a reader's class with probability a (1 - e) + (1 - a) e / (classes - 1), which tells a.

    Args:
      measured: share of images whose reader chose the network's class.
      agreement: share of images of which two readers chose the same class.
      classes: how many there are.

    Returns:
      As `dice_with_truth`.
    """
    others = classes - 1

    def corrected(accuracy: float, agreed: float) -> float:
        error = (1 - np.sqrt(max(1 - (1 - agreed) * classes / others, 0.0))) * others / classes
        by_chance = error / others
        return float(min(max((accuracy - by_chance) / max(1 - error - by_chance, 1e-9), 0.0), 1.0))

    return _with_truth(measured, agreement, corrected)


def _with_truth(measured: Estimate, agreement: Estimate, corrected: Callable[[float, float], float]) -> Estimate:
    """The corrected value, and the interval that the errors of both estimates make together."""
    if np.isnan(agreement.value) or np.isnan(measured.value):
        return measured
    value = corrected(measured.value, agreement.value)
    lowest, highest = (agreement.value, agreement.value) if np.isnan(agreement.low) else (agreement.low, agreement.high)

    def reach(of_measured: float, of_agreement: float) -> float:
        apart = value - corrected(of_measured, agreement.value), value - corrected(measured.value, of_agreement)
        return float(np.hypot(*apart))

    low, high = value - reach(measured.low, highest), value + reach(measured.high, lowest)
    return Estimate(value, max(low, 0.0), min(high, 1.0), measured.cases)


class Judged(NamedTuple):
    """What predictions and second readers are judged by.

    Attributes:
      name: `Dice` or `accuracy`.
      with_truth: from what was measured with readers and their agreement to the truth.
      counts_disputed: whether readers' agreement is that of all pairs; else pairs that others decided on are left out.
    """

    name: str
    with_truth: Callable[[Estimate, Estimate, int], Estimate]
    counts_disputed: bool


DICE = Judged("Dice", dice_with_truth, counts_disputed=False)
ACCURACY = Judged("accuracy", accuracy_with_truth, counts_disputed=True)  # whoever chooses another class is disputed
