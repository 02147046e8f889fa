"""Pages for a browser, and the answers that they send."""

import httpx
import pytest
from fake_desk import FakeDesk
from serving import serving


@pytest.fixture
def desk(tmp_path):
    return FakeDesk(tmp_path, readers={"anna": "reader", "b <n>": "reader", "carol": "reviewer"})


@pytest.fixture
def client(desk):
    with serving(desk) as address, httpx.Client(base_url=address) as client:
        yield client


def test_the_status_is_live(client, desk, monkeypatch):
    from jaxal.server import pages

    assert client.get("/").text == client.get("/status.html").text == "<!doctype html><title>liver</title><p>0 of 3"
    desk.answer("anna", "case_001", "liver", 1.0)
    assert "0 of 3" in client.get("/").text  # made a moment ago
    monkeypatch.setattr(pages, "STATUS_SECONDS", 0.0)
    assert "1 of 3" in client.get("/").text


def test_each_reader_has_pages(client):
    assert (
        client.get("/readers/anna/").text
        == "<!doctype html><p>Worklist of anna"
        == client.get("/readers/anna/worklist.html").text
    )
    assert "Click, b &lt;n&gt;" in client.get("/readers/b%20%3Cn%3E/click.html").text
    redirect = client.get("/readers/anna")
    assert redirect.status_code == 307 and redirect.headers["location"] == "anna/"
    assert client.get("/readers/dora/").status_code == 404
    assert client.get("/as/anna/readers/b%20%3Cn%3E/").status_code == 403
    assert "readers/b%20%3Cn%3E/" in client.get("/as/b%20%3Cn%3E/").text
    assert client.get("/review.html").status_code == 200 and client.get("/as/anna/review.html").status_code == 403


def test_pages_load_nothing_from_elsewhere_and_stand_in_no_frame(client):
    headers = client.get("/").headers
    assert headers["content-type"] == "text/html; charset=utf-8" and "server" not in headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "http" not in policy
    expected = {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
        "x-frame-options": "DENY",
    }
    assert expected.items() <= dict(headers).items()
    assert not [name for name in headers if name.startswith("access-control")]
    assert client.get("/nowhere").headers["x-content-type-options"] == "nosniff"


def test_an_answer_is_taken(client, desk):
    answer = client.post("/readers/anna/answer", json={"case": "case_001", "class": "liver", "seconds": 2.5})
    assert answer.status_code == 200 and answer.json()["version"] == "anna-1"
    assert [(event["reader"], event["case"], event["names"], event["seconds"]) for event in desk.of("label")] == [
        ("anna", "case_001", ["liver"], 2.5)
    ]
    assert client.post("/readers/anna/answer", json={"case": "case_001", "class": "cat"}).text == "cat is none of the classes."


@pytest.mark.parametrize(
    "body", [{}, {"case": 1, "class": "liver"}, {"case": "x"}, {"case": "x", "class": "liver", "seconds": "1"},
             {"case": "x", "class": "liver", "seconds": -1}, {"case": "x", "class": "liver", "seconds": True}, [1], "text"],
)  # fmt: skip
def test_answers_that_are_none(client, desk, body):
    assert client.post("/readers/anna/answer", json=body).status_code == 422
    assert (
        client.post(
            "/readers/anna/answer",
            content=b'{"case": "x", "class": "liver", "seconds": NaN}',
            headers={"content-type": "application/json"},
        ).status_code
        == 422
    )
    assert desk.events == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),  # which a form of another site can send
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "application/json", "origin": "https://evil.example"}, 403),
        ({"content-type": "application/json", "origin": "null"}, 403),
        ({"content-type": "application/json", "origin": "https://evil.example", "x-forwarded-host": "evil.example"}, 403),
        ({"content-type": "application/json", "sec-fetch-site": "cross-site"}, 403),
        ({"content-type": "application/json", "sec-fetch-site": "same-site"}, 403),
        ({"content-type": "application/json", "sec-fetch-site": "same-origin"}, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
    ],
)
def test_another_sites_page_cannot_answer(client, desk, headers, status):
    content = b'{"case": "case_001", "class": "liver"}'
    assert client.post("/readers/anna/answer", content=content, headers=headers).status_code == status
    assert len(desk.events) == (status == 200)


def test_a_page_of_the_server_itself_can_answer(client):
    origin = str(client.base_url).rstrip("/")
    assert (
        client.post("/readers/anna/answer", json={"case": "case_001", "class": "liver"}, headers={"origin": origin}).status_code
        == 200
    )
    other = origin.replace("127.0.0.1", "127.0.0.2")
    assert (
        client.post("/readers/anna/answer", json={"case": "case_001", "class": "liver"}, headers={"origin": other}).status_code
        == 403
    )


def test_another_sites_page_cannot_reserve_or_skip(client, desk):
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = client.post(
            "/activelearning/skip", content=b'{"client_id": "anna"}', headers={"content-type": "text/plain"} | headers
        )
        assert answer.status_code == 403
    assert desk.events == []


def test_a_personal_address_without_its_last_slash_leads_to_the_worklist(client):
    answer = client.get("/as/anna", follow_redirects=True)
    assert str(answer.url).endswith("/as/anna/") and 'href="readers/anna/"' in answer.text
    assert client.get("/as/anna/readers/anna/").status_code == 200
