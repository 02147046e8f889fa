"""Images and label maps on other grids over the same extent.

Rounded to one label a voxel on the way there and again on the way back, a label map loses twice, and small structures most. So the
way there looks at the way back: on the other grid a case gets the labels from which its own come back best.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

CORRECTIONS = 20  # at most
STEPS = [
    0.4 / (1 + number / 4) for number in range(CORRECTIONS)
]  # where a voxel's first votes add up to one; ever shorter, to settle
HAIR = 1e-3  # decides between equal votes; a class that comes back by less has not come back
TIE = 1e-5  # by which the background has to win on the way back, because thin structures would lose every tie to it
KEYS = 256  # a voxel's number times this and a class make the key of the class's votes there


def resample(values: np.ndarray, shape: Sequence[int], order: int = 3) -> np.ndarray:
    """Resamples `[x, y, z]` to another shape over the same extent, by splines."""
    if values.shape == tuple(shape):
        return values
    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    return ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)


def most_probable(shares: Iterable[np.ndarray]) -> np.ndarray:
    """The class with the largest share of each voxel, from `[x, y, z]` of one class after the other; ties go to the lowest above 0."""
    winner: np.ndarray | None = None
    for label, share in enumerate(shares):
        if winner is None:
            winner, most = np.zeros(share.shape, np.uint8), share - TIE
            continue
        winner = np.where(share > most, np.uint8(label), winner)
        most = np.maximum(most, share)
    if winner is None:
        raise ValueError("There are no classes.")
    return winner


def resample_label(labels: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resamples a label map so that the way back, linear class by class, gives it again as far as the other grid can.

    The classes of a voxel vote by linear interpolation, and the most votes win; of equal ones the rarer class, because
    thin structures would lose every tie to the background. Then the way back is tried. Where it gives another class, the voxels
    around get more votes for the right and fewer for the wrong one, as a perceptron learns, and it is tried again. The nearest
    voxel's class, with ties to either side, is tried, too. Kept is the label map whose way back has the highest mean Dice over the
    classes above 0. To a finer grid nothing is lost; on a coarser one structures become larger, where interpolation shrinks them.

    Args:
      labels: `[x, y, z]`, uint8.
      shape: of the other grid.
    """
    if labels.shape == tuple(shape):
        return labels
    there = [_linear(old, new) for old, new in zip(labels.shape, shape, strict=True)]
    back = [_linear(new, old) for old, new in zip(labels.shape, shape, strict=True)]
    resampled, undecided = _decided(labels, there, back)
    if undecided.any():
        election = _Election(labels, resampled, undecided, there, back)
        resampled[undecided] = election.run()
    return resampled


_SIDES = np.array(list(itertools.product((0, 1), repeat=3)))  # of the eight corners, along each axis
_ORDERS = (2 * _SIDES - 1) @ _SIDES.T  # of the corners, each of the eight the first in one of them


class _Axis(NamedTuple):
    """Linear interpolation along one axis: of each new voxel two old ones, which are the same where one is enough, `[new, 2]`."""

    source: np.ndarray
    weight: np.ndarray


def _linear(old: int, new: int) -> _Axis:
    """As `resample` does it with order 1."""
    position = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    first = np.floor(position + 1e-6).astype(np.int32)
    part = np.maximum(position - first, 0)
    index = np.stack([first, np.where(part > 1e-6, first + 1, first)], axis=1)
    return _Axis(np.minimum(index, old - 1), np.stack([1 - part, part], axis=1).astype(np.float32))


def _decided(labels: np.ndarray, there: Sequence[_Axis], back: Sequence[_Axis]) -> tuple[np.ndarray, np.ndarray]:
    """The labels of voxels that have to do with one class alone, on the way there and back, and which voxels are others."""
    least = most = labels
    for axis, (forward, backward) in enumerate(zip(there, back, strict=True)):
        spans = []
        for voxel, reached in enumerate(forward.source):
            sources = np.concatenate([reached, np.flatnonzero((backward.source == voxel).any(1))])
            spans.append(slice(sources.min(), sources.max() + 1))
        before = (slice(None),) * axis
        least = np.stack([least[(*before, span)].min(axis) for span in spans], axis=axis)
        most = np.stack([most[(*before, span)].max(axis) for span in spans], axis=axis)
    return most, least != most


def _corners(ways: Sequence[_Axis], voxels: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Flat indices into an array of a shape, and weights, of the eight voxels that make up each of some, `[voxels, 8]` both."""
    index, weight = np.zeros((len(voxels), 1), np.int64), np.ones((len(voxels), 1), np.float32)
    for way, along, length in zip(ways, voxels.T, shape, strict=True):
        index = (index[:, :, None] * length + way.source[along][:, None, :]).reshape(len(voxels), 2 * index.shape[1])
        weight = (weight[:, :, None] * way.weight[along][:, None, :]).reshape(len(voxels), 2 * weight.shape[1])
    return index, weight


class _Election:
    """The votes of the undecided voxels, and the voxels of the label map that come back from them.

    Attributes:
      resampled: the labels that are tried, flat, those of decided voxels with them.
      places, numbers: of each undecided voxel its flat index, and of each voxel which undecided one it is, or -1.
      truth: the label map's voxels that undecided ones have a part in on the way back, `[concerned]`.
      corners, weights: the flat indices of the eight voxels that each comes back from, and their shares, `[concerned, 8]`.
      received: the sum of an undecided voxel's shares, `[undecided]`.
      keys, votes, starts: the votes of each class that an undecided voxel may get, sorted by voxel and class, and where voxels begin.
      sizes: voxels of each class.
      nearest: the nearest voxels' classes, eight times, since ties may go to either side of each axis.
    """

    def __init__(self, labels: np.ndarray, resampled: np.ndarray, undecided: np.ndarray, there: list[_Axis], back: list[_Axis]):
        self.resampled = resampled.reshape(-1).copy()
        self.places = np.flatnonzero(undecided)
        self.numbers = np.full(undecided.size, -1, np.int64)
        self.numbers[self.places] = np.arange(len(self.places))
        concerned = undecided
        for axis, way in enumerate(back):
            concerned = np.logical_or(*(np.take(concerned, way.source[:, side], axis) for side in (0, 1)))
        self.truth = labels[concerned]
        self.corners, self.weights = _corners(back, np.argwhere(concerned), undecided.shape)
        received = [np.maximum(np.bincount(way.source.ravel(), way.weight.ravel(), len(forward.source)), HAIR)
                    for way, forward in zip(back, there, strict=True)]  # fmt: skip
        voxels = np.argwhere(undecided)
        self.received = np.prod([total[along] for total, along in zip(received, voxels.T, strict=True)], axis=0)
        sources, shares = _corners(there, voxels, labels.shape)
        classes = labels.reshape(-1)[sources]
        first = np.arange(len(voxels))[:, None] * KEYS + classes
        wanted = [numbers[numbers >= 0] * KEYS + self.truth[numbers >= 0] for numbers in self.numbers[self.corners].T]
        self.keys = np.unique(np.concatenate([np.unique(part) for part in (first, *wanted)]))
        self.votes: np.ndarray = np.bincount(np.searchsorted(self.keys, first.ravel()), shares.ravel(), len(self.keys))
        self.starts = np.searchsorted(self.keys, np.arange(len(voxels)) * KEYS)
        self.sizes = np.bincount(labels.ravel(), minlength=KEYS)
        self.nearest = [classes[np.arange(len(voxels)), (shares + HAIR * order).argmax(1)] for order in _ORDERS]
        rarity = np.argsort(np.argsort(-self.sizes, kind="stable")) / KEYS
        self.votes += HAIR * rarity[self.keys % KEYS]

    def run(self) -> np.ndarray:
        """The best labels of the undecided voxels."""
        best, highest = self.winners(), -1.0
        for step in (*STEPS, 0.0, *(None for _ in self.nearest)):
            winners = self.nearest.pop() if step is None else self.winners()
            self.resampled[self.places] = winners
            wrong, rivals, surely = self.lost()
            dice = self.dice(wrong[surely], rivals[surely])
            if np.nanmean(dice[1:]) > highest:
                best, highest = winners, np.nanmean(dice[1:])
            if not surely.any():
                break
            if step is not None:
                self.correct(wrong, rivals, step * self.worth(dice, wrong, rivals))
        return best

    def winners(self) -> np.ndarray:
        most = np.maximum.reduceat(self.votes, self.starts)
        voxels = self.keys // KEYS
        first = np.flatnonzero(self.votes == most[voxels])[::-1]
        winners = np.zeros(len(self.starts), np.uint8)
        winners[voxels[first]] = self.keys[first] % KEYS  # of equal ones the lowest class is written last
        return winners

    def lost(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which concerned voxels come back as another class, or nearly so, as which, and whether surely: the background loses ties."""
        classes = self.resampled[self.corners]
        of_truth = np.where(classes == self.truth[:, None], self.weights, 0).sum(1)
        doubtful = np.flatnonzero(of_truth <= 0.5 + HAIR)
        classes, weights, of_truth = classes[doubtful], self.weights[doubtful], of_truth[doubtful]
        shares = np.stack([np.where(classes == classes[:, [corner]], weights, 0).sum(1) for corner in range(8)], axis=1)
        shares[classes == self.truth[doubtful][:, None]] = -1.0
        rival = shares.argmax(1)[:, None]
        rivals = np.take_along_axis(classes, rival, 1)[:, 0]
        lead = np.take_along_axis(shares, rival, 1)[:, 0] - of_truth
        wrong = lead >= -HAIR
        return doubtful[wrong], rivals[wrong], (lead >= np.where(rivals == 0, TIE / 2, -HAIR))[wrong]

    def dice(self, wrong: np.ndarray, rivals: np.ndarray) -> np.ndarray:
        """Of the way back of each class; NaN where it is in the case nowhere."""
        missed, added = np.bincount(self.truth[wrong], minlength=KEYS), np.bincount(rivals, minlength=KEYS)
        return np.where(self.sizes > 0, 2 * (self.sizes - missed) / (2 * self.sizes - missed + added).clip(1), np.nan)

    def worth(self, dice: np.ndarray, wrong: np.ndarray, rivals: np.ndarray) -> np.ndarray:
        """What the mean Dice would gain, about, from each of the wrong voxels, as a share of their mean: one that is missed more than one too many."""
        of_missed, of_added = ((2 - dice) / self.sizes.clip(1), dice / self.sizes.clip(1))
        of_missed[0] = of_added[0] = 0
        gain = of_missed[self.truth[wrong]] + of_added[rivals]
        return np.clip(gain / max(gain.mean(), 1e-12), 0.5, 2.0)

    def correct(self, wrong: np.ndarray, rivals: np.ndarray, steps: np.ndarray) -> None:
        numbers = self.numbers[self.corners[wrong]]
        voxels, corners = np.nonzero((numbers >= 0) & (self.weights[wrong] > 0))
        numbers = numbers[voxels, corners]
        change = steps[voxels] * self.weights[wrong[voxels], corners] / self.received[numbers]
        for classes, sign in ((self.truth[wrong], 1.0), (rivals, -1.0)):
            keys = numbers * KEYS + classes[voxels]
            index = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            known = self.keys[index] == keys  # a class without votes of its own has none to lose
            self.votes += sign * np.bincount(index[known], change[known], len(self.votes))
