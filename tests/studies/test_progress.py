"""What `jaxal status` says of a study that workers share."""

import json

import pytest
from test_workers import add_round, pieces_in

from jaxal import claims
from jaxal.cli.main import main
from jaxal.errors import UserError
from jaxal.studies import progress
from jaxal.studies.workers import place_of


def timed(piece, seconds):
    add_round(piece)
    ledger = piece.folder / "rounds.jsonl"
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    ledger.write_text("\n".join(json.dumps({**line, "seconds": {"train": seconds}}) for line in lines) + "\n")


def test_who_works_on_what_and_when_it_is_done(tmp_path):
    out, pieces = tmp_path / "out", pieces_in(tmp_path / "out")
    progress.note_runs(out, pieces)
    assert "0 of 4 runs are done. Nobody works on the others" in progress.in_words(out, 0.0)[0]
    held = claims.take(place_of(out, pieces[0]))
    assert "1 worker at work; when all will be done is known after the first round." in progress.in_words(out, 0.0)[0]
    for piece in pieces[:2]:
        timed(piece, 30.0)
    first, line = progress.in_words(out, claims.myself().since + 130)
    assert "1 worker at work; all done in about 3 minutes." in first  # six rounds of half a minute
    assert "one/a/seed-0" in line and "1 of 2 rounds" in line and "for 2 min" in line
    other = claims.take(place_of(out, pieces[1]))
    assert "2 workers at work; all done in about 2 minutes." in progress.in_words(out, 0.0)[0]
    for claim in (held, other):
        claim.release()
    for piece in pieces:
        for _ in range(2):
            timed(piece, 30.0)
    assert progress.in_words(out, 0.0) == [f"{out}: 4 of 4 runs are done. Nothing is left to do."]


def test_runs_that_were_asked_for_before_are_not_forgotten(tmp_path):
    out = tmp_path / "out"
    progress.note_runs(out, pieces_in(out, ("a",), 1))
    progress.note_runs(out, pieces_in(out, ("b",), 1))
    assert [run.name for run in progress.standings(out)] == ["one/a/seed-0", "one/b/seed-0"]


def test_a_folder_of_neither_kind_is_told_so(tmp_path, capsys):
    with pytest.raises(UserError, match="neither a project nor a study"):
        progress.standings(tmp_path)
    assert main(["status", str(tmp_path)]) == 2 and "holds no project" in capsys.readouterr().err
    progress.note_runs(tmp_path, pieces_in(tmp_path))
    assert main(["status", str(tmp_path)]) == 0 and "0 of 4 runs are done" in capsys.readouterr().out
