"""Small arrays packed into files of some tens of megabytes, each array with a checksum.

A shard is an uncompressed `.npz`, a zip archive of `.npy` files, so that `numpy.load` opens it, too, and the CRC-32 of each array is in the
standard. It is written once, aside and renamed, and never changed. Its name tells its content: two processes that pack the same arrays
write the same file.
"""

import functools
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.errors import UserError
from jaxal.files import PARSING, read_part, write_whole

SMALL_BYTES = 2**19  # arrays up to this size are packed; larger ones are read no faster from a shard than from a file
SHARD_BYTES = 2**25  # a shard is written when so much waits; a kill loses less than that
_SUFFIX = ".npz"


class Packing:
    """Collects small arrays and writes them as shards.

    Args:
      folder: of the shards.
      prefix: begins their names; it says what else decides the arrays' content.

    Raises:
      UserError: a shard that is there is damaged.
    """

    def __init__(self, folder: Path, prefix: str):
        self._folder, self._prefix = folder, prefix
        self._waiting: dict[str, np.ndarray] = {}
        self._bytes = 0
        self.shard_of: dict[str, Path] = {}  # of each array that is on disk
        for path in sorted(folder.glob(f"{prefix}-*{_SUFFIX}")):
            self.shard_of.update(dict.fromkeys(_names(path), path))

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes arrays that belong together and come into one shard."""
        self._waiting.update(arrays)
        self._bytes += sum(array.nbytes for array in arrays.values())
        if self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes what waits.

        Raises:
          UserError: the disk is full, or the folder cannot be written to.
        """
        if not self._waiting:
            return
        digest = hashlib.sha256()
        for name, array in self._waiting.items():
            digest.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
        path = self._folder / f"{self._prefix}-{digest.hexdigest()[:16]}{_SUFFIX}"
        write_whole(path, lambda file: np.savez(file, allow_pickle=False, **self._waiting))
        self.shard_of.update(dict.fromkeys(self._waiting, path))
        self._waiting, self._bytes = {}, 0


def is_shard(path: Path) -> bool:
    return path.name.endswith(_SUFFIX)


def read_packed(path: Path, name: str) -> np.ndarray:
    """Reads an array of a shard, and makes sure that it is what was written.

    Raises:
      UserError: the shard is damaged, or not there.
    """
    found = _records(path).find(name)
    if found is None:
        raise _damaged(path, f"it holds no {name!r}")
    begin, end, size, checksum = found
    try:
        record, file_name = read_part(path, begin, end - begin), f"{name}.npy".encode()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    content = memoryview(record)[len(record) - size :]
    if record[_LOCAL_HEADER : _LOCAL_HEADER + len(file_name)] != file_name or zlib.crc32(content) != checksum:
        raise _damaged(path, f"the checksum of {name!r} is wrong")
    values = _BEFORE_HEADER + int.from_bytes(content[_BEFORE_HEADER - 2 : _BEFORE_HEADER], "little")
    try:
        shape, in_fortran_order, dtype = _header(bytes(content[:values]))
        return np.frombuffer(content, dtype, offset=values).reshape(shape, order="F" if in_fortran_order else "C")
    except ValueError as error:
        raise _damaged(path, str(error)) from error


_LOCAL_HEADER = 30  # bytes before a file's name in a zip archive
_BEFORE_HEADER = 10  # bytes before the header of an `.npy` file of version 1; the last two are the header's length


@functools.lru_cache(maxsize=4096)  # most arrays of a shard have the same
def _header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether the first axis varies fastest, and type, from the header of an `.npy` file of version 1."""
    file = io.BytesIO(header)
    with PARSING:
        np.lib.format.read_magic(file)
        return np.lib.format.read_array_header_1_0(file)


class _Records(NamedTuple):
    """Where the arrays of a shard lie.

    Attributes:
      hashes: of their names, sorted; names would take most of the memory, and are compared when an array is read.
      places: `[arrays, 4]`: where what stands in the archive of an array begins and ends, and size and CRC-32 of the array's file, which
        is the last part of it.
    """

    hashes: np.ndarray
    places: np.ndarray

    def find(self, name: str) -> list[int] | None:
        row = self.hashes.searchsorted(wanted := hash(name))
        return self.places[row].tolist() if row < len(self.hashes) and self.hashes[row] == wanted else None


@functools.cache
def _records(path: Path) -> _Records:
    files, end = _directory(path)
    files.sort(key=lambda file: file.header_offset)
    ends = [file.header_offset for file in files[1:]] + [end]
    rows = [(file.header_offset, end, file.file_size, file.CRC) for file, end in zip(files, ends, strict=True)]
    hashes = np.array([hash(_name(file)) for file in files], np.int64)
    order = np.argsort(hashes, kind="stable")
    return _Records(hashes[order], np.array(rows, np.int64).reshape(-1, 4)[order])


def _names(path: Path) -> list[str]:
    return [_name(file) for file in _directory(path)[0]]


def _name(file: zipfile.ZipInfo) -> str:
    return file.filename.removesuffix(".npy")


def _directory(path: Path) -> tuple[list[zipfile.ZipInfo], int]:
    """The files of a shard, and where the last one ends.

    Raises:
      UserError: the shard is cut off or damaged, or not there.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist(), archive.start_dir
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"{path}: prepared arrays that are damaged ({why}). Remove the file and run the same command again; it is made anew."
    )
