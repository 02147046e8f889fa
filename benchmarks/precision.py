"""Whether a network that computes in bfloat16 asks for the same cases as in float32, on trained networks.

    python -m benchmarks.precision --out benchmarks/results/precision-cpu.json
    python -m benchmarks.precision --quick

Each seed trains a U-Net in float32 on simulated brains and scores the same pool twice with the same weights, in float32 and in bfloat16; weights, logits
and scores are float32 both times. Beside it stands what a second training comes to, with other random numbers on the same cases: a difference
that no user calls an error.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import spearmanr

import jaxal
from benchmarks.measure import keep_compiled, use_all_cores, write
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.prepare import load_case
from jaxal.data.simulated import brain
from jaxal.networks.unet import UNetConfig, unet
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.training.trainer import Trainer, whole

STRATEGIES = ("entropy", "margin", "bald", "aeig")
LABELLED, EVALUATION, QUERY = 12, 8, 8


def compare(examples: list[Any], width: int, steps: int, seed: int) -> list[dict[str, Any]]:
    """Rows of one seed: by strategy, how float32's scores agree with bfloat16's and with those of another training."""
    order = np.random.default_rng(seed).permutation(len(examples))
    shuffled = [examples[place] for place in order]
    _, evaluation, pool = np.split(np.arange(len(examples)), [LABELLED, LABELLED + EVALUATION])
    models = {dtype: unet(UNetConfig(width=width, dtype=dtype)) for dtype in ("float32", "bfloat16")}
    trainer = Trainer(SEGMENTATION, models["float32"], TrainingConfig(steps=steps))

    def train(number: int) -> Any:
        key = jax.random.fold_in(jax.random.key(seed), number)
        return trainer.fit(key, LABELLED, whole(shuffled[:LABELLED]), trainer.start(key, shuffled[0])).params

    def scores(params: Any, dtype: str) -> jaxal.Scores:
        known = (
            np.stack([shuffled[place].image for place in evaluation]),
            np.stack([shuffled[place].label for place in evaluation]),
        )
        images = [shuffled[place].image for place in pool]
        return jaxal.score(models[dtype], params, images, STRATEGIES, evaluation=known)

    params = train(0)
    whole_, half, other = scores(params, "float32"), scores(params, "bfloat16"), scores(train(1), "float32")
    return [{"seed": seed, "strategy": name, "against": against, **_agreement(whole_, with_, name)}
            for name in STRATEGIES for against, with_ in (("bfloat16", half), ("another training", other))]  # fmt: skip


def _agreement(first: jaxal.Scores, second: jaxal.Scores, name: str) -> dict[str, float]:
    queries = [set(scores.select(name, QUERY)) for scores in (first, second)]
    moved = np.abs(first[name] - second[name]) / np.std(first[name])
    return {
        "rank_correlation": float(spearmanr(first[name], second[name]).statistic),
        "shared": len(queries[0] & queries[1]),
        "largest_over_spread": float(moved.max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, within two minutes; no figures to quote")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    use_all_cores()
    seeds, cases, steps, spacing = (1, 40, 20, 4.0) if options.quick else (options.seeds, 120, 400, 2.0)  # mm, as the demo
    width, console = 8, Console(width=110)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keep_compiled(folder / "compiled")
        brain.write_cohort(brain.BrainConfig(cases, spacing, "strong"), folder / "brains")
        dataset = make_ready(folder / "brains", folder / "prepared", FolderConfig("group", patch_voxels=10**9, levels=3)).dataset
        examples = [load_case(case, dataset) for case in dataset.cases]
        rows = [row for seed in track(range(seeds), "training and scoring") for row in compare(examples, width, steps, seed)]
    table = Table(
        "strategy",
        "float32 against",
        "rank correlation",
        f"of {QUERY} asked for, the same",
        "largest change, in spreads of the scores",
    )
    for strategy in STRATEGIES:
        for against in ("bfloat16", "another training"):
            of = [row for row in rows if (row["strategy"], row["against"]) == (strategy, against)]
            correlations = [row["rank_correlation"] for row in of]
            table.add_row(strategy, against, f"{np.mean(correlations):.4f} (least {min(correlations):.4f})",
                          " ".join(str(row["shared"]) for row in of), f"{max(row['largest_over_spread'] for row in of):.3f}")  # fmt: skip
    console.print(table)
    if options.out:
        write(options.out, rows, {"seeds": seeds, "cases": cases, "steps": steps, "width": width, "quick": options.quick})


if __name__ == "__main__":
    main()
