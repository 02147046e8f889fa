"""Simulates honest curves whose law is known and counts how often the labels that a goal takes lie in the interval.

    python tests/coverage_of_extrapolation.py --repetitions 1000

Rounds add ten labels each. Their errors are independent, as of random shares, or half of their variance is common to all rounds, as of a
growing test set; the fit takes it to be so always, and once the share that it is. Ends with 1 if more than 8 % of the curves are told
something wrong.
"""

import argparse
import sys
from typing import NamedTuple

import numpy as np
from scipy import special

from jaxal.assessment.extrapolation import Extrapolation, extrapolate
from jaxal.assessment.intervals import Estimate

CASES = 15  # that each round's estimate rests on
OUTCOMES = ("reached", "estimate", "at least", "cannot be told")


class Law(NamedTuple):
    limit: float
    fall: float
    exponent: float

    def at(self, labels: np.ndarray) -> np.ndarray:
        return self.limit - self.fall * labels**-self.exponent

    def needed(self, goal: float) -> float:
        return ((self.limit - goal) / self.fall) ** (-1 / self.exponent) if goal < self.limit else np.inf


STEEP, SLOW = Law(0.90, 2.0, 0.9), Law(0.95, 0.9, 0.4)


def simulate(
    law: Law, goal: float, rounds: int, error: float, common: float, rng: np.random.Generator, taken: float = 0.5
) -> Extrapolation:
    """One project's extrapolation, with errors of the given standard deviation, a share of whose variance is common to all rounds."""
    labelled = 10 * np.arange(1, rounds + 1)
    noise = np.sqrt(common) * rng.standard_normal() + np.sqrt(1 - common) * rng.standard_normal(rounds)
    values = law.at(labelled.astype(float)) + error * noise
    half = error * float(special.stdtrit(CASES - 1, 0.975)) * np.sqrt(rng.chisquare(CASES - 1, rounds) / (CASES - 1))
    curve = [Estimate(value, value - reach, value + reach, CASES) for value, reach in zip(values, half, strict=True)]
    return extrapolate(labelled.tolist(), curve, goal, taken)


def coverage(
    law: Law, goal: float, rounds: int, error: float, common: float, repetitions: int, rng: np.random.Generator
) -> tuple[float, dict[str, float]]:
    """How often something wrong is told, of all curves, and how often each outcome comes."""
    truth = max(law.needed(goal) - 10 * rounds, 0.0)
    outcomes, wrong = dict.fromkeys(OUTCOMES, 0), 0
    for _ in range(repetitions):
        result = simulate(law, goal, rounds, error, common, rng)
        outcomes[result.outcome] += 1
        outside = not result.more.low - 0.5 <= truth <= result.more.high + 0.5
        wrong += outside and result.outcome != "cannot be told"
    return wrong / repetitions, {name: count / repetitions for name, count in outcomes.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = 0
    print("law | goal | rounds | error | common | told wrong |", " | ".join(OUTCOMES), flush=True)
    for law, goals in ((STEEP, (0.85, 0.88, 0.93)), (SLOW, (0.80, 0.85))):
        for goal in goals:
            for rounds in (5, 8, 12):
                for error in (0.005, 0.02):
                    for common in (0.0, 0.5):
                        rng = np.random.default_rng([options.seed, rounds, int(1e4 * error)])
                        told_wrong, outcomes = coverage(law, goal, rounds, error, common, options.repetitions, rng)
                        shares = " | ".join(f"{100 * share:.0f}" for share in outcomes.values())
                        print(
                            f"{tuple(law)} | {goal} | {rounds} | {error} | {common} | {100 * told_wrong:.1f} | {shares}",
                            flush=True,
                        )
                        wrong += told_wrong > 0.08
    print(f"{wrong} settings in which more than 8 % are told something wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
