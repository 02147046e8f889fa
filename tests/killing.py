"""Runs the main command on a tiny data set, and kills it at random moments, again and again, until it is through."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
OPTIONS = ["--preset", "smoke", "--initial", "balanced", "--save-every", "0.3"]
SETTING = "data-balanced"


def command(data: Path, out: Path, strategy: str, *more: str, rounds: int = 3) -> list[str]:
    return [
        sys.executable,
        "-m",
        "experiments.brain_caudate",
        "--strategy",
        strategy,
        "--data",
        str(data),
        "--out",
        str(out),
        "--prepared",
        str(data.parent / "prepared"),
        *OPTIONS,
        "--rounds",
        str(rounds),
        *more,
    ]


def environment(cache: Path) -> dict[str, str]:
    """A cache of compiled programs, so that kills hit more than compilation."""
    return {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def start(arguments: list[str], cache: Path, **more: str) -> subprocess.Popen:
    """Starts a command, with more environment variables."""
    return subprocess.Popen(
        arguments, cwd=ROOT, env=environment(cache) | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def here(arguments: list[str], output: io.StringIO | None = None) -> tuple[int, str]:
    """Runs a command in this process, where its programs are compiled already; for what no process of its own is needed for.

    What it prints goes to `output`, which another thread may read meanwhile.
    """
    from experiments import brain_caudate
    from jaxal.cli import command

    output = io.StringIO() if output is None else output
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = brain_caudate.main(command.parse(brain_caudate.Arguments, "experiments.brain_caudate", arguments[3:]))
    return status, output.getvalue()


def finish(arguments: list[str], cache: Path) -> tuple[int, str]:
    done = subprocess.run(
        arguments, cwd=ROOT, env=environment(cache), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def rounds(out: Path, strategy: str) -> list[dict]:
    """The ledger without what may differ between two runs: the times."""
    lines = (out / SETTING / strategy / "seed-0" / "rounds.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


def kill(arguments: list[str], cache: Path, moment: float, after: Path | None = None) -> bool:
    """Starts a command and kills it with SIGKILL some seconds later, or so long after a file is there; says whether it still ran."""
    process = start(arguments, cache)
    while after and not after.exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(moment)
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def kill_until_done(
    data: Path, out: Path, cache: Path, strategy: str, kills: int, longest: float, rng: random.Random, *more: str
) -> int:
    """Kills a run with SIGKILL at random moments up to `kills` times, then lets it end; returns the kills that struck a live run."""
    arguments = command(data, out, strategy, *more)
    struck = sum(kill(arguments, cache, rng.uniform(0.3, longest)) for _ in range(kills))
    status, output = finish(arguments, cache)
    if status:
        raise AssertionError(f"exit status {status}:\n{output}")
    return struck
