"""What a round's network learns from scans, and the proposals that it draws, on each scan's own grid."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from jaxal.data.cases import Fingerprint
from jaxal.data.scans import folder
from jaxal.data.scans.folder import Showing
from jaxal.data.scans.listing import Files, ScanListing
from jaxal.data.scans.prepare import prepare, prepared_shape
from jaxal.labels.writing import write_seg_nrrd
from jaxal.projects.kind import Guessing, Progress, Ready
from jaxal.projects.project import IGNORE, Project, is_read
from jaxal.projects.scans.labels import grid_of, label_file
from jaxal.projects.scans.parts import arguments_of, known_at
from jaxal.projects.state import State
from jaxal.rounds.setup import Task
from jaxal.scoring.members import predict
from jaxal.studies.scans import Chosen, ScanArguments, make_task
from jaxal.tasks.original_grid import to_original_grid, values_on_original_grid, write_image
from jaxal.types import Case, Label, Params


def ready(project: Project, state: State, labels: Sequence[tuple[str, str]], showing: Showing) -> Ready:
    """The prepared cases of a project, with these labels and no others; what is prepared already is not prepared again.

    Args:
      project: whose.
      state: of it.
      labels: cases and the versions of their labels.
      showing: tells how far the work is.
    """
    data, version_of, scans = project.data(state), dict(labels), project.settings.scans
    files, fingerprints = [], {}
    for id_, scan in sorted(project.cases.items()):
        if not is_read(project, state, id_):
            continue
        version = version_of.get(id_)
        path = label_file(project, state, id_, version) if version else None
        files.append(Files(id_, scan.subject, project.image_paths(id_, data), path))
        digest = state.cases[id_].digest_of(version)[:16] if version else ""
        fingerprints[id_] = Fingerprint(scan.fingerprint, digest, f"{scan.fingerprint}{digest}")
    groups = {scan.id: scan.group for scan in project.settings.cases}
    listing = ScanListing(project.settings.layout, scans.channels, tuple(state.classes), IGNORE, tuple(files))
    with showing("preparing") as progress:
        dataset = prepare(listing, groups, scans.plan, project.prepared, fingerprints, progress)
    patch = None if scans.plan.whole else scans.plan.patch

    asked = ScanArguments() if scans.parts is None else arguments_of(scans.parts)

    def task(chosen: Chosen, start: Literal["scratch", "warm"], identity: Mapping[str, Any]) -> Task:
        made = folder.Ready(dataset, scans.plan, listing, "", None)
        return make_task(made, scans.preset, chosen, start, identity, patch, asked)

    preset, known = scans.preset, {}
    if scans.parts is not None:
        known = {id_: label for id_, name in labels if (label := known_at(project, state, id_, name))}
    cases = {case.id: _in_parts(case, known.get(case.id)) for case in dataset.cases}
    return Ready(cases, task, preset.members, preset.batch_size, scans.plan.digest(), known)


def _in_parts(case: Case, known: Label | None) -> Case:
    """A case whose label knows in which parts it tells anything, so that patches are drawn around them."""
    return case if known is None or case.label is None else case._replace(label=case.label._replace(parts=known.parts))


def write_proposals(
    project: Project,
    guessing: Guessing,
    params: Params,
    ids: Collection[str],
    asked: Collection[str],
    progress: Progress,
) -> None:
    """Writes what a round's network makes of cases, on each case's own grid; what is there is not written again.

    Args:
      project: whose.
      guessing: the round's network.
      params: its weights.
      ids: cases.
      asked: those of them that readers get: theirs come as a segmentation with names, too, and with a map of where it is unsure.
      progress: is told how far the work is.
    """
    number, for_readers, everything = guessing.number, set(asked), sorted(set(ids))
    data = project.data(project.state())
    for done, id_ in enumerate(everything):
        progress(done, len(everything))
        source = next(iter(project.image_paths(id_, data)))
        path, named = (project.proposal_path(id_, number, ending) for ending in (".nii.gz", ".seg.nrrd"))
        if path.is_file() and (id_ not in for_readers or named.is_file()):
            continue
        probability = _probability(guessing, params, id_)
        image = to_original_grid(probability, source)
        if id_ in for_readers:
            entropy = -(probability * np.log(np.maximum(probability, 1e-12))).sum(0) / np.log(len(probability))
            write_image(project.proposal_path(id_, number, ".unsure.nii.gz"), values_on_original_grid(entropy, source))
            labels, classes = np.asarray(image.dataobj).astype(np.uint8), guessing.task.dataset.classes[1:]
            write_seg_nrrd(named, labels, grid_of(project.cases[id_]), classes)
        write_image(path, image)
    progress(len(everything), len(everything))


def is_proposed(project: Project, id_: str, round_: int) -> bool:
    """Whether a proposal is there."""
    return project.proposal_path(id_, round_, ".nii.gz").is_file()


def predictions(
    project: Project, guessing: Guessing, params: Params, ids: Sequence[str], state: State
) -> Iterator[tuple[str, np.ndarray]]:
    """What a network makes of cases, as label maps on their own grids, one after the other."""
    data = project.data(state)
    for id_ in ids:
        image = to_original_grid(_probability(guessing, params, id_), project.image_paths(id_, data)[0])
        yield id_, np.asarray(image.dataobj).astype(np.uint8)


def _probability(guessing: Guessing, params: Params, id_: str) -> np.ndarray:
    """What a network makes of a case, `[classes, *shape]` of the prepared case without its padding."""
    task, case = guessing.task, guessing.cases[id_]
    probability = predict(task.kind, task.model, params, task.load(case)).probability
    return probability[:, *(slice(size) for size in prepared_shape(case))]
