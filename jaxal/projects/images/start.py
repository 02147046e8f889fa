"""The beginning of a project of images: they are found and decoded, and classes that the data tell are read."""

import dataclasses
import os
import shutil
from pathlib import Path

from jaxal.data.cases import file_fingerprint
from jaxal.data.groups import Grouping
from jaxal.data.images.decoded import Frozen, check_alike, is_colour, make_images
from jaxal.data.images.layouts import find_images, is_known_layout
from jaxal.data.images.listing import Listing, check_files
from jaxal.data.images.unlabelled import find_unlabelled
from jaxal.data.scans.folder import Showing
from jaxal.errors import UserError
from jaxal.files import writing
from jaxal.networks.layers import dtype_here
from jaxal.networks.resnet import resnet
from jaxal.networks.weights import network_of, read_weights, with_weights
from jaxal.projects.images.network import WEIGHTS, state_of
from jaxal.projects.kind import Beginning, Found, Received, check_classes
from jaxal.projects.project import Project
from jaxal.projects.settings import OfImages, Settings, Source, new_settings
from jaxal.studies.common_options import check_method
from jaxal.studies.images import OWN_IMAGES
from jaxal.training.weighting import named_method

SMALLEST, LARGEST = 8, 4096  # pixels of a side


def find(asked: Beginning) -> Found:
    """The images, with the classes that the data tell. See `Kind.find`.

    Raises:
      UserError: there are none, or nothing tells the classes.
    """
    for name, given in (
        ("channels", asked.folder.channels),
        ("spacing-mm", asked.folder.spacing_mm),
        ("participants", asked.folder.participants),
    ):
        if given:
            raise UserError(f"--{name} is for scans, and {asked.data} holds images.")
    root = asked.data if asked.data.is_dir() else asked.data.parent
    grouping = Grouping(asked.folder.group_column, asked.folder.bins, without=asked.without_group)
    if asked.data.is_dir() and is_known_layout(asked.data):
        listing = find_images(asked.data, grouping)
        if asked.labels and set(asked.labels) != set(listing.classes):
            raise UserError(
                f"--labels names {', '.join(asked.labels)}, but {root} has {', '.join(listing.classes)}. Leave it out."
            )
    else:
        listing = find_unlabelled(asked.data, asked.labels, grouping)
    check_classes(listing.classes)
    check_files(listing)
    check_method(asked.method, sorted({image.group for image in listing.images}))
    return Found(listing, [image.id for image in listing.images if image.category], root, notes=listing.notes)


def freeze(folder: Path, asked: Beginning, found: Found, showing: Showing) -> Settings:
    """Decodes every image and decides what may not change. See `Kind.freeze`.

    Raises:
      UserError: an image does not decode, or some have colour and others have not.
    """
    listing: Listing = found.listing
    check_alike(listing)
    colour, preset = is_colour(listing), OWN_IMAGES[asked.preset]
    pixels = asked.pixels or preset.size
    if min(pixels) < SMALLEST or max(pixels) > LARGEST:
        raise UserError(
            f"--pixels is {pixels[0]} {pixels[1]}; it takes a height and a width, each of {SMALLEST} to {LARGEST} pixels."
        )
    network = dataclasses.replace(preset.network, dtype=dtype_here(preset.network.dtype))
    if asked.weights:
        state = read_weights(asked.weights)
        network = dataclasses.replace(network_of(state, network), classes=len(listing.classes))
        with_weights(resnet(network), network, state, asked.weights, 3 if colour else 1)  # tells now what does not fit
        _keep(asked.weights, folder / f"{WEIGHTS}{asked.weights.suffix}")
    with showing("checking files") as progress:
        sources = []
        for done, image in enumerate(listing.images):
            assert image.file is not None
            name = os.path.relpath(image.file, found.root)
            sources.append(Source(image.id, image.subject or image.id, image.group, (name,), file_fingerprint([image.file])))
            progress(done + 1, len(listing.images))
    with showing("decoding images") as progress:
        images = make_images(listing, folder / "prepared", pixels, colour, progress, Frozen(state_of(sources, pixels, colour)))
    of = OfImages(
        (int(pixels[0]), int(pixels[1])),
        colour,
        tuple(map(float, images.mean)),
        tuple(map(float, images.deviation)),
        network,
        dataclasses.replace(preset.training, weighting=named_method(asked.method)),
        preset.members,
        preset.batch_size,
    )
    return new_settings(
        name=folder.resolve().name,
        data=str(found.root.resolve()),
        layout=listing.layout,
        classes=listing.classes,
        cases=tuple(sources),
        of_scans=None,
        of_images=of,
        start=asked.start,
        protocol=asked.protocol,
    )


def existing(project: Project, found: Found, id_: str) -> Received:
    """The class that the data tell of an image."""
    listing: Listing = found.listing
    return Received((), {"category": next(image.category for image in listing.images if image.id == id_)})


def _keep(source: Path, target: Path) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.tmp")
        shutil.copyfile(source, aside)
        aside.replace(target)
