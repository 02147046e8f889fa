"""Requests that nobody means well: paths in ids, giant and endless bodies, other hosts' names, headers that say one thing and another."""

import contextlib
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest
from fake_desk import FakeDesk, content_of
from serving import LOOPBACK, multipart, serving

from jaxal.server import connections
from jaxal.server.limits import Limits, name_of

FIRST = "case_001"


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    return FakeDesk(tmp_path / "desk")


@pytest.fixture
def address(desk):
    with serving(desk, Limits(LOOPBACK, idle_seconds=0.5, upload_seconds=1.5), upload_limit=200_000) as address:
        yield address


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address, timeout=15) as client:
        yield client


def connect(address):
    parts = urlsplit(address)
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def talk(address, request):
    """What comes back until the server closes; at most ten seconds."""
    with connect(address) as sock:
        sock.sendall(request)
        return read_all(sock)


def read_all(sock):
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := sock.recv(65536):
            answer += piece
    return answer


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


ODD_IDS = [
    "../secret.txt", "..%2Fsecret.txt", "../../etc/passwd", "/etc/passwd", "..", ".", "case_001/../case_001", "case_001/", "case_001\0", "C:\\x",
    "%00", "nobody", "x" * 5000, "case_001~", "~", "image0.nii.gz", "\u202ecase_001",
]  # fmt: skip


@pytest.mark.parametrize("id_", ODD_IDS)
def test_ids_are_looked_up_and_never_become_paths(client, desk, id_):
    odd = {"image": id_, "label": id_, "tag": "original"}
    client.post("/activelearning/worklist", json={"client_id": "anna"})
    statuses = [
        client.get(path, params=odd).status_code for path in ("/datastore/image", "/datastore/label", "/datastore/image/info")
    ]
    body, headers = multipart({"params": '{"client_id": "anna"}'}, {"label": ("x.nii.gz", b"label")})
    if id_ == "case_001~":  # only a wrong ticket, which without logins nobody asks for
        assert statuses == [200] * 3
    else:
        statuses.append(client.put("/datastore/label", params=odd, content=body, headers=headers).status_code)
        assert statuses == [404] * 4 and desk.seen == []


def test_a_client_that_fetches_slowly_gets_the_whole_file(address, desk):
    """Longer than a body may keep the server waiting: an answer is no body that the client owes."""
    content = bytes(range(256)) * 2**17
    desk._path(0, "image").write_bytes(content)
    with connect(address) as sock:
        sock.sendall(b"GET /datastore/image?image=case_001 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        time.sleep(2.0)
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    assert status_of(head) == 200
    assert body == content


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/datastore/../../secret.txt", "/%2e%2e/secret.txt", "/readers/..%2f..%2fsecret.txt/", "/readers/../", "/as/../info/",
     "/as/%2e%2e/info/", "//info/", "/readers//", "/as/anna/as/carol/review.html", "/static/%2e%2e/x", "/readers/anna/../../x"],
)  # fmt: skip
def test_paths_that_climb_lead_nowhere(address, path):
    answer = talk(address, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) in (403, 404) and b"secret" not in answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/datastore/image", 422),
        ("GET", "/datastore/image?image=", 422),
        ("GET", "/datastore/label?label=case_001", 422),
        ("GET", "/datastore/label?tag=final", 422),
        ("PUT", "/datastore/label?image=case_001", 422),
        ("PUT", "/datastore/label", 422),
        ("PUT", "/datastore/updatelabelinfo?label=case_001", 422),
        ("GET", "/datastore/?output=everything", 422),
        ("DELETE", "/info/", 405),
        ("POST", "/info/", 405),
        ("GET", "/activelearning/worklist", 405),
        ("POST", "/datastore/label?image=case_001", 405),
        ("PATCH", "/datastore/label?image=case_001", 405),
        ("OPTIONS", "/datastore/label", 405),
        ("TRACE", "/info/", 405),
        ("PUT", "/readers/anna/answer", 405),
        ("GET", "/readers/anna/answer", 405),
        ("POST", "/readers/anna/", 405),
    ],
)
def test_missing_parameters_and_wrong_methods(client, method, path, status):
    assert client.request(method, path).status_code == status


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 50_000, b"1e999", b"null"])
def test_bodies_that_are_no_object(client, desk, body):
    answer = client.post("/activelearning/worklist", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422 and desk.events == []


@pytest.mark.parametrize(
    "params",
    ["{", "[]", '{"client_id": "anna", "label_info": {}}', '{"client_id": "anna", "label_info": ["liver"]}',
     '{"client_id": "anna", "label_info": [{"name": 1}]}'],
)  # fmt: skip
def test_params_that_are_none(client, desk, params):
    body, headers = multipart({"params": params}, {"label": ("x.nii.gz", b"label")})
    assert client.put(f"/datastore/label?image={FIRST}", content=body, headers=headers).status_code == 422
    assert desk.seen == [] and list(desk.uploads.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "files", "status"),
    [
        ({"params": "{}"}, {}, 422),
        ({"params": "x" * 70_000}, {"label": ("x", b"label")}, 413),
        ({f"f{number}": "" for number in range(30)}, {"label": ("x", b"label")}, 413),
        ({"params": '{"client_id": "anna"}'}, {"other": ("x", b"label")}, 422),
    ],
)
def test_forms_that_are_none(client, desk, fields, files, status):
    body, headers = multipart(fields, files)
    assert client.put(f"/datastore/label?image={FIRST}", content=body, headers=headers).status_code == status
    assert desk.seen == []


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 300}",
        "multipart/form-data; boundary=other",
    ],
)
def test_forms_of_another_kind(client, desk, kind):
    body, _ = multipart({"params": "{}"}, {"label": ("x", b"label")})
    assert client.put(f"/datastore/label?image={FIRST}", content=body, headers={"content-type": kind}).status_code in (400, 422)
    assert desk.seen == []


def test_two_files_of_the_same_name(client, desk):
    body, headers = multipart({"params": '{"client_id": "anna"}'}, {"label": ("x.nii.gz", b"label")})
    part = body[body.index(b'Content-Disposition: form-data; name="label"') :].partition(b"\r\n--")[0]
    boundary = b"------------lImIt_of_THE_fIle_eW_$"
    twice = body.replace(boundary + b"--", boundary + b"\r\n" + part + b"\r\n" + boundary + b"--")
    assert client.put(f"/datastore/label?image={FIRST}", content=twice, headers=headers).status_code == 422
    assert desk.seen == [] and list(desk.uploads.iterdir()) == []


def test_a_label_that_is_too_large_is_turned_away_unread(client, desk):
    body, headers = multipart({"params": '{"client_id": "anna"}'}, {"label": ("x.nii.gz", b"x" * 3_000_000)})
    answer = client.put(f"/datastore/label?image={FIRST}", content=body, headers=headers)
    assert answer.status_code == 413 and "most that the server takes" in answer.text and list(desk.uploads.iterdir()) == []


@pytest.mark.parametrize("length", [3_000_000, 10**30])
def test_what_says_that_it_is_too_large_need_not_be_sent(address, length):
    head = f"PUT /datastore/label?image=case_001 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n"
    answer = talk(address, f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n".encode())
    assert status_of(answer) in (413, 400)


def test_a_body_that_does_not_say_its_length_is_cut_off(client, desk):
    body, headers = multipart({"params": '{"client_id": "anna"}'}, {"label": ("x.nii.gz", b"x" * 3_000_000)})
    pieces = (body[start : start + 10_000] for start in range(0, len(body), 10_000))
    assert client.put(f"/datastore/label?image={FIRST}", content=pieces, headers=headers).status_code == 413
    assert list(desk.uploads.iterdir()) == [] and desk.seen == []


def test_small_bodies_are_small(client):
    for path in ("/activelearning/worklist", "/readers/anna/answer"):
        for content in (b" " * 100_000, (b" " * 10_000 for _ in range(10))):
            assert client.post(path, content=content, headers={"content-type": "application/json"}).status_code == 413


def test_a_body_that_stands_still_is_cut_off(address, desk):
    head = b"PUT /datastore/label?image=case_001 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    answer = talk(address, head + b"--x\r\n")
    assert status_of(answer) == 408 and b"took too long" in answer and list(desk.uploads.iterdir()) == []


def test_a_body_that_drips_is_cut_off(address, desk, monkeypatch):
    """Each byte comes in time, but all of them would take for ever."""
    head = b"PUT /datastore/label?image=case_001 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.5)
    with connect(address) as sock:
        sock.sendall(head + b'--x\r\nContent-Disposition: form-data; name="label"; filename="x"\r\n\r\n')
        with pytest.raises(OSError):
            for _ in range(80):
                sock.sendall(b"-")
                time.sleep(0.1)
    assert list(desk.uploads.iterdir()) == []


def test_first_lines_that_do_not_come_are_cut_off(address, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    assert talk(address, b"GET /info/ HTTP/1.1\r\nHost: loc") == b""
    assert talk(address, b"") == b""
    with connect(address) as sock:
        sock.sendall(b"GET /info/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /info/ HT")  # the second on the same connection
        assert read_all(sock) == b""


def test_first_lines_that_drip_are_cut_off(address, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    with connect(address) as sock, pytest.raises(OSError):
        for _ in range(80):
            sock.sendall(b"G")
            time.sleep(0.1)


def test_a_body_that_goes_on_after_its_answer_is_cut_off(address, monkeypatch):
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.5)
    with connect(address) as sock, pytest.raises(OSError):
        sock.sendall(b"POST /train/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(80):
            sock.sendall(b"x" * 10)
            time.sleep(0.1)


def test_an_answer_that_nobody_fetches_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.5)
    desk = FakeDesk(tmp_path)
    desk.image(FIRST).path.write_bytes(b"x" * 50_000_000)
    with serving(desk) as address, connect(address) as sock:
        sock.sendall(f"GET /datastore/image?image={FIRST} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(2)
        assert len(read_all(sock)) < 50_000_000


def test_long_headers_are_refused(address):
    answer = talk(address, b"GET /info/ HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n")
    assert status_of(answer) in (400, None)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.0.1", "", "localhost@evil.example",
     "evil.example#localhost", "[::2]", "evil.example\\localhost", "0.0.0.0"],
)  # fmt: skip
def test_another_name_for_this_machine_is_refused(address, desk, host):
    """A page of another site whose name was made to lead here would be of the same origin."""
    for method, path in (("GET", "/info/"), ("GET", f"/datastore/image?image={FIRST}"), ("POST", "/activelearning/worklist")):
        request = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        answer = talk(address, request.encode())
        assert status_of(answer) == 421 and content_of(FIRST)[:10] not in answer
    assert desk.events == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1:8000", "[::1]:8000", "[::1]", "localhost.:80"])
def test_names_of_this_machine(address, host):
    answer = talk(address, f"GET /info/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert status_of(answer) == 200


def test_a_host_header_that_is_missing_or_there_twice(address):
    assert status_of(talk(address, b"GET /info/ HTTP/1.0\r\n\r\n")) == 421
    for second in (b"evil.example", b"localhost"):
        request = b"GET /info/ HTTP/1.1\r\nHost: localhost\r\nHost: " + second + b"\r\nConnection: close\r\n\r\n"
        assert status_of(talk(address, request)) in (400, 421)


def test_names_in_host_headers():
    assert [name_of(host) for host in ("A.b:1", "[::1]:8", "a:x", "a b", "[::1", "user@a", "a/b", "")] == [
        "a.b",
        "::1",
        "a",
        "",
        "",
        "",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "headers",
    [
        "X-Forwarded-Host: localhost\r\nHost: evil.example",
        "X-Forwarded-For: 127.0.0.1\r\nHost: evil.example",
        "Forwarded: host=localhost\r\nHost: evil.example",
    ],
)
def test_headers_of_proxies_change_nothing_without_a_proxy(address, headers):
    assert status_of(talk(address, f"GET /info/ HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n".encode())) == 421


def test_headers_that_rewrite_method_or_path_are_ignored(client, desk):
    tricks = {
        "X-HTTP-Method-Override": "DELETE",
        "X-Original-URL": "/review.html",
        "X-Rewrite-URL": "/review.html",
        "X-Forwarded-Prefix": "/as/carol",
    }
    assert client.get("/info/", headers=tricks).json()["name"] == "liver"
    assert client.get("/as/ben/review.html", headers=tricks).status_code == 403


@pytest.mark.parametrize(
    "request_",
    [
        b"PUT /datastore/label?image=case_001 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"GET /info/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET /info/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"GET /info/\r\nX HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET http://evil.example/info/ HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    ],
)
def test_requests_that_are_none(address, desk, request_, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(connections, "LINGER_SECONDS", 0.5)
    assert status_of(talk(address, request_)) in (None, 400, 404, 421, 422)
    assert desk.seen == []
    assert httpx.get(f"{address}/info/").status_code == 200  # and the server goes on


def test_a_line_end_in_a_name_makes_no_header(tmp_path):
    desk = FakeDesk(tmp_path, ['x"\r\nSet-Cookie: a=b'.replace("/", "")])
    with serving(desk) as address:
        answer = httpx.get(f"{address}/datastore/image", params={"image": desk._ids[0]})
    assert answer.status_code == 200 and "set-cookie" not in answer.headers


def test_readers_cannot_act_as_reviewers(client, desk):
    client.post("/activelearning/worklist", json={"client_id": "anna"})
    body, headers = multipart({"params": '{"client_id": "anna"}'}, {"label": ("x.nii.gz", b"label")})
    assert client.put(f"/datastore/label?image={FIRST}", content=body, headers=headers).status_code == 200
    for tag in ("version_1", "original", "anything"):
        assert client.put(f"/datastore/label?image={FIRST}&tag={tag}", content=body, headers=headers).status_code == 403
    params = json.dumps({"segmentationMeta": {"status": "approved", "approvedBy": "anna"}})
    path = f"/datastore/updatelabelinfo?label={FIRST}&tag=final"
    assert client.put(path, data={"params": params}).status_code == 403
    assert client.put(f"/as/anna{path}", data={"params": params.replace("anna", "carol")}).status_code == 403
    assert client.put(path, data={"params": params.replace("anna", "carol")}).status_code == 200
    assert [event["reviewer"] for event in desk.of("review")] == ["carol"] and len(desk.of("label")) == 1


def test_an_error_of_the_server_is_told_to_its_keeper_alone(client, desk, capsys, monkeypatch):
    monkeypatch.setattr(desk, "counts", lambda: [][0])
    answer = client.get("/info/")
    assert (answer.status_code, answer.text) == (500, "The server has made a mistake. Tell its keeper.")
    assert answer.headers["x-content-type-options"] == "nosniff" and "IndexError" in capsys.readouterr().err
    monkeypatch.setattr(desk, "roles", lambda: [][0])
    assert client.get("/info/").status_code == 500
