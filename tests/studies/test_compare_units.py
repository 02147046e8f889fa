"""What parts save against whole cases, read off ledgers."""

import json
import shutil

import pytest
from ledgers import write_study

from experiments import compare_units
from jaxal.cli import command

RENDERED = True  # its chart is looked at
LEVELS = (0.5, 0.6, 0.8, 0.9)  # of each round
SHARES = {"whole": (10, 20, 30, 40), "parts": (10, 12, 14, 16)}  # per cent of all elements


def rewrite(folder, unit, levels=LEVELS):
    """Gives every line the level of its round, a little better in each later seed, and calibration that goes with it."""
    for path in folder.glob("*/*/seed-*/rounds.jsonl"):
        lines = []
        for line in path.read_text().splitlines():
            line, seed = json.loads(line), int(path.parent.name.removeprefix("seed-"))
            line["dice"]["overall"] = 1.0 if path.parts[-3] == "full" else levels[line["round"]] + 0.01 * seed
            more = {"nll": 1 - line["dice"]["overall"], "ece": 0.1 * (1 + seed), "brier": 0.2 if unit == "whole" else 0.1}
            if unit == "parts":
                line["queried"] = [f"{name}@0,0+1,1" for name in line["queried"]]
            lines.append(line | more | {"labelled_elements": 10 * SHARES[unit][line["round"]], "pool_elements": 1000})
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folders(tmp_path):
    made = []
    for unit in ("whole", "parts"):
        made.append(write_study(tmp_path / unit, ("entropy",), seeds=3, pictures=False, full=1.0, rounds=4))
        rewrite(made[-1], unit)
    return [str(folder) for folder in made]


def told(capsys, *given):
    status = compare_units.main(command.parse(compare_units.Arguments, "experiments.compare_units", list(given)))
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def test_what_each_unit_needed_and_how_parts_compare(folders, tmp_path, capsys):
    status, text = told(capsys, *folders, "--levels", "0.7", "0.95", "--plot", str(tmp_path / "curves.png"))
    assert status == 0 and (tmp_path / "curves.png").stat().st_size > 5000
    rows = {
        tuple(cells[:2]): cells[2:]
        for cells in ([cell.strip() for cell in line.strip("| \n").split("|")] for line in text.splitlines())
    }
    assert rows["strategy", "unit"] == ["Dice 0.70", "Dice 0.95", "80 % of all", "90 % of all", "95 % of all"]
    # 0.7 lies halfway between the second and the third round of seed 0, and a hundredth better means a twentieth of a round sooner.
    assert rows["`entropy`", "whole"][0] == "24.5 ± 0.5" and rows["`entropy`", "parts"][0] == "12.9 ± 0.1"
    assert rows["`entropy`", "parts / whole"][0].startswith(
        "0.53 [0.51, 0.54]"
    )  # 0.520, 0.527 and 0.533: within 4.303 standard errors
    assert rows["`entropy`", "whole"][1] == "–, not in 3 of 3" and rows["`entropy`", "parts / whole"][1] == "–"
    # Whole cases and parts cross one level with one NLL here, and the Brier score was made another.
    crossed = (
        next(line for line in text.splitlines() if "Dice 0.70 | whole" in line),
        next(line for line in text.splitlines() if "Dice 0.70 | parts" in line),
    )
    assert "0.3000 ± 0.0000 | 0.2000 ± 0.1000 | 0.2000" in crossed[0] and "| 0.1000 ± 0.0000 | 3 |" in crossed[1]


def test_levels_that_some_seeds_had_from_the_start_or_never_reach(folders, capsys):
    _, text = told(capsys, *folders, "--levels", "0.515", "0.91")
    line = next(line for line in text.splitlines() if "| whole |" in line)
    assert "10.7 ± 0.8, 1 from the start" in line  # 11.5, 10.5 and, from the start, 10
    assert ", not in 1 of 3" in line  # seed 0 ends at 0.90
    ratios = next(line for line in text.splitlines() if "parts / whole" in line)
    assert "(2 of 3 seeds)" in ratios.split("|")[3] and "(2 of 3 seeds)" in ratios.split("|")[4]


def test_a_study_that_is_not_done_and_several_settings(folders, tmp_path, capsys):
    for folder in folders:
        path = next((tmp_path / folder.split("/")[-1]).glob("*/entropy/seed-2/rounds.jsonl"))
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
        shutil.copytree(path.parents[2], path.parents[3] / "weak")
    for path in tmp_path.glob("parts/*/full"):
        shutil.rmtree(path)
    status, text = told(capsys, *folders, "--plot", str(tmp_path / "curves.png"))
    assert status == 0 and "## weak" in text and (tmp_path / "curves-weak.png").is_file()
    assert "95 % of all" in text
    for path in tmp_path.glob("whole/*/full"):
        shutil.rmtree(path)
    assert "No shares of training on everything" in told(capsys, *folders)[1]


def test_folders_that_do_not_go_together_are_refused(folders, tmp_path, capsys):
    for given, message in (
        ([folders[0], str(tmp_path / "nothing")], "nothing: holds no runs"),
        (folders[::-1], "parts: asked for parts of cases"),
        ([folders[0], folders[0]], "whole: asked for whole cases"),
        ([*folders, "--levels"], "--levels names none"),
    ):
        status, text = told(capsys, *given)
        assert status == 2 and message in " ".join(text.split()), text
    other = write_study(tmp_path / "other", ("random",), seeds=1, pictures=False)
    status, text = told(capsys, str(other), folders[1])
    assert status == 2 and "the ledger counts no elements" in text
    rewrite(other, "whole")
    status, text = told(capsys, str(other), folders[1])
    assert status == 2 and "have no strategy and seed in common" in " ".join(text.split())
