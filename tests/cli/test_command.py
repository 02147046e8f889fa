"""The main command as a user meets it: what it writes, what it refuses, and that nothing is lost."""

import csv
import dataclasses
import json
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import killing
import numpy as np
import pytest
import tiny

from experiments import brain_caudate
from jaxal.cli import command, compare
from jaxal.errors import within_memory
from jaxal.numbers import NUMBERS
from jaxal.studies.presets import PRESETS


@pytest.fixture(scope="module")
def run_folder(tiny_folder, tmp_path_factory):
    """A finished tiny run."""
    out = tmp_path_factory.mktemp("run") / "out"
    status, output = killing.here(killing.command(tiny_folder, out, "weighted_entropy"))
    assert status == 0, output
    (out / "output.txt").write_text(output)
    return out


def test_a_run_leaves_what_it_promises(run_folder):
    seed = run_folder / "data-balanced" / "weighted_entropy" / "seed-0"
    records = [json.loads(line) for line in (seed / "rounds.jsonl").read_text().splitlines()]
    assert [record["round"] for record in records] == [0, 1, 2]
    for record in records:
        assert {"round", "labelled", "queried", "scores", "dice", "disparity", "essp", "nll", "ece", "seconds"} <= record.keys()
        assert record["dice"].keys() >= {"overall", "by_group"}
        assert record["seconds"].keys() == {"train", "score", "select", "evaluate", "rank"}
        assert len(record["queried"]) == len(record["scores"])
        gap = abs(record["dice"]["by_group"]["A"] - record["dice"]["by_group"]["B"])
        assert record["disparity"] == pytest.approx(gap)
        assert record["essp"] == pytest.approx(record["dice"]["overall"] / (1 + gap))
    assert sorted(path.name for path in (seed / "checkpoints").iterdir()) == ["round-000", "round-001", "round-002"]
    assert (run_folder / "data-balanced" / "learning_curves.png").exists()
    assert len(list(csv.DictReader((run_folder / "summary.csv").read_text().splitlines()))) == 3
    config = json.loads((run_folder / "config.json").read_text())
    assert config.keys() == {
        "format",
        "numbers",
        "task",
        "data",
        "sizes",
        "members",
        "network",
        "training",
        "statistics",
        "strategy",
    }
    assert all(len(record["config"]) == 8 and "jax" in record["versions"] for record in records)


def test_queries_are_disjoint_and_come_from_the_pool(run_folder, tiny_dataset):
    from jaxal.data.cases import initial_set, split

    splits = split(tiny_dataset.cases, 0, 0.2, 0.3)
    labelled = {case.id for case in initial_set(splits.pool, 4, 0)}
    for record in killing.rounds(run_folder, "weighted_entropy"):
        assert record["labelled"] == len(labelled)
        assert not labelled & set(record["queried"])
        assert set(record["queried"]) <= {case.id for case in splits.pool}
        labelled |= set(record["queried"])
    assert labelled == {case.id for case in splits.pool}


def test_the_console_shows_a_row_a_round_and_where_everything_lies(run_folder):
    output = (run_folder / "output.txt").read_text()
    assert "disparity" in output
    assert "pool empty" in output
    assert "for the test; at the start A 2, B 2 are labelled" in output
    for name in ("rounds.jsonl", "checkpoints", "summary.csv", "learning_curves.png"):
        assert name in output


def test_more_rounds_and_strategies_extend_a_folder(tiny_folder, tmp_path):
    out = tmp_path / "out"
    arguments = killing.command(tiny_folder, out, "random", rounds=2)
    assert killing.here(killing.command(tiny_folder, out, "random", rounds=1))[0] == 0
    first = killing.rounds(out, "random")
    assert killing.here(arguments)[0] == 0
    longer = killing.rounds(out, "random")
    assert longer[:1] == first
    assert len(longer) == 2
    assert killing.here(killing.command(tiny_folder, out, "entropy", rounds=1))[0] == 0
    other = killing.rounds(out, "entropy")
    assert other[0]["dice"] == longer[0]["dice"]  # the first round's model does not depend on the strategy
    assert {row["strategy"] for row in csv.DictReader((out / "summary.csv").read_text().splitlines())} == {"random", "entropy"}


def test_older_numbers_are_shown_and_continued_only_when_that_is_asked_for(run_folder, tiny_folder, tmp_path, refused):
    out = shutil.copytree(run_folder, tmp_path / "out")
    config, ledger = out / "config.json", out / "data-balanced" / "weighted_entropy" / "seed-0" / "rounds.jsonl"
    for path, name in ((config, "config"), (ledger, "ledger")):
        assert json.loads(path.read_text().splitlines()[0] if name == "ledger" else path.read_text())["numbers"] == NUMBERS
    settings = json.loads(config.read_text())
    del settings["numbers"]  # as versions wrote it that did not record them
    config.write_text(json.dumps(settings))
    before = config.read_text(), ledger.read_text()
    arguments = killing.command(tiny_folder, out, "weighted_entropy", "--rounds", "4")
    refused(arguments, f"an older version of jaxal computed its numbers (3; this one {NUMBERS}", "add --older-numbers")
    assert (config.read_text(), ledger.read_text()) == before
    assert compare.main(command.parse(compare.Arguments, "compare", [str(out)])) == 0
    status, output = killing.here([*arguments, "--older-numbers"])
    assert status == 0, output
    assert config.read_text() == before[0]
    assert ledger.read_text().startswith(before[1])
    config.write_text(json.dumps({**settings, "numbers": NUMBERS + 1}))
    refused([*arguments, "--older-numbers"], "a newer version of jaxal computed its numbers", "Update jaxal")


@pytest.fixture
def refused(capsys):
    """Runs a command in this process and expects one message and status 2."""

    def run(arguments, *expected):
        try:
            status = brain_caudate.main(command.parse(brain_caudate.Arguments, "experiments.brain_caudate", arguments[3:]))
        except SystemExit as stopped:
            status = stopped.code
        captured = capsys.readouterr()
        assert status == 2, captured
        flat = " ".join((captured.out + captured.err).replace("│", " ").split())
        for text in expected:
            assert text in flat

    return run


def test_a_folder_with_other_settings_is_refused_and_left_alone(run_folder, tiny_folder, refused):
    before = {path: path.stat().st_mtime_ns for path in run_folder.rglob("*") if path.is_file() and path.name != ".lock"}
    refused(
        killing.command(tiny_folder, run_folder, "entropy", "--query-size", "3"),
        "holds runs with other settings",
        "sizes.query_size: the folder has 2, this command asks for 3",
        "--fresh",
    )
    refused(killing.command(tiny_folder, run_folder, "entropy", "--training", "warm"), "training.start: the folder has scratch")
    assert {path: path.stat().st_mtime_ns for path in run_folder.rglob("*") if path.is_file() and path.name != ".lock"} == before


def test_other_data_of_the_same_name_are_refused(run_folder, tmp_path, refused):
    other = tiny.write_dataset(tmp_path / "other", cases=20)
    refused(
        killing.command(other, run_folder, "entropy"),
        "data.cases: the folder has 16",
        "data: 4 cases added: case_016, case_017, case_018, case_019",
    )


def test_a_data_folder_may_move(run_folder, tiny_folder, tmp_path):
    moved = tmp_path / tiny_folder.name
    shutil.copytree(tiny_folder, moved)
    before = killing.rounds(run_folder, "weighted_entropy")
    status, output = killing.here(killing.command(moved, run_folder, "weighted_entropy"))
    assert status == 0, output
    assert killing.rounds(run_folder, "weighted_entropy") == before


def test_a_file_in_the_way_is_named(tiny_folder, tmp_path, refused):
    (tmp_path / "out").write_text("mine")
    refused(killing.command(tiny_folder, tmp_path / "out", "random"), "is a file")
    assert (tmp_path / "out").read_text() == "mine"


def test_fresh_sets_the_folder_aside(tiny_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text('{"sizes": "of another time"}')
    status, output = killing.here(killing.command(tiny_folder, out, "random", "--fresh", rounds=1))
    assert status == 0, output
    assert (tmp_path / "out.old-1" / "config.json").read_text() == '{"sizes": "of another time"}'
    assert len(killing.rounds(out, "random")) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--strategy", "magic"], ["no strategy 'magic'", "jaxal strategies"]),
        (["--strategy", "weighted_entopy"], ["Did you mean weighted_entropy?"]),
        (["--strategy", "weighted_entropy,gamma=big"], ["gamma is 'big'; it takes a number"]),
        (["--strategy", "entropy,gamma=3"], ["no option 'gamma'. It has none."]),
        (["--preset", "huge"], ["--preset", "huge", "smoke"]),
        (["--group-column", "sex"], ["no column 'sex'", "'group'"]),
        (["--rounds", "0"], ["--rounds is 0"]),
        (["--seed", "-1"], ["--seed is -1"]),
        (
            ["--initial-size", "7", "--query-size", "2"],
            ["The pool has 8 of 16 cases", "initial set of 7", "Lower --initial-size"],
        ),
        (["--data", "/nowhere"], ["--data /nowhere: no such folder"]),
        (["--quary-size", "3"], ["Unrecognized", "--quary-size"]),
        (["--strategy"], ["--strategy names none; there are random, stratified_random"]),
        (["--save-every", "nan"], ["--save-every is nan; it must be a number of seconds above 0"]),
        (["--save-every", "-1"], ["--save-every is -1"]),
        (["--strategy", "weighted_entropy,gamma=-3"], ["gamma is -3; below zero the worst-served group would count least"]),
        (["--strategy", "power_bald,power_beta=-1"], ["power_beta is -1; below zero the lowest scores would be likeliest"]),
        (
            ["--coordinator", "foo", "--processes", "2", "--process-index", "0"],
            ["--coordinator is 'foo'; expected HOST:PORT"],
        ),
    ],
)
def test_wrong_options_are_refused_with_one_message(options, expected, tiny_folder, tmp_path, refused):
    refused(killing.command(tiny_folder, tmp_path / "out", "random", *options), *expected)
    assert not (tmp_path / "out").exists()


def test_what_is_refused_leaves_the_results_where_they_are(tiny_folder, tmp_path, refused):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    refused(killing.command(tiny_folder, tmp_path / "out", "random", "--fresh", "--data", "/nowhere"), "no such folder")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "mine").read_text() == "kept"


# A write of Orbax that fails after the first one did finds its event loop closed, in a thread that nobody can wait for.
@pytest.mark.filterwarnings(r"ignore:(?s).*Event loop is closed:pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_ends_in_one_message_and_is_made_good(tiny_folder, tmp_path, run_folder):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        arguments = killing.command(tiny_folder, disk / "out", "weighted_entropy")
        status, output = killing.here(arguments)
        assert status == 2, output
        assert "Traceback" not in output
        assert "No space left on device" in output
        assert "run the same command again" in output
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        status, output = killing.here(arguments)
        assert status == 0, output
        assert killing.rounds(disk / "out", "weighted_entropy") == killing.rounds(run_folder, "weighted_entropy")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_bad_file_ends_the_command_before_any_training(tmp_path, refused):
    folder = tiny.write_dataset(tmp_path / "bad")
    path = folder / "imagesTr" / "case_009_0000.nii.gz"
    path.write_bytes(path.read_bytes()[:100])
    refused(killing.command(folder, tmp_path / "out", "random"), "case_009_0000.nii.gz", "Copy it again")
    assert not list((tmp_path / "out").rglob("rounds.jsonl"))


def test_help_names_every_option_and_where_the_strategies_are_listed(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.parse(brain_caudate.Arguments, "experiments.brain_caudate", ["--help"])
    assert stopped.value.code == 0
    flat = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for option in [
        "strategy",
        "bias",
        "initial",
        "preset",
        "rounds",
        "query-size",
        "initial-size",
        "seed",
        "data",
        "group-column",
        "out",
        "fresh",
        "training",
    ]:
        assert f"--{option}" in flat
    assert "`jaxal strategies` lists them" in flat


def test_importing_has_no_side_effects():
    code = (
        "import sys, jaxal.rounds.simulate, jaxal.strategies.table, jaxal.report.page, jaxal.data.simulated.brain, jaxal.rounds.checkpoint\n"
        "import jax._src.xla_bridge as bridge\n"
        "assert not bridge._backends, 'importing started a backend'\n"
        "assert 'matplotlib' not in sys.modules and 'nilearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=killing.ROOT, check=True)


def test_the_main_job_simulates_queries_and_reuses_its_cohort(tmp_path, monkeypatch):
    smoke = PRESETS["smoke"]
    quick = dataclasses.replace(smoke.training, steps=5)  # how well it learns says nothing here
    monkeypatch.setitem(PRESETS, "smoke", dataclasses.replace(smoke, training=quick))
    arguments = [sys.executable, "-m", "experiments.brain_caudate", "--strategy", "aeig", "--preset", "smoke"]
    arguments += [
        "--out",
        str(tmp_path / "out"),
        "--cohorts",
        str(tmp_path / "cohorts"),
        "--prepared",
        str(tmp_path / "prepared"),
    ]
    status, output = killing.here([*arguments, "--rounds", "1"])
    assert status == 0, output
    assert "Simulated 24 brains" in output
    status, output = killing.here([*arguments, "--rounds", "2"])
    assert status == 0, output
    assert "Simulated" not in output
    ledger = tmp_path / "out" / "strong-imbalanced" / "aeig" / "seed-0" / "rounds.jsonl"
    records = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [record["labelled"] for record in records] == [4, 6]
    assert records[0]["labelled_by_group"] == {"A": 3, "B": 1}


def test_a_simulation_needs_a_bias(refused):
    refused([sys.executable, "-m", "experiments.brain_caudate", "--bias"], "--bias takes one or several of strong, weak")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--flips", "3"], "the axes 0 to 2"),
        (["--samples", "0"], "bald needs members that can disagree"),
        (["--networks", "0"], "needs at least one network"),
        (["--coordinator", "127.0.0.1:1"], "need all three"),
        (["--coordinator", "here", "--processes", "2", "--process-index", "1"], "expected HOST:PORT"),
        (["--coordinator", "127.0.0.1:1", "--processes", "2", "--process-index", "2"], "it goes from 0 to 1"),
    ],
)
def test_impossible_members_and_hosts_are_refused(options, message, tiny_folder, tmp_path, refused):
    refused(killing.command(tiny_folder, tmp_path / "out", "bald", *options), message)
    assert not (tmp_path / "out").exists()


def test_score_only_wants_the_folder_of_a_run(tmp_path, refused):
    command_line = [sys.executable, "-m", "experiments.brain_caudate", "--score-only", str(tmp_path)]
    refused(command_line, "holds no options.json", "…/STRATEGY/seed-N")
    (tmp_path / "options.json").write_text("{}")
    refused(command_line, "not the options of a run")
    refused([*command_line, "--predict-only", str(tmp_path)], "two commands; give one of them")


def test_a_finished_run_predicts_every_case(run_folder, tmp_path, refused):
    folder = shutil.copytree(run_folder, tmp_path / "copy") / "data-balanced" / "weighted_entropy" / "seed-0"
    command_line = [sys.executable, "-m", "experiments.brain_caudate", "--predict-only", str(folder)]
    status, output = killing.here(command_line)
    assert status == 0, output
    assert "test       mean Dice" in output
    rows = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    assert {row["part"] for row in rows} == {"labelled", "evaluation", "test", *({"pool"} & {row["part"] for row in rows})}
    assert all((folder / row["file"]).is_file() for row in rows)
    shutil.rmtree(folder / "checkpoints")
    refused(command_line, "checkpoint")
    (folder / "rounds.jsonl").unlink()
    refused(command_line, "no round is finished")


def test_score_only_writes_a_column_a_strategy(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "copy") / "data-balanced" / "weighted_entropy" / "seed-0"
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    (folder / "rounds.jsonl").write_text("\n".join(lines[:2]) + "\n")  # as if two rounds were done
    command_line = [sys.executable, "-m", "experiments.brain_caudate", "--score-only", str(folder)]
    status, output = killing.here([*command_line, "--strategy", "weighted_entropy", "aeig"])
    assert status == 0, output
    rows = list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))
    scores = {row["case"]: float(row["weighted_entropy"]) for row in rows}
    last = json.loads(lines[1])
    assert sorted(scores, key=scores.get, reverse=True)[:2] == last["queried"]
    assert [scores[id_] for id_ in last["queried"]] == pytest.approx(last["scores"], rel=1e-5)
    assert "scores.csv" in output


@pytest.mark.parametrize("allocate", [lambda: jnp.zeros(2**50).block_until_ready(), lambda: np.empty(2**60, np.uint8)])
def test_running_out_of_memory_ends_in_one_message(allocate, capsys):
    assert command.run(lambda display: allocate()) == 2
    output = "".join(capsys.readouterr())
    assert "Not enough memory" in output
    assert "Traceback" not in output


def test_a_program_that_does_not_fit_says_which_and_what_needs_less(capsys):
    def work(display):
        with within_memory("Scoring 64 cases at once", "A smaller batch_size needs less."):
            jnp.zeros(2**50).block_until_ready()

    assert command.run(work) == 2
    output = " ".join("".join(capsys.readouterr()).split())
    assert "Scoring 64 cases at once needs more memory than the device has (" in output
    assert "A smaller batch_size needs less. Everything finished is kept." in output and "--patch-voxels" in output
    assert "Traceback" not in output


def test_other_errors_of_the_device_are_no_matter_of_memory():
    with pytest.raises(RuntimeError, match="INTERNAL"), within_memory("This", ""):
        raise jax.errors.JaxRuntimeError("INTERNAL: a fault of the library")
