"""What the leaderboard has found, as a file that comes with the library, and what it advises for a study's own numbers."""

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.assessment.intervals import Estimate
from jaxal.errors import UserError
from jaxal.files import write_text

FILE = "leaderboard.json"  # beside this one
SHOWN = 3  # strategies that are advised, at most


class Setting(NamedTuple):
    """The numbers of a study.

    Attributes:
      kind: of task, as `kind_of` names it.
      classes: or targets.
      pool: cases that could be labelled.
      start, end: cases that are labelled in the first and after the last query.
      groups: of patients.
    """

    kind: str
    classes: int
    pool: int
    start: int
    end: int
    groups: int


class Found(NamedTuple):
    """What a strategy came to on a task: the area under its learning curve less random sampling's, what a query took, and how often it failed."""

    over_random: Estimate
    milliseconds: float
    failures: int


class Measured(NamedTuple):
    """A task of the leaderboard.

    Attributes:
      about: in a line.
      measure: whose curve it is.
      setting: its numbers.
      found: by strategy; none of those that do not fit.
    """

    about: str
    measure: str
    setting: Setting
    found: Mapping[str, Found]


Evidence = Mapping[str, Measured]  # by task


def kind_of(name: str, in_parts: bool) -> str:
    """How a kind of task is called here."""
    return f"{name} by parts" if in_parts else name


def write_evidence(path: Path, evidence: Evidence) -> None:
    """Writes what the leaderboard has found as `read_evidence` reads it; a number that is not known is null."""
    tasks = {
        task: {
            "about": measured.about,
            "measure": measured.measure,
            "setting": measured.setting._asdict(),
            "found": {
                name: [
                    *map(_rounded, found.over_random[:3]),
                    found.over_random.cases,
                    _rounded(found.milliseconds),
                    found.failures,
                ]
                for name, found in measured.found.items()
            },
        }
        for task, measured in evidence.items()
    }
    write_text(path, json.dumps(tasks, indent=1) + "\n")


def read_evidence(path: Path | None = None) -> Evidence:
    """What the leaderboard has found; of the library itself when left out, and nothing where there is no such file.

    Raises:
      UserError: the file holds something else.
    """
    place = files("jaxal.report").joinpath(FILE) if path is None else path
    if not place.is_file():
        return {}
    try:
        return {task: _measured(entry) for task, entry in json.loads(place.read_text(encoding="utf-8")).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{place}: not what the leaderboard has found ({error!r}). Install jaxal anew.") from error


def told_of(strategy: str, evidence: Evidence) -> list[str]:
    """Where a strategy was measured, a line each: how much better than random sampling, and what a query took."""
    lines = []
    for task, measured in evidence.items():
        if found := measured.found.get(strategy):
            failed = f"; {found.failures} runs failed" if found.failures else ""
            lines.append(f"{task}: {_against(found)}; {found.milliseconds:.0f} ms a query{failed}")
    return lines


def advice(setting: Setting, evidence: Evidence) -> str:
    """What did best against random sampling on what is most like a study, with the numbers that it rests on; empty where nothing is like it."""
    alike = {task: measured for task, measured in evidence.items() if measured.setting.kind == setting.kind}
    if not alike:
        return ""
    task = min(alike, key=lambda name: (_unlike(setting, alike[name].setting), name))
    measured = alike[task]
    better = [(found.over_random.value, name) for name, found in measured.found.items() if found.over_random.low > 0]
    best = [f"{name} ({_interval(measured.found[name])})" for _, name in sorted(better, reverse=True)[:SHOWN]]
    worse = [name for name, found in measured.found.items() if found.over_random.high < 0]
    of = measured.setting
    like = f"{task}: {of.classes} classes or targets, {of.start} labelled at first and {of.end} in the end of {of.pool}"
    told = f"{', '.join(best)} did best" if best else "no strategy was surely better than random sampling"
    less = f"; {len(worse)} of {len(measured.found)} strategies did worse than random" if worse else ""
    return f"Most like this is {like}. There {told} (area under the curve of {measured.measure} less random sampling's){less}. `jaxal strategies NAME` tells more of each."


def _unlike(one: Setting, other: Setting) -> float:
    """How unlike two studies are: labels at first and in the end for each class, by their ratios, and whether there are groups."""
    ratios = [(getattr(one, name) / one.classes) / (getattr(other, name) / other.classes) for name in ("start", "end")]
    return sum(abs(math.log(ratio)) for ratio in ratios) + 2.0 * ((one.groups > 1) != (other.groups > 1))


def _against(found: Found) -> str:
    sign = int(found.over_random.low > 0) - int(found.over_random.high < 0)
    word = {1: "better than random", -1: "worse than random", 0: "not told from random"}[sign]
    return f"{word}, {_interval(found)}" if not math.isnan(found.over_random.value) else "random itself"


def _interval(found: Found) -> str:
    value, low, high, _ = found.over_random
    return f"{value:+.3f}" if math.isnan(low) else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def _measured(entry: Mapping[str, Any]) -> Measured:
    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    found = {}
    for name, (value, low, high, cases, milliseconds, failures) in entry["found"].items():
        over_random = Estimate(number(value), number(low), number(high), int(cases))
        found[name] = Found(over_random, number(milliseconds), int(failures))
    return Measured(entry["about"], entry["measure"], Setting(**entry["setting"]), found)
