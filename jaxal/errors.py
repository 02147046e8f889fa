"""The errors that a person can act on."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """Bad input or a bad option: says what was given, what was expected and what to do. Commands print it and exit with 2."""


class OutOfMemory(UserError):
    """A program needs more memory than a device has; the message says which and what is smaller."""


def is_of_memory(error: Exception) -> bool:
    """Whether JAX tells that a device has not enough memory; what depends on a program that failed repeats its text under another code."""
    return any(text in str(error) for text in ("RESOURCE_EXHAUSTED", "Out of memory"))


@contextlib.contextmanager
def within_memory(what: str, advice: str) -> Iterator[None]:
    """Tells which program was too large for a device, wherever XLA finds out: at compilation, at the call or when its results are read.

    Args:
      what: does not fit, the beginning of a sentence.
      advice: what to make smaller, a sentence.
    """
    try:
        yield
    except RuntimeError as error:  # JAX's own is one, and is known by its text alone
        if not is_of_memory(error):
            raise
        asked = str(error).splitlines()[0].strip()[:200]
        raise OutOfMemory(f"{what} needs more memory than the device has ({asked}). {advice}") from error
