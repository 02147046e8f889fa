"""What studies of segmentation share: how a task is put together, and a results folder that keeps to one configuration."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from experiments.presets import Preset
from jaxal import loop, report
from jaxal.checkpoint import lock, write_text
from jaxal.data.cases import Case, Dataset, Splits
from jaxal.data.layouts import load_case
from jaxal.errors import UserError
from jaxal.networks.unet import unet
from jaxal.statistics import StatisticsConfig
from jaxal.strategies import StrategyConfig

SCARCE_SHARE = 0.1  # of the initial set, for the group that is short when it is imbalanced


def settings(task: loop.Task, preset: Preset, start: str, identity: dict) -> dict:
    """What decides results and therefore may not change under an existing folder."""
    return {
        "data": identity,
        "sizes": {name: getattr(preset, name) for name in ("initial_size", "query_size", "evaluation", "test", "batch_size")},
        "members": {**dataclasses.asdict(preset.members), "flips": list(preset.members.flips)},
        "network": dataclasses.asdict(preset.network),
        "training": {"start": start, **dataclasses.asdict(preset.training)},
        "statistics": dataclasses.asdict(task.statistics),
        "strategy": dataclasses.asdict(task.strategy),
    }


def settle_config(path: Path, config: dict) -> None:
    """Writes the configuration of a new folder, or makes sure that an old one's is the same."""
    if path.exists():
        try:
            stored = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path}: not valid JSON ({error}). Restore it, choose another --out or use --fresh.") from error
        differences = report.describe_difference(stored, config)
        if differences:
            raise UserError(
                f"{path.parent} holds runs with other settings:\n  "
                + "\n  ".join(differences)
                + "\nChoose another --out, or --fresh to set the folder aside and begin anew."
            )
        return
    write_text(path, json.dumps(config, indent=2) + "\n")


def set_aside(folder: Path) -> Path:
    """Renames a folder, once it is sure that nobody works in it, to the first free name with a number."""
    with lock(folder):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
            number += 1
        folder.rename(aside)
    return aside


def imbalanced_shares(dataset: Dataset) -> dict[str, float]:
    """A tenth for the smallest group (of equal ones the last), the rest in equal parts."""
    counts = {group: sum(case.group == group for case in dataset.cases) for group in dataset.groups}
    scarce = min(reversed(dataset.groups), key=lambda group: counts[group])
    others = [group for group in dataset.groups if group != scarce]
    return {scarce: SCARCE_SHARE, **dict.fromkeys(others, (1 - SCARCE_SHARE) / len(others))}


def make_task(dataset: Dataset, preset: Preset, splits: Splits, initial: Sequence[Case], start: str, identity: dict) -> loop.Task:
    """Puts the parts together; sizes that are given in millimetres become voxels of this data set."""
    network = dataclasses.replace(preset.network, classes=len(dataset.classes))
    voxel_mm = sum(dataset.spacing_mm) / len(dataset.spacing_mm)
    task = loop.Task(
        model=unet(network),
        dataset=dataset,
        splits=splits,
        initial=initial,
        load=lambda case: load_case(case, dataset),
        training=preset.training,
        statistics=StatisticsConfig(roi_dilate=max(1, round(4 / voxel_mm)), region_size=max(1, round(8 / voxel_mm))),
        strategy=StrategyConfig(step_rate=preset.training.warm_rate if start == "warm" else preset.training.peak_rate),
    )
    return task._replace(config_hash=loop.config_hash(settings(task, preset, start, identity)))
