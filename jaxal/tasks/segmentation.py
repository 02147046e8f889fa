"""Segmentation: every element of an image has a class.

All that differs from other kinds of tasks is here: the loss, the statistics of label maps, Dice of the test cases by group and
class and how far apart the groups are, pictures of cases, and predictions on the grids that the cases came with.
"""

import csv
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.acquisition import uncertainty
from jaxal.assessment import calibration, fairness, metrics
from jaxal.assessment.learning_curves import area_under
from jaxal.data.scans.nifti import read_label
from jaxal.data.scans.prepare import prepared_shape
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.scoring import windows
from jaxal.scoring.statistics import StatisticsConfig, View, of_classes
from jaxal.strategies.table import STRATEGIES, STRATEGIES_OF_PARTS
from jaxal.task_kind import Assessment, Column, Measure, Predicting, Sight, Statistic, TaskKind
from jaxal.tasks.measures import number, pool_of
from jaxal.tasks.original_grid import to_original_grid, write_image
from jaxal.tasks.pictures import draw_case
from jaxal.tasks.regions import WINDOWS_OF_GAIN, evaluation_sample, foreground, masked_entropy, region_of_interest, regions
from jaxal.training import losses
from jaxal.types import Case, Example, Seen

Array = jax.Array

# Training


def loss(config: Any, logits: Array, batch: Example) -> Array:
    """Cross-entropy, and by default soft Dice, over the labelled elements (see `training.losses`)."""
    items, classes = logits.shape[:2]
    labels, labelled = batch.label.reshape(items, -1).astype(jnp.int32), batch.labelled.reshape(items, -1)
    total = losses.cross_entropy(logits, labels, labelled, losses.class_weights(classes, config.foreground_weight))
    if config.dice:
        total = total + losses.soft_dice(logits, labels, labelled, losses.present_foreground(labels, labelled, classes))
    return total


# Statistics


def overlap(view: View, config: StatisticsConfig) -> metrics.Overlap:
    """True and false positives and false negatives of each class over the labelled elements."""
    return metrics.overlap(view.logits, view.label, view.labelled)


def calibration_sums(view: View, config: StatisticsConfig) -> calibration.CalibrationSums:
    """What NLL, calibration errors and the Brier score over the labelled elements are made of."""
    return calibration.calibration_sums(view.logits, view.label, view.labelled)


STATISTICS: Mapping[str, Statistic] = {
    **of_classes(region_of_interest),
    "masked_entropy": Statistic(masked_entropy),
    "foreground": Statistic(foreground),
    "regions": Statistic(regions, needs_features=True),
    "evaluation_sample": Statistic(evaluation_sample, needs_features=True),
    "overlap": Statistic(overlap),
    "calibration": Statistic(calibration_sums),
}


# Assessment


def success(labelled: Seen) -> float | None:
    """Mean Dice of the cases that a network was trained on; None where there is no foreground to find, and none was found."""
    dice = metrics.mean_foreground_dice(labelled.statistics["overlap"])
    return None if np.isnan(dice).all() else float(np.mean(dice[~np.isnan(dice)]))


def entries(labelled: Seen, test: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """What a round's line in the ledger says of the network.

    Raises:
      UserError: Dice is undefined for every test case.
    """
    performance = _performance(test)
    if not performance.by_group:
        raise UserError(
            f"None of the {len(test.cases)} test cases holds any foreground, and none was predicted, so there is no Dice to report. Another "
            "--seed draws other test cases; more cases with the structure are needed."
        )
    return {
        "dice": {
            "overall": performance.overall,
            "by_group": dict(performance.by_group),
            "by_class": _by_class(test, classes),
            "undefined": performance.undefined,
        },
        **fairness.entries(performance),
        **calibration.entries(test.statistics["calibration"]),
        "test": _by_case(test),
        "labelled_dice": dict(_performance(labelled).by_group),
    }


def _performance(seen: Seen) -> fairness.GroupPerformance:
    return fairness.group_performance(
        metrics.mean_foreground_dice(seen.statistics["overlap"]), [case.group for case in seen.cases]
    )


def _by_class(seen: Seen, classes: Sequence[str]) -> dict[str, float]:
    """Mean Dice of each class above 0 over the cases in which it is defined."""
    dice = metrics.dice(seen.statistics["overlap"])
    known = {name: dice[:, index][~np.isnan(dice[:, index])] for index, name in enumerate(classes)}
    return {name: float(values.mean()) for name, values in list(known.items())[1:] if len(values)}


def _by_case(seen: Seen) -> dict[str, dict[str, Any]]:
    """Each case's group and Dice, None where it is undefined: what intervals over cases need."""
    dice = metrics.mean_foreground_dice(seen.statistics["overlap"])
    return {
        case.id: {"group": case.group, "dice": None if np.isnan(value) else round(float(value), 6)}
        for case, value in zip(seen.cases, dice, strict=True)
    }


class DiceCurve(NamedTuple):
    """One run as the comparison sees it.

    Attributes:
      labelled, pool: see `task_kind.Curve`.
      dice: of each test case after each round, `[rounds, cases]`; NaN where it is undefined.
      groups: of the test cases, `[cases]`.
      nll, ece: after the last round.
    """

    labelled: np.ndarray
    pool: int | None
    dice: np.ndarray
    groups: np.ndarray
    nll: float
    ece: float

    def levels(self) -> np.ndarray:
        """See `task_kind.Curve`: mean Dice over the cases in which it is defined."""
        return np.nanmean(self.dice, axis=-1)

    def measures(self) -> dict[str, float]:
        """See `task_kind.Curve`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # Dice may be defined in no case of a group
            by_dice = measures(self.dice[-1], self.groups)
        return {**by_dice, "area": float(area_under(self.labelled, self.levels())), "nll": self.nll, "ece": self.ece}


def curve_of(rounds: Sequence[Mapping[str, Any]]) -> DiceCurve:
    """Reads a run's ledger."""
    ids = sorted(rounds[0]["test"])
    dice = [[np.nan if entry["test"][id_]["dice"] is None else entry["test"][id_]["dice"] for id_ in ids] for entry in rounds]
    groups = [rounds[0]["test"][id_]["group"] for id_ in ids]
    last = rounds[-1]
    return DiceCurve(
        np.array([entry["labelled"] for entry in rounds]),
        pool_of(rounds),
        np.array(dice),
        np.array(groups),
        last["nll"],
        last["ece"],
    )


def measures(dice: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """What the Dice of test cases, `[cases]`, of these groups, `[cases]`, comes to; of one group only the Dice."""
    overall = float(np.nanmean(dice))
    if len(np.unique(groups)) < 2:
        return {"dice": overall}
    by_group = {str(group): float(np.nanmean(dice[groups == group])) for group in np.unique(groups)}
    disparity = sum(abs(value - overall) for value in by_group.values())
    return {
        "dice": overall,
        **{f"dice_{group}": value for group, value in by_group.items()},
        "worst_group": float(np.min(list(by_group.values()))),
        "disparity": disparity,
        "essp": overall / (1 + disparity),
    }


def _columns(groups: Sequence[str]) -> list[Column]:
    if len(groups) < 2:
        return [Column("Dice", lambda entry: number(entry["dice"]["overall"]))]
    return [
        Column("Dice", lambda entry: number(entry["dice"]["overall"])),
        *map(_column_of_group, groups),
        Column("disparity", lambda entry: number(entry.get("disparity"))),
        Column("ESSP", lambda entry: number(entry.get("essp"))),
    ]


def _column_of_group(group: str) -> Column:
    return Column(f"Dice {group}", lambda entry: number(entry["dice"]["by_group"].get(group)))


ASSESSMENT = Assessment(
    key="dice",
    title="Dice",
    labelled=("overlap",),
    test=("overlap", "calibration"),
    success=success,
    success_title="Dice",
    collapsed_below=0.02,  # as good as no foreground
    entries=entries,
    answered=lambda cases: {},
    curve_of=curve_of,
    measures={
        "dice": Measure("Dice", "mean over all test cases after the last round"),
        "worst_group": Measure("worst group", "lowest of the groups' mean Dice"),
        "disparity": Measure(
            "disparity Δ", "sum over groups of the distance from the overall Dice; with two groups the gap between them", True
        ),
        "essp": Measure("ESSP", "equity-scaled performance, Dice / (1 + Δ)"),
        "area": Measure("area", "mean Dice over the learning curve"),
        "nll": Measure("NLL", "negative log-likelihood a voxel, in nats", True),
        "ece": Measure("ECE", "expected calibration error", True),
    },
    in_short=("dice", "worst_group", "disparity", "essp", "labels"),
    columns=_columns,
    queried="queried_by_group",
    pictures="Above: outlines of the truth (green) and of the prediction when the case was chosen (red), in axial, coronal and sagittal "
    "slices, where most of them is seen; the patient's left is on the left. Below: how unsure the prediction was.",
)


# Pictures and predictions


def picture(sight: Sight) -> bytes | None:
    """Slices of a volume with truth, prediction and where it is unsure; of label maps in two dimensions nothing so far."""
    if len(sight.spacing_mm) != 3:
        return None
    return draw_case(sight.example, sight.predict(), sight.spacing_mm)


class _Predicted(NamedTuple):
    """One case's prediction: its label map, and Dice of each class above 0 on the original grid, NaN where it is undefined or unknown."""

    case: Case
    part: str
    path: Path
    dice: dict[str, float]

    @property
    def mean_dice(self) -> float:
        """Over the classes that are defined; NaN where none is."""
        defined = [value for value in self.dice.values() if not np.isnan(value)]
        return float(np.mean(defined)) if defined else float("nan")


def predictions(asked: Predicting) -> list[str]:
    """Writes `predictions/ID.nii.gz` for every case, on the grid of the case's own files, and `predictions.csv`.

    Where a case has a label map, its Dice is that on the original grid.
    """
    files, predicted = {case.id: case for case in asked.origin.cases}, []
    for case, part in asked.cases:
        scan, path = files[case.id], asked.folder / "predictions" / f"{case.id}.nii.gz"
        unpadded = tuple(slice(size) for size in prepared_shape(case))
        write_image(path, to_original_grid(asked.predict(case)[:, *unpadded], scan.label or scan.images[0]))
        dice = dict.fromkeys(asked.classes[1:], float("nan"))
        if scan.label:
            dice = _dice_on_the_original_grid(path, scan.label, asked.classes, asked.origin.ignore)
        predicted.append(_Predicted(case, part, path, dice))
        asked.progress(len(predicted), len(asked.cases))
    table = asked.folder / "predictions.csv"
    _write_table(table, predicted)
    lines = []
    for part in ("labelled", "pool", "evaluation", "test", "new"):
        values = [row.mean_dice for row in predicted if row.part == part and not np.isnan(row.mean_dice)]
        if values:
            lines.append(f"  {part:<10} mean Dice {np.mean(values):.3f} over {len(values)} cases")
    folder = asked.folder / "predictions"
    return [*lines, f"Label maps, each on the grid of the case's own files: {folder}", f"Dice of each: {table}"]


def _dice_on_the_original_grid(path: Path, label: Path, classes: Sequence[str], ignore: int | None) -> dict[str, float]:
    truth, guess = read_label(label).values, read_label(path).values
    labelled = truth != ignore if ignore is not None else np.ones(truth.shape, bool)
    counts = metrics.overlap_of_maps(guess, truth, len(classes), labelled)
    return dict(zip(classes[1:], metrics.dice(counts)[1:].tolist(), strict=True))


def _write_table(path: Path, predicted: Sequence[_Predicted]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = list(predicted[0].dice)
    writer.writerow(["case", "group", "part", "dice", *(f"dice_{name}" for name in classes), "file"])
    for row in predicted:
        numbers = ["" if np.isnan(value) else f"{value:.4f}" for value in (row.mean_dice, *row.dice.values())]
        writer.writerow([row.case.id, row.case.group, row.part, *numbers, row.path.relative_to(path.parent)])
    write_text(path, text.getvalue())


SEGMENTATION = TaskKind(
    name="segmentation",
    dense=True,
    label_type=jnp.int32,
    elements="voxels",
    loss=loss,
    moments=uncertainty.CLASS_MOMENTS,
    statistics=STATISTICS,
    strategies=STRATEGIES,
    assessment=ASSESSMENT,
    picture=picture,
    predictions=predictions,
)

# Where parts of cases are asked for.
SEGMENTATION_OF_PARTS = SEGMENTATION._replace(
    statistics={**STATISTICS, **windows.STATISTICS, **WINDOWS_OF_GAIN}, strategies=STRATEGIES_OF_PARTS, in_parts=True
)
