import itertools
from collections import Counter

import numpy as np
import pytest

from jaxal.assessment.sharing import Reader, share_out

THREE = {"anna": Reader(100), "ben": Reader(100), "cem": Reader(100)}


def loads(shared, minutes, readers):
    total = {name: reader.load for name, reader in readers.items()}
    for case, names in shared.items():
        for name in names:
            total[name] += minutes[case]
    return total


def test_longest_first_by_hand():
    """8 and 7 go apart, 6 to the lighter, 5 to the other: 8 + 5 and 7 + 6."""
    minutes = {"a": 5.0, "b": 8.0, "c": 6.0, "d": 7.0}
    shared = share_out(list("abcd"), minutes, {}, {"anna": Reader(60), "ben": Reader(60)})
    assert shared["b"] == shared["a"] != shared["d"] == shared["c"]
    assert list(shared) == list("abcd")


def test_capacity_and_load_count():
    minutes = {str(number): 10.0 for number in range(30)}
    readers = {"anna": Reader(200), "ben": Reader(100), "cem": Reader(100, load=100), "dora": Reader(0)}
    total = loads(share_out(list(minutes), minutes, {}, readers), minutes, readers)
    assert total == {"anna": 200.0, "ben": 100.0, "cem": 100.0, "dora": 0.0}


def test_one_subject_to_one_reader():
    minutes = {f"{subject}{scan}": 10.0 for subject in "pqrs" for scan in range(3)}
    subjects = {case: case[0] for case in minutes}
    shared = share_out(list(minutes), minutes, subjects, THREE)
    assert all(len({shared[case] for case in minutes if case[0] == subject}) == 1 for subject in "pqrs")
    later = share_out(["p9"], {"p9": 10.0}, {"p9": "p"}, THREE, settled={"p": "cem"})
    assert later == {"p9": ("cem",)}
    away = {**THREE, "cem": Reader(0)}
    assert share_out(["p9"], {"p9": 10.0}, {"p9": "p"}, away, settled={"p": "cem"})["p9"] != ("cem",)


def test_a_subject_named_like_a_case_is_another():
    shared = share_out(["a", "b"], {"a": 10.0, "b": 10.0}, {"b": "a"}, {"anna": Reader(60), "ben": Reader(60)})
    assert shared["a"] != shared["b"]


@pytest.mark.parametrize("seed", range(5))
def test_nobody_waits_for_more_than_one_long_subject(seed):
    rng = np.random.default_rng(seed)
    minutes = {f"case{number}": float(rng.gamma(2) * 10) for number in range(40)}
    total = loads(share_out(list(minutes), minutes, {}, THREE), minutes, THREE)
    assert max(total.values()) - min(total.values()) <= max(minutes.values())


def test_the_order_of_everything_does_not_matter():
    rng = np.random.default_rng(0)
    cases = [f"case{number}" for number in range(24)]
    minutes, subjects = dict.fromkeys(cases, 10.0), {case: f"s{number // 2}" for number, case in enumerate(cases)}
    first = share_out(cases, minutes, subjects, THREE, double=cases[::5], key="liver")
    shuffled = list(rng.permutation(cases))
    again = share_out(shuffled, minutes, subjects, dict(reversed(THREE.items())), double=set(cases[::5]), key="liver")
    assert again == first and list(again) == shuffled
    assert share_out(cases, minutes, subjects, THREE, double=cases[::5], key="brain") != first


def test_ties_prefer_nobody():
    counts = Counter(share_out([case], {case: 10.0}, {}, THREE)[case][0] for case in map(str, range(300)))
    assert min(counts[name] for name in THREE) > 70


@pytest.mark.parametrize("readers", [2, 3, 4, 5])
def test_all_pairs_come_round(readers):
    names = {f"r{number}": Reader(100) for number in range(readers)}
    pairs = list(itertools.combinations(sorted(names), 2))
    cases = [f"case{number}" for number in range(3 * len(pairs) + 1)]
    counts = Counter()
    for part in (cases[:4], cases[4:9], cases[9:]):  # round by round, with what was before
        shared = share_out(part, dict.fromkeys(part, 10.0), {}, names, double=part, pairs=counts)
        assert all(len(set(both)) == 2 for both in shared.values())
        counts.update(tuple(sorted(both)) for both in shared.values())
    assert set(counts) == set(pairs)
    assert max(counts.values()) - min(counts.values()) <= 1


def test_double_reading_is_balanced_and_keeps_subjects_together():
    minutes = {f"{subject}{scan}": 10.0 for subject in "abcdefgh" for scan in range(2)}
    subjects, double = {case: case[0] for case in minutes}, {"a0", "c1", "f0"}
    shared = share_out(list(minutes), minutes, subjects, THREE, double=double)
    assert {case for case, both in shared.items() if len(both) == 2} == double
    assert all(shared[f"{subject}0"][0] == shared[f"{subject}1"][0] for subject in "abcdefgh")
    total = loads(shared, minutes, THREE)
    assert max(total.values()) - min(total.values()) <= 20
    settled = share_out(["a0"], minutes, subjects, THREE, double={"a0"}, settled={"a": "ben"})["a0"]
    assert settled[0] == "ben" and settled[1] in ("anna", "cem")


def test_what_cannot_be_shared_out():
    assert share_out([], {}, {}, THREE) == {}
    assert share_out(["a"], {"a": 1.0}, {}, {"anna": Reader(1)}, double=["a"]) == {"a": ("anna",)}
    with pytest.raises(ValueError, match="capacity"):
        share_out(["a"], {"a": 1.0}, {}, {"anna": Reader(0)})
    with pytest.raises(ValueError, match="twice"):
        share_out(["a", "a"], {"a": 1.0}, {}, THREE)
