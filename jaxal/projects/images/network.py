"""What a round's network learns from images: decoded once, normalised as it was decided at the start."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jaxal.data.images.decoded import Frozen, make_images
from jaxal.data.images.listing import Listed, Listing
from jaxal.data.scans.folder import Showing
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.weights import read_weights, with_weights
from jaxal.projects.kind import Ready
from jaxal.projects.project import Project, is_read
from jaxal.projects.settings import Source
from jaxal.projects.state import State
from jaxal.rounds.setup import Task
from jaxal.studies.images import make_task
from jaxal.studies.scans import Chosen
from jaxal.training.config import settings_of
from jaxal.types import Label, Model

WEIGHTS = "weights"  # of the project's folder: what networks begin from, with the ending that the file had


def ready(project: Project, now: State, labels: Sequence[tuple[str, str]], showing: Showing) -> Ready:
    """The images of a project as cases, with these labels and no others. See `Kind.ready`."""
    data, of = project.data(now), project.settings.images
    state = state_of(project.settings.cases, of.pixels, of.colour)
    listed = [
        Listed(source.id, "", source.group, source.subject, _file(project, now, source, data), str(data))
        for source in project.settings.cases
    ]
    listing = Listing(project.settings.layout, tuple(now.classes), tuple(listed))
    with showing("decoding images") as progress:
        frozen = Frozen(state, of.mean, of.deviation)
        images = make_images(listing, project.prepared, of.pixels, of.colour, progress, frozen)
    category_of = {id_: now.cases[id_].version(version).category for id_, version in labels}
    cases = {
        case.id: case._replace(label=_label(category_of.get(case.id)))
        for case in images.dataset.cases
        if is_read(project, now, case.id)
    }
    network = dataclasses.replace(of.network, classes=len(now.classes))

    def task(chosen: Chosen, start: Literal["scratch", "warm"], identity: Mapping[str, Any]) -> Task:
        sections = {
            "data": identity,
            "members": {**dataclasses.asdict(of.members), "flips": list(of.members.flips)},
            "network": network.described,
            "training": settings_of(of.training, start),
            "strategy": {},
        }
        return make_task(images, _model(project, network), of.training, chosen, sections)

    return Ready(cases, task, of.members, of.batch_size, state)


def state_of(sources: Sequence[Source], pixels: Sequence[int], colour: bool) -> str:
    """Sixteen hexadecimal digits that tell these images at this size from others."""
    about = [list(pixels), colour, [[source.id, source.fingerprint] for source in sources]]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _file(project: Project, state: State, source: Source, data: Path) -> Path | None:
    """The file of an image; None of one that was left out and whose file is gone."""
    path = project.image_paths(source.id, data)[0]
    return path if path.is_file() or state.cases[source.id].excluded is None else None


def _label(category: str | None) -> Label | None:
    return None if category is None else Label(category, category=category)


def _model(project: Project, network: ResNetConfig) -> Model:
    weights = next(iter(sorted(project.folder.glob(f"{WEIGHTS}.*"))), None)
    if weights is None:
        return resnet(network)
    channels = 3 if project.settings.images.colour else 1
    return with_weights(resnet(network), network, read_weights(weights), weights, channels)
