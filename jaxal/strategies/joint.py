"""Strategies that ask for cases whose labels say most together."""

import jax
import numpy as np

from jaxal.acquisition.selection import Query, batch_bald
from jaxal.strategies.contract import Context, Needs, Strategy
from jaxal.strategies.rows import by_id, chosen, filled
from jaxal.types import Collected

Array = jax.Array


def batchbald(*, joint_samples: int = 2000) -> Strategy:
    """Images whose labels together say most of the network (Kirsch et al. 2019, arXiv 1906.08158); scores are those of single images.

    Args:
      joint_samples: label combinations that joint entropies are taken over once all of them are more.
    """
    if joint_samples < 1:
        raise ValueError(f"joint_samples is {joint_samples}; it must be at least 1.")

    def select(key: Array, scores: np.ndarray, statistics: Collected, context: Context, budget: int) -> Query:
        order = by_id(context)
        members, available = filled(statistics["member_probability"][order])
        return chosen(context, order, *batch_bald(key, members, available, min(budget, len(order)), joint_samples))

    needs = Needs(pool=("bald", "member_probability"))
    return Strategy(needs, lambda statistics, context: statistics["bald"], select=select)
