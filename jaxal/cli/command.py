"""What all commands share: exit statuses, one message for an error, and the compilation cache."""

import functools
import hashlib
import logging
import os
import platform
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import jaxlib
import tyro

from jaxal import hosts
from jaxal.errors import OutOfMemory, UserError, is_of_memory
from jaxal.report.terminal import Display
from jaxal.studies.common_options import StudyArguments, check_strategies
from jaxal.studies.submission import SubmitConfig, submitted
from jaxal.training.trainer import Interrupted

T = TypeVar("T")
_LESS_MEMORY = (
    "Everything finished is kept. A smaller --batch-size, a --preset with smaller batches in training, fewer --samples, --networks or --flips need less; on scans fewer "
    "--patch-voxels or a coarser --spacing-mm, too. Give another --out with them."
)


def parse(arguments: type[T], command: str, given: Sequence[str] | None = None) -> T:
    """Reads a command's options, from the command line unless given; a wrong one ends the process with a message and status 2.

    Args:
      arguments: a dataclass of them.
      command: how it is called: a module, or `jaxal` and a verb.
      given: instead of the command line.
    """
    return tyro.cli(
        arguments,
        args=given,
        prog=command if command.startswith("jaxal ") else f"python -m {command}",
        description=arguments.__doc__,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def run(
    work: Callable[[Display], int],
    given: hosts.HostsConfig | None = None,
    submission: SubmitConfig | None = None,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Runs a command's work: bad input and a wish to stop end in one message and an exit status, not in a traceback.

    Args:
      work: gets where to show things; returns the exit status.
      given: with whom the work is shared; nobody when left out.
      submission: whether the command is submitted as jobs of a cluster instead.
      check: refuses before that what each job would refuse.

    Returns:
      What `work` returns; 2 for a `UserError`, a full disk or a missing permission; 128 plus the signal's number if a signal asked to stop.
    """
    _use_cores()
    given = given or hosts.HostsConfig()
    if submission is not None and submission.submit:
        work = functools.partial(_submit, submission, check)
    try:
        hosts.start(given.coordinator, given.processes, given.process_index, given.wait_for_hosts)
    except UserError as error:
        Display().error(str(error))
        return 2
    display = Display(quiet=not hosts.is_leader())
    for name in ("absl", "asyncio"):  # Orbax reports through exceptions, too; once is enough
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    _use_compilation_cache()
    try:
        with display.stop_on_signals():
            return work(display)
    except OutOfMemory as error:
        display.error(f"{error} {_LESS_MEMORY}")
        return 2
    except UserError as error:
        display.error(str(error))
        return 2
    except OSError as error:
        if error.errno is None:  # not the operating system's
            raise
        place = error.filename or "A file"
        display.error(f"{place}: could not be written or read ({error.strerror}). See to it and run the same command again.")
        return 2
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and not is_of_memory(error):
            raise
        asked = str(error).splitlines()[0] if str(error) else "no details"
        display.error(f"Not enough memory ({asked}). {_LESS_MEMORY}")
        return 2
    except Interrupted:
        display.note(
            f"Stopped; everything finished is kept. Run the same command again to go on{', without --fresh' if '--fresh' in sys.argv else ''}."
        )
        return 128 + (display.stopped_by or signal.SIGINT)


def run_study(work: Callable[[Display], int], arguments: StudyArguments) -> int:
    """A study's work, or the submission of its workers; of these a strategy that there is not is told here and not in each worker's log. See `run`."""
    return run(work, arguments.hosts, arguments.submission, lambda: check_strategies(arguments))


def _submit(submission: SubmitConfig, check: Callable[[], None], display: Display) -> int:
    check()
    display.note("\n".join(submitted(submission)))
    return 0


def _use_cores() -> None:
    """Makes a device of every core of a CPU: the pass is faster so, trainings stay as they are, and no number changes.

    Each device holds a case of its own in memory, so more than eight are made only if JAX_NUM_CPU_DEVICES asks for them.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jax.config.update("jax_num_cpu_devices", min(cores, 8))


def _use_compilation_cache() -> None:
    """Keeps compiled programs for the next run, unless JAX_COMPILATION_CACHE_DIR says where or `off`.

    Programs compiled for one processor may not run on another, so the folder is named after the processor and jaxlib.
    """
    asked = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if asked == "off":
        jax.config.update("jax_compilation_cache_dir", None)
        return
    if asked is None:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        processor = hashlib.sha256(_processor().encode()).hexdigest()[:8]
        jax.config.update("jax_compilation_cache_dir", str(home / "jaxal" / f"jaxlib-{jaxlib.__version__}-{processor}"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    warnings.filterwarnings("ignore", message=".*persistent compilation cache.*")  # a cache that fails costs time, nothing else


def _processor() -> str:
    """Name and features of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    except OSError:
        return platform.processor() + platform.machine()
