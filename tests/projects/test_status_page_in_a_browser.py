"""The page of a project in a real browser: narrow windows, searching, keyboard, the dark, paper, and a server that it asks politely."""

import itertools
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from made_pages import case, full, nasty, opened, replaced

from jaxal.projects.page import page_text
from jaxal.projects.status import Todo


@pytest.fixture
def on_disk(tmp_path):
    path = tmp_path / "status.html"
    path.write_text(page_text(*full(), written="2026-11-26T09:40:00+00:00"), encoding="utf-8")
    return path.as_uri()


def test_a_narrow_window_never_scrolls_sideways(browser, tmp_path):
    told, past = nasty()
    (tmp_path / "nasty.html").write_text(page_text(told, past), encoding="utf-8")
    (tmp_path / "full.html").write_text(page_text(*full()), encoding="utf-8")
    for name in ("nasty", "full"):
        with opened(browser, (tmp_path / f"{name}.html").as_uri(), 400) as (tab, address):
            tab.goto(address)
            tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
            assert tab.evaluate("document.documentElement.scrollWidth") <= 400
            outside = """[...document.querySelectorAll("figure svg")].flatMap(svg => {const box = svg.getBoundingClientRect();
                return [...svg.querySelectorAll("text")].filter(text => {const mine = text.getBoundingClientRect();
                return mine.left < box.left - 1 || mine.right > box.right + 1}).map(text => text.textContent)})"""
            assert tab.evaluate(outside) == []


def test_cases_are_found_without_a_server(browser, on_disk):
    with opened(browser, on_disk, offline=True) as (tab, address):
        tab.goto(address)
        rows = tab.locator(".every-case tbody tr:visible")
        assert rows.count() == 40 and tab.locator("#shown").inner_text() == "40 cases"
        tab.locator("#find").fill("case_00 asked")
        assert rows.locator("th").all_inner_texts() == [
            "case_001",
            "case_003",
            "case_006",
            "case_008",
        ]  # "not asked for yet", too
        assert tab.locator("#shown").inner_text() == "4 of 40 cases" and tab.locator(".map i.dim").count() == 36
        tab.locator("#find").fill("")
        tab.locator("#of-group").select_option("A")
        key = tab.locator(".signs button", has_text="disputed")
        key.focus()
        tab.keyboard.press("Enter")
        assert key.get_attribute("aria-pressed") == "true"
        assert rows.locator("th").all_inner_texts() == ["case_002", "case_012", "case_022", "case_032"]
        tab.keyboard.press("Space")
        tab.locator("#of-group").select_option("*")
        tab.locator('.map i[data-case="case_017"]').click()
        assert rows.locator("th").all_inner_texts() == ["case_017"]


def test_cases_sort_by_number_and_unknown_ones_come_last(browser, on_disk):
    with opened(browser, on_disk) as (tab, address):
        tab.goto(address)
        tab.locator(".every-case thead button", has_text="minutes").click()
        minutes = tab.locator(".every-case tbody tr td:nth-child(8)").all_inner_texts()
        assert minutes[:8] == ["12.5"] * 8 and not any(minutes[8:])


def test_on_paper_everything_is_there_and_nothing_is_cut(browser, tmp_path):
    cases = [case(number, "labelled" if number % 3 else "unlabelled", "AB"[number % 2]) for number in range(300)]
    told, past = full()
    path = tmp_path / "status.html"
    path.write_text(page_text(replaced(told, cases=tuple(cases)), past), encoding="utf-8")
    with opened(browser, path.as_uri(), 703) as (tab, address):
        tab.goto(address)
        tab.emulate_media(media="print")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.locator(".every-case tbody tr:visible").count() == 200
        assert tab.get_by_text("100 cases that are not asked for yet are not printed").is_visible()
        assert (
            not tab.locator(".tools").is_visible()
            and not tab.locator("nav").is_visible()
            and not tab.locator(".copy button").first.is_visible()
        )
        cut = """[...document.querySelectorAll("table")].filter(table => table.getBoundingClientRect().right >
            table.closest(".scroll").getBoundingClientRect().right + 1).length"""
        assert tab.evaluate(cut) == 0 and tab.evaluate("document.documentElement.scrollWidth") <= 703
        assert tab.evaluate("document.querySelector('.tall').scrollHeight === document.querySelector('.tall').clientHeight")


def test_headings_descend_and_cells_have_heads_in_light_and_dark(browser, on_disk):
    with opened(browser, on_disk) as (tab, address):
        tab.goto(address)
        levels = tab.locator("h1,h2,h3,h4").evaluate_all("all => all.map(heading => Number(heading.tagName[1]))")
        assert levels[0] == 1 and tab.locator("h1").count() == 1
        assert all(after <= before + 1 or (before, after) == (2, 4) for before, after in itertools.pairwise(levels))
        assert tab.locator("table th:not([scope])").count() == 0
        links = tab.locator("nav a").evaluate_all("all => all.every(link => document.querySelector(link.getAttribute('href')))")
        assert links
        contrast = """selector => {const luminance = color => {const [r, g, b] = color.match(/[\\d.]+/g).map(Number).map(v => {v /= 255;
            return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4}); return 0.2126 * r + 0.7152 * g + 0.0722 * b};
            const ink = luminance(getComputedStyle(document.querySelector(selector)).color),
            back = luminance(getComputedStyle(document.body).backgroundColor);
            return (Math.max(ink, back) + 0.05) / (Math.min(ink, back) + 0.05)}"""
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            for selector in ("h1", ".lead", "td", "td small", ".flag", "footer", "nav a"):
                assert tab.evaluate(contrast, selector) > 4.5, (scheme, selector)


class Serving:
    """A server of one page, which can be exchanged or fail, and which counts who asks."""

    def __init__(self, page):
        self.page, self.asked = page, 0
        serving = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                serving.asked += self.path == "/status.html"
                self.send_response(200 if serving.page else 500)
                self.end_headers()
                self.wfile.write((serving.page or "").encode())

            def log_message(self, *given):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def serving():
    served = Serving(page_text(*full()))
    yield served
    served.server.shutdown()
    served.server.server_close()


def test_a_page_that_is_served_renews_itself_and_keeps_what_was_searched(browser, serving):
    told, past = full()
    with opened(browser, serving.address) as (tab, address):
        tab.clock.install()
        tab.goto(address)
        tab.locator("#find").fill("case_00")
        tab.locator(".signs button", has_text="disputed").click()
        before = tab.locator("#content").element_handle()
        tab.clock.run_for(16_000)
        tab.wait_for_function("document.getElementById('live').textContent.includes('renews itself')")
        assert before.evaluate("part => part.isConnected")  # nothing new
        serving.page = page_text(replaced(told, todo=(Todo("Ask for more."),)), past)
        tab.clock.run_for(16_000)
        tab.get_by_text("Ask for more.").wait_for()
        assert tab.locator("#find").input_value() == "case_00"
        assert tab.locator(".every-case tbody tr:visible th").all_inner_texts() == ["case_002", "case_007"]
        tab.locator("#find").fill("")
        assert tab.locator(".every-case tbody tr:visible").count() == 8  # the new page's script works


def test_it_asks_politely_and_says_if_nobody_answers(browser, serving):
    with opened(browser, serving.address) as (tab, address):
        tab.clock.install()
        tab.goto(address)
        tab.clock.run_for(14_000)
        assert serving.asked == 0
        serving.page = ""
        tab.clock.run_for(2_000)
        tab.get_by_text("The server does not answer").wait_for()
        tab.clock.run_for(28_000)  # twice as long now
        assert serving.asked == 1
        tab.problems[:] = [problem for problem in tab.problems if "500" not in problem]


def test_a_page_from_disk_asks_nobody(browser, on_disk):
    with opened(browser, on_disk) as (tab, address):
        tab.clock.install()
        tab.goto(address)
        tab.clock.run_for(120_000)
        assert tab.locator("#live").inner_text() == ""
