"""Progress in a log file."""

import pytest
from rich.console import Console

from jaxal.report import terminal


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (1, ["1 of 100", "16 of 100, 84 s left"]),  # a step takes a second, and the first one sixty because it compiles
        (51, ["51 of 100", "66 of 100, 34 s left"]),  # the first fifty were done before
    ],
)
def test_the_time_left_knows_nothing_of_compilation_or_of_what_was_done_before(first, told, monkeypatch, capsys):
    now = 1000.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    display = terminal.Display(Console(width=200, force_terminal=False, highlight=False, soft_wrap=True))
    with display.progress("training") as progress:
        now += 60.0
        for done in range(first, first + 21):
            progress(done, 100)
            now += 1.0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [f"training: {line}" for line in told]


def test_names_between_colons_stay_as_they_are(capsys):
    display = terminal.Display()
    display.note("random+cold:bald: it reads [more]")
    display.error("random+cold:bald: it reads [more]")
    shown = capsys.readouterr()
    assert shown.out == "random+cold:bald: it reads [more]\n" and shown.err == "error: random+cold:bald: it reads [more]\n"
