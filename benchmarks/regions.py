"""The best windows of a large map, and what asking for parts costs in the pass over a pool.

    python -m benchmarks.regions --out benchmarks/results/regions-cpu.json
    python -m benchmarks.regions --passes bald --turns 40    # these passes alone
    python -m benchmarks.regions --quick

Three measurements. The search of the best windows of a map of 512 x 512 x 300 at every position takes turns with scipy's uniform filter over the same map,
which makes the sums and chooses nothing; memory is what XLA's compiler gives the program, map included, and errors are those against sums in double
precision. One dict for each position, as other programs keep them, takes turns with the search on a map of a million positions. And the pass over a
pool whose statistic is a case's best windows takes turns with the pass whose statistic is a case's mean.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks.measure import interleaved, keep_compiled, median, ratio, use_all_cores, write
from benchmarks.pool import FULL, QUICK, Sizes, key, make_bench
from jaxal.acquisition import regions
from jaxal.acquisition.regions import Search
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.tasks.segmentation import SEGMENTATION_OF_PARTS

WINDOW, AT_MOST = 16, 20
PASSES = ("entropy", "bald", "variation_ratio")


def search(size: tuple[int, ...], values: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sums at every position and the best windows, in the memory of the map, which is given up."""
    inside = jnp.ones(values.shape, bool)
    found = regions.window_means(values, inside, regions.extent_of(inside), Search(size))
    return regions.pick(found, size, AT_MOST)


def measure_search(shape: tuple[int, ...], turns: int) -> dict[str, Any]:
    """Time over scipy's filter, bytes a position at the peak, and the largest relative error of a sum."""
    size = (WINDOW,) * len(shape)
    compiled = (
        jax.jit(functools.partial(search, size), donate_argnums=0).lower(jax.ShapeDtypeStruct(shape, jnp.float32)).compile()
    )
    memory = compiled.memory_analysis()
    values = np.random.default_rng(0).random(shape, np.float32)
    out = np.empty_like(values)
    seconds: dict[str, list[float]] = {"ours": [], "scipy": []}
    for _ in range(turns):
        seconds["scipy"] += _timed(lambda: ndimage.uniform_filter(values, size, output=out, mode="constant"))
        given = jax.block_until_ready(jnp.asarray(values))
        seconds["ours"] += _timed(lambda given=given: jax.block_until_ready(compiled(given)[:2]))
    sums = np.asarray(jax.jit(functools.partial(regions.window_sums, size=size))(values))
    return {
        "what": f"the {AT_MOST} best windows of {WINDOW} a side of {' x '.join(map(str, shape))} positions",
        "scipy_over_ours": ratio(seconds["scipy"], seconds["ours"]),
        "ours_seconds": median(seconds["ours"]),
        "scipy_seconds": median(seconds["scipy"]),
        "bytes_a_position": (
            memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
        )
        / values.size,
        "largest_error": _largest_error(values, sums, size),
    }


def _timed(call: Callable[[], Any]) -> list[float]:
    began = time.perf_counter()
    call()
    return [time.perf_counter() - began]


def _largest_error(values: np.ndarray, sums: np.ndarray, size: tuple[int, ...]) -> float:
    """Relative, of the windows that lie in the map, against sums in double precision, one axis after the other."""
    exact = values.astype(np.float64)
    for axis, part in enumerate(size):
        along, length = np.cumsum(exact, axis), exact.shape[axis]
        exact = np.take(along, range(part - 1, length), axis)
        later = tuple(slice(1, None) if other == axis else slice(None) for other in range(exact.ndim))
        exact[later] -= np.take(along, range(length - part), axis)
    inner = sums[tuple(slice(0, length - part + 1) for length, part in zip(values.shape, size, strict=True))]
    return float(np.abs(inner / exact - 1).max())


def measure_dicts(side: int, turns: int) -> dict[str, Any]:
    """One dict a position, from the same sums, sorted, and those kept that do not overlap, over the search."""
    shape, size = (side, side), (WINDOW, WINDOW)
    values = np.random.default_rng(1).random(shape, np.float32)
    compiled = jax.jit(lambda values: search(size, values)[:2])

    def dicts() -> list[dict[str, Any]]:
        sums = ndimage.uniform_filter(values, size, mode="constant")
        rows = [{"file": "case", "coords": place, "size": size, "score": float(sums[place])} for place in np.ndindex(shape)]
        chosen: list[dict[str, Any]] = []
        for row in sorted(rows, key=lambda row: -row["score"]):
            if all(any(abs(a - b) >= WINDOW for a, b in zip(row["coords"], other["coords"], strict=True)) for other in chosen):
                chosen.append(row)
            if len(chosen) == AT_MOST:
                break
        return chosen

    seconds = interleaved({"dicts": dicts, "ours": lambda: compiled(values)}, turns)
    return {
        "what": f"{side * side} positions: a dict for each over the search",
        "dicts_over_ours": ratio(seconds["dicts"], seconds["ours"]),
        "ours_seconds": median(seconds["ours"]),
        "dicts_seconds": median(seconds["dicts"]),
    }


def measure_passes(folder: Path, sizes: Sizes, turns: int, names: Sequence[str]) -> list[dict[str, Any]]:
    """What a pass costs whose result is windows, over one whose result is a number."""
    bench = make_bench(folder, sizes)
    side = tuple(max(1, length // 4) for length in bench.dataset.shape)
    config = StatisticsConfig(windows=Search(side, at_most=AT_MOST))
    cases, rows = bench.dataset.cases[:8], []
    for whole in names:
        parts = f"windows_{whole}"
        passes = {
            name: Pass(SEGMENTATION_OF_PARTS, bench.model, [name], MembersConfig(dropout=sizes.members), 1, config)
            for name in (whole, parts)
        }
        seconds = interleaved(
            {name: functools.partial(pass_, bench.params, key(), cases, bench.load) for name, pass_ in passes.items()}, turns
        )
        rows.append(
            {
                "what": f"pass of {whole}: windows over the mean",
                "windows_over_mean": ratio(seconds[parts], seconds[whole]),
                "mean_seconds_per_case": median(seconds[whole]) / len(cases),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute; no figures to quote")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--passes", nargs="+", choices=PASSES, help="these passes alone")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    use_all_cores()
    turns = 2 if options.quick else options.turns
    with tempfile.TemporaryDirectory() as name:
        keep_compiled(Path(name) / "compiled")
        rows = []
        if not options.passes:
            rows.append(measure_search((64, 64, 40) if options.quick else (512, 512, 300), turns))
            rows.append(measure_dicts(100 if options.quick else 1000, max(2, turns // 3)))
        rows += measure_passes(Path(name) / "pool", QUICK if options.quick else FULL, turns, options.passes or PASSES)
    table = Table("what", "ratio", "quartiles", "besides")
    for row in rows:
        (measured,) = (value for label, value in row.items() if "_over_" in label)
        besides = (
            f"{row['bytes_a_position']:.2f} bytes a position, errors up to {row['largest_error']:.1e}"
            if "bytes_a_position" in row
            else ""
        )
        table.add_row(row["what"], f"{measured['median']:.2f}", f"{measured['low']:.2f} to {measured['high']:.2f}", besides)
    Console(width=150).print(table)
    if options.out:
        write(options.out, rows, {"turns": turns, "quick": options.quick, "window": WINDOW, "at_most": AT_MOST})


if __name__ == "__main__":
    main()
