"""A run looked at again: its pool scored by other strategies (`--score-only`), every case predicted (`--predict-only`)."""

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from jaxal import hosts
from jaxal.errors import UserError
from jaxal.report import terminal
from jaxal.report.advice import Setting, advice, kind_of, read_evidence
from jaxal.rounds import prediction, rescoring
from jaxal.rounds.first_set import with_first_set
from jaxal.rounds.ledger import FULL, Ledger
from jaxal.rounds.passes import stoppable
from jaxal.rounds.setup import Run, Task, open_run
from jaxal.rounds.state import last_finished
from jaxal.scoring.journal import Journal
from jaxal.studies import common_options, study
from jaxal.studies.configuration import settle_config
from jaxal.studies.workers import held

A = TypeVar("A", bound=common_options.StudyArguments)
AS_IT_WAS = "Only with the data and the version that it was made with can the run be used again."


def is_asked_for(arguments: common_options.StudyArguments) -> bool:
    return bool(arguments.score_only or arguments.predict_only)


def run_or_study(
    arguments: common_options.StudyArguments,
    preset: common_options.Sizes,
    sources: Sequence[study.Source],
    out: Path,
    display: terminal.Display,
    notes: Mapping[str, str] | None = None,
) -> int:
    """Looks at a run again if that is asked for, and runs the study otherwise; returns the exit status."""
    if is_asked_for(arguments):
        return run(arguments, preset, sources[0], display)
    evidence = read_evidence()
    if evidence and (told := advice(_setting(preset, sources[0].task(arguments.seed)), evidence)):
        display.note(told)
    return study.run(arguments, preset, sources, out, display, notes)


def _setting(preset: common_options.Sizes, task: Task) -> Setting:
    """A study's numbers, for whom the leaderboard is asked."""
    start, dataset = len(task.initial), task.dataset
    end = start + preset.query_size * (preset.rounds - 1)
    kind = kind_of(task.kind.name, task.kind.in_parts)
    return Setting(kind, max(len(dataset.classes), 1), len(task.splits.pool), start, end, len(dataset.groups))


def with_options_of_run(arguments: A) -> A:
    """The options that the run was made with, in place of the command's."""
    if arguments.score_only and arguments.predict_only:
        raise UserError("--score-only and --predict-only are two commands; give one of them.")
    folder = arguments.score_only or arguments.predict_only
    assert folder is not None
    path = folder / "options.json"
    if arguments.score_only and folder.resolve().parent.name == FULL:
        raise UserError(f"{folder}: was trained on the whole pool, so nothing is left to score.")
    if not path.is_file():
        raise UserError(f"{folder}: holds no options.json. It takes the folder of one run, …/STRATEGY/seed-N.")
    try:
        options = json.loads(path.read_text())
        values: dict[str, Any] = {"seed": options["seed"]}
        for field in dataclasses.fields(arguments):
            # Where data lies may change, because its content is compared.
            moved = field.name == "data" and getattr(arguments, "data", None) is not None
            if field.name in options and field.name not in common_options.NOT_OF_THE_RUN and not moved:
                value = options[field.name]
                if isinstance(value, list):
                    value = tuple(value)
                if not _fits(value, field.type):
                    raise ValueError(f"{field.name} is {json.dumps(options[field.name])}")
                values[field.name] = Path(value) if value is not None and "Path" in str(field.type) else value
        if not _fits(options["seed"], int):
            raise ValueError(f"seed is {json.dumps(options['seed'])}")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the options of a run ({error}). Restore the file.") from error
    return dataclasses.replace(arguments, **values)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value that was read from JSON, lists of it made tuples, is of the type of an option."""
    form, parts = get_origin(kind), get_args(kind)
    if form is Annotated:
        return _fits(value, parts[0])
    if form is Literal:
        return value in parts
    if form in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if form is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    if kind in (bool, str, Path):
        return isinstance(value, str if kind is Path else kind)
    return value is None if kind in (None, type(None)) else True


def run(
    arguments: common_options.StudyArguments, preset: common_options.Sizes, source: study.Source, display: terminal.Display
) -> int:
    """Scores the pool of the run that was asked for, or predicts all of its cases; returns the exit status."""
    return (_score if arguments.score_only else _predict)(arguments, preset, source, display)


def _open(
    folder: Path, arguments: common_options.StudyArguments, preset: common_options.Sizes, task: Task, display: terminal.Display
) -> Run:
    """The run in a folder, made sure of that it was made with this data and these settings."""
    settle_config(folder.resolve().parents[2] / "config.json", task, AS_IT_WAS, older_numbers=True)
    name, lines = folder.resolve().parent.name, Ledger(folder / "rounds.jsonl").read()
    if name.split(",")[0] not in task.kind.strategies:  # a user's own or none: it chose, but the networks are the study's
        name = "random"
        if lines and "auxiliary" in lines[-1].get("strategy", {}):
            raise UserError(
                f"{folder}: its networks have an auxiliary head of a strategy of your own, which is not kept for looking at a run again."
            )
    run = open_run(folder, name, common_options.rounds_config(arguments, preset), task, display)
    return with_first_set(run)


def _score(
    arguments: common_options.StudyArguments, preset: common_options.Sizes, source: study.Source, display: terminal.Display
) -> int:
    """Scores the pool of the run that `arguments.score_only` names; returns the exit status."""
    folder = arguments.score_only
    assert folder is not None
    with held(folder) if hosts.is_leader() else contextlib.nullcontext():
        run = _open(folder, arguments, preset, source.task(arguments.seed), display)
        scores = rescoring.score_round(run, list(dict.fromkeys(arguments.strategy)))
        if hosts.is_leader():
            rescoring.write_scores(folder / "scores.csv", scores)
            Journal(run.folder / "scores").clear()
    display.note(f"Round {scores.round}: {len(scores.pool)} cases without a label. Each strategy's query, best first:")
    for name, query in scores.queries.items():
        display.note(f"  {name:<20} {' '.join(query.units)}")
    display.note(f"All scores: {folder / 'scores.csv'}")
    return 0


def _predict(
    arguments: common_options.StudyArguments, preset: common_options.Sizes, source: study.Source, display: terminal.Display
) -> int:
    """Predicts every case by the run that `arguments.predict_only` names; returns the exit status."""
    folder = arguments.predict_only
    assert folder is not None
    task = source.task(arguments.seed)
    if folder.resolve().parent.name == FULL:
        task = task._replace(initial=task.splits.pool)
    if not hosts.is_leader():
        last_finished(_open(folder, arguments, preset, task, display))
        return 0
    with held(folder):
        run = _open(folder, arguments, preset, task, display)
        new = _new_cases(arguments, source, display)
        with display.progress("predicting") as progress:
            if new:
                lines = prediction.predict_new(run, new, _folder_of_new(arguments), stoppable(progress, display))
            else:
                lines = prediction.predict_round(run, stoppable(progress, display))
    display.note("\n".join(lines))
    return 0


def _new_cases(
    arguments: common_options.StudyArguments, source: study.Source, display: terminal.Display
) -> prediction.NewCases | None:
    """The cases of `arguments.new`, ready for the run's network; None where there are none to predict."""
    if arguments.new is None:
        return None
    if source.read_new is None:
        raise UserError(f"--new {arguments.new}: the cases of this study come with a library, so there are no others like them.")
    folder, out = arguments.new.resolve(), _folder_of_new(arguments).resolve()
    if folder in (out, *out.parents):
        raise UserError(f"{out}: lies among the scans ({folder}), which are only read. Choose another --out.")

    return source.read_new(arguments.new, display)


def _folder_of_new(arguments: common_options.StudyArguments) -> Path:
    assert arguments.new is not None and arguments.predict_only is not None
    new = arguments.new.resolve()
    return arguments.new_out or arguments.predict_only / "new" / (new.stem if new.is_file() else new.name)
