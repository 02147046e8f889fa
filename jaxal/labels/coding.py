"""Voxels of any type as one byte each, and what each byte stands for, because a map of labels has few different values."""

from typing import NamedTuple

import numpy as np

from jaxal.labels.streams import Stream

CHUNK = 1 << 20  # voxels
_LOWEST, _HIGHEST = -(1 << 15), 3 << 15  # values that a label may have at all
_SCALED = 1e-4  # a whole number in a file that scales its values is this near one


class Coded(NamedTuple):
    """Voxels as codes.

    Attributes:
      codes: in the file's order, `[voxels]`, uint8.
      values: what the file means by each code, `[256]`, float64.
      used: which codes there are, `[256]`, boolean.
      fraction: a value that is no whole number, NaN and infinity among them; None where all are whole.
      is_no_map: there are more than 256 values, or ones beyond all labels, so that the codes mean nothing.
    """

    codes: np.ndarray
    values: np.ndarray
    used: np.ndarray
    fraction: float | None = None
    is_no_map: bool = False


def coded(stream: Stream, dtype: np.dtype, voxels: int, slope: float = 1.0, intercept: float = 0.0) -> Coded:
    """Reads voxels and codes them; a piece at a time, so that memory holds one byte a voxel and no more.

    Args:
      stream: of the file's values, and at their beginning.
      dtype: of the values in the file: whole or real numbers, in either order of bytes.
      voxels: how many there are.
      slope, intercept: a value is `slope` times the stored one plus `intercept`.

    Raises:
      Damaged: the stream ends too early.
    """
    codes = np.empty(voxels, np.uint8)
    book = _Bytes(dtype) if dtype.itemsize == 1 else _Words()
    table_is_scaled = dtype.kind in "iu" and dtype.itemsize <= 2  # few values: these can be scaled once all are known
    for start in range(0, voxels, CHUNK):
        length = min(CHUNK, voxels - start)
        raw = np.frombuffer(stream.exactly(length * dtype.itemsize), dtype)
        if not table_is_scaled and (slope, intercept) != (1.0, 0.0):
            raw = raw * slope + intercept
            near = np.rint(raw)
            raw = np.where(np.abs(raw - near) <= _SCALED, near, raw)
        book.write(raw, codes[start : start + length])
    values = book.values
    if table_is_scaled:
        values = values * slope + intercept
        near = np.rint(values)
        values = np.where(np.abs(values - near) <= _SCALED, near, values)
        broken = values[book.used & (values != near) | ~np.isfinite(values)]
        book.fraction = float(broken[0]) if len(broken) else None
    return Coded(codes, values, book.used, book.fraction, book.is_no_map)


class _Bytes:
    """Values of one byte are their own codes."""

    def __init__(self, dtype: np.dtype):
        self.values = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64)
        self.used = np.zeros(256, bool)
        self.fraction: float | None = None
        self.is_no_map = False

    def write(self, raw: np.ndarray, codes: np.ndarray) -> None:
        codes[:] = raw.view(np.uint8)
        self.used[codes] = True


class _Words:
    """Values get codes in the order in which they are met."""

    def __init__(self) -> None:
        self.values = np.zeros(256)
        self.used = np.zeros(256, bool)
        self.fraction: float | None = None
        self.is_no_map = False
        self._seen = np.zeros(_HIGHEST - _LOWEST, bool)
        self._code = np.zeros(_HIGHEST - _LOWEST, np.uint8)

    def write(self, raw: np.ndarray, codes: np.ndarray) -> None:
        if self.fraction is not None or self.is_no_map:
            return  # the rest is read for its checksum only
        if raw.dtype.kind == "f":
            broken = ~np.isfinite(raw) | (raw != np.rint(raw))
            if broken.any():
                self.fraction = float(raw[broken][0])
                return
        if raw.min() < _LOWEST or raw.max() >= _HIGHEST:
            self.is_no_map = True
            return
        places = raw.astype(np.int32) - _LOWEST
        present = np.zeros_like(self._seen)
        present[places] = True
        new = np.flatnonzero(present & ~self._seen)
        known = int(self.used.sum())
        if known + len(new) > 256:
            self.is_no_map = True
            return
        self._code[new] = np.arange(known, known + len(new))
        self.values[known : known + len(new)] = new + _LOWEST
        self.used[known : known + len(new)] = True
        self._seen[new] = True
        np.take(self._code, places, out=codes)
