"""Which kind a project is of."""

from pathlib import Path

from jaxal.data.groups import columns_of
from jaxal.data.images import layouts
from jaxal.data.images.masks import holds_masks
from jaxal.data.scans.layouts import holds_data_set
from jaxal.data.scans.listing import ENDINGS
from jaxal.errors import UserError
from jaxal.projects.images.kind import IMAGES
from jaxal.projects.kind import AskedUnits, Kind
from jaxal.projects.project import Project
from jaxal.projects.scans.kind import PARTS_OF_SCANS, SCANS
from jaxal.studies.units import check_units


def kind_of(project: Project) -> Kind:
    """The kind of a project that was started."""
    if project.settings.of_scans is None:
        return IMAGES
    return PARTS_OF_SCANS if project.asks_for_parts else SCANS


def kind_of_beginning(data: Path, units: AskedUnits) -> Kind:
    """The kind of project that data are for, with what is to be asked for at once.

    Raises:
      UserError: see `kind_of_data`; or the data have no such units, or a number is out of range.
    """
    if holds_masks(data):
        raise UserError(
            f"{data}: holds images with masks. A project asks readers for the class of an image, or for label maps of scans; of images with masks "
            "it asks for nothing yet. `jaxal simulate` goes through rounds on them."
        )
    kind = kind_of_data(data)
    if kind is IMAGES:
        if units != AskedUnits():
            raise UserError(
                f"--unit {units.unit}: {data} holds images with one class, of which no part can be asked for. Leave it out."
            )
        return kind
    check_units(units.options(), 3)
    if units.slice_axis is not None and units.unit != "slice":
        raise UserError("--slice-axis is for slices. Give --unit slice, too.")
    return SCANS if units.unit == "image" else PARTS_OF_SCANS


def kind_of_data(data: Path) -> Kind:
    """The kind of project that data are for: images where a table or the files say so, else scans, whose messages tell what is missing.

    Raises:
      UserError: there are scans and images, so that nobody can tell which is meant.
    """
    if data.suffix == ".npz" and data.is_file():
        raise UserError(
            f"{data}: a project needs a file for each image, which readers look at, and this is one file for all of them."
        )
    if data.is_file():
        return IMAGES if data.suffix == ".csv" and "path" in columns_of(data, ",") else SCANS
    if not data.is_dir() or holds_data_set(data):
        return SCANS
    if (data / "images.csv").is_file() or layouts.is_known_layout(data):
        return IMAGES
    images = next((path for path in data.rglob("[!.]*") if path.suffix.lower() in layouts.ENDINGS), None)
    scan = next((path for path in data.glob("[!.]*") if path.name.endswith(ENDINGS)), None)
    if images and scan:
        raise UserError(f"{data}: holds scans ({scan.name}) and images ({images.relative_to(data)}). Give a folder of one kind.")
    return IMAGES if images else SCANS
