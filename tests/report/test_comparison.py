"""Numbers worked by hand, and what an interval must be."""

import coverage_of_intervals
import numpy as np
import pytest
from scipy import stats

from jaxal.assessment import learning_curves
from jaxal.report import comparison
from jaxal.tasks import overlap
from jaxal.tasks.overlap import DiceCurve

GROUPS = np.array(["A", "A", "B", "B"])


def curve(*rounds, labelled=(8, 12, 16), groups=GROUPS):
    return DiceCurve(np.array(labelled[: len(rounds)]), 40, np.array(rounds, float), groups, {"nll": 0.2, "ece": 0.03})


def test_measures_worked_by_hand():
    dice = np.array([[0.8, 0.8, 0.4, 0.4], [0.9, 0.9, 0.5, 0.7], [0.9, 0.9, 0.8, 0.6]])
    dice_curve = curve(*dice)
    assert dice_curve.levels() == pytest.approx([0.6, 0.75, 0.8])
    measures = dice_curve.measures()
    assert measures["dice"] == pytest.approx(0.8)
    assert (measures["dice_A"], measures["dice_B"], measures["worst_group"]) == pytest.approx((0.9, 0.7, 0.7))
    assert measures["disparity"] == pytest.approx(0.2)  # |0.9 - 0.8| + |0.7 - 0.8|
    assert measures["essp"] == pytest.approx(0.8 / 1.2)
    assert measures["area"] == pytest.approx((0.5 * 0.6 + 0.75 + 0.5 * 0.8) / 2)


def test_labels_needed_at_the_ends():
    labelled = np.array([8, 12, 16])
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.8, 0.9]), 0.6) == 8
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.8, 0.9]), 0.9) == 16
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.8, 0.9]), 0.95) == np.inf
    assert learning_curves.labels_needed(labelled, np.array([0.7, 0.9, 0.8]), 0.85) == pytest.approx(11)  # the first time counts


@pytest.mark.parametrize(("level", "needed"), [(0.8, 8.0), (-0.3, np.inf)])
def test_a_share_of_less_than_nothing_is_never_reached(level, needed):
    """As of R², which may be negative: a curve above it would seem to need no label more."""
    full, own = curve([level] * 4, labelled=(40,)), curve([level + 0.1] * 4, [level + 0.1] * 4)
    table, _ = comparison.compare({"random": {0: own}}, {0: full}, ())
    assert table["random"]["labels"].value == needed


def test_undefined_cases_are_left_out_of_the_means():
    measures = overlap.measures(np.array([0.8, np.nan, 0.4, 0.4]), GROUPS)
    assert measures["dice_A"] == 0.8
    assert measures["dice"] == pytest.approx(1.6 / 3)
    assert curve([0.8, np.nan, 0.4, 0.4]).levels() == pytest.approx([1.6 / 3])


def runs(rng, lead, seeds=4, cases=40):
    """Two strategies over the same cases; the second is better by `lead` and some noise of its own."""
    groups = np.repeat(["A", "B"], cases // 2)
    both = {"entropy": {}, "other": {}}
    for seed in range(seeds):
        base = rng.uniform(0.5, 0.9, (3, cases))
        for name, more in (("entropy", 0.0), ("other", lead)):
            dice = np.clip(base + more + 0.01 * rng.standard_normal((3, cases)), 0, 1)
            both[name][seed] = DiceCurve(np.array([8, 12, 16]), 40, dice, groups, {"nll": 0.2, "ece": 0.03})
    return both


def test_paired_differences_see_what_intervals_of_means_hide(rng):
    table, differences = comparison.compare(runs(rng, 0.03), {}, ("entropy",))
    assert table["entropy"]["dice"].high > table["other"]["dice"].low  # alone, they could be the same
    change = differences["entropy"]["other"]["dice"]
    assert change.low > 0.02
    assert change.low < change.value < change.high < 0.04
    assert differences["entropy"].keys() == {"other"}


def test_intervals_are_students_of_the_seeds_values():
    """Against scipy's own, and as tables of t have it: 4.303 standard errors of three seeds."""
    values = np.array([0.7, 0.75, 0.85, 0.8, 0.72])
    low, high = stats.t.interval(0.95, 4, values.mean(), stats.sem(values))
    assert comparison.mean_over_seeds(values) == pytest.approx((values.mean(), low, high))
    three = comparison.mean_over_seeds(np.array([0.0, 1.0, 2.0]))
    assert three == pytest.approx((1.0, 1 - 4.303 / 3**0.5, 1 + 4.303 / 3**0.5), rel=1e-3)


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_one_or_two_seeds_nothing_is_said_of_how_far_they_can_be_believed(rng, seeds):
    both = runs(rng, 0.1, seeds=seeds)
    full = {seed: curve(*np.full((1, 40), 0.7), groups=np.repeat(["A", "B"], 20)) for seed in range(seeds)}
    table, differences = comparison.compare(both, full, ("entropy",))
    for estimates in (*table.values(), *differences["entropy"].values()):
        assert {"dice", "disparity", "nll", "labels", "share"} <= estimates.keys()
        for estimate in estimates.values():
            assert np.isnan((estimate.low, estimate.high)).all()
    assert np.isfinite([table["other"][name].value for name in ("dice", "labels", "share")]).all()
    assert comparison.means_over(seeds) == f"mean over {('one seed', 'two seeds')[seeds - 1]}: no interval"


def test_no_case_counts_twice(rng):
    """Seeds that differ by their cases alone: an interval is as wide as their means' spread asks for, however the cases vary within them."""
    base = rng.uniform(0.2, 0.8, (5, 40))
    spread = {
        seed: curve(0.5 + (base[seed] - base[seed].mean()) + 0.01 * seed, groups=np.repeat(["A", "B"], 20)) for seed in range(5)
    }
    alike = {seed: curve(np.full(40, 0.5 + 0.01 * seed), groups=np.repeat(["A", "B"], 20)) for seed in range(5)}
    wide, narrow = (comparison.compare({"a": curves}, {}, ())[0]["a"]["dice"] for curves in (spread, alike))
    assert wide == pytest.approx(narrow)


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize(
    "scenario", [coverage_of_intervals.CASES_VARY, coverage_of_intervals.SEEDS_VARY], ids=lambda scenario: scenario.name
)
def test_intervals_hold_the_truth_as_often_as_they_say(scenario, seeds):
    """In 93.6 to 96.4 of 100 of 4000 studies, four standard errors around 95; `tests/coverage_of_intervals.py` has more of it."""
    dice, _ = coverage_of_intervals.draw(scenario, 4000 * seeds, np.random.default_rng(0))
    last = {name: values[:, -1].mean(-1).reshape(seeds, 4000) for name, values in dice.items()}
    expected = {name: levels[-1] for name, levels in coverage_of_intervals.CURVES.items()}
    of_means = last["other"] - expected["other"]
    for errors in (of_means, of_means - (last["entropy"] - expected["entropy"])):
        assert 0.936 <= (abs(errors.mean(0)) <= comparison.half_width(errors)).mean() <= 0.964


def test_whole_comparisons_of_simulated_studies_hold_the_truth_too():
    """Of 100 studies with bounds of four standard errors around 92 %; labels needed are covered by more."""
    scenario, rng = coverage_of_intervals.CASES_VARY, np.random.default_rng(0)
    held = coverage_of_intervals.coverage(scenario, coverage_of_intervals.truth(scenario, 1000, rng), 5, 100, rng)
    assert all(held[name] >= 0.81 for name in held)


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
    unequal = {0: curve([0.9 / 0.95] * 4), 1: curve([0.5 / 0.95] * 4)}  # the goal is a mean, too: 0.7
    table, _ = comparison.compare({"a": {0: good, 1: bad}}, unequal, ())
    assert table["a"]["labels"].value == pytest.approx(12)


def test_the_interval_of_labels_needed_ends_where_the_gaps_interval_reaches_the_goal():
    """Gaps to the goal of three seeds, -d, 0 and d around the mean curve: t's interval is 4.303 d / sqrt(3) to either side."""
    d = 0.02
    moved = {seed: curve(*(np.array([[0.6], [0.7], [0.9]]) + (seed - 1) * d + np.zeros(4))) for seed in range(3)}
    full = {seed: curve([0.8 / 0.95] * 4) for seed in range(3)}
    half = 4.303 * d / 3**0.5
    needed = comparison.compare({"a": moved}, full, ())[0]["a"]["labels"]
    assert needed == pytest.approx((14, 14 - 4 * half / 0.2, 14 + 4 * half / 0.2), rel=1e-3)
    late = {seed: curve([0.89 / 0.95] * 4) for seed in range(3)}
    needed = comparison.compare({"a": moved}, late, ())[0]["a"]["labels"]
    assert needed.value == pytest.approx(15.8) and needed.high == np.inf  # other splits and trainings might not get there
    never = {seed: curve([1 / 0.95] * 4) for seed in range(3)}
    assert comparison.compare({"a": moved}, never, ())[0]["a"]["share"] == (np.inf, np.inf, np.inf)


def test_goals_need_the_full_line_of_every_seed(rng):
    both = runs(rng, 0.1, seeds=2)
    full = {
        seed: DiceCurve(np.array([40]), 40, np.full((1, 40), level), np.repeat(["A", "B"], 20), {"nll": 0.2, "ece": 0.03})
        for seed, level in ((0, 0.7), (1, 0.7))
    }
    assert "labels" not in comparison.compare(both, {0: full[0]}, ())[0]["other"]
    table, _ = comparison.compare(both, full, ())
    assert 8 <= table["other"]["labels"].value <= 16
    beyond = {seed: dice_curve._replace(dice=dice_curve.dice + 1) for seed, dice_curve in full.items()}
    high, differences = comparison.compare(both, beyond, ("entropy",))
    assert high["other"]["labels"].value == np.inf
    assert np.isnan(differences["entropy"]["other"]["labels"].value)  # two goals that nobody reached do not differ by a number


def test_nobody_knows_by_how_much_a_goal_is_nearer_that_one_did_not_reach():
    reaching, failing = curve([0.6] * 4, [0.7] * 4, [0.9] * 4), curve([0.6] * 4, [0.6] * 4, [0.6] * 4)
    runs_of = {"random": {0: failing}, "entropy": {0: reaching}, "early": {0: curve([0.6] * 4, [0.9] * 4, [0.9] * 4)}}
    _, differences = comparison.compare(runs_of, {0: curve([0.8 / 0.95] * 4)}, ("random", "entropy"))
    assert np.isnan(differences["random"]["entropy"]["labels"].value)
    assert np.isnan(differences["entropy"]["random"]["share"].value)
    assert differences["entropy"]["early"]["labels"].value == pytest.approx(12 - 4 / 3 - 14)


def test_the_goal_is_set_by_the_same_cases_as_the_curve(rng):
    """Hard cases are hard for all: with one goal for all seeds, those with hard cases would seem to need more labels."""
    groups, rising, full = np.repeat(["A", "B"], 10), {}, {}
    for seed in range(4):
        ease = 1 - rng.uniform(0, 0.4, 20)
        rising[seed] = curve(*(np.array([[0.4], [0.5], [0.64]]) * ease / ease.mean() + 0.1 * seed), groups=groups)
        full[seed] = curve(0.6 * ease / ease.mean() + 0.1 * seed / 0.95, groups=groups)
    estimate = comparison.compare({"a": rising}, full, ())[0]["a"]["labels"]
    assert estimate.low == pytest.approx(estimate.high) == pytest.approx(12 + 4 * (0.57 - 0.5) / 0.14)


def test_a_group_without_a_defined_case_in_one_seed_is_not_known():
    rare, common = curve([np.nan, np.nan, 0.4, 0.4]), curve([0.8, 0.7, 0.4, 0.4])
    table, _ = comparison.compare({"a": {0: rare, 1: common, 2: common}}, {}, ())
    assert np.isnan(table["a"]["dice_A"]).all()
    assert not np.isnan(table["a"]["dice_B"].value) and not np.isnan(table["a"]["dice"]).any()


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
    rounds, strategies, seeds = comparison.largest_block(lengths)
    assert (rounds, set(strategies), seeds) == expected


def test_one_round_and_one_seed_still_make_a_table():
    table, _ = comparison.compare({"a": {0: curve([0.8, 0.8, 0.4, 0.4], labelled=(8,))}}, {}, ())
    assert table["a"]["area"].value == pytest.approx(0.6)
