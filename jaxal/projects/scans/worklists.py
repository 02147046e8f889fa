"""What a worklist shows of a scan."""

from jaxal.projects.project import Project
from jaxal.projects.state import State
from jaxal.worklists.items import Item


def complete(project: Project, state: State, reader: str, item: Item) -> Item:
    """An item with the files of the network's proposal, where its reader may see it, and of where the network is unsure."""
    reading = state.cases[item.case].readings[reader]
    paths = {
        ending: project.proposal_path(item.case, reading.round, ending).resolve()
        for ending in (".seg.nrrd", ".nii.gz", ".unsure.nii.gz")
    }
    there = {ending: path if path.is_file() else None for ending, path in paths.items()}
    return item._replace(
        proposal_seg=there[".seg.nrrd"] if project.shows(reading) else None,
        proposal_nifti=there[".nii.gz"] if project.shows(reading) else None,
        uncertainty=there[".unsure.nii.gz"] if project.shows(reading) else None,  # it outlines what the network sees
    )
