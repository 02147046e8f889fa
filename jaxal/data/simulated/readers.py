"""Simulated readers, who draw as people do: quickly or slowly, well or badly, or not at all."""

import dataclasses
import zlib
from typing import Literal

import numpy as np
from scipy import ndimage

Habit = Literal["perfect", "sloppy", "biased", "mirror"]


@dataclasses.dataclass(frozen=True)
class Reader:
    """How somebody reads.

    Attributes:
      name: theirs.
      habit: perfect; sloppy, whose outlines waver; biased, who draws everything too large; mirror, who hands in every third label
        with left and right exchanged, until it comes back.
      minutes: that a reading takes, the median; single readings vary by a third.
      answers: chance that a case that is asked for is read before the next look; zero for somebody who is never there.
      waver: standard deviation of an outline, in voxels; a biased one lies half of that further out.
    """

    name: str
    habit: Habit = "perfect"
    minutes: float = 10.0
    answers: float = 1.0
    waver: float = 0.6


def drawn(reader: Reader, case: str, truth: np.ndarray, left_right: int, attempt: int = 1, seed: int = 0) -> np.ndarray:
    """What a reader draws of a case.

    Args:
      reader: who.
      case: its id, which decides what the reader gets wrong.
      truth: `[x, y, z]`, whole numbers.
      left_right: the axis along which left and right lie.
      attempt: from 1; a label that came back is drawn with more care.
      seed: of the simulation.
    """
    rng = _rng(reader, case, attempt, seed)
    if reader.habit == "mirror" and attempt == 1 and rng.random() < 1 / 3:
        return np.flip(truth, left_right)
    if reader.habit not in ("sloppy", "biased"):
        return truth
    return _redrawn(truth, reader.waver / attempt, reader.habit == "biased", rng)


def minutes_taken(reader: Reader, case: str, attempt: int = 1, seed: int = 0) -> float:
    """How long a reading takes."""
    return float(reader.minutes * np.exp(_rng(reader, f"{case} minutes", attempt, seed).normal(0, 0.33)))


def answers_now(reader: Reader, case: str, look: int, seed: int = 0) -> bool:
    """Whether a reader reads a case before this look."""
    return bool(_rng(reader, f"{case} look {look}", 0, seed).random() < reader.answers)


def _rng(reader: Reader, what: str, attempt: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, attempt, zlib.crc32(reader.name.encode()), zlib.crc32(what.encode())])


def _redrawn(truth: np.ndarray, by: float, larger: bool, rng: np.random.Generator) -> np.ndarray:
    """The same structures with their outlines moved by a smooth random field, or by that and outwards."""
    labels = np.zeros_like(truth)
    smooth = ndimage.gaussian_filter(rng.normal(size=truth.shape), 2.0)
    field = by * smooth / max(float(np.std(smooth)), 1e-9) + (by / 2 if larger else 0.0)
    for value in np.unique(truth[truth > 0]):
        inside = truth == value
        distance = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        # Outlines lie half a voxel inside of the first background voxel.
        moved = distance - np.sign(distance) * 0.5 + field > 0
        labels[moved & (labels == 0)] = value
    return labels
