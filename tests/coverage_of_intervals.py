"""Simulates studies whose truth is known and counts how often the comparison's 95 % intervals hold it.

    python tests/coverage_of_intervals.py --repetitions 4000

Each repetition is a study of two strategies over 3, 5 or 10 seeds, each with test cases of its own, compared by `report/comparison.py`
itself. What a seed adds to all its cases alike and what the cases add to its mean have standard deviations in a given ratio, in the level
that strategies share and in the difference between them. Ends with 1 if a mean or a paired difference over 5 or 10 seeds is covered by
fewer than 92 or more than 98 %, where no seeds are far out.
"""

import argparse
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import special

from jaxal.assessment.learning_curves import GOAL, labels_needed
from jaxal.report import comparison
from jaxal.tasks.overlap import DiceCurve, measures

LABELLED = np.array([8, 12, 16, 20])
CURVES = {"entropy": np.array([0.62, 0.72, 0.78, 0.82]), "other": np.array([0.62, 0.74, 0.80, 0.83])}
FULL = 0.80  # of which 95 % are between the second and the third round
GROUP_GAP = {"entropy": 0.03, "other": 0.02}  # of the groups' truths
SPREAD, NOISE = 0.02, 0.004  # standard deviation of a seed's mean, in all; and of a round's own
MEANS = ("dice", "area", "difference of dice", "difference of area")
DERIVED = ("disparity", "essp", "worst_group", "difference of disparity", "difference of essp", "labels")
SEEDS_FOR_THE_TRUTH = 20_000


class Scenario(NamedTuple):
    """What varies.

    Attributes:
      name: for the table.
      seeds: share of the variance of a seed's mean that is of the seed; the rest is of its cases.
      seed_noise, case_noise: `(rng, shape) -> values` of mean 0 and standard deviation 1.
      groups: sizes of the two groups of test cases.
      far_out: whether single seeds lie far from the others, so that no method over five is right.
    """

    name: str
    seeds: float
    seed_noise: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    case_noise: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    groups: tuple[int, int] = (10, 10)
    far_out: bool = False


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape)


def skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Skewness -1: some are worse than most."""
    return (4 - rng.gamma(4, size=shape)) / 2


def very_skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Skewness -2, an exponential's: a few are far worse than most."""
    return 1 - rng.exponential(size=shape)


CASES_VARY = Scenario("cases vary", 1 / 11, normal, normal)
SEEDS_VARY = Scenario("seeds vary", 10 / 11, normal, normal)
SCENARIOS = (
    CASES_VARY,
    Scenario("both vary", 1 / 2, normal, normal),
    SEEDS_VARY,
    Scenario("cases vary, skewed", 1 / 11, skewed, very_skewed),
    Scenario("both vary, skewed", 1 / 2, skewed, very_skewed),
    Scenario("seeds vary, skewed", 10 / 11, skewed, very_skewed),
    Scenario("both vary, 16 and 4 cases a group", 1 / 2, normal, normal, (16, 4)),
    Scenario("seeds vary, very skewed", 10 / 11, very_skewed, very_skewed, far_out=True),
)


def draw(scenario: Scenario, seeds: int, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Dice of the test cases of independent seeds: by strategy `[seeds, rounds, cases]`, and of training on everything `[seeds, cases]`."""
    cases = sum(scenario.groups)

    def both() -> np.ndarray:
        """What a seed adds and what its cases add, `[seeds, 1, cases]`; the mean over cases has the standard deviation `SPREAD`."""
        of_seed = np.sqrt(scenario.seeds) * scenario.seed_noise(rng, (seeds, 1, 1))
        return SPREAD * (of_seed + np.sqrt((1 - scenario.seeds) * cases) * scenario.case_noise(rng, (seeds, 1, cases)))

    shared, dice = both(), {}
    for name, curve in CURVES.items():
        gap = GROUP_GAP[name] * np.repeat([0.5, -0.5], scenario.groups)
        of_round = NOISE * rng.standard_normal((seeds, len(curve), 1))
        dice[name] = curve[:, None] + gap + shared + both() / 2 + of_round
    return dice, FULL + shared[:, 0] + NOISE * rng.standard_normal((seeds, 1))


def truth(scenario: Scenario, seeds: int, rng: np.random.Generator) -> dict[str, float]:
    """What the estimates are of: where it is not known exactly, as of means and labels needed, the mean over so many seeds."""
    dice, _ = draw(scenario, seeds, rng)
    groups = np.repeat(["A", "B"], scenario.groups)
    expected: dict[str, dict[str, float]] = {}
    for name, values in dice.items():
        by_seed = [measures(last, groups) for last in values[:, -1]]
        expected[name] = {measure: float(np.mean([of_seed[measure] for of_seed in by_seed])) for measure in by_seed[0]}
        gap = GROUP_GAP[name] * (scenario.groups[0] - scenario.groups[1]) / sum(scenario.groups) / 2
        curve = CURVES[name] + gap
        area = float(np.trapezoid(curve, LABELLED) / (LABELLED[-1] - LABELLED[0]))
        expected[name] |= {"dice": float(curve[-1]), "area": area, "labels": float(labels_needed(LABELLED, curve, GOAL * FULL))}
    differences = {
        f"difference of {measure}": value - expected["entropy"][measure] for measure, value in expected["other"].items()
    }
    return {**expected["entropy"], **differences}


def coverage(
    scenario: Scenario, expected: dict[str, float], seeds: int, repetitions: int, rng: np.random.Generator
) -> dict[str, float]:
    """The share of simulated studies whose interval holds the truth that is expected, by measure."""
    groups, held = np.repeat(["A", "B"], scenario.groups), dict.fromkeys((*MEANS, *DERIVED), 0)
    for _ in range(repetitions):
        dice, full = draw(scenario, seeds, rng)
        runs = {
            name: {seed: DiceCurve(LABELLED, 60, values[seed], groups, {"nll": 0.2, "ece": 0.03}) for seed in range(seeds)}
            for name, values in dice.items()
        }
        everything = {
            seed: DiceCurve(LABELLED[-1:], 60, full[seed][None], groups, {"nll": 0.2, "ece": 0.03}) for seed in range(seeds)
        }
        table, differences = comparison.compare(runs, everything, ("entropy",))
        paired = {f"difference of {measure}": estimate for measure, estimate in differences["entropy"]["other"].items()}
        for measure, estimate in ((measure, {**table["entropy"], **paired}[measure]) for measure in held):
            held[measure] += estimate.low <= expected[measure] <= estimate.high
    return {measure: count / repetitions for measure, count in held.items()}


def coverage_of_splits(seeds: int, repetitions: int, rng: np.random.Generator) -> tuple[float, float]:
    """The same where each seed's 42 test cases are drawn from one data set of 120, and only cases vary.

    Returns:
      How often intervals hold the mean over all splits of the data set, and how often that of the population the data set is from.
    """
    held = np.zeros(2)
    for _ in range(repetitions):
        dataset = rng.standard_normal(120)
        means = np.array([rng.choice(dataset, 42, replace=False).mean() for _ in range(seeds)])
        _, low, high = comparison.mean_over_seeds(means)
        held += [low <= expected <= high for expected in (dataset.mean(), 0.0)]
    return held[0] / repetitions, held[1] / repetitions


def coverage_of_bootstraps(seeds: int, repetitions: int, rng: np.random.Generator) -> dict[str, float]:
    """Why Student's t: how often bootstraps of normal seeds' values hold their mean, zero."""
    values = rng.standard_normal((repetitions, seeds))
    chosen = values[:, rng.integers(seeds, size=(1000, seeds))]
    means, mean = chosen.mean(-1), values.mean(1, keepdims=True)
    tail = special.ndtr(-np.sqrt(seeds / (seeds - 1)) * special.stdtrit(seeds - 1, 0.975))
    errors, error = chosen.std(-1, ddof=1), values.std(1, ddof=1)
    ratios = np.divide(means - mean, errors, out=np.full_like(means, np.nan), where=errors > 1e-12)
    lowest, highest = np.nanquantile(ratios, (0.025, 0.975), axis=1)
    ends = {
        "percentiles": np.quantile(means, (0.025, 0.975), axis=1),
        "expanded percentiles (Hesterberg 2015)": np.quantile(means, (tail, 1 - tail), axis=1),
        "studentized": (mean[:, 0] - highest * error, mean[:, 0] - lowest * error),
    }
    return {name: float(((low <= 0) & (high >= 0)).mean()) for name, (low, high) in ends.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = 0
    print(" | ".join(("scenario", "seeds", *MEANS, *DERIVED)), flush=True)
    for place, scenario in enumerate(SCENARIOS):
        expected = truth(scenario, SEEDS_FOR_THE_TRUTH, np.random.default_rng([options.seed, place]))
        for seeds in (3, 5, 10):
            rng = np.random.default_rng([options.seed, place, seeds])
            held = coverage(scenario, expected, seeds, options.repetitions, rng)
            print(" | ".join((scenario.name, str(seeds), *(f"{100 * share:.1f}" for share in held.values()))), flush=True)
            wrong += seeds > 3 and not scenario.far_out and not all(0.92 <= held[measure] <= 0.98 for measure in MEANS)
    for seeds in (3, 5, 10):
        same, other = coverage_of_splits(seeds, options.repetitions, np.random.default_rng([options.seed, seeds]))
        print(
            f"splits of one data set, {seeds} seeds: mean of all its splits {100 * same:.1f}, of other patients {100 * other:.1f}"
        )
        for name, share in coverage_of_bootstraps(
            seeds, options.repetitions, np.random.default_rng([options.seed, seeds])
        ).items():
            print(f"bootstrap of the values of {seeds} seeds, {name}: {100 * share:.1f}")
    print(f"{wrong} scenarios over 5 or 10 seeds beyond 92 to 98 % in a mean or a paired difference")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
