"""Label maps of a project: checked, laid on the case's own grid, read again, and made one of several."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from jaxal.labels.deliveries import Delivered, Expected, receive
from jaxal.labels.findings import History, dice_with
from jaxal.labels.merging import merge
from jaxal.labels.placing import Grid
from jaxal.labels.writing import write_nifti
from jaxal.projects.kind import Delivery, Received, Settled, minutes_of
from jaxal.projects.project import IGNORE, Project
from jaxal.projects.settings import Source
from jaxal.projects.state import MERGED, State, Version
from jaxal.worklists.parts import words_of

NEAR = 0.5  # of the Dice below which two readers are disputed: what two of three must reach for the three to be made one


def receive_map(project: Project, state: State, delivery: Delivery, confirmed: Collection[str]) -> Received:
    """Checks a delivered map; see `Kind.receive`. A label that nobody was asked for, such as a reviewer's, is compared with no proposal.

    Raises:
      Refused: it cannot be taken.
    """
    assert delivery.path is not None
    asked = delivery.reader in state.cases[delivery.case].readings
    expected = expected_of(project, state, delivery, confirmed) if asked else _expected(project, state, delivery)
    delivered = receive(delivery.path, expected, names=delivery.names, trust_grid=delivery.trust_grid, resample=delivery.resample)
    return received_of(project, delivery.case, delivered)


def received_of(project: Project, case: str, delivered: Delivered) -> Received:
    """A map that was laid on its case's grid, as projects keep it."""
    fields = {
        "volumes_ml": {name: round(volume, 3) for name, volume in delivered.volumes_ml.items()},
        "centres": {name: [round(part, 4) for part in place] for name, place in delivered.centres.items()},
    }
    return _kept(project, case, delivered.labels)._replace(notes=delivered.notes, fields=fields)


def _kept(project: Project, case: str, labels: np.ndarray) -> Received:
    return Received((), {}, lambda path: write_nifti(path, labels, grid_of(project.cases[case])))


def expected_of(project: Project, state: State, delivery: Delivery, confirmed: Collection[str] = ()) -> Expected:
    """What a delivery is checked against; of what is refused once, `confirmed` is taken."""
    reading = state.cases[delivery.case].readings[delivery.reader]
    path = project.proposal_path(delivery.case, reading.round, ".nii.gz")
    shown = project.shows(reading) and path.is_file()
    return dataclasses.replace(
        _expected(project, state, delivery),
        proposal=(lambda: read_map(path)) if shown else None,
        minutes=minutes_of(reading.opened, project.log.now(), delivery.seconds),
        empty_is_meant=delivery.empty or "empty" in confirmed,
        hard=frozenset({"mirrored"}) - set(confirmed),
    )


def _expected(project: Project, state: State, delivery: Delivery) -> Expected:
    scan = project.cases[delivery.case]
    parts = state.cases[delivery.case].parts_for(delivery.reader)
    return Expected(
        case=scan.id,
        grid=grid_of(scan),
        parts=parts,
        asked_for=words_of(parts, grid_of(scan)),
        classes=tuple(state.classes[1:]),
        others={other.id: grid_of(other) for other in project.settings.cases if other.id != scan.id},
        history=history_of(state),
        empty_is_meant=delivery.empty,
        partial=True,
    )


def grid_of(scan: Source) -> Grid:
    """A case's own grid."""
    return Grid(scan.shape, np.array([*scan.affine, (0.0, 0.0, 0.0, 1.0)]))


def history_of(state: State) -> History:
    """What labels that were accepted are like."""
    drawn = [version for case in state.cases.values() for version in case.versions if version.reader != MERGED]
    names = {name for version in drawn for name in version.volumes_ml}
    return History(
        cases=len(drawn),
        share={name: sum(name in version.volumes_ml for version in drawn) / len(drawn) for name in names},
        volumes_ml={name: [version.volumes_ml[name] for version in drawn if name in version.volumes_ml] for name in names},
        centres={name: [version.centres[name] for version in drawn if name in version.centres] for name in names},
        minutes=[version.minutes for version in drawn if version.minutes is not None],
    )


def read_version(project: Project, case: str, version: str) -> np.ndarray:
    """A stored version on the case's own grid."""
    return read_map(project.label_path(case, version))


def read_label(project: Project, state: State, case: str, label: str) -> np.ndarray:
    """A label that counts on the case's own grid: a version, or several that lie one over the other (`CaseState.counts`)."""
    versions = state.cases[case].versions_of(label)
    labels = read_version(project, case, versions[0].name)
    for version in versions[1:]:
        later = read_version(project, case, version.name)
        for start, size in version.parts:
            box = tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
            labels[box] = later[box]
    return labels


def label_file(project: Project, state: State, case: str, label: str) -> Path:
    """The file of a label that counts; of several versions it is made, and can be made anew."""
    if "/" not in label:
        return project.label_path(case, label)
    path = project.folder / "cache" / "labels" / f"{case}-{state.cases[case].digest_of(label)[:16]}.nii.gz"
    if not path.is_file():
        write_nifti(path, read_label(project, state, case, label), grid_of(project.cases[case]))
    return path


def read_map(path: Any) -> np.ndarray:
    """A label map's values, `[i, j, k]`, uint8."""
    return np.asarray(nibabel.nifti1.load(path).dataobj).astype(np.uint8)


def settle_maps(project: Project, state: State, versions: Sequence[Version]) -> Settled:
    """Two readers' voxels count where they agree, and nobody knows the others; of three the majority counts, or what STAPLE makes of them.

    Two must agree, and of three some two must be near each other, or a person decides.
    """
    case, classes = versions[0].case, state.classes[1:]
    maps = {version.reader: read_version(project, case, version.name) for version in versions}
    protocol = project.settings.protocol
    merged = merge(maps, classes, method=protocol.merging, least_dice=protocol.far_apart)
    scores = {
        f"{first} {second}": [None if value != value else round(float(value), 4) for value in values]
        for (first, second), values in merged.dice.items()
    }
    least = protocol.far_apart if len(versions) == 2 else protocol.far_apart * NEAR
    disputed = not any(_agree(values, least) for values in merged.dice.values())
    return Settled(disputed, merged.sentence, scores, _kept(project, case, merged.labels))


def _agree(dice: np.ndarray, least: float) -> bool:
    """Whether two readers agree in every class that either has."""
    return not (np.nan_to_num(dice, nan=1.0) < least).any()


def dice_between(project: Project, state: State, first: Version, second: Version) -> list[float]:
    """Dice of two versions of a case in each class above 0; NaN where neither has it."""
    maps = [read_version(project, version.case, version.name) for version in (first, second)]
    return [float(value) for value in dice_with(maps[0], maps[1], len(state.classes) - 1)]


def strange_values(project: Project, state: State, version: Version) -> list[str]:
    """Values of a stored map that no class has, in a sentence."""
    values = np.unique(read_version(project, version.case, version.name))
    strange = [int(value) for value in values if value >= version.classes and value != IGNORE]
    path = project.label_path(version.case, version.name)
    return [f"{path}: holds the value {strange[0]}, which no class has."] if strange else []
