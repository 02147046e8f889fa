"""Queries of as many cases as some minutes of reading allow, by what readings took so far."""

import functools
from collections.abc import Sequence

import numpy as np

from jaxal.errors import UserError
from jaxal.projects.assignment import double_count, predicted_minutes, when_it_began
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project
from jaxal.projects.state import Round, State
from jaxal.rounds.setup import Prices
from jaxal.types import Collected


def count_within(project: Project, state: State, minutes: float) -> int:
    """How many cases or parts that take as long as readings do on average can be read within so many minutes, second readings included.

    Raises:
      UserError: not even one.
    """
    each = predicted_minutes(project, state, {}, ["any"])["any"]
    count = int(minutes // each)
    while count and each * (count + double_count(project, state, count)) > minutes:
        count -= 1
    if count < 1:
        shortest = each * (1 + double_count(project, state, 1))
        raise UserError(
            f"--within-minutes is {minutes:g}, and a single case takes about {shortest:.3g} minutes of reading. Give more."
        )
    return count


def prices_of(project: Project, round_: Round) -> Prices | None:
    """What each case of the pool would take to read, and what is there for those that the strategy chooses; None where all take equally long.

    The rest is for cases at random and for second readings, which are not known yet, so it is set aside in proportion to their numbers.
    """
    foreseen, minutes = kind_of(project).foreseen, round_.fields.get("minutes")
    if foreseen is None or minutes is None:
        return None
    state, size = when_it_began(project, round_), int(round_.fields["size"])
    share = int(round_.fields["chosen"]) / (size + double_count(project, state, size))
    return Prices(foreseen.needs, functools.partial(_minutes, project, state), minutes * share)


def _minutes(project: Project, state: State, statistics: Collected, ids: Sequence[str]) -> np.ndarray:
    foreseen = kind_of(project).foreseen
    assert foreseen is not None
    sizes = foreseen.sizes(project, ids, {name: statistics[name] for name in foreseen.needs})
    each = predicted_minutes(project, state, sizes, ids)
    return np.array([each[id_] for id_ in ids])
