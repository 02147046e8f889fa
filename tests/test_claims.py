"""Pieces of work shared by files: one holder at a time, whoever is killed, sleeps, or has another clock."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxal import claims
from jaxal.errors import UserError

ROOT = Path(__file__).parents[1]
HOLD = "import sys, time\nfrom pathlib import Path\nfrom jaxal import claims\nclaims.take(Path(sys.argv[1]), 600)\nprint('ready', flush=True)\ntime.sleep(60)"


@pytest.fixture
def other(tmp_path):
    """Another process that holds the piece."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "piece"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.communicate()


def pretend(folder, **changes):
    """The newest claim becomes somebody else's."""
    path = max(folder.glob("[0-9]*[0-9]"))
    path.write_text(json.dumps({**claims.myself()._asdict(), "host": "elsewhere", **changes}))
    return path


def test_one_has_it_until_it_is_released(tmp_path):
    first = claims.take(tmp_path / "piece")
    assert claims.take(tmp_path / "piece") is None and claims.holder_of(tmp_path / "piece").process == os.getpid()
    first.release()
    assert claims.holder_of(tmp_path / "piece") is None
    second = claims.take(tmp_path / "piece")
    assert second is not None and first.is_lost and not second.is_lost
    second.release()
    assert len(list((tmp_path / "piece").iterdir())) == 2, "old claims do not pile up"


@pytest.mark.parametrize("reaped", [True, False])
def test_a_dead_holder_on_this_machine_is_nobody(tmp_path, other, reaped):
    assert claims.take(tmp_path / "piece") is None
    other.kill()
    if reaped:
        other.wait()
    else:
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    taken = claims.take(tmp_path / "piece")
    assert taken is not None
    taken.release()


def test_a_number_that_another_process_has_now_is_not_its_holder(tmp_path, other):
    path = max((tmp_path / "piece").glob("[0-9]*[0-9]"))
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "process": os.getpid(), "began": "1"}))
    assert claims.take(tmp_path / "piece") is not None


def test_somebody_elsewhere_is_waited_for_until_stale_by_the_disks_time(tmp_path, monkeypatch):
    first = claims.take(tmp_path / "piece", 600)
    path = pretend(tmp_path / "piece")
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock is far off
    assert claims.take(tmp_path / "piece", 600) is None
    os.utime(path, (path.stat().st_mtime - 700,) * 2)
    second = claims.take(tmp_path / "piece", 600)
    assert second is not None and first.is_lost
    first.release()
    assert claims.holder_of(tmp_path / "piece") is not None, "who has lost it takes nothing from who has it"
    second.release()


def test_a_holder_touches_its_claim_and_makes_it_anew_where_the_disk_lost_it(tmp_path):
    held = claims.take(tmp_path / "piece", 0.5)
    pretend(tmp_path / "piece")
    time.sleep(1.0)
    assert claims.take(tmp_path / "piece", 0.5) is None
    (path,) = (tmp_path / "piece").glob("[0-9]*[0-9]")
    path.unlink()
    assert claims.take(tmp_path / "other", 0.5) is not None
    time.sleep(0.3)
    assert path.exists() and not held.is_lost
    held.release()


def test_a_holder_that_slept_learns_that_others_have_gone_on_even_when_they_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(claims.Claim, "_keep", lambda self, seconds: self._over.wait())
    first = claims.take(tmp_path / "piece", 600)
    path = pretend(tmp_path / "piece")
    os.utime(path, (path.stat().st_mtime - 700,) * 2)
    claims.take(tmp_path / "piece", 600).release()
    assert first.is_lost


def test_a_claim_that_cannot_be_read_is_somebodys(tmp_path):
    (tmp_path / "piece").mkdir()
    (tmp_path / "piece" / "000001").write_text("half of")
    assert claims.take(tmp_path / "piece") is None


def test_of_many_at_once_one_has_it(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom jaxal import claims\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "print(claims.take(Path(sys.argv[1])) is not None, flush=True)\nsys.stdin.readline()"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "piece"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for word in ("go", "end"):
        for worker in workers:
            worker.stdin.write(f"{word}\n")
            worker.stdin.flush()
        if word == "go":
            said = sorted(worker.stdout.readline() for worker in workers)
    for worker in workers:
        worker.communicate()
    assert said == ["False\n"] * 5 + ["True\n"]


def test_who_waits_is_alone_then_and_may_give_up(tmp_path):
    held, waited = claims.take(tmp_path / "piece"), []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            held.release()

    with claims.alone(tmp_path / "piece", wait=wait):
        assert len(waited) == 3 and claims.take(tmp_path / "piece") is None
    with (
        claims.alone(tmp_path / "piece"),
        pytest.raises(ZeroDivisionError),
        claims.alone(tmp_path / "piece", wait=lambda seconds: 1 / 0),
    ):
        pass


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        claims.take(tmp_path / "file" / "piece")
