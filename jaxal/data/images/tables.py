"""Tables of images in all layouts: their lines, the files that they name, and the groups in their columns."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jaxal.data.groups import MISSING, Grouping, make_groups
from jaxal.data.images.listing import Listed
from jaxal.errors import UserError

ENDINGS = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".webp")


def read_table_rows(
    table: Path, columns: Sequence[str], perhaps_empty: Sequence[str] = ()
) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The lines of a table, each with a text that says where it stands.

    Args:
      table: with commas between its columns.
      columns: that must be there, with a value in every line.
      perhaps_empty: further columns that must be there.

    Raises:
      UserError: it cannot be read, a column is missing, or a value; the message names the line.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            _check_head(table, list(reader.fieldnames or []), (*columns, *perhaps_empty))
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


def file_of(id_: str, files: Mapping[str, Path], source: str) -> Path:
    """The file of the image that a line of a table names.

    Raises:
      UserError: there is none.
    """
    if id_ not in files:
        raise UserError(f"{source}: names the image {id_!r}, but there is no such file ({', '.join(ENDINGS)}).")
    return files[id_]


def with_groups(
    table: Path,
    images: Sequence[Listed],
    rows: Mapping[str, Mapping[str, str]],
    columns: Sequence[str],
    grouping: Grouping,
) -> tuple[list[Listed], tuple[str, ...]]:
    """Images with their groups of patients, and notes on those that were left out because they have none.

    Args:
      table: that holds the columns, for messages.
      images: as the layout names them.
      rows: the line of each image in that table, by id; an image may have none.
      columns: that name the groups; without any, nobody has a group.
      grouping: how numbers are cut, and what becomes of images without a value.

    Raises:
      UserError: the columns make no groups, or images lack a value and are not to be left out.
    """
    if not columns:
        return list(images), ()
    lacking = [image for image in images if any(rows.get(image.id, {}).get(name, "") in MISSING for name in columns)]
    named, without = " or ".join(map(repr, columns)), {image.id for image in lacking}
    if lacking and (grouping.without == "refuse" or len(lacking) == len(images)):
        advice = (
            "Fill them in, or leave these images out: --without-group leave-out."
            if len(lacking) < len(images)
            else "Fill them in, or name another --group-column."
        )
        raise UserError(
            f"{table}: {len(lacking)} of {len(images)} images have no value in the column {named}, {lacking[0].id!r} the first of them. {advice}"
        )
    kept = [image for image in images if image.id not in without]
    values = {image.id: {name: rows[image.id][name] for name in columns} for image in kept}
    groups = make_groups(table, values, columns, grouping.bins, grouping.quantiles)
    left_out = f"{len(lacking)} of {len(images)} images have no value in the column {named} and are left out."
    return [image._replace(group=groups[image.id]) for image in kept], (left_out,) if lacking else ()
