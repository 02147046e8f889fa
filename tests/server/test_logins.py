"""Secrets: what is stored, who is let in, and how long."""

import json
import os

import httpx
import pytest
from fake_desk import CLASSES, FakeDesk, content_of
from serving import multipart, serving

from jaxal.errors import UserError
from jaxal.server import identity
from jaxal.server.logins import Doorman, add_login, read_logins, remove_login

FIRST = "case_001"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logins.json"


@pytest.fixture
def desk(tmp_path):
    return FakeDesk(tmp_path / "desk")


@pytest.fixture
def secrets(path):
    return {name: add_login(path, name) for name in ("anna", "ben", "carol")}


@pytest.fixture
def client(desk, path, secrets):
    with serving(desk, doorman=Doorman(path)) as address, httpx.Client(base_url=address) as client:
        yield client


def log_in(client, name, secret):
    answer = client.post("/auth/token", data={"username": name, "password": secret, "grant_type": "password"})
    return answer.status_code, answer.json() if answer.status_code == 200 else None


def bearer(client, name, secret):
    _, token = log_in(client, name, secret)
    return {"Authorization": f"{token['token_type']} {token['access_token']}"}


def submit(client, case, reader="anna", prefix="", **options):
    body, headers = multipart({"params": json.dumps({"client_id": reader})}, {"label": ("x.nii.gz", b"label")})
    return client.put(
        f"{prefix}/datastore/label", params={"image": case}, content=body, headers=headers | options.get("headers", {})
    )


def test_only_a_hash_is_stored_for_its_owner_alone(path):
    first, second = add_login(path, "anna"), add_login(path, "ben")
    text = path.read_text()
    assert first != second and first not in text and len(first.replace("-", "")) == 25
    assert os.stat(path).st_mode & 0o777 == 0o600
    logins = json.loads(text)["logins"]
    assert logins["anna"]["salt"] != logins["ben"]["salt"]


def test_a_doorman_admits_the_right_secret_of_the_right_reader(path, secrets):
    doorman = Doorman(path)
    for _ in range(2):  # the second time is remembered
        assert doorman.admits("anna", secrets["anna"])
        assert not doorman.admits("anna", secrets["ben"])
        assert not doorman.admits("ben", secrets["anna"])
        assert not doorman.admits("nobody", secrets["anna"])
        assert not doorman.admits("anna", "")


def test_a_new_secret_takes_the_place_of_the_old_one_while_the_server_runs(path, secrets):
    doorman = Doorman(path)
    assert doorman.admits("anna", secrets["anna"])
    new = add_login(path, "anna")
    assert doorman.admits("anna", new) and not doorman.admits("anna", secrets["anna"])
    remove_login(path, "anna")
    assert not doorman.admits("anna", new) and doorman.admits("ben", secrets["ben"])
    path.unlink()
    assert not doorman.admits("ben", secrets["ben"])


@pytest.mark.parametrize("name", ["", "a/b", ".anna", "a\nb"])
def test_names_that_no_reader_has_are_refused(path, name):
    with pytest.raises(UserError, match="cannot be a reader's name"):
        add_login(path, name)


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (None, 0o600, "no logins can be read"),
        ("{", 0o600, "is damaged"),
        ('{"format": 1, "logins": {"anna": {"salt": "zz", "scrypt": ""}}}', 0o600, "is damaged"),
        ("[]", 0o600, "is damaged"),
        ('{"format": 2, "logins": {}}', 0o600, "newer version"),
        ('{"format": 1, "logins": {}}', 0o644, "others on this machine"),
    ],
)
def test_a_file_of_logins_that_cannot_be_used(path, content, mode, why):
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(UserError, match=why):
        read_logins(path)


def test_who_has_no_login_cannot_be_removed(path, secrets):
    with pytest.raises(UserError, match="'dora' has no login; there are anna, ben, carol"):
        remove_login(path, "dora")


@pytest.mark.parametrize(
    "path_",
    ["/", "/info/", "/datastore/?output=all", "/datastore/image?image=case_001", "/datastore/label?label=case_001&tag=original",
     "/readers/anna/", "/review.html", "/auth/token/valid", "/datastore/image/info?image=case_001", "/datastore/"],
)  # fmt: skip
def test_without_a_login_nothing_is_told(client, path_):
    for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic !"}, {"Authorization": "Bearer"}):
        answer = client.get(path_, headers=headers)
        assert answer.status_code == 401 and answer.text == "Log in first."
        assert answer.headers["www-authenticate"].split()[0] == (
            "Basic" if "html" in path_ or path_ in ("/", "/readers/anna/") else "Bearer"
        )


def test_a_claim_is_not_enough(client, desk):
    assert client.post("/activelearning/worklist", json={"client_id": "anna"}).status_code == 401
    assert submit(client, FIRST).status_code == 401
    params = json.dumps({"segmentationMeta": {"status": "approved", "approvedBy": "carol"}})
    answer = client.put(f"/datastore/updatelabelinfo?label={FIRST}&tag=final", data={"params": params})
    assert answer.status_code == 401 and desk.events == []


def test_a_token_stands_for_a_login(client, desk, secrets):
    assert client.get("/auth/").json()["enabled"] is True
    assert log_in(client, "anna", secrets["ben"]) == (401, None) == log_in(client, "nobody", secrets["ben"])
    headers = bearer(client, "anna", secrets["anna"])
    valid = client.get("/auth/token/valid", headers=headers).json()
    assert valid["username"] == "anna" and valid["roles"][-1] == "reader"
    assert client.get("/info/", headers=headers).json()["labels"] == list(CLASSES)
    sample = client.post("/activelearning/worklist", json={"client_id": "ben"}, headers=headers).json()
    assert submit(client, sample["id"], reader="ben", headers=headers).status_code == 200
    assert [event["reader"] for event in desk.of("label")] == ["anna"]  # who logged in, whatever the client says


def test_a_ticket_opens_one_image_and_nothing_else(client, secrets):
    """Slicer downloads images without a word of who it is."""
    headers = bearer(client, "anna", secrets["anna"])
    sent = client.post("/activelearning/worklist", headers=headers).json()["id"]
    assert sent != FIRST and sent in client.get("/datastore/?output=all", headers=headers).json()["objects"]
    assert client.get("/datastore/image", params={"image": sent}).content == content_of(FIRST)
    ticket = sent.partition("~")[2]
    for other in (FIRST, f"{FIRST}~", f"{FIRST}~{ticket[:-1]}", f"case_002~{ticket}", f"{FIRST}~{'0' * 32}", f"nobody~{ticket}"):
        assert client.get("/datastore/image", params={"image": other}).status_code == 401
    for path in ("/datastore/image/info", "/datastore/label?tag=original"):
        assert client.get(path, params={"image": sent, "label": sent, "tag": "original"}).status_code == 401
    assert client.get("/datastore/label", params={"label": sent, "tag": "original"}, headers=headers).content == b"proposal"


def test_tickets_and_tokens_end(client, secrets, monkeypatch):
    headers = bearer(client, "anna", secrets["anna"])
    sent = client.post("/activelearning/worklist", headers=headers).json()["id"]
    now, since = identity.time.time(), identity.time.monotonic()

    def later(seconds):
        monkeypatch.setattr(
            identity, "time", type("Clock", (), {"time": lambda: now + seconds, "monotonic": lambda: since + seconds})
        )

    later(11 * 3600)
    assert client.get("/datastore/image", params={"image": sent}).status_code == 200
    assert client.get("/info/", headers=headers).status_code == 200
    later(13 * 3600)
    assert client.get("/info/", headers=headers).status_code == 401
    later(49 * 3600)
    assert client.get("/datastore/image", params={"image": sent}).status_code == 401


def test_a_token_ends_with_its_secret(client, path, secrets):
    headers = bearer(client, "anna", secrets["anna"])
    others = bearer(client, "ben", secrets["ben"])
    add_login(path, "anna")
    assert client.get("/info/", headers=headers).status_code == 401
    assert client.get("/info/", headers=others).status_code == 200


def test_a_login_of_somebody_who_left_the_project(client, desk, secrets):
    headers = bearer(client, "anna", secrets["anna"])
    del desk._readers["anna"]
    assert client.get("/info/", headers=headers).status_code == 401
    assert client.get(f"/as/anna/{secrets['anna']}/info/").status_code == 403


def test_an_address_of_ones_own(client, desk, secrets):
    prefix = f"/as/anna/{secrets['anna']}"
    assert client.get(f"{prefix}/auth/").status_code == 404  # no login window
    sample = client.post(f"{prefix}/activelearning/worklist", json={"client_id": "user-xyz"}).json()
    assert sample["id"] == FIRST
    assert client.get(f"{prefix}/datastore/image", params={"image": FIRST}).content == content_of(FIRST)
    assert submit(client, FIRST, "user-xyz", prefix).status_code == 200
    assert [event["reader"] for event in desk.of("label")] == ["anna"]
    for wrong in ("/as/anna", "/as/anna/", f"/as/anna/{secrets['ben']}", f"/as/carol/{secrets['anna']}", "/as//", "/as"):
        assert client.get(f"{wrong}/info/").status_code in (401, 404)


def test_browsers_log_in_by_themselves(client, secrets):
    assert client.get("/readers/anna/", auth=("anna", secrets["anna"])).text.endswith("anna")
    assert client.get("/readers/ben/", auth=("anna", secrets["anna"])).status_code == 403
    assert client.get("/readers/ben/", auth=("carol", secrets["carol"])).status_code == 200
    assert (
        "readers/anna/" in client.get("/", auth=("anna", secrets["anna"])).text
    )  # the project's page tells who reads the same cases
    assert "0 of 3" in client.get("/", auth=("carol", secrets["carol"])).text
    assert client.get("/review.html", auth=("anna", secrets["anna"])).status_code == 403
    answer = client.post("/readers/anna/answer", json={"case": FIRST, "class": "liver"}, auth=("carol", secrets["carol"]))
    assert answer.status_code == 403
