"""Networks that are made as sure as they are right on the evaluation set, before they score and are measured."""

from collections.abc import Sequence

import jax.numpy as jnp

from jaxal.assessment.temperature import best_temperature
from jaxal.errors import UserError
from jaxal.networks.temperature import Tempered
from jaxal.rounds.passes import run_pass
from jaxal.rounds.setup import Run
from jaxal.rounds.state import State
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.types import Params


def calibrated(run: Run, state: State, params: Sequence[Params]) -> list[Params]:
    """The params of each network as `setup.scoring_model` takes them: with the temperature that suits the evaluation set, if that is asked for.

    Raises:
      UserError: no element of the evaluation set has a label.
    """
    task, cases = run.task, run.task.splits.evaluation
    if run.config.calibrate == "none":
        return list(params)
    pass_ = Pass(task.kind, task.model, ("temperature",), MembersConfig(dropout=0), run.config.batch_size, task.statistics)
    tempered: list[Params] = []
    for one in params:
        sums = run_pass(pass_, one, state.key, cases, task.load, run.watcher, "evaluation set")
        try:
            tempered.append(Tempered(one, jnp.float32(best_temperature(sums["temperature"]))))
        except (ValueError, KeyError) as error:
            raise UserError(
                "There is no label in the evaluation set, so no temperature can be found. Leave --calibrate out."
            ) from error
    return tempered
