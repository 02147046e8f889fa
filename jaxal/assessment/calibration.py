"""Whether predicted probabilities can be believed.

Nothing is kept of single elements: a case leaves sums, by cell of each class's probability, and those of cases add up. All measures follow from them.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.arrays import by_class, exponentials_of, one_hot
from jaxal.assessment.histograms import CELLS, Binning, cell_of, equal_mass, equal_width, sums_by_place

Array = jax.Array


class CalibrationSums(NamedTuple):
    """Sums over labelled elements from which the measures follow; those of several cases add up, over leading axes.

    The excess of an element in a class is the probability that the class was given, less 1 where it is the true one. Its sums are kept instead of
    those of the probability, because a difference of large sums has lost its digits.

    Attributes:
      negative_log_likelihood: `[...]`, sum of -log p of the true class.
      elements: by cell of the class's probability, `[..., classes, cells, 2]`; the last axis tells whether the class is the most probable one.
      true: those of them that are of the class.
      excess: sum of their excess in the class.
      squared_excess: sum over all elements, `[..., classes]`.
      excess_of_true: sum over the elements of the class, `[..., classes]`.
      table: elements by most probable class and true class, `[..., classes, classes]`.
      excess_of_predicted: sum of the excess in a class, by most probable class and class, `[..., classes, classes]`.
    """

    negative_log_likelihood: Array
    elements: Array
    true: Array
    excess: Array
    squared_excess: Array
    excess_of_true: Array
    table: Array
    excess_of_predicted: Array


def calibration_sums(logits: Array, labels: Array, labelled: Array) -> CalibrationSums:
    """Collects the sums of one case.

    Args:
      logits: `[classes, elements]`.
      labels: `[elements]`, integers.
      labelled: which elements are labelled, `[elements]`, boolean.
    """
    classes = len(logits)
    class_ = jnp.arange(classes, dtype=jnp.int32)[:, None]
    known = labelled[None, :]
    exponentials, shifted, total = exponentials_of(by_class(logits))
    true = (labels.astype(jnp.int32)[None, :] == class_) & known
    nll = jnp.where(true, jnp.log(total)[None, :] - jnp.stack(shifted), 0.0).sum()
    probability = jnp.stack(exponentials) / total[None, :]
    excess = jnp.where(known, probability - true.astype(probability.dtype), 0.0)
    predicted = logits.argmax(0).astype(jnp.int32)
    top = predicted[None, :] == class_
    place = jnp.where(known, (cell_of(probability) * 2 + top.astype(jnp.int32)) * 2 + true.astype(jnp.int32), -1)
    # One class after the other: a CPU takes several times as long to scatter the elements of all at once.
    counts, surplus = jax.lax.map(lambda of_class: sums_by_place(of_class[0], of_class[1], CELLS * 4), (place, excess))
    counts, surplus = (part.reshape(classes, CELLS, 2, 2) for part in (counts, surplus))
    pair = jnp.where(labelled, predicted * classes + labels.astype(jnp.int32), -1)
    return CalibrationSums(
        nll,
        counts.sum(-1),
        counts[..., 1],
        surplus.sum(-1),
        (excess**2).sum(-1),
        jnp.where(true, excess, 0.0).sum(-1),
        sums_by_place(pair, excess[0], classes**2)[0].reshape(classes, classes),
        jnp.einsum("kn,cn->kc", one_hot(predicted, classes), excess, precision="highest"),
    )


def negative_log_likelihood(sums: CalibrationSums) -> float:
    """Mean of -log p of the true class over all elements, in nats (of the true, not the predicted class)."""
    return float(_over_cases(sums.negative_log_likelihood, 0) / _count(sums))


def expected_calibration_error(sums: CalibrationSums, binning: Binning = equal_width) -> float:
    """Σ_b n_b/n |accuracy_b - confidence_b| of the most probable class (Guo et al. 2017, arXiv 1706.04599); empty bins count nothing.

    Args:
      sums: of one or more cases.
      binning: `equal_width` or `equal_mass`, of ten bins.
    """
    elements, excess = _of_most_probable(sums.elements), _of_most_probable(sums.excess)
    return float(np.abs(binning(elements, excess)).sum() / elements.sum())


def calibration_error_by_class(sums: CalibrationSums, binning: Binning = equal_width) -> np.ndarray:
    """Σ_b n_b/n |share of the class in b - its mean probability in b|, where bins are of the class's probability: `[classes]`."""
    elements, excess = (_over_cases(part, 3).sum(-1) for part in (sums.elements, sums.excess))
    errors = [np.abs(binning(*of_class)).sum() for of_class in zip(elements, excess, strict=True)]
    return np.array(errors) / _count(sums)


def classwise_calibration_error(sums: CalibrationSums, binning: Binning = equal_width) -> float:
    """Mean of the classes' errors, the background's included: static calibration error (Nixon et al. 2019, arXiv 1904.01685; Kull et al. 2019,
    arXiv 1910.12656). An error in a rare class hides in that of the most probable class and shows here."""
    return float(calibration_error_by_class(sums, binning).mean())


class BrierParts(NamedTuple):
    """score = uncertainty - resolution + reliability + within.

    Attributes:
      score: mean squared distance of what was predicted from what is true; 0 is perfect.
      reliability: how far predictions lie from how often they come true in their cell; 0 is perfect.
      resolution: how far what comes true in each cell lies from what comes true overall; more is better.
      uncertainty: score of predicting everywhere how often each class is true overall.
      within: what is left because predictions differ within cells; it may be negative, and is 0 where they do not differ.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_by_class(sums: CalibrationSums) -> np.ndarray:
    """Mean of (p_c - [the element is of class c])² (Brier 1950), `[classes]`; of two classes each is the usual binary score."""
    return _over_cases(sums.squared_excess, 1) / _count(sums)


def brier_score(sums: CalibrationSums) -> float:
    """Mean of (1 - 2 p_y + Σ_c p_c²) / C, with y the true one of C classes: in [0, 2 / C].

    Li & Alstrøm (2020) divide by C, and Brier (1950) did not. So it is the mean of the classes' scores.
    """
    return float(brier_by_class(sums).mean())


def brier_parts(sums: CalibrationSums) -> BrierParts:
    """The parts of `brier_score` where a cell is all elements of one most probable class (Murphy 1973; Li & Alstrøm 2020).

    With w_k the share of cell k, d_kc how often class c is true in it, d_c how often overall, and k the cell of element i: uncertainty
    (1 - Σ_c d_c²) / C, resolution Σ_k w_k Σ_c (d_kc - d_c)² / C, reliability mean_i Σ_c (d_kc - p_ic)² / C, within
    -2 mean_i (p_iy - Σ_c d_kc p_ic) / C. The paper's code takes d_c along another axis, so its resolution is another number.
    """
    table, of_predicted = _over_cases(sums.table, 2), _over_cases(sums.excess_of_predicted, 2)
    of_cell = table.sum(-1, keepdims=True)
    share, overall = table / np.maximum(of_cell, 1.0), table.sum(0) / table.sum()
    # With p = [true] + excess, both sums over elements become sums of what is known by cell.
    spread = (table * (1.0 - share)).sum()
    along = _over_cases(sums.excess_of_true, 1).sum() - (share * of_predicted).sum()
    reliability = spread + 2.0 * along + _over_cases(sums.squared_excess, 1).sum()
    resolution = (of_cell * (share - overall) ** 2).sum()
    uncertainty = table.sum() * (1.0 - (overall**2).sum())
    of_classes = np.array([reliability, resolution, uncertainty, -2.0 * (spread + along)]) / (table.sum() * len(table))
    return BrierParts(brier_score(sums), *of_classes.tolist())


def binned_brier_parts(sums: CalibrationSums, class_: int = 1) -> BrierParts:
    """The parts of one class's score where a cell is a bin of its probability, ten of equal width (Murphy 1973).

    For the foreground of two classes this is what most texts call reliability: Σ_b n_b/n (mean probability - share of the class)². What is
    left within bins is the variance of the probability less twice its covariance with the truth (Stephenson, Coelho & Jolliffe 2008).
    """
    elements, true, excess = (_over_cases(part, 3)[class_].sum(-1) for part in (sums.elements, sums.true, sums.excess))
    of_bin, of_class, surplus = (equal_width(elements, part) for part in (elements, true, excess))
    count, filled = of_bin.sum(), np.maximum(of_bin, 1.0)
    share, overall = of_class / filled, of_class.sum() / of_bin.sum()
    score = _over_cases(sums.squared_excess, 1)[class_]
    reliability = (surplus**2 / filled).sum()
    resolution = (of_bin * (share - overall) ** 2).sum()
    within = score - reliability - (of_class * (1.0 - share)).sum()
    parts = np.array([score, reliability, resolution, count * overall * (1.0 - overall), within]) / count
    return BrierParts(*parts.tolist())


def entries(sums: CalibrationSums) -> dict[str, Any]:
    """What the ledger keeps: the measures, and by bin of confidence how many elements, their summed confidence, how many are right."""
    elements, correct, excess = (_of_most_probable(part) for part in (sums.elements, sums.true, sums.excess))
    by_bin = {"count": elements, "confidence": excess + correct, "correct": correct}
    parts = brier_parts(sums)
    return {
        "nll": negative_log_likelihood(sums),
        "ece": expected_calibration_error(sums),
        "ece_equal_mass": expected_calibration_error(sums, equal_mass),
        "ece_classwise": classwise_calibration_error(sums),
        "brier": parts.score,
        **{f"brier_{name}": getattr(parts, name) for name in ("reliability", "resolution", "uncertainty", "within")},
        "reliability": {name: [round(float(value), 3) for value in equal_width(elements, part)] for name, part in by_bin.items()},
    }


def entries_by_group(sums_of: Mapping[str, CalibrationSums]) -> dict[str, Any]:
    """What the ledger keeps of each group of patients, given its sums; nothing where there are no groups to compare."""
    if len(sums_of) < 2:
        return {}
    of_group = {group: entries(sums) for group, sums in sums_of.items()}
    return {
        "calibration_by_group": {
            group: {name: known[name] for name in ("nll", "ece", "brier")} for group, known in of_group.items()
        },
        "reliability_by_group": {group: known["reliability"] for group, known in of_group.items()},
    }


class Elements(NamedTuple):
    """Predictions that are looked at together.

    Attributes:
      elements: how many there are.
      confidence: in the mean; NaN where there are none.
      correct: share of them that is right; NaN where there are none.
    """

    elements: float
    confidence: float
    correct: float


class Overconfidence(NamedTuple):
    """How far confidence lies from accuracy, with its sign.

    Attributes:
      error: expected calibration error, Σ_b n_b/n |confidence_b - accuracy_b|.
      mean: the same without the absolute value: mean confidence less accuracy. Above 0 the network is surer than it is right.
      low, high: between which the confidence lies in the bin that adds most to the error.
      worst: the elements of that bin.
      others: those of all other bins.
    """

    error: float
    mean: float
    low: float
    high: float
    worst: Elements
    others: Elements


def overconfidence(count: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> Overconfidence:
    """Of sums over bins of equal width, `[bins]` each, as the ledger's `reliability` has them: of elements, of confidence, of those that are right.

    Raises:
      ValueError: there is no element.
    """
    if not count.sum() > 0:
        raise ValueError("No element to tell confidence from accuracy of.")
    gap, bins = (confidence - correct) / count.sum(), len(count)
    place = int((np.abs(gap) if gap.any() else count).argmax())
    inside = np.arange(bins) == place
    worst, others = (_together(*(part[of].sum() for part in (count, confidence, correct))) for of in (inside, ~inside))
    return Overconfidence(float(np.abs(gap).sum()), float(gap.sum()), place / bins, (place + 1) / bins, worst, others)


def _together(count: float, confidence: float, correct: float) -> Elements:
    return Elements(float(count), float(confidence / count), float(correct / count)) if count else Elements(0.0, np.nan, np.nan)


def _of_most_probable(part: Array) -> np.ndarray:
    """Sums by cell of the probability of the most probable class, `[..., classes, cells, 2]` to `[cells]`."""
    return _over_cases(part, 3)[..., 1].sum(0)


def _count(sums: CalibrationSums) -> float:
    """How many elements there are."""
    return float(_over_cases(sums.table, 2).sum())


def _over_cases(part: Any, own_axes: int) -> np.ndarray:
    """A part of the sums added up over cases, in double precision; all but its last `own_axes` axes are of cases."""
    values = np.asarray(part, np.float64)
    return values.sum(tuple(range(values.ndim - own_axes)))
