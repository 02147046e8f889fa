"""Files that survive a kill: written aside and renamed; and folders that one process holds alone."""

import contextlib
import fcntl
import glob
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxal.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Replaces a file as a whole: written aside, made durable, renamed.

    Raises:
      UserError: the disk is full or the folder cannot be written to; the old file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        try:
            with aside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tells of a write that fails by the name of what was to be written, because a full disk's error names nothing.

    Raises:
      UserError: the disk is full, or the place cannot be written to.
    """
    try:
        yield
    except OSError as error:
        full = "No space left on device" if "requested and" in str(error) else None  # what NumPy makes of a full disk
        raise UserError(
            f"{path}: could not be written ({error.strerror or full or error}). Free some space and run the same command again."
        ) from error


def _remove_leftovers(path: Path) -> None:
    """Removes what kills left of earlier writes: of processes that are gone, and old enough to be no other machine's that writes now."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = aside.name.split(".")[-2]
        with contextlib.suppress(OSError):
            if process.isdigit() and not Path(f"/proc/{process}").exists() and time.time() - aside.stat().st_mtime > 60:
                aside.unlink()


_parsing = threading.Lock()


def open_array(path: Path) -> np.ndarray:
    """Opens an array on disk without reading it.

    One thread at a time parses a header, because `ast.literal_eval`, which NumPy uses for that, races in CPython before 3.11.8.
    """
    with _parsing:
        return np.load(path, mmap_mode="r", allow_pickle=False)


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds a folder for this process alone; the operating system lets go of it however the process ends.

    An error of the operating system in the meantime that names no file, as a full disk's, gets the folder's name.

    Raises:
      UserError: another process holds it.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; results need a folder. Choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"{folder}: another process is working in this folder. Wait for it, or choose another --out."
            ) from error
        try:
            yield
        except OSError as error:
            if error.errno is not None and error.filename is None:
                error.filename = str(folder)
            raise
