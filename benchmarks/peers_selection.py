"""The contestants of `benchmarks.selection`, in a process of their own, which needs apricot-select and scikit-activeml.

Reads one JSON request a line, `{"call": name, ...}`, and answers with one JSON line; knows nothing of jaxal.
"""

import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np


def facility_location(points: np.ndarray, budget: int) -> list[int]:
    """By apricot, whose greedy is lazy and compiled, from similarities that are made once."""
    from apricot import FacilityLocationSelection

    alike = (1 + points @ points.T) / 2
    return FacilityLocationSelection(budget, metric="precomputed", optimizer="lazy").fit(alike).ranking.tolist()


def herding(points: np.ndarray, budget: int) -> list[int]:
    """By scikit-activeml."""
    from skactiveml.pool import MaxHerding

    labels = np.full(len(points), np.nan)
    return MaxHerding(metric_dict={"gamma": 1.0}, random_state=0).query(points, labels, batch_size=budget).tolist()


def bait_of_best_class(features: np.ndarray, best: np.ndarray, budget: int, steps: int) -> list[int]:
    """The published loop of BAIT with the binary information: what a choice would leave is computed anew for all images in each step.

    Args:
      features: of the pool, a one behind them.
      best: the largest probability of each.
      budget: images to choose.
      steps: of the loop that are run, of twice the budget forwards and as many as the budget backwards.
    """
    weight = best * (1 - best)
    everything = (features.T * weight) @ features
    inverse = np.linalg.inv(np.eye(features.shape[1]))
    chosen: list[int] = []
    for _ in range(min(steps, 2 * budget)):
        moved = features @ inverse
        q, t = (moved * features).sum(-1), ((moved @ everything) * moved).sum(-1)
        gains = weight * t / (1 + weight * q)
        gains[chosen] = -np.inf
        chosen.append(int(gains.argmax()))
        a = inverse @ features[chosen[-1]]
        w = weight[chosen[-1]]
        inverse -= w / (1 + w * q[chosen[-1]]) * np.outer(a, a)
    return chosen


CALLS: dict[str, Callable[..., Any]] = {
    "facility_location": facility_location,
    "herding": herding,
    "bait_of_best_class": bait_of_best_class,
}


def main() -> None:
    warnings.filterwarnings("ignore")
    for line in sys.stdin:
        request = json.loads(line)
        arguments = {
            name: np.load(value) if isinstance(value, str) else value for name, value in request.items() if name != "call"
        }
        try:
            start = time.perf_counter()
            result = CALLS[request["call"]](**arguments)
            answer = {"seconds": time.perf_counter() - start, "result": result}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
