"""Folders of scans in the layouts that people have: which files make which case. No voxel is read here.

nnU-Net v2 (raw)
    DIR/dataset.json                  channel_names, labels, file_ending; perhaps dataset: {CASE: {images, label}}
    DIR/imagesTr/CASE_0000.nii.gz     one file a channel
    DIR/labelsTr/CASE.nii.gz
Medical Segmentation Decathlon
    DIR/dataset.json                  modality, labels, training: [{image, label}]
    DIR/imagesTr/CASE.nii.gz          several channels are a fourth axis
    DIR/labelsTr/CASE.nii.gz
BIDS, raw plus one derivatives folder of label maps
    DIR/dataset_description.json
    DIR/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz                            one file a channel; sessions may be absent
    DIR/derivatives/TOOL/sub-01/ses-1/anat/sub-01_ses-1_..._dseg.nii.gz
    DIR/derivatives/TOOL/dseg.tsv     index and name of each class; may be absent

The group of each case, or of each subject in BIDS, is a column of DIR/participants.tsv (`groups.py`).
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.errors import UserError
from jaxal.files import path_within, why_no_file

CLASSES_AT_MOST = 255  # the 256th number of a prepared label map means that a voxel is not annotated
ENDINGS = (".nii.gz", ".nii")
MEANT = "--data expects nnU-Net's layout, the Medical Segmentation Decathlon's (both have a dataset.json) or BIDS (dataset_description.json)."


class Files(NamedTuple):
    """One case: its id, whose scan it is, its image files and its label map, if it has one."""

    id: str
    subject: str
    images: tuple[Path, ...]
    label: Path | None


class Found(NamedTuple):
    """What a folder holds.

    Attributes:
      layout: its name.
      channels, classes: names; class 0 is background.
      ignore: the value in label maps that means "not annotated", if there is one.
      cases: sorted by id.
    """

    layout: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    ignore: int | None
    cases: tuple[Files, ...]


def find_cases(folder: Path, channels: Sequence[str] | None = None, need_labels: bool = True) -> Found:
    """Finds the cases of a folder in any of the three layouts.

    Args:
      folder: the data set.
      channels: in BIDS, the suffixes to take (`T1w`, `FLAIR`); all that any case has when left out.
      need_labels: whether a case without a label map is a mistake; in nnU-Net's layout it need not be.

    Raises:
      UserError: the folder is in none of the layouts, or incomplete; the message names the file.
    """
    if not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder.")
    if (folder / "dataset.json").is_file():
        description = _read_json(folder / "dataset.json")
        found = (
            _decathlon(folder, description)
            if "channel_names" not in description and "modality" in description
            else _nnunet(folder, description, need_labels)
        )
        if channels:
            raise UserError(
                f"--channels chooses among the images of a BIDS folder; {folder} is in {found.layout}'s layout, which takes all."
            )
    elif (folder / "dataset_description.json").is_file():
        found = _bids(folder, channels)
    else:
        named = "the current folder, for --data is empty or a dot, " if folder == Path() else ""
        raise UserError(
            f"{folder.resolve() if named else folder}: {named}holds no dataset.json and no dataset_description.json. {MEANT}"
        )
    twice = [id_ for id_, count in Counter(case.id for case in found.cases).items() if count > 1]
    if twice:
        raise UserError(f"{folder}: the case {twice[0]!r} is there twice. Ids must differ; remove or rename one.")
    for case in found.cases:
        if "/" in case.id or case.id.startswith("."):
            raise UserError(f"{folder}: the case {case.id!r} has a name that no file can have. Rename it.")
    return found._replace(cases=tuple(sorted(found.cases)))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}). Restore the file.") from error
    if not isinstance(description, dict):
        raise UserError(f"{path}: expected an object with entries, found {type(description).__name__}.")
    return description


def _entry(path: Path, description: dict[str, Any], name: str) -> Any:
    if name not in description:
        raise UserError(f"{path}: lacks the entry {name!r}. {MEANT}")
    return description[name]


def _classes(path: Path, labels: dict[str, int]) -> tuple[tuple[str, ...], int | None]:
    """Names of the classes in order, and the value of nnU-Net's `ignore` label."""
    ignore = labels.pop("ignore", None)
    names = tuple(sorted(labels, key=labels.__getitem__))
    if [labels[name] for name in names] != list(range(len(names))) or len(names) < 2:
        raise UserError(f"{path}: labels are {labels}; expected background 0 and consecutive numbers from 1.")
    if len(names) > CLASSES_AT_MOST:
        raise UserError(f"{path}: names {len(names)} labels; label maps hold at most {CLASSES_AT_MOST}, background included.")
    if ignore is not None and ignore != len(names):
        raise UserError(f"{path}: the label 'ignore' is {ignore}; nnU-Net wants it to be the highest, here {len(names)}.")
    return names, ignore


def _ending(path: Path) -> str:
    ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
    if ending is None:
        raise UserError(f"{path}: only {' and '.join(ENDINGS)} are read.")
    return ending


def _require(path: Path, why: str) -> None:
    if not path.is_file():
        raise UserError(f"{path}: {why_no_file(path)}; {why}.")


# nnU-Net


def _nnunet(folder: Path, description: dict[str, Any], need_labels: bool) -> Found:
    path = folder / "dataset.json"
    names = _entry(path, description, "channel_names")
    try:
        channels = tuple(str(names[key]) for key in sorted(names, key=int))
        labels = {str(name): int(value) for name, value in _entry(path, description, "labels").items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: not a description that is understood ({error}); labels are read as name: number, regions of several are not."
        ) from error
    if not channels:
        raise UserError(f'{path}: channel_names names no channel; expected such as {{"0": "T1"}}.')
    classes, ignore = _classes(path, labels)
    ending = str(description.get("file_ending", ".nii.gz"))
    if ending not in ENDINGS:
        raise UserError(f"{path}: file_ending is {ending!r}; only .nii.gz and .nii are read.")
    if "dataset" in description:
        cases = _nnunet_listed(folder, path, description["dataset"])
    else:
        cases = _nnunet_by_name(folder, ending, len(channels), need_labels)
    for case in cases:
        if len(case.images) != len(channels):
            raise UserError(
                f"{path}: the case {case.id!r} has {len(case.images)} images, but there are the channels {', '.join(channels)}."
            )
        for image, channel in zip(case.images, channels, strict=True):
            _require(image, f"it is the channel {channel!r} of the case {case.id!r}")
        if case.label:
            _require(case.label, f"it is the label map of the case {case.id!r}")
    return Found("nnU-Net", channels, classes, ignore, tuple(cases))


def _nnunet_by_name(folder: Path, ending: str, channels: int, need_labels: bool) -> list[Files]:
    labelled = {path.name[: -len(ending)] for path in (folder / "labelsTr").glob(f"[!.]*{ending}")}
    images = {path.name[: -len(ending)].rsplit("_", 1)[0] for path in (folder / "imagesTr").glob(f"[!.]*{ending}")}
    other = next(one for one in ENDINGS if one != ending)
    for part in ("imagesTr", "labelsTr"):
        for path in sorted((folder / part).glob(f"[!.]*{ending}")):
            if (twin := path.with_name(path.name[: -len(ending)] + other)).is_file():
                raise UserError(f"{twin}: lies beside {path.name}. One scan must be one file; remove the one that is not meant.")
    if need_labels and not labelled:
        raise UserError(f"{folder / 'labelsTr'}: holds no label maps named CASE{ending}.")
    for id_ in sorted(images - labelled) if need_labels else ():
        raise UserError(f"{folder / 'imagesTr'}: the case {id_!r} has no label map {folder / 'labelsTr' / (id_ + ending)}.")
    return [
        Files(
            id_,
            id_,
            tuple(folder / "imagesTr" / f"{id_}_{channel:04d}{ending}" for channel in range(channels)),
            folder / "labelsTr" / f"{id_}{ending}" if id_ in labelled else None,
        )
        for id_ in sorted(labelled | images)
    ]


def ids_by_name(folder: Path) -> set[str]:
    """Ids of the cases whose images lie in a folder, named `CASE.nii.gz` or, a file a channel, `CASE_0000.nii.gz`."""
    names = {path.name[: -len(ending)] for ending in ENDINGS for path in folder.glob(f"[!.]*{ending}")}
    return names | {name.rsplit("_", 1)[0] for name in names}


def _nnunet_listed(folder: Path, path: Path, listed: Any) -> list[Files]:
    try:
        return [
            Files(
                str(id_),
                str(id_),
                tuple(path_within(folder, str(image), str(path)) for image in entry["images"]),
                path_within(folder, str(entry["label"]), str(path)),
            )
            for id_, entry in listed.items()
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: the entry 'dataset' must name images and a label for every case ({error!r}).") from error


# Medical Segmentation Decathlon


def _decathlon(folder: Path, description: dict[str, Any]) -> Found:
    path = folder / "dataset.json"
    try:
        modality, labels = description["modality"], _entry(path, description, "labels")
        channels = tuple(str(modality[key]) for key in sorted(modality, key=int))
        if not channels:
            raise UserError(f'{path}: modality names no channel; expected such as {{"0": "MRI"}}.')
        classes, ignore = _classes(path, {str(name): int(value) for value, name in labels.items()})
        cases = []
        for entry in _entry(path, description, "training"):
            image, label = (path_within(folder, str(entry[name]), str(path)) for name in ("image", "label"))
            id_ = image.name[: -len(_ending(image))]
            _require(image, f"dataset.json lists it as the image of the case {id_!r}")
            _require(label, f"dataset.json lists it as the label map of the case {id_!r}")
            cases.append(Files(id_, id_, (image,), label))
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a Decathlon description ({error!r}).") from error
    if not cases:
        raise UserError(f"{path}: the entry 'training' lists no cases.")
    return Found("Decathlon", channels, classes, ignore, tuple(cases))


# BIDS


_NAME = re.compile(r"(?P<subject>sub-[^_/]+)(?:_(?P<session>ses-[^_]+))?(?:_.*)?_(?P<suffix>[A-Za-z0-9]+)")


def _bids(folder: Path, channels: Sequence[str] | None) -> Found:
    maps: dict[str, tuple[str, Path]] = {}
    for path in sorted(folder.glob("derivatives/*/sub-*/**/anat/[!.]*_dseg.nii*")):
        id_, subject, _ = _named(path)
        if id_ in maps:
            raise UserError(
                f"{path}: a second label map of {id_!r} beside {maps[id_][1]}. Leave one derivatives folder and one map a scan."
            )
        maps[id_] = subject, path
    if not maps:
        raise UserError(f"{folder / 'derivatives'}: holds no label maps …_dseg.nii.gz below TOOL/sub-*/[ses-*/]anat.")
    images: dict[str, dict[str, Path]] = {id_: {} for id_ in maps}
    for path in sorted(folder.glob("sub-*/**/anat/[!.]*.nii*")):
        id_, _, suffix = _named(path)
        if id_ not in images or (channels and suffix not in channels):
            continue
        if suffix in images[id_]:
            raise UserError(f"{path}: a second {suffix} of {id_!r} beside {images[id_][suffix]}. Leave one.")
        images[id_][suffix] = path
    wanted = tuple(channels or sorted({suffix for own in images.values() for suffix in own}))
    if not wanted:
        raise UserError(f"{folder}: no images below sub-*/[ses-*/]anat belong to the label maps in derivatives.")
    cases = []
    for id_, (subject, label) in maps.items():
        for channel in wanted:
            if channel not in images[id_]:
                raise UserError(
                    f"{folder}: {id_} has a label map but no {channel}. Add it, take the label map away, or choose --channels that all cases have."
                )
            _require(images[id_][channel], f"it is the {channel} of {id_}")
        _require(label, f"it is the label map of {id_}")
        cases.append(Files(id_, subject, tuple(images[id_][channel] for channel in wanted), label))
    tool = next(iter(maps.values()))[1].relative_to(folder / "derivatives").parts[0]
    return Found("BIDS", wanted, _bids_classes(folder / "derivatives" / tool / "dseg.tsv"), None, tuple(cases))


def _named(path: Path) -> tuple[str, str, str]:
    """Id, subject and suffix of a BIDS file."""
    match = _NAME.fullmatch(path.name[: -len(_ending(path))])
    if not match:
        raise UserError(f"{path}: not named as BIDS asks, sub-ID[_ses-ID][_…]_SUFFIX.nii.gz.")
    subject, session = match["subject"], match["session"]
    return f"{subject}_{session}" if session else subject, subject, match["suffix"]


def _bids_classes(path: Path) -> tuple[str, ...]:
    """Names from the table of a derivatives folder; without one the only class is called `structure`."""
    if not path.is_file():
        return "background", "structure"
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        labels = {str(row["name"]): int(row["index"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: expected the columns index and name ({error!r}).") from error
    if 0 not in labels.values():
        labels["background"] = 0
    return _classes(path, labels)[0]
