"""Which cases to label next, by probabilities that lie on disk: of anybody's network, trained with any framework.

    jaxal score --probabilities DIR --strategy bald entropy

DIR holds a folder a member (a network, a fold, a dropout sample) with one file a case (`jaxal/data/predictions.py` shows the layouts).
Files are only read, one case at a time.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxal.api import predictions as scoring
from jaxal.api.pool import Scores
from jaxal.arrays import key_of
from jaxal.cli import command
from jaxal.data.cases import file_fingerprint
from jaxal.data.groups import read_groups
from jaxal.data.predictions import Predictions, find_predictions, read_members
from jaxal.errors import UserError
from jaxal.files import lock, write_text
from jaxal.report import terminal
from jaxal.rounds.passes import stoppable
from jaxal.studies import option_types
from jaxal.types import Case


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Ranks cases by probability maps on disk: which of them to label next."""

    probabilities: tuple[Path, ...]
    """Folder of predictions: a folder a member in it, with CASE.npz, CASE.npy or CASE.nii.gz. Several folders are a member each."""
    strategy: option_types.strategies("power_bald,power_beta=2") = ("entropy",)  # type: ignore[valid-type]
    query_size: int = 10
    """Cases that are shown of each strategy's query."""
    participants: option_types.Place = None
    """Table of participants, tab-separated, with a column participant_id, for strategies that speak of groups."""
    group_column: str = "group"
    """Its column that names each case's group."""
    seed: int = 0
    """Of every draw."""
    out: option_types.Place = None
    """Folder for scores.csv. Default: a folder below runs/, named after the predictions'."""


def main(arguments: Arguments) -> int:
    """Scores; returns the exit status."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: terminal.Display) -> int:
    for name, value, least in (("query-size", arguments.query_size, 1), ("seed", arguments.seed, 0)):
        if value < least:
            raise UserError(f"--{name} is {value}; it must be at least {least}.")
    if not arguments.probabilities:
        raise UserError("--probabilities names no folder. `jaxal score --help` tells what it may hold.")
    predictions = find_predictions(arguments.probabilities)
    out = arguments.out or Path("runs") / f"probabilities-{arguments.probabilities[0].resolve().name}"
    for folder in arguments.probabilities:
        if folder.resolve() in (out.resolve(), *out.resolve().parents):
            raise UserError(f"--out {out}: lies among the predictions ({folder}), which are only read. Choose another folder.")
    groups = _groups(arguments, predictions)
    cases = [Case(id_, groups.get(id_, ""), files[0]) for id_, files in predictions.files.items()]
    kind = scoring.kind_of_prediction(next(read_members(predictions.files[cases[0].id])))
    chosen = scoring.chosen_strategies(arguments.strategy, kind)
    members = predictions.members
    display.note(f"{len(cases)} cases, {len(members)} member{'s' if len(members) > 1 else ''}: {', '.join(members)}")
    with lock(out):
        versions = {id_: f"{id_} {file_fingerprint(files)}" for id_, files in predictions.files.items()}
        keep = scoring.Keep(out / "scores", versions, arguments.seed)
        with display.progress("scoring") as progress:
            scores = scoring.score_predictions(
                cases,
                scoring.Predictions(kind, lambda name: read_members(predictions.files[name])),
                chosen,
                key=key_of(arguments.seed),
                keep=keep,
                progress=stoppable(progress, display),
            )
        _write(out / "scores.csv", cases, scores)
        keep.clear()
    display.note("Each strategy's query, best first:")
    for name in scores:
        query = [cases[place].id for place in scores.select(name, arguments.query_size)]
        display.note(f"  {name:<20} {' '.join(query)}")
    display.note(f"All scores: {out / 'scores.csv'}")
    return 0


def _groups(arguments: Arguments, predictions: Predictions) -> Mapping[str, str]:
    if arguments.participants is None:
        return {}
    groups = read_groups(arguments.participants, arguments.group_column)
    for case in predictions.files:
        if case not in groups:
            raise UserError(f"{arguments.participants}: does not list the case {case!r}, so it has no group.")
    return groups


def _write(path: Path, cases: list[Case], scores: Scores) -> None:
    """A row a case, a column a strategy, all digits that the numbers have."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "group", *scores])
    columns = [np.asarray(scores[name], np.float64) for name in scores]
    for place, case in enumerate(cases):
        writer.writerow([case.id, case.group, *(repr(float(column[place])) for column in columns)])
    write_text(path, text.getvalue())
