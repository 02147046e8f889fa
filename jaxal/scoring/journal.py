"""Results of single cases, kept as they come, so that a killed pass goes on where it was.

SQLite (in Python's standard library) does the writing: what was committed survives a kill at any moment. A power cut may tear
the file; then, and when it is no database at all, it is set aside and its cases are scored again.
"""

import contextlib
import math
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from jaxal.errors import UserError

_CREATE = "CREATE TABLE IF NOT EXISTS results (pass TEXT, unit TEXT, data BLOB, checksum INTEGER, PRIMARY KEY (pass, unit))"


@contextlib.contextmanager
def _unless_damaged(path: Path) -> Iterator[None]:
    """Leaves out a damaged file, whose cases are scored again, but not one that another process holds.

    Raises:
      UserError: it is held.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise UserError(f"{path}: {error}. End the other process, or wait for it, and run the same command again.") from error


class Journal:
    """Results by pass and unit.

    Args:
      folder: made if it is not there; every writer has a file of its own in it, and all are read.
      identity: of what decides results and is not seen by the pass itself, such as the network's configuration.
      writer: number of this process among those that write at the same time.
    """

    def __init__(self, folder: Path, identity: str = "", writer: int = 0):
        self.folder, self.identity = folder, identity
        self._path = folder / f"results-{writer}.sqlite"

    def read(self, pass_: str) -> dict[str, bytes]:
        """What was kept of a pass, by unit; rows whose checksum is wrong are left out."""
        kept: dict[str, bytes] = {}
        for path in sorted(self.folder.glob("results-*.sqlite")):
            with _unless_damaged(path), contextlib.closing(sqlite3.connect(path)) as connection:
                for unit, data, checksum in connection.execute(
                    "SELECT unit, data, checksum FROM results WHERE pass = ?", (pass_,)
                ):
                    if zlib.crc32(data) == checksum:
                        kept[unit] = data
        return kept

    def write(self, pass_: str, results: Iterable[tuple[str, bytes]]) -> None:
        """Keeps results of units, all of them or none.

        Raises:
          UserError: the disk is full, or the folder cannot be written to.
        """
        rows = [(pass_, unit, data, zlib.crc32(data)) for unit, data in results]
        try:
            self._insert(rows)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # a full disk, a missing permission
                raise UserError(
                    f"{self._path}: could not be written ({error}). Free some space and run the same command again."
                ) from error
            self._path.rename(self._path.with_suffix(".damaged"))
            self._insert(rows)

    def _insert(self, rows: list[tuple[str, str, bytes, int]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute(
                "PRAGMA synchronous = OFF"
            )  # against a kill no flush is needed; a flush a batch would cost more than it saves
            connection.execute(_CREATE)
            connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", rows)

    def clear(self) -> None:
        """Forgets everything: the work that it was kept for is done."""
        for path in self.folder.glob("results-*.sqlite*"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class Keeping:
    """Writes results in a thread of its own, some times a second, because the device must not wait for the disk; a context, at whose end all
    is written.

    Args:
      write: keeps the results of the cases at these places; None where nothing is kept.
      progress: called with the number of cases whose results are kept and of all.
      done: cases whose results are kept already.
      count: of all cases.
    """

    def __init__(
        self,
        write: Callable[[Sequence[int]], None] | None,
        progress: Callable[[int, int], None] | None,
        done: int,
        count: int,
    ):
        self._write, self._progress, self._done, self._count = write, progress, done, count
        self._gathered: list[int] = []
        self._writing: tuple[int, Future[None]] | None = None
        self._begun = -math.inf
        self._pool = ThreadPoolExecutor(1, "journal")

    def __enter__(self) -> "Keeping":
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        if kind is not None:
            self._progress = None  # what was computed is kept all the same
        with self._pool:
            self._finish()
            self._begin()
            self._finish()

    def add(self, places: Sequence[int]) -> None:
        """Keeps the results of some cases: at once, or together with the next ones while others are being written.

        Raises:
          UserError: results could not be written.
        """
        if self._write is None:
            self._tell(len(places))
            return
        self._gathered.extend(places)
        free = self._writing is None or self._writing[1].done()
        if (free and time.monotonic() >= self._begun + _SECONDS) or len(self._gathered) >= _GATHERED:
            self._finish()
            self._begin()

    def _begin(self) -> None:
        if self._write and self._gathered:
            self._writing = len(self._gathered), self._pool.submit(self._write, self._gathered)
            self._gathered, self._begun = [], time.monotonic()

    def _finish(self) -> None:
        if self._writing:
            (count, writing), self._writing = self._writing, None
            writing.result()
            self._tell(count)

    def _tell(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._count)


_SECONDS = 0.25  # between two writes, of which a kill loses the second; each costs as much as scoring some small cases
_GATHERED = 4096  # cases that may wait for the disk
