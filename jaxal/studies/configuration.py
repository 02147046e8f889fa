"""The settings that a results folder keeps to, in its `config.json`, and what its data were, in its `data.json`.

A digest in the settings tells that something has changed. What it was is told from the files beside the settings.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxal import claims
from jaxal.errors import UserError
from jaxal.files import lock, write_text
from jaxal.numbers import NUMBERS
from jaxal.rounds.identity import config_hash, differences, numbers_of
from jaxal.rounds.ledger import Ledger
from jaxal.rounds.setup import Task
from jaxal.studies.workers import CLAIMS

NEW_FOLDER = "Choose another --out, or --fresh to set the folder aside and begin anew."
EXAMPLES = 5  # of one kind of change, at most


def set_aside(folder: Path) -> Path:
    """Renames a results folder, once it is sure that nobody works in it, to the first free name with a number.

    Raises:
      UserError: it is something else.
    """
    if not (folder / "config.json").is_file() and not ledgers_of(folder):
        raise UserError(
            f"--fresh would set {folder} aside, but that holds no config.json and no rounds, so it is no results folder."
        )
    if any(claims.holder_of(path) for path in {file.parent for file in folder.glob(f"{CLAIMS}/**/[0-9]*")}):
        raise UserError(f"--fresh would set {folder} aside, but somebody works in it. Wait, or choose another --out.")
    with lock(folder):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
            number += 1
        folder.rename(aside)
    return aside


def settle_config(path: Path, task: Task, advice: str = NEW_FOLDER, older_numbers: bool = False) -> None:
    """Writes the configuration of a new folder, or makes sure that an old one's comes to the same.

    Args:
      path: of the configuration.
      task: with the settings that are asked for.
      advice: what to do where they differ.
      older_numbers: whether the folder may hold numbers of an older version.

    Raises:
      UserError: they differ, it is not a configuration, or it is missing and the folder holds rounds of another one.
    """
    if path.parent.exists() and not path.parent.is_dir():
        raise UserError(f"{path.parent}: is a file; results need a folder. Choose another --out.")
    if path.exists():
        _check_stored(path, task, advice, older_numbers)
    else:
        _check_rounds(path, task, advice)
        write_text(path, json.dumps(dict(task.settings), indent=2) + "\n")
    if task.contents and _stored_contents(path.parent, task.settings) is None:
        listing = {"fingerprint": _fingerprint(task.settings), **task.contents}
        write_text(path.with_name("data.json"), _a_line_a_case(listing) + "\n")


def _check_stored(path: Path, task: Task, advice: str, older_numbers: bool) -> None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}). Restore it, choose another --out or use --fresh.") from error
    try:
        lines = differences(stored, task.settings, task.kind)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if lines:
        told = [line for setting in lines for line in _told(setting, path.parent, stored, task)]
        raise UserError(f"{path.parent} holds runs with other settings:\n  " + "\n  ".join(told) + f"\n{advice}")
    if (numbers := numbers_of(stored)) > NUMBERS:
        raise UserError(
            f"{path.parent}: a newer version of jaxal computed its numbers ({numbers}; this one {NUMBERS}). Update jaxal."
        )
    if numbers < NUMBERS and not older_numbers:
        raise UserError(
            f"{path.parent}: an older version of jaxal computed its numbers ({numbers}; this one {NUMBERS}, and docs/numbers.md says what "
            "differs). They can be compared and shown as they are. To go on with this version's numbers add --older-numbers; else "
            f"choose another --out, or --fresh to set the folder aside and begin anew."
        )


def ledgers_of(folder: Path) -> list[Path]:
    """Where the runs of a results folder keep their ledgers, and the rounds that wait for answers."""
    return sorted(path for name in ("rounds.jsonl", "pending.json") for path in folder.glob(f"*/*/seed-*/{name}"))


def _check_rounds(path: Path, task: Task, advice: str) -> None:
    """Makes sure that a folder without a configuration holds no rounds of another one, which every round names by its hash."""
    asked = config_hash(task.settings)
    for ledger in ledgers_of(path.parent):
        for number, record in enumerate(Ledger(ledger).read_any()):
            if record.get("config") != asked:
                recorded = repr(record["config"]) if "config" in record else "none"
                raise UserError(
                    f"{path}: is missing, but {ledger}, line {number + 1}, is a round of other settings than this command's (config "
                    f"{recorded}, here {asked!r}). Restore the file, or give the options and the data that the folder was made with: "
                    f"then it is written anew. {advice}"
                )


def _told(setting: str, folder: Path, stored: Mapping[str, Any], task: Task) -> list[str]:
    """Lines on a setting that differs; of digests, what is behind them."""
    name = setting.split(":")[0]
    if name == "data.fingerprint" and task.contents and _fingerprint(stored):
        before = _stored_contents(folder, stored)
        if before is None:
            return ["data: the files are not what they were; the folder has no data.json that would tell which have changed"]
        return [f"data: {line}" for line in changes(before, task.contents)] or ["data: the files are not what they were"]
    if name == "data.plan" and task.plan:
        return [f"plan.json: {line}" for line in _plan_changes(folder / "plan.json", task)]
    return [setting]


def _fingerprint(settings: Any) -> Any:
    return settings["data"].get("fingerprint")


def _stored_contents(folder: Path, settings: Any) -> dict[str, Any] | None:
    """What a folder's data were, if its listing is of the data that the settings name."""
    try:
        listing = json.loads((folder / "data.json").read_text(encoding="utf-8"))
        known = listing.pop("fingerprint") == _fingerprint(settings) and isinstance(listing["cases"], dict)
        return listing if known and all(isinstance(case["files"], dict) for case in listing["cases"].values()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _a_line_a_case(listing: Mapping[str, Any]) -> str:
    """JSON that people can read: cases are many, and each is short."""
    cases = ",\n".join(f"    {json.dumps(id_)}: {json.dumps(case)}" for id_, case in listing["cases"].items())
    about = "".join(f"  {json.dumps(name)}: {json.dumps(value)},\n" for name, value in listing.items() if name != "cases")
    return "{\n" + about + '  "cases": {\n' + cases + "\n  }\n}"


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Sentences that say how data differ from what they were.

    Args:
      before, now: listings: `cases` by their ids, each with `files` (bytes by name), digests of its `image` and its `label`, and what
        else is known of it; and what is known of all.
    """
    now = json.loads(json.dumps(now))
    lines = [
        f"{name}: before {_brief(before.get(name))}; now {_brief(now.get(name))}"
        for name in sorted((before.keys() | now.keys()) - {"cases"})
        if before.get(name) != now.get(name)
    ]
    old, new = before["cases"], now["cases"]
    kept = [id_ for id_ in old if id_ in new]
    lines += _several("added", [id_ for id_ in new if id_ not in old])
    lines += _several("no longer there", [id_ for id_ in old if id_ not in new])
    for name in sorted({name for id_ in kept for name in old[id_].keys() | new[id_].keys()} - {"files", "image", "label"}):
        changed = [(id_, old[id_].get(name), new[id_].get(name)) for id_ in kept if old[id_].get(name) != new[id_].get(name)]
        lines += _several(f"with another {name}", [f"{id_} (was {_brief(was)}, is {_brief(is_)})" for id_, was, is_ in changed])
    resized = {
        file: f"{file} ({_bytes(old[id_]['files'].get(file))}, now {_bytes(new[id_]['files'].get(file))})"
        for id_ in kept
        for file in sorted(old[id_]["files"].keys() | new[id_]["files"].keys())
        if old[id_]["files"].get(file) != new[id_]["files"].get(file)
    }
    lines += _several("changed in size", list(resized.values()), "files")
    for part in ("image", "label"):
        digests = {id_: (old[id_].get(part), new[id_].get(part)) for id_ in kept}
        other = [id_ for id_, (was, is_) in digests.items() if was != is_ and None not in (was, is_)]
        hidden = [id_ for id_ in other if not (old[id_]["files"].keys() | new[id_]["files"].keys()) & resized.keys()]
        lines += _several(f"with another {part} of the same size", hidden)
    return lines


def _several(what: str, names: Sequence[str], kind: str = "cases") -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
    return [f"{len(names)} {kind if len(names) > 1 else kind[:-1]} {what}: {', '.join(names[:EXAMPLES])}{more}"]


def _bytes(size: int | None) -> str:
    return "not there" if size is None else f"{size:,} bytes"


def _brief(value: Any) -> str:
    text = "none" if value in (None, "") else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) < 160 else f"{text[:157]}…"


def _plan_changes(path: Path, task: Task) -> list[str]:
    """How the plan that this command comes to differs from a folder's."""
    now = json.loads(json.dumps(task.plan))
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(name, before.get(name), now[name]) for name in now if name != "why" and before.get(name) != now[name]]
    except (OSError, ValueError, AttributeError):
        return ["cases would be prepared otherwise; the file is missing or damaged, so it is not known in what"]
    lines = []
    for name, was, is_ in pairs:
        if name == "scaling" and isinstance(was, list) and len(was) == len(is_) == len(task.dataset.channels):
            scalings = zip(task.dataset.channels, was, is_, strict=True)
            lines += [
                f"scaling of {channel} was {_entries(old)}, here {_entries(new)}" for channel, old, new in scalings if old != new
            ]
        else:
            lines.append(f"{name} was {_brief(was)}, here {_brief(is_)}")
    return lines or ["cases would be prepared otherwise"]


def _entries(scaling: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else str(value) for name, value in scaling.items() if value is not None
    )
