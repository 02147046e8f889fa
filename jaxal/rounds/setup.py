"""What a run works with: its folder, its strategy, what there is to learn from, and how rounds are run."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxal.data.cases import Dataset, Splits
from jaxal.data.stream import kept
from jaxal.errors import UserError
from jaxal.labels.oracle import Simulated
from jaxal.networks.auxiliary import with_auxiliary
from jaxal.networks.temperature import with_temperature
from jaxal.rounds.identity import config_hash
from jaxal.rounds.ledger import Ledger
from jaxal.rounds.protocol import Shares
from jaxal.scoring.members import MembersConfig
from jaxal.strategies.contract import Strategy
from jaxal.strategies.named import named_strategy
from jaxal.task_kind import TaskKind
from jaxal.training.config import TrainingConfig
from jaxal.types import Case, Collected, Example, FurtherLoss, Labels, Load, Model, Watcher


@dataclasses.dataclass(frozen=True)
class PseudoLabels:
    """What a network's own predictions are taken for in cases that readers label in parts (Wang et al. 2017, CEAL, arXiv 1701.03551).

    Attributes:
      train: whether the next round trains on them; they are kept in any case.
      below: entropy, as a share of its maximum, below which an element counts as sure in the first round.
      decay: by how much that falls from round to round.
    """

    train: bool = False
    below: float = 0.05
    decay: float = 0.0033


@dataclasses.dataclass(frozen=True)
class RoundsConfig:
    """How rounds are run.

    Attributes:
      rounds: trainings. Each ends with a query; the last one's is what to label next.
      query_size: units a query, at most.
      calibrate: how networks are made as sure as they are right on the evaluation set before they score (`rounds.calibrated`).
      query_elements: elements a query asks for, at most; no limit when left out.
      pseudo_labels: see `PseudoLabels`.
      seed: of the weights and every draw.
      start: whether each round trains from scratch or from the last round's weights.
      members: whose disagreement the strategies that ask for it measure; of its networks each is trained by itself, and the
        first is the one that is evaluated.
      batch_size: cases scored at once on each device.
      save_every_seconds: between checkpoints within a training; decides what a kill costs, never a result.
      shares: what is drawn at random beside the strategy's choice, as in a project with readers; nothing when left out.
      uncertainty_curves: whether each round's networks are asked, over the test cases, if they know when they are wrong.
    """

    rounds: int
    query_size: int
    seed: int
    start: Literal["scratch", "warm"] = "scratch"
    members: MembersConfig = MembersConfig()  # noqa: RUF009 (frozen)
    batch_size: int = 2
    save_every_seconds: float = 60.0
    shares: Shares | None = None
    query_elements: int | None = None
    calibrate: Literal["none", "temperature"] = "none"
    pseudo_labels: PseudoLabels = PseudoLabels()
    uncertainty_curves: bool = False


class Task(NamedTuple):
    """What there is to learn from and with.

    Attributes:
      kind: of task.
      model: the network.
      dataset: names of groups and classes.
      splits: pool, evaluation and test cases, each with its label if somebody gave one.
      initial: cases of the pool that are labelled at the start.
      load: reads a case.
      training: configuration.
      statistics: configuration of the kind's statistics.
      further: loss of the network's own further outputs, if it has any.
      draw: makes a training example of a case, such as a patch at random; the whole case when left out.
      pixels: a case as people see it, where that is not what the network sees.
      origin: where the cases came from, for predictions.
      options: of strategies, in place of their own defaults.
      shape_of: a case's size in elements, without padding, where parts of cases are asked for or counted.
      settings: everything that decides results, ready for JSON.
      contents: what the data consist of, case by case, to tell what has changed when their fingerprint has; ready for JSON.
      plan: what was decided on how cases are prepared, to tell what has changed when its digest has; ready for JSON.
    """

    kind: TaskKind
    model: Model
    dataset: Dataset
    splits: Splits
    initial: Sequence[Case]
    load: Load
    training: TrainingConfig
    statistics: Any = None
    further: FurtherLoss | None = None
    draw: Callable[[Case, np.random.Generator], Example] | None = None
    pixels: Callable[[Case], np.ndarray] | None = None
    origin: Any = None
    options: Mapping[str, Any] = MappingProxyType({})
    shape_of: Callable[[Case], tuple[int, ...]] | None = None
    settings: Mapping[str, Any] = MappingProxyType({})
    contents: Mapping[str, Any] = MappingProxyType({})
    plan: Mapping[str, Any] = MappingProxyType({})


class Prices(NamedTuple):
    """What units cost, where a query has a budget of it and not only of units.

    Attributes:
      needs: statistics of the pool that costs are worked out from.
      of: of units of the pool, by name, given these statistics, `[units]`, above 0.
      at_most: of a query in all; but a query always has one unit.
    """

    needs: tuple[str, ...]
    of: Callable[[Collected, Sequence[str]], np.ndarray]
    at_most: float


class Run(NamedTuple):
    """One strategy's rounds with one seed.

    Attributes:
      folder: holds `checkpoints` and what a round leaves behind.
      ledger: of the finished rounds.
      pending: file in which the line of a round waits until its query is answered.
      strategy: how queries are made.
      identity: of the strategy, for the ledger.
      config: how rounds are run.
      task: what there is to learn from.
      config_hash: of everything that decides results.
      cases: of the pool, by name, without their labels.
      labels: where labels come from and are kept.
      load_labelled: reads cases that are read again and again, keeping them in memory.
      watcher: is told how far the work is.
      prices: what units cost, if queries have a budget of it.
    """

    folder: Path
    ledger: Ledger
    pending: Path
    strategy: Strategy
    identity: Mapping[str, Any]
    config: RoundsConfig
    task: Task
    config_hash: str
    cases: Mapping[str, Case]
    labels: Labels
    load_labelled: Load
    watcher: Watcher
    prices: Prices | None = None


def open_run(folder: Path, name: str, config: RoundsConfig, task: Task, watcher: Watcher) -> Run:
    """A run in a folder, new or begun before; its labels are those that lie beside the images.

    Args:
      folder: of this run.
      name: of the strategy, perhaps with options.
      config, task, watcher: see `Run`.

    Raises:
      UserError: there is no such strategy, or it needs networks that are trained otherwise.
    """
    named = named_strategy(name, task.kind.strategies, task.options)
    strategy, identity = named.strategy, dict(named.identity)
    check_training(name, strategy, task.training)
    if strategy.auxiliary:
        identity["auxiliary"] = strategy.auxiliary.name
        task = task._replace(model=with_auxiliary(task.model, strategy.auxiliary))
    return Run(
        folder=folder,
        ledger=Ledger(folder / "rounds.jsonl"),
        pending=folder / "pending.json",
        strategy=strategy,
        identity=identity,
        config=config,
        task=task,
        config_hash=config_hash(task.settings),
        cases={case.id: case._replace(label=None) for case in sorted(task.splits.pool)},
        labels=Simulated(task.splits.pool),
        load_labelled=kept(task.load),
        watcher=watcher,
    )


def check_training(name: str, strategy: Strategy, training: TrainingConfig) -> None:
    """Makes sure that networks are trained as a strategy needs them.

    Raises:
      UserError: they are not.
    """
    if strategy.of_evidence and not training.evidence:
        raise UserError(
            f"{name}: reads how much evidence networks have, and these are trained without a word of it. Add --evidence 1."
        )
    averages = training.average_decay is not None or (training.unlabelled.learns and training.unlabelled.method == "mean_teacher")
    if strategy.last_network == "student" and not averages:
        raise UserError(
            f"{name}: compares weights with their moving average, and these are not averaged. Add --unlabelled mean_teacher."
        )


def scoring_model(run: Run, model: Model | None = None) -> Model:
    """The network, or another form of it, as it scores and is measured; its params are those that `rounds.calibrated` makes."""
    model = model or run.task.model
    return model if run.config.calibrate == "none" else with_temperature(model)


def check_strategy(run: Run, lines: Sequence[Mapping[str, Any]]) -> None:
    """Makes sure that rounds are those of the run's strategy, as far as they say.

    Args:
      run: whose.
      lines: of its ledger, and the one that waits.

    Raises:
      UserError: they are another strategy's.
    """
    before = dict(lines[-1].get("strategy", {})) if lines else {}
    changed = [name for name, value in before.items() if run.identity.get(name) != value]
    if changed:
        what = "its file has changed" if changed == ["file"] else ", ".join(f"{name} was {before[name]}" for name in changed)
        raise UserError(
            f"{run.folder}: holds rounds of another {run.identity['name']}: {what}. Undo that, give the strategy another name, or "
            "choose another --out."
        )
