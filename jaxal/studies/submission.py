"""A study's workers as jobs of a cluster, by submitit (an extra): each is the same command, so nothing else is to be told to them."""

import dataclasses
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxal.errors import UserError
from jaxal.studies.option_types import Names, split

LOGS = Path("runs/submitted")  # what jobs write
OWN = ("--submit", "--workers", "--slurm", "--job-minutes", "--dry-run")  # what a job must not be told


@dataclasses.dataclass(frozen=True)
class SubmitConfig:
    """Workers as jobs of a cluster, which share the study's runs."""

    submit: Annotated[Literal["slurm", "local"] | None, tyro.conf.arg(metavar="{slurm,local}", help_behavior_hint="")] = None
    """Submits this command as jobs instead of running it: to SLURM, or as processes on this machine."""
    workers: int = 4
    """How many."""
    slurm: Names = ()
    """Options of SLURM as submitit calls them, such as partition=gpu,gres=gpu:1,mem=16GB."""
    job_minutes: int = 1440
    """That a job may take. One that ends before the study is done loses nothing: submit again."""
    dry_run: bool = False
    """Print what would be submitted."""


def submitted(config: SubmitConfig, given: Sequence[str] | None = None) -> list[str]:
    """Submits the command that this process was started with, without the options of submission.

    Args:
      config: how.
      given: the command; this process's own when left out.

    Returns:
      Lines to show.

    Raises:
      UserError: submitit is not installed, there is no SLURM here, or an option is none that SLURM has.
    """
    if config.workers < 1:
        raise UserError(f"--workers is {config.workers}; it must be at least 1.")
    if config.job_minutes < 1:
        raise UserError(f"--job-minutes is {config.job_minutes}; it must be at least 1.")
    if importlib.util.find_spec("submitit") is None:
        raise UserError("--submit needs submitit. Install the extra: `pip install 'jaxal[submit]'`.")
    import submitit

    if "--fresh" in (given or sys.orig_argv):
        raise UserError(
            "--fresh: every worker would set the others' results aside. Run the command with it first, or move the folder away."
        )
    command = [sys.executable, *_without_own((given or sys.orig_argv)[1:])]
    options = _options(config.slurm)
    if config.dry_run:
        return _script(config, command, options).splitlines()
    try:
        executor = submitit.AutoExecutor(folder=LOGS / "%j", cluster=config.submit)
        of_slurm = {f"slurm_{name}": value for name, value in options.items()} if config.submit == "slurm" else {}
        executor.update_parameters(name="jaxal", timeout_min=config.job_minutes, **of_slurm)
        function = submitit.helpers.CommandFunction(command, verbose=False)
        with executor.batch():
            jobs = [executor.submit(function) for _ in range(config.workers)]
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise UserError(f"--submit {config.submit}: {str(error).splitlines()[0]}") from error
    names = ", ".join(str(job.job_id) for job in jobs)
    return [f"{config.workers} workers: {names}. What they write: {LOGS}. `jaxal status RESULTS` tells how far they are."]


def _script(config: SubmitConfig, command: Sequence[str], options: dict[str, str]) -> str:
    """What SLURM would be given; of this machine the command, so many times."""
    if config.submit != "slurm":
        return "\n".join([shlex.join(command)] * config.workers)
    from submitit.slurm import slurm

    try:
        return str(
            slurm._make_sbatch_string(
                command=shlex.join(command),
                folder=LOGS / "%j",
                job_name="jaxal",
                time=config.job_minutes,
                map_count=config.workers,
                **options,  # type: ignore[arg-type]
            )
        )
    except TypeError as error:
        raise UserError(f"--slurm: {str(error).rpartition('()')[2].strip() or error}.") from error


def _options(given: Sequence[str]) -> dict[str, Any]:
    options = {}
    for text in split(given):
        name, mark, value = text.partition("=")
        if not (name and mark and value):
            raise UserError(f"--slurm: {text!r} is not NAME=VALUE, such as partition=gpu.")
        options[name.replace("-", "_")] = int(value) if value.isdigit() else value
    return options


def _without_own(words: Sequence[str]) -> list[str]:
    """A command's words without the options of submission and their values."""
    kept, is_own = [], False
    for word in words:
        if word.startswith("--"):
            is_own = word.partition("=")[0] in OWN
        if not is_own:
            kept.append(word)
    return kept
