"""A log that was cut anywhere is an earlier state of its project; what was altered is named."""

import pytest
from made_projects import nothing, of

from jaxal.cli.main import main
from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects.check import problems
from jaxal.projects.decisions import exclude, mark_opened, reopen
from jaxal.projects.project import open_project
from jaxal.projects.start import add_class


@pytest.fixture
def eventful(own, tmp_path):
    """A project in which much has happened."""
    first, second, *_ = of(own, "anna")
    mark_opened(own.project, "anna", [first], "test")
    with pytest.raises(Refused):
        own.draw("zoe", first)
    own.answer()
    reopen(own.project, [first], "the édge is off", "ben")
    own.draw("ben", first, path=own.label(first))
    own.ask()
    exclude(own.project, [second], "motion")
    own.answer(own.state.open_readings[:2])
    add_class(own.project, "vessel", "ask")
    return own


def test_a_log_cut_at_every_byte_is_an_earlier_state(eventful):
    path = eventful.folder / "log.jsonl"
    whole, events = path.read_bytes(), eventful.project.log.read()
    lines = whole.splitlines(keepends=True)
    earlier = [eventful.project.state_of(events[:count]) for count in range(len(events) + 1)]
    size = 0
    for number, line in enumerate(lines):
        for cut in range(len(line)):
            if 2 < cut < len(line) - 3 and cut % 97:  # between the ends one place is like the other
                continue
            path.write_bytes(whole[: size + cut])
            count = number + (cut == len(line) - 1)
            assert open_project(eventful.folder).state() == earlier[count]
        size += len(line)


def test_every_altered_line_is_named(eventful, capsys):
    path = eventful.folder / "log.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines):
        place = line.index(b'"event": "') + 12
        changed = line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]
        path.write_bytes(b"".join([*lines[:number], changed, *lines[number + 1 :]]))
        with pytest.raises(UserError, match=rf"log.jsonl, line {number + 1}: it was altered"):
            open_project(eventful.folder).state()
    assert main(["take", str(eventful.folder)]) == 2
    assert f"line {len(lines)}: it was altered" in " ".join(capsys.readouterr().err.split())


def test_labels_that_a_cut_log_does_not_know_are_told_and_come_in_again(own):
    case = of(own, "anna")[0]
    own.draw("anna", case)
    path = own.folder / "log.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert own.state.cases[case].status == "asked"
    assert ["the log does not speak of it" in problem for problem in problems(own.project, nothing)] == [True]
    assert own.draw("anna", case).version == "anna-1" and problems(own.project, nothing) == []
