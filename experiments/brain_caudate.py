"""Active learning for the left caudate in brain MRI, with a bias in one group of patients.

    python -m experiments.brain_caudate --strategy aeig

The cohort is simulated (`jaxal/data/brain.py`): in group B the caudate lies elsewhere. The initial set is imbalanced, seven cases
of group A and one of group B, so a network trained on it serves B badly; which strategy notices, and mends it?

Is the gap caused by what is labelled? Dice of group A minus that of group B on the test cases at `--preset small`, mean over
seeds 0 to 4 with 95 % intervals over the seeds (`python -m experiments.brain_bias --preset small --seeds 5`, two CPU cores,
jax 0.10.2; ledgers in `docs/results/brain_bias-small`):

    bias     labelled                     gap     95 % interval      by seed
    strong   initial set (7 A + 1 B)      0.120   0.086 to 0.155     0.091 0.114 0.166 0.113 0.118
    strong   whole pool (30 A + 30 B)     0.019   0.013 to 0.025     0.018 0.018 0.022 0.012 0.025
    weak     initial set                  0.088   0.057 to 0.119     0.047 0.091 0.116 0.089 0.096
    weak     whole pool                   0.014   0.008 to 0.019     0.015 0.014 0.014 0.007 0.019

So labels close five sixths of either gap. Where the rest comes from was not looked into.
"""

import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import tyro

from experiments import command
from experiments.presets import PRESETS, Preset
from experiments.study import imbalanced_shares, make_task, set_aside, settings, settle_config
from jaxal import hosts, loop, report, rescoring
from jaxal.checkpoint import lock, write_text
from jaxal.data import brain
from jaxal.data.cases import Dataset, initial_set, split
from jaxal.data.layouts import fingerprint, read_nnunet
from jaxal.errors import UserError
from jaxal.members import MembersConfig
from jaxal.statistics import STATISTICS
from jaxal.strategies import STRATEGIES, StrategyConfig
from jaxal.training import Interrupted


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Decides which brain MRIs to label next, round after round, and reports accuracy and fairness by patient group."""

    strategy: tuple[Literal[tuple(STRATEGIES)], ...] = ("aeig",)  # type: ignore[valid-type]
    """How cases are chosen; of several, one run after the other."""
    score_only: Path | None = None
    """Folder of a run (…/STRATEGY/seed-N): score its last round's pool by all given strategies in one pass, into its scores.csv.
    The run's own options count; others than --strategy and the hosts' are ignored."""
    bias: brain.Bias = "strong"
    """How strong the bias of group B is in the simulation; does nothing with --data."""
    initial: Literal["balanced", "imbalanced"] = "imbalanced"
    """Whether the groups share the initial set equally, or the smallest group (B in the simulation) gets a tenth of it."""
    preset: Literal[tuple(PRESETS)] = "demo"  # type: ignore[valid-type]
    """Sizes: smoke (a minute), demo (five minutes), small (the smallest that shows the bias), paper (1 mm, for a GPU)."""
    training: Literal["scratch", "warm"] = "scratch"
    """Train every round from scratch, or from the last round's weights with fewer steps."""
    rounds: int | None = None
    """Trainings; each ends with a query. A larger number extends an existing run. Default: the preset's."""
    query_size: int | None = None
    """Cases that are labelled after each round. Default: the preset's."""
    initial_size: int | None = None
    """Cases that are labelled before the first round. Default: the preset's."""
    seed: int = 0
    """Of the splits, the initial set, the weights and every draw."""
    data: Path | None = None
    """A folder in nnU-Net's layout with a participants.tsv, instead of the simulation."""
    group_column: str = "group"
    """Column of participants.tsv that names each case's group."""
    out: Path | None = None
    """Where results go. Default: runs/brain_caudate-PRESET, or runs/brain_caudate-FOLDER with --data."""
    cohorts: Path = Path("runs/cohorts")
    """Where simulated cohorts are kept, to be used again."""
    save_every: float = 60.0
    """Seconds between checkpoints within a training."""
    fresh: bool = False
    """Set an existing --out folder aside (it is renamed, not deleted) and begin anew."""
    samples: int | None = None
    """Dropout samples of strategies that measure disagreement; 0 leaves dropout off. Default: the preset's."""
    networks: int | None = None
    """Networks that are trained each round, their disagreement joined to the samples' (a deep ensemble). Default: the preset's, one."""
    flips: tuple[int, ...] | None = None
    """Axes (0, 1, 2) along which views are flipped, their disagreement joined to the samples' (test-time augmentation). Default: none."""
    hosts: tyro.conf.OmitArgPrefixes[command.Hosts] = dataclasses.field(default_factory=command.Hosts)


# What --score-only takes from the run's own options.
OF_THE_RUN = (
    "bias", "initial", "preset", "training", "query_size", "initial_size", "seed", "data", "group_column", "cohorts", "samples",
    "networks", "flips",
)  # fmt: skip


def main(arguments: Arguments) -> int:
    """Runs a study or scores one's pool; returns the exit status."""
    work = _score if arguments.score_only else _run
    return command.run(lambda display: work(arguments, display), arguments.hosts)


def _run(arguments: Arguments, display: report.Display) -> int:
    started = time.perf_counter()
    preset = _preset(arguments)
    out = arguments.out or Path("runs") / f"brain_caudate-{arguments.data.resolve().name if arguments.data else arguments.preset}"
    # Everything that can be refused is refused before anything is written.
    task, identity = _prepare(arguments, preset, display)
    setting = f"{'data' if arguments.data else arguments.bias}-{arguments.initial}"
    if arguments.fresh and out.exists() and hosts.is_leader():
        display.note(f"Set {out} aside as {set_aside(out)}.")
    with lock(out) if hosts.is_leader() else contextlib.nullcontext():
        if hosts.is_leader():
            settle_config(out / "config.json", settings(task, preset, arguments.training, identity))
        for strategy in dict.fromkeys(arguments.strategy):
            _run_strategy(strategy, out / setting / strategy / f"seed-{arguments.seed}", arguments, preset, task, display)
        if hosts.is_leader():
            plot = report.plot_learning_curves(out, setting)
            display.note(
                f"Done in {time.perf_counter() - started:.0f} s.\n  summary  {report.write_summary(out)}\n  curves   {plot}"
            )
    return 0


def _run_strategy(
    strategy: str, folder: Path, arguments: Arguments, preset: Preset, task: loop.Task, display: report.Display
) -> None:
    splits, groups = task.splits, task.dataset.groups
    display.note(
        f"{strategy}, {folder.parents[1].name}, seed {arguments.seed}: {len(splits.pool)} cases in the pool, {len(splits.evaluation)} for "
        f"evaluation, {len(splits.test)} for the test; {' x '.join(map(str, task.dataset.shape))} voxels"
    )
    if hosts.is_leader():
        options = {name: getattr(arguments, name) for name in OF_THE_RUN}
        write_text(folder / "options.json", json.dumps(options, indent=2, default=lambda path: str(path.resolve())) + "\n")
    display.table_header(groups)
    for record in loop.run(folder, strategy, _loop_config(arguments, preset), task, display):
        display.table_row(record, groups)
        if hosts.is_leader():
            report.write_summary(folder.parents[2])
    display.note(f"  rounds   {folder / 'rounds.jsonl'}\n  weights  {folder / 'checkpoints'}")


def _score(arguments: Arguments, display: report.Display) -> int:
    folder = arguments.score_only
    arguments = dataclasses.replace(arguments, **_options_of_run(folder))
    preset = _preset(arguments)
    task, identity = _prepare(arguments, preset, display)
    out = folder.resolve().parents[2]
    with lock(out) if hosts.is_leader() else contextlib.nullcontext():
        settle_config(out / "config.json", settings(task, preset, arguments.training, identity))
        names = list(dict.fromkeys(arguments.strategy))
        found = rescoring.score_round(folder, names, _loop_config(arguments, preset), task, display)
        if hosts.is_leader():
            rescoring.write_scores(folder / "scores.csv", found)
    display.note(f"Round {found.round}: {len(found.pool)} cases without a label. Each strategy's query, best first:")
    for name, query in found.queries.items():
        display.note(f"  {name:<20} {' '.join(query.units)}")
    display.note(f"All scores: {folder / 'scores.csv'}")
    return 0


def _options_of_run(folder: Path) -> dict:
    path = folder / "options.json"
    if not path.is_file():
        raise UserError(f"--score-only {folder}: holds no options.json. It takes the folder of one run, …/STRATEGY/seed-N.")
    try:
        options = json.loads(path.read_text())
        values = {name: options[name] for name in OF_THE_RUN}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the options of a run ({error}). Restore the file.") from error
    values["cohorts"] = Path(values["cohorts"])
    values["data"] = values["data"] and Path(values["data"])
    values["flips"] = values["flips"] and tuple(values["flips"])
    return values


def _prepare(arguments: Arguments, preset: Preset, display: report.Display) -> tuple[loop.Task, dict]:
    """Data, splits and initial set as a task, and what identifies the data."""
    dataset, identity = read_data(arguments, preset, display)
    splits = split(dataset.cases, arguments.seed, preset.evaluation, preset.test)
    if len(splits.pool) < preset.initial_size + preset.query_size:
        raise UserError(
            f"The pool has {len(splits.pool)} of {len(dataset.cases)} cases, but the initial set of {preset.initial_size} and one "
            f"query of {preset.query_size} need {preset.initial_size + preset.query_size}. Lower --initial-size or --query-size, or add cases."
        )
    shares = imbalanced_shares(dataset) if arguments.initial == "imbalanced" else None
    initial = initial_set(splits.pool, preset.initial_size, arguments.seed, shares)
    if any(axis not in range(len(dataset.shape)) for axis in preset.members.flips):
        raise UserError(f"--flips is {preset.members.flips}; images here have the axes 0 to {len(dataset.shape) - 1}.")
    return make_task(dataset, preset, splits, initial, arguments.training, identity), identity


def _loop_config(arguments: Arguments, preset: Preset) -> loop.LoopConfig:
    return loop.LoopConfig(
        rounds=preset.rounds,
        query_size=preset.query_size,
        seed=arguments.seed,
        start=arguments.training,
        members=preset.members,
        batch_size=preset.batch_size,
        save_every_seconds=arguments.save_every,
    )


def _preset(arguments: Arguments) -> Preset:
    """The preset with what was asked for by option in its place."""
    asked = {name: getattr(arguments, name) for name in ("rounds", "query_size", "initial_size")}
    for name, value in asked.items():
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
    if arguments.seed < 0:
        raise UserError(f"--seed is {arguments.seed}; it must be at least 0.")
    preset = dataclasses.replace(PRESETS[arguments.preset], **{name: value for name, value in asked.items() if value is not None})
    return dataclasses.replace(preset, members=_members(arguments, preset.members))


def _members(arguments: Arguments, members: MembersConfig) -> MembersConfig:
    asked = {"dropout": arguments.samples, "networks": arguments.networks, "flips": arguments.flips}
    try:
        members = dataclasses.replace(members, **{name: value for name, value in asked.items() if value is not None})
    except ValueError as error:
        raise UserError(f"--samples, --networks or --flips: {error}") from error
    needy = [
        name
        for name in arguments.strategy
        if any(STATISTICS[need].needs_members for need in STRATEGIES[name](StrategyConfig()).needs.pool)
    ]
    if needy and members.count < 2:
        raise UserError(
            f"{', '.join(needy)} needs members that can disagree: give --samples, --networks or --flips more of them."
        )
    return members


def read_data(arguments: Arguments, preset: Preset, display: report.Display) -> tuple[Dataset, dict]:
    """Reads the user's folder, or a simulated one that is made first if it is not there; returns what identifies it, too."""
    folder, column, identity = arguments.data, arguments.group_column, {}
    if folder is None:
        config = brain.BrainConfig(preset.cases, preset.spacing_mm, arguments.bias)
        everything = {**dataclasses.asdict(config), "generator": brain.GENERATOR}
        identity = {"simulation": {name: value for name, value in everything.items() if name != "bias"}}
        folder = (
            arguments.cohorts / f"brain-{arguments.bias}-{preset.cases}-{preset.spacing_mm:g}mm-{loop.config_hash(everything)}"
        )
        if hosts.is_leader() and not folder.is_dir():
            with display.progress("simulating") as progress:
                brain.write_cohort(config, folder, _stoppable(progress, display))
            display.note(f"Simulated {config.cases} brains into {folder}")
        hosts.share_json(None)  # the others wait for the leader's files
    with display.progress("checking files") as progress:
        dataset = read_nnunet(folder, column, preset.network.multiple, _stoppable(progress, display))
    if arguments.data:
        identity = {"group_column": column, "fingerprint": fingerprint(dataset)}
    return dataset, {**identity, "cases": len(dataset.cases), "shape": list(dataset.shape), "classes": list(dataset.classes)}


def _stoppable(progress: Callable[[int, int], None], display: report.Display) -> Callable[[int, int], None]:
    """Progress that also asks whether to stop."""

    def report_(done: int, total: int) -> None:
        progress(done, total)
        if display.should_stop():
            raise Interrupted

    return report_


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
