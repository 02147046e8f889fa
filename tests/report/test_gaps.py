"""Gaps between groups over seeds: their direction, and how often chance alone is taken for a change."""

import numpy as np
import pytest

from jaxal.assessment.filtering import curve_by_threshold, mean_of_kept
from jaxal.report import gaps


def curve(**by_group):
    values = np.array(list(by_group.values()), float)  # None becomes NaN
    return {"by_group": by_group, "gap": np.ptp(values, axis=0).tolist()}


def test_two_groups_have_a_direction_at_each_point():
    curves = [curve(a=[0.9, 0.5, None], b=[0.7, 0.6, None]), curve(a=[0.8, 0.6, 0.2], b=[0.9, 0.8, 0.3])]
    for one in curves:
        one["gap"] = None  # is not read
    np.testing.assert_allclose(gaps.directed(curves), [[0.2, 0.1, np.nan], [-0.1, 0.2, 0.1]])


def test_more_groups_have_best_less_worst():
    curves = [curve(a=[0.9, 0.5], b=[0.7, 0.6], c=[0.8, 0.8])]
    np.testing.assert_allclose(gaps.directed(curves), [[0.2, 0.3]])
    np.testing.assert_allclose(gaps.directed([curve(a=[0.9, 0.5])]), [[0.0, 0.0]])


def line(rng, cases=18):
    """Groups that are equal in truth, with an uncertainty that says nothing of errors."""
    right, uncertain = (rng.random(2 * cases) < 0.75).astype(float), 100 * rng.random(2 * cases)
    found = curve_by_threshold(mean_of_kept(right), uncertain, ["a", "b"] * cases)
    described = {
        "axis": found.axis.tolist(), "gap": found.gap.tolist(), "kept": found.kept.tolist(),
        "by_group": {name: values.tolist() for name, values in found.by_group.items()},
    }  # fmt: skip
    return {"uncertainty_curves": {"accuracy": {"by_threshold": described}}}


def test_chance_is_seldom_taken_for_a_change():
    """Of equal groups the interval of the change excludes zero in about one study of twenty; a gap without a sign widened in one of ten."""
    rng = np.random.default_rng(0)
    found = [gaps.gap_of([line(rng) for _ in range(5)], "accuracy").change for _ in range(300)]
    wider, closer = np.mean([one.low > 0 for one in found]), np.mean([one.high < 0 for one in found])
    assert wider < 0.075 and closer < 0.05


def gap(whole, left, low, high, ended=0, seeds=5):
    change = gaps.Estimate(left - whole, low, high)
    return gaps.Gap(gaps.Estimate(whole, whole - 0.01, whole + 0.01), gaps.Estimate(left), change, 0.6, ended, seeds)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"erm": gap(0.2, 0.3, 0.05, 0.15)}, "With erm the gap widens (95 % interval above zero)"),
        ({"erm": gap(0.2, 0.1, -0.15, -0.05)}, "With erm it narrows (95 % interval below zero)"),
        ({"erm": gap(0.2, 0.3, -0.05, 0.25)}, "With erm a change cannot be told from chance."),
        ({"erm": gap(0.2, 0.3, 0.05, 0.15, ended=2)}, "a group is empty there in 2 of 5 seeds"),
        ({"erm": gap(0.2, 0.3, 0.05, 0.15), "dro": gap(0.2, 0.2, -1, 1)}, "groups are 0.200 apart with erm and dro. Without"),
        ({"erm": gaps.Gap(gaps.UNKNOWN, gaps.UNKNOWN, gaps.UNKNOWN, 1.0, 1, 1)}, "there are no groups to compare"),
    ],
)
def test_the_sentence_says_what_was_found(found, told):
    assert told in gaps.sentence(found, "accuracy") and gaps.sentence(found, "accuracy").startswith("Accuracy")


def test_a_change_counts_in_the_direction_of_the_gap():
    """Two seeds whose gaps, 0.2 and -0.1, become 0.1 and -0.05: the mean falls by 0.025, whereas their sizes fall by 0.075."""
    lines = [
        {
            "uncertainty_curves": {
                "dice": {"by_threshold": {"axis": [100.0, 50.0], "kept": [1.0, 0.5], **curve(a=a, b=[0.5, 0.5])}}
            }
        }
        for a in ([0.7, 0.6], [0.4, 0.45])
    ]
    found = gaps.gap_of(lines, "dice")
    assert (found.whole.value, found.left.value, found.change.value) == pytest.approx((0.05, 0.025, -0.025))
    assert (found.kept, found.ended, found.seeds) == (0.5, 0, 2)
