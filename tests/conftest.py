"""Makes sloppiness an error: strict dtypes, no silent rank promotion, warnings are errors, two simulated devices."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# Before JAX starts: the CPU shows itself as two devices, and nothing reaches for an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Many tests build the same small programs anew; each is compiled once a session, whichever of its workers asks first.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="jaxal-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache  # also for the workers, and for commands that a test runs in this process
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


# Whole commands run as users run them, since a process that a test starts must give the bits of this one. All other programs are
# compiled in a hurry, because most of their time is the compiler's; `.ci/run` also tests them with all optimizations.
AS_USERS_RUN_THEM = ("test_command.py", "test_hosts.py", "test_image_studies.py", "test_kill.py", "test_study.py")
_now = {"in a hurry": False}


@pytest.fixture(scope="module", autouse=True)
def _optimized(request):
    hurry = request.path.name not in AS_USERS_RUN_THEM
    if "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ or hurry == _now["in a hurry"]:
        return
    _now["in a hurry"] = hurry
    jax.config.update("jax_disable_most_optimizations", hurry)
    jax.clear_caches()  # a program that is compiled already would come back as it is


# These files take longest, so they come first: one that begins last would leave the other cores without work.
LONGEST = ("kill", "image_studies", "networks", "scoring", "study", "command", "hosts", "memory", "strategies", "information")


def pytest_collection_modifyitems(items):
    last = len(LONGEST)
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, last))  # the others keep their order


@pytest.fixture(scope="session")
def cache():
    """Compiled programs for commands that a test starts, shared with all tests but those that kill their writers."""
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def float64():
    """Runs a test in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A data set of 16 tiny cases in two groups; not to be changed."""
    import tiny

    return tiny.write_dataset(tmp_path_factory.mktemp("data") / "balls")


@pytest.fixture(scope="session")
def tiny_dataset(tiny_folder):
    import tiny

    return tiny.read(tiny_folder)
