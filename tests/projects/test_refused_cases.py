"""A reader's word that a case is not usable or not what the project is about: it is left out, and strategies may learn from it."""

import json
import os
import time

import pytest
from made_projects import Watcher, inbox, nothing, of

from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects import decisions
from jaxal.projects.ask import begin
from jaxal.projects.deliver import deliver
from jaxal.projects.kind import Delivery
from jaxal.projects.network import open_round
from jaxal.projects.status import status_of
from jaxal.projects.take import take_inboxes


def showing(what):
    return Watcher().progress(what)


def refusal_row(case, why="none of these", name=""):
    return {"case": case, "class": name, "refusal": why, "seconds": 6.0, "at": "once"}


@pytest.fixture
def asked(begin_images):
    made = begin_images()
    made.ask()
    return made


def test_a_refused_image_is_left_out_once_and_the_next_round_knows_of_it(asked):
    first, *others = asked.rows("anna")
    rows = [refusal_row(first["case"]), *others]
    asked.save("anna", rows)
    taken = take_inboxes(asked.project, nothing)
    assert [one.refused for one in taken] == [None] * len(rows)
    assert taken[0].receipt.sentence == f"{first['case']}: taken as unusable, and left out."
    case = asked.state.cases[first["case"]]
    assert (case.status, case.excluded, case.refused_by, case.versions) == ("excluded", "none of these", "anna", [])
    assert asked.project.log.read()[-len(rows)].fields["minutes"] == 0.1
    assert next(one.why for one in status_of(asked.project).cases if one.id == first["case"]) == "anna: none of these"
    events = len(asked.project.log.read())
    asked.save("anna", rows)
    assert all(one.receipt.again for one in take_inboxes(asked.project, nothing))
    assert len(asked.project.log.read()) == events
    asked.answer()
    begin(asked.project, None, False)
    round_ = asked.state.rounds[-1]
    assert round_.fields["refused"] == [first["case"]] and first["case"] not in round_.fields["unasked"]
    working = open_round(asked.project, asked.state, round_, round_.fields["unasked"], showing, Watcher())
    assert [(case.id, case.label) for case in working.state.refused] == [(first["case"], None)]
    assert not working.task.load(working.state.refused[0]).labelled
    asked.project.image_paths(first["case"], asked.project.data(asked.state))[0].unlink()  # a case that is not needed may go
    assert open_round(asked.project, asked.state, round_, round_.fields["unasked"], showing, Watcher()).state.refused == []


def test_a_strategy_that_passes_over_what_is_like_it_goes_through_a_round(begin_images):
    made = begin_images(strategy="entropy+usable")
    made.ask()
    readings = made.state.open_readings
    for reading in readings[:2]:
        deliver(made.project, Delivery(reading.reader, reading.case, refusal="not usable"))
    made.answer()
    made.ask()
    assert not {reading.case for reading in made.state.open_readings} & {reading.case for reading in readings}


def test_who_runs_the_project_takes_a_case_back(asked):
    case, *_ = (reading.case for reading in asked.state.open_readings if reading.reader == "anna")
    deliver(asked.project, Delivery("anna", case, refusal="not usable"))
    with pytest.raises(Refused, match="was left out of the project"):
        asked.choose("anna", case)
    assert decisions.include(asked.project, [case], "it is, after all") == [case]
    assert decisions.include(asked.project, [case], "it is, after all") == []
    after = asked.state.cases[case]
    assert (after.status, after.excluded, after.refused_by) == ("unlabelled", None, None) and case in asked.state.unasked()
    with pytest.raises(UserError, match="say why"):
        decisions.include(asked.project, [case], "")


def test_a_label_that_counted_counts_again(asked):
    reading = asked.state.open_readings[0]
    asked.choose(reading.reader, reading.case)
    assert (
        deliver(asked.project, Delivery(reading.reader, reading.case, refusal="not usable")).version == ""
    )  # a slip is corrected
    assert asked.state.cases[reading.case].status == "excluded"
    decisions.include(asked.project, [reading.case], "it is")
    assert asked.state.cases[reading.case].counts == f"{reading.reader}-1"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (refusal_row("x", "ugly"), "is refused as 'ugly'; a case without a class is refused as not usable or none of these"),
        (refusal_row("x", name="rare"), "a case without a class"),
        (refusal_row("x", ["not usable"]), "a case without a class"),
    ],
)
def test_refusals_that_are_none(asked, row, message):
    asked.save("anna", [row])
    (taken,) = take_inboxes(asked.project, nothing)
    assert message in str(taken.refused)


def test_only_whom_it_was_asked_of_refuses_a_case(asked):
    theirs = {reading.case for reading in asked.state.open_readings if reading.reader == "ben"}
    mine = {reading.case for reading in asked.state.open_readings if reading.reader == "anna"}
    with pytest.raises(Refused, match="was not asked of anna"):
        deliver(asked.project, Delivery("anna", sorted(theirs - mine)[0], refusal="not usable"))
    assert asked.state.refused[-1].fields["code"] == "not-asked"
    case = sorted(mine)[0]
    decisions.exclude(asked.project, [case], "motion")
    with pytest.raises(Refused, match="was left out of the project"):
        deliver(asked.project, Delivery("anna", case, refusal="not usable"))


def told_in_inbox(made, reader, case, told):
    path = made.folder / "readers" / reader / "inbox" / f"{case}.json"
    path.write_text(json.dumps(told))
    os.utime(path, (time.time() - 60,) * 2)
    return path


def test_a_scan_is_refused_by_a_file_that_says_so(own):
    case = of(own, "anna")[0]
    path = told_in_inbox(own, "anna", case, {"refused": "not this organ", "minutes": 2})
    (taken,) = take_inboxes(own.project, nothing)
    assert taken.receipt.case == case and not path.exists()
    state = own.state.cases[case]
    assert (state.excluded, state.refused_by) == ("not this organ", "anna")
    event = own.project.log.read()[-1]
    assert (event.kind, event.fields["minutes"]) == ("excluded", 2.0)
    own.answer()
    own.ask()
    assert own.state.rounds[-1].fields["refused"] == [case]


def test_a_file_beside_a_label_is_no_refusal_and_one_of_a_stranger_comes_back(own):
    case = of(own, "anna")[0]
    inbox(own, "anna", case)
    told_in_inbox(own, "anna", case, {"minutes": 3, "refused": "by mistake"})
    assert [one.receipt.version for one in take_inboxes(own.project, nothing)] == ["anna-1"]
    path = told_in_inbox(own, "anna", "nobody", {"refused": "not this organ"})
    (taken,) = take_inboxes(own.project, nothing)
    assert taken.refused.code == "unknown-case" and not path.exists()
    path = told_in_inbox(own, "anna", of(own, "anna")[1], {"refused": "not this organ", "minutes": "two"})
    (taken,) = take_inboxes(own.project, nothing)
    assert taken.refused.code == "bad-json" and not path.exists()
    assert [event.fields["code"] for event in own.state.refused] == ["unknown-case", "bad-json"]
