"""A killed run goes on with the same queries and, on a CPU, the same numbers to the last bit."""

import io
import os
import random
import shutil
import signal
import sys
import threading
import time

import killing
import pytest
import slow_pass

WAITS = "Others work on all that is left"
STRATEGY = "bald"  # its dropout samples depend on keys, which a run that goes on must find again


@pytest.fixture(scope="module")
def undisturbed(tiny_folder, tmp_path_factory):
    """Ledgers of runs that were never killed."""
    out = tmp_path_factory.mktemp("undisturbed")
    results = {}
    for start in ("scratch", "warm"):
        status, output = killing.here(killing.command(tiny_folder, out / start, STRATEGY, "--training", start, rounds=2))
        assert status == 0, output
        results[start] = killing.rounds(out / start, STRATEGY)
    return results


@pytest.fixture(scope="module")
def cache(tmp_path_factory, undisturbed):
    """Compiled programs that the killed runs find, so that kills hit more than compilation; theirs alone, since they may break it."""
    return shutil.copytree(os.environ["JAX_COMPILATION_CACHE_DIR"], tmp_path_factory.mktemp("compiled") / "cache")


@pytest.mark.parametrize(
    ("start", "after"),
    [("scratch", "checkpoints"), ("warm", "rounds.jsonl")],
)
def test_sigkill(start, after, tiny_folder, tmp_path, cache, undisturbed):
    expected = undisturbed[start]
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown if the test fails
    rng, arguments = random.Random(seed), killing.command(tiny_folder, tmp_path / "out", STRATEGY, "--training", start, rounds=2)
    folder = tmp_path / "out" / killing.SETTING / STRATEGY / "seed-0"
    # In the first training, or once the first of two rounds is done.
    assert killing.kill(arguments, cache, rng.uniform(0.0, 0.5), after=folder / after)
    status, output = killing.here(arguments)
    assert status == 0, output
    assert killing.rounds(tmp_path / "out", STRATEGY) == expected
    assert [record["labelled"] for record in expected] == [4, 6]


def test_sigterm_and_ctrl_c_end_at_the_next_step_and_say_how_to_go_on(tiny_folder, tmp_path, cache, undisturbed):
    """One after the other in the same run: in the first training, and once the first round is done."""
    arguments = killing.command(tiny_folder, tmp_path / "out", STRATEGY, rounds=2)
    folder = tmp_path / "out" / killing.SETTING / STRATEGY / "seed-0"
    for number, status, file in [(signal.SIGTERM, 143, "checkpoints"), (signal.SIGINT, 130, "rounds.jsonl")]:
        process = killing.start(arguments, cache)
        while process.poll() is None and not (folder / file).exists():
            time.sleep(0.02)
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == status, output
        assert "Run the same command again to go on" in output
        assert "Traceback" not in output
    again, output = killing.here(arguments)
    assert again == 0, output
    assert killing.rounds(tmp_path / "out", STRATEGY) == undisturbed["scratch"]


def test_a_second_worker_waits_for_the_first_and_takes_its_run_over_when_it_is_killed(tiny_folder, tmp_path, cache, undisturbed):
    arguments = killing.command(tiny_folder, tmp_path / "out", STRATEGY, rounds=2)
    first = killing.start(arguments, cache)
    checkpoints = tmp_path / "out" / killing.SETTING / STRATEGY / "seed-0" / "checkpoints"
    while first.poll() is None and not checkpoints.exists():
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # it keeps its run, however long the second takes to begin
    seen = io.StringIO()

    def kill_once_the_second_waits():
        while WAITS not in seen.getvalue() and first.poll() is None:
            time.sleep(0.05)
        first.kill()

    killer = threading.Thread(target=kill_once_the_second_waits)
    killer.start()
    try:
        status, output = killing.here(arguments, seen)
    finally:
        first.kill()
        killer.join()
        first.communicate()
    assert status == 0, output
    assert WAITS in output
    assert killing.rounds(tmp_path / "out", STRATEGY) == undisturbed["scratch"]


def test_sigkill_inside_a_pass_loses_no_case_that_was_scored(tiny_folder, tmp_path, cache, capsys):
    def score(journal):
        slow_pass.main(tiny_folder, journal)
        return capsys.readouterr().out.splitlines()

    whole = score(tmp_path / "whole")
    assert whole[0] == "scored 1"
    script = killing.ROOT / "tests" / "slow_pass.py"
    killed = killing.start([sys.executable, str(script), str(tiny_folder), str(tmp_path / "killed")], cache)
    scored = 0
    for line in killed.stdout:
        if line.startswith("scored"):
            scored = int(line.split()[1])
        if scored >= 5:
            killed.send_signal(signal.SIGKILL)
            break
    killed.communicate()
    again = score(tmp_path / "killed")
    counts = [int(line.split()[1]) for line in again if line.startswith("scored")]
    assert scored < counts[0] and counts[-1] == 16
    assert again[-1] == whole[-1]
    assert again[-1].startswith("hash")
