"""Regression: an image has one or more numbers as a whole, such as clinical scores.

All that differs from other kinds of tasks is here: the Gaussian likelihood, statistics, how much of the numbers' variance a network explains and
what of it groups get, and predictions. A network has twice as many outputs as there are targets (`acquisition/values.py`), in their own units
(`networks/scaled.py`).
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import values
from jaxal.assessment import coverage, fairness, filtering
from jaxal.assessment.learning_curves import area_under
from jaxal.files import write_text
from jaxal.scoring.statistics import View
from jaxal.strategies.table import REGRESSION_STRATEGIES
from jaxal.task_kind import Assessment, Budget, Column, Curves, Measure, Predicting, Sight, Statistic, TaskKind
from jaxal.tasks.curves import of_dropped_cases
from jaxal.tasks.measures import CASES, number
from jaxal.types import Case, Example, Seen

Array = jax.Array

# Training


def loss(config: Any, logits: Array, batch: Example) -> Array:
    """Negative log-likelihood of the known targets under the predicted normal distributions, summed over targets (Kendall & Gal 2017,
    arXiv 1703.04977).

    Args:
      config: not read.
      logits: `[batch, 2 targets, 1]`.
      batch: labels `[batch, targets]`.
    """
    mean, log_variance = (part[..., 0] for part in values.split(logits))
    known = batch.labelled
    error = jnp.where(known, batch.label - mean, 0.0)
    return jnp.where(known, 0.5 * (log_variance + jnp.square(error) * jnp.exp(-log_variance)), 0.0).sum(-1)


# Statistics


class Predicted(NamedTuple):
    """What one network without dropout takes a case for, and what it is, `[targets]` each.

    Attributes:
      mean, variance: predicted.
      label: the truth, zero where it is not known.
      labelled: whether it is.
    """

    mean: Array
    variance: Array
    label: Array
    labelled: Array


class Spread(NamedTuple):
    """What members take a case for, and what it is, `[targets]` each.

    Attributes:
      mean: of the members.
      epistemic, aleatoric: how they disagree, and the variance that they predict in the mean.
      label, labelled: as of `Predicted`.
    """

    mean: Array
    epistemic: Array
    aleatoric: Array
    label: Array
    labelled: Array


def predicted(view: View, config: Any) -> Predicted:
    """What the case is and what it is taken for."""
    mean, variance = values.mean_value(view.single)[:, 0], values.aleatoric_variance(view.single)[:, 0]
    return Predicted(mean, variance, view.label, view.labelled)


def spread(view: View, config: Any) -> Spread:
    """How sure the members are."""
    of = (values.mean_value, values.epistemic_variance, values.aleatoric_variance)
    mean, epistemic, aleatoric = (measure(view.members)[:, 0] for measure in of)
    return Spread(mean, epistemic, aleatoric, view.label, view.labelled)


def member_values(view: View, config: Any) -> Array:
    """Each member's mean, `[members, targets]`: what is known of two cases together needs more than moments."""
    assert view.member_probability is not None
    return values.split(view.member_probability)[0][..., 0]


STATISTICS: Mapping[str, Statistic] = {
    "prediction": Statistic(predicted),
    "spread": Statistic(spread, needs_members=True),
    "member_values": Statistic(member_values, needs_members=True, needs_each_member=True),
    "embedding": Statistic(lambda view, config: view.embedding, needs_features=True),
    "auxiliary": Statistic(lambda view, config: dict(view.auxiliary)),
}


# Assessment


class Truth(NamedTuple):
    """Cases of which all targets are known.

    Attributes:
      label, mean, variance: `[cases, targets]`.
      groups: `[cases]`.
      ids: of the cases.
    """

    label: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    groups: np.ndarray
    ids: list[str]


def _truth(seen: Seen) -> Truth:
    found = seen.statistics["prediction"]
    known = np.asarray(np.asarray(found.labelled, bool).all(-1))
    cases = [case for case, is_known in zip(seen.cases, known.tolist(), strict=True) if is_known]
    label, mean, variance = (np.asarray(part, np.float64)[known] for part in (found.label, found.mean, found.variance))
    return Truth(label, mean, variance, np.array([case.group for case in cases]), [case.id for case in cases])


def root_mean_square_error(label: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """RMSE by target, `[cases, targets]` each to `[targets]`, in the targets' units."""
    return np.sqrt(np.mean((label - mean) ** 2, axis=0))


def explained(label: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    """Share of the targets' variance that is explained, in the mean over targets; see `explained_of_each`. NaN where no target varies."""
    of_target = explained_of_each(label, mean, variance)
    varies = ~np.isnan(of_target)
    return float(of_target[varies].mean()) if varies.any() else float("nan")


def explained_of_each(label: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """1 - mean squared error / variance of each target, `[targets]`: R² where the variance is the cases' own; NaN of a target that does not vary.

    Args:
      label, mean: `[cases, targets]`.
      variance: of each target over all test cases, `[targets]`; that of groups would differ between them, and so say something else.
    """
    error = np.mean((label - mean) ** 2, axis=0)
    return np.where(variance > 0, 1.0 - error / np.where(variance > 0, variance, 1.0), np.nan)


def success(labelled: Seen) -> float | None:
    """Share of the variance explained on the cases that a network was trained on; None of a single case, or of equal ones."""
    truth = _truth(labelled)
    if len(truth.ids) < 2 or (np.ptp(truth.label, axis=0) == 0).any():
        return None
    return explained(truth.label, truth.mean, truth.label.var(0))


def entries(labelled: Seen, test: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """What a round's line in the ledger says of the network; `classes` are the targets' names."""
    truth = _truth(test)
    variance = truth.label.var(0)
    of_group = {str(group): truth.groups == group for group in np.unique(truth.groups)}
    by_group = {group: explained(truth.label[here], truth.mean[here], variance) for group, here in of_group.items()}
    performance = fairness.GroupPerformance(
        explained(truth.label, truth.mean, variance), by_group, len(test.cases) - len(truth.ids)
    )
    sums = _coverage_sums(truth)
    errors = {group: root_mean_square_error(truth.label[here], truth.mean[here]) for group, here in of_group.items()}
    known = _truth(labelled)
    of_labelled = explained(known.label, known.mean, known.label.var(0))
    return {
        "r2": {
            "overall": performance.overall,
            "by_group": by_group,
            "by_class": _named(classes, explained_of_each(truth.label, truth.mean, variance)),
            "undefined": performance.undefined,
        },
        "rmse": _named(classes, root_mean_square_error(truth.label, truth.mean)),
        "rmse_by_group": {group: _named(classes, error) for group, error in errors.items()},
        **fairness.entries(performance),
        "nll": coverage.negative_log_likelihood(sums),
        "coverage": [round(float(share), 6) for share in coverage.coverage(sums)],
        "coverage_error": coverage.coverage_error(sums),
        "test": {
            id_: {
                "group": str(group),
                **{name: _digits(row) for name, row in zip(("values", "mean", "variance"), rows, strict=True)},
            }
            for id_, group, *rows in zip(truth.ids, truth.groups, truth.label, truth.mean, truth.variance, strict=True)
        },
        "labelled_r2": None if np.isnan(of_labelled) else of_labelled,
    }


def _coverage_sums(truth: Truth) -> coverage.CoverageSums:
    """Of all targets of all cases, as though they were the elements of one."""
    mean, variance, label = (jnp.asarray(part.reshape(-1)) for part in (truth.mean, truth.variance, truth.label))
    return coverage.coverage_sums(mean, variance, label, jnp.ones(label.shape, bool))


def _named(names: Sequence[str], numbers: Iterable[float]) -> dict[str, float]:
    """By name; what is unknown is left out."""
    return {name: float(value) for name, value in zip(names, numbers, strict=True) if not np.isnan(value)}


def _digits(row: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in row]


class ValueCurve(NamedTuple):
    """One run as the comparison sees it.

    Attributes:
      labelled, pool: see `task_kind.Curve`.
      r2: share of the variance explained after each round, `[rounds]`.
      last: the last round's line.
    """

    labelled: np.ndarray
    pool: int | None
    r2: np.ndarray
    last: Mapping[str, Any]

    def levels(self) -> np.ndarray:
        """See `task_kind.Curve`."""
        return self.r2

    def measures(self) -> dict[str, float]:
        """See `task_kind.Curve`."""
        by_group = self.last["r2"]["by_group"]
        of_groups = (
            {}
            if len(by_group) < 2
            else {
                **{f"r2_{group}": value for group, value in by_group.items()},
                "worst_group": min(by_group.values()),
                "disparity": self.last["disparity"],
            }
        )
        return {
            "r2": float(self.r2[-1]),
            **of_groups,
            "area": float(area_under(self.labelled, self.r2)),
            "nll": self.last["nll"],
            "coverage_error": self.last["coverage_error"],
        }


def curve_of(rounds: Sequence[Mapping[str, Any]], budget: Budget = CASES) -> ValueCurve:
    """Reads a run's ledger."""
    labelled = np.array([budget.spent(entry) for entry in rounds])
    return ValueCurve(labelled, budget.pool(rounds[0]), np.array([entry["r2"]["overall"] for entry in rounds]), rounds[-1])


def _columns(groups: Sequence[str]) -> list[Column]:
    def of_group(group: str) -> Column:
        return Column(f"R² {group}", lambda entry: number(entry["r2"]["by_group"].get(group)))

    errors = Column("RMSE", lambda entry: " ".join(f"{name} {value:.2f}" for name, value in entry["rmse"].items()))
    return [
        Column("R²", lambda entry: number(entry["r2"]["overall"])),
        *(map(of_group, groups) if len(groups) > 1 else []),
        errors,
    ]


ASSESSMENT = Assessment(
    key="r2",
    title="R²",
    labelled=("prediction",),
    test=("prediction",),
    success=success,
    success_title="share of the variance explained",
    collapsed_below=-0.25,  # a constant has 0; dropout and few cases cost some
    entries=entries,
    answered=lambda cases: {"queried_values": {case.id: list(case.label.values) for case in cases if case.label}},
    curve_of=curve_of,
    measures={
        "r2": Measure("R²", "share of the targets' variance that is explained after the last round, mean over targets"),
        "worst_group": Measure("worst group", "lowest of the groups' R², over the variance of all test cases"),
        "disparity": Measure("disparity Δ", "sum over groups of the distance from the overall R²", True),
        "area": Measure("area", "mean R² over the learning curve"),
        "nll": Measure("NLL", "negative log-likelihood a target, in nats, of its own unit", True),
        "coverage_error": Measure(
            "coverage error", "how far the share of targets within an interval lies from what it claims", True
        ),
    },
    in_short=("r2", "worst_group", "disparity", "labels", "coverage_error"),
    columns=_columns,
    queried="queried_by_group",
    pictures="",
    class_named="target",
)


# Uncertainty


def curves(test: Seen, classes: Sequence[str], config: Any) -> dict[str, Any]:
    """RMSE of each target over the cases whose total variance of that target is small enough, of all members together."""
    found = test.statistics["spread"]
    known = np.asarray(np.asarray(found.labelled, bool).all(-1))
    label, mean = (np.asarray(part, np.float64)[known] for part in (found.label, found.mean))
    variance = (np.asarray(found.epistemic, np.float64) + np.asarray(found.aleatoric, np.float64))[known]
    groups = [case.group for case, is_known in zip(test.cases, known.tolist(), strict=True) if is_known]

    def error(target: int) -> filtering.Metric:
        squared = filtering.mean_of_kept((label[:, target] - mean[:, target]) ** 2)
        return lambda places, kept: np.sqrt(squared(places, kept))

    return {
        name: of_dropped_cases(f"RMSE of {name}", error(target), filtering.percent_of_range(variance[:, target]), groups, True)
        for target, name in enumerate(classes)
    }


# Predictions


def picture(sight: Sight) -> bytes | None:
    """There is nothing to outline in an image that has numbers as a whole."""
    return None


def predictions(asked: Predicting) -> list[str]:
    """Writes `predictions.csv`, a row a case: each target where it is known, what it is taken for, and the predicted standard deviation."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{name}{what}" for name in asked.classes for what in ("", "_predicted", "_deviation")]
    writer.writerow(["case", "group", "part", *columns])
    for done, (case, part) in enumerate(asked.cases, 1):
        mean, log_variance = np.split(np.asarray(asked.predict(case).probability, np.float64), 2)
        rows = zip(_known_values(case, len(mean)), mean, np.exp(0.5 * log_variance), strict=True)
        writer.writerow(
            [
                case.id,
                case.group,
                part,
                *(cell for known, *found in rows for cell in (known, *(f"{value:.6g}" for value in found))),
            ]
        )
        asked.progress(done, len(asked.cases))
    path = asked.folder / "predictions.csv"
    write_text(path, text.getvalue())
    return [f"Predicted numbers of every case: {path}"]


def _known_values(case: Case, targets: int) -> list[str]:
    return [f"{value:.6g}" for value in case.label.values] if case.label else [""] * targets


REGRESSION = TaskKind(
    name="regression",
    dense=False,
    label_type=jnp.float32,
    elements="voxels",
    loss=loss,
    moments=values.VALUE_MOMENTS,
    statistics=STATISTICS,
    strategies=REGRESSION_STRATEGIES,
    assessment=ASSESSMENT,
    picture=picture,
    predictions=predictions,
    curves=Curves("spread", curves),
    undecided=("statistics", "training.dice", "training.foreground_weight"),
)
