"""Each reader's worklist, written from the state of a project."""

import glob
from collections.abc import Sequence
from pathlib import Path

from jaxal.errors import UserError
from jaxal.files import write_whole
from jaxal.projects.kinds import kind_of
from jaxal.projects.project import Project, plain_name
from jaxal.projects.state import Reading, State
from jaxal.worklists.items import Item, Worklist, coloured
from jaxal.worklists.page import page_text
from jaxal.worklists.pictures import click_image
from jaxal.worklists.write import write_worklists


def write_all(project: Project, readers: Sequence[str] | None = None) -> list[Path]:
    """Writes the worklists of readers, of all unless named; returns their folders."""
    state = project.state()
    folders = []
    for reader in sorted(state.readers) if readers is None else readers:
        folder = project.reader_folder(reader).resolve()
        worklist = worklist_of(project, state, reader)
        large = _large(project, worklist) if worklist.kind == "images" else None
        write_worklists(worklist, folder, _pictures(project, state, worklist), large)
        folders.append(folder)
    return folders


def served_text(project: Project, reader: str) -> str:
    """A reader's page for somebody who sees it through the server and may not see the folder."""
    state = project.state()
    worklist = worklist_of(project, state, reader)
    return page_text(worklist, None, _pictures(project, state, worklist))


def _pictures(project: Project, state: State, worklist: Worklist) -> dict[str, bytes]:
    """A picture of each case that is still to be read; those that were drawn before are kept, because a scan takes seconds."""
    pictures, kind = {}, kind_of(project)
    for item in worklist.items:
        if item.state == "delivered":
            continue
        shown = "with" if item.proposal_nifti else "without"
        round_ = state.cases[item.case].readings[worklist.reader].round
        of_parts = f"-parts-{item.reading}" if item.parts else ""
        name = f"{plain_name(item.case)}-r{round_:03d}-{shown}-{len(state.classes)}{of_parts}.webp"
        path = project.folder / "cache" / "pictures" / name
        if not path.is_file():
            try:
                drawn = kind.picture(item, worklist.classes)
            except UserError:  # labels of other cases come in all the same; `jaxal ask` and `jaxal check` tell what is wrong
                pictures[item.case] = b""
                continue
            write_whole(path, lambda file, drawn=drawn: file.write(drawn))  # type: ignore[misc]
        pictures[item.case] = path.read_bytes()
    return pictures


def _large(project: Project, worklist: Worklist) -> dict[str, tuple[bytes, int]]:
    """The images to choose a class for, kept once they are made; the file's name tells how many pixels the longer side has."""
    large, folder = {}, project.folder / "cache" / "click"
    for item in worklist.items:
        if item.state == "delivered":
            continue
        kept = next(folder.glob(f"{glob.escape(plain_name(item.case))}.*px.webp"), None)
        if kept is None:
            image, longer = click_image(item.image)
            kept = folder / f"{plain_name(item.case)}.{longer}px.webp"
            write_whole(kept, lambda file, image=image: file.write(image))  # type: ignore[misc]
        large[item.case] = kept.read_bytes(), int(kept.name.rsplit(".", 2)[1].removesuffix("px"))
    return large


def worklist_of(project: Project, state: State, reader: str) -> Worklist:
    """What a reader is asked for, and what they have handed in of the present round."""
    last = state.rounds[-1].number if state.rounds else 0
    readings = [
        case.readings[reader]
        for case in state.cases.values()
        if case.excluded is None
        and reader in case.readings
        and (case.readings[reader].is_open or case.readings[reader].round == last)
    ]
    ordered = in_order(state, reader, readings)
    kind, data = kind_of(project), project.data(state).resolve()
    items = [
        kind.item(project, state, reader, _item(project, state, data, reading, place))
        for place, reading in enumerate(ordered, start=1)
    ]
    return Worklist(project.settings.name, reader, coloured(kind.named(state.classes)), items, kind.name, project.key)


def in_order(state: State, reader: str, readings: Sequence[Reading]) -> list[Reading]:
    """Readings in the order in which the reader was asked, which tells nothing of why a case was chosen."""
    asked = [
        entry["case"]
        for round_ in state.rounds
        if round_.asked
        for entry in round_.asked["readings"]
        if entry["reader"] == reader
    ]
    places = {case: place for place, case in enumerate(dict.fromkeys(asked))}
    return sorted(readings, key=lambda reading: places.get(reading.case, len(places)))


def _item(project: Project, state: State, data: Path, reading: Reading, place: int) -> Item:
    inbox = (project.reader_folder(reading.reader) / "inbox").resolve()
    return Item(
        case=reading.case,
        images=dict(zip(project.channels, project.image_paths(reading.case, data), strict=False)),
        result=inbox / plain_name(reading.case),
        reason=_reason(project, state, reading),
        place=place,
        minutes=_minutes(state, reading),
        returned=_came_back(state, reading),
        state="delivered" if not reading.is_open else "in work" if reading.status == "opened" else "asked",
        reading=state.cases[reading.case].attempt,
    )


def _came_back(state: State, reading: Reading) -> tuple[str, ...]:
    """Why a label came back to its reader, or why the last delivery was not taken."""
    if reading.status == "returned" and reading.why:
        return (reading.why,)
    this = {"case": reading.case, "reader": reading.reader}
    refused = [event for event in state.refused if this.items() <= event.fields.items() and event.time >= reading.asked]
    return (str(refused[-1].fields["sentence"]),) if refused and reading.is_open else ()


def _reason(project: Project, state: State, reading: Reading) -> str:
    """Why the case is asked for, in words that do not tell a random draw from the strategy's choice, because readers must not know."""
    if reading.part == "again":
        return "A label of this case is to be corrected."
    if state.cases[reading.case].asked_parts:
        if reading.round == 1 or reading.part == "first":
            return "The first parts are a sample of all."
        return "Labels of these parts would help the network."
    if reading.round == 1 or reading.part == "first":
        return "The first cases are a sample of all."
    return "Its label would help the network" + (
        "." if project.settings.of_images else "; the picture shows where it is least sure."
    )


def _minutes(state: State, reading: Reading) -> float | None:
    for round_ in reversed(state.rounds):
        for entry in round_.asked["readings"] if round_.asked else ():
            if entry["case"] == reading.case and entry["reader"] == reading.reader:
                return float(entry["minutes"])
    return None
