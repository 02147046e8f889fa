"""Voxels of any type as one byte each, and what each byte stands for, because a map of labels has few different values."""

from typing import NamedTuple

import numpy as np

from jaxal.labels.streams import Stream

CHUNK = 1 << 20  # voxels
_LOWEST, _HIGHEST = -(1 << 15), 3 << 15  # values that a label may have at all
_SCALED = 1e-4  # a whole number in a file that scales its values is this near one


class Coded(NamedTuple):
    """Voxels as codes. A voxel has a value in each layer, and a code for all of them together, because layers add few combinations.

    Attributes:
      codes: in the file's order, `[voxels]`, uint8.
      values: what the file means by each code in each layer, `[256, layers]`, float64.
      used: which codes there are, `[256]`, boolean.
      fraction: a value that is no whole number, NaN and infinity among them; None where all are whole.
      is_no_map: there are more than 256 values or combinations of them, or ones beyond all labels, so that the codes mean nothing.
    """

    codes: np.ndarray
    values: np.ndarray
    used: np.ndarray
    fraction: float | None = None
    is_no_map: bool = False


def coded(stream: Stream, dtype: np.dtype, voxels: int, *, layers: int = 1, slope: float = 1.0, intercept: float = 0.0) -> Coded:
    """Reads voxels and codes them; a piece at a time, so that memory holds one byte a voxel and no more, however many layers there are.

    Args:
      stream: of the file's values, and at their beginning; those of one voxel lie together.
      dtype: of the values in the file: whole or real numbers, in either order of bytes.
      voxels: how many there are.
      layers: values of each voxel.
      slope, intercept: a value is `slope` times the stored one plus `intercept`.

    Raises:
      Damaged: the stream ends too early.
    """
    codes = np.empty(voxels, np.uint8)
    books = [_Bytes(dtype) if dtype.itemsize == 1 else _Words() for _ in range(layers)]
    pairs = [_Words() for _ in range(layers - 1)]
    table_is_scaled = dtype.kind in "iu" and dtype.itemsize <= 2  # few values: these can be scaled once all are known
    chunk = max(CHUNK // layers, 1)
    for start in range(0, voxels, chunk):
        part = codes[start : start + chunk]
        raw = np.frombuffer(stream.exactly(len(part) * layers * dtype.itemsize), dtype).reshape(len(part), layers)
        if not table_is_scaled and (slope, intercept) != (1.0, 0.0):
            raw = _whole(raw * slope + intercept)
        books[0].write(raw[:, 0], part)
        for layer in range(1, layers):
            other = np.zeros_like(part)
            books[layer].write(raw[:, layer], other)
            pairs[layer - 1].write(part.astype(np.int32) * 256 + other, part)
    if table_is_scaled:
        for book in books:
            book.scale(slope, intercept)
    fraction = next((book.fraction for book in books if book.fraction is not None), None)
    values = _decoded([book.values for book in books], [pair.values for pair in pairs])
    return Coded(codes, values, (pairs or books)[-1].used, fraction, any(book.is_no_map for book in [*books, *pairs]))


def joined(first: Coded, codes: np.ndarray) -> Coded:
    """Adds a layer, given by its values, `[voxels]`, uint8; codes are changed where they lie."""
    pair = _Words()
    for start in range(0, len(codes), CHUNK):
        part = first.codes[start : start + CHUNK]
        pair.write(part.astype(np.int32) * 256 + codes[start : start + CHUNK], part)
    values = _decoded([first.values, np.arange(256.0)], [pair.values])
    return Coded(first.codes, values, pair.used, first.fraction, first.is_no_map or pair.is_no_map)


def _decoded(tables: list[np.ndarray], pairs: list[np.ndarray]) -> np.ndarray:
    """What each code of combinations means in each layer, `[256, layers]`: a pair is 256 times the code so far plus the next layer's."""
    values = tables[0].reshape(256, -1)
    for table, pair in zip(tables[1:], pairs, strict=True):
        before, last = np.divmod(pair.astype(np.int64), 256)
        values = np.concatenate([values[before], table[last][:, None]], axis=1)
    return values


def _whole(values: np.ndarray) -> np.ndarray:
    """Values that scaling has brought near whole numbers as these."""
    near = np.rint(values)
    return np.where(np.abs(values - near) <= _SCALED, near, values)


class _Book:
    """The codes of values met so far."""

    def __init__(self, values: np.ndarray):
        self.values = values
        self.used = np.zeros(256, bool)
        self.fraction: float | None = None
        self.is_no_map = False

    def write(self, raw: np.ndarray, codes: np.ndarray) -> None:
        """Codes some values."""
        raise NotImplementedError

    def scale(self, slope: float, intercept: float) -> None:
        """Scales what the codes mean."""
        self.values = _whole(self.values * slope + intercept)
        broken = self.values[self.used & ((self.values != np.rint(self.values)) | ~np.isfinite(self.values))]
        self.fraction = float(broken[0]) if len(broken) else None


class _Bytes(_Book):
    """Values of one byte are their own codes."""

    def __init__(self, dtype: np.dtype):
        super().__init__(np.arange(256, dtype=np.uint8).view(dtype).astype(np.float64))

    def write(self, raw: np.ndarray, codes: np.ndarray) -> None:
        codes[:] = raw.view(np.uint8)
        self.used[codes] = True


class _Words(_Book):
    """Values get codes in the order in which they are met."""

    def __init__(self) -> None:
        super().__init__(np.zeros(256))
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
