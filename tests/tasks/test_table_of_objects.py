"""The table of single objects, by hand."""

import csv

import numpy as np

from jaxal.tasks.objects import CaseObjects, write_objects


def test_a_row_a_case_and_means_a_part(tmp_path):
    true = np.zeros((8, 12), int)
    true[1:4, 1:4], true[1:4, 7:11] = 1, 5
    predicted = np.where(true == 1, 2, 0)  # one of two was found, exactly
    cases = [
        CaseObjects("a", "test", predicted, true),
        CaseObjects("b", "test", true, true),
        CaseObjects("c", "pool", 0 * true, 0 * true),
    ]
    lines = write_objects(tmp_path / "objects.csv", iter(cases), (1.0, 1.0), "px")
    rows = {row["case"]: row for row in csv.DictReader((tmp_path / "objects.csv").read_text().splitlines())}
    assert [rows["a"][name] for name in ("found", "false", "missed")] == ["1", "0", "1"]
    assert float(rows["a"]["object_f1"]) == round(2 / 3, 6)
    assert float(rows["a"]["object_dice"]) == round(
        (1 + 9 / 21) / 2, 6
    )  # of true objects 9 of 21 pixels have 1, of predicted ones all
    assert float(rows["a"]["hausdorff95_px"]) > 3 and float(rows["b"]["hausdorff95_px"]) == 0
    assert rows["c"]["object_dice"] == rows["c"]["mean_distance_px"] == ""  # neither has any
    assert lines[0] == f"  test       object Dice {(1 + (1 + 9 / 21) / 2) / 2:.3f}, object F1 {(1 + 2 / 3) / 2:.3f} over 2 cases"
    assert len(lines) == 2
