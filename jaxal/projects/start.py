"""The beginning of a project: every file is checked, what may not change is frozen, and labels that are there already are taken in."""

import itertools
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxal.data.draws import spread
from jaxal.data.scans.folder import Showing
from jaxal.errors import UserError
from jaxal.files import lock
from jaxal.projects.deliver import store
from jaxal.projects.kind import Beginning, Found, Kind, check_classes
from jaxal.projects.kinds import kind_of, kind_of_beginning
from jaxal.projects.network import OWN_WAYS, first_named
from jaxal.projects.project import Project, check_images, open_project
from jaxal.projects.settings import NAME, Protocol, version, write_settings
from jaxal.projects.state import EXISTING, MERGED
from jaxal.rounds.protocol import evaluation_count
from jaxal.strategies.named import named_strategy

FIRST_LABELS_AT_LEAST = 8  # that were there at the start, for the first query to come from a network
_SIMPLE = re.compile(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*")


def start(
    folder: Path,
    asked: Beginning,
    showing: Showing,
    now: Callable[[], float] = time.time,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Project:
    """Starts a project.

    Args:
      folder: for the project; new or empty.
      asked: what it is to be.
      showing: tells how far the work is.
      now: the present time in seconds.
      tell: is told what of the data was left out.

    Raises:
      UserError: a file is bad, or something that was given does not fit; nothing is left behind that would count as a project.
    """
    check_readers(asked.readers)
    kind = kind_of_beginning(asked.data, asked.units)
    if named_strategy(asked.protocol.strategy, kind.task.strategies).strategy.first:
        raise UserError(
            f"--strategy {asked.protocol.strategy}: a simulation's first set may be chosen by a rule +cold; a project's is by --first."
        )
    try:
        if asked.protocol.first not in OWN_WAYS:
            first_named(asked.protocol.first, kind.task.strategies)
    except UserError as error:
        raise UserError(f"--first {asked.protocol.first}: {error}") from error
    _check_protocol(asked.protocol, kind)
    with lock(folder):
        if (folder / NAME).exists() and not is_unfinished(folder):
            raise UserError(f"{folder}: holds a project already. `jaxal status {folder}` tells how it stands.")
        found = kind.find(asked)
        for note in found.notes:
            tell(note)
        if not (folder / NAME).exists():
            write_settings(folder, kind.freeze(folder, asked, found, showing))
        project = open_project(folder, now)
        with project.log.held() as pen:
            if not pen.events:
                pen.add("started", readers=list(asked.readers), version=version())
        make_reader_folders(project, project.state().present)
        _take_existing(project, found, showing)
    return project


def is_unfinished(folder: Path) -> bool:
    """Whether a project was being started when somebody stopped it."""
    return not any(event.kind == "imported" for event in open_project(folder).log.read())


def _take_existing(project: Project, found: Found, showing: Showing) -> None:
    """Takes in the labels that the data have, as versions of nobody; a stopped start goes on where it was."""
    kind, roles = kind_of(project), _roles(project, found.labelled)
    with showing("taking labels") as progress:
        taken = {id_ for id_, case in project.state().cases.items() if case.versions}
        for done, id_ in enumerate(found.labelled):
            progress(done, len(found.labelled))
            if id_ not in taken:
                received = kind.existing(project, found, id_)
                with project.log.held() as pen:
                    store(project, pen, id_, EXISTING, received, role=roles[id_])
        progress(len(found.labelled), len(found.labelled))
    with project.log.held() as pen:
        pen.add("imported", labels=len(found.labelled))


def _roles(project: Project, ids: Sequence[str]) -> dict[str, str]:
    """What labels that were there are used for: where they are enough for a network, a part is the evaluation set."""
    if len(ids) < FIRST_LABELS_AT_LEAST:
        return dict.fromkeys(ids, "training")
    protocol, groups = project.settings.protocol, {id_: project.cases[id_].group for id_ in ids}
    evaluation = set(spread(ids, groups, evaluation_count(protocol.shares, len(ids)), protocol.seed, "evaluation"))
    return {id_: "evaluation" if id_ in evaluation else "training" for id_ in ids}


def check_readers(names: Sequence[str]) -> None:
    """Makes sure that readers' names can be names of folders and of versions.

    Raises:
      UserError: one cannot, or is there twice.
    """
    if not names:
        raise UserError("--readers names nobody. Who draws the labels? For example --readers anna,ben.")
    for name in names:
        if not _SIMPLE.fullmatch(name) or name != name.strip() or len(name) > 60:
            raise UserError(f"--readers: {name!r} cannot be a reader's name. Take letters and digits, such as anna.")
        if name in (EXISTING, MERGED):
            raise UserError(f"--readers: the name {name!r} is taken by jaxal itself. Choose another.")
    folded = [name.casefold() for name in names]
    if twice := [name for name in names if folded.count(name.casefold()) > 1]:
        raise UserError(f"--readers names {twice[0]!r} twice; names that differ in capitals only are one folder on some disks.")


def make_reader_folders(project: Project, readers: Sequence[str]) -> None:
    for reader in readers:
        for part in ("inbox", "returned"):
            (project.reader_folder(reader) / part).mkdir(parents=True, exist_ok=True)


def add_readers(project: Project, names: Sequence[str]) -> list[str]:
    """Adds readers, or takes back those who were away; returns the names of who is new or back."""
    with project.log.held() as pen:
        readers = project.state_of(pen.events).readers
        added = [name for name in names if not readers.get(name, False)]
        check_readers([*readers, *(name for name in added if name not in readers)])
        for name in added:
            pen.add("reader", name=name, present=True)
    make_reader_folders(project, added)
    return added


def move_data(project: Project, data: Path) -> bool:
    """Notes where the data lie now; returns whether that is another place.

    Raises:
      UserError: they are not those that the project began with.
    """
    if not data.is_dir():
        raise UserError(f"--data {data}: no such folder.")
    state = project.state()
    check_images(project, [id_ for id_, case in state.cases.items() if case.excluded is None], data)
    is_new = project.data(state).resolve() != data.resolve() if Path(state.data or project.settings.data).is_dir() else True
    if is_new:
        with project.log.held() as pen:
            pen.add("data", path=str(data.resolve()))
    return is_new


def add_class(project: Project, name: str, old: str) -> None:
    """Adds a class to a project that has begun.

    Args:
      project: whose.
      name: of the class.
      old: `absent`: labels that were drawn before count as they are, because the new class occurs in none of them; `ask`: none of
        them counts until it was drawn again, because the new class may be in it.

    Raises:
      UserError: there is a class of that name, or there are too many.
    """
    with project.log.held() as pen:
        state = project.state_of(pen.events)
        check_classes([*state.classes, name])
        pen.add("class", name=name, old=old)


def _check_protocol(protocol: Protocol, kind: Kind) -> None:
    shares = {
        "random-share": protocol.random_share,
        "double-share": protocol.double_share,
        "evaluation-share": protocol.evaluation_share,
    }
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UserError(f"--{name} is {share:g}; a share lies between 0 and 1.")
    if protocol.size < 1:
        raise UserError(f"--size is {protocol.size}; it must be at least 1.")
    if kind.looks_at_evaluation(protocol.strategy) and not evaluation_count(protocol.shares, kind.first_cases(protocol.size)):
        least = next(size for size in itertools.count(2) if kind.first_cases(size) > 1)
        raise UserError(
            f"--strategy {protocol.strategy} looks at an evaluation set, which comes from the first query: --evaluation-share must be above 0 and "
            f"--size at least {least}. Or take a strategy that needs none, such as entropy or bald."
        )
    if kind.parts and protocol.test_cases:
        raise UserError(
            f"--test-cases is {protocol.test_cases}: where parts of scans are asked for, no scan stays out of training for good, because one "
            "part would cost the rest of it. Leave it out."
        )
    if not 0 <= protocol.far_apart <= 1:
        raise UserError(f"--far-apart is {protocol.far_apart:g}; a Dice lies between 0 and 1.")
    if not protocol.lease_days > 0:
        raise UserError(f"--lease-days is {protocol.lease_days:g}; it takes days, more than none.")
    if not 0 < protocol.minutes < 1e4:
        raise UserError(
            f"--minutes is {protocol.minutes:g}; it takes the minutes that a reading takes, as well as you can guess."
        )
