"""What studies on scans share: how a folder becomes a task of segmentation."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import tyro

from jaxal import hosts
from jaxal.data.cases import Dataset, Splits, initial_set, split
from jaxal.data.scans.folder import FolderConfig, Ready, Showing, make_ready
from jaxal.data.scans.new import read_new_scans
from jaxal.data.scans.prepare import draw_patch, is_padded, load_case, prepared_shape
from jaxal.errors import UserError
from jaxal.networks.unet import Dropout, UNetConfig, unet
from jaxal.networks.windows import windowed
from jaxal.report import terminal
from jaxal.rounds.identity import decisive
from jaxal.rounds.passes import stoppable
from jaxal.rounds.prediction import NewCases
from jaxal.rounds.protocol import Shares, first_query
from jaxal.rounds.setup import Task
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.studies import common_options, option_types, study, units
from jaxal.studies.fairness_option import FairnessOption
from jaxal.studies.presets import Preset
from jaxal.studies.workers import alone
from jaxal.task_kind import TaskKind
from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS
from jaxal.training.config import settings_of
from jaxal.types import Case, Model

FOREGROUND_SHARE = 1 / 3  # of patches that are drawn around the structure, as in nnU-Net
SCARCE_SHARE = 0.1  # of the initial set, for the group that is short when it is imbalanced


@dataclasses.dataclass(frozen=True)
class ScanArguments(units.UnitOptions, FairnessOption, common_options.StudyArguments):
    """Options of studies on scans."""

    initial: Literal["balanced", "imbalanced"] = "imbalanced"
    """Whether the groups share the initial set equally, or the smallest one (in the simulation B) gets a tenth of it, and one case at least."""
    group_column: option_types.Name = None
    """Column of the table of participants that names each case's group, or volume:CLASS, the volume of a class in mm³. Default: group; without it
    nobody has a group."""
    participants: option_types.Place = None
    """The table of participants, tab-separated, with a column participant_id. Default: participants.tsv in the folder of scans."""
    dropout: Annotated[Dropout | None, tyro.conf.arg(metavar="{head,decoder,bottleneck}", help_behavior_hint="")] = None
    """Where channels are dropped: before the last layer, in the decoder or after the bottleneck. Default: the preset's, the head."""
    protocol: Literal["splits", "project"] = "splits"
    """Fixed evaluation and test sets, or as `jaxal ask` goes with readers: a first query at random, which has the evaluation set, and a share
    of every query at random. Then all cases are in the pool, and networks are measured on all of it."""

    @property
    def kind(self) -> TaskKind:
        return SEGMENTATION_OF_PARTS if self.of_parts else SEGMENTATION

    @property
    def shares(self) -> Shares | None:
        return Shares() if self.protocol == "project" else None


def choose_sizes(arguments: ScanArguments, preset: Preset) -> Preset:
    """The preset with what was asked for by option in its place."""
    preset = dataclasses.replace(preset, query_size=units.query_size_of(arguments, arguments.query_size, preset.query_size))
    if arguments.dropout:
        preset = dataclasses.replace(preset, network=dataclasses.replace(preset.network, dropout=arguments.dropout))
    return common_options.choose_sizes(arguments, preset)


def read_folder(folder: Path, prepared: Path, config: FolderConfig, display: terminal.Display) -> Ready:
    """Makes a folder ready, showing how far it is."""
    showing = showing_on(display)
    if hosts.is_leader():
        ready = make_ready(folder, prepared, config, showing, lambda: alone(prepared, display))
    hosts.share_json(None)  # the others find the leader's files
    if not hosts.is_leader():
        return make_ready(folder, prepared, config, showing)
    if ready.constant:
        more = f" and {len(ready.constant) - 5} more" if len(ready.constant) > 5 else ""
        display.note(
            f"These images have one value everywhere, so nothing can be seen in them: {', '.join(ready.constant[:5])}{more}."
        )
    if ready.group_column is None:
        table = folder / "participants.tsv"
        lacks = f"{table} has no column 'group'" if table.is_file() else f"there is no {table}"
        display.note(f"No case has a group, because {lacks}. --group-column names another one; then groups are compared.")
    return ready


def showing_on(display: terminal.Display) -> Showing:
    """Shows how far some work is, which stops when somebody asks for it."""

    @contextlib.contextmanager
    def showing(what: str) -> Iterator[Callable[[int, int], None]]:
        with display.progress(what) as progress:
            yield stoppable(progress, display)

    return showing


def imbalanced_shares(dataset: Dataset) -> dict[str, float]:
    """A tenth for the smallest group (of equal ones the last), the rest in equal parts."""
    counts = {group: sum(case.group == group for case in dataset.cases) for group in dataset.groups}
    scarce = min(reversed(dataset.groups), key=lambda group: counts[group])
    others = [group for group in dataset.groups if group != scarce]
    return {scarce: SCARCE_SHARE, **dict.fromkeys(others, (1 - SCARCE_SHARE) / len(others))}


class Chosen(NamedTuple):
    """What one seed draws of a data set.

    Attributes:
      splits: of its cases.
      initial: cases of the pool that are labelled at the start.
    """

    splits: Splits
    initial: Sequence[Case]


def network_for(dataset: Dataset, config: UNetConfig, patch: tuple[int, ...] | None) -> Model:
    """The network for these cases: through windows where it sees patches, and with an eye on padding where it sees any."""
    config = dataclasses.replace(config, classes=len(dataset.classes))
    network = unet(config, is_padded(dataset, patch or dataset.shape), is_packed=jax.default_backend() == "tpu")
    return windowed(network, patch) if patch else network


def make_task(
    ready: Ready,
    preset: Preset,
    chosen: Chosen,
    start: str,
    identity: Mapping[str, Any],
    patch: tuple[int, ...] | None = None,
    asked: ScanArguments | None = None,
) -> Task:
    """Puts the parts together; sizes that are given in millimetres become voxels of this data set."""
    dataset = ready.dataset
    asked = asked or ScanArguments()
    shares = asked.shares
    described = dataclasses.asdict(preset.network)
    if not preset.network.pooling:
        del described["pooling"]  # as settings were written before there was a choice
    voxel_mm = sum(dataset.spacing_mm) / len(dataset.spacing_mm)
    statistics = StatisticsConfig(roi_dilate=max(1, round(4 / voxel_mm)), region_size=max(1, round(8 / voxel_mm)))
    search = units.search_for(asked, dataset.shape, preset.query_size) if asked.of_parts else None
    sections = {
        "data": identity,
        "sizes": {name: getattr(preset, name) for name in ("initial_size", "query_size", "evaluation", "test", "batch_size")}
        | ({"shares": dataclasses.asdict(shares)} if shares else {}),
        "members": {**dataclasses.asdict(preset.members), "flips": list(preset.members.flips)},
        "network": described,
        "training": settings_of(preset.training, start),
        "statistics": {
            name: value for name, value in dataclasses.asdict(statistics).items() if name not in ("windows", "regions")
        },
        "strategy": {},
        **units.settings_of(asked, search, asked.calibrate),
    }
    return Task(
        kind=asked.kind,
        model=network_for(dataset, preset.network, patch),
        dataset=dataset,
        splits=chosen.splits,
        initial=chosen.initial,
        load=lambda case: load_case(case, dataset),
        training=preset.training,
        statistics=dataclasses.replace(statistics, windows=search),
        shape_of=prepared_shape,
        draw=(lambda case, rng: draw_patch(case, patch, FOREGROUND_SHARE, rng)) if patch else None,
        origin=ready.listing,
        settings=decisive(SEGMENTATION, sections),
        contents=ready.contents if "fingerprint" in identity else {},
        plan=dataclasses.asdict(ready.plan) if "plan" in identity else {},
    )


def prepare_task(
    arguments: ScanArguments,
    preset: Preset,
    ready: Ready,
    identity: Mapping[str, Any],
    seed: int,
    patch: tuple[int, ...] | None = None,
) -> Task:
    """Splits, initial set and network for one seed."""
    dataset = ready.dataset
    if arguments.shares:
        return make_task(
            ready,
            preset,
            _as_in_a_project(dataset, preset, arguments.shares, seed),
            arguments.training,
            identity,
            patch,
            arguments,
        )
    splits = split(dataset.cases, seed, preset.evaluation, preset.test)
    needed = preset.initial_size + (1 if arguments.of_parts else preset.query_size)
    if len(splits.pool) < needed:
        query = "a case to ask for parts of" if arguments.of_parts else f"one query of {preset.query_size}"
        raise UserError(
            f"The pool has {len(splits.pool)} of {len(dataset.cases)} cases, but the initial set of {preset.initial_size} and {query} need {needed}. "
            f"Lower --initial-size{'' if arguments.of_parts else ' or --query-size'}, or add cases."
        )
    units.check_units(arguments, len(dataset.shape))
    several = len(dataset.groups) > 1  # of one there is nothing to balance
    shares = imbalanced_shares(dataset) if several and arguments.initial == "imbalanced" else None
    initial = initial_set(splits.pool, preset.initial_size, seed, shares)
    if any(axis not in range(len(dataset.shape)) for axis in preset.members.flips):
        raise UserError(f"--flips is {preset.members.flips}; images here have the axes 0 to {len(dataset.shape) - 1}.")
    return make_task(ready, preset, Chosen(splits, initial), arguments.training, identity, patch, arguments)


def _as_in_a_project(dataset: Dataset, preset: Preset, shares: Shares, seed: int) -> Chosen:
    """The first query is drawn as in a project; all other cases are the pool, and the networks are measured on all of it."""
    groups = {case.id: case.group for case in dataset.cases}
    first = first_query(list(groups), groups, preset.query_size, shares, seed)
    pool = tuple(case for case in dataset.cases if case.id not in first.evaluation)
    evaluation = tuple(case for case in dataset.cases if case.id in first.evaluation)
    return Chosen(Splits(pool, evaluation, pool), [case for case in pool if case.id in first.training])


def make_source(
    name: str, arguments: ScanArguments, preset: Preset, ready: Ready, identity: dict, patch: tuple[int, ...] | None = None
) -> study.Source:
    """A prepared folder as one setting of a study.

    Args:
      name: of the data.
      arguments: the study's, for this data alone.
      preset: sizes.
      ready: prepared cases, and where they came from.
      identity: what tells the data from others, for `config.json`.
      patch: voxels that the network sees at once, where cases are larger.
    """

    def task(seed: int) -> Task:
        return prepare_task(arguments, preset, ready, identity, seed, patch)

    setting = f"{name}-{arguments.initial}" if len(ready.dataset.groups) > 1 else name
    return study.Source(setting, arguments, task, reader_of_new(ready, preset.network, arguments.prepared, patch))


def reader_of_new(
    ready: Ready, network: UNetConfig, prepared: Path, patch: tuple[int, ...] | None
) -> Callable[[Path, terminal.Display], NewCases]:
    """What reads another folder of scans for a network of these.

    Args:
      ready: prepared scans that it was trained on.
      network: its configuration.
      prepared: folder for prepared scans.
      patch: voxels that it sees at once, where cases are larger.
    """

    def read(folder: Path, display: terminal.Display) -> NewCases:
        new = read_new_scans(folder, ready, prepared / folder.resolve().name, showing_on(display))
        model = network_for(new.dataset, network, patch)
        return NewCases(new.dataset.cases, lambda case: load_case(case, new.dataset), new.listing, model)

    return read
