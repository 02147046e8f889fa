"""Strategies that look for what would help those who fare badly, from evaluation cases made by hand."""

import jax
import numpy as np
import pytest

from jaxal.acquisition.information import Reference
from jaxal.assessment.metrics import Overlap
from jaxal.errors import UserError
from jaxal.scoring.statistics import EvaluationSample
from jaxal.strategies.contract import Context, decide
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import STRATEGIES
from jaxal.types import Case, Seen, Unit

HEAD = (np.ones((2, 2), np.float32), np.zeros(2, np.float32))


def evaluation(groups, dice, **statistics):
    """Evaluation cases of these groups with this Dice, which is a multiple of a tenth; NaN is a case without foreground."""
    hits = np.nan_to_num(10 * np.array(dice))
    missed = np.where(np.isnan(dice), 0.0, 10 - hits)
    counts = Overlap(*(np.stack([np.full(len(dice), 100.0), part], -1) for part in (hits, missed, missed)))
    error = np.where(np.isnan(dice), 0.0, 1.0 - np.nan_to_num(np.array(dice)))
    statistics |= {"overlap": counts, "error": error, "class_counts": np.tile([100, 10], (len(dice), 1))}
    return Seen([Case(f"e{number}", group, None) for number, group in enumerate(groups)], statistics)


def decision(name, embedding, seen, budget=2):
    pool = [Case(f"p{number}", "", None) for number in range(len(embedding))]
    context = Context(jax.random.key(0), [Unit(case) for case in pool])
    statistics = {"embedding": np.array(embedding, np.float32)}
    return decide(named_strategy(name, STRATEGIES).strategy, context, HEAD, statistics, Seen((), {}), seen, budget)


def query(name, embedding, seen, budget=2):
    return decision(name, embedding, seen, budget).query


SOUGHT = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], np.float32)  # whose mean is zero
POOL = [[2.0, 0.1], [-3.0, 0.1], [0.1, 1.0], [1.0, 0.0], [5.0, 0.3]]


def test_cases_like_the_evaluation_case_that_fares_worst_come_first():
    """Only the third fares badly; the pool's third case points its way."""
    seen = evaluation("AAAA", [1.0, 1.0, 0.2, 1.0], embedding=SOUGHT)
    found = query("flqmi", POOL, seen, budget=5)
    assert found.units[0] == "p2"
    # Alone of the query set it counts 4, the mean of the errors being a quarter of its own: 4 cos for being alike, and once more for eta.
    assert found.scores[0] == pytest.approx(2 * 4 * 1.0 / np.hypot(0.1, 1.0), rel=1e-5)


def test_a_cases_score_is_what_it_would_add_alone():
    seen = evaluation("AAAA", [0.8, 1.0, 0.2, 1.0], embedding=SOUGHT)
    alone = [query("flqmi,eta=0.5", [row], seen, budget=1).scores[0] for row in POOL]
    np.testing.assert_allclose(decision("flqmi,eta=0.5", POOL, seen).scores, alone, rtol=1e-5)
    assert alone[2] == pytest.approx(
        (4 * 0.8 * 1 + 4 * 0.2 * 0.1) / np.hypot(0.1, 1) + 0.5 * 4 * 0.8 / np.hypot(0.1, 1), rel=1e-5
    )


def test_without_errors_all_evaluation_cases_count_alike():
    seen = evaluation("AAAA", [1.0, 1.0, 0.2, 1.0], embedding=SOUGHT)
    assert query("flqmi,weights=none", POOL, seen).units == ("p2", "p1")  # the first is a little like the first case, too
    assert query("flqmi,weights=none,eta=100", POOL, seen).units == ("p3", "p1")


def test_a_case_without_foreground_is_sought_by_nobody():
    seen = evaluation("AAAA", [np.nan, 0.5, 0.9, 0.9], embedding=SOUGHT)
    assert query("flqmi", POOL, seen, budget=1).units == ("p1",)


def test_where_nothing_is_wrong_nothing_is_sought_and_scores_are_finite():
    seen = evaluation("AAAA", [1.0] * 4, embedding=SOUGHT)
    assert query("flqmi", POOL, seen) == query("flqmi", POOL, seen) and query("flqmi", POOL, seen).scores == (0.0, 0.0)


def prepared(name, seen):
    strategy = named_strategy(name, STRATEGIES).strategy
    return strategy.prepare(Context(jax.random.key(0), []), HEAD, Seen((), {}), seen)


def sample(cases):
    rng = np.random.default_rng(1)
    return EvaluationSample(
        rng.normal(size=(cases, 2, 3)).astype(np.float32),
        np.ones((cases, 3), np.float32),
        np.array([[3, 1]] * (cases - 1) + [[1, 3]]),
    )


def test_evaluation_cases_of_a_badly_served_group_count_by_its_weight():
    """Of A (0.9, 0.9) and B (0.6) the weights are 0.11 and 0.41 over their mean 0.26; elements and classes count so."""
    reference: Reference = prepared("aeig,group_gamma=1", evaluation("AAB", [0.9, 0.9, 0.6], evaluation_sample=sample(3)))
    low, high = 0.11 / 0.26, 0.41 / 0.26
    expected = np.repeat([low, low, high], 3)
    np.testing.assert_allclose(reference.weights, expected / expected.sum(), rtol=1e-5)
    counts = low * np.array([6, 2]) + high * np.array([1, 3])
    np.testing.assert_allclose(reference.class_frequency, counts / counts.sum(), rtol=1e-5)


def test_of_one_group_the_gain_is_the_plain_one():
    seen = evaluation("AAA", [0.9, 0.9, 0.6], evaluation_sample=sample(3))
    for first, second in zip(prepared("aeig,group_gamma=2", seen), prepared("aeig", seen), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6)


def unit(rows):
    return np.asarray(rows, np.float64) / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_log_determinants_see_through_noise_what_fares_well():
    """By the definition: log |S_A| - log |S_A - S_AQ (S_Q + noise)⁻¹ S_QA|, where noise is what a weight lacks of the largest, over its own."""
    error = np.array([0.1, 0.1, 0.8, 0.1])
    seen = evaluation("AAAA", 1 - error, embedding=SOUGHT)
    pool, queries = unit(POOL), unit(SOUGHT)
    noisy = queries @ queries.T + np.diag(1e-3 + error.max() / error - 1)

    def told(chosen):
        own = pool[chosen] @ pool[chosen].T + 1e-3 * np.eye(len(chosen))
        cross = pool[chosen] @ queries.T
        return np.linalg.slogdet(own)[1] - np.linalg.slogdet(own - cross @ np.linalg.solve(noisy, cross.T))[1]

    found = decision("logdetmi", POOL, seen)
    np.testing.assert_allclose(found.scores, [told([place]) for place in range(len(POOL))], rtol=1e-4)
    assert found.query.units[0] == "p2", "it points the way of the case that fares worst"
    assert query("logdetmi,weights=none", POOL, seen).units[0] != "p2"


def test_graph_cut_and_coverage_follow_their_definitions():
    """Sums of cosines not below zero, each weighted; and the pool's cases, each counted as far as it is like what is sought."""
    error = np.array([0.3, 0.1, 0.8, 0.0])
    seen, weight = evaluation("AAAA", 1 - error, embedding=SOUGHT), error / error.mean()
    pool, queries = unit(POOL), unit(SOUGHT)
    alike = pool @ queries.T
    np.testing.assert_allclose(decision("gcmi", POOL, seen).scores, (np.maximum(alike, 0) * weight).sum(-1), rtol=1e-5)
    nearest = np.minimum((0.5 * ((0.5 + 0.5 * alike) * weight).max(-1)), 1.0)
    among = 0.5 + 0.5 * pool @ pool.T
    added = [np.minimum(among[place], nearest).sum() for place in range(len(POOL))]
    found = decision("flvmi,eta=0.5", POOL, seen)
    assert found.query.units[0] == f"p{int(np.argmax(added))}"
    np.testing.assert_allclose(np.diff(found.scores), np.diff(added), rtol=1e-4, atol=1e-6)


def test_a_rare_class_is_sought_by_how_much_of_it_there_is():
    """The last class has fewest elements in all, and the second evaluation case has most of them."""
    seen = evaluation("AAAA", [0.5] * 4, embedding=SOUGHT)
    counts = np.array([[90, 20, 0], [60, 20, 30], [80, 30, 0], [100, 5, 5]])
    seen = seen._replace(statistics={**seen.statistics, "class_counts": counts})
    share = counts[:, 2] / counts.sum(-1)
    expected = (np.maximum(unit(POOL) @ unit(SOUGHT).T, 0) * share / share.mean()).sum(-1)
    np.testing.assert_allclose(decision("gcmi,weights=rare", POOL, seen).scores, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["flqmi,eta=-1", "aeig,group_gamma=-1"])
def test_options_below_zero_are_refused(name):
    with pytest.raises(UserError, match="below zero"):
        named_strategy(name, STRATEGIES)
