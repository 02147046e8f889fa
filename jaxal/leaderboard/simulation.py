"""Rounds of active learning over points, in memory: what a strategy asks for is labelled, and a learner learns."""

import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.api.pool import ScoreOptions, score
from jaxal.arrays import logits_of_images
from jaxal.leaderboard.learners import Learned, Learner
from jaxal.leaderboard.points import Parts


class Rounds(NamedTuple):
    """How long points are asked for.

    Attributes:
      query: points at once.
      queries: how often.
    """

    query: int
    queries: int


class Curve(NamedTuple):
    """What came out, before the first query and after each.

    Attributes:
      labelled: points.
      accuracy: share of the test that is right.
      seconds: to score and select, of each query.
    """

    labelled: list[int]
    accuracy: list[float]
    seconds: list[float]


def simulate(parts: Parts, learner: Learner, strategy: str, rounds: Rounds, seed: int, told: Callable[[int, int], None]) -> Curve:
    """Goes through all queries.

    Args:
      parts: of the task.
      learner: of the classes.
      strategy: perhaps with options.
      rounds: how many queries of how many points.
      seed: of the strategy and of the learner.
      told: called with the number of queries done, and of all.

    Raises:
      UserError: the strategy does not fit, or its network's output is not finite.
    """
    pool, test = learner.inputs(parts.pool.inputs), learner.inputs(parts.test.inputs)
    evaluation = learner.inputs(parts.evaluation.inputs), parts.evaluation.classes
    kept, curve = list(parts.start), Curve([], [], [])
    learned: Learned | None = None
    for number in range(rounds.queries + 1):
        learned = learner.learn(parts.pool.of(np.array(kept)), learned, jax.random.fold_in(jax.random.key(seed), number))
        curve.labelled.append(len(kept))
        curve.accuracy.append(_accuracy(learner, learned, test, parts.test.classes))
        if number == rounds.queries:
            break
        left = np.setdiff1d(np.arange(len(pool)), kept)
        begin = time.perf_counter()
        scores = score(
            learner.model,
            learned.params,
            pool[left],
            [strategy],
            labelled=(pool[kept], parts.pool.classes[kept]),
            evaluation=evaluation,
            options=ScoreOptions(batch_size=128, seed=seed * 10_000 + number, dropout_samples=10),
        )
        kept += left[scores.select(strategy, rounds.query)].tolist()
        curve.seconds.append(time.perf_counter() - begin)
        told(number + 1, rounds.queries)
    return curve


def _accuracy(learner: Learner, learned: Learned, inputs: np.ndarray, classes: np.ndarray) -> float:
    logits = logits_of_images(learner.model, learned.params, jnp.asarray(inputs), None)
    return float((np.asarray(logits)[..., 0].argmax(1) == classes).mean())
