"""The sentence that the report begins with says what the ledgers show, and no more."""

import json

import pytest
from ledgers import MANY_GROUPS, record, write_study

from jaxal.report import asked, lead, page
from jaxal.report.comparison import Comparison, Estimate, compare_runs
from jaxal.rounds.ledger import Ledger, RunOnDisk, read_runs
from jaxal.tasks.segmentation import SEGMENTATION

NAN = float("nan")
SETTING = "strong-imbalanced"


def line(labelled=16, queried=("u1", "u2"), overall=0.7, round_=0, groups=(0.75, 0.65)):
    by_group = dict(zip(("A", "B"), groups, strict=False))
    return {"round": round_, "labelled": labelled, "queried": list(queried), "test": dict.fromkeys("abc"), "dice": {"overall": overall, "by_group": by_group}}  # fmt: skip


def runs(strategies, seeds=3, rounds=2, **more):
    lines = [line(8 + 8 * number, round_=number, **more) for number in range(rounds)]
    return [RunOnDisk(SETTING, strategy, seed, lines) for strategy in strategies for seed in range(seeds)]


def comparison(values, differences, seeds=3):
    """Of Dice alone, by strategy; differences from a base by strategy are estimates."""
    table = {name: {"dice": Estimate(value, NAN, NAN)} for name, value in values.items()}
    changes = {base: {name: {"dice": change} for name, change in rows.items()} for base, rows in differences.items()}
    return Comparison(SETTING, tuple(range(seeds)), (), None, table, changes, SEGMENTATION.assessment)


def told(values, differences, seeds=3, rounds=2, unfinished=False, **more):
    of_setting = runs(values, seeds, rounds, **more)
    queries = [
        asked.Asked(run.strategy, run.seed, run.rounds[-1]["labelled"], tuple(run.rounds[-1]["queried"])) for run in of_setting
    ]
    return lead.sentence(of_setting, comparison(values, differences, seeds), queries, unfinished)


def test_the_best_is_measured_against_random_and_its_query_is_named():
    sentence = told(
        {"aeig": 0.8, "entropy": 0.78, "random": 0.75},
        {"entropy": {}, "random": {"aeig": Estimate(0.05, 0.01, 0.09), "entropy": Estimate(0.03, -0.01, 0.07)}},
    )
    assert sentence == (
        "After 16 labelled cases, aeig is ahead of random by 0.0500 in Dice (0.800 against 0.750; next is entropy with 0.780), a difference "
        "that can be told from zero (95 % interval 0.0100 to 0.0900 over 3 seeds, not corrected for choosing the best of 3); aeig, seed 0, "
        "asks next for u1 and u2."
    )


def test_an_interval_with_zero_inside_tells_nothing():
    sentence = told({"aeig": 0.8, "random": 0.75}, {"random": {"aeig": Estimate(0.05, -0.01, 0.11)}})
    assert "a difference that cannot be told from zero (95 % interval −0.0100 to 0.1100 over 3 seeds)" in sentence
    assert "not corrected" not in sentence


def test_where_random_is_best_the_difference_is_turned_round():
    sentence = told({"aeig": 0.75, "random": 0.8}, {"random": {"aeig": Estimate(-0.05, -0.09, -0.01)}})
    assert "random is ahead of aeig by 0.0500 in Dice (0.800 against 0.750), a difference that can be told" in sentence
    assert "(95 % interval 0.0100 to 0.0900 over 3 seeds)" in sentence


def test_without_random_entropy_is_the_base_and_without_both_there_is_no_interval():
    change = {"entropy": {"aeig": Estimate(0.05, 0.01, 0.09)}}
    assert "aeig is ahead of entropy by 0.0500" in told({"aeig": 0.8, "entropy": 0.75}, change)
    sentence = told({"aeig": 0.8, "badge": 0.75}, {})
    assert "aeig is ahead of badge by 0.0500" in sentence
    assert "no interval is known, because neither random nor entropy ran" in sentence


@pytest.mark.parametrize(("seeds", "few"), [(1, "1 seed is too few"), (2, "2 seeds are too few")])
def test_few_seeds_tell_nothing_whatever_their_interval(seeds, few):
    sentence = told({"aeig": 0.8, "random": 0.75}, {"random": {"aeig": Estimate(0.05, 0.01, 0.09)}}, seeds)
    assert f"a difference that cannot be told from zero, because {few}" in sentence
    assert "interval" not in sentence


def test_a_missing_interval_tells_nothing():
    sentence = told({"aeig": 0.8, "random": 0.75}, {"random": {"aeig": Estimate(0.05, NAN, NAN)}})
    assert "cannot be told from zero, because no interval of the difference is known" in sentence


def test_strategies_that_are_level_are_not_ranked():
    equal = {"random": {"aeig": Estimate(0.0, 0.0, 0.0)}}
    sentence = told({"aeig": 0.7, "random": 0.7}, equal, rounds=1)
    assert "no strategy is ahead: all 2 have Dice 0.700, since they share the first network" in sentence
    assert sentence.endswith("what each asks for next is listed below.")
    assert "first network" not in told({"aeig": 0.7, "random": 0.7}, equal)
    sentence = told({"aeig": 0.7, "entropy": 0.6, "random": 0.7}, {"random": {"aeig": Estimate(0.0, 0.0, 0.0)}})
    assert "aeig and random are level at Dice 0.700" in sentence


def test_what_is_not_finished_is_said_so():
    change = {"random": {"aeig": Estimate(0.05, 0.01, 0.09)}}
    assert told({"aeig": 0.8, "random": 0.7}, change, unfinished=True).startswith("So far, after 16 labelled cases, ")
    values = {"aeig": 0.8, "random": 0.7}
    of_setting = [*runs(values), *runs(["badge"], 1, rounds=1)]  # which is left out for having a round less
    queries = [asked.Asked(name, 0, 16, ("u1",)) for name in values]
    assert lead.sentence(of_setting, comparison(values, change), queries).startswith("So far, after 16 labelled cases, aeig")


def test_a_single_run_tells_its_result_its_worst_group_and_its_query():
    units = tuple(f"u{number}" for number in range(8))
    sentence = told({"aeig": 0.7}, {}, seeds=1, queried=units)
    assert sentence == (
        "After 16 labelled cases, aeig reaches Dice 0.700 on 3 test cases, but 0.650 for group B, which it serves worst; aeig asks next for "
        "u0, u1, u2, u3, u4 and 3 more."
    )
    assert "aeig reaches Dice 0.700 on 3 test cases in the mean over 3 seeds; aeig, seed 0, asks" in told(
        {"aeig": 0.7}, {}, groups=(0.7,)
    )


def test_an_exhausted_pool_asks_for_nothing():
    assert told({"aeig": 0.7}, {}, seeds=1, queried=()).endswith(
        "; the pool of aeig is exhausted, so there is nothing left to label."
    )


def test_a_query_of_a_later_round_than_the_comparison_says_when_it_was_made():
    values = {"aeig": 0.8, "random": 0.7}
    queries = [asked.Asked("aeig", 0, 24, ("u9",)), asked.Asked("random", 0, 16, ("u1",))]
    compared = comparison(values, {"random": {"aeig": Estimate(0.1, NAN, NAN)}}, 1)
    sentence = lead.sentence(runs(values, 1), compared, queries)
    assert sentence.endswith("aeig asks next for u9 (chosen after 24 labelled cases).")


def test_training_on_everything_alone_and_ledgers_without_cases_claim_nothing():
    sentence = lead.sentence(runs(["full"], 1, 1), comparison({}, {}), [])
    assert sentence == "No strategy has finished a round yet; training on everything reaches Dice 0.700."
    sentence = lead.sentence(runs(["a", "b"], 1), comparison({}, {}), [])
    assert "none can be called ahead" in sentence


def test_a_small_difference_shows_that_it_is_none_of_zero():
    assert [lead._short(value) for value in (0.0, 0.05, -0.0123, 0.00004321)] == ["0.0000", "0.0500", "−0.0123", "0.000043"]


def test_a_waiting_query_comes_before_that_of_the_last_line(tmp_path, rng):
    run = tmp_path / SETTING / "aeig" / "seed-0"
    for number in range(2):
        Ledger(run / "rounds.jsonl").append(record(number, 8 + 4 * number, 0.7, rng, [f"old{number}"]))
    (query,) = asked.asked_next(tmp_path, read_runs(tmp_path))
    assert query == ("aeig", 0, 12, ("old1",))
    (run / "pending.json").write_text(json.dumps(record(2, 16, 0.7, rng, ["waits"])))
    (query,) = asked.asked_next(tmp_path, read_runs(tmp_path))
    assert query == ("aeig", 0, 16, ("waits",))
    (run / "pending.json").write_text(json.dumps(record(1, 12, 0.7, rng, ["left over"])))  # of a kill after its line was written
    (query,) = asked.asked_next(tmp_path, read_runs(tmp_path))
    assert query.units == ("old1",)


def test_the_page_begins_with_it_for_each_setting(tmp_path, monkeypatch):
    for room in (page.charts, page.calibration):
        monkeypatch.setattr(room, "section", lambda *given: "")  # which take the time
    study = write_study(tmp_path, seeds=3, settings=("strong", "weak"), groups=MANY_GROUPS, pictures=False)
    text = page.write_report(study).read_text()
    first = text.split("</h1>")[1].split("</ul>")[0]
    assert first.strip().startswith(
        '<ul class="lead"><li><b>strong</b>: After 16 labelled cases, weighted_entropy is ahead of random by'
    )
    assert first.count("For the worst-served group, ") == 2
    of_setting = [run for run in read_runs(study) if run.setting == "weak"]
    change = compare_runs("weak", of_setting).differences["random"]["weighted_entropy"]["dice"]
    assert (change.low > 0) == ("can be told from zero" in first.split("<b>weak</b>")[1].split("; weighted")[0])
    assert "What to label next" in text


def test_long_queries_are_cut_in_the_list_too():
    section = asked.section([asked.Asked("aeig", 0, 8, tuple(f"u{number}." for number in range(120)))])
    assert "u99. and 20 more<" in section
    assert "the first 100 are here, and all in its rounds.jsonl" in section
    assert "u100." not in section
    section = asked.section([asked.Asked("aeig", seed, 8, tuple(f"u{number}." for number in range(12))) for seed in range(5)])
    assert section.count("u9. and 2 more<") == 5
    assert "<details>" in section
    assert "nothing: the pool is exhausted" in asked.section([asked.Asked("aeig", 0, 8, ())])
