"""Splits in which groups are tested alike, and the study of fair training as the command line runs it."""

from collections import Counter

import pytest

from jaxal.errors import UserError
from jaxal.studies.fair import fold, split_equally
from jaxal.types import Case


def cases(common=20, scarce=6, scans=1):
    sizes = {"common": common, "scarce": scarce}
    return [
        Case(f"{group}_{number:02d}_{scan}", group, None, subject=f"{group}_{number:02d}")
        for group, size in sizes.items()
        for number in range(size)
        for scan in range(scans)
    ]


def counts(part):
    return dict(Counter(case.group for case in part))


def test_groups_are_tested_in_equal_numbers_and_the_rest_is_trained_on():
    everything = cases()
    splits = split_equally(everything, 0, 0.5)
    assert counts(splits.test) == {"common": 3, "scarce": 3} and counts(splits.pool) == {"common": 17, "scarce": 3}
    assert sorted({*splits.pool, *splits.test}) == sorted(everything) and not splits.evaluation
    assert split_equally(everything[::-1], 0, 0.5) == splits  # whatever their order
    assert len({split_equally(everything, seed, 0.5).test for seed in range(5)}) == 5


def test_scans_of_one_subject_stay_together():
    splits = split_equally(cases(scans=3), 0, 0.5)
    assert counts(splits.test) == {"common": 9, "scarce": 9}
    assert not {case.subject for case in splits.pool} & {case.subject for case in splits.test}


def test_seeds_go_through_the_folds_of_one_partition():
    everything = cases(20, 10)
    parts = [fold(everything, seed, 5) for seed in range(5)]
    tested = [case for part in parts for case in part.test]
    assert len(tested) == len(set(tested)) == 20
    assert [counts(part.test) for part in parts] == [{"common": 2, "scarce": 2}] * 5
    assert {case for case in tested if case.group == "scarce"} == {case for case in everything if case.group == "scarce"}
    assert all(sorted({*part.pool, *part.test}) == sorted(everything) for part in parts)
    assert fold(everything, 5, 5).test not in [part.test for part in parts]


@pytest.mark.parametrize(
    ("made", "message"), [(cases(20, 1), "Group 'scarce' has one subject"), (cases(20, 4), "5 folds need as many")]
)
def test_groups_that_are_too_small_are_told_of(made, message):
    with pytest.raises(UserError, match=message):
        fold(made, 0, 5)
