"""Networks as functions over params. `adapters` is found when it is first used, whatever else of this room is imported before."""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "adapters":
        return importlib.import_module("jaxal.networks.adapters")
    raise AttributeError(f"module 'jaxal.networks' has no attribute {name!r}")
