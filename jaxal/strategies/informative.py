"""Strategies that ask for the labels that would change most: information gain, and gradients of the last layer."""

import functools
import operator
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import information, predictive_information
from jaxal.assessment import fairness, metrics
from jaxal.scoring.statistics import EvaluationSample, MemberRegions, Regions
from jaxal.strategies.contract import Context, Head, Needs, Strategy
from jaxal.strategies.rows import by_id, filled
from jaxal.strategies.uncertain import by_statistic
from jaxal.types import Collected, Seen

Array = jax.Array
StepRate = float | Literal["training", "normalised"]
Method = Literal["exact", "linear"]


def eig(*, step_rate: StepRate = "training", step: information.Step = "sgd", method: Method = "exact") -> Strategy:
    """Expected information gain on the evaluation set: labels weigh as much as they are probable (Mehta et al. 2022, arXiv 2208.00974).

    Args:
      step_rate: rate of the one gradient step of the last layer: the training's largest, another number, or `normalised` by the
        features' norm.
      step: `sgd`, or `sign` for the first step of a fresh Adam.
      method: `exact`, or `linear`, the first order in the rate (for single elements EIG's is zero).
    """
    return _information_gain("eig", step_rate, step, method)


def aeig(
    *,
    step_rate: StepRate = "training",
    step: information.Step = "sgd",
    method: Method = "exact",
    renormalise: bool = False,
    group_gamma: float = 0.0,
) -> Strategy:
    """Adapted expected information gain: labels weigh by probability and by frequency in the evaluation set (Mehta et al. 2022, arXiv 2208.00974).

    Args:
      step_rate: rate of the one gradient step of the last layer: the training's largest, another number, or `normalised` by the
        features' norm.
      step: `sgd`, or `sign` for the first step of a fresh Adam.
      method: `exact`, or `linear`, the first order in the rate.
      renormalise: divide the labels' weights by their sum; the paper does not.
      group_gamma: exponent of the group weights (`weighted_entropy`'s, from the evaluation set) by which evaluation cases of label maps count, so that what
        would help a badly served group counts more; 0 counts all alike, as the paper does.
    """
    if group_gamma < 0:
        raise ValueError(f"group_gamma is {group_gamma:g}; below zero the worst-served group would count least.")
    gain = _information_gain("aeig", step_rate, step, method, renormalise)
    return _with_group_weights(gain, group_gamma) if group_gamma else gain


def uig(*, step_rate: StepRate = "training", step: information.Step = "sgd", method: Method = "exact") -> Strategy:
    """Uniform information gain: all labels weigh alike (Mehta et al. 2022, arXiv 2208.00974).

    Args:
      step_rate: rate of the one gradient step of the last layer: the training's largest, another number, or `normalised` by the
        features' norm.
      step: `sgd`, or `sign` for the first step of a fresh Adam.
      method: `exact`, or `linear`, the first order in the rate.
    """
    return _information_gain("uig", step_rate, step, method)


def cfig(*, step_rate: StepRate = "training", step: information.Step = "sgd", method: Method = "exact") -> Strategy:
    """Class-frequency information gain: labels weigh by their frequency in the evaluation set (Mehta et al. 2022, arXiv 2208.00974).

    Args:
      step_rate: rate of the one gradient step of the last layer: the training's largest, another number, or `normalised` by the
        features' norm.
      step: `sgd`, or `sign` for the first step of a fresh Adam.
      method: `exact`, or `linear`, the first order in the rate.
    """
    return _information_gain("cfig", step_rate, step, method)


def mass() -> Strategy:
    """One minus the sum of AEIG's label weights: the part of literal AEIG that is no information gain (Mehta et al. 2022, arXiv 2208.00974)."""

    def score(statistics: Collected, context: Context) -> np.ndarray:
        regions: Regions = statistics["regions"]
        frequency = np.asarray(context.value.class_frequency)
        values = information.mass(regions.candidates.probability[regions.used], frequency)
        return _mean_over_regions(values, np.asarray(regions.used))

    return Strategy(Needs(pool=("regions",), evaluation=("evaluation_sample",)), score, reference_of)


def epig() -> Strategy:
    """What an image's class would tell of the classes of the evaluation images, whose labels are not looked at (EPIG, Bickford Smith et al. 2023, arXiv 2304.08151)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> np.ndarray:
        return evaluation.statistics["member_probability"]

    def score(statistics: Collected, context: Context) -> np.ndarray:
        order = by_id(context)
        pool, _ = filled(statistics["member_probability"][order])
        return np.asarray(_compiled_epig(pool, jnp.asarray(context.value)))[: len(order)][np.argsort(order)]

    return Strategy(Needs(pool=("member_probability",), evaluation=("member_probability",)), score, prepare)


def epig_of_regions() -> Strategy:
    """What labels of a case's regions would tell of those of the evaluation cases, whose labels are not looked at (EPIG, Bickford Smith et al. 2023, arXiv 2304.08151)."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> tuple[Array, Array]:
        regions: MemberRegions = evaluation.statistics["member_regions"]
        targets, there = filled(np.asarray(regions.probability)[np.asarray(regions.used)])
        return targets, there.astype(targets.dtype) / there.sum(dtype=targets.dtype)

    def score(statistics: Collected, context: Context) -> np.ndarray:
        regions: MemberRegions = statistics["member_regions"]
        used = np.asarray(regions.used)
        rows, there = filled(np.asarray(regions.probability)[used])
        return _mean_over_regions(np.asarray(_compiled_epig(rows, *context.value))[: there.sum()], used)

    return Strategy(Needs(pool=("member_regions",), evaluation=("member_regions",)), score, prepare)


def egl() -> Strategy:
    """Expected length of the last layer's gradient, mean over the region of interest (Settles et al. 2008)."""
    return by_statistic("egl")


def gradient_norm() -> Strategy:
    """Length of the entropy's gradient in the last layer, mean over the region of interest (Wang et al. 2022, arXiv 2112.05683)."""
    return by_statistic("gradient_norm")


def _information_gain(
    variant: information.Variant, step_rate: StepRate, step: information.Step, method: Method, renormalise: bool = False
) -> Strategy:
    """Information gain of a case: the mean over the regions that meet its region of interest."""
    if isinstance(step_rate, float | int) and step_rate <= 0:
        raise ValueError(f"step_rate is {step_rate:g}; it must be above zero.")
    if method == "linear" and (step != "sgd" or step_rate == "normalised"):
        raise ValueError(f"the linear method is that of a plain step with one rate, not of {step}, {step_rate}.")

    def parts(statistics: Collected, context: Context) -> information.InformationGain:
        regions: Regions = statistics["regions"]
        used = np.asarray(regions.used)
        in_use = jax.tree.map(lambda part: part[used], regions.candidates)
        rate = context.learning_rate if step_rate == "training" else step_rate
        if method == "linear":
            assert rate != "normalised"  # this was refused above
            of_rows = functools.partial(_compiled_linear_gain, variant=variant, rate=rate, renormalise=renormalise)
            gain = _gain_of_rows(of_rows, in_use, context.value)
        else:
            of_rows = functools.partial(_compiled_gain, variant=variant, rate=rate, step=step, renormalise=renormalise)
            may_be_long = functools.partial(information.steps_may_be_long, rate=rate, step=step)
            gain = _gain_of_rows(of_rows, in_use, context.value, may_be_long)
        return information.InformationGain(*(_mean_over_regions(part, used) for part in gain))

    def score(statistics: Collected, context: Context) -> np.ndarray:
        gain = parts(statistics, context)
        return np.asarray(gain.mass + gain.gain)

    def explain(statistics: Collected, context: Context) -> dict[str, Any]:
        return {name: np.asarray(part, np.float64).tolist() for name, part in parts(statistics, context)._asdict().items()}

    needs = Needs(pool=("regions",), evaluation=("evaluation_sample",))
    return Strategy(needs, score, reference_of, explain=explain)


def _with_group_weights(strategy: Strategy, gamma: float) -> Strategy:
    """Information gain on an evaluation set whose cases count by how badly their group fares; of one group it is the same."""

    def prepare(context: Context, head: Head, labelled: Seen, evaluation: Seen) -> information.Reference:
        dice = metrics.mean_foreground_dice(evaluation.statistics["overlap"])
        groups = [case.group for case in evaluation.cases]
        weights = fairness.group_weights(fairness.group_performance(dice, groups).by_group, sorted(set(groups)), gamma)
        return reference_of(context, head, labelled, evaluation, np.array([weights[group] for group in groups], np.float32))

    needs = strategy.needs._replace(evaluation=(*strategy.needs.evaluation, "overlap"))
    return strategy._replace(needs=needs, prepare=prepare)


def reference_of(
    context: Context, head: Head, labelled: Seen, evaluation: Seen, weights: np.ndarray | None = None
) -> information.Reference:
    """The evaluation set as information gain is measured on it; `weights` say how much each case counts, `[cases]`, all alike when left out."""
    sample: EvaluationSample = evaluation.statistics["evaluation_sample"]
    features = np.moveaxis(np.asarray(sample.features), 0, 1).reshape(sample.features.shape[1], -1)
    of_elements, counts = np.asarray(sample.weights), np.asarray(sample.class_counts, np.float64)
    if weights is not None:
        of_elements, counts = of_elements * weights[:, None], counts * weights[:, None]
    return information.make_reference(
        jnp.asarray(features), *head, jnp.asarray(of_elements.reshape(-1)), jnp.asarray(counts.sum(0), jnp.float32)
    )


def _mean_over_regions(values: Array | np.ndarray, used: np.ndarray) -> np.ndarray:
    """Mean of each case over its regions: of values in a row, `[used regions of all cases]`, and which are used, `[cases, regions]`."""
    by_case = np.zeros(used.shape, np.float32)
    by_case[used] = values
    return by_case.sum(-1) / np.maximum(used.sum(-1), 1)


_compiled_epig = jax.jit(predictive_information.epig)
_compiled_gain = jax.jit(information.information_gain, static_argnames=("variant", "rate", "step", "renormalise", "long_steps"))
_compiled_linear_gain = jax.jit(information.linear_information_gain, static_argnames=("variant", "rate", "renormalise"))
_ROWS = {"cpu": 2**10, "accelerator": 2**14}  # at once, at most; an accelerator waits for what the host sends it


def compiled_gain(
    candidates: information.Candidates | information.Items,
    reference: information.Reference,
    *,
    variant: information.Variant,
    rate: float | Literal["normalised"],
    step: information.Step = "sgd",
    renormalise: bool = False,
) -> information.InformationGain:
    """`information.information_gain` as a program of its own, whose formula the arrays' values choose before."""
    long_steps = bool(information.steps_may_be_long(candidates, reference, rate=rate, step=step))
    return _compiled_gain(
        candidates, reference, variant=variant, rate=rate, step=step, renormalise=renormalise, long_steps=long_steps
    )


def _gain_of_rows(
    gain: Callable[..., information.InformationGain],
    candidates: information.Candidates | information.Items,
    reference: information.Reference,
    may_be_long: Callable[..., Array] | None = None,
) -> information.InformationGain:
    """Runs over all regions of all cases, a fixed number at a time: their number changes every round, the program stays.

    Args:
      gain: of candidates on the reference; if `may_be_long` is given, it takes `long_steps`.
      candidates, reference: see `information.information_gain`.
      may_be_long: tells of candidates whether they need the formula for long steps.
    """
    count = len(candidates.probability)
    least, most = _ROWS["cpu"], _ROWS["cpu" if jax.default_backend() == "cpu" else "accelerator"]
    size = min(most, max(least, 2 ** (count - 1).bit_length()))  # few sizes are compiled
    whole = jax.tree.map(lambda part: np.pad(part, [(0, -count % size)] + [(0, 0)] * (part.ndim - 1)), candidates)
    rows = [jax.tree.map(operator.itemgetter(slice(start, start + size)), whole) for start in range(0, count, size)]
    # All pieces are sent before the first result is waited for.
    flags = [may_be_long(piece, reference) for piece in rows] if may_be_long else []
    formulas = [{"long_steps": bool(flag)} for flag in flags] if may_be_long else [{}] * len(rows)
    pieces = [gain(piece, reference, **formula) for piece, formula in zip(rows, formulas, strict=True)]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *pieces) if pieces else information.NO_GAIN
