"""What all studies share: their options, the order of their runs, and a results folder that keeps to one configuration."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxal import claims, hosts
from jaxal.files import write_text
from jaxal.report import closable, curves, overlooked, page, terminal
from jaxal.report.comparison import FEWEST_SEEDS, compare_folder
from jaxal.report.levels import LEVELS
from jaxal.rounds.first_set import with_first_set
from jaxal.rounds.ledger import FULL, read_runs
from jaxal.rounds.prediction import NewCases
from jaxal.rounds.setup import Task, check_strategy, open_run
from jaxal.rounds.simulate import simulate
from jaxal.strategies.named import named_strategy
from jaxal.studies.common_options import NOT_OF_THE_RUN, Sizes, StudyArguments, check_method, rounds_config, trains_full
from jaxal.studies.configuration import set_aside, settle_config
from jaxal.studies.progress import note_runs
from jaxal.studies.workers import CLAIMS, SUMMARISED, Piece, Work, is_summarised, shared
from jaxal.tasks.table import kind_of


class Source(NamedTuple):
    """One setting of a study: a data set, and how the first labels are given out.

    Attributes:
      name: of its folder among the results.
      arguments: the study's, for this setting alone.
      task: splits, initial set and network for a seed.
      read_new: finds and prepares cases of a folder that are not of this data, and shows how far it is; None where there can be none.
      full: what the run on everything is called, among the strategies.
    """

    name: str
    arguments: StudyArguments
    task: Callable[[int], Task]
    read_new: Callable[[Path, terminal.Display], NewCases] | None = None
    full: str = FULL


def finish(out: Path, display: terminal.Display, levels: Sequence[float] = LEVELS) -> None:
    """Writes what a folder of runs comes to, and says where it lies; `levels` are of the main measure, to be reached."""
    comparisons = compare_folder(out, levels)
    display.comparison(comparisons)
    for setting, told in fairness_in_words(out).items():
        display.note(f"{setting}: {told}")
    display.note(f"  summary  {terminal.write_summary(out)}")
    display.note(f"  compared {terminal.write_comparison(out, comparisons)}")
    display.note(f"  levels   {terminal.write_levels(out, comparisons)}")
    display.note(f"  report   {page.write_report(out, comparisons=comparisons)}")
    for setting in sorted({run.setting for run in read_runs(out)}):
        if path := curves.plot_learning_curves(out, setting):
            display.note(f"  curves   {path}")


def fairness_in_words(out: Path) -> dict[str, str]:
    """By setting, how much of the gap between groups each strategy closes, and whom it overlooks; nothing without groups or of too few seeds."""
    runs, told = read_runs(out), {}
    for setting in sorted({run.setting for run in runs}):
        of_setting = [run for run in runs if run.setting == setting]
        assessment = kind_of(of_setting[0].rounds).assessment
        closed, found = closable.closable(of_setting, assessment), overlooked.overlooked(of_setting, assessment)
        sentences = []
        if closed and len(closed.seeds) >= FEWEST_SEEDS:
            sentences.append(closable.sentence(closed, assessment.title))
        if found and found.seeds >= FEWEST_SEEDS:
            sentences.append(overlooked.sentence(found))
        if sentences:
            told[setting] = " ".join(sentences)
    return told


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
    tasks = {(place, seed): source.task(seed) for place, source in enumerate(sources) for seed in seeds}
    for (place, _), task in tasks.items():
        check_method(sources[place].arguments.method, task.dataset.groups)
    if arguments.fresh and out.is_dir() and any(out.iterdir()) and hosts.is_leader():
        display.note(f"Set {out} aside as {set_aside(out)}.")
    if hosts.is_leader():
        settle_config(out / "config.json", tasks[0, seeds[0]], older_numbers=arguments.older_numbers)
        for name, text in (notes or {}).items():
            write_text(out / name, text)
    full, reporting = trains_full(arguments, out), _Reporting(out)
    runs = [(seed, place, name) for seed in seeds for place in range(len(sources)) for name in ([FULL] if full else []) + names]
    pieces = [
        Piece(out / sources[place].name / name_of_folder(name, sources[place]) / f"seed-{seed}", preset.rounds)
        for seed, place, name in runs
    ]

    for (seed, place, name), piece in zip(runs, pieces, strict=True):  # before the first of them takes hours
        if name != FULL:
            config = rounds_config(sources[place].arguments, preset)
            begun = open_run(piece.folder, name, config, tasks[place, seed], display)
            check_strategy(begun, begun.ledger.read())
    if hosts.is_leader():
        note_runs(out, pieces)

    def do(work: Work) -> None:
        seed, place, name = runs[work.number]
        if len(runs) > 1:
            display.note(f"[{work.number + 1} of {len(runs)}]")
        arguments_of_run = dataclasses.replace(sources[place].arguments, seed=seed)
        folder = pieces[work.number].folder
        run_strategy(name, folder, arguments_of_run, preset, tasks[place, seed], work, reporting)

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
        self._out, self._due = out, time.monotonic() + 30.0  # of a study of seconds the end will do

    def __call__(self) -> None:
        start = time.monotonic()
        if start >= self._due:
            terminal.write_summary(self._out)
            page.write_report(self._out, "Not all of the study is done.")
            self._due = time.monotonic() + 9 * (time.monotonic() - start)


def name_of_folder(name: str, source: Source) -> str:
    """What a strategy's folder among the results is called."""
    return source.full if name == FULL else named_strategy(name, source.arguments.kind.strategies).name


def run_strategy(
    name: str,
    folder: Path,
    arguments: StudyArguments,
    preset: Sizes,
    task: Task,
    work: Work,
    reporting: Callable[[], None],
) -> None:
    """Runs one strategy with one seed, from where its folder stands; `reporting` is called after each new round."""
    display = work.watcher
    splits, groups, config, kind = task.splits, task.dataset.groups, rounds_config(arguments, preset), task.kind
    if hosts.is_leader():
        _write_options(folder, arguments)
    strategy, sibling = name, _sibling_of(folder)
    if name == FULL:  # everything is labelled from the start, so one training is all there is
        task, config = task._replace(initial=splits.pool), dataclasses.replace(config, rounds=1)
        strategy, sibling = "random", None
    run_ = with_first_set(open_run(folder, strategy, config, task, display))
    start = Counter(case.group for case in run_.task.initial) if len(groups) > 1 and name != FULL else {}
    labelled = "; at the start " + ", ".join(f"{group} {start[group]}" for group in groups) + " are labelled" if start else ""
    display.note(
        f"{folder.parent.name}, {folder.parents[1].name}, seed {arguments.seed}: {len(splits.pool)} cases in the pool, {len(splits.evaluation)} for "
        f"evaluation, {len(splits.test)} for the test{labelled}; {' x '.join(map(str, task.dataset.shape))} {kind.elements}"
    )
    display.table_header(kind.assessment, groups)
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
