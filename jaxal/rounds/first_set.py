"""A round before the first: what to label when nothing is, chosen by features that need no label."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxal import hosts
from jaxal.acquisition.appearance import appearance, principal
from jaxal.arrays import key_of
from jaxal.errors import UserError
from jaxal.files import write_text, write_whole
from jaxal.rounds.passes import stoppable
from jaxal.rounds.setup import Run, Task
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.strategies.contract import Context, First, decide
from jaxal.training.self_supervised import Lesson, Objective, learn_alone, steps_for
from jaxal.types import Case, Collected, Load, Seen, Unit, Watcher

_ROUND = 2**31  # in place of a round's number, for keys
_TOGETHER = {True: 8, False: 64}  # cases of a step without labels, where each is a volume and where it is not


def with_first_set(run: Run) -> Run:
    """The run whose initial cases its strategy has chosen without labels, as many as there were; the same run where it does not care.

    Chosen is once, and kept in the run's folder. Features lie beside the runs, for all strategies of the same seed.

    Raises:
      Interrupted: the watcher asked to stop.
      UserError: too few cases have a label, all of those chosen are refused, or the file is broken.
    """
    first = run.strategy.first
    if first is None:
        return run
    if hosts.is_leader() and not _path(run).exists():
        write_text(_path(run), json.dumps(_chosen(run, first), allow_nan=False) + "\n")
    told = hosts.share_json(_read(run) if hosts.is_leader() else None)
    cases = {case.id: case for case in run.task.splits.pool}
    if strange := sorted(set(told["chosen"]) - cases.keys()):
        raise UserError(f"{_path(run)}: speaks of {strange[0]!r}, which is not in the pool. Is it another data set's?")
    initial = [cases[id_] for id_ in told["chosen"]]
    if all(case.label and case.label.refusal for case in initial):
        raise UserError(
            f"Readers refused all {len(initial)} cases of the first set, so there is nothing to train on. Raise --initial-size, or choose another first set."
        )
    return run._replace(task=run.task._replace(initial=initial))


def told_of_first_set(run: Run) -> dict[str, Any]:
    """What the ledger's first line says of it; nothing where the strategy did not choose it."""
    return {"first_set": _read(run)} if run.strategy.first else {}


def _path(run: Run) -> Path:
    return run.folder / "first_set.json"


def _read(run: Run) -> dict[str, Any]:
    try:
        return json.loads(_path(run).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{_path(run)}: cannot be read ({error}). Restore it, or begin anew with --fresh.") from error


def _chosen(run: Run, first: First) -> dict[str, Any]:
    """The cases, with what they were chosen by, ready for JSON."""
    labelled = [case for case in sorted(run.task.splits.pool) if case.label]
    size = len(run.task.initial)
    if len(labelled) < size:
        raise UserError(f"{size} cases are to be labelled at the start, and there are {len(labelled)} labels.")
    key = jax.random.fold_in(key_of(run.config.seed), _ROUND)
    unlabelled = [case._replace(label=None) for case in labelled]
    return {"chosen": choose_first(first, run.task, features(run, first, key), unlabelled, size, key), "features": first.features}


def choose_first(
    first: First, task: Task, known_of_cases: Collected, cases: Sequence[Case], size: int, key: jax.Array
) -> list[str]:
    """Ids of the cases to label first.

    Args:
      first: how they are chosen.
      task: whose cases they are.
      known_of_cases: see `features_of`.
      cases: to choose from.
      size: how many to choose.
      key: of what is drawn.
    """
    context = Context(jax.random.fold_in(key, 1), [Unit(case) for case in cases])
    classes = max(len(task.dataset.classes), 1)
    shares = np.full((len(cases), classes), 1.0 / classes, np.float32)  # none is known to be larger than another
    statistics = {"class_shares": shares, **known_of_cases}
    nothing = {name: values[:0] for name, values in statistics.items()} | {"class_counts": statistics["class_shares"][:0]}
    head = (jnp.zeros((1, 1)), jnp.zeros(1))  # what is chosen by features has no use for it
    known = Seen((), {name: nothing[name] for name in first.strategy.needs.labelled})
    needed = {name: statistics[name] for name in first.strategy.needs.pool}
    return list(decide(first.strategy, context, head, needed, known, Seen((), {}), size).query.units)


def features(run: Run, first: First, key: jax.Array) -> Collected:
    """`features_of` the pool's labelled cases, in the order of ids; computed once for all strategies of a seed."""
    cases = [case for case in sorted(run.task.splits.pool) if case.label]
    name = first.features + (f",epochs={first.epochs}" if first.learns else "")
    kept = run.folder.parents[1] / "features" / f"{name},seed={run.config.seed},{run.config_hash}.npz"
    ids = np.array([case.id for case in cases])
    if not kept.exists() or not np.array_equal((stored := _stored(kept))["ids"], ids):
        stored = {"ids": ids, **features_of(first, run.task, cases, run.load_labelled, key, run.config.batch_size, run.watcher)}
        write_whole(kept, functools.partial(_write, values=stored))
    return {name: values for name, values in stored.items() if name != "ids"}


def _write(file: Any, values: Mapping[str, np.ndarray]) -> None:
    np.savez(file, **values)  # type: ignore[arg-type]


def _stored(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Delete it; it is then made again.") from error


def features_of(
    first: First, task: Task, cases: Sequence[Case], load: Load, key: jax.Array, batch_size: int, watcher: Watcher
) -> dict[str, np.ndarray]:
    """What is known of cases without their labels: `embedding`, and where a network learned without labels, `self_supervised_loss`.

    Args:
      first: which features.
      task: whose network and whose way to read cases it is.
      cases: whose features are wanted.
      load: reads cases that are read again and again.
      key: of weights and lessons.
      batch_size: of the pass.
      watcher: is told how far the work is, and may end it.

    Raises:
      Interrupted: the watcher asked to stop.
      UserError: there is one case only, and the features come from comparing several.
    """
    dense = task.kind.dense
    if first.features == "appearance":
        return {"embedding": _appearances(task, cases, watcher)}
    if not first.learns:
        params, lost = jax.jit(task.model.init)(key, task.load(cases[0]).image[None]), {}
    elif len(cases) < 2:
        raise UserError(f"Features that are {first.features} come from comparing cases, and there is one.")
    else:
        together = _TOGETHER[dense and not task.kind.plane]
        objective: Objective = "contrastive" if first.features == "contrastive" else "orientation"
        lesson = Lesson(task.model, task.training, objective, steps_for(len(cases), together, first.epochs), dense)
        with watcher.progress("learning without labels") as progress:
            report = stoppable(progress, watcher)
            params, losses = learn_alone(lesson, key, cases, load, together, report)
        lost = {"self_supervised_loss": losses.astype(np.float32)}
    pass_ = Pass(task.kind, task.model, ["embedding"], MembersConfig(dropout=0), batch_size, task.statistics)
    with watcher.progress("features of the pool") as progress:
        seen = pass_(params, jax.random.fold_in(key, 0), cases, task.load, stoppable(progress, watcher))
    return {"embedding": np.asarray(seen["embedding"]), **lost}


def _appearances(task: Task, cases: Sequence[Case], watcher: Watcher) -> np.ndarray:
    of_case, found = jax.jit(appearance), []
    with watcher.progress("features of the pool") as progress:
        report = stoppable(progress, watcher)
        for case in cases:
            example = task.load(case)
            inside = example.inside if task.kind.dense else np.ones(example.image.shape[:-1], bool)
            found.append(np.asarray(of_case(example.image, inside)))
            report(len(found), len(cases))
    return principal(np.stack(found))
