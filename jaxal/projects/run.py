"""Rounds that follow each other by themselves: labels are taken in, and more is asked for once the last query is answered."""

import re
import time
from collections.abc import Callable
from typing import NamedTuple

from jaxal.data.scans.folder import Showing
from jaxal.errors import UserError
from jaxal.projects.ask import ask, can_ask
from jaxal.projects.decisions import release_overdue
from jaxal.projects.project import Project
from jaxal.projects.settle import settle
from jaxal.projects.state import State
from jaxal.projects.take import Taken, take_inboxes
from jaxal.training.trainer import Interrupted
from jaxal.types import Watcher


class Until(NamedTuple):
    """When to end: so many labelled cases, or so many seconds; whichever is given."""

    cases: int | None = None
    seconds: float | None = None


def until(text: str) -> Until:
    """Reads `40 cases`, `12 h`, `90 min`, `2 d` or `30 s`.

    Raises:
      UserError: it is none of them.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(cases?|s|min|h|d)\s*", text)
    if match is None:
        raise UserError(f'--until is {text!r}; it takes such as "40 cases", "90 min", "12 h" or "2 d".')
    number, unit = float(match[1]), match[2]
    if unit.startswith("case"):
        return Until(cases=int(number))
    return Until(seconds=number * {"s": 1, "min": 60, "h": 3600, "d": 86400}[unit])


def run(
    project: Project,
    end: Until,
    answered: float,
    every: float,
    showing: Showing,
    watcher: Watcher,
    told: Callable[[Taken], None],
    refresh: Callable[[], None],
) -> str:
    """Goes on until the end; returns why it ended.

    Args:
      project: whose.
      end: when to end.
      answered: share of a query that must be answered before the next one is asked.
      every: seconds between two looks.
      showing, watcher: are told how far the work is, and may end it.
      told: is called with what came of each file.
      refresh: is called whenever something changed.

    Raises:
      Interrupted: the watcher asked to stop.
    """
    began = time.monotonic()
    while True:
        taken = take_inboxes(project, told, wait=False)
        settled = settle(project)
        released = release_overdue(project)
        for sentence in settled:
            watcher.note(f"  {sentence}")
        if taken or settled or released:
            refresh()
        state = project.state()
        if end.cases is not None and len(state.with_status("labelled")) >= end.cases:
            return f"{len(state.with_status('labelled'))} cases are labelled."
        if end.seconds is not None and time.monotonic() - began >= end.seconds:
            return "The time is over."
        if share_answered(state) >= answered and can_ask(project, state):
            if not state.unasked() and not (state.rounds and state.rounds[-1].asked is None):
                if not state.open_readings and not state.with_status("disputed"):
                    return "Nothing is left to ask for."
            else:
                round_ = ask(project, None, True, showing, watcher)
                watcher.note(f"Round {round_.number} is asked.")
                refresh()
                continue
        _wait(every, watcher)


def share_answered(state: State) -> float:
    """The share of the last query's readings that are done; 1 where nothing was asked yet, or a round was stopped."""
    if not state.rounds or state.rounds[-1].asked is None:
        return 1.0
    number = state.rounds[-1].number
    asked = [reading for case in state.cases.values() for reading in case.readings.values() if reading.round == number]
    return sum(not reading.is_open for reading in asked) / len(asked) if asked else 1.0


def _wait(seconds: float, watcher: Watcher) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if watcher.should_stop():
            raise Interrupted
        time.sleep(min(left, 0.5))
