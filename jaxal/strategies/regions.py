"""Strategies that ask for parts of cases: regions of images, boxes of volumes or slices of them.

They have the names of those that ask for whole cases. A case offers its best windows (`scoring/windows.py`), of which none overlap unless that is
asked for; the best of all cases' are the query.
"""

import functools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import information, regions
from jaxal.acquisition.regions import Tiles, Windows
from jaxal.acquisition.selection import Query, top_k
from jaxal.data.parts import cost_of
from jaxal.scoring.windows import GainStep
from jaxal.strategies.by_class import check_share, power_of_round, quotas
from jaxal.strategies.contract import Context, Head, Needs, Strategy, best
from jaxal.strategies.informative import reference_of
from jaxal.strategies.rows import no_score
from jaxal.types import Collected, Seen, Unit

Array = jax.Array


def by_windows(name: str, power: float | None = None) -> Strategy:
    """The windows of this statistic are what is asked for, and their scores decide.

    Args:
      name: of the statistic.
      power: of its noise; None where it draws nothing.
    """

    def cut(statistics: Collected, context: Context) -> list[Unit]:
        return units_of(statistics[name], context.pool)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        windows: Windows = statistics[name]
        return np.asarray(windows.score)[np.asarray(windows.cost) > 0]

    def given(context: Context, head: Head, evaluation: Seen) -> dict[str, float]:
        return {} if power is None else {name: power}

    return Strategy(Needs(pool=(name,)), score, select=_best_within_budget, cut=cut, given=given)


def _best_within_budget(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
    """The windows of highest score. What windows share that overlap is paid for once, so more of them are within a budget in elements."""
    if context.cost_at_most is None:
        return best(key, scores, statistics, context, budget)
    order = top_k(context.ids, scores, len(context.pool))
    units = {unit.id: unit for unit in context.pool}
    query = _Query(context.cost_at_most, may_overlap=True)  # whether windows of a case do was decided when they were looked for
    query.take({name: (score, units[name]) for name, score in zip(order.units, order.scores, strict=True)}, budget)
    return Query(tuple(query.units), tuple(query.scores), None)


def units_of(windows: Windows, pool: Sequence[Unit]) -> list[Unit]:
    """The windows of a pool's cases as units, case by case; a unit's cost is the elements in it that have no label yet."""
    cases, slots = np.nonzero(windows.cost > 0)
    return [
        Unit(
            pool[case].case,
            tuple(windows.start[case, slot].tolist()),
            tuple(windows.size[case, slot].tolist()),
            float(windows.cost[case, slot]),
        )
        for case, slot in zip(cases.tolist(), slots.tolist(), strict=True)
    ]


def random() -> Strategy:
    """Windows at random, the baseline of every comparison: any position that has something to label, with the same chance."""
    return by_windows("windows_random", power=0.0)


def foreground_random(*, power_beta: float = 1.0) -> Strategy:
    """Windows at random, with chances in proportion to a power of their predicted share of foreground: the baseline to beat in three dimensions.

    nnActive (arXiv 2511.19183) draws around true foreground, which no reader has given yet; here it is the predicted one.

    Args:
      power_beta: the power; 0 draws all alike.
    """
    return by_windows("windows_foreground", _power(power_beta))


def entropy() -> Strategy:
    """Windows of largest entropy (Shannon 1948)."""
    return by_windows("windows_entropy")


def least_confidence() -> Strategy:
    """Windows of least probable predictions: one minus the probability of the most probable class (Lewis & Gale 1994)."""
    return by_windows("windows_least_confidence")


def margin() -> Strategy:
    """Windows where the two most probable classes are closest (Scheffer et al. 2001)."""
    return by_windows("windows_margin")


def gini() -> Strategy:
    """Windows where two draws from the prediction differ most (Gini 1912)."""
    return by_windows("windows_gini")


def bvsb() -> Strategy:
    """Windows where the second largest probability comes closest to the largest, as a ratio (Cai et al. 2021)."""
    return by_windows("windows_best_versus_second")


def mc_entropy() -> Strategy:
    """Windows of largest entropy of the members' mean prediction (Gal et al. 2017, arXiv 1703.02910)."""
    return by_windows("windows_mc_entropy")


def variation_ratio() -> Strategy:
    """Windows where most members do not vote for the most frequent class (Freeman 1965)."""
    return by_windows("windows_variation_ratio")


def vote_entropy() -> Strategy:
    """Windows of largest entropy of the members' votes (Dagan & Engelson 1995; Mackowiak et al. 2018, arXiv 1810.09726)."""
    return by_windows("windows_vote_entropy")


def mean_std() -> Strategy:
    """Windows of largest standard deviation of the members' probabilities (Kampffmeyer et al. 2016)."""
    return by_windows("windows_mean_std")


def variance() -> Strategy:
    """Windows of largest variance of the members' probabilities, mean over classes (Yang et al. 2017, arXiv 1706.04737)."""
    return by_windows("windows_variance")


def pairwise_kl() -> Strategy:
    """Windows where members diverge most, any two of them (Zhou et al. 2017, CVPR; with flips for members, between views)."""
    return by_windows("windows_pairwise_divergence")


def bald() -> Strategy:
    """Windows whose labels would tell most of the network (Houlsby et al. 2011, arXiv 1112.5745)."""
    return by_windows("windows_bald")


def power_entropy(*, power_beta: float = 1.0) -> Strategy:
    """Windows at random, with chances in proportion to a power of their entropy (Kirsch et al. 2023, arXiv 2106.12059).

    Args:
      power_beta: the power; large values come close to `entropy`, 0 draws all alike.
    """
    return by_windows("windows_power_entropy", _power(power_beta))


def power_bald(*, power_beta: float = 1.0) -> Strategy:
    """Windows at random, with chances in proportion to a power of BALD (Kirsch et al. 2023, arXiv 2106.12059).

    Args:
      power_beta: the power; large values come close to `bald`, 0 draws all alike.
    """
    return by_windows("windows_power_bald", _power(power_beta))


def _power(beta: float) -> float:
    if beta < 0:
        raise ValueError(f"power_beta is {beta:g}; below zero the lowest scores would be likeliest.")
    return beta


def ripu() -> Strategy:
    """Windows that are mixed and unsure: entropy of their shares of predicted classes, times their mean entropy (Xie et al. 2022, arXiv 2111.12940)."""
    return by_windows("windows_impurity")


def expected_dice() -> Strategy:
    """Windows where the Dice that the prediction expects of itself is lowest, as a slice of lowest predicted overlap (Zhou et al. 2021, MICCAI, who train a network for it)."""
    return by_windows("windows_expected_dice")


def of_tiles(make: Callable[..., Strategy]) -> Callable[..., Strategy]:
    """A strategy of cases' features, of windows side by side instead: key slices (Zheng et al. 2020, AAAI), key regions.

    Args:
      make: makes a strategy that reads embeddings of the pool, perhaps of the labelled set, and nothing else.
    """

    @functools.wraps(make)
    def made(**options: Any) -> Strategy:
        return _of_tiles(make(**options))

    return made


def _of_tiles(whole: Strategy) -> Strategy:
    """The strategy of windows side by side; those that are labelled already, also of cases of the pool, are its labelled set."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> _Known:
        known: Tiles = labelled.statistics["tiles"]
        return _Known(list(context.pool), head, np.asarray(known.embedding)[np.asarray(known.size).all(-1)])

    def cut(statistics: Collected, context: Context) -> list[Unit]:
        found: Tiles = statistics["tiles"]
        return units_of(Windows(found.cost, found.start, found.size, found.cost), context.value.pool)

    def of_windows(statistics: Collected, context: Context) -> tuple[Collected, Context]:
        """The windows' features in the order of the units, and what the strategy of cases knows."""
        found: Tiles = statistics["tiles"]
        there = np.asarray(found.size).all(-1)
        every, is_unit = np.asarray(found.embedding)[there], np.asarray(found.cost)[there] > 0
        known = Seen((), {"embedding": np.concatenate([context.value.embedding, every[~is_unit]])})
        return {"embedding": every[is_unit]}, context._replace(
            value=whole.prepare(context, context.value.head, known, Seen((), {}))
        )

    def score(statistics: Collected, context: Context) -> np.ndarray:
        return whole.score(*of_windows(statistics, context))

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        count = min(budget, len(context.pool))
        if context.cost_at_most is not None:
            count = min(count, int(context.cost_at_most // context.costs.min()))
        found = whole.select(key, scores, *of_windows(statistics, context), count)
        units, query = {unit.id: unit for unit in context.pool}, _Query(context.cost_at_most)
        query.take({name: (score, units[name]) for name, score in zip(found.units, found.scores, strict=True)}, count)
        return Query(tuple(query.units), tuple(query.scores), None)

    scores = no_score if whole.score is no_score else score  # as rules that read scores must know
    return Strategy(Needs(pool=("tiles",), labelled=("tiles",)), scores, prepare, select, cut=cut)


class _Known(NamedTuple):
    """What a strategy of windows side by side is prepared with.

    Attributes:
      pool: the cases, before they are cut.
      head: of the network.
      embedding: of the labelled cases' windows, `[windows, features]`.
    """

    pool: list[Unit]
    head: Head
    embedding: np.ndarray


def eig() -> Strategy:
    """Windows of largest expected information gain on the evaluation set, by blocks (Mehta et al. 2022, arXiv 2208.00974)."""
    return _by_gain("eig")


def aeig() -> Strategy:
    """Windows of largest adapted expected information gain on the evaluation set, by blocks (Mehta et al. 2022, arXiv 2208.00974)."""
    return _by_gain("aeig")


def uig() -> Strategy:
    """Windows of largest uniform information gain on the evaluation set, by blocks (Mehta et al. 2022, arXiv 2208.00974)."""
    return _by_gain("uig")


def cfig() -> Strategy:
    """Windows of largest class-frequency information gain on the evaluation set, by blocks (Mehta et al. 2022, arXiv 2208.00974)."""
    return _by_gain("cfig")


def _by_gain(variant: information.Variant) -> Strategy:
    name = f"windows_{variant}"

    def given(context: Context, head: Head, evaluation: Seen) -> dict[str, GainStep]:
        return {name: GainStep(jnp.float32(context.learning_rate), reference_of(context, head, evaluation, evaluation))}

    chosen = by_windows(name)
    return chosen._replace(needs=chosen.needs._replace(evaluation=("evaluation_sample",)), given=given)


def class_balanced(*, share: float = 1.0) -> Strategy:
    """The same number of windows for each class above zero, each class by its own entropy p H.

    Args:
      share: of the query that is so divided; the rest goes by the plain entropy.
    """
    return _by_class(share, lambda context: 1e4)


def clasp_pe(*, share: float = 0.66) -> Strategy:
    """Two thirds of the query divided among the classes, the rest by entropy, with noise that wanes over the rounds (ClaSP PE, arXiv 2601.13677).

    Args:
      share: of the query that is divided among the classes above zero.
    """

    return _by_class(share, power_of_round)


def _by_class(share: float, power: Callable[[Context], float]) -> Strategy:
    """Windows of each class in turn, then of all."""
    check_share(share)
    name = "windows_entropy_by_class"

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> list[Unit]:
        return list(context.pool)  # before it is cut: statistics have a row for each

    def lists(statistics: Collected, pool: Sequence[Unit]) -> list[dict[str, tuple[float, Unit]]]:
        """By class, the plain entropy first: each window's score and unit, by name, best first."""
        found: Windows = statistics[name]
        classes = [jax.tree.map(operator.itemgetter((slice(None), number)), found) for number in range(found.cost.shape[1])]
        rows = [zip(windows.score[windows.cost > 0].tolist(), units_of(windows, pool), strict=True) for windows in classes]
        return [
            {unit.id: (score, unit) for score, unit in sorted(row, key=lambda entry: (-entry[0], entry[1].id))} for row in rows
        ]

    def cut(statistics: Collected, context: Context) -> list[Unit]:
        return list({id_: unit for row in lists(statistics, context.value) for id_, (_, unit) in row.items()}.values())

    def score(statistics: Collected, context: Context) -> np.ndarray:
        rows = lists(statistics, context.value)
        return np.array([max(row[unit.id][0] for row in rows if unit.id in row) for unit in context.pool])

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        plain, *by_class = lists(statistics, context.value)
        order = np.asarray(jax.random.permutation(key, len(by_class))).tolist()
        counts = quotas(int(share * budget), len(by_class))
        query = _Query(context.cost_at_most)
        for number, (quota, class_) in enumerate(zip(counts, order, strict=True)):
            if context.cost_at_most is None:
                query.take(by_class[class_], quota)
            else:  # of a budget in elements classes have shares of elements, with what those before left of theirs
                query.take(by_class[class_], budget, share * context.cost_at_most * (number + 1) / len(by_class))
        query.take(plain, budget - len(query.units))
        return Query(tuple(query.units), tuple(query.scores), None)

    def given(context: Context, head: Head, evaluation: Seen) -> dict[str, float]:
        return {name: power(context)}

    return Strategy(Needs(pool=(name,)), score, prepare, select, cut=cut, given=given)


class _Query:
    """Windows as they are taken, within a budget of elements that have no label yet.

    Args:
      cost_at_most: the budget; None where there is none.
      may_overlap: whether windows may; what they share is paid for once.
    """

    def __init__(self, cost_at_most: float | None, may_overlap: bool = False):
        self.units: dict[str, Unit] = {}
        self.scores: list[float] = []
        self._spent, self._at_most = 0.0, math.inf if cost_at_most is None else cost_at_most
        self._may_overlap = may_overlap

    def take(self, windows: Mapping[str, tuple[float, Unit]], count: int, up_to: float = math.inf) -> None:
        """Takes so many of some windows, best first, as long as all that was taken costs no more than `up_to`."""
        at_most = min(self._at_most, up_to)
        for id_, (score, unit) in windows.items():
            if count <= 0:
                return
            touching = [other for other in self.units.values() if _touch(unit, other)]
            cost = cost_of([*touching, unit]) - cost_of(touching) if touching else unit.cost
            if self._spent + cost > at_most or (touching and not self._may_overlap):
                continue
            self.units[id_] = unit
            self.scores.append(score)
            self._spent += cost
            count -= 1


def _touch(first: Unit, second: Unit) -> bool:
    """Whether two windows share an element."""
    if first.case != second.case:
        return False
    return bool(regions.overlap(*(np.array(part) for part in (first.start, first.size, second.start, second.size))))
