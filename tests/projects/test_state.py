"""The state is the replay of the log: what each event changes, and what it leaves alone."""

import pytest

from jaxal.projects.log import Event
from jaxal.projects.replay import replay

CASES = ["a", "b", "c"]


def after(*told, cases=CASES):
    events = [Event(number, f"2026-01-01T00:{number:02d}:00+00:00", kind, fields) for number, (kind, fields) in enumerate(told)]
    return replay(events, cases, ["background", "liver"])


def started(*readers):
    return "started", {"readers": list(readers or ("anna", "ben", "carl"))}


def round_(number=1):
    return "round", {"round": number, "training": [], "evaluation": [], "test": []}


def asked(*pairs, number=1, part="strategy", role="training"):
    readings = [
        {"case": case, "reader": reader, "part": part, "role": role, "double": sum(c == case for c, _ in pairs) > 1}
        for case, reader in pairs
    ]
    return "asked", {"round": number, "readings": readings}


def label(case, reader, version=None, **fields):
    return "label", {
        "case": case, "reader": reader, "version": version or f"{reader}-1", "digest": "d", "classes": 2, **fields
    }  # fmt: skip


def statuses(state):
    return {id_: case.status for id_, case in state.cases.items()}


def test_nothing_has_happened():
    assert statuses(after()) == dict.fromkeys(CASES, "unlabelled")


def test_one_reading_makes_a_label():
    state = after(started(), round_(), asked(("a", "anna"), ("b", "ben")), ("opened", {"case": "a", "reader": "anna"}))
    assert statuses(state) == {"a": "asked", "b": "asked", "c": "unlabelled"}
    assert [(reading.case, reading.status) for reading in state.open_readings] == [("a", "opened"), ("b", "asked")]
    state = after(started(), round_(), asked(("a", "anna"), ("b", "ben")), label("a", "anna", minutes=3.0))
    assert statuses(state)["a"] == "labelled" and state.cases["a"].label == "anna-1"
    assert state.labels("training") == [("a", "anna-1")] and state.labels("test") == []
    assert state.cases["a"].versions[0].round == 1 and state.cases["a"].versions[0].minutes == 3.0


def test_two_readings_count_only_once_they_are_made_one():
    story = [started(), round_(), asked(("a", "anna"), ("a", "ben"))]
    assert after(*story, label("a", "anna")).cases["a"].status == "asked"
    both = [*story, label("a", "anna"), label("a", "ben")]
    assert after(*both).cases["a"].waits_for_merging and after(*both).cases["a"].label is None
    merged = after(*both, ("merged", {"case": "a", "version": "merged-1", "digest": "m", "classes": 2}))
    assert merged.cases["a"].label == "merged-1" and merged.cases["a"].status == "labelled"
    disputed = [*both, ("disputed", {"case": "a", "of": ["anna-1", "ben-1"]})]
    assert after(*disputed).cases["a"].status == "disputed" and after(*disputed).labels("training") == []
    decided = after(*disputed, ("decided", {"case": "a", "version": "ben-1", "by": "head"}))
    assert decided.cases["a"].label == "ben-1" and decided.cases["a"].status == "labelled"
    third = [*disputed, ("assigned", {"case": "a", "reader": "carl", "part": "third", "why": "readers differ"})]
    assert after(*third).cases["a"].status == "asked"
    assert [version.name for version in after(*third, label("a", "carl")).cases["a"].of_attempt()] == [
        "anna-1",
        "ben-1",
        "carl-1",
    ]
    assert after(*third, label("a", "carl")).cases["a"].waits_for_merging


def test_a_returned_label_does_not_count_and_its_reader_is_asked_again():
    story = [started(), round_(), asked(("a", "anna")), label("a", "anna")]
    state = after(*story, ("returned", {"case": "a", "version": "anna-1", "why": "the left lobe is missing"}))
    reading = state.cases["a"].readings["anna"]
    assert state.cases["a"].status == "asked" and state.cases["a"].label is None
    assert reading.status == "returned" and reading.why == "the left lobe is missing"
    state = after(*story, ("returned", {"case": "a", "version": "anna-1", "why": "x"}), label("a", "anna", "anna-2"))
    assert state.cases["a"].label == "anna-2" and len(state.cases["a"].versions) == 2


def test_a_returned_part_of_a_merged_label_takes_the_merged_one_back():
    story = [started(), round_(), asked(("a", "anna"), ("a", "ben")), label("a", "anna"), label("a", "ben")]
    merged = [*story, ("merged", {"case": "a", "version": "merged-1", "digest": "m", "classes": 2})]
    state = after(*merged, ("returned", {"case": "a", "version": "ben-1", "why": "x"}))
    assert state.cases["a"].label is None and [reading.reader for reading in state.open_readings] == ["ben"]
    again = after(*merged, ("returned", {"case": "a", "version": "ben-1", "why": "x"}), label("a", "ben", "ben-2"))
    assert again.cases["a"].waits_for_merging
    assert [version.name for version in again.cases["a"].of_attempt()] == ["anna-1", "ben-2"]


def test_a_reopened_label_counts_until_the_new_one_is_there():
    story = [started(), round_(), asked(("a", "anna")), label("a", "anna")]
    reopened = [*story, ("reopened", {"case": "a", "reader": "ben", "why": "shifted"})]
    state = after(*reopened)
    assert state.cases["a"].label == "anna-1" and state.cases["a"].status == "asked"
    assert state.labels("training") == [("a", "anna-1")]
    assert after(*reopened, label("a", "ben")).labels("training") == [("a", "ben-1")]


def test_released_cases_go_to_others_or_back_to_the_pool():
    story = [started(), round_(), asked(("a", "anna")), ("released", {"case": "a", "reader": "anna", "why": "away"})]
    assert after(*story).cases["a"].status == "unlabelled"
    state = after(*story, ("assigned", {"case": "a", "reader": "ben", "why": "away"}))
    assert [(reading.reader, reading.round) for reading in state.open_readings] == [("ben", 1)]


def test_of_two_readings_the_one_that_is_left_counts():
    story = [started(), round_(), asked(("a", "anna"), ("a", "ben")), label("a", "anna")]
    state = after(*story, ("released", {"case": "a", "reader": "ben", "why": "away"}))
    assert state.cases["a"].label == "anna-1" and state.cases["a"].status == "labelled"


def test_excluded_cases_are_neither_asked_nor_trained_on():
    story = [started(), round_(), asked(("a", "anna")), label("a", "anna"), ("excluded", {"case": "a", "why": "motion"})]
    state = after(*story)
    assert state.cases["a"].status == "excluded" and state.labels("training") == [] and "a" not in state.unasked()


def test_an_accepted_reading_is_not_opened_again():
    story = [started(), round_(), asked(("a", "anna")), label("a", "anna"), ("opened", {"case": "a", "reader": "anna"})]
    assert after(*story).cases["a"].status == "labelled"


@pytest.mark.parametrize(("old", "left"), [("absent", [("a", "anna-1")]), ("ask", [])])
def test_a_class_that_is_added_says_what_older_labels_mean(old, left):
    state = after(started(), round_(), asked(("a", "anna")), label("a", "anna"), ("class", {"name": "tumour", "old": old}))
    assert state.classes == ["background", "liver", "tumour"] and state.labels("training") == left
    assert ("a" in state.unasked()) == (old == "ask")


def test_labels_that_were_there_count_with_their_role():
    state = after(started(), label("a", "data", role="evaluation"), label("b", "data", role="training"))
    assert state.labels("evaluation") == [("a", "data-1")] and state.labels("training") == [("b", "data-1")]


def test_rounds_and_readers_are_remembered():
    state = after(
        started("anna", "ben"),
        ("reader", {"name": "ben", "present": False}),
        ("reader", {"name": "dora", "present": True}),
        round_(),
    )
    assert state.present == ["anna", "dora"] and state.rounds[0].asked is None
    state = after(started(), round_(), asked(("a", "anna")), round_(2), asked(("b", "anna"), number=2))
    assert [round_.number for round_ in state.rounds] == [1, 2] and state.rounds[1].asked is not None
    assert state.cases["b"].readings["anna"].round == 2


def test_kinds_of_events_that_this_version_does_not_know_change_nothing():
    assert statuses(after(started(), ("something new", {"case": "a"}))) == dict.fromkeys(CASES, "unlabelled")
