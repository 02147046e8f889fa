"""Segmentation assessed: Dice of the test cases, by group and class, and how far apart the groups are."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment import calibration, fairness, metrics
from jaxal.errors import UserError
from jaxal.strategies.table import Seen
from jaxal.tasks.assessed import Assessment, Column, Measure, area_under, number, pool_of


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
        "disparity": fairness.disparity(performance),
        "gap": fairness.gap(performance),
        "essp": fairness.equity_scaled(performance),
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
      labelled, pool: see `assessment.Curve`.
      dice: of each test case after each round, `[rounds, cases]`; NaN where it is undefined.
      strata: groups of the test cases, `[cases]`.
      nll, ece: after the last round.
    """

    labelled: np.ndarray
    pool: int | None
    dice: np.ndarray
    strata: np.ndarray
    nll: float
    ece: float

    def levels(self, cases: np.ndarray | None) -> np.ndarray:
        """See `assessment.Curve`: mean Dice over the cases in which it is defined."""
        dice = self.dice if cases is None else np.moveaxis(self.dice[:, cases], 0, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a replicate may hold no case in which Dice is defined
            return np.nanmean(dice, axis=-1)

    def measures(self, levels: np.ndarray, cases: np.ndarray | None) -> dict[str, np.ndarray]:
        """See `assessment.Curve`."""
        last = self.dice[-1] if cases is None else self.dice[-1][cases]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nor one of a group
            found = {**measures(last, self.strata), "area": area_under(self.labelled, levels)}
        ones = np.ones(() if cases is None else len(cases))
        return {**found, "nll": self.nll * ones, "ece": self.ece * ones}


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


def measures(dice: np.ndarray, groups: np.ndarray) -> dict[str, np.ndarray]:
    """What the Dice of test cases, `[..., cases]`, of these groups, `[cases]`, comes to, `[...]` each."""
    overall = np.nanmean(dice, axis=-1)
    by_group = {str(group): np.nanmean(dice[..., groups == group], axis=-1) for group in np.unique(groups)}
    disparity = sum(abs(value - overall) for value in by_group.values())
    return {
        "dice": overall,
        **{f"dice_{group}": value for group, value in by_group.items()},
        "worst_group": np.min(list(by_group.values()), axis=0),
        "disparity": disparity,
        "essp": overall / (1 + disparity),
    }


def _columns(groups: Sequence[str]) -> list[Column]:
    return [
        Column("Dice", lambda entry: number(entry["dice"]["overall"])),
        *(Column(f"Dice {group}", lambda entry, group=group: number(entry["dice"]["by_group"].get(group))) for group in groups),
        Column("disparity", lambda entry: number(entry["disparity"])),
        Column("ESSP", lambda entry: number(entry["essp"])),
    ]


SEGMENTATION = Assessment(
    key="dice",
    title="Dice",
    labelled=("overlap",),
    test=("overlap", "calibration"),
    success=success,
    success_title="Dice",
    collapsed_below=0.02,  # as good as no foreground
    entries=entries,
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
