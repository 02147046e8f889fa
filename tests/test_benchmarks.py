"""`benchmarks.all` runs its sections one after another, whatever one of them does, and stops in time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from rich.console import Console

from benchmarks import all as everything
from benchmarks import compiled
from benchmarks.accelerator import SECTIONS

ROOT = Path(__file__).parents[1]
WRITES = "import json, pathlib, sys; pathlib.Path(sys.argv[-1]).write_text(json.dumps({'rows': [{'what': %r}]}));"


def section(name, code):
    return everything.Section(name, ("-c", WRITES % name + code))


@pytest.fixture
def measured(tmp_path, capsys):
    def measure(chosen, minutes):
        out = tmp_path / "all.json"
        failures = everything.measure(chosen, minutes, dict(os.environ), {"device": "cpu: cpu"}, out, Console(width=200))
        written = json.loads(out.read_text())
        assert written["failures"] == failures and written["device"] == "cpu: cpu"
        return written

    return measure


def test_a_section_that_fails_is_told_of_and_takes_no_other_with_it(measured):
    written = measured([section("a", ""), section("b", "raise ValueError('no such kernel')"), section("c", "")], 1)
    assert [(row["section"], row["what"]) for row in written["rows"]] == [(name, name) for name in "abc"]
    assert written["failures"] == [{"section": "b", "message": "ValueError: no such kernel (exit status 1)"}]
    assert written["seconds"].keys() == {"a", "b", "c"}


def test_when_the_time_is_over_what_runs_is_stopped_and_the_rest_left_out(measured):
    written = measured([section("a", "import time; time.sleep(600)"), section("b", "")], 2 / 60)
    assert [row["what"] for row in written["rows"]] == ["a"]  # what it had measured
    assert written["failures"] == [
        {"section": "a", "message": "stopped, because the time was over"},
        {"section": "b", "message": "left out, because the time was over"},
    ]


def test_every_section_of_the_accelerators_benchmark_is_run():
    assert {*everything.OWN} == SECTIONS.keys()
    for quick in (False, True):
        names = [part.name for part in everything.sections(quick, "python")]
        assert names[: len(SECTIONS)] == [*SECTIONS] and names[-2:] == ["against_peers, peers", "training, peers"]


def call(*options):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.all", *options], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_a_quick_run_writes_one_file(tmp_path):
    """All of them take minutes, so two stand for them."""
    out = tmp_path / "all.json"
    status, text = call("--device", "cpu", "--quick", "--only", "copies", "choices", "--out", str(out))
    assert status == 0, text
    written = json.loads(out.read_text())
    assert {row["section"] for row in written["rows"]} == {"copies", "choices"} and written["failures"] == []
    assert written["device"] == "cpu: cpu" and {"jax", "jaxlib"} <= written["versions"].keys()
    assert all(row["seconds"] > 0 for row in written["rows"])


def test_a_device_that_is_not_there_is_told_of_in_one_sentence():
    status, text = call("--device", "tpu", "--quick")
    assert status == 2 and text.startswith("There is no tpu: JAX finds cpu: cpu.") and "Traceback" not in text


def test_the_tpu_compiler_that_is_missing_is_told_of(monkeypatch):
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["compiled", "--quick"])
    with pytest.raises(SystemExit, match=r"libtpu, which is not here.*pip install 'jax\[tpu\]=="):
        compiled.main()


def test_the_floor_counts_each_activation_twice():
    """By hand, for width 2 and two levels of 8 x 8 x 8 voxels."""
    setting = compiled.Setting("forward", 2, (8, 8, 8), "float32", 1, 1)
    # Four convolutions and what comes from below, of two channels, written and read; what goes around the level below is read again.
    above = 512 * (5 * 2 * 2 + 2)
    below = 64 * (2 * 2 * 4 + 2 * 2)  # two convolutions of four channels, and the two that are pooled
    assert compiled.floor_bytes(setting, levels=2) == 4 * (512 + above + below)


@pytest.mark.parametrize("program", compiled.PROGRAMS)
def test_every_program_is_made(program):
    """For this machine's own devices; the compiler is asked in one case, which takes it long enough."""
    setting = compiled.Setting(program, 4, (8, 8, 8), "float32", 2, 1)
    if program == "forward":
        row = compiled.compile_program(setting, True, jax.devices())
        assert row["traffic_bytes"] > row["floor_bytes"] > 0
        assert row["estimated_seconds"] is None
        assert row["sent_between_devices"] == 0
    else:
        model = compiled.unet(compiled.UNetConfig(width=4), is_packed=True)
        lower = compiled._training if program == "training" else compiled._pass
        assert "stablehlo" in lower(setting, model, jax.devices()[:1]).as_text()
