"""Label Studio, for images with one class: tasks to import, the labelling interface, and what it gives back.

Its format is documented at https://labelstud.io/guide/task_format and https://labelstud.io/guide/predictions.
"""

import json
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from jaxal.errors import UserError
from jaxal.worklists.answers import Answer, checked, read_json_file
from jaxal.worklists.items import Class, Item, Worklist, in_order

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's address of files below its LOCAL_FILES_DOCUMENT_ROOT


def tasks_text(worklist: Worklist, root: Path | None = None, version: str = "") -> str:
    """Tasks to import, with the network's guess as a prediction where a reader may see it. Cases that were handed in are left out.

    Args:
      worklist: of one reader.
      root: Label Studio's folder of local files, as its LOCAL_FILES_DOCUMENT_ROOT says; the root of all files when left out.
      version: of the network that guessed, such as the round.

    Raises:
      UserError: an image does not lie below the root.
    """
    tasks = [_task(item, root or Path("/"), version) for item in in_order(worklist.items) if item.state != "delivered"]
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _task(item: Item, root: Path, version: str) -> dict[str, Any]:
    if not item.image.is_relative_to(root):
        raise UserError(
            f"{item.image}: does not lie below Label Studio's folder of local files, {root}. Choose a folder above it."
        )
    address = LOCAL_FILES + urllib.parse.quote(item.image.relative_to(root).as_posix())
    task: dict[str, Any] = {"data": {"image": address, "id": item.case, "reason": item.reason}}
    if item.guess:
        choice = {"from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": [item.guess.name]}}
        task["predictions"] = [{"model_version": version, "score": item.guess.probability, "result": [choice]}]
    return task


def interface_text(classes: Sequence[Class]) -> str:
    """The labelling interface to paste into the project's settings; digits choose there, too."""
    choices = "".join(
        f"    <Choice value={quoteattr(entry.name)} background={quoteattr(entry.colour)}"
        + (f' hotkey="{(place + 1) % 10}"' if place < 10 else "")
        + "/>\n"
        for place, entry in enumerate(classes)
    )
    return (
        '<View>\n  <Text name="reason" value="$reason"/>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <Choices name="class" toName="image" choice="single" required="true">\n{choices}  </Choices>\n</View>\n'
    )


def read_export(path: Path, classes: Sequence[str], readers: Mapping[str, str]) -> list[Answer]:
    """The answers in a JSON export of Label Studio, in its order. What a reader skipped there is no answer.

    Args:
      path: of the export ("JSON", not "JSON-MIN").
      classes: the project's.
      readers: the project's reader of each of Label Studio's users, by number or e-mail address, as text.

    Raises:
      UserError: the file is damaged or no such export, or an annotation is of an unknown user or has no single known class.
    """
    exported, answers = read_json_file(path), []
    if not isinstance(exported, list) or not all(isinstance(task, dict) for task in exported):
        raise UserError(f"{path}: is no export of Label Studio. Export the project as JSON.")
    for number, task in enumerate(exported, start=1):
        data = task.get("data")
        case = data.get("id") if isinstance(data, dict) else None
        if not isinstance(case, str):
            raise UserError(
                f'{path}: task {task.get("id", number)} has no "id" in its "data". Import the tasks from labelstudio.json.'
            )
        annotations = task.get("annotations")
        if not isinstance(annotations, list) or not all(isinstance(annotation, dict) for annotation in annotations):
            raise UserError(f'{path}: case {case!r} has no list "annotations". Export the project as JSON, not as JSON-MIN.')
        answers += [
            checked(_answer(annotation, case, readers, path), classes, path)
            for annotation in annotations
            if not annotation.get("was_cancelled")
        ]
    return answers


def _answer(annotation: Mapping[str, Any], case: str, readers: Mapping[str, str], path: Path) -> Answer:
    user = annotation.get("completed_by")
    known = [user.get("id"), user.get("email")] if isinstance(user, dict) else [user]
    reader = next((readers[str(name)] for name in known if str(name) in readers), None)
    if reader is None:
        who = known[0] if known[0] is not None else "nobody"
        raise UserError(
            f"{path}: case {case!r} was annotated by Label Studio's user {who}. Say which reader of the project that is."
        )
    results = annotation.get("result")
    chosen = [
        choice
        for result in (results if isinstance(results, list) else [])
        if isinstance(result, dict) and result.get("type") == "choices" and isinstance(result.get("value"), dict)
        for choice in result["value"].get("choices") or []
    ]
    if len(chosen) != 1:
        raise UserError(f"{path}: case {case!r} has {len(chosen)} classes chosen by {reader}. Choose one class for every image.")
    at = annotation.get("updated_at") or annotation.get("created_at") or ""
    return Answer(case, chosen[0], reader, annotation.get("lead_time"), at)
