"""Workers as jobs of a cluster: what is submitted, and that jobs on this machine share a study."""

import subprocess
import sys
import time

import killing
import pytest

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


def test_without_the_extra_its_name_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'jaxal\[submit\]'"):
        submitted(SubmitConfig("local"), GIVEN)


def test_jobs_on_this_machine_share_a_study(tiny_folder, tmp_path, cache):
    more = ["--seeds", "2", "--full", "False", "--submit", "local", "--workers", "2"]
    arguments = killing.command(tiny_folder, tmp_path / "out", "random", *more)
    arguments[arguments.index("--rounds") + 1] = "1"
    place = {**killing.environment(cache), "PYTHONPATH": str(killing.ROOT)}
    done = subprocess.run(arguments, cwd=tmp_path, env=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 workers: " in done.stdout, done.stdout + done.stderr
    wanted = [tmp_path / "out" / killing.SETTING / "random" / f"seed-{seed}" / "rounds.jsonl" for seed in (0, 1)]
    end = time.monotonic() + 120
    while not all(path.exists() for path in [*wanted, tmp_path / "out" / "report.html"]) and time.monotonic() < end:
        time.sleep(0.1)
    assert all(len(path.read_text().splitlines()) == 1 for path in wanted)
    assert (tmp_path / "runs" / "submitted").is_dir()
