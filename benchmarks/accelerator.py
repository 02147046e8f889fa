"""What a GPU or TPU takes for each hot path, a section a process: copies, pools, training steps, windows, selection, convolutions.

    python -m benchmarks.accelerator --section steps --out steps.json
    python -m benchmarks.accelerator --section pool --quick

`python -m benchmarks.all` runs all of them. Sizes are for a GPU, those of `--quick` for two cores. Every row is written as soon as it is
there, so that a section which is stopped leaves what it has. `pool` and `images` compare strategies with the network's forward in turns,
from files on disk to the query, as `benchmarks.throughput` does. The `training loop` of `steps` is `Trainer.fit` with steps sent ahead and
without.
"""

import argparse
import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks.measure import interleaved, keep_compiled, median, ratio, use_all_cores, write
from benchmarks.pool import Sizes, key, make_bench, make_image_bench, matmul_ceiling
from benchmarks.throughput import Contest
from benchmarks.training import resnet_contender, timed_steps, unet_contender
from jaxal.acquisition import information, selection
from jaxal.networks.conv import conv
from jaxal.networks.unet import UNetConfig, unet
from jaxal.networks.windows import window_starts, windowed
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.strategies import informative
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training import trainer as trainers
from jaxal.training.config import TrainingConfig
from jaxal.types import Case, Example

Row = dict[str, Any]


class Scale(NamedTuple):
    """How much is measured.

    Attributes:
      repeats: turns.
      megabytes: of a copy between host and device.
      pool, images: volumes and images of a pool; both are scored a turn at a time, so many at once on each device.
      widths: of the U-Nets that take a training step, on volumes of the pool's shape.
      side: of the patch that windows show of a volume, which is half as long again.
      items: of a pool of images that selection chooses from, their features, and how many it chooses.
      channels: of the convolutions.
      dtypes: that networks compute in.
      strategies: that score a pool by themselves, besides all at once.
    """

    repeats: int
    megabytes: int
    pool: Sizes
    turn: int
    batch: int
    images: int
    image_batch: int
    widths: tuple[int, ...]
    side: int
    items: int
    features: int
    budget: int
    channels: tuple[int, ...]
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    strategies: tuple[str, ...] = ("entropy", "bald", "aeig")


GPU = Scale(10, 512, Sizes(16, (96, 96, 96), 16, 20), 8, 2, 2048, 256, (16, 32), 64, 16384, 512, 32, (16, 32, 64, 128))
QUICK = Scale(2, 8, Sizes(2, (16, 16, 16), 4, 4), 2, 1, 32, 16, (4,), 8, 256, 16, 4, (8,), ("float32",), ("entropy",))


def copies(scale: Scale, folder: Path) -> Iterator[Row]:
    """Bytes a second between host and device."""
    there = np.zeros((scale.megabytes, 2**18), np.float32)
    here = jax.block_until_ready(jax.device_put(there))
    seconds = interleaved(
        {
            "to the device": lambda: jax.device_put(there),
            "from the device": lambda: np.asarray(here + 0),  # a new array: JAX keeps the copy of one that was read before
            "a sum on the device, which the copy from it contains": lambda: here + 0,
        },
        scale.repeats,
    )
    for name, taken in seconds.items():
        yield {"what": name, "seconds": median(taken), "bytes_per_second": there.nbytes / median(taken)}


def ceilings(scale: Scale, folder: Path) -> Iterator[Row]:
    """Floating-point operations a second of a large matrix product; `highest` is the precision of all that ranks."""
    size = 1024 if scale is QUICK else 8192
    for name, dtype, precision in (
        ("float32", "float32", None),
        ("float32, highest", "float32", "highest"),
        ("bfloat16", "bfloat16", None),
    ):
        with jax.default_matmul_precision(precision) if precision else contextlib.nullcontext():
            yield {"what": f"matrix product, {name}", "flops": matmul_ceiling(dtype, size)}


def pool(scale: Scale, folder: Path) -> Iterator[Row]:
    """Strategies on volumes over the network's forward; all of them at once, whose program takes longest to compile, in float32 alone."""
    for dtype in scale.dtypes:
        bench = make_bench(folder / "pool", scale.pool, dtype=dtype)
        contest = Contest(bench, scale.batch, scale.pool.members, min(scale.turn, scale.pool.cases))
        yield from _over_forward(contest, scale, {"what": "volumes", "dtype": dtype}, with_all=dtype == "float32")


def images(scale: Scale, folder: Path) -> Iterator[Row]:
    """Strategies on images of 64 x 64 pixels over the network's forward."""
    bench = make_image_bench(folder / "images", scale.images)
    contest = Contest(bench, scale.image_batch, scale.pool.members, scale.images)
    yield from _over_forward(contest, scale, {"what": "images", "dtype": "float32"})


def _over_forward(contest: Contest, scale: Scale, about: Row, with_all: bool = True) -> Iterator[Row]:
    """One contestant after the other beside the forward, so that those that are done are there if the time is over."""
    forward = contest.forward()
    every = [name for name in contest.bench.kind.strategies if name != "random"]
    contestants = {name: functools.partial(contest.strategy, name) for name in scale.strategies}
    if with_all:
        contestants["all strategies"] = functools.partial(contest.everything, every)
    for name, make in contestants.items():
        seconds = interleaved({"forward": forward, "own": make()}, scale.repeats, contest.next_turn)
        each = {part: median(taken) / contest.cases for part, taken in seconds.items()}
        yield {
            **about, "strategy": name, "seconds_per_case": each["own"], "forward_seconds_per_case": each["forward"],
            "over_forward": ratio(seconds["own"], seconds["forward"]),
        }  # fmt: skip


def steps(scale: Scale, folder: Path) -> Iterator[Row]:
    """Training steps by themselves, and the loop around them."""
    for width in scale.widths:
        for dtype in scale.dtypes:
            contender = unet_contender(width, scale.pool.shape, dtype)
            take = timed_steps(contender, jax.jit(contender.recipe.model.init)(key(), contender.batch.image[:1]))
            first, *_ = [take() for _ in range(3)]
            seconds = median([take() for _ in range(scale.repeats)])
            yield {"what": f"step of a {contender.name}", "dtype": dtype, "seconds": seconds, "first_seconds": first}
    if scale is not QUICK:  # `benchmarks.images` trains one, too
        contender = resnet_contender(scale.image_batch)
        take = timed_steps(contender, jax.jit(contender.recipe.model.init)(key(), contender.batch.image[:1]))
        first, *_ = [take() for _ in range(3)]
        seconds = median([take() for _ in range(scale.repeats)])
        yield {"what": f"step of a {contender.name}", "dtype": "float32", "seconds": seconds, "first_seconds": first}
    yield from _loops(scale)


def _loops(scale: Scale) -> Iterator[Row]:
    contender = unet_contender(scale.widths[0], scale.pool.shape)
    config = TrainingConfig(steps=10 * scale.repeats, batch_size=2)
    trainer = trainers.Trainer(SEGMENTATION, contender.recipe.model, config)
    examples = [jax.tree.map(lambda part, place=place: part[place], contender.batch) for place in range(2)]

    def train(ahead: int) -> Any:
        with mock.patch.dict(trainers._STEPS_AHEAD, {"cpu": ahead, "accelerator": ahead}):
            return trainer.fit(key(), 2, trainers.whole(examples), trainer.start(key(), examples[0]))

    ways = {ahead: functools.partial(train, ahead) for ahead in (0, trainers._STEPS_AHEAD["accelerator"])}
    for ahead, taken in interleaved(ways, 2).items():
        yield {"what": f"training loop, {contender.name}", "ahead": ahead, "seconds": median(taken) / config.steps}


def windows(scale: Scale, folder: Path) -> Iterator[Row]:
    """A pass by entropy over volumes that are larger than the patch, and over as many patches as they have windows."""
    patch, space = (scale.side,) * 3, (scale.side + scale.side // 2,) * 3
    plain = unet(UNetConfig(width=scale.widths[0]))
    params = jax.jit(plain.init)(key(), jnp.zeros((1, *patch, 1)))
    count = len(window_starts(space, patch, 0.5))
    calls = {}
    for name, model, shape, cases in (
        ("volume", windowed(plain, patch), space, 1),
        ("its windows as cases", plain, patch, count),
    ):
        example = Example(np.zeros((*shape, 1), np.float32), np.zeros(shape, np.uint8), *[np.ones(shape, bool)] * 2)
        pass_ = Pass(SEGMENTATION, model, ["entropy"], MembersConfig(), 1, StatisticsConfig(), jax.local_devices()[:1])
        given = [Case(f"{place}", "", None, None) for place in range(cases)]
        calls[name] = functools.partial(pass_, params, key(), given, lambda case, example=example: example)
    for name, taken in interleaved(calls, scale.repeats).items():
        yield {"what": f"{name}, {count} windows of {scale.side}³", "seconds": median(taken)}


def choices(scale: Scale, folder: Path) -> Iterator[Row]:
    """Information gain, BatchBALD, k-center and BADGE's draws from given arrays."""
    rng = np.random.default_rng(0)
    classes, elements, members = 5, 1000 if scale is not QUICK else 40, 20
    features = rng.normal(size=(scale.items, scale.features)).astype(np.float32)
    probability = rng.dirichlet(np.ones(classes), (scale.items, members)).astype(np.float32)
    there, error = jnp.ones(scale.items, bool), probability[:, 0] - np.eye(classes, dtype=np.float32)[0]
    reference = jax.jit(information.make_reference)(
        rng.normal(size=(scale.features, elements)).astype(np.float32), 0.05 * rng.normal(size=(scale.features, classes)).astype(np.float32),
        *map(np.ones, (classes, elements, classes), [np.float32] * 3),
    )  # fmt: skip
    items = information.Items(features, probability[:, 0])
    gain = functools.partial(informative._compiled_gain, variant="aeig", rate=1e-3, step="sgd", renormalise=False)
    may_be_long = functools.partial(information.steps_may_be_long, rate=1e-3)
    calls = {
        f"information gain, {elements} elements": lambda: informative._gain_of_rows(gain, items, reference, may_be_long),
        "BatchBALD": lambda: selection.batch_bald(key(), jnp.asarray(probability), there, min(scale.budget, 10), 2000),
        "k-center": lambda: selection.k_center(jnp.asarray(features), jnp.asarray(features[:16]), there, scale.budget),
        "BADGE": lambda: selection.k_means_plus_plus_of_gradients(
            key(), jnp.asarray(features), jnp.asarray(error), there, scale.budget
        ),
    }
    for name, call in calls.items():
        yield {"what": f"{name}, {scale.items} items", "seconds": median(interleaved({name: call}, scale.repeats)[name])}


def convolutions(scale: Scale, folder: Path) -> Iterator[Row]:
    """A convolution of 3³ in the form that the platform has, forward and with gradient."""
    for dtype in scale.dtypes:
        for channels in scale.channels:
            inputs = jnp.ones((2, *scale.pool.shape, channels), dtype)
            kernel = jnp.ones((3, 3, 3, channels, channels), dtype)
            gradient = jax.jit(jax.grad(lambda inputs, kernel: conv(inputs, kernel).astype(jnp.float32).sum(), (0, 1)))
            calls = {
                "forward": functools.partial(jax.jit(conv), inputs, kernel),
                "gradient": functools.partial(gradient, inputs, kernel),
            }
            for name, taken in interleaved(calls, scale.repeats).items():
                operations = (1 if name == "forward" else 2) * 2 * kernel.size * inputs.size / channels
                yield {"what": f"{name}, {channels} to {channels}", "dtype": dtype, "seconds": median(taken), "flops": operations / median(taken)}  # fmt: skip


SECTIONS: dict[str, Callable[[Scale, Path], Iterator[Row]]] = {
    part.__name__: part for part in (copies, ceilings, pool, steps, choices, windows, images, convolutions)
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--section", choices=SECTIONS, required=True)
    parser.add_argument("--quick", action="store_true", help="small sizes, within seconds on two cores; no figures to quote")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if jax.config.jax_platforms == "cpu":
        use_all_cores()
    scale, rows = QUICK if options.quick else GPU, []
    with tempfile.TemporaryDirectory() as folder:
        if jax.config.jax_compilation_cache_dir is None:
            keep_compiled(Path(folder) / "compiled")
        for row in SECTIONS[options.section](scale, Path(folder)):
            rows.append(row)
            Console(width=130, soft_wrap=True).print(row)
            if options.out:
                write(options.out, rows, {**scale._asdict(), "quick": options.quick})


if __name__ == "__main__":
    main()
