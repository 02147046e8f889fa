"""Rules behind a strategy's name, on statistics made by hand."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxal.errors import UserError
from jaxal.strategies import composed
from jaxal.strategies.contract import Context, decide
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, REGRESSION_STRATEGIES, STRATEGIES, STRATEGIES_OF_PARTS
from jaxal.types import Case, Seen, Unit

COUNT = 12
NOBODY = Seen((), {})
HEAD = (np.zeros((2, 2)), np.zeros(2))


def statistics(rng):
    return {
        "entropy": rng.uniform(size=COUNT),
        "margin": rng.uniform(size=COUNT),
        "embedding": rng.normal(size=(COUNT, 3)).astype(np.float32),
        "class_shares": rng.dirichlet(np.ones(3), COUNT),
    }


LABELLED = Seen((), {"embedding": np.zeros((1, 3), np.float32), "class_counts": np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]])})


def query(text, seen, budget=3, costs=None, evaluation=NOBODY, **known):
    """Places of what is chosen, and the decision; cases are named backwards, so that no place is an id."""
    costs = [1.0] * COUNT if costs is None else costs
    pool = [Unit(Case(f"case_{COUNT - place:02d}", "", Path()), cost=cost) for place, cost in enumerate(costs)]
    strategy = named_strategy(text, CLASSIFICATION_STRATEGIES).strategy
    needed = {name: seen[name] for name in strategy.needs.pool}
    decision = decide(strategy, Context(jax.random.key(0), pool, **known), HEAD, needed, LABELLED, evaluation, budget)
    places = {unit.id: place for place, unit in enumerate(pool)}
    return [places[unit] for unit in decision.query.units], decision


def test_a_filter_keeps_the_most_unsure_and_diversity_chooses_among_them(rng):
    seen = statistics(rng)
    places, decision = query("entropy+then:coreset,factor=2", seen)
    unsure = np.argsort(-seen["entropy"])[:6]
    assert set(places) <= set(unsure) and len(places) == 3
    length = np.linalg.norm(seen["embedding"], axis=-1)
    assert places[0] == unsure[length[unsure].argmax()]  # farthest from the labelled case at zero
    np.testing.assert_array_equal(decision.scores, seen["entropy"])
    assert query("entropy+then:coreset,factor=4", seen)[0] == query("coreset", seen)[0]
    of_three = sorted(unsure[:3], key=lambda place: -seen["margin"][place])
    assert query("entropy+then:margin,factor=1", seen)[0] == of_three


def test_ranks_of_two_strategies_are_joined(rng):
    seen = statistics(rng)
    joined = sum(seen[name].argsort().argsort() for name in ("entropy", "margin"))
    places, decision = query("entropy+with:margin", seen, budget=COUNT)
    np.testing.assert_allclose(decision.scores, (joined + 2) / (2 * COUNT))
    assert joined[places].tolist() == sorted(joined, reverse=True)
    assert query("entropy+with:margin,share=1", seen)[0] == query("entropy", seen)[0]
    assert query("entropy+with:margin,share=0", seen)[0] == query("margin", seen)[0]


def evaluated(entropy, margin, error):
    cases = [Case(f"e{row}", "", Path()) for row in range(len(error))]
    return Seen(cases, {"entropy": np.array(entropy), "margin": np.array(margin), "error": np.array(error)})


ERROR = [0.1, 0.2, 0.3, 0.9]


@pytest.mark.parametrize(
    ("known", "better", "agreement"),
    [
        (evaluated([1, 2, 4, 3], [1, 2, 3, 4], ERROR), "margin", [0.8, 1.0]),
        (evaluated([1, 2, 4, 3], [4, 3, 2, 1], ERROR), "entropy", [0.8, -1.0]),
        (evaluated([1, 2, 3, 4], [1, 2, 3, 9], ERROR), "entropy", [1.0, 1.0]),  # as good as each other
        (evaluated([4, 3, 2, 1], [7, 7, 7, 7], ERROR), "margin", [-1.0, 0.0]),  # no order is better than the wrong one
        (evaluated([1, 2, 3, 4], [4, 3, 2, 1], [0.5] * 4), "entropy", [0.0, 0.0]),
        (evaluated([], [], []), "entropy", [0.0, 0.0]),
    ],
)
def test_the_strategy_whose_scores_order_errors_better_is_followed(rng, known, better, agreement):
    seen = statistics(rng)
    places, decision = query("entropy+or:margin", seen, evaluation=known)
    assert places == query(better, seen)[0] != query({"entropy": "margin", "margin": "entropy"}[better], seen)[0]
    np.testing.assert_array_equal(decision.scores, seen[better])
    assert decision.explanation["ranks_errors"] == pytest.approx(agreement)


def test_of_three_strategies_the_best_is_followed(rng):
    seen = statistics(rng) | {"least_confidence": rng.uniform(size=COUNT)}
    known = evaluated([4, 3, 2, 1], [1, 2, 4, 3], ERROR)
    known.statistics["least_confidence"] = np.array([1.0, 2.0, 3.0, 4.0])
    places, decision = query("entropy+or:margin+or:least_confidence", seen, evaluation=known)
    assert places == query("least_confidence", seen)[0]
    assert decision.explanation["ranks_errors"] == [0.8, 1.0]


@pytest.mark.parametrize(("round_", "of_first"), [(0, 4), (1, 3), (2, 1), (3, 0)])
def test_the_budget_moves_from_one_strategy_to_the_other(rng, round_, of_first):
    seen = statistics(rng)
    places, _ = query("coreset+moving_to:entropy", seen, budget=4, round=round_, rounds=4)
    first = query("coreset", seen, budget=of_first)[0] if of_first else []
    rest = [place for place in np.argsort(-seen["entropy"]) if place not in first]
    assert places == [*first, *rest[: 4 - of_first]]


def test_a_power_draws_by_score(rng):
    seen = statistics(rng)
    assert query("margin+power,beta=1e6", seen, budget=5)[0] == query("margin", seen, budget=5)[0]
    assert query("entropy+power,beta=2", seen)[0] == query("power_entropy,power_beta=2", seen)[0]
    below = {**seen, "margin": seen["margin"] - seen["margin"].max() - 1}
    with pytest.raises(UserError, match="not below zero, but there is one of -"):
        query("margin+power", below)


def test_a_batch_that_is_drawn_has_the_highest_mean(rng):
    seen = statistics(rng)
    places, _ = query("entropy+stochastic", seen, budget=4)
    assert len(set(places)) == 4 and seen["entropy"][places].mean() > seen["entropy"].mean()
    assert sorted(query("entropy+stochastic", seen, budget=COUNT)[0]) == list(range(COUNT))


def test_a_quota_asks_for_the_classes_that_lack_labels(rng):
    """Of three classes two, one and no images are labelled. In the first round two of each are wanted for a query of two, so the first class lacks none."""
    seen = statistics(rng) | {"class_shares": np.eye(3)[np.arange(COUNT) % 3]}
    places, _ = query("entropy+quota,weight=100", seen, budget=2)
    assert {place % 3 for place in places} <= {1, 2}
    lacking = [place for place in np.argsort(-seen["entropy"]) if place % 3]
    first, *others = lacking
    second = next(place for place in others if first % 3 == 2 or place % 3 == 2)  # one more of the second class is enough
    assert places == [first, second]
    assert query("entropy+quota,weight=0", seen)[0] == query("entropy", seen)[0]


def test_a_budget_of_cost_is_filled_as_well_as_can_be(rng):
    seen = statistics(rng) | {"entropy": np.array([0.9, 0.6, 0.6, *[0.1] * (COUNT - 3)])}
    costs = [4.0, 2.0, 2.0, *[9.0] * (COUNT - 3)]
    assert query("entropy", seen, costs=costs, cost_at_most=4.0)[0] == [0]
    assert sorted(query("entropy+within_cost", seen, costs=costs, cost_at_most=4.0)[0]) == [1, 2]
    with pytest.raises(UserError, match="no budget of cost"):
        query("entropy+within_cost", seen)
    below = {"nearness_to_boundary": np.full(COUNT, -3.0)}  # all alike, and below zero: two of them can be paid
    assert len(query("linear_deepfool+within_cost", seen | below, costs=[2.0] * COUNT, cost_at_most=5.0)[0]) == 2


@pytest.mark.parametrize(
    "text",
    ["kmeans+within_cost", "typiclust+power", "herding+stochastic", "usl+quota", "kmeans+then:entropy", "entropy+with:kmeans"],
)
def test_rules_that_read_scores_refuse_strategies_without(text):
    with pytest.raises(UserError, match="reads scores of single cases, and that strategy has none"):
        named_strategy(text, CLASSIFICATION_STRATEGIES)
    for text, table in (
        ("kmeans+moving_to:entropy+power", CLASSIFICATION_STRATEGIES),
        ("kmeans+within_cost", STRATEGIES_OF_PARTS),
    ):
        with pytest.raises(UserError, match="that strategy has none"):
            named_strategy(text, table)


def test_rules_that_choose_sets_take_strategies_without_scores():
    for text in ("entropy+then:kmeans", "kmeans+moving_to:entropy", "kmeans+usable"):
        named_strategy(text, CLASSIFICATION_STRATEGIES)
    with pytest.raises(UserError, match="tells refused cases from labelled ones class by class, and these data have numbers"):
        named_strategy("bald+usable", REGRESSION_STRATEGIES)


def refused(embedding):
    return Seen([Case(f"r{row}", "", Path()) for row in range(len(embedding))], {"embedding": np.float32(embedding)})


def two_sides(rng):
    """Half of the pool lies on the labelled side and half on the refused one."""
    seen = statistics(rng)
    middle = np.where(np.arange(COUNT) < COUNT // 2, 1.0, -1.0)[:, None] * np.array([1.0, 0.0, 0.0])
    seen["embedding"] = (middle + rng.normal(0, 0.05, (COUNT, 3))).astype(np.float32)
    known = {"embedding": np.float32([[1, 0.1, 0], [1, 0, 0.1], [1, 0, 0]]), "class_counts": LABELLED.statistics["class_counts"]}
    return seen, Seen((), known), refused([[-1, 0.1, 0], [-1, 0, 0.1]])


def test_what_is_like_refused_cases_is_passed_over(rng, monkeypatch):
    seen, labelled, others = two_sides(rng)
    monkeypatch.setattr("test_composed.LABELLED", labelled)
    unsure = np.argsort(-seen["entropy"])
    usable = [int(place) for place in unsure if place < COUNT // 2]
    places, decision = query("entropy+usable", seen, refused=others)
    assert places == usable[:3] != unsure[:3].tolist()
    np.testing.assert_array_equal(decision.scores, seen["entropy"])
    assert query("entropy+usable", seen)[0] == unsure[:3].tolist()  # nothing was refused yet
    many, _ = query("entropy+usable", seen, budget=COUNT - 2, refused=others)
    assert set(usable) <= set(many) and len(many) == COUNT - 2
    assert set(query("coreset+usable", seen, refused=others)[0]) <= set(usable)


@pytest.mark.parametrize(("count", "clusters", "expected"), [(2, 9, 1), (9, 9, 1), (12, 9, 2), (60, 9, 9), (60, 3, 3)])
def test_each_cluster_of_refused_cases_has_five_on_average(rng, monkeypatch, count, clusters, expected):
    seen, labelled, _ = two_sides(rng)
    monkeypatch.setattr("test_composed.LABELLED", labelled)
    asked, k_means = [], composed.k_means
    monkeypatch.setattr(composed, "k_means", lambda *given: asked.append(given[3]) or k_means(*given))
    query(f"entropy+usable,clusters={clusters}", seen, refused=refused(rng.normal(size=(count, 3))))
    assert asked == [expected]


def test_rules_follow_one_another_and_are_part_of_the_name():
    named = named_strategy("margin+then:coreset,factor=5+stochastic", CLASSIFICATION_STRATEGIES)
    assert named.name == "margin+then-coreset,factor=5+stochastic"
    then, stochastic = {"name": "then", "factor": 5.0, "strategy": {"name": "coreset"}}, {"name": "stochastic"}
    assert named.identity == {"name": "margin", "rules": [then, stochastic]}
    with_options = named_strategy("entropy+then:uherding,sigma=0.5,factor=3", STRATEGIES)
    assert with_options.identity["rules"][0]["strategy"]["sigma"] == 0.5
    assert with_options.name == "entropy+then-uherding,sigma=0.5,factor=3"
    assert named_strategy("entropy", STRATEGIES).identity == {"name": "entropy"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("entropy+powr", "no rule 'powr' that follows a strategy. Did you mean power?"),
        ("entropy+usable+power", "that rule comes last. Write +power before it."),
        ("entropy+usable,clusters=0", "clusters is 0; there is one at least."),
        ("entropy+zzz", "There are power, stochastic, quota, within_cost, then, with, or, moving_to, cold, usable."),
        ("entropy+then", "takes a second strategy: entropy+then:coreset."),
        ("entropy+power:margin", "takes no second strategy: entropy+power."),
        ("entropy+then:corset", "Did you mean coreset?"),
        ("entropy+then:coreset,factr=3", "Strategy 'coreset,factr=3': there is no option 'factr'"),
        ("entropy+power,beta=-1", "beta is -1; below zero"),
        ("entropy+then:coreset,factor=0.5", "factor is 0.5; of fewer than the query"),
        ("entropy+with:margin,share=2", "share is 2; it goes from 0 to 1"),
        ("entropy+or:clue", "one of the two gives the pool's statistics a number in each round, such as a temperature"),
        ("entropy+quota", "counts images by their class, and these data have no such class"),
    ],
)
def test_rules_that_there_are_not(text, message):
    with pytest.raises(UserError, match=re.escape(message)):
        named_strategy(text, STRATEGIES)


def test_rules_on_parts_of_cases():
    named_strategy("entropy+power", STRATEGIES_OF_PARTS)
    for text, message in (
        ("entropy+stochastic", "parts of cases cost differently"),
        ("bald+then:entropy", "asked for by one strategy"),
    ):
        with pytest.raises(UserError, match=message):
            named_strategy(text, STRATEGIES_OF_PARTS)
