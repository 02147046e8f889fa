"""A project's labels in the layouts that other programs train on."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np

from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.labels.writing import write_nifti
from jaxal.projects.project import IGNORE, Project, check_images, check_labels
from jaxal.projects.scans.labels import grid_of, read_version
from jaxal.projects.state import State

Layout = Literal["nnunet", "decathlon", "bids"]


def export(project: Project, out: Path, layout: Layout, link: bool, progress: Callable[[int, int], None]) -> list[str]:
    """Writes all labels that count, with their images and a table of where each came from; returns the cases.

    Args:
      project: whose.
      out: folder; new or empty.
      layout: of the folder.
      link: whether images are links to the data instead of copies.
      progress: is told how far the work is.

    Raises:
      UserError: the folder holds something, there is no label yet, or an image or a label is not what it was.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty. Name a new folder.")
    state = project.state()
    labels = sorted(label for role in ("training", "evaluation", "test") for label in state.labels(role))
    if not labels:
        raise UserError(f"{project.folder}: no case has a label that counts, so there is nothing to export.")
    check_images(project, [id_ for id_, _ in labels], project.data(state))
    check_labels(project, state, labels)
    aside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        unknown = False
        for done, (id_, version) in enumerate(labels):
            progress(done, len(labels))
            images, label = _places(project, layout, id_)
            data = project.data(state)
            values = read_version(project, id_, version)
            unknown |= bool((values == IGNORE).any())
            values = np.where(values == IGNORE, len(state.classes), values)
            if layout == "decathlon" and len(project.cases[id_].images) > 1:
                _stack(project.image_paths(id_, data), aside / images[0])
            else:
                for source, target in zip(project.image_paths(id_, data), images, strict=True):
                    _place_image(source, aside / target, link)
            write_nifti(aside / label, values, grid_of(project.cases[id_]))
        progress(len(labels), len(labels))
        _describe(project, state, layout, aside, [id_ for id_, _ in labels], unknown)
        write_text(aside / "labels.tsv", _provenance(project, state, labels))
        if out.exists():
            out.rmdir()
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [id_ for id_, _ in labels]


def _places(project: Project, layout: Layout, id_: str) -> tuple[list[Path], Path]:
    """Where a case's images and its label go."""
    scan = project.cases[id_]
    if layout == "nnunet":
        return [Path("imagesTr", f"{id_}_{channel:04d}.nii.gz") for channel in range(len(scan.images))], Path(
            "labelsTr", f"{id_}.nii.gz"
        )
    if layout == "decathlon":
        count = 1 if len(scan.images) > 1 else len(scan.images)
        return [Path("imagesTr", f"{id_}.nii.gz")] * count, Path("labelsTr", f"{id_}.nii.gz")
    subject, session = _bids_names(id_, scan.subject)
    folder = Path(f"sub-{subject}", *([f"ses-{session}"] if session else []), "anat")
    stem = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    names = [f"{stem}_{_plain(channel)}.nii.gz" for channel in project.channels[: len(scan.images)]]
    return [folder / name for name in names], Path("derivatives", "jaxal") / folder / f"{stem}_dseg.nii.gz"


def _bids_names(id_: str, subject: str) -> tuple[str, str]:
    """Subject and session as BIDS writes them: letters and digits."""
    rest = id_.removeprefix(subject).strip("_") if id_ != subject else ""
    return _plain(subject.removeprefix("sub-")), _plain(rest.removeprefix("ses-"))


def _plain(name: str) -> str:
    return "".join(letter for letter in name if letter.isascii() and letter.isalnum()) or ("image" if name else "")


def _place_image(source: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(source.resolve())
    elif source.name.endswith(".nii"):
        nibabel.save(nibabel.load(source), target)  # packed, as the others are
    else:
        shutil.copyfile(source, target)


def _stack(sources: tuple[Path, ...], target: Path) -> None:
    """The Decathlon keeps channels in a fourth axis."""
    target.parent.mkdir(parents=True, exist_ok=True)
    images = [nibabel.nifti1.load(source) for source in sources]
    nibabel.save(
        nibabel.Nifti1Image(np.stack([np.asarray(image.dataobj) for image in images], axis=-1), images[0].affine), target
    )


def _describe(project: Project, state: State, layout: Layout, out: Path, ids: list[str], unknown: bool) -> None:
    channels = dict(enumerate(project.channels))
    if layout == "nnunet":
        labels = {name: value for value, name in enumerate(state.classes)} | ({"ignore": len(state.classes)} if unknown else {})
        described = {"channel_names": channels, "labels": labels, "numTraining": len(ids), "file_ending": ".nii.gz"}
        write_text(out / "dataset.json", _json(described))
    elif layout == "decathlon":
        of_values = dict(enumerate([*state.classes, *(["ignore"] if unknown else [])]))
        training = [{"image": f"./imagesTr/{id_}.nii.gz", "label": f"./labelsTr/{id_}.nii.gz"} for id_ in ids]
        described = {
            "name": project.settings.name,
            "modality": channels,
            "labels": of_values,
            "numTraining": len(ids),
            "training": training,
            "test": [],
        }
        write_text(out / "dataset.json", _json(described))
    else:
        write_text(out / "dataset_description.json", _json({"Name": project.settings.name, "BIDSVersion": "1.10.0"}))
        derived = {
            "Name": f"{project.settings.name}: label maps",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "jaxal"}],
        }
        write_text(out / "derivatives" / "jaxal" / "dataset_description.json", _json(derived))
        names = [*state.classes, *(["ignore"] if unknown else [])]
        rows = "".join(f"{value}\t{name}\n" for value, name in enumerate(names))
        write_text(out / "derivatives" / "jaxal" / "dseg.tsv", f"index\tname\n{rows}")
    groups = {scan.subject: scan.group for scan in project.settings.cases if scan.id in ids}
    if any(groups.values()):
        rows = "".join(f"{subject}\t{group}\n" for subject, group in sorted(groups.items()))
        write_text(out / "participants.tsv", f"participant_id\tgroup\n{rows}")


def _provenance(project: Project, state: State, labels: list[tuple[str, str]]) -> str:
    rows = ["case\tversion\treaders\taccepted\tminutes\tround\tused_for\tsha256"]
    for id_, name in labels:
        case = state.cases[id_]
        version = case.version(name)
        of_attempt = [other for other in case.versions if other.attempt == version.attempt and other.reader in state.readers]
        readers = sorted({other.reader for other in of_attempt}) if version.reader not in state.readers else [version.reader]
        minutes = [other.minutes for other in of_attempt if other.minutes is not None]
        cells = [
            id_,
            name,
            ",".join(readers),
            version.time,
            f"{sum(minutes):g}" if minutes else "",
            str(version.round),
            str(case.role),
            version.digest,
        ]
        rows.append("\t".join(cells))
    return "\n".join(rows) + "\n"


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
