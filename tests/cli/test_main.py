"""The command `jaxal`: its verbs, and what it says to somebody who uses it wrongly."""

import csv
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny
from folders import save

import jaxal
from jaxal.cli import probabilities, strategies, verbs
from jaxal.cli.help import HELP, USAGE, VERBS
from jaxal.cli.main import main
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, REGRESSION_STRATEGIES, STRATEGIES
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.regression import REGRESSION
from jaxal.tasks.segmentation import SEGMENTATION

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study(tiny_folder, tmp_path_factory):
    """A results folder that `jaxal simulate` made."""
    folder = tmp_path_factory.mktemp("simulated")
    sizes = ["--preset", "smoke", "--initial-size", "4", "--query-size", "2", "--rounds", "1"]
    places = ["--out", str(folder / "out"), "--prepared", str(folder / "prepared")]
    assert main(["simulate", str(tiny_folder), "--strategy", "entropy", *sizes, *places]) == 0
    return folder / "out"


def run_of(study):
    return study / "data-imbalanced" / "entropy" / "seed-0"


def test_a_study_is_simulated_compared_scored_and_predicted(study, tmp_path, capsys):
    assert (run_of(study) / "rounds.jsonl").read_text().count("\n") == 1
    copy = shutil.copytree(study, tmp_path / "out")
    (copy / "report.html").unlink()
    assert main(["compare", str(copy)]) == 0
    assert (copy / "report.html").is_file()
    assert main(["score", str(run_of(study)), "--strategy", "margin", "coreset"]) == 0
    assert (run_of(study) / "scores.csv").read_text().startswith("case,group,round,margin,coreset\n")
    assert main(["predict", str(run_of(study))]) == 0
    assert len(list((run_of(study) / "predictions").glob("*.nii.gz"))) == 16
    capsys.readouterr()


def test_a_plan_runs_nothing(tiny_folder, tmp_path, capsys):
    options = ["--preset", "smoke", "--out", str(tmp_path / "out"), "--prepared", str(tmp_path / "prepared")]
    assert main(["plan", str(tiny_folder), *options]) == 0
    assert not (tmp_path / "out").exists()
    assert "runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], ""),
        (["simlate"], "no verb 'simlate'. Did you mean simulate?"),
        (["simulate"], "jaxal simulate DATA …: the DATA comes first"),
        (["simulate", "--rounds", "2"], "jaxal simulate DATA …: the DATA comes first"),
        (["score"], "jaxal score RUN …: the RUN comes first"),
        (["compare"], "jaxal compare FOLDER …: the FOLDER comes first"),
        (["plan", "/nowhere"], "jaxal plan /nowhere: no such folder"),
        (["score", "/nowhere"], "jaxal score /nowhere: no such folder"),
        (["simulate", ""], "jaxal simulate '': no such folder"),
        (["simulate", __file__], "test_main.py: a file, not a folder"),
        (["compare", __file__], "test_main.py: a file, not a folder"),
        (["score", "--probabilities"], "--probabilities names no folder"),
        (["score", "--probabilities", "/nowhere"], "/nowhere: no such folder. Each member is a folder with one file a case"),
        (["completion"], "jaxal completion SHELL: names one of bash, zsh, fish"),
        (["completion", "tcsh"], "jaxal completion SHELL: names one of bash, zsh, fish"),
        (["strategies", "entropi"], "no strategy 'entropi'. Did you mean entropy"),
        (["strategies", "entropy,gamma=3"], "no option 'gamma'"),
    ],
)
def test_wrong_use_is_told_in_one_sentence(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") <= 1


def test_folders_that_are_none_of_these_are_refused(tmp_path, capsys):
    for verb in ("simulate", "plan", "score", "predict", "compare"):
        assert main([verb, str(tmp_path)]) == 2, verb
        assert "error" in capsys.readouterr().err, verb


def test_help_fits_a_narrow_terminal_and_needs_no_second(capsys):
    for verb in VERBS:
        assert main([verb, "--help"]) == main(["help", verb]) == 0
        text = capsys.readouterr().out
        assert text == HELP[verb] * 2
        assert max(map(len, text.splitlines())) <= 80, verb
        assert f"\n  {verb} " in USAGE
    assert max(map(len, USAGE.splitlines())) <= 80
    code = "import sys; from jaxal.cli.main import main; main(['--help']); main(['predict', '-h']); main(['--version']); assert not {'jax', 'numpy'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(USAGE + HELP["predict"])


def test_the_help_of_a_verb_names_all_its_options():
    for verb, kind in (("score", verbs.Score), ("score", probabilities.Arguments), ("predict", verbs.Predict)):
        for field in dataclasses.fields(kind):
            name = field.name.replace("_", "-")
            shown = {"run": "RUN", "new": "NEW_SCANS", "hosts": "--coordinator"}.get(name, f"--{name} ")
            assert shown in HELP[verb], f"{verb}: {name}"


@pytest.mark.parametrize("kind", ["scans", "images"])
def test_the_options_of_a_kind_of_data_fit_too(kind, tiny_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main(["simulate", str(tiny_folder if kind == "scans" else tmp_path), "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "usage: jaxal simulate DATA" in text
    assert ("--spacing-mm" in text) == (kind == "scans")
    for hidden in ("--data", "--score-only", "--predict-only", "--new", "--plan", "None"):
        assert hidden not in text


def test_a_mistyped_option_is_told_before_all_else(tiny_folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for given, told in (
        (["--stratgy", "aeig"], "Unrecognized options: --stratgy"),
        (["--rounds", "two"], "'two' is no whole number"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["simulate", str(tiny_folder), *given])
        assert stopped.value.code == 2
        lines = "".join(capsys.readouterr()).splitlines()
        assert told in " ".join(lines[:3])
        assert len(lines) <= 16


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["s"], ["simulate", "score", "strategies", "start", "status", "serve"]),
        (["simulate", "data", "--pre"], ["--preset", "--prepared"]),
        (["simulate", "data", "--preset", "sm"], ["smoke", "small"]),
        (["score", "run", "--strategy", "random", "weighted_entropy_"], ["weighted_entropy_unmasked"]),
        (["strategies", "ba"], ["bald", "badge", "bait", "batchbald"]),
        (["predict", "run", "--"], ["--help", "--out", "--data"]),
        (["completion", "f"], ["fish"]),
        (["simulate", "fol"], []),  # the shell then completes paths
    ],
)
def test_bash_completes(words, expected, tmp_path, capsys):
    main(["completion", "bash"])
    script = (
        capsys.readouterr().out
        + f"""
COMP_WORDS=(jaxal {" ".join(words)}); COMP_CWORD={len(words)}; _jaxal; printf '%s\\n' "${{COMPREPLY[@]}}"; complete -p jaxal"""
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    *completions, registered = done.stdout.splitlines()
    assert sorted(filter(None, completions)) == sorted(expected)
    assert registered == "complete -o default -F _jaxal jaxal"


def test_the_other_shells_get_the_same_words(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        text = capsys.readouterr().out
        for word in (*VERBS, "weighted_entropy", "spacing-mm", "probabilities"):
            assert word in text, f"{shell}: {word}"


def test_probabilities_on_disk_are_ranked(tmp_path, capsys):
    unsure = {"sure": 0.02, "unsure": 0.4, "between": 0.2}
    for member in range(2):
        (tmp_path / "folds" / f"fold_{member}").mkdir(parents=True)
        for name, value in unsure.items():
            foreground = np.full((4, 5, 6), value + 0.05 * member)
            path = tmp_path / "folds" / f"fold_{member}" / f"{name}.npz"
            np.savez_compressed(path, probabilities=np.stack([1 - foreground, foreground]).astype(np.float32))
    given = ["score", "--probabilities", str(tmp_path / "folds"), "--strategy", "entropy", "bald", "--out", str(tmp_path / "out")]
    assert main([*given, "--query-size", "2"]) == 0
    output = capsys.readouterr().out
    assert "3 cases, 2 members: fold_0, fold_1" in output
    assert "entropy              unsure between\n" in output
    rows = {row["case"]: row for row in csv.DictReader((tmp_path / "out" / "scores.csv").read_text().splitlines())}
    for name, value in unsure.items():
        members = np.array([[[1 - p, p]] for p in (value, value + 0.05)], np.float32)
        assert float(rows[name]["bald"]) == pytest.approx(jaxal.bald(probabilities=members)[0], rel=1e-4)
        assert float(rows[name]["entropy"]) == pytest.approx(jaxal.entropy(probabilities=members)[0], rel=1e-4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock",
        "scores.csv",
    ]  # nothing kept for a kill is left
    for wrong, message in (
        (["--strategy", "badge"], "badge: needs the features before the network's last layer"),
        (["--out", str(tmp_path / "folds" / "out")], "lies among the predictions"),
        (["--query-size", "0"], "--query-size is 0"),
        (["--participants", str(tmp_path / "none.tsv")], "none.tsv"),
    ):
        assert main([*given, *wrong]) == 2
        assert message in capsys.readouterr().err


def new_scans(folder, names, shape, channels=1):
    """Scans alone, a bright ball in each."""
    folder.mkdir()
    for number, name in enumerate(names):
        values = np.random.default_rng(number).normal(100, 10, shape).astype(np.float32)
        values[2:6, 2:6, 2:6] += 80
        for channel in range(channels):
            save(folder / f"{name}_{channel:04d}.nii.gz", values)
    return folder


def test_scans_that_were_never_in_the_run_are_predicted(study, tiny_folder, tmp_path, capsys):
    run = shutil.copytree(study, tmp_path / "out") / "data-imbalanced" / "entropy" / "seed-0"
    shape = (11, 9, 14)  # larger than all that the network was trained on
    scans = new_scans(tmp_path / "new", ["first", "second"], shape)
    assert main(["predict", str(run), str(scans)]) == 0
    for name in ("first", "second"):
        image = nibabel.load(run / "new" / "new" / "predictions" / f"{name}.nii.gz")
        assert image.shape == shape
    rows = list(csv.DictReader((run / "new" / "new" / "predictions.csv").read_text().splitlines()))
    assert [(row["case"], row["part"], row["dice"]) for row in rows] == [("first", "new", ""), ("second", "new", "")]
    # Scans of the run itself come out as they do there, and their labels tell how good they are.
    assert main(["predict", str(run)]) == 0
    assert main(["predict", str(run), str(tiny_folder), "--out", str(tmp_path / "again")]) == 0
    assert "new        mean Dice" in capsys.readouterr().out
    for path in sorted((run / "predictions").iterdir()):
        again = nibabel.load(tmp_path / "again" / "predictions" / path.name)
        np.testing.assert_array_equal(again.get_fdata(), nibabel.load(path).get_fdata())


def test_new_scans_that_do_not_fit_are_refused(study, tmp_path, capsys):
    run = run_of(study)
    (tmp_path / "empty").mkdir()
    new_scans(tmp_path / "two", ["a"], (8, 8, 8), channels=2)
    named = new_scans(tmp_path / "named", ["a", "b"], (8, 8, 8))
    (named / "b_0000.nii.gz").write_bytes(b"no scan")
    described = tiny.write_dataset(tmp_path / "described", 2)
    text = (described / "dataset.json").read_text()
    (described / "dataset.json").write_text(text.replace('"T1"', '"FLAIR"'))
    for given, message in (
        ([str(tmp_path / "nowhere")], "nowhere: no such folder"),
        ([str(tmp_path / "empty")], "holds no scans"),
        ([str(tmp_path / "two")], "the scan 'a' has 2 channels; the network was trained on 1"),
        ([str(named)], "b_0000.nii.gz: not a readable NIfTI file"),
        ([str(described)], "has the channels FLAIR, but the network was trained on T1"),
        ([str(named), "--out", str(named / "out")], "lies among the scans"),
        (["--out", str(tmp_path / "out")], "--out is for the predictions of new cases"),
    ):
        assert main(["predict", str(run), *given]) == 2
        assert message in capsys.readouterr().err


def test_every_strategy_is_listed_and_told_of(capsys):
    assert main(["strategies"]) == 0
    listed = capsys.readouterr().out
    assert max(map(len, listed.splitlines())) <= 80
    for name in {*STRATEGIES, *CLASSIFICATION_STRATEGIES, *REGRESSION_STRATEGIES}:
        assert f"\n  {name} " in listed
        assert main(["strategies", name]) == 0
    told = capsys.readouterr().out
    assert "Options: gamma=1.0, weight_source=labelled" in told
    plain = " ".join(told.split())
    assert "Looks at: the pool: predictions and features, averaged over regions" in plain
    assert "; an evaluation set with labels: features and classes of a sample" in plain
    every = {*SEGMENTATION.statistics, *CLASSIFICATION.statistics, *REGRESSION.statistics}
    assert every <= strategies.STATISTICS.keys(), "no words in STATISTICS of jaxal/cli/strategies.py"
    assert main(["strategies", "--for", "regression", "--needs", "evaluation"]) == 0
    few = capsys.readouterr().out
    assert "\n  epig  " in few and "coreset" not in few and "Numbers alone" in few
    assert main(["strategies", "margin+then:coreset,factor=5"]) == 0
    composed = " ".join(capsys.readouterr().out.split())
    assert "How close the two most probable classes are" in composed and "filter, then diversify" in composed
    assert main(["score", "--help"]) == 0
    assert "jaxal.score(model, params, images" in capsys.readouterr().out
    assert "Costs: a forward of each case of the pool; a forward of each evaluation case" in told
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has loaded")
def test_ctrl_c_during_imports_stops_at_once(tiny_folder, tmp_path):
    command = [sys.executable, "-m", "jaxal.cli.main", "simulate", tiny_folder, "--out", tmp_path / "out"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and "jaxlib" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.strip() == "Stopped before anything was done."
    assert not (tmp_path / "out").exists()


def test_a_name_is_told_of_for_each_kind_of_data_that_it_means_something_else_for(capsys):
    assert main(["strategies", "worst_group", "facility_location", "cod"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "whose R² says" in told and "whose probability of the true class says" in told and "whose Dice says" in told
    assert "features, averaged over windows side by side" in told and told.count("by the angle of their features") == 1
    assert "by each of two networks" in told
    assert main(["strategies", "worst_group,by=total_variance"]) == 0
    assert "For: regression" in capsys.readouterr().out
    assert main(["strategies", "epig", "--for", "images"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "What an image's class would tell" in told and "numbers" not in told
    assert main(["strategies", "entropy+then:coreset"]) == 0
    assert "For: segmentation, classification, images with masks\n" in capsys.readouterr().out
    assert main(["strategies", "random+cold:kmeans,features=contrastive"]) == 0
    assert "contrastive, which a network learns first" in " ".join(capsys.readouterr().out.split())
    for text, message in (
        ("entropy+then:coreset,facto=2", "Options of the rule 'then' are factor."),
        ("worst_group,by=nothing", "by"),
        ("corset", "Did you mean coreset?"),
    ):
        assert main(["strategies", text]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
