"""Several hosts, one process on each, that share the work of a pass. JAX's own engine carries what must travel."""

import dataclasses
import json
import os
import re
import socket
import time
from typing import Annotated, Any, TypeVar

import jax
import numpy as np
import tyro
from jax.experimental import multihost_utils

from jaxal.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class HostsConfig:
    """Several hosts share the work of scoring: one such command on each, or one job step of SLURM with a task for each host, or for each
    GPU. They need a disk that all see."""

    coordinator: Annotated[str | None, tyro.conf.arg(metavar="HOST:PORT", help_behavior_hint="")] = None
    """HOST:PORT of the process with index 0, the same for all. SLURM needs none of these options."""
    processes: Annotated[int | None, tyro.conf.arg(metavar="NUMBER", help_behavior_hint="")] = None
    """How many there are."""
    process_index: Annotated[int | None, tyro.conf.arg(metavar="NUMBER", help_behavior_hint="")] = None
    """Which of them this is, from 0; the first one trains and writes, the others help to score."""
    wait_for_hosts: int = 120
    """Seconds to wait for the others."""


def start(coordinator: str | None, count: int | None, index: int | None, timeout_seconds: int) -> None:
    """Joins this process to the others, before anything else of JAX is used; does nothing for a single process.

    Without arguments, a job step of SLURM with several tasks is recognised (JAX reads the rest from its environment).

    Args:
      coordinator: `HOST:PORT` of the process with index 0, the same for all.
      count, index: number of processes, and which of them this is.
      timeout_seconds: how long to wait for the others.

    Raises:
      UserError: only some of the arguments are given, or the leader did not come in time. When the leader waits in vain for
        the others, JAX ends the process with a message of its own.
    """
    given = [argument is not None for argument in (coordinator, count, index)]
    if any(given) and not all(given):
        raise UserError("Several hosts need all three of --coordinator HOST:PORT, --processes N and --process-index I.")
    if not any(given) and int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return
    if index is not None and count is not None and not 0 <= index < count:
        raise UserError(f"--process-index is {index}; with --processes {count} it goes from 0 to {count - 1}.")
    if coordinator is not None and not re.fullmatch(r".+:\d{1,5}", coordinator):
        raise UserError(f"--coordinator is {coordinator!r}; expected HOST:PORT.")
    if index and coordinator is not None:
        _wait_for(coordinator, timeout_seconds)
    try:
        jax.distributed.initialize(
            coordinator,
            count,
            index,
            initialization_timeout=timeout_seconds,
            heartbeat_timeout_seconds=30,  # a host that died ends the others instead of hanging them
            shutdown_timeout_seconds=10,
        )
    except RuntimeError as error:
        raise UserError(f"The hosts could not be joined: {str(error).splitlines()[0][:200]}") from error


def _wait_for(coordinator: str, timeout_seconds: int) -> None:
    """Waits until the leader listens. JAX itself would end the process with a stack trace if it does not come in time."""
    host, _, port = coordinator.rpartition(":")
    end = time.monotonic() + timeout_seconds
    while True:
        try:
            with socket.create_connection((host, int(port)), timeout=1.0):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise UserError(
                    f"No leader at {coordinator} within {timeout_seconds} s ({error.strerror or error}). Start the same command with "
                    "--process-index 0 on that host, or wait longer (--wait-for-hosts)."
                ) from error
            time.sleep(0.2)


def index() -> int:
    return jax.process_index()


def count() -> int:
    return jax.process_count()


def is_leader() -> bool:
    """Whether this process trains and writes; the others help to score."""
    return index() == 0


def share(value: T) -> T:
    """The leader's arrays, for everybody; the others give arrays of the same shapes and types."""
    if count() == 1:
        return value
    return jax.tree.map(lambda part: _shared(np.asarray(part)), value)  # one by one, so that memory holds only one of them twice


def _shared(part: np.ndarray) -> np.ndarray:
    """As whole numbers, because JAX adds the others' zeros to the leader's, which would lose the sign of a zero, and what is too small to be normal."""
    return np.asarray(multihost_utils.broadcast_one_to_all(part.view(f"u{part.itemsize}"))).view(part.dtype)


def share_json(value: Any) -> Any:
    """The leader's value, for everybody; what the others give does not matter."""
    if count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(share(np.int32(text.size)))
    return json.loads(bytes(share(text if is_leader() else np.zeros(size, np.uint8))))


def gather(part: Any) -> Any:
    """Every host's arrays, of the same shapes everywhere, stacked along a new leading axis of hosts."""
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(part))
