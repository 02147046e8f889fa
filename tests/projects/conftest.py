"""Projects of sixteen tiny scans with two readers, and networks that learn next to nothing."""

import dataclasses
import shutil

import pytest
import tiny_images
from made_images import MadeImages, write_images
from made_projects import Clock, Made, Watcher

from jaxal.data.scans.folder import FolderConfig
from jaxal.projects import start as starting
from jaxal.projects.images import start as of_images
from jaxal.projects.kind import AskedUnits, Beginning
from jaxal.projects.scans import start as of_scans
from jaxal.projects.settings import Protocol
from jaxal.studies.scans import showing_on

WHOLE = AskedUnits()


@pytest.fixture(scope="session")
def scans(tiny_folder, tmp_path_factory):
    """The scans of the tiny folder without their labels, and the labels apart; not to be changed."""
    folder = tmp_path_factory.mktemp("scans")
    shutil.copytree(tiny_folder, folder / "data", ignore=shutil.ignore_patterns("labelsTr"))
    shutil.copytree(tiny_folder / "labelsTr", folder / "truth")
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Trainings of four steps."""
    size = of_scans.OWN_SCANS["smoke"]
    training = dataclasses.replace(size.training, steps=4, attempts=1)
    monkeypatch.setitem(of_scans.OWN_SCANS, "smoke", dataclasses.replace(size, training=training))


@pytest.fixture
def begin(scans, tmp_path, quick):
    """Starts a project: `begin(readers=…, **protocol)`."""

    def make(readers=("anna", "ben"), data=None, name="project", labels=(), config=None, units=WHOLE, method="erm", **protocol):
        clock = Clock()
        folder = tmp_path / name
        asked = Beginning(
            data or scans / "data", labels, readers, Protocol(**{"size": 5, "strategy": "entropy", **protocol}),
            config or FolderConfig(need_labels=False), "smoke", units=units, method=method,
        )  # fmt: skip
        starting.start(folder, asked, showing_on(Watcher()), clock)
        return Made(folder, scans / "truth", clock)

    return make


@pytest.fixture
def own(begin, scans, tmp_path):
    """A project whose data may be changed, and whose first query waits."""
    made = begin(data=shutil.copytree(scans / "data", tmp_path / "data"), double_share=0.0)
    made.ask()
    return made


@pytest.fixture
def begin_images(tmp_path, monkeypatch):
    """Starts a project of forty images: `begin_images(readers=…, data=…, **protocol)`."""
    smoke = of_images.OWN_IMAGES["smoke"]
    training = dataclasses.replace(smoke.training, steps=4, attempts=1, flips=(), rotation_degrees=0.0)
    quick = dataclasses.replace(smoke, size=(8, 8), network=tiny_images.NETWORK, training=training)
    monkeypatch.setitem(of_images.OWN_IMAGES, "smoke", quick)

    def make(
        readers=("anna", "ben"),
        data=None,
        name="project",
        labels=tiny_images.CLASSES,
        config=None,
        without_group="refuse",
        **protocol,
    ):
        truth = write_images(tmp_path / "images") if not (tmp_path / "images").exists() else truths[0]
        truths.append(truth)
        clock, folder = Clock(), tmp_path / name
        usual = {"size": 10, "strategy": "entropy", "proposals": False, "minutes": 0.25}
        asked = Beginning(
            data or tmp_path / "images", labels, readers, Protocol(**{**usual, **protocol}), config or FolderConfig(need_labels=False), "smoke",
            without_group=without_group,
        )  # fmt: skip
        starting.start(folder, asked, showing_on(Watcher()), clock, told.append)
        return MadeImages(folder, truth, clock)

    truths, told = [], []
    make.told = told
    return make
