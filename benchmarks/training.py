"""A training step, and a whole round, by jaxal and by PyTorch in turns on the same machine.

    python -m benchmarks.training --python PEERS/bin/python --out benchmarks/results/training-cpu.json
    python -m benchmarks.training --quick --python PEERS/bin/python
    python -m benchmarks.training --together    # two networks in threads of their own over one after the other; no peer
    GLIBC_TUNABLES=glibc.malloc.hugetlb=0 python -m benchmarks.training --alone    # small pages of memory; without it, large ones

PEERS is a virtual environment with torch alone: `python -m venv PEERS && PEERS/bin/pip install torch==2.13.0 numpy`.

A step is random contrast, brightness and noise, forward, backward, the norm's limit and AdamW, of the same network from the same weights
on the same batch; before the clock runs, loss and gradient of the two are compared. PyTorch runs in both of its memory formats, and the
faster one counts. Of two steps a turn the second is timed: a virtual machine may take back memory from a program that pauses, and its next
step waits for it, a quarter longer at width 32. A round trains on cases that are read from disk, scores a pool by entropy and predicts a test set.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.against_peers import Peer
from benchmarks.measure import interleaved, keep_compiled, median, ratio, use_all_cores, write
from benchmarks.pool import CLASSES, Sizes, make_bench, named_weights, write_loose
from jaxal.arrays import flat, logits_of
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.unet import UNetConfig, unet
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Batch, Recipe
from jaxal.training.step import compiled_step, everywhere, fresh_state, make_mesh
from jaxal.training.trainer import Trainer
from jaxal.types import Example, Params

FORMATS = {"contiguous": False, "channels last": True}
LABELLED, POOL, TEST = 24, 40, 16  # cases of a round


class Contender(NamedTuple):
    """What is trained."""

    name: str
    recipe: Recipe
    batch: Example
    width: int
    further: Example | None = None  # cases without a label


def unet_contender(width: int, shape: tuple[int, ...], dtype: str = "float32") -> Contender:
    rng = np.random.default_rng(0)
    image, label = rng.normal(size=(2, *shape, 1)).astype(np.float32), (rng.random((2, *shape)) < 0.05).astype(np.uint8)
    batch = Example(image, label, *[np.ones((2, *shape), bool)] * 2)
    recipe = Recipe(unet(UNetConfig(width=width, dtype=dtype)), TrainingConfig(batch_size=2), SEGMENTATION.loss, True)
    return Contender(f"U-Net of width {width}, 2 x {' x '.join(map(str, shape))}", recipe, batch, width)


def resnet_contender(images: int) -> Contender:
    rng = np.random.default_rng(0)
    pixels, label = rng.normal(size=(images, 64, 64, 3)).astype(np.float32), rng.integers(CLASSES, size=images).astype(np.uint8)
    batch = Example(pixels, label, *[np.ones(images, bool)] * 2)
    config = TrainingConfig(batch_size=images, dice=False)
    recipe = Recipe(resnet(ResNetConfig(classes=CLASSES, norm="frozen")), config, CLASSIFICATION.loss, False)
    return Contender(f"ResNet-18, {images} images of 64 x 64", recipe, batch, 64)


def agreement(contender: Contender, params: Params) -> list[float]:
    """The loss without dropout and variation, and the gradient's norm."""
    recipe, batch = contender.recipe, contender.batch

    def loss(params: Params) -> jax.Array:
        output = recipe.model.tail(params, recipe.model.stem(params, batch.image), None)
        return recipe.loss(recipe.config, logits_of(flat(output), *recipe.model.head(params)), batch).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    return [float(value), float(jnp.sqrt(sum(jnp.square(part).sum() for part in jax.tree.leaves(gradient))))]


def timed_steps(contender: Contender, params: Params) -> Callable[[], float]:
    """Takes a step and says how many seconds it took."""
    recipe = contender.recipe
    mesh = make_mesh(recipe, jax.devices())
    step = compiled_step(recipe, mesh)
    state = jax.device_put(fresh_state(recipe.config, params), everywhere(mesh))

    def take() -> float:
        nonlocal state
        began = time.perf_counter()
        state = jax.block_until_ready(
            step(state, jax.random.key(1), Batch(contender.batch, None, contender.further), np.int32(1000), np.float32(1e-3))
        )
        return time.perf_counter() - began

    return take


def alone(console: Console) -> None:
    """Our step of the demo's size by itself, to compare environments."""
    contender = unet_contender(8, (40, 40, 32))
    take = timed_steps(contender, jax.jit(contender.recipe.model.init)(jax.random.key(0), contender.batch.image[:1]))
    compiling, *_ = [take() for _ in range(4)]
    seconds = median([take() for _ in range(30)])
    console.print(f"{contender.name}: {seconds:.3f} s a step, the median of 30; the first took {compiling:.1f} s")


def together(console: Console, turns: int) -> None:
    """Two networks that train in threads over two that train one after the other."""
    for contender in (resnet_contender(32), unet_contender(8, (48, 48, 32))):
        params = jax.jit(contender.recipe.model.init)(jax.random.key(0), contender.batch.image[:1])
        takes = [timed_steps(contender, params) for _ in range(2)]

        def train(take: Callable[[], float]) -> None:
            for _ in range(8):
                take()

        def in_threads(takes: Sequence[Callable[[], float]] = takes) -> None:
            with ThreadPoolExecutor(len(takes)) as pool:
                list(pool.map(train, takes))

        def in_turn(takes: Sequence[Callable[[], float]] = takes) -> None:
            for take in takes:
                train(take)

        seconds = interleaved({"in turn": in_turn, "in threads": in_threads}, turns)
        gain = ratio(seconds["in turn"], seconds["in threads"])
        console.print(f"{contender.name}: {gain['median']:.2f} times as fast ({gain['low']:.2f} to {gain['high']:.2f})")


def steps(contender: Contender, peer: Peer, folder: Path, pairs: int, console: Console) -> dict[str, Any]:
    """Ratios of one step, pair by pair."""
    recipe, batch = contender.recipe, contender.batch
    params = jax.jit(recipe.model.init)(jax.random.key(0), batch.image[:1])
    if not recipe.dense:  # of fixed norms activations would grow from block to block
        params = jax.tree_util.tree_map_with_path(
            lambda path, leaf: 0.7 * leaf if path[-1].key == "frozen_scale" else leaf, params
        )
    np.savez(folder / "training.npz", images=batch.image, labels=batch.label, **named_weights(params, "w:"))
    for name, channels_last in FORMATS.items():
        classes = 2 if recipe.dense else CLASSES
        peer("training_setup", name=name, arrays=str(folder / "training.npz"), width=contender.width, classes=classes,
             channels_last=channels_last)  # fmt: skip
    ours_value, theirs_value = agreement(contender, params), peer("training_agreement", name="contiguous")[1]
    difference = max(abs(a - b) / abs(b) for a, b in zip(ours_value, theirs_value, strict=True))
    if not difference < 1e-3:
        raise RuntimeError(f"The two trainings differ: loss and gradient {ours_value} here, {theirs_value} there.")
    ours = timed_steps(contender, params)
    compiling = ours()
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *FORMATS)}
    takes: dict[str, Callable[[], float]] = {"ours": ours}
    for name in FORMATS:
        takes[name] = lambda name=name: peer("training_steps", name=name, count=1)[0]
    for _ in range(pairs):
        for name, take in takes.items():
            take()  # after a pause: training has none
            seconds[name].append(take())
    best = min(FORMATS, key=lambda name: median(seconds[name]))
    row = {
        "what": contender.name, "peer_over_ours": ratio(seconds[best], seconds["ours"]), "ours_seconds": median(seconds["ours"]),
        "peer_seconds": {name: median(seconds[name]) for name in FORMATS}, "peer_format": best, "first_step_seconds": compiling, "largest_difference": difference,
    }  # fmt: skip
    console.print(f"  {contender.name}: {row['peer_over_ours']['median']:.2f}")
    return row


def whole_round(peer: Peer, folder: Path, shape: tuple[int, int, int], width: int, count: int, pairs: int) -> dict[str, Any]:
    """Ratios of a round: training, scores of the pool, predictions of the test set."""
    bench = make_bench(folder / "pool", Sizes(LABELLED + POOL + TEST, shape, width, 1))
    cases, config = bench.dataset.cases, TrainingConfig(steps=count)
    trainer = Trainer(bench.kind, bench.model, config)
    scores = Pass(bench.kind, bench.model, ["entropy"], MembersConfig(), 1, StatisticsConfig())

    def ours() -> Any:
        state = trainer.start(jax.random.key(0), bench.load(cases[0]), bench.params)
        params = trainer.fit(jax.random.key(0), LABELLED, lambda index, rng: bench.load(cases[index]), state).params
        return [scores(params, jax.random.key(0), part, bench.load) for part in (cases[LABELLED:-TEST], cases[-TEST:])]

    first = bench.load(cases[0])
    np.savez(folder / "round.npz", images=first.image[None], labels=first.label[None], **named_weights(bench.params, "w:"))
    names = {"labelled": LABELLED, "pool": POOL, "test": TEST, "steps": count, "batch": config.batch_size}
    loose = str(write_loose(bench, folder / "loose"))
    theirs: dict[str, Callable[[], float]] = {}
    for name, channels_last in FORMATS.items():
        peer("training_setup", name=name, arrays=str(folder / "round.npz"), width=width, classes=2, channels_last=channels_last)
        theirs[name] = lambda name=name: peer("training_round", name=name, folder=loose, **names)[0]
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", *FORMATS)}
    jax.block_until_ready(ours())  # compiles
    for _ in range(pairs):
        began = time.perf_counter()
        jax.block_until_ready(ours())
        seconds["ours"].append(time.perf_counter() - began)
        for name, call in theirs.items():
            seconds[name].append(call())
    best = min(FORMATS, key=lambda name: median(seconds[name]))
    return {
        "what": f"round of {count} steps, {' x '.join(map(str, shape))}, width {width}",
        "peer_over_ours": ratio(seconds[best], seconds["ours"]), "ours_seconds": median(seconds["ours"]),
        "peer_seconds": {name: median(seconds[name]) for name in FORMATS}, "peer_format": best, **names,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute; no figures to quote")
    parser.add_argument("--python", default=sys.executable, help="the Python that has torch")
    parser.add_argument("--alone", action="store_true", help="no peer: our step of the demo's size, to compare environments")
    parser.add_argument("--together", action="store_true", help="no peer: two networks at once over one after the other")
    parser.add_argument("--pairs", type=int, help="turns of each step")
    parser.add_argument("--rounds", type=int, help="turns of the round")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    use_all_cores()
    console = Console(width=130)
    if options.alone:
        alone(console)
        return
    if options.together:
        together(console, options.pairs or 6)
        return
    pairs, rounds = options.pairs or (2 if options.quick else 20), options.rounds or (1 if options.quick else 5)
    shape, widths, images = ((16, 16, 16), (8,), 4) if options.quick else ((48, 48, 32), (8, 16, 32), 32)
    peer = Peer(options.python)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keep_compiled(folder / "compiled")
        about = peer("about")[1]
        contenders = [*(unet_contender(width, shape) for width in widths), resnet_contender(images)]
        rows = [steps(contender, peer, folder, pairs, console) for contender in contenders]
        rows.append(
            whole_round(peer, folder, (16, 16, 16) if options.quick else (40, 40, 32), 8, 8 if options.quick else 200, rounds)
        )
        peer.close()
    table = Table("what", "ours ms", "PyTorch ms", "its format", "PyTorch over ours", "quartiles")
    for row in rows:
        ratios = row["peer_over_ours"]
        table.add_row(
            row["what"], f"{1e3 * row['ours_seconds']:.0f}", f"{1e3 * row['peer_seconds'][row['peer_format']]:.0f}", row["peer_format"],
            f"{ratios['median']:.2f}", f"{ratios['low']:.2f} to {ratios['high']:.2f}",
        )  # fmt: skip
    console.print(table)
    if options.out:
        write(options.out, rows, {"pairs": pairs, "rounds": rounds, "quick": options.quick, "peers": about})
        console.print(json.dumps({row["what"]: round(row["peer_over_ours"]["median"], 2) for row in rows}))


if __name__ == "__main__":
    main()
