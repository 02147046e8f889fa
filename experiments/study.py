"""What studies of segmentation share: how a task is put together, and a results folder that keeps to one configuration."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from experiments import command
from experiments.presets import Preset
from jaxal import hosts, loop, page, report
from jaxal.checkpoint import Ledger, lock, write_text
from jaxal.comparison import compare_folder
from jaxal.data.cases import Case, Dataset, Splits, initial_set, split
from jaxal.data.folder import FolderConfig, Ready, make_ready
from jaxal.data.prepare import draw_patch, load_case
from jaxal.errors import UserError
from jaxal.members import MembersConfig
from jaxal.networks.unet import Dropout, unet
from jaxal.networks.windows import windowed
from jaxal.record import FULL, read_runs
from jaxal.statistics import STATISTICS, StatisticsConfig
from jaxal.strategies import STRATEGIES, StrategyConfig, named_strategy
from jaxal.training import Interrupted

FOREGROUND_SHARE = 1 / 3  # of patches that are drawn around the structure, as in nnU-Net
SCARCE_SHARE = 0.1  # of the initial set, for the group that is short when it is imbalanced


_STRATEGY_HELP = (
    f"How cases are chosen; of several, one run after the other. There are {', '.join(STRATEGIES)}. Options of its own may follow a name, as "
    f"in weighted_entropy,gamma=3; there are {', '.join(field.name for field in dataclasses.fields(StrategyConfig))}."
)


@dataclasses.dataclass(frozen=True)
class StudyArguments:
    """Options that all studies have."""

    strategy: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[,OPTION=VALUE...]...", help=_STRATEGY_HELP)] = ("aeig",)
    score_only: Path | None = None
    """Folder of a run (…/STRATEGY/seed-N): score its last round's pool by all given strategies in one pass, into its scores.csv.
    The run's own options count; others than --strategy and the hosts' are ignored."""
    predict_only: Path | None = None
    """Folder of a run: write what its last network makes of every case, on the case's own grid, into its predictions/ and
    predictions.csv. The run's own options count; all others are ignored."""
    initial: Literal["balanced", "imbalanced"] = "imbalanced"
    """Whether the groups share the initial set equally, or the smallest group gets a tenth of it (B in the simulation)."""
    training: Literal["scratch", "warm"] = "scratch"
    """Train every round from scratch, or from the last round's weights with fewer steps."""
    rounds: int | None = None
    """Trainings; each ends with a query. A larger number extends an existing run. Default: the preset's."""
    query_size: int | None = None
    """Cases that are labelled after each round. Default: the preset's."""
    initial_size: int | None = None
    """Cases that are labelled before the first round. Default: the preset's."""
    seed: int = 0
    """Of the splits, the initial set, the weights and every draw; the first of several."""
    seeds: int = 1
    """How many seeds, from --seed on. More can follow later, as more strategies can."""
    full: bool | None = None
    """Train on the whole pool, too, once a seed, as the line to reach. Default: when several strategies or seeds are compared."""
    group_column: str = "group"
    """Column of the table of participants that names each case's group."""
    participants: Path | None = None
    """The table of participants, tab-separated, with a column participant_id. Default: participants.tsv in the folder of scans."""
    out: Path | None = None
    """Where results go. Default: a folder below runs/, named after the study."""
    prepared: Path = Path("runs/prepared")
    """Where cases are kept resampled and normalised, as plain arrays."""
    save_every: float = 60.0
    """Seconds between checkpoints within a training."""
    fresh: bool = False
    """Set an existing --out folder aside (it is renamed, not deleted) and begin anew."""
    samples: int | None = None
    """Dropout samples of strategies that measure disagreement; 0 leaves dropout off. Default: the preset's."""
    dropout: Dropout | None = None
    """Where channels are dropped: before the last layer, in the decoder or after the bottleneck. Default: the preset's, the head."""
    networks: int | None = None
    """Networks that are trained each round, their disagreement joined to the samples' (a deep ensemble). Default: the preset's, one."""
    flips: tuple[int, ...] | None = None
    """Axes (0, 1, 2) along which views are flipped, their disagreement joined to the samples' (test-time augmentation). Default: none."""
    hosts: tyro.conf.OmitArgPrefixes[command.Hosts] = dataclasses.field(default_factory=command.Hosts)


# What only this command knows and not the run that it goes on with.
NOT_OF_THE_RUN = ("strategy", "score_only", "predict_only", "rounds", "seeds", "full", "out", "save_every", "fresh", "hosts")


def trains_full(arguments: StudyArguments, out: Path) -> bool:
    """Whether a network is trained on the whole pool, too: if asked for, or if runs are compared, now or in the folder before."""
    if arguments.full is not None:
        return arguments.full
    return len(set(arguments.strategy)) * arguments.seeds > 1 or any(out.glob(f"*/{FULL}/seed-*"))


class Source(NamedTuple):
    """One data set of a study.

    Attributes:
      name: of its settings in the results folder.
      arguments: the study's, for this data set alone.
      ready: prepared cases, and where they came from.
      identity: what tells it from others, for `config.json`.
      patch: voxels that the network sees at once, where cases are larger.
    """

    name: str
    arguments: StudyArguments
    ready: Ready
    identity: dict
    patch: tuple[int, ...] | None = None


def read_folder(folder: Path, prepared: Path, config: FolderConfig, display: report.Display) -> Ready:
    """Makes a folder ready, showing how far it is."""

    @contextlib.contextmanager
    def showing(what: str) -> Iterator[Callable[[int, int], None]]:
        with display.progress(what) as progress:
            yield stoppable(progress, display)

    if hosts.is_leader():
        ready = make_ready(folder, prepared, config, showing)
    hosts.share_json(None)  # the others find the leader's files
    return ready if hosts.is_leader() else make_ready(folder, prepared, config, showing)


def stoppable(progress: Callable[[int, int], None], display: report.Display) -> Callable[[int, int], None]:
    """Progress that also asks whether to stop."""

    def report_(done: int, total: int) -> None:
        progress(done, total)
        if display.should_stop():
            raise Interrupted

    return report_


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


NEW_FOLDER = "Choose another --out, or --fresh to set the folder aside and begin anew."


def settle_config(path: Path, config: dict, advice: str = NEW_FOLDER) -> None:
    """Writes the configuration of a new folder, or makes sure that an old one's is the same."""
    if path.exists():
        try:
            stored = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(f"{path}: not valid JSON ({error}). Restore it, choose another --out or use --fresh.") from error
        differences = report.describe_difference(stored, config)
        if differences:
            raise UserError(f"{path.parent} holds runs with other settings:\n  " + "\n  ".join(differences) + f"\n{advice}")
        return
    write_text(path, json.dumps(config, indent=2) + "\n")


def set_aside(folder: Path) -> Path:
    """Renames a results folder, once it is sure that nobody works in it, to the first free name with a number.

    Raises:
      UserError: it is something else.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"--fresh would set {folder} aside, but that holds no config.json, so it is no results folder.")
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


def make_task(
    dataset: Dataset,
    preset: Preset,
    splits: Splits,
    initial: Sequence[Case],
    start: str,
    identity: dict,
    patch: tuple[int, ...] | None = None,
) -> loop.Task:
    """Puts the parts together; sizes that are given in millimetres become voxels of this data set."""
    network = dataclasses.replace(preset.network, classes=len(dataset.classes))
    voxel_mm = sum(dataset.spacing_mm) / len(dataset.spacing_mm)
    task = loop.Task(
        model=windowed(unet(network), patch) if patch else unet(network),
        dataset=dataset,
        splits=splits,
        initial=initial,
        load=lambda case: load_case(case, dataset),
        training=preset.training,
        statistics=StatisticsConfig(roi_dilate=max(1, round(4 / voxel_mm)), region_size=max(1, round(8 / voxel_mm))),
        strategy=StrategyConfig(step_rate=preset.training.warm_rate if start == "warm" else preset.training.peak_rate),
        draw=(lambda case, rng: draw_patch(case, patch, FOREGROUND_SHARE, rng)) if patch else None,
    )
    return task._replace(config_hash=loop.config_hash(settings(task, preset, start, identity)))


def finish(out: Path, display: report.Display) -> None:
    """Writes what a folder of runs comes to, and says where it lies."""
    comparisons = compare_folder(out)
    display.comparison(comparisons)
    display.note(f"  summary  {report.write_summary(out)}")
    display.note(f"  compared {report.write_comparison(out, comparisons)}")
    display.note(f"  report   {page.write_report(out)}")
    for setting in sorted({run.setting for run in read_runs(out)}):
        display.note(f"  curves   {report.plot_learning_curves(out, setting)}")


def run(
    arguments: StudyArguments,
    preset: Preset,
    sources: Sequence[Source],
    out: Path,
    display: report.Display,
    notes: Mapping[str, str] | None = None,
) -> int:
    """Runs all strategies on all data sets with all seeds; returns the exit status.

    Strategies of one seed and data set share the splits, the initial set and the first network. What is done is left as it is, so the
    same command goes on where it was, and one with more seeds or strategies adds to the folder. `notes` are texts to write
    beside the configuration, by the name of their file.
    """
    started = time.perf_counter()
    seeds, names = range(arguments.seed, arguments.seed + arguments.seeds), list(dict.fromkeys(arguments.strategy))
    # Everything that can be refused is refused before anything is written.
    tasks = {(source.name, seed): prepare_task(source, preset, seed) for source in sources for seed in seeds}
    first = sources[0]
    if arguments.fresh and out.is_dir() and any(out.iterdir()) and hosts.is_leader():
        display.note(f"Set {out} aside as {set_aside(out)}.")
    with lock(out) if hosts.is_leader() else contextlib.nullcontext():
        if hosts.is_leader():
            task = tasks[first.name, seeds[0]]
            settle_config(out / "config.json", settings(task, preset, arguments.training, first.identity))
            for name, text in (notes or {}).items():
                write_text(out / name, text)
        full = trains_full(arguments, out)
        work = [(seed, source, name) for seed in seeds for source in sources for name in ([FULL] if full else []) + names]
        for number, (seed, source, name) in enumerate(work, 1):
            setting = out / f"{source.name}-{arguments.initial}"
            if len(work) > 1:
                display.note(f"[{number} of {len(work)}]")
            own = dataclasses.replace(source.arguments, seed=seed)
            siblings = [other for other in sorted(setting.glob(f"*/seed-{seed}")) if other.parent.name not in (name, FULL)]
            _run_strategy(name, setting / name / f"seed-{seed}", own, preset, tasks[source.name, seed], display, siblings)
        if hosts.is_leader():
            finish(out, display)
            display.note(f"Done in {time.perf_counter() - started:.0f} s.")
    return 0


def _run_strategy(
    name: str,
    folder: Path,
    arguments: StudyArguments,
    preset: Preset,
    task: loop.Task,
    display: report.Display,
    siblings: Sequence[Path],
) -> None:
    splits, groups, config = task.splits, task.dataset.groups, loop_config(arguments, preset)
    display.note(
        f"{name}, {folder.parents[1].name}, seed {arguments.seed}: {len(splits.pool)} cases in the pool, {len(splits.evaluation)} for "
        f"evaluation, {len(splits.test)} for the test; {' x '.join(map(str, task.dataset.shape))} voxels"
    )
    if hosts.is_leader():
        options = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(arguments)}
        options = {field: value for field, value in options.items() if field not in NOT_OF_THE_RUN}
        write_text(folder / "options.json", json.dumps(options, indent=2, default=lambda path: str(path.resolve())) + "\n")
    # Of runs that came from elsewhere only the ledgers may be here.
    sibling = next((other for other in siblings if (other / "rounds.jsonl").exists() and (other / "checkpoints").exists()), None)
    strategy = name
    if name == FULL:  # everything is labelled from the start, so one training is all there is
        task, config = task._replace(initial=splits.pool), dataclasses.replace(config, rounds=1)
        strategy, sibling = "random", None
    display.table_header(groups)
    known = len(Ledger(folder / "rounds.jsonl").read())
    for record in loop.run(folder, strategy, config, task, display, sibling):
        display.table_row(record, groups)
        if hosts.is_leader() and record["round"] >= known:  # what was there before is in the report already
            report.write_summary(folder.parents[2])
            page.write_report(folder.parents[2], "Not all of the study is done.")
    display.note(f"  rounds   {folder / 'rounds.jsonl'}\n  weights  {folder / 'checkpoints'}")


def prepare_task(source: Source, preset: Preset, seed: int) -> loop.Task:
    """Splits, initial set and network for one seed."""
    arguments, dataset = source.arguments, source.ready.dataset
    splits = split(dataset.cases, seed, preset.evaluation, preset.test)
    if len(splits.pool) < preset.initial_size + preset.query_size:
        raise UserError(
            f"The pool has {len(splits.pool)} of {len(dataset.cases)} cases, but the initial set of {preset.initial_size} and one "
            f"query of {preset.query_size} need {preset.initial_size + preset.query_size}. Lower --initial-size or --query-size, or add cases."
        )
    shares = imbalanced_shares(dataset) if arguments.initial == "imbalanced" else None
    initial = initial_set(splits.pool, preset.initial_size, seed, shares)
    if any(axis not in range(len(dataset.shape)) for axis in preset.members.flips):
        raise UserError(f"--flips is {preset.members.flips}; images here have the axes 0 to {len(dataset.shape) - 1}.")
    return make_task(dataset, preset, splits, initial, arguments.training, source.identity, source.patch)


def loop_config(arguments: StudyArguments, preset: Preset) -> loop.LoopConfig:
    return loop.LoopConfig(
        rounds=preset.rounds,
        query_size=preset.query_size,
        seed=arguments.seed,
        start=arguments.training,
        members=preset.members,
        batch_size=preset.batch_size,
        save_every_seconds=arguments.save_every,
    )


def check_options(arguments: StudyArguments, data: Path | None, out: Path) -> None:
    """Refuses what can be refused before any file is read.

    Raises:
      UserError: a number is out of range, there is no such strategy, or results would be written among the scans.
    """
    least = {"rounds": 1, "query_size": 1, "initial_size": 1, "seeds": 1, "seed": 0}
    for name, smallest in least.items():
        value = getattr(arguments, name)
        if value is not None and value < smallest:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least {smallest}.")
    for name in arguments.strategy:
        named_strategy(name, StrategyConfig())
    if data is None:
        return
    scans = data.resolve()
    for option, folder in (("--out", out.resolve()), ("--prepared", arguments.prepared.resolve())):
        if folder == scans or scans in folder.parents:
            raise UserError(f"{option} {folder}: lies among the scans ({scans}), which are only read. Choose another folder.")
    if arguments.fresh and out.resolve() in scans.parents:
        raise UserError(f"--fresh would set {out.resolve()} aside, but the scans lie in it ({scans}). Choose another --out.")


def choose_sizes(arguments: StudyArguments, preset: Preset) -> Preset:
    """The preset with what was asked for by option in its place."""
    asked = {name: getattr(arguments, name) for name in ("rounds", "query_size", "initial_size")}
    preset = dataclasses.replace(preset, **{name: value for name, value in asked.items() if value is not None})
    if arguments.dropout:
        preset = dataclasses.replace(preset, network=dataclasses.replace(preset.network, dropout=arguments.dropout))
    return dataclasses.replace(preset, members=_members(arguments, preset.members))


def _members(arguments: StudyArguments, members: MembersConfig) -> MembersConfig:
    asked = {"dropout": arguments.samples, "networks": arguments.networks, "flips": arguments.flips}
    try:
        members = dataclasses.replace(members, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise UserError(f"--samples, --networks or --flips: {error}") from error
    needy = [
        name
        for name in arguments.strategy
        if any(STATISTICS[need].needs_members for need in named_strategy(name, StrategyConfig()).needs.pool)
    ]
    if needy and members.count < 2:
        advice = "the run was made without" if arguments.score_only else "give --samples, --networks or --flips more of them"
        raise UserError(f"{', '.join(needy)} needs members that can disagree: {advice}.")
    return members
