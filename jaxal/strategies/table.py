"""The strategies: one plain table of how the pieces are put together. `docs/adding-a-strategy.md` says how to add a row."""

import collections
import contextlib
import dataclasses
import difflib
import functools
import math
import operator
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import gradients, information
from jaxal.acquisition.selection import (
    Query,
    batch_bald,
    k_center,
    k_means_plus_plus,
    k_means_plus_plus_of_gradients,
    power_scores,
    squared_distance_to_nearest,
    top_k,
)
from jaxal.assessment import fairness, metrics
from jaxal.data.cases import Case
from jaxal.errors import UserError
from jaxal.scoring.pool_pass import Collected
from jaxal.scoring.statistics import EvaluationSample, Regions

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class StrategyConfig:
    """Choices inside the strategies.

    Attributes:
      step_rate: rate of the one gradient step behind EIG and its kin: the peak of the training schedule, another number, or
        `normalised` by the features' norm.
      step: `sgd`, or `sign` for the first step of a fresh Adam.
      method: `exact`, or `linear`, the first order in the rate (for single elements EIG's is zero).
      renormalise: divide AEIG's label weights by their sum; the paper does not.
      gamma: exponent of the group weights.
      power_beta: exponent of the scores in power sampling.
      joint_samples: label combinations that BatchBALD's joint entropies are taken over once all of them are more.
      weight_source: whose Dice weighs the groups: the labelled cases', as the paper says, or the evaluation cases'.
    """

    step_rate: float | Literal["normalised"] = 3e-3
    step: information.Step = "sgd"
    method: Literal["exact", "linear"] = "exact"
    renormalise: bool = False
    gamma: float = 1.0
    power_beta: float = 1.0
    joint_samples: int = 2000
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
      explain: `(statistics, context) -> entries for the ledger` that say why cases were chosen, besides their scores; the statistics
        are those of the chosen cases, in the query's order.
    """

    needs: Needs
    score: Score
    prepare: Prepare = lambda context, head, labelled, evaluation: None
    select: Select = lambda key, scores, statistics, context, budget: top_k([case.id for case in context.pool], scores, budget)
    explain: Callable[[Collected, Context], dict[str, Any]] = lambda statistics, context: {}


class Decision(NamedTuple):
    """What a strategy decided: the pool's scores, the query, and entries for the ledger that say why."""

    scores: np.ndarray
    query: Query
    explanation: dict[str, Any]


def score_and_select(
    strategy: Strategy,
    context: Context,
    head: tuple[Array, Array],
    pool: Collected,
    labelled: Seen,
    evaluation: Seen,
    budget: int,
) -> Decision:
    """Prepares, scores and selects."""
    if not context.pool:
        return Decision(np.zeros(0), Query((), (), None), {})
    context = context._replace(pool=[case._replace(category="") for case in context.pool])  # what it is, nobody knows yet
    context = context._replace(value=strategy.prepare(context, head, labelled, evaluation))
    scores = np.asarray(strategy.score(pool, context), np.float64)
    query = strategy.select(jax.random.fold_in(context.key, 1), scores, pool, context, budget)
    place = {case.id: number for number, case in enumerate(context.pool)}
    chosen = np.array([place[unit] for unit in query.units], np.int64)
    return Decision(scores, query, strategy.explain(jax.tree.map(lambda part: part[chosen], pool), context))


def _random(config: StrategyConfig) -> Strategy:
    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.asarray(jax.random.uniform(context.key, (len(context.pool),)))

    return Strategy(Needs(), score)


def _plain(name: str) -> Callable[[StrategyConfig], Strategy]:
    """The statistic of this name is the score."""
    return lambda config: Strategy(Needs(pool=(name,)), lambda statistics, context: statistics[name])


def _weighted(name: str) -> Callable[[StrategyConfig], Strategy]:
    """The statistic of this name, weighted by how badly the case's group fares (Danaee et al. 2026, arXiv 2605.01706)."""

    def make(config: StrategyConfig) -> Strategy:
        def prepare(context: Context, head, labelled: Seen, evaluation: Seen) -> dict[str, float]:
            source = labelled if config.weight_source == "labelled" else evaluation
            dice = metrics.mean_foreground_dice(source.statistics["overlap"])
            performance = fairness.group_performance(dice, [case.group for case in source.cases])
            groups = sorted({case.group for case in context.pool} | set(performance.by_group))
            return fairness.group_weights(performance.by_group, groups, config.gamma)

        def score(statistics: Collected, context: Context) -> np.ndarray:
            return np.array([context.value[case.group] for case in context.pool]) * statistics[name]

        needs = Needs((name,), **{config.weight_source: ("overlap",)})
        return Strategy(needs, score, prepare, explain=lambda statistics, context: {"group_weights": context.value})

    return make


def _stratified_random(config: StrategyConfig) -> Strategy:
    """At random, each time from the group that has fewest labels: what fairness costs without any model."""

    def prepare(context: Context, head, labelled: Seen, evaluation: Seen) -> list[str]:
        return [case.group for case in labelled.cases]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        counts = collections.Counter(context.value)
        left = sorted(range(len(context.pool)), key=lambda place: (-scores[place], context.pool[place].id))
        chosen = []
        while left and len(chosen) < budget:
            neediest = min(left, key=lambda place: counts[context.pool[place].group])  # of equal groups the one of highest score
            left.remove(neediest)
            counts[context.pool[neediest].group] += 1
            chosen.append(neediest)
        return Query(tuple(context.pool[place].id for place in chosen), tuple(float(scores[place]) for place in chosen), None)

    return _random(config)._replace(prepare=prepare, select=select)


def _information(variant: information.Variant) -> Callable[[StrategyConfig], Strategy]:
    """Expected information gain of a case: the mean over the regions that meet its region of interest."""

    def make(config: StrategyConfig) -> Strategy:
        if config.method == "linear" and (config.step != "sgd" or config.step_rate == "normalised"):
            raise UserError(
                f"{variant}: the linear method is that of a plain step with one rate, not of {config.step}, {config.step_rate}."
            )

        def parts(statistics: Collected, context: Context) -> information.InformationGain:
            regions: Regions = statistics["regions"]
            in_use = jax.tree.map(lambda part: part[regions.used], regions.candidates)
            gain = _gain_of_rows(in_use, context.value, variant, config)
            return information.InformationGain(*(_mean_over_regions(part, regions.used) for part in gain))

        def score(statistics: Collected, context: Context) -> np.ndarray:
            return sum(parts(statistics, context))

        def explain(statistics: Collected, context: Context) -> dict[str, Any]:
            return {name: np.asarray(part, np.float64).tolist() for name, part in parts(statistics, context)._asdict().items()}

        needs = Needs(pool=("regions",), evaluation=("evaluation_sample",))
        return Strategy(needs, score, _reference, explain=explain)

    return make


def _mass(config: StrategyConfig) -> Strategy:
    def score(statistics: Collected, context: Context) -> np.ndarray:
        regions: Regions = statistics["regions"]
        frequency = np.asarray(context.value.class_frequency)
        return _mean_over_regions(information.mass(regions.candidates.probability[regions.used], frequency), regions.used)

    return Strategy(Needs(pool=("regions",), evaluation=("evaluation_sample",)), score, _reference)


def _reference(context: Context, head: tuple[Array, Array], labelled: Seen, evaluation: Seen) -> information.Reference:
    sample: EvaluationSample = evaluation.statistics["evaluation_sample"]
    features = np.moveaxis(sample.features, 0, 1).reshape(sample.features.shape[1], -1)
    counts = sample.class_counts.sum(0).astype(np.float32)
    return information.make_reference(jnp.asarray(features), *head, jnp.asarray(sample.weights.reshape(-1)), jnp.asarray(counts))


def _mean_over_regions(values: Array, used: np.ndarray) -> np.ndarray:
    """Mean of each case over its regions: of values in a row, `[used regions of all cases]`, and which are used, `[cases, regions]`."""
    by_case = np.zeros(used.shape, np.float32)
    by_case[used] = values
    return by_case.sum(-1) / np.maximum(used.sum(-1), 1)


_compiled_nearest = jax.jit(squared_distance_to_nearest)
_compiled_gain = jax.jit(information.information_gain, static_argnames=("variant", "rate", "step", "renormalise"))
_ROWS = 1024


def _gain_of_rows(
    candidates: information.Candidates | information.Items, reference: information.Reference, variant, config: StrategyConfig
) -> information.InformationGain:
    """Runs over all regions of all cases, a fixed number at a time: their number changes every round, the program stays."""
    if config.method == "linear":
        return information.linear_information_gain(candidates, reference, variant, config.step_rate, config.renormalise)
    count = len(candidates.probability)
    filled = jax.tree.map(lambda part: np.pad(part, [(0, -count % _ROWS)] + [(0, 0)] * (part.ndim - 1)), candidates)
    gain = functools.partial(
        _compiled_gain,
        reference=reference,
        variant=variant,
        rate=config.step_rate,
        step=config.step,
        renormalise=config.renormalise,
    )
    rows = [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]
    pieces = [gain(jax.tree.map(operator.itemgetter(own), filled)) for own in rows]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *pieces) if pieces else information.NO_GAIN


def _coreset(config: StrategyConfig) -> Strategy:
    """The pooled features farthest from all that is labelled or chosen before (Sener & Savarese 2018, arXiv 1708.00489)."""

    def prepare(context: Context, head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return labelled.statistics["embedding"]

    def score(statistics: Collected, context: Context) -> np.ndarray:
        points, _ = _filled(statistics["embedding"])
        return np.sqrt(np.asarray(_compiled_nearest(points, _repeated(context.value))))[: len(context.pool)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = _by_id(context)
        points, available = _filled(statistics["embedding"][order])
        budget = min(budget, len(order))
        return _chosen(context, order, *k_center(points, _repeated(context.value), available, budget))

    return Strategy(Needs(pool=("embedding",), labelled=("embedding",)), score, prepare, select)


def _badge(config: StrategyConfig) -> Strategy:
    """Long and diverse gradients under the predicted labels, drawn as k-means++ draws (Ash et al. 2020, arXiv 1906.03671)."""

    def gradients_of(statistics: Collected) -> np.ndarray:
        gradient = statistics["head_gradient"]
        return gradient.reshape(len(gradient), -1)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return np.linalg.norm(gradients_of(statistics), axis=-1)

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = _by_id(context)
        points, available = _filled(gradients_of(statistics)[order])
        return _chosen(context, order, *k_means_plus_plus(key, points, available, min(budget, len(order))))

    return Strategy(Needs(pool=("head_gradient",)), score, select=select)


def _power(name: str) -> Callable[[StrategyConfig], Strategy]:
    """The statistic of this name, chosen at random with chances in proportion to its power (Kirsch et al. 2023, arXiv 2106.12059)."""

    def make(config: StrategyConfig) -> Strategy:
        def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
            order = _by_id(context)
            noisy = power_scores(key, scores[order], config.power_beta)
            return top_k([context.pool[place].id for place in order], noisy, budget)

        return _plain(name)(config)._replace(select=select)

    return make


def _by_id(context: Context) -> np.ndarray:
    """Places of the pool in the order of ids: draws and ties then depend on the ids, not on the order in which cases come."""
    return np.argsort([case.id for case in context.pool])


def _filled(rows: np.ndarray) -> tuple[Array, Array]:
    """Rows filled up to a power of two, which is compiled once for many rounds, and which of them are real."""
    count = len(rows)
    filled = np.pad(rows, [(0, 2 ** (count - 1).bit_length() - count)] + [(0, 0)] * (rows.ndim - 1))
    return jnp.asarray(filled), jnp.arange(len(filled)) < count


def _repeated(rows: np.ndarray) -> Array:
    """Rows filled up to a power of two by repeating the first, which changes no distance to the nearest."""
    more = 2 ** (len(rows) - 1).bit_length() - len(rows)
    return jnp.asarray(np.concatenate([rows, np.repeat(rows[:1], more, axis=0)]))


def _chosen(context: Context, order: np.ndarray, places: Array, scores: Array) -> Query:
    """A query of places in the order of ids; no cut divides what is chosen from what is not, so there is no gap to report."""
    units = tuple(context.pool[order[place]].id for place in np.asarray(places))
    return Query(units, tuple(float(score) for score in scores), None)


def _badge_of_images(config: StrategyConfig) -> Strategy:
    """BADGE where an image is one item: its gradient, features times error, is never written down."""

    def sides(statistics: Collected, places: np.ndarray) -> tuple[Array, Array, Array]:
        items: information.Items = jax.tree.map(lambda part: part[places, 0], statistics["regions"].candidates)
        features, available = _filled(items.features)
        probability, _ = _filled(items.probability)
        return features, gradients.hallucinated_error(probability.T).T, available

    def score(statistics: Collected, context: Context) -> np.ndarray:
        features, error, _ = sides(statistics, np.arange(len(context.pool)))
        return np.sqrt(np.asarray(gradients.squared_norms(features, error)))[: len(context.pool)]

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = _by_id(context)
        return _chosen(context, order, *k_means_plus_plus_of_gradients(key, *sides(statistics, order), min(budget, len(order))))

    return Strategy(Needs(pool=("regions",)), score, select=select)


def _batch_bald(config: StrategyConfig) -> Strategy:
    """Images whose labels together say most of the network (Kirsch et al. 2019, arXiv 1906.08158); scores are those of single images."""

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = _by_id(context)
        members, available = _filled(statistics["member_probability"][order])
        return _chosen(context, order, *batch_bald(key, members, available, min(budget, len(order)), config.joint_samples))

    needs = Needs(pool=("bald", "member_probability"))
    return Strategy(needs, lambda statistics, context: statistics["bald"], select=select)


Table = Mapping[str, Callable[[StrategyConfig], Strategy]]

_OF_BOTH: Table = {
    "least_confidence": _plain("least_confidence"),
    "margin": _plain("margin"),
    "entropy": _plain("entropy"),
    "mc_entropy": _plain("mc_entropy"),
    "variation_ratio": _plain("variation_ratio"),
    "mean_std": _plain("mean_std"),
    "bald": _plain("bald"),
    "eig": _information("eig"),
    "aeig": _information("aeig"),
    "uig": _information("uig"),
    "cfig": _information("cfig"),
    "mass": _mass,
    "egl": _plain("egl"),
    "gradient_norm": _plain("gradient_norm"),
    "coreset": _coreset,
    "power_entropy": _power("entropy"),
    "power_bald": _power("bald"),
}

STRATEGIES: Table = {  # of segmentation
    "random": _random,
    "stratified_random": _stratified_random,
    "foreground_random": _power("foreground"),
    "masked_entropy": _plain("masked_entropy"),
    "weighted_entropy": _weighted("masked_entropy"),
    "weighted_entropy_unmasked": _weighted("entropy"),
    **_OF_BOTH,
    "badge": _badge,
}

CLASSIFICATION_STRATEGIES: Table = {
    "random": _random,
    **_OF_BOTH,
    "badge": _badge_of_images,
    "batchbald": _batch_bald,
}


def named_strategy(name: str, config: StrategyConfig, table: Table = STRATEGIES) -> Strategy:
    """The strategy of a name, with its own options behind it: `aeig`, `weighted_entropy,gamma=3,weight_source=evaluation`.

    Args:
      name: a row of the table, perhaps with fields of `StrategyConfig` to replace.
      config: of all that is not replaced.
      table: the strategies of this kind of task.

    Raises:
      UserError: there is no such strategy or option, or the option takes no such value.
    """
    row, *options = name.split(",")
    if row not in table:
        near = difflib.get_close_matches(row, table, 1, cutoff=0.75)
        hint = f"Did you mean {near[0]}?" if near else f"There are {', '.join(table)}."
        raise UserError(f"There is no strategy {row!r}. {hint}")
    values = dict(_option(name, *option.partition("=")[::2]) for option in options)
    if values.get("step_rate", 1.0) != "normalised" and values.get("step_rate", 1.0) <= 0:
        raise UserError(f"Strategy {name!r}: step_rate is {values['step_rate']:g}; it must be above zero.")
    return table[row](dataclasses.replace(config, **values))


def _option(name: str, field: str, text: str) -> tuple[str, Any]:
    kinds = get_type_hints(StrategyConfig)
    if field not in kinds:
        raise UserError(f"Strategy {name!r}: there is no option {field!r}. There are {', '.join(kinds)}.")
    possible = []
    for kind in get_args(kinds[field]) if get_origin(kinds[field]) in (Union, types.UnionType) else [kinds[field]]:
        choices = {"true": True, "false": False} if kind is bool else {choice: choice for choice in get_args(kind)}
        if text in choices:
            return field, choices[text]
        if kind is float:
            with contextlib.suppress(ValueError):
                if math.isfinite(number := float(text)):
                    return field, number
        possible += ["a number"] if kind is float else list(choices)
    raise UserError(f"Strategy {name!r}: {field} is {text!r}; it takes {' or '.join(possible)}.")
