"""Filtered metrics against plain loops, and QU-BraTS against a transcription of the challenge's definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.assessment import filtering
from jaxal.assessment.filtering import THRESHOLDS


def just_above(values):
    """The next number, but none so small that processors take it for zero."""
    return np.maximum(np.nextafter(values, np.float32(200)), np.float32(1e-30))


def challenge(uncertainty, predicted, truth, brain):
    """Areas under the three curves, threshold by threshold, as the challenge's definition has them."""
    curves = {"dice": [], "positive": [], "negative": []}
    everything_positive = (predicted & truth & brain).sum()
    everything_negative = (~predicted & ~truth & brain).sum()
    for threshold in np.linspace(0, 100, 41):
        keep = uncertainty <= threshold
        size = (predicted & keep).sum() + (truth & keep).sum()
        curves["dice"].append(1.0 if size == 0 else 2 * (predicted & truth & keep).sum() / size)
        kept_positive = (predicted & truth & brain & keep).sum()
        kept_negative = (~predicted & ~truth & brain & keep).sum()
        curves["positive"].append((everything_positive - kept_positive) / (everything_positive + 1e-12))
        curves["negative"].append((everything_negative - kept_negative) / (everything_negative + 1e-12))
    areas = {}
    for name, curve in curves.items():
        areas[name] = sum(2.5 * (a + b) / 2 for a, b in itertools.pairwise(curve)) / 100
    return areas, (areas["dice"] + (1 - areas["positive"]) + (1 - areas["negative"])) / 3


@pytest.mark.parametrize(("predicted_share", "true_share"), [(0.3, 0.3), (0.0, 0.2), (0.2, 0.0), (0.0, 0.0), (1.0, 1.0)])
def test_qu_brats_is_the_challenges(rng, predicted_share, true_share):
    size = 3000
    # Whole thresholds among them, and numbers next to thresholds.
    uncertainty = np.where(rng.random(size) < 0.3, 2.5 * rng.integers(0, 41, size), rng.uniform(0, 100, size)).astype(np.float32)
    uncertainty[:100] = just_above(uncertainty[:100])
    uncertainty = np.clip(uncertainty, 0, 100)
    predicted, truth, brain = (rng.random(size) < share for share in (predicted_share, true_share, 0.8))
    counts = jax.jit(filtering.filtered_counts)(uncertainty, predicted, truth, np.ones(size, bool), brain)
    found = filtering.qu_brats(filtering.filtered_dice(counts), *filtering.filtered_ratios(counts))
    areas, score = challenge(uncertainty, predicted, truth, brain)
    assert [float(found.dice), float(found.filtered_true_positives), float(found.filtered_true_negatives)] == pytest.approx(
        list(areas.values()), abs=1e-6
    )
    assert float(found.score) == pytest.approx(score, abs=1e-6)


def test_elements_that_are_not_counted_change_nothing(rng):
    uncertainty, counted = rng.uniform(0, 100, 50).astype(np.float32), rng.random(50) < 0.6
    predicted, truth, brain = (rng.random(50) < 0.5 for _ in range(3))
    counts_of = jax.jit(filtering.filtered_counts)
    whole = counts_of(uncertainty, predicted, truth, counted, brain)
    part = counts_of(*(values[counted] for values in (uncertainty, predicted, truth, counted, brain)))
    for one, other in zip(whole, part, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_threshold_keeps_what_is_not_above_it():
    at = np.float32(THRESHOLDS)
    assert np.asarray(filtering.first_threshold(jnp.asarray(at))).tolist() == list(range(41))
    assert np.asarray(jax.jit(filtering.first_threshold)(jnp.asarray(just_above(at[:-1])))).tolist() == list(range(1, 41))


UNCERTAINTY = np.array([10.0, 30.0, 20.0, 80.0, 60.0, 10.0])
GROUPS = ["a", "a", "a", "a", "b", "b"]
RIGHT = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 1.0])


def test_a_curve_by_hand():
    curve = filtering.curve_by_threshold(filtering.mean_of_kept(RIGHT), UNCERTAINTY, GROUPS)
    at = {float(threshold): place for place, threshold in enumerate(curve.axis)}
    assert curve.axis[0] == 100.0 and curve.axis[-1] == 0.0
    for threshold, overall, a, b, kept in [
        (100, 3 / 6, 0.5, 0.5, 1.0),
        (70, 3 / 5, 2 / 3, 0.5, 5 / 6),
        (20, 2 / 3, 0.5, 1.0, 0.5),
    ]:
        place = at[threshold]
        assert curve.overall[place] == pytest.approx(overall) and curve.kept[place] == pytest.approx(kept)
        assert (curve.by_group["a"][place], curve.by_group["b"][place]) == pytest.approx((a, b))
        assert curve.gap[place] == pytest.approx(abs(a - b))
    assert np.isnan(curve.overall[at[7.5]]) and np.isnan(curve.gap[at[7.5]])


def test_an_empty_group_ends_the_curves_of_all():
    curve = filtering.curve_by_threshold(filtering.mean_of_kept(RIGHT), UNCERTAINTY + np.array([0, 0, 0, 0, 30, 30]), GROUPS)
    below = curve.axis < 40  # group b has nothing left
    assert np.isnan(curve.by_group["a"][below]).all() and np.isnan(curve.gap[below]).all()
    assert not np.isnan(curve.overall[curve.axis == 10.0]).any()
    assert not np.isnan(curve.gap[~below]).any()


def test_shares_drop_the_most_uncertain_first():
    def count(places, kept):
        return np.where(kept.any(-1), kept.sum(-1), np.nan)[:, None]

    curve = filtering.curve_by_share(count, UNCERTAINTY, GROUPS, points=7)
    assert curve.overall[:6].tolist() == [6, 5, 4, 3, 2, 1] and np.isnan(curve.overall[6])
    assert curve.by_group["b"][:2].tolist() == [2.0, 2.0] and curve.by_group["b"][2] == 1.0


def test_each_class_has_a_mean_of_its_kept_cases():
    label = np.array([0, 0, 0, 1, 1, 2])
    metric = filtering.mean_of_classes(RIGHT, label, 4)
    kept = np.array([[True] * 6, [True, True, False, True, False, False], [False] * 6])
    nan = np.nan
    expected = [[2 / 3, 0.0, 1.0, nan], [1.0, 0.0, nan, nan], [nan] * 4]
    np.testing.assert_allclose(metric(np.arange(6), kept), expected)
    np.testing.assert_allclose(metric(np.array([0, 0, 2]), np.ones((1, 3), bool)), [[2 / 3, nan, nan, nan]])


def test_groups_are_compared_over_the_classes_that_all_of_them_have():
    """Class 1 leaves group b at 60, so from there on class 0 alone counts; class 2 is in group a alone and never counts."""
    label, groups = np.array([0, 1, 2, 0, 1]), ["a", "a", "a", "b", "b"]
    right, uncertain = np.array([1.0, 0.0, 1.0, 0.0, 1.0]), np.array([10.0, 10.0, 10.0, 20.0, 70.0])
    curve = filtering.curve_by_threshold(filtering.mean_of_classes(right, label, 3), uncertain, groups)
    at = {float(threshold): place for place, threshold in enumerate(curve.axis)}
    assert (curve.by_group["a"][at[100]], curve.by_group["b"][at[100]], curve.overall[at[100]]) == (0.5, 0.5, 0.5)
    assert (curve.by_group["a"][at[60]], curve.by_group["b"][at[60]], curve.overall[at[60]]) == (1.0, 0.0, 0.5)
    below = curve.axis < 20.0  # nothing is left in common
    assert np.isnan(curve.gap[below]).all() and not np.isnan(curve.gap[~below]).any()


def test_cases_with_a_metric_each_are_averaged_by_group():
    values = np.array([1.0, 0.5, 0.0])[:, None] * np.linspace(0, 1, 41)
    curve = filtering.curve_of_cases(values, np.ones((3, 41)), ["a", "b", "b"])
    np.testing.assert_allclose(curve.overall, 0.5 * np.linspace(1, 0, 41))
    np.testing.assert_allclose(curve.gap, 0.75 * np.linspace(1, 0, 41))


def test_uncertainty_becomes_percent():
    assert float(filtering.percent_of_entropy(jnp.log(3.0), 3)) == pytest.approx(100.0)
    assert filtering.percent_of_range(np.array([2.0, 4.0, 3.0])).tolist() == [0.0, 100.0, 50.0]
    assert filtering.percent_of_range(np.full(3, 2.0)).tolist() == [0.0, 0.0, 0.0]


def test_an_interval_holds_the_truth_of_equal_groups(rng):
    """Of means of normal numbers, about 95 of 100."""
    held = 0
    for draw in range(60):
        numbers = np.random.default_rng(draw).normal(size=60)
        groups = ["a", "b"] * 30

        def gap(places, numbers=numbers):
            return np.array([numbers[places[places % 2 == 0]].mean() - numbers[places[places % 2 == 1]].mean()])

        low, high = filtering.bootstrap(gap, groups, 200, draw)
        held += low[0] <= 0.0 <= high[0]
    assert 50 <= held <= 60
    low, high = filtering.bootstrap(lambda places: np.array([np.nan, 1.0]), ["a", "b"], 20)
    assert np.isnan([low[0], high[0]]).all() and (low[1], high[1]) == (1.0, 1.0)
