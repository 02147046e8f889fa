"""The log of a project: one event a line, in the order in which they happened, never changed. The project's state is its replay.

Each line is made durable before anybody is told of it, and ends with its own hash, which covers the hash of the line before. So an
altered, a missing or a foreign line is found and named, and a log that was cut anywhere opens at its last whole line.
"""

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.errors import UserError
from jaxal.files import writing

_END = ', "hash": "'  # what stands between a line's content and its hash
_HASH = 64  # hexadecimal digits
_WAIT_SECONDS = 60.0


class Event(NamedTuple):
    """One line.

    Attributes:
      number: from 0.
      time: UTC, ISO 8601 with seconds; never before that of the event before.
      kind: what happened, such as `label`.
      fields: what there is to know of it, as JSON holds it.
    """

    number: int
    time: str
    kind: str
    fields: dict[str, Any]


class _Whole(NamedTuple):
    """What a log file holds: its events, the last line's hash, and how many bytes are whole lines."""

    events: tuple[Event, ...]
    last: str
    size: int


class Log:
    """A log in a file.

    Args:
      path: of the file; its folder must be there before anything is written.
      beginning: a hash that the first line continues, such as that of the project's settings; so a log belongs to its project.
      now: the present time in seconds, as `time.time`.
    """

    def __init__(self, path: Path, beginning: str, now: Callable[[], float] = time.time):
        self.path = path
        self.now = now
        self.beginning = beginning
        self._known = _Whole((), beginning, 0)
        self._one_thread = threading.RLock()  # what is known must not change under a thread that writes

    def read(self) -> tuple[Event, ...]:
        """All events, those of unfinished lines left out.

        Raises:
          UserError: a line was altered, is missing or does not belong to this project; the message names it.
        """
        with self._one_thread:
            self._known = self._read()
            return self._known.events

    @contextlib.contextmanager
    def held(self) -> Iterator["Pen"]:
        """Holds the log, so that nobody else writes; what is read from the pen is true as long as it is held.

        Raises:
          UserError: see `read`; or another process holds the log for a minute.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        with self._one_thread, lock.open("a") as file:
            _wait_for(file.fileno(), self.path)
            self._known = self._read()
            yield Pen(self)

    def _read(self) -> _Whole:
        """Reads what was added since the last time; all of it, if what was known is not there any more."""
        content = self.path.read_bytes() if self.path.exists() else b""
        known = self._known
        if not known.size or len(content) < known.size or not content[: known.size].endswith(f'{known.last}"}}\n'.encode()):
            known = _Whole((), self.beginning, 0)
        events, last, size = list(known.events), known.last, known.size
        for line in content[size:].splitlines(keepends=True):
            whole = line.endswith(b"\n")
            try:
                event, last = _parsed(line.rstrip(b"\n"), last, len(events))
            except ValueError as error:
                if not whole:
                    break  # a kill cut it off; nobody was told of it
                raise UserError(
                    f"{self.path}, line {len(events) + 1}: {error}. The log must stay as it was written; restore it from a backup."
                ) from error
            events.append(event)
            size += len(line)
        return _Whole(tuple(events), last, size)

    def _append(self, kind: str, fields: dict[str, Any]) -> Event:
        events, last, size = self._known
        number = len(events)
        instant = datetime.datetime.fromtimestamp(self.now(), datetime.UTC).isoformat(timespec="seconds")
        content: dict[str, Any] = {"number": number, "time": instant, "event": kind, **fields, "previous": last}
        if events and instant < events[-1].time:  # the clock runs backwards; the order of events must not
            content |= {"time": events[-1].time, "clock": instant}
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
        digest = hashlib.sha256(text.encode()).hexdigest()
        line = f'{text[:-1]}{_END}{digest}"}}\n'.encode()
        with writing(self.path), self.path.open("r+b" if self.path.exists() else "xb", buffering=0) as file:
            if size and not _ends_a_line(self.path, size):
                line = b"\n" + line
            try:
                file.truncate(size)
                file.seek(size)
                left = memoryview(line)
                while left:  # a disk that fills up takes a part
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(size)
                raise
        if not size:
            _make_durable(self.path.parent)
        event = Event(number, content["time"], kind, {key: content[key] for key in content.keys() - _FRAME})
        self._known = _Whole((*events, event), digest, size + len(line))
        return event


class Pen:
    """Who may write a log, as long as it is held."""

    def __init__(self, log: Log):
        self._log = log

    @property
    def events(self) -> tuple[Event, ...]:
        """All events so far."""
        return self._log._known.events

    def add(self, kind: str, **fields: Any) -> Event:
        """Adds an event and makes it durable.

        Args:
          kind: what happened.
          fields: what there is to know of it; JSON must hold it.

        Raises:
          UserError: the disk is full; the log is as it was.
        """
        return self._log._append(kind, fields)


_FRAME = {"number", "time", "event", "previous", "hash"}


def _parsed(line: bytes, previous: str, number: int) -> tuple[Event, str]:
    """An event and its hash.

    Raises:
      ValueError: the line is not what was written there; the text says why.
    """
    text = line.decode("utf-8")
    content, mark, rest = text.rpartition(_END)
    if not mark or len(rest) != _HASH + 2 or not rest.endswith('"}'):
        raise ValueError("it does not end with its hash, so it is not a line of this log")
    digest = rest[:_HASH]
    if hashlib.sha256(f"{content}}}".encode()).hexdigest() != digest:
        raise ValueError("it was altered, because its hash is another")
    fields = json.loads(f"{content}}}")
    if fields["previous"] != previous or fields["number"] != number:
        what = (
            "belongs to another project"
            if number == 0
            else "does not follow the line before, so lines are missing, doubled or foreign"
        )
        raise ValueError(f"it {what}")
    return Event(number, fields["time"], fields["event"], {key: fields[key] for key in fields.keys() - _FRAME}), digest


def _ends_a_line(path: Path, size: int) -> bool:
    with path.open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"


def _make_durable(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > end:
                raise UserError(f"{path}: another process has held it for a minute. Wait for it, or end it.") from error
            time.sleep(0.02)
