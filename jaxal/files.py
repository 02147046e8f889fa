"""Files that survive a kill: written aside and renamed; and folders that one process holds alone."""

import contextlib
import errno
import fcntl
import glob
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from jaxal.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Replaces a file by a text, in UTF-8, as `write_whole` does."""
    write_whole(path, lambda file: file.write(text.encode("utf-8")))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replaces a file as a whole: written aside, made durable, renamed.

    Args:
      path: of the file; its folder is made if it is not there.
      write: writes the content.

    Raises:
      UserError: the disk is full or the folder cannot be written to; the old file is as it was.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with writing(path):
            with aside.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder aside to write into, which gets its name when the block ends; nothing is left of it where the block fails.

    Where another process finished the same folder first, its files are taken as as good.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield aside
        aside.chmod(0o755)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Tells of a write that fails by the name of what was to be written, because a full disk's error names nothing.

    Raises:
      UserError: the disk is full, or the place cannot be written to.
    """
    try:
        yield
    except OSError as error:
        # What NumPy raises of a full disk has no number.
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) or "requested and" in str(error)
        why = error.strerror or ("No space left on device" if is_full else str(error))
        advice = "Free some space" if is_full else "See to it"
        raise UserError(f"{path}: could not be written ({why}). {advice} and run the same command again.") from error


def _remove_leftovers(path: Path) -> None:
    """Removes what kills left of earlier writes: of processes that are gone, and old enough to be no other machine's that writes now."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        process = aside.name.split(".")[-2]
        with contextlib.suppress(OSError):
            if process.isdigit() and not Path(f"/proc/{process}").exists() and time.time() - aside.stat().st_mtime > 60:
                aside.unlink()


def path_within(folder: Path, given: str, source: str) -> Path:
    """A path that a table or a description gives, which must be relative and go down from its folder.

    Links are followed wherever they lead, because only somebody who may write to the folder can have put them there, and a folder of
    links into an archive is a common habit (nnU-Net's raw folders, datalad's and git-annex's data sets).

    Args:
      folder: of the data.
      given: the path as it stands there.
      source: the file that gives it, perhaps with a line, for the message.

    Raises:
      UserError: the path is absolute or has a part `..`.
    """
    path = PurePosixPath(given)
    if path.is_absolute() or ".." in path.parts:
        raise UserError(
            f"{source}: the path {given!r} may lead out of the folder {folder}. Paths must be relative to it and without '..': put the "
            "file, or a link to it, inside."
        )
    return folder / path


def why_no_file(path: Path) -> str:
    """What stands where a file is expected: nothing, a folder, or a link to nothing."""
    if path.is_symlink() and not path.exists():
        return f"not a file but a link to {os.readlink(path)}, which is not there"
    return "a folder, not a file" if path.is_dir() else "not a file" if path.exists() else "no such file"


# Whoever parses the header of an array holds it, because `ast.literal_eval`, which NumPy uses for that, races in CPython before 3.11.8.
PARSING = threading.Lock()


def open_array(path: Path) -> np.ndarray:
    """Opens an array on disk without reading it.

    Raises:
      UserError: the file is damaged.
    """
    try:
        with PARSING:
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: a prepared array that is damaged ({error}). Remove the file; it is made anew.") from error


def read_part(path: Path, begin: int, size: int) -> bytes:
    """Reads some bytes of a file, fewer where it ends. The file is not mapped, because mapped pages count as memory of the process."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, size, begin)
    finally:
        os.close(file)


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
