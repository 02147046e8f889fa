"""What more there is to learn costs a training step: heads of strategies, evidence, cases without labels, each over the plain step, in turns.

python -m benchmarks.further_training --out benchmarks/results/further-training-cpu.json
python -m benchmarks.further_training --quick
"""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.measure import median, ratio, use_all_cores, write
from benchmarks.training import Contender, resnet_contender, timed_steps, unet_contender
from jaxal.networks.auxiliary import with_auxiliary
from jaxal.strategies.predicted import learning_loss, predicted_dice
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.trainer import Trainer
from jaxal.training.unlabelled import named_unlabelled
from jaxal.types import Auxiliary


def with_head(contender: Contender, auxiliary: Auxiliary | None) -> Contender:
    """The contender whose network has a further output."""
    recipe = contender.recipe
    assert auxiliary is not None
    return contender._replace(recipe=recipe._replace(model=with_auxiliary(recipe.model, auxiliary), auxiliary=auxiliary))


def with_evidence(contender: Contender) -> Contender:
    """The contender that learns to have little evidence for wrong classes."""
    config = dataclasses.replace(contender.recipe.config, evidence=1.0)
    return contender._replace(recipe=contender.recipe._replace(config=config))


def with_unlabelled(contender: Contender, method: str) -> Contender:
    """The contender that learns from as many cases without a label, and brings them along."""
    config = dataclasses.replace(contender.recipe.config, unlabelled=named_unlabelled(method))
    trainer = Trainer(SEGMENTATION if contender.recipe.dense else CLASSIFICATION, contender.recipe.model, config)
    further = jax.tree.map(lambda part: np.concatenate([part[::-1]] * config.unlabelled.ratio), contender.batch)
    return contender._replace(recipe=trainer._recipe, further=further)


def variants(contender: Contender) -> dict[str, Contender]:
    """What is compared, the plain step first."""
    found = {
        "plain": contender,
        "learning_loss": with_head(contender, learning_loss().auxiliary),
        "--evidence 1": with_evidence(contender),
        "--unlabelled consistency": with_unlabelled(contender, "consistency"),
        "--unlabelled mean_teacher": with_unlabelled(contender, "mean_teacher"),
        "--unlabelled fixmatch": with_unlabelled(contender, "fixmatch"),
        "--unlabelled fixmatch,ratio=3": with_unlabelled(contender, "fixmatch,ratio=3"),
    }
    return found | ({"predicted_dice": with_head(contender, predicted_dice().auxiliary)} if contender.recipe.dense else {})


def steps(contender: Contender, turns: int) -> list[dict[str, Any]]:
    """Each variant's step over the plain one, turn by turn."""
    takes: dict[str, Callable[[], float]] = {}
    for name, variant in variants(contender).items():
        params = jax.jit(variant.recipe.model.init)(jax.random.key(0), variant.batch.image[:1])
        takes[name] = timed_steps(variant, params)
        takes[name]()  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in takes}
    for _ in range(turns):
        for name, take in takes.items():
            take()  # after a pause: training has none
            seconds[name].append(take())
    plain = seconds.pop("plain")
    return [
        {"what": contender.name, "more": name, "over_plain": ratio(times, plain), "plain_seconds": median(plain)}
        for name, times in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute; no figures to quote")
    parser.add_argument("--turns", type=int, help="of each step")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    use_all_cores()
    turns, shape, images = options.turns or (2 if options.quick else 20), (48, 48, 32), 32
    if options.quick:
        shape, images = (16, 16, 16), 4
    rows = [row for contender in (unet_contender(8, shape), resnet_contender(images)) for row in steps(contender, turns)]
    table = Table("what", "more to learn", "plain ms", "over the plain step", "quartiles")
    for row in rows:
        over = row["over_plain"]
        table.add_row(
            row["what"], row["more"], f"{1e3 * row['plain_seconds']:.0f}", f"{over['median']:.2f}", f"{over['low']:.2f} to {over['high']:.2f}"
        )  # fmt: skip
    Console(width=130).print(table)
    if options.out:
        write(options.out, rows, {"turns": turns, "quick": options.quick})


if __name__ == "__main__":
    main()
