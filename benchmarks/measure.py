"""How benchmarks measure: interleaved, as ratios, with the circumstances written down."""

import datetime
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from jaxal.files import write_text


def interleaved(
    contestants: Mapping[Any, Callable[[], Any]], repeats: int, next_turn: Callable[[], None] = lambda: None
) -> dict[Any, list[float]]:
    """Seconds of each call, all contestants taking turns, so that a slow moment of the machine strikes all of them alike.

    Each is called once before the clock runs, for its compilation; `next_turn` is called after every turn.
    """
    for call in set(contestants.values()):
        jax.block_until_ready(call())
    seconds: dict[Any, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, call in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
        next_turn()
    return seconds


def ratio(slower: list[float], faster: list[float]) -> dict[str, float]:
    """Median and quartiles of the ratios of two contestants' times, pair by pair."""
    ratios = sorted(a / b for a, b in zip(slower, faster, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return {"median": middle, "low": low, "high": high}


def median(seconds: list[float]) -> float:
    return statistics.median(seconds)


def use_all_cores() -> None:
    """A device for every core of a CPU, as the commands of `experiments` have it. Call it before JAX is used."""
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


def keep_compiled(folder: Path) -> None:
    """Compiles each program once, though it is asked for its memory and called."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def plot_ratios(path: Path, title: str, ratios: Mapping[str, Mapping[str, float]]) -> None:
    """Draws medians of ratios as bars with their quartiles, the largest on top; a line marks one."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = sorted(ratios, key=lambda name: ratios[name]["median"])
    values = [ratios[name]["median"] for name in names]
    errors = [[abs(ratios[name]["median"] - ratios[name][end]) for name in names] for end in ("low", "high")]
    figure, axis = plt.subplots(figsize=(7.5, 0.8 + 0.32 * len(names)))
    axis.barh(names, values, xerr=errors, color="C0", alpha=0.75, error_kw={"lw": 1})
    for place, name in enumerate(names):
        end = max(ratios[name]["high"], values[place])
        axis.annotate(f"{values[place]:.2f}", (end, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axis.axvline(1.0, color="black", lw=0.8)
    if max(values) > 20 * min(values):
        axis.set_xscale("log")
        axis.set_xlim(0.5 * min(1.0, *values), 2.5 * max(values))
    else:
        axis.set_xlim(0, 1.3 * max(values))
    axis.set_title(title, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def circumstances() -> dict[str, Any]:
    """Machine, versions and commit, for a result that can be judged later."""
    device = jax.devices()[0]
    return {
        "date": datetime.date.today().isoformat(),
        "device": f"{device.platform}: {device.device_kind}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "devices": jax.local_device_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def write(path: Path, rows: list[dict[str, Any]], sizes: Mapping[str, Any]) -> None:
    """Writes a result as JSON: circumstances, sizes and rows."""
    write_text(path, json.dumps({**circumstances(), "sizes": dict(sizes), "rows": rows}, indent=1) + "\n")
