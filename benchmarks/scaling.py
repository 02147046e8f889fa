"""What a pass over more and more small cases takes: time a case and memory, on one device and on two, and by two processes.

    python -m benchmarks.scaling --out benchmarks/results/scaling-cpu.json
    python -m benchmarks.scaling --quick

Each measurement is a process of its own, so that its peak memory is its own. The pool repeats a few files under many names. Two
devices on a CPU are two halves of the same cores; throughput there says what sharing costs, not what it gains.
"""

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
from rich.console import Console
from rich.table import Table

from benchmarks.measure import write
from benchmarks.pool import Sizes, make_bench
from jaxal import hosts
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.types import Case, Example

SMALL = Sizes(cases=16, shape=(16, 16, 16), width=8, members=8)
STRATEGIES = ("bald", "regions")


def work(folder: Path, count: int, devices: int) -> dict:
    """One pass over `count` cases in this process; what it took after a first, short one for the compilation."""
    bench = make_bench(folder, SMALL)
    pass_ = Pass(
        bench.kind,
        bench.model,
        STRATEGIES,
        MembersConfig(dropout=SMALL.members),
        4,
        StatisticsConfig(),
        jax.local_devices()[:devices],
    )
    files = bench.dataset.cases
    cases = [files[index % len(files)]._replace(id=f"case_{index:06d}") for index in range(count)]
    key = jax.random.key(0)

    def load(case: Case) -> Example:
        return bench.load(case._replace(id=files[int(case.id.removeprefix("case_")) % len(files)].id))

    pass_(bench.params, key, cases[: 8 * hosts.count()], load)
    start = time.perf_counter()
    pass_(bench.params, key, cases, load)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds_per_case": seconds / count, "peak_bytes": peak}


def measure(folder: Path, count: int, devices: int, processes: int) -> dict:
    """Runs `work` in one or several processes of their own; the slowest and the largest count."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.scaling", "--work", str(folder), str(count), str(devices)]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": str(devices)}
    running = []
    for index in range(processes):
        together = ["--together", f"127.0.0.1:{port}", str(processes), str(index)] if processes > 1 else []
        running.append(subprocess.Popen([*command, *together], env=environment, stdout=subprocess.PIPE, text=True))
    answers = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    worst = {name: max(answer[name] for answer in answers) for name in answers[0]}
    return {"cases": count, "devices": devices, "processes": processes, **worst}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer cases, within a minute; no figures to quote")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", nargs=3, metavar=("FOLDER", "CASES", "DEVICES"), help=argparse.SUPPRESS)
    parser.add_argument("--together", nargs=3, metavar=("COORDINATOR", "COUNT", "INDEX"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        if options.together:
            coordinator, count, index = options.together
            hosts.start(coordinator, int(count), int(index), 60)
        folder, count, devices = options.work
        print(json.dumps(work(Path(folder), int(count), int(devices))))
        return
    counts = (50, 200) if options.quick else (100, 1000, 10000)
    repeats = 1 if options.quick else 3
    ways = [(1, 1), (2, 1), (1, 2)]  # devices, processes
    console = Console(width=130)
    console.print(f"{SMALL}, {counts} cases")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pool"
        make_bench(folder, SMALL)
        rows = []
        for count in counts:
            for _ in range(repeats if count < 10000 else 1):
                rows += [measure(folder, count, *way) for way in ways]
    table = Table("cases", "devices", "processes", "ms/case", "throughput over one device", "peak MB")
    for row in rows:
        alone = [other for other in rows if (other["cases"], other["devices"], other["processes"]) == (row["cases"], 1, 1)]
        row["throughput_over_one"] = min(other["seconds_per_case"] for other in alone) / row["seconds_per_case"]
        table.add_row(
            str(row["cases"]), str(row["devices"]), str(row["processes"]), f"{1e3 * row['seconds_per_case']:.2f}",
            f"{row['throughput_over_one']:.2f}", f"{row['peak_bytes'] / 1e6:.0f}",
        )  # fmt: skip
    console.print(table)
    few, many = (
        max(row["peak_bytes"] for row in rows if row["cases"] == count and row["processes"] == 1) for count in counts[-2:]
    )
    console.print(f"{counts[-1]} cases take {many / few:.2f} times the memory of {counts[-2]}.")
    if options.out:
        write(options.out, rows, {**SMALL._asdict(), "counts": counts, "quick": options.quick})


if __name__ == "__main__":
    main()
