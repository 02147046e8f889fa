"""What studies on images with one class each share: their options, and how images become a task of classification."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from experiments import revisit, study
from jaxal import hosts, loop, prediction, report
from jaxal.classification import CLASSIFICATION
from jaxal.data.cases import file_fingerprint, initial_set, split
from jaxal.data.images import ImageSet, Listing, frequencies, make_images
from jaxal.errors import UserError
from jaxal.information import Step
from jaxal.members import MembersConfig
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.weights import read_weights, with_weights
from jaxal.statistics import StatisticsConfig
from jaxal.strategies import CLASSIFICATION_STRATEGIES, StrategyConfig, Table
from jaxal.training import TrainingConfig

STUDY = [
    "random",
    "entropy",
    "least_confidence",
    "margin",
    "mc_entropy",
    "bald",
    "variation_ratio",
    "mean_std",
    "coreset",
    "badge",
    "egl",
    "batchbald",
    "eig",
    "aeig",
    "uig",
    "cfig",
    "mass",
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
    initial_size: int | None = None
    query_size: int | None = None


@dataclasses.dataclass(frozen=True)
class ImageArguments(study.StudyArguments):
    """Options of studies on images."""

    table: ClassVar[Table] = CLASSIFICATION_STRATEGIES
    strategy: study.strategy_option(CLASSIFICATION_STRATEGIES, "aeig,step=sign") = ("aeig",)  # type: ignore[valid-type]
    study: bool = False
    """The study of the information-gain paper: all of its strategies and those it is judged by, five seeds, training on everything."""
    renormalise: bool = False
    """Divide AEIG's label weights by their sum; the paper does not."""
    step: Step = "sgd"
    """The one step of the head behind information gain: plain gradient descent, or the first of a fresh Adam."""
    step_rate: str = "peak"
    """Rate of that step: peak of the training's, normalised by the features' length, or a number."""
    weights: Path | None = None
    """Weights to begin from: a state dict of torchvision's network in .safetensors or .npz. Default: drawn at random."""


@dataclasses.dataclass(frozen=True)
class FolderArguments(ImageArguments):
    """Options of studies on a folder of images."""

    data: Path | None = None
    """The folder of images; needed, but for --score-only and --predict-only."""


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
    name: str, presets: Mapping[str, ImagePreset], make: Callable[[Any], Listing], arguments: Any, display: report.Display
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
    study.check_options(arguments, None, out)
    preset = presets[arguments.preset]
    found = read_images(make(arguments), arguments, preset.size, False, display)
    return run(arguments, preset, found, {"name": name}, out, display)


def run_folder(about: FolderStudy, arguments: Any, display: report.Display) -> int:
    """Runs a study on a folder of images, or looks at one of its runs again; returns the exit status."""
    arguments = with_study(arguments)
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    data, preset = arguments.data, about.presets[arguments.preset]
    if data is None and about.pretend and arguments.preset == "smoke":
        data = arguments.prepared / f"made-up-{about.name}"
        if hosts.is_leader() and not data.is_dir():
            aside = data.with_name(f".{data.name}")  # a killed command leaves no half of it behind
            shutil.rmtree(aside, ignore_errors=True)
            about.pretend(aside).rename(data)
            display.note(f"No --data: made-up images are written into {data}.")
        hosts.share_json(None)
        arguments = dataclasses.replace(arguments, data=data)
    elif data is None:
        raise UserError(f"--data DIR is needed. {about.meant}")
    out = arguments.out or Path("runs") / f"{about.name}-{data.stem if arguments.data else 'made-up'}-{arguments.preset}"
    study.check_options(arguments, data, out)
    size = getattr(arguments, "size", ())
    if size:
        if len(size) != 2 or min(size) < 8:
            raise UserError(f"--size is {' '.join(map(str, size))}; it takes a height and a width of at least 8 pixels.")
        preset = dataclasses.replace(preset, size=tuple(size))
    found = read_images(about.read(data, arguments), arguments, preset.size, about.colour, display)
    return run(arguments, preset, found, {"name": about.name}, out, display)


def with_study(arguments: ImageArguments) -> ImageArguments:
    """What `--study` stands for."""
    if not arguments.study:
        return arguments
    return dataclasses.replace(arguments, strategy=tuple(STUDY), seeds=max(arguments.seeds, 5), full=True)


def choose_sizes(arguments: ImageArguments, preset: ImagePreset, images: ImageSet) -> ImagePreset:
    """The preset with what was asked for by option in its place, and sizes in images."""
    preset = study.choose_sizes(arguments, preset)
    pool = len(images.dataset.cases) * (1 - preset.evaluation - preset.test)
    classes = len(images.dataset.classes)
    network = dataclasses.replace(preset.network, classes=classes)
    if arguments.weights:
        network = dataclasses.replace(network, norm="frozen")
    return dataclasses.replace(
        preset,
        network=network,
        initial_size=preset.initial_size or max(classes, round(preset.initial_share * pool)),
        query_size=preset.query_size or max(1, round(preset.query_share * pool)),
    )


def read_images(
    listing: Listing, arguments: ImageArguments, size: tuple[int, int], colour: bool | None, display: report.Display
) -> ImageSet:
    """Decodes and resizes what was not before, showing how far it is."""
    folder = arguments.prepared / listing.layout.replace(" ", "-").replace(",", "")
    if hosts.is_leader():
        with display.progress("decoding images") as progress:
            images = make_images(listing, folder, size, colour, study.stoppable(progress, display))
    hosts.share_json(None)  # the others find the leader's files
    return images if hosts.is_leader() else make_images(listing, folder, size, colour)


def make_source(arguments: ImageArguments, preset: ImagePreset, images: ImageSet, identity: dict[str, Any]) -> study.Source:
    """Images as the one setting of a study."""
    model, identity = resnet(preset.network), {**identity, "fingerprint": images.fingerprint}
    if arguments.weights:
        model = with_weights(model, preset.network, read_weights(arguments.weights), arguments.weights)
        identity["weights"] = file_fingerprint([arguments.weights])

    def task(seed: int) -> loop.Task:
        dataset = images.dataset
        splits = split(dataset.cases, seed, preset.evaluation, preset.test)
        if len(splits.pool) < preset.initial_size + preset.query_size:
            raise UserError(
                f"The pool has {len(splits.pool)} of {len(dataset.cases)} images, but the initial set of {preset.initial_size} and one "
                f"query of {preset.query_size} need more. Lower --initial-size or --query-size, or add images."
            )
        made = loop.Task(
            model=model,
            dataset=dataset,
            splits=splits,
            initial=initial_set(splits.pool, preset.initial_size, seed, frequencies(splits.pool)),
            load=images.load,
            training=preset.training,
            statistics=StatisticsConfig(),
            strategy=_strategy_config(arguments, preset.training),
            assessment=CLASSIFICATION,
            table=CLASSIFICATION_STRATEGIES,
        )
        return made._replace(settings=_settings(made, preset, arguments.training, identity))

    def predict(folder: Path, config: loop.LoopConfig, task: loop.Task, progress: Callable[[int, int], None]) -> list[str]:
        path = folder / "predictions.csv"
        prediction.predict_images(path, folder, config, task, progress)
        return [f"Probabilities of every image: {path}"]

    return study.Source("images", arguments, task, predict)


def run(
    arguments: ImageArguments, preset: ImagePreset, found: ImageSet, identity: dict[str, Any], out: Path, display: report.Display
) -> int:
    """Runs a study on images, or looks at one of its runs again; returns the exit status."""
    preset = choose_sizes(arguments, preset, found)
    source = make_source(arguments, preset, found, identity)
    if revisit.is_asked_for(arguments):
        return revisit.run(arguments, preset, source, display)
    return study.run(arguments, preset, [source], out, display)


def _strategy_config(arguments: ImageArguments, training: TrainingConfig) -> StrategyConfig:
    peak = training.warm_rate if arguments.training == "warm" else training.peak_rate
    rate: float | Literal["normalised"]
    if arguments.step_rate in ("peak", "normalised"):
        rate = peak if arguments.step_rate == "peak" else "normalised"
    else:
        try:
            rate = float(arguments.step_rate)
        except ValueError as error:
            raise UserError(f"--step-rate is {arguments.step_rate!r}; it takes peak, normalised or a number.") from error
        if not 0 < rate < float("inf"):
            raise UserError(f"--step-rate is {arguments.step_rate}; it must be above zero.")
    return StrategyConfig(step_rate=rate, step=arguments.step, renormalise=arguments.renormalise)


def _settings(task: loop.Task, preset: ImagePreset, start: str, identity: dict[str, Any]) -> dict[str, Any]:
    """What decides results and therefore may not change under an existing folder."""
    return {
        "data": {**identity, "images": len(task.dataset.cases), "size": list(preset.size), "classes": list(task.dataset.classes)},
        "sizes": {name: getattr(preset, name) for name in ("initial_size", "query_size", "evaluation", "test", "batch_size")},
        "members": {**dataclasses.asdict(preset.members), "flips": list(preset.members.flips)},
        "network": dataclasses.asdict(preset.network),
        "training": {"start": start, **dataclasses.asdict(preset.training), "flips": list(preset.training.flips)},
        "statistics": dataclasses.asdict(task.statistics),
        "strategy": dataclasses.asdict(task.strategy),
    }
