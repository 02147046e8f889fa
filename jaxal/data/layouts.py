"""Folders of scans in the layouts that people have. Here: nnU-Net's raw data sets, with groups from `participants.tsv`.

DIR/dataset.json               channel_names, labels, numTraining, file_ending
DIR/imagesTr/CASE_0000.nii.gz  one file a channel
DIR/labelsTr/CASE.nii.gz
DIR/participants.tsv           participant_id and any columns; one of them names the groups
"""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxal.data.cases import Case, Dataset, Example, case_fingerprint, pad_example, padded_shape
from jaxal.data.nifti import Volume, read_image, read_label
from jaxal.errors import UserError


def read_nnunet(folder: Path, group_column: str, multiple: int, progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Reads what an nnU-Net data set holds and checks every file of it.

    Args:
      folder: with `dataset.json`, `imagesTr`, `labelsTr` and `participants.tsv`.
      group_column: column of the table that names each case's group.
      multiple: axes are padded to multiples of this.
      progress: called with the number of cases checked and of all cases.

    Raises:
      UserError: anything that would fail or mislead later; the message names the file, what it holds and what to do.
    """
    folder = Path(folder)
    channels, classes, ending = _read_description(folder)
    groups = _read_groups(folder / "participants.tsv", group_column)
    ids = sorted(path.name[: -len(ending)] for path in (folder / "labelsTr").glob(f"*{ending}"))
    _check_ids(folder, ids, groups, ending)
    cases = tuple(
        Case(
            id_,
            groups[id_],
            tuple(folder / "imagesTr" / f"{id_}_{channel:04d}{ending}" for channel in range(len(channels))),
            folder / "labelsTr" / f"{id_}{ending}",
        )
        for id_ in ids
    )
    shapes, spacing_mm, foreground = [], None, False
    for count, case in enumerate(cases, 1):
        _, label = _read_checked(case, classes)
        shapes.append(label.values.shape)
        foreground = foreground or bool(label.values.any())
        own = np.linalg.norm(label.affine[:3, :3], axis=0)
        spacing_mm = own if spacing_mm is None else spacing_mm
        if not np.allclose(own, spacing_mm, rtol=0.01):
            raise UserError(
                f"{case.label}: voxels of {_in_mm(own)}, but {cases[0].label} has {_in_mm(spacing_mm)}. Resample all cases to one spacing."
            )
        if progress:
            progress(count, len(cases))
    if not foreground:
        raise UserError(f"{folder / 'labelsTr'}: no label map holds anything but background, so there is nothing to learn.")
    return Dataset(cases, channels, classes, padded_shape(shapes, multiple), tuple(float(size) for size in spacing_mm))


def _flat(affine: np.ndarray) -> str:
    return "; ".join(" ".join(f"{value:g}" for value in row) for row in affine[:3])


def _in_mm(spacing: np.ndarray) -> str:
    return " x ".join(f"{size:g}" for size in spacing) + " mm"


def fingerprint(dataset: Dataset) -> str:
    """Sixteen hexadecimal digits that change when a case, its group or a file's content does, wherever the folder lies."""
    digest = hashlib.sha256()
    for case in dataset.cases:
        digest.update(f"{case.id}\0{case.group}\0{case_fingerprint(case)}\0".encode())
    return digest.hexdigest()[:16]


def load_case(case: Case, dataset: Dataset) -> Example:
    """Reads one case as arrays of the data set's common shape."""
    images, label = _read_checked(case, dataset.classes)
    return pad_example(np.stack([image.values for image in images], axis=-1), label.values, dataset.shape)


def _read_description(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    path = folder / "dataset.json"
    if not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder.")
    if not path.is_file():
        raise UserError(
            f"{folder}: holds no dataset.json. --data expects a data set in nnU-Net's layout (dataset.json, imagesTr, labelsTr)."
        )
    try:
        description = json.loads(path.read_text())
        channels = tuple(str(description["channel_names"][key]) for key in sorted(description["channel_names"], key=int))
        labels = {str(name): int(value) for name, value in description["labels"].items()}
        ending = str(description.get("file_ending", ".nii.gz"))
    except KeyError as error:
        raise UserError(f"{path}: lacks the entry {error.args[0]!r} that nnU-Net's layout asks for.") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: not a valid nnU-Net description ({error}).") from error
    classes = tuple(sorted(labels, key=labels.get))
    if [labels[name] for name in classes] != list(range(len(classes))) or len(classes) < 2:
        raise UserError(f"{path}: labels are {labels}; expected background 0 and consecutive numbers from 1.")
    if ending not in (".nii.gz", ".nii"):
        raise UserError(f"{path}: file_ending is {ending!r}; only .nii.gz and .nii are read.")
    return channels, classes, ending


def _read_groups(path: Path, column: str) -> dict[str, str]:
    if not path.is_file():
        raise UserError(
            f"{path}: no such file. It names each case's group: tab-separated, a column participant_id and a column {column!r}."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a table in UTF-8 ({error}). Save it as tab-separated text in UTF-8.") from error
    names = list(rows[0]) if rows else []
    for needed in ("participant_id", column):
        if needed not in names:
            raise UserError(
                f"{path}: has no column {needed!r}; its columns are {', '.join(map(repr, names)) or 'none'}. See --group-column."
            )
    groups: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        id_, group = row["participant_id"], (row[column] or "").strip()
        if id_ in groups:
            raise UserError(f"{path}, line {line}: the case {id_!r} is listed twice.")
        if group in ("", "n/a"):
            raise UserError(
                f"{path}, line {line}: the case {id_!r} has no group in the column {column!r}. Fill it in or leave the case out."
            )
        groups[id_] = group
    return groups


def _check_ids(folder: Path, ids: list[str], groups: dict[str, str], ending: str) -> None:
    images = {path.name[: -len(ending)].rsplit("_", 1)[0] for path in (folder / "imagesTr").glob(f"*{ending}")}
    if not ids:
        raise UserError(f"{folder / 'labelsTr'}: holds no label maps named CASE{ending}.")
    for id_ in sorted(groups.keys() | images):
        if id_ not in images:
            raise UserError(
                f"{folder / 'participants.tsv'}: lists the case {id_!r}, but {folder / 'imagesTr' / (id_ + '_0000' + ending)} does not exist."
            )
        if id_ not in ids:
            raise UserError(f"{folder / 'imagesTr'}: the case {id_!r} has no label map {folder / 'labelsTr' / (id_ + ending)}.")
    for id_ in ids:
        if id_ not in groups:
            raise UserError(f"{folder / 'participants.tsv'}: does not list the case {id_!r}, so it has no group.")
    if len(set(groups.values())) < 2:
        raise UserError(
            f"{folder / 'participants.tsv'}: all {len(groups)} cases are in the group {next(iter(groups.values()))!r}. "
            "Fairness compares groups: name a --group-column with at least two."
        )


def _read_checked(case: Case, classes: tuple[str, ...]) -> tuple[list[Volume], Volume]:
    images = [read_image(path) for path in case.images]
    label = read_label(case.label)
    for path, image in zip(case.images, images, strict=True):
        if image.values.shape != label.values.shape:
            raise UserError(
                f"{path} has shape {image.values.shape}, but {case.label} has {label.values.shape}. Resample one onto the other."
            )
        if not np.allclose(image.affine, label.affine, atol=1e-3):
            raise UserError(
                f"{path} and {case.label} have different affines ({_flat(image.affine)} and {_flat(label.affine)}), so their voxels lie in different places. Resample one onto the other."
            )
    highest = int(label.values.max())
    if highest >= len(classes):
        raise UserError(
            f"{case.label}: holds the label {highest}, which dataset.json does not name (its labels are 0 to {len(classes) - 1})."
        )
    return images, label
