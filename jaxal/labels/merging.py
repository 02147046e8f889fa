"""Several readers' maps of one case as one map to train on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxal.labels.findings import dice_with
from jaxal.labels.naming import IGNORE
from jaxal.labels.staple import Performance, staple


class Merged(NamedTuple):
    """One map out of several.

    Attributes:
      labels: `[i, j, k]`, uint8; `IGNORE` where readers disagree or nobody annotated.
      dice: of each pair of readers by class, `[classes]`; NaN where neither has the class.
      disputed: readers disagree so much that somebody should decide.
      sentence: who disagrees on what; empty if nobody does.
      performance: what STAPLE thinks of each reader, if it was asked.
    """

    labels: np.ndarray
    dice: dict[tuple[str, str], np.ndarray]
    disputed: bool
    sentence: str
    performance: dict[str, Performance] | None = None


def merge(maps: Mapping[str, np.ndarray], classes: Sequence[str], *, method: str = "majority", least_dice: float = 0.7) -> Merged:
    """Merges the maps of two or more readers.

    From two readers no truth can be told, so the voxels on which they agree count and the others become `IGNORE`. Of three or more the
    majority decides, or STAPLE (Warfield et al. 2004) where it is asked for; ties become `IGNORE`. A voxel that a reader has not
    annotated is left to the others.

    Args:
      maps: of each reader, `[i, j, k]`, uint8, on one grid.
      classes: names of the classes 1, 2, ….
      method: "majority" or "staple", for three readers or more.
      least_dice: below it, in any class that either of two readers has, the two dispute the case. A class that only one of them
        drew has Dice 0, so it is disputed.

    Raises:
      ValueError: fewer than two maps, other shapes, or an unknown method.
    """
    if len(maps) < 2 or len({labels.shape for labels in maps.values()}) > 1 or method not in ("majority", "staple"):
        raise ValueError("merge takes two maps or more, of one shape, and the method 'majority' or 'staple'")
    readers = sorted(maps)  # so that the result does not depend on who came first
    pairs = [(first, second) for place, first in enumerate(readers) for second in readers[place + 1 :]]
    dice = {(first, second): dice_with(maps[first], maps[second], len(classes)) for first, second in pairs}
    stack = [maps[reader] for reader in readers]
    performance = None
    if len(stack) == 2:
        labels = agreed(stack[0], stack[1])
    elif method == "majority":
        labels = majority(stack, len(classes))
    else:
        labels, performances = staple(stack, len(classes))
        performance = dict(zip(readers, performances, strict=True))
    low = [
        f"{first} and {second} on {name} (Dice {value:.2f})"
        for (first, second), values in dice.items()
        for name, value in zip(classes, values, strict=True)
        if value < least_dice
    ]
    sentence = f"readers differ: {', '.join(low)}." if low else ""
    return Merged(labels, dice, bool(low), sentence, performance)


def agreed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two readers' map: where they agree, or only one of them annotated, that; elsewhere `IGNORE`. Shapes `[...]`, uint8."""
    labels = np.where(first == second, first, np.uint8(IGNORE))
    labels = np.where(first == IGNORE, second, labels)
    return np.where(second == IGNORE, first, labels)


def majority(maps: Sequence[np.ndarray], classes: int) -> np.ndarray:
    """The class with most votes at each voxel; `IGNORE` where several have as many, or nobody annotated.

    Args:
      maps: of the readers, `[i, j, k]`, uint8.
      classes: how many there are besides the background.
    """
    labels = np.empty_like(maps[0])
    for k in range(labels.shape[2]):
        votes = [part[..., k] for part in maps]
        best = np.zeros(votes[0].shape, np.uint8)
        winner = np.full(votes[0].shape, IGNORE, np.uint8)
        for index in range(classes + 1):
            count = np.sum([vote == index for vote in votes], axis=0, dtype=np.uint8)
            winner = np.where(count > best, np.uint8(index), np.where((count == best) & (count > 0), np.uint8(IGNORE), winner))
            best = np.maximum(best, count)
        labels[..., k] = winner
    return labels
