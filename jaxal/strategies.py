"""The strategies: one plain table of how the pieces are put together. `docs/adding-a-strategy.md` says how to add a row."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal import fairness, information, metrics
from jaxal.data.cases import Case
from jaxal.scoring import Collected
from jaxal.selection import Query, top_k
from jaxal.statistics import EvaluationSample, Regions

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class StrategyConfig:
    """Choices inside the strategies.

    Attributes:
      step_rate: rate of the one gradient step behind EIG and its kin: the peak of the training schedule, another number, or
        `normalised` by the features' norm.
      step: `sgd`, or `sign` for the first step of a fresh Adam.
      renormalise: divide AEIG's label weights by their sum; the paper does not.
      gamma: exponent of the group weights.
      weight_source: whose Dice weighs the groups: the labelled cases', as the paper says, or the evaluation cases'.
    """

    step_rate: float | Literal["normalised"] = 3e-3
    step: information.Step = "sgd"
    renormalise: bool = False
    gamma: float = 1.0
    weight_source: Literal["labelled", "evaluation"] = "labelled"


class Needs(NamedTuple):
    """Statistics to collect over each split before scoring."""

    pool: tuple[str, ...] = ()
    labelled: tuple[str, ...] = ()
    evaluation: tuple[str, ...] = ()


class Seen(NamedTuple):
    """A split as a strategy may see it: its cases and their statistics."""

    cases: Sequence[Case]
    statistics: Collected


class Context(NamedTuple):
    """What a strategy knows besides the pool's statistics.

    Attributes:
      key: of the round, for strategies that draw.
      pool: the cases that may be queried, by id.
      value: what the strategy's own `prepare` worked out.
    """

    key: Array
    pool: Sequence[Case]
    value: Any = None


Prepare = Callable[[Context, tuple[Array, Array], Seen, Seen], Any]
Score = Callable[[Collected, Context], np.ndarray]
Select = Callable[[Array, np.ndarray, Collected, Context, int], Query]


class Strategy(NamedTuple):
    """How a query is made, as pure functions.

    Attributes:
      needs: the statistics to collect.
      score: `(statistics, context) -> [pool]`; high always means "label me".
      prepare: `(context, head, labelled, evaluation) -> value`, what it must know besides the pool: group Dice, evaluation
        features. `head` is the last layer's kernel and bias.
      select: `(key, scores, statistics, context, budget) -> Query`.
    """

    needs: Needs
    score: Score
    prepare: Prepare = lambda context, head, labelled, evaluation: None
    select: Select = lambda key, scores, statistics, context, budget: top_k([case.id for case in context.pool], scores, budget)


def run(
    strategy: Strategy,
    context: Context,
    head: tuple[Array, Array],
    pool: Collected,
    labelled: Seen,
    evaluation: Seen,
    budget: int,
) -> Query:
    """Prepares, scores and selects."""
    context = context._replace(value=strategy.prepare(context, head, labelled, evaluation))
    scores = np.asarray(strategy.score(pool, context), np.float64)
    return strategy.select(jax.random.fold_in(context.key, 1), scores, pool, context, budget)


def _random(config: StrategyConfig) -> Strategy:
    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.asarray(jax.random.uniform(context.key, (len(context.pool),)))

    return Strategy(Needs(), score)


def _plain(name: str) -> Callable[[StrategyConfig], Strategy]:
    """The statistic of this name is the score."""
    return lambda config: Strategy(Needs(pool=(name,)), lambda statistics, context: statistics[name])


def _weighted_entropy(config: StrategyConfig) -> Strategy:
    """Masked entropy, weighted by how badly the case's group fares (Danaee et al. 2026, arXiv 2605.01706)."""

    def prepare(context: Context, head, labelled: Seen, evaluation: Seen) -> dict[str, float]:
        source = labelled if config.weight_source == "labelled" else evaluation
        dice = metrics.mean_foreground_dice(source.statistics["overlap"])
        performance = fairness.group_performance(dice, [case.group for case in source.cases])
        groups = sorted({case.group for case in context.pool} | set(performance.by_group))
        return fairness.group_weights(performance.by_group, groups, config.gamma)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.array([context.value[case.group] for case in context.pool]) * statistics["masked_entropy"]

    return Strategy(Needs(("masked_entropy",), **{config.weight_source: ("overlap",)}), score, prepare)


def _information(variant: information.Variant) -> Callable[[StrategyConfig], Strategy]:
    """Expected information gain of a case: the mean over the regions that meet its region of interest."""

    def make(config: StrategyConfig) -> Strategy:
        def score(statistics: Collected, context: Context) -> np.ndarray:
            regions: Regions = statistics["regions"]
            in_use = jax.tree.map(lambda part: part[regions.used], regions.candidates)
            gain = _gain_of_rows(in_use, context.value, variant, config)
            values = np.zeros(regions.used.shape, np.float32)
            values[regions.used] = gain.mass + gain.gain
            return _mean_over_regions(values, regions.used)

        return Strategy(Needs(pool=("regions",), evaluation=("evaluation_sample",)), score, _reference)

    return make


def _mass(config: StrategyConfig) -> Strategy:
    def score(statistics: Collected, context: Context) -> np.ndarray:
        regions: Regions = statistics["regions"]
        frequency = np.asarray(context.value.class_frequency)
        values = np.asarray(information.mass(regions.candidates.probability, frequency))
        return _mean_over_regions(values, regions.used)

    return Strategy(Needs(pool=("regions",), evaluation=("evaluation_sample",)), score, _reference)


def _reference(context: Context, head: tuple[Array, Array], labelled: Seen, evaluation: Seen) -> information.Reference:
    sample: EvaluationSample = evaluation.statistics["evaluation_sample"]
    features = np.moveaxis(sample.features, 0, 1).reshape(sample.features.shape[1], -1)
    counts = sample.class_counts.sum(0).astype(np.float32)
    return information.make_reference(jnp.asarray(features), *head, jnp.asarray(sample.weights.reshape(-1)), jnp.asarray(counts))


def _mean_over_regions(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    return (values * used).sum(-1) / np.maximum(used.sum(-1), 1)


_compiled_gain = jax.jit(information.information_gain, static_argnames=("variant", "rate", "step", "renormalise"))
_ROWS = 1024


def _gain_of_rows(candidates: information.Candidates, reference, variant, config: StrategyConfig) -> information.InformationGain:
    """Runs over all regions of all cases, a fixed number at a time: their number changes every round, the program stays."""
    count = candidates.mean.shape[0]
    filled = jax.tree.map(lambda part: np.pad(part, [(0, -count % _ROWS)] + [(0, 0)] * (part.ndim - 1)), candidates)
    gain = functools.partial(
        _compiled_gain,
        reference=reference,
        variant=variant,
        rate=config.step_rate,
        step=config.step,
        renormalise=config.renormalise,
    )
    blocks = jax.tree.map(lambda part: part.reshape(-1, _ROWS, *part.shape[1:]), filled)
    pieces = [gain(jax.tree.map(lambda part, index=index: part[index], blocks)) for index in range(blocks.mean.shape[0])]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *pieces)


STRATEGIES: Mapping[str, Callable[[StrategyConfig], Strategy]] = {
    "random": _random,
    "least_confidence": _plain("least_confidence"),
    "margin": _plain("margin"),
    "entropy": _plain("entropy"),
    "masked_entropy": _plain("masked_entropy"),
    "weighted_entropy": _weighted_entropy,
    "mc_entropy": _plain("mc_entropy"),
    "variation_ratio": _plain("variation_ratio"),
    "bald": _plain("bald"),
    "eig": _information("eig"),
    "aeig": _information("aeig"),
    "uig": _information("uig"),
    "cfig": _information("cfig"),
    "mass": _mass,
}
