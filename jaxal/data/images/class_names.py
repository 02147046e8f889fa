"""What the values in masks mean, as a file beside them says, or as the values themselves tell."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.data.images.listing import CLASSES_AT_MOST
from jaxal.errors import UserError

EXPECTED = 'expected such as {"background": 0, "gland": 1, "tumour": 2}, with a background 0'


class ClassNames(NamedTuple):
    """What the values in masks mean.

    Attributes:
      classes: in the order of their numbers; the first is the background.
      values: from a value in a mask to a class's number; None where there are two classes, whose values are 0 and 1, or 0 and 255.
      ignore: the value that means "not annotated", if there is one.
      source: the file that says so; None where nothing does.
    """

    classes: tuple[str, ...]
    values: Mapping[int, int] | None = None
    ignore: int | None = None
    source: Path | None = None


DEFAULT = ClassNames(("background", "object"))


def read_class_names(folder: Path) -> ClassNames:
    """Reads `classes.json`, a list of names or an object of names and values, or the `labels` of `dataset.json`; `DEFAULT` without either.

    As in nnU-Net, a name `ignore` stands for what nobody annotated.

    Raises:
      UserError: the file is not understood.
    """
    path = next((path for name in ("classes.json", "dataset.json") if (path := folder / name).is_file()), None)
    if path is None:
        return DEFAULT
    try:
        described = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}). Restore the file.") from error
    labels = described.get("labels", described) if isinstance(described, dict) else described
    if isinstance(labels, list):
        labels = (
            {name: place for place, name in enumerate(labels)} if len({str(name) for name in labels}) == len(labels) else labels
        )
    if not isinstance(labels, dict) or not all(_is_value(value) for value in labels.values()):
        raise UserError(f"{path}: its classes are {json.dumps(labels)[:100]}; {EXPECTED}.")
    return _named(path, {str(name): value for name, value in labels.items()})


def _is_value(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**16


def _named(path: Path, labels: dict[str, int]) -> ClassNames:
    ignore = labels.pop("ignore", None)
    classes = tuple(sorted(labels, key=labels.__getitem__))
    values = [labels[name] for name in classes]
    if not 2 <= len(classes) <= CLASSES_AT_MOST or values[0] != 0 or len({*values, ignore}) <= len(values):
        raise UserError(f"{path}: its classes are {labels}; {EXPECTED}, different values, and at most {CLASSES_AT_MOST} classes.")
    found_out = values == [0, 1] and ignore is None
    return ClassNames(classes, None if found_out else {value: place for place, value in enumerate(values)}, ignore, path)
