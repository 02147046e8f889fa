"""Who is overlooked and how much of the gap is closed, of ledgers whose answers are known."""

import numpy as np
import pytest
from ledgers import SPREAD, THIN, record, write_rankings

from jaxal.report import closable, overlooked, page
from jaxal.rounds.ledger import FULL, Ledger, read_runs
from jaxal.tasks.overlap import DICE


def test_a_strategy_is_told_to_overlook_or_to_find_the_group_that_fares_worst(tmp_path):
    found = overlooked.overlooked(write_rankings(tmp_path, THIN), DICE)
    assert (found.group, found.part, found.share, found.seeds) == ("B", "test", 0.5, 4)
    assert found.gap == pytest.approx(0.1)
    assert {one.strategy: one.verdict for one in found.standings} == {
        "entropy": "overlooks",
        "random": "",
        "weighted_scaled_entropy": "finds",
    }
    entropy, _, weighted = found.standings
    assert entropy.ahead.value == pytest.approx(0.3) and entropy.ahead.low < 0.3 < entropy.ahead.high < 0.5
    assert entropy.asked == pytest.approx(2 / 3) and entropy.correlation.value == pytest.approx(0.2)
    assert entropy.sizes["B"].value == pytest.approx(1.4) and np.isnan(entropy.weight.value) and np.isnan(entropy.error.value)
    # 1 - Dice: A 0.09 in both rounds; B 0.09 + 0.1 and 0.09 + 0.03.
    assert weighted.weight.value == pytest.approx(1.5)
    assert weighted.error.value == pytest.approx((0.19 / 0.09 + 0.12 / 0.09) / 2, rel=1e-6)


def test_the_words_name_who_is_overlooked_why_and_who_finds_it(tmp_path):
    text = overlooked.sentence(overlooked.overlooked(write_rankings(tmp_path, THIN), DICE))
    assert text == (
        "entropy overlooks group B, which fares worst: a case of it comes before one of another group with a chance of 0.30, where a half would be "
        "even-handed. The networks draw its structures 1.40 times as large as they are, and the scores do not show it. "
        "weighted_scaled_entropy puts it first (0.80)."
    )


def test_a_structure_of_the_right_size_is_no_reason(tmp_path):
    right = {name: (*values[:3], 1.05, values[4]) for name, values in THIN.items()}
    assert "draw its structures" not in overlooked.sentence(overlooked.overlooked(write_rankings(tmp_path, right), DICE))


def test_two_seeds_tell_nothing(tmp_path):
    runs = write_rankings(tmp_path, THIN, seeds=2)
    text = overlooked.sentence(overlooked.overlooked(runs, DICE))
    assert text == "Group B fares worst. Whether a strategy overlooks it is not known: three seeds or more are needed to tell."
    assert "2 seeds cannot tell" in closable.sentence(closable.closable(runs, DICE), "Dice")


def test_groups_that_fare_alike_cannot_be_overlooked(tmp_path):
    runs = write_rankings(tmp_path, {"entropy": (0.3, 0.001, 0.9, 1.0, None)}, rounds=1)
    assert overlooked.sentence(overlooked.overlooked(runs, DICE)).startswith("All groups fare alike (0.001 apart")


def test_without_test_cases_the_evaluation_set_speaks(tmp_path):
    found = overlooked.overlooked(write_rankings(tmp_path, THIN, part="evaluation"), DICE)
    assert found.part == "evaluation" and found.standings[0].verdict == "overlooks"
    assert "Scores of evaluation cases" in overlooked.section(read_runs(tmp_path), DICE)


def test_ledgers_of_older_versions_tell_nothing(tmp_path):
    Ledger(tmp_path / "s" / "entropy" / "seed-0" / "rounds.jsonl").append(record(0, 8, 0.8, np.random.default_rng(0), []))
    assert overlooked.overlooked(read_runs(tmp_path), DICE) is None and overlooked.section(read_runs(tmp_path), DICE) == ""


def test_the_share_of_the_closable_gap_is_a_ratio_of_means(tmp_path):
    found = closable.closable(write_rankings(tmp_path, THIN), DICE)
    by_name = {one.strategy: one for one in found.closed}
    assert [one.strategy for one in found.closed] == ["weighted_scaled_entropy", "random", "entropy"]
    assert (found.labelled, found.seeds, found.floor.value) == (12, (0, 1, 2, 3), pytest.approx(0.02))
    assert found.gap.value == pytest.approx(0.06)
    best = by_name["weighted_scaled_entropy"]
    assert (best.share, best.less) == pytest.approx((0.05 / 0.06, 0.05 / 0.08))
    assert by_name["entropy"].share == 0.0
    assert {group: change.value for group, change in best.by_group.items()} == pytest.approx({"A": -0.01, "B": 0.04})


def uneven(folder, levels):
    """As `THIN`, with gaps of entropy and Dice of A under the best strategy by seed."""
    runs = write_rankings(folder, THIN)
    for run in runs:
        last = run.rounds[-1]
        if run.strategy == "entropy":
            last["disparity"] += 0.01 * (run.seed - 1.5)
        if run.strategy == "weighted_scaled_entropy":
            change = levels[run.seed]
            last["dice"]["by_group"] = {"A": 0.92 + change, "B": 0.92 - 0.08 + 0.2 * -SPREAD[run.seed] + 0.04 + 0.001 * run.seed}
    return runs


@pytest.mark.parametrize(
    ("levels", "verdict"),
    [
        ([-0.01, -0.012, -0.011, -0.01], "Part of it is levelling down: Dice of group A −0.011 ["),
        ([0.01, -0.012, 0.011, -0.01], "Nobody loses beyond doubt"),
    ],
)
def test_the_words_say_at_whose_cost(tmp_path, levels, verdict):
    text = closable.sentence(closable.closable(uneven(tmp_path, levels), DICE), "Dice")
    assert text.startswith(
        "entropy leaves a gap of 0.080 between groups, training on the whole pool 0.020, so labels could close 0.060 ["
    )
    assert "weighted_scaled_entropy closes 83 % of that (63 % less disparity than entropy, a difference of −0.050 [" in text
    assert verdict in text


def test_shares_are_ratios_of_means_and_no_means_of_ratios(tmp_path):
    """Entropy's gaps are 0.065 to 0.095 with a mean of 0.08, as `THIN` has it; the mean of the seeds' ratios would be 0.827."""
    found = closable.closable(uneven(tmp_path, [0.0] * 4), DICE)
    assert found.closed[0].share == pytest.approx(0.05 / 0.06) and found.closed[0].less == pytest.approx(0.05 / 0.08)


def test_nothing_is_closed_of_a_gap_that_cannot_be_told_from_none(tmp_path):
    runs = write_rankings(tmp_path, THIN, floor=0.08)
    for run in runs:
        run.rounds[-1]["disparity"] += 0.01 * (run.seed - 1.5) * (run.strategy == "entropy")
    found = closable.closable(runs, DICE)
    assert all(np.isnan(one.share) for one in found.closed) and found.gap.low < 0 < found.gap.high
    assert "no strategy can be said to close it" in closable.sentence(found, "Dice")


def test_a_run_that_is_behind_leaves_its_seed_out_and_no_round_of_the_others(tmp_path):
    """Of an unfinished study the strategies are compared after the rounds that most seeds of all of them have."""
    runs = write_rankings(tmp_path, THIN)
    begun = [run._replace(rounds=run.rounds[:1]) if (run.strategy, run.seed) == ("random", 3) else run for run in runs]
    found = closable.closable([run for run in begun if (run.strategy, run.seed) != ("entropy", 3)], DICE)
    assert (found.labelled, found.seeds) == (12, (0, 1, 2))


def test_a_strategy_whose_sizes_are_unknown_is_drawn_without_them(tmp_path):
    runs = write_rankings(tmp_path, THIN)
    for run in runs:
        for line in run.rounds:
            if run.strategy == "random":
                del line["ranking"]["test"]["volume_ratio"]
    assert "predicted over true size" in overlooked.section(runs, DICE)


@pytest.mark.parametrize("missing", ["entropy", FULL])
def test_without_entropy_or_the_whole_pool_there_is_no_closable_gap(tmp_path, missing):
    runs = [run for run in write_rankings(tmp_path, THIN) if run.strategy != missing]
    assert closable.closable(runs, DICE) is None and closable.section(runs, DICE) == ""


def test_the_page_warns_first_and_shows_both_sections(tmp_path):
    write_rankings(tmp_path, THIN)
    text = page.write_report(tmp_path).read_text()
    lead = text[text.index('class="lead"') : text.index("</p>", text.index('class="lead"'))]
    assert "entropy overlooks group B" in lead
    assert text.index("How much of the closable gap is closed?") < text.index("Whom does a strategy overlook, and why?")
    for shown in (
        "overlooks B",
        "finds B",
        "cannot be told",
        "Left of the line group B is overlooked",
        "predicted over true size",
    ):
        assert shown in text
