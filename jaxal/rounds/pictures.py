"""Pictures of queried cases, beside the ledger."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxal.data.parts import part_of, read_unit
from jaxal.files import writing
from jaxal.rounds.pseudo_labels import threshold
from jaxal.rounds.setup import Run, scoring_model
from jaxal.rounds.state import State
from jaxal.scoring.members import predict
from jaxal.task_kind import Sight
from jaxal.types import Example, Params, Part

PICTURES_A_ROUND = 12  # of the queried cases, best first


def picture_path(run: Path, round_: int, id_: str) -> Path:
    """Where the picture of a unit that a round queried lies in the run's folder; an id may be a path itself."""
    return run / "pictures" / f"round-{round_:03d}" / f"{id_.replace('/', '__')}.webp"


def draw_queried(run: Run, state: State, units: Sequence[str], params: Params) -> None:
    """Draws the first units of a query, with their labels where somebody gave them already; `params` are those that score."""
    task, known = run.task, run.labels.ask(units[:PICTURES_A_ROUND])
    for name in units[:PICTURES_A_ROUND]:
        unit = read_unit(name, run.cases)
        assert unit
        case = unit.case._replace(label=known.get(name))
        example = task.load(case)
        pixels = task.pixels(case) if task.pixels else None
        predict_case = functools.partial(_probability, run, params, example)
        sure = threshold(run, state.round) if task.kind.in_parts else 0.0
        sight = Sight(example, pixels, predict_case, task.dataset.spacing_mm, _parts_around(name, units), sure)
        picture = task.kind.picture(sight)
        if picture:
            _write_picture(picture_path(run.folder, state.round, name), picture)


def _probability(run: Run, params: Params, example: Example) -> np.ndarray:
    return predict(run.task.kind, scoring_model(run), params, example).probability


def _parts_around(name: str, units: Sequence[str]) -> list[Part]:
    """The part that a unit is of its case, and then the others of the case; nothing where all of the case is asked for."""
    own, *others = map(part_of, (name, *(other for other in units if other != name)))
    return [own[1], *(other[1] for other in others if other and other[0] == own[0])] if own else []


def _write_picture(path: Path, content: bytes) -> None:
    """Writes aside and renames; a picture is drawn again if it is lost, so it need not be durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.tmp")
    with writing(path):
        aside.write_bytes(content)
        aside.replace(path)
