import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jaxal.assessment import agreement

VALUES = json.loads((Path(__file__).parents[1] / "fixtures" / "agreement.json").read_text())


def test_two_maps_by_hand():
    first, second = np.zeros((2, 4, 5), np.uint8)
    first[0, :4], first[2, 0] = 1, 2
    second[0, 1:5], second[2, 0:3] = 1, 2
    one, two, three = agreement.agreement_of_maps(first, second, 4, (2.0, 5.0), 1.0)
    assert one.dice == pytest.approx(2 * 3 / 8)
    assert two.dice == pytest.approx(2 * 1 / 4)
    assert (one.volume_difference_ml, two.volume_difference_ml) == pytest.approx((0.0, 2 * 10 / 1000))
    assert one.apart.hausdorff95_mm == pytest.approx(np.percentile([5, 0, 0, 0], 95))
    assert two.detection == (1, 1, 1, 1)
    assert np.isnan([three.dice, *three.apart, three.detection.agreement()]).all()
    assert three.volume_difference_ml == 0.0


def test_ignored_voxels_count_in_neither_map():
    rng = np.random.default_rng(0)
    first, second = rng.integers(3, size=(2, 6, 6, 6)).astype(np.uint8)
    first[0], second[5] = agreement.IGNORE, agreement.IGNORE
    part = agreement.overlap_by_class(first[1:5], second[1:5], 3)
    whole = agreement.overlap_by_class(first, second, 3)
    assert [counts.tolist() for counts in whole] == [counts.tolist() for counts in part]
    nothing = agreement.agreement_of_maps(first, np.full_like(first, agreement.IGNORE), 3, (1, 1, 1), 1.0)
    assert np.isnan([of_class.dice for of_class in nothing]).all()


def test_who_is_second_turns_the_sign_of_the_volume_alone():
    rng = np.random.default_rng(1)
    first, second = rng.integers(3, size=(2, 5, 6, 4)).astype(np.uint8)
    for there, back in zip(
        agreement.agreement_of_maps(first, second, 3, (1, 2, 1), 1.0),
        agreement.agreement_of_maps(second, first, 3, (1, 2, 1), 1.0),
        strict=True,
    ):
        assert there.dice == back.dice and there.apart == back.apart
        assert there.volume_difference_ml == -back.volume_difference_ml


def test_maps_that_cannot_be_compared():
    with pytest.raises(ValueError, match="shapes"):
        agreement.overlap_by_class(np.zeros((2, 2), int), np.zeros((2, 3), int), 2)
    with pytest.raises(ValueError, match="value 7"):
        agreement.overlap_by_class(np.zeros((2, 2), int), np.full((2, 2), 7), 2)


def test_a_map_of_background_alone():
    empty = np.zeros((3, 3, 3), np.uint8)
    (only,) = agreement.agreement_of_maps(empty, empty, 2, (1, 1, 1), 1.0)
    assert np.isnan(only.dice)
    assert agreement.agreement_of_maps(empty, empty, 1, (1, 1, 1), 1.0) == []


def test_mean_agreement_leaves_undefined_classes_out():
    dice = np.array([[0.9, 0.5, np.nan], [0.8, np.nan, np.nan], [0.7, 0.7, np.nan], [0.8, np.nan, np.nan]])
    liver, tumour, never = agreement.mean_agreement(dice)
    assert (liver.value, liver.cases) == (pytest.approx(0.8), 4)
    assert 0 < liver.low < 0.8 < liver.high < 1
    assert (tumour.value, tumour.cases) == (pytest.approx(0.6), 2)
    assert np.isnan([tumour.low, tumour.high, never.value]).all()


def test_bland_and_altman_by_hand():
    """Differences 1, 2, 3, 4: mean 2.5, deviation sqrt(5/3), t of three degrees 3.182."""
    result = agreement.bias(np.array([1.0, 2.0, np.nan, 3.0, 4.0]))
    deviation = np.sqrt(5 / 3)
    assert result.bias.value == pytest.approx(2.5)
    assert result.bias.high - 2.5 == pytest.approx(3.182446 * deviation / 2, rel=1e-6)
    assert (result.lowest, result.highest) == pytest.approx((2.5 - 1.959964 * deviation, 2.5 + 1.959964 * deviation))
    expected = stats.ttest_1samp([1, 2, 3, 4], 0).confidence_interval(0.95)
    assert (result.bias.low, result.bias.high) == pytest.approx((expected.low, expected.high))
    assert result.systematic()


def test_bias_of_little_or_nothing():
    assert np.isnan(agreement.bias(np.array([])).bias.value)
    two = agreement.bias(np.array([1.0, 2.0]))
    assert two.bias.value == 1.5
    assert np.isnan([two.bias.low, two.lowest]).all() and not two.systematic()
    equal = agreement.bias(np.zeros(5))
    assert equal.bias.value == 0.0 and np.isnan(equal.bias.low) and not equal.systematic()


def test_each_reader_has_a_bias():
    readers = ["ben", "anna", "ben", "anna", "ben", "anna", "anna"]
    differences = np.array([5.0, -0.1, 6.0, 0.1, 5.5, 0.0, np.nan])
    biases = agreement.biases_of_readers(readers, differences)
    assert list(biases) == ["anna", "ben"]
    assert biases["ben"].systematic() and not biases["anna"].systematic()
    assert biases["anna"].bias.cases == 3
    with pytest.raises(ValueError, match="7 readers"):
        agreement.biases_of_readers(readers, differences[:3])


def test_relative_differences_by_hand():
    first, second = np.array([10.0, 0.0, 0.0, 4.0]), np.array([30.0, 5.0, 0.0, 4.0])
    result = agreement.relative_difference(first, second)
    assert result[[0, 1, 3]] == pytest.approx([100.0, 200.0, 0.0]) and np.isnan(result[2])
    assert agreement.relative_difference(second, first)[[0, 1, 3]] == pytest.approx([-100.0, -200.0, 0.0])


@pytest.mark.parametrize("case", VALUES["kappas"], ids=lambda case: f"{case['classes']} classes")
def test_kappa_is_that_of_statsmodels_and_of_scikit_learn(case):
    result = agreement.cohens_kappa(np.array(case["first"]), np.array(case["second"]), case["classes"])
    assert result[:3] == pytest.approx(case["statsmodels"])
    assert result.value == pytest.approx(case["scikit-learn"])
    more = agreement.cohens_kappa(np.array(case["first"]), np.array(case["second"]), case["classes"] + 2)
    assert more == pytest.approx(result), "classes that nobody used change nothing"


def test_kappa_by_hand():
    """Two by two: 20 and 15 agree, 5 and 10 do not. Agreed 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 (Cohen's example)."""
    first, second = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]), np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
    assert agreement.cohens_kappa(first, second, 2).value == pytest.approx(0.4)


def test_perfect_agreement_is_not_certain():
    result = agreement.cohens_kappa(np.array([0, 1] * 5), np.array([0, 1] * 5), 2)
    lowest = stats.binomtest(10, 10).proportion_ci(0.95, "exact").low
    assert (result.value, result.high) == (1.0, 1.0)
    assert result.low == pytest.approx((lowest - 0.5) / 0.5)


def test_kappa_of_nothing():
    assert np.isnan(agreement.cohens_kappa(np.array([], int), np.array([], int), 2).value)
    assert np.isnan(agreement.cohens_kappa(np.ones(9, int), np.ones(9, int), 2).value)
    two = agreement.cohens_kappa(np.array([0, 1]), np.array([0, 1]), 2)
    assert two.value == 1.0 and np.isnan(two.low)
    with pytest.raises(ValueError, match="0 to 1"):
        agreement.cohens_kappa(np.array([0, 2]), np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="of the other"):
        agreement.cohens_kappa(np.array([0, 2]), np.array([0]), 3)
