"""The ledger: one JSON line a finished round, the truth about which rounds are done. And the runs of a results folder, read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxal.errors import UserError
from jaxal.files import write_text

FULL = "full"  # in place of a strategy's name: a network trained on the whole pool


class Ledger:
    """One JSON line a finished round; what is there is never written anew in another form."""

    def __init__(self, path: Path):
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The finished rounds, in order, those of older versions with the entries that they lack.

        Raises:
          UserError: a line is not JSON, or a round is missing.
        """
        rounds = []
        for number, line in enumerate(self._lines()):
            try:
                record = _checked_line(_parsed(line))
                if record["round"] != number:
                    raise ValueError(f"it is of round {record['round']}")
            except ValueError as error:
                raise UserError(
                    f"{self.path}, line {number + 1}: not the record of round {number} ({error}). Restore the file or start anew with --fresh."
                ) from error
            rounds.append(_completed(record))
        return rounds

    def read_with_pending(self, path: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """The finished rounds, and the line that waits in a file until its query is answered, if there is one.

        Raises:
          UserError: see `read`; or the file holds no such line.
        """
        rounds = self.read()
        if not path.exists():
            return rounds, None
        try:
            return rounds, _checked_line(_parsed(path.read_text(encoding="utf-8")))
        except ValueError as error:
            raise UserError(f"{path}: not the record of a round ({error}). Delete it; its round is then run again.") from error

    def read_any(self) -> list[dict[str, Any]]:
        """The objects of all lines, whatever rounds they are of; for a line that waits, too.

        Raises:
          UserError: a line is not an object.
        """
        try:
            records = [json.loads(line) for line in self._lines()]
            if strange := [record for record in records if not isinstance(record, dict)]:
                raise ValueError(f"{json.dumps(strange[0])[:40]} is no object")
        except ValueError as error:
            raise UserError(
                f"{self.path}: not records of rounds ({error}). Restore the file or start anew with --fresh."
            ) from error
        return records

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a round."""
        self.read()
        write_text(self.path, "\n".join([*self._lines(), json.dumps(record, allow_nan=False)]) + "\n")

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: not a ledger ({error}). Restore the file or start anew with --fresh.") from error


# What every line holds, and what some lines hold, by the type of each; everything else is their strategies' own affair.
_Form = Mapping[str, Any]
_NUMBER = (int, float)
_MEASURE: _Form = {"overall": _NUMBER, "by_group": {}}
_ALWAYS: _Form = {
    "round": int,
    "labelled": int,
    "queried": list,
    "seconds": {"train": _NUMBER, "score": _NUMBER, "select": _NUMBER, "evaluate": _NUMBER},
}
_OF_TASK: Mapping[str, _Form] = {
    "segmentation": {"dice": _MEASURE, "nll": _NUMBER, "ece": _NUMBER},
    "image segmentation": {"f1": _MEASURE, "mean_dice": _NUMBER, "nll": _NUMBER, "ece": _NUMBER},
    "classification": {"auc": _MEASURE, "nll": _NUMBER, "ece": _NUMBER},
}
_SOMETIMES: _Form = {
    "scores": list,
    "pool": int,
    "refused": {},
    "refused_before": int,
    "test": {},
    "strategy": {},
    "queried_by_group": {},
    "ranking": {},
    "queried_by_class": {},
    "labelled_by_class": {},
    "labelled_elements": int,
    "pool_elements": int,
    "labelled_elements_by_class": {},
    "pseudo_labelled_elements": int,
    "pseudo_labelled_cases": int,
    "brier": _NUMBER,
    "ece_classwise": _NUMBER,
    "reliability": {"count": list, "confidence": list, "correct": list},
    "calibration_by_group": {},
    "reliability_by_group": {},
    "versions": {},
    "config": str,
    "device": str,
}


def _parsed(text: str) -> Any:
    """JSON in which no object has two entries of one name.

    Raises:
      ValueError: it is none.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"the entry {next(name for name in names if names.count(name) > 1)!r} is there twice")
        return made

    return json.loads(text, object_pairs_hook=once)


def _checked_line(record: Any) -> dict[str, Any]:
    """A line of the form that all who read it rely on.

    Raises:
      ValueError: it has another; the text says what is missing.
    """
    if not isinstance(record, dict):
        raise ValueError("it is no object")
    _check_form(record, _ALWAYS, "")
    _check_form(record, {name: form for name, form in _SOMETIMES.items() if name in record}, "")
    of_task = _OF_TASK.get(_completed(record)["task"], {})  # of a task of a newer version others tell
    _check_form(record, of_task, "")
    for name in {"dice", "f1", "auc"} & of_task.keys():
        _check_form(record[name]["by_group"], dict.fromkeys(record[name]["by_group"], _NUMBER), f"{name}.by_group.")
    for name, kind in (("queried", str), ("scores", _NUMBER)):
        if strange := [value for value in record.get(name, ()) if not isinstance(value, kind) or isinstance(value, bool)]:
            raise ValueError(f"its entry '{name}' holds {json.dumps(strange[0])[:40]}")
    if "scores" in record and len(record["scores"]) != len(record["queried"]):
        raise ValueError("it has another number of entries in 'scores' than in 'queried'")
    return record


def _check_form(entries: Mapping[str, Any], form: _Form, prefix: str) -> None:
    for name, kind in form.items():
        if name not in entries:
            raise ValueError(f"it lacks the entry '{prefix}{name}'")
        value = entries[name]
        if isinstance(value, bool) or not isinstance(value, dict if isinstance(kind, Mapping) else kind):
            raise ValueError(f"its entry '{prefix}{name}' is {json.dumps(value)[:40]}")
        if isinstance(kind, Mapping):
            _check_form(value, kind, f"{prefix}{name}.")


def _completed(record: dict[str, Any]) -> dict[str, Any]:
    """A line as this version writes it: those before 0.2 do not name their kind of task, which their main measure tells."""
    return {"task": "classification" if "auc" in record else "segmentation", **record}


class RunOnDisk(NamedTuple):
    """One finished or unfinished run of a folder."""

    setting: str
    strategy: str
    seed: int
    rounds: list[dict[str, Any]]


def read_runs(folder: Path) -> list[RunOnDisk]:
    """All runs below a folder, `SETTING/STRATEGY/seed-N/rounds.jsonl`, in alphabetical order."""
    runs = []
    for path in sorted(folder.glob("*/*/seed-*/rounds.jsonl")):
        rounds = Ledger(path).read()
        seed = path.parent.name.removeprefix("seed-")
        if rounds and seed.isdigit():
            runs.append(RunOnDisk(path.parent.parent.parent.name, path.parent.parent.name, int(seed), rounds))
    return runs


def milliseconds_a_case(entry: Mapping[str, Any]) -> float:
    """What it took in a round to score a case that could be queried, and to choose."""
    return 1000 * (entry["seconds"]["score"] + entry["seconds"]["select"]) / max(entry["pool"], 1)
