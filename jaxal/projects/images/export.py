"""Images and their classes in the layouts that other programs, and `jaxal simulate`, read."""

import csv
import io
import os
import shutil
from pathlib import Path, PurePosixPath

from jaxal.errors import UserError
from jaxal.files import write_text
from jaxal.projects.kind import Exporting
from jaxal.projects.project import Project
from jaxal.projects.state import State


def write_images(project: Project, state: State, exporting: Exporting) -> None:
    """Writes `images.csv` and the images beside it, or one folder a class. See `Kind.export`.

    Raises:
      UserError: a class cannot be the name of a folder.
    """
    data, rows = project.data(state), []
    for done, (id_, version) in enumerate(exporting.labels):
        exporting.progress(done, len(exporting.labels))
        source, category = project.image_paths(id_, data)[0], str(state.cases[id_].version(version).category)
        name = PurePosixPath("images", *source.relative_to(data).parts)
        if exporting.layout == "folders":
            if "/" in category or category.startswith("."):
                raise UserError(f"The class {category!r} cannot be the name of a folder. Export with --layout table.")
            name = PurePosixPath(category, *source.relative_to(data).parts)
        _place(source, exporting.out / name, exporting.link)
        case = project.cases[id_]
        rows.append([name.as_posix(), category, case.subject, case.group])
    if exporting.layout == "table":
        grouped = any(group for *_, group in rows)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["path", "label", "subject", *(["group"] if grouped else [])])
        table.writerows(row if grouped else row[:3] for row in rows)
        write_text(exporting.out / "images.csv", text.getvalue())


def _place(source: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        os.symlink(source.resolve(), target)
    else:
        shutil.copyfile(source, target)
