"""Estimates with 95 % intervals from few cases."""

from typing import NamedTuple

import numpy as np
from scipy import special

FEWEST = 3  # values that an interval is given of, because the spread of two is hardly known
IMAGINED = 0.3  # how far towards 0 or 1 the case lies that nobody has seen; 0.4 and 0.5 held too much of the same pools


class Estimate(NamedTuple):
    """A number with its 95 % interval.

    Attributes:
      value: NaN where nothing is known.
      low, high: ends of the interval; NaN where there is none.
      cases: how many the value rests on.
    """

    value: float
    low: float = np.nan
    high: float = np.nan
    cases: int = 0


UNKNOWN = Estimate(np.nan)


class Spread(NamedTuple):
    """What the error of a mean follows from.

    Attributes:
      squares: sum of squared distances from the mean, or from the strata's means.
      degrees: of freedom that the sum has.
      scale: variance of the mean over the variance of a case; (1 - seen) / cases in a plain random draw.
      besides: variance of the mean that does not come from the cases' own spread.
      seen: share of all cases that was looked at, in [0, 1].
    """

    squares: float
    degrees: int
    scale: float
    besides: float = 0.0
    seen: float = 0.0


def student_mean(values: np.ndarray) -> Estimate:
    """The mean of independent values, `[cases]`, with the interval of Student (1908); NaN are left out.

    Fewer than three values have no interval. Equal values have none either, because a spread of zero would claim certainty.
    """
    defined = np.asarray(values, np.float64)
    defined = defined[~np.isnan(defined)]
    count = len(defined)
    if not count:
        return UNKNOWN
    mean = float(defined.mean())
    if count < FEWEST or np.ptp(defined) == 0:
        return Estimate(mean, cases=count)
    half = float(special.stdtrit(count - 1, 0.975) * defined.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - half, mean + half, count)


def bounded_mean(values: np.ndarray) -> Estimate:
    """The mean of independent values in [0, 1], `[cases]`, such as Dice, with the interval of `bounded_interval`; NaN are left out."""
    defined = np.asarray(values, np.float64)
    defined = defined[~np.isnan(defined)]
    count = len(defined)
    if not count:
        return UNKNOWN
    mean = float(defined.mean())
    spread = Spread(float(((defined - mean) ** 2).sum()), count - 1, 1 / count)
    return Estimate(mean, *bounded_interval(mean, count, spread), count)


def bounded_interval(mean: float, cases: int, spread: Spread) -> tuple[float, float]:
    """95 % interval of a mean of values in [0, 1]; NaN of fewer than three cases.

    Dice is skewed and has outliers: where one scan in ten fails, five scans show no failure in six of ten draws, and Student's t
    then excludes the truth. So each end is computed as though one more case had been drawn, which nobody has seen: for the lower end
    one that falls short of the mean by 30 % of it, for the upper end one that makes good 30 % of what the mean lacks. The ends
    are Student's t on the scale of the logit, by the delta method, which keeps them inside [0, 1]. What was not looked at can
    be 0 or 1 at most, which bounds both ends. The rule is this project's; its coverage is in `honest_curve.py`.
    """
    if cases < FEWEST:
        return np.nan, np.nan
    ends = []
    for side, distance in ((-1.0, IMAGINED * mean), (1.0, IMAGINED * (1.0 - mean))):
        centre = mean + side * (1.0 - spread.seen) * distance / (cases + 1)
        squares = spread.squares + cases / (cases + 1) * distance**2
        variance = squares / (spread.degrees + 1) * spread.scale * cases / (cases + 1) + spread.besides
        centre = min(max(centre, 1e-9), 1.0 - 1e-9)
        reach = float(special.stdtrit(spread.degrees + 1, 0.975)) * np.sqrt(variance) / (centre * (1.0 - centre))
        ends.append(float(special.expit(special.logit(centre) + side * reach)))
    low, high = ends
    floor = spread.seen * mean
    return min(max(low, floor), mean), max(min(high, floor + 1.0 - spread.seen), mean)
