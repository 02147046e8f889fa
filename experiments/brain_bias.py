"""Is the gap between the groups caused by what is labelled? Trains on the imbalanced initial set and on the whole pool.

    python -m experiments.brain_bias --preset small --seeds 5

A simulated bias is worth studying only if labels close the gap that it opens. For each seed this trains one network on the
initial set and one on everything, with the sizes of a preset of `experiments.brain_caudate`, and reports the Dice of group A
minus that of group B on the test cases, with 95 % intervals over the seeds (Student's t).
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from scipy import stats

from experiments import brain_caudate
from jaxal.cli import command
from jaxal.data.cases import initial_set, split
from jaxal.data.simulated import brain
from jaxal.data.simulated.structures import StructureName
from jaxal.files import lock
from jaxal.report import terminal
from jaxal.rounds.ledger import read_runs
from jaxal.rounds.setup import RoundsConfig, open_run
from jaxal.rounds.simulate import simulate
from jaxal.studies import scans
from jaxal.studies.configuration import settle_config
from jaxal.studies.presets import PRESETS


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measures the gap between the groups with few and with all labels."""

    preset: Literal[tuple(PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes, as in experiments.brain_caudate."""
    bias: Annotated[tuple[brain.Bias, ...], tyro.conf.arg(metavar="NAME...")] = ("thin_strong", "thin_weak", "strong", "weak")
    """Biases to measure."""
    labelled: tuple[Literal["initial", "all"], ...] = ("initial", "all")
    """What to train on."""
    seed: int = 0
    """The first seed."""
    seeds: int = 5
    """Number of seeds, from --seed on."""
    cohort_seed: int = 0
    """Of the simulated subjects."""
    structure: StructureName = "left_caudate"
    """That is segmented; of deep_structures, three classes, the bias acts on the caudate."""
    steps: int | None = None
    """Optimizer steps instead of the preset's, whatever the number of cases, to find the plateau."""
    out: Path | None = None
    """Where results go. Default: runs/brain_bias-PRESET."""
    cohorts: Path = Path("runs/cohorts")
    """Where simulated cohorts are kept."""
    older_numbers: bool = False
    """Go on in a folder whose runs an older version computed (docs/numbers.md says what differs)."""


def main(arguments: Arguments) -> int:
    """Trains what is missing and prints the table."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: terminal.Display) -> int:
    preset = PRESETS[arguments.preset]
    if arguments.steps:
        preset = dataclasses.replace(
            preset, training=dataclasses.replace(preset.training, steps=arguments.steps, steps_per_case=0)
        )
    out = arguments.out or Path("runs") / f"brain_bias-{arguments.preset}"
    with lock(out):
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            for bias in arguments.bias:
                of_simulation = {name: getattr(arguments, name) for name in ("cohorts", "cohort_seed", "structure")}
                choice = brain_caudate.Arguments(bias=(bias,), **of_simulation)
                ready, identity = brain_caudate.read_data(choice, preset, display)
                dataset = ready.dataset
                splits = split(dataset.cases, seed, preset.evaluation, preset.test)
                shares = scans.imbalanced_shares(dataset)
                for labelled in arguments.labelled:
                    start = splits.pool if labelled == "all" else initial_set(splits.pool, preset.initial_size, seed, shares)
                    task = scans.make_task(ready, preset, scans.Chosen(splits, start), choice.training, identity)
                    settle_config(out / "config.json", task, older_numbers=arguments.older_numbers)
                    config = RoundsConfig(1, preset.query_size, seed, batch_size=preset.batch_size)
                    folder = out / f"{bias}-imbalanced" / labelled / f"seed-{seed}"
                    for record in simulate(open_run(folder, "random", config, task, display)):
                        by_group = " ".join(f"{group} {value:.3f}" for group, value in record["dice"]["by_group"].items())
                        display.note(
                            f"{bias:>6} {labelled:>7} ({record['labelled']:3d} labelled) seed {seed}: Dice {by_group}, {record['seconds']['train']:.0f} s"
                        )
    _table(out, display)
    return 0


def _table(out: Path, display: terminal.Display) -> None:
    gaps: dict[tuple[str, str], list[float]] = {}
    for run in read_runs(out):
        by_group = run.rounds[0]["dice"]["by_group"]
        gaps.setdefault((run.setting.split("-")[0], run.strategy), []).append(by_group["A"] - by_group["B"])
    display.note("\nDice of group A minus group B, mean over seeds and 95 % interval:")
    for (bias, labelled), values in sorted(gaps.items(), reverse=True):
        line = f"  {bias:>6} {labelled:>7}: {np.mean(values):.3f}"
        if len(values) > 1:
            low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
            line += f" [{low:.3f}, {high:.3f}]"
        display.note(f"{line}, {len(values)} seeds: {json.dumps([round(value, 3) for value in values])}")


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
