"""Active learning on your own scans: which of them to label next, for whom.

    python -m jaxal.cli.segmentation --data DIR --strategy random weighted_entropy aeig --group-column sex --seeds 3
    python -m jaxal.cli.segmentation --data DIR --group-column age --bins 60 75 --plan

DIR is in nnU-Net's layout, the Medical Segmentation Decathlon's, BIDS or BraTS (`jaxal/data/scans/layouts.py` shows all). Groups
of patients are optional: a column of `participants.tsv` names them. DIR is read only: cases are resampled and normalised once, into
--prepared. What was derived from the data, and why, is written to `plan.json` in the results folder. Labels are taken from the
folder, as if readers gave them on demand: the study tells which strategy would have been worth following.
"""

import contextlib
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from jaxal.cli import command
from jaxal.data.cases import pool_size
from jaxal.data.scans.folder import FolderConfig, Ready
from jaxal.data.scans.plan import to_json
from jaxal.errors import UserError
from jaxal.networks.unet import UNetConfig
from jaxal.networks.windows import window_starts
from jaxal.report import terminal
from jaxal.rounds.setup import Task
from jaxal.scoring.pool_pass import Pass
from jaxal.strategies.named import named_strategy
from jaxal.studies import common_options, option_types, revisit, scans
from jaxal.studies.fairness_option import check_groups, with_fairness
from jaxal.studies.presets import OWN_SCANS, OwnScans, Preset
from jaxal.training.trainer import Interrupted, Trainer
from jaxal.training.weighting import Weighting

EVALUATION, TEST = 0.15, 0.35  # shares of each group's subjects
LEAST = {"patch-voxels": 64, "quantiles": 2}


@dataclasses.dataclass(frozen=True)
class Arguments(scans.ScanArguments):
    """Decides which of your scans to label next, and for which patient group."""

    data: option_types.Place = None
    """The folder of scans; needed, but for --score-only and --predict-only."""
    preset: Literal[tuple(OWN_SCANS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (every part, within minutes), small (two cores), paper (a GPU)."""
    bins: option_types.Edges = ()
    """Edges that cut a --group-column of numbers, or of volumes in mm³, into groups, such as 60 75 or 60,75."""
    quantiles: option_types.Number = None
    """Groups of equal size for a --group-column of many different numbers, where no --bins are given. Default: two."""
    channels: option_types.Names = ()
    """In BIDS, which images to take, such as T1w FLAIR. Default: all."""
    spacing_mm: Annotated[tuple[float, ...], tyro.conf.arg(metavar="MM MM MM", help_behavior_hint="")] = ()
    """Voxel size along each axis (left to right, back to front, feet to head) to which all cases are resampled. Default: derived from the data."""
    patch_voxels: option_types.Number = None
    """Voxels that the network sees at once, at most; larger cases are trained on in patches. Default: the preset's."""
    plan: bool = False
    """Only read the folder, prepare its cases, time one step and one case, and tell what a run would do and cost."""


def main(arguments: Arguments) -> int:
    """Runs a study, plans one or scores one's pool; returns the exit status."""
    return command.run_study(lambda display: _run(arguments, display), arguments)


def _run(arguments: Arguments, display: terminal.Display) -> int:
    arguments = with_fairness(arguments)
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    if arguments.data is None:
        raise UserError("--data DIR is needed: the folder of scans (docs/own-data.md says what it may look like).")
    out = arguments.out or Path("runs") / f"segmentation-{arguments.data.resolve().name}-{arguments.preset}"
    common_options.check_options(arguments, arguments.data, out)
    for option, value in (("patch-voxels", arguments.patch_voxels), ("quantiles", arguments.quantiles)):
        if value is not None and value < LEAST[option]:
            raise UserError(f"--{option} is {value}; it must be at least {LEAST[option]}.")
    if arguments.spacing_mm and not (
        len(arguments.spacing_mm) == 3 and all(0.01 <= size <= 100 for size in arguments.spacing_mm)
    ):
        raise UserError(
            f"--spacing-mm is {' '.join(f'{size:g}' for size in arguments.spacing_mm)}; it takes three numbers of millimetres, from 0.01 to 100."
        )
    size = OWN_SCANS[arguments.preset]
    config = FolderConfig(
        arguments.group_column,
        arguments.participants,
        option_types.edges(arguments.bins),
        arguments.quantiles,
        arguments.channels,
        arguments.spacing_mm,
        arguments.patch_voxels or size.patch_voxels,
    )
    ready = scans.read_folder(arguments.data, arguments.prepared / arguments.data.resolve().name, config, display)
    check_groups(arguments, ready.dataset.groups)
    preset = scans.choose_sizes(arguments, _preset(size, ready))
    identity = {
        "group_column": ready.group_column,
        "fingerprint": ready.fingerprint,
        "plan": ready.plan.digest(),
        "cases": len(ready.dataset.cases),
        "shape": list(ready.dataset.shape),
        "patch": list(ready.plan.patch),
        "classes": list(ready.dataset.classes),
    }
    patch = None if ready.plan.whole else ready.plan.patch
    source = scans.make_source("data", arguments, preset, ready, identity, patch)
    if arguments.plan:
        return _plan(arguments, ready, preset, source.task(arguments.seed), patch, out, display)
    plan = json.dumps(to_json(ready.plan, ready.listing), indent=2) + "\n"
    return revisit.run_or_study(arguments, preset, [source], out, display, {"plan.json": plan})


def _preset(size: OwnScans, ready: Ready) -> Preset:
    """A tenth of the pool at the start and a twentieth a query, and of each group one case at least, as far as the pool has so many."""
    cases = ready.dataset.cases
    groups, about = len(ready.dataset.groups), len(cases) / 2  # the rest is for evaluation and test
    query = max(groups, round(about / 20))
    initial = max(groups, min(max(2 * groups, round(about / 10)), int(about) - query))
    pool = pool_size(cases, EVALUATION, TEST)
    if initial + query > pool:  # splits of few cases are rounded to whole ones in every group
        initial = max(1, min(initial, max(groups if pool > groups else 1, pool // 2)))
        query = max(1, min(query, pool - initial))
    return Preset(
        cases=len(cases),
        spacing_mm=min(ready.plan.spacing_mm),
        rounds=size.rounds,
        query_size=query,
        initial_size=initial,
        evaluation=EVALUATION,
        test=TEST,
        network=UNetConfig(width=size.width, levels=ready.plan.levels, pooling=ready.plan.pooling),
        training=size.training,
        members=size.members,
    )


def _plan(
    arguments: Arguments,
    ready: Ready,
    preset: Preset,
    task: Task,
    patch: tuple[int, ...] | None,
    out: Path,
    display: terminal.Display,
) -> int:
    """Tells what a run would do, and what it would cost by one timed step and one timed case."""
    groups = {group: sum(case.group == group for case in ready.dataset.cases) for group in ready.dataset.groups}
    display.note(
        f"{ready.listing.layout}: {len(ready.dataset.cases)} cases; "
        + ", ".join(f"{name} {count}" for name, count in groups.items())
    )
    display.note(f"channels {', '.join(ready.dataset.channels)}; classes {', '.join(ready.dataset.classes)}")
    for reason in ready.plan.why:
        display.note(f"  {reason}")
    trainer = Trainer(task.kind, task.model, dataclasses.replace(task.training, weighting=Weighting()))  # a step costs the same
    case = task.initial[0]
    draw_of_case = task.draw
    draw = (lambda index, rng: draw_of_case(case, rng)) if draw_of_case else (lambda index, rng: task.load(case))
    state = trainer.start(jax.random.key(0), task.load(case))
    weights = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    step, labelled = _seconds_a_step(trainer, state, draw), preset.initial_size + preset.query_size * (preset.rounds - 1) / 2
    steps = trainer.steps(round(labelled))
    seconds_a_case, megabytes = _seconds_a_case(task, preset, arguments)
    seen = len(task.splits.pool) + len(task.splits.evaluation) + len(task.splits.test)
    networks = preset.members.networks
    minutes = (networks * steps * step + seen * seconds_a_case) / 60
    runs = len(set(arguments.strategy)) * arguments.seeds
    full = arguments.seeds if common_options.trains_full(arguments, out) else 0
    everything = full * (networks * trainer.steps(len(task.splits.pool)) * step + seen * seconds_a_case) / 60
    windows = len(window_starts(ready.dataset.shape, patch, 0.5)) if patch else 1
    padded = " x ".join(map(str, ready.dataset.shape))
    display.note(
        f"every case is padded to the largest, {padded} voxels, and seen in {windows} window{'s' if windows > 1 else ''}"
    )
    sizes = ", ".join(
        f"{len(part)} for {name}" for name, part in zip(("the pool", "evaluation", "the test"), task.splits, strict=True)
    )
    display.note(f"splits of seed {arguments.seed}: {sizes}; results in {out}")
    display.note(
        f"network of {weights:,} weights; {preset.initial_size} cases at the start, {preset.query_size} a query, {preset.rounds} rounds\n"
        f"a step {step:.2f} s, a case {seconds_a_case:.2f} s, a pass {megabytes:.0f} MB on a device\n"
        f"a round about {_duration(minutes)} ({steps} steps, {seen} cases); {runs} runs and {full} on everything about {_duration(runs * preset.rounds * minutes + everything)}"
    )
    return 0


def _duration(minutes: float) -> str:
    if minutes < 2:
        return f"{60 * minutes:.0f} seconds"
    return f"{minutes:.0f} minutes" if minutes < 180 else f"{minutes / 60:.0f} hours"


def _seconds_a_step(trainer: Trainer, state, draw) -> float:
    """The time of one step, the last of three: the first compiles."""
    times = []

    def note(done: int, total: int) -> None:
        times.append(time.perf_counter())

    with contextlib.suppress(Interrupted):
        trainer.fit(jax.random.key(0), 1, draw, state, note, lambda: len(times) >= 3)
    return float(np.diff(times)[-1])


def _seconds_a_case(task: Task, preset: Preset, arguments: Arguments) -> tuple[float, float]:
    """The time of one case in a pass that computes all that the strategies ask for, without compilation, and the pass's megabytes."""
    chosen = [named_strategy(name, task.kind.strategies, task.options).strategy for name in arguments.strategy]
    names = {need for strategy in chosen for need in strategy.needs.pool if need != "auxiliary"} | {"overlap"}
    networks = preset.members.networks + any(strategy.last_network for strategy in chosen)
    members = dataclasses.replace(preset.members, networks=networks)
    pass_ = Pass(task.kind, task.model, sorted(names), members, preset.batch_size, task.statistics)
    params, key = jax.jit(task.model.init)(jax.random.key(0), task.load(task.initial[0]).image[None]), jax.random.key(0)
    if networks > 1:
        params = jax.tree.map(lambda leaf: jnp.stack([leaf] * networks), params)
    cases = task.splits.pool[: jax.local_device_count() * preset.batch_size]
    pass_(params, key, cases, task.load)
    begin = time.perf_counter()
    pass_(params, key, cases, task.load)
    seconds = (time.perf_counter() - begin) / len(cases)
    return seconds, pass_.program_bytes(params, key, task.load(cases[0])) / 1e6


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
