"""Reports of runs that ask for parts: over the share of elements, with what given levels took, calibration, and the foreground asked for."""

import csv
import json
import re

import numpy as np
import pytest
from ledgers import write_study
from rich.console import Console

from jaxal.report import calibration, curves, lead, level_tables, page, results, terminal
from jaxal.report.asked import Asked
from jaxal.report.budget import budget_of
from jaxal.report.comparison import compare_folder, compare_runs
from jaxal.rounds.ledger import RunOnDisk, read_runs
from jaxal.tasks.measures import CASES
from jaxal.tasks.segmentation import SEGMENTATION

SETTING = "strong-imbalanced"
POOL = 1000


def rewrite(folder, change):
    """Changes every line of the ledgers below a folder, given strategy, seed and line."""
    for path in folder.glob("*/*/seed-*/rounds.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        seed = int(path.parent.name.removeprefix("seed-"))
        changed = [change(path.parent.parent.name, seed, line) for line in lines]
        path.write_text("".join(json.dumps(line) + "\n" for line in changed))


def with_elements(strategy, seed, line, parts=True):
    """With labels of 20 % of all elements at first, a little more in the second seed, and 10 % more a round."""
    full = strategy == "full"
    labelled = POOL if full else 200 + 100 * line["round"] + 10 * seed
    foreground = 100 if full else 20 + (30 if strategy == "entropy" else 10) * line["round"]
    if parts:
        line["queried"] = [f"{name}@1,2,{place}+4,4,4" for place, name in enumerate(line["queried"])]
        line["queried_groups"] = dict.fromkeys(line["queried"], "A")
    return line | {
        "labelled_elements": labelled, "pool_elements": POOL, "brier": 0.02, "ece_classwise": 0.03,
        "labelled_elements_by_class": {"background": labelled - foreground, "caudate": foreground},
        "calibration_by_group": {"A": {"nll": 0.1, "ece": 0.01, "brier": 0.1}, "B": {"nll": 0.1, "ece": 0.04, "brier": 0.1}},
        "reliability_by_group": {"A": line["reliability"], "B": line["reliability"]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = write_study(tmp_path_factory.mktemp("parts"), ("random", "entropy"), seeds=3, pictures=False, full=0.88, lead=0.06)
    rewrite(made, with_elements)
    return made


@pytest.fixture(scope="module")
def comparison(folder):
    (found,) = compare_folder(folder)
    return found


@pytest.fixture(scope="module")
def text(folder):
    return page.write_report(folder).read_text()


def test_parts_are_counted_in_elements_and_cases_in_cases(folder, tmp_path):
    runs = read_runs(folder)
    assert [budget_of(runs).spent(entry) for entry in runs[0].rounds] == [20.0, 30.0, 40.0]
    whole = write_study(tmp_path / "whole", ("random",), seeds=1, pictures=False)
    assert budget_of(read_runs(whole)) is CASES  # as in older ledgers, which do not tell elements
    rewrite(whole, lambda strategy, seed, line: with_elements(strategy, seed, line, parts=False))
    whole_runs = read_runs(whole)
    assert budget_of(whole_runs) is CASES
    both = budget_of(whole_runs, [*whole_runs, *runs])
    assert both.title == "labelled voxels, % of all"  # whole cases beside parts stand on their axis
    older = [
        run._replace(rounds=[{name: line[name] for name in line if name != "pool_elements"} for line in run.rounds])
        for run in whole_runs
    ]
    assert budget_of(older, [*older, *runs]) is CASES


def test_settings_of_whole_cases_share_the_axis_of_parts(folder):
    runs = read_runs(folder)
    cases = [
        run._replace(setting="weak", rounds=[line | {"queried": ["case_1", "case_2"]} for line in run.rounds]) for run in runs
    ]
    assert compare_runs("weak", [*runs, *cases]).budget.needed == "labelled_share"
    assert compare_runs("weak", cases).budget is CASES


def test_labels_to_reach_a_goal_are_a_share_of_elements(comparison):
    """Both reach 95 % of 0.83, which groups leave of 0.88; entropy, ahead by 0.06, sooner."""
    for estimates in comparison.table.values():
        assert "labelled_share" in estimates and not {"labels", "share"} & estimates.keys()
    random, entropy = (comparison.table[name]["labelled_share"].value for name in ("random", "entropy"))
    assert 20 < entropy < 42 and not entropy > random


def test_areas_are_over_elements(comparison, folder):
    run = next(run for run in read_runs(folder) if run.strategy == "random" and run.seed == 0)
    levels = [entry["dice"]["overall"] for entry in run.rounds]
    expected = (0.5 * levels[0] + levels[1] + 0.5 * levels[2]) / 2
    assert SEGMENTATION.assessment.curve_of(run.rounds, comparison.budget).measures()["area"] == pytest.approx(expected, abs=1e-4)


def test_seeds_of_one_round_are_one_point_of_a_curve(folder, comparison):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots()
    runs = [run for run in read_runs(folder) if run.strategy == "random"]
    curves.draw_curves(axis, runs, ["random"], lambda entry: entry["dice"]["overall"], comparison.budget)
    (line,) = axis.get_lines()
    plt.close(figure)
    assert line.get_xdata() == pytest.approx([21.0, 31.0, 41.0])
    assert line.get_ydata()[0] == pytest.approx(np.mean([run.rounds[0]["dice"]["overall"] for run in runs]))
    heading = re.search(
        r"<h3>Dice by labelled voxels, % of all</h3>.*?</thead>",
        results.by_round(runs, SEGMENTATION.assessment, comparison.budget),
    )
    assert re.findall(r"<button[^>]*>(.*?)</button>", heading[0])[1:] == [
        f"{x}.0\u00a0% to {x + 2}.0\u00a0%" for x in (20, 30, 40)
    ]


def test_the_first_sentence_counts_elements_and_parts(folder, comparison, text):
    assert re.search(r"With 40.0 to 42.0\u00a0% of all voxels labelled, entropy is ahead of random by", text)
    assert "asks next for 2 parts of case_020 and case_021" in text
    queries = [
        Asked("entropy", 0, 40.0, tuple(f"c{number}@0,0,{place}+1,1,1" for number in range(7) for place in range(1 + number % 2)))
    ]
    runs = [run for run in read_runs(folder) if run.strategy == "entropy" and run.seed == 0]
    alone = compare_runs(SETTING, runs)
    assert lead.sentence(runs, alone, queries).endswith("asks next for 10 parts of c0, c1 (2), c2, c3 (2), c4 and 2 more cases.")


def test_what_levels_took_is_said_seed_by_seed(comparison):
    """Dice of random is 0.65, 0.7 and 0.75 after its rounds, give or take a hundredth."""
    section = level_tables.section(comparison)
    row = dict(
        zip(
            ("0.75", "0.80", "0.85", "80", "90", "95"), re.findall(r"<td[^>]*>(.*?)</td>", section.split("</tr>")[2]), strict=True
        )
    )
    levels = comparison.levels["random"]
    assert [(level.goal, level.share) for level in levels[:3]] == [(0.75, None), (0.80, None), (0.85, None)]
    assert [level.share for level in levels[3:]] == [0.80, 0.90, 0.95]
    assert row["0.80"] == "not reached<small>in none of 3</small>"
    assert row["80"].startswith(f"{levels[3].found.needed.mean:.1f}\u00a0% ±") and levels[3].found.reached == 3
    found = levels[0].found
    assert 0 < found.reached < 3 and row["0.75"].startswith(f"not reached in {3 - found.reached} of 3<small>others ")
    assert "Labelled voxels, % of all, to reach given levels" in section


def test_calibration_is_compared_where_strategies_are_equally_good(comparison):
    section = level_tables.section(comparison)
    heading = re.search(r"<h3>Calibration at (.*?)</h3>", section)[1]
    place = [level_tables.title_of(level, "Dice") for level in comparison.levels["random"]].index(heading)
    row = section.split(f"Calibration at {heading}")[-1].split("<tbody>")[1].split("</tr>")
    for strategy, cells in zip(comparison.levels, row, strict=False):
        at_goal = comparison.levels[strategy][place].found.at_goal
        assert f"{at_goal['nll'].mean:.4f}" in cells and not np.isnan(at_goal["nll"].mean)


def test_the_share_of_foreground_is_that_of_what_was_asked_for(comparison):
    found = comparison.foreground
    assert found["random"].asked == pytest.approx((20 / 200, 0.0)) and found["entropy"].asked == pytest.approx((60 / 200, 0.0))
    assert found["random"].pool == pytest.approx(0.1)
    assert found["random"].efficiency > found["entropy"].efficiency > 0  # the same gain from a third of the foreground
    assert "% foreground asked for" in level_tables.section(comparison)


def test_ledgers_that_do_not_count_classes_say_nothing_of_foreground(folder):
    runs = [
        run._replace(rounds=[{name: line[name] for name in line if name != "labelled_elements_by_class"} for line in run.rounds])
        for run in read_runs(folder)
    ]
    assert compare_runs(SETTING, runs).foreground == {}


def test_the_terminal_counts_elements_in_every_round_of_parts():
    """Where nothing is left to ask for, and in training on everything, too, because the rows stand in one table."""
    line = {"labelled": 13, "queried": [], "labelled_elements": 1000, "pool_elements": POOL}
    assert terminal._labelled(line | {"pseudo_labelled_elements": 0}) == "100.0 %"
    assert terminal._labelled(line | {"queried": ["a@1,2+3,4"], "labelled_elements": 300}) == "30.0 %"  # as older ledgers are
    assert terminal._labelled(line | {"queried": ["a"]}) == "13"


def test_measures_that_some_ledgers_lack_are_left_out(folder):
    runs = read_runs(folder)
    assert "brier" in compare_runs(SETTING, runs).table["random"]
    del next(run for run in runs if run.strategy == "random" and run.seed == 2).rounds[-1]["brier"]
    assert "brier" not in compare_runs(SETTING, runs).table["random"]


def test_levels_go_into_a_table_of_their_own(folder):
    comparisons = compare_folder(folder, levels=(0.7,))
    rows = list(csv.DictReader(terminal.write_levels(folder, comparisons).read_text().splitlines()))
    assert len(rows) == 2 * 4 and {row["counted"] for row in rows} == {"labelled voxels, % of all"}
    first = next(row for row in rows if row["strategy"] == "random" and row["level"] == "0.7")
    found = comparisons[0].levels["random"][0].found
    assert (int(first["seeds"]), int(first["reached"]), int(first["from_start"])) == (3, found.reached, found.from_start)
    assert float(first["labels"]) == pytest.approx(found.needed.mean, rel=1e-4)
    assert float(first["nll"]) == pytest.approx(found.at_goal["nll"].mean, rel=1e-4)


def test_a_row_of_the_terminal_tells_the_share_of_elements(folder, capsys):
    display = terminal.Display(Console(width=200, force_terminal=False, highlight=False, soft_wrap=True))
    line = next(run for run in read_runs(folder) if run.strategy == "random").rounds[1]
    display.table_row(line, SEGMENTATION.assessment, ("A", "B"))
    display.table_row(line | {"queried": ["case_1"]}, SEGMENTATION.assessment, ("A", "B"))
    shares, cases = capsys.readouterr().out.splitlines()
    assert shares.split()[1:3] == ["30.0", "%"] and cases.split()[1] == "12"


# Calibration


def run_with(strategy, sums, seed=0, by_group=None):
    lines = [
        {
            "reliability": dict(zip(calibration.SUMS, sums, strict=True)),
            **({"calibration_by_group": by_group} if by_group else {}),
        }
    ]
    return RunOnDisk(SETTING, strategy, seed, lines)


SURE = [[0, 20, 80], [0, 13, 78], [0, 10, 74]]
UNSURE = [[0, 20, 80], [0, 13, 72], [0, 15, 76]]
MIXED = [[0, 20, 80], [0, 13, 72], [0, 10, 75]]


def test_the_sentence_says_who_is_too_sure_and_where():
    told = calibration.sentence([run_with("bald", SURE)], "voxels")
    assert told == (
        "After the last round bald is overconfident (ECE 0.0700), most in the 80 voxels that it is 67 to 100\u00a0% sure of: 97.5\u00a0% sure in the "
        "mean, and 92.5\u00a0% are right; of the other 20 it is 65.0\u00a0% sure in the mean, and 50.0\u00a0% are right."
    )
    assert "bald is underconfident (ECE 0.0600)" in calibration.sentence([run_with("bald", UNSURE)], "voxels")
    assert "bald is overconfident in places and underconfident in others" in calibration.sentence(
        [run_with("bald", MIXED)], "voxels"
    )
    pooled = calibration.sentence([run_with("bald", SURE), run_with("bald", UNSURE, 1)], "voxels")
    assert "(ECE 0.0050)" in pooled and "the 40 voxels" in pooled


def test_the_group_that_fares_worst_is_named():
    by_group = {"A": {"ece": 0.01}, "B": {"ece": 0.05}}
    told = calibration.sentence([run_with("bald", SURE, by_group=by_group)], "voxels")
    assert told.endswith("; group B fares worst (ECE 0.0500, group A 0.0100).")


def test_of_many_strategies_the_sentence_counts():
    runs = [run_with(name, sums) for name, sums in zip("abcde", (SURE, SURE, UNSURE, MIXED, SURE), strict=True)]
    told = calibration.sentence(runs, "voxels")
    assert told.startswith(
        "After the last round, of 5 strategies 3 are overconfident, 1 is underconfident, 1 is overconfident in places and underconfident in "
        "others. Furthest off is a, which is overconfident (ECE 0.0700), most in"
    )


def test_reliability_is_drawn_of_every_round_and_of_each_group(text):
    titles = re.findall(r"<h4>(Reliability.*?)</h4>", text)
    assert titles == [
        "Reliability after the first round", "Reliability after the last round", "Reliability after the last round, group A",
        "Reliability after the last round, group B", "Reliability after round 1",
    ]  # fmt: skip
    assert "<summary>Reliability in the rounds between (1 chart)</summary>" in text
    assert "After the last round entropy is" in text and "group B fares worst" in text


def test_ledgers_without_sums_have_no_section():
    assert calibration.section([RunOnDisk(SETTING, "random", 0, [{"nll": 0.1}])], "voxels") == ""
