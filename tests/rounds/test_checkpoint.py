import gc
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal import files
from jaxal.data.prepared import Kept
from jaxal.errors import UserError
from jaxal.files import lock, open_array, write_text
from jaxal.rounds.checkpoint import Checkpoints
from jaxal.rounds.ledger import Ledger
from jaxal.rounds.saving import beside
from jaxal.scoring.journal import Journal
from jaxal.training.trainer import TrainState


def state(value):
    return TrainState(
        {"w": jnp.full((3, 2), value), "b": jnp.arange(2.0)}, (jnp.zeros((), jnp.int32), {"m": jnp.ones(4)}), jnp.int32(7)
    )


def test_a_state_comes_back_whole(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.latest(0) is None
    checkpoints.save(0, 3, state(1.5), {"attempt": 1})
    assert checkpoints.latest(0) == (3, {"attempt": 1})
    back = checkpoints.restore(0, state(0.0))
    assert isinstance(back, TrainState)
    assert isinstance(back.optimizer, tuple)
    np.testing.assert_array_equal(np.asarray(back.params["w"]), 1.5)
    assert back.step.dtype == jnp.int32
    assert int(back.step) == 7


def test_only_the_newest_step_of_a_round_is_kept_and_rounds_do_not_mix(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    for step in (1, 5, 9):
        checkpoints.save(0, step, state(float(step)), {})
    checkpoints.save(1, 2, state(20.0), {})
    assert checkpoints.latest(0)[0] == 9
    assert checkpoints.latest(1)[0] == 2
    assert float(checkpoints.restore(0, state(0.0)).params["w"][0, 0]) == 9.0
    assert sorted(path.name for path in (tmp_path / "c" / "round-000").iterdir() if path.name.isdigit()) == ["9"]


def test_states_are_written_beside_the_training_in_their_order_and_are_all_there_at_the_end():
    go_on, written = threading.Event(), []

    def write(state):
        assert go_on.wait(20)
        written.append(state["w"].tolist())

    step = jax.jit(lambda state: {"w": state["w"] + 1}, donate_argnums=0)
    with beside(write) as save:
        state = {"w": jnp.arange(2)}
        save(state)
        state = step(state)  # takes the buffers of what is being saved
        assert written == []  # nobody waited
        go_on.set()
        save(state)
    assert written == [[0, 1], [1, 2]]


def test_a_write_that_failed_is_told_of_at_the_next_one_and_at_the_end():
    def write(state):
        raise UserError(f"no space for {int(state)}")

    with pytest.raises(UserError, match="no space for 1"), beside(write) as save:
        save(jnp.int32(1))
        save(jnp.int32(2))
    with pytest.raises(UserError, match="no space for 1"), beside(write) as save:
        save(jnp.int32(1))
    with pytest.raises(UserError, match="no space for 1"), beside(write) as save:
        save(jnp.int32(1))
        raise KeyboardInterrupt


def test_a_step_that_orbax_would_silently_skip_is_an_error(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(0, 5, state(1.0), {})
    with pytest.raises(RuntimeError, match="wrote no checkpoint for round 0, step 4"):
        checkpoints.save(0, 4, state(2.0), {})


def test_other_number_types_are_refused_not_cast(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(0, 1, state(1.0), {})
    half = state(0.0)._replace(params={"w": jnp.zeros((3, 2), jnp.bfloat16), "b": jnp.zeros(2)})
    with pytest.raises(UserError, match=r"not of this network \(params/w is float32\[3, 2\], expected bfloat16"):
        checkpoints.restore(0, half)


def test_what_a_killed_save_left_behind_is_ignored_and_cleared(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(0, 1, state(1.0), {})
    (tmp_path / "c" / "round-000" / "2.orbax-checkpoint-tmp").mkdir()
    assert checkpoints.latest(0)[0] == 1
    checkpoints.save(0, 2, state(2.0), {})
    assert checkpoints.latest(0)[0] == 2


def test_damaged_checkpoints_are_told_of_in_one_sentence(tmp_path):
    """Every file cut to half and to nothing: what is read is right, or it is refused."""
    Checkpoints(tmp_path / "whole").save(0, 1, state(1.0), {"attempt": 0})
    refused = 0
    for path in [path for path in (tmp_path / "whole").rglob("*") if path.is_file()]:
        for share in (2, 10**9):
            shutil.rmtree(tmp_path / "cut", ignore_errors=True)
            shutil.copytree(tmp_path / "whole", tmp_path / "cut")
            damaged = tmp_path / "cut" / path.relative_to(tmp_path / "whole")
            damaged.write_bytes(path.read_bytes()[: path.stat().st_size // share])
            checkpoints = Checkpoints(tmp_path / "cut")
            try:
                assert checkpoints.latest(0) == (1, {"attempt": 0})
                restored = checkpoints.restore(0, state(0.0))
                assert all(map(np.array_equal, jax.tree.leaves(restored), jax.tree.leaves(state(1.0))))
            except UserError as error:
                assert re.search("round-000: a checkpoint that cannot be read .*; or remove it", str(error)), error
                refused += 1
    assert refused >= 8
    time.sleep(0.5)  # until its threads have told
    gc.collect()


def line(round_, **more):
    """What every line of a ledger holds."""
    seconds = dict.fromkeys(("train", "score", "select", "evaluate"), 1.0)
    dice = {"overall": 0.5, "by_group": {"A": 0.5}}
    return {
        "round": round_,
        "labelled": 4,
        "queried": [f"case_{round_}"],
        "dice": dice,
        "seconds": seconds,
        "nll": 1.0,
        "ece": 0.1,
        **more,
    }


def test_the_ledger_keeps_its_lines(tmp_path):
    ledger = Ledger(tmp_path / "run" / "rounds.jsonl")
    assert ledger.read() == []
    for round_ in range(3):
        ledger.append(line(round_))
    assert [record["queried"] for record in ledger.read()] == [["case_0"], ["case_1"], ["case_2"]]
    assert len(ledger.path.read_text().splitlines()) == 3
    assert [path.name for path in ledger.path.parent.iterdir()] == ["rounds.jsonl"]


@pytest.mark.parametrize("text", ['{"round": 1}\n', '{"round": 0}\n{"rou', '{"round": 0}\n{"round": 2}\n', "[1]\n"])
def test_a_damaged_ledger_is_reported_with_its_line(tmp_path, text):
    path = tmp_path / "rounds.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=r"rounds\.jsonl, line \d: not the record of round \d"):
        Ledger(path).read()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        *(
            (json.dumps({key: value for key, value in line(0).items() if key != name}), f"lacks the entry '{name}'")
            for name in ("labelled", "seconds", "nll", "dice")
        ),
        (json.dumps(line(0, dice="high")), "its entry 'dice' is \"high\""),
        (json.dumps(line(0, dice={"overall": None, "by_group": {}})), "its entry 'dice.overall' is null"),
        (json.dumps(line(0, dice={"overall": 0.5, "by_group": {"A": "x"}})), "its entry 'dice.by_group.A' is \"x\""),
        (json.dumps(line(0, queried=["a"], scores=[None])), "its entry 'scores' holds null"),
        (json.dumps(line(0, queried=[3], scores=[1.0])), "its entry 'queried' holds 3"),
        (json.dumps(line(0, seconds={"train": 1})), "lacks the entry 'seconds.score'"),
        (json.dumps(line(0, scores=[0.1, 0.2])), "another number of entries in 'scores' than in 'queried'"),
        (json.dumps(line(0, round=True)), "its entry 'round' is true"),
        (json.dumps(line(0)).replace('{"round": 0', '{"round": 0, "round": 0'), "the entry 'round' is there twice"),
    ],
)
def test_a_line_that_others_could_not_read_is_named(tmp_path, broken, message):
    path = tmp_path / "rounds.jsonl"
    path.write_text(broken + "\n")
    with pytest.raises(UserError, match=re.escape(message)):
        Ledger(path).read()
    path.write_bytes(json.dumps(line(0)).encode() + b"\xff\n")
    with pytest.raises(UserError, match="not a ledger"):
        Ledger(path).read()
    path.write_text(json.dumps(line(0, of_a_strategy_of_ones_own=[1])) + "\n")
    assert Ledger(path).read()[0]["labelled"] == 4


def test_nan_never_enters_the_ledger(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        Ledger(tmp_path / "rounds.jsonl").append({"round": 0, "nll": float("nan")})
    assert not (tmp_path / "rounds.jsonl").exists()


def test_lines_of_older_versions_get_what_they_lack_and_stay_as_they_are(tmp_path):
    """They did not name their kind of task."""
    path = tmp_path / "rounds.jsonl"
    classified = {name: value for name, value in line(0, auc=line(0)["dice"]).items() if name != "dice"}
    old = json.dumps(classified).replace("{", "{ ", 1) + "\n" + json.dumps(line(1)) + "\n"
    path.write_text(old)
    newer = {name: value for name, value in line(2, task="regression").items() if name not in ("dice", "nll", "ece")}
    Ledger(path).append(newer)
    assert [record["task"] for record in Ledger(path).read()] == ["classification", "segmentation", "regression"]
    assert path.read_text() == old + json.dumps(newer) + "\n"


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text(path, "old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*run the same command again"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_what_a_kill_left_of_a_write_goes_with_a_later_one(tmp_path):
    """But not what a process that still runs, or another machine, may be writing."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    path = tmp_path / "file"
    old, young, alive = (tmp_path / f".file.{number}.tmp" for number in (gone.pid, gone.pid + 10**7, os.getpid()))
    for aside in (old, young):
        aside.write_text("killed")
    os.utime(old, (0, 0))
    write_text(path, "whole")
    assert not old.exists() and young.exists() and not alive.exists()
    assert path.read_text() == "whole"


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path):
    code = f"from pathlib import Path; from jaxal.files import lock\nwith lock(Path({str(tmp_path)!r})): print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is working in this folder"), lock(tmp_path):
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    with lock(tmp_path):
        pass


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_what_others_say_during_a_save_is_heard(tmp_path, capfd, caplog):
    """Another thread's words on the standard error, and on the logger that Orbax writes to."""
    caplog.set_level(logging.ERROR, logger="absl")  # a command in this process may have shut it up
    said, saved = [], threading.Event()

    def talk():
        while not saved.wait(0.001):
            said.append(f"word {len(said)}")
            print(said[-1], file=sys.stderr)
            logging.getLogger("absl").error("logged " + said[-1])

    heard = logging.StreamHandler()
    logging.getLogger("absl").addHandler(heard)
    talker = threading.Thread(target=talk)
    talker.start()
    try:
        Checkpoints(tmp_path / "c").save(0, 1, state(1.0), {})
    finally:
        saved.set()
        talker.join()
        logging.getLogger("absl").removeHandler(heard)
    lines = capfd.readouterr().err.splitlines()
    assert len(said) > 3
    assert [line for line in lines if line.startswith("word")] == said
    assert [line for line in lines if line.startswith("logged")] == [f"logged {word}" for word in said]


def test_a_full_disk_is_told_of_once_and_by_name(small_disk, capfd, caplog):
    caplog.set_level(logging.ERROR, logger="absl")
    for free_kb in (0, 8, 16, 24, 36):
        folder = Path(small_disk) / str(free_kb)
        Checkpoints(folder).save(0, 1, state(1.0), {})
        (folder / "fill").write_bytes(bytes(1024 * (free_bytes(small_disk) // 1024 - free_kb)))
        with pytest.raises(
            UserError, match=rf"{folder}: the checkpoint of round 0 could not be written \(No space left on device\)"
        ):
            Checkpoints(folder).save(0, 2, state(2.0), {})
        while folder.exists():  # its threads may still write
            shutil.rmtree(folder, ignore_errors=True)
    time.sleep(0.5)  # until they have told
    gc.collect()
    assert (capfd.readouterr().err, caplog.records) == ("", [])


def free_bytes(folder):
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def test_arrays_and_journals_that_fill_the_disk_are_named(small_disk):
    values = np.zeros(2**18)
    with pytest.raises(UserError, match=r"case-plan\.image\.npy: could not be written \(No space left on device\)"):
        Kept(Path(small_disk), "plan").add({"case.image": values})
    with pytest.raises(UserError, match=r"results-0\.sqlite: could not be written \(database or disk is full\)"):
        Journal(Path(small_disk)).write("pass", [("unit", values.tobytes())])
    with pytest.raises(OSError, match=re.escape(str(small_disk))), lock(Path(small_disk)):
        raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_the_checkpoint_before(small_disk):
    checkpoints = Checkpoints(Path(small_disk) / "c")
    checkpoints.save(0, 1, state(1.0), {"attempt": 0})
    large = {"w": jnp.asarray(np.random.default_rng(0).normal(size=600_000), jnp.float32)}
    with pytest.raises(UserError, match=r"round 0 could not be written.*(No space|space).*run the same command again"):
        checkpoints.save(0, 2, large, {"attempt": 0})
    assert checkpoints.latest(0) == (1, {"attempt": 0})
    np.testing.assert_array_equal(np.asarray(checkpoints.restore(0, state(0.0)).params["w"]), 1.0)


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_damaged_array_is_named(tmp_path, content):
    path = tmp_path / "case.image.npy"
    np.save(path, np.zeros(1000))
    path.write_bytes(path.read_bytes()[:2000] if content is None else content)
    with pytest.raises(UserError, match=r"case.image.npy: a prepared array that is damaged .* Remove the file; it is made anew"):
        open_array(path)


def test_a_folder_in_a_file_s_place_is_not_told_as_a_full_disk(tmp_path):
    (tmp_path / "summary.csv").mkdir()
    with pytest.raises(UserError, match=r"summary.csv: could not be written \(Is a directory\). See to it"):
        write_text(tmp_path / "summary.csv", "new")
