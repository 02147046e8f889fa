"""Prepared arrays on disk, named after what they were made from, and the examples that are made of them."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.data.shards import SMALL_BYTES, Packing, is_shard, read_packed
from jaxal.files import open_array, write_whole
from jaxal.types import Example

UNLABELLED = 255  # in prepared label maps: not annotated


class Kept:
    """Arrays prepared in one way: small ones in shards, large ones, and small ones of earlier versions, in files of their own.

    Args:
      folder: of the arrays.
      way: how they were prepared, as a digest; it stands in the name of every file.

    Attributes:
      packing: of the small ones; it is flushed at the end.

    Raises:
      UserError: a shard that is there is damaged.
    """

    def __init__(self, folder: Path, way: str):
        self._folder, self._way = folder, way
        self.packing = Packing(folder, f"shard-{way}")

    def has(self, name: str) -> bool:
        return name in self.packing.shard_of or self._alone(name).is_file()

    def path(self, name: str) -> Path:
        """The file that an array lies in."""
        return self.packing.shard_of.get(name) or self._alone(name)

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps arrays that belong together, all in shards or all in files of their own; the last one says that the others are there.

        Args:
          arrays: by name, `CASE-DIGEST.KIND`; those of one call differ in their kind alone, so that one is found beside the other.
        """
        in_order = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # batches are copied from it in a row
        if all(array.nbytes <= SMALL_BYTES for array in in_order.values()):
            self.packing.add(in_order)
            return
        for name, values in in_order.items():
            write_whole(self._alone(name), functools.partial(np.save, arr=values, allow_pickle=False))

    def _alone(self, name: str) -> Path:
        stem, _, kind = name.rpartition(".")
        return self._folder / f"{stem}-{self._way}.{kind}.npy"


def read_kept(path: Path, name: str) -> np.ndarray:
    """An array that was kept.

    Args:
      path: of the file that it, or another array of the same `Kept.add`, lies in.
      name: of the array.

    Raises:
      UserError: the file is damaged.
    """
    if is_shard(path):
        return read_packed(path, name)
    stem = path.name.rsplit(".", 2)[0]
    return open_array(path.with_name(f"{stem}.{name.rpartition('.')[2]}.npy"))


def padded_example(image: np.ndarray, label: np.ndarray | None, shape: Sequence[int]) -> Example:
    """An example of a prepared case, padded at the far ends to a shape; without a label map nothing is labelled, and all of the image is still inside.

    Args:
      image: `[*size, channels]`.
      label: `[*size]`, `UNLABELLED` where it is not known.
      shape: at least the size.
    """
    shape, size = tuple(shape), image.shape[:-1]
    inside, nothing = _everywhere(shape, True), _everywhere(shape, False)
    if size != shape:
        padding = [(0, target - length) for target, length in zip(shape, size, strict=True)]
        image, inside = np.pad(image, [*padding, (0, 0)]), np.pad(_everywhere(size, True), padding)
        label = None if label is None else np.pad(label, padding, constant_values=UNLABELLED)
    values = np.array(image, np.float32)  # read now, where it was mapped
    if label is None:
        return Example(values, nothing.view(np.uint8), inside, nothing)
    labelled = label != UNLABELLED
    return Example(values, np.where(labelled, label, 0).astype(np.uint8), inside, labelled)


@functools.lru_cache(maxsize=16)
def _everywhere(shape: tuple[int, ...], value: bool) -> np.ndarray:
    """One value at all elements; shared by examples, therefore read-only."""
    values = np.full(shape, value)
    values.flags.writeable = False
    return values
