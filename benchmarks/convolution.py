"""The forms of a 3-D convolution, forward and with gradient, in the entry computation, inside a loop and under vmap.

    python -m benchmarks.convolution --out benchmarks/results/convolution-cpu.json

On a CPU `networks/conv.py` uses `tiles`: matrix products over tiles that fit the cache. `plain` is XLA's own 3-D convolution;
`slices` is one 2-D convolution over slices whose neighbours in depth are stacked as channels. `loop` is the gradient of four
convolutions in a `lax.scan` over that of four in a row, `vmap` the gradient for four kernels at once over that of one after the
other: where they are far above one, training must not be put into a loop, nor several networks side by side. The last rows are
whole training steps of a U-Net with the plain convolution and with ours.
"""

import argparse
import functools
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import interleaved, median, ratio, write
from jaxal.networks import layers
from jaxal.networks.conv import conv, conv_plain
from jaxal.networks.unet import UNetConfig, unet
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Recipe
from jaxal.training.step import take_step
from jaxal.training.trainer import Trainer
from jaxal.types import Example

SIZES = [
    ((2, 48, 48, 32), 8, 8),
    ((2, 48, 48, 32), 16, 16),
    ((2, 48, 48, 32), 32, 16),
    ((2, 24, 24, 16), 32, 32),
    ((2, 24, 24, 16), 64, 32),
    ((2, 24, 24, 16), 64, 64),
    ((2, 12, 12, 8), 64, 64),
]
STEPS = [((40, 40, 32), 8), ((48, 48, 32), 16)]


def conv_by_slices(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    batch, depth, height, width, channels = inputs.shape
    padded = jnp.pad(inputs, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    stacked = jnp.concatenate([padded[:, shift : shift + depth] for shift in range(3)], axis=-1)
    stacked = stacked.reshape(batch * depth, height, width, 3 * channels)
    flat = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, 3 * channels, kernel.shape[-1])
    return conv_plain(stacked, flat).reshape(batch, depth, height, width, -1)


FORMS = {"plain": conv_plain, "slices": conv_by_slices, "tiles": conv}


def four(form, looped: bool, inputs, kernels):
    """Four convolutions one after the other; needs as many output as input channels."""
    if looped:
        return jax.lax.scan(lambda hidden, kernel: (form(hidden, kernel), None), inputs, kernels)[0].sum()
    return functools.reduce(form, kernels, inputs).sum()


def gradients_of_four(form, together: bool, inputs, kernels):
    """Gradients for four kernels, as four networks have them, side by side or one after the other."""
    gradient = jax.grad(lambda kernel, inputs: jnp.sin(form(inputs, kernel)).sum())
    if together:
        return jax.vmap(gradient, (0, None))(kernels, inputs)
    return [gradient(kernel, inputs) for kernel in kernels]


def measure(shape: tuple[int, ...], channels: int, features: int, repeats: int) -> list[dict]:
    inputs = jax.random.normal(jax.random.key(0), (*shape, channels))
    kernel = 0.1 * jax.random.normal(jax.random.key(1), (3, 3, 3, channels, features))
    calls = {}
    for name, form in FORMS.items():
        calls[name, "forward"] = functools.partial(jax.jit(form), inputs, kernel)
        gradient = jax.jit(jax.grad(lambda inputs, kernel, form=form: jnp.sin(form(inputs, kernel)).sum(), (0, 1)))
        calls[name, "gradient"] = functools.partial(gradient, inputs, kernel)
    seconds = interleaved(calls, repeats)
    operations = 2 * kernel.size * float(np.prod(shape))
    # Loops and vmap on an eighth of the voxels: the plain form takes seconds there.
    small = inputs[:1, : shape[1] // 2, : shape[2] // 2, : shape[3] // 2, :features]
    kernels = jnp.stack([kernel[..., :features, :]] * 4)
    rows = []
    for name, form in FORMS.items():
        row = {"what": "convolution", "shape": shape, "channels": channels, "features": features, "form": name}
        for what in ("forward", "gradient"):
            row[what + "_seconds"] = median(seconds[name, what])
            row[what + "_plain_over_this"] = ratio(seconds["plain", what], seconds[name, what])
        row["forward_flops"] = operations / row["forward_seconds"]
        for key, function in (("loop_over_unrolled", four), ("vmapped_over_looped", gradients_of_four)):
            both = {}
            for quick in (True, False):
                call = functools.partial(function, form, quick)
                call = jax.grad(call, (0, 1)) if function is four else call
                both[quick] = functools.partial(jax.jit(call), small, kernels)
            timed = interleaved(both, max(2, repeats // 3))
            row[key] = ratio(timed[True], timed[False])
        rows.append(row)
    return rows


def measure_step(shape: tuple[int, ...], width: int, repeats: int) -> list[dict]:
    """Whole training steps, batch 2, with our convolution and with the plain one."""
    rng = np.random.default_rng(0)
    label = (rng.random(shape) < 0.05).astype(np.uint8)
    example = Example(rng.normal(size=(*shape, 1)).astype(np.float32), label, *[np.ones(shape, bool)] * 2)
    batch = jax.tree.map(lambda part: np.stack([part, part]), example)
    calls = {}
    for name in ("plain", "tiles"):
        with mock.patch.object(layers, "conv", FORMS[name]):
            model, config = unet(UNetConfig(width=width)), TrainingConfig()
            state = Trainer(SEGMENTATION, model, config).start(jax.random.key(0), example)
            # A function of its own, traced anew, and not donated: every turn starts from the same state.
            step = jax.jit(functools.partial(take_step, Recipe(model, config, SEGMENTATION.loss, SEGMENTATION.dense)))
            calls[name] = functools.partial(step, state, jax.random.key(1), batch, np.int32(100), np.float32(config.peak_rate))
            jax.block_until_ready(calls[name]())  # traced while the convolution is in its place
    seconds = interleaved(calls, repeats)
    return [
        {
            "what": "training step", "shape": (2, *shape), "channels": width, "form": name, "seconds": median(seconds[name]),
            "plain_over_this": ratio(seconds["plain"], seconds[name]),
        }
        for name in calls
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    table = Table(
        "voxels", "channels", "form", "forward ms", "plain/this", "GFLOP/s", "gradient ms", "plain/this", "loop", "vmap"
    )
    rows = []
    for shape, channels, features in SIZES:
        for row in measure(shape, channels, features, options.repeats):
            rows.append(row)
            table.add_row(
                "x".join(map(str, shape)), f"{channels} to {features}", row["form"], f"{1e3 * row['forward_seconds']:.1f}",
                f"{row['forward_plain_over_this']['median']:.1f}", f"{row['forward_flops'] / 1e9:.0f}",
                f"{1e3 * row['gradient_seconds']:.1f}", f"{row['gradient_plain_over_this']['median']:.1f}",
                f"{row['loop_over_unrolled']['median']:.1f}", f"{row['vmapped_over_looped']['median']:.1f}",
            )  # fmt: skip
    for shape, width in STEPS:
        for row in measure_step(shape, width, options.repeats):
            rows.append(row)
            table.add_row(
                "x".join(map(str, row["shape"])), f"U-Net {width}", row["form"], "", "", "", f"{1e3 * row['seconds']:.0f}",
                f"{row['plain_over_this']['median']:.1f}", "", "",
            )  # fmt: skip
    Console(width=130).print(table)
    if options.out:
        write(options.out, rows, {"repeats": options.repeats})


if __name__ == "__main__":
    main()
