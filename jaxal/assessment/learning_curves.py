"""What a learning curve comes to."""

from typing import NamedTuple

import numpy as np
import scipy  # loads `scipy.optimize` where it is used first

GOAL = 0.95  # of the main measure that training on everything reaches


def area_under(labelled: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean height of a learning curve, `[..., rounds] -> [...]`: its area by trapezoids over the labels that it spans."""
    if len(labelled) == 1 or labelled[-1] == labelled[0]:
        return values[..., 0]
    return np.trapezoid(values, labelled, axis=-1) / (labelled[-1] - labelled[0])


def first_reaching(values: np.ndarray, goal: float | np.ndarray) -> np.ndarray:
    """The round, with its fraction, at which a curve first reaches a goal, `[..., rounds]` and `[...]` to `[...]`; infinity where it does not.

    Between two rounds a curve is a straight line. One that begins at its goal or above it reaches it at round 0, perhaps before it.
    """
    reached = values >= np.asarray(goal)[..., None]
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(values, index[..., None], -1)[..., 0] for index in (first, before))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first == before, 0.0, (goal - low) / rise)
    return np.where(reached.any(-1), before + share, np.inf)


def at_round(place: float, series: np.ndarray) -> float:
    """What something measured in each round, `[rounds]`, is at a round with its fraction; infinity at infinity."""
    return float(np.interp(place, np.arange(len(series)), series)) if np.isfinite(place) else np.inf


def labels_needed(labelled: np.ndarray, values: np.ndarray, goal: float | np.ndarray) -> np.ndarray:
    """Labels at which a curve first reaches a goal, `[..., rounds]` and `[...]` to `[...]`; infinity where it does not."""
    places = first_reaching(values, goal)
    found = np.interp(np.where(np.isfinite(places), places, 0.0), np.arange(len(labelled)), labelled)
    return np.where(np.isfinite(places), found, np.inf)


class Spread(NamedTuple):
    """Mean and standard deviation, with NaN where there are too few numbers for one."""

    mean: float
    deviation: float


class Reached(NamedTuple):
    """What it took to reach a goal, over repetitions; means are over those that reached it, because of the others no number is known.

    Attributes:
      reached, of: how many repetitions reached the goal, and how many there are.
      from_start: how many of them were there in the first round, so that less might have done.
      needed: of labels.
      at_goal: of further measures by name, where the curve crosses the goal; over the repetitions that were below it at first.
    """

    reached: int
    of: int
    from_start: int
    needed: Spread
    at_goal: dict[str, Spread]


def spread(values: np.ndarray) -> Spread:
    """Of the numbers that are known, `[repetitions]`; NaN marks those that are not."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    mean = float(known.mean()) if len(known) else np.nan
    return Spread(mean, float(known.std(ddof=1)) if len(known) > 1 else np.nan)


def to_reach(labelled: np.ndarray, values: np.ndarray, goals: np.ndarray, others: dict[str, np.ndarray]) -> Reached:
    """What it took to reach a goal, and what other measures were then: calibration compared at equal accuracy.

    Args:
      labelled: in each round, `[repetitions, rounds]`.
      values: of the curves, `[repetitions, rounds]`.
      goals: of each repetition, `[repetitions]`.
      others: of the same rounds, `[repetitions, rounds]` each, by name.
    """
    places = first_reaching(values, goals)
    there, crossed = np.isfinite(places), np.isfinite(places) & (values[:, 0] <= goals)
    rows = range(len(places))
    needed = np.array([at_round(places[row], labelled[row]) if there[row] else np.nan for row in rows])
    at_goal = {
        name: spread(np.array([at_round(places[row], series[row]) if crossed[row] else np.nan for row in rows]))
        for name, series in others.items()
    }
    return Reached(int(there.sum()), len(places), int((places == 0).sum()), spread(needed), at_goal)


def foreground_efficiency(foreground: np.ndarray, values: np.ndarray, full: np.ndarray) -> float:
    """How fast a curve rises with the foreground that was labelled: b of y = c - (c - y_0) exp(-b (x - x_0)), by least squares.

    Lüth et al. 2025 (nnActive, arXiv 2511.19183) measure by it what labels cost whose background costs nearly nothing. Here x_0, y_0 and c are
    each repetition's own, and one b is fitted to all of them; their code takes the means over repetitions.

    Args:
      foreground: share of the pool's foreground that is labelled in each round, in [0, 1], `[repetitions, rounds]`.
      values: of the curves, `[repetitions, rounds]`.
      full: what training on everything reaches, `[repetitions]`.

    Returns:
      For the whole of the foreground; NaN where no curve has a second round, or where all begin at what training on everything reaches.
    """
    more, left = foreground - foreground[:, :1], (full - values[:, 0])[:, None]
    if not (more * left).any():
        return np.nan

    def missed(rate: np.ndarray) -> np.ndarray:
        return (full[:, None] - left * np.exp(-rate[0] * more) - values).reshape(-1)

    return float(scipy.optimize.least_squares(missed, [1.0], x_scale=1.0 / more.max()).x[0])
