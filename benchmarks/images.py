"""Images a second that a ResNet-18 trains on and scores, and the share of a large matrix product's rate that this is.

    python -m benchmarks.images --side 512 --batch 64 --dtype bfloat16 --out benchmarks/results/images-gpu.json
    python -m benchmarks.images --side 64 --batch 32

The sizes of the first are the information-gain paper's, for a GPU. Scoring is the network's forward with the entropy of its prediction,
training a whole step with its augmentation; images are in memory. A gradient is counted as two forwards.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks.measure import interleaved, median, write
from benchmarks.pool import CLASSES, matmul_ceiling, resnet18_flops
from jaxal.acquisition import uncertainty
from jaxal.arrays import flat, logits_of
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.training.config import TrainingConfig
from jaxal.training.gradient import Recipe
from jaxal.training.step import take_step
from jaxal.training.trainer import Trainer
from jaxal.types import Example


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=64, help="of an image in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images at once")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=10, help="turns")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(options.batch, options.side, options.side, 3)), jnp.float32)
    labels, everywhere = jnp.asarray(rng.integers(CLASSES, size=options.batch), jnp.uint8), jnp.ones(options.batch, bool)
    batch = Example(images, labels, everywhere, everywhere)
    model = resnet(ResNetConfig(classes=CLASSES, norm="frozen", dtype=options.dtype))
    config = TrainingConfig(dice=False, flips=(0, 1), rotation_degrees=15.0, contrast=0.0, brightness=0.0, noise=0.0)
    state = Trainer(CLASSIFICATION, model, config).start(jax.random.key(0), jax.tree.map(lambda part: part[0], batch))
    recipe = Recipe(model, config, CLASSIFICATION.loss, CLASSIFICATION.dense)
    step = jax.jit(lambda state: take_step(recipe, state, jax.random.key(1), batch, jnp.int32(100), jnp.float32(1e-3)))

    @jax.jit
    def score(params, images):
        logits = logits_of(flat(model.tail(params, model.stem(params, images), None)), *model.head(params))
        return uncertainty.softmax_and_entropy(logits)[1]

    seconds = interleaved({"train": lambda: step(state), "score": lambda: score(state.params, images)}, options.repeats)
    ceiling, flops = matmul_ceiling(options.dtype), resnet18_flops(options.side)
    rows = []
    for what, forwards in (("score", 1), ("train", 3)):
        rate = options.batch / median(seconds[what])
        rows.append({"what": what, "images_per_second": rate, "share_of_matmul": rate * forwards * flops / ceiling})
        Console().print(
            f"{what}: {rate:.0f} images a second, {rows[-1]['share_of_matmul']:.0%} of a matrix product's {ceiling / 1e9:.0f} GFLOP/s"
        )
    if options.out:
        write(options.out, rows, {name: value for name, value in vars(options).items() if name != "out"})


if __name__ == "__main__":
    main()
