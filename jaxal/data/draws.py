"""Draws of cases that are keyed by what they are for, so that they come out the same whenever they are repeated."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jaxal.arrays import chances_of, key_of, numbers_of

Array = jax.Array


def spread(ids: Sequence[str], groups: Mapping[str, str], count: int, seed: int, purpose: str) -> list[str]:
    """Draws cases at random in proportion to their groups; every case has the same chance, `count` of all.

    It is a systematic draw: cases stand in a row, group after group, each group in an order of its own chance, and every n-th is taken
    from a random place on. So a group's share of the draw differs from its share of all by less than one case (Madow & Madow 1944,
    Annals of Mathematical Statistics 15).

    Args:
      ids: to draw from.
      groups: of each.
      count: how many; all of them if there are no more.
      seed: of the project.
      purpose: what the draw is for, such as `random share of round 3`; another purpose draws others.

    Returns:
      Ids, sorted.
    """
    if count >= len(ids):
        return sorted(ids)
    key = jax.random.fold_in(key_of(seed), int(numbers_of([purpose])[0]))
    names = sorted(ids)
    chance = chances_of(jax.random.fold_in(key, 0), names)
    row = [names[place] for place in sorted(range(len(names)), key=lambda place: (groups.get(names[place], ""), chance[place]))]
    first = float(jax.random.uniform(jax.random.fold_in(key, 1)))
    places = np.floor((np.arange(count) + first) * len(row) / count).astype(int)
    return sorted(row[min(place, len(row) - 1)] for place in places)


def in_turn(seed: Sequence[int], first: int, count: int, cases: int) -> list[int]:
    """Which cases come as the first and further ones of an endless row, in which all come once, in an order of their own, before any comes again.

    Args:
      seed: of the orders.
      first: place in the row.
      count: cases from there on.
      cases: how many there are.
    """
    places = range(first, first + count)
    orders = {turn: np.random.default_rng([*seed, turn]).permutation(cases) for turn in {place // cases for place in places}}
    return [int(orders[place // cases][place % cases]) for place in places]
