"""The runs of a study shared by any number of workers, each of which is the same command, started anywhere that sees the folder.

A worker takes the next run that nobody has and that is not done. Runs of a seed share the first network, which no strategy has touched
yet; so of a seed whose first network is not there yet only one worker has a run at a time. Who finds nothing to take waits, because
a worker that dies leaves its run to the others.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from jaxal import claims, hosts
from jaxal.errors import UserError
from jaxal.report.terminal import Display
from jaxal.rounds.ledger import FULL, Ledger
from jaxal.rounds.passes import stoppable
from jaxal.rounds.protocol import asked_units
from jaxal.training.trainer import Interrupted
from jaxal.types import Watcher

Progress = Callable[[int, int], None]
POLL_SECONDS = 1.0  # between two looks at what others have
CLAIMS = ".claims"  # folder of claims, in that of the results
SUMMARISED = "summarised"  # file there, whose time is that of the last summary


class Piece(NamedTuple):
    """A run of a study.

    Attributes:
      folder: SETTING/STRATEGY/seed-N below the results.
      rounds: that it is to have.
    """

    folder: Path
    rounds: int

    @property
    def is_full(self) -> bool:
        """Whether it is the training on everything, which has no network in common with others."""
        return self.folder.parent.name == FULL

    @property
    def is_done(self) -> bool:
        """Whether all of its rounds are in the ledger, or nothing is left to ask for."""
        done, is_exhausted = _stands(self.folder / "rounds.jsonl")
        return done >= (1 if self.is_full else self.rounds) or is_exhausted

    @property
    def has_begun(self) -> bool:
        """Whether its first round is in the ledger."""
        return _stands(self.folder / "rounds.jsonl")[0] > 0


class Work(NamedTuple):
    """A run that this worker has.

    Attributes:
      number: of the run, from 0.
      watcher: is told how far the work is, and ends it, too, when the run is lost to somebody else.
      begun: is to be called when the first round is in the ledger, so that others go on from its network.
    """

    number: int
    watcher: Any
    begun: Callable[[], None]


class _Watched:
    """A display that also asks for an end when the claim is lost; all else is the display's."""

    def __init__(self, display: Display, held: Sequence[claims.Claim]):
        self._display, self._held = display, held

    def should_stop(self) -> bool:
        return self._display.should_stop() or self.is_lost

    @property
    def is_lost(self) -> bool:
        return any(claim.is_lost for claim in self._held)

    def progress(self, what: str) -> AbstractContextManager[Callable[[int, int], None]]:
        return self._display.progress(what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._display, name)


class RunClaims(NamedTuple):
    """The claims of a run: on itself, and on the first network of its seed, where that is not there yet."""

    run: claims.Claim
    first: claims.Claim | None


def shared(pieces: Sequence[Piece], out: Path, stale_seconds: float, display: Display, work: Callable[[Work], None]) -> bool:
    """Works on runs until all of them are done, by this worker or by others.

    Args:
      pieces: all runs, in the order in which they are best taken.
      out: folder of the results.
      stale_seconds: that a worker may be silent before others take its run.
      display: is told how far the work is.
      work: does a run.

    Returns:
      Whether others worked here, too.

    Raises:
      Interrupted: the display asked to stop.
    """
    others, told = False, False
    before = {number for number, piece in enumerate(pieces) if piece.is_done}  # each of them is shown, as it always was
    shown: set[int] = set()
    while True:
        # Several hosts are one worker: the leader claims, and tells the others what.
        number, held = _take(pieces, out, stale_seconds, before - shown) if hosts.is_leader() else (None, None)
        number, is_over = hosts.share_json([number, number is None and all(piece.is_done for piece in pieces)])
        if number is None:
            others |= any(number not in shown for number in range(len(pieces)))
            if is_over:
                return others
            if not told:
                display.note("Others work on all that is left; this worker waits, in case one of them ends early.")
                told = True
            _pause(display)
            continue
        told = False
        shown.add(number)
        others |= not _do(number, held, display, work)


def _stands(ledger: Path) -> tuple[int, bool]:
    """How many rounds a ledger has, and whether nothing was left to ask for at the end."""
    try:
        stat = ledger.stat()
    except FileNotFoundError:
        return 0, False
    return _counted(ledger, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _counted(ledger: Path, size: int, mtime_ns: int) -> tuple[int, bool]:
    """Kept as long as the file is the same: ledgers hold megabytes, and all are looked at between two runs."""
    lines = Ledger(ledger).read_any()
    return len(lines), bool(lines and not asked_units(lines[-1]))


def _do(number: int, held: RunClaims | None, display: Display, work: Callable[[Work], None]) -> bool:
    """Does a run; returns whether it was not lost to somebody else."""
    if held is None:  # it is done, and only shown; or the leader of several hosts holds it
        work(Work(number, display, lambda: None))
        return True
    watched = _Watched(display, [held.run])

    def begun() -> None:
        if held.first is not None:
            held.first.release()

    try:
        work(Work(number, watched, begun))
    except Interrupted:
        if display.should_stop() or not watched.is_lost:
            raise
        display.note("Another worker has taken this run over, because nothing was heard of this one for long.")
        return False
    finally:
        begun()
        held.run.release()
    return True


def _take(pieces: Sequence[Piece], out: Path, stale_seconds: float, to_show: set[int]) -> tuple[int | None, RunClaims | None]:
    """The next run for this worker: one that was done before and is to be shown, or one that it could claim."""
    for number, piece in enumerate(pieces):
        if number in to_show:
            return number, None
        if piece.is_done:
            continue
        first = None
        if not piece.is_full and not _has_first(piece, pieces):
            first = claims.take(_place(out, "first", piece.folder.parents[1].name, piece.folder.name), stale_seconds)
            if first is None:
                continue
        run = claims.take(place_of(out, piece), stale_seconds)
        if run is not None and not piece.is_done:
            return number, RunClaims(run, first)
        for claim in (run, first):
            if claim is not None:
                claim.release()
    return None, None


def _has_first(piece: Piece, pieces: Sequence[Piece]) -> bool:
    """Whether some run of the same setting and seed has its first network."""
    alike = [
        other
        for other in pieces
        if not other.is_full and other.folder.name == piece.folder.name and other.folder.parents[1] == piece.folder.parents[1]
    ]
    return any(other.has_begun for other in alike)


def place_of(out: Path, piece: Piece) -> Path:
    """The folder of a run's claims."""
    return _place(out, "runs", *piece.folder.relative_to(out).parts)


def _place(out: Path, *parts: str) -> Path:
    return out / CLAIMS / Path(*parts)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a run that is looked at again.

    Raises:
      UserError: somebody works on it.
    """
    folder = folder.resolve()
    claim = claims.take(place_of(folder.parents[2], Piece(folder, 0)))
    if claim is None:
        raise UserError(f"{folder}: somebody works on this run. Wait until that has ended.")
    try:
        yield
    finally:
        claim.release()


def is_summarised(out: Path, pieces: Sequence[Piece]) -> bool:
    """Whether a summary was written since the last round of these runs was."""
    ledgers = [ledger for piece in pieces if (ledger := piece.folder / "rounds.jsonl").is_file()]
    mark = out / CLAIMS / SUMMARISED
    return mark.is_file() and all(mark.stat().st_mtime_ns > ledger.stat().st_mtime_ns for ledger in ledgers)


@contextlib.contextmanager
def alone(folder: Path, watcher: Watcher) -> Iterator[None]:
    """Prepares something that workers share, waiting until nobody else does, so that it is made once."""

    def wait(seconds: float) -> None:
        if watcher.should_stop():
            raise Interrupted
        time.sleep(seconds)

    with claims.alone(folder / CLAIMS / "making", wait=wait):
        yield


def made_once(folder: Path, make: Callable[[Progress], str], display: Display, what: str) -> None:
    """Makes a folder that is not there yet, by one of the workers and the leader of its hosts; the others wait for its files.

    Args:
      folder: appears only when it is complete, which `make` sees to.
      make: makes it, tells how far it is, and returns a sentence for people.
      display: where to show things.
      what: is being done.
    """
    if hosts.is_leader() and not folder.is_dir():
        with alone(folder.parent, display):
            if not folder.is_dir():
                with display.progress(what) as progress:
                    told = make(stoppable(progress, display))
                display.note(told)
    hosts.share_json(None)


def _pause(watcher: Watcher) -> None:
    end = time.monotonic() + POLL_SECONDS
    while time.monotonic() < end:
        if watcher.should_stop():
            raise Interrupted
        time.sleep(0.1)
