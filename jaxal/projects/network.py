"""A round's network: trained on the labels that the round began with, and what it makes of cases."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxal.arrays import key_of
from jaxal.data.cases import Dataset, Fingerprint, Splits
from jaxal.data.scans.folder import Ready, Showing
from jaxal.data.scans.layouts import Files, ScanListing
from jaxal.data.scans.prepare import prepare, prepared_shape
from jaxal.labels.writing import write_seg_nrrd
from jaxal.projects.deliver import grid_of
from jaxal.projects.project import IGNORE, Project
from jaxal.projects.state import Round, State
from jaxal.rounds import setup
from jaxal.rounds import state as rounds_state
from jaxal.rounds.networks import make_networks
from jaxal.rounds.passes import run_pass
from jaxal.rounds.setup import Run
from jaxal.scoring.members import MembersConfig, predict
from jaxal.scoring.pool_pass import Pass
from jaxal.studies.scans import Chosen, make_task
from jaxal.tasks.original_grid import to_original_grid, values_on_original_grid, write_image
from jaxal.types import Case, Params, Unit, Watcher


def dataset_of(
    project: Project, state: State, labels: Sequence[tuple[str, str]], showing: Showing
) -> tuple[Dataset, ScanListing]:
    """The prepared cases of a project, with these labels and no others; what is prepared already is not prepared again.

    Args:
      project: whose.
      state: of it.
      labels: cases and the versions of their labels.
      showing: tells how far the work is.
    """
    data, version_of = project.data(state), dict(labels)
    files, fingerprints = [], {}
    for id_, scan in sorted(project.cases.items()):
        if state.cases[id_].excluded is not None:
            continue
        version = version_of.get(id_)
        path = project.label_path(id_, version) if version else None
        files.append(Files(id_, scan.subject, project.image_paths(id_, data), path))
        digest = state.cases[id_].version(version).digest[:16] if version else ""
        fingerprints[id_] = Fingerprint(scan.fingerprint, digest, f"{scan.fingerprint}{digest}")
    groups = {scan.subject: scan.group for scan in project.settings.cases}
    listing = ScanListing(project.settings.layout, project.settings.channels, tuple(state.classes), IGNORE, tuple(files))
    with showing("preparing") as progress:
        dataset = prepare(listing, groups, project.settings.plan, project.prepared, fingerprints, progress)
    return dataset, listing


class Working(NamedTuple):
    """What a round works with.

    Attributes:
      run: trains and scores.
      state: of the rounds' machinery.
      cases: all prepared cases, by id, with the labels that the round works with.
      number: the project's, of the round.
    """

    run: Run
    state: rounds_state.State
    cases: dict[str, Case]
    number: int


def open_round(project: Project, state: State, round_: Round, pool: Sequence[str], showing: Showing, watcher: Watcher) -> Working:
    """A round's training and scoring, new or begun before.

    Args:
      project: whose.
      state: of it.
      round_: what it works with.
      pool: cases that the strategy may choose.
      showing, watcher: are told how far the work is.
    """
    classes = list(round_.fields["classes"])  # one may have been added since
    state = dataclasses.replace(state, classes=classes)
    dataset, listing = dataset_of(project, state, [*round_.training, *round_.evaluation, *round_.test], showing)
    cases = {case.id: case for case in dataset.cases}
    training, evaluation, test = (
        tuple(cases[id_] for id_, _ in part) for part in (round_.training, round_.evaluation, round_.test)
    )
    candidates = tuple(cases[id_] for id_ in sorted(pool))
    settings = project.settings
    ready = Ready(dataset, settings.plan, listing, "", None)
    splits = Splits(tuple(sorted([*training, *candidates])), evaluation, test)
    patch = None if settings.plan.whole else settings.plan.patch
    identity = {
        "project": settings.name,
        "cases": len(settings.cases),
        "plan": settings.plan.digest(),
        "classes": classes,
    }
    start = "scratch" if _has_new_classes(state, round_) else settings.start
    task = make_task(ready, settings.preset, Chosen(splits, training), start, identity, patch)
    number = round_.fields["network"]
    config = setup.RoundsConfig(
        rounds=number + 1,
        query_size=round_.fields["chosen"],
        seed=settings.protocol.seed,
        start=start,
        members=settings.preset.members,
        batch_size=settings.preset.batch_size,
    )
    run = setup.open_run(project.folder / "rounds", settings.protocol.strategy, config, task, watcher)
    key = jax.random.fold_in(key_of(settings.protocol.seed), number)
    units = [Unit(case._replace(label=None)) for case in candidates]
    return Working(run, rounds_state.State([], list(training), units, None, number, key), cases, round_.number)


def _has_new_classes(state: State, round_: Round) -> bool:
    """Whether the last network has other classes, so that its weights do not fit."""
    before = [other for other in state.rounds if other.number < round_.number and other.fields["network"] is not None]
    return bool(before) and before[-1].fields["classes"] != round_.fields["classes"]


def write_proposals(
    project: Project,
    working: Working,
    params: Params,
    ids: Iterable[str],
    asked: Iterable[str],
    progress: Callable[[int, int], None],
) -> None:
    """Writes what a round's network makes of cases, on each case's own grid; what is there is not written again.

    Args:
      project: whose.
      working: the round.
      params: the network's weights.
      ids: cases.
      asked: those of them that readers get: theirs come as a segmentation with names, too, and with a map of where it is unsure.
      progress: is told how far the work is.
    """
    number, for_readers, everything = working.number, set(asked), sorted(set(ids))
    data = project.data(project.state())
    for done, id_ in enumerate(everything):
        progress(done, len(everything))
        source = next(iter(project.image_paths(id_, data)))
        path, named = (project.proposal_path(id_, number, ending) for ending in (".nii.gz", ".seg.nrrd"))
        if path.is_file() and (id_ not in for_readers or named.is_file()):
            continue
        probability = _probability(working, params, id_)
        image = to_original_grid(probability, source)
        if id_ in for_readers:
            entropy = -(probability * np.log(np.maximum(probability, 1e-12))).sum(0) / np.log(len(probability))
            write_image(project.proposal_path(id_, number, ".unsure.nii.gz"), values_on_original_grid(entropy, source))
            labels, classes = np.asarray(image.dataobj).astype(np.uint8), working.run.task.dataset.classes[1:]
            write_seg_nrrd(named, labels, grid_of(project.cases[id_]), classes)
        write_image(path, image)
    progress(len(everything), len(everything))


def predictions(
    project: Project, state: State, round_: Round, ids: Sequence[str], showing: Showing, watcher: Watcher
) -> Iterator[tuple[str, np.ndarray]]:
    """What the network of a round that is over makes of cases, as label maps on their own grids, one after the other."""
    working = open_round(project, state, round_, ids, showing, watcher)
    params = make_networks(working.run)[0].restored(working.state.round)
    data = project.data(state)
    for id_ in ids:
        image = to_original_grid(_probability(working, params, id_), project.image_paths(id_, data)[0])
        yield id_, np.asarray(image.dataobj).astype(np.uint8)


def _probability(working: Working, params: Params, id_: str) -> np.ndarray:
    """What a network makes of a case, `[classes, *shape]` of the prepared case without its padding."""
    task, case = working.run.task, working.cases[id_]
    return predict(task.kind, task.model, params, task.load(case))[:, *(slice(size) for size in prepared_shape(case))]


def embeddings(project: Project, state: State, ids: Sequence[str], showing: Showing, watcher: Watcher) -> np.ndarray:
    """Pooled features of an untrained network, `[cases, features]`: they tell cases apart before there is any label."""
    dataset, _ = dataset_of(project, state, [], showing)
    cases = {case.id: case for case in dataset.cases}
    settings = project.settings
    ready = Ready(dataset, settings.plan, ScanListing("", (), (), None, ()), "", None)
    patch = None if settings.plan.whole else settings.plan.patch
    wanted = [cases[id_] for id_ in ids]
    task = make_task(ready, settings.preset, Chosen(Splits(tuple(sorted(wanted)), (), ()), wanted[:1]), settings.start, {}, patch)
    params = jax.jit(task.model.init)(key_of(settings.protocol.seed), task.load(wanted[0]).image[None])
    pass_ = Pass(task.kind, task.model, ("embedding",), MembersConfig(dropout=0), settings.preset.batch_size, task.statistics)
    collected = run_pass(pass_, params, key_of(settings.protocol.seed), wanted, task.load, watcher, "looking at all cases")
    return np.asarray(collected["embedding"])
