"""Runs that were never run: for records from numbers made by hand."""

from pathlib import Path

from jaxal.data.cases import Dataset, Splits
from jaxal.rounds.record import Finished, record_of
from jaxal.rounds.setup import RoundsConfig, Run, Task
from jaxal.types import Unit


def run_of(kind, cases, classes, folder=Path("nowhere")):
    """A run of `random` whose pool holds these cases."""
    dataset = Dataset(tuple(cases), ("T1",), tuple(classes), (4, 4, 4), (1.0, 1.0, 1.0))
    task = Task(kind, None, dataset, Splits(tuple(cases), (), ()), (), None, None)
    pool = {case.id: case._replace(label=None) for case in cases}
    unused = dict.fromkeys(("ledger", "pending", "strategy", "labels", "load_labelled", "watcher"))
    config = RoundsConfig(1, 2, 0)
    return Run(
        folder=folder,
        identity={"name": "random"},
        config=config,
        task=task,
        config_hash="abcd",
        cases=pool,
        **unused,
    )


def record(kind, cases, classes, labelled, test, decision, round_=0, pool=5, failures=0, seconds=None):
    decision = decision._replace(units={case.id: Unit(case) for case in cases})
    finished = Finished(round_, labelled, 0, test, pool, decision, failures, seconds or {})
    return record_of(run_of(kind, cases, classes), finished)
