"""The report in a real browser: it needs no network, sorts, and can be read on a narrow window, in the dark and on paper."""

import contextlib
import io
import os
import re
import shutil

import numpy as np
import pytest

from jaxal.report import page
from jaxal.report.comparison import compare_folder
from jaxal.rounds.ledger import Ledger
from jaxal.rounds.pictures import _write_picture
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES
from jaxal.tasks.pictures import draw_case
from jaxal.types import Example

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
GROUPS = ("A", "B")


def record(round_, labelled, level, rng, queried):
    test = {
        f"t{index:02d}": {
            "group": GROUPS[index % 2],
            "dice": round(float(np.clip(level - 0.1 * (index % 2) + 0.02 * rng.standard_normal(), 0, 1)), 6),
        }
        for index in range(12)
    }
    by_group = {group: float(np.mean([own["dice"] for own in test.values() if own["group"] == group])) for group in GROUPS}
    overall = float(np.mean([own["dice"] for own in test.values()]))
    gap = abs(by_group["A"] - by_group["B"])
    return {
        "round": round_, "labelled": labelled, "queried": queried, "scores": [0.5 - 0.1 * index for index in range(len(queried))],
        "queried_by_group": {"A": 1, "B": 1}, "queried_groups": dict(zip(queried, GROUPS, strict=False)), "group_weights": {"A": 0.8, "B": 1.2},
        "dice": {"overall": overall, "by_group": by_group, "undefined": 0}, "disparity": gap, "essp": overall / (1 + gap), "nll": 1 - level + 0.001 * rng.random(),
        "ece": 0.02, "test": test, "reliability": {"count": [0, 5, 10], "confidence": [0, 3, 9], "correct": [0, 3, 8]},
        "seconds": {"train": 3.0, "score": 0.5, "select": 0.01, "evaluate": 0.2}, "config": "abcd1234", "versions": {"jax": "0.10"},
        "device": "cpu",
    }  # fmt: skip


def write_study(folder, strategies=("random", "entropy", "weighted_entropy"), seeds=2, rounds=3, settings=("strong-imbalanced",)):
    rng = np.random.default_rng(0)
    label = np.zeros((24, 28, 20), np.uint8)
    label[8:14, 10:18, 6:12] = 1
    for setting in settings:
        for strength, strategy in enumerate(strategies):
            for seed in range(seeds):
                run = folder / setting / strategy / f"seed-{seed}"
                for round_ in range(rounds):
                    queried = [f"case_{seed}{round_}{index}" for index in range(2)]
                    Ledger(run / "rounds.jsonl").append(
                        record(round_, 8 + 4 * round_, 0.7 + 0.05 * round_ + 0.02 * strength, rng, queried)
                    )
                    for id_ in queried:
                        example = Example(
                            rng.normal(size=(*label.shape, 1)).astype(np.float32) + label[..., None],
                            label,
                            np.ones(label.shape, bool),
                            np.ones(label.shape, bool),
                        )
                        chance = np.clip(0.8 * np.roll(label, 1, 0) + 0.05, 0, 1)
                        _write_picture(
                            run / "pictures" / f"round-{round_:03d}" / f"{id_}.webp",
                            draw_case(example, np.stack([1 - chance, chance])),
                        )
        Ledger(folder / setting / "full" / "seed-0" / "rounds.jsonl").append(record(0, 40, 0.9, rng, []))
        Ledger(folder / setting / "full" / "seed-1" / "rounds.jsonl").append(record(0, 40, 0.9, rng, []))
    return folder


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


def test_estimates_that_are_better_are_told_from_those_that_are_worse(tmp_path):
    text = page.write_report(write_study(tmp_path, strategies=("entropy", "weighted_entropy"), seeds=4)).read_text()
    head, row = text.split("Difference from entropy")[1].split("</table>")[0].split("<tbody>")
    titles = re.findall(r">([^<>]+)</button>", head)
    cells = dict(zip(titles, re.findall(r"<td[^>]*>", row), strict=True))
    assert "better" in cells["Dice"]  # more by 0.04
    assert "better" in cells["NLL"]  # less by 0.04


def test_all_runs_have_pictures_if_not_all_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PICTURES_AT_MOST", 8)
    text = page.write_report(write_study(tmp_path, strategies=("a", "b"), seeds=2)).read_text()
    assert text.count("<details>") == 4
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
    (found,) = compare_folder(folder)
    assert found.seeds == (0,)
    assert found.left_out == ("entropy seed 1", "random seed 1", "weighted_entropy seed 1")  # all have seed 0 in full
    assert "random seed 1" in page.write_report(folder).read_text()


@pytest.mark.parametrize(("seeds", "many"), [(1, "one seed"), (2, "two seeds")])
def test_without_an_interval_nothing_is_called_sure(tmp_path, seeds, many):
    text = page.write_report(write_study(tmp_path, strategies=("random", "entropy"), seeds=seeds)).read_text()
    assert f"Mean over {many}: no interval" in text
    assert "Green" not in text and "Student" not in text
    table = text.split("Difference from entropy")[1].split("</table>")[0]
    cells = re.findall(r"<td[^>]*>.*?</td>", table)
    assert not any("class=" in cell or " to " in cell for cell in cells)
    assert any("<small></small>" in cell for cell in cells)


def test_intervals_are_said_to_be_of_these_data(tmp_path):
    text = page.write_report(write_study(tmp_path, strategies=("random", "entropy"), seeds=3, rounds=1)).read_text()
    assert "Means over the 3 seeds" in text and "Student" in text
    assert "Other patients may fare otherwise" in text and "does not hold zero" in text


def test_a_folder_without_rounds_has_a_report_too(tmp_path):
    assert "No round is finished yet" in page.write_report(tmp_path).read_text()


def test_a_study_of_forty_runs_stays_below_ten_megabytes(tmp_path):
    folder = write_study(
        tmp_path, ("random", "entropy", "weighted_entropy", "aeig"), seeds=5, rounds=6, settings=("strong", "weak")
    )
    assert page.write_report(folder).stat().st_size < 10e6


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs a browser: apt-get install chromium")
        pytest.skip("no browser is installed")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield running
        running.close()


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
                f"t{place:02d}": {"group": "", "class": int(own), "probability": row.tolist()}
                for place, (own, row) in enumerate(zip(label, probability, strict=True))
            }
            line = record(round_, 12 * (round_ + 1), 0.8, rng, ["a", "b"])
            line |= {
                "auc": {"overall": level, "by_group": {"": level}, "by_class": by_class, "undefined": 0}, "test": test, "pool": 60 - 12 * round_,
                "accuracy": 0.8, "labelled_by_class": counts, "queried_by_class": {"no DR": 1, "severe": 1}, "queried_classes": {"a": "no DR", "b": "severe"},
            }  # fmt: skip
            del line["dice"]
            Ledger(folder / "images" / name / "seed-0" / "rounds.jsonl").append(line)
    return page.write_report(folder)


def column(tab, place):
    return tab.eval_on_selector_all(
        "table.sortable >> nth=0 >> tbody tr", f"rows => rows.map(row => row.cells[{place}].innerText)"
    )


def test_a_click_sorts_and_a_second_one_turns_round(tab):
    button = tab.locator("table.sortable").first.locator("th button", has_text="Dice").first
    button.click()
    names = [
        row.split("\\n")[0] for row in tab.locator("table.sortable").first.locator("tbody tr td:first-child").all_inner_texts()
    ]
    assert names == ["random", "entropy", "weighted_entropy"]
    button.click()
    names = tab.locator("table.sortable").first.locator("tbody tr td:first-child").all_inner_texts()
    assert names == ["weighted_entropy", "entropy", "random"]
    assert tab.locator("table.sortable").first.locator("th[aria-sort=descending]").count() == 1


def test_a_narrow_window_never_scrolls_sideways_as_a_whole(tab):
    tab.set_viewport_size({"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    tab.locator("details summary").first.click()
    assert tab.locator(".cases img").first.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360


def test_charts_of_many_strategies_fit_and_can_be_thinned_out(browser, images):
    """Nothing is cut off at a chart's edge, and a box hides its strategy's lines, and only those, wherever they are."""
    outside = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {const box = svg.getBoundingClientRect();
        return [...svg.querySelectorAll("text")].filter(text => {const own = text.getBoundingClientRect();
        return own.left < box.left - 1 || own.right > box.right + 1 || own.bottom > box.bottom + 1 || own.top < box.top - 1})
        .map(text => text.textContent)})"""
    shown = "place => [...document.querySelectorAll(`[id='line-${place}']`)].filter(line => line.style.display !== 'none').length"
    with opened(browser, images) as tab:
        assert tab.evaluate(outside) == []
        assert tab.locator("figure").count() == 8
        boxes = tab.locator(".keys input")
        assert boxes.count() == len(CLASSIFICATION_STRATEGIES) + 2
        assert tab.evaluate(shown, 3) == tab.evaluate(shown, 4) == 5
        boxes.nth(3).uncheck()
        assert (tab.evaluate(shown, 3), tab.evaluate(shown, 4)) == (0, 5)
        boxes.nth(3).check()
        assert tab.evaluate(shown, 3) == 5
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
