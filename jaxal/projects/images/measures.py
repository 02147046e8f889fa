"""Whether networks name the class that readers chose, in the form in which Dice of scans is kept: a number for each class of each case."""

from collections.abc import Sequence

import numpy as np

from jaxal.projects.images.guesses import guess_of
from jaxal.projects.images.labels import of_classes
from jaxal.projects.kind import Size
from jaxal.projects.project import Project
from jaxal.projects.state import State


def right_or_wrong(project: Project, state: State, wanted: Sequence[tuple[str, int, str]]) -> np.ndarray:
    """Whether a round's network named the class of a version, `[how many, classes]`: 1 or 0 at that class, NaN elsewhere.

    So the mean over a row is whether it is right, and the mean over a column how many of a class are recognised.
    """
    rows = np.full((len(wanted), len(state.classes)), np.nan)
    for row, (id_, round_, version) in zip(rows, wanted, strict=True):
        truth = state.classes.index(str(state.cases[id_].version(version).category))
        row[truth] = float(_named(project, id_, round_) == truth)
    return rows


def same_or_other(project: Project, state: State, wanted: Sequence[tuple[str, int, int]]) -> np.ndarray:
    """Whether two rounds' networks name the same class, `[how many, classes]`; 0 at both classes where they do not."""
    count = len(state.classes)
    rows = [of_classes(_named(project, id_, before), _named(project, id_, after), count) for id_, before, after in wanted]
    return np.array(rows, np.float64).reshape(len(rows), count)


def _named(project: Project, id_: str, round_: int) -> int:
    guess = guess_of(project, id_, round_)
    assert guess is not None  # the caller has asked whether it is there
    return int(guess.argmax())


def no_sizes(project: Project, ids: Sequence[str], round_: int) -> dict[str, Size]:
    """Of an image as a whole nothing tells beforehand how long a reading takes."""
    return {}
