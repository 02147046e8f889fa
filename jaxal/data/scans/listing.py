"""What a folder of scans holds, whatever its layout, and what the values of its label maps mean."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxal.data.prepared import UNLABELLED
from jaxal.data.scans.nifti import Volume, read_label
from jaxal.errors import UserError

CLASSES_AT_MOST = 255  # the 256th number of a prepared label map means that a voxel is not annotated
ENDINGS = (".nii.gz", ".nii")


class Files(NamedTuple):
    """One case: its id, whose scan it is, its image files and its label map, if it has one."""

    id: str
    subject: str
    images: tuple[Path, ...]
    label: Path | None


class ScanListing(NamedTuple):
    """What a folder of scans holds.

    Attributes:
      layout: its name.
      channels, classes: names; class 0 is background.
      ignore: the value in label maps that means "not annotated", if there is one.
      cases: sorted by id.
      values: that the classes have in label maps, where they are not the classes' own numbers; else empty.
    """

    layout: str
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    ignore: int | None
    cases: tuple[Files, ...]
    values: tuple[int, ...] = ()

    @property
    def class_values(self) -> tuple[int, ...]:
        """What each class has for a value in label maps."""
        return self.values or tuple(range(len(self.classes)))

    @property
    def meaning(self) -> list[Any]:
        """What decides how files are understood, for digests. Values that are the classes' numbers are left out, as by versions that knew no others."""
        return [self.channels, self.classes, self.ignore, *([self.values] if self.values else [])]


def read_classes(path: Path, listing: ScanListing) -> Volume:
    """Reads a label map of a data set as numbers of classes, `[x, y, z]` uint8; what is not annotated is `UNLABELLED`.

    Raises:
      UserError: as `read_label`, or a value means nothing in this data set.
    """
    volume, known = read_label(path), listing.class_values
    unknown = [int(value) for value in np.unique(volume.values) if value not in known and value != listing.ignore]
    if unknown:
        consecutive = known == tuple(range(len(known)))
        named = f"0 to {len(known) - 1}" if consecutive else f"{', '.join(map(str, known[:-1]))} and {known[-1]}"
        raise UserError(f"{path}: holds the label {unknown[-1]}, which the data set does not name (its labels are {named}).")
    numbers = np.zeros(256, np.uint8)
    numbers[list(known)] = np.arange(len(known))
    if listing.ignore is not None:
        numbers[listing.ignore] = UNLABELLED
    return volume._replace(values=numbers[volume.values])
