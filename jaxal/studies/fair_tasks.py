"""The three tasks of the study of fair training: tumours in brain MRI, kinds of skin lesions, and clinical scores from brain MRI.

Each is read from the layout in which the data are published, or simulated in that layout first.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.data.cases import Splits
from jaxal.data.groups import EDGES_ONLY, Grouping
from jaxal.data.images.layouts import find_images
from jaxal.data.scans.brats import REGIONS
from jaxal.data.scans.folder import FolderConfig
from jaxal.data.simulated import atrophy, lesions, tumours
from jaxal.networks.resnet import resnet
from jaxal.report import terminal
from jaxal.rounds.identity import config_hash, decisive
from jaxal.rounds.setup import Task
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.studies import common_options, fair, images, scans, targets
from jaxal.studies.fair import FairPreset, Prepared
from jaxal.studies.workers import Progress, made_once
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig, settings_of


class Asked(NamedTuple):
    """What was asked for.

    Attributes:
      arguments: options of all studies.
      data: folder, or table, of the data; None for simulated ones.
      cohorts: where simulated ones are kept.
      group_column, bins: what makes the groups; the task's own where they are left out.
      targets: columns of numbers to predict, of the task that has them.
    """

    arguments: common_options.StudyArguments
    data: Path | None
    cohorts: Path
    group_column: str | None
    bins: tuple[float, ...]
    targets: tuple[str, ...]

    @property
    def setting(self) -> str:
        """What results are filed under."""
        return "data" if self.data else "simulated"


def _simulated(
    asked: Asked, name: str, config: Any, generator: int, write: Any, display: terminal.Display
) -> tuple[Path, dict[str, Any]]:
    """The folder of simulated data, which is made first if it is not there, and what identifies it."""
    everything = {**dataclasses.asdict(config), "generator": generator}
    folder = asked.cohorts / f"{name}-{config_hash(everything)}"

    def make(progress: Progress) -> str:
        write(config, folder, progress)
        return f"Simulated data of {name} are in {folder}."

    made_once(folder, make, display, f"simulating {name}")
    return folder, {"simulation": everything}


def tumour(asked: Asked, preset: FairPreset, display: terminal.Display) -> Prepared:
    """Brain tumours in four channels, in three nested regions; groups by the volume that takes up contrast agent."""
    folder: Path | None = asked.data
    identity: dict[str, Any] = {}
    column, bins = asked.group_column or "volume:enhancing", asked.bins
    if folder is None:
        config = preset.simulation
        folder, identity = _simulated(asked, "tumours", config, tumours.GENERATOR, tumours.write_tumours, display)
        bins = bins or (config.edge_mm3,)
    elif column.startswith("volume:") and not bins:
        bins = (7000.0,)  # as in the paper
    whole = FolderConfig(column, bins=bins, quantiles=EDGES_ONLY, patch_voxels=None, levels=preset.network.levels)
    ready = scans.read_folder(folder, asked.arguments.prepared / folder.resolve().name, whole, display)
    identity |= {
        "fingerprint": ready.fingerprint,
        "group_column": column,
        "bins": list(bins),
        "classes": list(ready.dataset.classes),
    }
    regions = tuple(REGIONS.items()) if ready.listing.layout == "BraTS" else ()

    def task(splits: Splits, training: TrainingConfig) -> Task:
        sections = {
            **fair.sections_of(identity, preset, settings_of(training, "scratch")),
            "statistics": {"regions": [list(part) for _, part in regions]},
        }
        return Task(
            kind=SEGMENTATION,
            model=scans.network_for(ready.dataset, preset.network, None),
            dataset=ready.dataset,
            splits=splits,
            initial=splits.pool,
            load=lambda case: scans.load_case(case, ready.dataset),
            training=training,
            statistics=StatisticsConfig(regions=regions),
            shape_of=scans.prepared_shape,
            origin=ready.listing,
            settings=decisive(SEGMENTATION, sections),
            contents=ready.contents,
        )

    read_new = scans.reader_of_new(ready, preset.network, asked.arguments.prepared, None)
    return Prepared(ready.dataset.cases, column, task, read_new, asked.setting)


def lesion(asked: Asked, preset: FairPreset, display: terminal.Display) -> Prepared:
    """Kinds of skin lesions; groups by the tone of skin in simulated images, by age in others."""
    folder: Path | None = asked.data
    identity: dict[str, Any] = {}
    column, bins = asked.group_column or ("skin_tone" if folder is None else "age_approx"), asked.bins
    if folder is None:
        folder, identity = _simulated(asked, "lesions", preset.simulation, lesions.GENERATOR, lesions.write_lesions, display)
    elif column == "age_approx" and not bins:
        bins = (60.0,)  # as in the paper
    listing = find_images(folder, Grouping(column, bins, EDGES_ONLY, "leave-out"))
    for note in listing.notes:
        display.note(note)
    found = images.read_images(listing, images.ImageArguments(prepared=asked.arguments.prepared), preset.size, True, display)
    classes = found.dataset.classes
    identity |= {
        "fingerprint": found.fingerprint,
        "group_column": column,
        "bins": list(bins),
        "size": list(preset.size),
        "classes": list(classes),
    }
    model = resnet(dataclasses.replace(preset.network, classes=len(classes)))

    def task(splits: Splits, training: TrainingConfig) -> Task:
        return Task(
            kind=CLASSIFICATION,
            model=model,
            dataset=found.dataset,
            splits=splits,
            initial=splits.pool,
            load=found.load,
            training=training,
            pixels=found.pixels,
            settings=decisive(CLASSIFICATION, fair.sections_of(identity, preset, settings_of(training, "scratch"))),
            contents=found.contents,
        )

    return Prepared(found.dataset.cases, column, task, images.reader_of_new(found), asked.setting)


def cognition(asked: Asked, preset: FairPreset, display: terminal.Display) -> Prepared:
    """Clinical scores from brain MRI; groups by age."""
    table, named = asked.data, asked.targets or targets.TARGETS
    identity: dict[str, Any] = {}
    column, bins = asked.group_column or "age", asked.bins
    if table is None:
        folder, identity = _simulated(asked, "atrophy", preset.simulation, atrophy.GENERATOR, atrophy.write_atrophy, display)
        table = folder / "participants.tsv"
    if column == "age" and not bins:
        bins = (atrophy.OLD_FROM,)  # as in the paper
    prepared = asked.arguments.prepared / table.resolve().parent.name
    ready = targets.read_table(table, named, prepared, FolderConfig(column, bins=bins, quantiles=EDGES_ONLY), display)
    identity |= {"fingerprint": ready.fingerprint, "group_column": column, "bins": list(bins), "targets": list(named)}

    def task(splits: Splits, training: TrainingConfig) -> Task:
        sections = fair.sections_of(identity, preset, settings_of(training, "scratch"))
        return targets.make_task(ready, preset.network, splits, splits.pool, training, sections)

    return Prepared(ready.dataset.cases, column, task, targets.reader_of_new(ready, asked.arguments.prepared), asked.setting)
