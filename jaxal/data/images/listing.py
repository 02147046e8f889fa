"""Images with one class each, as a layout names them, and what can be told of them without reading a pixel."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.errors import UserError
from jaxal.files import why_no_file
from jaxal.types import Case, Label

CLASSES_AT_MOST = 255


class Listed(NamedTuple):
    """One image as a layout names it.

    Attributes:
      id: its name.
      category: its class.
      group: of patients.
      subject: whose it is; images of one subject stay in one split. The id when left out.
      file: to decode; None where the listing holds the pixels.
      source: the table and line that name it, for messages.
      refusal: why readers would not label it; empty where they would. Such an image has no class.
    """

    id: str
    category: str
    group: str = ""
    subject: str = ""
    file: Path | None = None
    source: str = ""
    refusal: str = ""


class Listing(NamedTuple):
    """What a folder or a file holds.

    Attributes:
      layout: its name.
      classes: in the order of their numbers.
      images: sorted by id.
      pixels: of all images, `[images, height, width(, channels)]` uint8, in that order, where they came as an array.
      notes: what whoever works with them should know, such as how many were left out.
    """

    layout: str
    classes: tuple[str, ...]
    images: tuple[Listed, ...]
    pixels: np.ndarray | None = None
    notes: tuple[str, ...] = ()


def check_listing(listing: Listing) -> None:
    """Makes sure of what can be told without decoding anything.

    Raises:
      UserError: a name is there twice, a class has no image or is unknown, a file is missing; the message names it and its line.
    """
    if not 2 <= len(listing.classes) <= CLASSES_AT_MOST:
        raise UserError(
            f"{listing.layout}: {len(listing.classes)} classes were found; there must be at least two and fewer than 256."
        )
    check_files(listing)
    for image in listing.images:
        if image.category not in listing.classes and not image.refusal:
            raise UserError(
                f"{image.source}: {image.id!r} is of the class {image.category!r}; there are {', '.join(listing.classes)}."
            )
    present = {image.category for image in listing.images}
    if without := [name for name in listing.classes if name not in present]:
        raise UserError(
            f"{listing.layout}: no image is of the class {without[0]!r}, so nothing can be said of it. Add some, or leave the class out."
        )


def with_refused(listing: Listing, names: Sequence[str]) -> Listing:
    """The listing in which readers would not label images of some classes, because the study is not about them: an open set.

    Raises:
      UserError: there is no such class, or fewer than two are left.
    """
    if strange := [name for name in names if name not in listing.classes]:
        raise UserError(f"--refuse {strange[0]}: there is no such class; there are {', '.join(listing.classes)}.")
    classes = tuple(name for name in listing.classes if name not in names)
    if len(classes) < 2:
        raise UserError(f"--refuse leaves {len(classes)} of {len(listing.classes)} classes; at least two must be left.")
    images = tuple(
        image._replace(category="", refusal=image.category) if image.category in names else image for image in listing.images
    )
    return listing._replace(classes=classes, images=images)


def check_files(listing: Listing) -> None:
    """Makes sure that every image has a name and a file of its own.

    Raises:
      UserError: it does not; the message names it and its line.
    """
    known: dict[str, Listed] = {}
    for image in listing.images:
        if image.id in known:
            places = " and ".join(dict.fromkeys((known[image.id].source, image.source)))
            raise UserError(f"{places}: the image {image.id!r} is there twice. Ids must differ; remove one.")
        known[image.id] = image
        if image.file is not None and not image.file.is_file():
            raise UserError(f"{image.source}: names the image {image.id!r}, but {image.file}: {why_no_file(image.file)}.")
    files: dict[Path, Listed] = {}
    for image in listing.images:
        if image.file is not None and (other := files.setdefault(image.file, image)) is not image:
            raise UserError(f"{other.source} and {image.source} both name the file {image.file}. Remove one of the lines.")


def cases_of(listing: Listing, pixels: Path) -> tuple[Case, ...]:
    """The images as cases whose pixels lie in this file, whose folder is named after the state of all."""

    def case(image: Listed) -> Case:
        label = Label(image.category or image.refusal, category=image.category, refusal=image.refusal)
        return Case(image.id, image.group, pixels, label, image.subject, pixels.parent.name)

    return tuple(case(image) for image in listing.images)


def frequencies(cases: Sequence[Case]) -> dict[str, float]:
    """Share of each class among cases."""
    counts = Counter(case.category for case in cases)
    return {name: count / len(cases) for name, count in sorted(counts.items())}
