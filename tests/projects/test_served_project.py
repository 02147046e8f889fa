"""A project behind the server: readers' own programs, two at once, a reviewer, and what nobody may see."""

import sys
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
from made_projects import read

sys.path.append(str(Path(__file__).parents[1] / "server"))

import real_clients
from serving import serving

from jaxal.labels.refusals import Refused
from jaxal.projects import decisions
from jaxal.projects.settle import settle
from jaxal.server.desk import Handed, UnknownCase
from jaxal.server.project_desk import ProjectDesk


def desk_of(made, *reviewers):
    return ProjectDesk(made.project, reviewers, lambda: "status", lambda reader: f"list of {reader}", lambda: None, str)


@pytest.mark.parametrize("kind", ["package", "slicer"])
def test_the_real_client_works_until_nothing_is_left(begin, tmp_path, kind):
    made = begin(readers=("anna",))
    made.ask()
    made.answer()
    made.ask()
    asked = {reading.case for reading in made.state.open_readings}
    (tmp_path / "slicer").mkdir()
    with serving(desk_of(made), told=print) as address:
        process = real_clients.start(kind, address, "anna", tmp_path / "slicer", made.truth, script="as_project_client.py")
        said = real_clients.finish(process)
    assert {case for case, _ in said["done"]} == asked and said["proposals"] == 5 and said["completed"] == 10
    for case, version in said["done"]:
        assert np.array_equal(read(made.project.label_path(case, version)), read(made.label(case)))
    assert {event.fields["via"] for event in made.project.log.read() if event.kind == "label"} == {"inbox", "server"}


def test_two_clients_at_once_share_the_work(begin, tmp_path):
    made = begin(readers=("anna", "ben"), double_share=0.0, size=8)
    made.ask()
    asked = sorted(reading.case for reading in made.state.open_readings)
    with serving(desk_of(made), told=print) as address:
        processes = []
        for kind, reader in (("package", "anna"), ("slicer", "ben")):
            (tmp_path / reader).mkdir()
            given = (kind, address, reader, tmp_path / reader, made.truth)
            processes.append(real_clients.start(*given, script="as_project_client.py"))
        said = [real_clients.finish(process) for process in processes]
    assert sorted(case for client in said for case, _ in client["done"]) == asked, "none is given to both"
    assert made.state.open_readings == []


def test_a_reader_gets_the_same_case_until_it_is_handed_in_or_skipped(begin):
    made = begin(double_share=0.0)
    made.ask()
    desk = desk_of(made)
    assert desk.current_case("anna") is None
    first = desk.next_case("anna")
    assert desk.next_case("anna") == first == desk.current_case("anna")
    desk.skip("anna", first)
    second = desk.next_case("anna")
    assert second != first and made.state.cases[first].readings.keys() == {"ben"}
    made.clock.wait(300)
    receipt = desk.deliver(Handed("anna", second, made.label(second)))
    assert receipt.version == "anna-1" and desk.current_case("anna") is None
    assert made.state.cases[second].versions[0].minutes == 5.0


def test_who_has_nothing_left_gets_what_others_have_not_opened(begin):
    made = begin(double_share=0.0)
    made.ask()
    desk = desk_of(made)
    opened = desk.next_case("ben")
    got = set()
    while (case := desk.next_case("anna")) is not None:
        got.add(case)
        desk.deliver(Handed("anna", case, made.label(case)))
    assert len(got) == 4 and opened not in got and made.state.cases[opened].readings.keys() == {"ben"}


def test_a_case_that_came_back_comes_first_and_begins_with_ones_own_label(begin):
    made = begin(double_share=0.0)
    made.ask()
    desk = desk_of(made)
    case = desk.next_case("anna")
    desk.deliver(Handed("anna", case, made.label(case)))
    decisions.give_back(made.project, [case], "half is missing")
    assert desk.next_case("anna") == case
    assert desk.proposal(case) == desk.proposal(case, "anna") == made.project.label_path(case, "anna-1")
    assert desk.proposal(case, "ben") is None, "a reader never gets another's label"
    with serving(desk) as address:
        label = f"/datastore/label?label={case}&tag=original"
        assert httpx.get(f"{address}/as/anna{label}").status_code == 200
        assert httpx.get(f"{address}/as/ben{label}").status_code == 404
    assert desk.proposal(desk.next_case("ben")) is None, "a first query has no proposals"


def test_doubles_look_like_any_other_case(begin):
    made = begin(double_share=1.0)
    made.ask()
    desk = desk_of(made)
    case = desk.next_case("anna")
    desk.deliver(Handed("anna", case, made.label(case)))
    assert not next(entry for entry in desk.cases() if entry.id == case).completed, "ben must not learn that anna has read it"
    assert desk.counts().completed == 0
    desk.deliver(Handed("ben", case, made.label(case)))
    assert next(entry for entry in desk.cases() if entry.id == case).completed


def test_a_reviewer_approves_flags_and_edits(begin, tmp_path):
    made = begin(double_share=0.0)
    made.ask()
    desk = desk_of(made, "carol")
    assert desk.roles() == {"anna": "reader", "ben": "reader", "carol": "reviewer"}
    case = desk.next_case("anna")
    desk.deliver(Handed("anna", case, made.label(case)))
    (version,) = desk.versions()[case]
    assert (version.name, version.reader, version.standing) == ("anna-1", "anna", "")
    assert desk.version_file(case, "anna-1").name.endswith(".seg.nrrd")
    desk.review("carol", case, "anna-1", "flag", "Look again.")
    (version,) = desk.versions()[case]
    assert (version.standing, version.reviewer, version.comment) == ("flagged", "carol", "Look again.")
    assert made.state.cases[case].readings["anna"].why == "Look again." and made.state.cases[case].label is None
    receipt = desk.submit_version(Handed("carol", case, made.label(case), names=("ball",)))
    assert receipt.version == "carol-1" and made.state.cases[case].label == "carol-1"
    with pytest.raises(Refused, match="no label 'zoe-1'"):
        desk.review("carol", case, "zoe-1", "approve", "")
    with pytest.raises(UnknownCase):
        desk.image("nowhere")


def test_a_dispute_is_decided_by_a_reviewer(begin, tmp_path):
    made = begin(double_share=1.0)
    made.ask()
    desk = desk_of(made, "carol")
    case = desk.next_case("anna")
    image = nibabel.load(made.label(case))
    far = nibabel.Nifti1Image(np.roll(np.asarray(image.dataobj).astype(np.uint8), 5, 0), image.affine)
    nibabel.save(far, tmp_path / "far.nii.gz")
    desk.deliver(Handed("anna", case, made.label(case)))
    desk.deliver(Handed("ben", case, tmp_path / "far.nii.gz"))
    assert settle(made.project) == [] and made.state.with_status("disputed") == [case]
    desk.review("carol", case, "anna-1", "approve", "")
    assert made.state.cases[case].label == "anna-1"
