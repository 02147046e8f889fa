"""A disk that is full at any write changes nothing, and loses nothing that a reader handed in."""

import errno
import os
import time

import numpy as np
from made_projects import inbox, nothing, of, read

from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects.check import problems
from jaxal.projects.decisions import reopen
from jaxal.projects.settle import settle
from jaxal.projects.take import take_inboxes


class FullDisk:
    """Fails what writes, at its n-th call; all but removing."""

    def __init__(self, patched, at):
        self.calls, self.at = 0, at
        for name in ("fsync", "replace", "mkdir"):
            patched.setattr(os, name, self._failing(getattr(os, name)))

    def _failing(self, real):
        def call(*given, **options):
            self.calls += 1
            if self.calls - 1 == self.at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*given, **options)

        return call


def until_it_fits(monkeypatch, work):
    """Does work on a disk that is full at its first write, its second, and so on; gives the error of each, at last nothing."""
    for at in range(100):
        with monkeypatch.context() as patched:
            disk, error = FullDisk(patched, at), None
            try:
                work()
            except UserError as raised:
                error = raised
        yield error
        if disk.calls <= at:
            return


def test_a_full_disk_in_the_middle_of_a_delivery_changes_nothing(own, monkeypatch):
    case = of(own, "anna")[0]
    before, failed = (own.folder / "log.jsonl").read_bytes(), 0
    for error in until_it_fits(monkeypatch, lambda: own.draw("anna", case)):
        if error is not None:
            failed += 1
            assert "No space left on device" in str(error) and not isinstance(error, Refused)
            assert (own.folder / "log.jsonl").read_bytes() == before
            assert not list((own.folder / "labels").rglob(".*"))
    assert failed >= 5
    assert own.state.cases[case].label == "anna-1" and problems(own.project, nothing) == []
    assert np.array_equal(read(own.project.label_path(case, "anna-1")), read(own.label(case)))


def test_a_full_disk_while_an_inbox_is_taken_leaves_the_file_there(own, monkeypatch):
    case = of(own, "anna")[0]
    path, failed = inbox(own, "anna", case), 0
    for error in until_it_fits(monkeypatch, lambda: take_inboxes(own.project, nothing, wait=False)):
        if error is not None:
            failed += 1
            assert path.is_file() and "could not be" in str(error)
    assert failed >= 6 and not path.exists()
    assert [event.kind for event in own.project.log.read()].count("label") == 1


def test_a_full_disk_while_a_refused_file_is_kept_leaves_it_in_the_inbox(own, monkeypatch, tmp_path):
    case, failed = of(own, "anna")[0], 0
    bad, returned = tmp_path / "bad.nii.gz", own.folder / "readers" / "anna" / "returned"
    bad.write_bytes(b"nothing")
    path = inbox(own, "anna", case, bad)
    for error in until_it_fits(monkeypatch, lambda: take_inboxes(own.project, nothing, wait=False)):
        assert path.is_file() or any(kept.read_bytes() == b"nothing" for kept in returned.iterdir()), "it is here or there"
        failed += error is not None
        inbox(own, "anna", case, bad)
    assert failed >= 4


def test_a_full_disk_while_two_readings_are_merged(begin, monkeypatch):
    made = begin(double_share=1.0)
    made.ask()
    case = of(made, "anna")[0]
    for reader in ("anna", "ben"):
        made.draw(reader, case)
    for error in until_it_fits(monkeypatch, lambda: settle(made.project)):
        if error is not None:
            assert "No space left" in str(error) and made.state.cases[case].label is None
            assert not list((made.folder / "labels").rglob(".*"))
    assert made.state.cases[case].label == "merged-1" and problems(made.project, nothing) == []


def test_what_a_kill_left_beside_labels_is_removed_later(own):
    first, second = of(own, "anna")[:2]
    own.draw("anna", first)
    old, new = (own.folder / "labels" / first / name for name in (".a.tmp", ".b.tmp.9.tmp"))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 4000,) * 2)
    reopen(own.project, [first], "look")
    own.redraw("anna", first)
    assert not old.exists() and new.exists() and second in of(own, "anna")
