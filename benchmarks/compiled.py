"""What a TPU's own compiler makes of each program, without a TPU: traffic of memory, operations, temporaries, its estimate of the time.

    python -m benchmarks.compiled --target tpu-v5e --out benchmarks/results/compiled-tpu-v5e.json
    python -m benchmarks.compiled --target tpu-v5e --programs forward bald --batches 1 --plain
    python -m benchmarks.compiled --target tpu-v5e --quick

It needs the compiler, `libtpu`, in an environment of its own: `pip install 'jax[tpu]==VERSION'` with the version of jax in use, beside what
the README installs. Nothing is executed, so these are not times: the compiler counts the bytes that its operations read and write, in its
fast memory as well as in the large one, and a loop's body once. The floor is what follows from the shapes of layers: each activation written
once and read once, in the type that the network computes in. All figures are per case. `--plain` compiles the network as it runs elsewhere,
without packed levels (`jaxal/networks/packed.py`).
"""

import argparse
import contextlib
import importlib.util
import itertools
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn
from rich.table import Table

from benchmarks.measure import write
from jaxal.arrays import flat, logits_of
from jaxal.networks.unet import UNetConfig, unet
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.strategies.table import STRATEGIES
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Batch, Recipe
from jaxal.training.step import compiled_step, fresh_state
from jaxal.types import Example, Model

TARGETS = {"tpu-v5e": "v5e:2x2", "tpu-v6e": "v6e:2x2"}
MEMBERS = MembersConfig(dropout=20)
BY_STRATEGY = {"entropy": ("entropy",), "bald": ("bald",), "aeig": ("regions",), "evaluation": ("evaluation_sample",)}
PROGRAMS = ("forward", *BY_STRATEGY, "all", "training")
COLLECTIVES = r"= \S+ (?:all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter|send|recv)(?:-start)?\("


class Setting(NamedTuple):
    """What is compiled: one program of one network, for so many cases on each of so many devices."""

    program: str
    width: int
    shape: tuple[int, int, int]
    dtype: str
    batch: int
    devices: int


def compile_program(setting: Setting, is_packed: bool, devices: list[jax.Device]) -> dict[str, Any]:
    """A row: what the compiler says of one program."""
    model = unet(UNetConfig(width=setting.width, dtype=setting.dtype), is_packed=is_packed)
    lower = _training if setting.program == "training" else _forward if setting.program == "forward" else _pass
    began = time.perf_counter()
    lowered = lower(setting, model, devices[: setting.devices])
    traced = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - traced
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    text, estimate = compiled.as_text(), cost.get("optimal_seconds", 0.0)
    unknown = max(0, -math.floor(estimate))  # operations of which the compiler does not know it count as minus one second each
    cases = setting.batch  # the compiler speaks of one device
    return {
        **setting._asdict(),
        "packed": is_packed,
        "traffic_bytes": cost["bytes accessed"] / cases,
        "floor_bytes": floor_bytes(setting),
        "flops": cost["flops"] / cases,
        "temporary_bytes": memory.temp_size_in_bytes / cases,
        "estimated_seconds": (estimate + unknown) / cases if estimate else None,
        "operations_without_estimate": unknown,
        "loops": len(re.findall(r"\bwhile\(", text)),
        "sent_between_devices": len(re.findall(COLLECTIVES, text)),
        "tracing_seconds": traced - began,
        "compile_seconds": seconds,
    }


def _abstract(model: Model, setting: Setting, devices: list[jax.Device]) -> tuple[Any, Any, Example]:
    """Shapes of the parameters, of the key and of a batch, and where they lie."""
    mesh = Mesh(np.array(devices), ("cases",))
    everywhere, shared = NamedSharding(mesh, P()), NamedSharding(mesh, P("cases"))

    def placed(part: Any, where: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(part.shape, part.dtype, sharding=where)

    image = jax.ShapeDtypeStruct((1, *setting.shape, 1), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.tree.map(lambda part: placed(part, everywhere), jax.eval_shape(model.init, key, image))
    lead = (setting.batch * setting.devices, *setting.shape)
    parts = {"image": ((*lead, 1), np.float32), "label": (lead, np.uint8), "inside": (lead, bool), "labelled": (lead, bool)}
    examples = Example(**{name: jax.ShapeDtypeStruct(*part, sharding=shared) for name, part in parts.items()})
    return params, placed(key, everywhere), examples


def _forward(setting: Setting, model: Model, devices: list[jax.Device]) -> jax.stages.Lowered:
    """The network alone; a mean of the logits is kept."""
    params, _, examples = _abstract(model, setting, devices)

    def mean_logits(params, images):
        return logits_of(flat(model.tail(params, model.stem(params, images), None)), *model.head(params)).mean(-1)

    mesh = Mesh(np.array(devices), ("cases",))
    spread = jax.shard_map(mean_logits, mesh=mesh, in_specs=(P(), P("cases")), out_specs=P("cases"), check_vma=False)
    return jax.jit(spread).lower(params, examples.image)


def _pass(setting: Setting, model: Model, devices: list[jax.Device]) -> jax.stages.Lowered:
    """The pass over a pool that strategies need."""
    if setting.program == "all":
        needed = {name for make in STRATEGIES.values() for name in make().needs.pool}
    else:
        needed = set(BY_STRATEGY[setting.program])
    pass_ = Pass(SEGMENTATION, model, sorted(needed), MEMBERS, setting.batch, StatisticsConfig(), devices)
    params, key, examples = _abstract(model, setting, devices)
    numbers = jax.ShapeDtypeStruct(examples.image.shape[:1], np.uint32, sharding=examples.image.sharding)
    return pass_.lower(params, key, examples, numbers)


def _training(setting: Setting, model: Model, devices: list[jax.Device]) -> jax.stages.Lowered:
    config = TrainingConfig(batch_size=setting.batch * setting.devices)
    recipe, mesh = Recipe(model, config, SEGMENTATION.loss, True), Mesh(np.array(devices), ("examples",))
    params, key, examples = _abstract(model, setting, devices)

    def placed(tree: Any, where: P) -> Any:
        sharding = NamedSharding(mesh, where)
        return jax.tree.map(lambda part: jax.ShapeDtypeStruct(part.shape, part.dtype, sharding=sharding), tree)

    state = placed(jax.eval_shape(lambda params: fresh_state(config, params), params), P())
    number, rate = placed((jax.ShapeDtypeStruct((), np.int32), jax.ShapeDtypeStruct((), np.float32)), P())
    return compiled_step(recipe, mesh).lower(state, placed(key, P()), Batch(placed(examples, P("examples"))), number, rate)


def floor_bytes(setting: Setting, levels: int = 3) -> float:
    """Bytes of a case's activations of a network's forward pass, each written once and read once, and of its input, which is read."""
    voxels, size = float(np.prod(setting.shape)), 2 if setting.dtype == "bfloat16" else 4
    total = voxels * 4
    for level in range(levels):
        channels, here = setting.width * 2**level, voxels / 8**level
        convolutions, upsampled = (4, 1) if level < levels - 1 else (2, 0)
        pooled = channels // 2 if level else 0
        read_again = channels if level < levels - 1 else 0  # what goes around the levels below
        total += here * size * (2 * (convolutions + upsampled) * channels + 2 * pooled + read_again)
    return total


def _devices(target: str) -> list[jax.Device]:
    """What the compiler knows of the target's devices."""
    if importlib.util.find_spec("libtpu") is None:
        needed = f"jax[tpu]=={jax.__version__}"
        sys.exit(
            f"--target {target} needs the TPU's compiler, libtpu, which is not here. In an environment of its own: pip install '{needed}'"
        )
    # The machine is asked for no TPU, and another process may compile beside this one.
    os.environ.update(TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1")
    with _quiet():  # it complains that it finds no TPU's hosts
        return list(topologies.get_topology_desc(platform="tpu", topology_name=TARGETS[target]).devices)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what a library writes to the process's own standard error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _shape(text: str) -> tuple[int, int, int]:
    """Of a volume, from `96x96x96`; three levels halve each axis twice."""
    lengths = tuple(int(part) for part in text.split("x"))
    if len(lengths) != 3 or any(length < 8 or length % 4 for length in lengths):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 96x96x96, three multiples of 4 from 8 on")
    return lengths


def show(rows: list[dict[str, Any]], console: Console) -> None:
    table = Table(
        "program",
        "width",
        "shape",
        "type",
        "batch",
        "devices",
        "GB",
        "over floor",
        "GFLOP",
        "temporary MB",
        "ms",
        "compiled in s",
        "sent",
    )
    for row in rows:
        if "failure" in row:
            table.add_row(
                row["program"],
                str(row["width"]),
                "x".join(map(str, row["shape"])),
                row["dtype"],
                str(row["batch"]),
                str(row["devices"]),
                row["failure"][:60],
            )
            continue
        milliseconds = f"{1e3 * row['estimated_seconds']:.2f}" if row["estimated_seconds"] else "?"
        table.add_row(
            row["program"], str(row["width"]), "x".join(map(str, row["shape"])), row["dtype"], str(row["batch"]), str(row["devices"]),
            f"{row['traffic_bytes'] / 1e9:.2f}", f"{row['traffic_bytes'] / row['floor_bytes']:.1f}", f"{row['flops'] / 1e9:.0f}",
            f"{row['temporary_bytes'] / 1e6:.0f}", milliseconds, f"{row['compile_seconds']:.0f}", str(row["sent_between_devices"]),
        )  # fmt: skip
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=list(TARGETS), default="tpu-v5e")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 32])
    parser.add_argument("--shapes", nargs="+", type=_shape, default=[(96, 96, 96), (160, 160, 96)], metavar="96x96x96")
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "bfloat16"), default=["float32", "bfloat16"])
    parser.add_argument("--batches", nargs="+", type=int, default=[8], help="cases on each device at once")
    parser.add_argument("--devices", nargs="+", type=int, choices=(1, 2, 4), default=[1])
    parser.add_argument("--plain", action="store_true", help="without packed levels")
    parser.add_argument("--quick", action="store_true", help="one small program; no figures to quote")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.quick:
        options.programs, options.widths, options.shapes, options.dtypes = ["forward"], [16], [(16, 16, 16)], ["bfloat16"]
    jax.config.update("jax_platforms", "cpu")
    devices, console = _devices(options.target), Console(width=170)
    parts = (options.programs, options.widths, options.shapes, options.dtypes, options.batches, options.devices)
    settings = [Setting(*part) for part in itertools.product(*parts)]
    rows: list[dict[str, Any]] = []
    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task("compiling", total=len(settings))
        for setting in settings:
            try:
                rows.append(compile_program(setting, not options.plain, devices))
            except jax.errors.JaxRuntimeError as error:  # what does not fit into the memory is a result, too
                rows.append({**setting._asdict(), "packed": not options.plain, "failure": str(error).splitlines()[0]})
            progress.advance(task)
            if options.out:
                write(options.out, rows, {"target": options.target, "members": MEMBERS.dropout})
    show(rows, console)


if __name__ == "__main__":
    main()
