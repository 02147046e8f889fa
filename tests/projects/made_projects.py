"""What the tests of projects share."""

import os
import shutil
import time
from pathlib import Path

import nibabel
import numpy as np

from jaxal.projects.ask import ask
from jaxal.projects.deliver import deliver
from jaxal.projects.kind import Delivery
from jaxal.projects.project import open_project
from jaxal.projects.settle import settle
from jaxal.projects.simulated import Clock
from jaxal.report.terminal import Display
from jaxal.studies.scans import showing_on


class Watcher(Display):
    """A display that says nothing."""

    def __init__(self):
        super().__init__(quiet=True)


class Made:
    """A project, and what tests do with it."""

    def __init__(self, folder: Path, truth: Path, clock: Clock):
        self.folder, self.truth, self.clock, self.watcher = folder, truth, clock, Watcher()

    @property
    def project(self):
        return open_project(self.folder, self.clock)

    @property
    def state(self):
        return self.project.state()

    def ask(self, size=None, even_if_open=False, minutes=None):
        return ask(self.project, size, even_if_open, showing_on(self.watcher), self.watcher, minutes)

    def label(self, case):
        return self.truth / f"{case}.nii.gz"

    def draw(self, reader, case, **more):
        return deliver(self.project, Delivery(reader, case, **{"path": self.label(case), **more}))

    def redraw(self, reader, case, **more):
        """Hands in the same map in a file with other bytes, as somebody does who has looked at it again."""
        return self.draw(reader, case, path=self.redrawn(case), **more)

    def redrawn(self, case):
        path, image = self.folder.parent / "redrawn" / f"{case}.nii.gz", nibabel.nifti1.load(self.label(case))
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj).astype(np.int32), image.affine), path)
        return path

    def answer(self, readings=None):
        """Every reader hands in the truth."""
        for reading in self.state.open_readings if readings is None else readings:
            self.clock.wait(60)
            self.draw(reading.reader, reading.case)
        return settle(self.project)


def read(path):
    return np.asarray(nibabel.load(path).dataobj).astype(np.uint8)


def digest_of(folder):
    """Every file below a folder with its content and its time."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.rglob("*")) if path.is_file()}


def nothing(*given):
    """Is told, and does nothing."""


def of(made, reader):
    return [reading.case for reading in made.state.open_readings if reading.reader == reader]


def image_of(made, case):
    return made.project.image_paths(case, made.project.data(made.state))[0]


def alter(path):
    """Another scan of the same size and form, in a file of the same name."""
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), path)


def inbox(made, reader, case, path=None):
    target = made.folder / "readers" / reader / "inbox" / f"{case}.nii.gz"
    shutil.copy(path or made.label(case), target)
    os.utime(target, (time.time() - 60,) * 2)  # nobody writes it any more
    return target
