"""The forms of a 3-D convolution, forward and with gradient, in the entry computation and inside a loop.

    python -m benchmarks.convolution --out benchmarks/results/convolution-cpu.json

On a CPU `networks/conv.py` uses `slices`: one 2-D convolution over slices whose neighbours are stacked as channels. `plain` is
XLA's own 3-D convolution, `three` sums three 2-D convolutions. The column `loop` is the gradient of four convolutions in a
`lax.scan` over that of four in a row; where it is far above one, train steps must not be put into a loop.
"""

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from benchmarks.measure import interleaved, ratio, write
from jaxal.networks.conv import conv_by_slices, conv_plain

SIZES = [
    ((2, 40, 40, 32), 8, 8),
    ((2, 40, 40, 32), 16, 8),
    ((2, 20, 20, 16), 16, 16),
    ((2, 10, 10, 8), 32, 32),
    ((1, 16, 16, 16), 64, 64),
]


def three(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """The sum of three 2-D convolutions of shifted slices."""
    batch, depth, height, width, channels = inputs.shape
    padded = jnp.pad(inputs, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
    parts = [
        conv_plain(padded[:, shift : shift + depth].reshape(batch * depth, height, width, channels), kernel[shift])
        for shift in range(3)
    ]
    return sum(parts[1:], parts[0]).reshape(batch, depth, height, width, -1)


FORMS = {"plain": conv_plain, "three": three, "slices": conv_by_slices}


def four(form, looped: bool, inputs, kernels):
    """Four convolutions one after the other; needs as many output as input channels."""
    if looped:
        return jax.lax.scan(lambda hidden, kernel: (form(hidden, kernel), None), inputs, kernels)[0].sum()
    return functools.reduce(form, kernels, inputs).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    table = Table("voxels", "channels", "form", "forward ms", "plain/this", "gradient ms", "plain/this", "loop")
    for shape, channels, features in SIZES:
        inputs = jax.random.normal(jax.random.key(0), (*shape, channels))
        kernel = 0.1 * jax.random.normal(jax.random.key(1), (3, 3, 3, channels, features))
        calls = {}
        for name, form in FORMS.items():
            calls[name, "forward"] = functools.partial(jax.jit(form), inputs, kernel)
            gradient = jax.jit(jax.grad(lambda inputs, kernel, form=form: jnp.sin(form(inputs, kernel)).sum(), (0, 1)))
            calls[name, "gradient"] = functools.partial(gradient, inputs, kernel)
        seconds = interleaved(calls, options.repeats)
        small = inputs[:1, : shape[1] // 2, : shape[2] // 2, : shape[3] // 2, :features]
        for name, form in FORMS.items():
            row = {"shape": shape, "channels": channels, "features": features, "form": name}
            for what in ("forward", "gradient"):
                row[what + "_seconds"] = sorted(seconds[name, what])[len(seconds[name, what]) // 2]
                row[what + "_plain_over_this"] = ratio(seconds["plain", what], seconds[name, what])
            kernels = jnp.stack([kernel[..., :features, :]] * 4)
            loops = {
                looped: functools.partial(jax.jit(jax.grad(functools.partial(four, form, looped), (0, 1))), small, kernels)
                for looped in (False, True)
            }
            timed = interleaved(loops, max(2, options.repeats // 3))
            row["loop_over_unrolled"] = ratio(timed[True], timed[False])
            rows.append(row)
            table.add_row(
                "x".join(map(str, shape)), f"{channels} to {features}", name, f"{1e3 * row['forward_seconds']:.1f}",
                f"{row['forward_plain_over_this']['median']:.1f}", f"{1e3 * row['gradient_seconds']:.1f}",
                f"{row['gradient_plain_over_this']['median']:.1f}", f"{row['loop_over_unrolled']['median']:.1f}",
            )  # fmt: skip
    Console(width=120).print(table)
    if options.out:
        write(options.out, rows, {"repeats": options.repeats})


if __name__ == "__main__":
    main()
