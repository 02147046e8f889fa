"""The verbs of a project with readers: their options, and what each says on the terminal."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from jaxal.cli import command
from jaxal.cli.project_options import PROJECT_OPTIONS, Ask, Exclude, Export, OnCases, Plain, Review, Run, StatusOptions, Take
from jaxal.cli.serve import serve
from jaxal.cli.start import start
from jaxal.errors import UserError
from jaxal.projects import decisions, settle
from jaxal.projects import run as running
from jaxal.projects.ask import ask as ask_round
from jaxal.projects.check import problems
from jaxal.projects.estimates import estimates_of
from jaxal.projects.estimates import to_json as estimates_to_json
from jaxal.projects.export import export
from jaxal.projects.images.answers import users_of
from jaxal.projects.past import past_of
from jaxal.projects.project import Project, open_project
from jaxal.projects.settings import NAME
from jaxal.projects.status import in_words, status_of, to_json
from jaxal.projects.take import Taken, take_files, take_inboxes
from jaxal.projects.written import refresh
from jaxal.report.terminal import Display
from jaxal.studies import option_types
from jaxal.studies.progress import in_words as progress_in_words
from jaxal.studies.scans import showing_on
from jaxal.studies.workers import CLAIMS
from jaxal.worklists.page import duration


def ask(given: Sequence[str]) -> int:
    """Goes through a round."""
    asked = command.parse(Ask, "jaxal ask", given)

    def work(display: Display) -> int:
        project = open_project(asked.project)
        released = decisions.release_overdue(project)
        for case, reader in released:
            display.note(f"{case}: was not opened for long; {reader or 'nobody'} gets it.")
        round_ = ask_round(project, asked.size, asked.even_if_open, showing_on(display), display, asked.within_minutes)
        assert round_.asked is not None
        readings = round_.asked["readings"]
        by_reader = {
            reader: sum(entry["reader"] == reader for entry in readings)
            for reader in sorted({entry["reader"] for entry in readings})
        }
        asked_cases = {entry["case"]: len(entry.get("parts", ())) for entry in readings}
        parts = f"{sum(asked_cases.values())} parts of " if project.asks_for_parts else ""
        display.note(
            f"Round {round_.number} asks for {parts}{len(asked_cases)} cases: "
            + ", ".join(f"{name} reads {count}" for name, count in by_reader.items())
            + f". That takes about {duration(sum(entry['minutes'] for entry in readings))} in all."
        )
        refresh(project)
        for reader in by_reader:
            display.note(f"  {project.reader_folder(reader) / 'worklist.html'}")
        return 0

    return command.run(work)


def take(given: Sequence[str]) -> int:
    """Takes labels in."""
    asked = command.parse(Take, "jaxal take", given)

    def work(display: Display) -> int:
        project = open_project(asked.project)

        def told(taken: Taken) -> None:
            display.note(_of_taken(taken))

        if asked.files:
            options: dict[str, Any] = {"trust_grid": asked.trust_grid, "resample": asked.resample}
            if asked.names:
                options["names"] = option_types.split(asked.names)
            if asked.empty:
                options["empty"] = True
            if asked.comment:
                options["comment"] = asked.comment
            users = users_of(option_types.split(asked.users))
            taken = take_files(project, asked.files, asked.reader, asked.case, told, users, **options)
        else:
            taken = take_inboxes(project, told)
        for sentence in settle.settle(project):
            display.note(f"  {sentence}")
        refresh(project)
        receipts, state = [one.receipt for one in taken if one.receipt is not None], project.state()
        again, returned = sum(receipt.again for receipt in receipts), len(taken) - len(receipts)
        before = f", {again} were here already" if again else ""
        display.note(f"{len(receipts) - again} taken{before}, {returned} returned; {len(state.open_readings)} readings are open.")
        return 2 if returned else 0

    return command.run(work)


def _of_taken(taken: Taken) -> str:
    if taken.receipt:
        return f"  {taken.reader}: {taken.receipt.sentence}"
    return f"  {taken.reader}: {taken.path.name} returned: {taken.refused}"


def status(given: Sequence[str]) -> int:
    """Tells how a project stands."""
    asked = command.parse(StatusOptions, "jaxal status", given)

    def work(display: Display) -> int:
        if not (asked.project / NAME).exists() and (
            (asked.project / "config.json").exists() or (asked.project / CLAIMS).is_dir()
        ):
            display.note("\n".join(progress_in_words(asked.project, time.time())))
            return 0
        project = open_project(asked.project)
        with display.progress("measuring") as progress:
            stands = status_of(project, progress)
        refresh(project, stands)
        if asked.json:
            estimates = estimates_to_json(estimates_of(stands, past_of(project)))
            print(json.dumps({**to_json(stands), "estimates": estimates}, indent=1, ensure_ascii=False, allow_nan=False))
            return 0
        for line in in_words(stands):
            display.note(line)
        display.note(f"All of it: {project.folder / 'status.html'}")
        return 0

    return command.run(work)


def run(given: Sequence[str]) -> int:
    """Asks whenever the last query is answered."""
    asked = command.parse(Run, "jaxal run", given)
    end = running.until(asked.until)
    if not 0 <= asked.answered <= 1:
        raise UserError(f"--answered is {asked.answered:g}; a share lies between 0 and 1.")
    if not asked.every >= 1:
        raise UserError(f"--every is {asked.every:g}; it takes seconds, at least one.")

    def work(display: Display) -> int:
        project = open_project(asked.project)
        why = running.run(
            project,
            end,
            asked.answered,
            asked.every,
            showing_on(display),
            display,
            lambda taken: display.note(_of_taken(taken)),
            lambda: refresh(project),
        )
        display.note(f"{why} `jaxal status {asked.project}` tells how it stands.")
        return 0

    return command.run(work)


def review(given: Sequence[str]) -> int:
    """Decides where readers differ."""
    asked = command.parse(Review, "jaxal review", given)

    def work(display: Display) -> int:
        project = open_project(asked.project)
        for sentence in settle.settle(project):
            display.note(sentence)
        if asked.third and asked.take:
            raise UserError("--take decides, and --third lets somebody else look; give one of them.")
        if asked.case is None:
            _list_disputes(project, display)
        elif asked.third:
            display.note(f"{asked.case}: {decisions.ask_a_third(project, asked.case, asked.reader)} reads it, too.")
        elif asked.take:
            if not asked.by.strip():
                raise UserError("jaxal review: say who decides, because the record must: --by NAME.")
            decisions.need_why("review", asked.why)
            is_new = decisions.decide(project, asked.case, asked.take, asked.by, asked.why)
            display.note(f"{asked.case}: {asked.take} counts{'' if is_new else ' already, so nothing was written'}.")
        else:
            raise UserError(f"{asked.case}: what is decided? --take VERSION, or --third.")
        refresh(project)
        return 0

    return command.run(work)


def _list_disputes(project: Project, display: Display) -> None:
    state = project.state()
    disputed = state.with_status("disputed")
    for id_ in disputed:
        names = ", ".join(state.cases[id_].disputed)
        display.note(f"{id_}: {names} differ too much.  jaxal review {project.folder} {id_} --take VERSION | --third")
    if disputed:
        display.note(f"What to look at: {project.folder / 'review.html'}")
    else:
        display.note("Readers differ too much on no case.")


def export_labels(given: Sequence[str]) -> int:
    """Exports labels."""
    asked = command.parse(Export, "jaxal export", given)

    def work(display: Display) -> int:
        with display.progress("exporting") as progress:
            cases = export(open_project(asked.project), asked.out, asked.layout, asked.link, progress)
        display.note(f"{len(cases)} cases with labels in {asked.out}; labels.tsv says where each label came from.")
        return 0

    return command.run(work)


def check(given: Sequence[str]) -> int:
    """Checks a project."""
    asked = command.parse(Plain, "jaxal check", given)

    def work(display: Display) -> int:
        project = open_project(asked.project)
        with display.progress("checking") as progress:
            found = problems(project, progress)
        for problem in found:
            display.note(problem)
        events = len(project.log.read())
        if found:
            display.error(f"{len(found)} {'thing is' if len(found) == 1 else 'things are'} not as written down.")
            return 2
        display.note(f"All is as written down: {events} events, {len(project.cases)} cases.")
        return 0

    return command.run(work)


def _decision(verb: str, work: Callable[[Project, Any, Display], None]) -> Callable[[Sequence[str]], int]:
    def run(given: Sequence[str]) -> int:
        asked: Any = command.parse(PROJECT_OPTIONS[verb], f"jaxal {verb}", given)

        def decide(display: Display) -> int:
            project = open_project(asked.project)
            work(project, asked, display)
            refresh(project)
            return 0

        return command.run(decide)

    return run


def _exclude(project: Project, asked: Exclude, display: Display) -> None:
    decide = decisions.include if asked.back else decisions.exclude
    done = decide(project, asked.cases, asked.why)
    display.note(f"{'Taken back' if asked.back else 'Left out'}: {', '.join(done) or 'nothing new'}.")


def _reopen(project: Project, asked: OnCases, display: Display) -> None:
    for case, reader in decisions.reopen(project, asked.cases, asked.why, asked.reader):
        display.note(f"{case}: {reader} is asked again; the old label counts until then.")


def _return(project: Project, asked: OnCases, display: Display) -> None:
    for case, reader in decisions.give_back(project, asked.cases, asked.why, asked.reader or ""):
        display.note(f"{case}: returned to {reader}; the label does not count until a better one is there.")


def _release(project: Project, asked: OnCases, display: Display) -> None:
    if not asked.reader:
        raise UserError("jaxal release: whose cases? --reader NAME.")
    moved = (
        decisions.away(project, asked.reader, asked.why or "away")
        if asked.away
        else decisions.release(project, asked.reader, asked.cases, asked.why or "released", asked.to)
    )
    for case, reader in moved:
        display.note(f"{case}: {f'{reader} gets it' if reader else 'goes back to the pool'}.")
    if not moved:
        display.note(f"{asked.reader} has nothing open.")


RUNS: dict[str, Callable[[Sequence[str]], int]] = {
    "start": start,
    "ask": ask,
    "take": take,
    "status": status,
    "review": review,
    "run": run,
    "serve": serve,
    "export": export_labels,
    "check": check,
    "exclude": _decision("exclude", _exclude),
    "reopen": _decision("reopen", _reopen),
    "return": _decision("return", _return),
    "release": _decision("release", _release),
}
