"""All benchmarks that make sense on a device, one after another within some minutes, into one file.

    python -m benchmarks.all --device gpu
    python -m benchmarks.all --device cpu --quick --out all-cpu.json

The file is `benchmarks/results/all-gpu.json`: machine and versions, the rows of every section, and what failed with its message. Each section is a
process of its own, so one that fails, hangs or runs out of memory takes none of the others with it. When the minutes are over the
section that runs is stopped, what it has measured is kept, and those after it are named as left out. With `--python PEERS/bin/python`
the peers of `benchmarks.against_peers` and `benchmarks.training` come last. How two devices share work is left to `benchmarks.scaling`, which counts CPU devices.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from jaxal.files import write_text

ROOT = Path(__file__).parents[1]
OWN = ("copies", "ceilings", "pool", "steps", "choices", "windows", "images", "convolutions")


class Section(NamedTuple):
    """A part of the whole: the arguments of Python that measure it and write `--out`."""

    name: str
    arguments: tuple[str, ...]


def sections(quick: bool, peers: str | None) -> list[Section]:
    """What is run, the most wanted first."""
    small = ("--quick",) if quick else ()
    sizes = ("--side", "32", "--batch", "4", "--repeats", "2") if quick else ("--side", "512", "--batch", "64")
    own = [Section(name, ("-m", "benchmarks.accelerator", "--section", name, *small)) for name in OWN]
    dtypes = ("float32",) if quick else ("float32", "bfloat16")
    rates = [Section(f"images, {dtype}", ("-m", "benchmarks.images", *sizes, "--dtype", dtype)) for dtype in dtypes]
    if peers is None:
        return [*own, *rates]
    of_peers = [
        Section(f"{name}, peers", ("-m", f"benchmarks.{name}", *small, "--python", peers))
        for name in ("against_peers", "training")
    ]
    return [*own, *rates, *of_peers]


class Result(NamedTuple):
    """What became of a section: what it wrote, and in a sentence what went wrong."""

    written: dict[str, Any]
    trouble: str | None


def run(section: Section, folder: Path, environment: dict[str, str], ends: float, console: Console, place: str) -> Result:
    """Runs a section until it is through or the time `ends`."""
    out, log = folder / "rows.json", folder / "log"
    out.unlink(missing_ok=True)
    stopped = False
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *section.arguments, "--out", str(out)],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            with console.status("") as status:
                while process.poll() is None and not stopped:
                    left = ends - time.monotonic()
                    status.update(f"{place} {section.name}; at most {left / 60:.1f} minutes left")
                    stopped = left <= 0
                    time.sleep(min(1.0, max(left, 0.05)))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    written = json.loads(out.read_text()) if out.exists() else {}
    if stopped:
        return Result(written, "stopped, because the time was over")
    if process.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        return Result(written, f"{lines[-1].strip()[:500] if lines else 'no message'} (exit status {process.returncode})")
    return Result(written, None)


def measure(
    chosen: Sequence[Section],
    minutes: float,
    environment: dict[str, str],
    about: dict[str, Any],
    out: Path | None,
    console: Console,
) -> list[dict[str, str]]:
    """Runs the sections in turn and writes the file after each; returns what failed or was left out."""
    began, rows, failures, seconds = time.monotonic(), [], [], {}
    ends = began + 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        for number, section in enumerate(chosen, 1):
            place, start = f"[{number}/{len(chosen)}]", time.monotonic()
            if start >= ends:
                result = Result({}, "left out, because the time was over")
            else:
                result = run(section, Path(name), environment, ends, console, place)
            seconds[section.name] = round(time.monotonic() - start, 1)
            rows += [{"section": section.name, **row} for row in result.written.get("rows", [])]
            if result.trouble:
                failures.append({"section": section.name, "message": result.trouble})
            told = f"{len(result.written.get('rows', []))} rows" + (f"; {result.trouble}" if result.trouble else "")
            console.print(f"{place} {section.name}: {told}, {seconds[section.name]} s", markup=False, highlight=False)
            if out:
                whole = {**about, "minutes": minutes, "seconds": seconds, "failures": failures, "rows": rows}
                write_text(out, json.dumps(whole, indent=1) + "\n")
    return failures


def describe(environment: dict[str, str]) -> dict[str, Any]:
    """Machine and versions, told by a process of its own: what touches a GPU here would keep its memory from the sections."""
    code = "import json; from benchmarks.measure import circumstances; print(json.dumps(circumstances()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "gpu", "tpu"), required=True)
    parser.add_argument("--quick", action="store_true", help="small sizes for two cores; no figures to quote")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which it stops")
    parser.add_argument("--only", nargs="+", metavar="SECTION", help="of those that are listed with an unknown one")
    parser.add_argument("--python", help="the Python that has the peers; without it they are left out")
    parser.add_argument("--out", type=Path, help="by default all-DEVICE.json among the results, with --quick none")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(width=130, soft_wrap=True)
    chosen = sections(options.quick, options.python)
    if unknown := set(options.only or ()) - {section.name for section in chosen}:
        parser.error(f"no section {sorted(unknown)}; there are {[section.name for section in chosen]}")
    chosen = [section for section in chosen if options.only is None or section.name in options.only]
    out = options.out or (None if options.quick else ROOT / "benchmarks" / "results" / f"all-{options.device}.json")
    with tempfile.TemporaryDirectory() as cache:
        kept = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
        environment = kept | os.environ
        if options.device == "cpu":
            environment["JAX_PLATFORMS"] = "cpu"
        if options.quick:
            environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # most of the time would be the compiler's
        about = describe(environment)
        if not about.get("device", "").startswith(f"{options.device}:"):
            there = about.get("device", "no device at all")
            console.print(
                f"There is no {options.device}: JAX finds {there}. Install jax for it (README), or give another --device."
            )
            return 2
        console.print(f"{about['device']}, jax {about['versions']['jax']}, at most {options.minutes:g} minutes")
        try:
            failures = measure(chosen, options.minutes, environment, {**about, "quick": options.quick}, out, console)
        except KeyboardInterrupt:
            console.print(f"Stopped; the sections that were through are in {out}." if out and out.exists() else "Stopped.")
            return 130
    if out:
        console.print(f"All is in {out}.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
