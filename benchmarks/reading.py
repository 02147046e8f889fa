"""What reading a pool sustains, for how long a device waits for it, and the memory that 100 000 cases take.

    python -m benchmarks.reading --out benchmarks/results/reading-cpu.json
    python -m benchmarks.reading --quick

The share of time that a device waits is measured with one made fast: the pass itself runs, but its program computes nothing, and its results
are there a known time after the batch and the results before; whoever wants them sleeps until then, so that no core is taken from reading. One
"as fast as this machine" takes as long as this machine's own program; N times as fast, 1/N of that. Prepared cases lie in shards or in a file each; they were read once before, so that the disk itself is not measured.
Memory is that of processes of their own, which score different cases by `entropy` and `bald` with a journal, as rounds do.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import median, write
from jaxal.data.cases import Dataset
from jaxal.data.scans.prepare import load_case
from jaxal.data.shards import Packing
from jaxal.data.stream import batches
from jaxal.networks.unet import UNetConfig, unet
from jaxal.scoring.journal import Journal
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Given, Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Case, Example, Params

SMALL, MIDDLE = (16, 16, 16), (48, 48, 32)
WIDTH, SAMPLES, BATCH = 8, 8, 16
VERSION = "0123456789abcdef"  # as long as those of real cases
TIMES_AS_FAST = (1, 10, 20, 30, 100, 300)


class Pool(NamedTuple):
    """Prepared cases on disk without labels, and a network."""

    dataset: Dataset
    params: Params
    pass_: Pass

    def load(self, case: Case) -> Example:
        return load_case(case, self.dataset)


def write_cases(folder: Path, shape: tuple[int, int, int], count: int, packed: bool) -> None:
    """Writes different prepared images of noise."""
    folder.mkdir()
    packing = Packing(folder, "shard")
    for number in range(count):
        image = np.random.default_rng(number).standard_normal((*shape, 1), np.float32)
        if packed:
            packing.add({_name(number): image})
        else:
            np.save(folder / f"{_name(number)}.npy", image)
    packing.flush()


def _name(number: int) -> str:
    return f"case_{number:06d}-{VERSION}.image"


def open_pool(folder: Path, shape: tuple[int, int, int], count: int) -> Pool:
    """The first cases of a folder."""
    shard_of = Packing(folder, "shard").shard_of
    paths = (shard_of.get(_name(number)) or folder / f"{_name(number)}.npy" for number in range(count))
    cases = tuple(Case(f"case_{number:06d}", "", path, None, "", VERSION) for number, path in enumerate(paths))
    model = unet(UNetConfig(width=WIDTH, foreground_prior=0.3))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *shape, 1)))
    members = MembersConfig(dropout=SAMPLES)
    pass_ = Pass(
        SEGMENTATION, model, ["entropy", "bald"], members, BATCH, StatisticsConfig(), jax.local_devices()[:1]
    )  # fmt: skip
    return Pool(Dataset(cases, ("T1",), ("background", "ball"), shape, (1.0, 1.0, 1.0)), params, pass_)


class FastDevice:
    """Stands in for the program of a pass: by the clock, one batch after the other takes a fixed time once its arrays are there.

    Args:
      seconds: of a batch.
      results: shapes and types of what the program returns.
    """

    def __init__(self, seconds: float, results: Any):
        self._seconds, self._results = seconds, results
        self._began = self._free = 0.0  # when the first batch began, and when the last one is done
        self._waited = 0.0

    def __call__(self, params: Params, key: jax.Array, examples: Example, numbers: jax.Array) -> Any:
        jax.block_until_ready(examples)
        now = time.perf_counter()
        if not self._began:
            self._began = self._free = now
        self._waited += max(now - self._free, 0.0)
        self._free = max(now, self._free) + self._seconds
        return jax.tree.map(lambda like: Later(self._free, like.shape, like.dtype), self._results)

    def idle(self) -> float:
        """The share of time between the first batch's begin and the last one's end in which the device waited."""
        return self._waited / max(self._free - self._began, 1e-9)


@dataclasses.dataclass(frozen=True)
class Later:
    """A result that is there from a moment on; whoever asks before sleeps until then."""

    moment: float
    shape: tuple[int, ...]
    dtype: Any

    def copy_to_host_async(self) -> None:
        pass

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        time.sleep(max(self.moment - time.perf_counter(), 0.0))
        return np.zeros(self.shape, self.dtype)


def measure_reading(pool: Pool, cases: Sequence[Case]) -> float:
    """Cases a second that are read and put into batches, with nothing else to do; the best of three."""
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for _ in batches(cases, pool.load, BATCH):
            pass
        seconds.append(time.perf_counter() - start)
    return len(cases) / min(seconds)


def measure_own(pool: Pool, cases: Sequence[Case]) -> float:
    """Seconds a batch of this machine's own program, all else left out."""
    batch = next(batches(cases, pool.load, BATCH))
    arguments = jax.device_put((Given(pool.params, {}), jax.random.key(0), batch.examples, np.zeros(BATCH, np.uint32)))
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        jax.block_until_ready(pool.pass_._run(*arguments))
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def measure_idle(pool: Pool, cases: Sequence[Case], seconds: float, folder: Path) -> dict[str, float]:
    """A whole pass with a journal, its program made to take these seconds a batch."""
    key, program = jax.random.key(0), pool.pass_._run
    device = FastDevice(seconds, pool.pass_._structure(pool.params, key, pool.load(cases[0])))
    pool.pass_._run = device
    try:
        with tempfile.TemporaryDirectory(dir=folder) as journal:
            start = time.perf_counter()
            pool.pass_(pool.params, key, cases, pool.load, journal=Journal(Path(journal) / "scores"))
            taken = time.perf_counter() - start
    finally:
        pool.pass_._run = program
    return {"idle": device.idle(), "cases_a_second": len(cases) / taken}


def score(folder: Path, count: int) -> dict[str, float]:
    """Scores the first cases of a folder in this process; its peak of memory."""
    pool = open_pool(folder, SMALL, count)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder.parent) as journal:
        results = pool.pass_(pool.params, jax.random.key(0), pool.dataset.cases, pool.load, journal=Journal(Path(journal) / "s"))
    assert all(len(leaf) == count and np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"cases": count, "seconds": time.perf_counter() - start, "peak_bytes": 1024 * int(peak.split()[1])}


def measure_memory(folder: Path, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Each in a process of its own."""
    rows = []
    for count in counts:
        command = [sys.executable, "-m", "benchmarks.reading", "--score", str(folder), str(count)]
        answer = subprocess.run(command, env={**os.environ}, stdout=subprocess.PIPE, text=True, check=True).stdout
        rows.append({"what": "memory", **json.loads(answer.splitlines()[-1])})
    return rows


def measure_speed(folder: Path, shape: tuple[int, int, int], count: int, console: Console) -> list[dict[str, Any]]:
    """Reading alone, and the idle share at several speeds, from files and from shards."""
    rows: list[dict[str, Any]] = []
    own = 0.0
    for packed in (False, True):
        place = folder / f"{'x'.join(map(str, shape))}-{'shards' if packed else 'files'}"
        write_cases(place, shape, count, packed)
        pool = open_pool(place, shape, count)
        cases, about = pool.dataset.cases, {"shape": shape, "kept": "shards" if packed else "files"}
        own = own or measure_own(pool, cases)  # the same device for both
        alone = measure_reading(pool, cases)
        rows.append({"what": "reading", **about, "cases_a_second": alone, "bytes_a_second": alone * 4 * int(np.prod(shape))})
        for times in TIMES_AS_FAST:
            some = cases[: max(8 * BATCH, int(3 * times / own) * BATCH)]  # no more than some seconds
            row = measure_idle(pool, some, own / times, folder)
            rows.append({"what": "idle", **about, "times_as_fast": times, "device_cases_a_second": BATCH * times / own, **row})
        rows.append({"what": "free", **about, **measure_idle(pool, cases, 0.0, folder)})
    show(rows, console)
    return rows


def show(rows: Sequence[dict[str, Any]], console: Console) -> None:
    table = Table("shape", "kept in", "", "device's cases/s", "cases/s", "MB/s", "idle")
    for row in rows:
        what = {"reading": "reading alone", "free": "a pass whose program takes no time"}
        table.add_row(
            " x ".join(map(str, row["shape"])),
            row["kept"],
            what.get(row["what"]) or f"{row['times_as_fast']} times this machine",
            f"{row['device_cases_a_second']:,.0f}" if row["what"] == "idle" else "",
            f"{row['cases_a_second']:,.0f}",
            f"{row['bytes_a_second'] / 1e6:,.0f}" if row["what"] == "reading" else "",
            f"{row['idle']:.1%}" if row["what"] == "idle" else "",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases, within a minute; no figures to quote")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--score", nargs=2, metavar=("FOLDER", "CASES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.score:
        print(json.dumps(score(Path(options.score[0]), int(options.score[1]))))
        return
    counts = (
        (100, 1000) if options.quick else (1000, 1000, 1000, 100_000)
    )  # a process's peak differs by some hundredths each time
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as name:
        rows = measure_speed(Path(name), SMALL, 500 if options.quick else 20_000, console)
        rows += measure_speed(Path(name), MIDDLE, 50 if options.quick else 1000, console)
        write_cases(Path(name) / "many", SMALL, counts[-1], packed=True)
        memory = measure_memory(Path(name) / "many", counts)
    for row in memory:
        console.print(f"{row['cases']} cases: {row['peak_bytes'] / 1e6:.0f} MB at most, {row['seconds']:.0f} s")
    few = median([row["peak_bytes"] for row in memory[:-1]])
    console.print(
        f"{counts[-1]} cases take {memory[-1]['peak_bytes'] / few:.2f} times the memory of {counts[0]}, the median of those."
    )
    if options.out:
        sizes = {"width": WIDTH, "samples": SAMPLES, "batch": BATCH, "counts": counts, "quick": options.quick}
        write(options.out, rows + memory, sizes)


if __name__ == "__main__":
    main()
