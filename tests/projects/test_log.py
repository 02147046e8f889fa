"""A log that cannot break: cut anywhere, altered anywhere, written by many."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from jaxal.errors import UserError
from jaxal.projects.log import Log

BEGINNING = "0" * 64


def filled(path, count=4):
    log = Log(path, BEGINNING, now=lambda: 1_800_000_000)
    with log.held() as pen:
        for number in range(count):
            pen.add("label", case=f"cäse-{number}", minutes=1.5)
    return log


def test_what_was_added_is_read(tmp_path):
    filled(tmp_path / "log.jsonl")
    events = Log(tmp_path / "log.jsonl", BEGINNING).read()
    assert [event.number for event in events] == [0, 1, 2, 3]
    assert [event.fields["case"] for event in events] == ["cäse-0", "cäse-1", "cäse-2", "cäse-3"]
    assert {event.time for event in events} == {"2027-01-15T08:00:00+00:00"} and {event.kind for event in events} == {"label"}
    assert all(json.loads(line)["hash"] for line in (tmp_path / "log.jsonl").read_text().splitlines())


def test_cut_at_every_byte_it_opens_at_its_last_whole_line_and_goes_on(tmp_path):
    path = tmp_path / "log.jsonl"
    filled(path)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        log = Log(path, BEGINNING, now=lambda: 1_800_000_000)
        count = sum(end - 1 <= size for end in ends)  # a line is whole without the end of the line, too
        assert len(log.read()) == count
        with log.held() as pen:
            pen.add("label", case=f"cäse-{count}", minutes=1.5)
        assert path.read_bytes() == whole[: ends[count]] if count < len(ends) else len(log.read()) == count + 1


@pytest.mark.parametrize("line", range(4))
def test_an_altered_line_is_named(tmp_path, line):
    path = tmp_path / "log.jsonl"
    filled(path)
    lines = path.read_text().splitlines(keepends=True)
    lines[line] = lines[line].replace("1.5", "2.5")
    path.write_text("".join(lines))
    with pytest.raises(UserError, match=rf"log.jsonl, line {line + 1}: it was altered"):
        Log(path, BEGINNING).read()


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0], lines[0], *lines[1:]],
        lambda lines: [lines[1], lines[0]],
    ],
    ids=["first gone", "middle gone", "doubled", "turned"],
)
def test_lines_that_do_not_follow_each_other_are_named(tmp_path, change):
    path = tmp_path / "log.jsonl"
    filled(path)
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match=r"line [12]: it (does not follow|belongs to another)"):
        Log(path, BEGINNING).read()


def test_a_log_of_another_project_is_refused(tmp_path):
    filled(tmp_path / "log.jsonl")
    with pytest.raises(UserError, match="line 1: it belongs to another project"):
        Log(tmp_path / "log.jsonl", "1" * 64).read()


def test_a_clock_that_runs_backwards_does_not_turn_the_order(tmp_path):
    times = iter([1_800_000_000.0, 1_700_000_000.0, 1_800_000_001.0])
    log = Log(tmp_path / "log.jsonl", BEGINNING, now=lambda: next(times))
    with log.held() as pen:
        for _ in range(3):
            pen.add("opened")
    first, second, third = log.read()
    assert first.time == second.time < third.time
    assert second.fields == {"clock": "2023-11-14T22:13:20+00:00"}, "what the clock said is kept"


def test_what_others_write_is_seen(tmp_path):
    path = tmp_path / "log.jsonl"
    log, other = Log(path, BEGINNING), Log(path, BEGINNING)
    for number in range(3):
        with (log if number % 2 else other).held() as pen:
            pen.add("opened", number_of=number)
    assert [event.fields["number_of"] for event in log.read()] == [0, 1, 2]


ADD_MANY = """
import sys
from pathlib import Path
from jaxal.projects.log import Log
log = Log(Path(sys.argv[1]), "0" * 64)
for _ in range(10):
    with log.held() as pen:
        pen.add("opened", seen=len(pen.events))
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    path = tmp_path / "log.jsonl"
    processes = [subprocess.Popen([sys.executable, "-c", ADD_MANY, path], cwd=Path(__file__).parents[2]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    events = Log(path, BEGINNING).read()
    assert [event.fields["seen"] for event in events] == list(range(30))


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    log = filled(path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"), log.held() as pen:
        pen.add("label", case="x")
    assert path.read_bytes() == before


@pytest.mark.parametrize("room", [0, 1, 50])
def test_a_disk_that_fills_up_within_a_line_leaves_the_log_as_it_was(tmp_path, room):
    """The system takes a part of the line and refuses the rest, as a full disk does."""
    path = tmp_path / "log.jsonl"
    log = filled(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
    try:
        with pytest.raises(UserError, match="could not be written"), log.held() as pen:
            pen.add("label", case="x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    with log.held() as pen:
        pen.add("label", case="x")
    assert len(log.read()) == 5
