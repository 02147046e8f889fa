"""What all studies share: their options, the order of their runs, and a results folder that keeps to one configuration."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar

import tyro

from jaxal import claims, hosts
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.hosts import HostsConfig
from jaxal.networks.layers import Dtype
from jaxal.report import curves, page, terminal
from jaxal.report.comparison import compare_folder
from jaxal.report.levels import LEVELS
from jaxal.rounds.ledger import FULL, read_runs
from jaxal.rounds.prediction import NewCases
from jaxal.rounds.protocol import Shares
from jaxal.rounds.setup import PseudoLabels, RoundsConfig, Task, open_run
from jaxal.rounds.simulate import simulate
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.named import named_strategy
from jaxal.studies import option_types, presets
from jaxal.studies.configuration import set_aside, settle_config
from jaxal.studies.progress import note_runs
from jaxal.studies.submission import SubmitConfig
from jaxal.studies.workers import CLAIMS, SUMMARISED, Piece, Work, is_summarised, shared
from jaxal.task_kind import TaskKind
from jaxal.tasks.segmentation import SEGMENTATION


@dataclasses.dataclass(frozen=True)
class StudyArguments:
    """Options that all studies have."""

    strategy: option_types.strategies("weighted_entropy,gamma=3") = ("aeig",)  # type: ignore[valid-type]
    score_only: option_types.Place = None
    """Folder of a run (…/STRATEGY/seed-N): score its last round's pool by all given strategies in one pass, into its scores.csv.
    The run's own options count; others than --strategy and the hosts' are ignored."""
    predict_only: option_types.Place = None
    """Folder of a run: write what its last network makes of every case into its predictions.csv, and label maps into its predictions/,
    each on the grid of the case's own files. The run's own options count; all others are ignored."""
    new: option_types.Place = None
    """With --predict-only: folder of cases that were never in the run, to be predicted instead of the run's own."""
    new_out: option_types.Place = None
    """Folder for their predictions. Default: a folder below the run's new/, named after theirs."""
    training: Literal["scratch", "warm"] = "scratch"
    """Train every round from scratch, or from the last round's weights with fewer steps."""
    rounds: option_types.Number = None
    """Trainings; each ends with a query. A larger number extends an existing run. Default: the preset's."""
    query_size: option_types.Number = None
    """Cases, or with --unit parts of them, that are labelled after each round. Default: the preset's, of parts four times as many."""
    initial_size: option_types.Number = None
    """Cases that are labelled before the first round. Default: the preset's."""
    seed: int = 0
    """Of the splits, the initial set, the weights and every draw; the first of several."""
    seeds: int = 1
    """How many seeds, from --seed on. More can follow later, as more strategies can."""
    full: Annotated[bool | None, tyro.conf.arg(metavar="{True,False}", help_behavior_hint="")] = None
    """Train on the whole pool, too, once a seed, as the line to reach. Default: when several strategies or seeds are compared."""
    out: option_types.Place = None
    """Where results go. Default: a folder below runs/, named after the study."""
    prepared: Path = Path("runs/prepared")
    """Where cases are kept resampled and normalised, as plain arrays."""
    save_every: float = 60.0
    """Seconds between checkpoints within a training."""
    fresh: bool = False
    """Set an existing --out folder aside (it is renamed, not deleted) and begin anew."""
    stale_after: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = claims.STALE_SECONDS
    """Seconds without a sign of life after which a worker's run is taken over by others that work in the same folder."""
    older_numbers: bool = False
    """Go on in a folder whose runs an older version computed, though this version's numbers differ (docs/numbers.md says in what)."""
    samples: option_types.Number = None
    """Dropout samples of strategies that measure disagreement; 0 leaves dropout off. Default: the preset's."""
    networks: option_types.Number = None
    """Networks that are trained each round, their disagreement joined to the samples' (a deep ensemble). Default: the preset's, one."""
    flips: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="AXIS...", help_behavior_hint="")] = None
    """Axes (0, 1, 2) along which views are flipped, their disagreement joined to the samples' (test-time augmentation). Default: none."""
    batch_size: option_types.Number = None
    """Cases that are scored at once on each device; less needs less memory. Default: the preset's, on a TPU at least eight."""
    dtype: Annotated[Dtype | None, tyro.conf.arg(metavar="{float32,bfloat16}", help_behavior_hint="")] = None
    """What networks compute in; weights, losses and scores are float32 in any case. Default: bfloat16 on a GPU or TPU, else the preset's."""
    calibrate: Literal["none", "temperature"] = "none"
    """Whether logits are divided by the temperature that makes the evaluation set's labels most likely, before anything is scored or measured."""
    hosts: tyro.conf.OmitArgPrefixes[HostsConfig] = dataclasses.field(default_factory=HostsConfig)
    submission: tyro.conf.OmitArgPrefixes[SubmitConfig] = dataclasses.field(default_factory=SubmitConfig)

    @property
    def kind(self) -> TaskKind:
        """Of the task."""
        return SEGMENTATION

    @property
    def shares(self) -> Shares | None:
        """What is drawn at random beside the strategy's choice, if anything is."""
        return None


# What only this command knows and not the run that it goes on with.
NOT_OF_THE_RUN = (
    "strategy",
    "score_only",
    "predict_only",
    "new",
    "new_out",
    "rounds",
    "seeds",
    "full",
    "out",
    "save_every",
    "fresh",
    "older_numbers",
    "stale_after",
    "hosts",
    "submission",
)


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
      read_new: finds and prepares cases of a folder that are not of this data, and shows how far it is; None where there can be none.
    """

    name: str
    arguments: StudyArguments
    task: Callable[[int], Task]
    read_new: Callable[[Path, terminal.Display], NewCases] | None = None


class Sizes(Protocol):
    """What a preset must tell of the rounds; the rest is each kind of task's own."""

    @property
    def rounds(self) -> int: ...

    @property
    def query_size(self) -> int: ...

    @property
    def members(self) -> MembersConfig: ...

    @property
    def batch_size(self) -> int: ...


class Adjustable(Protocol):
    """A preset, a dataclass, before options took the place of what is in it."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def members(self) -> MembersConfig: ...


S = TypeVar("S", bound=Adjustable)


def finish(out: Path, display: terminal.Display, levels: Sequence[float] = LEVELS) -> None:
    """Writes what a folder of runs comes to, and says where it lies; `levels` are of the main measure, to be reached."""
    comparisons = compare_folder(out, levels)
    display.comparison(comparisons)
    display.note(f"  summary  {terminal.write_summary(out)}")
    display.note(f"  compared {terminal.write_comparison(out, comparisons)}")
    display.note(f"  levels   {terminal.write_levels(out, comparisons)}")
    display.note(f"  report   {page.write_report(out, comparisons=comparisons)}")
    for setting in sorted({run.setting for run in read_runs(out)}):
        if path := curves.plot_learning_curves(out, setting):
            display.note(f"  curves   {path}")


def run(
    arguments: StudyArguments,
    preset: Sizes,
    sources: Sequence[Source],
    out: Path,
    display: terminal.Display,
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
    if hosts.is_leader():
        settle_config(out / "config.json", tasks[sources[0].name, seeds[0]], older_numbers=arguments.older_numbers)
        for name, text in (notes or {}).items():
            write_text(out / name, text)
    full, reporting = trains_full(arguments, out), _Reporting(out)
    runs = [(seed, source, name) for seed in seeds for source in sources for name in ([FULL] if full else []) + names]
    pieces = [
        Piece(out / source.name / name_of_folder(name, source.arguments) / f"seed-{seed}", preset.rounds)
        for seed, source, name in runs
    ]

    if hosts.is_leader():
        note_runs(out, pieces)

    def do(work: Work) -> None:
        seed, source, name = runs[work.number]
        if len(runs) > 1:
            display.note(f"[{work.number + 1} of {len(runs)}]")
        arguments_of_run = dataclasses.replace(source.arguments, seed=seed)
        folder = pieces[work.number].folder
        _run_strategy(name, folder, arguments_of_run, preset, tasks[source.name, seed], work, reporting)

    others = shared(pieces, out, arguments.stale_after, display, do)
    if hosts.is_leader():
        with claims.alone(out / CLAIMS / "summary", arguments.stale_after):
            if others and is_summarised(out, pieces):
                display.note(f"Another worker has written the summary and {out / 'report.html'}.")
            else:
                finish(out, display)
                (out / CLAIMS / SUMMARISED).touch()
        display.note(f"Done in {time.perf_counter() - started:.0f} s.")
    return 0


class _Reporting:
    """Writes the report after a round, but for rounds so short that it would take more than a tenth of the time."""

    def __init__(self, out: Path):
        self._out, self._due = out, time.monotonic() + 5.0  # of a study of seconds the end will do

    def __call__(self) -> None:
        start = time.monotonic()
        if start >= self._due:
            terminal.write_summary(self._out)
            page.write_report(self._out, "Not all of the study is done.")
            self._due = time.monotonic() + 9 * (time.monotonic() - start)


def name_of_folder(name: str, arguments: StudyArguments) -> str:
    """What a strategy's folder among the results is called."""
    return FULL if name == FULL else named_strategy(name, arguments.kind.strategies).name


def _run_strategy(
    name: str,
    folder: Path,
    arguments: StudyArguments,
    preset: Sizes,
    task: Task,
    work: Work,
    reporting: Callable[[], None],
) -> None:
    display = work.watcher
    splits, groups, config, kind = task.splits, task.dataset.groups, rounds_config(arguments, preset), task.kind
    start = Counter(case.group for case in task.initial) if len(groups) > 1 and name != FULL else {}
    labelled = "; at the start " + ", ".join(f"{group} {start[group]}" for group in groups) + " are labelled" if start else ""
    display.note(
        f"{folder.parent.name}, {folder.parents[1].name}, seed {arguments.seed}: {len(splits.pool)} cases in the pool, {len(splits.evaluation)} for "
        f"evaluation, {len(splits.test)} for the test{labelled}; {' x '.join(map(str, task.dataset.shape))} {kind.elements}"
    )
    if hosts.is_leader():
        _write_options(folder, arguments)
    strategy, sibling = name, _sibling_of(folder)
    if name == FULL:  # everything is labelled from the start, so one training is all there is
        task, config = task._replace(initial=splits.pool), dataclasses.replace(config, rounds=1)
        strategy, sibling = "random", None
    display.table_header(kind.assessment, groups)
    run_ = open_run(folder, strategy, config, task, display)
    known = len(run_.ledger.read())
    for record in simulate(run_, sibling):
        work.begun()
        display.table_row(record, kind.assessment, groups)
        if hosts.is_leader() and record["round"] >= known:  # what was there before is in the report already
            reporting()
    display.note(f"  rounds   {folder / 'rounds.jsonl'}\n  weights  {folder / 'checkpoints'}")


def _sibling_of(folder: Path) -> Path | None:
    """Another strategy's run of the same seed, if there is one with its checkpoints: of runs that came from elsewhere only the ledgers may be here."""
    for other in sorted(folder.parents[1].glob(f"*/{folder.name}")):
        strange = other.parent.name in (folder.parent.name, FULL)
        if not strange and (other / "rounds.jsonl").exists() and (other / "checkpoints").exists():
            return other
    return None


def _write_options(folder: Path, arguments: StudyArguments) -> None:
    options = {field.name: getattr(arguments, field.name) for field in dataclasses.fields(arguments)}
    options = {field: value for field, value in options.items() if field not in NOT_OF_THE_RUN}
    write_text(folder / "options.json", json.dumps(options, indent=2, default=lambda path: str(path.resolve())) + "\n")


def rounds_config(arguments: StudyArguments, preset: Sizes) -> RoundsConfig:
    """How the rounds of a run are run."""
    return RoundsConfig(
        rounds=preset.rounds,
        query_size=preset.query_size,
        seed=arguments.seed,
        start=arguments.training,
        members=preset.members,
        batch_size=preset.batch_size,
        save_every_seconds=arguments.save_every,
        shares=arguments.shares,
        query_elements=getattr(arguments, "query_elements", None),
        pseudo_labels=getattr(arguments, "sure", PseudoLabels()),
        calibrate=arguments.calibrate,
    )


def check_options(arguments: StudyArguments, data: Path | None, out: Path) -> None:
    """Refuses what can be refused before any file is read.

    Raises:
      UserError: a number is out of range, there is no such strategy, or results would be written among the scans.
    """
    least = {"rounds": 1, "query_size": 1, "initial_size": 1, "batch_size": 1, "seeds": 1, "seed": 0}
    for name, smallest in least.items():
        value = getattr(arguments, name)
        if value is not None and value < smallest:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least {smallest}.")
    for option, seconds in (("--stale-after", arguments.stale_after), ("--save-every", arguments.save_every)):
        if not seconds > 0:
            raise UserError(f"{option} is {seconds:g}; it must be a number of seconds above 0.")
    if not arguments.strategy:
        raise UserError(f"--strategy names none; there are {', '.join(arguments.kind.strategies)}.")
    _check_strategies(arguments)
    if data is None:
        return
    scans = data.resolve()
    for option, folder in (("--out", out.resolve()), ("--prepared", arguments.prepared.resolve())):
        if folder == scans or scans in folder.parents:
            raise UserError(f"{option} {folder}: lies among the scans ({scans}), which are only read. Choose another folder.")
    if arguments.fresh and out.resolve() in scans.parents:
        raise UserError(f"--fresh would set {out.resolve()} aside, but the scans lie in it ({scans}). Choose another --out.")


def _check_strategies(arguments: StudyArguments) -> None:
    """Refuses strategies that there are not, that ask for what is not computed, or of which two would share a folder."""
    folders: dict[str, dict[str, Any]] = {}
    for text in arguments.strategy:
        name, strategy, identity = named_strategy(text, arguments.kind.strategies)
        if folders.setdefault(name, identity) != identity:
            raise UserError(
                f"--strategy {text}: its results would lie in the folder {name!r} of another one. Rename the file or the function."
            )
        known = arguments.kind.statistics
        for split, needed in strategy.needs._asdict().items():
            if isinstance(needed, str) or (strange := [need for need in needed if need not in known]):
                what = f"{needed!r} instead of a tuple of names" if isinstance(needed, str) else repr(strange[0])
                raise UserError(f"{text}: needs {what} of the {split} cases; what can be computed is {', '.join(sorted(known))}.")


def choose_sizes(arguments: StudyArguments, preset: S) -> S:
    """The preset with what was asked for by option in its place."""
    asked = {name: getattr(arguments, name) for name in ("rounds", "query_size", "initial_size")}
    preset = dataclasses.replace(preset, **{name: value for name, value in asked.items() if value is not None})
    preset = presets.on_this_machine(preset, arguments.batch_size, arguments.dtype)
    return dataclasses.replace(preset, members=_members(arguments, preset.members))


def _members(arguments: StudyArguments, members: MembersConfig) -> MembersConfig:
    asked: dict[str, Any] = {"dropout": arguments.samples, "networks": arguments.networks, "flips": arguments.flips}
    try:
        members = dataclasses.replace(members, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        named = {"samples": arguments.samples, "networks": arguments.networks}
        given = " ".join(f"--{name} {value}" for name, value in named.items() if value is not None)
        flips = f"--flips {' '.join(map(str, arguments.flips))}" if arguments.flips else ""
        raise UserError(
            f"{' '.join(filter(None, [given, flips]))}: --samples must be at least 0, --networks needs at least one network, and --flips names each axis once."
        ) from error
    needy = [name for name in arguments.strategy if _lacks_members(name, members, arguments.kind)]
    if needy:
        advice = "the run was made without" if arguments.score_only else "give --samples, --networks or --flips more of them"
        raise UserError(f"{', '.join(needy)} needs members that can disagree: {advice}.")
    return members


def _lacks_members(name: str, members: MembersConfig, kind: TaskKind) -> bool:
    """Whether a strategy asks how members disagree where there is only one."""
    strategy = named_strategy(name, kind.strategies).strategy
    asks = any(kind.statistics[need].needs_members for need in strategy.needs.pool)
    return asks and members.count + strategy.last_network < 2
