"""Decides which medical scans to label next: active learning in JAX that informs and is fair.

The public names are found when they are first used, so importing this computes nothing and imports neither JAX nor NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxal.api.measures import badge as badge
    from jaxal.api.measures import bald as bald
    from jaxal.api.measures import batch_bald as batch_bald
    from jaxal.api.measures import entropy as entropy
    from jaxal.api.measures import entropy_gradient_norm as entropy_gradient_norm
    from jaxal.api.measures import expected_entropy as expected_entropy
    from jaxal.api.measures import expected_gradient_length as expected_gradient_length
    from jaxal.api.measures import information_gain as information_gain
    from jaxal.api.measures import k_center as k_center
    from jaxal.api.measures import least_confidence as least_confidence
    from jaxal.api.measures import margin as margin
    from jaxal.api.measures import mean_std as mean_std
    from jaxal.api.measures import power_select as power_select
    from jaxal.api.measures import select as select
    from jaxal.api.measures import variance as variance
    from jaxal.api.measures import variation_ratio as variation_ratio
    from jaxal.api.pool import ScoreOptions as ScoreOptions
    from jaxal.api.pool import Scores as Scores
    from jaxal.api.pool import ensemble as ensemble
    from jaxal.api.pool import score as score
    from jaxal.errors import UserError as UserError
    from jaxal.rounds.own_trainer import Loop as Loop
    from jaxal.rounds.own_trainer import commit as commit
    from jaxal.rounds.own_trainer import open_loop as open_loop
    from jaxal.rounds.own_trainer import propose as propose

_PLACES = {
    "jaxal.api.measures": (
        *("badge", "bald", "batch_bald", "entropy", "entropy_gradient_norm", "expected_entropy", "expected_gradient_length"),
        *("information_gain", "k_center", "least_confidence", "margin", "mean_std", "power_select", "select", "variance"),
        "variation_ratio",
    ),
    "jaxal.api.pool": ("ScoreOptions", "Scores", "ensemble", "score"),
    "jaxal.errors": ("UserError",),
    "jaxal.rounds.own_trainer": ("Loop", "commit", "open_loop", "propose"),
}
_PLACE = {name: place for place, names in _PLACES.items() for name in names}
__all__ = sorted([*_PLACE, "networks"])


def __getattr__(name: str) -> Any:
    if name == "networks":
        return importlib.import_module("jaxal.networks")
    if name not in _PLACE:
        raise AttributeError(f"module 'jaxal' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACE[name]), name)


def __dir__() -> list[str]:
    return __all__
