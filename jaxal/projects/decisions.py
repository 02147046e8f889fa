"""What people decide about cases: who reads them, whether a label is good enough, whether a case is usable at all.

Each of these is one event of the log. All can be repeated: what is so already is not written again.
"""

import datetime
from collections.abc import Sequence

from jaxal.errors import UserError
from jaxal.projects.log import Pen
from jaxal.projects.project import Project, days_between
from jaxal.projects.state import OVERDUE, SKIPPED, Reading, State


def exclude(project: Project, ids: Sequence[str], why: str) -> list[str]:
    """Leaves cases out: they are neither asked for nor trained on; labels that were drawn stay on disk."""
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        _check_cases(project, ids)
        need_why("exclude", why)
        done = [id_ for id_ in ids if state.cases[id_].excluded is None]
        for id_ in done:
            pen.add("excluded", case=id_, why=why)
    return done


def include(project: Project, ids: Sequence[str], why: str) -> list[str]:
    """Takes cases back that were left out; a label that counted counts again, and what has none may be asked for."""
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        _check_cases(project, ids)
        need_why("exclude", why)
        done = [id_ for id_ in ids if state.cases[id_].excluded is not None]
        for id_ in done:
            pen.add("included", case=id_, why=why)
    return done


def reopen(project: Project, ids: Sequence[str], why: str, reader: str | None = None) -> list[tuple[str, str]]:
    """Asks for labels again that count already; they count until the new ones are there.

    Args:
      project: whose.
      ids: cases.
      why: is shown to the reader.
      reader: who corrects; who drew it when left out.

    Returns:
      Cases and their readers.
    """
    done = []
    with project.log.held() as pen:
        _check_cases(project, ids)
        need_why("reopen", why)
        state = project.state_of(pen.events)
        if reader:
            _check_reader(project, state, reader)
        for id_ in ids:
            case = state.cases[id_]
            if case.counts is None or case.excluded is not None:
                raise UserError(f"{id_}: has no label that counts, so there is nothing to reopen; it is {case.status}.")
            if case.status == "asked":
                continue
            drew = [version.reader for version in case.versions if version.reader in state.present]
            who = reader or (drew[-1] if drew else _least_busy(state))
            pen.add("reopened", case=id_, reader=who, why=why)
            done.append((id_, who))
            state = project.state_of(pen.events)
    return done


def give_back(project: Project, ids: Sequence[str], why: str, by: str = "") -> list[tuple[str, str]]:
    """Returns labels that are not good enough to their readers; until a better one is there, they do not count.

    Args:
      project: whose.
      ids: cases, or versions such as `case_001/anna-1` where a case has several.
      why: is shown to the reader.
      by: who says so.
    """
    done = []
    with project.log.held() as pen:
        need_why("return", why)
        for given in ids:
            state = project.state_of(pen.events)
            id_, name = _case_and_version(project, given)
            _check_cases(project, [id_])
            case = state.cases[id_]
            drawn = [version for version in case.of_attempt() if not name or version.name == name]
            if not drawn and case.counts:
                drawn = [
                    version for version in case.versions if (version.reader in state.readers and not name) or version.name == name
                ]
            if not drawn:
                raise UserError(
                    f"{given}: nobody has handed in {'that version' if name else 'a label'}, so there is nothing to return."
                )
            if len(drawn) > 1:
                names = " or ".join(f"{id_}/{version.name}" for version in drawn)
                raise UserError(f"{id_}: has several labels; name one of them: {names}.")
            if drawn[0].reader not in state.readers:
                raise UserError(
                    f"{id_}: its label was there at the start. `jaxal reopen {project.folder} {id_}` asks a reader for it."
                )
            waiting = sorted(reading.reader for reading in case.readings.values() if reading.is_open)
            if drawn[0].parts and drawn[0].attempt != case.attempt and waiting:
                raise UserError(f"{given}: other parts of the case are with {' and '.join(waiting)}. Return it when they are in.")
            pen.add("returned", case=id_, reader=drawn[0].reader, version=drawn[0].name, why=why, by=by)
            done.append((id_, drawn[0].reader))
    return done


def _case_and_version(project: Project, given: str) -> tuple[str, str]:
    """A case, and the version that is named with it, if one is; ids of images hold slashes, too."""
    id_, _, name = given.rpartition("/")
    return (id_, name) if given not in project.cases and id_ in project.cases else (given, "")


def release(project: Project, reader: str, ids: Sequence[str], why: str, to: str | None = None) -> list[tuple[str, str]]:
    """Takes cases from a reader and gives them to others.

    Args:
      project: whose.
      reader: who has them.
      ids: cases; all that are open when empty.
      why: for the record.
      to: who gets them; who has least to do when left out.

    Returns:
      Cases and their new readers; a case that nobody else can read goes back to the pool.
    """
    moved = []
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        _check_reader(project, state, reader, present=False)
        if to:
            _check_reader(project, state, to)
        _check_cases(project, ids)
        readings = [reading for reading in state.open_readings if reading.reader == reader and (not ids or reading.case in ids)]
        if missing := sorted(set(ids) - {reading.case for reading in readings}):
            raise UserError(f"{missing[0]}: {reader} has no open reading of it.")
        for reading in readings:
            moved.append((reading.case, hand_over(project, pen, reading, why, to) or ""))
    return moved


def away(project: Project, reader: str, why: str = "away") -> list[tuple[str, str]]:
    """Notes that a reader is away, and gives what is open to others."""
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        _check_reader(project, state, reader, present=False)
        if state.readers[reader]:
            pen.add("reader", name=reader, present=False)
    return release(project, reader, (), why)


def hand_over(project: Project, pen: Pen, reading: Reading, why: str, to: str | None = None) -> str | None:
    """Gives an open reading to somebody who has not read the case; returns to whom. Nobody gets it where nobody else is left."""
    state = project.state_of(pen.events)
    if to is not None and to in state.cases[reading.case].readings:
        raise UserError(f"{reading.case}: {to} reads it already. Name somebody else.")
    new = to or free_reader(state, reading.case)
    pen.add("released", case=reading.case, reader=reading.reader, why=why)
    if new:
        pen.add("assigned", case=reading.case, reader=new, why=why, proposal=reading.proposal, part=reading.part)
    return new


def skip(project: Project, reader: str, id_: str, why: str = SKIPPED) -> str | None:
    """A reader gives a case back, and does not get it again; returns who gets it."""
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        reading = state.cases[id_].readings.get(reader)
        return hand_over(project, pen, reading, why) if reading and reading.is_open else None


def release_overdue(project: Project) -> list[tuple[str, str]]:
    """Gives to others what was asked for long ago and never opened; nothing where there is nobody else."""
    moved = []
    days = project.settings.protocol.lease_days
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        for reading in state.open_readings:
            if free_reader(state, reading.case) and days_between(reading.opened or reading.asked, now_of(project)) > days:
                new = hand_over(project, pen, reading, OVERDUE)
                moved.append((reading.case, new or ""))
                state = project.state_of(pen.events)
    return moved


def now_of(project: Project) -> str:
    """The present instant as the log would write it."""
    return datetime.datetime.fromtimestamp(project.log.now(), datetime.UTC).isoformat(timespec="seconds")


def decide(project: Project, id_: str, version: str, by: str, why: str = "") -> bool:
    """Settles a dispute: this version counts. Returns whether it did not already.

    Raises:
      UserError: there is no such version.
    """
    with project.log.held() as pen:
        _check_cases(project, [id_])
        case = project.state_of(pen.events).cases[id_]
        names = [known.name for known in case.versions]
        if version not in names:
            raise UserError(f"{id_}: has no version {version!r}; there are {', '.join(names) or 'none'}.")
        is_new = version not in (case.counts or "").split("/") or bool(case.disputed)
        if is_new:
            pen.add("decided", case=id_, version=version, by=by, why=why)
        return is_new


def ask_a_third(project: Project, id_: str, reader: str | None = None) -> str:
    """Gives a disputed case to somebody who has not read it; returns to whom.

    Raises:
      UserError: nobody is left.
    """
    with project.log.held() as pen:
        _check_cases(project, [id_])
        state = project.state_of(pen.events)
        if reader:
            _check_reader(project, state, reader)
        if reader in state.cases[id_].readings:
            raise UserError(f"{id_}: {reader} reads it or has read it. Name somebody else, or leave --reader out.")
        new = reader or free_reader(state, id_)
        if new is None:
            raise UserError(
                f"{id_}: nobody is left who has not read it. `jaxal review {project.folder} {id_} --take VERSION --by NAME --why TEXT` decides."
            )
        assign_third(pen, id_, new)
        return new


def assign_third(pen: Pen, id_: str, reader: str) -> None:
    """Writes down that a reader reads a disputed case, too, without a proposal, as the two before."""
    pen.add("assigned", case=id_, reader=reader, why="two readers differ", part="third", proposal=False)


def free_reader(state: State, id_: str) -> str | None:
    """Who has least to do of those who neither read a case nor gave it back; None where nobody is left."""
    case = state.cases[id_]
    free = [name for name in state.active if name not in {*case.readings, *case.given_back}]
    return min(free, key=lambda name: (_load(state, name), name)) if free else None


def _load(state: State, reader: str) -> int:
    return sum(reading.reader == reader for reading in state.open_readings)


def _least_busy(state: State) -> str:
    if not state.present:
        raise UserError("No reader is there.")
    return min(state.active, key=lambda name: (_load(state, name), name))


def _check_cases(project: Project, ids: Sequence[str]) -> None:
    if strange := [id_ for id_ in ids if id_ not in project.cases]:
        close = [id_ for id_ in project.cases if strange[0].lower() in id_.lower()][:3]
        hint = f" Did you mean {', '.join(close)}?" if close else f" There are {', '.join(list(project.cases)[:3])} …"
        raise UserError(f"{strange[0]!r} is no case of this project.{hint}")


def _check_reader(project: Project, state: State, reader: str, present: bool = True) -> None:
    if reader not in state.readers:
        raise UserError(
            f"{reader!r} is no reader of this project; there are {', '.join(sorted(state.readers))}. "
            f"`jaxal start {project.folder} --readers {reader}` adds one."
        )
    if present and not state.readers[reader]:
        raise UserError(f"{reader} is away. `jaxal start {project.folder} --readers {reader}` takes them back.")


def need_why(verb: str, why: str) -> None:
    """Makes sure that there is a reason, and not the word that stands for it in a command to copy."""
    if not why.strip() or why.strip() == "TEXT":
        raise UserError(f"jaxal {verb}: say why, because the record must: --why TEXT.")


def mark_opened(project: Project, reader: str, ids: Sequence[str], via: str) -> None:
    """Notes that a reader has cases before them; the first time counts."""
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        for id_ in ids:
            reading = state.cases[id_].readings.get(reader)
            if reading and reading.is_open and reading.opened is None:
                pen.add("opened", case=id_, reader=reader, via=via)
