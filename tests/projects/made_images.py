"""Projects of tiny images, whose classes a bright bar tells."""

import json
import os
import time

import numpy as np
import tiny_images
from made_projects import Made, Watcher
from PIL import Image

from jaxal.projects.deliver import deliver
from jaxal.projects.kind import Delivery
from jaxal.projects.settle import settle

CLASSES = tiny_images.CLASSES


def write_images(folder, count=40):
    """Writes images as files of two folders that say nothing of their classes; returns the class of each by its path in the folder."""
    listing, truth = tiny_images.listing(count), {}
    for place, (image, pixels) in enumerate(zip(listing.images, listing.pixels, strict=True)):
        name = f"{'left' if place % 2 else 'right'}/{image.id}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels)).save(folder / name)
        truth[name] = image.category
    return truth


class MadeImages(Made):
    """A project of images, and what tests do with it; its truth is the class of each."""

    def choose(self, reader, case, name=None, **more):
        return deliver(self.project, Delivery(reader, case, answer=name or self.truth[case], **more))

    def answer(self, readings=None):
        for reading in self.state.open_readings if readings is None else readings:
            self.clock.wait(3)
            self.choose(reading.reader, reading.case, seconds=3.0)
        return settle(self.project)

    def save(self, reader, rows, name="answers.json"):
        """What click.html saves, in the reader's inbox; nobody writes it any more."""
        content = {"format": "jaxal answers", "version": 1, "project": "p", "reader": reader, "answers": rows}
        path = self.folder / "readers" / reader / "inbox" / name
        path.write_text(json.dumps(content))
        os.utime(path, (time.time() - 60,) * 2)
        return path

    def rows(self, reader, **other):
        """The truth of all that a reader has open, or another class where it is given."""
        mine = [reading.case for reading in self.state.open_readings if reading.reader == reader]
        return [{"case": case, "class": other.get(case, self.truth[case]), "seconds": 2.5, "at": f"{case} once"} for case in mine]


__all__ = ["CLASSES", "MadeImages", "Watcher", "write_images"]
