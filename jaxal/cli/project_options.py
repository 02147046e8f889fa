"""The options of a project's verbs."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxal.cli.serve import Serve
from jaxal.data.groups import WithoutGroup
from jaxal.projects.export import Layout
from jaxal.projects.settings import Protocol
from jaxal.studies import option_types
from jaxal.studies.units import Name

Folder = Annotated[Path, tyro.conf.Positional]
Cases = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="CASE...")]
Text = Annotated[str, tyro.conf.arg(metavar="TEXT")]
Share = Annotated[float, tyro.conf.arg(metavar="SHARE")]


@dataclasses.dataclass(frozen=True)
class Start:
    """Starts a project, or adds readers, a class or the data's new place to one."""

    project: Folder
    """Folder for the project."""
    data: option_types.Place = None
    """Folder of scans or images in any layout, with or without labels, or a table of them (.csv). Of a project that is there: where its data
    lie now."""
    labels: option_types.Names = ()
    """What is to be drawn, such as liver,tumour, or the classes to choose from. Default: as the data have them."""
    readers: option_types.Names = ()
    """Who draws or chooses, such as anna,ben."""
    add_class: option_types.Name = None
    """A class to add to a project that is there."""
    old_labels: Literal["absent", "ask"] | None = None
    """With --add-class: the class occurs in no label drawn so far (absent), or they are asked for again (ask)."""
    strategy: str = Protocol.strategy
    """How cases are chosen (`jaxal strategies`)."""
    size: option_types.Number = None
    """Cases a query, or parts of them. Default: 10 scans, 40 parts of scans, 50 images."""
    unit: Annotated[Name, tyro.conf.arg(metavar="{image,slice,box}")] = "image"
    """What of scans is asked for at once: image, all of a scan; slice, one of its slices; box, a box of it."""
    unit_size: option_types.Numbers = ()
    """Voxels of a box along each axis to the right, front and head, one number for all; of a slice how thick it is. They are those of the network (`--spacing-mm`).
    Default: a quarter of each axis; one."""
    slice_axis: option_types.Number = None
    """Axis along which slices lie one behind the other: 0 from left to right, 1 from back to front, 2 from foot to head. Default: that of the scans' own slices."""
    per_case: option_types.Number = None
    """Parts of one scan that the strategy chooses in a query, at most. Default: no limit."""
    first: Annotated[str, tyro.conf.arg(metavar="random|k_center|STRATEGY")] = "random"
    """How the first query is drawn: at random by group, far apart in an untrained network's features (k_center), or by a strategy that needs no label, such as
    typiclust or activeft,features=contrastive."""
    random_share: Share = Protocol.random_share
    """Of each query, drawn at random; it tells honestly how good the network is."""
    evaluation_share: Share = Protocol.evaluation_share
    """Of the first query, kept for the strategy's evaluation set."""
    test_cases: option_types.Number = None
    """Every second case of the random shares stays out of training until there are so many. Default: 20 scans, 100 images; none of which parts are
    asked for."""
    double_share: Share = Protocol.double_share
    """Of the cases, read by two readers."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="MINUTES", help_behavior_hint="")] = None
    """That a reading is guessed to take. Default: 15 of a scan, 2 of a part, a quarter of an image."""
    proposals: Annotated[Literal["shown", "hidden"] | None, tyro.conf.arg(metavar="{shown,hidden}", help_behavior_hint="")] = None
    """Whether readers see what the network proposes. Default: shown for scans, where it saves drawing; hidden for images, where it only sways."""
    far_apart: Annotated[float, tyro.conf.arg(metavar="DICE")] = Protocol.far_apart
    """Dice of two readings of a scan, in any class, below which they are disputed."""
    merging: Literal["majority", "staple"] = Protocol.merging
    """How three label maps of a scan become one: by majority, or weighted by how good each reader seems (STAPLE)."""
    lease_days: Annotated[float, tyro.conf.arg(metavar="DAYS")] = Protocol.lease_days
    """After which a case that its reader has not opened, or not handed in, goes to somebody else."""
    least_gain: Annotated[float | None, tyro.conf.arg(metavar="GAIN", help_behavior_hint="")] = None
    """Of Dice or accuracy for 100 minutes of reading, below which the page says that more is not worth it. Nothing acts upon it."""
    seed: int = 0
    """Of every draw."""
    preset: Literal["smoke", "small", "paper"] = "small"
    """Sizes of network and training: smoke (to try), small (two cores), paper (a GPU)."""
    training: Literal["scratch", "warm"] = "scratch"
    """Train every round from scratch, or from the last round's weights."""
    group_column: option_types.Name = None
    """Column of the table of participants that names each case's group of patients. Default: group, if there is one."""
    bins: option_types.Edges = ()
    """Edges that cut a --group-column of numbers into groups, such as 60 75 or 60,75."""
    without_group: WithoutGroup = "refuse"
    """What becomes of images that have no value in --group-column: none may be without (refuse), or they are left out and counted (leave-out)."""
    method: Annotated[str, tyro.conf.arg(metavar="NAME[,OPTION=VALUE...]")] = "erm"
    """How groups of patients count in training: erm, every case alike; balanced, as many cases of each group; groupdro, the group with the highest
    loss most."""
    participants: option_types.Place = None
    """That table. Default: participants.tsv in the data."""
    channels: option_types.Names = ()
    """In BIDS, which images to take, such as T1w,FLAIR; of plain files, the channels' names."""
    spacing_mm: Annotated[tuple[float, ...], tyro.conf.arg(metavar="MM MM MM", help_behavior_hint="")] = ()
    """Voxel size to which scans are resampled for the network. Default: derived from the data."""
    patch_voxels: option_types.Number = None
    """Voxels that the network sees at once, at most. Default: the preset's."""
    pixels: option_types.Numbers = ()
    """Height and width to which images are brought. Default: the preset's."""
    weights: option_types.Place = None
    """Weights that networks of images begin from: torchvision's ResNet-18 or 50 as .safetensors or .npz. Default: drawn at random."""


@dataclasses.dataclass(frozen=True)
class Ask:
    """Trains, chooses and asks the readers."""

    project: Folder
    size: option_types.Number = None
    """Cases or parts of this query. Default: the project's."""
    within_minutes: Annotated[float | None, tyro.conf.arg(metavar="MINUTES", help_behavior_hint="")] = None
    """As many cases or parts as can be read within these minutes, all readers together, by what readings took so far."""
    even_if_open: bool = False
    """Ask although readings of the last query are open."""


@dataclasses.dataclass(frozen=True)
class Take:
    """Takes in what lies in the readers' inboxes, or files."""

    project: Folder
    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FILE...]")] = ()
    """Label maps named after their cases; of images the answers that click.html saved, or Label Studio's export."""
    reader: option_types.Name = None
    """Who drew the files. Default: whoever is asked for the case."""
    case: option_types.Name = None
    """Which case the file is of. Default: as it is named."""
    names: option_types.Names = ()
    """What the values 1, 2, … of the files mean, where they do not say so."""
    empty: bool = False
    """There is nothing to see in the case."""
    users: option_types.Names = ()
    """Who each user in Label Studio's export is, such as anna=1,ben=ben@example.org."""
    trust_grid: bool = False
    """The file has lost its place in space; its voxels are the scan's."""
    resample: bool = False
    """The file was drawn on another grid; take the nearest voxels."""
    comment: Text = ""
    """Of the reader."""


@dataclasses.dataclass(frozen=True)
class OnCases:
    """Something decided about cases."""

    project: Folder
    cases: Cases
    why: Text = ""
    """For the record, and for the reader."""
    reader: option_types.Name = None
    """Who it is about."""
    to: option_types.Name = None
    """Who gets the cases. Default: who has least to do."""
    away: bool = False
    """The reader is away: all that is open goes to others."""


@dataclasses.dataclass(frozen=True)
class Exclude(OnCases):
    """Leaves cases out, or takes them back."""

    back: bool = False
    """Of cases that were left out: they are taken back."""


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes labels, images and where each label came from."""

    project: Folder
    out: Folder
    layout: Layout | None = None
    """Of the folder: nnunet (the default), decathlon or bids of scans; table (the default) or folders of images."""
    link: bool = False
    """Link to the images instead of copying them."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Takes labels in and asks for more, again and again."""

    project: Folder
    until: Text
    """When to end: such as "40 cases" or "12 h"."""
    answered: Share = 0.8
    """Of a query, after which the next one is asked."""
    every: float = 60.0
    """Seconds between two looks."""


@dataclasses.dataclass(frozen=True)
class Review:
    """Decides where readers differ too much."""

    project: Folder
    case: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[CASE]", help_behavior_hint="")] = None
    """That is decided on."""
    take: option_types.Name = None
    """The version that counts, such as anna-1."""
    third: bool = False
    """Somebody who has not read it reads it, too."""
    reader: option_types.Name = None
    """With --third: who."""
    by: Text = ""
    """Who decides."""
    why: Text = ""
    """For the record."""


@dataclasses.dataclass(frozen=True)
class StatusOptions:
    """Tells what to do now and how everything stands."""

    project: Folder
    json: bool = False
    """As JSON, for programs."""


@dataclasses.dataclass(frozen=True)
class Plain:
    """A verb without options."""

    project: Folder


PROJECT_OPTIONS = {
    "start": Start,
    "ask": Ask,
    "take": Take,
    "status": StatusOptions,
    "review": Review,
    "return": OnCases,
    "reopen": OnCases,
    "exclude": Exclude,
    "release": OnCases,
    "export": Export,
    "check": Plain,
    "run": Run,
    "serve": Serve,
}
