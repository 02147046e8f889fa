"""Classification: an image has one class as a whole, so it is a case of a single element.

All that differs from other kinds of tasks is here: the loss, the statistics of such images, the area under the ROC curve of each
class against the rest and what of it groups get, pictures, and predictions.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import information, uncertainty
from jaxal.assessment import calibration, fairness, filtering, metrics
from jaxal.assessment.learning_curves import area_under
from jaxal.cells import Cells
from jaxal.files import write_text
from jaxal.scoring.statistics import OF_INPUTS_OF_IMAGES, EvaluationSample, Regions, View, of_classes
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES
from jaxal.task_kind import Assessment, Budget, Column, Curves, Measure, Predicting, Sight, Statistic, TaskKind
from jaxal.tasks.curves import of_dropped_cases
from jaxal.tasks.measures import CASES, OF_PROBABILITIES, number, probabilities_of
from jaxal.tasks.pictures import draw_image
from jaxal.training import losses
from jaxal.types import Case, Example, Seen

Array = jax.Array

# Training


def loss(config: Any, logits: Array, batch: Example) -> Array:
    """Cross-entropy of the labelled images, and if asked for what evidence costs."""
    labels, labelled = batch.label.reshape(-1, 1).astype(jnp.int32), batch.labelled.reshape(-1, 1)
    total = losses.cross_entropy(logits, labels, labelled, losses.class_weights(logits.shape[1], config.foreground_weight))
    return total + config.evidence * losses.evidence_divergence(logits, labels, labelled) if config.evidence else total


# Statistics


class Prediction(NamedTuple):
    """What an image is, and what the network takes it for.

    Attributes:
      label: the true class, integer.
      probability: `[classes]`.
      labelled: whether the true class is known.
    """

    label: Array
    probability: Array
    labelled: Array


def whole_image(view: View, config: Any) -> Array:
    """The one element that matters."""
    return view.inside


def regions(view: View, config: Any) -> Regions:
    """The image as the one candidate for a label."""
    assert not isinstance(view.features, Cells)  # which only volumes have
    return Regions(information.Items(view.features, uncertainty.mean_probability(view.single).T), view.inside)


def evaluation_sample(view: View, config: Any) -> EvaluationSample:
    """The image as the one sample of itself."""
    classes = jnp.arange(view.logits.shape[0], dtype=view.label.dtype)
    counts = ((view.label == classes) & view.labelled).astype(jnp.int32)
    assert not isinstance(view.features, Cells)
    return EvaluationSample(view.features.T, jnp.ones(1), counts)


def prediction(view: View, config: Any) -> Prediction:
    """What the image is and what it is taken for."""
    return Prediction(view.label[0], uncertainty.mean_probability(view.single)[:, 0], view.labelled[0])


def member_probability(view: View, config: Any) -> Array:
    """What each member predicts, `[members, classes]`: joint strategies need more than moments."""
    assert view.member_probability is not None
    return view.member_probability[:, :, 0]


def log_probability(view: View, config: Any) -> Array:
    """What NLL, calibration errors and the Brier score are made of, `[classes]`; the sums of a single image would take more room."""
    return jax.nn.log_softmax(view.logits[:, 0])


class Joined(NamedTuple):
    """What an image is, and what all members together take it for; attributes as of `Prediction`."""

    label: Array
    probability: Array
    labelled: Array


def joined(view: View, config: Any) -> Joined:
    """What the image is and what all members together take it for."""
    return Joined(view.label[0], uncertainty.mean_probability(view.members)[:, 0], view.labelled[0])


def error(view: View, config: Any) -> Array:
    """One minus the probability of the image's class; zero where that is not known."""
    return jnp.where(view.labelled[0], 1.0 - uncertainty.mean_probability(view.single)[view.label[0], 0], 0.0)


STATISTICS: Mapping[str, Statistic] = {
    **of_classes(whole_image),
    **OF_INPUTS_OF_IMAGES,
    "error": Statistic(error),
    "regions": Statistic(regions, needs_features=True),
    "evaluation_sample": Statistic(evaluation_sample, needs_features=True),
    "prediction": Statistic(prediction),
    "member_probability": Statistic(member_probability, needs_members=True, needs_each_member=True),
    "calibration": Statistic(log_probability),
    "joined": Statistic(joined, needs_members=True),
}


# Assessment


def success(labelled: Seen) -> float | None:
    """Accuracy on the cases that a network was trained on, over that of always naming the most frequent class; None if there is but one."""
    label, probability = _truth_and_prediction(labelled)
    share = np.bincount(label).max() / len(label)
    return None if share == 1 else float((probability.argmax(-1) == label).mean() - share)


def each_probability(seen: Seen) -> np.ndarray:
    """Predicted probability of each image's class, `[images]`; NaN where that is not known."""
    return metrics.probability_of_truth(*seen.statistics["prediction"])


def _truth_and_prediction(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Classes and predicted probabilities of the images whose class is known."""
    predicted = seen.statistics["prediction"]
    known = np.asarray(predicted.labelled, bool)
    return np.asarray(predicted.label)[known], np.asarray(predicted.probability, np.float64)[known]


def _labelled_cases(seen: Seen) -> list[Case]:
    return [case for case, known in zip(seen.cases, seen.statistics["prediction"].labelled, strict=True) if known]


def entries(labelled: Seen, test: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """What a round's line in the ledger says of the network."""
    label, probability = _truth_and_prediction(test)
    cases = _labelled_cases(test)
    groups = np.array([case.group for case in cases])
    auc = metrics.one_vs_rest_auc(probability, label)
    performance = fairness.GroupPerformance(_macro(auc), _by_group(probability, label, groups), 0)
    trained_label, trained_probability = _truth_and_prediction(labelled)
    return {
        "auc": {
            "overall": performance.overall,
            "by_group": dict(performance.by_group),
            "by_class": {name: float(value) for name, value in zip(classes, auc, strict=True) if not np.isnan(value)},
            "undefined": int(np.isnan(auc).sum()),
        },
        "accuracy": float((probability.argmax(-1) == label).mean()),
        "balanced_accuracy": metrics.balanced_accuracy(probability, label),
        **fairness.entries(performance),
        **calibration.entries(_calibration_sums(test)),
        **calibration.entries_by_group({group: _calibration_sums(test, group) for group in performance.by_group}),
        "test": {
            case.id: {"group": case.group, "class": int(class_), "probability": [float(f"{value:.6g}") for value in row]}
            for case, class_, row in zip(cases, label, probability, strict=True)
        },
        "labelled_accuracy": float((trained_probability.argmax(-1) == trained_label).mean()),
        "labelled_by_class": _counts_of(case.category for case in labelled.cases),
    }


_sums_of_images = jax.jit(calibration.calibration_sums)


def _calibration_sums(seen: Seen, group: str | None = None) -> calibration.CalibrationSums:
    """Of all images whose class is known at once, or those of a group, as though they were the elements of one."""
    predicted = seen.statistics["prediction"]
    known = np.asarray(predicted.labelled, bool)
    logits = np.asarray(seen.statistics["calibration"], np.float32)[known].T
    counted = np.array(
        [group in (None, case.group) for case in _labelled_cases(seen)]
    )  # one shape, so that one program does for all groups
    return _sums_of_images(logits, np.asarray(predicted.label, np.int32)[known], counted)


def answered(queried: Sequence[Case]) -> dict[str, Any]:
    """The classes that were given to the queried images."""
    return {
        "queried_by_class": _counts_of(case.category for case in queried),
        "queried_classes": {case.id: case.category for case in queried},
    }


def _counts_of(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _by_group(probability: np.ndarray, label: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """AUC of each group, mean over the classes that are defined in all groups: else groups would be compared over different ones."""
    by_group = {
        str(group): metrics.one_vs_rest_auc(probability[groups == group], label[groups == group]) for group in np.unique(groups)
    }
    shared = ~np.isnan(list(by_group.values())).any(0)
    return {group: float(values[shared].mean()) for group, values in by_group.items()} if shared.any() else {}


def _macro(values: np.ndarray) -> float:
    """Mean over the classes for which there is a value; NaN where there is none."""
    return float(np.mean(values[~np.isnan(values)])) if not np.isnan(values).all() else float("nan")


class AucCurve(NamedTuple):
    """One run as the comparison sees it.

    Attributes:
      labelled, pool: see `task_kind.Curve`.
      probability: predicted for each test case after each round, `[rounds, cases, classes]`.
      label: classes of the test cases, `[cases]`.
      of_probabilities: measures of them after the last round, by name.
      last: the last round's line.
    """

    labelled: np.ndarray
    pool: int | None
    probability: np.ndarray
    label: np.ndarray
    of_probabilities: Mapping[str, float]
    last: Mapping[str, Any]

    def levels(self) -> np.ndarray:
        """See `task_kind.Curve`: AUC of each class against the rest, its mean over the classes for which there is one."""
        return np.array([_macro(metrics.one_vs_rest_auc(round_, self.label)) for round_ in self.probability])

    def measures(self) -> dict[str, float]:
        """See `task_kind.Curve`."""
        levels, last = self.levels(), self.probability[-1]
        by_group = self.last["auc"].get("by_group", {})
        of_groups = (
            {}
            if len(by_group) < 2
            else {
                **{f"auc_{group}": value for group, value in by_group.items()},
                "worst_group": min(by_group.values()),
                "disparity": self.last["disparity"],
            }
        )
        return {
            "auc": float(levels[-1]),
            **of_groups,
            "area": float(area_under(self.labelled, levels)),
            "accuracy": float((last.argmax(-1) == self.label).mean()),
            "balanced_accuracy": metrics.balanced_accuracy(last, self.label),
            **self.of_probabilities,
        }


def curve_of(rounds: Sequence[Mapping[str, Any]], budget: Budget = CASES) -> AucCurve:
    """Reads a run's ledger."""
    ids = sorted(rounds[0]["test"])
    probability = [[entry["test"][id_]["probability"] for id_ in ids] for entry in rounds]
    label = [rounds[0]["test"][id_]["class"] for id_ in ids]
    labelled = np.array([budget.spent(entry) for entry in rounds])
    pool, of_probabilities = budget.pool(rounds[0]), probabilities_of(rounds[-1])
    return AucCurve(labelled, pool, np.array(probability), np.array(label), of_probabilities, rounds[-1])


def _columns(groups: Sequence[str]) -> list[Column]:
    return [
        Column("AUC", lambda entry: number(entry["auc"]["overall"])),
        *(map(_column_of_group, groups) if len(groups) > 1 else []),
        Column("accuracy", lambda entry: number(entry["accuracy"])),
        Column("ECE", lambda entry: number(entry["ece"])),
    ]


def _column_of_group(group: str) -> Column:
    return Column(f"AUC {group}", lambda entry: number(entry["auc"]["by_group"].get(group)))


ASSESSMENT = Assessment(
    key="auc",
    title="AUC",
    labelled=("prediction",),
    test=("prediction", "calibration"),
    success=success,
    success_title="accuracy over that of a constant answer",
    collapsed_below=-0.02,
    entries=entries,
    answered=answered,
    curve_of=curve_of,
    measures={
        "auc": Measure("AUC", "area under the ROC curve after the last round, mean over classes against the rest"),
        "worst_group": Measure("worst group", "lowest of the groups' AUC, over the classes that all groups have"),
        "disparity": Measure("disparity Δ", "sum over groups of the distance from the overall AUC", True),
        "area": Measure("area", "mean AUC over the learning curve"),
        "accuracy": Measure("accuracy", "share of test images whose most probable class is the true one"),
        "balanced_accuracy": Measure("balanced accuracy", "mean over classes of the share that is recognised"),
        **OF_PROBABILITIES,
    },
    in_short=("auc", "worst_group", "disparity", "area", "share", "balanced_accuracy"),
    columns=_columns,
    queried="queried_by_class",
    pictures="The first of each query, best first, with the class that the reader gave.",
    each=each_probability,
    each_title="probability of its class",
)


# Uncertainty


def curves(test: Seen, classes: Sequence[str], config: Any) -> dict[str, Any]:
    """Accuracy, that of each class, and AUC of what all members together predict, over the images that are kept."""
    seen = test.statistics["joined"]
    known = np.asarray(seen.labelled, bool)
    label, probability = np.asarray(seen.label)[known], np.asarray(seen.probability, np.float64)[known]
    groups = [case.group for case, is_known in zip(test.cases, known.tolist(), strict=True) if is_known]
    entropy = -(probability * np.log(np.maximum(probability, 1e-37))).sum(-1)
    uncertain = np.clip(filtering.percent_of_entropy(entropy, len(classes)), 0.0, 100.0)
    right = (probability.argmax(-1) == label).astype(float)

    def auc(places: np.ndarray, kept: np.ndarray) -> np.ndarray:
        return np.array([metrics.one_vs_rest_auc(probability[places[here]], label[places[here]]) for here in kept])

    over_all = {
        "accuracy": filtering.mean_of_kept(right),
        "balanced accuracy": filtering.mean_of_classes(right, label, len(classes)),
    }
    of_classes = {
        f"accuracy of {name}": filtering.mean_of_classes(right, np.where(label == place, 0, -1), 1)
        for place, name in enumerate(classes)
    }
    return {
        **{name: of_dropped_cases(name, metric, uncertain, groups) for name, metric in over_all.items()},
        "AUC": of_dropped_cases("AUC", auc, uncertain, groups, draws=0),  # whose draws would take minutes
        **{name: of_dropped_cases(name, metric, uncertain, groups) for name, metric in of_classes.items()},
    }


# Pictures and predictions


def picture(sight: Sight) -> bytes | None:
    """The image as people see it."""
    return None if sight.pixels is None else draw_image(sight.pixels)


def predictions(asked: Predicting) -> list[str]:
    """Writes `predictions.csv`, a row an image: its class where it is known, and the probability of each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "group", "part", "class", "predicted", *(f"probability_{name}" for name in asked.classes)])
    for done, (case, part) in enumerate(asked.cases, 1):
        probability = asked.predict(case).probability
        numbers = [f"{value:.6g}" for value in probability]
        writer.writerow([case.id, case.group, part, case.category, asked.classes[int(probability.argmax())], *numbers])
        asked.progress(done, len(asked.cases))
    path = asked.folder / "predictions.csv"
    write_text(path, text.getvalue())
    return [f"Probabilities of every image: {path}"]


CLASSIFICATION = TaskKind(
    name="classification",
    dense=False,
    label_type=jnp.int32,
    elements="pixels",
    loss=loss,
    moments=uncertainty.CLASS_MOMENTS,
    statistics=STATISTICS,
    strategies=CLASSIFICATION_STRATEGIES,
    assessment=ASSESSMENT,
    picture=picture,
    predictions=predictions,
    curves=Curves("joined", curves),
    undecided=("statistics", "training.dice"),
)
