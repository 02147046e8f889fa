"""States are saved beside the training, which goes on while the disk works."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np


@contextlib.contextmanager
def beside(write: Callable[[Any], None]) -> Iterator[Callable[[Any], None]]:
    """Gives a function that saves states without waiting for the disk; at the end all of them are durable.

    States are written in their order, one at a time. A write that fails raises its error at the next state or at the end.

    Args:
      write: saves a state of NumPy arrays. Each is a copy, because the next step takes the buffers of the state.
    """
    writing: Future[None] | None = None

    def finish() -> None:
        nonlocal writing
        last, writing = writing, None
        if last:
            last.result()

    with ThreadPoolExecutor(1, "checkpoint") as writer:

        def save(state: Any) -> None:
            nonlocal writing
            finish()
            writing = writer.submit(write, jax.tree.map(np.array, state))

        try:
            yield save
        finally:
            finish()
