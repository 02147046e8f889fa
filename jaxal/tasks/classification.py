"""Classification of whole images assessed: area under the ROC curve of each class against the rest, and what of it groups get."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment import calibration, fairness, metrics
from jaxal.strategies.table import Seen
from jaxal.tasks.assessed import Assessment, Column, Measure, area_under, number, pool_of


def success(labelled: Seen) -> float | None:
    """Accuracy on the cases that a network was trained on, over that of always naming the most frequent class; None if there is but one."""
    label, probability = _truth_and_prediction(labelled)
    share = np.bincount(label).max() / len(label)
    return None if share == 1 else float((probability.argmax(-1) == label).mean() - share)


def _truth_and_prediction(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    found = seen.statistics["prediction"]
    return np.asarray(found.label), np.asarray(found.probability, np.float64)


def entries(labelled: Seen, test: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """What a round's line in the ledger says of the network."""
    label, probability = _truth_and_prediction(test)
    groups = np.array([case.group for case in test.cases])
    auc = metrics.one_vs_rest_auc(probability, label)
    performance = fairness.GroupPerformance(_macro(auc), _by_group(probability, label, groups), 0)
    own_label, own_probability = _truth_and_prediction(labelled)
    return {
        "auc": {
            "overall": performance.overall,
            "by_group": dict(performance.by_group),
            "by_class": {name: float(value) for name, value in zip(classes, auc, strict=True) if not np.isnan(value)},
            "undefined": int(np.isnan(auc).sum()),
        },
        "accuracy": float((probability.argmax(-1) == label).mean()),
        "balanced_accuracy": metrics.balanced_accuracy(probability, label),
        "disparity": fairness.disparity(performance),
        "gap": fairness.gap(performance),
        "essp": fairness.equity_scaled(performance),
        **calibration.entries(test.statistics["calibration"]),
        "test": {
            case.id: {"group": case.group, "class": int(own), "probability": [float(f"{value:.6g}") for value in row]}
            for case, own, row in zip(test.cases, label, probability, strict=True)
        },
        "labelled_accuracy": float((own_probability.argmax(-1) == own_label).mean()),
    }


def _by_group(probability: np.ndarray, label: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """AUC of each group, mean over the classes that are defined in all groups: else groups would be compared over different ones."""
    found = {
        str(group): metrics.one_vs_rest_auc(probability[groups == group], label[groups == group]) for group in np.unique(groups)
    }
    shared = ~np.isnan(list(found.values())).any(0)
    return {group: float(values[shared].mean()) for group, values in found.items()} if shared.any() else {}


def _macro(values: np.ndarray) -> float:
    """Mean over the classes for which there is a value; NaN where there is none."""
    return float(np.mean(values[~np.isnan(values)])) if not np.isnan(values).all() else float("nan")


class AucCurve(NamedTuple):
    """One run as the comparison sees it.

    Attributes:
      labelled, pool: see `assessment.Curve`.
      probability: predicted for each test case after each round, `[rounds, cases, classes]`.
      strata: classes of the test cases, `[cases]`; a replicate has as many of each.
      nll, ece: after the last round.
    """

    labelled: np.ndarray
    pool: int | None
    probability: np.ndarray
    strata: np.ndarray
    nll: float
    ece: float

    def levels(self, cases: np.ndarray | None) -> np.ndarray:
        """See `assessment.Curve`: AUC of each class against the rest, its mean over classes."""
        counts = np.ascontiguousarray(self._weights(cases).T)
        classes = np.unique(self.strata)
        levels = [
            np.mean([_weighted_auc(round_[:, label], self.strata == label, counts) for label in classes], axis=0)
            for round_ in self.probability
        ]
        return np.array(levels)[:, 0] if cases is None else np.stack(levels, axis=-1)

    def measures(self, levels: np.ndarray, cases: np.ndarray | None) -> dict[str, np.ndarray]:
        """See `assessment.Curve`."""
        counts = self._weights(cases)
        confident = self.probability[-1].argmax(-1) == self.strata
        found = {
            "accuracy": counts @ confident / len(self.strata),
            "balanced_accuracy": np.mean([counts[:, own] @ confident[own] / own.sum() for own in self._members()], axis=0),
            "nll": np.full(len(counts), self.nll),
            "ece": np.full(len(counts), self.ece),
        }
        found = {name: value[0] if cases is None else value for name, value in found.items()}
        return {"auc": levels[..., -1], "area": area_under(self.labelled, levels), **found}

    def _members(self) -> list[np.ndarray]:
        return [self.strata == label for label in np.unique(self.strata)]

    def _weights(self, cases: np.ndarray | None) -> np.ndarray:
        return np.ones((1, len(self.strata)), np.float32) if cases is None else _counts(cases)


def _counts(cases: np.ndarray) -> np.ndarray:
    """How often each case was drawn: places `[replicates, cases]` to counts of that shape."""
    replicates, many = cases.shape
    rows = np.arange(replicates)[:, None] * many
    return np.bincount((rows + cases).ravel(), minlength=replicates * many).reshape(replicates, many).astype(np.float32)


def _weighted_auc(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The share of pairs in which the positive case scores higher, ties by half, `[replicates]`.

    Args:
      scores: of the cases, `[cases]`.
      positive: which of them are of the class, boolean.
      counts: how often each case counts, `[cases, replicates]`, as many of the class in every replicate. Cases come first, so that all that
        is done is done to whole rows: a matrix product over all pairs takes 6 (431 cases) to 12 (3000) times as long.
    """
    order = np.argsort(scores)
    pairs, behind = np.zeros(counts.shape[1]), np.zeros(counts.shape[1], np.float32)  # whole numbers and halves, exact in float32
    for tied in np.split(order, np.flatnonzero(np.diff(scores[order])) + 1):
        if len(tied) == 1 and positive[tied[0]]:
            pairs += counts[tied[0]] * behind
        elif len(tied) == 1:
            behind += counts[tied[0]]
        else:
            others = counts[tied[~positive[tied]]].sum(0)
            pairs += counts[tied[positive[tied]]].sum(0) * (behind + others / 2)
            behind += others
    return pairs / (positive.sum() * (~positive).sum())


def curve_of(rounds: Sequence[Mapping[str, Any]]) -> AucCurve:
    """Reads a run's ledger."""
    ids = sorted(rounds[0]["test"])
    probability = [[entry["test"][id_]["probability"] for id_ in ids] for entry in rounds]
    label = [rounds[0]["test"][id_]["class"] for id_ in ids]
    last = rounds[-1]
    return AucCurve(
        np.array([entry["labelled"] for entry in rounds]),
        pool_of(rounds),
        np.array(probability),
        np.array(label),
        last["nll"],
        last["ece"],
    )


def _columns(groups: Sequence[str]) -> list[Column]:
    by_group = [
        Column(f"AUC {group}", lambda entry, group=group: number(entry["auc"]["by_group"].get(group))) for group in groups
    ]
    return [
        Column("AUC", lambda entry: number(entry["auc"]["overall"])),
        *(by_group if len(groups) > 1 else []),
        Column("accuracy", lambda entry: number(entry["accuracy"])),
        Column("ECE", lambda entry: number(entry["ece"])),
    ]


CLASSIFICATION = Assessment(
    key="auc",
    title="AUC",
    labelled=("prediction",),
    test=("prediction", "calibration"),
    success=success,
    success_title="accuracy over that of a constant answer",
    collapsed_below=-0.02,
    entries=entries,
    curve_of=curve_of,
    measures={
        "auc": Measure("AUC", "area under the ROC curve after the last round, mean over classes against the rest"),
        "area": Measure("area", "mean AUC over the learning curve"),
        "accuracy": Measure("accuracy", "share of test images whose most probable class is the true one"),
        "balanced_accuracy": Measure("balanced accuracy", "mean over classes of the share that is recognised"),
        "nll": Measure("NLL", "negative log-likelihood an image, in nats", True),
        "ece": Measure("ECE", "expected calibration error", True),
    },
    in_short=("auc", "area", "share", "balanced_accuracy"),
    columns=_columns,
    queried="queried_by_class",
    pictures="The first of each query, best first, with the class that the reader gave.",
)
