"""Scores of single objects, such as glands: whether each was found, and how well each was outlined.

They are those of the GlaS challenge (Sirinukunwattana et al. 2017, arXiv 1603.00275).
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

FOREGROUND = 0.5  # probability from which on an element is of an object
CONTOUR = 0.2  # probability from which on it is on a contour
HALF = 0.5  # of a true object's area: what an object must cover of it to have found it


class FoundObjects(NamedTuple):
    """Objects that were found, those that are none, and those that were missed."""

    true_positive: int
    false_positive: int
    false_negative: int

    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN), in [0, 1]; NaN where there is no object and none was predicted."""
        objects = 2 * self.true_positive + self.false_positive + self.false_negative
        return 2 * self.true_positive / objects if objects else np.nan


class _Objects(NamedTuple):
    """Areas of predicted and true objects, and how much each pair shares: `[predicted]`, `[true]`, `[predicted, true]`, in elements."""

    predicted: np.ndarray
    true: np.ndarray
    shared: np.ndarray


def objects_of(mask: np.ndarray) -> np.ndarray:
    """The connected parts of a structure, numbered from 1: `[*shape]`, boolean, to integers. Corners connect, as in `surfaces.detection`."""
    components, _ = ndimage.label(mask, ndimage.generate_binary_structure(mask.ndim, mask.ndim))
    return components


def separated(foreground: np.ndarray, contour: np.ndarray, reach: float = 5.0, smallest: int = 20) -> np.ndarray:
    """Objects that touch, told apart by their contours (Chen et al. 2016, arXiv 1604.02677).

    An object is a connected part of what is foreground and no contour. Then each takes back the foreground that its contour covered: an
    element goes to the nearest object.

    Args:
      foreground, contour: probabilities, `[*shape]`. An element is foreground from one half on, and a contour from a fifth on, because a
        contour with a gap separates nothing.
      reach: how far an object grows back, in elements. Contours that were dilated by a disc take its radius and up to two elements more.
      smallest: number of elements that an object has before it grows; smaller ones are none.

    Returns:
      The number of each element's object, `[*shape]`, from 1 without gaps, 0 where there is none.
    """
    there = foreground >= FOREGROUND
    parts, count = ndimage.label(
        there & (contour < CONTOUR)
    )  # corners do not connect, so that a slanting contour of one element separates
    kept = np.bincount(parts.reshape(-1), minlength=count + 1) >= smallest
    kept[0] = False
    objects = np.where(kept, np.cumsum(kept), 0)[parts]
    if not kept.any():
        return objects
    away, nearest = ndimage.distance_transform_edt(objects == 0, return_indices=True)
    return np.where(there & (away <= reach), objects[tuple(nearest)], 0)


def object_dice(predicted: np.ndarray, true: np.ndarray) -> float:
    """Dice of each object and the one of the other map that overlaps it most, weighted by area, both ways.

    ½ (Σ_i |G_i|/Σ|G| D(G_i, S*(G_i)) + Σ_j |S_j|/Σ|S| D(S_j, G*(S_j))), with true objects G and predicted ones S. An object that none
    overlaps has 0. Of two that overlap it alike the one of the smaller number is taken.

    Args:
      predicted, true: `[*shape]`, the number of each element's object, 0 where there is none; numbers need not follow one another.

    Returns:
      In [0, 1]; NaN where there is no object in either map, 0 where one map has none.
    """
    objects = _counted(predicted, true)
    if not len(objects.predicted) and not len(objects.true):
        return np.nan
    if not len(objects.predicted) or not len(objects.true):
        return 0.0
    best = objects.shared.argmax(0)
    of_true = _dice(objects.shared.max(0), objects.predicted[best], objects.true)
    best = objects.shared.argmax(1)
    of_predicted = _dice(objects.shared.max(1), objects.predicted, objects.true[best])
    return float(np.average(of_true, weights=objects.true) + np.average(of_predicted, weights=objects.predicted)) / 2


def found_objects(predicted: np.ndarray, true: np.ndarray) -> FoundObjects:
    """Counts the objects that were detected: a predicted one has found the true one that it overlaps most if it covers half of it or more.

    A true object is found once; of two predicted ones that cover a half of it each, the other is false.

    Args:
      predicted, true: see `object_dice`.
    """
    objects = _counted(predicted, true)
    found: set[int] = set()
    if len(objects.predicted) and len(objects.true):
        best = objects.shared.argmax(1)
        found = set(best[objects.shared.max(1) >= HALF * objects.true[best]].tolist())
    return FoundObjects(len(found), len(objects.predicted) - len(found), len(objects.true) - len(found))


def _counted(predicted: np.ndarray, true: np.ndarray) -> _Objects:
    if predicted.shape != true.shape:
        raise ValueError(f"Maps of shapes {predicted.shape} and {true.shape}.")
    (first, rows), (second, columns) = (np.unique(part, return_inverse=True) for part in (predicted, true))
    pairs = np.bincount(rows.reshape(-1) * len(second) + columns.reshape(-1), minlength=len(first) * len(second))
    table = pairs.reshape(len(first), len(second))
    areas = table.sum(1)[first > 0], table.sum(0)[second > 0]
    return _Objects(*areas, table[first > 0][:, second > 0])


def _dice(shared: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return 2 * shared / (first + second)
