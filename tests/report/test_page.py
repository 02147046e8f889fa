"""The report in a real browser: it needs no network, sorts, and can be read on a narrow window, in the dark and on paper."""

import contextlib
import io
import itertools
import json
import re
import shutil

import numpy as np
import pytest
from ledgers import MANY_GROUPS, record, write_study

from jaxal.report import cases, page
from jaxal.report.comparison import compare_folder
from jaxal.rounds.ledger import Ledger
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES
from jaxal.tasks.pictures import draw_case
from jaxal.types import Example


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = write_study(tmp_path_factory.mktemp("study"))
    return page.write_report(folder)


def test_a_picture_shows_the_case_without_its_padding(rng):
    from PIL import Image

    def size(shape, padding):
        image = rng.normal(size=(*shape, 1)).astype(np.float32)
        label, valid = np.zeros(shape, np.uint8), np.ones(shape, bool)
        pad = [(0, padding)] * 3
        example = Example(np.pad(image, [*pad, (0, 0)]), np.pad(label, pad), np.pad(valid, pad), np.pad(valid, pad))
        chance = np.full(example.label.shape, 0.1, np.float32)
        return Image.open(io.BytesIO(draw_case(example, np.stack([1 - chance, chance])))).size

    assert size((20, 24, 16), 0) == size((20, 24, 16), 30)


def test_pictures_are_in_millimetres_and_not_too_wide(rng):
    from PIL import Image

    def size(shape, spacing_mm):
        example = Example(
            rng.normal(size=(*shape, 1)).astype(np.float32), np.zeros(shape, np.uint8), np.ones(shape, bool), np.ones(shape, bool)
        )
        chance = np.full(shape, 0.1, np.float32)
        return Image.open(io.BytesIO(draw_case(example, np.stack([1 - chance, chance]), spacing_mm))).size

    assert size((20, 20, 5), (1.0, 1.0, 4.0)) == size((20, 20, 20), (1.0, 1.0, 1.0))
    assert size((300, 300, 30), (1.0, 1.0, 1.0))[0] == 720


def test_the_slices_are_those_with_most_of_the_structure(rng):
    """Two bodies with nothing between them: the middle of both would show neither."""
    label = np.zeros((20, 20, 20), np.uint8)
    label[2:6, 2:6, 2:6] = label[14:18, 14:18, 14:18] = 1
    example = Example(np.zeros((20, 20, 20, 1), np.float32), label, *[np.ones(label.shape, bool)] * 2)
    from PIL import Image

    chance = np.zeros(label.shape)
    drawn = np.asarray(Image.open(io.BytesIO(draw_case(example, np.stack([1 - chance, chance])))).convert("RGB")).astype(int)
    assert (drawn[..., 1] > drawn[..., 0] + 60).sum() > 100  # green outlines


@pytest.fixture
def without_charts(monkeypatch):
    """Charts take most of a report's time."""
    for room in (page.charts, page.calibration):
        monkeypatch.setattr(room, "section", lambda *given: "")


def cells_of(text, heading):
    """The cells of the first table behind a heading, by the titles of their columns: those of its first line."""
    head, body = text.split(f">{heading}</h3>")[1].split("</table>")[0].split("<tbody>")
    titles = re.findall(r"<button[^>]*>(.*?)</button>", head)[1:]
    return dict(zip(titles, re.findall(r"<td[^>]*>.*?</td>", body.split("</tr>")[0]), strict=True))


def test_estimates_that_are_better_are_told_from_those_that_are_worse(tmp_path, without_charts):
    study = write_study(tmp_path, strategies=("entropy", "weighted_entropy"), seeds=4, pictures=False, lead=0.06)
    cells = cells_of(page.write_report(study).read_text(), "Difference from entropy")
    assert 'class="better"' in cells["Dice"]  # more by 0.06
    assert 'class="better"' in cells["NLL"]  # less by 0.06


def test_all_runs_have_pictures_if_not_all_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(cases, "PICTURES_AT_MOST", 8)
    text = page.write_report(write_study(tmp_path, strategies=("a", "b"), seeds=2)).read_text()
    assert text.count("queried cases</summary>") == 4
    assert text.count("round 2, rank") == 8
    assert "Of 24 pictures the 8 of the latest rounds are here" in text


def test_nothing_is_fetched_and_nothing_is_left_unescaped(study):
    text = study.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)(?!#)""", text)
    assert "http-equiv" not in text
    assert not re.findall(r"url\((?!#)", text)
    assert "group weight 1.20" in text
    assert "rank 2" in text


def test_names_are_escaped(tmp_path):
    folder = write_study(tmp_path / "a<script>b", strategies=("random",), seeds=1, rounds=1)
    assert "<script>b" not in page.write_report(folder).read_text()


def test_a_run_that_is_still_short_is_left_out_by_name(tmp_path):
    folder = write_study(tmp_path, seeds=2)
    ledger = folder / "strong-imbalanced" / "random" / "seed-1" / "rounds.jsonl"
    ledger.write_text(ledger.read_text().splitlines()[0] + "\n")
    (comparison,) = compare_folder(folder)
    assert comparison.seeds == (0,)
    assert comparison.left_out == ("entropy seed 1", "random seed 1", "weighted_entropy seed 1")  # all have seed 0 in full
    assert "random seed 1" in page.write_report(folder).read_text()


@pytest.mark.parametrize("seeds", [1, 2])
def test_of_few_seeds_there_are_no_intervals_and_nothing_is_called_sure(tmp_path, seeds, without_charts):
    text = page.write_report(write_study(tmp_path, ("random", "entropy"), seeds, pictures=False)).read_text()
    assert f"Mean over {('one seed', 'two seeds')[seeds - 1]}: no interval" in text
    for heading in ("Comparison", "Difference from entropy"):
        assert not any("\u00a0to " in cell or "class=" in cell for cell in cells_of(text, heading).values())


def test_goals_that_were_not_reached_are_told_in_words(tmp_path, without_charts):
    """Training on everything reaches 0.83 with groups, so that 95 % are 0.78: the second and the third strategy get there."""
    study = write_study(tmp_path, seeds=3, full=0.88, pictures=False)
    text = page.write_report(study).read_text()
    assert "∞" not in text
    assert "inf<" not in text
    assert "not reached" in cells_of(text, "Comparison")["labels to 95 %"]  # entropy
    assert "neither reached it" in text
    assert "only weighted_entropy reached it" not in text  # differences are from random and entropy
    assert "random did not reach it" in text


def test_of_many_groups_the_worst_and_the_best_come_first(tmp_path, without_charts):
    text = page.write_report(write_study(tmp_path, seeds=3, groups=MANY_GROUPS, pictures=False)).read_text()
    columns = list(cells_of(text, "Comparison"))
    assert columns[:4] == ["Dice", "worst group", "best group", "disparity Δ"]
    assert len(columns) <= 11
    cells = cells_of(text, "Comparison")
    assert f"group {MANY_GROUPS[-1]}" in cells["worst group"]
    assert f"group {MANY_GROUPS[0]}" in cells["best group"]
    assert text.count("Dice by group (8 groups)") == 1
    rows = text.split("Dice by group (8 groups)")[1].split("<tbody>")[1].split("</table>")[0]
    assert re.findall(r'<th scope="row"[^>]*>([^<]+),<wbr>', rows)[0] == MANY_GROUPS[-1].split(",")[0]  # the worst comes first
    assert rows.count("<tr>") == 8


def test_a_worst_group_that_differs_between_seeds_has_no_name(tmp_path, without_charts):
    study = write_study(tmp_path, ("random",), 1, groups=("A", "B", "C"), pictures=False)
    other = write_study(tmp_path / "other", ("random",), 1, groups=("C", "A", "B"), pictures=False)
    shutil.copytree(other / "strong-imbalanced/random/seed-0", study / "strong-imbalanced/random/seed-1")
    cells = cells_of(page.write_report(study).read_text(), "Result")
    assert "not the same in all seeds" in cells["worst group"]
    assert "group A" in cells["best group"]  # first in one seed, second in the other


def test_a_ledger_with_nothing_but_what_it_must_hold_has_a_report(tmp_path):
    seconds = {"train": 1.0, "score": 0.5, "select": 0.01, "evaluate": 0.2}
    line = {
        "round": 0,
        "labelled": 8,
        "queried": ["x"],
        "dice": {"overall": 0.7, "by_group": {}},
        "nll": 0.1,
        "ece": 0.02,
        "seconds": seconds,
    }
    for strategy in ("a", "b"):
        Ledger(tmp_path / "mine" / strategy / "seed-0" / "rounds.jsonl").append(line)
    text = page.write_report(tmp_path).read_text()
    assert "2 strategies ran, but their ledgers hold no single test cases, so none can be called ahead." in text
    assert re.findall(r"<h4>(.*?)</h4>", text) == ["Dice, all test cases", "Seconds a round, by phase"]


def test_charts_of_what_was_not_timed_or_not_counted_are_left_out(tmp_path):
    folder = write_study(tmp_path, seeds=1, pictures=False)
    for path in folder.glob("*/*/seed-*/rounds.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line |= {"pool": 30, "seconds": dict.fromkeys(("train", "score", "select", "evaluate"), 0)}
            del line["reliability"], line["disparity"]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    titles = re.findall(r"<h4>(.*?)</h4>", page.write_report(folder).read_text())
    assert titles == ["Dice, all test cases", "Dice, group A", "Dice, group B", "Share of each group among the queried"]


def test_intervals_are_said_to_be_of_these_data(tmp_path):
    text = page.write_report(write_study(tmp_path, strategies=("random", "entropy"), seeds=3, rounds=1)).read_text()
    assert "Means over the 3 seeds" in text and "Student" in text
    assert "Other patients may fare otherwise" in text and "interval excludes zero" in text


def test_a_folder_without_rounds_has_a_report_too(tmp_path):
    assert "No round is finished yet" in page.write_report(tmp_path).read_text()


def test_a_study_of_forty_runs_stays_below_ten_megabytes(tmp_path):
    folder = write_study(
        tmp_path, ("random", "entropy", "weighted_entropy", "aeig"), seeds=5, rounds=6, settings=("strong", "weak")
    )
    assert page.write_report(folder).stat().st_size < 10e6


@contextlib.contextmanager
def opened(browser, report):
    """A tab with a report, which must give no cause for complaint."""
    context = browser.new_context(offline=True, viewport={"width": 1100, "height": 900})
    tab = context.new_page()
    problems = []
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("requestfailed", lambda request: problems.append(request.url))
    tab.goto(report.as_uri())
    yield tab
    assert problems == []
    context.close()


@pytest.fixture
def tab(browser, study):
    with opened(browser, study) as tab:
        yield tab


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The report of a study of many strategies on images, some with long names."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    names = [*CLASSIFICATION_STRATEGIES, "aeig,step_rate=normalised,renormalise=true", "aeig,step=sign"]
    label = np.arange(30) % 3
    for name in (*names, "full"):
        for round_ in range(1 if name == "full" else 2):
            probability = rng.dirichlet(np.ones(3), 30) + (0.2 + 0.2 * round_) * np.eye(3)[label]
            by_class = dict(zip(("no DR", "moderate", "severe"), rng.uniform(0.6, 1, 3), strict=True))
            level = float(np.mean(list(by_class.values())))
            counts = dict.fromkeys(by_class, 4 * (round_ + 1))
            test = {
                f"t{place:02d}": {"group": "", "class": int(number), "probability": row.tolist()}
                for place, (number, row) in enumerate(zip(label, probability, strict=True))
            }
            line = record(round_, 12 * (round_ + 1), 0.8, rng, ["a", "b"])
            line |= {
                "auc": {"overall": level, "by_group": {"": level}, "by_class": by_class, "undefined": 0}, "test": test, "pool": 60 - 12 * round_,
                "accuracy": 0.8, "labelled_by_class": counts, "queried_by_class": {"no DR": 1, "severe": 1}, "queried_classes": {"a": "no DR", "b": "severe"},
            }  # fmt: skip
            del line["dice"]
            Ledger(folder / "images" / name / "seed-0" / "rounds.jsonl").append(line)
    return page.write_report(folder)


def test_a_click_sorts_and_a_second_one_turns_round(tab):
    table = tab.locator("table.measures").first
    button = table.locator("thead th button", has_text="Dice").first
    button.click()
    assert table.locator("tbody th").all_inner_texts() == ["random", "entropy", "weighted_entropy"]
    button.click()
    assert table.locator("tbody th").all_inner_texts() == ["weighted_entropy", "entropy", "random"]
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_a_narrow_window_never_scrolls_sideways_as_a_whole(tab):
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.locator("details summary", has_text="queried cases").first.click()
    assert tab.locator(".cases img").first.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_charts_of_many_strategies_fit_and_can_be_thinned_out(browser, images):
    """Nothing is cut off at a chart's edge, and a box hides its strategy's lines, and only those, wherever they are."""
    outside = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("text")].filter(text => {const own = text.getBoundingClientRect();
        return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1 || own.top < box.top - 1})
        .map(text => text.textContent)})"""
    shown = "place => [...document.querySelector('section').querySelectorAll(`[id='line-${place}']`)].filter(line => line.style.display !== 'none').length"
    with opened(browser, images) as tab:
        assert tab.evaluate(outside) == []
        assert tab.locator("figure").count() == 9
        boxes = tab.locator("section").first.locator(".keys input")
        assert boxes.count() == len(CLASSIFICATION_STRATEGIES) + 2
        assert tab.evaluate(shown, 3) == tab.evaluate(shown, 4) == 4
        boxes.nth(3).uncheck()
        assert (tab.evaluate(shown, 3), tab.evaluate(shown, 4)) == (0, 4)
        boxes.nth(3).check()
        assert tab.evaluate(shown, 3) == 4
        tab.set_viewport_size({"width": 360, "height": 740})
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_text_stands_out_in_light_and_dark(tab):
    def contrast(selector):
        return tab.evaluate(
            """selector => {const luminance = color => {const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(v => {v /= 255;
            return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4}); return 0.2126 * r + 0.7152 * g + 0.0722 * b};
            const ink = luminance(getComputedStyle(document.querySelector(selector)).color),
            back = luminance(getComputedStyle(document.body).backgroundColor);
            return (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05)}""",
            selector,
        )

    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        for selector in ("h1", "p", "td", "td small", "figcaption"):
            assert contrast(selector) > 4.5, (scheme, selector)


def test_print_shows_every_case(tab):
    assert tab.locator("details[open]").count() == 0
    pictures = tab.locator(".cases img").count()
    assert pictures == 6 * 6
    assert tab.pdf(format="A4").count(b"/Subtype /Image") >= pictures
    assert tab.locator("details:not([open])").count() == 0


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """The report of a study of eight groups with long names, and of strategies with long names."""
    names = ("random", "entropy", "aeig,step_rate=normalised,renormalise=true")
    study = write_study(tmp_path_factory.mktemp("eight"), names, seeds=3, groups=MANY_GROUPS, pictures=False)
    return page.write_report(study)


def test_eight_groups_fit_the_window(browser, eight):
    """Nothing but a table's own box scrolls sideways, and from 1000 pixels on not even that; shares have bars as high as those of two."""
    wider = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    with opened(browser, eight) as tab:
        for width, some in ((380, True), (1000, False)):
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert bool(tab.evaluate(wider)) == some
        tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert not tab.evaluate(wider)
        assert tab.evaluate("document.documentElement.scrollWidth") <= 1000
        bars = "[...document.querySelectorAll('svg[aria-label^=Share] [id^=patch] path')].map(bar => bar.getBoundingClientRect().height)"
        assert sum(12 < height < 120 for height in tab.evaluate(bars)) >= 3 * 8


def test_no_table_is_cut_on_paper(browser, eight, images):
    """On A4 within its margins, with all that was folded up."""
    cut = """[...document.querySelectorAll("table")].filter(table => {const box = table.closest(".scroll");
        return table.scrollWidth > table.clientWidth || table.getBoundingClientRect().right > box.getBoundingClientRect().right + 1}).length"""
    for report in (eight, images):
        with opened(browser, report) as tab:
            tab.set_viewport_size({"width": 703, "height": 1000})  # 210 mm less two margins of 12 mm
            tab.emulate_media(media="print")
            tab.evaluate("dispatchEvent(new Event('beforeprint'))")
            assert tab.locator("table").count() >= 3
            assert tab.evaluate(cut) == 0
            assert tab.evaluate("document.documentElement.scrollWidth") <= 703
            buttons = tab.locator("th button").evaluate_all("all => all.map(one => getComputedStyle(one).display)")
            assert set(buttons) == {"contents"}  # else Chromium does not repeat the head of a table on its next sheet
            assert tab.locator("figure").evaluate_all("all => all.every(one => getComputedStyle(one).breakInside === 'avoid')")


def test_headings_descend_one_by_one_and_cells_have_heads(browser, eight):
    with opened(browser, eight) as tab:
        levels = tab.locator("h1,h2,h3,h4").evaluate_all("all => all.map(heading => Number(heading.tagName[1]))")
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert tab.locator("table th:not([scope])").count() == 0
        assert tab.locator("tbody tr").count() == tab.locator("tbody th[scope=row]").count()
        labels = tab.locator("figure svg").evaluate_all("all => all.map(chart => chart.getAttribute('aria-label'))")
        assert len(labels) == len(set(labels) - {None, ""})
