"""What a worklist shows of a scan."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxal.labels.writing import write_nifti
from jaxal.projects.project import Project
from jaxal.projects.scans.labels import grid_of
from jaxal.projects.state import State
from jaxal.types import Part
from jaxal.worklists.items import AskedPart, Item
from jaxal.worklists.parts import middle_of, words_of_part


def complete(project: Project, state: State, reader: str, item: Item) -> Item:
    """An item with the files of the network's proposal, where its reader may see it, of where the network is unsure, and of what is asked for."""
    reading = state.cases[item.case].readings[reader]
    paths = {
        ending: project.proposal_path(item.case, reading.round, ending).resolve()
        for ending in (".seg.nrrd", ".nii.gz", ".unsure.nii.gz")
    }
    there = {ending: path if path.is_file() else None for ending, path in paths.items()}
    parts, grid = state.cases[item.case].asked_parts, grid_of(project.cases[item.case])
    return item._replace(
        proposal_seg=there[".seg.nrrd"] if project.shows(reading) else None,
        proposal_nifti=there[".nii.gz"] if project.shows(reading) else None,
        uncertainty=there[".unsure.nii.gz"] if project.shows(reading) else None,  # it outlines what the network sees
        parts=tuple(AskedPart(words_of_part(part, grid), tuple(map(float, middle_of(part, grid)))) for part in parts),
        mask=_mask(project, reader, item, parts) if parts else None,
    )


def _mask(project: Project, reader: str, item: Item, parts: Sequence[Part]) -> Path:
    """The file of what is asked for, written once; the attempt stands in its name, because each asks for other parts."""
    path = (project.reader_folder(reader) / "asked" / f"{item.case}~{item.reading}.nii.gz").resolve()
    if not path.is_file():
        grid = grid_of(project.cases[item.case])
        values = np.zeros(grid.shape, np.uint8, order="F")
        for number, (start, size) in reversed(list(enumerate(parts, start=1))):
            values[tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))] = number
        write_nifti(path, values, grid)
    return path
