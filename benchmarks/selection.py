"""Rules that choose sets, against the libraries that have them, on the same machine in turns.

    python -m benchmarks.selection --python PEERS/bin/python --out benchmarks/results/selection-cpu.json
    python -m benchmarks.selection --quick --python PEERS/bin/python

PEERS is a virtual environment of its own: `python -m venv PEERS && PEERS/bin/pip install apricot-select==0.6.1 scikit-activeml==1.0.1`.

Greedy coverage takes turns with apricot's facility location and with scikit-activeml's MaxHerding on points that both can hold; places are compared. A large pool is
covered alone, in a process of its own whose memory is told. BAIT's binary form takes turns with the published loop, of which a part is run and the rest counted in
proportion. EPIG is timed alone.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.against_peers import Peer
from benchmarks.measure import interleaved, median, ratio, use_all_cores, write
from jaxal.acquisition.coverage import Cover, Kernel, greedy_coverage, unit_rows
from jaxal.acquisition.fisher import Seen, bait_of_best_class
from jaxal.acquisition.predictive_information import epig

SCRIPT = Path(__file__).parent / "peers_selection.py"
PART = 8  # steps of the published loop of BAIT that are run


class Sizes(NamedTuple):
    """Of each measurement: points, dimensions, points that are chosen."""

    coverage: tuple[int, int, int] = (5_000, 384, 100)
    large: tuple[int, int, int] = (50_000, 384, 500)
    bait: tuple[int, int, int] = (20_000, 512, 100)
    epig: tuple[int, int, int, int] = (4_500, 1_000, 20, 5)  # items, targets, members, classes


QUICK = Sizes((600, 32, 20), (2_000, 32, 20), (800, 32, 8), (100, 50, 5, 3))


def blobs(count: int, dimensions: int) -> np.ndarray:
    """Unit vectors around two hundred directions, as embeddings of classes are."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, dimensions))
    return unit_rows(centres[rng.integers(0, 200, count)] + 0.7 * rng.normal(size=(count, dimensions)))


def cover(points: np.ndarray, budget: int, kernel: Kernel) -> np.ndarray:
    count = len(points)
    return greedy_coverage(Cover(points, np.ones(count), np.ones(count), kernel), np.ones(count, bool), budget)[0]


def measure_coverage(peer: Peer, folder: Path, sizes: Sizes, turns: int) -> list[dict[str, Any]]:
    """Ours over each library's."""
    count, dimensions, budget = sizes.coverage
    points, rows = blobs(count, dimensions), []
    np.save(folder / "points.npy", points)
    contests: list[tuple[str, str, Kernel]] = [
        ("apricot", "facility_location", "cosine"),
        ("scikit-activeml", "herding", "gaussian"),
    ]
    for library, call, kernel in contests:
        places, theirs, ours = cover(points, budget, kernel).tolist(), [], []
        _, chosen = peer(call, points=str(folder / "points.npy"), budget=budget)
        for _ in range(turns):
            start = time.perf_counter()
            cover(points, budget, kernel)
            ours.append(time.perf_counter() - start)
            theirs.append(peer(call, points=str(folder / "points.npy"), budget=budget)[0])
        rows.append(
            {
                "what": f"{library}'s time over ours, {count} x {dimensions}, {budget} chosen",
                "peer_over_ours": ratio(theirs, ours),
                "ours_seconds": median(ours),
                "peer_seconds": median(theirs),
                "same_places": sum(a == b for a, b in zip(places, chosen, strict=True)),
            }
        )
    return rows


def measure_large(sizes: Sizes) -> dict[str, Any]:
    """Seconds and memory of a process that covers a large pool."""
    command = [sys.executable, "-m", "benchmarks.selection", "--large", *map(str, sizes.large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    seconds = {"median": told["seconds"], "low": told["seconds"], "high": told["seconds"]}
    return {"what": "x".join(map(str, sizes.large)) + " covered, seconds", "seconds": seconds, "gibibytes": told["gibibytes"]}


def large(count: int, dimensions: int, budget: int) -> None:
    points = blobs(count, dimensions)
    start = time.perf_counter()
    cover(points, budget, "gaussian")
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "gibibytes": peak / 2**20}))


def measure_bait(peer: Peer, folder: Path, sizes: Sizes, turns: int) -> dict[str, Any]:
    """The published loop over ours."""
    count, dimensions, budget = sizes.bait
    rng = np.random.default_rng(0)
    features, best = rng.normal(size=(count, dimensions)) / np.sqrt(dimensions), rng.uniform(0.5, 1.0, count)
    np.save(folder / "features.npy", features)
    np.save(folder / "best.npy", best)
    pool = Seen(features, np.stack([best, 1.0 - best], -1))
    nothing = Seen(features[:0], pool.probability[:0])
    given = {"features": str(folder / "features.npy"), "best": str(folder / "best.npy"), "budget": budget, "steps": PART}
    theirs, ours = [], []
    peer("bait_of_best_class", **given)
    for _ in range(turns):
        start = time.perf_counter()
        bait_of_best_class(pool, nothing, np.ones(count, bool), budget, (1.0, 1.0))
        ours.append(time.perf_counter() - start)
        theirs.append(peer("bait_of_best_class", **given)[0] * 3 * budget / PART)
    return {
        "what": f"the published loop of binary BAIT over ours, {count} x {dimensions}, {budget} chosen",
        "peer_over_ours": ratio(theirs, ours),
        "ours_seconds": median(ours),
        "peer_seconds": median(theirs),
        "steps_timed": PART,
    }


def measure_epig(sizes: Sizes, turns: int) -> dict[str, Any]:
    """Seconds of EPIG."""
    items, targets, members, classes = sizes.epig
    rng = np.random.default_rng(0)
    pool, others = (jnp.asarray(rng.dirichlet(np.ones(classes), (count, members)), jnp.float32) for count in (items, targets))
    run = jax.jit(epig)
    seconds = interleaved({"epig": lambda: run(pool, others)}, turns)["epig"]
    return {
        "what": f"EPIG of {items} items, {targets} targets, {members} members, {classes} classes, seconds",
        "seconds": {"median": median(seconds), "low": min(seconds), "high": max(seconds)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute; no figures to quote")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--python", help="of an environment that has apricot and scikit-activeml; without it they are left out")
    parser.add_argument("--large", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.large:
        return large(*options.large)
    use_all_cores()
    turns, sizes = (2, QUICK) if options.quick else (options.turns, Sizes())
    rows = [measure_large(sizes), measure_epig(sizes, turns)]
    if options.python:
        with tempfile.TemporaryDirectory() as name:
            peer = Peer(options.python, SCRIPT)
            rows += [*measure_coverage(peer, Path(name), sizes, turns), measure_bait(peer, Path(name), sizes, turns)]
            peer.close()
    table = Table("what", "measured", "quartiles")
    for row in rows:
        (measured,) = (value for value in row.values() if isinstance(value, dict))
        table.add_row(row["what"], f"{measured['median']:.2f}", f"{measured['low']:.2f} to {measured['high']:.2f}")
    Console(width=150).print(table)
    if options.out:
        write(options.out, rows, {"turns": turns, "quick": options.quick})


if __name__ == "__main__":
    main()
