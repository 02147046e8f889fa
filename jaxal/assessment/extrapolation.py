"""How many labels a Dice of x would still take, read off the honest curve as far as it can be told.

The curve is taken to be a saturating power law, Dice(n) = a - b n^-c (Hestness et al. 2017, arXiv 1712.00409; for segmentation of medical
images Roth et al. and others fit the same), which has b and c above 0 and a limit a of at most 1. The labels n* at which
it reaches the goal stand in the law as a parameter instead of a, and their interval holds all n* whose best fit is not worse by more than
the square of Student's t, in squared standard errors, than the best of all (a profile likelihood), or by more where the rounds scatter about
every such curve by more than their intervals say. An interval without an end means that the curve may level off below the goal.

Coverage, by simulation with `tests/coverage_of_extrapolation.py`, 300 projects a figure (standard error 1.3 points), of 5, 8 or 12 rounds with
standard errors of 0.005 or 0.02 that are independent or half common: 0 to 6 % of the projects were told something wrong. Little is told at
all with errors of 0.02, which 15 cases rarely beat: an estimate with two ends in 0 to 28 % of the projects, 3 % on average; the
others hear that the goal is reached, at least how many labels it takes, or that it cannot be told.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from jaxal.assessment.intervals import Estimate

FEWEST_ROUNDS = 4  # one more than the law has parameters
EXPONENTS = np.geomspace(0.05, 3.0, 100)
FURTHEST = 1e4  # times the labels there are
STEPS = 300


class Extrapolation(NamedTuple):
    """What is known of the labels that a goal would still take.

    Attributes:
      outcome: "reached" where the fitted curve is there already; "estimate"; "at least", where the interval has no upper end;
        "cannot be told".
      more: labels beyond those of the last round, with a 95 % interval; infinity where the curve may never get there, NaN where
        nothing can be told.
      limit: at which the fitted curve levels off, with its interval; NaN where nothing was fitted.
      sentence: for the page.
    """

    outcome: str
    more: Estimate
    limit: Estimate
    sentence: str


NOTHING = Estimate(np.nan)


def extrapolate(
    labelled: Sequence[int], curve: Sequence[Estimate], goal: float, common: float = 0.5, score: str = "Dice"
) -> Extrapolation:
    """Fits the law and reads off when it reaches the goal.

    Args:
      labelled: labels that each round was trained on, rising, at least 1.
      curve: the honest estimate of each; those without an interval are left out.
      goal: a score in (0, 1).
      common: share of the variance of the rounds' errors that they have in common, in [0, 1), because they look at the same cases.
      score: what the curve is of, for sentences.
    """
    what = f"{'an' if score[0] in 'aeiou' else 'a'} {score} of {goal:g}"
    if not 0.0 < goal < 1.0:
        raise ValueError(f"A goal of {goal}, which is not between 0 and 1.")
    told = [place for place, estimate in enumerate(curve) if estimate.high - estimate.low > 0]
    if len(told) < FEWEST_ROUNDS:
        have = f"{len(told)} round{'s have' if len(told) != 1 else ' has'} an interval, and it takes {FEWEST_ROUNDS}"
        return Extrapolation("cannot be told", NOTHING, NOTHING, f"How many labels {what} takes cannot be told: {have}.")
    labels = np.array([labelled[place] for place in told], np.float64)
    values = np.array([curve[place].value for place in told])
    cases = np.array([curve[place].cases for place in told], np.float64)
    errors = pooled_errors([curve[place] for place in told])
    correlation = common + (1.0 - common) * np.eye(len(told))
    white = np.linalg.inv(np.linalg.cholesky(errors[:, None] * errors * correlation))  # makes errors independent, of variance 1
    now = float(labelled[-1])
    limits, of_limits = _profile_of_limits(labels, values, white)
    best = float(of_limits.min())
    allowed = best + _allowance(best, len(told), float(cases.max()))
    inside = limits[of_limits <= allowed]
    limit = Estimate(float(limits[of_limits.argmin()]), float(inside.min()), float(inside.max()), len(told))
    numbers = np.geomspace(1.0, FURTHEST * now, STEPS)
    of_numbers = _squares_given_labels(numbers, labels, values, white, goal)
    if goal > limit.high:
        sentence = f"{_capital(what)} lies above {limit.high:.3f}, where this curve levels off at most, so that no number of labels can be told."
        return Extrapolation("cannot be told", NOTHING, limit, sentence)
    within = numbers[of_numbers <= allowed]
    if not len(within):  # all that fit lie before the first label or beyond the furthest
        within = numbers[[of_numbers.argmin()]]
    low = max(float(within.min()) - now, 0.0)
    high = np.inf if within.max() == numbers[-1] else max(float(within.max()) - now, 0.0)
    value = np.inf if limit.value <= goal and np.isinf(high) else max(float(numbers[of_numbers.argmin()]) - now, 0.0)
    return _outcome(what, Estimate(value, low, high, len(told)), limit)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _outcome(what: str, more: Estimate, limit: Estimate) -> Extrapolation:
    """Says what an interval comes to."""
    if more.low == 0 and np.isinf(more.high):
        sentence = f"How many labels {what} takes cannot be told: from none to more than there will ever be fits these rounds."
        return Extrapolation("cannot be told", NOTHING, limit, sentence)
    if np.isinf(more.high):
        return Extrapolation(
            "at least", more, limit, f"{_capital(what)} takes at least {more.low:.0f} more labels, if it is reached at all."
        )
    if more.value == 0:
        return Extrapolation("reached", more, limit, f"{_capital(what)} is reached, or takes up to {more.high:.0f} more labels.")
    sentence = f"{_capital(what)} takes about {more.value:.0f} more labels ({more.low:.0f} to {more.high:.0f})."
    return Extrapolation("estimate", more, limit, sentence)


def pooled_errors(curve: Sequence[Estimate]) -> np.ndarray:
    """Standard errors of estimates with intervals of Student's t, `[rounds]`, from one variance of a case for all rounds.

    A single round's spread is known too badly to weigh the rounds by: some would count several times as much as others by chance.
    """
    cases = np.array([max(estimate.cases, 2) for estimate in curve], np.float64)
    half = np.array([(estimate.high - estimate.low) / 2 for estimate in curve])
    of_case = cases * (half / special.stdtrit(cases - 1, 0.975)) ** 2
    return np.sqrt(((cases - 1) * of_case).sum() / (cases - 1).sum() / cases)


def _allowance(best: float, rounds: int, cases: float) -> float:
    """By how much a fit may be worse than the best one: Student's t squared, more if the rounds scatter more than their errors."""
    known = float(special.stdtrit(max(cases - 1, 1), 0.975)) ** 2
    degrees = rounds - 3
    excess = best / degrees
    return known if excess <= 1 else min(known * excess, max(float(special.stdtrit(degrees, 0.975)) ** 2 * excess, known))


def _squares_given_labels(
    numbers: np.ndarray, labels: np.ndarray, values: np.ndarray, white: np.ndarray, goal: float
) -> np.ndarray:
    """Squares of the best law that reaches the goal at each number of labels, `[numbers]`.

    There Dice(n) = goal + b (n*^-c - n^-c), linear in b, which lies between 0 and what makes the limit 1.
    """
    reached = numbers[:, None, None] ** -EXPONENTS[None, :, None]
    rise = (reached - labels ** -EXPONENTS[None, :, None]) @ white.T
    target = white @ (values - goal)
    slope = (rise @ target) / np.maximum((rise**2).sum(-1), 1e-300)
    slope = np.clip(slope, 0.0, (1.0 - goal) / reached[..., 0])
    return ((target - slope[..., None] * rise) ** 2).sum(-1).min(1)


def _profile_of_limits(labels: np.ndarray, values: np.ndarray, white: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits from 0 to 1, and the squares of the best law that levels off at each."""
    limits = np.linspace(0.0, 1.0, 1001)
    fall = labels ** -EXPONENTS[:, None] @ white.T
    short = (limits[:, None] - values) @ white.T
    slope = np.maximum(short @ fall.T / (fall**2).sum(-1), 0.0)
    return limits, ((short[:, None] - slope[..., None] * fall) ** 2).sum(-1).min(1)
