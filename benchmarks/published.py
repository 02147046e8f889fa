"""Numbers that others published, measured again with this library's rules: breast cancer by a support vector machine.

    python -m benchmarks.published --splits 100 --out benchmarks/results/published-cpu.json
    python -m benchmarks.published --quick

Lu et al. 2023 (arXiv 2306.08954) re-benchmark pool-based active learning: of 569 biopsies with 30 measures each, two fifths are for the test, 20 of the rest are labelled at random, and
one after the other is asked for until all are. A support vector machine with a Gaussian kernel (gamma one over the number of measures, C = 1) learns from the labelled ones each
time, and the area is the mean of the test's accuracy over the queries by the trapezoid rule. Measures are standardised here by the means and deviations of all 569.
"""

import argparse
import itertools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import expit
from sklearn.svm import SVC

from benchmarks.measure import write
from jaxal.acquisition import uncertainty
from jaxal.acquisition.selection import k_center
from jaxal.assessment.intervals import student_mean
from jaxal.leaderboard.points import breast_cancer
from jaxal.strategies.rows import filled, repeated

LABELLED, TEST = 20, 0.4
PUBLISHED = {"random": 0.9539, "margin": 0.9652, "coreset": 0.9586}  # 150 runs each, in the authors' repository
Choose = Callable[[SVC, np.ndarray, np.ndarray, np.random.Generator], int]  # (machine, pool, labelled, draws) -> place


def at_random(machine: SVC, pool: np.ndarray, labelled: np.ndarray, rng: np.random.Generator) -> int:
    return int(rng.integers(len(pool)))


def margin(machine: SVC, pool: np.ndarray, labelled: np.ndarray, rng: np.random.Generator) -> int:
    """The least lead of a class; with two classes every measure of this machine's uncertainty ranks alike."""
    points, available = filled(pool)
    distance = machine.decision_function(np.asarray(points))
    probability = jnp.asarray(expit(np.stack([-distance, distance]))[None], jnp.float32)
    return int(np.where(available, np.asarray(_margin(probability)), -1.0).argmax())


def farthest(machine: SVC, pool: np.ndarray, labelled: np.ndarray, rng: np.random.Generator) -> int:
    """The point farthest from all that is labelled."""
    points, available = filled(pool)
    return int(k_center(points, repeated(labelled), available, 1)[0][0])


_margin = jax.jit(lambda probability: uncertainty.margin(uncertainty.moments_of_probabilities(probability)))
STRATEGIES: dict[str, Choose] = {"random": at_random, "margin": margin, "coreset": farthest}


def area(strategy: str, split: int) -> float:
    """Mean accuracy over the queries of one strategy on one split."""
    rng = np.random.default_rng(split)
    points, classes = breast_cancer(rng)
    order = rng.permutation(len(points))
    train = int(len(points) * (1 - TEST))
    test = order[train:]
    for start in itertools.count():  # both classes must be among the first
        labelled = list(np.random.default_rng([split, start]).permutation(order[:train])[:LABELLED])
        if len(set(classes[labelled])) == 2:
            break
    left, draws, accuracy = (
        [place for place in order[:train] if place not in set(labelled)],
        np.random.default_rng([split, 1, 1]),
        [],
    )
    while True:
        machine = SVC(gamma="auto").fit(points[labelled], classes[labelled])
        accuracy.append(machine.score(points[test], classes[test]))
        if not left:
            return float(np.mean([np.mean(pair) for pair in itertools.pairwise(accuracy)]))
        place = STRATEGIES[strategy](machine, points[left], points[labelled], draws)
        labelled.append(left.pop(place))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two splits; no figures to quote")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    splits = 2 if options.quick else options.splits
    # Each process starts anew: JAX has threads, which do not survive a fork.
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("spawn")) as pool:
        areas = {name: np.array(list(pool.map(area, [name] * splits, range(splits)))) for name in STRATEGIES}
    table = Table("strategy", "mean area", "95 %", "published", "difference from random", "95 %")
    rows = []
    for name, values in areas.items():
        mean, over = student_mean(values), student_mean(values - areas["random"])
        rows.append(
            {
                "strategy": name,
                "mean": mean._asdict(),
                "published": PUBLISHED[name],
                "over_random": over._asdict(),
                "areas": values.tolist(),
            }
        )
        table.add_row(
            name, f"{mean.value:.4f}", f"{mean.low:.4f} to {mean.high:.4f}", f"{PUBLISHED[name]:.4f}",
            f"{over.value:+.4f}", f"{over.low:+.4f} to {over.high:+.4f}",
        )  # fmt: skip
    Console(width=110).print(table)
    if options.out:
        write(options.out, rows, {"splits": splits})


if __name__ == "__main__":
    main()
