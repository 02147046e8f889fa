"""3D Slicer's extensions and MONAI Label's package against a server on loopback: their own client files, not copies of what they do."""

import pytest
import real_clients
from fake_desk import FakeDesk
from serving import serving

from jaxal.server.logins import Doorman, add_login

CASES = [f"case {number}" for number in range(1, 7)]  # with a space, which comes as a plus


@pytest.mark.parametrize("client", ["package", "slicer"])
def test_a_reader_works_until_nothing_is_left(client, tmp_path):
    desk = FakeDesk(tmp_path / "desk", CASES)
    with serving(desk) as address:
        said = real_clients.run(client, address, "anna", tmp_path)
    assert said["done"] == [[case, "anna-1"] for case in CASES] and said["completed"] == 6
    assert "Status: 400; Response: case 1: the label is on another grid." in said["refused"]
    stored = {handed.case: content.decode() for handed, content in desk.seen[1:]}
    assert stored == {case: f"label of {case} by anna" for case in CASES}
    assert all(handed.names == ("liver", "tumour") for handed, _ in desk.seen)
    assert list(desk.uploads.iterdir()) == []


def test_two_at_once_never_get_the_same_case(tmp_path):
    desk = FakeDesk(tmp_path / "desk", [f"case {number}" for number in range(20)], pause=0.02)
    with serving(desk) as address:
        working = []
        for kind, reader in (("package", "anna"), ("slicer", "ben")):
            (tmp_path / reader).mkdir()
            working.append(real_clients.start(kind, address, reader, tmp_path / reader))
        said = [real_clients.finish(process) for process in working]
    done = [case for client in said for case, _ in client["done"]]
    assert sorted(done) == sorted(desk._ids) and all(client["done"] for client in said)
    labels = desk.of("label")
    assert sorted(event["case"] for event in labels) == sorted(desk._ids)
    assert all(content.decode().endswith(handed.reader) for handed, content in desk.seen if content != b"wrong")


@pytest.mark.parametrize("client", ["package", "slicer"])
def test_with_logins_the_reader_logs_in_once(client, tmp_path):
    desk, path = FakeDesk(tmp_path / "desk", CASES), tmp_path / "logins.json"
    secret = add_login(path, "anna")
    with serving(desk, doorman=Doorman(path)) as address:
        said = real_clients.run(client, address, "anna", tmp_path, secret)
        assert [case for case, _ in said["done"]] == CASES and said["logins"] == 1
    other = FakeDesk(tmp_path / "other", CASES)
    with serving(other, doorman=Doorman(path)) as address:  # an address of one's own needs no login window
        said = real_clients.run(client, f"{address}/as/anna/{secret}", "user-xyz", tmp_path)
    assert [version for _, version in said["done"]] == ["anna-1"] * 6 and said["logins"] == 0


@pytest.mark.parametrize("with_logins", [False, True])
def test_a_reviewer_flags_approves_and_edits(with_logins, tmp_path):
    desk, path = FakeDesk(tmp_path / "desk", CASES), tmp_path / "logins.json"
    doorman, personal = None, "/as/carol"
    with serving(desk) as address:
        real_clients.run("slicer", address, "anna", tmp_path)
    if with_logins:
        personal += f"/{add_login(path, 'carol')}"
        doorman = Doorman(path)
    with serving(desk, doorman=doorman) as address:
        said = real_clients.run("reviewer", address + personal, tmp_path, "case 2")
    assert said["before"] == {"annotator": "anna", "tags": ["final"], "status": ""}
    assert said["label"] == "label of case 2 by anna" and said["flagged"] == [True, "Look again.", "carol"]
    assert said["tag"] == "version_1" and set(said["statuses"]) == {200} and said["edited"] == "edited"
    assert said["after"] == {"tags": ["final", "version_1"], "approved": True, "flagged": True}
    assert (said["overwritten"], said["deleted"]) == (409, 403)
    reviews = [(event["version"], event["decision"], event["text"]) for event in desk.of("review")]
    assert reviews == [("anna-1", "flag", "Look again."), ("carol-1", "approve", "Mended.")]  # what is sent again changes nothing
    assert {event["reviewer"] for event in desk.of("review")} == {"carol"}


def test_the_reviewers_extension_of_a_reader_gets_no_label(tmp_path):
    desk = FakeDesk(tmp_path / "desk", CASES)
    with serving(desk) as address:
        real_clients.run("slicer", address, "anna", tmp_path)
        process = real_clients.start("reviewer", f"{address}/as/ben", tmp_path, "case 2")
        assert process.wait(60) != 0 and "failed due to response code: '403'" in process.communicate()[1]
    assert desk.of("review") == []
