"""From scores to a query under a budget."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import gradients
from jaxal.acquisition.uncertainty import probability_entropy

Array = jax.Array

# Items whose joint entropies are computed at once: few on a CPU, whose cache they must fit, and on an accelerator as many as make so many
# numbers, one for each combination of labels.
_ITEMS_AT_ONCE, _NUMBERS_AT_ONCE = 8, 2**26


class Query(NamedTuple):
    """What is to be labelled next, best first.

    Attributes:
      units: the chosen units' names.
      scores: theirs; high means "label me".
      gap: score of the last unit chosen minus that of the first one left; None when none was left, or when costs decided. Where it is
        smaller than the tolerance to which scores are computed, another machine may choose another unit.
    """

    units: tuple[str, ...]
    scores: tuple[float, ...]
    gap: float | None


def top_k(
    units: list[str], scores: np.ndarray, budget: int, costs: np.ndarray | None = None, cost_at_most: float | None = None
) -> Query:
    """Takes the `budget` units of highest score; ties go to the unit whose name comes first.

    Args:
      units: distinct names.
      scores: `[units]`, finite.
      budget: units to take; all of them when there are fewer.
      costs: of the units, `[units]`.
      cost_at_most: of all that are taken; a unit that costs more than is left is passed over, and cheaper ones behind it may come in.

    Raises:
      ValueError: a score is NaN or infinite, or the numbers of units and scores differ.
    """
    scores = np.asarray(scores, np.float64)
    if scores.shape != (len(units),):
        raise ValueError(f"{len(units)} units but scores of shape {scores.shape}.")
    if not np.isfinite(scores).all():
        worst = [unit for unit, score in zip(units, scores, strict=True) if not np.isfinite(score)]
        raise ValueError(
            f"{len(worst)} units have a score that is not finite, {worst[0]} first; the model or its input is broken."
        )
    order = np.lexsort((np.asarray(units), -scores)).tolist()
    chosen, gap = order[:budget], None
    if costs is not None and cost_at_most is not None:
        chosen = affordable(order, costs, cost_at_most)[:budget]
    elif 0 < len(chosen) < len(order):
        gap = float(scores[chosen[-1]] - scores[order[budget]])
    return Query(tuple(units[i] for i in chosen), tuple(float(scores[i]) for i in chosen), gap)


def affordable(order: Sequence[int], costs: np.ndarray, cost_at_most: float) -> list[int]:
    """The places, in order, that cost no more than those before them leave."""
    taken, left = [], cost_at_most
    for place in order:
        if costs[place] <= left:
            taken.append(place)
            left -= costs[place]
    return taken


def power_scores(noise: np.ndarray, scores: np.ndarray, beta: float) -> np.ndarray:
    """log s + Gumbel(0, 1/β): the largest of them are a sample without replacement with chances ∝ s^β (Kirsch et al. 2023, arXiv 2106.12059).

    Args:
      noise: numbers from the standard Gumbel distribution, one a unit, `[units]`.
      scores: `[units]`, not negative.
      beta: large: close to top-k; zero: at random.

    Raises:
      ValueError: a score is negative.
    """
    scores = np.asarray(scores, np.float64)
    if (scores < 0).any():
        raise ValueError(f"Power sampling needs scores that are not negative, but the lowest is {scores.min():g}.")
    noise = np.asarray(noise, np.float64)
    if beta == 0:
        return noise
    return np.log(np.maximum(scores, np.finfo(np.float64).tiny)) + noise / beta


@functools.partial(jax.jit, static_argnames="budget")
def k_center(embeddings: Array, labelled: Array, available: Array, budget: int) -> tuple[Array, Array]:
    """Farthest-first traversal: again and again the point farthest from all that are labelled or chosen (Sener & Savarese 2018,
    arXiv 1708.00489, the greedy form).

    Args:
      embeddings: `[points, dimensions]`.
      labelled: `[labelled, dimensions]`, at least one.
      available: which points may be chosen, `[points]`, boolean; so that arrays can be filled up to a size that is compiled.
      budget: points to choose, at most all that are available.

    Returns:
      Places of the chosen points in order, `[budget]`, and each one's distance to what was there before it, `[budget]`. Ties
      go to the earlier point. Memory grows with the number of points, not with its square.
    """
    nearest = jnp.where(available, squared_distance_to_nearest(embeddings, labelled), -1.0)
    chosen, squares = farthest_first(nearest, functools.partial(_squared_distance, embeddings), budget)
    return chosen, jnp.sqrt(squares)


def squared_distance_to_nearest(embeddings: Array, others: Array) -> Array:
    """Squared distance of each point to the nearest of others, `[points]`, one of the others at a time."""

    def closer(nearest: Array, other: Array):
        return jnp.minimum(nearest, jnp.square(embeddings - other[None, :]).sum(-1)), None

    return jax.lax.scan(closer, jnp.full(len(embeddings), jnp.inf, embeddings.dtype), others)[0]


@functools.partial(jax.jit, static_argnames="budget")
def k_means_plus_plus(key: Array, embeddings: Array, available: Array, budget: int) -> tuple[Array, Array]:
    """Seeds of k-means on vectors as BADGE draws them (Ash et al. 2020, arXiv 1906.03671).

    The first is the longest vector; each further one is drawn with chances in proportion to its squared distance to the
    nearest one chosen (Arthur & Vassilvitskii 2007).

    Args:
      key: of the draws.
      embeddings: `[points, dimensions]`.
      available: as for `k_center`.
      budget: points to choose, at most all that are available.

    Returns:
      Places of the chosen points in order and the squared distance that each was drawn with, for the first its squared length.
    """
    lengths = jnp.square(embeddings).sum(-1)
    return _draw_far(key, lengths, functools.partial(_squared_distance, embeddings), available, budget)


@functools.partial(jax.jit, static_argnames="budget")
def k_means_plus_plus_of_gradients(
    key: Array, features: Array, error: Array, available: Array, budget: int
) -> tuple[Array, Array]:
    """The same on the head gradients error ⊗ φ, which never exist: their distances come from products of the two sides.

    Args:
      key: of the draws.
      features: `[points, features]`.
      error: `[points, classes]`, see `gradients.hallucinated_error`.
      available, budget: as for `k_means_plus_plus`, which gives the same choice for the same vectors.
    """
    distances = functools.partial(gradients.squared_distances, features, error)
    return _draw_far(key, gradients.squared_norms(features, error), distances, available, budget)


@functools.partial(jax.jit, static_argnames="budget")
def draws_by_distance(key: Array, points: Array, known: Array, available: Array, budget: int) -> tuple[Array, Array]:
    """Draws points with chances in proportion to their squared distance from known and drawn ones (k-means++, Arthur & Vassilvitskii 2007).

    Args:
      key: of the draws.
      points: `[points, dimensions]`.
      known: `[known, dimensions]`, at least one.
      available, budget: as for `k_center`.

    Returns:
      Places of the chosen points in order and the squared distance that each was drawn with.
    """
    nearest = jnp.where(available, squared_distance_to_nearest(points, known), -1.0)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(budget))
    return farthest_first(nearest, functools.partial(_squared_distance, points), budget, keys)


def _squared_distance(embeddings: Array, index: Array) -> Array:
    return jnp.square(embeddings - embeddings[index][None, :]).sum(-1)


def _draw_far(
    key: Array, lengths: Array, distances: Callable[[Array], Array], available: Array, budget: int
) -> tuple[Array, Array]:
    """The longest, then draws with chances ∝ the distance to the nearest chosen one."""
    start = jnp.where(available, lengths, -1.0).argmax()
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(budget))
    nearest = jnp.where(available, distances(start), -1.0).at[start].set(-1.0)
    chosen, squares = farthest_first(nearest, distances, budget - 1, keys[1:])
    return jnp.concatenate([start[None], chosen]), jnp.concatenate([lengths[start][None], squares])


def farthest_first(
    nearest: Array, distances: Callable[[Array], Array], budget: int, keys: Array | None = None, weight: Array | None = None
) -> tuple[Array, Array]:
    """Takes the farthest, or with keys draws by distance, and updates everybody's distance to the nearest chosen one (Gonzalez 1985).

    Args:
      nearest: `[points]`, to what is there already; below zero for a point that may not be chosen.
      distances: from a point's place to the distances of all to it.
      budget: points to choose.
      keys: one a draw.
      weight: what draws multiply the distances by, `[points]`, not negative; all alike when left out.

    Returns:
      Places in order, `[budget]`, and the distances that they had, `[budget]`. Ties go to the earlier point.
    """

    def choose(nearest: Array, key: Array | None):
        # Twins of chosen points have distance zero and no chance, unless nothing else is left.
        far = nearest if weight is None else weight * nearest
        chance = far if key is None else jnp.log(jnp.maximum(far, 1e-37)) + jax.random.gumbel(key, nearest.shape)
        index = jnp.where(nearest >= 0, chance, -jnp.inf).argmax()
        square = nearest[index]
        closer = jnp.minimum(nearest, distances(index)).at[index].set(-1.0)
        return jnp.where(nearest >= 0, closer, -1.0), (index, square)

    return jax.lax.scan(choose, nearest, keys, length=budget)[1]


def batch_bald(key: Array, members: Array, available: Array, budget: int, samples: int) -> tuple[Array, Array]:
    """Greedily the items whose labels together share most information with the member (BatchBALD, Kirsch et al. 2019, arXiv 1906.08158).

    The joint entropy of the chosen items' labels is exact as long as all combinations of labels are at most `samples`; from then
    on it is estimated from as many combinations, drawn with the probability that the members give them.

    Args:
      key: of the draws.
      members: their probabilities, `[items, members, classes]`; a member is one function, the same for all items.
      available: as for `k_center`.
      budget: items to choose, at most all that are available.
      samples: combinations of labels.

    Returns:
      Places of the chosen items in order, `[budget]`, and the mutual information of each set so far, `[budget]`, in nats. Ties go to the
      earlier item.
    """
    classes = members.shape[-1]
    conditional = _member_entropy(members)
    joint, weights = jnp.ones((1, members.shape[1]), members.dtype), jnp.ones(1, members.dtype)
    places, scores, known = [], [], jnp.zeros((), members.dtype)
    for step in range(budget):  # shapes depend on the step alone, so nothing waits for a value
        place, score, known, available = _pick(_joint_entropy(joint, weights, members), known, conditional, available)
        places.append(place)
        scores.append(score)
        exact = len(joint) * classes <= samples
        joint, weights = _extended(jax.random.fold_in(key, step), joint, weights, members[place], None if exact else samples)
    return jnp.array(places, jnp.int32), jnp.array(scores, members.dtype)


@jax.jit
def _pick(entropy: Array, known: Array, conditional: Array, available: Array) -> tuple[Array, Array, Array, Array]:
    """The item that tells most with those chosen: its place, what they tell together, their members' entropy, and who is left."""
    gains = entropy - known - conditional
    place = jnp.where(available, gains, -jnp.inf).argmax()
    return place, gains[place], known + conditional[place], available.at[place].set(False)


@jax.jit
def _member_entropy(members: Array) -> Array:
    """Mean over members of the entropy of each one's prediction, `[items]`."""
    return probability_entropy(jnp.swapaxes(members, 1, 2)).mean(-1)


@jax.jit
def _joint_entropy(joint: Array, weights: Array, members: Array) -> Array:
    """Entropy of the chosen items' labels together with that of each item, `[items]`.

    Args:
      joint: each member's probability of each combination of the chosen labels, `[combinations, members]`.
      weights: what a combination stands for, over its own mean probability, `[combinations]`: one where all of them are there.
      members: `[items, members, classes]`.
    """
    most = max(_NUMBERS_AT_ONCE // (len(joint) * members.shape[-1]), _ITEMS_AT_ONCE)
    at_once = 2 ** (min(most, len(members)).bit_length() - 1)  # pools are filled up to powers of two, so nothing is left over
    forms = [functools.partial(_joint_entropy_of, items) for items in (_ITEMS_AT_ONCE, at_once)]
    return jax.lax.platform_dependent(joint, weights, members, cpu=forms[0], default=forms[1])


def _joint_entropy_of(at_once: int, joint: Array, weights: Array, members: Array) -> Array:
    count = joint.shape[-1]

    def entropy_with(item: Array) -> Array:  # all items at once would be items times combinations in memory
        together = jnp.matmul(joint, item, precision="highest") / count
        positive = ~(together <= 0)  # so that NaN stays NaN
        terms = jnp.where(positive, together, 0.0) * jnp.log(jnp.where(positive, together, 1.0))
        return -(weights[:, None] * terms).sum()

    return jax.lax.map(entropy_with, members, batch_size=at_once)


@functools.partial(jax.jit, static_argnames="samples")
def _extended(key: Array, joint: Array, weights: Array, item: Array, samples: int | None) -> tuple[Array, Array]:
    """The combinations with a further item's labels: all of them, or some drawn by their mean probability.

    Args:
      item: `[members, classes]`.
    """
    classes = item.shape[-1]
    every = joint[:, None, :] * item.T[None]  # [combinations, classes, members]
    if samples is None:
        return every.reshape(-1, joint.shape[-1]), jnp.repeat(weights, classes)
    logarithm = jnp.log(jnp.maximum(every.mean(-1), 1e-37))
    if len(joint) == samples:  # they were drawn before: each goes on with one label
        drawn = jnp.arange(samples) * classes + jax.random.categorical(key, logarithm)
    else:
        drawn = jax.random.categorical(key, logarithm.reshape(-1), shape=(samples,))
    joint = every.reshape(-1, joint.shape[-1])[drawn]
    return joint, 1 / (samples * jnp.maximum(joint.mean(-1), 1e-37))
