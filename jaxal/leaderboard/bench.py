"""Runs what the leaderboard still lacks, as one of any number of workers that share its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxal import claims
from jaxal.errors import UserError
from jaxal.leaderboard.board import BASELINE
from jaxal.leaderboard.outcomes import read_outcome
from jaxal.leaderboard.tasks import TASKS
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import OF_GROUPS, Table
from jaxal.training.trainer import Interrupted


class Piece(NamedTuple):
    """A run: one strategy on one task with one seed.

    Attributes:
      task: its name.
      strategy: as it was written.
      name: of the strategy's folder.
      seed: of everything.
    """

    task: str
    strategy: str
    name: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Where its files are."""
        return out / self.task / self.name / f"seed-{self.seed}"


def pieces_of(tasks: Sequence[str], strategies: Sequence[str], seeds: Sequence[int]) -> list[Piece]:
    """All runs, seed after seed, so that an early end leaves whole seeds; without strategies all that a task has.

    Raises:
      UserError: there is no such task, or none of the tasks has a strategy of that name.
    """
    for task in tasks:
        if task not in TASKS:
            raise UserError(f"There is no task {task!r}; there are {', '.join(TASKS)}.")
    everything = {name: make for task in tasks for name, make in TASKS[task].strategies.items()}
    asked = {name: named_strategy(name, everything).name for name in strategies}
    own = {_first_name(folder) for folder in asked.values()} - everything.keys()  # from users' files
    fitting = {name for task in tasks for name in _strategies_of(task)} | own
    for name, folder in asked.items():
        if _first_name(folder) not in fitting:
            raise UserError(f"{name} looks at groups of patients, and there are none in {', '.join(tasks)}.")
    pieces = []
    for seed in seeds:
        for task in tasks:
            known = _strategies_of(task)
            chosen = {name: folder for name, folder in asked.items() if _first_name(folder) in known.keys() | own}
            names = {BASELINE: BASELINE, **(chosen if asked else {name: name for name in known})}
            pieces += [Piece(task, name, folder, seed) for name, folder in names.items()]
    return pieces


def _first_name(strategy: str) -> str:
    return strategy.split("+")[0].split(",")[0]


def _strategies_of(task: str) -> Table:
    """All that a task's data have; where there are no groups, those that look at groups would be others' twins."""
    has_groups = TASKS[task].setting.groups > 1
    return {name: make for name, make in TASKS[task].strategies.items() if has_groups or name not in OF_GROUPS}


def work(pieces: Sequence[Piece], out: Path, display: Any) -> None:
    """Does what nobody has done and nobody does; what others work on is left to them.

    Raises:
      Interrupted: the display asked to stop.
    """
    for number, piece in enumerate(pieces):
        folder = piece.folder(out)
        if read_outcome(folder):
            continue
        claim = claims.take(out / ".claims" / piece.task / piece.name / f"seed-{piece.seed}")
        if claim is None:
            continue
        try:
            if display.should_stop():
                raise Interrupted
            if not read_outcome(folder):
                display.note(f"[{number + 1} of {len(pieces)}] {piece.task}: {piece.strategy}, seed {piece.seed}")
                TASKS[piece.task].run(folder, piece.strategy, piece.seed, display)
        finally:
            claim.release()
