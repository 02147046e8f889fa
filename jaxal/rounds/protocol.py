"""The protocol of a project with readers, where there is no test set: what is drawn at random beside a strategy's choice, and why.

The first query is drawn at random; a part of it is the evaluation set. Of every later query most is the strategy's choice, and a share
is drawn at random from the rest of what has no label. The round's network has seen neither, so it is measured on both: of what
the strategy chose all is known once the query is answered, and of the rest a random sample, which together speak for everything that had no
label. Every second case drawn at random stays out of training for good, until there are enough, so that later networks are
measured on more. A simulation follows the same protocol with the same draws (`jaxal simulate --protocol project`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxal.data.draws import spread


@dataclasses.dataclass(frozen=True)
class Shares:
    """How much is drawn at random.

    Attributes:
      random: share of each query, after the first.
      evaluation: share of the first query.
      test_cases: that stay out of training for good, at most.
    """

    random: float = 0.2
    evaluation: float = 0.25
    test_cases: int = 20


class First(NamedTuple):
    """The first query: cases for training, and those for evaluation."""

    training: tuple[str, ...]
    evaluation: tuple[str, ...]


class Beside(NamedTuple):
    """What a query asks for beside the strategy's choice: all of it, and what of it stays out of training for good."""

    drawn: tuple[str, ...]
    held_out: tuple[str, ...]


def first_query(ids: Sequence[str], groups: Mapping[str, str], size: int, shares: Shares, seed: int) -> First:
    """Draws the first query from all cases, in proportion to their groups.

    Args:
      ids: of all cases.
      groups: of each.
      size: of the query.
      shares: how much of it is for evaluation.
      seed: of the project.
    """
    drawn = spread(ids, groups, size, seed, "query 1")
    evaluation = spread(drawn, groups, evaluation_count(shares, len(drawn)), seed, "evaluation")
    return First(tuple(id_ for id_ in drawn if id_ not in set(evaluation)), tuple(evaluation))


def evaluation_count(shares: Shares, size: int) -> int:
    """How many of a first query are for evaluation; training needs one at least."""
    return min(max(1, round(shares.evaluation * size)), size - 1) if shares.evaluation and size > 1 else 0


def random_count(shares: Shares, size: int, unasked: int) -> int:
    """How many of a query are drawn at random; one at least, where any are."""
    return min(max(1, round(shares.random * size)), size, unasked) if shares.random else 0


def beside(
    rest: Sequence[str], groups: Mapping[str, str], count: int, before: tuple[int, int], shares: Shares, seed: int, round_: int
) -> Beside:
    """Draws what a query asks for beside the strategy's choice.

    Args:
      rest: cases without a label that the strategy did not choose.
      groups: of each.
      count: how many are drawn.
      before: how many were drawn so in earlier rounds, and how many of them stay out of training.
      shares: how many stay out of training at most.
      seed: of the project.
      round_: number of the project's round; the first query is round 1.
    """
    drawn = spread(rest, groups, count, seed, f"random share of round {round_}")
    all_drawn, held = before
    wanted = min((all_drawn + len(drawn) + 1) // 2 - held, shares.test_cases - held, len(drawn))
    held_out = spread(drawn, groups, max(wanted, 0), seed, f"test of round {round_}")
    return Beside(tuple(drawn), tuple(held_out))


def answered_units(record: Mapping[str, Any]) -> list[str]:
    """The units of a round's query that got a label."""
    return [unit for unit in asked_units(record) if unit not in record.get("unanswered", ())]


def asked_units(record: Mapping[str, Any]) -> list[str]:
    """The units of a round's query: those that the strategy chose, and those that were drawn at random beside them."""
    return [*record["queried"], *record.get("queried_at_random", ())]
