"""Folders of images in the layouts that people download: which file is of which class. No pixel is read here.

Kaggle's diabetic retinopathy detection (kaggle.com/c/diabetic-retinopathy-detection)
    DIR/trainLabels.csv               image,level
    DIR/train/10_left.jpeg            or beside the table; both eyes are one subject
ISIC 2018, task 3 (challenge.isic-archive.com/data)
    DIR/ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv      image,MEL,NV,BCC,AKIEC,BKL,DF,VASC
    DIR/ISIC2018_Task3_Training_Input/ISIC_0024306.jpg
    DIR/ISIC2018_Task3_Training_LesionGroupings.csv                                      perhaps; a lesion is one subject
MedMNIST
    FILE.npz                          {train,val,test}_{images,labels}
A table
    DIR/images.csv                    path,label, perhaps subject, and columns of groups
Folders
    DIR/CLASS/IMAGE.png               one folder a class
"""

import csv
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.data.groups import GROUPS_AT_MOST, columns_of
from jaxal.data.images.listing import CLASSES_AT_MOST, Listed, Listing
from jaxal.errors import UserError
from jaxal.files import path_within

ENDINGS = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".webp")
UNREAD = (".gif", ".dcm", ".heic", ".avif", ".jp2", ".ppm", ".pgm", ".nii", ".nii.gz")  # images, too, and so not passed over
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}  # names of folders that are no classes
RETINOPATHY_CLASSES = ("no DR", "mild", "moderate", "severe", "proliferative")
SKIN_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
RETINOPATHY_MEANT = (
    "Diabetic retinopathy: download train.zip and trainLabels.csv of kaggle.com/c/diabetic-retinopathy-detection, and give as --data a folder that "
    "holds trainLabels.csv (image,level) and the images as train/10_left.jpeg, or beside the table."
)
SKIN_MEANT = (
    "Skin lesions: download the training data and ground truth of task 3 of ISIC 2018 (challenge.isic-archive.com/data/#2018), and give as --data a "
    "folder that holds ISIC2018_Task3_Training_GroundTruth.csv (image,MEL,NV,BCC,AKIEC,BKL,DF,VASC; in a folder of its own or not), "
    "ISIC2018_Task3_Training_Input/ISIC_0024306.jpg and so on, and ISIC2018_Task3_Training_LesionGroupings.csv, without which images of one lesion may "
    "be in two splits."
)
MEANT = (
    "--data expects a table images.csv (path,label), one folder a class, a MedMNIST .npz, Kaggle's diabetic retinopathy (trainLabels.csv) or ISIC 2018, "
    "task 3 (ISIC2018_Task3_Training_GroundTruth.csv)."
)


def find_images(folder: Path, group_column: str | None = None) -> Listing:
    """Finds the images of a folder in any of the layouts.

    Args:
      folder: the data set, or a MedMNIST file.
      group_column: of `images.csv`, the column that names each image's group of patients.

    Raises:
      UserError: it is in none of the layouts, or a table does not fit; the message names file and line.
    """
    if group_column == "":
        raise UserError("--group-column is empty; it takes the name of a column of images.csv.")
    if folder.suffix == ".npz" and folder.is_file():
        listing = read_medmnist(folder)
    elif not folder.is_dir():
        raise UserError(f"--data {folder}: no such folder.")
    elif (folder / "images.csv").is_file():
        return read_table(folder, group_column)
    elif (folder / "trainLabels.csv").is_file():
        listing = read_retinopathy(folder)
    elif _isic_table(folder) is not None:
        listing = read_skin_lesions(folder)
    else:
        listing = read_folders(folder)
    if group_column:
        raise UserError(
            f"--group-column names a column of images.csv; {folder} is in the layout {listing.layout}, which has no groups."
        )
    return listing


def is_known_layout(folder: Path) -> bool:
    """Whether a folder is in a layout whose table tells every image's class."""
    return (folder / "trainLabels.csv").is_file() or _isic_table(folder) is not None


def read_retinopathy(folder: Path) -> Listing:
    """Kaggle's diabetic retinopathy: five grades."""
    table, images = folder / "trainLabels.csv", []
    if not table.is_file():
        raise UserError(f"{folder}: holds no trainLabels.csv. {RETINOPATHY_MEANT}")
    files = files_by_stem(folder / "train" if (folder / "train").is_dir() else folder)
    for source, row in _rows(table, ("image", "level")):
        level = row["level"]
        if level not in [str(number) for number in range(len(RETINOPATHY_CLASSES))]:
            raise UserError(
                f"{source}: the level of {row['image']!r} is {level!r}; it must be 0 to {len(RETINOPATHY_CLASSES) - 1}."
            )
        subject = row["image"].rpartition("_")[0] or row["image"]
        file = _file_of(row["image"], files, source)
        images.append(Listed(row["image"], RETINOPATHY_CLASSES[int(level)], "", subject, file, source))
    return Listing("Kaggle diabetic retinopathy", RETINOPATHY_CLASSES, tuple(sorted(images)))


def read_skin_lesions(folder: Path) -> Listing:
    """ISIC 2018, task 3: seven kinds of lesion."""
    table, images = _isic_table(folder), []
    if table is None:
        raise UserError(f"{folder}: holds no ISIC2018_Task3_Training_GroundTruth.csv. {SKIN_MEANT}")
    inside = folder / "ISIC2018_Task3_Training_Input"
    files = files_by_stem(inside if inside.is_dir() else folder)
    lesions = {}
    for groupings in folder.rglob("ISIC2018_Task3_Training_LesionGroupings.csv"):
        lesions = {row["image"]: row["lesion_id"] for _, row in _rows(groupings, ("image", "lesion_id"))}
    for source, row in _rows(table, ("image", *SKIN_CLASSES)):
        marked = [name for name in SKIN_CLASSES if row[name] in ("1", "1.0")]
        if len(marked) != 1:
            raise UserError(f"{source}: {row['image']!r} has {len(marked)} classes marked with 1; it must have one.")
        file = _file_of(row["image"], files, source)
        images.append(Listed(row["image"], marked[0], "", lesions.get(row["image"], row["image"]), file, source))
    return Listing("ISIC 2018, task 3", SKIN_CLASSES, tuple(sorted(images)))


def read_table(folder: Path, group_column: str | None = None, need_labels: bool = True, table: Path | None = None) -> Listing:
    """A table of paths and classes; classes are numbered in alphabetical order, numbers by size.

    Args:
      folder: that paths are relative to.
      group_column: names each image's group of patients.
      need_labels: whether every line must have a class; else there may be none, and a column `group` need not be asked for by name.
      table: `images.csv` in the folder when left out.

    Raises:
      UserError: a column or a value is missing, or there are too many groups.
    """
    table, images = table or folder / "images.csv", []
    if group_column is None and not need_labels and "group" in columns_of(table, ","):
        group_column = "group"
    needed = ("path", *(["label"] if need_labels else []), *([group_column] if group_column else []))
    for source, row in _rows(table, needed):
        file = path_within(folder, row["path"], source)
        if "\\" in row["path"] and not file.exists():
            raise UserError(
                f"{source}: the path {row['path']!r} is written with backslashes. Write it with /, which all systems understand."
            )
        images.append(
            Listed(
                row["path"],
                row["label"] if need_labels else row.get("label", ""),
                row[group_column] if group_column else "",
                row.get("subject") or row["path"],
                file,
                source,
            )
        )
    groups = {image.group for image in images}
    if len(groups) > GROUPS_AT_MOST:
        raise UserError(
            f"{table}: the column {group_column!r} holds {len(groups)} different values. Groups are few (at most {GROUPS_AT_MOST}): join them, "
            "or name another --group-column."
        )
    classes = sorted({image.category for image in images} - {""}, key=_numbers_by_size)
    return Listing("images.csv", tuple(classes), tuple(sorted(images)))


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


def _isic_table(folder: Path) -> Path | None:
    return next(iter(sorted(folder.rglob("ISIC2018_Task3_Training_GroundTruth.csv"))), None)


def _rows(table: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The lines of a table, each with a text that says where it stands."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_head(table, list(reader.fieldnames or []), columns)
            for row in reader:
                source = f"{table}, line {reader.line_num}"
                if None in row:
                    raise UserError(
                        f"{source}: has more fields than there are columns. Put fields that hold a comma into double quotes."
                    )
                empty = [name for name in columns if not (row[name] or "").strip()]
                if empty:
                    raise UserError(f"{source}: the column {empty[0]!r} is empty.")
                yield source, {name: (value or "").strip() for name, value in row.items() if name}
            if reader.line_num < 2:
                raise UserError(f"{table}: holds no lines below its head.")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: cannot be read ({error}). Save it as comma-separated text in UTF-8.") from error


def _check_head(table: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    others = {";": "semicolons", "\t": "tabs"}
    if len(names) == 1 and (separated := next((others[mark] for mark in others if mark in names[0]), None)):
        raise UserError(f"{table}: its columns are separated by {separated}; save it with commas.")
    if missing := [name for name in columns if name not in names]:
        listed = ", ".join(map(repr, names)) or "none"
        raise UserError(f"{table}: has no column {missing[0]!r}; its columns are {listed}. Rename one of them, or add it.")


def files_by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without ending.

    Raises:
      UserError: two differ in nothing but their ending.
    """
    by_stem: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            if path.stem in by_stem:
                raise UserError(
                    f"{path}: {by_stem[path.stem].name} beside it has the same name but for its ending. Remove one of them."
                )
            by_stem[path.stem] = path
    return by_stem


def _file_of(id_: str, files: Mapping[str, Path], source: str) -> Path:
    if id_ not in files:
        raise UserError(f"{source}: names the image {id_!r}, but there is no such file ({', '.join(ENDINGS)}).")
    return files[id_]


def _numbers_by_size(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if name.replace(".", "", 1).isdecimal() else (1, 0.0, name)
