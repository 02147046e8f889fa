"""Splits in which groups are tested alike, and the study of fair training as the command line runs it."""

import contextlib
import csv
import io
import json
import shutil
from collections import Counter

import pytest

from experiments import fair_uncertainty
from jaxal.cli import command
from jaxal.cli.main import main
from jaxal.data.simulated.atrophy import AtrophyConfig, write_atrophy
from jaxal.errors import UserError
from jaxal.rounds.ledger import read_runs
from jaxal.studies.fair import fold, split_equally
from jaxal.types import Case


def cases(common=20, scarce=6, scans=1):
    sizes = {"common": common, "scarce": scarce}
    return [
        Case(f"{group}_{number:02d}_{scan}", group, None, subject=f"{group}_{number:02d}")
        for group, size in sizes.items()
        for number in range(size)
        for scan in range(scans)
    ]


def counts(part):
    return dict(Counter(case.group for case in part))


def test_groups_are_tested_in_equal_numbers_and_the_rest_is_trained_on():
    everything = cases()
    splits = split_equally(everything, 0, 0.5)
    assert counts(splits.test) == {"common": 3, "scarce": 3} and counts(splits.pool) == {"common": 17, "scarce": 3}
    assert sorted({*splits.pool, *splits.test}) == sorted(everything) and not splits.evaluation
    assert split_equally(everything[::-1], 0, 0.5) == splits  # whatever their order
    assert len({split_equally(everything, seed, 0.5).test for seed in range(5)}) == 5


def test_scans_of_one_subject_stay_together():
    splits = split_equally(cases(scans=3), 0, 0.5)
    assert counts(splits.test) == {"common": 9, "scarce": 9}
    assert not {case.subject for case in splits.pool} & {case.subject for case in splits.test}


def test_seeds_go_through_the_folds_of_one_partition():
    everything = cases(20, 10)
    parts = [fold(everything, seed, 5) for seed in range(5)]
    tested = [case for part in parts for case in part.test]
    assert len(tested) == len(set(tested)) == 20
    assert [counts(part.test) for part in parts] == [{"common": 2, "scarce": 2}] * 5
    assert {case for case in tested if case.group == "scarce"} == {case for case in everything if case.group == "scarce"}
    assert all(sorted({*part.pool, *part.test}) == sorted(everything) for part in parts)
    assert fold(everything, 5, 5).test not in [part.test for part in parts]


@pytest.mark.parametrize(
    ("made", "message"), [(cases(20, 1), "Group 'scarce' has one subject"), (cases(20, 4), "5 folds need as many")]
)
def test_groups_that_are_too_small_are_told_of(made, message):
    with pytest.raises(UserError, match=message):
        fold(made, 0, 5)


# As the command line runs it


def run(folder, *options):
    """The command within this process: its exit status and what it said."""
    places = ("--out", folder / "out", "--prepared", folder / "prepared", "--cohorts", folder / "cohorts", "--preset", "smoke")
    output, given = io.StringIO(), [str(part) for part in (*places, *options)]
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            status = fair_uncertainty.main(command.parse(fair_uncertainty.Arguments, fair_uncertainty.__name__, given))
        except SystemExit as stopped:
            status = stopped.code
    return status, " ".join(output.getvalue().replace("│", " ").split())


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    """Two methods, one after the other in one folder."""
    folder = tmp_path_factory.mktemp("lesions")
    for method in ("erm", "groupdro,step_size=0.5"):
        status, output = run(folder, "--task", "lesion", "--method", method)
        assert status == 0, output
    return folder


def test_methods_stand_beside_each_other(lesions):
    runs = {run.strategy: run.rounds for run in read_runs(lesions / "out" / "lesion")}
    assert set(runs) == {"erm", "groupdro,step_size=0.5"}
    erm, robust = (runs[name][0] for name in sorted(runs))
    assert erm["test"].keys() == robust["test"].keys() and erm["test"] != robust["test"]
    assert len(set(Counter(case["group"] for case in erm["test"].values()).values())) == 1  # as many of each group
    assert "weighting" not in json.loads((lesions / "out" / "lesion" / "config.json").read_text())["training"]
    assert {"accuracy", "balanced accuracy", "AUC"} <= erm["uncertainty_curves"].keys()
    report = (lesions / "out" / "lesion" / "report.html").read_text()
    assert "What the networks know of their errors" in report and "groupdro,step_size=0.5" in report


def test_the_same_command_trains_nothing_and_a_run_is_predicted_again(lesions):
    ledger = lesions / "out" / "lesion" / "simulated" / "erm" / "seed-0" / "rounds.jsonl"
    before = ledger.read_text()
    assert run(lesions, "--task", "lesion", "--method", "erm")[0] == 0 and ledger.read_text() == before
    status, output = run(lesions, "--predict-only", ledger.parent)
    assert status == 0, output
    rows = {row["image"]: row for row in csv.DictReader((ledger.parent / "predictions.csv").read_text().splitlines())}
    known = json.loads(before)["test"]
    assert {id_ for id_, row in rows.items() if row["part"] == "test"} == set(known)
    images = next((lesions / "cohorts").glob("lesions-*/ISIC_2019_Training_Input"))
    status, output = run(lesions, "--predict-only", ledger.parent, "--new", images)
    assert status == 0, output
    new = list(csv.DictReader(next((ledger.parent / "new").glob("*/predictions.csv")).read_text().splitlines()))
    assert {row["image"].removesuffix(".jpg"): row["predicted"] for row in new} == {
        id_: row["predicted"] for id_, row in rows.items()
    }


def test_tumours_are_measured_in_their_three_regions(tmp_path):
    status, output = run(tmp_path, "--task", "tumour", "--method", "balanced")
    assert status == 0, output
    (found,) = read_runs(tmp_path / "out" / "tumour")
    curves = found.rounds[0]["uncertainty_curves"]
    assert list(curves) == ["whole tumour", "tumour core", "enhancing tumour"]
    assert set(curves["tumour core"]["qu_brats"]["by_group"]) == {"<4000", ">=4000"}
    assert 0 < curves["whole tumour"]["qu_brats"]["overall"]["score"] <= 1


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scores") / "adni"
    write_atrophy(AtrophyConfig(40, 8.0, share_young=0.4), folder)
    return folder / "participants.tsv"


def test_scores_are_predicted_fold_by_fold(scores, tmp_path):
    status, output = run(tmp_path, "--task", "cognition", "--data", scores, "--seeds", "2", "--targets", "MMSE")
    assert status == 0, output
    first, second = (found.rounds[0] for found in read_runs(tmp_path / "out" / "cognition"))
    assert list(first["uncertainty_curves"]) == list(first["rmse"]) == ["MMSE"]
    assert not first["test"].keys() & second["test"].keys()
    assert set(first["r2"]["by_group"]) == {"<70", ">=70"}


def test_scores_are_asked_for_by_any_strategy(scores, tmp_path, capsys):
    places = ["--out", str(tmp_path / "out"), "--prepared", str(tmp_path / "prepared"), "--preset", "smoke"]
    given = [
        "--strategy",
        "epig",
        "--group-column",
        "age",
        "--bins",
        "70",
        "--initial-size",
        "8",
        "--method",
        "balanced,by=weights",
    ]
    assert main(["simulate", str(scores), *given, *places]) == 0, capsys.readouterr().err
    (found,) = read_runs(tmp_path / "out")
    assert [line["labelled"] for line in found.rounds] == [8, 12] and set(found.rounds[1]["queried_values"]) == set(
        found.rounds[1]["queried"]
    )
    folder = tmp_path / "out" / "scans" / "epig" / "seed-0"
    assert main(["predict", str(folder)]) == 0, capsys.readouterr().err
    rows = {row["case"]: row for row in csv.DictReader((folder / "predictions.csv").read_text().splitlines())}
    for id_, known in found.rounds[-1]["test"].items():
        assert float(rows[id_]["ADAS13_predicted"]) == pytest.approx(known["mean"][0], rel=1e-3, abs=1e-3)
    _predict_new(scores, folder, capsys)
    assert main(["simulate", str(scores), "--strategy", "aeig", *places]) == 2
    assert "epig is the information gain" in " ".join(capsys.readouterr().err.split())


def _predict_new(scores, run_folder, capsys):
    """Scans of another table are predicted as the run's own; their numbers may be unknown."""
    header, *lines = scores.read_text().splitlines()
    names = header.split("\t")
    kept = [names.index(name) for name in ("participant_id", "image", "ADAS13")]
    rows = ["\t".join(line.split("\t")[place] for place in kept) for line in (header, *lines)]
    (scores.parent / "new.tsv").write_text("\n".join(rows) + "\n")
    own = {row["case"]: row for row in csv.DictReader((run_folder / "predictions.csv").read_text().splitlines())}
    assert main(["predict", str(run_folder), str(scores.parent / "new.tsv")]) == 0, capsys.readouterr().err
    (path,) = run_folder.glob("new/*/predictions.csv")
    new = {row["case"]: row for row in csv.DictReader(path.read_text().splitlines())}
    assert new.keys() == own.keys()
    assert all(
        row["part"] == "new" and row["ADAS13"] == row["MMSE"] == "" for row in new.values()
    )  # of one the numbers are unknown
    assert all(
        float(new[id_]["MMSE_predicted"]) == pytest.approx(float(row["MMSE_predicted"]), rel=1e-4) for id_, row in own.items()
    )
    shutil.copy(scores, scores.parent / "all.tsv")
    assert main(["predict", str(run_folder), str(scores.parent / "all.tsv"), "--out", str(run_folder / "elsewhere")]) == 0
    rows = csv.DictReader((run_folder / "elsewhere" / "predictions.csv").read_text().splitlines())
    assert {row["case"]: row["MMSE"] for row in rows} == {id_: row["MMSE"] for id_, row in own.items()}
    capsys.readouterr()
    (scores.parent / "bad.tsv").write_text(scores.read_text().replace("\timage\t", "\tscan\t"))
    assert main(["predict", str(run_folder), str(scores.parent / "bad.tsv")]) == 2
    assert "has no column 'image', which --channels names" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "dro"), "There is no method 'dro'. There are erm, balanced, groupdro."),
        (("--study", "--data", "."), "--study simulates the data of all tasks"),
        (("--seeds", "0"), "--seeds is 0"),
        (("--study", "--threshold", "101"), "--threshold is 101; it must be from 0 to 100, in steps of 2.5."),
        (("--study", "--threshold", "51"), "--threshold is 51; it must be from 0 to 100, in steps of 2.5."),
        (("--threshold", "25"), "--threshold is for the table of --study"),
        (("--study", "--method", "balanced"), "--method is for one task and method"),
        (("--study", "--group-column", "sex"), "--group-column is for one task and method"),
        (("--samples", "0", "--networks", "1"), "--uncertainty-curves needs members that can disagree"),
        (
            ("--task", "cognition", "--data", "TABLE", "--group-column", "sex", "--targets", "MMSE", "age", "--bins", "5"),
            "--bins cut numbers",
        ),
        (
            ("--task", "cognition", "--data", "TABLE", "--targets", "MMSE", "--group-column", "ADAS13"),
            "'ADAS13' holds numbers, and nothing says where groups part. Give edges, such as --bins",
        ),
        (("--task", "cognition", "--data", "TABLE", "--targets", "ADAS"), "has no column 'ADAS', which --targets names"),
        (("--task", "cognition", "--data", "TABLE", "--group-column", "weight"), "has no column 'weight'"),
        (("--task", "cognition", "--data", "TABLE", "--bins", "200"), "all 40 cases are of the group '<200'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_message(options, message, scores, tmp_path):
    status, output = run(tmp_path, *(str(scores) if option == "TABLE" else option for option in options))
    assert status == 2 and message in output, output
    assert not (tmp_path / "out").exists()
