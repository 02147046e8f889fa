"""Scans that are not of a data set, made ready for its network: prepared by the plan that the network was trained with."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.data.cases import Dataset, fingerprint_of
from jaxal.data.scans.folder import Ready, Showing, look_at_all
from jaxal.data.scans.layouts import find_cases, holds_data_set
from jaxal.data.scans.listing import ScanListing
from jaxal.data.scans.plan import resampled_shape
from jaxal.data.scans.prepare import prepare
from jaxal.data.scans.targets import label_of, read_targets
from jaxal.data.scans.unlabelled import flat_scans
from jaxal.errors import UserError


class NewScans(NamedTuple):
    """Prepared scans, padded to one shape that holds the largest of them, and the files that they came from."""

    dataset: Dataset
    listing: ScanListing


def read_new_scans(folder: Path, ready: Ready, prepared: Path, showing: Showing) -> NewScans:
    """Finds, checks and prepares scans for a network that was trained on others.

    Args:
      folder: in one of the layouts, with or without label maps, or NIfTI files alone, `CASE_0000.nii.gz` for each channel as in nnU-Net's
        imagesTs, or `CASE.nii.gz`; nothing is written to it.
      ready: the data set that the network was trained on.
      prepared: where prepared cases are kept.
      showing: tells how far the work is.

    Raises:
      UserError: there are none, a file is bad, or they have other channels or classes than those that the network knows.
    """
    listing = _find(folder, ready.listing)
    if listing.channels != ready.listing.channels:
        raise UserError(
            f"{folder}: has the channels {', '.join(listing.channels)}, but the network was trained on {', '.join(ready.listing.channels)}."
        )
    if listing.classes != ready.listing.classes and any(case.label for case in listing.cases):
        raise UserError(
            f"{folder}: its label maps name the classes {', '.join(listing.classes)}, but the network knows {', '.join(ready.listing.classes)}."
        )
    if listing.classes != ready.listing.classes:  # it has no label maps, so whatever its description names is in no file
        listing = listing._replace(classes=ready.listing.classes, values=ready.listing.values)
    return _prepared_like(listing, ready, prepared, showing)


def read_new_table(table: Path, ready: Ready, prepared: Path, showing: Showing) -> NewScans:
    """Reads a table of scans for a network that predicts numbers and was trained on others.

    Args:
      table: as `targets.read_targets` has it; numbers may be missing. A case of which all are known has them as its label.
      ready: the data set that the network was trained on.
      prepared: where prepared cases are kept.
      showing: tells how far the work is.

    Raises:
      UserError: the table lists none, or is not understood, or a file is bad.
    """
    read = read_targets(table, ready.dataset.classes, ready.listing.channels, need_values=False)
    new = _prepared_like(read.listing, ready, prepared, showing)
    values = dict(zip((case.id for case in read.listing.cases), read.values, strict=True))
    cases = tuple(
        case._replace(label=label_of(values[case.id]) if np.isfinite(values[case.id]).all() else None)
        for case in new.dataset.cases
    )
    return new._replace(dataset=new.dataset._replace(cases=cases, classes=read.targets))


def _prepared_like(listing: ScanListing, ready: Ready, prepared: Path, showing: Showing) -> NewScans:
    """Scans that were found, checked and prepared by the plan of those that the network was trained on."""
    files = {case.id: fingerprint_of(case.images, case.label) for case in listing.cases}
    with showing("checking files") as progress:
        looks = look_at_all(listing, files, prepared / "looks", progress)
    spacing = ready.plan.spacing_mm
    shapes = [resampled_shape(look.shape, look.spacing_mm, spacing) for look in looks]
    largest = tuple(int(size) for size in np.max([*shapes, ready.plan.largest], axis=0))
    with showing("preparing") as progress:
        dataset = prepare(listing, {}, dataclasses.replace(ready.plan, largest=largest), prepared, files, progress)
    return NewScans(dataset, listing)


def _find(folder: Path, like: ScanListing) -> ScanListing:
    if not folder.is_dir():
        raise UserError(f"{folder}: {'a file, not a folder' if folder.exists() else 'no such folder'}.")
    if holds_data_set(folder):
        channels = like.channels if (folder / "dataset_description.json").is_file() else None
        listing = find_cases(folder, channels, need_labels=False)
        if not listing.cases:
            raise UserError(f"{folder}: lists no cases. Give the folder of the scans itself, such as {folder / 'imagesTs'}.")
        return listing
    return like._replace(layout="files", cases=tuple(flat_scans(folder, len(like.channels))))
