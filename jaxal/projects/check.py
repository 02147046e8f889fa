"""Whether a project is what its log says: for an audit, and after a disk was full or a folder was copied."""

import hashlib
from collections.abc import Callable

from jaxal.data.cases import fingerprint_of
from jaxal.errors import UserError
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project, sha256_of


def problems(project: Project, progress: Callable[[int, int], None]) -> list[str]:
    """A sentence for everything that is not as it was written down; none if all is well.

    Args:
      project: whose. Its log was read before, so no line of it was altered.
      progress: is told how far the work is.
    """
    state, kind = project.state(), kind_of(project)
    versions = {(id_, version.name): version for id_, case in state.cases.items() for version in case.versions}
    found, done, total = [], 0, len(versions) + len(project.cases)
    for (id_, name), version in sorted(versions.items()):
        path = project.label_path(id_, name)
        if version.category is not None:
            found += kind.problems(project, state, version)
        elif not path.is_file():
            found.append(
                f"{path}: is missing; it is the label of {id_} that {version.reader} handed in on {version.time[:10]}. Restore it."
            )
        elif sha256_of(path) != version.digest:
            found.append(f"{path}: was altered after it was accepted. Restore it from a backup.")
        else:
            found += kind.problems(project, state, version)
        progress(done := done + 1, total)
    known = {project.label_path(id_, name) for id_, name in versions}
    for path in sorted((project.folder / "labels").glob("*/[!.]*")):
        if path not in known:
            found.append(
                f"{path}: the log does not speak of it, so it does not count. A kill may have left it; it may be removed."
            )
    for round_ in state.rounds:
        path = project.round_folder(round_.number) / "query.json"
        if round_.asked and not path.is_file():
            found.append(f"{path}: is missing; it says why the cases of round {round_.number} were chosen. Restore it.")
        elif round_.asked and hashlib.sha256(path.read_bytes()).hexdigest() != round_.asked["query"]:
            found.append(f"{path}: was altered after the query was asked. Restore it from a backup.")
    try:
        data = project.data(state)
    except UserError as error:
        return [*found, str(error)]
    for id_, scan in sorted(project.cases.items()):
        paths = project.image_paths(id_, data)
        if missing := [path for path in paths if not path.is_file()]:
            found.append(f"{missing[0]}: is missing; it is an image of the case {id_}.")
        elif fingerprint_of(paths, None).image != scan.fingerprint:
            found.append(f"{paths[0]}: has changed since the project began; it is an image of the case {id_}.")
        progress(done := done + 1, total)
    return found
