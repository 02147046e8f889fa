"""What differs between projects of scans, on which readers draw, and of images, for which they choose a class.

All else of a project, such as rounds, readings, versions, disputes and the curve, knows a kind only through these records.
"""

import dataclasses
import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from jaxal.assessment.reader_error import Judged
from jaxal.data.groups import WithoutGroup
from jaxal.data.scans.folder import FolderConfig, Showing
from jaxal.errors import UserError
from jaxal.labels.refusals import Note
from jaxal.projects import settings
from jaxal.projects.project import Project
from jaxal.projects.settings import Settings
from jaxal.projects.state import State, Version
from jaxal.rounds.setup import Task
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.named import named_strategy
from jaxal.studies.scans import Chosen
from jaxal.studies.units import MORE_PARTS, Name, UnitOptions
from jaxal.task_kind import TaskKind
from jaxal.types import Case, Collected, Label, Params, Part, Unit
from jaxal.worklists.items import Item
from jaxal.worklists.items import Kind as WorklistKind

Progress = Callable[[int, int], None]
CLASSES_AT_MOST = 254  # 255 means that nobody knows


@dataclasses.dataclass(frozen=True)
class AskedUnits:
    """What a project is to ask for at once.

    Attributes:
      unit: cases as a whole, slices, or boxes.
      unit_size: elements of a box along each axis, or how thick a slice is; as usual when empty.
      slice_axis: along which slices lie; that of the scans' own slices when None.
      per_case: parts of a case in a query, at most.
    """

    unit: Name = "image"
    unit_size: tuple[int, ...] = ()
    slice_axis: int | None = None
    per_case: int | None = None

    def options(self, slice_axis: int = 2) -> UnitOptions:
        """As studies have them, with the axis of the scans' own slices where nobody named one."""
        axis = slice_axis if self.slice_axis is None else self.slice_axis
        return UnitOptions(self.unit, self.unit_size, axis, per_case=self.per_case)


@dataclasses.dataclass(frozen=True)
class Beginning:
    """What a project is started with.

    Attributes:
      data: a folder of scans or images in any layout, with or without labels, or a table of them.
      labels: names of what is to be drawn, or of the classes; as the data have them when empty.
      readers: their names.
      protocol: how it goes on.
      folder: how the folder is read.
      preset: name of the sizes of network and training.
      start: how each round's training starts.
      pixels: height and width to which images are brought; the preset's when left out.
      weights: from which networks of images begin; drawn at random when left out.
      units: what is asked for at once.
      method: how groups of patients count in training, perhaps with options.
      without_group: what becomes of images that have no value in the column of groups.
    """

    data: Path
    labels: tuple[str, ...]
    readers: tuple[str, ...]
    protocol: settings.Protocol
    folder: FolderConfig
    preset: str = "small"
    start: Literal["scratch", "warm"] = "scratch"
    pixels: tuple[int, int] | None = None
    weights: Path | None = None
    units: AskedUnits = AskedUnits()
    method: str = "erm"
    without_group: WithoutGroup = "refuse"


class Found(NamedTuple):
    """What the data hold.

    Attributes:
      listing: of the kind's own layouts.
      labelled: ids of the cases that have a label already.
      root: folder that all paths are below.
      groups: of patients, by subject, where the listing does not say them.
      notes: sentences on what was left out.
    """

    listing: Any
    labelled: Sequence[str]
    root: Path
    groups: Mapping[str, str] = MappingProxyType({})
    notes: Sequence[str] = ()


class Delivery(NamedTuple):
    """What a reader hands in.

    Attributes:
      reader, case: whose.
      path: of the file; None of a class that was chosen.
      names: what the file's values 1, 2, … mean, where the file does not say so itself.
      seconds: that it took, if the reader's program says so.
      empty: whether the reader says that there is nothing to see.
      comment: of the reader.
      via: how it came: `inbox`, `server`, `command`.
      trust_grid, resample: see `labels.placing`; only when somebody asked for it by name.
      in_inbox: whether a file that is refused goes, because a copy of it is kept.
      answer: the class that was chosen for an image.
      at: when that was, as the reader's program wrote it; tells one answer from another.
      refusal: why the reader gives no label, such as "not usable"; empty where there is one.
    """

    reader: str
    case: str
    path: Path | None = None
    names: Sequence[str] | None = None
    seconds: float | None = None
    empty: bool = False
    comment: str = ""
    via: str = "inbox"
    trust_grid: bool = False
    resample: bool = False
    in_inbox: bool = False
    answer: str | None = None
    at: str = ""
    refusal: str = ""


class Received(NamedTuple):
    """A label that can be taken.

    Attributes:
      notes: what was noticed.
      fields: for the log.
      write: writes the label's file; None where a label has none, because it is in the log.
    """

    notes: tuple[Note, ...]
    fields: Mapping[str, Any]
    write: Callable[[Path], None] | None = None


class Settled(NamedTuple):
    """What several readings of a case came to.

    Attributes:
      disputed: whether readers differ so much that no label of two counts.
      sentence: on what; empty if they do not.
      scores: of each pair of readers, `FIRST SECOND`, by class; None where neither has the class.
      label: the common one.
    """

    disputed: bool
    sentence: str
    scores: dict[str, list[float | None]]
    label: Received


class Ready(NamedTuple):
    """Prepared cases of a project.

    Attributes:
      cases: by id, with the labels that a round works with and no others.
      task: from what is to be learnt from which cases, how training starts, and what tells the data from others.
      members, batch_size: of the network's.
      plan: digest of how cases are prepared.
      known: of cases that are asked for in parts, where a label is known and not what it is, by id; the rest is asked for as a whole.
    """

    cases: Mapping[str, Case]
    task: Callable[[Chosen, Literal["scratch", "warm"], Mapping[str, Any]], Task]
    members: MembersConfig
    batch_size: int
    plan: str
    known: Mapping[str, Label] = MappingProxyType({})


class Size(NamedTuple):
    """How much there is to draw in a case, as far as the network's proposal tells: what minutes depend on."""

    volume_ml: float
    slices: int


class Foreseen(NamedTuple):
    """How much there is to draw in cases that nobody has proposed a label for yet.

    Attributes:
      needs: statistics of the pool.
      sizes: of cases, by id, given these statistics.
    """

    needs: tuple[str, ...]
    sizes: Callable[[Project, Sequence[str], Collected], dict[str, Size]]


class Guessing(Protocol):
    """A round's network, ready to propose labels."""

    @property
    def number(self) -> int: ...
    @property
    def task(self) -> Task: ...
    @property
    def cases(self) -> Mapping[str, Case]: ...


class Exporting(NamedTuple):
    """What is to be exported.

    Attributes:
      labels: cases and the versions that count.
      out: a new folder.
      layout: of it.
      link: whether images are links to the data instead of copies.
      progress: is told how far the work is.
    """

    labels: Sequence[tuple[str, str]]
    out: Path
    layout: str
    link: bool
    progress: Progress


class Drawing(NamedTuple):
    """Parts that are to be drawn at random.

    Attributes:
      counts: of parts of each case.
      known: the label that counts of each case, of those that have one.
      besides: parts of cases that are asked for already.
      name: of the draw, which tells it from others of the project.
    """

    counts: Mapping[str, int]
    known: Mapping[str, str]
    besides: Mapping[str, Sequence[Part]]
    name: str


class PartsOfCases(NamedTuple):
    """What a kind does that asks for parts of cases.

    Attributes:
      own: parts of prepared cases as parts of the cases' own grids, by case; of parts within others only the others.
      draw: parts at random, on the cases' own grids, by case; fewer where a case has no more that are not known.
      scores: of proposals for cases, of rounds, in parts that have a label, `[how many, classes]`; NaN where a part has no such class.
    """

    own: Callable[[Project, Sequence[Unit]], dict[str, list[Part]]]
    draw: Callable[[Project, State, Drawing], dict[str, list[Part]]]
    scores: Callable[[Project, State, Sequence[tuple[str, int, Part]]], np.ndarray]


class Kind(NamedTuple):
    """A kind of project.

    Attributes:
      name: of the kind, as worklists call it.
      task: how its networks learn and are measured.
      unnamed: classes at the front that readers neither draw nor choose: the background of scans.
      judged: what predictions and second readers are judged by.
      size, minutes, test_cases, proposals: of a `Protocol` where nobody says anything else.
      layouts: in which labels can be exported, the usual one first.
      find: what the data hold.
      freeze: checks every file, prepares, and decides what may not change; does not write it.
      existing: the label that a case had at the start.
      receive: checks a delivery, given the codes that its reader has confirmed.
      settle: makes one label of the readings of a case.
      ready: prepares what is not prepared yet, with the labels of a round.
      propose: writes what a network makes of cases, and more of those that readers are asked for.
      proposed: whether a round's proposal for a case is there.
      scores: of proposals of cases, rounds and versions of labels, `[how many, classes]`; NaN where a case has no such class.
      steady: of proposals of a later round against those of an earlier one, in the same form, of cases and both rounds.
      between: of two versions, `[classes]`.
      sizes: how much proposals of a round show; none where minutes do not depend on it.
      foreseen: the same before there are proposals; None where minutes do not depend on it.
      item: a reader's worklist item with all that is shown of the case.
      picture: of such an item, as WebP, given the classes with their colours.
      problems: what is wrong with a version's content, in sentences.
      export: writes images, labels that count and their description into a folder.
      parts: what it does besides where parts of cases are asked for; None where they are asked for as a whole.
    """

    name: WorklistKind
    task: TaskKind
    unnamed: int
    judged: Judged
    size: int
    minutes: float
    test_cases: int
    proposals: bool
    layouts: tuple[str, ...]
    find: Callable[[Beginning], Found]
    freeze: Callable[[Path, Beginning, Found, Showing], Settings]
    existing: Callable[[Project, Found, str], Received]
    receive: Callable[[Project, State, Delivery, Collection[str]], Received]
    settle: Callable[[Project, State, Sequence[Version]], Settled]
    ready: Callable[[Project, State, Sequence[tuple[str, str]], Showing], Ready]
    propose: Callable[[Project, Guessing, Params, Collection[str], Collection[str], Progress], None]
    proposed: Callable[[Project, str, int], bool]
    scores: Callable[[Project, State, Sequence[tuple[str, int, str]]], np.ndarray]
    steady: Callable[[Project, State, Sequence[tuple[str, int, int]]], np.ndarray]
    between: Callable[[Project, State, Version, Version], list[float]]
    sizes: Callable[[Project, Sequence[str], int], dict[str, Size]]
    item: Callable[[Project, State, str, Item], Item]
    picture: Callable[[Item, Sequence[Any]], bytes]
    problems: Callable[[Project, State, Version], list[str]]
    export: Callable[[Project, State, Exporting], None]
    parts: PartsOfCases | None = None
    foreseen: Foreseen | None = None

    def first_cases(self, size: int) -> int:
        """Of how many cases a first query is that asks for so many units: of parts several of each, because opening a case takes time, too."""
        return size if self.parts is None else -(-size // MORE_PARTS)

    def named(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Of all classes those that readers draw or choose."""
        return tuple(classes[self.unnamed :])

    def looks_at_evaluation(self, strategy: str) -> bool:
        """Whether a strategy, named with its options, looks at the evaluation set."""
        return bool(named_strategy(strategy, self.task.strategies).strategy.needs.evaluation)


def minutes_of(opened: str | None, now: float, seconds: float | None) -> float | None:
    """Minutes that a reading took, as far as one can tell; a clock that was set back since tells nothing."""
    if seconds is None:
        seconds = -1.0 if opened is None else now - datetime.datetime.fromisoformat(opened).timestamp()
    return round(seconds / 60, 2) if seconds >= 0 else None


def check_classes(names: Sequence[str]) -> None:
    """Makes sure that names can be names of classes.

    Raises:
      UserError: one cannot, is there twice, or there are too many.
    """
    folded = [name.strip().casefold() for name in names]
    if twice := [name for name in names if folded.count(name.strip().casefold()) > 1]:
        raise UserError(f"--labels: {twice[0]!r} is there twice. Names must differ.")
    if strange := [name for name in names if not name.strip() or any(ord(letter) < 32 for letter in name)]:
        raise UserError(f"--labels: {strange[0]!r} cannot be a label's name.")
    if len(names) > CLASSES_AT_MOST:
        raise UserError(f"--labels names {len(names) - 1} labels; at most {CLASSES_AT_MOST - 1} are possible.")
