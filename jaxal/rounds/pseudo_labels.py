"""Pseudo-labels of a round: kept of every case that readers label in parts, and trained on in the next round where that was asked for."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from jaxal.assessment.objects import CONTOUR
from jaxal.data.guesses import has_guess, sure_classes, write_guess
from jaxal.data.parts import mask_of, part_of
from jaxal.data.prepared import UNLABELLED
from jaxal.errors import UserError
from jaxal.rounds.setup import Run, scoring_model
from jaxal.rounds.state import State
from jaxal.scoring.members import predict
from jaxal.types import Case, Params, Part

FOLDER = "pseudo_labels"


def threshold(run: Run, round_: int) -> float:
    """Entropy, as a share of its maximum, below which a round's network is sure of an element (CEAL's delta)."""
    config = run.config.pseudo_labels
    return max(config.below - config.decay * round_, 0.0)


def keep_pseudo_labels(run: Run, state: State, units: Sequence[str], params: Params) -> dict[str, Any]:
    """Writes what the round's network is sure of in cases that are labelled in parts or asked for in parts; only the last round's stays.

    Args:
      run: whose.
      state: of it.
      units: that the round asks for.
      params: of the first network, as it scores.

    Returns:
      Entries of the ledger: how many elements it is sure of where no reader labels; none where whole cases are asked for.
    """
    if not run.task.kind.in_parts:
        return {}
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
    """Cases as a round trains on them: those that are labelled in parts with the pseudo-labels of the round before, if that was asked for.

    Raises:
      UserError: a case has none, because its file is gone.
    """
    if not run.config.pseudo_labels.train or round_ == 0:
        return list(labelled)
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


def _folder(run: Run, round_: int) -> Path:
    return run.folder / FOLDER / f"round-{round_:03d}"
