"""Labels without a server: what lies in the readers' inboxes comes in, or files that somebody names."""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxal.errors import UserError
from jaxal.files import write_text, writing
from jaxal.labels.formats import ENDINGS, ending_of, stem
from jaxal.labels.refusals import Refused
from jaxal.projects.deliver import Receipt, deliver, keep_refused
from jaxal.projects.images import answers
from jaxal.projects.kind import Delivery
from jaxal.projects.project import Project
from jaxal.projects.state import State

_APPENDED = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        r"(.+?) ?\(\d+\)",  # of a browser
        r"(.+?)[-_. ](?:seg|segmentation|label|labels|labelmap|mask)",
        r"(.+)-\d{8}T\d{6}-[0-9a-f]{4}",  # of `returned`
        r"(.+)-[^/]+-\d+",  # of `taken`: reader and number
    )
)
_BESIDE = (".json", ".done", ".txt", ".label", ".part", ".partial", ".tmp", ".crdownload", ".swp")
STILL_SECONDS = 5.0  # that size and time of a file must have been the same, because a program may be writing it


class Taken(NamedTuple):
    """What came of one label.

    Attributes:
      path: where its file lay.
      reader, case: whose; the case is empty of a file of answers that cannot be read.
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
      told: is called with what came of each label.
      wait: whether to wait for files that were written a moment ago; else they are left for the next time.
    """
    taken: list[Taken] = []
    for reader in sorted(project.state().readers):
        inbox = project.reader_folder(reader) / "inbox"
        for path in sorted(inbox.glob("[!.]*")) if inbox.is_dir() else []:
            if is_strange(project, path) and _is_still(path, wait):
                taken.append(_return_strange(project, path, reader))
                told(taken[-1])
            if (why := _refusal(project, path)) and _is_still(path, wait):
                taken.append(_take_refusal(project, path, reader, why))
                told(taken[-1])
            if not is_handed_in(project, path) or not _is_still(path, wait):
                continue
            if project.settings.of_images:
                taken += _take_answers(project, path, reader, {}, True, told)
                continue
            name = str(case_of(path))
            path.with_name(f"{name}.done").unlink(missing_ok=True)  # it would say of the next file that it is whole
            beside = path.with_name(f"{name}.json")
            taken.append(_take(project, path, reader, named_case(project, name), beside, from_inbox=True))
            told(taken[-1])
    return taken


def take_files(
    project: Project,
    paths: Sequence[Path],
    reader: str | None,
    case: str | None,
    told: Callable[[Taken], None],
    users: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> list[Taken]:
    """Takes in files that somebody names; they stay where they are.

    Args:
      project: whose.
      paths: of the files.
      reader: who drew them; when left out, whoever has the only open reading of the case.
      case: which it is; the file's name when left out.
      told: is called with what came of each label.
      users: the project's reader of each of Label Studio's users, for its export.
      options: of `Delivery`.
    """
    taken: list[Taken] = []
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: no such file.")
        if project.settings.of_images:
            taken += _take_answers(project, path, reader, users, False, told)
            continue
        stem_ = case_of(path)
        if stem_ is None:
            raise UserError(f"{path}: only {', '.join(ENDINGS)} are read.")
        id_ = case or named_case(project, stem_)
        who = reader or _only_reader(project.state(), id_)
        taken.append(_take(project, path, who, id_, path.with_name(f"{id_}.json"), False, **options))
        told(taken[-1])
    return taken


def is_handed_in(project: Project, path: Path) -> bool:
    """Whether a file in an inbox is one that readers hand in."""
    if not path.is_file():
        return False
    return path.suffix.lower() in answers.ENDINGS if project.settings.of_images else case_of(path) is not None


def is_strange(project: Project, path: Path) -> bool:
    """Whether a file in an inbox is of no use: no label, and none of what programs leave beside labels or while they write."""
    if not path.is_file() or is_handed_in(project, path):
        return False
    return path.suffix.lower() not in _BESIDE and not path.name.lower().endswith(".interim.nrrd")


def _return_strange(project: Project, path: Path, reader: str) -> Taken:
    """Returns a file that is no label, so that its reader does not wait for an answer."""
    read = ".json or .csv, which the page of classes saves" if project.settings.of_images else ", ".join(ENDINGS)
    refused = Refused(
        "no-label", f"{path.name}: is nothing that can be handed in; that is {read}. Save it so, under the case's name."
    )
    keep_refused(project, Delivery(reader, "", path, in_inbox=True), refused)
    return Taken(path, reader, "", None, refused)


def case_of(path: Path) -> str | None:
    """The case that a file is named after; None if it is none that is read."""
    if path.name.lower().endswith(".interim.nrrd"):  # MITK's unfinished work
        return None
    return stem(path.name) if ending_of(path.name) else None


def named_case(project: Project, name: str) -> str:
    """The case that a file without its ending is named after, as people and programs name files; the name itself where there is none.

    Besides the case's id: other capitals, what browsers append to a file of the same name, what programs append to a segmentation, and
    the names that this project gives to what it returned or took.
    """
    if name in project.cases:
        return name
    by_folded = {id_.casefold(): id_ for id_ in project.cases}
    tried = [name, *(match[1] for pattern in _APPENDED if (match := pattern.fullmatch(name)))]
    return next((by_folded[part.casefold()] for part in tried if part.casefold() in by_folded), name)


def _refusal(project: Project, path: Path) -> str:
    """Why a reader will not draw a case, of a file `CASE.json` without a label beside it that says `refused`; nothing of any other."""
    if project.settings.of_images or path.suffix.lower() != ".json" or not path.is_file():
        return ""
    if any(case_of(other) == path.stem for other in path.parent.iterdir() if other.is_file()):
        return ""  # of a label, which is taken with what lies beside it
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
        return str(told.get("refused", "")).strip()[:200]
    except (ValueError, AttributeError):
        return ""  # told of when its label comes


def _take_refusal(project: Project, path: Path, reader: str, why: str) -> Taken:
    case = named_case(project, path.stem)
    delivery = Delivery(reader, case, path, refusal=why, in_inbox=True)
    try:
        told = _told_beside(path)
    except Refused as refused:
        keep_refused(project, delivery, refused)
        return Taken(path, reader, case, None, refused)
    try:
        receipt = deliver(project, delivery._replace(seconds=told["seconds"]))
        _set_aside(path, path.parent / "taken", "refused")
        return Taken(path, reader, case, receipt, None)
    except Refused as refused:  # the file lies among what was returned
        return Taken(path, reader, case, None, refused)


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


def _take_answers(
    project: Project, path: Path, reader: str | None, users: Mapping[str, str], from_inbox: bool, told: Callable[[Taken], None]
) -> list[Taken]:
    """Takes in a file of many answers: each that can be taken, whatever becomes of the others."""
    via = "inbox" if from_inbox else "command"
    try:
        given = answers.deliveries(path, project, reader, users, via)
    except UserError as error:
        if not from_inbox:
            raise
        refused = Refused("bad-answers", str(error).removeprefix(f"{path}: "))
        keep_refused(project, Delivery(str(reader), "", path, via=via, in_inbox=True), refused)
        taken = [Taken(path, str(reader), "", None, refused)]
        told(taken[0])
        return taken
    taken = []
    for delivery in given:
        try:
            taken.append(Taken(path, delivery.reader, delivery.case, deliver(project, delivery), None))
        except Refused as refused:
            taken.append(Taken(path, delivery.reader, delivery.case, None, refused))
        told(taken[-1])
    if from_inbox:
        _put_away(path, project.reader_folder(str(reader)), [f"{one.case}: {one.refused}" for one in taken if one.refused])
    return taken


def _put_away(path: Path, folder: Path, refused: Sequence[str]) -> None:
    """Moves a file of answers out of the inbox; what was refused of it is told where readers look for what came back."""
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(path.stat().st_mtime))
    if refused:
        write_text(folder / "returned" / f"{path.stem}-{moment}.txt", "\n".join(refused) + "\n")
    target = path.parent / "taken" / f"{path.stem}-{moment}{path.suffix}"
    with writing(target):
        target.parent.mkdir(exist_ok=True)
        os.replace(path, target)


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
