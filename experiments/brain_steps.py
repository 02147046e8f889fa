"""How many optimizer steps does a training need? From scratch on the initial set, and warm after four more labels.

    python -m experiments.brain_steps --preset small --seeds 3

For each seed: networks from scratch on the initial set, one for each number of steps; then two cases of each group are labelled,
and the preset's own network goes on with each number of warm steps, beside one from scratch. Prints the mean test Dice by group.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments import brain_caudate
from jaxal.assessment import fairness, metrics
from jaxal.cli import command
from jaxal.data.cases import by_stratum, initial_set, split
from jaxal.report import terminal
from jaxal.scoring.pool_pass import Pass
from jaxal.studies import scans
from jaxal.studies.presets import PRESETS
from jaxal.training.trainer import Trainer, whole


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measures the plateau of the training, from scratch and warm."""

    preset: Literal[tuple(PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes, as in experiments.brain_caudate."""
    scratch: tuple[int, ...] = (50, 100, 200, 400)
    """Numbers of steps from scratch."""
    warm: tuple[int, ...] = (30, 60, 120, 240)
    """Numbers of steps from the last weights."""
    seeds: int = 3
    """Number of seeds, from 0."""
    cohorts: Path = Path("runs/cohorts")
    """Where simulated cohorts are kept."""


def main(arguments: Arguments) -> int:
    """Trains everything and prints the table after each seed."""
    return command.run(lambda display: _run(arguments, display))


def _run(arguments: Arguments, display: terminal.Display) -> int:
    preset = PRESETS[arguments.preset]
    ready, identity = brain_caudate.read_data(brain_caudate.Arguments(cohorts=arguments.cohorts), preset, display)
    dataset = ready.dataset
    dice: dict[str, list[dict[str, float]]] = {}
    for seed in range(arguments.seeds):
        splits = split(dataset.cases, seed, preset.evaluation, preset.test)
        few = initial_set(splits.pool, preset.initial_size, seed, scans.imbalanced_shares(dataset))
        task = scans.make_task(ready, preset, scans.Chosen(splits, few), "scratch", identity)
        more = [case for cases in by_stratum(set(splits.pool) - set(few)).values() for case in cases[:2]]
        examples = [task.load(case) for case in few]
        extended = examples + [task.load(case) for case in more]
        test = Pass(task.kind, task.model, ["overlap"], preset.members, preset.batch_size, task.statistics)
        key = jax.random.key(seed)

        def measure(name: str, params: Any, task=task, test=test, key=key) -> None:
            values = metrics.mean_foreground_dice(test(params, key, task.splits.test, task.load)["overlap"])
            performance = fairness.group_performance(values, [case.group for case in task.splits.test])
            dice.setdefault(name, []).append(dict(performance.by_group))

        def train(examples, config, warm=False, params=None, task=task, key=key):
            trainer = Trainer(task.kind, task.model, config, warm)
            with display.progress(f"{trainer.steps(len(examples))} steps on {len(examples)}") as progress:
                state = trainer.start(key, examples[0], params)
                return trainer.fit(key, len(examples), whole(examples), state, progress, display.should_stop).params

        for steps in arguments.scratch:
            config = dataclasses.replace(preset.training, steps=steps, steps_per_case=0)
            measure(f"{len(examples)} labelled, scratch, {steps} steps", train(examples, config))
        last = jax.tree.map(np.asarray, train(examples, preset.training))
        own_steps = Trainer(task.kind, task.model, preset.training).steps(len(extended))
        measure(f"{len(extended)} labelled, scratch, {own_steps} steps", train(extended, preset.training))
        for steps in arguments.warm:
            config = dataclasses.replace(preset.training, warm_steps=steps, steps_per_case=0)
            measure(f"{len(extended)} labelled, warm, {steps} steps", train(extended, config, warm=True, params=last))
        display.note(f"\nTest Dice by group, mean of {seed + 1} seeds:")
        for name, values in dice.items():
            display.note(
                f"  {name}: " + ", ".join(f"{group} {np.mean([value[group] for value in values]):.3f}" for group in values[0])
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
