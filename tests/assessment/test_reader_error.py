"""From readers to the truth: by readers and networks whose errors are known."""

import numpy as np
import pytest

from jaxal.assessment.intervals import Estimate
from jaxal.assessment.reader_error import accuracy_with_truth, dice_with_truth, readers_agreement

LARGE = 200_000


def choosing(truth, error, classes, rng):
    """Somebody who names another class with this probability."""
    other = (truth + rng.integers(1, classes, len(truth))) % classes
    return np.where(rng.random(len(truth)) < error, other, truth)


@pytest.mark.parametrize(("classes", "error", "accuracy"), [(2, 0.1, 0.7), (3, 0.05, 0.9), (5, 0.2, 0.6), (4, 0.0, 0.8)])
def test_accuracy_with_the_truth_is_found_through_readers_who_err(classes, error, accuracy, rng):
    truth = rng.integers(0, classes, LARGE)
    readers = [choosing(truth, error, classes, rng) for _ in range(2)]
    network = choosing(truth, 1 - accuracy, classes, rng)
    measured = Estimate(float((network == readers[0]).mean()), 0.0, 1.0, LARGE)
    agreed = Estimate(float((readers[0] == readers[1]).mean()))
    assert accuracy_with_truth(measured, agreed, classes).value == pytest.approx(accuracy, abs=0.006)


def test_pairs_that_differ_count_as_wrong_at_both_classes():
    pairs = [[1.0, np.nan, np.nan], [0.0, 0.0, np.nan], [np.nan, np.nan, 1.0], [np.nan, 1.0, np.nan]]
    agreed = readers_agreement(pairs)
    assert agreed.value == 0.75 and agreed.cases == 4 and agreed.low < 0.75 < agreed.high
    assert np.isnan(readers_agreement([]).value)


@pytest.mark.parametrize("corrected", [dice_with_truth, accuracy_with_truth])
def test_both_errors_widen_the_interval_and_what_is_unknown_corrects_nothing(corrected):
    measured, agreed = Estimate(0.8, 0.75, 0.84, 12), Estimate(0.9, 0.86, 0.94, 8)
    both, certain = corrected(measured, agreed, 3), corrected(measured, Estimate(0.9), 3)
    assert both.value == certain.value > measured.value
    assert both.low < certain.low < both.value < certain.high < both.high <= 1
    assert corrected(measured, Estimate(np.nan), 3) == measured
    assert corrected(measured, Estimate(1.0), 3) == pytest.approx(measured)


def test_half_of_what_two_readers_lack_in_dice_is_one_readers_error():
    assert dice_with_truth(Estimate(0.8, 0.7, 0.9, 9), Estimate(0.9), 2) == pytest.approx((0.85, 0.75, 0.95, 9))
    assert dice_with_truth(Estimate(0.99, 0.9, 1.0, 9), Estimate(0.9), 2).value == 1.0
