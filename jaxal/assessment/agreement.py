"""How far readers agree with each other, and with what was proposed to them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from jaxal.assessment.intervals import FEWEST, UNKNOWN, Estimate, bounded_mean, student_mean
from jaxal.assessment.metrics import Overlap, dice, overlap_of_maps
from jaxal.assessment.surfaces import Apart, Detection, apart, detection

IGNORE = 255  # a voxel that nobody annotated, or that readers disagree on
NORMAL = 1.959963984540054  # standard deviations of a normal distribution that hold 95 %


class ClassAgreement(NamedTuple):
    """Two label maps of one case in one class.

    Attributes:
      dice: in [0, 1]; NaN where neither map has the class.
      volume_difference_ml: second minus first.
      apart: distances of the surfaces.
      detection: of connected components.
    """

    dice: float
    volume_difference_ml: float
    apart: Apart
    detection: Detection


def agreement_of_maps(
    first: np.ndarray, second: np.ndarray, classes: int, spacing_mm: Sequence[float], tolerance_mm: float
) -> list[ClassAgreement]:
    """Compares two label maps, class by class without the background.

    Args:
      first, second: `[*shape]`, integers; voxels that are `IGNORE` in one of them count in neither.
      classes: how many there are, the background included.
      spacing_mm: of the axes.
      tolerance_mm: of surface Dice.
    """
    overlap = overlap_by_class(first, second, classes)
    known = (first != IGNORE) & (second != IGNORE)
    volume = volume_difference_ml(overlap, float(np.prod(spacing_mm)))
    by_class = []
    for class_ in range(1, classes):
        masks = (first == class_) & known, (second == class_) & known
        surfaces = apart(*masks, spacing_mm, tolerance_mm)
        by_class.append(ClassAgreement(float(dice(overlap)[class_]), float(volume[class_]), surfaces, detection(*masks)))
    return by_class


def overlap_by_class(first: np.ndarray, second: np.ndarray, classes: int) -> Overlap:
    """Counts how two label maps overlap, `[*shape]` each, with the first as the truth: `[classes]`, in voxels known in both."""
    if first.shape != second.shape:
        raise ValueError(f"Label maps of shapes {first.shape} and {second.shape}.")
    known = (first != IGNORE) & (second != IGNORE)
    largest = max((int(part[known].max()) for part in (first, second) if known.any()), default=0)
    if largest >= classes:
        raise ValueError(f"A label map has the value {largest}, but there are {classes} classes with the background.")
    return overlap_of_maps(second, first, classes, known)


def volume_difference_ml(overlap: Overlap, voxel_mm3: float) -> np.ndarray:
    """How much more of each class the second map has than the first, `[..., classes]` in ml."""
    more = np.asarray(overlap.false_positive, np.float64) - np.asarray(overlap.false_negative, np.float64)
    return more * voxel_mm3 / 1000.0


def mean_agreement(dice_of_cases: np.ndarray) -> list[Estimate]:
    """Mean Dice of doubly read cases by class, `[cases, classes]` with NaN where undefined, with 95 % intervals."""
    return [bounded_mean(column) for column in np.asarray(dice_of_cases, np.float64).T]


class Bias(NamedTuple):
    """Bland and Altman (1986): how one measurement differs from another.

    Attributes:
      bias: mean difference with its 95 % interval.
      lowest, highest: limits between which 95 % of differences lie, if they are normal; NaN of fewer than three.
    """

    bias: Estimate
    lowest: float
    highest: float

    def systematic(self) -> bool:
        """Whether the interval excludes zero. Of twenty unbiased readers and classes, one is called systematic by chance."""
        return bool(self.bias.low > 0 or self.bias.high < 0)


def bias(differences: np.ndarray) -> Bias:
    """Mean difference and limits of agreement of paired measurements, `[cases]`; NaN are left out."""
    defined = np.asarray(differences, np.float64)
    defined = defined[~np.isnan(defined)]
    mean = student_mean(defined)
    reach = NORMAL * float(defined.std(ddof=1)) if len(defined) >= FEWEST else np.nan
    return Bias(mean, mean.value - reach, mean.value + reach)


def relative_difference(first_ml: np.ndarray, second_ml: np.ndarray) -> np.ndarray:
    """Second minus first in percent of their mean, `[cases]`, in [-200, 200]: comparable across sizes; NaN where both are 0."""
    first, second = np.asarray(first_ml, np.float64), np.asarray(second_ml, np.float64)
    total = first + second
    return np.where(total > 0, 200.0 * (second - first) / np.where(total > 0, total, 1.0), np.nan)


def biases_of_readers(readers: Sequence[str], differences: np.ndarray) -> dict[str, Bias]:
    """Every reader's systematic difference from what was proposed to them.

    Args:
      readers: who read each case, `[cases]`.
      differences: of the delivered volume from the proposed, `[cases]`, in ml or in percent; NaN where there was no proposal.
    """
    values, of_case = np.asarray(differences, np.float64), np.asarray(readers, object)
    if len(values) != len(of_case):
        raise ValueError(f"{len(values)} differences, but {len(of_case)} readers.")
    return {str(reader): bias(values[of_case == reader]) for reader in sorted(set(readers))}


def cohens_kappa(first: np.ndarray, second: np.ndarray, classes: int) -> Estimate:
    """Cohen's (1960) kappa of two readers' classes, `[cases]` integers, with a 95 % interval.

    The interval is that of Fleiss, Cohen & Everitt (1969), cut at 1. Where the readers agree on every case its width is zero, which
    would claim certainty; then the lower end is that of Clopper & Pearson (1934) for the share that agrees, given the chance to agree.
    Of readers whose kappa is 0.6 to 0.97, over 10, 20 and 40 cases of two or four classes, it held 90 to 100 % in simulation (2000 each).

    Returns:
      NaN where both call every case the same, because chance alone would do that; no interval of fewer than three cases.
    """
    first, second = np.asarray(first, np.int64), np.asarray(second, np.int64)
    if first.shape != second.shape:
        raise ValueError(f"{first.size} classes of one reader, but {second.size} of the other.")
    if first.size and not (min(first.min(), second.min()) >= 0 and max(first.max(), second.max()) < classes):
        raise ValueError(f"A class outside of 0 to {classes - 1}.")
    count = len(first)
    if not count:
        return UNKNOWN
    table = np.bincount(first * classes + second, minlength=classes**2).reshape(classes, classes) / count
    down, across = table.sum(1), table.sum(0)
    agreed, chance = float(np.trace(table)), float(down @ across)
    if chance >= 1.0 - 1e-12:
        return Estimate(np.nan, cases=count)
    kappa = (agreed - chance) / (1.0 - chance)
    if count < FEWEST:
        return Estimate(kappa, cases=count)
    if agreed >= 1.0 - 1e-12:
        lowest = float(special.betaincinv(count, 1.0, 0.025))
        return Estimate(1.0, (lowest - chance) / (1.0 - chance), 1.0, count)
    error = float(_error_of_kappa(table, kappa, chance) / np.sqrt(count))
    return Estimate(kappa, max(kappa - NORMAL * error, -1.0), min(kappa + NORMAL * error, 1.0), count)


def _error_of_kappa(table: np.ndarray, kappa: float, chance: float) -> float:
    """Standard error of kappa for one case, by equation 13 of Fleiss, Cohen & Everitt (1969)."""
    down, across = table.sum(1), table.sum(0)
    same = np.diag(table)
    on = float((same * (1.0 - (down + across) * (1.0 - kappa)) ** 2).sum())
    pairs = table * (across[:, None] + down[None, :]) ** 2
    off = (1.0 - kappa) ** 2 * float(pairs.sum() - np.trace(pairs))
    return float(np.sqrt(max(on + off - (kappa - chance * (1.0 - kappa)) ** 2, 0.0))) / (1.0 - chance)
