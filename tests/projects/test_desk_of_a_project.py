"""A project as the server's desk: what must not go wrong when scans are gone, readers give cases back, and reviewers change their minds."""

import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from made_projects import read

from jaxal.errors import UserError
from jaxal.labels.writing import write_nifti
from jaxal.projects import decisions, settle
from jaxal.projects.project import IGNORE, check_images
from jaxal.projects.scans.labels import grid_of
from jaxal.projects.worklists import worklist_of, write_all
from jaxal.server import project_desk
from jaxal.server.desk import Handed
from jaxal.server.project_desk import ProjectDesk


def desk_of(made, *reviewers):
    return ProjectDesk(made.project, reviewers, lambda: "status", lambda reader: f"list of {reader}", lambda: None, str)


def hand_in(made, desk, reader, case):
    return desk.deliver(Handed(reader, case, made.label(case)))


@pytest.fixture
def movable(begin, scans, tmp_path):
    """A project whose scans may be broken: `movable()` gives it and their folder."""
    shutil.copytree(scans / "data", tmp_path / "data")
    return lambda **more: (begin(data=tmp_path / "data", **more), tmp_path / "data")


def test_cases_come_in_the_order_of_the_worklist(begin):
    made = begin(readers=("anna",), double_share=0.0)
    made.ask()
    listed = [item.case for item in worklist_of(made.project, made.state, "anna").items]
    assert listed != sorted(listed), "the test needs an order of its own"
    desk, given = desk_of(made), []
    while (case := desk.next_case("anna")) is not None:
        given.append(case)
        hand_in(made, desk, "anna", case)
    assert given == listed


def test_the_case_that_is_given_back_is_the_one_that_is_shown(begin):
    made = begin(readers=("anna",), double_share=0.0)
    made.ask()
    desk = desk_of(made)
    first = desk.next_case("anna")
    for item in worklist_of(made.project, made.state, "anna").items:  # opened by other programs, later
        made.clock.wait(5)
        decisions.mark_opened(made.project, "anna", [item.case], "list")
    assert desk.next_case("anna") == first == desk.current_case("anna")


def test_who_gave_a_case_back_does_not_get_it_again(begin):
    made = begin(double_share=0.0)
    made.ask()
    desk = desk_of(made)
    skipped = []
    while (case := desk.next_case("anna")) is not None:
        skipped.append(case)
        desk.skip("anna", case)
        assert len(skipped) < 20, "it comes again and again"
    assert sorted(skipped) == sorted(set(skipped)) and len(skipped) == 5
    assert {reading.reader for reading in made.state.open_readings} == {"ben"}
    while (case := desk.next_case("ben")) is not None:
        desk.skip("ben", case)
    assert made.state.open_readings == [] and len(made.state.unasked()) == 16, "what nobody wants is in the pool again"


def test_a_third_reader_who_gave_the_case_back_is_not_asked_again(begin, tmp_path):
    made = begin(readers=("anna", "ben", "carol"), double_share=1.0)
    made.ask()
    reading = made.state.open_readings[0]
    first, second = made.state.cases[reading.case].readings
    far = np.roll(read(made.label(reading.case)), 5, 0)
    write_nifti(tmp_path / "far.nii.gz", far, grid_of(made.project.cases[reading.case]))
    made.draw(first, reading.case)
    made.draw(second, reading.case, path=tmp_path / "far.nii.gz")
    settle.settle(made.project)
    (third,) = made.state.cases[reading.case].readings.keys() - {first, second}
    desk_of(made).skip(third, reading.case)
    settle.settle(made.project)
    assert third not in made.state.cases[reading.case].readings and made.state.cases[reading.case].status == "disputed"


def test_a_list_of_all_cases_reads_no_scan_and_stands_one_that_is_gone(movable, monkeypatch):
    made, data = movable(double_share=0.0)
    made.ask()
    desk = desk_of(made)
    case = desk.next_case("anna")
    path = made.project.image_paths(case, data)[0]
    content = path.read_bytes()
    path.unlink()
    monkeypatch.setattr(project_desk, "check_images", lambda *given: pytest.fail("a scan was read"))
    names = {entry.id: entry.file_name for entry in desk.cases()}
    assert len(names) == 16 and names[case].startswith(f"{case}-") and names[case].endswith(".nii.gz")
    monkeypatch.setattr(project_desk, "check_images", check_images)
    path.write_bytes(content)
    assert desk.image(case).file_name == names[case]


@pytest.mark.parametrize("broken", ["gone", "changed"])
def test_a_scan_that_is_not_what_it_was_is_not_given_to_a_reader(movable, broken, capsys):
    made, data = movable(readers=("anna",), double_share=0.0)
    made.ask()
    desk = desk_of(made)
    case = desk.next_case("anna")
    assert desk.image(case).path.is_file()
    path = made.project.image_paths(case, data)[0]
    another = next(id_ for id_ in made.project.cases if id_ != case)
    content = path.read_bytes()
    if broken == "gone":
        path.unlink()
    else:
        path.write_bytes(made.project.image_paths(another, data)[0].read_bytes())
    with pytest.raises(UserError, match=case):
        desk.image(case)
    other = desk.next_case("anna")
    assert other not in (case, None) and f"case {case}" in capsys.readouterr().err
    for reading in made.state.open_readings:
        if reading.case != case:
            hand_in(made, desk, "anna", reading.case)
    with pytest.raises(UserError, match=case):  # the only one that is left: it is not said that nothing is
        desk.next_case("anna")
    path.write_bytes(content)
    assert desk.next_case("anna") == case


def test_a_label_that_was_taken_is_answered_for_whatever_follows(begin, monkeypatch, capsys):
    made = begin(double_share=0.0)
    made.ask()
    desk = desk_of(made)
    case = desk.next_case("anna")

    def fail(project):
        raise UserError("the disk is full")

    monkeypatch.setattr(project_desk, "settle", fail)
    assert hand_in(made, desk, "anna", case).version == "anna-1"
    assert "the disk is full" in capsys.readouterr().err


def test_what_readers_differ_in_is_background_where_a_label_is_corrected(begin):
    made = begin(double_share=0.0)
    made.ask()
    desk = desk_of(made)
    case = desk.next_case("anna")
    hand_in(made, desk, "anna", case)
    path = made.project.label_path(case, "anna-1")
    values = read(path)
    values[:2] = IGNORE
    path.unlink()
    write_nifti(path, values, grid_of(made.project.cases[case]))
    stored = path.read_bytes()
    decisions.reopen(made.project, [case], "look again")
    shown = read(desk.proposal(case))
    assert set(np.unique(shown)) <= {0, 1} and np.array_equal(shown, np.where(values == IGNORE, 0, values))
    assert path.read_bytes() == stored


class TestReviews:
    def test_a_flag_of_what_counts_no_more_returns_nothing(self, begin):
        made = begin(double_share=0.0)
        made.ask()
        desk = desk_of(made, "carol")
        case = desk.next_case("anna")
        hand_in(made, desk, "anna", case)
        edited = desk.submit_version(Handed("carol", case, made.label(case), names=("ball",)))
        desk.review("carol", case, "anna-1", "flag", "I have mended it.")
        assert made.state.cases[case].label == edited.version and made.state.cases[case].status == "labelled"
        assert {version.name: version.standing for version in desk.versions()[case]} == {"anna-1": "flagged", "carol-1": ""}

    def test_a_flag_of_a_common_label_reopens_the_case(self, begin):
        made = begin(double_share=1.0)
        made.ask()
        desk = desk_of(made, "carol")
        case = desk.next_case("anna")
        for reader in ("anna", "ben"):
            hand_in(made, desk, reader, case)
        assert made.state.cases[case].label == "merged-1"
        desk.review("carol", case, "merged-1", "flag", "The top is missing.")
        (reading,) = made.state.cases[case].readings.values()
        assert reading.why == "The top is missing." and made.state.cases[case].label == "merged-1"

    def test_a_flag_of_one_of_two_readings_returns_it(self, begin):
        made = begin(double_share=1.0)
        made.ask()
        desk = desk_of(made, "carol")
        case = desk.next_case("anna")
        for reader in ("anna", "ben"):
            hand_in(made, desk, reader, case)
        desk.review("carol", case, "anna-1", "flag", "The top is missing.")
        assert made.state.cases[case].readings["anna"].status == "returned" and made.state.cases[case].label is None

    def test_a_comment_changes_nothing_else(self, begin):
        made = begin(double_share=0.0)
        made.ask()
        desk = desk_of(made, "carol")
        case = desk.next_case("anna")
        hand_in(made, desk, "anna", case)
        desk.review("carol", case, "anna-1", "comment", "Well drawn.")
        assert [version[3:] for version in desk.versions()[case]] == [("", "carol", "Well drawn.")]
        assert made.state.cases[case].status == "labelled"


def test_eight_who_ask_and_hand_in_at_once_lose_nothing_and_get_nothing_twice(begin):
    readers = tuple(f"reader{number}" for number in range(8))
    made = begin(readers=readers, double_share=0.0, size=16, random_share=0.2)
    made.ask()
    asked = sorted(reading.case for reading in made.state.open_readings)
    desk, done, failed, gate = desk_of(made), [], [], threading.Barrier(8)

    def work(reader):
        try:
            gate.wait()
            while (case := desk.next_case(reader)) is not None:
                version = hand_in(made, desk, reader, case).version
                done.append((case, version))
                assert version in {known.name for known in desk.versions()[case]} and desk.version_file(case, version).is_file()
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=work, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed and sorted(case for case, _ in done) == asked
    stored = {event.fields["case"]: event.fields["version"] for event in made.project.log.read() if event.kind == "label"}
    assert stored == dict(done)


def test_the_accuracy_is_computed_beside_requests(begin, monkeypatch):
    made = begin(readers=("anna",), double_share=0.0)
    desk, go = desk_of(made), threading.Event()

    def slow(*given):
        assert go.wait(10)
        return [0.5, 0.75, np.nan]

    monkeypatch.setattr(project_desk, "unseen", slow)
    monkeypatch.setattr(project_desk, "honest", lambda value: SimpleNamespace(over_all=SimpleNamespace(value=value)))
    assert desk.accuracy() is None, "nobody waits for it"
    go.set()
    desk.wait()
    assert desk.accuracy() == 0.75
    monkeypatch.setattr(project_desk, "unseen", lambda *given: pytest.fail("nothing has happened since"))
    assert desk.accuracy() == 0.75
    desk.wait()
    monkeypatch.setattr(project_desk, "unseen", lambda *given: [0.8])
    decisions.exclude(made.project, ["case_001"], "blurred")
    assert desk.accuracy() == 0.75, "that of before, until there is a new one"
    desk.wait()
    assert desk.accuracy() == 0.8


def test_an_accuracy_that_cannot_be_computed_stops_nothing(begin, monkeypatch, capsys):
    made = begin(readers=("anna",))
    desk = desk_of(made)

    def fail(*given):
        raise FileNotFoundError("proposal")

    monkeypatch.setattr(project_desk, "unseen", fail)
    assert desk.accuracy() is None
    desk.wait()
    assert desk.accuracy() is None and "proposal" in capsys.readouterr().err


def test_files_that_are_made_anew_are_written_by_one_at_a_time(begin):
    made = begin(double_share=0.0)
    made.ask()
    case = made.state.open_readings[0].case
    made.answer()

    def page(*given):
        write_all(made.project)
        return "page"

    desk = ProjectDesk(made.project, (), page, page, page, page)
    failed, gate = [], threading.Barrier(6)

    def work(number):
        try:
            gate.wait()
            desk.version_file(case, made.state.cases[case].label)
            (desk.status_page, lambda: desk.worklist_page("anna"), desk.review_page)[number % 3]()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


def test_what_was_begun_comes_before_what_came_back_and_that_before_the_rest(begin):
    made = begin(readers=("anna",), double_share=0.0)
    made.ask()
    listed = [item.case for item in worklist_of(made.project, made.state, "anna").items]
    hand_in(made, desk_of(made), "anna", listed[-1])
    decisions.give_back(made.project, [listed[-1]], "half is missing")
    decisions.mark_opened(made.project, "anna", [listed[2]], "list")
    desk = desk_of(made)
    for case in (listed[2], listed[-1], listed[0]):
        assert desk.next_case("anna") == case
        desk.deliver(Handed("anna", case, made.redrawn(case)))


def test_giving_back_holds_for_the_attempt(begin):
    made = begin(double_share=0.0)
    made.ask()
    case = desk_of(made).next_case("anna")
    desk_of(made).skip("anna", case)
    made.clock.wait(30 * 86400)
    decisions.mark_opened(made.project, "anna", [next(r.case for r in made.state.open_readings if r.reader == "anna")], "list")
    decisions.release_overdue(made.project)
    assert made.state.cases[case].readings.keys() == {"ben"}, "it stays where it is, since nobody else wants it"
    made.draw("ben", case)
    decisions.reopen(made.project, [case], "the top is missing", "ben")
    decisions.away(made.project, "ben")
    assert made.state.cases[case].readings.keys() == {"anna"}
