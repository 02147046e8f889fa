"""How much the mean entropy of predictions changes when their logits do."""

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Protocol

import jax
import jax.numpy as jnp

Array = jax.Array
LONG = 60.0  # a change of logits up to which `expected_change` is exact, whatever the probabilities
HOPELESS = -20.0  # log-odds of a class that single precision does not see in the entropy


class Predictions(Protocol):
    """Of elements as they are now, `[classes, elements]` each; weights `[elements]`, which sum to one (`information.Reference`)."""

    @property
    def probability(self) -> Array: ...

    @property
    def log_probability(self) -> Array: ...

    @property
    def weights(self) -> Array: ...


def expected_change(as_other: list[Array], as_label: list[Array], weights: Array, now: Predictions) -> Array:
    """Change of the mean entropy, expected over the labels that a candidate may have.

    If the label is c, the logits change by `as_label[c]` in class c and by `as_other[j]` in every other class j. Only differences of
    changes matter; δ are those from the change of the class that was most probable, so that e = expm1(δ) is zero there and 1 + u,
    with u = Σ p e, is never a small difference of large numbers. The new probabilities are p (1 + e) / (1 + u), and

        ΔH = log1p(u) - Σ p' δ - Σ (p' - p) log p = log1p(u) - Σ p ((1 + e) δ + (e - u) log p) / (1 + u).

    Where the label is the most probable class, all δ are others than for the remaining labels, which share theirs: the first are
    computed once for all labels, since each element has one such class; of the second a label changes its own class's alone, whose
    term is left out of the sum rather than taken from it. The labels are summed before the elements, so that all of it is one loop
    over the elements.

    δ are cut at ±80, so that nothing overflows. That is exact as long as no δ is above `LONG`. Beyond, a class that rises from a
    probability below single precision's smallest number is lost, and of two classes that rise so far the ratio:
    `expected_change_of_long_steps` is for these.

    Args:
      as_other, as_label: changes of the logits, `[elements]` for every class.
      weights: of the labels, `[classes]`.
      now: the elements' predictions.

    Returns:
      A number.
    """
    return _mean(_changes(as_other, as_label, now), weights, now)


def expected_change_of_long_steps(as_other: list[Array], as_label: list[Array], weights: Array, now: Predictions) -> Array:
    """The same for changes of any length, at about twice the cost: where a class rises by more than `LONG` and is not hopeless then, the
    new entropy is computed for itself and the present one taken from it. Neither is close to the other there, so little is lost.
    """
    p, log_p = list(now.probability), list(now.log_probability)
    top = _largest(p)
    entropy = -sum(a * b for a, b in zip(p, log_p, strict=True))
    changes = _changes(as_other, as_label, now)
    for label, change_of_label in enumerate(as_label):
        logits = [*as_other[:label], change_of_label, *as_other[label + 1 :]]
        of_top = _select(top, logits)
        deltas = [logit - of_top for logit in logits]
        outcomes = [before + delta for before, delta in zip(log_p, deltas, strict=True)]
        rises = ((delta > LONG) & (outcome > HOPELESS) for delta, outcome in zip(deltas, outcomes, strict=True))
        beyond = functools.reduce(operator.or_, rises)
        changes[label] = jnp.where(beyond, _entropy(outcomes) - entropy, changes[label])
    return _mean(changes, weights, now)


def _entropy(logits: Sequence[Array]) -> Array:
    """Of logits of every class, `[elements]` each."""
    most = functools.reduce(jnp.maximum, logits)
    below = [logit - most for logit in logits]
    powers = [jnp.exp(part) for part in below]
    total = functools.reduce(operator.add, powers)
    return jnp.log(total) - sum(a * b for a, b in zip(powers, below, strict=True)) / total


def _mean(changes: Sequence[Array], weights: Array, now: Predictions) -> Array:
    """Over the labels, then over the elements."""
    by_element = functools.reduce(operator.add, (weight * change for weight, change in zip(weights, changes, strict=True)))
    # As a product: a sum would be fused with all of the above into one loop that a CPU does not vectorise, at twice the time.
    return jnp.matmul(by_element, now.weights, precision="highest")


def _changes(as_other: list[Array], as_label: list[Array], now: Predictions) -> list[Array]:
    """Change of each element's entropy if a candidate's label is c, `[elements]` for every class c, as `expected_change` tells."""
    p, log_p = list(now.probability), list(now.log_probability)
    top = _largest(p)
    mean_log = sum(a * b for a, b in zip(p, log_p, strict=True))

    def terms(label: int, delta: Array) -> tuple[Array, Array]:
        delta = jnp.clip(delta, -80.0, 80.0)
        e = jnp.expm1(delta)
        return p[label] * e, p[label] * ((1 + e) * delta + e * log_p[label])

    def entropy_change(u: Array, v: Array) -> Array:
        return jnp.log1p(u) - (v - u * mean_log) / (1 + u)

    top_as_label, top_as_other = _select(top, as_label), _select(top, as_other)
    moved = [terms(label, jnp.where(top[label], 0.0, delta - top_as_label)) for label, delta in enumerate(as_other)]
    of_top = entropy_change(*(sum(part) for part in zip(*moved, strict=True)))
    others = sums_of_the_others([terms(label, delta - top_as_other) for label, delta in enumerate(as_other)])
    changes = []
    for label, delta in enumerate(as_label):
        sums = (a + b for a, b in zip(others[label], terms(label, delta - top_as_other), strict=True))
        changes.append(jnp.where(top[label], of_top, entropy_change(*sums)))
    return changes


def _select(top: Sequence[Array], parts: Sequence[Array]) -> Array:
    """Of each element the part of the class that was most probable, `[elements]`."""
    return functools.reduce(operator.add, (jnp.where(is_top, part, 0.0) for is_top, part in zip(top, parts, strict=True)))


def _largest(parts: Sequence[Array]) -> list[Array]:
    """For each part where it is the first of the largest, boolean."""
    most, taken, first = functools.reduce(jnp.maximum, parts), jnp.zeros(parts[0].shape, bool), []
    for part in parts:
        first.append((part == most) & ~taken)
        taken = taken | first[-1]
    return first


def sums_of_the_others(terms: Sequence[tuple[Array, ...]]) -> list[tuple[Array, ...]]:
    """For each class the sums over all the others: of those before it and of those behind it."""

    def add(left: tuple[Array, ...], right: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(a + b for a, b in zip(left, right, strict=True))

    nothing = tuple(jnp.zeros_like(part) for part in terms[0])
    before = list(itertools.accumulate(terms[:-1], add, initial=nothing))
    behind = list(itertools.accumulate(terms[:0:-1], add, initial=nothing))[::-1]
    return [add(a, b) for a, b in zip(before, behind, strict=True)]
