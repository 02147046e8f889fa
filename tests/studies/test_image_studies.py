"""Studies on images as a person runs them."""

import contextlib
import csv
import io
import json
import shutil

import numpy as np
import pytest
import scipy.stats

from experiments import classification, digits, retinopathy, skin_lesions, tissue
from jaxal.assessment import ranking
from jaxal.assessment.intervals import Estimate
from jaxal.cli import command
from jaxal.data.simulated import pretend
from jaxal.report.advice import Found, Measured, Setting
from jaxal.report.comparison import compare_folder
from jaxal.rounds.ledger import read_runs
from jaxal.studies import revisit
from jaxal.tasks.measures import OF_PROBABILITIES

MODULES = {module.__name__.rpartition(".")[2]: module for module in (classification, digits, retinopathy, skin_lesions, tissue)}


def run(name, tmp_path, *more, preset="smoke"):
    """A command within this process: its exit status and what it said."""
    module, output = MODULES[name], io.StringIO()
    options = ("--preset", preset, "--out", str(tmp_path / "out"), "--prepared", str(tmp_path / "prepared"), *more)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = module.main(command.parse(module.Arguments, module.__name__, options))
    return status, output.getvalue()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two strategies and two seeds of the digits."""
    folder = tmp_path_factory.mktemp("digits")
    few = Found(Estimate(0.03, 0.01, 0.05, 10), 12.0, 0)
    known = {"like_this": Measured("few labels", "AUC", Setting("classification", 5, 600, 60, 80, 1), {"typiclust": few})}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(revisit, "read_evidence", lambda: known)
        status, output = run("digits", folder, "--strategy", "random", "aeig", "--seeds", "2")
    assert status == 0, output
    return folder, output


def test_a_study_compares_strategies(study):
    folder, output = study
    assert "Most like this is like_this" in output and "There typiclust (+0.030 [+0.010, +0.050]) did best" in " ".join(
        output.split()
    )
    runs = {(run.strategy, run.seed): run.rounds for run in read_runs(folder / "out")}
    assert set(runs) == {(name, seed) for name in ("full", "random", "aeig") for seed in (0, 1)}
    for rounds in runs.values():
        for line in rounds:
            assert 0 <= line["auc"]["overall"] <= 1
            assert sum(line["queried_by_class"].values()) == len(line["queried"])
    assert runs["aeig", 0][0]["auc"] == runs["random", 0][0]["auc"]  # of one seed the first network is the same
    np.testing.assert_allclose(
        np.add(runs["aeig", 0][0]["mass"], runs["aeig", 0][0]["gain"]), runs["aeig", 0][0]["scores"], rtol=1e-5
    )
    (comparison,) = compare_folder(folder / "out")
    assert {"auc", "area", "labels", "share", "accuracy", "balanced_accuracy", *OF_PROBABILITIES} == comparison.table[
        "aeig"
    ].keys()
    assert "AUC" in output and "% of pool to 95 %" in output
    report = (folder / "out" / "report.html").read_text()
    for text in ("AUC by class", "Share of each class among the queried", "mass", "data:image/webp"):
        assert text in report
    rows = list(csv.DictReader((folder / "out" / "summary.csv").read_text().splitlines()))
    assert float(rows[0]["auc"]) == pytest.approx(read_runs(folder / "out")[0].rounds[0]["auc"]["overall"])


def test_the_same_command_trains_nothing_and_more_rounds_extend(study, tmp_path):
    folder, _ = study
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    before = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("rounds.jsonl")}
    status, output = run("digits", tmp_path, "--strategy", "random", "aeig", "--seeds", "2")
    assert status == 0, output
    assert {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("rounds.jsonl")} == before
    status, output = run("digits", tmp_path, "--strategy", "aeig", "--rounds", "3")
    assert status == 0, output
    lines = (tmp_path / "out" / "images" / "aeig" / "seed-0" / "rounds.jsonl").read_text().splitlines()
    assert (
        lines[:2] == before[(tmp_path / "out" / "images" / "aeig" / "seed-0" / "rounds.jsonl").relative_to(tmp_path)].splitlines()
    )
    assert json.loads(lines[2])["labelled"] == json.loads(lines[1])["labelled"] + len(json.loads(lines[1])["queried"])


def test_a_run_is_scored_and_predicted_again(study):
    folder, _ = study
    run_folder = folder / "out" / "images" / "aeig" / "seed-1"
    status, output = run("digits", folder, "--score-only", str(run_folder), "--strategy", "aeig", "bald", "coreset")
    assert status == 0, output
    scores = {row["case"]: float(row["aeig"]) for row in csv.DictReader((run_folder / "scores.csv").read_text().splitlines())}
    last = json.loads((run_folder / "rounds.jsonl").read_text().splitlines()[-1])
    np.testing.assert_allclose([scores[id_] for id_ in last["queried"]], last["scores"], rtol=1e-6)
    status, output = run("digits", folder, "--predict-only", str(run_folder))
    assert status == 0, output
    rows = {row["image"]: row for row in csv.DictReader((run_folder / "predictions.csv").read_text().splitlines())}
    for id_, known in last["test"].items():
        assert rows[id_]["part"] == "test"
        probability = [float(value) for name, value in rows[id_].items() if name.startswith("probability_")]
        np.testing.assert_allclose(probability, known["probability"], atol=1e-4)


def test_other_settings_and_options_that_cannot_be_are_refused(study):
    folder, _ = study
    for more, message in (
        (("--step", "sign"), "strategy.step: the folder does not set it, this command asks for sign"),
        (("--query-size", "3"), "sizes.query_size"),
        (("--step-rate", "fast"), "it takes peak, normalised or a number"),
        (("--step-rate", "-1"), "it must be above zero"),
        (("--strategy", "masked_entropy"), "The strategy 'masked_entropy' is for images whose elements each have a class"),
        (("--strategy", "bald", "--samples", "0"), "needs members that can disagree"),
        (("--snapshots",), "Give --networks, too"),
        (("--snapshots", "--networks", "20"), "20 cycles do not fit into a training of 30 steps"),
        (("--unlabelled", "evidence"), "Add --evidence 1"),
        (("--pseudo-labels", "--pseudo-threshold", "0"), "--pseudo-threshold is 0; it must be above 0"),
        (("--refuse", "zebra"), "--refuse zebra: there is no such class"),
        (("--strategy", "aeig,step_rate=-1"), "it must be above zero"),
        (("--strategy", "aieg"), "Did you mean aeig?"),
        (("--flips", "2"), "images have the axes 0"),
        (("--query-size", "1000"), "The pool has 617"),
    ):
        status, output = run("digits", folder, *more)
        assert status == 2, more
        assert message in " ".join(output.split())


@pytest.mark.parametrize(("name", "strategy"), [("retinopathy", "aeig"), ("skin_lesions", "batchbald")])
def test_studies_of_the_paper_on_made_up_images(tmp_path, name, strategy):
    status, output = run(name, tmp_path, "--strategy", strategy)
    assert status == 0, output
    (run_on_disk,) = read_runs(tmp_path / "out")
    assert len(run_on_disk.rounds) == 2
    assert len(run_on_disk.rounds[0]["auc"]["by_class"]) == {"retinopathy": 5, "skin_lesions": 7}[name]
    status, output = run(name, tmp_path / "other", preset="small")
    assert status == 2
    assert "--data DIR is needed" in output
    assert {"retinopathy": "trainLabels.csv", "skin_lesions": "GroundTruth.csv"}[name] in " ".join(output.split())
    assert not (tmp_path / "other" / "out").exists()


def test_tissue_in_small(tmp_path):
    status, output = run("tissue", tmp_path, "--strategy", "aeig,step_rate=normalised")
    assert status == 0, output
    assert "caudate" in read_runs(tmp_path / "out")[0].rounds[0]["auc"]["by_class"]


def check_ranking(line):
    """The ledger holds what the test images are predicted with, and so the scores of entropy."""
    images = line["test"].values()
    probability = np.array([image["probability"] for image in images])
    entropy, groups = scipy.stats.entropy(probability, axis=1), [image["group"] for image in images]
    truth = [image["probability"][image["class"]] for image in images]
    found = line["ranking"]["test"]
    assert found["cases"] == {group: groups.count(group) for group in sorted(set(groups))}
    assert found["outranks"] == pytest.approx(ranking.outranking(entropy, groups), abs=1e-3)
    assert found["correlation"] == pytest.approx(scipy.stats.spearmanr(entropy, truth).statistic, abs=1e-3)


def test_own_images_with_groups(tmp_path):
    folder = pretend.write_retinopathy(tmp_path / "data", images=60)
    rows = list(csv.DictReader((folder / "trainLabels.csv").read_text().splitlines()))
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "sex"))
        for place, row in enumerate(rows):
            writer.writerow((f"train/{row['image']}.jpeg", "ill" if row["level"] > "0" else "well", "fm"[place % 2]))
    more = ("--data", str(folder), "--strategy", "entropy", "coreset", "--group-column", "sex", "--size", "16", "16")
    status, output = run("classification", tmp_path, *more)
    assert status == 0, output
    line = read_runs(tmp_path / "out")[0].rounds[0]
    assert set(line["auc"]["by_group"]) == {"f", "m"}
    check_ranking(next(run.rounds[0] for run in read_runs(tmp_path / "out") if run.strategy == "entropy"))
    assert "AUC f" in output
    assert "Disparity" in (tmp_path / "out" / "report.html").read_text()
    status, output = run("classification", tmp_path, "--data", str(folder), "--group-column", "age", "--fresh")
    assert status == 2
    assert "has no column 'age'" in " ".join(output.split())
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "sex"))
        for row in rows:
            ill = row["level"] > "0"
            writer.writerow((f"train/{row['image']}.jpeg", "ill" if ill else "well", "m" if ill else "f"))
    early = ("--data", str(folder), "--prepared", str(tmp_path / "not yet"), "--fresh")
    for more, message in (
        (("--group-column", "sex"), "All test images of group 'f' are of the class 'well'"),
        (("--weights", "nowhere.npz"), "there is no such file"),
        (("--fairness",), "no case has a group. Name a column with --group-column"),
        (("--step-rate", "fast"), "it takes peak, normalised or a number"),
        (("--initial-size", "1000"), "need more"),
        (("--step", "sign", "--strategy", "aeig,method=linear"), "the linear method is that of a plain step"),
    ):
        status, output = run("classification", tmp_path, *early, *more)
        assert status == 2, more
        assert message in " ".join(output.split())
    assert not (tmp_path / "not yet").exists()  # nothing was decoded for any of these
    status, output = run("classification", tmp_path, "--data", str(folder), "--size", "16")
    assert (status, "it takes a height and a width" in " ".join(output.split())) == (2, True)
