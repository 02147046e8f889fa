"""Systematic draws: every case has the same chance, groups keep their shares."""

from collections import Counter

import jax
import numpy as np
import pytest

from jaxal.arrays import chances_of, gumbels, gumbels_of, numbers_of, uniforms
from jaxal.data.draws import spread

IDS = [f"case-{number:02d}" for number in range(30)]
GROUPS = {id_: "A" if number < 18 else "B" if number < 27 else "C" for number, id_ in enumerate(IDS)}


def test_every_case_has_the_same_chance():
    draws = 400
    counts = Counter(id_ for seed in range(draws) for id_ in spread(IDS, GROUPS, 5, seed, "x"))
    expected = draws * 5 / 30
    assert sum(counts.values()) == draws * 5
    squares = sum((counts[id_] - expected) ** 2 / expected for id_ in IDS)
    assert squares < 58.3, "0.1 % quantile of chi-square with 29 degrees"  # a draw without replacement varies less


def test_groups_have_their_shares_to_less_than_one_case():
    for seed in range(50):
        counts = Counter(GROUPS[id_] for id_ in spread(IDS, GROUPS, 10, seed, "x"))
        for group, size in Counter(GROUPS.values()).items():
            assert abs(counts[group] - size / 3) < 1


def test_a_small_group_is_drawn_as_often_as_its_share():
    drawn = [GROUPS[id_] for seed in range(300) for id_ in spread(IDS, GROUPS, 2, seed, "x")]
    assert abs(np.mean([group == "C" for group in drawn]) - 0.1) < 0.04


def test_draws_are_keyed_by_seed_and_purpose_and_blind_to_order():
    once = spread(IDS, GROUPS, 6, 3, "x")
    assert once == spread(IDS[::-1], GROUPS, 6, 3, "x") and len(set(once)) == 6
    assert once != spread(IDS, GROUPS, 6, 4, "x") and once != spread(IDS, GROUPS, 6, 3, "y")


def test_all_are_drawn_where_there_are_no_more():
    assert spread(IDS, GROUPS, 40, 0, "x") == IDS and spread(IDS, GROUPS, 30, 0, "x") == IDS and spread(IDS, {}, 0, 0, "x") == []


@pytest.mark.parametrize("count", [0, 1, 2, 5, 16, 17])
def test_a_names_chance_is_that_of_its_key_whatever_stands_beside_it(count):
    names, key = [f"case_{number}" for number in range(count)], jax.random.key(3)
    expected = [float(jax.random.uniform(jax.random.fold_in(key, number))) for number in numbers_of(names)]
    assert chances_of(key, names).tolist() == expected
    drawn = [float(jax.random.gumbel(jax.random.fold_in(key, number))) for number in numbers_of(names)]
    assert gumbels_of(key, names).tolist() == drawn


@pytest.mark.parametrize("count", [0, 1, 5, 16, 17])
def test_numbers_are_those_of_an_array_of_their_own_size(count):
    key = jax.random.key(4)
    assert uniforms(key, count).tolist() == jax.random.uniform(key, (count,)).tolist()
    assert gumbels(key, count).tolist() == jax.random.gumbel(key, (count,)).tolist()
