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
BraTS, which has no description       see `brats.py`

The group of each case, or of each subject in BIDS, is a column of DIR/participants.tsv (`groups.py`).
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxal.data.groups import read_rows
from jaxal.data.scans.brats import find_brats, holds_brats
from jaxal.data.scans.listing import CLASSES_AT_MOST, ENDINGS, Files, ScanListing
from jaxal.errors import UserError
from jaxal.files import path_within, why_no_file

MEANT = (
    "--data expects nnU-Net's layout, the Medical Segmentation Decathlon's (both have a dataset.json), BIDS (dataset_description.json) or that of BraTS "
    "(CASE/CASE_t1.nii.gz or CASE/CASE-t1n.nii.gz)."
)
DESCRIPTIONS = ("dataset.json", "dataset_description.json")


def holds_data_set(folder: Path) -> bool:
    """Whether a folder is in one of the layouts, by its names alone."""
    return any((folder / name).is_file() for name in DESCRIPTIONS) or holds_brats(folder)


def find_cases(folder: Path, channels: Sequence[str] | None = None, need_labels: bool = True) -> ScanListing:
    """Finds the cases of a folder in any of the layouts.

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
        listing = (
            _decathlon(folder, description, need_labels)
            if "channel_names" not in description and "modality" in description
            else _nnunet(folder, description, need_labels)
        )
    elif (folder / "dataset_description.json").is_file():
        listing = _bids(folder, channels, need_labels)
    elif holds_brats(folder):
        listing = find_brats(folder, need_labels)
    else:
        named = "the current folder, for --data is empty or a dot, " if folder == Path() else ""
        raise UserError(
            f"{folder.resolve() if named else folder}: {named}holds no dataset.json and no dataset_description.json. {MEANT}"
        )
    if channels and listing.layout != "BIDS":
        raise UserError(
            f"--channels chooses among the images of a BIDS folder; {folder} is in {listing.layout}'s layout, which takes all."
        )
    twice = [id_ for id_, count in Counter(case.id for case in listing.cases).items() if count > 1]
    if twice:
        raise UserError(f"{folder}: the case {twice[0]!r} is there twice. Ids must differ; remove or rename one.")
    for case in listing.cases:
        if "/" in case.id or case.id.startswith("."):
            raise UserError(f"{folder}: the case {case.id!r} has a name that no file can have. Rename it.")
    return listing._replace(cases=tuple(sorted(listing.cases)))


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
    labels = dict(labels)
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


def _is_whole(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return value >= 0 and value.is_integer()
    return value >= 0 if isinstance(value, int) else isinstance(value, str) and value.strip().isdecimal()


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 100 else f"{text[:97]}…"


def _channels(path: Path, entry: str, names: Any) -> tuple[str, ...]:
    """Names of channels, in the order of their numbers."""
    if not isinstance(names, dict) or not all(_is_whole(key) for key in names):
        raise UserError(f'{path}: {entry} is {_short(names)}; expected numbers and names, such as {{"0": "T1"}}.')
    if not names:
        raise UserError(f'{path}: {entry} names no channel; expected such as {{"0": "T1"}}.')
    return tuple(str(names[key]) for key in sorted(names, key=int))


# nnU-Net


def _nnunet(folder: Path, description: dict[str, Any], need_labels: bool) -> ScanListing:
    path = folder / "dataset.json"
    channels = _channels(path, "channel_names", _entry(path, description, "channel_names"))
    labels = _entry(path, description, "labels")
    if not isinstance(labels, dict) or not all(_is_whole(value) for value in labels.values()):
        regions = isinstance(labels, dict) and any(isinstance(value, list) for value in labels.values())
        hint = "; regions of several are not understood" if regions else ""
        raise UserError(
            f'{path}: labels are {_short(labels)}; expected names and numbers, such as {{"background": 0, "tumour": 1}}{hint}.'
        )
    labels = {str(name): int(value) for name, value in labels.items()}
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
    return ScanListing("nnU-Net", channels, classes, ignore, tuple(cases))


def _nnunet_by_name(folder: Path, ending: str, channels: int, need_labels: bool) -> list[Files]:
    labelled = {path.name[: -len(ending)] for path in (folder / "labelsTr").glob(f"[!.]*{ending}")}
    files = {
        path: re.fullmatch(r"(.+)_(\d{4})", path.name[: -len(ending)])
        for path in sorted((folder / "imagesTr").glob(f"[!.]*{ending}"))
    }
    images = {match[1] for match in files.values() if match}
    other = next(name for name in ENDINGS if name != ending)
    for part in ("imagesTr", "labelsTr"):
        for path in sorted((folder / part).glob(f"[!.]*{ending}")):
            if (twin := path.with_name(path.name[: -len(ending)] + other)).is_file():
                raise UserError(f"{twin}: lies beside {path.name}. One scan must be one file; remove the one that is not meant.")
    if need_labels and not labelled:
        present = sorted(path.name for path in (folder / "labelsTr").glob("[!.]*"))
        raise UserError(
            f"{folder / 'labelsTr'}: holds no label maps named CASE{ending}{f', but {present[0]}' if present else ''}. dataset.json names the ending "
            "(file_ending), .nii.gz unless it does. Rename the files, or change that entry."
        )
    for path, match in files.items():
        if not match:
            raise UserError(f"{path}: not named CASE_0000{ending}, with the channel's number at the end. Rename it.")
        if int(match[2]) >= channels:
            raise UserError(
                f"{path}: is of the channel {int(match[2])}, but dataset.json names {channels} channel{'s' if channels > 1 else ''}, from 0. Name "
                "it in channel_names, or rename or remove the file."
            )
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
    if not isinstance(listed, dict) or not listed:
        raise UserError(f"{path}: the entry 'dataset' is {_short(listed)}; it must name images and a label for every case.")
    cases = []
    for id_, entry in listed.items():
        images, label = (entry.get("images"), entry.get("label")) if isinstance(entry, dict) else (None, None)
        if not isinstance(label, str) or not isinstance(images, list) or not all(isinstance(image, str) for image in images):
            raise UserError(
                f"{path}: the entry 'dataset' has {_short(entry)} for the case {id_!r}; expected a list of images and a label, as paths."
            )
        inside = tuple(path_within(folder, image, str(path)) for image in images)
        cases.append(Files(id_, id_, inside, path_within(folder, label, str(path))))
    return cases


# Medical Segmentation Decathlon


def _decathlon(folder: Path, description: dict[str, Any], need_labels: bool) -> ScanListing:
    path = folder / "dataset.json"
    channels, labels = _channels(path, "modality", description["modality"]), _entry(path, description, "labels")
    if not isinstance(labels, dict) or not all(_is_whole(key) for key in labels):
        raise UserError(
            f'{path}: labels are {_short(labels)}; the Decathlon has numbers and names, such as {{"0": "background", "1": "tumour"}}.'
        )
    names = [str(name) for name in labels.values()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{path}: two labels have the name {twice[0]!r}. Names must differ.")
    classes, ignore = _classes(path, {str(name): int(value) for value, name in labels.items()})
    training = _entry(path, description, "training") if need_labels else description.get("training", [])
    if not isinstance(training, list) or (need_labels and not training):
        raise UserError(f"{path}: the entry 'training' is {_short(training)}; it must list an image and a label for every case.")
    unlabelled = [] if need_labels else [{"image": image} for image in description.get("test", [])]
    cases = []
    for entry in [*training, *unlabelled]:
        wanted = ("image", "label") if need_labels or (isinstance(entry, dict) and "label" in entry) else ("image",)
        if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in wanted):
            raise UserError(f"{path}: the entry 'training' lists {_short(entry)}; expected an image and a label, as paths.")
        image = path_within(folder, entry["image"], str(path))
        id_ = image.name[: -len(_ending(image))]
        _require(image, f"dataset.json lists it as the image of the case {id_!r}")
        label = path_within(folder, entry["label"], str(path)) if "label" in wanted else None
        if label:
            _require(label, f"dataset.json lists it as the label map of the case {id_!r}")
        cases.append(Files(id_, id_, (image,), label))
    return ScanListing("Decathlon", channels, classes, ignore, tuple(cases))


# BIDS


_NAME = re.compile(r"(?P<subject>sub-[^_/]+)(?:_(?P<session>ses-[^_]+))?(?:_.*)?_(?P<suffix>[A-Za-z0-9]+)")


def _bids(folder: Path, channels: Sequence[str] | None, need_labels: bool) -> ScanListing:
    maps: dict[str, tuple[str, Path]] = {}
    for path in sorted(folder.glob("derivatives/*/sub-*/**/anat/[!.]*_dseg.nii*")):
        id_, subject, _ = _named(path)
        if id_ in maps:
            raise UserError(
                f"{path}: a second label map of {id_!r} beside {maps[id_][1]}. Leave one derivatives folder and one map a scan."
            )
        maps[id_] = subject, path
    if not maps and need_labels:
        raise UserError(f"{folder / 'derivatives'}: holds no label maps …_dseg.nii.gz below TOOL/sub-*/[ses-*/]anat.")
    images: dict[str, dict[str, Path]] = {id_: {} for id_ in maps}
    subjects = {id_: subject for id_, (subject, _) in maps.items()}
    suffixes: set[str] = set()
    for path in sorted(folder.glob("sub-*/**/anat/[!.]*.nii*")):
        id_, subject, suffix = _named(path)
        if need_labels and id_ not in maps:
            continue
        suffixes.add(suffix)
        if channels and suffix not in channels:
            continue
        subjects[id_] = subject
        images.setdefault(id_, {})
        if suffix in images[id_]:
            raise UserError(f"{path}: a second {suffix} of {id_!r} beside {images[id_][suffix]}. Leave one.")
        images[id_][suffix] = path
    wanted = tuple(channels or sorted({suffix for by_suffix in images.values() for suffix in by_suffix}))
    if not wanted:
        raise UserError(f"{folder}: no images below sub-*/[ses-*/]anat belong to the label maps in derivatives.")
    _check_channels(folder, images, wanted, suffixes)
    cases = []
    for id_, subject in subjects.items():
        for channel in wanted:
            _require(images[id_][channel], f"it is the {channel} of {id_}")
        label = maps[id_][1] if id_ in maps else None
        if label:
            _require(label, f"it is the label map of {id_}")
        cases.append(Files(id_, subject, tuple(images[id_][channel] for channel in wanted), label))
    tool = next(iter(maps.values()))[1].relative_to(folder / "derivatives").parts[0] if maps else ""
    return ScanListing("BIDS", wanted, _bids_classes(folder / "derivatives" / tool / "dseg.tsv"), None, tuple(cases))


def _check_channels(
    folder: Path, images: Mapping[str, Mapping[str, Path]], wanted: Sequence[str], suffixes: Collection[str]
) -> None:
    """Makes sure that all cases have all channels; of those that have one and those that have not, the fewer are named."""
    if twice := [channel for channel in wanted if wanted.count(channel) > 1]:
        raise UserError(f"--channels names {twice[0]} twice.")
    for channel in wanted:
        having = [id_ for id_ in images if channel in images[id_]]
        lacking = [id_ for id_ in images if channel not in images[id_]]
        if not having:
            raise UserError(f"{folder}: no case has a {channel}; choose --channels among {', '.join(sorted(suffixes))}.")
        if lacking and len(lacking) <= len(having):
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            raise UserError(
                f"{folder}: {', '.join(lacking[:5])}{more} has no {channel}, which {len(having)} of {len(images)} cases have. Add "
                "it, leave the case out, or choose --channels that all cases have."
            )
        if lacking:
            more = f" and {len(having) - 5} more" if len(having) > 5 else ""
            raise UserError(
                f"{folder}: only {', '.join(having[:5])}{more} of {len(images)} cases has a {channel}. Rename or remove {images[having[0]][channel]}, "
                "or choose --channels that all cases have."
            )


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
    names, rows = read_rows(path)
    if strange := [line for line, row in rows if not _is_whole(row.get("index"))]:
        raise UserError(
            f"{path}, line {strange[0]}: expected a whole number in the column 'index'; the columns are {', '.join(names)}."
        )
    if not rows or not {"index", "name"} <= set(names):
        raise UserError(
            f"{path}: expected the columns index and name, and a line for each class; the columns are {', '.join(names) or 'none'}."
        )
    labels = {str(row["name"]): int(row["index"]) for _, row in rows}
    if 0 not in labels.values():
        labels["background"] = 0
    return _classes(path, labels)[0]
