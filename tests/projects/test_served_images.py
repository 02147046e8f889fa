"""A project of images behind the server: classes are clicked in a browser, each answer is in the log, and Slicer is told where to go."""

import json
import re
import sys
from pathlib import Path

import httpx
import pytest

sys.path.append(str(Path(__file__).parents[1] / "server"))

from serving import serving

from jaxal.labels.refusals import Refused
from jaxal.projects.worklists import write_all
from jaxal.server.desk import UnknownCase
from jaxal.server.project_desk import ProjectDesk


def desk_of(made):
    def page(reader, name="click.html"):
        write_all(made.project, [reader])
        return (made.folder / "readers" / reader / name).read_text(encoding="utf-8")

    return ProjectDesk(made.project, (), lambda: "status", lambda reader: page(reader, "worklist.html"), lambda: None, page)


@pytest.fixture
def asked(begin_images):
    made = begin_images(double_share=0.0)
    made.ask()
    return made


def cases_on(page):
    return [entry["case"] for entry in json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])["cases"]]


def of(made, reader):
    return {reading.case for reading in made.state.open_readings if reading.reader == reader}


def test_what_is_clicked_in_a_browser_is_in_the_log(asked, browser):
    mine = of(asked, "anna")
    told = []
    with serving(desk_of(asked), told=told.append) as address:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(f"{address}/readers/anna/")
        tab.get_by_role("link", name="choose the classes").click()
        shown = tab.locator("#told").inner_text()
        for _ in mine:
            tab.keyboard.press("2")
        tab.get_by_text("all answers have arrived").wait_for(timeout=20000)
        context.close()
    assert of(asked, "anna") == set() and any(case in shown for case in mine)
    labels = [event.fields for event in asked.project.log.read() if event.kind == "label"]
    assert {(label["case"], label["category"], label["via"]) for label in labels} == {
        (case, "scarce", "browser") for case in mine
    }
    assert all(label["minutes"] >= 0 for label in labels) and len(told) == len(mine)


def test_what_is_shown_is_reserved_and_who_has_nothing_left_gets_half_of_the_rest(asked):
    with serving(desk_of(asked)) as address, httpx.Client(base_url=address) as client:
        mine = cases_on(client.get("/readers/anna/click.html").text)
        assert set(mine) == of(asked, "anna") and len(mine) == 5
        for case in mine:
            client.post("/readers/anna/answer", json={"case": case, "class": "rare", "seconds": 1}).raise_for_status()
        more = cases_on(client.get("/readers/anna/click.html").text)
        assert len(more) == 2 and len(of(asked, "ben")) == 3
        theirs = cases_on(client.get("/readers/ben/click.html").text)
        for case in more:
            client.post("/readers/anna/answer", json={"case": case, "class": "rare", "seconds": 1}).raise_for_status()
        assert cases_on(client.get("/readers/anna/click.html").text) == [], "ben has all of the rest before him"
        assert set(theirs) == of(asked, "ben")
        lost = client.post("/readers/anna/answer", json={"case": theirs[0], "class": "rare", "seconds": 1})
        assert lost.status_code == 403 and "was not asked of anna" in lost.text


def test_a_refusal_is_posted_and_taken_once(asked):
    case = next(reading.case for reading in asked.state.open_readings if reading.reader == "anna")
    with serving(desk_of(asked)) as address, httpx.Client(base_url=address) as client:
        post = {"case": case, "class": "", "refusal": "not usable", "seconds": 1}
        said = [client.post("/readers/anna/answer", json=post) for _ in range(2)]
        assert "taken as unusable" in said[0].json()["message"] and "was here already" in said[1].json()["message"]
        assert asked.state.cases[case].excluded == "not usable"
        for odd in ({"refusal": "ugly"}, {"refusal": "not usable", "class": "rare"}, {"refusal": 3}):
            answer = client.post("/readers/anna/answer", json=post | odd)
            assert answer.status_code == 422 and "not usable or none of these" in answer.text


def test_an_answer_that_is_posted_again_is_taken_once(asked):
    case = sorted(of(asked, "anna"))[0]
    with serving(desk_of(asked)) as address, httpx.Client(base_url=address) as client:
        said = [client.post("/readers/anna/answer", json={"case": case, "class": "rare", "seconds": 1}) for _ in range(2)]
        assert [answer.json()["version"] for answer in said] == ["anna-1", "anna-1"] and "was here already" in said[1].json()[
            "message"
        ]
        odd = client.post("/readers/anna/answer", json={"case": case, "class": "odd", "seconds": 1})
        assert odd.status_code == 400 and "no class of this project" in odd.text
    assert len(asked.state.cases[case].versions) == 1


def test_programs_that_draw_are_told_where_to_go(asked):
    desk = desk_of(asked)
    with pytest.raises(Refused, match=r"not drawn on\. Open readers/anna/click\.html of this server in a browser"):
        desk.next_case("anna")
    with serving(desk) as address, httpx.Client(base_url=address) as client:
        assert client.get("/info/").json()["labels"] == ["common", "scarce", "rare"]
        answer = client.post("/activelearning/worklist", json={"client_id": "anna"})
        assert answer.status_code >= 400 and "click.html" in answer.text
        assert len(client.get("/datastore/?output=all").json()["objects"]) == 40
    case = sorted(of(asked, "anna"))[0]
    asked.choose("anna", case)
    assert desk.proposal(case) is None
    with pytest.raises(UnknownCase, match="its label is a class"):
        desk.version_file(case, "anna-1")
