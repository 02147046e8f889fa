"""What is labelled at the start is chosen by features that need no label."""

import json

import numpy as np
import pytest
from test_loop import CONFIG, Silent, task  # noqa: F401 (a fixture)
from test_rounds import ONE

from jaxal.errors import UserError
from jaxal.rounds.first_set import with_first_set
from jaxal.rounds.ledger import Ledger
from jaxal.rounds.setup import open_run
from jaxal.rounds.simulate import simulate
from jaxal.rounds.state import read_state
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, REGRESSION_STRATEGIES, STRATEGIES

CHOOSERS = [
    *("random", "stratified_random", "kmeans", "typiclust", "coreset", "maxherding", "probcover", "facility_location"),
    *("activeft", "usl", "optimal_transport", "representative_annotation", "herding", "reachable_density"),
    "kmeans_plusplus",
]


COMPARE = ("discriminative", "similarity_discrepancy", "minority")


def opened(folder, task, name, config=ONE):  # noqa: F811
    return with_first_set(open_run(folder / "setting" / name / "seed-0", name, config, task, Silent()))


def chosen(work):
    return [case.id for case in work.task.initial]


@pytest.mark.parametrize("name", CHOOSERS)
def test_as_many_are_chosen_as_were_drawn_and_again_the_same(tmp_path, task, name):  # noqa: F811
    first = opened(tmp_path, task, f"entropy+cold:{name}")
    assert len(set(chosen(first))) == len(task.initial)
    assert set(chosen(first)) <= {case.id for case in task.splits.pool}
    assert all(case.label for case in first.task.initial)
    assert chosen(opened(tmp_path, task, f"entropy+cold:{name}")) == chosen(first)  # as it was kept
    assert chosen(opened(tmp_path / "anew", task, f"entropy+cold:{name}")) == chosen(first)
    backwards = task._replace(splits=task.splits._replace(pool=task.splits.pool[::-1]))
    assert chosen(opened(tmp_path / "backwards", backwards, f"entropy+cold:{name}")) == chosen(first)
    state = read_state(first)
    assert {case.id for case in state.labelled} == set(chosen(first))
    assert not {unit.id for unit in state.pool} & set(chosen(first))


def test_the_ledger_tells_of_it_and_rounds_go_on_from_it(tmp_path, task):  # noqa: F811
    work = opened(tmp_path, task, "entropy+cold:typiclust", CONFIG)
    lines = list(simulate(work))
    assert lines[0]["first_set"] == {"chosen": chosen(work), "features": "appearance"}
    assert lines[0]["strategy"]["rules"][0]["strategy"]["name"] == "typiclust"
    assert "first_set" not in lines[1]
    assert not set(lines[0]["queried"]) & set(chosen(work))
    kept = [dict(line) for line in Ledger(work.folder / "rounds.jsonl").read()]
    assert list(simulate(opened(tmp_path, task, "entropy+cold:typiclust", CONFIG))) == kept


def test_a_network_that_learned_without_labels_is_one_for_all_strategies_of_a_seed(tmp_path, task):  # noqa: F811
    names = ["random+cold:csval,features=contrastive,epochs=1", "random+cold:kmeans,features=contrastive,epochs=1"]
    for name in names:
        opened(tmp_path, task, name)
    (kept,) = (tmp_path / "setting" / "features").iterdir()
    assert kept.name.startswith("contrastive,epochs=1,seed=0,")
    with np.load(kept, allow_pickle=False) as file:
        assert len(file["ids"]) == len(file["embedding"]) == len(file["self_supervised_loss"]) == len(task.splits.pool)
    opened(tmp_path, task, "random+cold:pt4al,features=orientation,epochs=1")
    opened(tmp_path, task, "random+cold:kmeans,features=network")
    assert len(list((tmp_path / "setting" / "features").iterdir())) == 3


def test_a_first_network_is_not_taken_from_a_run_that_began_with_other_cases(tmp_path, task):  # noqa: F811
    list(simulate(opened(tmp_path, task, "random")))
    plain = tmp_path / "setting" / "random" / "seed-0"
    colder = opened(tmp_path, task, "random+cold:typiclust")
    list(simulate(colder, plain))
    again = opened(tmp_path / "alone", task, "random+cold:typiclust")
    assert [line["dice"] for line in simulate(again)] == [line["dice"] for line in simulate(colder)]


def test_what_cannot_choose_without_labels_is_refused():
    for text, message in [
        ("entropy+cold:entropy", "only features are known, and that strategy reads more"),
        ("entropy+cold:badge", "only features are known, and that strategy reads more"),
        *((f"entropy+cold:{name}", "compares with labelled cases, and at the start there is none") for name in COMPARE),
        ("entropy+cold:csval", "Add features=contrastive"),
        ("cold:typiclust,epochs=0", "must see the cases at least once"),
        ("cold:typiclust,features=x", "features"),
        ("cold", "There is no strategy 'cold'"),
        ("entropy+cold", "The rule 'cold' takes a second strategy"),
        ("csval", "'csval' chooses what is labelled at the start, and nothing later"),
    ]:
        with pytest.raises(UserError, match=message):
            named_strategy(text, STRATEGIES)


@pytest.mark.parametrize("table", [STRATEGIES, CLASSIFICATION_STRATEGIES, REGRESSION_STRATEGIES])
def test_a_cold_start_alone_is_followed_by_random_queries(table):
    named = named_strategy("cold:coreset,features=network", table)
    assert named.identity["name"] == "random" and named.strategy.first.features == "network"
    assert named.name == "random+cold-coreset,features=network"
    assert named_strategy("bald+cold:coreset+then:coreset", table).strategy.first is not None


def test_small_pools_and_broken_files_are_told_of(tmp_path, task):  # noqa: F811
    three = task._replace(splits=task.splits._replace(pool=task.splits.pool[:3]), initial=task.splits.pool[:2])
    for name in ("typiclust", "kmeans", "activeft", "usl", "coreset", "representative_annotation"):
        assert len(chosen(opened(tmp_path / "three", three, f"random+cold:{name}"))) == 2
    one = three._replace(splits=task.splits._replace(pool=task.splits.pool[:1]), initial=task.splits.pool[:1])
    assert len(chosen(opened(tmp_path / "one", one, "random+cold:coreset"))) == 1
    with pytest.raises(UserError, match="contrastive come from comparing cases, and there is one"):
        opened(tmp_path / "one", one, "random+cold:kmeans,features=contrastive")
    unlabelled = task._replace(splits=task.splits._replace(pool=[case._replace(label=None) for case in task.splits.pool]))
    with pytest.raises(UserError, match="cases are to be labelled at the start, and there are 0 labels"):
        opened(tmp_path / "none", unlabelled, "random+cold:kmeans")
    first = opened(tmp_path, task, "random+cold:kmeans")
    (first.folder / "first_set.json").write_text("{")
    with pytest.raises(UserError, match=r"first_set\.json: cannot be read"):
        opened(tmp_path, task, "random+cold:kmeans")
    (first.folder / "first_set.json").write_text(json.dumps({"chosen": ["strange"], "features": "appearance"}))
    with pytest.raises(UserError, match="speaks of 'strange', which is not in the pool"):
        opened(tmp_path, task, "random+cold:kmeans")
    (first.folder / "first_set.json").unlink()
    (kept,) = (tmp_path / "setting" / "features").iterdir()
    kept.write_bytes(b"nothing")
    with pytest.raises(UserError, match="Delete it; it is then made again"):
        opened(tmp_path, task, "random+cold:kmeans")


def test_a_stop_while_it_learns_leaves_nothing_half_done(tmp_path, task):  # noqa: F811
    from jaxal.training.trainer import Interrupted

    class Impatient(Silent):
        def should_stop(self):
            return True

    name = "random+cold:kmeans,features=contrastive,epochs=2"
    folder = tmp_path / "setting" / name / "seed-0"
    with pytest.raises(Interrupted):
        with_first_set(open_run(folder, name, ONE, task, Impatient()))
    assert not (folder / "first_set.json").exists() and not (tmp_path / "setting" / "features").exists()
    assert len(chosen(opened(tmp_path, task, name))) == len(task.initial)


def test_embeddings_of_nothing_are_chosen_from(tmp_path, task):  # noqa: F811
    blank = task._replace(load=lambda case: task.load(case)._replace(image=np.zeros_like(task.load(case).image)))
    for name in ("typiclust", "kmeans", "activeft", "usl", "coreset", "probcover", "optimal_transport"):
        assert len(set(chosen(opened(tmp_path, blank, f"random+cold:{name}")))) == len(task.initial)
