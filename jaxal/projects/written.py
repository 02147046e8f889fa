"""What people look at, written anew after every verb."""

from jaxal.projects.page import write_page
from jaxal.projects.project import Project
from jaxal.projects.review_page import write_review
from jaxal.projects.status import Status
from jaxal.projects.worklists import write_all


def refresh(project: Project, stands: Status | None = None) -> None:
    """Writes anew what people look at: every reader's worklist, and the project's pages."""
    write_all(project)
    write_page(project, stands)
    write_review(project)
