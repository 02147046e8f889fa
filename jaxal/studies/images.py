"""What studies on images with one class each share: their options, and how images become a task of classification."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import numpy as np
import tyro

from jaxal import hosts
from jaxal.acquisition.information import Step
from jaxal.data.cases import Splits, by_refusal, file_fingerprint, initial_set, split
from jaxal.data.images.decoded import ImageSet, is_colour, make_images
from jaxal.data.images.listing import Listing, cases_of, check_listing, frequencies, with_refused
from jaxal.data.images.new import read_new_images
from jaxal.errors import UserError
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.weights import network_of, read_weights, with_weights
from jaxal.report import terminal
from jaxal.rounds.identity import decisive
from jaxal.rounds.passes import stoppable
from jaxal.rounds.prediction import NewCases
from jaxal.rounds.setup import Task
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.named import named_strategy
from jaxal.studies import common_options, option_types, revisit, study, units
from jaxal.studies.presets import OF_IMAGES, OF_IMAGES_AS_PUBLISHED
from jaxal.studies.scans import Chosen
from jaxal.studies.workers import Progress, alone, made_once
from jaxal.task_kind import TaskKind
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.training.config import TrainingConfig, settings_of
from jaxal.types import Case, Model

STUDY = [
    *("random", "entropy", "least_confidence", "margin", "mc_entropy", "bald", "variation_ratio", "mean_std", "coreset"),
    *("badge", "egl", "batchbald", "eig", "aeig", "uig", "cfig", "mass"),
]  # the strategies of the information-gain paper, and those it is judged by


@dataclasses.dataclass(frozen=True)
class ImagePreset:
    """Sizes of a study on images.

    Attributes:
      size: height and width to which images are brought.
      rounds: see `ImageArguments`.
      initial_share, query_share: of the pool, at the start and a query; the paper's are 10 and 6 percent.
      evaluation, test: shares of the images that go to these splits.
      network, training: configuration.
      members: whose disagreement uncertainty is.
      batch_size: images scored at once on each device.
      images: as many of a larger data set are taken, at random, subjects as a whole.
      initial_size, query_size: in images; follow from the shares when left out.
    """

    size: tuple[int, int]
    rounds: int
    initial_share: float
    query_share: float
    evaluation: float
    test: float
    network: ResNetConfig
    training: TrainingConfig
    members: MembersConfig = MembersConfig()  # noqa: RUF009 (frozen)
    batch_size: int = 64
    images: int | None = None
    initial_size: int | None = None
    query_size: int | None = None


# For a user's own images.
OWN_IMAGES = {
    "smoke": ImagePreset(
        (24, 24), 2, 0.3, 0.15, 0.2, 0.3, ResNetConfig(architecture="small", width=8, groups=4, entry="narrow"),
        dataclasses.replace(OF_IMAGES, steps=10, warm_steps=5, batch_size=8), MembersConfig(dropout=4), batch_size=16,
    ),
    "small": ImagePreset((64, 64), 6, 0.10, 0.06, 0.15, 0.3, ResNetConfig(width=16, groups=4), OF_IMAGES),
    "paper": ImagePreset((512, 512), 6, 0.10, 0.06, 0.15, 0.3, ResNetConfig(dtype="bfloat16"), OF_IMAGES_AS_PUBLISHED),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ImageSizes(ImagePreset):
    """The sizes of a run: an `ImagePreset` of which all numbers of images are known."""

    initial_size: int = dataclasses.field(kw_only=True)
    query_size: int = dataclasses.field(kw_only=True)


@dataclasses.dataclass(frozen=True)
class ImageArguments(common_options.StudyArguments, units.SureOptions):
    """Options of studies on images."""

    strategy: option_types.strategies("aeig,step=sign") = ("aeig",)  # type: ignore[valid-type]
    study: bool = False
    """The information-gain paper's study in place of --strategy: its strategies and those it is judged by, five seeds or more, training on everything."""
    refuse: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...", help_behavior_hint="")] = ()
    """Classes whose images readers refuse in this simulation: they lie in the pool and cost a query, and none is trained on or measured."""
    renormalise: bool = False
    """Divide AEIG's label weights by their sum; the paper does not."""
    step: Step = "sgd"
    """The one step of the head behind information gain: plain gradient descent, or the first of a fresh Adam."""
    step_rate: str = "peak"
    """Rate of that step: peak of the training's, normalised by the features' length, or a number."""

    @property
    def kind(self) -> TaskKind:
        return CLASSIFICATION


@dataclasses.dataclass(frozen=True)
class FolderArguments(ImageArguments):
    """Options of studies on a folder of images."""

    data: option_types.Place = None
    """The folder of images; needed, but for --score-only and --predict-only."""
    weights: option_types.Place = None
    """Weights to begin from instead of random ones: a state dict of torchvision's ResNet-18 or 50 in .safetensors or .npz, which brings its network."""


class FolderStudy(NamedTuple):
    """A study on a folder of images in a layout.

    Attributes:
      name: of its results folder.
      presets: sizes by name.
      read: finds the images of a folder, given the options.
      pretend: writes a tiny folder of that layout with made-up images, for the preset `smoke`.
      meant: what the folder must look like, and where it comes from.
      colour: whether images must have it; as the first image when left out.
    """

    name: str
    presets: Mapping[str, ImagePreset]
    read: Callable[[Path, Any], Listing]
    pretend: Callable[[Path], Path] | None
    meant: str
    colour: bool | None = None


def run_without_download(
    name: str, presets: Mapping[str, ImagePreset], make: Callable[[Any], Listing], arguments: Any, display: terminal.Display
) -> int:
    """Runs a study on images that come with a library, or looks at one of its runs again; returns the exit status.

    Args:
      name: of the study.
      presets: sizes by name.
      make: the images, given the options.
      arguments: the options, a `preset` among them.
      display: where to show things.
    """
    arguments = with_study(arguments)
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    out = arguments.out or Path("runs") / f"{name}-{arguments.preset}"
    common_options.check_options(arguments, None, out)
    return run(arguments, presets[arguments.preset], make(arguments), False, {"name": name}, out, display)


def run_folder(about: FolderStudy, arguments: Any, display: terminal.Display) -> int:
    """Runs a study on a folder of images, or looks at one of its runs again; returns the exit status."""
    arguments = with_study(arguments)
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    data, preset = arguments.data, about.presets[arguments.preset]
    if data is None and about.pretend and arguments.preset == "smoke":
        data, pretend = arguments.prepared / f"made-up-{about.name}", about.pretend

        def make(progress: Progress) -> str:
            aside = data.with_name(f".{data.name}")  # a killed command leaves no half of it behind
            shutil.rmtree(aside, ignore_errors=True)
            pretend(aside).rename(data)
            return f"No --data: made-up images are written into {data}."

        made_once(data, make, display, "making up images")
        arguments = dataclasses.replace(arguments, data=data)
    elif data is None:
        raise UserError(f"--data DIR is needed. {about.meant}")
    out = arguments.out or Path("runs") / f"{about.name}-{data.stem if arguments.data else 'made-up'}-{arguments.preset}"
    common_options.check_options(arguments, data, out)
    size = getattr(arguments, "size", ())
    if size:
        if len(size) != 2 or min(size) < 8 or max(size) > 4096:
            raise UserError(f"--size is {' '.join(map(str, size))}; it takes a height and a width, each of 8 to 4096 pixels.")
        preset = dataclasses.replace(preset, size=tuple(size))
    return run(arguments, preset, about.read(data, arguments), about.colour, {"name": about.name}, out, display)


def with_study(arguments: ImageArguments) -> ImageArguments:
    """What `--study` stands for; a run that is looked at again keeps to the strategies that are named."""
    if not arguments.study or revisit.is_asked_for(arguments):
        return arguments
    return dataclasses.replace(arguments, strategy=tuple(STUDY), seeds=max(arguments.seeds, 5), full=True)


def choose_sizes(arguments: ImageArguments, preset: ImagePreset, listing: Listing) -> ImageSizes:
    """The preset with what was asked for by option in its place, and sizes in images."""
    preset = common_options.choose_sizes(arguments, preset)
    if any(axis not in (0, 1) for axis in preset.members.flips):
        raise UserError(
            f"--flips {' '.join(map(str, preset.members.flips))}: images have the axes 0 (up and down) and 1 (left and right)."
        )
    pool = sum(not image.refusal for image in listing.images) * (1 - preset.evaluation - preset.test)
    classes = len(listing.classes)
    known = {
        "network": dataclasses.replace(preset.network, classes=classes),
        "initial_size": preset.initial_size or max(classes, round(preset.initial_share * pool)),
        "query_size": preset.query_size or max(1, round(preset.query_share * pool)),
    }
    return ImageSizes(**{**vars(preset), **known})


def part_of(listing: Listing, images: int) -> Listing:
    """At least so many images, always the same ones: subjects as a whole, in an order drawn by their names alone."""
    of_subject: dict[str, list[int]] = {}
    for place, image in enumerate(listing.images):
        of_subject.setdefault(image.subject or image.id, []).append(place)
    order = np.random.default_rng(0).permutation(sorted(of_subject))
    chosen: list[int] = []
    for subject in order:
        if len(chosen) >= images:
            break
        chosen += of_subject[str(subject)]
    chosen.sort()
    pixels = None if listing.pixels is None else listing.pixels[chosen]
    return listing._replace(images=tuple(listing.images[place] for place in chosen), pixels=pixels)


def draw_splits(cases: Sequence[Case], preset: ImageSizes, seed: int) -> tuple[Splits, tuple[Case, ...]]:
    """The splits of a seed and its initial set.

    Raises:
      UserError: the pool is too small, a class or a group has too few images.
    """
    wanted, refused = by_refusal(cases)
    splits = split(wanted, seed, preset.evaluation, preset.test)
    if len(splits.pool) < preset.initial_size + preset.query_size:
        raise UserError(
            f"The pool has {len(splits.pool)} of {len(wanted)} images, but the initial set of {preset.initial_size} and one "
            f"query of {preset.query_size} need more. Lower --initial-size or --query-size, or add images."
        )
    classes_of: dict[str, set[str]] = {}
    for case in splits.test:
        classes_of.setdefault(case.group, set()).add(case.category)
    poorest = min(classes_of, key=lambda group: len(classes_of[group]))
    if len(classes_of[poorest]) < 2:
        raise UserError(
            f"All test images of group {poorest!r} are of the class {min(classes_of[poorest])!r}, so there is no AUC of it. Join groups, name "
            "another --group-column, or add images."
        )
    initial = initial_set(splits.pool, preset.initial_size, seed, frequencies(splits.pool))
    return splits._replace(pool=tuple(sorted([*splits.pool, *refused]))), initial


def read_images(
    listing: Listing, arguments: ImageArguments, size: tuple[int, int], colour: bool | None, display: terminal.Display
) -> ImageSet:
    """Decodes and resizes what was not before, showing how far it is."""
    folder = arguments.prepared / listing.layout.replace(" ", "-").replace(",", "")
    if hosts.is_leader():
        with alone(folder, display), display.progress("decoding images") as progress:
            images = make_images(listing, folder, size, colour, stoppable(progress, display))
    hosts.share_json(None)  # the others find the leader's files
    return images if hosts.is_leader() else make_images(listing, folder, size, colour)


def make_task(
    images: ImageSet,
    model: Model,
    training: TrainingConfig,
    chosen: Chosen,
    sections: Mapping[str, Any],
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Task:
    """Puts the parts together; `sections` are the settings that decide results, `options` those of strategies."""
    return Task(
        kind=CLASSIFICATION,
        model=model,
        dataset=images.dataset,
        splits=chosen.splits,
        initial=chosen.initial,
        load=images.load,
        training=training,
        pixels=images.pixels,
        options=options,
        settings=decisive(CLASSIFICATION, sections),
        contents=images.contents,
    )


def make_source(
    arguments: ImageArguments, preset: ImageSizes, model: Model, images: ImageSet, identity: dict[str, Any]
) -> study.Source:
    """Images as the one setting of a study."""
    identity = {**identity, "fingerprint": images.fingerprint}

    options = _strategy_options(arguments)
    sections = {
        "data": {
            **identity,
            "images": len(images.dataset.cases),
            "size": list(preset.size),
            "classes": list(images.dataset.classes),
            **({"refused": list(arguments.refuse)} if arguments.refuse else {}),
        },
        "sizes": {name: getattr(preset, name) for name in ("initial_size", "query_size", "evaluation", "test", "batch_size")},
        "members": {**dataclasses.asdict(preset.members), "flips": list(preset.members.flips)},
        "network": preset.network.described,
        "training": settings_of(preset.training, arguments.training),
        "strategy": options,
        **units.settings_of(arguments, None, arguments.calibrate),
    }

    def task(seed: int) -> Task:
        chosen = Chosen(*draw_splits(images.dataset.cases, preset, seed))
        return make_task(images, model, preset.training, chosen, sections, options)

    return study.Source("images", arguments, task, reader_of_new(images))


def reader_of_new(images: ImageSet) -> Callable[[Path, terminal.Display], NewCases]:
    """What reads another folder of images for a network of these."""
    return lambda folder, display: NewCases(*read_new_images(folder, images), None)


def run(
    arguments: ImageArguments,
    preset: ImagePreset,
    listing: Listing,
    colour: bool | None,
    identity: dict[str, Any],
    out: Path,
    display: terminal.Display,
) -> int:
    """Runs a study on images, or looks at one of its runs again; returns the exit status."""
    sizes, source = sizes_and_source(arguments, preset, listing, colour, identity, display)
    return revisit.run_or_study(arguments, sizes, [source], out, display)


def sizes_and_source(
    arguments: ImageArguments,
    preset: ImagePreset,
    listing: Listing,
    colour: bool | None,
    identity: dict[str, Any],
    display: terminal.Display,
) -> tuple[ImageSizes, study.Source]:
    """What a study on images is run with.

    What can be refused is refused before any image is decoded, which may take an hour.
    """
    listing = with_refused(listing, arguments.refuse) if arguments.refuse else listing
    check_listing(listing)
    for note in listing.notes:
        display.note(note)
    if preset.images and len(listing.images) > preset.images:
        everything, listing = len(listing.images), part_of(listing, preset.images)
        display.note(f"Of {everything} images {len(listing.images)} are taken, as many as the preset has.")
    units.check_sure(arguments)
    sizes = choose_sizes(arguments, preset, listing)
    weights = getattr(arguments, "weights", None)
    if weights:
        channels = 3 if (is_colour(listing) if colour is None else colour) else 1
        state = read_weights(weights)
        sizes = dataclasses.replace(sizes, network=network_of(state, sizes.network))
        model = with_weights(resnet(sizes.network), sizes.network, state, weights, channels)
        identity = {**identity, "weights": file_fingerprint([weights])}
    else:
        model = resnet(sizes.network)
    for name in arguments.strategy:
        named_strategy(name, CLASSIFICATION.strategies, _strategy_options(arguments))
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        draw_splits(cases_of(listing, Path()), sizes, seed)
    images = read_images(listing, arguments, sizes.size, colour, display)
    return sizes, make_source(arguments, sizes, model, images, identity)


def _strategy_options(arguments: ImageArguments) -> dict[str, Any]:
    """The options that are given to all strategies that have them; none that is as the strategies have it anyway."""
    options: dict[str, Any] = {}
    if arguments.renormalise:
        options["renormalise"] = True
    if arguments.step != "sgd":
        options["step"] = arguments.step
    if arguments.step_rate == "normalised":
        options["step_rate"] = "normalised"
    elif arguments.step_rate != "peak":
        try:
            rate = float(arguments.step_rate)
        except ValueError as error:
            raise UserError(f"--step-rate is {arguments.step_rate!r}; it takes peak, normalised or a number.") from error
        if not 0 < rate < float("inf"):
            raise UserError(f"--step-rate is {arguments.step_rate}; it must be above zero.")
        options["step_rate"] = rate
    return options
