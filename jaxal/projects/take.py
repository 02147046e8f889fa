"""Labels without a server: what lies in the readers' inboxes comes in, or files that somebody names."""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.errors import UserError
from jaxal.files import writing
from jaxal.labels.formats import ENDINGS, ending_of, stem
from jaxal.labels.refusals import Refused
from jaxal.projects.deliver import Receipt, deliver, keep_refused
from jaxal.projects.kind import Delivery
from jaxal.projects.project import Project
from jaxal.projects.state import State

STILL_SECONDS = 5.0  # that size and time of a file must have been the same, because a program may be writing it


class Taken(NamedTuple):
    """What came of one file.

    Attributes:
      path: where it lay.
      reader, case: whose.
      receipt: if it was accepted.
      refused: why it was not.
    """

    path: Path
    reader: str
    case: str
    receipt: Receipt | None
    refused: Refused | None


def take_inboxes(project: Project, told: Callable[[Taken], None], wait: bool = True) -> list[Taken]:
    """Takes in what lies in the inboxes.

    Args:
      project: whose.
      told: is called with what came of each file.
      wait: whether to wait for files that were written a moment ago; else they are left for the next time.
    """
    taken = []
    for reader in sorted(project.state().readers):
        inbox = project.reader_folder(reader) / "inbox"
        for path in sorted(inbox.glob("[!.]*")) if inbox.is_dir() else []:
            case = case_of(path)
            if case is None or not path.is_file() or not _is_still(path, wait):
                continue
            path.with_name(f"{case}.done").unlink(missing_ok=True)  # it would say of the next file that it is whole
            taken.append(_take(project, path, reader, case, beside=path.with_name(f"{case}.json"), from_inbox=True))
            told(taken[-1])
    return taken


def take_files(
    project: Project, paths: Sequence[Path], reader: str | None, case: str | None, told: Callable[[Taken], None], **options: Any
) -> list[Taken]:
    """Takes in files that somebody names; they stay where they are.

    Args:
      project: whose.
      paths: of the files.
      reader: who drew them; when left out, whoever has the only open reading of the case.
      case: which it is; the file's name when left out.
      told: is called with what came of each file.
      options: of `Delivery`.
    """
    taken = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file.")
        id_ = case or case_of(path)
        if id_ is None:
            raise UserError(f"{path}: only {', '.join(ENDINGS)} are read.")
        who = reader or _only_reader(project.state(), id_)
        taken.append(_take(project, path, who, id_, path.with_name(f"{id_}.json"), False, **options))
        told(taken[-1])
    return taken


def case_of(path: Path) -> str | None:
    """The case that a file is named after; None if it is none that is read."""
    if path.name.lower().endswith(".interim.nrrd"):  # MITK's unfinished work
        return None
    return stem(path.name) if ending_of(path.name) else None


def _take(project: Project, path: Path, reader: str, case: str, beside: Path, from_inbox: bool, **options: Any) -> Taken:
    delivery = Delivery(reader, case, path, via="inbox" if from_inbox else "command", in_inbox=from_inbox)
    try:
        told = {**_told_beside(beside), **options}
    except Refused as refused:
        if from_inbox:
            _set_aside(beside, project.reader_folder(reader) / "returned", "bad")
        keep_refused(project, delivery, refused)
        return Taken(path, reader, case, None, refused)
    try:
        receipt = deliver(project, delivery._replace(**told))
        if from_inbox:
            _set_aside(path, path.parent / "taken", receipt.version)
            if beside.is_file():
                _set_aside(beside, path.parent / "taken", receipt.version)
        return Taken(path, reader, case, receipt, None)
    except Refused as refused:  # the file lies among what was returned
        return Taken(path, reader, case, None, refused)


def _set_aside(path: Path, folder: Path, version: str) -> None:
    """Moves a file that was taken out of the way, under the name of its version."""
    case = case_of(path) or path.stem
    target = folder / f"{case}-{version}{path.name[len(case) :]}"
    with writing(target):
        folder.mkdir(exist_ok=True)
        os.replace(path, target)


def _told_beside(path: Path) -> dict[str, Any]:
    """What a reader's program wrote beside the file: minutes, a comment, and whether there is nothing to see."""
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
        seconds = told.get("seconds", 60 * told["minutes"] if "minutes" in told else None)
        return {
            "seconds": None if seconds is None else float(seconds),
            "comment": str(told.get("comment", "")),
            "empty": bool(told.get("empty", False)),
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise Refused(
            "bad-json", f"{path.name}: what lies beside the label is not what it should be ({error}). Remove or mend it."
        ) from error


def _is_still(path: Path, wait: bool) -> bool:
    """Whether nobody writes the file any more: it has been the same for five seconds, or `CASE.done` lies beside it."""
    if path.with_name(f"{case_of(path)}.done").exists():
        return True
    seen = path.stat()
    age = time.time() - seen.st_mtime
    if age >= STILL_SECONDS or age < 0:
        return True
    if not wait:
        return False
    time.sleep(STILL_SECONDS - age)
    again = path.stat()
    return (again.st_size, again.st_mtime) == (seen.st_size, seen.st_mtime)


def _only_reader(state: State, case: str) -> str:
    case_state = state.cases.get(case)
    readers = [reading.reader for reading in case_state.readings.values() if reading.is_open] if case_state else []
    if len(readers) != 1:
        who = f"{', '.join(sorted(readers))} were asked for it" if readers else "nobody is asked for it now"
        raise UserError(f"{case}: who drew it? {who[0].upper()}{who[1:]}. Name the reader: --reader NAME.")
    return readers[0]
