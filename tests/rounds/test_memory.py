"""A folder much larger than the memory that a run may have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES, MEGABYTES = 200, 70


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits what a process writes to")
def test_a_folder_ten_times_larger_than_memory_is_studied(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "tests/tight_memory.py", tmp_path, str(CASES), str(MEGABYTES)]
    # Threads keep pieces of freed memory to themselves, and each reserves a stack; with fewer places and smaller stacks the limit
    # measures what is in use.
    command = ["bash", "-c", 'ulimit -s 2048; exec "$@"', "bash", *command]
    environment = {**os.environ, "PYTHONPATH": str(root), "JAX_NUM_CPU_DEVICES": "1", "MALLOC_ARENA_MAX": "2"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"  # it runs longer than it compiles
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    needed, allowed = (int(word) for word in done.stdout.split("do not fit:")[1].split()[:2])
    assert needed >= 10 * allowed
    assert len((tmp_path / "out-many" / "data-imbalanced" / "entropy" / "seed-0" / "rounds.jsonl").read_text().splitlines()) == 1
