"""Pieces of work that many processes share by files alone: whoever makes a file first has the piece.

A claim is a numbered file in a folder of the piece, made so that only one can (O_EXCL, which network disks keep, too). Its holder touches it,
and puts another file beside it when the work is over. One that is over, or that nobody has touched for long, is free: whoever makes the file of
the next number has the piece from then on. Numbers only rise, so a holder that was asleep finds out that others have gone on. Ages are
differences between times that the disk gave, so that machines' clocks do not matter. A holder that is dead on this very machine is
known to be, and nobody waits for it.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.files import writing

STALE_SECONDS = 600.0  # that nobody has touched a claim, after which it is free
TOUCHES = 10  # within that time
_DIGITS = 6


class Holder(NamedTuple):
    """Who holds a claim.

    Attributes:
      host, process: where.
      machine: tells this boot of this machine, and this space of process numbers, from others; empty where the system does not say.
      began: when the process began, as the system counts it, because numbers of processes are used again.
      since: when the claim was made, in seconds since 1970 by the holder's clock; for people.
    """

    host: str
    process: int
    machine: str
    began: str
    since: float

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to be gone; False where nobody can tell from here."""
        me = myself()
        if not me.machine or (self.host, self.machine) != (me.host, me.machine):
            return False
        return _began(self.process) != self.began


class Claim:
    """A piece of work that this process holds until it is released.

    Args:
      folder: of the piece.
      number: of the claim.
      stale_seconds: after which others may take it if it is not touched.
    """

    def __init__(self, folder: Path, number: int, stale_seconds: float):
        self._folder, self._path, self._number = folder, _path(folder, number), number
        self._over, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, args=(stale_seconds / TOUCHES,), daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether somebody else has the piece, because this process did not touch its claim for too long; it must stop its work."""
        return self._lost.is_set() or self._is_taken()

    def release(self) -> None:
        """Lets others have the piece."""
        self._over.set()
        self._thread.join()
        with contextlib.suppress(OSError):  # of a disk that is away it will be stale
            _over(self._path).touch()

    def _keep(self, seconds: float) -> None:
        while not self._over.wait(seconds):
            if self._is_taken():
                self._lost.set()
                return
            with contextlib.suppress(OSError):  # a disk that is away for a moment; what counts is whether others saw it stale
                try:
                    os.utime(self._path)
                except FileNotFoundError:  # a disk that lost it
                    _make(self._path)

    def _is_taken(self) -> bool:
        return _newest(self._folder) > self._number


def take(folder: Path, stale_seconds: float = STALE_SECONDS) -> Claim | None:
    """Takes a piece of work; None where somebody else has it.

    Args:
      folder: of the piece; it is made.
      stale_seconds: see `Claim`.

    Raises:
      UserError: the folder cannot be written to.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        newest = _newest(folder)
        if newest and not _is_free(folder, newest, stale_seconds):
            return None
        try:
            _make(_path(folder, newest + 1))
        except FileExistsError:  # somebody was faster
            return None
    for path in (_path(folder, newest), _over(_path(folder, newest))):
        with contextlib.suppress(OSError):  # the highest number is all that counts
            path.unlink(missing_ok=True)
    return Claim(folder, newest + 1, stale_seconds)


def holder_of(folder: Path, stale_seconds: float = STALE_SECONDS) -> Holder | None:
    """Who holds a piece of work; None where nobody does."""
    newest = _newest(folder)
    if not newest or _is_free(folder, newest, stale_seconds):
        return None
    return _read(_path(folder, newest))


@contextlib.contextmanager
def alone(
    folder: Path, stale_seconds: float = STALE_SECONDS, wait: Callable[[float], object] = time.sleep, poll_seconds: float = 0.5
) -> Iterator[None]:
    """Holds a piece of work, waiting until nobody else does.

    Args:
      folder: of the piece.
      stale_seconds: see `Claim`.
      wait: is called with seconds to wait; may raise to end it.
      poll_seconds: between two looks.
    """
    while (claim := take(folder, stale_seconds)) is None:
        wait(poll_seconds)
    try:
        yield
    finally:
        claim.release()


def myself() -> Holder:
    """This process."""
    process = os.getpid()
    return Holder(socket.gethostname(), process, _machine(), _began(process), time.time())


def _is_free(folder: Path, number: int, stale_seconds: float) -> bool:
    path = _path(folder, number)
    holder = _read(path)
    if _over(path).exists():
        return True
    if holder is not None and holder.is_dead:
        return True
    try:
        return _now(folder) - path.stat().st_mtime > stale_seconds
    except FileNotFoundError:  # a disk that lost it; its holder makes it anew
        return False


def _now(folder: Path) -> float:
    """The present as the disk has it, which gives files their times."""
    probe = folder / f".{uuid.uuid4().hex}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _newest(folder: Path) -> int:
    try:
        return max((int(name) for name in os.listdir(folder) if name.isdigit()), default=0)
    except FileNotFoundError:
        return 0


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:0{_DIGITS}d}"


def _over(path: Path) -> Path:
    return path.with_name(f"{path.name}.over")


def _make(path: Path) -> None:
    """Makes a claim.

    Raises:
      FileExistsError: somebody has.
    """
    with path.open("x") as file:
        file.write(json.dumps(myself()._asdict()))
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Holder | None:
    """A claim's holder; None while it is being written, or where it is damaged."""
    try:
        stored: Any = json.loads(path.read_text())
        return Holder(**stored)
    except (OSError, ValueError, TypeError):
        return None


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(process: int) -> str:
    """When a process began; empty where there is none, where it has ended and nobody has asked how, or where the system does not say."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    except (OSError, IndexError):
        return ""
