"""Does a knapsack of minutes learn more in the same time than the highest scores one after the other?

    python -m benchmarks.minutes --out benchmarks/results/minutes-cpu.json
    python -m benchmarks.minutes --quick

Two tasks of the leaderboard, whose cases take a reader 15 minutes on average and vary by a factor of about 1.8: independently of what they are, or the longer the larger their first measure is. There
are half as many queries as on the leaderboard, and each has as many minutes as its cases there times 15. Compared are cases at random, those of largest entropy of which what does not fit is passed over, and the set of largest entropy in all
(`+within_cost`, Kuo et al. 2018), by the area under the accuracy over the minutes that were spent.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import write
from jaxal.acquisition.budget import knapsack
from jaxal.acquisition.selection import top_k
from jaxal.api.pool import ScoreOptions, score
from jaxal.arrays import logits_of_images
from jaxal.assessment.intervals import Estimate, student_mean
from jaxal.assessment.learning_curves import area_under
from jaxal.leaderboard.points import divided
from jaxal.leaderboard.simulation import Rounds
from jaxal.leaderboard.tasks import TASKS, OfPoints

EACH, SPREAD = 15.0, 0.6  # minutes on average, and the deviation of their logarithm
WAYS = ("random", "entropy", "entropy+within_cost")
WORLDS = ("independent", "by the first measure")
NAMES = ("breast_cancer", "diverging_sines")


def minutes_of(inputs: np.ndarray, world: str, rng: np.random.Generator) -> np.ndarray:
    """What each case takes to read, `[cases]`."""
    first = inputs[:, 0]
    varies = rng.normal(size=len(inputs)) if world == "independent" else (first - first.mean()) / first.std()
    return EACH * np.exp(SPREAD * varies - SPREAD**2 / 2)


def chosen(way: str, scores: np.ndarray, minutes: np.ndarray, at_most: float) -> np.ndarray:
    """Places of a query."""
    if way == "entropy+within_cost":
        return knapsack(scores, minutes, at_most)
    names = [f"{place:05d}" for place in range(len(scores))]
    return np.array([int(unit) for unit in top_k(names, scores, len(scores), minutes, at_most).units])


def area(name: str, world: str, way: str, seed: int) -> tuple[float, int]:
    """Mean accuracy over the minutes, and how many cases were read."""
    task = TASKS[name]
    assert isinstance(task, OfPoints)
    parts, rng = divided(task.draw, task.division, seed), np.random.default_rng([seed, 1])
    learner, minutes = task.learner(parts, Rounds(len(parts.pool.classes), 1), False), minutes_of(parts.pool.inputs, world, rng)
    pool, test = learner.inputs(parts.pool.inputs), learner.inputs(parts.test.inputs)
    kept, learned, spent, accuracy = list(parts.start), None, [0.0], []
    queries = task.rounds.queries // 2  # else the pool is empty before the minutes are
    for number in range(queries + 1):
        learned = learner.learn(parts.pool.of(np.array(kept)), learned, jax.random.fold_in(jax.random.key(seed), number))
        logits = np.asarray(logits_of_images(learner.model, learned.params, jnp.asarray(test), None))
        accuracy.append(float((logits[..., 0].argmax(1) == parts.test.classes).mean()))
        if number == queries:
            break
        left = np.setdiff1d(np.arange(len(pool)), kept)
        scores = rng.random(len(left))
        if way != "random":
            options = ScoreOptions(batch_size=128, seed=number)
            scores = score(learner.model, learned.params, pool[left], ["entropy"], options=options)["entropy"]
        query = left[chosen(way, np.asarray(scores), minutes[left], EACH * task.rounds.query)]
        spent.append(spent[-1] + float(minutes[query].sum()))
        kept += query.tolist()
    return float(area_under(np.array(spent), np.array(accuracy))), len(kept)


def rows(seeds: range) -> list[dict]:
    """Each way's area in each world, and its difference from entropy's, over the seeds."""
    found = []
    for name in NAMES:
        for world in WORLDS:
            values = {way: [area(name, world, way, seed) for seed in seeds] for way in WAYS}
            areas = {way: np.array([value for value, _ in row]) for way, row in values.items()}
            found += [
                {
                    "task": name,
                    "minutes": world,
                    "way": way,
                    "area": student_mean(areas[way])._asdict(),
                    "over_entropy": None if way == "entropy" else student_mean(areas[way] - areas["entropy"])._asdict(),
                    "cases": float(np.mean([count for _, count in values[way]])),
                }
                for way in WAYS
            ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two seeds; no figures to quote")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + (2 if options.quick else options.seeds))
    table, found = Table("task", "minutes", "way", "cases", "area", "over entropy", "95 %"), rows(seeds)
    for row in found:
        over = Estimate(**row["over_entropy"]) if row["over_entropy"] else None
        told = ("–", "–") if over is None else (f"{over.value:+.4f}", f"{over.low:+.4f} to {over.high:+.4f}")
        table.add_row(row["task"], row["minutes"], row["way"], f"{row['cases']:.0f}", f"{row['area']['value']:.4f}", *told)
    Console(width=120).print(table)
    if options.out:
        write(options.out, found, {"seeds": len(seeds), "seed": options.seed})


if __name__ == "__main__":
    main()
