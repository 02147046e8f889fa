"""The page to choose classes, in a real browser: keyboard, undo, what it keeps, what it saves, what it posts; and reading back what it saves."""

import contextlib
import http.server
import json
import re
import threading

import pytest
from asked_cases import NASTY, images

from jaxal.errors import UserError
from jaxal.worklists import write
from jaxal.worklists.answers import Answer, read_answers

CLASSES = ("no DR", "moderate", "severe </script>")


@pytest.fixture
def on_disk(tmp_path):
    folder = tmp_path / "readers" / "anna"
    write.write_worklists(images(tmp_path), folder)
    return folder / "click.html"


@contextlib.contextmanager
def tab_of(browser, address, quiet=True, **options):
    """A tab that must give no cause for complaint."""
    context = browser.new_context(viewport={"width": 1100, "height": 900}, **options)
    tab, problems = context.new_page(), []
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(address)
    yield tab
    assert problems == [] or not quiet
    context.close()


@pytest.fixture
def tab(browser, on_disk):
    with tab_of(browser, on_disk.as_uri(), offline=True) as tab:
        yield tab


def case_of(tab):
    return re.sub(r" \(\d+ of \d+\)$", "", tab.locator("#told").inner_text())


def chosen(tab):
    return tab.locator("#classes button[aria-pressed=true] span").all_inner_texts()


def saved(tab, kind="json"):
    with tab.expect_download() as download:
        tab.locator(f"#{kind}").click()
    return download.value


def test_digits_choose_and_lead_on(tab):
    assert case_of(tab) == NASTY[2] and "6 of 6 to do" in tab.locator("#lead").inner_text()  # what came back is first
    assert tab.locator("#returned").inner_text() == "It came back: Two readers <disagree>."
    tab.keyboard.press("2")
    assert case_of(tab) == NASTY[0] and "5 of 6 to do" in tab.locator("#lead").inner_text()
    tab.keyboard.press("9")  # no class
    assert case_of(tab) == NASTY[0]
    assert tab.evaluate("document.getElementById('image').naturalWidth") == 40
    tab.locator("#classes button").nth(2).click()
    assert case_of(tab) == NASTY[1] and tab.title() == "eyes: anna"


def test_arrows_move_and_show_what_was_chosen(tab):
    tab.keyboard.press("3")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("ArrowLeft")  # there is none before the first
    assert (case_of(tab), chosen(tab)) == (NASTY[2], [CLASSES[2]])
    tab.keyboard.press("1")  # corrects it, and goes on to what is open
    assert case_of(tab) == NASTY[0]
    for _ in range(9):
        tab.keyboard.press("ArrowRight")
    assert case_of(tab) == NASTY[5] and tab.locator("#after").is_disabled()


@pytest.mark.parametrize("key", ["Backspace", "Control+z"])
def test_undo_takes_back_one_after_the_other(tab, key):
    for digit in "123":
        tab.keyboard.press(digit)
    for left, case in ((4, NASTY[1]), (5, NASTY[0]), (6, NASTY[2]), (6, NASTY[2])):
        tab.keyboard.press(key)
        assert (case_of(tab), chosen(tab)) == (case, []) and f"{left} of 6 to do" in tab.locator("#lead").inner_text()
    assert tab.locator("#undo").is_disabled()


def test_a_button_in_focus_is_pressed_with_the_keyboard(tab):
    tab.locator("#classes button").nth(1).focus()
    tab.keyboard.press("Enter")
    assert case_of(tab) == NASTY[0]


def test_the_guess_is_shown_where_the_reader_may_see_it(tab):
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    assert case_of(tab) == NASTY[1]
    assert tab.locator("#classes span").all_inner_texts() == [CLASSES[0], "moderate (the network's guess)", CLASSES[2]]


def test_what_was_chosen_is_there_when_the_page_is_opened_again(tab):
    tab.keyboard.press("2")
    tab.reload()
    assert case_of(tab) == NASTY[0] and "5 of 6 to do" in tab.locator("#lead").inner_text()
    tab.keyboard.press("Backspace")
    assert case_of(tab) == NASTY[2]


def test_a_case_that_came_back_is_open_again(browser, on_disk, tmp_path):
    with tab_of(browser, on_disk.as_uri(), offline=True) as tab:
        for digit in "111":
            tab.keyboard.press(digit)
        worklist = images(tmp_path)
        worklist.items[0] = worklist.items[0]._replace(returned=("Look again.",))
        worklist.items[1] = worklist.items[1]._replace(reading=2)
        write.write_worklists(worklist, on_disk.parent)
        tab.reload()
        assert "5 of 6 to do" in tab.locator("#lead").inner_text() and case_of(tab) == NASTY[0]


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_saved_answers_are_read_back(tab, tmp_path, kind):
    for digit in "32121":
        tab.keyboard.press(digit)
    tab.keyboard.press("Backspace")
    download = saved(tab, kind)
    assert download.suggested_filename == f"answers-anna.{kind}"
    download.save_as(tmp_path / f"saved.{kind}")
    answers = read_answers(tmp_path / f"saved.{kind}", CLASSES, "anna")
    given = {NASTY[2]: CLASSES[2], NASTY[0]: CLASSES[1], NASTY[1]: CLASSES[0], NASTY[3]: CLASSES[1]}
    assert {answer.case: answer.name for answer in answers} == given
    assert all(0 <= answer.seconds < 30 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer.at) for answer in answers)


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_an_image_is_refused_by_key_or_button_and_a_class_takes_its_place(tab, tmp_path, kind):
    tab.keyboard.press("-")
    assert case_of(tab) == NASTY[0] and "5 of 6 to do" in tab.locator("#lead").inner_text()
    tab.locator("#refusals button").nth(1).click()
    assert tab.locator("#refusals button").all_inner_texts() == ["-\nNot usable", ".\nNone of these"]
    tab.keyboard.press("ArrowLeft")
    assert chosen(tab) == [] and tab.locator("#refusals button[aria-pressed=true]").count() == 1
    tab.keyboard.press("2")  # it has a class, after all
    tab.keyboard.press(".")
    saved(tab, kind).save_as(tmp_path / f"saved.{kind}")
    answers = read_answers(tmp_path / f"saved.{kind}", CLASSES, "anna")
    told = {answer.case: (answer.name, answer.refusal) for answer in answers}
    assert told == {NASTY[2]: ("", "not usable"), NASTY[0]: (CLASSES[1], ""), NASTY[1]: ("", "none of these")}


def test_seconds_count_work_and_stop_after_five_idle_minutes(browser, on_disk, tmp_path):
    with tab_of(browser, "about:blank", offline=True) as tab:
        tab.clock.install(time=1_700_000_000)
        tab.goto(on_disk.as_uri())
        tab.clock.run_for(20_000)
        tab.keyboard.press("1")
        tab.clock.run_for(40 * 60_000)  # lunch
        tab.keyboard.press("ArrowRight")
        tab.clock.run_for(5_000)
        tab.keyboard.press("ArrowLeft")
        tab.clock.run_for(3_000)
        tab.keyboard.press("1")
        saved(tab).save_as(tmp_path / "saved.json")
    first, second = (answer.seconds for answer in read_answers(tmp_path / "saved.json", CLASSES, "anna"))
    assert (first, second) == pytest.approx((20, 303), abs=5)  # the clock of the tab goes on by itself, too


def test_a_narrow_window_never_scrolls_sideways(tab):
    tab.set_viewport_size({"width": 380, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 380


def test_three_hundred_images(browser, tmp_path):
    folder = tmp_path / "anna"
    write.write_worklists(images(tmp_path, [f"image {number}" for number in range(300)]), folder)
    with tab_of(browser, (folder / "click.html").as_uri(), offline=True) as tab:
        assert "300 of 300" in tab.locator("#lead").inner_text()
        tab.keyboard.press("1")
        assert "299 of 300" in tab.locator("#lead").inner_text()


def test_nothing_to_do_is_said(browser, tmp_path):
    worklist = images(tmp_path)
    write.write_worklists(
        worklist._replace(items=[item._replace(state="delivered") for item in worklist.items]), tmp_path / "anna"
    )
    with tab_of(browser, (tmp_path / "anna" / "click.html").as_uri(), offline=True) as tab:
        assert tab.locator("#lead").inner_text() == "Nothing to do now." and not tab.locator("#work").is_visible()
        tab.keyboard.press("1")


class Server(http.server.ThreadingHTTPServer):
    """Serves the page, takes answers or refuses them."""

    def __init__(self, page):
        self.page, self.taken, self.status, self.against = page, [], 200, None
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self._say(200, self.server.page.read_bytes(), "text/html; charset=utf-8")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = 403 if json.loads(body)["class"] == self.server.against else self.server.status
        if status == 200:
            self.server.taken.append((self.path, self.headers["Content-Type"], json.loads(body)))
        self._say(status, b"Ask who runs the project.", "text/plain")

    def _say(self, status, content, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def served(on_disk):
    server = Server(on_disk)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@contextlib.contextmanager
def served_tab(browser, server, **options):
    """A tab whose clock the test winds."""
    with tab_of(browser, "about:blank", **options) as tab:
        tab.clock.install()
        tab.goto(f"http://127.0.0.1:{server.server_port}/readers/anna/click.html")
        yield tab


def wait_until(tab, said):
    """Winds the clock until the page says something."""
    for _ in range(40):
        tab.clock.run_for(1000)
        tab.wait_for_timeout(20)
        if said in tab.locator("main").inner_text():
            return
    raise AssertionError(tab.locator("main").inner_text())


def test_served_it_posts_each_answer_once(browser, served):
    with served_tab(browser, served) as tab:
        for digit in "123123":
            tab.keyboard.press(digit)
        wait_until(tab, "all answers have arrived")
        assert [answer["case"] for _, _, answer in served.taken] == [NASTY[2], NASTY[0], NASTY[1], *NASTY[3:]]
        path, kind, answer = served.taken[0]
        assert (path, kind) == ("/readers/anna/answer", "application/json")
        assert (
            answer.keys() == {"case", "class", "refusal", "seconds", "at"}
            and answer["class"] == CLASSES[0]
            and answer["seconds"] >= 0
        )
        tab.reload()
        wait_until(tab, "all answers have arrived")
        assert len(served.taken) == 6


def test_what_is_undone_in_time_is_never_posted_and_later_it_is_corrected(browser, served):
    with served_tab(browser, served) as tab:
        tab.keyboard.press("1")
        tab.keyboard.press("Backspace")
        tab.clock.run_for(20_000)
        tab.keyboard.press("2")
        for _ in range(10):
            tab.clock.run_for(1000)
            tab.wait_for_timeout(20)
        assert [answer["class"] for _, _, answer in served.taken] == [CLASSES[1]]
        tab.keyboard.press("Backspace")
        assert (case_of(tab), chosen(tab)) == (NASTY[2], [CLASSES[1]])
        assert "has arrived already" in tab.locator("#state").inner_text()
        tab.keyboard.press("3")
        for _ in range(10):
            tab.clock.run_for(1000)
            tab.wait_for_timeout(20)
        assert [answer["class"] for _, _, answer in served.taken] == [CLASSES[1], CLASSES[2]]


def test_what_the_server_refuses_is_told_kept_and_sent_again(browser, served):
    with served_tab(browser, served, quiet=False) as tab:
        served.status = 500
        tab.keyboard.press("1")
        wait_until(tab, "was not taken: Ask who runs the project.")
        served.status = 200
        for _ in range(30):
            tab.clock.run_for(1000)
            tab.wait_for_timeout(20)
        assert [answer["class"] for _, _, answer in served.taken] == [CLASSES[0]]
        assert "was not taken" not in tab.locator("main").inner_text()


def test_one_refused_answer_does_not_hold_back_the_others(browser, served):
    served.against = CLASSES[0]
    with served_tab(browser, served, quiet=False) as tab:
        for key in "122":
            tab.keyboard.press(key)
        wait_until(tab, "was not taken: Ask who runs the project.")
        for _ in range(20):
            tab.clock.run_for(1000)
            tab.wait_for_timeout(20)
        assert [answer["class"] for _, _, answer in served.taken] == [CLASSES[1]] * 2


def test_an_answer_waits_though_an_earlier_one_is_due(browser, served):
    with served_tab(browser, served) as tab:
        tab.keyboard.press("1")
        tab.clock.run_for(3000)
        tab.keyboard.press("2")
        tab.clock.run_for(2500)
        tab.wait_for_timeout(100)
        tab.keyboard.press("Backspace")
        for _ in range(10):
            tab.clock.run_for(1000)
            tab.wait_for_timeout(20)
        assert [answer["class"] for _, _, answer in served.taken] == [CLASSES[0]]


# What was saved, read back


def write_json(path, **changes):
    answers = [{"case": "a", "class": "moderate", "seconds": 2, "at": "2026-11-26T08:00:00Z"}]
    path.write_text(json.dumps({"format": "jaxal answers", "version": 1, "reader": "anna", "answers": answers} | changes))
    return path


def test_answers_are_plain_records(tmp_path):
    path = write_json(tmp_path / "a.json")
    assert read_answers(path, CLASSES, "anna") == [Answer("a", "moderate", "anna", 2.0, "2026-11-26T08:00:00Z")]
    (tmp_path / "a.csv").write_text("\ufeffcase;class;seconds;at;reader\r\na;moderate;;;anna\r\n")
    assert read_answers(tmp_path / "a.csv", CLASSES, "anna") == [Answer("a", "moderate", "anna", None, "")]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": "other"}, "is not what the page"),
        ({"version": 2}, "another version"),
        ({"reader": "ben"}, "another reader than anna"),
        ({"answers": {}}, "is not what the page"),
        ({"answers": [3]}, "answer 1 names no case"),
        ({"answers": [{"class": "moderate"}]}, "answer 1 names no case"),
        ({"answers": [{"case": "a"}]}, "case 'a' has the class ''"),
        ({"answers": [{"case": "a", "class": ["moderate"]}]}, "has the class"),
        ({"answers": [{"case": "a", "class": "Moderate"}]}, "'Moderate', and the project has no DR, moderate"),
        ({"answers": [{"case": "a", "class": "moderate", "seconds": -1}]}, "took '-1' seconds"),
        ({"answers": [{"case": "a", "class": "moderate", "seconds": "long"}]}, "took 'long' seconds"),
        ({"answers": [{"case": "a", "class": "moderate", "seconds": float("nan")}]}, "took 'nan' seconds"),
        ({"answers": [{"case": "a", "class": "moderate", "at": 5}]}, "a time that is no text"),
    ],
)
def test_bad_answers_are_refused_in_a_sentence(tmp_path, changes, said):
    path = write_json(tmp_path / "a.json", **changes)
    with pytest.raises(UserError, match=re.escape(said)) as error:
        read_answers(path, CLASSES, "anna")
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", b'{"format": "jaxal ans', "is no JSON"),
        ("a.json", b"[" * 100_000, "is no JSON"),
        ("a.json", b"\xff\xfe", "is no text in UTF-8"),
        ("a.json", None, "cannot be read"),
        ("a.csv", b"name,class\nx,moderate\n", "answer 1 names no case"),
        ("a.csv", b"case,class,seconds\na,moderate,soon\n", "took 'soon' seconds"),
        ("a.csv", b"case,class\na,\n", "has the class ''"),
        ("a.csv", b'case,class\n"a,moderate\n' + b"x" * 200_000, "is no CSV"),
    ],
)
def test_files_that_are_no_answers_are_refused_in_a_sentence(tmp_path, name, content, said):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(said)):
        read_answers(tmp_path / name, CLASSES, "anna")
