"""`jaxal bench`: the leaderboard of strategies on tasks that need no download."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxal.cli import command
from jaxal.errors import UserError
from jaxal.leaderboard import bench, page
from jaxal.leaderboard.tasks import CHEAP
from jaxal.report.terminal import Display


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Tries strategies on tasks that need no download, and writes a leaderboard."""

    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = CHEAP
    """What to try them on. Default: the cheap ones."""
    strategies: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ()
    """Which, perhaps with options or rules behind them; random is always among them. Default: all that a task's data have."""
    seeds: int = 10
    """How often everything is repeated."""
    seed: int = 100
    """The first seed. Smaller ones were looked at when the tasks were settled."""
    out: Path = Path("runs/leaderboard")
    """Where results go; several of these commands may share it."""
    show: bool = False
    """Write the pages of what is there, and try nothing."""


def main(arguments: Arguments) -> int:
    """Runs what is missing and writes the pages; returns the exit status."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: Display) -> int:
    if arguments.seeds < 1 or arguments.seed < 0:
        raise UserError("--seeds is at least 1, and --seed at least 0.")
    pieces = bench.pieces_of(arguments.tasks, arguments.strategies, range(arguments.seed, arguments.seed + arguments.seeds))
    if not arguments.show:
        bench.work(pieces, arguments.out, display)
    elif not arguments.out.is_dir():
        raise UserError(f"{arguments.out}: no such folder. `jaxal bench` without --show makes one.")
    found, written = page.write(arguments.out)
    display.note("\n".join([found, *(f"  {path}" for path in written)]))
    return 0
