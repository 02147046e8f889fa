"""How the server starts, what it refuses to start as, and how it ends: by Ctrl-C or by a kill, in the middle of uploads."""

import builtins
import concurrent.futures
import importlib.util
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from fake_desk import FakeDesk
from serving import multipart, served_apart, serving

from jaxal.errors import UserError
from jaxal.server.logins import add_login
from jaxal.server.run import ServeConfig, serve


@pytest.fixture
def desk(tmp_path):
    return FakeDesk(tmp_path / "desk")


def submission(reader, content=b"label"):
    return multipart({"params": json.dumps({"client_id": reader})}, {"label": (f"/tmp/{reader}.nii.gz", content)})


@pytest.fixture
def logins(tmp_path):
    path = tmp_path / "logins.json"
    add_login(path, "anna")
    return path


def start(desk, config):
    """Starts a server that is to be refused; one that is not would run for ever."""

    def run(*given, **named):
        raise AssertionError("it was not refused")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "run", run)
        serve(desk, config, lambda sentence: None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_others_can_reach_it_only_with_logins_and_encryption(desk, logins, host):
    with pytest.raises(UserError, match="Give every reader a secret"):
        start(desk, ServeConfig(host=host, port=0))
    with pytest.raises(UserError, match="Give --certificate and --key, or put a proxy"):
        start(desk, ServeConfig(host=host, port=0, logins=logins))


def test_behind_a_proxy_logins_are_needed_on_loopback_too(desk):
    with pytest.raises(UserError, match="Give every reader a secret"):
        start(desk, ServeConfig(port=0, behind_proxy=True))


def test_addresses_that_are_none(desk):
    for host, port in (("no such host", 0), ("127.0.0.1", 70_000), ("127.0.0.1", -1)):
        with pytest.raises(UserError, match=r"no address|ports are numbers"):
            start(desk, ServeConfig(host=host, port=port))


def test_a_port_that_is_taken(desk):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"Port {port} is taken.*--port {port + 1}"):
            start(desk, ServeConfig(port=port))


def test_the_extra_is_missing(desk, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    with pytest.raises(UserError, match=r"needs uvicorn\. Install the extra: `pip install 'jaxal\[serve\]'`"):
        start(desk, ServeConfig(port=0))


def test_without_the_extra_the_command_can_still_import_what_it_needs(monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.split(".")[0] in ("starlette", "uvicorn", "python_multipart", "anyio")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("jaxal.server")]:
        monkeypatch.delitem(sys.modules, name)
    load = builtins.__import__

    def without(name, *given, **named):
        if name.split(".")[0] in ("starlette", "uvicorn", "python_multipart"):
            raise ModuleNotFoundError(name)
        return load(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    import jaxal.server.desk
    import jaxal.server.logins
    import jaxal.server.run  # noqa: F401


def test_logins_that_are_not_there(desk, tmp_path):
    with pytest.raises(UserError, match="no logins can be read"):
        start(desk, ServeConfig(port=0, logins=tmp_path / "none.json"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("tls")
    files = [folder / "certificate.pem", folder / "key.pem"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", files[0], "-keyout", files[1]]
    subprocess.run(command, check=True, capture_output=True)
    return files


def test_certificates_that_cannot_be_used(desk, certificate, tmp_path):
    (broken := tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    for given, why in (
        ((certificate[0], None), "give both"),
        ((None, certificate[1]), "give both"),
        ((certificate[0], tmp_path / "none"), "no such file"),
        ((broken, certificate[1]), "cannot be used"),
        ((certificate[1], certificate[0]), "cannot be used"),
    ):
        with pytest.raises(UserError, match=why):
            start(desk, ServeConfig(port=0, certificate=given[0], key=given[1]))


def test_over_tls_with_logins_and_open_to_others(certificate, tmp_path):
    path = tmp_path / "logins.json"
    secret = add_login(path, "anna")
    options = ["--host", "0.0.0.0", "--logins", path, "--certificate", certificate[0], "--key", certificate[1]]
    with served_apart(tmp_path / "desk", *map(str, options)) as (_, address):
        address = address.replace("0.0.0.0", "localhost")
        assert address.startswith("https://")
        context = ssl.create_default_context(cafile=certificate[0])
        with httpx.Client(base_url=address, verify=context) as client:
            assert client.get("/info/").status_code == 401
            assert client.get(f"/as/anna/{secret}/info/").json()["name"] == "liver"
        with pytest.raises(httpx.HTTPError):
            httpx.get(address.replace("https", "http"))


def test_behind_a_proxy_a_page_of_the_proxys_name_may_answer(tmp_path):
    path = tmp_path / "logins.json"
    secret = add_login(path, "anna")
    options = ["--logins", path, "--behind_proxy", "--names", "scans.example"]
    with served_apart(tmp_path / "desk", *map(str, options)) as (_, address), httpx.Client(base_url=address) as client:
        said = {"case": "case_001", "class": "liver"}
        from_page = {"origin": "https://scans.example", "x-forwarded-host": "scans.example"}
        answer = client.post(f"/as/anna/{secret}/readers/anna/answer", json=said, headers=from_page)
        assert answer.status_code == 200
        for headers in ({"host": "evil.example"}, from_page | {"origin": "https://evil.example"}):
            assert client.post(f"/as/anna/{secret}/readers/anna/answer", json=said, headers=headers).status_code in (403, 421)
        assert client.get("/info/", headers={"host": "scans.example"}).status_code == 401


def test_one_server_a_project(tmp_path):
    with served_apart(tmp_path) as (_, address):
        with pytest.raises(UserError, match="a server serves this project already"):
            start(FakeDesk(tmp_path), ServeConfig(port=0))
        assert httpx.get(f"{address}/info/").status_code == 200


def put_slowly(address, desk, reader="anna", case="case_001"):
    """Begins an upload, and stops in the middle; gives the socket."""
    parts = urlsplit(address)
    body, headers = submission(reader, b"x" * 1_000_000)
    sock = socket.create_connection((parts.hostname, parts.port))
    kind = headers["content-type"]
    head = f"PUT /datastore/label?image={case} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\nContent-Type: {kind}\r\n\r\n"
    sock.sendall(head.encode() + body[:500_000])
    wait_for(lambda: waiting(desk))
    return sock


def waiting(desk):
    return [path for path in desk.uploads.iterdir() if path.name != ".lock"]


def wait_for(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_ctrl_c_ends_it_at_once_and_leaves_nothing_half_done(tmp_path):
    with served_apart(tmp_path) as (process, address):
        desk = FakeDesk(tmp_path)
        with httpx.Client(base_url=address) as client:  # a connection that stays open
            assert client.post("/activelearning/worklist", json={"client_id": "anna"}).status_code == 200
            body, headers = submission("anna")
            assert client.put("/datastore/label?image=case_001", content=body, headers=headers).status_code == 200
            with put_slowly(address, desk):
                process.send_signal(signal.SIGINT)
                process.wait(10)
        out, err = process.communicate()
        assert process.returncode == 0 and "has stopped" in out and err == ""
    assert len(FakeDesk(tmp_path).of("label")) == 1 and waiting(desk) == []


def test_ctrl_c_waits_for_a_label_that_is_being_stored(tmp_path):
    with served_apart(tmp_path, "--pause", "1.5") as (process, address):
        httpx.post(f"{address}/activelearning/worklist", json={"client_id": "anna"})
        body, headers = submission("anna")
        sending = threading.Thread(
            target=quietly,
            args=(httpx.put, f"{address}/datastore/label?image=case_001"),
            kwargs={"content": body, "headers": headers},
        )
        sending.start()
        desk = FakeDesk.__new__(FakeDesk)
        desk.uploads = tmp_path / "uploads"
        wait_for(lambda: waiting(desk))
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.wait(10)
        sending.join()
    assert len(FakeDesk(tmp_path).of("label")) == 1


def quietly(call, *given, **named):
    try:
        return call(*given, **named)
    except httpx.HTTPError:
        return None


def test_a_kill_in_the_middle_of_uploads_loses_nothing_and_leaves_nothing(tmp_path):
    with served_apart(tmp_path) as (process, address):
        desk = FakeDesk.__new__(FakeDesk)
        desk.uploads = tmp_path / "uploads"
        for reader, case in (("anna", "case_001"), ("ben", "case_002")):
            assert httpx.post(f"{address}/activelearning/worklist", json={"client_id": reader}).json()["id"] == case
        body, headers = submission("anna")
        assert httpx.put(f"{address}/datastore/label?image=case_001", content=body, headers=headers).status_code == 200
        with put_slowly(address, desk, "ben", "case_002"):
            process.kill()
            process.wait()
        assert waiting(desk)
    port = str(urlsplit(address).port)
    with served_apart(tmp_path, "--port", port) as (_, again):
        assert waiting(desk) == []
        assert [event["case"] for event in FakeDesk(tmp_path, clear_uploads=False).of("label")] == ["case_001"]
        assert httpx.post(f"{again}/activelearning/worklist", json={"client_id": "ben"}).json()["id"] == "case_002"
        body, headers = submission("ben")
        assert httpx.put(f"{again}/datastore/label?image=case_002", content=body, headers=headers).status_code == 200


def test_eight_clients_at_once_lose_nothing(tmp_path):
    readers = {f"reader {number}": "reader" for number in range(8)}
    desk = FakeDesk(tmp_path, [f"case_{number:03d}" for number in range(40)], readers, pause=0.01)

    def work(address, reader):
        done = []
        with httpx.Client(base_url=address, timeout=30) as client:
            while case := client.post("/activelearning/worklist", json={"client_id": reader}).json().get("id"):
                content = f"{case} by {reader} ".encode() * 5000
                body, headers = submission(reader, content)
                answer = client.put("/datastore/label", params={"image": case}, content=body, headers=headers)
                assert answer.status_code == 200
                done.append((case, answer.json()["version"], content))
        return done

    with serving(desk) as address, concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = [entry for part in pool.map(lambda reader: work(address, reader), readers) for entry in part]
    assert sorted(case for case, _, _ in done) == sorted(desk._ids)
    for case, version, content in done:
        assert Path(desk.version_file(case, version)).read_bytes() == content
    assert len(desk.of("label")) == 40 and waiting(desk) == []


def test_a_server_that_somebody_stopped_while_it_was_got_ready_does_not_begin(desk, monkeypatch):
    told = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda *given, **named: told.append("it serves"))
    serve(desk, ServeConfig(port=0), told.append, stopped=lambda: True)
    assert told == [], "it would serve until it is stopped once more"
