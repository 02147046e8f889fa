"""Splits and initial sets keep the shares of groups and classes, and subjects whole."""

from collections import Counter

import pytest
import tiny_images

from jaxal.data import cases as cases_module
from jaxal.data.cases import initial_set, split
from jaxal.data.images.listing import frequencies
from jaxal.errors import UserError
from jaxal.types import Case, Label


def make_cases(a, b):
    return [Case(f"{group}{index:02d}", group, None, None) for group, count in (("A", a), ("B", b)) for index in range(count)]


def test_splits_are_disjoint_complete_and_stratified():
    everyone = make_cases(20, 10)
    parts = split(everyone, seed=3, evaluation=0.2, test=0.3)
    assert sorted(case for part in parts for case in part) == sorted(everyone)
    assert [sum(case.group == "B" for case in part) for part in parts] == [5, 2, 3]
    assert parts == split(list(reversed(everyone)), seed=3, evaluation=0.2, test=0.3)
    assert parts != split(everyone, seed=4, evaluation=0.2, test=0.3)


def test_a_group_too_small_to_split_is_named():
    with pytest.raises(UserError, match="Group 'B' has 2 subjects"):
        split(make_cases(20, 2), seed=0, evaluation=0.2, test=0.3)


def test_initial_set_keeps_the_shares():
    pool = make_cases(20, 20)
    counts = [sum(case.group == "B" for case in initial_set(pool, 8, seed, {"A": 0.9, "B": 0.1})) for seed in range(5)]
    assert counts == [1] * 5
    assert sum(case.group == "B" for case in initial_set(pool, 8, 0)) == 4
    assert len(initial_set(pool, 9, 0)) == 9
    assert initial_set(pool, 8, 0) == initial_set(list(reversed(pool)), 8, 0)
    with pytest.raises(UserError, match=r"needs 18 cases of group 'A', but the pool has 5"):
        initial_set(make_cases(5, 20), 20, 0, {"A": 0.9, "B": 0.1})


def test_a_balanced_initial_set_takes_what_there_is_of_a_small_group():
    pool = [
        Case(f"{group}{index}", group, None, None) for group, count in (("A", 9), ("B", 1), ("C", 3)) for index in range(count)
    ]
    drawn = initial_set(pool, 9, 0)
    assert Counter(case.group for case in drawn) == {"A": 5, "B": 1, "C": 3}
    assert Counter(case.group for case in initial_set(pool, 5, 0)) == {"A": 2, "B": 1, "C": 2}
    with pytest.raises(UserError, match="needs 14 cases, but the pool has 13"):
        initial_set(pool, 14, 0)


@pytest.mark.parametrize("size", range(1, 12))
def test_shares_become_whole_numbers_that_add_up(size):
    counts = cases_module._apportion(size, {"A": 0.45, "B": 0.1, "C": 0.45})
    assert sum(counts.values()) == size
    if size >= 3:
        assert min(counts.values()) >= 1


def test_groups_are_spread_over_the_splits():
    """Within each class as it is in the whole, to within one image."""
    cases = [Case(f"{place:03d}", "fm"[place % 4 == 0], None, Label("", category="ab"[place < 40]), "") for place in range(120)]
    for seed in range(5):
        for part, share in zip(split(cases, seed, 0.2, 0.3), (0.5, 0.2, 0.3), strict=True):
            for category, many in (("a", 80), ("b", 40)):
                men = sum(case.group == "m" for case in part if case.category == category)
                assert abs(men - share * many / 4) <= 1


def test_classes_that_are_too_few_to_split_are_named(tmp_path):
    ready = tiny_images.read(tmp_path, 20)  # two are rare
    with pytest.raises(UserError, match="Class 'rare' has 2 subjects"):
        split(ready.dataset.cases, 0, 0.3, 0.4)
    cases = tiny_images.read(tmp_path, 40).dataset.cases
    splits = split(cases, 0, 0.2, 0.3)
    shares = frequencies(splits.pool)
    start = initial_set(splits.pool, 5, 0, shares)
    assert {case.category for case in start} == set(tiny_images.CLASSES)
    assert initial_set(splits.pool, 5, 1, shares) != start


def test_a_subject_with_images_of_several_classes_counts_as_its_rarest():
    """Else a class that only ever comes second would be in whatever split chance has it in."""
    cases = []
    for subject in range(24):
        second = "rare" if subject < 4 else "common"
        cases += [
            Case(f"{subject:02d}{eye}", "", None, Label("", category=name), str(subject))
            for eye, name in (("a", "common"), ("b", second))
        ]
    for seed in range(10):
        for part in split(cases, seed, 0.25, 0.25):
            assert {case.category for case in part} == {"common", "rare"}
            assert set(Counter(case.subject for case in part).values()) == {2}


def of_subjects(*categories):
    """Cases of subjects; each subject's images are of the classes that its letters name."""
    return [
        Case(f"{subject:02d}{place}", "", None, Label("", category=category), str(subject))
        for subject, letters in enumerate(categories)
        for place, category in enumerate(letters)
    ]


def test_a_class_whose_subjects_have_rarer_ones_too_is_split_with_them():
    """Of 21 subjects that have `a`, 19 go by the rarer class; two by themselves cannot fill three splits and need not."""
    cases = of_subjects(*["aab"] * 19, *["aaa"] * 2)
    for seed in range(10):
        for part in split(cases, seed, 0.2, 0.3):
            assert {case.category for case in part} == {"a", "b"}


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["ab"] * 2 + ["b"] * 18, "Class 'a' has 2 subjects"),
        (["a"] * 19 + ["b"], "Class 'b' has 1 subject;"),
        (["ac"] + ["a"] + ["bc"] * 19, "Class 'a' has 2 subjects"),
    ],
)
def test_the_number_of_a_class_s_subjects_is_true(categories, message):
    with pytest.raises(UserError) as error:
        split(of_subjects(*categories), 0, 0.2, 0.3)
    assert message in str(error.value)
    assert "at least three are needed" in str(error.value)
