"""A value that takes long to compute, computed beside requests, because readers' programs wait for every answer."""

import threading
import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A value that is computed in a thread of its own whenever it may have changed.

    Args:
      compute: computes it; where that fails, the value before stays.
    """

    def __init__(self, compute: Callable[[], T]):
        self._compute = compute
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._of: int | None = None
        self._value: T | None = None

    def newest(self, of: int) -> T | None:
        """The last value there is, which may be that of before; None before the first.

        Args:
          of: number that changes whenever the value may have changed.
        """
        with self._lock:
            known = self._value
            if self._of != of and (self._thread is None or not self._thread.is_alive()):
                self._of = of
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
            return known

    def wait(self) -> None:
        """Waits for what is being computed."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._value = self._compute()
        except Exception:  # tried again once something has happened
            traceback.print_exc()
