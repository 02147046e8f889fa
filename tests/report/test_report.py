import csv

import pytest
from rich.console import Console

from jaxal.report import curves
from jaxal.report import terminal as report
from jaxal.rounds.ledger import Ledger
from jaxal.tasks.segmentation import SEGMENTATION


def record(round_, labelled, a, b):
    return {
        "round": round_,
        "labelled": labelled,
        "queried": ["x"],
        "queried_by_group": {"B": 1},
        "dice": {"overall": (a + b) / 2, "by_group": {"A": a, "B": b}},
        "disparity": abs(a - b),
        "essp": 0.5,
        "nll": 0.1,
        "ece": 0.02,
        "seconds": {"train": 1.0, "score": 0.5, "select": 0.01, "evaluate": 0.2},
    }


@pytest.fixture
def folder(tmp_path):
    for strategy, seeds in (("random", (0, 1)), ("aeig", (0,))):
        for seed in seeds:
            ledger = Ledger(tmp_path / "strong-imbalanced" / strategy / f"seed-{seed}" / "rounds.jsonl")
            for round_ in range(3):
                ledger.append(record(round_, 8 + 4 * round_, 0.8 + 0.02 * round_, 0.6 + 0.05 * round_ + 0.01 * seed))
    return tmp_path


def test_the_summary_has_a_line_for_every_run_and_round(folder):
    rows = list(csv.DictReader(report.write_summary(folder).read_text().splitlines()))
    assert len(rows) == 9
    assert rows[0]["strategy"] == "aeig"
    assert rows[0]["setting"] == "strong-imbalanced"
    assert float(rows[2]["dice_B"]) == pytest.approx(0.7)
    assert float(rows[2]["seconds_train"]) == 1.0
    assert {row["seed"] for row in rows if row["strategy"] == "random"} == {"0", "1"}


def test_the_plot_is_a_png_of_its_own_setting(folder):
    path = curves.plot_learning_curves(folder, "strong-imbalanced")
    assert path == folder / "strong-imbalanced" / "learning_curves.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
    assert [entry.name for entry in path.parent.iterdir() if entry.name.startswith(".")] == []


def test_a_study_that_was_stopped_after_the_line_to_reach_has_no_curves_yet(tmp_path):
    ledger = Ledger(tmp_path / "strong-imbalanced" / "full" / "seed-0" / "rounds.jsonl")
    ledger.append(record(0, 24, 0.9, 0.8))
    assert curves.plot_learning_curves(tmp_path, "strong-imbalanced") is None


def test_a_row_shows_every_group(capsys):
    display = report.Display(Console(width=200, force_terminal=False, highlight=False, soft_wrap=True))
    display.table_header(SEGMENTATION.assessment, ("A", "B", "C"))
    display.table_row(record(0, 8, 0.9, 0.6), SEGMENTATION.assessment, ("A", "B", "C"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].split()[:7] == ["round", "labelled", "Dice", "Dice", "A", "Dice", "B"]
    cells = lines[-1].split()
    assert cells[:7] == ["0", "8", "0.750", "0.900", "0.600", "–", "0.300"]
    assert cells[-1] == "B:1"
    assert max(map(len, lines[-2:])) <= 84


def test_without_groups_nothing_is_said_of_fairness(capsys):
    display = report.Display(Console(width=200, force_terminal=False, highlight=False, soft_wrap=True))
    display.table_header(SEGMENTATION.assessment, ("",))
    display.table_row(record(0, 8, 0.9, 0.6), SEGMENTATION.assessment, ("",))
    header, row = capsys.readouterr().out.splitlines()[-2:]
    assert header.split()[:5] == ["round", "labelled", "Dice", "train", "s"]
    assert row.split()[:3] == ["0", "8", "0.750"]
