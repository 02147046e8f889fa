"""Workers as jobs of a cluster: what is submitted, and that jobs on this machine share a study."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import digits
from jaxal.cli import command
from jaxal.errors import UserError
from jaxal.studies.submission import SubmitConfig, submitted

GIVEN = [
    "python",
    "-m",
    "experiments.digits",
    "--seeds",
    "2",
    "--submit",
    "slurm",
    "--slurm",
    "partition=gpu,mem=16GB",
    "gres=gpu:1",
    "--workers=3",
    "--dry-run",
]


def test_a_dry_run_prints_what_slurm_would_be_given():
    script = "\n".join(submitted(SubmitConfig("slurm", 3, ("partition=gpu,mem=16GB", "gres=gpu:1"), 90, True), GIVEN))
    for line in (
        "#SBATCH --array=0-2",
        "#SBATCH --partition=gpu",
        "#SBATCH --mem=16GB",
        "#SBATCH --gres=gpu:1",
        "#SBATCH --time=90",
    ):
        assert line in script
    assert f"{sys.executable} -m experiments.digits --seeds 2\n" in f"{script}\n", (
        "a job is the command itself, which submits nothing"
    )


def test_a_dry_run_of_this_machine_prints_the_commands():
    lines = submitted(SubmitConfig("local", 2, dry_run=True), GIVEN)
    assert lines == [f"{sys.executable} -m experiments.digits --seeds 2"] * 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (SubmitConfig("slurm", 0), "--workers is 0"),
        (SubmitConfig("slurm", job_minutes=0), "--job-minutes is 0"),
        (SubmitConfig("slurm", slurm=("gpu",), dry_run=True), "'gpu' is not NAME=VALUE"),
        (SubmitConfig("slurm", slurm=("gpus=2",), dry_run=True), "--slurm: got an unexpected keyword argument 'gpus'"),
        (SubmitConfig("slurm"), "--submit slurm: "),
    ],
)
def test_what_cannot_be_submitted_is_told(config, message, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # where there is no SLURM
    with pytest.raises(UserError, match=message):
        submitted(config, GIVEN)


def test_a_strategy_that_there_is_not_is_told_before_anything_is_submitted(monkeypatch, capsys):
    monkeypatch.setattr("sys.orig_argv", GIVEN)
    given = ["--submit", "slurm", "--dry-run", "--strategy"]
    assert digits.main(command.parse(digits.Arguments, "experiments.digits", [*given, "entropi"])) == 2
    said = capsys.readouterr()
    assert "There is no strategy 'entropi'. Did you mean entropy?" in said.err and "#SBATCH" not in said.out
    assert digits.main(command.parse(digits.Arguments, "experiments.digits", [*given, "entropy"])) == 0
    assert "#SBATCH" in capsys.readouterr().out


def test_workers_never_begin_anew():
    with pytest.raises(UserError, match="every worker would set the others' results aside"):
        submitted(SubmitConfig("local", 2), [*GIVEN, "--fresh"])


def test_without_the_extra_its_name_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jaxal\[submit\]'"):
        submitted(SubmitConfig("local"), GIVEN)


def test_jobs_on_this_machine_run_the_command_without_what_submits_it(tmp_path):
    """In a process of its own, because jobs outlive whoever submits them."""
    submit = "import sys\nfrom jaxal.studies.submission import SubmitConfig, submitted\nprint(*submitted(SubmitConfig('local', 2), sys.argv[1:]))"
    code = "import os, sys; open(f'told-{os.getpid()}', 'w').write(' '.join(sys.argv[1:]))"
    given = ["python", "-c", code, "--seeds", "2", "--submit", "local", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", submit, *given], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    line = done.stdout
    assert line.startswith("2 workers: ") and "runs/submitted" in line
    end = time.monotonic() + 60
    while len(told := [path.read_text() for path in tmp_path.glob("told-*")]) < 2 or not all(told):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert told == ["--seeds 2"] * 2
