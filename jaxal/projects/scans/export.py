"""Label maps and scans in the layouts that other programs train on."""

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np

from jaxal.files import write_text
from jaxal.labels.writing import write_nifti
from jaxal.projects.kind import Exporting
from jaxal.projects.project import IGNORE, Project
from jaxal.projects.scans.labels import grid_of, read_label
from jaxal.projects.state import State


def write_scans(project: Project, state: State, exporting: Exporting) -> None:
    """Writes all of it. See `Kind.export`."""
    unknown, data, layout, out = False, project.data(state), exporting.layout, exporting.out
    for done, (id_, version) in enumerate(exporting.labels):
        exporting.progress(done, len(exporting.labels))
        images, label = _places(project, layout, id_)
        values = read_label(project, state, id_, version)
        unknown |= bool((values == IGNORE).any())
        values = np.where(values == IGNORE, len(state.classes), values)
        if layout == "decathlon" and len(project.cases[id_].images) > 1:
            _stack(project.image_paths(id_, data), out / images[0])
        else:
            for source, target in zip(project.image_paths(id_, data), images, strict=True):
                _place_image(source, out / target, exporting.link)
        write_nifti(out / label, values, grid_of(project.cases[id_]))
    _describe(project, state, layout, out, [id_ for id_, _ in exporting.labels], unknown)


def _places(project: Project, layout: str, id_: str) -> tuple[list[Path], Path]:
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


def _describe(project: Project, state: State, layout: str, out: Path, ids: list[str], unknown: bool) -> None:
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
        named = {
            f"sub-{_bids_names('', subject)[0]}" if layout == "bids" else subject: group for subject, group in groups.items()
        }
        rows = "".join(f"{subject}\t{group}\n" for subject, group in sorted(named.items()))
        write_text(out / "participants.tsv", f"participant_id\tgroup\n{rows}")


def _json(content: object) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
