"""What networks take images for: probabilities by round, in `rounds/003/guesses.json`, written once and never again."""

import functools
import json
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from jaxal.files import write_text
from jaxal.projects.kind import Guessing, Progress
from jaxal.projects.project import Project
from jaxal.scoring.members import predict
from jaxal.types import Params

NAME = "guesses.json"


def write_guesses(
    project: Project, guessing: Guessing, params: Params, ids: Collection[str], asked: Collection[str], progress: Progress
) -> None:
    """Writes what a round's network makes of cases; what is there is not written again. See `Kind.propose`."""
    path, task = project.round_folder(guessing.number) / NAME, guessing.task
    everything, guesses = sorted(set(ids)), dict(_read(path))
    for done, id_ in enumerate(everything):
        progress(done, len(everything))
        if id_ not in guesses:
            probability = predict(task.kind, task.model, params, task.load(guessing.cases[id_])).probability
            guesses[id_] = [float(f"{value:.6g}") for value in probability]
    write_text(path, json.dumps(guesses, ensure_ascii=False) + "\n")
    progress(len(everything), len(everything))


def guess_of(project: Project, id_: str, round_: int) -> np.ndarray | None:
    """Probabilities of the classes that there were, `[classes]`; None where the round's network was not asked."""
    guess = _read(project.round_folder(round_) / NAME).get(id_)
    return None if guess is None else np.array(guess)


def is_proposed(project: Project, id_: str, round_: int) -> bool:
    """Whether a guess is there."""
    return guess_of(project, id_, round_) is not None


def _read(path: Path) -> dict[str, Sequence[float]]:
    try:
        return _parsed(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, mtime_ns: int) -> dict[str, Sequence[float]]:
    """A round's guesses, kept as long as the file is the same: pages ask for each of a hundred by itself."""
    return dict(json.loads(path.read_text(encoding="utf-8")))
