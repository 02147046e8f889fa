"""What it costs to ask three networks whether they know when they are wrong, and to let the worst-served group count most.

    python -m benchmarks.fairness --out benchmarks/results/fairness-cpu.json
    python -m benchmarks.fairness --quick

Four measurements. A pass over a pool with three networks of twenty dropout samples each, before the last layer, takes turns with plain forwards of one
network over the same cases, read in the same way; a ratio of 3 is that of three forwards. The counts behind 41 thresholds of three nested regions of a
case of 155 x 240 x 240 are timed alone. A training step of GroupDRO takes turns with one of empirical risk. And a pass
over a pool with every form of entropy, plain, around the structure and over its volume, takes turns with one of plain entropy.
"""

import argparse
import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import interleaved, keep_compiled, median, ratio, use_all_cores, write
from benchmarks.pool import FULL, QUICK, Bench, Sizes, key, make_bench
from jaxal.assessment import filtering
from jaxal.data.stream import batches, stacked
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.scoring.members import MembersConfig, stack_networks
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.task_kind import TaskKind
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Batch
from jaxal.training.step import compiled_step, everywhere, make_mesh
from jaxal.training.trainer import Trainer
from jaxal.training.weighting import Cohort, groupdro
from jaxal.types import Example, Model

NETWORKS, SAMPLES = 3, 20


def measure_ensemble(folder: Path, sizes: Sizes, turns: int) -> dict[str, Any]:
    """An ensemble's pass over plain forwards of one network."""
    bench = make_bench(folder, sizes)
    each = [jax.jit(bench.model.init)(jax.random.key(seed), jnp.zeros((1, *bench.dataset.shape, 1))) for seed in range(NETWORKS)]
    cases, params = bench.dataset.cases[:8], stack_networks(each)
    members = MembersConfig(networks=NETWORKS, dropout=SAMPLES)
    pass_ = Pass(bench.kind, bench.model, ["filtered"], members, 1, StatisticsConfig())
    seconds = interleaved(
        {"pass": lambda: pass_(params, key(), cases, bench.load), "forward": lambda: _forwards(bench, cases)}, turns
    )
    return {
        "what": f"pass of {NETWORKS} networks with {SAMPLES} samples each over forwards of one",
        "pass_over_forward": ratio(seconds["pass"], seconds["forward"]),
        "forward_seconds_per_case": median(seconds["forward"]) / len(cases),
    }


def measure_entropies(folder: Path, sizes: Sizes, turns: int) -> dict[str, Any]:
    """All forms of entropy in one pass over plain entropy's."""
    bench = make_bench(folder, sizes)
    members, cases = MembersConfig(), bench.dataset.cases[:16]
    passes = {
        "all": ["entropy", "masked_entropy", "scaled_entropy", "scaled_region_entropy"],
        "entropy": ["entropy"],
    }
    run = {name: Pass(bench.kind, bench.model, names, members, 1, StatisticsConfig()) for name, names in passes.items()}
    seconds = interleaved(
        {name: functools.partial(pass_, bench.params, key(), cases, bench.load) for name, pass_ in run.items()}, turns
    )
    return {"what": "pass of all entropies over one of entropy", "all_over_entropy": ratio(seconds["all"], seconds["entropy"])}


def _forwards(bench: Bench, cases) -> list[Any]:
    """The most probable classes of all cases, counted: a plain pass on all devices."""
    run, at_once = _forward(bench.model), jax.local_device_count()
    return [run(bench.params, *[jnp.asarray(batch.examples.image)]) for batch in batches(cases, bench.load, at_once)]


@functools.cache
def _forward(model: Model) -> Callable[..., Any]:
    from jax.sharding import Mesh
    from jax.sharding import PartitionSpec as P

    def forward(params, images):
        output = model.tail(params, model.stem(params, images), None)
        kernel, bias = model.head(params)
        logits = jnp.einsum("...f,fc->...c", output.features, kernel) + bias
        return logits.argmax(-1).reshape(len(images), -1).sum(-1)

    mesh = Mesh(np.array(jax.local_devices()), ("cases",))
    return jax.jit(jax.shard_map(forward, mesh=mesh, check_vma=False, in_specs=(P(), P("cases")), out_specs=P("cases")))


def measure_curves(shape: tuple[int, ...], turns: int) -> dict[str, Any]:
    """Seconds for the counts of three regions at all thresholds."""
    rng, elements = np.random.default_rng(0), int(np.prod(shape))
    uncertainty = jnp.asarray(100 * rng.random((3, elements), np.float32))
    predicted, truth = (jnp.asarray(rng.random((3, elements), np.float32) < 0.1) for _ in range(2))
    everything = jnp.ones(elements, bool)

    def counts(uncertainty, predicted, truth):
        return [
            filtering.filtered_counts(*parts, everything, everything) for parts in zip(uncertainty, predicted, truth, strict=True)
        ]

    run = jax.jit(counts)
    seconds = interleaved({"counts": lambda: run(uncertainty, predicted, truth)}, turns)
    return {
        "what": f"41 thresholds of three regions of {' x '.join(map(str, shape))}",
        "seconds": {"median": median(seconds["counts"]), "low": min(seconds["counts"]), "high": max(seconds["counts"])},
    }


def measure_step(name: str, kind: TaskKind, model: Model, examples: list[Example], turns: int) -> dict[str, Any]:
    """A step of GroupDRO over one of empirical risk."""
    config, batch = TrainingConfig(batch_size=len(examples), dice=kind.dense), stacked(examples)
    cohort = Cohort(
        np.arange(len(examples), dtype=np.int32) % 2, np.ones(len(examples), np.float32), np.array([9.0, 3.0], np.float32)
    )
    calls = {}
    for method, weighting in (("erm", config.weighting), ("groupdro", groupdro())):
        trainer = Trainer(kind, model, dataclasses.replace(config, weighting=weighting), groups=2)
        mesh = make_mesh(trainer._recipe, jax.local_devices())
        step, held = compiled_step(trainer._recipe, mesh), [trainer.start(jax.random.key(0), examples[0])]
        held[0] = jax.device_put(held[0], everywhere(mesh))

        def call(step=step, held=held, own=cohort if weighting.weighs else None):
            held[0] = step(held[0], jax.random.key(1), Batch(batch, own), np.int32(10**6), np.float32(1e-3))
            return held[0].step

        calls[method] = call
    seconds = interleaved(calls, turns)
    return {
        "what": f"step of GroupDRO over one of ERM, {name}",
        "groupdro_over_erm": ratio(seconds["groupdro"], seconds["erm"]),
        "erm_seconds": median(seconds["erm"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute; no figures to quote")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    use_all_cores()
    turns, sizes = (2, QUICK) if options.quick else (options.turns, FULL)
    with tempfile.TemporaryDirectory() as name:
        keep_compiled(Path(name) / "compiled")
        bench = make_bench(Path(name) / "pool", sizes)
        rng = np.random.default_rng(0)
        images = [
            Example(rng.normal(size=(64, 64, 3)).astype(np.float32), np.uint8(place % 5), np.bool_(True), np.bool_(True))
            for place in range(8 if options.quick else 32)
        ]
        network = resnet(ResNetConfig(architecture="small", width=16, groups=4, entry="narrow"))
        volumes = [bench.load(case) for case in bench.dataset.cases[:4]]
        rows = [
            measure_entropies(Path(name) / "pool", sizes, turns),
            measure_ensemble(Path(name) / "pool", sizes, turns),
            measure_curves((31, 48, 48) if options.quick else (155, 240, 240), turns),
            measure_step("U-Net of volumes", SEGMENTATION, bench.model, volumes, 4 * turns),
            measure_step("ResNet of images", CLASSIFICATION, network, images, 4 * turns),
        ]
    table = Table("what", "measured", "quartiles")
    for row in rows:
        (measured,) = (value for label, value in row.items() if isinstance(value, dict))
        table.add_row(row["what"], f"{measured['median']:.3f}", f"{measured['low']:.3f} to {measured['high']:.3f}")
    Console(width=150).print(table)
    if options.out:
        write(options.out, rows, {"turns": turns, "quick": options.quick, "networks": NETWORKS, "samples": SAMPLES})


if __name__ == "__main__":
    main()
