"""The page of what somebody has to decide, `review.html`: both readers' maps side by side, and the commands that decide."""

import base64
import html
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from jaxal.files import write_text, write_whole
from jaxal.labels.findings import dice_with
from jaxal.projects.decisions import now_of
from jaxal.projects.kinds import kind_of
from jaxal.projects.page_looks import STYLE
from jaxal.projects.page_parts import by, copied, moment
from jaxal.projects.project import Project
from jaxal.projects.settings import version
from jaxal.projects.state import State, Version
from jaxal.report.looks import SCRIPT
from jaxal.report.tables import Cell, Head, number, table
from jaxal.worklists.differences import READERS, draw_differences
from jaxal.worklists.looks import COPY_SCRIPT, PAGE_STYLE
from jaxal.worklists.page import whole_page
from jaxal.worklists.pictures import click_image, opened, values_of
from jaxal.worklists.tables import line

NAME = "review.html"


class Dispute(NamedTuple):
    """A case on which readers differ too much.

    Attributes:
      case, group: its names.
      versions: that were handed in, by reader.
      dice: of each pair of them, of each class; NaN where neither drew it.
      pictures: WebP of each version, and one of all together; of an image with one class the image alone.
      others: readers who have not read it.
    """

    case: str
    group: str
    versions: Sequence[Version]
    dice: Sequence[Sequence[float]]
    pictures: Sequence[bytes]
    others: Sequence[str]


def write_review(project: Project) -> Path:
    """Writes `review.html` into the project's folder.

    Raises:
      UserError: a scan or a label cannot be read, or the disk is full.
    """
    path = project.folder / NAME
    write_text(path, review_text(project))
    return path


def review_text(project: Project) -> str:
    """The page; it is there, too, if nothing is to be decided.

    Raises:
      UserError: a scan or a label cannot be read.
    """
    state = project.state()
    found = [dispute_of(project, state, id_) for id_ in state.with_status("disputed")]
    return page_text(
        project.settings.name,
        str(project.folder),
        kind_of(project).named(state.classes),
        found,
        project.settings.protocol.far_apart,
        now_of(project),
    )


def dispute_of(project: Project, state: State, id_: str) -> Dispute:
    """Reads what is known of a disputed case, and draws it; what was drawn before is kept."""
    case = state.cases[id_]
    versions = [case.version(name) for name in case.disputed]
    others = [name for name in state.present if name not in case.readings]
    if project.settings.of_images:
        image, _ = click_image(project.image_paths(id_, project.data(state))[0])
        return Dispute(id_, project.cases[id_].group, versions, [], [image], others)
    paths = [project.label_path(id_, of.name) for of in versions]
    key = "-".join([id_, *(of.digest[:12] for of in versions)])
    kept = [project.folder / "cache" / "review" / f"{key}-{place}.webp" for place in range(len(versions) + 1)]
    maps = [values_of(nibabel.as_closest_canonical(opened(path))).astype(np.uint8) for path in paths]
    if not all(path.is_file() for path in kept):
        image = nibabel.as_closest_canonical(opened(project.image_paths(id_, project.data(state))[0]))
        spacing_mm = [float(size) for size in image.header.get_zooms()[:3]]
        drawn = draw_differences(values_of(image), maps, spacing_mm)
        for path, picture in zip(kept, [*drawn.alone, drawn.together], strict=True):
            write_whole(path, lambda file, picture=picture: file.write(picture))  # type: ignore[misc]
    return Dispute(
        id_,
        project.cases[id_].group,
        versions,
        [dice_with(first, second, len(state.classes) - 1).tolist() for first, second in combinations(maps, 2)],
        [path.read_bytes() for path in kept],
        others,
    )


def page_text(name: str, folder: str, classes: Sequence[str], disputes: Sequence[Dispute], far_apart: float, written: str) -> str:
    """The page.

    Args:
      name, folder: of the project.
      classes: that are drawn.
      disputes: to decide on.
      far_apart: Dice below which two readings are disputed.
      written: when, in UTC.
    """
    count = len(disputes)
    first = (
        f"Decide on {'this case' if count == 1 else f'these {count} cases'}: as long as you do not, no label of {'it' if count == 1 else 'them'} counts."
        if count
        else "Nothing is to be decided: readers differ too much on no case."
    )
    chosen = bool(disputes) and disputes[0].versions[0].category is not None
    about = (
        "The readers of an image chose different classes, and no majority has settled it."
        if chosen
        else f"The readers of a case differ in some class by a Dice below {far_apart:g}, or one of them alone drew it. Slices go through the largest "
        "place at which they differ, axial, coronal and sagittal, with the patient's left on the left. Where a picture shows both, the colour "
        "of a reader fills what that reader alone drew, and pink what both drew as something else."
    )
    body = [
        f"<h1>{html.escape(name)}: what to decide</h1>",
        f'<p class="lead">{first}</p>',
        f"<p>{about}</p>" if count else "",
        *(_section(dispute, folder, classes) for dispute in disputes),
        f"<footer>Written {moment(written)}{by(version())}. Patients appear by the ids of their cases alone.</footer>",
    ]
    return whole_page(f"{name}: review", "\n".join(body), PAGE_STYLE + STYLE, SCRIPT + COPY_SCRIPT)


def _section(dispute: Dispute, folder: str, classes: Sequence[str]) -> str:
    case = html.escape(dispute.case)
    group = f" <small>group {html.escape(dispute.group)}</small>" if dispute.group else ""
    if dispute.versions[0].category is not None:
        figure = _figure(dispute.pictures[0], dispute.case, None, dispute.case)
        told = "".join(
            f'<tr><th scope="row">{html.escape(of.reader)}</th><td>{html.escape(str(of.category))}</td></tr>'
            for of in dispute.versions
        )
        table_ = f'<table class="told"><thead><tr><th scope="col">reader</th><th scope="col">class</th></tr></thead><tbody>{told}</tbody></table>'
        return (
            f'<section class="dispute"><h2>{case}{group}</h2><div class="maps one">{figure}</div>{table_}'
            f"<h3>Decide</h3>{_commands(dispute, folder)}</section>"
        )
    figures = [
        _figure(picture, f"{of.reader} ({of.name})", colour, f"{dispute.case}: {of.reader}")
        for picture, of, colour in zip(dispute.pictures, dispute.versions, READERS, strict=False)
    ]
    figures.append(_figure(dispute.pictures[-1], "Together; what differs is filled", None, f"{dispute.case}: where they differ"))
    return (
        f'<section class="dispute"><h2>{case}{group}</h2><div class="maps">{"".join(figures)}</div>{_numbers(dispute, classes)}'
        f"<h3>Decide</h3>{_commands(dispute, folder)}</section>"
    )


def _figure(picture: bytes, title: str, colour: tuple[int, ...] | None, alternative: str) -> str:
    swatch = f'<span class="swatch" style="background:rgb{tuple(colour)}"></span>' if colour else ""
    data = base64.b64encode(picture).decode()
    return (
        f'<figure><img alt="{html.escape(alternative)}" src="data:image/webp;base64,{data}">'
        f"<figcaption>{swatch}{html.escape(title)}</figcaption></figure>"
    )


def _numbers(dispute: Dispute, classes: Sequence[str]) -> str:
    """Dice of each pair, and volumes, by class."""
    pairs = list(combinations(dispute.versions, 2))
    columns = [
        *(Head("Dice" if len(pairs) == 1 else f"Dice, {first.reader} and {second.reader}") for first, second in pairs),
        *(Head(f"{of.reader}, ml") for of in dispute.versions),
    ]
    lines = []
    for place, name in enumerate(classes):
        values = [Cell(dice[place], number(dice[place], 3)) for dice in dispute.dice]
        volumes = [of.volumes_ml.get(name, 0.0) for of in dispute.versions]
        lines.append((Head(name), [*values, *(Cell(volume, number(volume, 2)) for volume in volumes)]))
    return table(f"{dispute.case}: Dice and volumes", "class", columns, lines)


def _commands(dispute: Dispute, folder: str) -> str:
    case, again = dispute.case, "draw" if dispute.versions[0].category is None else "look at"
    ways = [
        (
            f"The label of {of.reader} counts; say who decides, and why:",
            line("jaxal", "review", folder, case, "--take", of.name, "--by", "NAME", "--why", "TEXT"),
        )
        for of in dispute.versions
    ]
    if dispute.others:
        names = " or ".join(dispute.others)
        ways.append((f"Somebody who has not read it reads it, too ({names}):", line("jaxal", "review", folder, case, "--third")))
    ways += [
        (
            f"{of.reader} is asked to {again} it again; say why:",
            line("jaxal", "return", folder, f"{case}/{of.name}", "--why", "TEXT"),
        )
        for of in dispute.versions
    ]
    ways.append(("The case is unusable; say why:", line("jaxal", "exclude", folder, case, "--why", "TEXT")))
    return "".join(f"{html.escape(sentence)}{copied(command)}" for sentence, command in ways)
