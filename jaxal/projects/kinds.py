"""Which kind a project is of."""

from pathlib import Path

from jaxal.data.groups import columns_of
from jaxal.data.images import layouts
from jaxal.data.scans.layouts import ENDINGS
from jaxal.errors import UserError
from jaxal.projects.images.kind import IMAGES
from jaxal.projects.kind import Kind
from jaxal.projects.project import Project
from jaxal.projects.scans.kind import SCANS


def kind_of(project: Project) -> Kind:
    """The kind of a project that was started."""
    return SCANS if project.settings.of_scans else IMAGES


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
    if not data.is_dir() or any((data / name).is_file() for name in ("dataset.json", "dataset_description.json")):
        return SCANS
    if (data / "images.csv").is_file() or layouts.is_known_layout(data):
        return IMAGES
    images = next((path for path in data.rglob("[!.]*") if path.suffix.lower() in layouts.ENDINGS), None)
    scan = next((path for path in data.glob("[!.]*") if path.name.endswith(ENDINGS)), None)
    if images and scan:
        raise UserError(f"{data}: holds scans ({scan.name}) and images ({images.relative_to(data)}). Give a folder of one kind.")
    return IMAGES if images else SCANS
