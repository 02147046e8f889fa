"""Labels come in: each is taken once, by whom it was asked of; a refusal changes nothing and is kept."""

import json
import shutil
import time

import nibabel
import numpy as np
import pytest
from made_projects import digest_of, read

from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects.decisions import mark_opened
from jaxal.projects.project import sha256_of
from jaxal.projects.scans import labels as delivering
from jaxal.projects.settle import settle
from jaxal.projects.take import take_files, take_inboxes


@pytest.fixture
def asked(begin):
    """A project whose first query waits, with no double readings."""
    made = begin(double_share=0.0)
    made.ask()
    return made


@pytest.fixture
def doubled(begin):
    """A project of three readers in which each case is read by two."""
    made = begin(readers=("anna", "ben", "carla"), double_share=1.0)
    made.ask()
    return made


def of(made, reader):
    return [reading.case for reading in made.state.open_readings if reading.reader == reader]


def moved(path, target, by=1):
    """The same map, moved along an axis: another reader's view of it."""
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(image.dataobj).astype(np.uint8), by, 0), image.affine), target)
    return target


def test_a_label_becomes_a_version_on_the_cases_own_grid(asked):
    case = of(asked, "anna")[0]
    mark_opened(asked.project, "anna", [case], "test")
    asked.clock.wait(600)
    receipt = asked.draw("anna", case, comment="hard to see", via="server")
    assert receipt.version == "anna-1" and asked.state.cases[case].label == "anna-1"
    stored = asked.project.label_path(case, "anna-1")
    assert np.array_equal(read(stored), read(asked.label(case)))
    event = asked.project.log.read()[-1].fields
    assert (event["minutes"], event["comment"], event["via"]) == (10.0, "hard to see", "server")
    assert event["digest"] == sha256_of(stored) and event["delivered"] == sha256_of(asked.label(case))


def test_the_same_file_again_is_the_same_label(asked):
    case = of(asked, "anna")[0]
    first, second = asked.draw("anna", case), asked.draw("anna", case)
    assert second.again and second.version == first.version
    assert sum(event.kind == "label" for event in asked.project.log.read()) == 1


def test_another_file_after_the_label_was_taken_is_refused(asked, tmp_path):
    case = of(asked, "anna")[0]
    asked.draw("anna", case)
    with pytest.raises(Refused, match=r"was taken already.*reopen") as refused:
        asked.draw("anna", case, path=moved(asked.label(case), tmp_path / "x.nii.gz"))
    assert refused.value.code == "not-open"


@pytest.mark.parametrize(
    ("reader", "case", "code"),
    [("zoe", None, "unknown-reader"), ("anna", "case_999", "unknown-case"), ("anna", "of ben", "not-asked")],
)
def test_who_was_not_asked_is_told_so_and_nothing_changes(asked, reader, case, code):
    ids = {None: of(asked, "anna")[0], "of ben": of(asked, "ben")[0]}
    before = digest_of(asked.folder / "labels") if (asked.folder / "labels").exists() else {}
    with pytest.raises(Refused) as refused:
        asked.draw(reader, ids.get(case, case), path=asked.label(of(asked, "anna")[0]))
    assert refused.value.code == code
    assert (digest_of(asked.folder / "labels") if (asked.folder / "labels").exists() else {}) == before
    assert asked.project.log.read()[-1].fields["code"] == code


def test_a_refused_file_is_kept_with_its_reason(asked, tmp_path):
    case = of(asked, "anna")[0]
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"nothing")
    with pytest.raises(Refused):
        asked.draw("anna", case, path=bad)
    kept = sorted((asked.folder / "readers" / "anna" / "returned").iterdir())
    assert kept[0].read_bytes() == b"nothing" and kept[1].name == f"{kept[0].name}.txt" and case in kept[1].read_text()
    assert asked.state.cases[case].status == "asked"


@pytest.mark.parametrize("habit", ["empty", "mirrored"])
def test_what_is_rarely_meant_is_taken_the_second_time(asked, tmp_path, habit, monkeypatch):
    case = of(asked, "anna")[0]
    path = tmp_path / "drawn.nii.gz"
    image = nibabel.load(asked.label(case))
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)
    if habit == "mirrored":

        def receive(path, expected, **options):
            if "mirrored" in expected.hard:
                raise Refused("mirrored", "It may be mirrored.")
            return real(path, expected, **options)

        real = delivering.receive
        monkeypatch.setattr(delivering, "receive", receive)
        path = asked.label(case)
    with pytest.raises(Refused, match="hand the same file in once more") as refused:
        asked.draw("anna", case, path=path)
    assert refused.value.code == habit
    assert asked.draw("anna", case, path=path).version == "anna-1"


def test_a_kill_between_the_file_and_the_log_loses_nothing_and_takes_nothing_twice(asked, monkeypatch):
    case = of(asked, "anna")[0]
    with monkeypatch.context() as patched:
        patched.setattr("jaxal.projects.log.Log._append", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            asked.draw("anna", case)
    assert asked.state.cases[case].status == "asked"
    assert asked.draw("anna", case).version == "anna-1"
    assert [path.name for path in (asked.folder / "labels" / case).iterdir()] == ["anna-1.nii.gz"]


def test_two_readings_that_agree_become_one_label(doubled, tmp_path):
    case, (first, second) = next(
        (id_, sorted(state.readings)) for id_, state in doubled.state.cases.items() if len(state.readings) == 2
    )
    doubled.draw(first, case)
    assert doubled.state.cases[case].label is None
    values = read(doubled.label(case))
    values[tuple(np.argwhere(values == 1)[0])] = 0
    nibabel.save(nibabel.Nifti1Image(values, nibabel.load(doubled.label(case)).affine), tmp_path / "other.nii.gz")
    doubled.draw(second, case, path=tmp_path / "other.nii.gz")
    assert settle(doubled.project) == [f"{case}: 2 readings agree; their common label counts."]
    assert doubled.state.cases[case].label == "merged-1"
    merged = read(doubled.project.label_path(case, "merged-1"))
    assert (merged == 255).sum() == 1 and np.array_equal(merged[merged != 255], read(doubled.label(case))[merged != 255])
    assert settle(doubled.project) == [], "it is done once"


def test_readers_who_differ_much_get_a_third_and_the_majority_counts(doubled, tmp_path):
    case, (first, second) = next(
        (id_, sorted(state.readings)) for id_, state in doubled.state.cases.items() if len(state.readings) == 2
    )
    doubled.draw(first, case)
    doubled.draw(second, case, path=moved(doubled.label(case), tmp_path / "far.nii.gz", 5))
    told = settle(doubled.project)
    assert "readers differ" in told[0] and "reads it, too" in told[1]
    third = ({"anna", "ben", "carla"} - {first, second}).pop()
    assert case in of(doubled, third) and doubled.state.labels("training") == []
    doubled.draw(third, case)
    settle(doubled.project)
    assert np.array_equal(read(doubled.project.label_path(case, "merged-1")), read(doubled.label(case)))


def test_without_a_third_reader_somebody_decides(begin, tmp_path):
    made = begin(double_share=1.0)
    made.ask()
    case = next(id_ for id_, state in made.state.cases.items() if len(state.readings) == 2)
    made.draw("anna", case)
    made.draw("ben", case, path=moved(made.label(case), tmp_path / "far.nii.gz", 5))
    told = settle(made.project)
    assert "readers differ" in told[0] and "somebody must decide, see `jaxal review" in told[1] and settle(made.project) == []
    assert made.state.with_status("disputed") == [case]
    with pytest.raises(UserError, match=f"readers disagree on {case}"):
        made.answer()
        made.ask()


def test_inboxes_are_taken_once_their_files_are_still(asked, monkeypatch):
    case = of(asked, "anna")[0]
    inbox = asked.folder / "readers" / "anna" / "inbox"
    path = inbox / f"{case}.nii.gz"
    shutil.copy(asked.label(case), path)
    (inbox / f"{case}.json").write_text(json.dumps({"seconds": 90, "comment": "well", "empty": False}))
    (inbox / "notes.txt").write_text("nothing to take")
    (inbox / f"{of(asked, 'anna')[1]}.interim.nrrd").write_text("MITK's unfinished work")
    assert take_inboxes(asked.project, lambda taken: None, wait=False) == [], "it was written a moment ago"
    slept = []
    monkeypatch.setattr(time, "sleep", slept.append)
    told = []
    (taken,) = take_inboxes(asked.project, told.append)
    assert told == [taken] and taken.receipt.version == "anna-1" and 4 < slept[0] <= 5
    assert asked.project.log.read()[-1].fields["minutes"] == 1.5
    assert sorted(path.name for path in (inbox / "taken").iterdir()) == [f"{case}-anna-1.json", f"{case}-anna-1.nii.gz"]
    assert not path.exists() and take_inboxes(asked.project, told.append) == []


def test_a_done_file_says_that_nobody_writes_any_more(asked):
    case = of(asked, "ben")[0]
    inbox = asked.folder / "readers" / "ben" / "inbox"
    shutil.copy(asked.label(case), inbox / f"{case}.nii.gz")
    (inbox / f"{case}.done").touch()
    assert [taken.case for taken in take_inboxes(asked.project, lambda taken: None, wait=False)] == [case]


def test_a_bad_file_in_an_inbox_is_moved_to_what_was_returned(asked):
    inbox = asked.folder / "readers" / "anna" / "inbox"
    (inbox / "nonsense.nii.gz").write_text("hello")
    (inbox / "nonsense.done").touch()
    (taken,) = take_inboxes(asked.project, lambda taken: None)
    assert taken.receipt is None and taken.refused.code == "unknown-case" and not (inbox / "nonsense.nii.gz").exists()
    assert any(path.read_text() == "hello" for path in (asked.folder / "readers" / "anna" / "returned").iterdir())


def test_files_are_taken_from_where_they_lie(asked, tmp_path):
    case = of(asked, "anna")[0]
    path = tmp_path / f"{case}.nii.gz"
    shutil.copy(asked.label(case), path)
    (taken,) = take_files(asked.project, [path], None, None, lambda taken: None)
    assert taken.reader == "anna" and path.exists()
    with pytest.raises(UserError, match="no such file"):
        take_files(asked.project, [tmp_path / "none.nii.gz"], None, None, lambda taken: None)
    with pytest.raises(UserError, match=r"Nobody is asked for it now.*--reader"):
        take_files(asked.project, [path], None, None, lambda taken: None)
