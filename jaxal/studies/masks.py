"""What studies on images with masks share: how a folder, or simulated tissue, becomes a task of segmentation in two dimensions."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import tyro

from jaxal import hosts
from jaxal.data.cases import Splits, by_stratum, initial_set, split
from jaxal.data.crops import random_crop
from jaxal.data.groups import Grouping
from jaxal.data.guesses import as_trained
from jaxal.data.images.masks import MaskListing, find_masks
from jaxal.data.images.segmented import SegmentedConfig, SegmentedImages, make_new, make_segmented
from jaxal.data.parts import within_parts
from jaxal.data.stream import kept
from jaxal.errors import UserError
from jaxal.networks.dcan import DCANConfig, dcan, multiple_of
from jaxal.report import terminal
from jaxal.rounds.identity import decisive
from jaxal.rounds.passes import stoppable
from jaxal.rounds.prediction import NewCases
from jaxal.rounds.setup import Task
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.studies import common_options, option_types, revisit, study, units
from jaxal.studies.fairness_option import FairnessOption, check_groups
from jaxal.studies.workers import alone
from jaxal.task_kind import TaskKind
from jaxal.tasks.image_segmentation import IMAGE_SEGMENTATION, IMAGE_SEGMENTATION_OF_PARTS
from jaxal.training import losses
from jaxal.training.config import TrainingConfig, settings_of
from jaxal.types import Array, Case, Example

BLOCK = 8  # pixels a side of a region, for information gain


@dataclasses.dataclass(frozen=True)
class MaskPreset:
    """Sizes of a study.

    Attributes:
      longest_side: to which images are made smaller, in pixels.
      crop: height and width of what is trained on; a smaller image is padded.
      rounds, initial_size: see `common_options.StudyArguments`.
      query_size: images a query; of parts there are four for each.
      evaluation, test: shares of the images, where there is no published split.
      network, training: configuration.
      members: whose disagreement uncertainty is.
      batch_size: images scored at once on each device.
    """

    longest_side: int
    crop: tuple[int, int]
    rounds: int
    initial_size: int
    query_size: int
    evaluation: float
    test: float
    network: DCANConfig
    training: TrainingConfig
    members: MembersConfig
    batch_size: int = 1


TRAINING = TrainingConfig(
    steps=500, warm_steps=200, batch_size=4, peak_rate=4e-3, flips=(0, 1), contrast=0.1, brightness=0.1, noise=0.05, attempts=2, average_decay=0.999
)  # fmt: skip
PRESETS = {
    "smoke": MaskPreset(
        64, (32, 32), 2, 4, 2, 0.15, 0.3, DCANConfig(architecture="small", width=8, features=8, entry="narrow"),
        dataclasses.replace(TRAINING, steps=200, warm_steps=60, attempts=1), MembersConfig(dropout=4),
    ),
    "small": MaskPreset(128, (64, 64), 10, 1, 2, 0.12, 0.3, DCANConfig(), TRAINING, MembersConfig(dropout=30)),
    "paper": MaskPreset(
        784, (480, 480), 11, 10, 5, 0.12, 0.3, DCANConfig(architecture="resnet50_v2", width=64, features=32, dtype="bfloat16"),
        dataclasses.replace(TRAINING, steps=4000, warm_steps=1000, steps_per_case=60, batch_size=5, peak_rate=1e-3, attempts=4),
        MembersConfig(dropout=30),
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MaskArguments(units.UnitOptions, FairnessOption, common_options.StudyArguments):
    """Options of studies on images with masks."""

    data: option_types.Place = None
    """The folder of images with masks (docs/own-masks.md says what it may look like)."""
    instances: Annotated[bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint="")] = None
    """Whether each object in a mask has a number of its own. Default: found out."""
    group_column: option_types.Name = None
    """Column of the table of participants that names each image's group. Default: group, and the grade in GlaS."""
    bins: option_types.Edges = ()
    """Edges that cut a --group-column of numbers into groups, such as 60 75 or 60,75."""
    quantiles: option_types.Number = None
    """Groups of equal size for a --group-column of many different numbers, where no --bins are given. Default: two."""

    @property
    def kind(self) -> TaskKind:
        return IMAGE_SEGMENTATION_OF_PARTS if self.of_parts else IMAGE_SEGMENTATION


def contour_loss(outputs: Mapping[str, Array], batch: Example, step: Array, steps: Array) -> Array:
    """What a contour-aware network learns besides the classes; side outputs weigh less and less."""
    labelled, contour = jnp.asarray(batch.labelled), jnp.asarray(batch.targets["contour"])
    weight = losses.auxiliary_weight(step, steps)
    return losses.contour_aware(outputs, jnp.asarray(batch.label), contour, labelled, weight)


def choose_sizes(arguments: MaskArguments, preset: MaskPreset) -> MaskPreset:
    """The preset with what was asked for by option in its place."""
    preset = dataclasses.replace(preset, query_size=units.query_size_of(arguments, arguments.query_size, preset.query_size))
    return common_options.choose_sizes(arguments, preset)


def read_listing(arguments: MaskArguments) -> MaskListing:
    """The images of the folder that was asked for."""
    assert arguments.data is not None
    grouping = Grouping(arguments.group_column, option_types.edges(arguments.bins), arguments.quantiles)
    return find_masks(arguments.data, arguments.instances, grouping=grouping)


def read_images(listing: MaskListing, folder: Path, preset: MaskPreset, display: terminal.Display) -> SegmentedImages:
    """Prepares what was not before, showing how far it is."""
    config = SegmentedConfig(longest_side=preset.longest_side, multiple=multiple_of(preset.network))
    if hosts.is_leader():
        with alone(folder, display), display.progress("preparing images") as progress:
            images = make_segmented(listing, folder, config, stoppable(progress, display))
    hosts.share_json(None)  # the others find the leader's files
    return images if hosts.is_leader() else make_segmented(listing, folder, config)


def draw_splits(
    images: SegmentedImages, preset: MaskPreset, arguments: MaskArguments, seed: int
) -> tuple[Splits, tuple[Case, ...]]:
    """The splits of a seed and its initial set; a published test set is kept.

    Raises:
      UserError: the pool is too small, or a group has too few images.
    """
    cases, part_of = images.dataset.cases, {image.id: image.part for image in images.listing.images}
    is_tested = {case: part_of[case.id].startswith("test") for case in cases}
    if any(is_tested.values()) and not all(is_tested.values()):
        tested, rest = (tuple(case for case in cases if is_tested[case] == part) for part in (True, False))
        evaluation = _evaluation_set(rest, preset.evaluation, seed)
        splits = Splits(tuple(case for case in rest if case not in evaluation), tuple(sorted(evaluation)), tested)
    else:
        splits = split(cases, seed, preset.evaluation, preset.test)
    needed = preset.initial_size + (1 if arguments.of_parts else preset.query_size)
    if len(splits.pool) < needed:
        raise UserError(
            f"The pool has {len(splits.pool)} of {len(cases)} images, but the initial set and a query need {needed}. Lower --initial-size"
            f"{'' if arguments.of_parts else ' or --query-size'}, or add images."
        )
    return splits, initial_set(splits.pool, preset.initial_size, seed)


def _evaluation_set(cases: Sequence[Case], share: float, seed: int) -> set[Case]:
    """Draws a share of each group, of what is left beside a published test set."""
    strata = by_stratum(cases, np.random.default_rng([seed, 3])).values()
    return {case for members in strata for case in members[: max(1, round(share * len(members)))]}


def make_task(
    images: SegmentedImages, preset: MaskPreset, arguments: MaskArguments, identity: Mapping[str, Any], seed: int
) -> Task:
    """Splits, initial set and network for one seed."""
    dataset = images.dataset
    units.check_units(arguments, len(dataset.shape))
    splits, initial = draw_splits(images, preset, arguments, seed)
    largest = tuple(np.max([images.shape_of(case) for case in dataset.cases], axis=0).tolist())
    search = units.search_for(arguments, dataset.shape, preset.query_size, largest) if arguments.of_parts else None
    network = dataclasses.replace(preset.network, classes=len(dataset.classes))
    statistics = StatisticsConfig(roi_dilate=2, region_size=BLOCK, windows=search)

    def load(case: Case) -> Example:
        return within_parts(images.load(case), case.label)

    in_memory, crop = kept(load), _crop_within(preset.crop, dataset.shape, multiple_of(network))
    padded = any(images.shape_of(case) != dataset.shape for case in dataset.cases)
    sections = {
        "data": identity,
        "sizes": {
            name: getattr(preset, name)
            for name in ("initial_size", "query_size", "evaluation", "test", "batch_size", "longest_side")
        }
        | {"crop": list(crop)},
        "members": {**dataclasses.asdict(preset.members), "flips": list(preset.members.flips)},
        "network": dataclasses.asdict(network),
        "training": settings_of(preset.training, arguments.training),
        "statistics": {
            name: value for name, value in dataclasses.asdict(statistics).items() if name not in ("windows", "regions")
        },
        "strategy": {},
        **units.settings_of(arguments, search, arguments.calibrate),
    }
    return Task(
        kind=arguments.kind,
        model=dcan(network, padded),
        dataset=dataset,
        splits=splits,
        initial=initial,
        load=load,
        training=preset.training,
        statistics=statistics,
        further=contour_loss,
        draw=lambda case, rng: random_crop(as_trained(in_memory, case), case.label, crop, rng),
        pixels=images.pixels,
        origin=images,
        shape_of=images.shape_of,
        settings=decisive(arguments.kind, sections),
        contents=images.contents,
    )


def _crop_within(crop: Sequence[int], shape: Sequence[int], multiple: int) -> tuple[int, ...]:
    """A crop that fits into images and that the network takes."""
    return tuple(min(length, -(-part // multiple) * multiple) for part, length in zip(crop, shape, strict=True))


def run(
    arguments: MaskArguments,
    preset: MaskPreset,
    listing: MaskListing,
    identity: Mapping[str, Any],
    out: Path,
    display: terminal.Display,
) -> int:
    """Runs a study on images with masks, or looks at one of its runs again; returns the exit status."""
    sizes, source = sizes_and_source(arguments, preset, listing, identity, arguments.prepared / out.name, display)
    return revisit.run_or_study(arguments, sizes, [source], out, display)


def sizes_and_source(
    arguments: MaskArguments,
    preset: MaskPreset,
    listing: MaskListing,
    identity: Mapping[str, Any],
    prepared: Path,
    display: terminal.Display,
) -> tuple[MaskPreset, study.Source]:
    """What a study on images with masks is run with; images are kept decoded in `prepared`."""
    preset = choose_sizes(arguments, preset)
    images = read_images(listing, prepared, preset, display)
    check_groups(arguments, images.dataset.groups)
    if len(images.empty) == len(images.dataset.cases):
        raise UserError(
            f"{listing.layout}: the masks of all {len(images.empty)} images hold no object, so there is nothing to learn. Look at the values in the "
            "masks; docs/own-masks.md says what they mean."
        )
    if images.empty:
        more = f" and {len(images.empty) - 5} more" if len(images.empty) > 5 else ""
        display.note(f"The masks of these images hold no object: {', '.join(images.empty[:5])}{more}.")
    told = {
        **identity,
        "fingerprint": images.fingerprint,
        "images": len(images.dataset.cases),
        "shape": list(images.dataset.shape),
        "classes": list(images.dataset.classes),
    }

    def read_new(folder: Path, display: terminal.Display) -> NewCases:
        with display.progress("preparing images") as progress:
            place = arguments.prepared / folder.resolve().name
            new = make_new(folder, images, place, multiple_of(preset.network), stoppable(progress, display))
        network = dataclasses.replace(preset.network, classes=len(images.dataset.classes))
        return NewCases(new.dataset.cases, new.load, new, dcan(network, padded=True))

    return preset, study.Source("images", arguments, lambda seed: make_task(images, preset, arguments, told, seed), read_new)
