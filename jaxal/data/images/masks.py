"""Folders of images with a mask each, in the layouts that people download: which mask is of which image. No pixel is read here.

GlaS, glands in histology of the colon (warwick.ac.uk/fac/cross_fac/tia/data/glascontest)
    DIR/Grade.csv                     name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)
    DIR/train_1.bmp                   and testA_1.bmp, testB_1.bmp: the published split
    DIR/train_1_anno.bmp              each gland has a number of its own
ISIC 2016 to 2018, outlines of skin lesions (challenge.isic-archive.com/data)
    DIR/..._Training_Data/ISIC_0000000.jpg                          or ..._Input; perhaps ..._Validation_... and ..._Test_...; or all beside each other
    DIR/..._Training_GroundTruth/ISIC_0000000_segmentation.png
Pairs
    DIR/images/X.png, DIR/masks/X.png                               or labels/
    DIR/X.png, DIR/X_mask.png                                       or X_anno, X_segmentation, X_label
    DIR/classes.json                  perhaps; or dataset.json with its labels
    DIR/participants.tsv              perhaps; or .csv: participant_id (X), group, subject

The group of each image is its grade in GlaS, elsewhere a column of the table of participants (`groups.py`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxal.data.groups import Grouping, columns_of, read_groups, read_rows
from jaxal.data.images.class_names import DEFAULT, ClassNames, read_class_names
from jaxal.data.images.layouts import UNREAD
from jaxal.data.images.tables import ENDINGS, files_by_stem
from jaxal.errors import UserError

MARKS = ("_anno", "_mask", "_segmentation", "_label")  # at the end of a mask's name, however it is spelt
MASK_FOLDERS = ("masks", "labels")
GRADES = ("benign", "malignant")
PARTS = {"Training": "train", "Validation": "validation", "Test": "test"}  # ISIC's words for its published split
MEANT = (
    "Expected are images/X.png with masks/X.png, X.png beside X_mask.png, GlaS (Grade.csv, train_1.bmp, train_1_anno.bmp) or ISIC "
    "(ISIC_0000000.jpg, ISIC_0000000_segmentation.png)."
)


class Masked(NamedTuple):
    """One image as a layout names it.

    Attributes:
      id: its name.
      image, mask: the files; no mask where nobody has drawn one.
      group: of patients.
      subject: whose it is; images of one subject stay in one split. The id when left out.
      part: of the published split that it is in, such as `train`; empty where none is known.
    """

    id: str
    image: Path
    mask: Path | None = None
    group: str = ""
    subject: str = ""
    part: str = ""


class MaskListing(NamedTuple):
    """What a folder holds.

    Attributes:
      layout: its name.
      names: what values in masks mean.
      instances: whether masks number objects instead of classes: each value above 0 is one object of the class 1.
      images: sorted by id.
    """

    layout: str
    names: ClassNames
    instances: bool
    images: tuple[Masked, ...]


def find_masks(
    folder: Path, instances: bool | None = None, need_masks: bool = True, grouping: Grouping | None = None
) -> MaskListing:
    """Finds the images of a folder and their masks, in any of the layouts.

    Args:
      folder: the data set; nothing is written to it.
      instances: whether masks number objects instead of classes; when left out, GlaS's do and others do not.
      need_masks: whether an image without a mask is a mistake.
      grouping: of patients.

    Raises:
      UserError: it is in none of the layouts, or files do not belong together; the message names the file.
    """
    grouping = grouping or Grouping()
    if not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder.")
    if grouping.column == "":
        raise UserError("--group-column is empty; it takes the name of a column. Leave it out for the column 'group'.")
    if table := _grades(folder):
        listing = _glas(table, grouping, need_masks)
    elif isic := _isic_folders(folder):
        listing = _isic(folder, isic, grouping, need_masks)
    else:
        listing = _pairs(folder, grouping, need_masks)
    if not listing.images:
        raise UserError(f"{folder}: holds no images ({', '.join(ENDINGS)}). {MEANT}")
    if instances and len(listing.names.classes) > 2:
        raise UserError(
            f"{folder}: {len(listing.names.classes)} classes are named ({', '.join(listing.names.classes)}), but masks of --instances number "
            "objects of one. Name two classes, or leave --instances out."
        )
    instances = listing.instances if instances is None else instances
    return listing._replace(instances=instances, images=tuple(sorted(listing.images)))


def holds_masks(folder: Path) -> bool:
    """Whether a folder is in one of the layouts, by its names alone."""
    if not folder.is_dir():
        return False
    if _grades(folder) or _isic_folders(folder):
        return True
    if (folder / "images").is_dir() and any((folder / name).is_dir() for name in MASK_FOLDERS):
        return True
    files = [path for path in folder.iterdir() if path.suffix.lower() in ENDINGS]
    stems = {path.stem for path in files}
    return any((whose := _whose(path.stem)) != path.stem and whose in stems for path in files)


def _whose(stem: str) -> str:
    """The name of the image that a mask is of; the stem itself where it has no mark."""
    mark = next((mark for mark in MARKS if stem.lower().endswith(mark)), "")
    return stem[: len(stem) - len(mark)]


def _divided(folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and masks that lie beside each other, by the image's name."""
    _check_endings(folder)
    files = files_by_stem(folder)
    images = {stem: path for stem, path in files.items() if _whose(stem) == stem}
    return images, _by_image(path for stem, path in files.items() if stem not in images)


def _by_image(paths: Iterable[Path]) -> dict[str, Path]:
    masks: dict[str, Path] = {}
    for path in paths:
        if (other := masks.setdefault(_whose(path.stem), path)) is not path:
            raise UserError(f"{path}: {other.name} is a mask of the same image. Remove one of them.")
    return masks


def _check_endings(folder: Path) -> None:
    if unread := sorted(path for path in folder.iterdir() if path.name.lower().endswith(UNREAD)):
        raise UserError(f"{unread[0]}: only {', '.join(ENDINGS)} are read. Convert it, or move it out of the folder.")


def _paired(images: Mapping[str, Path], masks: Mapping[str, Path], need_masks: bool) -> list[Masked]:
    """Each image with its mask.

    Raises:
      UserError: a mask has no image, or an image no mask.
    """
    for id_ in sorted(masks.keys() - images.keys()):
        raise UserError(
            f"{masks[id_]}: there is no image {id_!r} that it would be the mask of. Add the image, or remove the mask."
        )
    for id_ in sorted(images.keys() - masks.keys()) if need_masks else ():
        beside = next(iter(masks.values())).parent if masks else images[id_].parent
        named = f"{id_}{MARKS[1]}.png" if beside == images[id_].parent else f"{beside.name}/{id_}.png"
        raise UserError(f"{images[id_]}: has no mask. Add one (such as {named}), or leave the image out.")
    return [Masked(id_, image, masks.get(id_)) for id_, image in images.items()]


# GlaS


def _grades(folder: Path) -> Path | None:
    """The table of GlaS, in the folder or, as the archive has it, one below."""
    found = [folder / "Grade.csv", *sorted(folder.glob("*/Grade.csv"))]
    return next((path for path in found if path.is_file()), None)


def _glas(table: Path, grouping: Grouping, need_masks: bool) -> MaskListing:
    names, rows = read_rows(table, ",")
    column = (grouping.column or "grade (GlaS)").strip()
    if missing := {"name", "patient ID", column} - {name.strip() for name in names}:
        raise UserError(f"{table}: has no column {min(missing)!r}; its columns are {', '.join(map(repr, names)) or 'none'}.")
    if grouping.bins or grouping.quantiles:
        raise UserError(f"{table}: its grades are names, which --bins and --quantiles do not cut. Leave them out.")
    images, masks = _divided(table.parent)
    listed: dict[str, tuple[str, str]] = {}
    for line, row in rows:
        entry = {name.strip(): (value or "").strip() for name, value in row.items() if name}
        id_, grade = entry["name"], entry[column]
        if empty := next((name for name in ("name", "patient ID", column) if not entry[name]), None):
            raise UserError(f"{table}, line {line}: the column {empty!r} is empty. Fill it in.")
        if id_ in listed:
            raise UserError(f"{table}, line {line}: the image {id_!r} is listed twice. Remove one of the lines.")
        if id_ not in images:
            raise UserError(f"{table}, line {line}: names the image {id_!r}, but there is no such file ({', '.join(ENDINGS)}).")
        if column == "grade (GlaS)" and grade not in GRADES:
            raise UserError(f"{table}, line {line}: the grade of {id_!r} is {grade!r}; it must be {' or '.join(GRADES)}.")
        listed[id_] = grade, entry["patient ID"]
    for id_ in sorted(images.keys() - listed.keys()):
        raise UserError(
            f"{images[id_]}: {table.name} does not list it, so it has no grade. Add a line for it, or remove the file."
        )
    found = []
    for masked in _paired(images, masks, need_masks):
        part = re.fullmatch(r"(train|test[AB]?)_\d+", masked.id)
        grade, patient = listed[masked.id]
        found.append(masked._replace(group=grade, subject=patient, part=part[1] if part else ""))
    return MaskListing("GlaS", DEFAULT._replace(classes=("background", "gland")), True, tuple(found))


# ISIC


def _isic_folders(folder: Path) -> list[Path]:
    """The folders that hold outlines of ISIC's lesions."""
    folders = [folder, *sorted(folder.glob("*_GroundTruth"))]
    return [place for place in folders if any(place.glob("ISIC_*_[sS]egmentation.*"))]


def _isic(folder: Path, outlines: Sequence[Path], grouping: Grouping, need_masks: bool) -> MaskListing:
    images: dict[str, Path] = {}
    inputs = [folder, *sorted(path for end in ("Data", "Input") for path in folder.glob(f"*_{end}"))]
    named = (path for place in inputs for path in sorted(place.glob("ISIC_*")) if path.suffix.lower() in ENDINGS)
    for path in (path for path in named if re.fullmatch(r"ISIC_\d+", path.stem)):  # superpixels lie beside them
        if (other := images.setdefault(path.stem, path)) is not path:
            raise UserError(f"{path}: {other} has the same name. Ids must differ; remove one of them.")
    masks = _by_image(path for place in outlines for path in sorted(place.glob("ISIC_*_[sS]egmentation.*")))
    found = []
    for masked in _paired(images, masks, need_masks):
        word = next((word for word in PARTS if f"_{word}_" in masked.image.parent.name), "")
        found.append(masked._replace(part=PARTS.get(word, "")))
    names = DEFAULT._replace(classes=("background", "lesion"))
    return MaskListing("ISIC", names, False, tuple(_with_groups(folder, found, grouping)))


# Pairs


def _pairs(folder: Path, grouping: Grouping, need_masks: bool) -> MaskListing:
    inside = folder / "images"
    if inside.is_dir():
        there = [folder / name for name in MASK_FOLDERS if (folder / name).is_dir()]
        if len(there) > 1:
            raise UserError(f"{folder}: holds both masks and labels. Leave the one that is meant beside images.")
        if not there and need_masks:
            raise UserError(f"{folder}: holds images, but no folder masks or labels beside it. {MEANT}")
        for place in (inside, *there):
            _check_endings(place)
        images = files_by_stem(inside)
        masks: dict[str, Path] = {}
        for stem, path in (item for place in there for item in files_by_stem(place).items()):
            whose = stem if stem in images else _whose(stem)
            if (other := masks.setdefault(whose, path)) is not path:
                raise UserError(f"{path}: {other.name} is a mask of the same image. Remove one of them.")
    else:
        images, masks = _divided(folder)
    found = _with_groups(folder, _paired(images, masks, need_masks), grouping)
    return MaskListing("pairs", read_class_names(folder), False, tuple(found))


def _with_groups(folder: Path, images: Sequence[Masked], grouping: Grouping) -> list[Masked]:
    """Images with group and subject as the table of participants has them, if there is one."""
    table = next((path for end in ("tsv", "csv") if (path := folder / f"participants.{end}").is_file()), None)
    asked = grouping.column or (grouping.bins and "group")
    if table is None:
        if asked:
            raise UserError(
                f"{folder / 'participants.tsv'}: no such file. It has a column participant_id and a column {asked!r}."
            )
        return list(images)
    mark = "," if table.suffix == ".csv" else "\t"
    columns, ids = columns_of(table, mark), {image.id for image in images}
    column = asked or ("group" if "group" in columns else None)
    groups = read_groups(table, column, grouping.bins, grouping.quantiles) if column else {}
    for id_ in sorted(ids - groups.keys()) if column else ():
        raise UserError(f"{table}: does not list the image {id_!r}, so it has no group. Add a line for it.")
    for id_ in sorted(groups.keys() - ids):
        raise UserError(f"{table}: lists the image {id_!r}, but {folder} holds no such image.")
    subjects: dict[str, str] = {}
    if {"participant_id", "subject"} <= set(columns):
        subjects = {row["participant_id"]: (row["subject"] or "").strip() for _, row in read_rows(table, mark)[1]}
    return [image._replace(group=groups.get(image.id, ""), subject=subjects.get(image.id, "")) for image in images]
