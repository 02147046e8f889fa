import contextlib
import sqlite3
import threading

import pytest

from jaxal.errors import UserError
from jaxal.scoring import journal as journal_module
from jaxal.scoring.journal import Journal, Keeping


def test_gives_back_what_was_written_by_any_writer(tmp_path):
    first, second = Journal(tmp_path / "scores", writer=0), Journal(tmp_path / "scores", writer=1)
    assert first.read("pass") == {}
    first.write("pass", [("a", b"1"), ("b", b"22")])
    second.write("pass", [("c", b"333")])
    second.write("other", [("a", b"4")])
    assert first.read("pass") == second.read("pass") == {"a": b"1", "b": b"22", "c": b"333"}
    assert first.read("other") == {"a": b"4"}
    first.write("pass", [("a", b"5")])
    assert first.read("pass")["a"] == b"5"
    first.clear()
    assert not (tmp_path / "scores").exists()


def test_a_row_whose_checksum_is_wrong_is_left_out(tmp_path):
    journal = Journal(tmp_path)
    journal.write("pass", [("a", b"1"), ("b", b"2")])
    with sqlite3.connect(tmp_path / "results-0.sqlite") as connection:
        connection.execute("UPDATE results SET data = ? WHERE unit = 'a'", (b"9",))
    connection.close()
    assert journal.read("pass") == {"b": b"2"}


def test_a_damaged_file_is_set_aside_and_the_work_goes_on(tmp_path):
    journal = Journal(tmp_path)
    (tmp_path / "results-0.sqlite").write_bytes(b"no database at all" * 100)
    assert journal.read("pass") == {}
    journal.write("pass", [("a", b"1")])
    assert journal.read("pass") == {"a": b"1"}
    assert (tmp_path / "results-0.damaged").exists()


def test_a_folder_that_cannot_be_written_to_says_so(tmp_path):
    (tmp_path / "results-0.sqlite").mkdir()
    with pytest.raises(UserError, match=r"results-0\.sqlite"):
        Journal(tmp_path).write("pass", [("a", b"1")])


def test_a_journal_that_another_process_holds_is_not_taken_for_empty(tmp_path, monkeypatch):
    journal = Journal(tmp_path, "config")
    journal.write("pass", [("a", b"1")])
    connect = sqlite3.connect
    with contextlib.closing(connect(tmp_path / "results-0.sqlite")) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", lambda path: connect(path, timeout=0.1))
        with pytest.raises(UserError, match="database is locked"):
            journal.read("pass")
    assert journal.read("pass") == {"a": b"1"}


def test_the_pass_waits_for_no_write_and_tells_of_what_is_written_alone(monkeypatch):
    monkeypatch.setattr(journal_module, "_SECONDS", 0.0)
    free, written, told = threading.Event(), [], []

    def write(places):
        assert free.wait(10)
        written.append(places)

    def progress(done, count):
        assert sum(map(len, written)) >= done - 1 and count == 9  # one was there before
        told.append(done)

    with Keeping(write, progress, 1, 9) as keeping:
        for place in range(0, 8, 2):
            keeping.add([place, place + 1])
        assert written == told == []
        free.set()
    assert written == [[0, 1], [2, 3, 4, 5, 6, 7]]  # what came in the meantime is written together
    assert told == [3, 9]


def test_no_more_than_so_many_cases_wait_for_the_disk(monkeypatch):
    monkeypatch.setattr(journal_module, "_GATHERED", 2)
    begun, free, written = threading.Event(), threading.Event(), []

    def write(places):
        begun.set()
        assert free.wait(10)
        written.extend(places)

    with Keeping(write, None, 0, 3) as keeping:
        keeping.add([0])
        assert begun.wait(10)
        keeping.add([1])
        assert written == []
        threading.Timer(0.01, free.set).start()
        keeping.add([2])  # waits until there is room
        assert written[0] == 0
    assert written == [0, 1, 2]


def test_a_failed_write_ends_the_pass_and_an_error_of_the_pass_leaves_its_results_kept(tmp_path):
    def full(places):
        raise UserError("no space left")

    with pytest.raises(UserError, match="no space left"), Keeping(full, None, 0, 2) as keeping:
        keeping.add([0])
    journal = Journal(tmp_path)
    with pytest.raises(InterruptedError), Keeping(lambda places: journal.write("pass", [("a", b"1")]), None, 0, 2) as keeping:
        keeping.add([0])
        raise InterruptedError
    assert journal.read("pass") == {"a": b"1"}
