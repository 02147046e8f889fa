"""MONAI Label's own clients, in a virtual environment of their own: its package cannot be installed beside jaxal's tests.

The package declares MONAI and torch, which its clients do not need, and installs a top-level package `tests`. So it is installed without what
it declares, once, into a folder of the user's cache, and run as a process that speaks to a server on loopback.
"""

import fcntl
import functools
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

VERSION = "0.8.5"
HERE = Path(__file__).parent
MUST_RUN = "JAXAL_TEST_NEEDS_CLIENTS"  # set where a test that is skipped would go unnoticed
ENVIRONMENT = "JAXAL_TEST_CLIENTS"  # where the environment is kept; else in the user's cache
_NEEDED = ["requests>=2.31,<3", *(["legacy-cgi>=2.6,<3"] if sys.version_info >= (3, 13) else [])]


def folder():
    """Where the environment is."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = Path(os.environ.get(ENVIRONMENT) or cache / "jaxal-tests")
    return kept / f"monailabel-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"


def install():
    """Installs the clients if they are not there; skips the test if that cannot be done, or fails where it must run."""
    place, why = _installed()
    if why and os.environ.get(MUST_RUN):
        pytest.fail(why)
    if why:
        pytest.skip(why)
    return place


@functools.cache  # a network that is not there is asked for once
def _installed():
    """The environment, and why it is not there."""
    place = folder()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several workers of pytest want it at once
            if not (place / "whole").exists():
                shutil.rmtree(place, ignore_errors=True)
                venv.create(place, with_pip=True)
                _pip(place, "--no-deps", f"monailabel=={VERSION}")
                _pip(place, *_NEEDED)
                (place / "whole").touch()
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return place, f"MONAI Label's clients cannot be installed here: {said[-1] if said else error!r}"
    return place, ""


def start(client, *given, script="as_client.py"):
    """Starts a script with a client: `package` or `slicer`, or `reviewer`."""
    place = install()
    plugins = place / "monailabel" / "plugins" / "slicer"
    paths = {"package": [], "slicer": [plugins / "MONAILabel"], "reviewer": [plugins / "MONAILabelReviewer"]}[client]
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONWARNINGS": "ignore", "NO_PROXY": "*"}
    command = [place / "bin" / "python", HERE / script, client, *map(str, given)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    """What a client says at its end."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def run(client, *given):
    return finish(start(client, *given))


def _pip(place, *packages):
    command = [
        place / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--timeout",
        "20",
        *packages,
    ]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
