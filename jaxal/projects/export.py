"""A project's labels in the layouts that other programs train on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.projects.kind import Exporting
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project, check_images, check_labels
from jaxal.projects.state import State

Layout = Literal["nnunet", "decathlon", "bids", "table", "folders"]


def export(project: Project, out: Path, layout: Layout | None, link: bool, progress: Callable[[int, int], None]) -> list[str]:
    """Writes all labels that count, with their images and a table of where each came from; returns the cases.

    Args:
      project: whose.
      out: folder; new or empty.
      layout: of the folder; the usual one of the kind of project when left out.
      link: whether images are links to the data instead of copies.
      progress: is told how far the work is.

    Raises:
      UserError: the folder holds something, the layout is for another kind of project, there is no label yet, or an image or a label is not what it was.
    """
    kind = kind_of(project)
    chosen = layout or kind.layouts[0]
    if chosen not in kind.layouts:
        raise UserError(f"--layout {chosen} is not for {kind.name}. Choose one of {', '.join(kind.layouts)}.")
    if project.folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise UserError(f"{out}: lies in the project's own folder. Name one outside of it.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty. Name a new folder.")
    state = project.state()
    labels = sorted(label for role in ("training", "evaluation", "test") for label in state.labels(role))
    if not labels:
        raise UserError(f"{project.folder}: no case has a label that counts, so there is nothing to export.")
    check_images(project, [id_ for id_, _ in labels], project.data(state))
    check_labels(project, state, labels)
    aside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        kind.export(project, state, Exporting(labels, aside, chosen, link, progress))
        progress(len(labels), len(labels))
        write_text(aside / "labels.tsv", _provenance(project, state, labels))
        if out.exists():
            out.rmdir()
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(aside, out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [id_ for id_, _ in labels]


def _provenance(project: Project, state: State, labels: list[tuple[str, str]]) -> str:
    rows = ["case\tversion\treaders\taccepted\tminutes\tround\tused_for\tsha256_or_class"]
    for id_, name in labels:
        case = state.cases[id_]
        versions, readers, minutes = case.versions_of(name), dict[str, None](), list[float]()
        for version in versions:
            of_attempt = [other for other in case.versions if other.attempt == version.attempt and other.reader in state.readers]
            own = version.reader in state.readers
            readers |= dict.fromkeys([version.reader] if own else sorted({other.reader for other in of_attempt}))
            minutes += [other.minutes for other in of_attempt if other.minutes is not None]
        cells = [
            id_,
            name,
            ",".join(readers),
            max(version.time for version in versions),
            f"{sum(minutes):g}" if minutes else "",
            ",".join(str(version.round) for version in versions),
            str(case.role),
            ",".join(version.digest or str(version.category) for version in versions),
        ]
        rows.append("\t".join(cells))
    return "\n".join(rows) + "\n"
