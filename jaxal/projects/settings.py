"""What a project was started with, in `project.json`, which is never written again: all that changes is in the log."""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from jaxal.data.scans.plan import Plan
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.networks.resnet import ResNetConfig
from jaxal.numbers import NUMBERS
from jaxal.rounds.protocol import Shares
from jaxal.scoring.members import MembersConfig
from jaxal.studies.presets import Preset
from jaxal.training.config import TrainingConfig, without_the_undecided

FORMAT = 2  # of project.json where parts of scans are asked for, which earlier versions cannot; of all else it is 1
NAME = "project.json"


@dataclasses.dataclass(frozen=True)
class Source:
    """A case that may be asked for.

    Attributes:
      id, subject, group: its names; the group is empty where there are none.
      images: files below the data folder, one a channel.
      fingerprint: of their content at the start.
      shape, affine: of a scan's own grid, that of its first image file as it is stored; the affine's first three rows, in millimetres.
        Empty of an image with one class.
    """

    id: str
    subject: str
    group: str
    images: tuple[str, ...]
    fingerprint: str
    shape: tuple[int, ...] = ()
    affine: tuple[tuple[float, ...], ...] = ()


@dataclasses.dataclass(frozen=True)
class OfParts:
    """Which parts of scans are asked for, where they are.

    Attributes:
      unit: slices of the prepared scans, or boxes.
      size: elements of a part along each axis of the prepared scans; zero is the whole axis.
      per_case: parts of a case in a query, at most; no limit when None.
    """

    unit: Literal["slice", "box"]
    size: tuple[int, ...]
    per_case: int | None = None


@dataclasses.dataclass(frozen=True)
class OfScans:
    """What is frozen of scans, on which readers draw.

    Attributes:
      channels: names.
      plan: how scans are prepared.
      preset: sizes of network and training.
      parts: of them that are asked for; None where scans are asked for as a whole.
    """

    channels: tuple[str, ...]
    plan: Plan
    preset: Preset
    parts: OfParts | None = None


@dataclasses.dataclass(frozen=True)
class OfImages:
    """What is frozen of images, for which readers choose a class.

    Attributes:
      pixels: height and width to which images are brought.
      colour: whether they have three channels.
      mean, deviation: of each channel, by which images are normalised.
      network, training, members, batch_size: of the preset.
    """

    pixels: tuple[int, int]
    colour: bool
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    network: ResNetConfig
    training: TrainingConfig
    members: MembersConfig
    batch_size: int


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a project goes on.

    Attributes:
      strategy: that chooses, perhaps with options.
      seed: of every draw.
      size: cases or parts a query; the first query has as many.
      first: how the first query is drawn: `random`, by group; `k_center`, spread over an untrained network's features; or by a strategy of features that need
        no label, as it would stand behind `cold:`.
      random_share: of each query, drawn at random, unknown to the readers.
      evaluation_share: of the first query, kept for the strategy's evaluation set.
      test_cases: every second case of the random shares stays out of training until there are so many.
      double_share: of the readings, given to two readers.
      minutes: a reading is guessed to take, as long as none is there.
      proposals: whether readers see what the network proposes.
      lease_days: after which a case that nobody opened goes to somebody else.
      far_apart: Dice of two readings below which they are disputed.
      merging: of three or more label maps of a scan: by majority, or weighted by how good each reader seems (STAPLE).
      least_gain: of the curve for 100 minutes of reading, below which the page says that it is not worth more; None where nobody has said.
    """

    strategy: str = "aeig"
    seed: int = 0
    size: int = 10
    first: str = "random"
    random_share: float = 0.2
    evaluation_share: float = 0.25
    test_cases: int = 20
    double_share: float = 0.15
    minutes: float = 15.0
    proposals: bool = True
    lease_days: float = 7.0
    far_apart: float = 0.7
    merging: Literal["majority", "staple"] = "majority"
    least_gain: float | None = None

    @property
    def shares(self) -> Shares:
        """How much is drawn at random."""
        return Shares(self.random_share, self.evaluation_share, self.test_cases)


@dataclasses.dataclass(frozen=True)
class Settings:
    """All of `project.json`.

    Attributes:
      format: of the file.
      numbers: generation of the numbers (`docs/numbers.md`).
      name: of the project.
      data: folder of the data when the project began.
      layout: of that folder.
      classes: names; class 0 of scans is the background.
      cases: by id.
      of_scans, of_images: one of both, which decides the kind of project.
      start: whether each round trains from scratch or from the last round's weights.
      protocol: how it goes on.
    """

    format: int
    numbers: int
    name: str
    data: str
    layout: str
    classes: tuple[str, ...]
    cases: tuple[Source, ...]
    of_scans: OfScans | None
    of_images: OfImages | None
    start: Literal["scratch", "warm"]
    protocol: Protocol

    @property
    def scans(self) -> OfScans:
        """What is frozen of scans; for their kind alone."""
        assert self.of_scans is not None
        return self.of_scans

    @property
    def images(self) -> OfImages:
        """What is frozen of images; for their kind alone."""
        assert self.of_images is not None
        return self.of_images


def new_settings(**fields: Any) -> Settings:
    """Settings of this version."""
    return Settings(format=FORMAT if fields["of_scans"] and fields["of_scans"].parts else 1, numbers=NUMBERS, **fields)


def version() -> str:
    """Of this jaxal; empty where it runs from a folder that is not installed."""
    try:
        return metadata.version("jaxal")
    except metadata.PackageNotFoundError:
        return ""


def write_settings(folder: Path, settings: Settings) -> None:
    """Writes `project.json`; what older versions do not know is left out where it says nothing."""
    stored = dataclasses.asdict(settings)
    if stored["of_scans"] and stored["of_scans"]["parts"] is None:
        del stored["of_scans"]["parts"]
    holder = stored["of_images"] or stored["of_scans"]["preset"]
    holder["training"] = without_the_undecided(holder["training"])
    if settings.of_images:
        stored["of_images"]["network"] = settings.of_images.network.described
    write_text(folder / NAME, json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_settings(folder: Path) -> tuple[Settings, str]:
    """A project's settings, and the hash of the file, from which its log begins.

    Raises:
      UserError: there is no project, the file is damaged, or a newer version wrote it.
    """
    path = folder / NAME
    if not path.is_file():
        what = "no such folder" if not folder.is_dir() else "holds no project"
        raise UserError(f"{folder}: {what}. `jaxal start {folder} --data DIR --readers NAMES` begins one.")
    content = path.read_bytes()
    try:
        stored = json.loads(content)
        newer = isinstance(stored, dict) and isinstance(stored.get("format"), int) and stored["format"] > FORMAT
        if newer:
            raise UserError(
                f"{path}: was written by a newer version of jaxal (format {stored['format']}, this one reads {FORMAT}). Update jaxal."
            )
        return _built(Settings, stored), hashlib.sha256(content).hexdigest()
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not the settings of a project ({error}). Restore the file from a backup.") from error


def _built(kind: Any, stored: Any) -> Any:
    """A value of a type from what JSON kept of it."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        fields = {field.name for field in dataclasses.fields(kind)}
        if strange := sorted(stored.keys() - fields):
            raise ValueError(f"the entry {strange[0]!r} is unknown")
        return typing.cast(Any, kind)(**{name: _built(hints[name], value) for name, value in stored.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_built(arguments[0], value) for value in stored)  # all of ours hold one type
    if origin is Mapping:
        return dict(stored)
    if origin in (typing.Union, types.UnionType):
        return None if stored is None else _built(next(part for part in arguments if part is not type(None)), stored)
    return stored
