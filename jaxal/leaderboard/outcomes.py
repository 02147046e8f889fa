"""What a run of the leaderboard came to, as a file in its folder."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.errors import UserError
from jaxal.files import write_text

OUTCOME = "outcome.json"
OTHER_FOLDER = "Choose another --out, or remove that folder: its runs are done again."


class Outcome(NamedTuple):
    """What a strategy came to on a task with one seed.

    Attributes:
      area: mean height of the learning curve, of the task's measure; NaN where there is none.
      milliseconds: to score and select, the median of the queries but the first.
      trouble: why there is no curve; empty where there is one.
      is_refused: whether the strategy does not fit the task, which is no failure.
    """

    area: float
    milliseconds: float
    trouble: str = ""
    is_refused: bool = False


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Ends a run."""
    known = {name: value for name, value in outcome._asdict().items() if not (isinstance(value, float) and np.isnan(value))}
    write_text(folder / OUTCOME, json.dumps(known) + "\n")


def read_outcome(folder: Path) -> Outcome | None:
    """What a run came to; None where it is not over.

    Raises:
      UserError: the file holds something else.
    """
    path = folder / OUTCOME
    if not path.is_file():
        return None
    try:
        return Outcome(**{"area": np.nan, "milliseconds": np.nan, **json.loads(path.read_text())})
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path}: not what a run of the leaderboard came to. Remove the file, and the run is done again."
        ) from error
