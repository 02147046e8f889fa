"""How a study asked and what its networks were made of, as far as it is not the plain way: a sentence each, from its configuration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def sentences(folder: Path) -> str:
    """What `config.json` of a results folder says of parts, budgets, calibration and pseudo-labels; empty where all is plain or there is no such file.

    Args:
      folder: of a study.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # ledgers may have come alone, and what is damaged is told of when the study goes on
        return ""
    told = [_asked(config["unit"], config.get("sizes", {})) if "unit" in config else ""]
    if config.get("calibration", {}).get("method") == "temperature":
        told.append("Logits are divided by the temperature that suits the evaluation set; the ledgers hold it for each round.")
    sure = config.get("pseudo_labels", {})
    if sure.get("train"):
        told.append(
            f"Networks train, too, on what the round before was sure of besides labels: entropy below {sure['below']:g} of its maximum, "
            f"{sure['decay']:g} less each round."
        )
    return " ".join(filter(None, told))


def _asked(unit: Mapping[str, Any], sizes: Mapping[str, Any]) -> str:
    """What is asked for at once, how much of it, and where it may lie."""
    length = " x ".join("all" if part == 0 else str(part) for part in unit["size"])
    budget = f"up to {unit['query_elements']} elements" if unit.get("query_elements") else f"{sizes.get('query_size')} of them"
    where = "any position" if unit["stride"] == 1 else f"every {unit['stride']} elements"
    overlap = "may overlap" if unit["overlap"] else "never overlap"
    return f"Asked for at once: a {unit['name']} of {length} elements; {budget} a query, at {where}. They {overlap}."
