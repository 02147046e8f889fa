"""Files that hold the classes that readers chose for many images: what the page to click classes saves, and Label Studio's export."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxal.errors import UserError
from jaxal.projects.kind import Delivery
from jaxal.projects.project import Project
from jaxal.worklists.answers import Answer, read_answers, read_json_file
from jaxal.worklists.label_studio import read_export

ENDINGS = (".json", ".csv")


def deliveries(path: Path, project: Project, reader: str | None, users: Mapping[str, str], via: str) -> list[Delivery]:
    """What a file hands in.

    Args:
      path: of the file.
      project: whose.
      reader: whose it is; of Label Studio's export the one reader of all, where `users` are not told.
      users: the project's reader of each of Label Studio's users.
      via: how it came.

    Raises:
      UserError: the file is damaged or another, or nobody says whose answers it holds.
    """
    classes = project.state().classes
    if path.suffix.lower() == ".json" and isinstance(read_json_file(path), list):
        if not users and reader is None:
            raise UserError(
                f"{path}: is an export of Label Studio. Say whose it is: --reader NAME, or who each of its users is: --users anna=1,ben=2."
            )
        answers = read_export(path, classes, users or _Everybody(reader or ""))
    elif reader is None:
        raise UserError(f"{path}: who chose these classes? Name the reader: --reader NAME.")
    else:
        answers = read_answers(path, classes, reader, project.key)
    return [_delivery(answer, via) for answer in answers]


def users_of(given: Sequence[str]) -> dict[str, str]:
    """Readers by Label Studio's users, of such as `anna=1`, `ben=ben@example.org`.

    Raises:
      UserError: one names nobody.
    """
    users = {}
    for text in given:
        reader, mark, user = text.partition("=")
        if not (reader and mark and user):
            raise UserError(f"--users: {text!r} is not READER=USER, such as anna=1 or anna=anna@example.org.")
        users[user] = reader
    return users


def _delivery(answer: Answer, via: str) -> Delivery:
    of_case = Delivery(answer.reader, answer.case, seconds=answer.seconds, via=via, at=answer.at)
    return of_case._replace(refusal=answer.refusal) if answer.refusal else of_case._replace(answer=answer.name)


class _Everybody(dict[str, str]):
    """Every user is this reader."""

    def __init__(self, reader: str):
        super().__init__()
        self._reader = reader

    def __contains__(self, key: Any) -> bool:
        return True

    def __missing__(self, key: str) -> str:
        return self._reader
