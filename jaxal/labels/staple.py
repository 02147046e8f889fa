"""STAPLE: the truth and every reader's performance, estimated together (Warfield, Zou and Wells 2004), for several classes at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxal.labels.naming import IGNORE

_MARGIN = 2  # voxels around the union of all labels
_STEPS = 500
_SMALL = 1e-7


class Performance(NamedTuple):
    """A reader as STAPLE sees him: `confusion[truth, said]`, `[classes + 1, classes + 1]`, rows sum to 1."""

    confusion: np.ndarray

    @property
    def sensitivity(self) -> np.ndarray:
        """The share of each class's voxels that the reader gave to it, `[classes + 1]`."""
        return self.confusion.diagonal()


def staple(maps: Sequence[np.ndarray], classes: int) -> tuple[np.ndarray, list[Performance]]:
    """Estimates the true map; `IGNORE` where two classes are equally probable or nobody annotated.

    Only a box around the union of all labels is looked at, because the more background is in view, the better every reader seems to
    know it; what lies outside of the box all readers left empty.

    Args:
      maps: of three readers or more, `[i, j, k]`, uint8.
      classes: how many there are besides the background.

    Returns:
      The map, and the performance of each reader.
    """
    box = _box(maps, classes)
    labels = maps[0].copy()
    for other in maps[1:]:  # outside of the box all are 0 or not annotated
        labels = np.where(labels == IGNORE, other, labels)
    if box is None:
        return labels, [Performance(np.eye(classes + 1)) for _ in maps]
    part = np.stack([reader[box].ravel() for reader in maps], axis=1)
    said, place, count = _kinds(part)
    weights, confusions = expectation_maximization(said, count, classes)
    best = weights.max(1, keepdims=True)
    tied = (weights > best - _SMALL).sum(1) > 1
    estimate = np.where(tied | (said == IGNORE).all(1), IGNORE, weights.argmax(1)).astype(np.uint8)
    labels[box] = estimate[place].reshape(labels[box].shape)
    return labels, [Performance(confusion) for confusion in confusions]


def expectation_maximization(said: np.ndarray, count: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """The EM of Warfield et al. 2004, section II, for labels of any number; it begins with the majority's map.

    Args:
      said: what the readers said of each kind of voxel, `[kinds, readers]`; `IGNORE` where one said nothing.
      count: voxels of each kind, `[kinds]`.
      classes: how many there are besides the background.

    Returns:
      The probability of each class, `[kinds, classes + 1]`, and `confusion[truth, said]` of each reader,
      `[readers, classes + 1, classes + 1]`.
    """
    votes = (said[..., None] == np.arange(classes + 1)).astype(np.float64)  # [kinds, readers, classes + 1]
    prior = np.einsum("krc,k->c", votes, count)
    prior /= max(prior.sum(), 1)
    most = votes.sum(1)
    weights = ((most == most.max(1, keepdims=True)) & (most > 0)).astype(np.float64)
    weights[weights.sum(1) > 1] = 0  # tied voxels say nothing at first, as in ITK's MultiLabelSTAPLE
    confusion = np.zeros((said.shape[1], classes + 1, classes + 1))
    for _ in range(_STEPS):
        before = confusion
        joint = np.einsum("kt,krs,k->rts", weights, votes, count)
        total = joint.sum(2, keepdims=True)
        confusion = np.where(total > 0, joint / np.where(total > 0, total, 1), np.eye(classes + 1))
        if np.abs(confusion - before).max() < _SMALL:
            break
        likely = np.where(votes.sum(2)[..., None] > 0, np.einsum("krs,rts->krt", votes, confusion), 1.0)
        weights = prior * likely.prod(1)
        total = weights.sum(1, keepdims=True)
        weights = np.where(total > 0, weights / np.where(total > 0, total, 1), prior)
    return weights, confusion


def _kinds(part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Voxels that got the same votes as one: their votes, the kind of each voxel, and the voxels of each kind.

    Those on which all agree are counted first, because sorting many millions of rows takes long.
    """
    same = (part == part[:, :1]).all(1)
    alike = np.bincount(part[same, 0], minlength=256)
    values = np.flatnonzero(alike)
    others, kind, count = np.unique(part[~same], axis=0, return_inverse=True, return_counts=True)
    place = np.empty(len(part), np.int64)
    place[same] = np.searchsorted(values, part[same, 0])
    place[~same] = len(values) + kind.reshape(-1)
    said = np.concatenate([np.repeat(values[:, None], part.shape[1], axis=1).astype(part.dtype), others])
    return said, place, np.concatenate([alike[values], count])


def _box(maps: Sequence[np.ndarray], classes: int) -> tuple[slice, ...] | None:
    """The box around all labels and a margin; None where there are none."""
    drawn = np.zeros(maps[0].shape, bool)
    for reader in maps:
        drawn |= (reader > 0) & (reader <= classes)
    spans: list[slice] = []
    for axis in range(drawn.ndim):
        there = np.flatnonzero(drawn.any(tuple(other for other in range(3) if other != axis)))
        if not len(there):
            return None
        spans.append(slice(max(int(there[0]) - _MARGIN, 0), min(int(there[-1]) + 1 + _MARGIN, drawn.shape[axis])))
    return tuple(spans)
