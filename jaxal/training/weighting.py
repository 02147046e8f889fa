"""How much groups of patients count in training: empirical risk, balanced groups, and the worst-served group first.

A method decides which case comes when, on the host, and what each example's loss weighs, in the step. All of it is one keyword of the same
trainer. The formulas are those of Sagawa et al. 2020 (arXiv 1911.08731) as their published code has them; Mehta, Shui & Arbel 2023
(PMLR 227, "Evaluating the Fairness of Deep Learning Uncertainty Estimates in Medical Image Analysis") compare the same three methods.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxal.named_options import made_by_name

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class GroupDRO:
    """How the groups' shares of the loss follow their losses.

    Attributes:
      step_size: η, how fast shares follow losses.
      adjustment: C; a group of n labelled cases counts as though its loss were higher by C / sqrt(n), because few cases are learnt by heart.
      normalise: whether losses are divided by their sum before shares follow them.
      worst: share of the cases that counts, those of the groups with the highest average losses (conditional value at risk); None for the
        shares above.
      memory: weight of the newest loss in those averages.
    """

    step_size: float = 0.01
    adjustment: float = 0.0
    normalise: bool = False
    worst: float | None = None
    memory: float = 0.1


@dataclasses.dataclass(frozen=True)
class Weighting:
    """A method of training.

    Attributes:
      method: its name.
      by: of the balanced method, whether cases are left out or weighed.
      dro: of GroupDRO, how shares follow losses.
    """

    method: Literal["erm", "balanced", "groupdro"] = "erm"
    by: Literal["sampling", "weights"] = "sampling"
    dro: GroupDRO | None = None

    @property
    def weighs(self) -> bool:
        """Whether examples of one batch weigh differently."""
        return self.method == "groupdro" or (self.method == "balanced" and self.by == "weights")


# Methods by name; their keywords are their options.


def erm() -> Weighting:
    """Empirical risk minimisation: every labelled case counts alike, whichever group it is of."""
    return Weighting()


def balanced(*, by: Literal["sampling", "weights"] = "sampling") -> Weighting:
    """Groups count alike: as many cases of each are trained on, class by class, and the others left out; or all are, and weigh less where there are more.

    Args:
      by: sampling, as in the paper, or weights.
    """
    return Weighting("balanced", by)


def groupdro(
    *, step_size: float = 0.01, adjustment: float = 0.0, normalise: bool = False, worst: float | None = None, memory: float = 0.1
) -> Weighting:
    """The worst-served group counts most: shares of the groups' losses grow with these losses, step by step, over batches in which groups take turns.

    Args:
      step_size, adjustment, normalise, worst, memory: see `GroupDRO`.

    Raises:
      ValueError: a number is out of range.
    """
    for name, value in (("step_size", step_size), ("adjustment", adjustment)):
        if value < 0:
            raise ValueError(f"{name} is {value:g}; it must not be negative.")
    if worst is not None and not 0 < worst <= 1:
        raise ValueError(f"worst is {worst:g}; it must be above 0 and at most 1.")
    if not 0 < memory <= 1:
        raise ValueError(f"memory is {memory:g}; it must be above 0 and at most 1.")
    return Weighting("groupdro", dro=GroupDRO(step_size, adjustment, normalise, worst, memory))


METHODS: Mapping[str, Callable[..., Weighting]] = {make.__name__: make for make in (erm, balanced, groupdro)}


def named_method(text: str) -> Weighting:
    """The method of a name, perhaps with options behind it: `groupdro,step_size=0.1`.

    Raises:
      UserError: there is no such method or option, or the option takes no such value.
    """
    return made_by_name(text, METHODS, "Method", "There is no method {}")


# On the host: which case comes when


class Membership(NamedTuple):
    """Which groups labelled cases belong to.

    Attributes:
      group: number of each case's group, `[cases]`.
      class_: number of each case's class, `[cases]`; zero where images have no class as a whole.
      groups: how many groups there are, those without a labelled case included.
    """

    group: np.ndarray
    class_: np.ndarray
    groups: int

    @property
    def sizes(self) -> np.ndarray:
        """Labelled cases of each group, `[groups]`."""
        return np.bincount(self.group, minlength=self.groups)


def membership_of(groups: Sequence[str], classes: Sequence[str], names: Sequence[str]) -> Membership:
    """Numbers in place of names.

    Args:
      groups, classes: of each labelled case, `[cases]`.
      names: of all groups.
    """
    number = {name: place for place, name in enumerate(names)}
    class_ = np.unique(np.asarray(classes, str), return_inverse=True)[1]
    return Membership(np.array([number[name] for name in groups], np.int32), class_.astype(np.int32), len(names))


def equal_parts(membership: Membership, rng: np.random.Generator) -> np.ndarray:
    """Places of as many cases of each group as the smallest has, class by class, drawn at random: sorted.

    A class that a group lacks altogether is drawn equally from the groups that have it, because it would vanish otherwise.
    """
    chosen: list[int] = []
    for class_ in np.unique(membership.class_):
        of_class = membership.class_ == class_
        places = [np.flatnonzero(of_class & (membership.group == group)) for group in range(membership.groups)]
        places = [part for part in places if len(part)]
        fewest = min(map(len, places))
        chosen += [int(place) for part in places for place in rng.permutation(part)[:fewest]]
    return np.array(sorted(chosen))


def equal_weights(membership: Membership) -> np.ndarray:
    """What each case weighs so that groups weigh alike within each class, `[cases]`, one in the mean over a class.

    It is n / (G n_g) of a class with n cases, n_g of them in the case's group, one of the G groups that have the class.
    """
    weights = np.empty(len(membership.group), np.float32)
    for class_ in np.unique(membership.class_):
        of_class = np.flatnonzero(membership.class_ == class_)
        sizes = np.bincount(membership.group[of_class], minlength=membership.groups)
        weights[of_class] = len(of_class) / ((sizes > 0).sum() * sizes[membership.group[of_class]])
    return weights


class Order:
    """Which labelled cases each step is trained on.

    Args:
      weighting: the method.
      membership: of the labelled cases; needed by all methods but ERM.
      count: of the labelled cases.
      seed: words of the training's key.
      size: examples in a batch.
    """

    def __init__(self, weighting: Weighting, membership: Membership | None, count: int, seed: Sequence[int], size: int):
        self._seed, self._size = list(seed), size
        self._parts = [np.arange(count)]
        if weighting.method != "erm":
            assert membership is not None
            if weighting.method == "groupdro":
                self._parts = [np.flatnonzero(membership.group == group) for group in np.flatnonzero(membership.sizes)]
            elif weighting.by == "sampling":
                self._parts = [equal_parts(membership, np.random.default_rng([*self._seed, 2**31]))]
        # Once through everything takes as long as each group needs for all of its cases.
        self.count = sum(map(len, self._parts))

    def at(self, step: int) -> list[int]:
        """The cases of a step. Parts take turns, and each goes through all of its cases in an order of its own for every epoch."""
        turns, orders, cases = len(self._parts), {}, []
        for place in range(step * self._size, (step + 1) * self._size):
            part, (epoch, at) = place % turns, divmod(place // turns, len(self._parts[place % turns]))
            if (part, epoch) not in orders:
                rng = np.random.default_rng([*self._seed, epoch, *([2, part] if turns > 1 else [])])
                orders[part, epoch] = rng.permutation(self._parts[part])
            cases.append(int(orders[part, epoch][at]))
        return cases


# In the step: what each example weighs


class Cohort(NamedTuple):
    """What a step knows of the groups of its examples.

    Attributes:
      group: number of each example's group, `[examples]`, int32.
      weight: what each example's loss is multiplied by, `[examples]`.
      sizes: labelled cases of each group, `[groups]`.
    """

    group: Any
    weight: Any
    sizes: Any


class Shares(NamedTuple):
    """What GroupDRO remembers from step to step, `[groups]` each.

    Attributes:
      share: q, of the groups in the loss.
      average: of each group's losses.
      seen: 1 for groups of which a loss was seen.
    """

    share: Array
    average: Array
    seen: Array


def first_shares(groups: int) -> Shares:
    """The state before the first step: all groups alike."""
    return Shares(jnp.full(groups, 1 / groups), jnp.zeros(groups), jnp.zeros(groups))


def group_losses(losses: Array, cohort: Cohort) -> tuple[Array, Array]:
    """Weighted mean loss of each group in a batch, and the weight that it has there: `[groups]` each; zero where the group is absent."""
    chex.assert_rank([losses, cohort.group, cohort.weight], 1)
    there = cohort.group[None, :] == jnp.arange(len(cohort.sizes))[:, None]
    weight = jnp.where(there, cohort.weight[None, :], 0.0).sum(-1)
    total = jnp.where(there, (losses * cohort.weight)[None, :], 0.0).sum(-1)
    return total / jnp.where(weight > 0, weight, 1.0), weight


def next_shares(dro: GroupDRO, shares: Shares, loss: Array, weight: Array, sizes: Array) -> Shares:
    """Shares after a batch: q_g exp(η (l_g + C / sqrt(n_g))), brought to sum one (Sagawa et al. 2020, arXiv 1911.08731, algorithm 1).

    With `dro.worst`, shares are those of the conditional value at risk instead: groups with the highest averaged losses get their part of all cases,
    over `worst`, until that share is used up.

    Args:
      dro: options.
      shares: before.
      loss: mean loss of each group in the batch, zero where it is absent, `[groups]`.
      weight: of each group in the batch, `[groups]`.
      sizes: labelled cases of each group, `[groups]`; a group of none has no share.
    """
    exists, here = sizes > 0, weight > 0
    adjusted = loss + jnp.where(exists, dro.adjustment / jnp.sqrt(jnp.where(exists, sizes, 1.0)), 0.0)
    kept = jnp.where(here, 1.0 - dro.memory, 1.0) * shares.seen
    average = shares.average * kept + loss * (1.0 - kept)
    seen = jnp.maximum(shares.seen, here.astype(shares.seen.dtype))
    if dro.worst is not None:
        return Shares(_worst(dro, average, sizes), average, seen)
    if dro.normalise:
        total = adjusted.sum()
        adjusted = adjusted / jnp.where(total > 0, total, 1.0)
    share = jnp.where(exists, shares.share * jnp.exp(dro.step_size * adjusted), 0.0)
    return Shares(share / share.sum(), average, seen)


def _worst(dro: GroupDRO, average: Array, sizes: Array) -> Array:
    """Each group's part of the worst cases: its part of all cases over `worst`, highest loss first, the last one what is left."""
    assert dro.worst is not None
    exists = sizes > 0
    adjusted = average + jnp.where(exists, dro.adjustment / jnp.sqrt(jnp.where(exists, sizes, 1.0)), 0.0)
    order = jnp.argsort(jnp.where(exists, -adjusted, jnp.inf))
    parts = (sizes / sizes.sum())[order] / dro.worst
    before = jnp.cumsum(parts) - parts
    return jnp.zeros_like(parts).at[order].set(jnp.clip(1.0 - before, 0.0, parts))


def example_weights(share: Array, weight: Array, cohort: Cohort) -> Array:
    """What each example's loss is multiplied by so that their mean is Σ_g q_g l_g, `[examples]`.

    A group that is absent from the batch adds nothing, as in the authors' code.

    Args:
      share: q, `[groups]`.
      weight: of each group in the batch, `[groups]`.
      cohort: of the examples.
    """
    per_group = share / jnp.where(weight > 0, weight, 1.0)
    return len(cohort.group) * cohort.weight * per_group[cohort.group]
