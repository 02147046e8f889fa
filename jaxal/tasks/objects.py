"""A table of how well single objects, such as glands, were found and outlined in each case."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.assessment.objects import found_objects, object_dice
from jaxal.assessment.surfaces import distances_between
from jaxal.files import write_text

PARTS_OF_DATA = ("labelled", "pool", "evaluation", "test", "new")  # of the data, in the order in which they are told
COLUMNS = ("object_dice", "object_f1", "found", "false", "missed")
DISTANCES = ("hausdorff95", "mean_distance")


class CaseObjects(NamedTuple):
    """The objects of one case.

    Attributes:
      case, part: its name, and the part of the data that it is in, as `Predicting.cases` has it.
      predicted, true: number of the object at each element, 0 where there is none, `[*shape]`.
    """

    case: str
    part: str
    predicted: np.ndarray
    true: np.ndarray


def write_objects(path: Path, cases: Iterable[CaseObjects], spacing: Sequence[float], unit: str) -> list[str]:
    """Writes a row a case, and returns lines to show, with the means of each part of the data.

    Object Dice and F1 are of single objects, distances of all objects' surface together. What is undefined, because a case neither has objects nor was
    given any, is left empty; a distance to nothing is `inf`.

    Args:
      path: of the table.
      cases: one after the other, so that memory holds one.
      spacing: of the elements.
      unit: that spacing is given in, such as `mm` or `px`; it stands in the names of columns.
    """
    scores: dict[str, list[list[float]]] = {}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "part", *COLUMNS, *(f"{name}_{unit}" for name in DISTANCES)])
    for case in cases:
        row = _scores(case, spacing)
        scores.setdefault(case.part, []).append(row)
        writer.writerow([case.case, case.part, *("" if np.isnan(value) else f"{value:.6g}" for value in row)])
    write_text(path, text.getvalue())
    lines = []
    for part in (part for part in PARTS_OF_DATA if part in scores):
        rows = scores[part]
        dice, f1 = ([row[place] for row in rows if not np.isnan(row[place])] for place in (0, 1))
        if dice:
            lines.append(f"  {part:<10} object Dice {np.mean(dice):.3f}, object F1 {np.mean(f1):.3f} over {len(dice)} cases")
    return [*lines, f"Objects of each case: {path}"]


def _scores(case: CaseObjects, spacing: Sequence[float]) -> list[float]:
    found = found_objects(case.predicted, case.true)
    apart = distances_between(case.predicted > 0, case.true > 0, spacing)
    return [object_dice(case.predicted, case.true), found.f1(), *found, apart.hausdorff95, apart.mean]
