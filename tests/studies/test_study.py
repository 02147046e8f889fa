"""Several strategies, seeds and data sets in one command, and a user's own folder from plan to report."""

import csv
import json

import killing
import nibabel
import numpy as np
import pytest
from folders import bids, decathlon
from scipy import ndimage

from experiments import compare, segmentation
from jaxal.cli import command
from jaxal.report import page
from jaxal.report.comparison import compare_folder, means_over
from jaxal.rounds import networks
from jaxal.rounds.ledger import read_runs


@pytest.fixture(scope="module")
def study(tiny_folder, tmp_path_factory):
    """Two strategies and two seeds."""
    out = tmp_path_factory.mktemp("study") / "out"
    arguments = killing.command(tiny_folder, out, "random", "--seeds", "2", "--rounds", "2")
    arguments.insert(arguments.index("random") + 1, "entropy")
    status, output = killing.here(arguments)
    assert status == 0, output
    return out, arguments, output


def test_a_study_compares_strategies_over_seeds(study):
    out, _, output = study
    runs = {(run.strategy, run.seed): run.rounds for run in read_runs(out)}
    assert set(runs) == {(name, seed) for name in ("full", "random", "entropy") for seed in (0, 1)}
    for seed in (0, 1):
        assert runs["random", seed][0]["test"] == runs["entropy", seed][0]["test"]
        assert runs["full", seed][0]["labelled"] == 8
        assert runs["full", seed][0]["queried"] == []
    assert runs["random", 0][0]["test"] != runs["random", 1][0]["test"]
    (comparison,) = compare_folder(out)
    assert comparison.seeds == (0, 1)
    assert set(comparison.table) == {"random", "entropy"}
    assert {"dice", "worst_group", "disparity", "essp", "area", "nll", "ece", "labels"} <= comparison.table["random"].keys()
    table = output.split(f"data-balanced: {means_over(2)}")[1]
    assert "…" not in table  # nothing is cut off on a narrow terminal
    rows = list(csv.DictReader((out / "comparison.csv").read_text().splitlines()))
    known = {(row["strategy"], row["against"], row["measure"]): row for row in rows}
    for name, measures in comparison.table.items():
        for measure, estimate in measures.items():
            row = known[name, "", measure]
            assert [float(row[part]) for part in estimate._fields] == pytest.approx(list(estimate), rel=1e-5, nan_ok=True)
    assert known["entropy", "random", "dice"]["seeds"] == "2"
    assert "[6 of 6]" in output
    assert (out / "report.html").stat().st_size > 10_000


def test_more_seeds_and_strategies_add_to_a_folder(study, tmp_path):
    out, arguments, _ = study
    before = {path: path.read_text() for path in out.rglob("rounds.jsonl")}
    more = [*arguments]
    more[more.index("--seeds") + 1] = "3"
    more.insert(more.index("random") + 1, "stratified_random")
    status, output = killing.here(more)
    assert status == 0, output
    assert {path: path.read_text() for path in before} == before
    assert len(list(out.rglob("rounds.jsonl"))) == 12


def test_a_study_goes_on_elsewhere_from_its_ledgers_alone(study, tmp_path):
    out, arguments, _ = study
    for path in [out / "config.json", *out.rglob("seed-0/rounds.jsonl")]:
        copy = tmp_path / "out" / path.relative_to(out)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    elsewhere = [*arguments]
    elsewhere[elsewhere.index(str(out))] = str(tmp_path / "out")
    elsewhere.insert(elsewhere.index("random") + 1, "stratified_random")
    status, output = killing.here(elsewhere)
    assert status == 0, output
    before, after = (
        {(run.strategy, run.seed): [(record["test"], record["queried"]) for record in run.rounds] for run in read_runs(folder)}
        for folder in (out, tmp_path / "out")
    )
    for known in [(strategy, seed) for strategy in ("random", "entropy", "full") for seed in (0, 1)]:
        assert after[known] == before[known]
    assert not (tmp_path / "out" / "data-balanced" / "random" / "seed-0" / "checkpoints").exists()
    assert f"data-balanced: {means_over(2)}" in output


def test_ledgers_alone_are_compared(study, tmp_path, capsys):
    out, _, _ = study
    for path in out.rglob("rounds.jsonl"):
        copy = tmp_path / "copy" / path.relative_to(out)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(path.read_bytes())
    assert compare.main(compare.Arguments(tmp_path / "copy")) == 0
    assert "data-balanced: mean over" in capsys.readouterr().out
    assert compare_folder(tmp_path / "copy") == compare_folder(out)
    assert (tmp_path / "copy" / "report.html").exists()
    assert (tmp_path / "copy" / "comparison.csv").read_text() == (out / "comparison.csv").read_text()
    assert compare.main(compare.Arguments(tmp_path / "nowhere")) == 2
    assert "holds no finished round" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_a_finished_study_is_not_written_anew_for_every_round(study, monkeypatch):
    _, arguments, _ = study
    reports = []
    monkeypatch.setattr(page, "write_report", lambda folder, *more, **named: reports.append(folder))
    status, output = killing.here(arguments)
    assert status == 0, output
    assert len(reports) == 1


def test_the_first_network_is_trained_once_a_seed(tiny_folder, tmp_path, monkeypatch):
    trained = []
    fit = networks.Trainer.fit

    def counting(self, key, count, draw, state, *more):
        trained.append((count, int(state.step)))
        return fit(self, key, count, draw, state, *more)

    monkeypatch.setattr(networks.Trainer, "fit", counting)
    arguments = killing.command(tiny_folder, tmp_path / "out", "random", "--rounds", "1", "--full", "False")
    arguments.insert(arguments.index("random") + 1, "entropy")
    assert killing.here(arguments)[0] == 0
    assert trained == [(4, 0), (4, 30)]  # the second one finds all of its steps done
    of_random, of_entropy = (killing.rounds(tmp_path / "out", name)[0] for name in ("random", "entropy"))
    assert of_random["test"] == of_entropy["test"]


def here(*arguments):
    """Runs the segmentation command in this process."""
    import contextlib
    import io

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        status = segmentation.main(command.parse(segmentation.Arguments, "experiments.segmentation", list(map(str, arguments))))
    return status, output.getvalue()


def options(data, tmp_path, *more):
    return ["--data", data, "--out", tmp_path / "out", "--prepared", tmp_path / "prepared", "--preset", "smoke", *more]


def test_own_scans_in_patches_with_channels_classes_and_an_oblique_grid(tmp_path):
    data = decathlon(tmp_path / "data", cases=16)
    arguments = options(data, tmp_path, "--strategy", "aeig", "bald", "--patch-voxels", "128", "--initial", "balanced")
    status, output = here(*arguments, "--plan")
    assert status == 0, output
    for text in (
        "Decathlon: 16 cases; A 8, B 8",
        "overlapping windows",
        "a step",
        "MB on a device",
        "seconds",
        "2 for evaluation",
    ):
        assert text in output
    assert not (tmp_path / "out").exists()
    status, output = here(*arguments)
    assert status == 0, output
    assert "Dice by class" in (tmp_path / "out" / "report.html").read_text()
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert np.prod(plan["patch"]) <= 128
    runs = read_runs(tmp_path / "out")
    assert [(run.strategy, len(run.rounds)) for run in runs] == [("aeig", 2), ("bald", 2), ("full", 1)]
    assert len(list((tmp_path / "out").rglob("*.webp"))) == sum(len(record["queried"]) for run in runs for record in run.rounds)
    again, output = here("--score-only", tmp_path / "out" / "data-balanced" / "aeig" / "seed-0", "--strategy", "aeig", "entropy")
    assert again == 0, output
    again, output = here("--predict-only", tmp_path / "out" / "data-balanced" / "bald" / "seed-0")
    assert again == 0, output
    check_predictions(tmp_path / "out" / "data-balanced" / "bald" / "seed-0", data, runs[1].rounds[-1])
    again, output = here("--score-only", tmp_path / "out" / "data-balanced" / "full" / "seed-0", "--strategy", "aeig")
    assert again == 2
    assert "nothing is left to score" in output


def check_distances(row, name, predicted, true, spacing_mm):
    """Against the distance of every pair of surface voxels."""
    if not predicted.any() or not true.any():
        expected = "inf" if predicted.any() or true.any() else ""
        assert row[f"hausdorff95_mm_{name}"] == row[f"mean_distance_mm_{name}"] == expected
        return
    surfaces = [np.argwhere(mask & ~ndimage.binary_erosion(mask)) * spacing_mm for mask in (predicted, true)]
    pairs = np.linalg.norm(surfaces[0][:, None] - surfaces[1], axis=-1)
    there, back = pairs.min(1), pairs.min(0)
    worst = max(np.percentile(there, 95), np.percentile(back, 95))
    assert float(row[f"hausdorff95_mm_{name}"]) == pytest.approx(worst, abs=1e-4)
    assert float(row[f"mean_distance_mm_{name}"]) == pytest.approx(np.concatenate([there, back]).mean(), abs=1e-4)


def check_predictions(folder, data, record):
    """All cases have one spacing, so nothing was resampled, and the Dice of the files is that of the ledger."""
    rows = {row["case"]: row for row in csv.DictReader((folder / "predictions.csv").read_text().splitlines())}
    assert sorted(rows) == sorted(f"scan_{index}" for index in range(16))
    assert {id_ for id_, row in rows.items() if row["part"] == "test"} == set(record["test"])
    assert sum(row["part"] == "labelled" for row in rows.values()) == record["labelled"]
    for id_, known in record["test"].items():
        assert float(rows[id_]["dice"]) == pytest.approx(known["dice"], abs=1e-4)
    for name, mean in record["dice"]["by_class"].items():
        dices = [float(rows[id_][f"dice_{name}"]) for id_ in record["test"] if rows[id_][f"dice_{name}"]]
        assert np.mean(dices) == pytest.approx(mean, abs=1e-4)
    for id_, row in rows.items():
        written, source = nibabel.load(folder / row["file"]), nibabel.load(data / "labelsTr" / f"{id_}.nii.gz")
        np.testing.assert_allclose(written.affine, source.affine, atol=1e-6)
        assert written.shape == source.shape
        assert written.header["qform_code"] == source.header["qform_code"]
        masks = [np.asarray(image.dataobj) for image in (written, source)]
        for number, name in enumerate(record["dice"]["by_class"], 1):
            check_distances(row, name, masks[0] == number, masks[1] == number, nibabel.affines.voxel_sizes(source.affine))
        assert written.header["sform_code"] == source.header["sform_code"] == 1  # the label map's, not the image's


def test_a_plan_counts_networks_and_dropout_may_lie_deeper(tmp_path):
    data = decathlon(tmp_path / "data", cases=12)
    arguments = options(data, tmp_path, "--strategy", "bald", "--patch-voxels", "128", "--initial", "balanced", "--networks", "2")
    status, output = here(*arguments, "--dropout", "bottleneck", "--plan")
    assert status == 0, output
    assert "seen in" in output


def test_a_study_without_groups_says_nothing_of_fairness(tmp_path):
    data = decathlon(tmp_path / "data", cases=12)
    (data / "participants.tsv").unlink()
    status, output = here(*options(data, tmp_path, "--strategy", "random", "weighted_entropy", "--rounds", "1"))
    assert status == 0, output
    assert "No case has a group, because there is no" in output
    assert "disparity" not in output and "ESSP" not in output
    out = tmp_path / "out"
    assert {run.setting for run in read_runs(out)} == {"data"}
    page_text, table = (out / "report.html").read_text(), (out / "summary.csv").read_text()
    assert (
        "disparity" not in table and "Disparity" not in page_text and "ESSP" not in page_text and "worst group" not in page_text
    )
    assert "Dice" in page_text


def test_a_table_of_groups_may_lie_elsewhere_and_a_study_be_moved(tmp_path):
    data = decathlon(tmp_path / "data", cases=12)
    (data / "participants.tsv").rename(tmp_path / "groups.tsv")
    arguments = options(data, tmp_path, "--strategy", "random", "--initial", "balanced", "--rounds", "1")
    status, output = here(*arguments, "--group-column", "group")
    assert status == 2
    assert "participants.tsv: no such file" in output
    status, output = here(*arguments, "--participants", tmp_path / "groups.tsv")
    assert status == 0, output
    run = tmp_path / "out" / "data-balanced" / "random" / "seed-0"
    data.rename(tmp_path / "moved")
    status, output = here("--predict-only", run)
    assert status == 2
    status, output = here("--predict-only", run, "--data", tmp_path / "moved")
    assert status == 0, output
    assert len(list((run / "predictions").iterdir())) == 12


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--out", "DATA/results"), "lies among the scans"),
        (("--out", "DATA"), "lies among the scans"),
        (("--prepared", "DATA/prepared"), "lies among the scans"),
        (("--out", "DATA/..", "--fresh"), "the scans lie in it"),
        (("--strategy", "entrpy"), "Did you mean entropy?"),
        (("--rounds", "0"), "--rounds is 0"),
        (("--patch-voxels", "0"), "--patch-voxels is 0; it must be at least 64"),
        (("--quantiles", "1"), "--quantiles is 1; it must be at least 2"),
        (("--spacing-mm", "nan", "1", "1"), "it takes three numbers of millimetres"),
        (("--spacing-mm", "inf", "1", "1"), "it takes three numbers of millimetres"),
        (("--spacing-mm", "1", "1"), "it takes three numbers of millimetres"),
        (("--spacing-mm", "1", "1", "-1"), "it takes three numbers of millimetres"),
        (("--bins", "3,old"), "it takes numbers, such as 60 75 or 60,75"),
        (("--seeds", "0"), "--seeds is 0"),
        (("--group-column", "sex"), "no column 'sex'"),
        (("--bins", "3", "4"), "--bins cut numbers"),
        (("--bins", "3,4"), "--bins cut numbers"),
        (("--channels", "T2w"), "no case has a T2w"),
    ],
)
def test_what_can_be_refused_is_refused_before_anything_is_written(tmp_path, more, message):
    data = bids(tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    status, output = here(*options(data, tmp_path, *(str(part).replace("DATA", str(data)) for part in more)))
    assert status == 2
    assert message in " ".join(output.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_own_scans_in_bids(tmp_path):
    data = bids(tmp_path / "data", 14, ("ses-1", "ses-2"))
    status, output = here(*options(data, tmp_path, "--strategy", "weighted_entropy", "--initial", "balanced", "--rounds", "1"))
    assert status == 0, output
    (run,) = read_runs(tmp_path / "out")
    assert set(run.rounds[0]["group_weights"]) == {"A", "B"}


def test_a_folder_is_needed(tmp_path):
    status, output = here("--strategy", "random")
    assert status == 2
    assert "--data DIR is needed" in output
    status, output = here("--data", tmp_path / "nowhere", "--prepared", tmp_path / "prepared")
    assert status == 2
    assert "no such folder" in output
    assert not (tmp_path / "prepared").exists()


def test_help_of_own_scans_names_the_layouts(capsys):
    with pytest.raises(SystemExit):
        command.parse(segmentation.Arguments, "experiments.segmentation", ["--help"])
    text = capsys.readouterr().out
    for option in ("--data", "--group-column", "--bins", "--plan", "--patch-voxels", "--seeds"):
        assert option in text
