"""What a learning curve comes to."""

import numpy as np

GOAL = 0.95  # of the main measure that training on everything reaches


def area_under(labelled: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean height of a learning curve, `[..., rounds] -> [...]`: its area by trapezoids over the labels that it spans."""
    if len(labelled) == 1:
        return values[..., 0]
    return np.trapezoid(values, labelled, axis=-1) / (labelled[-1] - labelled[0])


def labels_needed(labelled: np.ndarray, values: np.ndarray, goal: float | np.ndarray) -> np.ndarray:
    """Labels at which a curve first reaches a goal, `[..., rounds]` and `[...]` to `[...]`; infinity where it does not."""
    reached = values >= np.asarray(goal)[..., None]
    first = reached.argmax(-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(values, index[..., None], -1)[..., 0] for index in (first, before))
    rise = np.where(high > low, high - low, 1.0)
    share = np.where(first == before, 0.0, (goal - low) / rise)
    needed = labelled[before] + share * (labelled[first] - labelled[before])
    return np.where(reached.any(-1), needed, np.inf)
