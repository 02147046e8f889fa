"""How good a segmentation or a classification is."""

from typing import NamedTuple

import jax
import numpy as np
import scipy  # loads `scipy.stats`, which takes half a second, where it is used first

from jaxal.arrays import one_hot

Array = jax.Array


class Overlap(NamedTuple):
    """True positives, false positives and false negatives by class, `[..., classes]`, in elements."""

    true_positive: Array | np.ndarray
    false_positive: Array | np.ndarray
    false_negative: Array | np.ndarray


def overlap(logits: Array, labels: Array, labelled: Array) -> Overlap:
    """Counts the overlap of the most probable class and the truth.

    Args:
      logits: `[classes, elements]`.
      labels: `[elements]`, integers.
      labelled: which elements are labelled, `[elements]`, boolean.
    """
    labelled_elements = labelled[None, :]
    predicted = (one_hot(logits.argmax(0), logits.shape[0]) > 0) & labelled_elements
    truth = (one_hot(labels, logits.shape[0]) > 0) & labelled_elements
    return Overlap((predicted & truth).sum(-1), (predicted & ~truth).sum(-1), (~predicted & truth).sum(-1))


def overlap_of_maps(predicted: np.ndarray, truth: np.ndarray, classes: int, labelled: np.ndarray) -> Overlap:
    """As `overlap`, of two label maps of one shape, on the host."""
    pairs = np.bincount(truth[labelled].astype(np.int64) * classes + predicted[labelled], minlength=classes**2)
    table = pairs.reshape(classes, classes)  # truth down, prediction across
    both = table.diagonal()
    return Overlap(both, table.sum(0) - both, table.sum(1) - both)


def dice(counts: Overlap) -> np.ndarray:
    """Dice by class, `[..., classes]`: 2 TP / (2 TP + FP + FN) (Dice 1945).

    A class that is missed altogether, or predicted where there is none, scores 0. Only where neither truth nor prediction
    holds the class is Dice undefined, and NaN marks it so that callers leave it out and count it.
    """
    tp, fp, fn = (np.asarray(part, np.float64) for part in counts)
    denominator = 2 * tp + fp + fn
    return np.where(denominator > 0, 2 * tp / np.maximum(denominator, 1), np.nan)


def jaccard(counts: Overlap) -> np.ndarray:
    """Intersection over union by class, `[..., classes]`: TP / (TP + FP + FN) (Jaccard 1912); NaN and 0 as of `dice`."""
    tp, fp, fn = (np.asarray(part, np.float64) for part in counts)
    union = tp + fp + fn
    return np.where(union > 0, tp / np.maximum(union, 1), np.nan)


def foreground(counts: Overlap) -> Overlap:
    """The counts of all classes above 0 as one class, `[..., classes]` to `[...]`: to take one for another of them is no mistake."""
    tp, fp, fn = (np.asarray(part, np.float64) for part in counts)
    elements = (tp + fn).sum(-1)
    return Overlap(elements - (tp + fp + fn)[..., 0], fn[..., 0], fp[..., 0])


def pooled_f1(counts: Overlap) -> np.ndarray:
    """Pixel F1, which is Dice, of all images' elements as though they were one image: `[images, ...]` to `[...]`.

    Large structures count more than small ones, and an image without the class counts by what was predicted there. NaN where no image has it.
    """
    return dice(Overlap(*(np.asarray(part, np.float64).sum(0) for part in counts)))


def elements_of_classes(counts: Overlap) -> np.ndarray:
    """How many elements are truly of each class, over all images: `[images, classes]` to `[classes]`."""
    return (np.asarray(counts.true_positive, np.int64) + np.asarray(counts.false_negative, np.int64)).sum(0)


class MeanOverImages(NamedTuple):
    """A score of each image, averaged.

    Attributes:
      mean: over the images in which the score is defined; NaN where it is in none.
      undefined: how many images were left out.
    """

    mean: np.ndarray
    undefined: np.ndarray


def mean_image_f1(counts: Overlap) -> MeanOverImages:
    """Pixel F1 of each image, averaged: `[images, ...]` to `[...]`. All images count alike, but those that neither have nor are given the class."""
    values = dice(counts)
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(0)
    return MeanOverImages(np.where(defined.any(0), total / np.maximum(defined.sum(0), 1), np.nan), (~defined).sum(0))


def mean_foreground_dice(counts: Overlap) -> np.ndarray:
    """Mean Dice over the classes above 0 that are defined, `[...]`; NaN where none is."""
    values = dice(counts)[..., 1:]
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0.0).sum(-1)
    return np.where(defined.any(-1), total / np.maximum(defined.sum(-1), 1), np.nan)


def probability_of_truth(label: np.ndarray, probability: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What each case's class is predicted with, `[cases]`; NaN where the class is not known.

    Args:
      label: the true class, `[cases]`, integer.
      probability: `[cases, classes]`.
      known: whether there is a label, `[cases]`.
    """
    of_label = np.take_along_axis(np.asarray(probability, np.float64), np.asarray(label, np.int64)[:, None], 1)[:, 0]
    return np.where(np.asarray(known, bool), of_label, np.nan)


def share_explained(label: np.ndarray, mean: np.ndarray, known: np.ndarray) -> np.ndarray:
    """What of the targets' variance over these cases each case's prediction explains, `[cases]`: 1 where it is right, below zero where the mean would be closer. NaN
    where a target is not known. A mean over cases is R² over the variance of all.

    Args:
      label, mean: true and predicted targets, `[cases, targets]`; targets that do not vary are left out.
      known: whether there is a label of each target, `[cases, targets]`.
    """
    is_known = np.asarray(known, bool).all(-1)
    truth, error = np.asarray(label, np.float64), np.square(np.asarray(label, np.float64) - np.asarray(mean, np.float64))
    variance = truth[is_known].var(0) if is_known.any() else np.zeros(truth.shape[-1])
    if not (variance > 0).any():
        return np.full(len(truth), np.nan)
    varies = variance > 0
    return np.where(is_known, 1.0 - (error[:, varies] / variance[varies]).mean(-1), np.nan)


def one_vs_rest_auc(probability: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class against all others, from ranks (Hanley & McNeil 1982; ties count half).

    Args:
      probability: `[cases, classes]`.
      label: `[cases]`, integers.

    Returns:
      `[classes]`; NaN for a class that none or all of the cases have, so that callers leave it out and count it.
    """
    ranks = scipy.stats.rankdata(probability, axis=0)
    positive = label[:, None] == np.arange(probability.shape[1])
    count = positive.sum(0)
    pairs = count * (len(label) - count)
    ahead = (ranks * positive).sum(0) - count * (count + 1) / 2
    return np.where(pairs > 0, ahead / np.maximum(pairs, 1), np.nan)


def balanced_accuracy(probability: np.ndarray, label: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their cases that is recognised: `[cases, classes]` and `[cases]`."""
    right = probability.argmax(-1) == label
    return float(np.mean([right[label == class_].mean() for class_ in np.unique(label)]))
