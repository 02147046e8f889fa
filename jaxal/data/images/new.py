"""Images that are not of a data set, as the network of that data set sees them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxal.data.images.decoded import ImageSet, decode
from jaxal.data.images.listing import Listed
from jaxal.data.images.tables import ENDINGS
from jaxal.errors import UserError
from jaxal.types import Case, Example, Label


def read_new_images(folder: Path, images: ImageSet) -> tuple[list[Case], Callable[[Case], Example]]:
    """Finds images for a network that was trained on others: all image files of a folder and of the folders in it.

    A folder that is called like a class says what the class of its images is. An image's name is its path in the folder. Each is
    decoded and resized when it is read.

    Args:
      folder: of images; nothing is written to it.
      images: the data set that the network was trained on.

    Returns:
      The images as cases, and what reads one.

    Raises:
      UserError: there are none; later, an image does not decode.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {'a file, not a folder' if folder.exists() else 'no such folder'}.")
    classes, colour = images.dataset.classes, len(images.dataset.channels) == 3
    size = (images.dataset.shape[0], images.dataset.shape[1])
    cases = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.suffix.lower() in ENDINGS and path.is_file() and not any(part.startswith(".") for part in name.parts):
            label = Label(path.parent.name, category=path.parent.name) if path.parent.name in classes else None
            cases.append(Case(name.as_posix(), "", path, label))
    if not cases:
        raise UserError(f"{folder}: holds no images ({', '.join(ENDINGS)}).")

    def load(case: Case) -> Example:
        image = images.normalise(decode(Listed(case.id, case.category, file=case.image, source=str(folder)), size, colour))
        label = np.array(classes.index(case.category) if case.label else 0, np.uint8)
        return Example(image, label, np.array(True), np.array(case.label is not None))

    return cases, load
