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


def one_round(data, out) -> list[str]:
    arguments = killing.command(data, out, "bald")
    arguments[arguments.index("--rounds") + 1] = "1"
    return arguments


def test_two_hosts_give_the_bits_of_one(tiny_folder, tmp_path, cache):
    status, output = killing.finish(one_round(tiny_folder, tmp_path / "alone"), cache)
    assert status == 0, output
    hosts = start_hosts(one_round(tiny_folder, tmp_path / "shared"), cache)
    outputs = [host.communicate(timeout=300)[0] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0], outputs
    assert killing.rounds(tmp_path / "shared", "bald") == killing.rounds(tmp_path / "alone", "bald")
    assert "labelled" in outputs[0]
    assert "labelled" not in outputs[1]  # the helper is quiet

    # Scoring only, by two hosts, of a copy of the folder that one host scores.
    runs = []
    for name, many in (("alone", False), ("shared", True)):
        run = tmp_path / name / killing.SETTING / "bald" / "seed-0"
        arguments = [
            sys.executable,
            "-m",
            "experiments.brain_caudate",
            "--score-only",
            str(run),
            "--strategy",
            "bald",
            "aeig",
            "coreset",
        ]
        if many:
            helpers = start_hosts(arguments, cache)
            outputs = [host.communicate(timeout=300)[0] for host in helpers]
            assert [host.returncode for host in helpers] == [0, 0], outputs
        else:
            status, output = killing.finish(arguments, cache)
            assert status == 0, output
        runs.append((run / "scores.csv").read_text())
    assert runs[0] == runs[1]
    assert runs[0].startswith("case,group,round,bald,aeig,coreset\n")


def test_a_host_that_waits_in_vain_ends_with_a_message(tiny_folder, tmp_path, cache):
    arguments = killing.command(tiny_folder, tmp_path / "out", "entropy", "--wait-for-hosts", "3")
    begin = time.monotonic()
    (host,) = start_hosts(arguments, cache, indices=(1,))
    output, _ = host.communicate(timeout=100)
    assert host.returncode == 2, output
    assert "No leader at 127.0.0.1" in output
    assert time.monotonic() - begin < 60
    assert not (tmp_path / "out").exists()
