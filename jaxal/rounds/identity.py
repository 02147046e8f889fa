"""What makes a run what it is: the settings that decide its results and nothing else, in `config.json`.

Folders of older versions stay as they are. A setting that they do not name had the default of the version that wrote them, so a new
option never locks an old folder.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from jaxal.errors import UserError
from jaxal.numbers import NUMBERS, NUMBERS_BEFORE_THEY_WERE_RECORDED
from jaxal.task_kind import TaskKind

FORMAT = 2  # of config.json; 1 is that of versions before 0.2, which does not name its format

# What the absence of a setting means: what the versions did that had no such setting.
_ABSENT: Mapping[str, Any] = {
    "data": {"simulation": {"generator": 1, "thin_mm": 1.2, "structure": "left_caudate"}},
    "members": {"networks": 1, "flips": []},
    "training": {
        "dice": True,
        "flips": [],
        "decay_per_epoch": None,
        "average_decay": None,
        "weighting": {"method": "erm", "by": "sampling", "dro": None},
    },
}
# Format 1 names the options of all strategies. Those that were given to none are their strategies' own affair now.
_STRATEGIES_OWN: Mapping[str, Any] = {
    "step": "sgd",
    "method": "exact",
    "renormalise": False,
    "gamma": 1.0,
    "power_beta": 1.0,
    "joint_samples": 2000,
    "weight_source": "labelled",
}


def config_hash(settings: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of some settings."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()[:8]


def decisive(kind: TaskKind, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a study as `config.json` holds them.

    Args:
      kind: of task; what decides nothing there is left out.
      sections: `data`, `sizes`, `members`, `network`, `training`, `statistics`, and `strategy` with options that were given to all.
    """
    return {"format": FORMAT, "numbers": NUMBERS, "task": kind.name, **_without_undecided(kind, sections)}


def numbers_of(stored: Any) -> int:
    """The generation of the numbers in a folder with these settings (`docs/numbers.md`)."""
    recorded = stored.get("numbers") if isinstance(stored, Mapping) else None
    return recorded if isinstance(recorded, int) else NUMBERS_BEFORE_THEY_WERE_RECORDED


def differences(stored: Any, asked: Mapping[str, Any], kind: TaskKind) -> list[str]:
    """Lines that name each setting in which a folder differs from what is asked for; its numbers' generation is no setting.

    Raises:
      UserError: a newer version wrote the folder's settings, or they are none.
    """
    if not isinstance(stored, dict) or not isinstance(stored.get("format", 1), int):
        raise UserError("These are not the settings of a study. Restore the file, choose another --out or use --fresh.")
    if stored.get("format", 1) > FORMAT:
        raise UserError(
            f"A newer version of jaxal wrote these settings (they have format {stored['format']}, this version knows {FORMAT}). "
            "Update jaxal, or choose another --out."
        )
    try:
        upgraded = _upgraded(stored, asked, kind)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"These are not the settings of a study ({error!r}). Restore the file, choose another --out or use --fresh."
        ) from error
    return _describe(upgraded, asked, "")


def _upgraded(stored: Mapping[str, Any], asked: Mapping[str, Any], kind: TaskKind) -> dict[str, Any]:
    """Stored settings as this version would have written them."""
    settings = json.loads(json.dumps(stored))
    if settings.get("format", 1) == 1:
        settings = _of_format_1(settings, asked, kind)
    settings["numbers"] = asked["numbers"]
    return _filled(settings, _ABSENT, asked)


def _of_format_1(settings: dict[str, Any], asked: Mapping[str, Any], kind: TaskKind) -> dict[str, Any]:
    sizes, training = settings["sizes"], settings["training"]
    rate = training["warm_rate"] if training["start"] == "warm" else training["peak_rate"]
    if "members" in sizes:  # version 0.1
        settings["members"] = {"dropout": sizes.pop("members")}
        sizes["batch_size"] = max(1, sizes["batch_size"] // 2)  # it counted the cases on both cores, now those on each
        settings["strategy"] = {"step_rate": training["peak_rate"]}
        settings["statistics"] = dict(asked.get("statistics", {}))  # derived from the voxel size, then as now
    defaults = {"step_rate": rate, **_STRATEGIES_OWN}
    given = {name: value for name, value in settings.get("strategy", {}).items() if defaults.get(name, ...) != value}
    return {"format": FORMAT, "task": asked["task"], **_without_undecided(kind, {**settings, "strategy": given})}


def _without_undecided(kind: TaskKind, sections: Mapping[str, Any]) -> dict[str, Any]:
    return {
        section: {name: value for name, value in values.items() if f"{section}.{name}" not in kind.undecided}
        if isinstance(values, Mapping)
        else values
        for section, values in sections.items()
        if section not in kind.undecided
    }


def _filled(settings: Any, absent: Mapping[str, Any], asked: Any) -> Any:
    """Settings with what their absence means, as far as it is asked for now."""
    if not isinstance(settings, dict) or not isinstance(asked, Mapping):
        return settings
    for name, meaning in absent.items():
        if name in asked:
            before = settings.get(name, {} if isinstance(meaning, Mapping) else meaning)
            settings[name] = _filled(before, meaning, asked[name]) if isinstance(meaning, Mapping) else before
    return settings


def _describe(stored: Mapping[str, Any], asked: Mapping[str, Any], prefix: str) -> list[str]:
    lines = []
    for name in sorted(stored.keys() | asked.keys()):
        before, now = stored.get(name), asked.get(name)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            lines += _describe(before, now, f"{prefix}{name}.")
        elif json.dumps(before) != json.dumps(now):
            has, asks = (
                (f"has {before}" if name in stored else "does not set it"),
                (f"asks for {now}" if name in asked else "does not"),
            )
            lines.append(f"{prefix}{name}: the folder {has}, this command {asks}")
    return lines
