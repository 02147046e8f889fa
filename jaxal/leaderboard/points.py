"""Tasks whose cases are points: three that others published numbers for, drawn or read here without any download."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Points(NamedTuple):
    """Cases that are rows of numbers with a class each.

    Attributes:
      inputs: `[cases, dimensions]`, float32.
      classes: `[cases]`, integers from 0.
    """

    inputs: np.ndarray
    classes: np.ndarray

    def of(self, places: np.ndarray) -> "Points":
        """Those at some places."""
        return Points(self.inputs[places], self.classes[places])


class Parts(NamedTuple):
    """One draw of a task.

    Attributes:
      pool: all that may be labelled, with what is labelled at the start.
      start: places in the pool that are.
      evaluation, test: apart from the pool.
    """

    pool: Points
    start: np.ndarray
    evaluation: Points
    test: Points


def three_clusters(rng: np.random.Generator) -> Points:
    """Two classes of 300 points of four round clusters, two of which lie at the same place: what is uncertain there stays so.

    ThreeClust of CDALBench (Werner et al. 2024, arXiv 2408.00426), after its code.
    """
    centres = [((0, 0), 1), ((4, 3), 1), ((0, 6), 0), ((4, 3), 0)]
    inputs = np.concatenate([rng.normal(centre, 1.0, (150, 2)) for centre, _ in centres])
    return Points(inputs.astype(np.float32), np.repeat([known for _, known in centres], 150))


def diverging_sines(rng: np.random.Generator) -> Points:
    """Two classes of 100 points along two waves that drift apart from each other.

    The points are those of DivergingSin in CDALBench (Werner et al. 2024, arXiv 2408.00426), after its code.
    """
    along = np.linspace(0.0, 10.0, 100)
    waves = [np.sin(2 * along) + sign * along / 2 + rng.normal(0.0, 0.3, 100) for sign in (1, -1)]
    inputs = np.concatenate([np.stack([along, wave], -1) for wave in waves])
    return Points(inputs.astype(np.float32), np.repeat([1, 0], 100))


def breast_cancer(_: np.random.Generator) -> Points:
    """569 biopsies with 30 measures each, benign or malignant (Wolberg et al. 1995; scikit-learn's copy), standardised."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.preprocessing import StandardScaler

    read = load_breast_cancer()
    return Points(StandardScaler().fit_transform(read.data).astype(np.float32), read.target)


class Division(NamedTuple):
    """How points are divided.

    Attributes:
      test, evaluation: shares, the second of what the first leaves.
      start: labelled at the start; one of each class at least.
      to_unit: whether inputs are brought to [0, 1] by the least and greatest of what is not for the test.
    """

    test: float
    evaluation: float
    start: int
    to_unit: bool


def divided(draw: Callable[[np.random.Generator], Points], division: Division, seed: int) -> Parts:
    """Draws a task's points and divides them; every class is among the first labelled."""
    rng = np.random.default_rng(seed)
    points = draw(rng)
    order = rng.permutation(len(points.classes))
    test, rest = np.split(order, [round(division.test * len(order))])
    if division.to_unit:
        low, high = points.inputs[rest].min(0), points.inputs[rest].max(0)
        points = points._replace(inputs=(points.inputs - low) / (high - low))
    evaluation, places = np.split(rest, [round(division.evaluation * len(rest))])
    pool = points.of(places)
    first = [np.flatnonzero(pool.classes == known)[:1] for known in np.unique(pool.classes)]
    others = np.setdiff1d(np.arange(len(places)), np.concatenate(first))
    start = np.concatenate([*first, others])[: max(division.start, len(first))]
    return Parts(pool, np.sort(start), points.of(evaluation), points.of(test))
