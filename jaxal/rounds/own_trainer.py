"""Rounds for those who train by themselves, in any framework: jaxal decides what to label next, and keeps what was asked and answered.

    loop = jaxal.open_loop("runs/mine", names, strategy="bald", query_size=20)
    query = jaxal.propose(loop, probabilities=p)     # the first query, before there are labels, is drawn at random
    jaxal.commit(loop, {name: read(name) for name in query})

What is true lies in the folder: a loop that was killed proposes what it had proposed.
"""

import datetime
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxal.acquisition.selection import Query, top_k
from jaxal.api.pool import Scores
from jaxal.api.predictions import Predictions, chosen_strategies, kind_of_prediction, score_predictions
from jaxal.arrays import key_of
from jaxal.errors import UserError
from jaxal.files import lock, write_text
from jaxal.numbers import NUMBERS
from jaxal.strategies.at_random import random
from jaxal.strategies.fair import stratified_random
from jaxal.strategies.named import named_strategy
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Case

Answer = (
    str | int | float | bool | None | list[Any] | dict[str, Any]
)  # what JSON can hold, such as a class or the path of a label map
Predict = Callable[[str], Any]  # from an item's name to its predictions, [members, ..., classes]


class Loop(NamedTuple):
    """A pool that is labelled round by round. All that changes is read from its folder whenever it is asked for.

    Attributes:
      folder: holds `loop.json`, `rounds.jsonl` and, while a query waits, `pending.json`.
      pool: names of all items that may be asked for, in their order.
      strategy: its name, perhaps with options.
      query_size: items a query.
      initial_size: items of the first query.
      seed: of every draw.
      groups: each item's group of patients, or nothing.
      known: labels that there were at the start.
    """

    folder: Path
    pool: tuple[str, ...]
    strategy: str
    query_size: int
    initial_size: int
    seed: int
    groups: Mapping[str, str]
    known: Mapping[str, Answer]

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The finished rounds: what was asked, with which scores, and the answers."""
        return _read_rounds(self.folder / "rounds.jsonl")

    @property
    def round(self) -> int:
        """How many rounds are finished."""
        return len(self.rounds)

    @property
    def labels(self) -> dict[str, Answer]:
        """All answers so far, by name."""
        labels = dict(self.known)
        for record in self.rounds:
            labels |= record["answers"]
        return labels

    @property
    def unlabelled(self) -> list[str]:
        """What may still be asked for, in the pool's order: predictions must come in it."""
        labels = self.labels
        return [name for name in self.pool if name not in labels]

    @property
    def waiting(self) -> list[str]:
        """The query that waits for its answers, best first; empty where none waits."""
        pending = _pending(self)
        return pending["queried"] if pending else []


def open_loop(
    folder: Path | str,
    pool: Sequence[str],
    *,
    strategy: str,
    query_size: int,
    initial_size: int | None = None,
    seed: int = 0,
    groups: Mapping[str, str] | None = None,
    labels: Mapping[str, Answer] | None = None,
) -> Loop:
    """Opens a loop, new or begun before.

    Args:
      folder: where its state is kept; made if it is not there.
      pool: names of the items; numbers become texts.
      strategy: a name, perhaps with options: `power_bald,power_beta=2`.
      query_size: items a query.
      initial_size: items of the first query where no labels are there; as many as any other when left out.
      seed: of every draw.
      groups: each item's group of patients; the first query is then drawn from all of them alike.
      labels: of items that have labels already, by name.

    Raises:
      UserError: something that was given does not fit, or the folder holds another loop.
    """
    names = [str(name) for name in pool]
    known = _named(labels or {})
    of_groups = {str(name): str(group) for name, group in (groups or {}).items()}
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"pool: the name {twice[0]!r} is there twice. Names must differ.")
    if not names:
        raise UserError("pool: names no item.")
    for what, given in (("labels", known), ("groups", of_groups)):
        if strange := sorted(given.keys() - set(names)):
            raise UserError(f"{what}: speak of {strange[0]!r}, which is not in the pool.")
    if of_groups and len(of_groups) < len(names):
        raise UserError(f"groups: lack {min(set(names) - of_groups.keys())!r}. Give every item's group, or none.")
    for name, size in (("query_size", query_size), ("initial_size", query_size if initial_size is None else initial_size)):
        if size < 1:
            raise UserError(f"{name} is {size}; it must be at least 1.")
    if named_strategy(strategy, {**SEGMENTATION.strategies, **CLASSIFICATION.strategies}).strategy.first:
        raise UserError(
            f"strategy: {strategy!r} chooses the first set by features, which a loop does not know. Choose it yourself, and give its labels."
        )
    loop = Loop(Path(folder), tuple(names), strategy, query_size, initial_size or query_size, seed, of_groups, known)
    with lock(loop.folder):
        _settle(loop)
    return loop


def propose(
    loop: Loop,
    logits: Any = None,
    *,
    probabilities: Any = None,
    scores: Scores | Any = None,
) -> list[str]:
    """Proposes what to label next, best first. It is durable before it is returned, and the same until it is answered.

    Where there are no labels yet and nothing is given, the query is drawn at random. Otherwise one of the three is needed, of the items
    of `loop.unlabelled` in their order.

    Args:
      loop: whose.
      logits: `[members, items, ..., classes]`, or a function from an item's name to its `[members, ..., classes]`, which is called for
        one item after the other.
      probabilities: the same, instead of logits.
      scores: instead of predictions: `jaxal.score(...)` of these items with the loop's strategy, or numbers of your own `[items]`, of
        which the highest are taken.

    Returns:
      Names; fewer than the query's size where no more are left, none where all is labelled.

    Raises:
      UserError: what was given does not fit, or the strategy needs more.
    """
    with lock(loop.folder):
        if waiting := loop.waiting:
            return waiting
        unlabelled, round_ = loop.unlabelled, loop.round
        if not unlabelled:
            return []
        key = jax.random.fold_in(key_of(loop.seed), round_)
        if not loop.labels and logits is None and probabilities is None and scores is None:
            size = min(loop.initial_size, len(unlabelled))
            query, chosen_by = _first_query(loop, unlabelled, size, key), "random"
        else:
            size = min(loop.query_size, len(unlabelled))
            query, chosen_by = _query(loop, unlabelled, size, key, logits, probabilities, scores), loop.strategy
        record = {
            "round": round_,
            "strategy": chosen_by,
            "labelled": len(loop.labels),
            "pool": len(unlabelled),
            "queried": list(query.units),
            "scores": list(query.scores),
            "numbers": NUMBERS,
            "proposed": _now(),
        }
        write_text(loop.folder / "pending.json", json.dumps(record, allow_nan=False) + "\n")
        return list(query.units)


def commit(loop: Loop, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Takes the answers to a proposal in and ends the round; what has no answer goes back to the pool.

    Args:
      loop: whose.
      answers: labels by name: a class, a path, or whatever else JSON can hold. NumPy's numbers are taken as plain ones.

    Returns:
      The round's line, which is in `rounds.jsonl` now.

    Raises:
      UserError: no query waits, an answer was not asked for, or JSON cannot hold it.
    """
    with lock(loop.folder):
        record, given = _pending(loop), _named(answers)
        if record is None:
            raise UserError(f"{loop.folder}: no query waits for answers. Call jaxal.propose first.")
        if strange := sorted(given.keys() - set(record["queried"])):
            raise UserError(
                f"{strange[0]!r} was not asked for. The query that waits is {', '.join(record['queried'][:8])}"
                f"{' …' if len(record['queried']) > 8 else ''}."
            )
        record |= {"answers": given, "answered": _now()}
        rounds = [*loop.rounds, record]
        write_text(loop.folder / "rounds.jsonl", "".join(json.dumps(line, allow_nan=False) + "\n" for line in rounds))
        (loop.folder / "pending.json").unlink()
        return record


def _first_query(loop: Loop, unlabelled: Sequence[str], size: int, key: Any) -> Query:
    strategy = stratified_random() if loop.groups else random()
    cases = [Case(name, loop.groups.get(name, ""), Path()) for name in unlabelled]
    scores = score_predictions(cases, Predictions(CLASSIFICATION, lambda name: ()), {"random": strategy}, key=key)
    return _by_scores(unlabelled, scores, "random", size)


def _query(loop: Loop, unlabelled: Sequence[str], size: int, key: Any, logits: Any, probabilities: Any, scores: Any) -> Query:
    given = {"logits": logits, "probabilities": probabilities, "scores": scores}
    given_names = [name for name, value in given.items() if value is not None]
    if len(given_names) != 1:
        raise UserError(
            f"{'Give one of' if not given_names else 'Of'} logits, probabilities and scores{'' if not given_names else ' one is enough'}: what the network makes of "
            f"the {len(unlabelled)} items of loop.unlabelled."
        )
    if isinstance(scores, Scores):
        if len(next(iter(scores.values()))) != len(unlabelled):
            raise UserError(f"scores: are of {len(next(iter(scores.values())))} items; loop.unlabelled has {len(unlabelled)}.")
        return _by_scores(unlabelled, scores, loop.strategy, size)
    if scores is not None:
        values = np.asarray(scores, np.float64)
        if values.shape != (len(unlabelled),) or not np.isfinite(values).all():
            raise UserError(
                f"scores: have shape {values.shape}; {len(unlabelled)} finite numbers are needed, in the order of loop.unlabelled."
            )
        return top_k(list(unlabelled), values, size)
    predictions = probabilities if logits is None else logits
    read = predictions if callable(predictions) else _by_place(given_names[0], predictions, unlabelled)
    kind = kind_of_prediction(np.asarray(read(unlabelled[0]))[0])
    strategies = chosen_strategies([loop.strategy], kind)
    cases = [Case(name, loop.groups.get(name, ""), Path()) for name in unlabelled]
    labelled = [Case(name, loop.groups.get(name, ""), Path()) for name in loop.labels]
    given_items = Predictions(kind, lambda name: _checked(given_names[0], name, read(name)), logits is None)
    pool_scores = score_predictions(cases, given_items, strategies, key=key, labelled=labelled)
    return _by_scores(unlabelled, pool_scores, loop.strategy, size)


def _by_scores(names: Sequence[str], scores: Scores, strategy: str, size: int) -> Query:
    places = scores.select(strategy, size)
    return Query(tuple(names[place] for place in places), tuple(float(scores[strategy][place]) for place in places), None)


def _by_place(name: str, predictions: Any, items: Sequence[str]) -> Predict:
    values = np.asarray(predictions)
    if values.ndim < 3 or values.shape[1] != len(items):
        raise UserError(
            f"{name} have shape {values.shape}; [members, items, ..., classes] is needed, with the {len(items)} items of loop.unlabelled in their order."
        )
    place = {item: number for number, item in enumerate(items)}
    return lambda item: values[:, place[item]]


def _checked(what: str, name: str, prediction: Any) -> np.ndarray:
    """One item's predictions.

    Raises:
      UserError: they are not finite, or no probabilities where they are said to be.
    """
    values = np.asarray(prediction, np.float32)
    if values.ndim < 2 or values.shape[-1] < 2:
        raise UserError(
            f"{what} of {name!r} have shape {values.shape}; [members, ..., classes] is needed, of two classes at least."
        )
    if not np.isfinite(values).all():
        raise UserError(f"{what} of {name!r} hold numbers that are not finite.")
    if what == "probabilities" and (values.min() < 0 or np.abs(values.sum(-1) - 1).max() > 1e-3):
        raise UserError(
            f"probabilities of {name!r} must not be negative and sum to 1 over the last axis. If they are logits, give them as logits."
        )
    return values


def _settle(loop: Loop) -> None:
    """Writes what may not change in a folder, or makes sure that it has not."""
    asked = {name: value for name, value in loop._asdict().items() if name != "folder"} | {"pool": list(loop.pool)}
    path = loop.folder / "loop.json"
    if not path.exists():
        if (loop.folder / "rounds.jsonl").exists() or (loop.folder / "config.json").exists():
            raise UserError(f"{loop.folder}: holds results of something else. Choose another folder.")
        write_text(path, json.dumps(asked, indent=1, allow_nan=False) + "\n")
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["pool"], asked["pool"] = sorted(stored["pool"]), sorted(asked["pool"])
        changed = [name for name, value in asked.items() if stored[name] != value]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the settings of a loop ({error!r}). Restore it, or choose another folder.") from error
    if changed:
        name = changed[0]
        was = (
            f"was {stored[name]}, and is {asked[name]}"
            if name in ("strategy", "query_size", "initial_size", "seed")
            else "has changed"
        )
        raise UserError(f"{loop.folder}: holds a loop with other settings: {name} {was}. Choose another folder for another loop.")


def _pending(loop: Loop) -> dict[str, Any] | None:
    """The round whose query waits; a proposal that was answered just before a kill waits no more."""
    path = loop.folder / "pending.json"
    if not path.exists():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if record["round"] == loop.round and set(record["queried"]) <= set(loop.pool) else None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a proposal ({error!r}). Delete it; jaxal.propose then makes it again.") from error


def _read_rounds(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rounds = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        try:
            record = json.loads(line)
            if record["round"] != number or not isinstance(record["answers"], dict):
                raise ValueError("it is of another round")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}, line {number + 1}: not the record of round {number} ({error!r}). Restore the file."
            ) from error
        rounds.append(record)
    return rounds


def _named(answers: Mapping[str, Any]) -> dict[str, Answer]:
    """Answers by name, as JSON holds them.

    Raises:
      UserError: it cannot hold one.
    """
    plain = {}
    for name, answer in answers.items():
        value = (
            answer.tolist()
            if isinstance(answer, np.ndarray | np.generic)
            else str(answer)
            if isinstance(answer, Path)
            else answer
        )
        try:
            plain[str(name)] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"The answer to {name!r} cannot be kept ({error}). Give a class, or the path of a file that holds the label."
            ) from error
    return plain


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
