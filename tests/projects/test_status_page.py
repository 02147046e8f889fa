"""The page of a project: what to do comes first, every number comes from the records, nothing comes from elsewhere, names are names."""

import json
import re

import numpy as np
import pytest
from made_pages import NASTY, Seen, case, full, nasty, pair, reader, replaced, status, taken, unseen

from jaxal.assessment.intervals import Estimate
from jaxal.projects.estimates import estimates_of
from jaxal.projects.estimates import to_json as estimates_to_json
from jaxal.projects.measures import honest
from jaxal.projects.page import page_text
from jaxal.projects.past import Past
from jaxal.projects.status import STATUSES, Todo


def seen(told, past=Past(), **more):  # noqa: B008
    return Seen(page_text(told, past, **more))


def flat(text):
    return text.replace("\u00a0", " ").replace("−", "-")


# What to do


def test_the_first_sentence_says_what_to_do_and_how():
    text = page_text(status())
    assert Seen(text).first == "Take in what lies in the inboxes (anna 1)."
    body = text[text.index("<body>") :]
    first, command, second = (
        body.index(part) for part in ("Take in what", "<code>jaxal take /data/liver</code>", "Wait for 1 reading")
    )
    assert first < command < second < body.index("<h2>")


def test_only_what_has_a_command_can_be_copied():
    assert page_text(status(todo=(Todo("Wait for anna."),))).count('class="copy"') == 0
    assert page_text(status(todo=(Todo("Do it.", "jaxal ask x"),) * 3)).count('class="copy"') == 3


# Names, and nothing from elsewhere


def test_names_are_shown_as_they_are():
    text = page_text(*nasty(), written=NASTY, by_version=NASTY)
    known = Seen(text)
    assert "b" not in known.tags and known.tags.count("script") == 1
    assert known.text.count(NASTY) > 15
    assert known.first == NASTY


def test_nothing_comes_from_elsewhere():
    for told in (full(), nasty(), (status(), Past())):
        text = page_text(*told)
        assert all(address.startswith(("#", "data:")) for address in Seen(text).addresses)
        assert not re.search(r"https?:|url\(|@import|//[a-z]+\.[a-z]", text)
        assert "http-equiv" not in text


def test_when_and_by_which_version_it_was_written_is_said():
    text = seen(status(), written="2026-11-26T09:40:00+00:00", by_version="0.5.0").text
    assert "Written 2026-11-26 09:40 UTC by jaxal 0.5.0." in text and "2026-03-02 10:00 UTC" in text


def test_the_time_alone_does_not_make_it_another_page():
    def digest(*told, **more):
        return re.search(r'data-content="(\w+)"', page_text(*told, **more))[1]

    assert digest(*full(), written="2026-11-26T09:40") == digest(*full(), written="2026-11-26T09:41")
    told, past = full()
    assert digest(told, past) != digest(replaced(told, minutes=1.0), past._replace(taken=[*past.taken, taken(minutes=900.0)]))


# Numbers


def changes():
    """Records that differ in one number, and what the page says of it."""
    told, past = full()
    first = told.readers[0]
    others = told.readers[1:]

    def of_reader(**more):
        return replaced(told, readers=(reader("anna", **{**{"unchanged": 5}, **more}), *others)), past

    last = told.unseen[-1]
    later = (*told.unseen[:-1], last._replace(scores=np.clip(last.scores - 0.2, 0, 1)))
    cheap = past._replace(spent=dict.fromkeys(range(2, 8), 1.0))
    more_pairs = [*past.pairs[:-1], past.pairs[-1]._replace(scores=(0.11, 0.12))]
    assert first.name == "anna"
    return {
        "open": (*of_reader(open=417), "417"),
        "returned": (*of_reader(returned=2), "2 came back"),
        "accepted": (*of_reader(accepted=611), "611"),
        "minutes of a reader": (*of_reader(minutes=77.7), "77.7"),
        "waiting": (*of_reader(waiting=56), "56"),
        "unchanged": (*of_reader(unchanged=1), "1 of 5"),
        "away": (replaced(told, readers=(reader("anna", present=False), *others)), past, "anna (away)"),
        "a case's minutes": (replaced(told, cases=(case(0, "labelled", "A", minutes=99.9), *told.cases[1:])), past, "99.9"),
        "a case's round": (replaced(told, cases=(case(0, "labelled", "A", round=87), *told.cases[1:])), past, "87"),
        "counts": (replaced(told, counts={**told.counts, "disputed": 321}), past, "321 disputed"),
        "trained on": (replaced(told, unseen=(*told.unseen[:-1], last._replace(trained_on=983))), past, "983"),
        "not there yet": (replaced(told, unseen=(*told.unseen[:-1], last._replace(waiting=45))), past, "45"),
        "dice": (replaced(told, unseen=later), past, f"{honest(later[-1]).over_all.value:.3f}"),
        "dice of a class": (replaced(told, unseen=later), past, f"{honest(later[-1]).by_class[1].value:.3f}"),
        "dice of a group": (replaced(told, unseen=later), past, f"{honest(later[-1]).by_group['B'].value:.3f}"),
        "agreement": (told, past._replace(pairs=more_pairs), f"{np.mean([one.scores[0] for one in more_pairs]):.3f}"),
        "spent": (told, past._replace(taken=[*past.taken, taken(minutes=180.0)]), "16 of"),
        "gain": (told, cheap, estimates_of(told, cheap).verdicts[-1].sentence),
        "size of a query": (replaced(told, size=5), past, "5 cases in 6 readings"),
        "stable": (
            told,
            past._replace(stable=[*past.stable[:-1], np.full((5, 2), 0.5)]),
            "agree with each other, Dice 0.500",
        ),
        "refused": (replaced(told, refused=()), past, None),
        "returned to": (told, past._replace(back=[past.back[0]._replace(case="case_039")]), "case_039"),
    }


@pytest.fixture(scope="module")
def unchanged_page():
    return flat(seen(*full()).text)


CHANGES = changes()


@pytest.mark.parametrize("what", CHANGES)
def test_every_number_comes_from_the_records(what, unchanged_page):
    *told, expected = CHANGES[what]
    before, after = unchanged_page, flat(seen(*told).text)
    assert before != after
    if expected is not None:
        assert expected in after
        assert after.count(expected) > before.count(expected)


def test_estimates_for_programs_have_no_number_that_json_has_not():
    told, past = full()
    estimates = estimates_of(told, past)
    record = json.loads(json.dumps(estimates_to_json(estimates), allow_nan=False))
    last = record["curve"][-1]["honest"]["over_all"]
    assert last["value"] == estimates.curve[-1].honest.over_all.value and last["low"] < last["value"] < last["high"]
    endless = estimates.goals[0]._replace(more=Estimate(3.0, 1.0, np.inf))
    assert estimates_to_json(endless)["more"] == {"value": 3.0, "low": 1.0, "high": None, "cases": 0}


def test_the_bound_of_money_is_the_projects():
    told, past = full()

    def verdict(bound):
        return next(one for one in estimates_of(replaced(told, least_gain=bound), past).verdicts if one.name == "money")

    assert verdict(None).state == "not yet known" and "no bound is set" in verdict(None).sentence
    assert verdict(100.0).state == "reached" and "stayed below 100" in verdict(100.0).sentence
    assert verdict(-100.0).state == "not reached"


def test_the_curve_is_the_honest_one_with_its_interval():
    told, past = full()
    estimate = honest(told.unseen[-1])
    cells = [flat(cell) for cell in seen(told, past).cells]
    line = cells[cells.index("round 7") :][:7]
    for shown, part in zip(line[2:], (estimate.over_all, *estimate.by_class, *estimate.by_group.values()), strict=False):
        assert shown == f"{part.value:.3f}{part.low:.3f} to {part.high:.3f}{part.cases} cases"
    assert line[1] == "70"


def test_a_chart_says_in_words_what_it_shows():
    told, past = full()
    estimate = honest(told.unseen[-1]).over_all
    labels = re.findall(r'aria-label="(All classes[^"]*)"', page_text(told, past))
    assert len(labels) == 1 and labels[0].endswith(f"70 labels {estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})")
    assert page_text(told, past).count('class="curve"') == 5  # all, two classes, two groups


def test_points_and_intervals_lie_where_the_numbers_are():
    told = status(unseen=(unseen(2), unseen(3, 0.9)))
    text = page_text(told)
    chart = text[text.index('<svg class="curve"') :].split("</svg>")[0]
    grid = {float(value): float(y) - 4 for y, value in re.findall(r'y="([\d.]+)" text-anchor="end">([\d.]+)<', chart)}
    per_unit = (grid[0.8] - grid[1.0]) / 0.2
    for measured, (low, high, point) in zip(
        told.unseen, zip(*(re.findall(pattern, chart) for pattern in (r'range" d="M[\d.]+ ([\d.]+)', r"V([\d.]+)", r'cy="([\d.]+)"')), strict=True), strict=True
    ):  # fmt: skip
        estimate = honest(measured).over_all
        for place, value in ((low, estimate.low), (high, estimate.high), (point, estimate.value)):
            assert float(place) == pytest.approx(grid[1.0] + (1 - value) * per_unit, abs=0.2)


def test_of_fewer_than_three_cases_there_is_no_interval():
    told = status(unseen=(unseen(2, cases=2), unseen(3, cases=8)))
    text = page_text(told, Past(pairs=[pair(0), pair(1)]))
    assert text.count('class="point bare"') == 1 and text.count('class="range"') == 1
    cells = Seen(text).cells
    assert cells[cells.index("tumour") + 1] == "0.900no interval2 cases"


def test_a_project_that_has_just_begun_claims_nothing():
    told = seen(status([case(number) for number in range(4)], readers=(reader(accepted=0, minutes=None, open=0),)))
    for sentence in (
        "No network has been trained yet.", "No case has been read by two readers yet.", "No minutes of reading are known, of 0 of 0 labels.",
        "Nothing was returned, refused or left out.", "cannot be told before 4 rounds have an interval", "which is a guess",
    ):  # fmt: skip
        assert sentence in told.text
    assert "reached" not in told.cells and "nan" not in told.text and told.cells.count("not yet known") == 4


def test_labels_that_are_awaited_are_told():
    measured = unseen(2, waiting=3)
    empty = measured._replace(cases=(), parts=(), strata=(), scores=np.zeros((0, 1)))
    assert "3 labels that would tell are not there yet." in seen(status(unseen=(empty,))).text


@pytest.mark.parametrize(("unchanged", "shown", "flagged"), [(14, 30, True), (10, 30, False), (2, 2, False), (2, 3, True)])
def test_a_reader_who_mostly_nods_is_named(unchanged, shown, flagged):
    labels = [taken()] * shown + [taken(proposed=np.nan)] * 20
    told = seen(status(readers=(reader(unchanged=unchanged),)), Past(taken=labels))
    assert any(cell.startswith(f"{unchanged} of {shown}") for cell in told.cells)
    assert ("anchoring" in told.text) == flagged


def test_readings_over_a_night_are_left_out_and_told():
    labels = [taken(minutes=10.0)] * 12 + [taken(minutes=900.0)]
    text = seen(status(minutes=1020.0), Past(taken=labels)).text
    assert "2 hours of reading are known, of 12 of 16 labels." in text
    assert "1 reading took more than 4 hours" in text and "With it the minutes come to 1020." in text
    estimates = estimates_of(status(), Past(taken=labels))
    assert estimates.typical.value == 10.0 and estimates.cost.minutes.value == pytest.approx(10.0)  # one case is left


def test_the_next_query_costs_what_readings_took():
    rng = np.random.default_rng(0)
    labels = [taken(name, float(rng.lognormal(np.log(20), 0.2))) for name in ("anna", "ben") for _ in range(20)]
    cost = estimates_of(status([case(number) for number in range(50)], size=10), Past(taken=labels, doubled=0.2)).cost
    assert (cost.cases, cost.readings, cost.is_guess) == (10, 12, False)
    assert cost.minutes.low < 12 * 20 < cost.minutes.high and cost.minutes.value == pytest.approx(12 * 20, rel=0.1)
    guess = estimates_of(status([case(number) for number in range(50)], guess=7.0), Past(taken=labels[:9])).cost
    assert guess.is_guess and guess.minutes.value == 70.0


def test_a_goal_beyond_all_cases_is_said_to_be_so():
    told, past = full()
    goals = estimates_of(told, past).goals
    sentences = re.findall(r"<li>(.*?)</li>", page_text(told, past))
    left = told.counts["asked"] + told.counts["disputed"] + told.counts["unlabelled"]
    assert any(goal.more.low > left for goal in goals)
    for goal in goals:
        assert (
            f"{goal.sentence}{f' That is more than the {left} that can still be had.' if goal.more.low > left else ''}"
            in sentences
        )


def test_rules_for_stopping_are_verdicts_and_say_how_far_they_can_be_believed():
    told, past = full()
    shown = seen(told, past)
    for verdict in estimates_of(told, past).verdicts:
        place = shown.cells.index(verdict.name)
        assert shown.cells[place + 1 : place + 3] == [verdict.state, verdict.sentence]
    assert "nothing acts upon them: you decide. Labels of random cases were drawn from proposals" in shown.text
    assert "were drawn from proposals" not in seen(told, past._replace(measured_with_proposals=False)).text


def test_what_the_strategy_chose_does_not_speak_for_the_network_against_readers():
    measured = unseen(2, 0.9, 8)
    chosen = np.array([part == "chosen" for part in measured.parts])
    measured = measured._replace(scores=np.where(chosen[:, None], 0.1, measured.scores))
    pairs = [pair(number, (dice,)) for number, dice in enumerate((0.88, 0.9, 0.92, 0.91))]
    verdict = next(
        rule for rule in estimates_of(status(unseen=(measured,)), Past(pairs=pairs)).verdicts if rule.name == "reader gain"
    )
    assert abs(verdict.value.value) < 0.05


def test_who_draws_more_is_told_with_an_interval():
    pairs = [pair(number, volumes=(10.0 + number, 13.0 + number + 0.1 * (number % 3))) for number in range(8)]
    cells = [flat(cell) for cell in seen(status(), Past(pairs=pairs)).cells]
    line = cells[cells.index("anna, tumour") :][:4]
    assert line[1].startswith("-3.09") and line[2].endswith("systematic")  # 3 and 0, 0.1, 0.2, 0, 0.1, 0.2, 0, 0.1 more
    assert "ben, tumour" not in cells  # is the same from the other side
    three = [*pairs, pair(9, readers=("ben", "carl"))]
    assert {"anna, tumour", "ben, tumour", "carl, tumour"} <= set(seen(status(), Past(pairs=three)).cells)


def test_readers_errors_are_corrected_for_without_the_disputed():
    pairs = [pair(number, (dice,)) for number, dice in enumerate((0.90, 0.92, 0.94))]
    told = status(unseen=(unseen(2),))
    measured, corrected = (
        honest(told.unseen[0]).over_all,
        estimates_of(told, Past(pairs=[*pairs, pair(5, (0.1,), disputed=True)])).truth,
    )
    assert corrected.value == pytest.approx(measured.value + 0.04)
    assert estimates_of(told, Past(pairs=pairs[:2])).truth is None


# Cases


def test_every_case_has_a_line_and_a_sign():
    told, past = full()
    text = page_text(told, past)
    assert text.count("<tr data-status=") == 40 == len(re.findall(r"<i class=\"\w+\" data-case=", text))
    row = next(part for part in text.split("<tr data-status=") if 'data-value="case_000"' in part)
    assert [re.sub("<[^>]*>", "", cell) for cell in re.findall(r"<td.*?</td>", row)] == [
        "A", "labelled", "1", "anna", "anna-1", "2026-03-01", "12.5", ""
    ]  # fmt: skip
    for name in STATUSES:
        assert f'data-status="{name}"' in text


def test_a_project_without_groups_has_no_word_of_them():
    text = page_text(status(unseen=(unseen(2),)))
    assert "roup" not in re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL).replace('role="group"', "").replace(
        "data-group", ""
    )


def test_two_thousand_cases_make_a_page_of_a_few_megabytes():
    cases = [case(number, "labelled" if number % 3 else "unlabelled", "AB"[number % 2]) for number in range(2000)]
    text = page_text(status(cases))
    assert len(text) < 3e6 and "667 cases that are not asked for yet are not printed" in text
