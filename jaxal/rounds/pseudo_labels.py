"""Pseudo-labels of a round: kept of every case that readers label in parts, and trained on in the next round where that was asked for.

Of images that have one class each they are classes of whole images of the pool, kept where they are trained on.
"""

import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import entr, expit

from jaxal.assessment.objects import CONTOUR
from jaxal.data.guesses import has_guess, sure_classes, write_guess
from jaxal.data.parts import mask_of, part_of
from jaxal.data.prepared import UNLABELLED
from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.rounds.setup import Run, scoring_model
from jaxal.rounds.state import State
from jaxal.scoring.members import predict
from jaxal.strategies.contract import Needs
from jaxal.types import Case, Collected, Label, Params, Part

FOLDER = "pseudo_labels"


def threshold(run: Run, round_: int) -> float:
    """Entropy, as a share of its maximum, below which a round's network is sure of an element (CEAL's delta)."""
    config = run.config.pseudo_labels
    return max(config.below - config.decay * round_, 0.0)


def needs_with_classes(run: Run) -> Needs:
    """What the strategy needs, and what pseudo-labels of whole images do, so that one pass over the pool serves both."""
    needs = run.strategy.needs
    if run.task.kind.in_parts or not run.config.pseudo_labels.train:
        return needs
    return needs._replace(pool=tuple(dict.fromkeys([*needs.pool, "class_shares"])))


def keep_pseudo_labels(run: Run, state: State, units: Sequence[str], params: Params, pool: Collected) -> dict[str, Any]:
    """Writes what the round's network is sure of in cases that are labelled in parts or asked for in parts; only the last round's stays.

    Args:
      run: whose.
      state: of it.
      units: that the round asks for.
      params: of the first network, as it scores.
      pool: statistics of the pool's cases, with those that `needs_with_classes` names.

    Returns:
      Entries of the ledger: how many elements it is sure of where no reader labels; of how many images without a label, where those have classes.
    """
    if not run.task.kind.in_parts:
        return _keep_classes(run, state, units, pool) if run.config.pseudo_labels.train else {}
    below, folder = threshold(run, state.round), _folder(run, state.round)
    asked: dict[str, list[Part]] = {}
    for case in state.labelled:
        if case.label and case.label.parts is not None:
            asked.setdefault(case.id, []).extend(case.label.parts)
    for name in units:
        if named := part_of(name):
            asked.setdefault(named[0], []).append(named[1])
    shutil.rmtree(folder, ignore_errors=True)
    count = 0
    for id_, parts in asked.items():
        example = run.task.load(run.cases[id_])
        prediction = predict(run.task.kind, scoring_model(run), params, example)
        classes = np.where(example.inside, sure_classes(prediction.probability, below), UNLABELLED)
        outputs = {name: prediction.outputs[name] for name in example.targets or {} if name in prediction.outputs}
        write_guess(folder / id_, classes, {name: expit(values) >= CONTOUR for name, values in outputs.items()})
        count += int(((classes != UNLABELLED) & ~mask_of(parts, classes.shape)).sum())
    needed = {folder, _folder(run, state.round - 1)}  # this round's training, if it has to go on, reads those of the round before
    for older in set(folder.parent.glob("round-*")) - needed:
        shutil.rmtree(older, ignore_errors=True)
    return {"pseudo_labelled_elements": count}


def with_pseudo_labels(run: Run, round_: int, labelled: Sequence[Case]) -> list[Case]:
    """Cases as a round trains on them: those that are labelled in parts with the pseudo-labels of the round before, or further images with theirs, if that was asked for.

    Raises:
      UserError: a case has none, because its file is gone.
    """
    if not run.config.pseudo_labels.train or round_ == 0:
        return list(labelled)
    if not run.task.kind.in_parts:
        return [*labelled, *_with_classes(run, round_ - 1, {case.id for case in labelled})]
    folder, cases = _folder(run, round_ - 1), []
    for case in labelled:
        label = case.label
        if label is not None and label.parts is not None:
            place = folder / case.id
            if not has_guess(place):
                raise UserError(
                    f"{place}: the pseudo-labels of round {round_ - 1} are gone. Restore them, or begin anew with --fresh."
                )
            case = case._replace(label=label._replace(guess=place))
        cases.append(case)
    return cases


def _keep_classes(run: Run, state: State, units: Sequence[str], pool: Collected) -> dict[str, Any]:
    """Writes the classes of those images of the pool that the network is sure of and nobody is asked for."""
    names, asked = run.task.dataset.classes, set(units)
    shares = np.asarray(pool["class_shares"] if state.pool else np.zeros((0, len(names))), np.float64)
    sure = entr(shares).sum(-1) < threshold(run, state.round) * np.log(len(names))
    found = {
        unit.id: names[best]
        for unit, best, is_sure in zip(state.pool, shares.argmax(-1), sure, strict=True)
        if is_sure and unit.id not in asked
    }
    write_text(_classes(run, state.round), json.dumps(found) + "\n")
    for older in _folder(run, 0).parent.glob("round-*.json"):
        if older not in (_classes(run, state.round), _classes(run, state.round - 1)):
            older.unlink()
    return {"pseudo_labelled_cases": len(found)}


def _with_classes(run: Run, round_: int, labelled: Collection[str]) -> list[Case]:
    """Images with the classes that a round's network was sure of, but for those that have labels by now."""
    path = _classes(run, round_)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        others = {id_: name for id_, name in found.items() if id_ not in labelled}
        return [run.cases[id_]._replace(label=Label(name, category=name)) for id_, name in sorted(others.items())]
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: the pseudo-labels of round {round_} are gone. Restore them, or begin anew with --fresh."
        ) from error


def _classes(run: Run, round_: int) -> Path:
    return _folder(run, round_).with_suffix(".json")


def _folder(run: Run, round_: int) -> Path:
    return run.folder / FOLDER / f"round-{round_:03d}"
