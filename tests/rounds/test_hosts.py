"""Two real processes on the loopback share the work of a run, and one that stays alone gives up in time."""

import socket
import subprocess
import sys
import time

import killing


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_hosts(arguments: list[str], cache, indices=(0, 1)) -> list[subprocess.Popen]:
    """Starts some of two hosts."""
    together = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", "2"]
    return [killing.start([*arguments, *together, "--process-index", str(index)], cache) for index in indices]


def start_job_step(arguments: list[str], cache) -> list[subprocess.Popen]:
    """Starts two tasks as `srun` would, with no option that tells of each other."""
    port = free_port()
    while port < 61440:  # JAX takes the last 4096 ports for SLURM
        port = free_port() | 0xF000
    step = {
        "SLURM_JOB_ID": str(port - 61440),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
    }
    tasks = [{"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)} for index in range(2)]
    return [killing.start(arguments, cache, **step, **task) for task in tasks]


def finish(hosts: list[subprocess.Popen]) -> list[str]:
    outputs = [host.communicate(timeout=300)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs
    return outputs


def test_two_hosts_give_the_bits_of_one(tiny_folder, tmp_path, cache):
    def one_round(out):
        return killing.command(tiny_folder, out, "bald", rounds=1)

    status, output = killing.here(one_round(tmp_path / "alone"))
    assert status == 0, output
    outputs = finish(start_hosts(one_round(tmp_path / "shared"), cache))
    assert killing.rounds(tmp_path / "shared", "bald") == killing.rounds(tmp_path / "alone", "bald")
    assert "labelled" in outputs[0]
    assert "labelled" not in outputs[1]  # the helper is quiet

    # Scoring only: alone, and by the two tasks of a step of SLURM.
    alone, shared = (tmp_path / name / killing.SETTING / "bald" / "seed-0" for name in ("alone", "shared"))
    score = [sys.executable, "-m", "experiments.brain_caudate", "--strategy", "bald", "aeig", "coreset", "--score-only"]
    status, output = killing.here([*score, str(alone)])
    assert status == 0, output
    finish(start_job_step([*score, str(shared)], cache))
    assert (shared / "scores.csv").read_text() == (alone / "scores.csv").read_text()
    assert (shared / "scores.csv").read_text().startswith("case,group,round,bald,aeig,coreset\n")


SHARING = """
import sys
import ml_dtypes
import numpy as np
from jaxal import hosts

index = int(sys.argv[2])
hosts.start(sys.argv[1], 2, index, 60)
odd = np.array([-0.0, np.nan, 1e-45], np.float32)
leaders = [odd, odd.astype(ml_dtypes.bfloat16), np.array(True), np.int32(-5), np.arange(6, dtype=np.uint8).reshape(2, 3).T]
shared = hosts.share(leaders if index == 0 else [np.ones_like(part) for part in leaders])
for got, part in zip(shared, leaders, strict=True):
    assert (got.dtype, got.shape, got.tobytes()) == (part.dtype, part.shape, part.tobytes()), (got, part)
assert hosts.share_json({"of": index}) == {"of": 0}
assert hosts.gather(np.array([index, 7])).tolist() == [[0, 7], [1, 7]]
"""


def test_others_get_the_leaders_arrays_to_the_bit():
    port = free_port()
    command = [sys.executable, "-c", SHARING, f"127.0.0.1:{port}"]
    both = [
        subprocess.Popen([*command, str(index)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for index in (0, 1)
    ]
    finish(both)


def test_a_host_that_waits_in_vain_ends_with_a_message(tiny_folder, tmp_path, cache):
    arguments = killing.command(tiny_folder, tmp_path / "out", "entropy", "--wait-for-hosts", "3")
    begin = time.monotonic()
    (host,) = start_hosts(arguments, cache, indices=(1,))
    output, _ = host.communicate(timeout=100)
    assert host.returncode == 2, output
    assert "No leader at 127.0.0.1" in output
    assert time.monotonic() - begin < 60
    assert not (tmp_path / "out").exists()
