"""Which kind a project is of."""

from pathlib import Path

from jaxal.projects.kind import Kind
from jaxal.projects.project import Project
from jaxal.projects.scans.kind import SCANS


def kind_of(project: Project) -> Kind:
    """The kind of a project that was started."""
    return SCANS


def kind_of_data(data: Path) -> Kind:
    """The kind of project that data are for."""
    return SCANS
