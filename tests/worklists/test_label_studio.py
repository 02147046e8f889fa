"""Label Studio's documented keys: tasks with predictions out, annotations back in."""

import json
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from asked_cases import NASTY, images

from jaxal.errors import UserError
from jaxal.worklists import label_studio
from jaxal.worklists.answers import Answer

CLASSES = ("no DR", "moderate", "severe </script>")
READERS = {"10": "anna", "ben@example.org": "ben"}


def test_tasks_have_the_documented_keys(tmp_path):
    worklist = images(tmp_path)
    worklist.items[5] = worklist.items[5]._replace(state="delivered")
    tasks = json.loads(label_studio.tasks_text(worklist, version="round 3"))
    assert [task["data"]["id"] for task in tasks] == [NASTY[2], NASTY[0], NASTY[1], NASTY[3], NASTY[4]]
    for task in tasks:
        item = next(item for item in worklist.items if item.case == task["data"]["id"])
        start, path = task["data"]["image"].split("?d=")
        assert start == "/data/local-files/" and Path("/" + urllib.parse.unquote(path)) == item.image
    assert [task["data"]["id"] for task in tasks if "predictions" in task] == [NASTY[1]]
    (prediction,) = tasks[2]["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("round 3", 0.7)
    assert prediction["result"] == [
        {"from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": ["moderate"]}}
    ]


def test_paths_are_below_label_studios_folder(tmp_path):
    worklist = images(tmp_path)
    assert '"/data/local-files/?d=data/image%201.png"' in label_studio.tasks_text(worklist, tmp_path)
    with pytest.raises(UserError, match="does not lie below"):
        label_studio.tasks_text(worklist, tmp_path / "elsewhere")


def test_the_interface_names_what_tasks_and_predictions_name(tmp_path):
    view = ElementTree.fromstring(label_studio.interface_text(images(tmp_path).classes))
    choices, image = view.find("Choices"), view.find("Image")
    assert (choices.get("name"), choices.get("toName"), choices.get("choice")) == ("class", "image", "single")
    assert (image.get("name"), image.get("value")) == ("image", "$image")
    assert [choice.get("value") for choice in choices] == list(CLASSES)
    assert [choice.get("hotkey") for choice in choices] == ["1", "2", "3"]


def annotation(**changes):
    """As Label Studio's documents show one."""
    chosen = {"from_name": "class", "id": "Dx_aB91ISN", "to_name": "image", "type": "choices", "value": {"choices": ["moderate"]}}
    whole = {"id": 1001, "result": [chosen], "was_cancelled": False, "ground_truth": False, "created_at": "2026-03-09T22:16:08.728353Z",
             "updated_at": "2026-03-09T22:17:00Z", "lead_time": 4.288, "result_count": 1, "task": 1, "completed_by": 10}  # fmt: skip
    return whole | changes


def read(tmp_path, *annotations, **changes):
    task = {"id": 1, "data": {"image": "/x.png", "id": "case 01"}, "annotations": list(annotations), "predictions": []} | changes
    (tmp_path / "export.json").write_text(json.dumps([task]))
    return label_studio.read_export(tmp_path / "export.json", CLASSES, READERS)


def test_annotations_come_back_with_reader_and_seconds(tmp_path):
    by_mail = {"id": 77, "email": "ben@example.org", "first_name": "B"}
    answers = read(
        tmp_path, annotation(), annotation(completed_by=by_mail, lead_time=None), annotation(was_cancelled=True, result=[])
    )
    at = "2026-03-09T22:17:00Z"
    assert answers == [Answer("case 01", "moderate", "anna", 4.288, at), Answer("case 01", "moderate", "ben", None, at)]


def test_an_export_without_annotations_holds_no_answers(tmp_path):
    assert read(tmp_path) == []


def chosen(*names):
    return {"result": [{"type": "choices", "value": {"choices": list(names)}}]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"completed_by": 11}, "user 11. Say which reader"),
        ({"completed_by": None}, "user nobody"),
        ({"completed_by": {"id": 5, "email": "private@example.org"}}, "user 5. Say"),  # the address is not told
        (chosen(), "has 0 classes chosen by anna"),
        (chosen("moderate", "no DR"), "has 2 classes chosen by anna"),
        ({"result": None}, "has 0 classes"),
        ({"result": [3]}, "has 0 classes"),
        ({"result": [{"type": "rectanglelabels", "value": {"x": 1}}]}, "has 0 classes"),
        (chosen("mild"), "has the class 'mild', and the project has no DR"),
        ({"lead_time": "long"}, "took 'long' seconds"),
    ],
)
def test_bad_annotations_are_refused_in_a_sentence(tmp_path, changes, said):
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read(tmp_path, annotation(**changes))
    assert "case 'case 01'" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": {"image": "/x.png"}}, 'task 1 has no "id"'),
        ({"data": None}, 'task 1 has no "id"'),
        ({"annotations": None}, "not as JSON-MIN"),
        ({"annotations": ["x"]}, "not as JSON-MIN"),
    ],
)
def test_bad_tasks_are_refused_in_a_sentence(tmp_path, changes, said):
    with pytest.raises(UserError, match=re.escape(said)):
        read(tmp_path, annotation(), **changes)


@pytest.mark.parametrize("content", ["{}", "[3]", "null", '"x"', "[[]]"])
def test_what_is_no_export_is_refused(tmp_path, content):
    (tmp_path / "export.json").write_text(content)
    with pytest.raises(UserError, match="is no export of Label Studio"):
        label_studio.read_export(tmp_path / "export.json", CLASSES, READERS)
