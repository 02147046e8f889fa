"""Scans that are not of a data set, made ready for its network: prepared by the plan that the network was trained with."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.data.cases import Dataset, fingerprint_of
from jaxal.data.scans.folder import Ready, Showing, look_at_all
from jaxal.data.scans.layouts import ENDINGS, Files, ScanListing, find_cases
from jaxal.data.scans.plan import resampled_shape
from jaxal.data.scans.prepare import prepare
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
    listing = listing._replace(classes=ready.listing.classes)
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
    if (folder / "dataset.json").is_file() or (folder / "dataset_description.json").is_file():
        channels = like.channels if (folder / "dataset_description.json").is_file() else None
        listing = find_cases(folder, channels, need_labels=False)
        if not listing.cases:
            raise UserError(f"{folder}: lists no cases. Give the folder of the scans itself, such as {folder / 'imagesTs'}.")
        return listing
    return like._replace(layout="files", cases=tuple(_alone(folder, len(like.channels))))


def _alone(folder: Path, channels: int) -> list[Files]:
    """The scans of a folder of NIfTI files, a file a channel, or one file for all of them."""
    paths: dict[str, Path] = {}
    for path in sorted(folder.glob("[!.]*")):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending and path.is_file():
            stem = path.name[: -len(ending)]
            if stem in paths:
                raise UserError(
                    f"{path}: lies beside {paths[stem].name}. One scan must be one file; remove the one that is not meant."
                )
            paths[stem] = path
    if not paths:
        raise UserError(
            f"{folder}: holds no scans. Expected NIfTI files CASE_0000.nii.gz, one for each channel, or CASE.nii.gz, or a data set with dataset.json or "
            "dataset_description.json."
        )
    numbered = {stem: stem.rpartition("_") for stem in paths}
    if not all(case and number.isdigit() and len(number) == 4 for case, _, number in numbered.values()):
        return [Files(stem, stem, (path,), None) for stem, path in paths.items()]
    counts = Counter(case for case, _, _ in numbered.values())
    for case in sorted(counts):
        for channel in range(channels):
            if f"{case}_{channel:04d}" not in paths:
                raise UserError(
                    f"{folder}: the scan {case!r} has no channel {channel} (a file {case}_{channel:04d}.nii.gz); the network was trained on {channels}."
                )
        if counts[case] > channels:
            raise UserError(f"{folder}: the scan {case!r} has {counts[case]} channels; the network was trained on {channels}.")
    return [
        Files(case, case, tuple(paths[f"{case}_{channel:04d}"] for channel in range(channels)), None) for case in sorted(counts)
    ]
