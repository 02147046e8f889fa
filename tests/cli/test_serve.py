"""`jaxal serve` as a process of its own, as somebody starts and ends it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from jaxal.cli.main import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree(tiny_folder, folder / "data", ignore=shutil.ignore_patterns("labelsTr"))
    options = ["--data", str(folder / "data"), "--readers", "anna,ben", "--size", "5", "--preset", "smoke", "--double-share", "0"]
    assert main(["start", str(folder / "balls"), *options]) == 0
    assert main(["ask", str(folder / "balls")]) == 0
    return folder / "balls"


@contextlib.contextmanager
def served(project, *options):
    command = [sys.executable, "-m", "jaxal.cli.main", "serve", str(project), "--port", "0", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert "Serving at http://127.0.0.1:" in line, process.communicate()
        yield process, line.partition("Serving at ")[2].partition(". ")[0]
    finally:
        process.kill()
        process.communicate()


def get(address, **more):
    with urllib.request.urlopen(urllib.request.Request(address, **more), timeout=30) as answer:
        return answer.read()


def test_it_serves_one_at_a_time_and_ends_with_a_sentence(project, capsys):
    with served(project, "--reviewers", "carol") as (process, address):
        assert json.loads(get(f"{address}/info/"))["labels"] == ["ball"]
        assert b"Wait for 5 readings of round 1" in get(f"{address}/")
        body = json.dumps({"client_id": "anna"}).encode()
        sample = json.loads(get(f"{address}/activelearning/worklist", data=body))
        assert f"/data/{sample['id']}" not in json.dumps(sample) and sample["checksum"].startswith("SHA256:")
        assert b"<html" in get(f"{address}/readers/anna/")
        assert main(["serve", str(project), "--port", "0"]) == 2
        assert f"{project}: a server serves this project already." in capsys.readouterr().err
        assert main(["exclude", str(project), "case_001", "--why", "blurred"]) == 0, "other verbs run beside it"
        assert json.loads(get(f"{address}/info/"))["datastore"]["total"] == 15
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "The server has stopped. All that was taken is stored." in out
    assert "next step" not in out + err and "Traceback" not in err


def test_sigterm_ends_it_in_the_same_way(project):
    with served(project) as (process, _):
        process.terminate()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0 and "The server has stopped." in out and "next step" not in out + err and "Warning" not in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "Give every reader a secret"),
        (["--add-login", "zoe"], "'zoe' is no reader of this project; there are anna, ben."),
        (["--remove-login", "anna"], "no logins can be read"),
        (["--port", "70000"], "ports are numbers from 0 to 65535"),
        (["--certificate", "nothing.pem"], "give both --certificate and --key"),
    ],
)
def test_what_is_not_safe_or_not_there_is_refused_in_a_sentence(project, options, said, capsys):
    assert main(["serve", str(project), *options]) == 2
    assert said in capsys.readouterr().err and not (project / "logins.json").exists()


def test_a_login_is_shown_once_and_kept_for_its_owner_alone(project, capsys):
    path = project / "logins.json"
    assert main(["serve", str(project), "--add-login", "anna"]) == 0
    secret = capsys.readouterr().out.partition("The secret of anna is ")[2].split()[0]
    assert len(secret) > 15 and secret not in path.read_text() and os.stat(path).st_mode & 0o077 == 0
    assert main(["serve", str(project), "--remove-login", "anna"]) == 0
    assert "anna" not in path.read_text()
    path.unlink()
