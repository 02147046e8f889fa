"""Makes sloppiness an error: strict dtypes, no silent rank promotion, warnings are errors, two simulated devices."""

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path

import hurry  # before JAX starts
import jax
import numpy as np
import pytest
from PIL import Image

hurry.share_contexts()
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Traced programs are millions of small objects that live long; looking through them for garbage at the usual pace takes a tenth of the time.
gc.set_threshold(50_000, 20, 20)

# Many tests build the same small programs anew; each is compiled once a session, whichever of its workers asks first.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="jaxal-tests-")
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache  # also for the workers, and for commands that a test runs in this process
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])


# These files take longest, so they come first: one that begins last would leave the other cores without work.
LONGEST = (
    *("memory", "strategies", "study", "kill", "loop", "networks", "information", "fair", "image_studies", "packed"),
    *("command", "scoring", "hosts", "unlabelled", "platforms", "documents", "training", "further_outputs", "members"),
)


def pytest_collection_modifyitems(items):
    last = len(LONGEST)
    places = {f"test_{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, last))  # the others keep their order


@pytest.fixture(scope="session")
def cache():
    """Compiled programs for commands that a test starts, shared with all tests but those that kill their writers."""
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


@pytest.fixture(scope="session")
def in_a_hurry():
    """Whether programs are compiled in a hurry; then one that is split over devices need not have the bits of a whole one."""
    return hurry.HURRY


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="module", autouse=True)
def unrendered(request):
    """Charts are rendered in the tests of reports, and where a file says `RENDERED = True`. Elsewhere commands make them by the way: all
    is drawn, and the picture stays empty."""
    if "report" in request.path.parts or getattr(request.module, "RENDERED", False):
        yield
        return
    import matplotlib.figure

    def save(figure, out, **options):
        if options.get("format") == "svg":
            out.write("<svg></svg>")
        else:
            Image.new("L", (1, 1)).save(out)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matplotlib.figure.Figure, "savefig", save)
        yield


@pytest.fixture
def as_elsewhere(monkeypatch):
    """What is traced from now on takes the forms of accelerators; on this CPU they are slow."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arguments, cpu, default: default(*arguments))
    jax.clear_caches()  # JAX keeps what it traced before, and would keep what it traces now
    yield
    jax.clear_caches()


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


@pytest.fixture(scope="session")
def fundus(tmp_path_factory):
    """A data set in the layout of diabetic retinopathy, of 40 images; not to be changed."""
    from jaxal.data.simulated import pretend

    return pretend.write_retinopathy(tmp_path_factory.mktemp("data") / "fundus", images=40)


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    """A browser for pages; for one file of tests, because its event loop lets nobody else have one."""
    if BROWSER is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a browser: apt-get install chromium")
        pytest.skip("no browser is installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield running
        running.close()
