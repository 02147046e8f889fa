"""MONAI Label's interface over real sockets: what its clients read of each answer, and what they send that a server must stand."""

import hashlib
import http.client
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from fake_desk import CLASSES, EMPTY, WRONG, FakeDesk, content_of
from serving import multipart, serving

from jaxal.server.site import plain_name

FIRST = "case_001"


@pytest.fixture
def desk(tmp_path):
    return FakeDesk(tmp_path)


@pytest.fixture
def told():
    return []


@pytest.fixture
def address(desk, told):
    with serving(desk, told=told.append) as address:
        yield address


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address) as client:
        yield client


def ask(client, reader="anna", strategy="worklist"):
    return client.post(f"/activelearning/{strategy}", json={"client_id": reader})


def submit(client, case, content=b"label", reader="anna", tag=None, file_name="/tmp/x/label.nii.gz", **params):
    body, headers = multipart({"params": json.dumps({"client_id": reader, **params})}, {"label": (file_name, content)})
    query = {"image": case} | ({"tag": tag} if tag else {})
    return client.put("/datastore/label", params=query, content=body, headers=headers)


def test_info_has_what_slicer_reads(client, desk):
    info = client.get("/info/").json()
    assert info["labels"] == list(CLASSES)  # a list without background, in the order of the values
    assert list(info["strategies"]) == ["worklist", "skip"]  # the first one is chosen by itself
    assert info["models"] == info["trainers"] == info["scoring"] == info["train_stats"] == {}
    assert "config" not in info  # Slicer says "please upgrade" if it is there
    assert info["datastore"] == {"total": 3, "completed": 0, "label_tags": {"final": 0}}
    ask(client)
    submit(client, FIRST)
    info = client.get("/info/").json()
    assert info["datastore"]["completed"] == 1
    assert next(iter(info["train_stats"].values()))["best_metric"] == 0.75


@pytest.mark.parametrize("path", ["/info", "/datastore", "/datastore/?output=all", "/train", "/auth", "/session/x"])
def test_both_spellings_are_answered_directly(client, path):
    """MONAI Label's client follows no redirect."""
    path, _, query = path.partition("?")
    with_slash, without = (client.get(f"{path.rstrip('/')}{end}?{query}") for end in ("/", ""))
    assert with_slash.status_code == without.status_code != 307
    assert with_slash.content == without.content


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/auth/", 404),
        ("POST", "/auth/token", 404),
        ("GET", "/auth/token/valid", 404),
        ("PUT", "/datastore/?image=x", 403),
        ("PUT", "/datastore/image?image=x", 403),
        ("DELETE", "/datastore/?id=case_001", 403),
        ("DELETE", "/datastore/image?id=case_001", 403),
        ("DELETE", "/datastore/label?id=case_001&tag=final", 403),
        ("GET", "/datastore/image/info?image=case_001", 200),
        ("PUT", "/datastore/image/info?image=case_001", 403),
        ("GET", "/datastore/label/info?label=case_001&tag=original", 200),
        ("PUT", "/datastore/label/info?label=case_001&tag=final", 403),
        ("GET", "/datastore/dataset", 404),
        ("POST", "/infer/unet?image=case_001", 404),
        ("POST", "/infer/wsi/unet", 404),
        ("GET", "/batch/infer", 404),
        ("GET", "/train/?check_if_running=true", 404),
        ("POST", "/train/unet", 403),
        ("POST", "/train/", 403),
        ("GET", "/scoring/", 404),
        ("PUT", "/session/", 406),
        ("GET", "/session/abc", 406),
        ("DELETE", "/session/abc", 406),
        ("GET", "/model/unet", 404),
        ("GET", "/logs/", 404),
        ("GET", "/ohif/", 404),
        ("GET", "/static/../etc/passwd", 404),
        ("GET", "/datastore/?output=train", 403),
        ("GET", "/datastore/?output=stats", 200),
        ("GET", "/", 200),
    ],
)
def test_every_endpoint_of_the_original_has_an_answer(client, method, path, status):
    assert client.request(method, path).status_code == status


def test_stopping_a_training_that_does_not_run_is_null(client):
    assert client.delete("/train/").json() is None


def test_a_sample_has_what_slicer_reads(client):
    sample = ask(client).json()
    assert sample["id"] == sample["PatientID"] == FIRST
    assert sample["name"].endswith(".nii.gz") and "path" not in sample
    image = client.get("/datastore/image", params={"image": sample["id"]})
    assert image.content == content_of(FIRST)
    assert sample["checksum"] == f"SHA256:{hashlib.sha256(image.content).hexdigest()}"
    assert sample["name"] in image.headers["content-disposition"]


def test_the_same_reader_gets_the_same_case_and_another_gets_another(client):
    assert [ask(client, reader).json()["id"] for reader in ("anna", "anna", "ben")] == [FIRST, FIRST, "case_002"]


def test_skip_gives_the_case_back(client, desk):
    assert ask(client, strategy="skip").json()["id"] == FIRST  # nothing to give back yet
    assert ask(client, strategy="skip").json()["id"] == "case_002"
    assert ask(client, "ben").json()["id"] == FIRST
    assert [event["case"] for event in desk.of("skipped")] == [FIRST]


def test_nothing_left_is_an_empty_object(client):
    for case in ("case_001", "case_002", "case_003"):
        assert ask(client).json()["id"] == case
        assert submit(client, case).status_code == 200
    assert ask(client).json() == {}


@pytest.mark.parametrize("name", ["user-xyz", "", None, 7, "Anna", "../anna"])
def test_unknown_readers_are_told_to_set_their_name(client, desk, name):
    answer = client.post("/activelearning/worklist", json={"client_id": name})
    assert answer.status_code == 403 and "set your name in Slicer's settings, MONAI Label" in answer.text
    assert submit(client, FIRST, reader=name).status_code == 403
    assert desk.events == []


def test_an_empty_body_has_no_name(client):
    assert client.post("/activelearning/worklist").status_code == 403


def test_unknown_strategies_are_not_found(client):
    assert "worklist, skip" in ask(client, strategy="random").text and ask(client, strategy="random").status_code == 404


def test_the_list_of_cases_has_the_proposals_names_in_order(client, desk):
    desk.unproposed = {"case_002"}
    objects = client.get("/datastore/?output=all").json()["objects"]
    assert list(objects) == ["case_001", "case_002", "case_003"]
    original = objects[FIRST]["labels"]["original"]["info"]
    assert list(original["params"]["label_names"].items()) == [("liver", 1), ("tumour", 2)]
    assert objects["case_002"]["labels"] == {}
    label = client.get("/datastore/label", params={"label": FIRST, "tag": "original"})
    assert label.content == b"proposal" and ".nii.gz" in label.headers["content-disposition"]
    assert client.get("/datastore/label", params={"label": "case_002", "tag": "original"}).status_code == 404


def test_readers_see_that_a_label_is_there_but_nothing_of_it(client):
    ask(client)
    submit(client, FIRST)
    labels = client.get("/datastore/?output=all").json()["objects"][FIRST]["labels"]
    assert "client_id" not in json.dumps(labels["final"]) and "segmentationMeta" not in json.dumps(labels["final"])
    assert client.get("/datastore/label", params={"label": FIRST, "tag": "final"}).status_code == 403
    assert client.get("/as/ben/datastore/label", params={"label": FIRST, "tag": "final"}).status_code == 403
    assert client.get("/as/carol/datastore/label", params={"label": FIRST, "tag": "final"}).content == b"label"


def test_a_label_is_taken_with_the_names_of_its_values_in_their_order(client, desk, told):
    """`idx` counts segments that are left out on export, so only the order counts."""
    ask(client)
    listed = [{"name": "tumour", "idx": 2}, {"name": "liver", "idx": 3}]
    answer = submit(client, FIRST, label_info=listed, seconds=61.5)
    assert answer.status_code == 200
    assert answer.json() == {
        "image": FIRST,
        "label": FIRST,
        "version": "anna-1",
        "message": "case_001: taken as anna-1.",
        "notes": ["It is the proposal."],
    }
    handed, content = desk.seen[0]
    assert (handed.names, handed.seconds, handed.reader, handed.via) == (("tumour", "liver"), 61.5, "anna", "server")
    assert content == b"label" and told == ["anna: case_001: taken as anna-1."]


@pytest.mark.parametrize(
    ("file_name", "ending"),
    [
        (r"C:\Users\j.r.meier\AppData\Local\Temp\tmp8x.nii.gz", ".nii.gz"),
        ("/tmp/slicer/../../etc/cron.d/x.SEG.NRRD", ".seg.nrrd"),
        ("label.bin", ""),
        ("ID with spaces.nrrd", ".nrrd"),
        ("", ""),
    ],
)
def test_of_a_clients_file_name_only_a_known_ending_is_kept(client, desk, file_name, ending):
    ask(client)
    assert submit(client, FIRST, file_name=file_name).status_code == 200
    path = desk.seen[0][0].path
    assert path.parent == desk.uploads and path.name == path.name.split(".")[0] + ending and len(path.name.split(".")[0]) == 32


def test_the_temporary_file_disappears_whatever_happens(client, desk):
    ask(client)
    for content in (b"label", WRONG, EMPTY):
        submit(client, FIRST, content)
    submit(client, FIRST, reader="user-xyz")
    submit(client, FIRST, label_info="no list")
    assert len(desk.seen) == 3 and list(desk.uploads.iterdir()) == []


def test_refusals_reach_the_reader_as_text(client, desk, told):
    ask(client)
    answer = submit(client, FIRST, WRONG)
    assert (
        answer.status_code == 400
        and answer.text == "case_001: the label is on another grid. Draw it on the scan that you were given. “Spacing” differs."
    )
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert submit(client, "case_002").status_code == 403
    assert told[0] == f"anna: {answer.text}" and desk.of("label") == []


def test_an_empty_label_is_confirmed_by_submitting_it_again(client, desk):
    ask(client)
    first = submit(client, FIRST, EMPTY)
    assert first.status_code == 400 and "submit it once more" in first.text
    assert submit(client, "case_002", EMPTY).status_code == 403  # something else happens meanwhile
    assert submit(client, FIRST, EMPTY).status_code == 200
    assert [handed.empty for handed, _ in desk.seen] == [False, True]


def test_another_refusal_takes_the_confirmation_back(client, desk):
    ask(client)
    assert [submit(client, FIRST, content).status_code for content in (EMPTY, WRONG, EMPTY, EMPTY)] == [400, 400, 400, 200]


def test_heads_answer_whether_something_is_there(client):
    digest = hashlib.sha256(content_of(FIRST)).hexdigest()
    assert client.head("/datastore/image", params={"image": FIRST, "check_sum": f"SHA256:{digest}"}).status_code == 200
    assert client.head("/datastore/image", params={"image": FIRST, "check_sum": "SHA256:00"}).status_code == 404
    assert client.head("/datastore/label", params={"image": FIRST, "tag": "original"}).status_code == 200
    assert client.head("/datastore/label", params={"image": "nobody", "tag": "original"}).status_code == 404


def test_a_get_with_the_length_of_an_earlier_upload_and_no_body_is_answered(address):
    """After a login MONAI Label's client sends the headers of its last upload again."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": str(1 << 40)}
    connection.request("GET", "/info/", headers=headers)
    assert json.loads(connection.getresponse().read())["name"] == "liver"
    connection.close()


def test_ids_with_signs_that_mean_something(tmp_path):
    names = ["case 1/x".replace("/", "_"), "ä+b&c=d", "x~y", "50%"]
    desk = FakeDesk(tmp_path, names)
    with serving(desk) as address, httpx.Client(base_url=address) as client:
        seen = set()
        for name in names:
            sample = ask(client).json()
            image = client.get("/datastore/image", params={"image": sample["id"]})
            assert sample["id"] == name and image.content == content_of(name) and sample["name"].isascii()
            seen.add(sample["name"])
            assert submit(client, name).status_code == 200
        assert len(seen) == len(names)


def test_names_of_files_are_plain_and_stay_different():
    given = ["ä.nii.gz", "ö.nii.gz", "a/b.nii.gz", "a\\b.nii.gz", 'a"b.nii.gz', "con:.nii.gz"]
    names = [plain_name(name) for name in given]
    assert len(set(names)) == len(names) and all(name.isascii() and name.endswith(".nii.gz") for name in names)
    assert not set('/\\":') & set("".join(names)) and plain_name("case 1_x-2.nii.gz") == "case 1_x-2.nii.gz"


def test_ids_with_spaces_come_as_plus(tmp_path):
    with serving(FakeDesk(tmp_path, ["case 1"])) as address:
        assert httpx.get(f"{address}/datastore/image?image=case+1").status_code == 200


def test_an_image_that_is_gone_is_told_without_its_path(desk, client, capsys):
    desk.image(FIRST).path.unlink()
    answer = client.get("/datastore/image", params={"image": FIRST})
    assert answer.status_code == 503 and str(desk.folder) not in answer.text
    assert str(desk.folder) in capsys.readouterr().err


def test_a_client_that_breaks_off_leaves_nothing(address, desk):
    parts = urlsplit(address)
    body, headers = multipart({"params": '{"client_id": "anna"}'}, {"label": ("x.nii.gz", b"x" * 100_000)})
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        head = f"PUT /datastore/label?image=case_001 HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\nContent-Type: {headers['content-type']}\r\n\r\n"
        sock.sendall(head.encode() + body[:50_000])
        for _ in range(200):
            if list(desk.uploads.iterdir()):
                break
            httpx.get(f"{address}/info/")
        assert list(desk.uploads.iterdir())
    for _ in range(200):
        if not list(desk.uploads.iterdir()):
            break
        httpx.get(f"{address}/info/")
    assert list(desk.uploads.iterdir()) == [] and desk.seen == []


def test_a_form_without_its_end_is_refused(client, desk):
    body, headers = multipart({"params": '{"client_id": "anna"}'}, {"label": ("x.nii.gz", b"x" * 100)})
    answer = client.put("/datastore/label?image=case_001", content=body[:-40], headers=headers)
    assert answer.status_code == 400 and "ended too early" in answer.text and desk.seen == []
