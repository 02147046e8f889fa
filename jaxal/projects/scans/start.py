"""The beginning of a project of scans: they are found, checked and planned for, and label maps that lie beside them are read."""

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from jaxal.data.cases import fingerprint_of
from jaxal.data.groups import Grouping
from jaxal.data.scans.folder import Showing, check_spacings, groups_of, look_at_all
from jaxal.data.scans.layouts import find_cases, holds_data_set
from jaxal.data.scans.listing import Files, ScanListing
from jaxal.data.scans.own_grid import slices_lie_along
from jaxal.data.scans.plan import Plan, check_looks, make_plan
from jaxal.data.scans.prepare import prepare
from jaxal.data.scans.unlabelled import flat_scans, listed_scans
from jaxal.errors import UserError
from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.refusals import Refused
from jaxal.networks.layers import dtype_here
from jaxal.networks.unet import UNetConfig
from jaxal.projects.kind import Beginning, Found, Received, check_classes
from jaxal.projects.project import IGNORE, Project
from jaxal.projects.scans.labels import grid_of, received_of
from jaxal.projects.settings import OfParts, OfScans, Settings, Source, new_settings
from jaxal.studies.common_options import check_method
from jaxal.studies.presets import OWN_SCANS, Preset
from jaxal.studies.units import search_for
from jaxal.training.weighting import named_method


def find(asked: Beginning) -> Found:
    """The scans, each subject's group, and the folder that all paths are below.

    Raises:
      UserError: there are none, or nothing tells what is to be drawn.
    """
    for name, given in (("pixels", asked.pixels), ("weights", asked.weights)):
        if given:
            raise UserError(f"--{name} is for images, and {asked.data} holds scans.")
    if asked.without_group != "refuse":
        raise UserError(f"--without-group is for images, and {asked.data} holds scans.")
    listing, groups, root = _find(asked)
    if not listing.cases:
        raise UserError(f"{asked.data}: holds no scans.")
    check_method(asked.method, sorted({groups.get(case.subject, "") for case in listing.cases}))
    labelled = [case.id for case in listing.cases if case.label]
    return Found(listing, labelled, root, groups)


def freeze(folder: Path, asked: Beginning, found: Found, showing: Showing) -> Settings:
    """Checks every file, plans, prepares, and decides what may not change.

    Raises:
      UserError: a file is bad.
    """
    listing: ScanListing = found.listing
    files = {case.id: fingerprint_of(case.images, case.label) for case in listing.cases}
    with showing("checking files") as progress:
        looks = look_at_all(listing, files, folder / "prepared" / "looks", progress)
    check_looks(looks, listing)
    check_spacings(looks, listing)
    size, config = OWN_SCANS[asked.preset], asked.folder
    plan = make_plan(listing.channels, looks, config.patch_voxels or size.patch_voxels, config.spacing_mm or None, config.levels)
    cases = tuple(_source(case, found.groups, files[case.id].image, found.root) for case in listing.cases)
    parts = _parts(asked, plan, cases)
    bare = listing._replace(cases=tuple(case._replace(label=None) for case in listing.cases), ignore=IGNORE)
    with showing("preparing") as progress:
        prepare(bare, {}, plan, folder / "prepared", files, progress)
    preset = _preset(asked, plan, len(listing.cases))
    return new_settings(
        name=folder.resolve().name,
        data=str(found.root.resolve()),
        layout=listing.layout,
        classes=listing.classes,
        cases=cases,
        of_scans=OfScans(listing.channels, plan, preset, parts),
        of_images=None,
        start=asked.start,
        protocol=asked.protocol,
    )


def _parts(asked: Beginning, plan: Plan, cases: Sequence[Source]) -> OfParts | None:
    """Which parts of scans are asked for.

    Raises:
      UserError: a part is larger than the largest scan.
    """
    unit = asked.units.unit
    if unit not in ("slice", "box"):
        return None
    usual = Counter(slices_lie_along(np.array(scan.affine)) for scan in cases)
    axis = max(usual, key=lambda axis: (usual[axis], axis))
    search = search_for(asked.units.options(axis), plan.largest, asked.protocol.size)
    return OfParts("slice" if unit == "slice" else "box", search.size, asked.units.per_case)


def existing(project: Project, found: Found, id_: str) -> Received:
    """A label map of the data folder, whose values are those of its description.

    Raises:
      UserError: it cannot be taken.
    """
    listing: ScanListing = found.listing
    case = next(case for case in listing.cases if case.id == id_)
    assert case.label is not None
    expected = Expected(case.id, grid_of(project.cases[case.id]), listing.classes[1:], empty_is_meant=True, partial=True)
    try:
        delivered = receive(case.label, expected, names=names_of_values(listing))
    except Refused as refused:
        raise UserError(f"{case.label}: {refused.sentence}") from refused
    received = received_of(project, id_, delivered)
    return received._replace(fields={**received.fields, "delivered": delivered.sha256})


def names_of_values(listing: ScanListing) -> list[str]:
    """What the values 1, 2, … of label maps are called; one that means nothing gets a name that no class has, and is refused where it occurs."""
    names = dict(zip(listing.class_values, listing.classes, strict=True))
    if listing.ignore is not None:
        names[listing.ignore] = "ignore"
    return [names.get(value, f"value {value}") for value in range(1, max(names) + 1)]


def _find(asked: Beginning) -> tuple[ScanListing, Mapping[str, str], Path]:
    """The scans, each subject's group, and the folder that all paths are below."""
    data, wanted = asked.data, ("background", *(name for name in asked.labels if name.casefold() != "background"))
    if data.is_file() and data.suffix in (".csv", ".tsv"):
        channels, cases, groups = listed_scans(data, Grouping(asked.folder.group_column, asked.folder.bins))
        _need_labels(asked)
        return ScanListing("table", channels, wanted, None, tuple(sorted(cases))), groups, data.parent
    if not data.is_dir():
        raise UserError(f"--data {data}: {'a file, but no table (.csv or .tsv)' if data.exists() else 'no such folder'}.")
    if holds_data_set(data):
        listing = find_cases(data, asked.folder.channels or None, need_labels=False)
        if asked.labels and set(listing.classes[1:]) != set(wanted[1:]):
            if any(case.label for case in listing.cases):
                raise UserError(
                    f"--labels names {', '.join(wanted[1:])}, but the label maps of {data} hold {', '.join(listing.classes[1:])}. Leave --labels out."
                )
            listing = listing._replace(classes=wanted, values=())
    else:
        cases = flat_scans(data)
        count = len(cases[0].images)
        names = asked.folder.channels or (("image",) if count == 1 else tuple(f"channel {number}" for number in range(count)))
        if len(names) != count:
            raise UserError(f"--channels names {len(names)} channels, but each scan has {count} files.")
        _need_labels(asked)
        listing = ScanListing("files", names, wanted, None, tuple(sorted(cases)))
    check_classes(listing.classes)
    return listing, groups_of(data, asked.folder, listing)[1], data


def _need_labels(asked: Beginning) -> None:
    if not asked.labels:
        raise UserError(f"{asked.data}: nothing there tells what is to be drawn. Name it: --labels liver,tumour.")
    check_classes(["background", *(name for name in asked.labels if name.casefold() != "background")])


def _source(case: Files, groups: Mapping[str, str], fingerprint: str, root: Path) -> Source:
    grid = nibabel.nifti1.load(case.images[0])
    affine = np.asarray(grid.affine, np.float64)[:3]
    return Source(
        case.id,
        case.subject,
        groups.get(case.subject, ""),
        tuple(os.path.relpath(path, root) for path in case.images),
        fingerprint,
        tuple(int(size) for size in grid.shape[:3]),
        tuple(tuple(float(value) for value in row) for row in affine),
    )


def _preset(asked: Beginning, plan: Plan, cases: int) -> Preset:
    size, protocol = OWN_SCANS[asked.preset], asked.protocol
    return Preset(
        cases=cases,
        spacing_mm=min(plan.spacing_mm),
        rounds=1,
        query_size=protocol.size,
        initial_size=protocol.size,
        evaluation=protocol.evaluation_share,
        test=0.0,
        network=UNetConfig(width=size.width, levels=plan.levels, pooling=plan.pooling, dtype=dtype_here("float32")),
        training=dataclasses.replace(size.training, weighting=named_method(asked.method)),
        members=size.members,
    )
