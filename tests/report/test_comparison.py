"""Numbers worked by hand, and what a bootstrap must be."""

import numpy as np
import pytest

from jaxal.assessment import learning_curves
from jaxal.report import comparison
from jaxal.tasks import segmentation
from jaxal.tasks.segmentation import DiceCurve

GROUPS = np.array(["A", "A", "B", "B"])


def curve(*rounds, labelled=(8, 12, 16)):
    return DiceCurve(np.array(labelled), 40, np.array(rounds, float), GROUPS, nll=0.2, ece=0.03)


def test_measures_worked_by_hand():
    dice = np.array([[0.8, 0.8, 0.4, 0.4], [0.9, 0.9, 0.5, 0.7], [0.9, 0.9, 0.8, 0.6]])
    own = curve(*dice)
    assert own.levels(None) == pytest.approx([0.6, 0.75, 0.8])
    found = own.measures(own.levels(None), None)
    assert found["dice"] == pytest.approx(0.8)
    assert (found["dice_A"], found["dice_B"], found["worst_group"]) == pytest.approx((0.9, 0.7, 0.7))
    assert found["disparity"] == pytest.approx(0.2)  # |0.9 - 0.8| + |0.7 - 0.8|
    assert found["essp"] == pytest.approx(0.8 / 1.2)
    assert found["area"] == pytest.approx((0.5 * 0.6 + 0.75 + 0.5 * 0.8) / 2)


def test_labels_needed_at_the_ends():
    labelled = np.array([8, 12, 16])
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.8, 0.9]), 0.6) == 8
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.8, 0.9]), 0.9) == 16
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.8, 0.9]), 0.95) == np.inf
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.9, 0.8]), 0.85) == pytest.approx(11)  # the first time counts


def test_undefined_cases_are_left_out_of_the_means():
    found = segmentation.measures(np.array([0.8, np.nan, 0.4, 0.4]), GROUPS)
    assert found["dice_A"] == 0.8
    assert found["dice"] == pytest.approx(1.6 / 3)
    assert curve([0.8, np.nan, 0.4, 0.4]).levels(None) == pytest.approx([1.6 / 3])


def runs(rng, lead, seeds=4, cases=40):
    """Two strategies over the same cases; the second is better by `lead` and some noise of its own."""
    groups = np.repeat(["A", "B"], cases // 2)
    both = {"entropy": {}, "other": {}}
    for seed in range(seeds):
        base = rng.uniform(0.5, 0.9, (3, cases))
        for name, more in (("entropy", 0.0), ("other", lead)):
            dice = np.clip(base + more + 0.01 * rng.standard_normal((3, cases)), 0, 1)
            both[name][seed] = DiceCurve(np.array([8, 12, 16]), 40, dice, groups, 0.2, 0.03)
    return both


def test_paired_differences_see_what_intervals_of_means_hide(rng):
    table, differences = comparison.compare(runs(rng, 0.03), {}, ("entropy",))
    assert table["entropy"]["dice"].high > table["other"]["dice"].low  # alone, they could be the same
    change = differences["entropy"]["other"]["dice"]
    assert change.low > 0.02
    assert change.low < change.value < change.high < 0.04
    assert differences["entropy"].keys() == {"other"}


def test_intervals_hold_the_truth_about_as_often_as_they_say(rng):
    """With what a seed adds for all its cases alike; 193 of 200 do; with the plain percentiles 166 would."""
    groups, hits = np.repeat(["A", "B"], 10), 0
    for _ in range(200):
        both = {"entropy": {}, "other": {}}
        for seed in range(5):
            base = rng.uniform(0.5, 0.9, (1, 20))
            lead = 0.01 + 0.02 * rng.standard_normal() + 0.02 * rng.standard_normal((1, 20))
            for name, more in (("entropy", 0.0), ("other", lead)):
                both[name][seed] = DiceCurve(np.array([8]), None, base + more, groups, 0.2, 0.03)
        change = comparison.compare(both, {}, ("entropy",))[1]["entropy"]["other"]["dice"]
        hits += change.low <= 0.01 <= change.high
    assert 180 <= hits <= 198


def test_tails_are_those_of_the_expanded_percentile_interval():
    assert comparison.tail_of(1) == 0.025
    assert comparison.tail_of(5) == pytest.approx(0.000954, rel=1e-3)  # of sqrt(5 / 4) * 2.7764
    assert comparison.tail_of(1000) == pytest.approx(0.025, rel=0.01)


def test_the_seeds_that_all_have_are_compared(rng):
    both = runs(rng, 0.1)
    del both["other"][2]
    table, _ = comparison.compare(both, {}, ())
    expected = np.mean([both["entropy"][seed].dice[-1].mean() for seed in (0, 1, 3)])
    assert table["entropy"]["dice"].value == pytest.approx(expected)
    assert comparison.compare({"a": {0: both["entropy"][0]}, "b": {1: both["entropy"][1]}}, {}, ()) == ({}, {})


def test_the_goal_is_95_percent_of_training_on_everything():
    rising = curve([0.5] * 4, [0.7] * 4, [0.9] * 4)
    table, _ = comparison.compare({"a": {0: rising}}, {0: curve([0.8] * 4)}, ())
    assert table["a"]["labels"].value == pytest.approx(12 + 4 * (0.95 * 0.8 - 0.7) / 0.2)
    assert table["a"]["share"].value == pytest.approx(100 * table["a"]["labels"].value / 40)
    table, _ = comparison.compare({"a": {0: rising._replace(pool=None)}}, {0: curve([0.8] * 4)}, ())
    assert "labels" in table["a"] and "share" not in table["a"]


def test_labels_needed_are_read_off_the_mean_curve():
    """The second seed alone never gets there; in the mean, 0.8 of 0.8 is reached at 16."""
    good, bad = curve([0.6] * 4, [0.8] * 4, [0.9] * 4), curve([0.4] * 4, [0.6] * 4, [0.7] * 4)
    full = {seed: curve([0.8 / 0.95] * 4) for seed in (0, 1)}
    table, _ = comparison.compare({"a": {0: good, 1: bad}}, full, ())
    assert table["a"]["labels"].value == pytest.approx(16)
    assert table["a"]["labels"].low == pytest.approx(12)  # of replicates with the first seed twice
    assert table["a"]["labels"].high == np.inf
    unequal = {0: curve([0.9 / 0.95] * 4), 1: curve([0.5 / 0.95] * 4)}  # the goal is a mean, too: 0.7
    table, _ = comparison.compare({"a": {0: good, 1: bad}}, unequal, ())
    assert table["a"]["labels"].value == pytest.approx(12)


def test_goals_need_the_full_line_of_every_seed(rng):
    both = runs(rng, 0.1, seeds=2)
    full = {
        seed: DiceCurve(np.array([40]), 40, np.full((1, 40), level), np.repeat(["A", "B"], 20), 0.2, 0.03)
        for seed, level in ((0, 0.7), (1, 0.7))
    }
    assert "labels" not in comparison.compare(both, {0: full[0]}, ())[0]["other"]
    table, _ = comparison.compare(both, full, ())
    assert 8 <= table["other"]["labels"].value <= 16
    beyond = {seed: own._replace(dice=own.dice + 1) for seed, own in full.items()}
    high, differences = comparison.compare(both, beyond, ("entropy",))
    assert high["other"]["labels"].value == np.inf
    assert np.isnan(differences["entropy"]["other"]["labels"].value)  # two goals that nobody reached do not differ by a number


def test_the_goal_is_set_by_the_same_cases_as_the_curve(rng):
    """Hard cases are hard for all: with the goal fixed, a replicate of hard cases would never reach it."""
    groups, hard = np.repeat(["A", "B"], 10), rng.uniform(0, 0.4, 20)
    rising = DiceCurve(np.array([8, 12, 16]), 40, np.array([[0.4], [0.5], [0.58]]) * (1 - hard), groups, 0.2, 0.03)
    full = DiceCurve(np.array([40]), 40, 0.6 * (1 - hard)[None], groups, 0.2, 0.03)
    estimate = comparison.compare({"a": {0: rising}}, {0: full}, ())[0]["a"]["labels"]
    assert estimate.low == pytest.approx(estimate.high) == pytest.approx(12 + 4 * (0.57 - 0.5) / 0.08)


def test_replicates_without_a_defined_case_do_not_spoil_an_interval():
    rare = curve([0.8, np.nan, np.nan, 0.4], labelled=(8,))
    table, _ = comparison.compare({"a": {0: rare}}, {}, ())
    assert table["a"]["dice_A"] == (0.8, 0.8, 0.8)  # a quarter of the replicates draws the undefined case twice
    assert not np.isnan(table["a"]["worst_group"].low)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ({("a", 0): 6, ("a", 1): 6, ("b", 0): 6, ("b", 1): 2}, (6, {"a", "b"}, [0])),  # b's second seed is under way
        ({("a", 0): 2, ("a", 1): 2, ("b", 0): 2, ("b", 1): 2, ("b", 2): 2}, (2, {"a", "b"}, [0, 1])),
        ({("a", 0): 3, ("a", 1): 3, ("b", 0): 2, ("b", 1): 2}, (2, {"a", "b"}, [0, 1])),  # one strategy was extended
        ({("a", 0): 2, ("a", 1): 2, ("b", 5): 2}, (2, {"a"}, [0, 1])),
        ({**{(name, seed): 6 for name in "abcd" for seed in range(5)}, ("e", 0): 6}, (6, set("abcd"), [0, 1, 2, 3, 4])),
        ({}, (0, set(), [])),
    ],
)
def test_as_many_runs_as_can_be_are_compared(lengths, expected):
    rounds, strategies, seeds = comparison._largest_block(lengths)
    assert (rounds, set(strategies), seeds) == expected


def test_one_round_and_one_seed_still_make_a_table():
    table, _ = comparison.compare({"a": {0: curve([0.8, 0.8, 0.4, 0.4], labelled=(8,))}}, {}, ())
    assert table["a"]["area"].value == pytest.approx(0.6)
    assert table["a"]["dice"].low == pytest.approx(0.6)  # cases of a group are alike here, so nothing varies
