"""Classes that readers chose, as they come in files: taken once, corrected, refused in a sentence."""

import json
import os
import time

import pytest
from made_projects import digest_of, nothing

from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects import decisions
from jaxal.projects.deliver import deliver
from jaxal.projects.kind import Delivery
from jaxal.projects.settle import settle
from jaxal.projects.take import take_files, take_inboxes
from jaxal.projects.worklists import write_all


@pytest.fixture
def asked(begin_images):
    made = begin_images()
    made.ask()
    return made


def test_answers_from_the_inbox_are_taken_once(asked):
    rows = asked.rows("anna")
    path = asked.save("anna", rows)
    content = path.read_text()
    taken = take_inboxes(asked.project, nothing)
    assert [one.case for one in taken] == [row["case"] for row in rows] and all(one.receipt for one in taken)
    assert not path.exists() and len(list((path.parent / "taken").iterdir())) == 1
    first = asked.state.cases[rows[0]["case"]].versions[0]
    assert (first.category, first.minutes, first.proposal) == (asked.truth[rows[0]["case"]], 0.04, None)
    events = len(asked.project.log.read())
    asked.save("anna", json.loads(content)["answers"])
    assert all(one.receipt.again for one in take_inboxes(asked.project, nothing))
    assert len(asked.project.log.read()) == events


def test_one_bad_answer_keeps_no_other_from_being_taken(asked):
    rows = asked.rows("anna")
    others = [reading.case for reading in asked.state.open_readings if reading.reader == "ben"]
    stranger = next(case for case in others if case not in {row["case"] for row in rows})
    asked.save("anna", [*rows, {"case": stranger, "class": "rare", "seconds": 1, "at": ""}])
    taken = take_inboxes(asked.project, nothing)
    assert [one.refused.code for one in taken if one.refused] == ["not-asked"] and len(taken) == len(rows) + 1
    (told,) = (asked.folder / "readers" / "anna" / "returned").glob("*.txt")
    assert f"{stranger}: {stranger} was not asked of anna" in told.read_text()


def test_a_slip_is_corrected_until_another_reader_counts(begin_images):
    made = begin_images(double_share=0.2)
    made.ask()
    single, double = (next(one for one in made.state.open_readings if one.double == both) for both in (False, True))
    other = next(one.reader for one in made.state.open_readings if one.case == double.case and one.reader != double.reader)
    for name in ("rare", "scarce", "rare"):
        made.choose(single.reader, single.case, name)
        made.choose(double.reader, double.case, name)
    assert made.choose(single.reader, single.case, "rare").again, "the same answer twice is one"
    case = made.state.cases[single.case]
    assert [version.category for version in case.versions] == ["rare", "scarce", "rare"] and case.label == f"{single.reader}-3"
    made.choose(other, double.case, "rare")
    settle(made.project)
    assert made.state.cases[double.case].label == "merged-1"
    decisions.decide(made.project, double.case, f"{double.reader}-1", "head")  # then it is the head's word that counts
    with pytest.raises(Refused, match="ask who runs the project to reopen"):
        made.choose(double.reader, double.case, "scarce")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ('{"format": "other"}', "is not what the page to choose classes saves"),
        ('{"format": "jaxal answers", "version": 1, "answers": [{"case": 1}]}', "answer 1 names no case"),
        ('{"format": "jaxal answers", "version": 1, "reader": "ben", "answers": [{"case": "x", "class": "rare"}]}', "of another reader than anna"),
        ('{"format": "jaxal answers", "version": 1, "reader": "anna", "answers": [{"case": "x", "class": "odd"}]}', "has the class 'odd'"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_answers_is_returned(asked, content, message):
    path = asked.save("anna", [])
    path.write_text(content)
    os.utime(path, (time.time() - 60,) * 2)
    before = digest_of(asked.folder / "labels") if (asked.folder / "labels").exists() else {}
    (taken,) = take_inboxes(asked.project, nothing)
    assert message in taken.refused.sentence and not path.exists()
    returned = sorted((asked.folder / "readers" / "anna" / "returned").iterdir())
    assert [message in file.read_text() for file in returned if file.suffix == ".txt"] == [True]
    assert [file.read_text() for file in returned if file.suffix == ".json"] == [content]
    assert (digest_of(asked.folder / "labels") if (asked.folder / "labels").exists() else {}) == before


def test_label_studios_export_with_its_users(asked, tmp_path):
    tasks = []
    for number, (reader, user) in enumerate((("anna", 1), ("ben", "ben@example.org"))):
        for row in asked.rows(reader):
            result = [{"type": "choices", "from_name": "class", "to_name": "image", "value": {"choices": [row["class"]]}}]
            by = {"id": user} if isinstance(user, int) else {"id": 9, "email": user}
            tasks.append(
                {"id": len(tasks), "data": {"id": row["case"]}, "annotations": [{"completed_by": by, "result": result, "lead_time": 4.0 + number}]}
            )  # fmt: skip
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    with pytest.raises(UserError, match="Say whose it is: --reader NAME, or who each of its users is"):
        take_files(asked.project, [path], None, None, nothing)
    take_files(asked.project, [path], None, None, nothing, {"1": "anna", "ben@example.org": "ben"})
    assert asked.state.open_readings == []
    drawn = [version for case in asked.state.cases.values() for version in case.versions]
    assert {(version.reader, version.minutes) for version in drawn} == {("anna", 0.07), ("ben", 0.08)}


def test_a_drawn_file_is_no_answer(asked, tmp_path):
    reading = asked.state.open_readings[0]
    (tmp_path / "x.nii.gz").write_bytes(b"anything")
    with pytest.raises(Refused, match=r"a class is chosen for each\. Open click\.html"):
        deliver(asked.project, Delivery(reading.reader, reading.case, tmp_path / "x.nii.gz"))


def test_answers_of_another_project_or_from_before_a_return_are_refused(asked):
    rows = asked.rows("anna")
    path = asked.save("anna", rows)
    whole = json.loads(path.read_text())
    path.write_text(json.dumps({**whole, "key": "of another"}))
    os.utime(path, (time.time() - 60,) * 2)
    (other,) = take_inboxes(asked.project, nothing)
    assert "holds answers of another project of the same name" in other.refused.sentence
    write_all(asked.project)
    assert f'"key": "{asked.project.key}"' in (asked.folder / "readers" / "anna" / "click.html").read_text()
    path = asked.save("anna", rows[:1])
    path.write_text(json.dumps({**json.loads(path.read_text()), "key": asked.project.key}))
    os.utime(path, (time.time() - 60,) * 2)
    assert [one.receipt.version for one in take_inboxes(asked.project, nothing)] == ["anna-1"]
    decisions.give_back(asked.project, [rows[0]["case"]], "look again")
    asked.save("anna", rows[:1])
    (old,) = take_inboxes(asked.project, nothing)
    assert old.refused.code == "came-back" and "look again" in old.refused.sentence
    asked.save("anna", [{**rows[0], "at": "later"}])
    assert take_inboxes(asked.project, nothing)[0].receipt.version == "anna-2", "the same class, chosen again, is an answer"
