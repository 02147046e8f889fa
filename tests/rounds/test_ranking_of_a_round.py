"""What a line of the ledger says of whom the scores put first."""

import jax
import numpy as np
import pytest
import tiny
from test_rounds import ONE, opened, run, task  # noqa: F401 (a fixture)

from jaxal.assessment import metrics, ranking
from jaxal.data.scans.prepare import load_case
from jaxal.networks.unet import unet
from jaxal.rounds.networks import make_networks
from jaxal.rounds.simulate import simulate
from jaxal.scoring.members import MembersConfig
from jaxal.scoring.pool_pass import Pass
from jaxal.tasks.segmentation import SEGMENTATION


def _pass(names):
    return Pass(SEGMENTATION, unet(tiny.NETWORK), names, MembersConfig(), 2, tiny.STATISTICS)


def test_scores_of_cases_whose_truth_is_known_are_those_that_the_pool_would_have_had(tmp_path, task, tiny_dataset):  # noqa: F811
    work = opened(tmp_path, task, "entropy", ONE)
    (line,) = simulate(work)
    params = make_networks(work)[0].restored(0)
    for name, cases in (("test", task.splits.test), ("evaluation", task.splits.evaluation)):
        seen = _pass(("entropy", "overlap"))(params, jax.random.key(0), cases, lambda case: load_case(case, tiny_dataset))
        groups = [case.group for case in cases]
        dice, counts = metrics.mean_foreground_dice(seen["overlap"]), seen["overlap"]
        found = line["ranking"][name]
        assert found["outranks"] == pytest.approx(ranking.outranking(seen["entropy"], groups), abs=1e-6)
        expected = ranking.rank_correlation(seen["entropy"], dice)
        assert found["correlation"] == (None if expected is None else pytest.approx(expected, abs=1e-6))
        assert found["cases"] == {group: groups.count(group) for group in sorted(set(groups))}
        predicted = (np.asarray(counts.true_positive) + np.asarray(counts.false_positive))[:, 1]
        true = (np.asarray(counts.true_positive) + np.asarray(counts.false_negative))[:, 1]
        assert found["volume_ratio"] == pytest.approx(ranking.volume_ratios(predicted, true, groups), abs=1e-6)
    pool = [case for case in task.splits.pool if case.id not in {case.id for case in task.initial}]
    scores = _pass(("entropy",))(params, jax.random.key(0), pool, lambda case: load_case(case, tiny_dataset))["entropy"]
    assert line["ranking"]["pool"]["outranks"] == pytest.approx(ranking.outranking(scores, [case.group for case in pool]))


def test_what_is_told_of_the_ranking_changes_no_query(tmp_path, task, monkeypatch):  # noqa: F811
    (with_it,) = run(tmp_path / "with", task, "weighted_scaled_entropy", ONE)
    monkeypatch.setattr("jaxal.rounds.ranking.is_told", lambda run: False)
    (without,) = run(tmp_path / "without", task, "weighted_scaled_entropy", ONE)
    assert "ranking" not in without
    assert (with_it["queried"], with_it["scores"], with_it["test"]) == (without["queried"], without["scores"], without["test"])


def test_of_one_group_there_is_nothing_to_tell(tmp_path, task):  # noqa: F811
    def alike(cases):
        return tuple(case._replace(group="A") for case in cases)

    dataset = task.dataset._replace(cases=alike(task.dataset.cases))
    alone = task._replace(dataset=dataset, splits=task.splits._make(map(alike, task.splits)), initial=alike(task.initial))
    (line,) = run(tmp_path, alone, "entropy", ONE)
    assert "ranking" not in line


def test_weights_of_groups_count_where_the_truth_is_known_as_in_the_pool(tmp_path, task):  # noqa: F811
    """To a high power they decide alone, so every case of the group with the larger one comes first."""
    (line,) = run(tmp_path, task, "weighted_scaled_entropy,gamma=400,weight_source=evaluation", ONE)
    first = max(line["group_weights"], key=line["group_weights"].get)
    assert [line["ranking"][part]["outranks"][first] for part in ("pool", "test", "evaluation")] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("strategy", ["random", "coreset", "aeig", "badge", "worst_group"])
def test_every_kind_of_strategy_can_be_asked(tmp_path, task, strategy):  # noqa: F811
    (line,) = run(tmp_path, task, strategy, ONE)
    assert sum(line["ranking"]["test"]["outranks"].values()) == pytest.approx(1.0)


def test_a_group_that_the_evaluation_set_lacks_is_left_out_there(tmp_path, task):  # noqa: F811
    splits = task.splits._replace(evaluation=tuple(case for case in task.splits.evaluation if case.group == "A"))
    (line,) = run(tmp_path, task._replace(splits=splits), "weighted_scaled_entropy,weight_source=evaluation", ONE)
    assert line["ranking"]["evaluation"]["outranks"] == {} and line["ranking"]["evaluation"]["cases"].keys() == {"A"}
    assert line["group_weights"]["B"] == max(line["group_weights"].values())
