"""How far a study is that any number of workers share: who works on what, and when it will be done."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxal import claims
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.rounds.ledger import Ledger
from jaxal.studies.workers import CLAIMS, Piece, place_of

RUNS = "runs.json"  # in the folder of claims: the runs that were asked for, with their rounds


class Standing(NamedTuple):
    """A run.

    Attributes:
      name: SETTING/STRATEGY/seed-N.
      done, rounds: how many of its rounds are in the ledger, and how many it is to have.
      is_done: whether nothing is left to do, which may be before all rounds, when the pool is empty.
      holder: who works on it; None where nobody does.
      seconds: that a round of it took, the mean; None as long as there is none.
    """

    name: str
    done: int
    rounds: int
    is_done: bool
    holder: claims.Holder | None
    seconds: float | None


def note_runs(out: Path, pieces: Sequence[Piece]) -> None:
    """Writes down which runs were asked for, beside those that were before."""
    path = out / CLAIMS / RUNS
    known = _known(path)
    asked = {**known, **{piece.folder.relative_to(out).as_posix(): 1 if piece.is_full else piece.rounds for piece in pieces}}
    if asked != known:
        write_text(path, json.dumps(asked, indent=1) + "\n")


def standings(out: Path) -> list[Standing]:
    """Where all runs of a study stand.

    Raises:
      UserError: the folder holds no study.
    """
    asked = _known(out / CLAIMS / RUNS)
    for ledger in out.glob("*/*/seed-*/rounds.jsonl"):  # of versions that wrote no list, too
        asked.setdefault(ledger.parent.relative_to(out).as_posix(), len(Ledger(ledger).read_any()))
    if not asked:
        raise UserError(f"{out}: holds neither a project nor a study, so there is nothing to tell of.")
    return [_standing(out, name, rounds) for name, rounds in sorted(asked.items())]


def _standing(out: Path, name: str, rounds: int) -> Standing:
    piece = Piece(out / name, rounds)
    lines = Ledger(piece.folder / "rounds.jsonl").read_any()
    seconds = [sum(line.get("seconds", {}).values()) for line in lines]
    holder = claims.holder_of(place_of(out, piece))
    return Standing(name, len(lines), rounds, piece.is_done, holder, sum(seconds) / len(seconds) if seconds else None)


def in_words(out: Path, now: float) -> list[str]:
    """Lines for the terminal: how much is done and when all will be, then each run that somebody works on.

    Args:
      out: folder of the results.
      now: the present time, in seconds since 1970.
    """
    runs = standings(out)
    at_work, left = [run for run in runs if run.holder], [run for run in runs if not run.is_done]
    lines = [f"{out}: {len(runs) - len(left)} of {len(runs)} runs are done. {_when(runs, left, len(at_work))}"]
    for run in at_work:
        assert run.holder is not None
        minutes = max(now - run.holder.since, 0.0) / 60
        lines.append(
            f"  {run.name:<40} {run.done} of {run.rounds} rounds, {run.holder.host} (process {run.holder.process}), for {minutes:.0f} min"
        )
    return lines


def _when(runs: Sequence[Standing], left: Sequence[Standing], workers: int) -> str:
    if not left:
        return "Nothing is left to do."
    if not workers:
        return "Nobody works on the others; run the same command again, as often as there are machines."
    known = [run.seconds for run in runs if run.seconds is not None]
    who = f"{workers} worker{'s' if workers > 1 else ''} at work"
    if not known:
        return f"{who}; when all will be done is known after the first round."
    seconds = sum(known) / len(known) * sum(run.rounds - run.done for run in left) / workers
    return f"{who}; all done in about {_duration(seconds)}."


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _known(path: Path) -> dict[str, int]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): int(rounds) for name, rounds in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}
