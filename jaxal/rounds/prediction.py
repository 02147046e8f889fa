"""What a finished round's network makes of every case."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.rounds.calibrated import calibrated
from jaxal.rounds.networks import make_networks
from jaxal.rounds.setup import Run, scoring_model
from jaxal.rounds.state import last_finished
from jaxal.scoring.members import predict
from jaxal.task_kind import Predicting, Prediction
from jaxal.types import Case, Load, Model


def predict_round(run: Run, progress: Callable[[int, int], None]) -> list[str]:
    """Writes what the last round's network, of several the first, makes of every case; returns lines to show.

    Args:
      run: whose; the kind of task says what is written to its folder.
      progress: called with the number of cases done and of all.

    Raises:
      UserError: no round is finished, or its checkpoint is gone.
    """
    state, task = last_finished(run), run.task
    (params,) = calibrated(run, state, [make_networks(run)[0].restored(state.round)])
    labelled, refused = ({case.id for case in cases} for cases in (state.labelled, state.refused))
    parts = {
        case: "labelled" if case.id in labelled else "refused" if case.id in refused else "pool" for case in task.splits.pool
    }
    parts |= dict.fromkeys(task.splits.evaluation, "evaluation") | dict.fromkeys(task.splits.test, "test")

    def prediction(case: Case) -> Prediction:
        return predict(task.kind, scoring_model(run), params, task.load(case))

    asked = Predicting(run.folder, sorted(parts.items()), prediction, task.dataset.classes, task.origin, progress)
    return list(task.kind.predictions(asked))


class NewCases(NamedTuple):
    """Cases that are not of a run's data.

    Attributes:
      cases: prepared as the run's own were; a label says what the truth is.
      load: reads one.
      origin: where they came from, as the kind of task needs it.
      model: the run's network as these cases need it, because they may be padded where the run's own are not; the run's when left out.
    """

    cases: Sequence[Case]
    load: Load
    origin: Any
    model: Model | None = None


def predict_new(run: Run, new: NewCases, folder: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Writes what the last round's network makes of cases that are not of the run; returns lines to show.

    Args:
      run: whose network; of several the first.
      new: the cases.
      folder: where the predictions go.
      progress: called with the number of cases done and of all.

    Raises:
      UserError: no round is finished, or its checkpoint is gone.
    """
    state, task = last_finished(run), run.task
    (params,) = calibrated(run, state, [make_networks(run)[0].restored(state.round)])
    model = scoring_model(run, new.model)

    def prediction(case: Case) -> Prediction:
        return predict(task.kind, model, params, new.load(case))

    cases = [(case, "new") for case in sorted(new.cases)]
    return list(task.kind.predictions(Predicting(folder, cases, prediction, task.dataset.classes, new.origin, progress)))
