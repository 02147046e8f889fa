"""Folders of images in the layouts that people download: which file is of which class. No pixel is read here.

Kaggle's diabetic retinopathy detection (kaggle.com/c/diabetic-retinopathy-detection)
    DIR/trainLabels.csv               image,level
    DIR/train/10_left.jpeg            or beside the table; both eyes are one subject
ISIC 2018, task 3, and ISIC 2019 (`isic.py` shows both)
MedMNIST
    FILE.npz                          {train,val,test}_{images,labels}
A table
    DIR/images.csv                    path,label, perhaps subject, and columns of groups
Folders
    DIR/CLASS/IMAGE.png               one folder a class
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxal.data.groups import Grouping, columns_named, columns_of
from jaxal.data.images import isic
from jaxal.data.images.listing import CLASSES_AT_MOST, Listed, Listing
from jaxal.data.images.tables import ENDINGS, file_of, files_by_stem, read_table_rows, with_groups
from jaxal.errors import UserError
from jaxal.files import path_within

UNREAD = (".gif", ".dcm", ".heic", ".avif", ".jp2", ".ppm", ".pgm", ".nii", ".nii.gz")  # images, too, and so not passed over
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}  # names of folders that are no classes
RETINOPATHY_CLASSES = ("no DR", "mild", "moderate", "severe", "proliferative")
RETINOPATHY_MEANT = (
    "Diabetic retinopathy: download train.zip and trainLabels.csv of kaggle.com/c/diabetic-retinopathy-detection, and give as --data a folder that "
    "holds trainLabels.csv (image,level) and the images as train/10_left.jpeg, or beside the table."
)
MEANT = (
    "--data expects a table images.csv (path,label), one folder a class, a MedMNIST .npz, Kaggle's diabetic retinopathy (trainLabels.csv), ISIC 2018, "
    f"task 3 ({isic.TRUTH}) or ISIC 2019 ({isic.TRUTH_2019})."
)


def find_images(folder: Path, grouping: Grouping | None = None) -> Listing:
    """Finds the images of a folder in any of the layouts.

    Args:
      folder: the data set, or a MedMNIST file.
      grouping: of patients, by columns of `images.csv` or of ISIC 2019's metadata.

    Raises:
      UserError: it is in none of the layouts, or a table does not fit; the message names file and line.
    """
    grouping = grouping or Grouping()
    _check_grouping(grouping)
    if folder.suffix == ".npz" and folder.is_file():
        listing = read_medmnist(folder)
    elif not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder.")
    elif (folder / "images.csv").is_file():
        return read_table(folder, grouping)
    elif (folder / "trainLabels.csv").is_file():
        listing = read_retinopathy(folder)
    elif isic.find_table(folder, isic.TRUTH):
        listing = isic.read_skin_lesions(folder)
    elif isic.find_table(folder, isic.TRUTH_2019):
        return isic.read_skin_lesions_2019(folder, grouping)
    else:
        listing = read_folders(folder)
    if grouping.column:
        raise UserError(
            f"--group-column names a column of images.csv or of ISIC 2019's metadata; {folder} is in the layout {listing.layout}, which has no groups."
        )
    return listing


def _check_grouping(grouping: Grouping) -> None:
    """Makes sure that nothing is asked of groups that no column names."""
    if grouping.column == "":
        raise UserError("--group-column is empty; it takes the name of a column of the table.")
    given = {"bins": bool(grouping.bins), "quantiles": bool(grouping.quantiles), "without-group": grouping.without != "refuse"}
    if not grouping.column and (idle := [name for name, is_given in given.items() if is_given]):
        raise UserError(f"--{idle[0]} is about groups, and no --group-column names them. Name one, or leave --{idle[0]} out.")


def is_known_layout(folder: Path) -> bool:
    """Whether a folder is in a layout whose table tells every image's class."""
    return (folder / "trainLabels.csv").is_file() or any(isic.find_table(folder, name) for name in (isic.TRUTH, isic.TRUTH_2019))


def read_retinopathy(folder: Path) -> Listing:
    """Kaggle's diabetic retinopathy: five grades."""
    table, images = folder / "trainLabels.csv", []
    if not table.is_file():
        raise UserError(f"{folder}: holds no trainLabels.csv. {RETINOPATHY_MEANT}")
    files = files_by_stem(folder / "train" if (folder / "train").is_dir() else folder)
    for source, row in read_table_rows(table, ("image", "level")):
        level = row["level"]
        if level not in [str(number) for number in range(len(RETINOPATHY_CLASSES))]:
            raise UserError(
                f"{source}: the level of {row['image']!r} is {level!r}; it must be 0 to {len(RETINOPATHY_CLASSES) - 1}."
            )
        subject = row["image"].rpartition("_")[0] or row["image"]
        file = file_of(row["image"], files, source)
        images.append(Listed(row["image"], RETINOPATHY_CLASSES[int(level)], "", subject, file, source))
    return Listing("Kaggle diabetic retinopathy", RETINOPATHY_CLASSES, tuple(sorted(images)))


def read_table(folder: Path, grouping: Grouping | None = None, need_labels: bool = True, table: Path | None = None) -> Listing:
    """A table of paths and classes; classes are numbered in alphabetical order, numbers by size.

    Args:
      folder: that paths are relative to.
      grouping: of patients, by columns of the table.
      need_labels: whether every line must have a class; else there may be none, and a column `group` need not be asked for by name.
      table: `images.csv` in the folder when left out.

    Raises:
      UserError: a column or a value is missing, or there are too many groups.
    """
    table, grouping, images = table or folder / "images.csv", grouping or Grouping(), []
    names = columns_of(table, ",") if grouping.column or not need_labels else []
    if grouping.column is None and "group" in names:
        grouping = grouping._replace(column="group")
    columns = columns_named(grouping.column, names) if grouping.column else ()
    rows = {}
    for source, row in read_table_rows(table, ("path", *(["label"] if need_labels else [])), columns):
        file = path_within(folder, row["path"], source)
        if "\\" in row["path"] and not file.exists():
            raise UserError(
                f"{source}: the path {row['path']!r} is written with backslashes. Write it with /, which all systems understand."
            )
        images.append(Listed(row["path"], row.get("label", ""), "", row.get("subject") or row["path"], file, source))
        rows[row["path"]] = row
    found, notes = with_groups(table, images, rows, columns, grouping)
    classes = sorted({image.category for image in found} - {""}, key=_numbers_by_size)
    return Listing("images.csv", tuple(classes), tuple(sorted(found)), notes=notes)


def read_folders(folder: Path) -> Listing:
    """One folder a class, with images anywhere below it."""
    images = []
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(inside) > 1 and {path.name.lower() for path in inside} <= SPLITS and any(_folders_in(path) for path in inside):
        raise UserError(
            f"{folder}: its folders {', '.join(path.name for path in inside)} are splits, not classes. Splits are drawn anew here: give a folder "
            f"that holds one folder a class, such as {inside[0]}."
        )
    unread: list[Path] = []
    for path in inside:
        files = [file for file in sorted(path.rglob("*")) if not file.is_dir() and not file.name.startswith(".")]
        unread += [file for file in files if file.name.lower().endswith(UNREAD)]
        of_class = [file for file in files if file.suffix.lower() in ENDINGS]
        images += [Listed(str(file.relative_to(folder)), path.name, "", "", file, f"the folder {path}") for file in of_class]
    if unread and (images or not unread[0].name.lower().endswith((".nii", ".nii.gz"))):  # scans alone are told of below
        raise UserError(f"{unread[0]}: only {', '.join(ENDINGS)} are read. Convert it, or move it out of the folder.")
    classes = sorted({image.category for image in images}, key=_numbers_by_size)
    if len(classes) < 2:
        raise UserError(f"{folder}: {_what_there_is(folder, images)}. {MEANT}")
    if empty := [path for path in inside if path.name not in classes]:
        raise UserError(
            f"{empty[0]}: holds no image ({', '.join(ENDINGS)}), and so would be a class of none. Add some, or move the folder out."
        )
    return Listing("folders", tuple(classes), tuple(sorted(images)))


def _folders_in(folder: Path) -> bool:
    return any(path.is_dir() for path in folder.iterdir())


def _what_there_is(folder: Path, images: Sequence[Listed]) -> str:
    """Why a folder is in no layout, for somebody who meant another one or another folder."""
    if scans := sorted(path for depth in ("", "*/", "*/*/", "*/*/*/") for path in folder.glob(f"{depth}[!.]*.nii*")):
        description = next((above for above in folder.resolve().parents if (above / "dataset.json").is_file()), None)
        advice = (
            f"Give {description}, which holds one" if description else "docs/own-data.md shows what folders of scans look like"
        )
        return f"holds scans ({scans[0].relative_to(folder)}), but no dataset.json and no dataset_description.json. {advice}"
    if images:
        return f"all {len(images)} images are of the class {images[0].category!r}, and there must be at least two classes"
    if flat := [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS]:
        return f"holds {len(flat)} images, but no folders and no table that would tell their classes"
    return "no images of at least two classes were found, and no scans with a dataset.json or a dataset_description.json"


def read_medmnist(file: Path) -> Listing:
    """A MedMNIST file; its own splits are joined, since active learning needs a pool, an evaluation and a test split of the same kind."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            parts = [(name, arrays[f"{name}_images"], arrays[f"{name}_labels"]) for name in ("train", "val", "test")]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{file}: is no MedMNIST file with train, val and test images and labels ({error}).") from error
    for name, pixels, labels in parts:
        flat = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[-1] in (1, 3))
        if pixels.dtype != np.uint8 or not flat or not pixels.size or labels.shape[:1] != (len(pixels),):
            raise UserError(
                f"{file}: {name}_images is {pixels.dtype} {pixels.shape} and {name}_labels {labels.shape}; two-dimensional images of bytes are expected, grey or with three colours."
            )
        if labels.reshape(len(labels), -1).shape[1] != 1:
            raise UserError(f"{file}: {name}_labels has several labels an image; one is expected.")
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= CLASSES_AT_MOST:
            span = f" from {labels.min()} to {labels.max()}" if labels.dtype.kind in "iuf" else ""
            raise UserError(
                f"{file}: {name}_labels are {labels.dtype}{span}; whole numbers from 0 to {CLASSES_AT_MOST - 1} are expected."
            )
        if pixels.shape[1:] != parts[0][1].shape[1:]:
            raise UserError(
                f"{file}: {name}_images is {pixels.shape}, but train_images is {parts[0][1].shape}. All images must have one size and as many channels."
            )
    pixels = np.concatenate([part for _, part, _ in parts])
    labels = np.concatenate([part.reshape(-1) for _, _, part in parts])
    width = len(str(len(labels)))
    images = tuple(
        Listed(f"{place:0{width}d}", str(label), source=f"{file}, image {place}") for place, label in enumerate(labels)
    )
    return Listing("MedMNIST", tuple(str(number) for number in range(int(labels.max()) + 1)), images, pixels)


def _numbers_by_size(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if name.replace(".", "", 1).isdecimal() else (1, 0.0, name)
