"""Cases read ahead from disk while the device works, in batches of one shape."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np

from jaxal.types import Case, Example, Label, Load


class Batch(NamedTuple):
    """Cases stacked along a leading axis; the last batch repeats its first case to keep the shape.

    Attributes:
      cases: those that are really in it.
      examples: arrays with a leading axis of the full batch size.
    """

    cases: tuple[Case, ...]
    examples: Example


def batches(cases: Sequence[Case], load: Callable[[Case], Example], size: int) -> Iterator[Batch]:
    """Streams cases in order, `size` at a time; memory does not grow with their number."""
    if not cases:
        return

    def read(present: tuple[Case, ...]) -> Batch:
        loaded = [load(case) for case in present]
        loaded += [loaded[0]] * (size - len(loaded))
        return Batch(present, Example(*(np.stack(part) for part in zip(*loaded, strict=True))))

    # A batch is one item of grain's, whose own work for an item costs more than reading a small image.
    reader = grain.MapDataset.source([tuple(cases[start : start + size]) for start in range(0, len(cases), size)]).map(read)
    yield from reader.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=2))


def kept(load: Load, bytes_at_most: int = 2**30) -> Load:
    """Keeps what was read in memory, up to a size; the rest is read anew each time."""
    examples: dict[tuple[str, str, Label | None], Example] = {}
    used, keeping = 0, threading.Lock()  # several threads read ahead

    def read(case: Case) -> Example:
        nonlocal used
        content = case.id, case.version, case.label
        example = examples.get(content) or load(case)
        size = sum(part.nbytes for part in example)
        with keeping:
            if content not in examples and used + size <= bytes_at_most:
                examples[content] = example
                used += size
        return example

    return read
