"""How segmentations are assessed: by each test case's Dice, or by F1 of all test images' pixels at once; by group and class, and over rounds."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.assessment import calibration, fairness, metrics
from jaxal.assessment.learning_curves import area_under
from jaxal.errors import UserError
from jaxal.task_kind import Assessment, Budget, Column, Measure
from jaxal.tasks.measures import CASES, OF_PROBABILITIES, number, probabilities_of
from jaxal.types import Seen

# Of one network


def success(labelled: Seen) -> float | None:
    """Mean Dice of the cases that a network was trained on; None where there is no foreground to find, and none was found."""
    dice = each_dice(labelled)
    return None if np.isnan(dice).all() else float(np.mean(dice[~np.isnan(dice)]))


def entries(labelled: Seen, test: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """What a round's line in the ledger says of the network, with mean Dice of the test cases as its main measure.

    Raises:
      UserError: no test case holds any foreground, and none was predicted.
    """
    performance = _dice(test)
    _check_defined(performance, test, "Dice")
    return {
        "dice": _main(performance, _dice_by_class(test, classes)),
        "pooled_f1": _pooled(test).overall,
        **_further(labelled, test, performance, classes),
    }


def entries_pooled(labelled: Seen, test: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """As `entries`, with F1 of the foreground over all test images' pixels as the main measure."""
    performance = _pooled(test)
    _check_defined(performance, test, "F1")
    of_classes = zip(classes[1:], metrics.pooled_f1(test.statistics["overlap"])[1:], strict=True)
    return {
        "f1": _main(performance, {name: float(value) for name, value in of_classes if not np.isnan(value)}),
        "mean_dice": _dice(test).overall,
        **_further(labelled, test, performance, classes),
    }


def _check_defined(performance: fairness.GroupPerformance, test: Seen, title: str) -> None:
    if not performance.by_group:
        raise UserError(
            f"None of the {len(test.cases)} test cases holds any foreground, and none was predicted, so there is no {title} to report. Another "
            "--seed draws other test cases; more cases with the structure are needed."
        )


def _main(performance: fairness.GroupPerformance, by_class: Mapping[str, float]) -> dict[str, Any]:
    return {
        "overall": performance.overall,
        "by_group": dict(performance.by_group),
        "by_class": dict(by_class),
        "undefined": performance.undefined,
    }


def _further(labelled: Seen, test: Seen, performance: fairness.GroupPerformance, classes: Sequence[str]) -> dict[str, Any]:
    """What is said beside the main measure, whichever that is."""
    sums = test.statistics["calibration"]
    of_group = {group: _cases_of(sums, places) for group, places in _places(test).items()}
    trained = metrics.elements_of_classes(labelled.statistics["overlap"])
    return {
        **fairness.entries(performance),
        **calibration.entries(sums),
        **calibration.entries_by_group(of_group),
        "test": _by_case(test),
        "labelled_dice": dict(_dice(labelled).by_group),
        "labelled_elements_by_class": dict(zip(classes, (int(count) for count in trained), strict=True)),
    }


def each_dice(seen: Seen) -> np.ndarray:
    """Mean Dice of each case over its structures, `[cases]`; NaN where it is undefined."""
    return metrics.mean_foreground_dice(seen.statistics["overlap"])


def sizes(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Labelled elements that are predicted to be of any structure, and those that truly are, `[cases]` each."""
    counts = metrics.foreground(seen.statistics["overlap"])
    both = np.asarray(counts.true_positive, np.int64)
    return both + np.asarray(counts.false_positive, np.int64), both + np.asarray(counts.false_negative, np.int64)


def _dice(seen: Seen) -> fairness.GroupPerformance:
    return fairness.group_performance(each_dice(seen), [case.group for case in seen.cases])


def _pooled(seen: Seen) -> fairness.GroupPerformance:
    """Pixel F1 of the foreground over all cases, and over those of each group; how many cases neither have nor were given any."""
    counts = metrics.foreground(seen.statistics["overlap"])
    by_group = {group: float(metrics.pooled_f1(_cases_of(counts, places))) for group, places in _places(seen).items()}
    known = {group: value for group, value in by_group.items() if not np.isnan(value)}
    return fairness.GroupPerformance(float(metrics.pooled_f1(counts)), known, int(np.isnan(metrics.dice(counts)).sum()))


def _places(seen: Seen) -> dict[str, np.ndarray]:
    """Which cases are of each group, `[cases]`, boolean."""
    groups = np.array([case.group for case in seen.cases])
    return {str(group): groups == group for group in np.unique(groups)}


def _cases_of(counts: Any, places: np.ndarray) -> Any:
    """Counts or sums of some of the cases."""
    return type(counts)(*(np.asarray(part)[places] for part in counts))


def _dice_by_class(seen: Seen, classes: Sequence[str]) -> dict[str, float]:
    """Mean Dice of each class above 0 over the cases in which it is defined."""
    dice = metrics.dice(seen.statistics["overlap"])
    known = {name: dice[:, index][~np.isnan(dice[:, index])] for index, name in enumerate(classes)}
    return {name: float(values.mean()) for name, values in list(known.items())[1:] if len(values)}


def _by_case(seen: Seen) -> dict[str, dict[str, Any]]:
    """Each case's group and Dice, None where it is undefined: what intervals over cases need."""
    dice = each_dice(seen)
    return {
        case.id: {"group": case.group, "dice": None if np.isnan(value) else round(float(value), 6)}
        for case, value in zip(seen.cases, dice, strict=True)
    }


# Of a run


class DiceCurve(NamedTuple):
    """One run as the comparison sees it, by the Dice of single test cases.

    Attributes:
      labelled, pool: see `task_kind.Curve`.
      dice: of each test case after each round, `[rounds, cases]`; NaN where it is undefined.
      groups: of the test cases, `[cases]`.
      of_probabilities: measures of them after the last round, by name.
    """

    labelled: np.ndarray
    pool: int | None
    dice: np.ndarray
    groups: np.ndarray
    of_probabilities: Mapping[str, float]

    def levels(self) -> np.ndarray:
        """See `task_kind.Curve`: mean Dice over the cases in which it is defined."""
        return np.nanmean(self.dice, axis=-1)

    def measures(self) -> dict[str, float]:
        """See `task_kind.Curve`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # Dice may be defined in no case of a group
            by_dice = measures(self.dice[-1], self.groups)
        return {**by_dice, "area": float(area_under(self.labelled, self.levels())), **self.of_probabilities}


def curve_of(rounds: Sequence[Mapping[str, Any]], budget: Budget = CASES) -> DiceCurve:
    """Reads a run's ledger."""
    ids = sorted(rounds[0]["test"])
    dice = [[np.nan if entry["test"][id_]["dice"] is None else entry["test"][id_]["dice"] for id_ in ids] for entry in rounds]
    groups = [rounds[0]["test"][id_]["group"] for id_ in ids]
    labelled = np.array([budget.spent(entry) for entry in rounds])
    return DiceCurve(labelled, budget.pool(rounds[0]), np.array(dice), np.array(groups), probabilities_of(rounds[-1]))


def measures(dice: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """What the Dice of test cases, `[cases]`, of these groups, `[cases]`, comes to; of one group only the Dice."""
    by_group = {str(group): float(np.nanmean(dice[groups == group])) for group in np.unique(groups)}
    return _with_groups("dice", float(np.nanmean(dice)), by_group)


def _with_groups(key: str, overall: float, by_group: Mapping[str, float]) -> dict[str, float]:
    """The main measure, and where there are groups theirs, the worst and how far apart they are."""
    if len(by_group) < 2:
        return {key: overall}
    disparity = sum(abs(value - overall) for value in by_group.values())
    return {
        key: overall,
        **{f"{key}_{group}": value for group, value in by_group.items()},
        "worst_group": float(np.min(list(by_group.values()))),
        "disparity": disparity,
        "essp": overall / (1 + disparity),
    }


class PooledCurve(NamedTuple):
    """One run as the comparison sees it, by F1 over all test images' pixels.

    Attributes:
      labelled, pool: see `task_kind.Curve`.
      f1: after each round, `[rounds]`.
      by_group: after the last round.
      further: measures after the last round, by name.
    """

    labelled: np.ndarray
    pool: int | None
    f1: np.ndarray
    by_group: Mapping[str, float]
    further: Mapping[str, float]

    def levels(self) -> np.ndarray:
        """See `task_kind.Curve`."""
        return self.f1

    def measures(self) -> dict[str, float]:
        """See `task_kind.Curve`."""
        of_groups = _with_groups("f1", float(self.f1[-1]), self.by_group)
        return {**of_groups, "area": float(area_under(self.labelled, self.f1)), **self.further}


def pooled_curve_of(rounds: Sequence[Mapping[str, Any]], budget: Budget = CASES) -> PooledCurve:
    """Reads a run's ledger."""
    last, levels = rounds[-1], [entry["f1"]["overall"] for entry in rounds]
    return PooledCurve(
        np.array([budget.spent(entry) for entry in rounds]),
        budget.pool(rounds[0]),
        np.array(levels),
        last["f1"]["by_group"],
        {"mean_dice": last["mean_dice"], **probabilities_of(last)},
    )


# In tables


def _columns_of(key: str, title: str) -> Callable[[Sequence[str]], list[Column]]:
    def of_group(group: str) -> Column:
        return Column(f"{title} {group}", lambda entry: number(entry[key]["by_group"].get(group)))

    def columns(groups: Sequence[str]) -> list[Column]:
        overall = Column(title, lambda entry: number(entry[key]["overall"]))
        if len(groups) < 2:
            return [overall]
        return [
            overall,
            *map(of_group, groups),
            Column("disparity", lambda entry: number(entry.get("disparity"))),
            Column("ESSP", lambda entry: number(entry.get("essp"))),
        ]

    return columns


def _measures_of(key: str, title: str, overall: str, of_group: str) -> dict[str, Measure]:
    return {
        key: Measure(title, f"{overall} after the last round"),
        "worst_group": Measure("worst group", f"lowest of the groups' {of_group}"),
        "disparity": Measure(
            "disparity Δ", f"sum over groups of the distance from the overall {title}; with two groups the gap between them", True
        ),
        "essp": Measure("ESSP", f"equity-scaled performance, {title} / (1 + Δ)"),
        "area": Measure("area", f"mean {title} over the learning curve"),
        **OF_PROBABILITIES,
    }


DICE = Assessment(
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
    measures=_measures_of("dice", "Dice", "mean over all test cases", "mean Dice"),
    in_short=("dice", "worst_group", "disparity", "essp", "labels", "labelled_share"),
    columns=_columns_of("dice", "Dice"),
    queried="queried_by_group",
    pictures="Above: outlines of the truth (green), where somebody gave it, and of the prediction when the case was chosen (red), in axial, coronal and "
    "sagittal slices, where most of them is seen; the patient's left is on the left. Below: how unsure the prediction was. Where a part of the case is "
    "asked for, the slices go through its middle, its box is yellow, and blue lines go around what the network is sure of.",
    each=each_dice,
    each_title="Dice",
    sizes=sizes,
)

# For plane images, where F1 of all pixels at once is what papers give.
POOLED_F1 = DICE._replace(
    key="f1",
    title="F1",
    entries=entries_pooled,
    curve_of=pooled_curve_of,
    measures={
        **_measures_of("f1", "F1", "pixel F1 of the foreground over all test images as though they were one", "F1"),
        "mean_dice": Measure("mean Dice", "Dice of each test image, averaged"),
    },
    in_short=("f1", "worst_group", "disparity", "essp", "labels", "labelled_share"),
    columns=_columns_of("f1", "F1"),
    pictures="Left: outlines of the truth (green), where somebody gave it, and of the prediction when the image was chosen (red). Right: how unsure the "
    "prediction was. Where a window of the image is asked for, it is yellow, others of the same query are pale, and blue lines go around what the network is sure of.",
)
