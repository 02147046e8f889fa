"""The options of the verbs of `jaxal`, and what each verb runs. All that takes seconds to import is imported here."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxal.cli import classification, command, compare, image_segmentation, probabilities, regression, segmentation
from jaxal.data.images.masks import holds_masks
from jaxal.data.scans.layouts import holds_data_set
from jaxal.errors import UserError
from jaxal.hosts import HostsConfig
from jaxal.rounds.ledger import Ledger
from jaxal.studies import option_types


@dataclasses.dataclass(frozen=True)
class OnScans(segmentation.Arguments):
    """Goes through rounds of active learning on scans that have labels."""

    # What the verbs set by themselves is not shown.
    data: Annotated[Path | None, tyro.conf.Suppress] = None
    plan: Annotated[bool, tyro.conf.Suppress] = False
    score_only: Annotated[Path | None, tyro.conf.Suppress] = None
    predict_only: Annotated[Path | None, tyro.conf.Suppress] = None
    new: Annotated[Path | None, tyro.conf.Suppress] = None
    new_out: Annotated[Path | None, tyro.conf.Suppress] = None


@dataclasses.dataclass(frozen=True)
class OnImages(classification.Arguments):
    """Goes through rounds of active learning on images that have one class each."""

    data: Annotated[Path | None, tyro.conf.Suppress] = None
    score_only: Annotated[Path | None, tyro.conf.Suppress] = None
    predict_only: Annotated[Path | None, tyro.conf.Suppress] = None
    new: Annotated[Path | None, tyro.conf.Suppress] = None
    new_out: Annotated[Path | None, tyro.conf.Suppress] = None


@dataclasses.dataclass(frozen=True)
class OnMasks(image_segmentation.Arguments):
    """Goes through rounds of active learning on images that have a mask each."""

    data: Annotated[Path | None, tyro.conf.Suppress] = None
    score_only: Annotated[Path | None, tyro.conf.Suppress] = None
    predict_only: Annotated[Path | None, tyro.conf.Suppress] = None
    new: Annotated[Path | None, tyro.conf.Suppress] = None
    new_out: Annotated[Path | None, tyro.conf.Suppress] = None


@dataclasses.dataclass(frozen=True)
class OnTable(regression.Arguments):
    """Goes through rounds of active learning on scans that have numbers as a whole."""

    data: Annotated[Path | None, tyro.conf.Suppress] = None
    score_only: Annotated[Path | None, tyro.conf.Suppress] = None
    predict_only: Annotated[Path | None, tyro.conf.Suppress] = None
    new: Annotated[Path | None, tyro.conf.Suppress] = None
    new_out: Annotated[Path | None, tyro.conf.Suppress] = None


@dataclasses.dataclass(frozen=True)
class Score:
    """Scores what a run has not labelled, into the run's scores.csv."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of one run, RESULTS/SETTING/STRATEGY/seed-N."""
    strategy: option_types.strategies("weighted_entropy,gamma=3") = ("aeig",)  # type: ignore[valid-type]
    data: option_types.Place = None
    """Where the run's data lie now, if they were moved."""
    hosts: tyro.conf.OmitArgPrefixes[HostsConfig] = dataclasses.field(default_factory=HostsConfig)


@dataclasses.dataclass(frozen=True)
class Predict:
    """Writes what a run's last network makes of every case, or of new ones."""

    run: Annotated[Path, tyro.conf.Positional]
    """Folder of one run, RESULTS/SETTING/STRATEGY/seed-N."""
    new: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NEW_SCANS]", help_behavior_hint="")] = None
    """Folder of scans or images that were never in the run, with or without labels; of scans with numbers another table."""
    out: option_types.Place = None
    """Folder for the predictions of new ones. Default: a folder below the run's new/, named after theirs."""
    data: option_types.Place = None
    """Where the run's own data lie now, if they were moved."""


def simulate(data: Path, given: Sequence[str], plan: bool) -> int:
    """Runs a study on a folder, or plans it; the kind of task follows from the folder."""
    verb = f"jaxal {'plan' if plan else 'simulate'} DATA"
    if data.suffix in (".tsv", ".csv") and not plan:
        return regression.main(dataclasses.replace(command.parse(OnTable, verb, given), data=data))
    if data.is_dir() and holds_masks(data) and not plan:
        return image_segmentation.main(dataclasses.replace(command.parse(OnMasks, verb, given), data=data))
    if holds_data_set(data):
        of_scans = command.parse(OnScans, verb, given)
        return segmentation.main(dataclasses.replace(of_scans, data=data, plan=plan))
    if plan:
        raise UserError(f"jaxal plan {data}: only studies of scans can be planned so far, and this folder holds none.")
    if any(word.split("=")[0] == "--unit" for word in given):
        raise UserError(
            f"{data}: holds neither scans nor images with masks, and only of these can parts be asked for. docs/own-masks.md says how masks are "
            "named; leave --unit out for images with one class each."
        )
    return classification.main(dataclasses.replace(command.parse(OnImages, verb, given), data=data))


def score(given: Sequence[str]) -> int:
    """Scores the pool of a run, or predictions on disk."""
    if any(word.split("=")[0] == "--probabilities" for word in given):
        return probabilities.main(command.parse(probabilities.Arguments, "jaxal score", given))
    asked = command.parse(Score, "jaxal score", given)
    options = {"score_only": asked.run, "strategy": asked.strategy, "hosts": asked.hosts, "data": asked.data}
    return _on_run(asked.run, options)


def predict(given: Sequence[str]) -> int:
    """Predicts the cases of a run, or new ones."""
    asked = command.parse(Predict, "jaxal predict", given)
    if asked.out and not asked.new:
        raise UserError("--out is for the predictions of new cases; those of the run's own go into its folder.")
    return _on_run(asked.run, {"predict_only": asked.run, "data": asked.data, "new": asked.new, "new_out": asked.out})


def compare_runs(given: Sequence[str]) -> int:
    """Compares the runs of a results folder."""
    return compare.main(command.parse(compare.Arguments, "jaxal compare", given))


def on_project(verb: str, given: Sequence[str]) -> int:
    """Runs a verb of a project with readers."""
    from jaxal.cli import projects  # which imports more than the verbs of studies need

    return projects.RUNS[verb](given)


def bench(given: Sequence[str]) -> int:
    """Tries strategies on tasks that need no download."""
    from jaxal.cli import bench as tried

    return tried.main(command.parse(tried.Arguments, "jaxal bench", given))


def demo(given: Sequence[str]) -> int:
    """Shows the whole loop with simulated readers."""
    from jaxal.cli import demo as shown

    return shown.main(command.parse(shown.Arguments, "jaxal demo", given))


def _on_run(run: Path, options: dict[str, Any]) -> int:
    """Looks at a run again by the command of its kind of task, which its ledger tells; a ledger that cannot be read is told of there."""
    if not run.is_dir():
        raise UserError(f"{run}: no such folder. A run's is RESULTS/SETTING/STRATEGY/seed-N.")
    options_of_run = run / "options.json"
    if options["data"] is None and options_of_run.is_file() and '"data": "' not in options_of_run.read_text(encoding="utf-8"):
        raise UserError(
            f"{run}: was made by a study of experiments/, whose data come from there. Give it to that study's --score-only or --predict-only."
        )
    try:
        rounds = Ledger(run / "rounds.jsonl").read()
    except UserError:
        rounds = []
    if not rounds or rounds[0]["task"] == "segmentation":
        return segmentation.main(segmentation.Arguments(**options))
    if rounds[0]["task"] == "image segmentation":
        return image_segmentation.main(image_segmentation.Arguments(**options))
    if rounds[0]["task"] == "regression":
        return regression.main(regression.Arguments(**options))
    return classification.main(classification.Arguments(**options))


RUNS: dict[str, Callable[[Sequence[str]], int]] = {"score": score, "predict": predict, "compare": compare_runs}
