"""Whether labelling could stop: rules as verdicts. They are shown; the user decides, and nothing acts upon them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from jaxal.assessment.intervals import FEWEST, UNKNOWN, Estimate, bounded_mean

REACHED, NOT_REACHED, NOT_KNOWN = "reached", "not reached", "not yet known"


class Verdict(NamedTuple):
    """What a rule says.

    Attributes:
      name: of the rule.
      value: the latest number with its 95 % interval.
      threshold: NaN as long as nobody has set one.
      state: "reached", "not reached" or "not yet known".
      sentence: for the page.
    """

    name: str
    value: Estimate
    threshold: float
    state: str
    sentence: str


def predictions_stabilise(
    agreements: Sequence[np.ndarray], threshold: float = 0.98, rounds: int = 3, score: str = "Dice"
) -> Verdict:
    """Whether successive networks predict the same (Bloodgood & Vijay-Shanker 2009, with Dice for their kappa).

    Args:
      agreements: for each round but the first, mean Dice between its predictions and those of the round before on a fixed set of
        unlabelled cases, `[cases]`; NaN where both predict nothing.
      threshold: that the mean has to reach.
      rounds: in how many successive rounds.
      score: what agreement is measured by, for sentences.
    """
    name, means = "predictions stabilise", [bounded_mean(of_round) for of_round in agreements]
    value = means[-1] if means else UNKNOWN
    state = _in_succession([mean.value >= threshold for mean in means if not np.isnan(mean.value)], rounds)
    if np.isnan(value.value):
        sentence = "Two rounds have to predict the same cases before their predictions can be compared."
    else:
        passed = _run([mean.value >= threshold for mean in means])
        sentence = (
            f"The last two networks agree with each other, {score} {_told(value)}, on cases that neither was trained on; "
            f"{passed} of {rounds} successive rounds reached {threshold:g}."
        )
    return Verdict(name, value, threshold, state if not np.isnan(value.value) else NOT_KNOWN, sentence)


def score_changes(
    agreements: Sequence[np.ndarray], classes: Sequence[str], threshold: float = 0.05, rounds: int = 3, score: str = "Dice"
) -> list[Verdict]:
    """By how much the Dice of each class may change from round to round (Altschuler & Bloodgood 2019).

    One minus the Dice between successive predictions, which takes the earlier network's prediction for the truth.

    Args:
      agreements: as of `predictions_stabilise`, by class, `[cases, classes]`.
      classes: names.
      threshold: that the change has to stay below.
      rounds: in how many successive rounds.
      score: what agreement is measured by, for sentences.
    """
    verdicts = []
    for place, class_ in enumerate(classes):
        means = [bounded_mean(of_round[:, place]) for of_round in agreements]
        changes = [Estimate(1 - mean.value, 1 - mean.high, 1 - mean.low, mean.cases) for mean in means]
        value = changes[-1] if changes else UNKNOWN
        below = [change.value < threshold for change in changes]
        known = not np.isnan(value.value)
        sentence = (
            f"The {score} of {class_} is expected to change by {_told(value)}; {_run(below)} of {rounds} successive rounds stayed below {threshold:g}."
            if known
            else f"Nothing is known of how the {score} of {class_} changes, because no two rounds predicted it for the same cases."
        )
        told = [passed for passed, change in zip(below, changes, strict=True) if not np.isnan(change.value)]
        state = _in_succession(told, rounds) if known else NOT_KNOWN
        verdicts.append(Verdict(f"expected change of {class_}", value, threshold, state, sentence))
    return verdicts


def reader_gain(network: np.ndarray, readers: np.ndarray) -> Verdict:
    """Whether the network is as close to a reader as readers are to each other.

    Readers who correct a proposal stay close to it, so labels of cases whose proposal was hidden are the fair ones.

    Args:
      network: Dice of proposal and delivered label of random cases, `[cases]`.
      readers: Dice between two readers of doubly read cases, `[pairs]`.
    """
    difference = welch(network, readers)
    name = "reader gain"
    if np.isnan(difference.low):
        sentence = f"It takes {FEWEST} random cases and {FEWEST} cases read twice to compare the network with the readers."
        return Verdict(name, difference, 0.0, NOT_KNOWN, sentence)
    mean = f"{np.nanmean(network):.3f} against {np.nanmean(readers):.3f}"
    if difference.low > 0 or difference.high < 0:
        told = "closer" if difference.low > 0 else "less close"
        sentence = f"The network is {told} to a reader than readers are to each other ({mean}, difference {_told(difference)})."
    else:
        sentence = f"The network and a second reader cannot be told apart ({mean}, difference {_told(difference)})."
    return Verdict(name, difference, 0.0, REACHED if difference.value >= 0 else NOT_REACHED, sentence)


def money(
    curve: Sequence[Estimate],
    minutes: Sequence[float],
    bound: float | None,
    common: float = 0.5,
    rounds: int = 2,
    score: str = "Dice",
) -> Verdict:
    """Whether the curve still rises enough for the minutes spent on it.

    Args:
      curve: honest estimate of each round.
      minutes: spent on the labels that each round has and the round before did not; of the first it is not used.
      bound: least gain for 100 minutes; None as long as the user has not set one.
      common: share of the variance of two rounds' errors that they have in common.
      rounds: in how many successive rounds it has to stay below.
      score: what the curve is of, for sentences.
    """
    name, gains = "money", []
    for before, after, spent in zip(curve, curve[1:], minutes[1:], strict=False):
        if spent > 0 and not np.isnan(after.value - before.value):
            gain = after.value - before.value
            half = np.hypot((after.high - after.low) / 2, (before.high - before.low) / 2) * np.sqrt(1 - common)
            scaled, reach = float(100 * gain / spent), float(100 * half / spent)
            gains.append(Estimate(scaled, scaled - reach, scaled + reach, after.cases))
    threshold = np.nan if bound is None else bound
    if not gains:
        return Verdict(name, UNKNOWN, threshold, NOT_KNOWN, "What 100 minutes gain is known after the second round.")
    told = f"The last round gained {_told(gains[-1])} of {score} for 100 minutes"
    if bound is None:
        return Verdict(name, gains[-1], threshold, NOT_KNOWN, f"{told}; no bound is set.")
    below = [gain.value < bound for gain in gains]
    sentence = f"{told}; {_run(below)} of {rounds} successive rounds stayed below {bound:g}."
    return Verdict(name, gains[-1], threshold, _in_succession(below, rounds), sentence)


def welch(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Difference of two means, first minus second, with the 95 % interval of Welch (1947); NaN are left out."""
    parts = [np.asarray(values, np.float64)[~np.isnan(values)] for values in (first, second)]
    if not all(map(len, parts)):
        return UNKNOWN
    difference, cases = float(parts[0].mean() - parts[1].mean()), min(map(len, parts))
    if cases < FEWEST:
        return Estimate(difference, cases=cases)
    errors = np.array([part.var(ddof=1) / len(part) for part in parts])
    if not errors.sum():
        return Estimate(difference, cases=cases)
    degrees = errors.sum() ** 2 / sum(error**2 / (len(part) - 1) for error, part in zip(errors, parts, strict=True))
    half = float(special.stdtrit(degrees, 0.975) * np.sqrt(errors.sum()))
    return Estimate(difference, difference - half, difference + half, cases)


def _run(passed: Sequence[bool]) -> int:
    """How many at the end passed in succession."""
    return next((place for place, good in enumerate(reversed(passed)) if not good), len(passed))


def _in_succession(passed: Sequence[bool], rounds: int) -> str:
    """A verdict that needs several rounds is not known before there are as many, unless the last one failed."""
    if _run(passed) >= rounds:
        return REACHED
    return NOT_KNOWN if len(passed) < rounds and (not passed or passed[-1]) else NOT_REACHED


def _told(estimate: Estimate) -> str:
    interval = "" if np.isnan(estimate.low) else f" ({estimate.low:.3f} to {estimate.high:.3f})"
    return f"{estimate.value:.3f}{interval}"
