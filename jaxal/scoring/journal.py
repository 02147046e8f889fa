"""Results of single cases, kept as they come, so that a killed pass goes on where it was.

SQLite (in Python's standard library) does the writing: what was committed survives a kill at any moment. A power cut may tear
the file; then, and when it is no database at all, it is set aside and its cases are scored again.
"""

import collections
import contextlib
import sqlite3
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
    """Writes results in a thread of its own, because the device must not wait for the disk; a context, at whose end all is written.

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
        self._waiting: collections.deque[tuple[int, Future[None]]] = collections.deque()
        self._pool = ThreadPoolExecutor(1, "journal")

    def __enter__(self) -> "Keeping":
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        self._pool.shutdown()  # after an error, too: what was computed is kept
        if kind is None:
            self._tell(0)

    def add(self, places: Sequence[int]) -> None:
        """Keeps the results of some cases.

        Raises:
          UserError: those of this or an earlier batch could not be written.
        """
        if self._write:
            self._waiting.append((len(places), self._pool.submit(self._write, places)))
            self._tell(_WAITING)
        else:
            self._tell_done(len(places))

    def _tell(self, waiting: int) -> None:
        """Tells of what is written; waits for it where more batches than these are not."""
        while self._waiting and (len(self._waiting) > waiting or self._waiting[0][1].done()):
            count, writing = self._waiting.popleft()
            writing.result()
            self._tell_done(count)

    def _tell_done(self, count: int) -> None:
        self._done += count
        if self._progress:
            self._progress(self._done, self._count)


_WAITING = 8  # batches that may wait for the disk
