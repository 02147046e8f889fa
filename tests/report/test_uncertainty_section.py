"""What the report and the page on methods say of ledgers whose gaps are known."""

import csv
import json

import numpy as np
import pytest
from ledgers import record
from PIL import Image

from jaxal.assessment.filtering import THRESHOLDS
from jaxal.report import methods, page, uncertainty
from jaxal.rounds.ledger import Ledger, read_runs

AXIS = THRESHOLDS[::-1].tolist()


def curve(gap, change, level=0.8, ended=None):
    """A gap that changes evenly down to the lowest threshold; group B is the worse one."""
    gaps = gap + change * (100 - np.array(AXIS)) / 50
    by_group = {"A": [level + gap / 2] * 41, "B": [level + gap / 2 - one for one in gaps.tolist()]}
    numbers = {
        "overall": [level] * 41,
        "gap": gaps.tolist(),
        "gap_low": (gaps - 0.01).tolist(),
        "gap_high": (gaps + 0.01).tolist(),
    }
    numbers["kept"] = np.linspace(1, 0.2, 41).tolist()
    if ended is not None:
        for values in (*by_group.values(), numbers["gap"], numbers["gap_low"], numbers["gap_high"]):
            values[ended:] = [None] * (41 - ended)
    part = {"dice": 0.9, "filtered_true_positives": 0.3, "filtered_true_negatives": 0.1, "score": 0.83333}
    return {
        "title": "Dice of ball",
        "lower_is_better": False,
        "by_threshold": {"axis": AXIS, "by_group": by_group, **numbers},
        "qu_brats": {"overall": part, "by_group": {"A": part, "B": {**part, "score": 0.7}}},
    }


def write(folder, gaps, rounds=1, **more):
    """A run for each method and seed; `gaps` by method, one of each seed: the gap, and how it changes."""
    rng = np.random.default_rng(0)
    for method, of_seeds in gaps.items():
        for seed, (gap, change) in enumerate(of_seeds):
            for number in range(rounds):
                line = record(number, 8 + number, 0.8, rng, []) | {"uncertainty_curves": {"ball": curve(gap, change, **more)}}
                Ledger(folder / "ball" / method / f"seed-{seed}" / "rounds.jsonl").append(line)
    return folder


ERM = [(0.20, 0.05), (0.22, 0.06), (0.21, 0.04), (0.19, 0.05)]
DRO = [(0.10, -0.02), (0.13, -0.03), (0.12, -0.01), (0.08, -0.02)]


def test_rows_are_means_over_seeds_with_paired_differences(tmp_path):
    rows = methods.rows_of("tumour", read_runs(write(tmp_path, {"erm": ERM, "groupdro": DRO})))
    assert [row.method for row in rows] == ["erm", "groupdro"]
    erm, dro = rows
    assert erm.gap.whole.value == pytest.approx(0.205) and np.isnan(erm.against.value)
    differences = np.array([-0.10, -0.09, -0.09, -0.11])
    assert dro.against.value == pytest.approx(differences.mean())
    half = 3.182446 * differences.std(ddof=1) / 2
    assert [dro.against.low, dro.against.high] == pytest.approx([differences.mean() - half, differences.mean() + half], rel=1e-4)
    assert dro.gap.change.value == pytest.approx(-0.02) and erm.gap.change.value == pytest.approx(0.05)
    assert erm.worst == pytest.approx(np.mean([0.8 - gap / 2 for gap, _ in ERM])) and erm.gap.kept == pytest.approx(0.6)


def test_the_page_says_which_method_helps_and_where_errors_are_sure(tmp_path):
    write(tmp_path / "tumour", {"erm": ERM, "groupdro": DRO, "balanced": ERM[::-1]})
    path = methods.write_methods(tmp_path, ["tumour", "lesion"])  # of which one has not been run
    lines = list(csv.DictReader((tmp_path / "methods.tsv").read_text().splitlines(), delimiter="\t"))
    assert [line["method"] for line in lines] == ["erm", "balanced", "groupdro"]
    assert lines[0]["against"] == "" and float(lines[2]["against"]) == pytest.approx(-0.0975)
    with Image.open(tmp_path / "gaps.png") as picture:
        assert picture.size[0] > 300
    text = path.read_text()
    assert "smaller than with erm in 1 of 2 comparisons: tumour, ball: groupdro -0.09" in text
    assert "widens the gap for tumour, ball by erm; tumour, ball by balanced: one group holds errors" in text
    assert "It narrows the gap for tumour, ball by groupdro" in text
    assert "of 5 that were looked at, about 1 would by chance" in text
    assert 'href="tumour/report.html"' in text and "<svg" in text and "lesion" not in text
    few = {"erm": ERM[:2], "groupdro": DRO[:2]}
    assert "Fewer than 3 seeds tell nothing" in methods.sentence(methods.rows_of("t", read_runs(write(tmp_path / "few", few))))
    assert "nothing to compare" in methods.sentence(methods.rows_of("t", read_runs(write(tmp_path / "one", {"erm": ERM}))))


def test_the_section_tells_the_gap_whole_and_halfway(tmp_path):
    runs = read_runs(write(tmp_path, {"entropy": ERM[:1], "random": DRO[:1]}, rounds=2))
    text = uncertainty.section(runs)
    assert "groups are 0.100 apart with random [0.090, 0.110], least of all" in text
    assert "entropy 0.200 to 0.250 (60 % kept); random 0.100 to 0.080 (60 % kept)" in text
    assert "One seed cannot tell whether a gap changes: run the same command with --seeds 3 or more" in text
    assert "Gap between groups after round 0" in text and "QU-BraTS" in text and "0.833" in text
    assert "groups are" not in uncertainty.section(runs, begins_page=True)


def test_curves_that_end_are_drawn_and_told_as_far_as_they_go(tmp_path):
    runs = read_runs(write(tmp_path, {"entropy": ERM[:2]}, ended=10))
    text = uncertainty.section(runs)
    assert "0.210 apart" in text and "a group is empty there in 2 of 2 seeds" in text


def test_a_study_of_training_on_everything_begins_with_what_the_networks_know(tmp_path):
    """And speaks of no label that could be asked for; one with a pool begins as ever."""
    write(tmp_path, {"erm": ERM, "groupdro": DRO})
    assert "What to label next" in page.write_report(tmp_path).read_text()
    for path in tmp_path.rglob("rounds.jsonl"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"pool": 0}) + "\n")
    text = page.write_report(tmp_path).read_text()
    assert "apart with groupdro [0.072, 0.143], least of all" in text.split('class="lead"')[1].split("</p>")[0]
    assert "What to label next" not in text and "know of their errors" in text


def test_ledgers_without_curves_have_no_section(tmp_path):
    rng = np.random.default_rng(0)
    Ledger(tmp_path / "ball" / "entropy" / "seed-0" / "rounds.jsonl").append(record(0, 8, 0.8, rng, []))
    assert uncertainty.section(read_runs(tmp_path)) == ""
    assert "know of their errors" not in page.write_report(tmp_path).read_text()
