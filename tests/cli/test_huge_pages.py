import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxal.cli import huge_pages

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, os, sys
from jaxal.cli.huge_pages import use_huge_pages
print(os.getpid(), flush=True)
use_huge_pages()
print(json.dumps([os.environ.get("GLIBC_TUNABLES"), sys.argv[1:], sys.flags.dont_write_bytecode]))
"""


def run(tmp_path, tunables=None):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | {"PYTHONPATH": str(ROOT)}
    if tunables:
        environment["GLIBC_TUNABLES"] = tunables
    command = [sys.executable, "-B", str(tmp_path / "program.py"), "a b", "--flag"]
    *numbers, told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    return numbers, json.loads(told)


@pytest.mark.skipif(not huge_pages._helps(), reason="pages are large without being asked for, or not at all")
def test_a_process_begins_anew_once_with_its_number_and_arguments(tmp_path):
    numbers, told = run(tmp_path)
    assert len(numbers) == 2
    assert numbers[0] == numbers[1]
    assert told == ["glibc.malloc.hugetlb=1", ["a b", "--flag"], 1]
    assert run(tmp_path, "glibc.malloc.arena_max=4")[1][0] == "glibc.malloc.arena_max=4:glibc.malloc.hugetlb=1"


def test_who_chose_already_is_left_alone(tmp_path):
    numbers, told = run(tmp_path, "glibc.malloc.hugetlb=0")
    assert len(numbers) == 1
    assert told[0] == "glibc.malloc.hugetlb=0"


@pytest.mark.parametrize(
    ("told", "switch", "helps"),
    [
        ("glibc 2.36", "always [madvise] never", True),
        ("glibc 2.34", "always [madvise] never", False),
        ("glibc 2.36", "[always] madvise never", False),
        ("glibc 2.36", None, False),
        ("musl", "always [madvise] never", False),
        (None, "always [madvise] never", False),
    ],
)
def test_it_helps_where_glibc_asks_and_linux_waits_for_it(tmp_path, monkeypatch, told, switch, helps):
    monkeypatch.setattr(os, "confstr", lambda name: told)
    monkeypatch.setattr(huge_pages, "SWITCH", tmp_path / "enabled")
    if switch:
        (tmp_path / "enabled").write_text(switch)
    assert huge_pages._helps() is helps
