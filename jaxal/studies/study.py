"""What all studies share: their options, the order of their runs, and a results folder that keeps to one configuration."""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import tyro

from jaxal import hosts
from jaxal.cli import command
from jaxal.errors import UserError
from jaxal.report import curves, page
from jaxal.report import terminal as report
from jaxal.report.comparison import compare_folder
from jaxal.rounds import loop
from jaxal.rounds.checkpoint import Ledger, lock, write_text
from jaxal.rounds.record import FULL, read_runs
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.statistics import STATISTICS
from jaxal.strategies.table import STRATEGIES, StrategyConfig, Table, named_strategy
from jaxal.training.trainer import Interrupted

S = TypeVar("S")


def strategy_option(table: Table, example: str) -> Any:
    """The type of the option that names strategies, with their names as its help."""
    options = ", ".join(field.name for field in dataclasses.fields(StrategyConfig))
    help_ = (
        f"How cases are chosen; of several, one run after the other. There are {', '.join(table)}. Options of its own may follow a name, as "
        f"in {example}; there are {options}."
    )
    return Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME[,OPTION=VALUE...]...", help=help_)]


@dataclasses.dataclass(frozen=True)
class StudyArguments:
    """Options that all studies have."""

    table: ClassVar[Table] = STRATEGIES
    strategy: strategy_option(STRATEGIES, "weighted_entropy,gamma=3") = ("aeig",)  # type: ignore[valid-type]
    score_only: Path | None = None
    """Folder of a run (…/STRATEGY/seed-N): score its last round's pool by all given strategies in one pass, into its scores.csv.
    The run's own options count; others than --strategy and the hosts' are ignored."""
    predict_only: Path | None = None
    """Folder of a run: write what its last network makes of every case into its predictions.csv, and label maps into its predictions/,
    each on the grid of the case's own files. The run's own options count; all others are ignored."""
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
    """One setting of a study: a data set, and how the first labels are given out.

    Attributes:
      name: of its folder among the results.
      arguments: the study's, for this setting alone.
      task: splits, initial set and network for a seed.
      predict: writes what a finished run's network makes of every case: `(folder of the run, config, task, progress) -> lines to show`.
    """

    name: str
    arguments: StudyArguments
    task: Callable[[int], loop.Task]
    predict: Callable[[Path, loop.LoopConfig, loop.Task, Callable[[int, int], None]], list[str]]


class Sizes(Protocol):
    """What a preset must tell of the rounds; the rest is each kind of task's own."""

    rounds: int
    query_size: int
    members: MembersConfig
    batch_size: int


def stoppable(progress: Callable[[int, int], None], display: report.Display) -> Callable[[int, int], None]:
    """Progress that also asks whether to stop."""

    def report_(done: int, total: int) -> None:
        progress(done, total)
        if display.should_stop():
            raise Interrupted

    return report_


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


def finish(out: Path, display: report.Display) -> None:
    """Writes what a folder of runs comes to, and says where it lies."""
    comparisons = compare_folder(out)
    display.comparison(comparisons)
    display.note(f"  summary  {report.write_summary(out)}")
    display.note(f"  compared {report.write_comparison(out, comparisons)}")
    display.note(f"  report   {page.write_report(out, comparisons=comparisons)}")
    for setting in sorted({run.setting for run in read_runs(out)}):
        display.note(f"  curves   {curves.plot_learning_curves(out, setting)}")


def run(
    arguments: StudyArguments,
    preset: Sizes,
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
    tasks = {(source.name, seed): source.task(seed) for source in sources for seed in seeds}
    if arguments.fresh and out.is_dir() and any(out.iterdir()) and hosts.is_leader():
        display.note(f"Set {out} aside as {set_aside(out)}.")
    with lock(out) if hosts.is_leader() else contextlib.nullcontext():
        if hosts.is_leader():
            settle_config(out / "config.json", tasks[sources[0].name, seeds[0]].settings)
            for name, text in (notes or {}).items():
                write_text(out / name, text)
        full, reporting = trains_full(arguments, out), _Reporting(out)
        work = [(seed, source, name) for seed in seeds for source in sources for name in ([FULL] if full else []) + names]
        for number, (seed, source, name) in enumerate(work, 1):
            setting = out / source.name
            if len(work) > 1:
                display.note(f"[{number} of {len(work)}]")
            own = dataclasses.replace(source.arguments, seed=seed)
            siblings = [other for other in sorted(setting.glob(f"*/seed-{seed}")) if other.parent.name not in (name, FULL)]
            _run_strategy(
                name, setting / name / f"seed-{seed}", own, preset, tasks[source.name, seed], display, siblings, reporting
            )
        if hosts.is_leader():
            finish(out, display)
            display.note(f"Done in {time.perf_counter() - started:.0f} s.")
    return 0


class _Reporting:
    """Writes the report after a round, but for rounds so short that it would take more than a tenth of the time."""

    def __init__(self, out: Path):
        self._out, self._due = out, 0.0

    def __call__(self) -> None:
        start = time.monotonic()
        if start >= self._due:
            report.write_summary(self._out)
            page.write_report(self._out, "Not all of the study is done.")
            self._due = time.monotonic() + 9 * (time.monotonic() - start)


def _run_strategy(
    name: str,
    folder: Path,
    arguments: StudyArguments,
    preset: Sizes,
    task: loop.Task,
    display: report.Display,
    siblings: Sequence[Path],
    reporting: Callable[[], None],
) -> None:
    splits, groups, config = task.splits, task.dataset.groups, loop_config(arguments, preset)
    display.note(
        f"{name}, {folder.parents[1].name}, seed {arguments.seed}: {len(splits.pool)} cases in the pool, {len(splits.evaluation)} for "
        f"evaluation, {len(splits.test)} for the test; {' x '.join(map(str, task.dataset.shape))} {'voxels' if len(task.dataset.shape) == 3 else 'pixels'}"
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
    display.table_header(task.assessment, groups)
    known = len(Ledger(folder / "rounds.jsonl").read())
    for record in loop.run(folder, strategy, config, task, display, sibling):
        display.table_row(record, task.assessment, groups)
        if hosts.is_leader() and record["round"] >= known:  # what was there before is in the report already
            reporting()
    display.note(f"  rounds   {folder / 'rounds.jsonl'}\n  weights  {folder / 'checkpoints'}")


def loop_config(arguments: StudyArguments, preset: Sizes) -> loop.LoopConfig:
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
        named_strategy(name, StrategyConfig(), arguments.table)
    if data is None:
        return
    scans = data.resolve()
    for option, folder in (("--out", out.resolve()), ("--prepared", arguments.prepared.resolve())):
        if folder == scans or scans in folder.parents:
            raise UserError(f"{option} {folder}: lies among the scans ({scans}), which are only read. Choose another folder.")
    if arguments.fresh and out.resolve() in scans.parents:
        raise UserError(f"--fresh would set {out.resolve()} aside, but the scans lie in it ({scans}). Choose another --out.")


def choose_sizes(arguments: StudyArguments, preset: S) -> S:
    """The preset with what was asked for by option in its place."""
    asked = {name: getattr(arguments, name) for name in ("rounds", "query_size", "initial_size")}
    preset = dataclasses.replace(preset, **{name: value for name, value in asked.items() if value is not None})
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
        if any(STATISTICS[need].needs_members for need in named_strategy(name, StrategyConfig(), arguments.table).needs.pool)
    ]
    if needy and members.count < 2:
        advice = "the run was made without" if arguments.score_only else "give --samples, --networks or --flips more of them"
        raise UserError(f"{', '.join(needy)} needs members that can disagree: {advice}.")
    return members
