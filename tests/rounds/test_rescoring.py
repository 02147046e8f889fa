"""A finished round's pool, scored again."""

import csv

import numpy as np
import pytest
from test_loop import CONFIG, Silent, run, task  # noqa: F401 (a fixture)

from jaxal.errors import UserError
from jaxal.rounds import rescoring
from jaxal.rounds.setup import RoundsConfig, open_run


def test_scores_are_those_that_the_round_itself_had(tmp_path, task):  # noqa: F811
    records = {name: run(tmp_path / name, task, strategy=name)[-1] for name in ("mc_entropy", "aeig")}
    names = ["aeig", "coreset", "mc_entropy", "random"]
    for strategy, record in records.items():
        scored = rescoring.score_round(open_run(tmp_path / strategy, "random", CONFIG, task, Silent()), names)
        assert scored.round == record["round"] == 1
        labelled = {case.id for case in task.splits.pool} - {case.id for case in scored.pool}
        assert len(labelled) == record["labelled"]
        assert list(scored.queries[strategy].units) == record["queried"]
        scores = dict(zip((case.id for case in scored.pool), scored.scores[strategy], strict=True))
        np.testing.assert_allclose([scores[id_] for id_ in record["queried"]], record["scores"], rtol=1e-5)
    path = tmp_path / "scores.csv"
    rescoring.write_scores(path, scored)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == ["case", "group", "round", *names]
    assert [float(row["mc_entropy"]) for row in rows] == scored.scores["mc_entropy"].tolist()


def test_an_ensemble_is_trained_and_its_networks_disagree(tmp_path, task):  # noqa: F811
    from jaxal.scoring.members import MembersConfig

    config = RoundsConfig(rounds=1, query_size=2, seed=0, members=MembersConfig(networks=2, dropout=0))
    (record,) = run(tmp_path, task, strategy="bald", config=config)
    (alone,) = run(tmp_path / "alone", task, strategy="entropy", config=CONFIG.__class__(rounds=1, query_size=2, seed=0))
    assert record["dice"] == alone["dice"]  # the first network is the one that is evaluated
    assert min(record["scores"]) > 0
    assert (tmp_path / "checkpoints" / "network-1" / "round-000").is_dir()
    scored = rescoring.score_round(open_run(tmp_path, "random", config, task, Silent()), ["bald"])
    assert list(scored.queries["bald"].units) == record["queried"]


def test_without_a_finished_round_there_is_nothing_to_score_with(tmp_path, task):  # noqa: F811
    with pytest.raises(UserError, match="no round is finished"):
        rescoring.score_round(open_run(tmp_path, "random", CONFIG, task, Silent()), ["bald"])
