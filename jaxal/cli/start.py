"""`jaxal start`: begins a project with readers, or changes one."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxal.cli import command
from jaxal.cli.project_options import Start
from jaxal.data.scans.folder import FolderConfig
from jaxal.errors import UserError
from jaxal.projects import start as starting
from jaxal.projects.kind import AskedUnits, Beginning, Kind
from jaxal.projects.kinds import kind_of, kind_of_beginning
from jaxal.projects.project import open_project
from jaxal.projects.scans.parts import parts_in_words
from jaxal.projects.settings import NAME, Protocol
from jaxal.projects.written import refresh
from jaxal.report.terminal import Display
from jaxal.studies import option_types
from jaxal.studies.scans import showing_on


def start(given: Sequence[str]) -> int:
    """Starts a project, or changes one."""
    asked = command.parse(Start, "jaxal start", given)
    return command.run(lambda display: _start(asked, display))


def _start(asked: Start, display: Display) -> int:
    if (asked.project / NAME).is_file() and not starting.is_unfinished(asked.project):
        return _change(asked, display)
    if asked.add_class:
        raise UserError(
            f"{asked.project}: holds no project yet; --add-class is for one that is there. Name all labels with --labels."
        )
    if asked.data is None:
        raise UserError("--data DIR is needed: the folder of scans or images, or a table of them.")
    config = FolderConfig(
        group_column=asked.group_column,
        participants=asked.participants,
        bins=option_types.edges(asked.bins),
        channels=option_types.split(asked.channels),
        spacing_mm=asked.spacing_mm,
        patch_voxels=asked.patch_voxels or 0,
        need_labels=False,
    )
    units = AskedUnits(asked.unit, tuple(asked.unit_size), asked.slice_axis, asked.per_case)
    beginning = Beginning(
        asked.data,
        option_types.split(asked.labels),
        option_types.split(asked.readers),
        _protocol(asked, kind_of_beginning(asked.data, units)),
        config,
        asked.preset,
        asked.training,
        _pixels(asked.pixels),
        asked.weights,
        units,
        asked.method,
        asked.without_group,
    )
    project = starting.start(asked.project, beginning, showing_on(display), tell=display.note)
    state = project.state()
    labelled = state.with_status("labelled")
    display.note(
        f"{asked.project}: {len(project.cases)} cases, {len(labelled)} with labels; {', '.join(kind_of(project).named(state.classes))}; {', '.join(state.present)}."
    )
    if project.settings.of_scans:
        for why in project.settings.of_scans.plan.why:
            display.note(f"  {why}")
    if project.asks_for_parts:
        display.note(f"  {parts_in_words(project)}")
    refresh(project)
    display.note(f"Next: `jaxal ask {asked.project}` asks for the first {'parts' if project.asks_for_parts else 'cases'}.")
    return 0


def _check_changes(asked: Start) -> None:
    """Makes sure that nothing is asked for which is decided at the start only."""
    for field in dataclasses.fields(asked):
        may_change = field.name in ("project", "data", "readers", "add_class", "old_labels")
        if not may_change and getattr(asked, field.name) != field.default:
            raise UserError(
                f"{asked.project}: --{field.name.replace('_', '-')} is decided when a project is started, and this one was. Only --data, --readers "
                "and --add-class can change."
            )


def _protocol(asked: Start, kind: Kind) -> Protocol:
    """How the project goes on: as asked for, else as its kind usually does."""
    shared = {field.name for field in dataclasses.fields(Protocol)} & {field.name for field in dataclasses.fields(Start)}
    usual = {"size": kind.size, "minutes": kind.minutes, "test_cases": kind.test_cases}
    options: dict[str, Any] = {name: getattr(asked, name) for name in shared - {"proposals"}}
    options |= {name: value for name, value in usual.items() if options[name] is None}
    proposals = kind.proposals if asked.proposals is None else asked.proposals == "shown"
    return Protocol(**options, proposals=proposals)


def _pixels(given: Sequence[int]) -> tuple[int, int] | None:
    if not given:
        return None
    if len(given) != 2:
        raise UserError(f"--pixels is {' '.join(map(str, given))}; it takes a height and a width.")
    return given[0], given[1]


def _change(asked: Start, display: Display) -> int:
    project = open_project(asked.project)
    _check_changes(asked)
    changed = False
    if asked.data is not None:
        is_new = starting.move_data(project, asked.data)
        display.note(f"The data lie in {asked.data}{' now' if is_new else ', as before'}; every image is what it was.")
        changed = True
    if asked.readers:
        added = starting.add_readers(project, option_types.split(asked.readers))
        display.note(f"Readers: {', '.join(project.state().present)}" + (f"; {', '.join(added)} new or back." if added else "."))
        changed = True
    if asked.add_class:
        if asked.old_labels is None:
            raise UserError(
                "--add-class needs to know what older labels mean: --old-labels absent (the class occurs in none of them) or --old-labels ask (they "
                "are asked for again, and do not count until then)."
            )
        before = project.state()
        starting.add_class(project, asked.add_class, asked.old_labels)
        display.note(f"Classes: {', '.join(kind_of(project).named(project.state().classes))}.")
        if asked.old_labels == "ask":
            counted = sum(case.counts is not None for case in before.cases.values())
            display.note(
                f"{counted} labels do not count any more, and {len(before.open_readings)} open readings are taken back, because nobody has looked "
                "for the new class in them. All cases are asked for anew; what was drawn stays on disk."
            )
        changed = True
    if not changed:
        raise UserError(f"{asked.project}: holds a project already. `jaxal status {asked.project}` tells how it stands.")
    return 0
