"""What follows from what readers handed in, without anybody's help: readings of one case become one label, or a dispute."""

from jaxal.projects.project import Project


def settle(project: Project) -> None:
    """Merges what is complete; nothing happens where nothing is."""
