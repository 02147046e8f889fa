"""Classes that readers chose for images, as they come back in files."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.errors import UserError

REFUSALS = ("not usable", "none of these")  # why a reader chooses no class
LARGEST = 64 << 20  # bytes of a file with answers; those of a hundred thousand images have fewer


class Answer(NamedTuple):
    """A class that a reader chose.

    Attributes:
      case: its id.
      name: of the class; empty where the reader refused the case.
      reader: who chose it.
      seconds: that it took; None where nobody measured them.
      at: when, as the program wrote it; empty if it did not.
      refusal: why the reader chose none.
    """

    case: str
    name: str
    reader: str
    seconds: float | None
    at: str
    refusal: str = ""


def read_answers(path: Path, classes: Sequence[str], reader: str, key: str = "") -> list[Answer]:
    """The answers that the page to choose classes saved, as JSON or CSV.

    Args:
      path: of the file.
      classes: the project's.
      reader: whose inbox it came from.
      key: of the project; answers that say another are refused.

    Raises:
      UserError: the file is damaged or another, is of another reader, or names a class that the project does not have.
    """
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path, key)
    answers = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not isinstance(row.get("case"), str):
            raise UserError(f"{path}: answer {number} names no case. Save the answers from the page once more.")
        if row.get("reader", reader) != reader:
            raise UserError(f"{path}: holds answers of another reader than {reader}. Put the file into that reader's inbox.")
        answers.append(
            checked(
                Answer(
                    row["case"], row.get("class", ""), reader, row.get("seconds"), row.get("at") or "", row.get("refusal") or ""
                ),
                classes,
                path,
            )
        )
    return answers


def checked(answer: Answer, classes: Sequence[str], path: Path) -> Answer:
    """An answer as it is, when its class is known and its parts are what they should be.

    Raises:
      UserError: they are not.
    """
    if answer.refusal and (answer.refusal not in REFUSALS or answer.name):
        raise UserError(
            f"{path}: case {answer.case!r} is refused as {str(answer.refusal)[:80]!r}; a case without a class is refused as {' or '.join(REFUSALS)}."
        )
    if not answer.refusal and answer.name not in classes:
        known = ", ".join(classes)
        raise UserError(
            f"{path}: case {answer.case!r} has the class {str(answer.name)[:80]!r}, and the project has {known}. Correct it."
        )
    seconds = answer.seconds
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds) and seconds >= 0
    if seconds is not None and not is_number:
        raise UserError(
            f"{path}: case {answer.case!r} took {str(seconds)[:80]!r} seconds. Give a number from 0, or leave it out."
        )
    if not isinstance(answer.at, str):
        raise UserError(f"{path}: case {answer.case!r} has a time that is no text. Save the answers once more.")
    return answer._replace(seconds=None if seconds is None else float(seconds))


def read_json_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
      UserError: it cannot be read or is damaged.
    """
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is no JSON ({str(error)[:80]}). The file may be cut short; save it once more.") from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(
                f"{path}: is larger than {LARGEST >> 20} MiB, so it holds no answers. Hand in the file with the answers."
            )
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is no text in UTF-8. Save it in UTF-8.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). See whether the file is there.") from error


def _json_rows(path: Path, key: str) -> list[Any]:
    value = read_json_file(path)
    if not isinstance(value, dict) or value.get("format") != "jaxal answers" or not isinstance(value.get("answers"), list):
        raise UserError(f"{path}: is not what the page to choose classes saves. Save the answers from the page once more.")
    if value.get("version") != 1:
        raise UserError(f"{path}: was saved by a page of another version. Install the newest jaxal.")
    if value.get("key", key) != key:
        raise UserError(f"{path}: holds answers of another project of the same name. Save the answers from this project's page.")
    whose = value.get("reader")
    return [row | {"reader": whose} if isinstance(row, dict) else row for row in value["answers"]]


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    text = _text(path)
    separator = ";" if ";" in text.split("\n", 1)[0] else ","  # spreadsheets of some languages save with semicolons
    try:
        rows: list[dict[str, Any]] = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise UserError(f"{path}: is no CSV ({error}). Save the answers from the page once more.") from error
    for row in rows:
        try:
            row["seconds"] = float(row["seconds"]) if row.get("seconds") else None
        except ValueError:
            continue  # `checked` says what is wrong
    return rows
