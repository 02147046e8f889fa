"""Images of which readers will say the class, and of which some may have one already.

A table
    DIR/images.csv                    path, perhaps label (empty where nobody knows), subject, and columns of groups
Folders
    DIR/IMAGE.png                     nobody knows the class
    DIR/CLASS/IMAGE.png               if the folder is called like a class; other folders say nothing
"""

from collections.abc import Sequence
from pathlib import Path

from jaxal.data.groups import Grouping
from jaxal.data.images.decoded import Listed, Listing
from jaxal.data.images.layouts import UNREAD, read_table
from jaxal.data.images.tables import ENDINGS
from jaxal.errors import UserError


def find_unlabelled(data: Path, classes: Sequence[str], grouping: Grouping | None = None) -> Listing:
    """Finds images whose classes need not be known; their category is empty where they are not.

    Args:
      data: the folder, or its table.
      classes: of which readers choose; as the table has them when empty.
      grouping: which column of the table names each image's group of patients.

    Raises:
      UserError: there are no images, nothing tells the classes, or a label is none of them.
    """
    folder = data.parent if data.suffix == ".csv" else data
    table = data if data.suffix == ".csv" else folder / "images.csv"
    if table.is_file():
        listing = read_table(folder, grouping, need_labels=False, table=table)
    elif grouping and grouping.column:
        raise UserError(f"--group-column names a column of images.csv, and {folder} holds no such table.")
    else:
        listing = _read_files(folder, classes)
    known = tuple(classes) or listing.classes
    if len(known) < 2:
        told = f"only {known[0]!r} is known" if known else "nothing there tells the classes"
        raise UserError(f"{data}: {told}. Name all that readers choose from: --labels benign,malignant.")
    for image in listing.images:
        if image.category and image.category not in known:
            raise UserError(
                f"{image.source}: {image.id!r} has the class {image.category!r}, and --labels names {', '.join(known)}."
            )
    return listing._replace(classes=known)


def _read_files(folder: Path, classes: Sequence[str]) -> Listing:
    """All images below a folder. One that lies in a folder which is called like a class has that class."""
    images = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".") for part in name.parts):
            continue
        if path.suffix.lower() in ENDINGS:
            category = next((part for part in name.parts[:-1] if part in classes), "")
            images.append(Listed(name.as_posix(), category, "", "", path, f"the folder {path.parent}"))
        elif name.name.lower().endswith(UNREAD):
            raise UserError(f"{path}: only {', '.join(ENDINGS)} are read. Convert it, or move it out of the folder.")
    if not images:
        raise UserError(f"{folder}: holds no images ({', '.join(ENDINGS)}).")
    return Listing("folders", tuple(classes), tuple(sorted(images)))
