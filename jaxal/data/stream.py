"""Cases in batches, read ahead of the device by threads, and a memory for what was read."""

import collections
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import jax
import numpy as np

from jaxal.types import Case, Example, Label, Load

AHEAD_BYTES = 2**28  # of batches that wait; two of them may always

Item = TypeVar("Item")
Read = TypeVar("Read")  # a pytree of arrays


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
    starts = range(0, len(cases), size)

    def read(start: int) -> Example:
        loaded = [load(case) for case in cases[start : start + size]]
        loaded += [loaded[0]] * (size - len(loaded))
        return stacked(loaded)

    for start, examples in zip(starts, ahead(starts, read), strict=True):
        yield Batch(tuple(cases[start : start + size]), examples)


def stacked(examples: Sequence[Example]) -> Example:
    """Several examples of one shape along a new leading axis."""
    return jax.tree.map(lambda *parts: np.stack(parts), *examples)


def ahead(items: Iterable[Item], read: Callable[[Item], Read]) -> Iterator[Read]:
    """Reads in order, by several threads, before it is asked for; an error comes when its item is asked for.

    Args:
      items: what to read.
      read: makes a batch of one of them, in a thread; it depends on the item alone.
    """
    threads, left = _threads(), iter(items)
    waiting: collections.deque[Future[Read]] = collections.deque()
    # An item costs a plain pool of threads 15 us and grain 45 us, which is as much as reading a small case.
    pool = ThreadPoolExecutor(threads, "reading ahead")

    def submit(most: int) -> None:
        waiting.extend([pool.submit(read, item) for item in itertools.islice(left, max(most - len(waiting), 0))])

    try:
        submit(2)
        while waiting:
            batch = waiting.popleft().result()
            submit(min(max(AHEAD_BYTES // max(sum(part.nbytes for part in jax.tree.leaves(batch)), 1), 2), 2 * threads))
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)


def _threads() -> int:
    """All cores read for another device; where the cores themselves compute, two of them read."""
    if sys.version_info >= (3, 13):
        cores = os.process_cpu_count()
    else:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 2 if jax.default_backend() == "cpu" else max(cores or 1, 2)


def kept(load: Load, bytes_at_most: int = 2**30) -> Load:
    """Keeps what was read in memory, up to a size; the rest is read anew each time."""
    examples: dict[tuple[str, str, Label | None], Example] = {}
    used, keeping = 0, threading.Lock()  # several threads read ahead

    def read(case: Case) -> Example:
        nonlocal used
        content = case.id, case.version, case.label
        example = examples.get(content) or load(case)
        size = sum(part.nbytes for part in jax.tree.leaves(example))
        with keeping:
            if content not in examples and used + size <= bytes_at_most:
                examples[content] = example
                used += size
        return example

    return read
