"""What strategies that choose a set share: the pool in the order of ids, in few sizes."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition.selection import Query
from jaxal.strategies.contract import Context
from jaxal.types import Collected

Array = jax.Array


def by_id(context: Context) -> np.ndarray:
    """Places of the pool in the order of ids: draws and ties then depend on the ids, not on the order in which units come."""
    return np.argsort(context.ids)


def filled(rows: np.ndarray) -> tuple[Array, Array]:
    """Rows filled up to a power of two, which is compiled once for many rounds, and which of them are real."""
    count = len(rows)
    whole = np.pad(rows, [(0, 2 ** (count - 1).bit_length() - count)] + [(0, 0)] * (rows.ndim - 1))
    return jnp.asarray(whole), jnp.arange(len(whole)) < count


def repeated(rows: np.ndarray) -> Array:
    """Rows filled up to a power of two by repeating the first, which changes no distance to the nearest."""
    missing = 2 ** (len(rows) - 1).bit_length() - len(rows)
    return jnp.asarray(np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]))


def no_score(statistics: Collected, context: Context) -> np.ndarray:
    """Zeros: a set is chosen, and a case by itself has no score."""
    return np.zeros(len(context.pool))


def few(key: Array, order: np.ndarray, most: int = 5000) -> np.ndarray:
    """So many places at most, drawn at random, in the same order; the pairs of 5000 cases are 200 MB."""
    if len(order) <= most:
        return order
    return order[np.sort(np.asarray(jax.random.permutation(jax.random.fold_in(key, 1), len(order)))[:most])]


def chosen(context: Context, order: np.ndarray, places: Array | np.ndarray, scores: Array | np.ndarray) -> Query:
    """A query of places in the order of ids; no cut divides what is chosen from what is not, so there is no gap to report."""
    units = tuple(context.pool[order[place]].id for place in np.asarray(places))
    return Query(units, tuple(float(score) for score in np.asarray(scores)), None)
