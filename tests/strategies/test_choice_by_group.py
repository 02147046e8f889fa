"""Strategies that choose by group, from Dice and entropies made by hand."""

import jax
import numpy as np
import pytest

from jaxal.assessment.metrics import Overlap
from jaxal.errors import UserError
from jaxal.strategies.contract import Context, decide
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, REGRESSION_STRATEGIES, STRATEGIES
from jaxal.tasks.classification import Prediction
from jaxal.tasks.regression import Predicted, Spread, explained
from jaxal.types import Case, Seen, Unit

POOL = [Case(f"{group}{number}", group, None) for number in range(4) for group in "ABC"]
ENTROPY = {"A": 0.9, "B": 0.5, "C": 0.1}  # those that fare worst are the surest


def seen(dice):
    """Cases of these groups with this Dice, which is a multiple of a tenth."""
    cases = [Case(f"{group}seen{number}", group, None) for group, values in dice.items() for number in range(len(values))]
    hits = np.array([10 * value for values in dice.values() for value in values])
    counts = Overlap(*(np.stack([np.full(len(hits), 100.0), part], -1) for part in (hits, 10 - hits, 10 - hits)))
    return Seen(cases, {"overlap": counts})


LABELLED = seen({"A": [0.9] * 9, "B": [0.9] * 4, "C": [0.9]})
EVALUATION = seen({"A": [0.9, 0.7], "B": [0.6], "C": [0.5]})


def query(name, budget, labelled=LABELLED, evaluation=EVALUATION, pool=POOL):
    strategy = named_strategy(name, STRATEGIES).strategy
    entropy = np.array([ENTROPY[case.group] + 0.01 * int(case.id[1]) for case in pool])
    context = Context(jax.random.key(0), [Unit(case) for case in pool])
    statistics = {"entropy": entropy, "scaled_entropy": -entropy}
    return decide(strategy, context, None, statistics, labelled, evaluation, budget)


def test_a_whole_query_goes_to_the_group_that_fares_worst_and_then_to_the_next():
    decision = query("worst_group", 6)
    assert decision.query.units == ("C3", "C2", "C1", "C0", "B3", "B2")
    assert decision.explanation == {"group_dice": pytest.approx({"A": 0.8, "B": 0.6, "C": 0.5})}


def test_a_bonus_for_few_labels_is_spent_as_labels_come():
    """1 - D + c/√n with c = 0.3: A 0.3, B 0.55, C 0.8; then C 0.712, 0.673, 0.65 and, all taken, B."""
    assert query("worst_group,bonus=0.3", 5).query.units == ("C3", "C2", "C1", "C0", "B3")
    # With c = 1 A has 0.2 + 1/√4 = 0.7, B 0.4 + 1/√16 = 0.65, and C 0.5 + 1/√100 = 0.6.
    many = seen({"A": [0.9] * 4, "B": [0.9] * 16, "C": [0.9] * 100})
    assert query("worst_group,bonus=1", 1, labelled=many).query.units == ("A3",)
    # With c = 6 and two labels each: A 4.44, B 4.64, C 4.74; with three A 3.66, B 3.86, C 3.96.
    even = seen({"A": [0.9] * 2, "B": [0.9] * 2, "C": [0.9] * 2})
    assert query("worst_group,bonus=6", 5, labelled=even).query.units == ("C3", "B3", "A3", "C2", "B2")


def test_a_group_without_labels_comes_first_where_labels_count():
    without = seen({"A": [0.9], "C": [0.9]})
    assert query("worst_group,bonus=0.01", 3, labelled=without).query.units == ("B3", "C3", "C2")
    assert query("worst_group", 3, labelled=without).query.units == ("C3", "C2", "C1")


def test_a_group_that_nobody_knows_counts_as_the_worst_that_is_known():
    unknown = seen({"A": [0.9], "B": [0.6]})
    assert query("worst_group", 5, evaluation=unknown).query.units == ("B3", "B2", "B1", "B0", "C3")
    nothing = seen({"A": [], "B": [], "C": []})
    assert query("worst_group", 3, evaluation=nothing).query.units == query("entropy", 3).query.units


def test_the_labelled_cases_can_say_who_fares_worst():
    labelled = seen({"A": [0.5], "B": [0.9], "C": [0.9]})
    assert query("worst_group,weight_source=labelled", 2, labelled=labelled).query.units == ("A3", "A2")


def test_within_the_worst_group_another_score_may_order():
    assert query("worst_group,by=scaled_entropy", 3).query.units == ("C0", "C1", "C2")


def test_within_the_worst_group_it_may_draw():
    decision = query("worst_group,by=random", 4)
    chances = dict(zip([case.id for case in POOL], query("random", 4).scores, strict=True))
    assert list(decision.query.units) == sorted((f"C{number}" for number in range(4)), key=lambda id_: -chances[id_])


def test_of_one_group_the_order_is_that_within_it():
    pool = [case for case in POOL if case.group == "B"]
    assert query("worst_group", 3, pool=pool).query.units == ("B3", "B2", "B1")


def test_a_negative_bonus_is_refused():
    with pytest.raises(UserError, match="bonus is -1; below zero"):
        named_strategy("worst_group,bonus=-1", STRATEGIES)


def images(probability):
    """Images of these groups, of class 1 of 3, which is predicted with this probability; of NaN the class is not known."""
    cases = [Case(f"{group}seen{number}", group, None) for group, values in probability.items() for number in range(len(values))]
    truth = np.array([value for values in probability.values() for value in values])
    known = ~np.isnan(truth)
    predicted = np.where(known, truth, 0.0)
    rest = (1 - predicted) / 2
    return Seen(cases, {"prediction": Prediction(np.full(len(cases), 1), np.stack([rest, predicted, rest], -1), known)})


def query_of_images(name, budget, labelled, evaluation):
    strategy = named_strategy(name, CLASSIFICATION_STRATEGIES).strategy
    entropy = np.array([ENTROPY[case.group] + 0.01 * int(case.id[1]) for case in POOL])
    context = Context(jax.random.key(0), [Unit(case) for case in POOL])
    return decide(strategy, context, None, {"entropy": entropy}, labelled, evaluation, budget)


def test_of_images_the_probability_of_the_true_class_says_which_group_fares_worst():
    """Nobody knows the class of the one image of C that would make it fare well."""
    evaluation = images({"A": [0.9, 0.7], "B": [0.2, 0.6], "C": [0.6, np.nan]})
    labelled = images({"A": [0.3], "B": [0.9], "C": [0.9]})
    decision = query_of_images("worst_group", 5, labelled, evaluation)
    assert decision.query.units == ("B3", "B2", "B1", "B0", "C3")
    assert decision.explanation == {"group_probability": pytest.approx({"A": 0.8, "B": 0.4, "C": 0.6})}
    assert query_of_images("worst_group,weight_source=labelled", 2, labelled, evaluation).query.units == ("A3", "A2")
    # 1 - p + c/√n with c = 0.5 and one label each: A 0.7, B 1.1, C 0.9; with two of B 0.95, with three 0.89.
    assert query_of_images("worst_group,bonus=0.5", 3, labelled, evaluation).query.units == ("B3", "B2", "C3")


def test_images_are_drawn_within_the_worst_group_too():
    evaluation = images({"A": [0.9], "B": [0.9], "C": [0.1]})
    drawn = query_of_images("worst_group,by=random", 4, evaluation, evaluation).query.units
    assert sorted(drawn) == ["C0", "C1", "C2", "C3"] and drawn != ("C3", "C2", "C1", "C0")


def numbers(errors, step=2.0):
    """Cases of these groups with one target, 0 and a step in turn, which is missed by as much; of NaN it is not known."""
    cases = [Case(f"{group}seen{number}", group, None) for group, values in errors.items() for number in range(len(values))]
    error = np.array([[value] for values in errors.values() for value in values])
    known = ~np.isnan(error)
    label = np.where(known, np.array([[step * (place % 2)] for place in range(len(cases))]), 0.0)
    return Seen(cases, {"prediction": Predicted(label + np.where(known, error, 9.0), np.ones_like(label), label, known)})


def query_of_numbers(name, budget, labelled, evaluation):
    strategy = named_strategy(name, REGRESSION_STRATEGIES).strategy
    aleatoric = np.array([[ENTROPY[case.group] + 0.01 * int(case.id[1])] for case in POOL])
    spread = Spread(aleatoric, -2 * aleatoric, aleatoric, aleatoric, np.ones(aleatoric.shape, bool))
    context = Context(jax.random.key(0), [Unit(case) for case in POOL])
    return decide(strategy, context, None, {"spread": spread}, labelled, evaluation, budget)


def test_of_numbers_r2_says_which_group_fares_worst():
    """The variance is 1, so a group's R² is one less its mean squared error."""
    evaluation = numbers({"A": [0.0, 0.5], "B": [-1.0, 2.0], "C": [1.0, 1.0], "B ": [np.nan]})
    labelled = numbers({"A": [3.0, 3.0], "B": [0.0, 0.0], "C": [0.0, 0.0]})
    decision = query_of_numbers("worst_group,by=epistemic_variance", 5, labelled, evaluation)
    assert decision.query.units == ("B0", "B1", "B2", "B3", "C0")  # here the largest disagree least
    assert decision.explanation == {"group_r2": pytest.approx({"A": 1 - 0.125, "B": 1 - 2.5, "C": 0.0})}
    found = evaluation.statistics["prediction"]
    of_b = slice(2, 4)
    assert decision.explanation["group_r2"]["B"] == pytest.approx(explained(found.label[of_b], found.mean[of_b], np.ones(1)))
    by_labelled = query_of_numbers("worst_group,weight_source=labelled", 2, labelled, evaluation)
    assert by_labelled.query.units == ("A0", "A1")
    # 1 - R² + c/√n with c = 2 and two labels each: A 1.54, B 3.91, C 2.41; with three of B 3.65, with four 3.5.
    assert query_of_numbers("worst_group,bonus=2", 3, labelled, evaluation).query.units == ("B0", "B1", "B2")
    drawn = query_of_numbers("worst_group,by=random", 4, labelled, evaluation).query.units
    assert sorted(drawn) == ["B0", "B1", "B2", "B3"]


def test_of_one_group_numbers_are_ordered_as_by_the_strategy_within():
    """Units of the targets are those of the labelled cases here as there."""
    labelled = evaluation = numbers({"A": [0.0, 0.5]}, step=6.0)
    of_group = query_of_numbers("worst_group", 12, labelled, evaluation)
    alone = query_of_numbers("total_variance", 12, labelled, evaluation)
    scores = dict(zip(alone.query.units, alone.query.scores, strict=True))
    assert list(of_group.query.scores) == [scores[unit] for unit in of_group.query.units]
