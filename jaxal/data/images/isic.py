"""Skin lesions with one class each, as ISIC's challenges of 2018 and 2019 have them (challenge.isic-archive.com/data). No pixel is read here.

ISIC 2018, task 3
    DIR/ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv      image,MEL,NV,BCC,AKIEC,BKL,DF,VASC
    DIR/ISIC2018_Task3_Training_Input/ISIC_0024306.jpg
    DIR/ISIC2018_Task3_Training_LesionGroupings.csv                                      perhaps; a lesion is one subject
ISIC 2019
    DIR/ISIC_2019_Training_GroundTruth.csv      image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK
    DIR/ISIC_2019_Training_Metadata.csv         perhaps; image,age_approx,anatom_site_general,lesion_id,sex, and further columns of groups
    DIR/ISIC_2019_Training_Input/ISIC_0000000.jpg
"""

from collections.abc import Mapping
from pathlib import Path

from jaxal.data.groups import Grouping, columns_named, columns_of
from jaxal.data.images.listing import Listed, Listing
from jaxal.data.images.tables import file_of, files_by_stem, read_table_rows, with_groups
from jaxal.errors import UserError

SKIN_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
SKIN_CLASSES_2019 = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
UNKNOWN = "UNK"
TRUTH = "ISIC2018_Task3_Training_GroundTruth.csv"
TRUTH_2019 = "ISIC_2019_Training_GroundTruth.csv"
METADATA_2019 = "ISIC_2019_Training_Metadata.csv"
INPUT_2019 = "ISIC_2019_Training_Input"
COLUMNS_2019 = ("image", "age_approx", "anatom_site_general", "lesion_id", "sex")
SKIN_MEANT = (
    "Skin lesions: download the training data and ground truth of task 3 of ISIC 2018 (challenge.isic-archive.com/data/#2018), and give as --data a "
    "folder that holds ISIC2018_Task3_Training_GroundTruth.csv (image,MEL,NV,BCC,AKIEC,BKL,DF,VASC; in a folder of its own or not), "
    "ISIC2018_Task3_Training_Input/ISIC_0024306.jpg and so on, and ISIC2018_Task3_Training_LesionGroupings.csv, without which images of one lesion may "
    "be in two splits."
)
SKIN_MEANT_2019 = (
    "Skin lesions: download the training data, ground truth and metadata of ISIC 2019 (challenge.isic-archive.com/data/#2019), and give as --data a folder "
    f"that holds {TRUTH_2019}, {INPUT_2019}/ISIC_0000000.jpg and so on, and {METADATA_2019}, which has lesions and columns of groups."
)


def find_table(folder: Path, name: str) -> Path | None:
    """The table of this name, in the folder or anywhere below it; None without one."""
    return next(iter(sorted(folder.rglob(name))), None)


def read_skin_lesions(folder: Path) -> Listing:
    """ISIC 2018, task 3: seven kinds of lesion.

    Raises:
      UserError: a table or a file is missing or does not fit; the message names file and line.
    """
    table, images = find_table(folder, TRUTH), []
    if table is None:
        raise UserError(f"{folder}: holds no {TRUTH}. {SKIN_MEANT}")
    inside = folder / "ISIC2018_Task3_Training_Input"
    files = files_by_stem(inside if inside.is_dir() else folder)
    lesions = {}
    for groupings in folder.rglob("ISIC2018_Task3_Training_LesionGroupings.csv"):
        lesions = {row["image"]: row["lesion_id"] for _, row in read_table_rows(groupings, ("image", "lesion_id"))}
    for source, row in read_table_rows(table, ("image", *SKIN_CLASSES)):
        file = file_of(row["image"], files, source)
        category = _marked(row, SKIN_CLASSES, source)
        images.append(Listed(row["image"], category, "", lesions.get(row["image"], row["image"]), file, source))
    return Listing("ISIC 2018, task 3", SKIN_CLASSES, tuple(sorted(images)))


def read_skin_lesions_2019(folder: Path, grouping: Grouping | None = None) -> Listing:
    """ISIC 2019: eight kinds of lesion, or fewer where nobody has the others, and `UNK` where somebody has it.

    Images of one lesion are one subject; an image without a lesion is a subject of its own.

    Args:
      folder: of the data set.
      grouping: of patients, by columns of the metadata.

    Raises:
      UserError: a table, a file, or the group of an image is missing, or does not fit; the message names file and line.
    """
    table, metadata, grouping = find_table(folder, TRUTH_2019), find_table(folder, METADATA_2019), grouping or Grouping()
    if table is None:
        raise UserError(f"{folder}: holds no {TRUTH_2019}. {SKIN_MEANT_2019}")
    if metadata is None and grouping.column:
        raise UserError(f"{folder}: holds no {METADATA_2019}, which has the column {grouping.column!r}. Download it, too.")
    inside = [path for path in sorted(folder.rglob(INPUT_2019)) if path.is_dir()]
    files = files_by_stem(inside[-1] if inside else folder)  # some archives hold a folder of the same name within
    columns = columns_named(grouping.column, columns_of(metadata, ",")) if metadata and grouping.column else ()
    known = _metadata(metadata, columns) if metadata else {}
    names, images = (*SKIN_CLASSES_2019, UNKNOWN), []
    for source, row in read_table_rows(table, ("image", *SKIN_CLASSES_2019)):
        file, id_ = file_of(row["image"], files, source), row["image"]
        images.append(Listed(id_, _marked(row, names, source), "", known.get(id_, {}).get("lesion_id") or id_, file, source))
    found, notes = with_groups(metadata or table, images, known, columns, grouping)
    present = {image.category for image in found}
    if absent := [name for name in SKIN_CLASSES_2019 if name not in present]:
        notes = (*notes, f"No image is of the class {' or '.join(absent)}, so there is no such class.")
    return Listing("ISIC 2019", tuple(name for name in names if name in present), tuple(sorted(found)), notes=notes)


def _metadata(table: Path, columns: tuple[str, ...]) -> dict[str, Mapping[str, str]]:
    """What is known of each image, by its name."""
    known: dict[str, Mapping[str, str]] = {}
    for source, row in read_table_rows(table, ("image",), columns):
        if row["image"] in known:
            raise UserError(f"{source}: the image {row['image']!r} is listed twice. Remove one of the lines.")
        known[row["image"]] = row
    return known


def _marked(row: Mapping[str, str], names: tuple[str, ...], source: str) -> str:
    """The one class that a line marks with 1."""
    marked = [name for name in names if row.get(name) in ("1", "1.0")]
    if len(marked) != 1:
        raise UserError(f"{source}: {row['image']!r} has {len(marked)} classes marked with 1; it must have one.")
    return marked[0]
