"""Scores of cases by several strategies, from predictions that somebody else's network made."""

import hashlib
import io
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.api.pool import Evidence, Scores
from jaxal.arrays import keys_of
from jaxal.errors import UserError
from jaxal.numbers import NUMBERS
from jaxal.scoring.given import statistics_of, statistics_of_images
from jaxal.scoring.journal import Journal
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.strategies.contract import Context, Strategy
from jaxal.strategies.named import Table, named_strategy
from jaxal.task_kind import TaskKind
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Array, Case, Collected, Seen, Unit

Read = Callable[[str], Iterable[np.ndarray]]  # from a case's name to its members' predictions, [*space, classes] each
_IMAGES_AT_ONCE = 512  # with one class each


class Predictions(NamedTuple):
    """Predictions of a pool.

    Attributes:
      kind: of task.
      read: gives a case's predictions, member after member.
      of_probabilities: whether they are probabilities; otherwise they are logits.
    """

    kind: TaskKind
    read: Read
    of_probabilities: bool = True


def kind_of_prediction(prediction: np.ndarray) -> TaskKind:
    """What a prediction `[*space, classes]` is of: an image that has one class, or one whose elements have."""
    return CLASSIFICATION if prediction.ndim == 1 else SEGMENTATION


def strategies_of_predictions(kind: TaskKind) -> Table:
    """The strategies that need only predictions: no features, no labelled and no evaluation cases, no training of their own."""
    return {name: make for name, make in kind.strategies.items() if _lacks(make(), kind) is None}


def chosen_strategies(names: Sequence[str], kind: TaskKind) -> dict[str, Strategy]:
    """Strategies by name, made sure of that predictions are all that they need.

    Raises:
      UserError: there is no such strategy, or it needs more; the message says what.
    """
    if not names:
        raise UserError(f"No strategy is named; there are {', '.join(strategies_of_predictions(kind))}.")
    chosen = {name: named_strategy(name, kind.strategies).strategy for name in dict.fromkeys(names)}
    for name, strategy in chosen.items():
        if lacks := _lacks(strategy, kind):
            raise UserError(
                f"{name}: needs {lacks}, and there are only predictions. Those that need no more are {', '.join(strategies_of_predictions(kind))}."
            )
    return chosen


def _lacks(strategy: Strategy, kind: TaskKind) -> str | None:
    """What a strategy needs besides predictions; None where that is nothing."""
    if strategy.last_network or strategy.auxiliary or "auxiliary" in strategy.needs.pool:
        return "a network of its own training"
    if any(kind.statistics[name].needs_features for name in strategy.needs.pool):
        return "the features before the network's last layer"
    if any(kind.statistics[name].needs_logits for name in strategy.needs.pool):
        return "logits as the network gave them"
    if any(kind.statistics[name].given is not None for name in strategy.needs.pool):
        return "what only a pass with the network gives"
    if strategy.needs.labelled or strategy.needs.evaluation or strategy.needs.refused:
        return "predictions of labelled cases, too"
    return None


def score_predictions(
    cases: Sequence[Case],
    predictions: Predictions,
    strategies: Mapping[str, Strategy],
    *,
    key: Array,
    labelled: Sequence[Case] = (),
    keep: "Keep | None" = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scores:
    """Scores cases one after the other, or many images that have one class each; of a map's members memory holds the last one read.

    Args:
      cases: the pool, each once.
      predictions: of each.
      strategies: by name, of `chosen_strategies`.
      key: of all that is drawn.
      labelled: cases that have labels already, for strategies that count them.
      keep: keeps each case's statistics as they come.
      progress: called with the number of cases done and of all.

    Raises:
      UserError: a prediction is not what it must be, or there is only one member where members must disagree.
    """
    names = sorted({name for strategy in strategies.values() for name in strategy.needs.pool})
    rows: list[Collected] = []
    if names:
        by_case = dict(keep.read(names)) if keep else {}
        missing = [place for place, case in enumerate(cases) if case.id not in by_case]
        keys = keys_of(jax.random.fold_in(key, 1), [case.id for case in cases])
        at_once = 1 if predictions.kind.dense else _IMAGES_AT_ONCE
        for start in range(0, len(missing), at_once):
            some = missing[start : start + at_once]
            ids = [cases[place].id for place in some]
            for case, row in _statistics(ids, predictions, names, keys[np.array(some)]):
                by_case[case] = row
                if keep:
                    keep.write(names, case, row)
            progress(len(cases) - len(missing) + start + len(some), len(cases))
        rows = [by_case[case.id] for case in cases]
    pool = jax.tree.map(lambda *parts: np.stack(parts), *rows) if rows else {}
    context = Context(jax.random.fold_in(key, 2), [Unit(case) for case in cases])
    nothing = jnp.zeros((0, 0)), jnp.zeros(0)
    return Scores(strategies, Evidence(context, nothing, pool, Seen(labelled, {}), Seen((), {})))


def _statistics(
    cases: Sequence[str], predictions: Predictions, names: Sequence[str], keys: Array
) -> Iterator[tuple[str, Collected]]:
    """Statistics of some cases; of images that have one class each all of a shape at once."""
    kind, read, of_probabilities = predictions
    config = StatisticsConfig()
    if kind.dense:
        for case, key in zip(cases, keys, strict=True):
            yield case, statistics_of(kind, names, config, read(case), key, of_probabilities)
        return
    of_cases = [np.stack(list(read(case))) for case in cases]
    for shape in dict.fromkeys(members.shape for members in of_cases):
        alike = [place for place, members in enumerate(of_cases) if members.shape == shape]
        members = np.stack([of_cases[place] for place in alike])
        found = statistics_of_images(kind, names, config, members, keys[np.array(alike)], of_probabilities)
        for row, place in enumerate(alike):
            yield cases[place], jax.tree.map(operator.itemgetter(row), found)


class Keep:
    """Statistics of cases, kept as they come, so that a killed command goes on where it was.

    Args:
      folder: where they are kept until they are cleared.
      versions: of each case's predictions, by its id: changes when they do.
      seed: of what is drawn.
    """

    def __init__(self, folder: Path, versions: Mapping[str, str], seed: int):
        self._journal, self._versions, self._seed = Journal(folder), versions, seed

    def read(self, names: Sequence[str]) -> dict[str, Collected]:
        """What is kept of these statistics, by case."""
        kept = self._journal.read(self._pass(names))
        return {case: _unpacked(kept[version]) for case, version in self._versions.items() if version in kept}

    def write(self, names: Sequence[str], case: str, row: Collected) -> None:
        """Keeps one case's statistics, an array each."""
        buffer = io.BytesIO()
        np.savez(buffer, **row)
        self._journal.write(self._pass(names), [(self._versions[case], buffer.getvalue())])

    def clear(self) -> None:
        """Forgets everything."""
        self._journal.clear()

    def _pass(self, names: Sequence[str]) -> str:
        settings = [list(names), self._seed, repr(StatisticsConfig()), jax.__version__, NUMBERS]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]


def _unpacked(data: bytes) -> Collected:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
