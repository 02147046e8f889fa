"""The command `jaxal`: its verbs, and what it says to somebody who uses it wrongly."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxal.cli.main import USAGE, main
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES

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
        (["simlate"], "no verb 'simlate'; there are simulate, plan, score, predict, compare, strategies"),
        (["simulate"], "jaxal simulate DATA …: the DATA comes first"),
        (["simulate", "--rounds", "2"], "jaxal simulate DATA …: the DATA comes first"),
        (["score"], "jaxal score RUN …: the RUN comes first"),
        (["compare"], "jaxal compare FOLDER …: the FOLDER comes first"),
        (["plan", "/nowhere"], "jaxal plan /nowhere: no such folder"),
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


def test_help_fits_a_narrow_terminal_and_needs_no_second():
    assert max(map(len, USAGE.splitlines())) <= 80
    code = "import sys; from jaxal.cli.main import main; main(['--help']); main(['--version']); assert not {'jax', 'numpy'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(USAGE)


def test_every_strategy_is_listed_and_told_of(capsys):
    assert main(["strategies"]) == 0
    listed = capsys.readouterr().out
    assert max(map(len, listed.splitlines())) <= 80
    for name in {*STRATEGIES, *CLASSIFICATION_STRATEGIES}:
        assert f"\n{name}: " in f"\n{listed}"
        assert main(["strategies", name]) == 0
    told = capsys.readouterr().out
    assert "Options: gamma=1.0, weight_source=labelled" in told
    assert "Looks at: pool: regions; evaluation: evaluation_sample" in told


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
