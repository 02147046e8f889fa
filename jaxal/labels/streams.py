"""The bytes of a delivered file, unpacked piece by piece, with their checksums, because a whole map in memory is enough."""

import bz2
import hashlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

PIECE = 1 << 20  # bytes read or unpacked at once
GZIP, BZIP2 = b"\x1f\x8b", b"BZh"


class Damaged(Exception):
    """The file ends too early, or its checksum is wrong. The text says which, in words of our own."""


class Bytes(Protocol):
    """What gives bytes: as many as asked for, fewer only at the end."""

    def read(self, size: int, /) -> bytes: ...


class Hashed:
    """Reads a file and computes its SHA-256 on the way, so that what is hashed is what was read."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._sum = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        piece = self._file.read(size)
        self._sum.update(piece)
        return piece

    def sha256(self) -> str:
        """The sum of the whole file, whose rest is read for it."""
        while self.read(PIECE):
            pass
        return self._sum.hexdigest()


class Stream:
    """Bytes out of pieces; `peek` shows those to come."""

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._waiting = bytearray()

    def _fill(self, size: int) -> None:
        while len(self._waiting) < size and (piece := next(self._pieces, None)) is not None:
            self._waiting += piece

    def peek(self, size: int) -> bytes:
        self._fill(size)
        return bytes(self._waiting[:size])

    def read(self, size: int, /) -> bytes:
        self._fill(size)
        piece = bytes(self._waiting[:size])
        del self._waiting[:size]
        return piece

    def exactly(self, size: int) -> bytes:
        """So many bytes.

        Raises:
          Damaged: there are fewer.
        """
        piece = self.read(size)
        if len(piece) < size:
            raise Damaged("it ends too early")
        return piece

    def skip(self, size: int) -> None:
        """Leaves bytes out; Damaged if there are fewer."""
        while size > 0:
            size -= len(self.exactly(min(size, PIECE)))

    def finish(self, most: int = 1 << 24) -> None:
        """Unpacks to the end, so that the checksum is compared.

        Raises:
          Damaged: the checksum is wrong, or more than `most` bytes are left, which no writer of label maps leaves.
        """
        rest = 0
        while piece := self.read(PIECE):
            rest += len(piece)
            if rest > most:
                raise Damaged("it holds far more than its header says")


def pieces(source: Bytes, first: bytes = b"") -> Iterator[bytes]:
    """The bytes of a source as they are, after those that were read already."""
    if first:
        yield first
    while piece := source.read(PIECE):
        yield piece


def gunzipped(source: Bytes) -> Iterator[bytes]:
    """Unpacks gzip. Files may be several in one; garbage after the last is left alone, as nibabel and gzip itself do.

    Raises:
      Damaged: the packed data end too early or their checksum is wrong.
    """
    packed = source.read(PIECE)
    while packed.startswith(GZIP):
        inflate = zlib.decompressobj(wbits=31)
        while not inflate.eof:
            packed = packed or source.read(PIECE)
            at_end = not packed  # of what is packed: zlib may still hold some that it unpacked
            try:
                piece = inflate.decompress(packed, PIECE)
            except zlib.error:
                raise Damaged("its packed data are broken, or their checksum is wrong") from None
            packed = inflate.unconsumed_tail
            if piece:
                yield piece
            elif at_end and not inflate.eof:
                raise Damaged("its packed data end too early")
        packed = inflate.unused_data or source.read(PIECE)
        if len(packed) == 1:
            packed += source.read(PIECE)


def bunzipped(source: Bytes) -> Iterator[bytes]:
    """Unpacks bzip2.

    Raises:
      Damaged: the packed data end too early or their checksum is wrong.
    """
    inflate = bz2.BZ2Decompressor()
    packed = source.read(PIECE)
    while not inflate.eof:
        if not packed and inflate.needs_input:
            raise Damaged("its packed data end too early")
        try:
            piece = inflate.decompress(packed, PIECE)
        except OSError:
            raise Damaged("its packed data are broken, or their checksum is wrong") from None
        packed = source.read(PIECE) if inflate.needs_input and not inflate.eof else b""
        if piece:
            yield piece


def unpacked(source: Bytes) -> Stream:
    """The content of a file, packed by gzip or not, whatever its name says."""
    raw = Stream(pieces(source))
    return Stream(gunzipped(raw)) if raw.peek(2) == GZIP else raw
