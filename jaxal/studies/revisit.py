"""A run looked at again: its pool scored by other strategies (`--score-only`), every case predicted (`--predict-only`)."""

import contextlib
import dataclasses
import json
from pathlib import Path

from jaxal import hosts
from jaxal.errors import UserError
from jaxal.report import terminal as report
from jaxal.rounds import loop, rescoring
from jaxal.rounds.checkpoint import lock
from jaxal.rounds.record import FULL
from jaxal.scoring.journal import Journal
from jaxal.studies import study

AS_IT_WAS = "Only with the data and the version that it was made with can the run be used again."


def is_asked_for(arguments: study.StudyArguments) -> bool:
    return bool(arguments.score_only or arguments.predict_only)


def with_options_of_run(arguments: study.StudyArguments) -> study.StudyArguments:
    """The options that the run was made with, in place of the command's."""
    if arguments.score_only and arguments.predict_only:
        raise UserError("--score-only and --predict-only are two commands; give one of them.")
    option = "--score-only" if arguments.score_only else "--predict-only"
    folder = arguments.score_only or arguments.predict_only
    path = folder / "options.json"
    if arguments.score_only and folder.resolve().parent.name == FULL:
        raise UserError(f"{option} {folder}: was trained on the whole pool, so nothing is left to score.")
    if not path.is_file():
        raise UserError(f"{option} {folder}: holds no options.json. It takes the folder of one run, …/STRATEGY/seed-N.")
    try:
        options = json.loads(path.read_text())
        values = {"seed": options["seed"]}
        for field in dataclasses.fields(arguments):
            moved = field.name == "data" and arguments.data is not None  # its content is compared, wherever it lies
            if field.name in options and field.name not in study.NOT_OF_THE_RUN and not moved:
                value = options[field.name]
                if isinstance(value, list):
                    value = tuple(value)
                values[field.name] = Path(value) if value is not None and "Path" in str(field.type) else value
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the options of a run ({error}). Restore the file.") from error
    return dataclasses.replace(arguments, **values)


def run(arguments: study.StudyArguments, preset: study.Sizes, source: study.Source, display: report.Display) -> int:
    """Scores the pool of the run that was asked for, or predicts all of its cases; returns the exit status."""
    return (_score if arguments.score_only else _predict)(arguments, preset, source, display)


def _score(arguments: study.StudyArguments, preset: study.Sizes, source: study.Source, display: report.Display) -> int:
    """Scores the pool of the run that `arguments.score_only` names; returns the exit status."""
    folder = arguments.score_only
    task = source.task(arguments.seed)
    out = folder.resolve().parents[2]
    with lock(out) if hosts.is_leader() else contextlib.nullcontext():
        study.settle_config(out / "config.json", task.settings, AS_IT_WAS)
        names = list(dict.fromkeys(arguments.strategy))
        journal = Journal(folder / "scores", task.config_hash, hosts.index())
        found = rescoring.score_round(folder, names, study.loop_config(arguments, preset), task, journal, display)
        if hosts.is_leader():
            rescoring.write_scores(folder / "scores.csv", found)
            journal.clear()
    display.note(f"Round {found.round}: {len(found.pool)} cases without a label. Each strategy's query, best first:")
    for name, query in found.queries.items():
        display.note(f"  {name:<20} {' '.join(query.units)}")
    display.note(f"All scores: {folder / 'scores.csv'}")
    return 0


def _predict(arguments: study.StudyArguments, preset: study.Sizes, source: study.Source, display: report.Display) -> int:
    """Predicts every case by the run that `arguments.predict_only` names; returns the exit status."""
    folder = arguments.predict_only
    task = source.task(arguments.seed)
    if folder.resolve().parent.name == FULL:
        task = task._replace(initial=task.splits.pool)
    out = folder.resolve().parents[2]
    if not hosts.is_leader():
        loop.last_round(folder, task)
        return 0
    with lock(out):
        study.settle_config(out / "config.json", task.settings, AS_IT_WAS)
        with display.progress("predicting") as progress:
            lines = source.predict(folder, study.loop_config(arguments, preset), task, study.stoppable(progress, display))
    display.note("\n".join(lines))
    return 0
