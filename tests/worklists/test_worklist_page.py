"""The reader's page and its pictures: what to do first, nothing from outside, names as they are, narrow windows, keyboard, paper."""

import contextlib
import html
import html.parser
import io
import re

import nibabel
import numpy as np
import pytest
from asked_cases import CLASSES, NASTY, images, scans, write_scan
from PIL import Image

from jaxal.errors import UserError
from jaxal.worklists import page, pictures, write
from jaxal.worklists.items import Worklist

COLOURS = [entry.rgb for entry in CLASSES]


class Seen(html.parser.HTMLParser):
    """Addresses that a page loads or leads to, and its text."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.tags, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "srcset", "data")]

    def handle_data(self, data):
        self.text += data


def first_item(**changes):
    worklist = scans("/project", NASTY[:1])
    return worklist._replace(items=[worklist.items[0]._replace(**changes)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Start with case 01. There is 1 case to draw, about 11 minutes."),
        ({"minutes": None}, "Start with case 01. There is 1 case to draw."),
        ({"minutes": 0.2}, "Start with case 01. There is 1 case to draw, about 10 seconds."),
        ({"minutes": 1.2}, "Start with case 01. There is 1 case to draw, about 1 minute."),
        ({"minutes": 200.0}, "Start with case 01. There is 1 case to draw, about 3.5 hours."),
        ({"state": "in work"}, "Go on with case 01, which you have begun. There is 1 case to draw, about 11 minutes."),
        (
            {"returned": ("Upside down.",)},
            "Start with case 01, which came back: Upside down. There is 1 case to draw, about 11 minutes.",
        ),
        ({"returned": ("empty",)}, "Start with case 01, which came back: empty. There is 1 case to draw, about 11 minutes."),
        ({"state": "delivered"}, "Nothing to do now. There is 1 case handed in and being checked; thank you."),
    ],
)
def test_the_first_sentence_says_what_to_do(changes, said):
    worklist = first_item(**changes)
    assert page.lead(worklist) == said
    text = page.page_text(worklist, worklist.items[0].result.parent.parent, {})
    assert text.index('class="lead"') < text.index("case 01</span>")


def test_a_page_that_is_served_names_no_folder_and_tells_of_the_extension(tmp_path):
    worklist = scans(tmp_path)
    text = page.page_text(worklist, None, {})
    assert str(tmp_path) not in text and "slicer_worklist.py" not in text
    assert (
        "MONAI Label" in text
        and 'location.href.split("/readers/")[0]' in text
        and f"<code>{html.escape(worklist.reader)}</code>" in text
    )
    of_images = page.page_text(images(tmp_path), None, {})
    assert "click.html" in of_images and str(tmp_path) not in of_images and "labelstudio" not in of_images


def test_minutes_of_some_cases_are_a_lower_bound(tmp_path):
    first, second = scans(tmp_path, NASTY[:2]).items
    worklist = scans(tmp_path)._replace(items=[first, second._replace(minutes=None)])
    assert page.lead(worklist) == "Start with case 01. There are 2 cases to draw, at least 11 minutes in all."


def test_a_reader_of_whom_nothing_is_asked_is_told_so(tmp_path):
    text = page.page_text(Worklist("p", "anna", CLASSES, []), tmp_path, {})
    assert "Nothing to do now." in text and "How to open" not in text


def test_names_are_shown_as_they_are_and_nothing_comes_from_outside(tmp_path):
    worklist = scans(tmp_path, returned=("Not <b>bold</b>.",))
    seen = Seen(page.page_text(worklist, tmp_path, {NASTY[0]: b"picture"}))
    for name in (*NASTY, *(entry.name for entry in CLASSES), worklist.project, worklist.reader, "not <b>bold</b>."):
        assert name in seen.text
    assert seen.tags.count("script") == 1 and all(address.startswith("data:") for address in seen.addresses)
    assert seen.tags.count("img") == 1


def test_styles_and_scripts_load_nothing(tmp_path):
    folder = tmp_path / "readers" / "anna"
    write.write_worklists(images(tmp_path), folder)
    for name in ("worklist.html", "click.html"):
        text = (folder / name).read_text()
        assert not re.search(r"https?:|url\(|@import|<link(?! rel=\"icon\" href=\"data:)|//[a-z]+\.[a-z]", text)


def test_what_came_back_is_first(tmp_path):
    first, second, third = scans(tmp_path, NASTY[:3]).items
    worklist = scans(tmp_path)._replace(
        items=[first._replace(state="delivered"), second, third._replace(returned=("Upside down.",))]
    )
    text = page.page_text(worklist, tmp_path, dict.fromkeys(NASTY, b"picture"))
    places = [text.index(f"{place}. {start}") for place, start in ((3, "Müller"), (2, "O&#x27;Neil"), (1, "case 01"))]
    assert places == sorted(places) and "Returned because upside down." in text
    assert text.count("<img") == 2 and text.count("Commands for this case") == 2  # nothing of what is handed in


def test_three_hundred_cases_make_a_page_that_a_browser_can_open(tmp_path):
    worklist = scans(tmp_path, [f"case {number}" for number in range(300)])
    text = page.page_text(worklist, tmp_path, {item.case: bytes(20_000) for item in worklist.items})
    assert text.count("<section") == 300 and len(text) < 12e6


def test_all_forms_are_written_and_folders_made(tmp_path):
    worklist = scans(tmp_path, NASTY[:1])
    write_scan(worklist)
    folder = tmp_path / "readers" / "anna"
    written = write.write_worklists(worklist, folder)
    names = {"worklist.csv", "labels.txt", "slicer_worklist.py", "worklist.html", "worklist.mitk.json", "mitk_labels.json"}
    names |= {"worklist.mitk-until-2025.08.json", "mitk_labels-until-2025.08.json"}
    assert {path.name for path in written} == names and all(path.is_file() for path in written)
    assert {path.name for path in folder.iterdir()} == {*names, "inbox", "unfinished"}
    before = {path: path.read_bytes() for path in written}
    write.write_worklists(worklist, folder)
    assert {path: path.read_bytes() for path in written} == before


def test_a_picture_that_is_known_is_not_drawn_again(tmp_path):
    worklist = scans(tmp_path, NASTY[:1])  # whose files are not there
    write.write_worklists(worklist, tmp_path / "anna", {NASTY[0]: b"known"})
    with pytest.raises(UserError, match=r"scan 1.nii.gz: cannot be read"):
        write.write_worklists(worklist, tmp_path / "anna")


# Pictures


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def close_to(pixels, colour, tolerance=60):
    return (np.abs(pixels - colour) < tolerance).all(-1)


def test_the_most_uncertain_place_is_that_of_a_block_and_not_of_a_voxel(rng):
    unsure = np.zeros((40, 30, 20))
    unsure[3, 4, 5] = 5.0  # noise
    unsure[24:30, 12:18, 9:12] = 0.9
    assert pictures.most_uncertain(unsure, (1.0, 1.0, 2.0)) == (27, 15, 10)
    assert pictures.most_uncertain(np.where(unsure == 0, np.nan, unsure), (1.0, 1.0, 2.0)) == (27, 15, 10)


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 4, 3), (300, 7, 2)])
def test_a_place_is_found_in_any_shape(shape):
    place = pictures.most_uncertain(np.ones(shape), (0.5, 3.0, 9.0))
    assert all(0 <= index < size for index, size in zip(place, shape, strict=True))


def test_the_picture_has_three_views_with_millimetres_of_one_length():
    """40 x 20 x 60 mm: seen from above 40 x 20, from the front 40 x 60, from the side 20 x 60; beside each other, and the heat below."""
    shape = (40, 20, 20)
    picture = decoded(pictures.draw_why(np.ones(shape), None, np.ones(shape), (1.0, 1.0, 3.0), COLOURS))
    widths = [480, 160, 80]  # of 240 pixels of height, but no wider than 480
    assert picture.shape == (2 * 240, sum(widths) + 2 * len(widths), 3)


def test_outlines_have_their_class_s_colour_and_heat_is_where_the_network_is_unsure():
    shape = (48, 48, 48)
    image, proposal, unsure = np.zeros(shape), np.zeros(shape, np.uint8), np.zeros(shape)
    proposal[4:20, 4:20, 20:28], unsure[30:42, 30:42, 20:28] = 1, 1.0
    proposal[30:42, 30:42, 20:28] = 2
    top, heat = np.split(decoded(pictures.draw_why(image, proposal, unsure, (1.0, 1.0, 1.0), COLOURS))[:, 1:241], 2)
    corner, opposite = (slice(140, 240), slice(0, 110)), (slice(0, 110), slice(140, 240))  # front left, back right: y goes up
    assert close_to(top[corner], COLOURS[0]).any() and not close_to(top[opposite], COLOURS[0]).any()
    assert close_to(top[opposite], COLOURS[1]).any() and not close_to(top[corner], COLOURS[1]).any()
    assert heat[opposite][..., 0].max() > 100 and heat[corner][..., 0].max() < 40


def test_lines_point_at_the_most_uncertain_place_and_leave_it_free():
    shape = (48, 48, 48)
    unsure = np.zeros(shape)
    unsure[36:42, 6:12, 20:28] = 1.0
    top, _ = np.split(decoded(pictures.draw_why(np.zeros(shape), None, unsure, (1.0, 1.0, 1.0), COLOURS))[:, 1:241], 2)
    white = close_to(top, (255, 255, 255))
    row, column = np.argmax(white[:, 5]), np.argmax(white[5])
    assert abs(column - (39.5 / 48) * 240) < 3 and abs(row - (1 - 9.5 / 48) * 240) < 3
    assert not white[row - 7 : row + 8, column - 7 : column + 8].any()


def test_a_case_without_uncertainty_shows_its_proposal_and_one_without_both_its_middle():
    shape = (20, 20, 20)
    image = np.arange(8000.0).reshape(shape)
    proposal = np.zeros(shape, np.uint8)
    proposal[3:6, 3:6, 15] = 1
    assert close_to(decoded(pictures.draw_why(image, proposal, None, (1.0, 1.0, 1.0), COLOURS)), COLOURS[0]).any()
    for values in (image, np.full(shape, np.nan), np.zeros(shape)):
        assert decoded(pictures.draw_why(values, None, None, (1.0, 1.0, 1.0), COLOURS)).shape == (240, 726, 3)


def test_what_is_asked_for_is_framed_and_shown_through_its_middle():
    asked = np.zeros((24, 24, 24), np.uint8)
    asked[4:14, 6:18, 8:20] = 1
    asked[20:, 20:, 20:] = 2
    assert pictures.middle_of_part(asked) == (9, 12, 14)
    picture = decoded(pictures.draw_why(np.zeros(asked.shape), None, None, (1.0, 1.0, 1.0), COLOURS, asked))[:, 1:241]
    framed = np.argwhere(close_to(picture, (255, 255, 255)))
    assert framed.min(0).tolist() == pytest.approx([60, 40], abs=3) and framed.max(0).tolist() == pytest.approx([179, 139], abs=3)
    assert not close_to(picture[75:165, 55:125], (255, 255, 255)).any(), "inside, the scan is seen"
    whole = np.ones(asked.shape, np.uint8)
    edge = decoded(pictures.draw_why(np.zeros(asked.shape), None, None, (1.0, 1.0, 1.0), COLOURS, whole))[:, 1:241]
    assert close_to(edge[1:4], (255, 255, 255)).any(), "a part that is all of the slice has a frame, too"


def test_a_scan_stored_in_another_orientation_has_the_same_picture(tmp_path):
    item = write_scan(scans(tmp_path, NASTY[:1]))
    before = pictures.picture_of(item, CLASSES)
    for path in (item.image, item.proposal_nifti, item.uncertainty):
        turned = nibabel.load(path).as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
        nibabel.save(turned, path)
    assert pictures.picture_of(item, CLASSES) == before


def test_a_proposal_that_does_not_fit_and_a_damaged_scan_are_told(tmp_path):
    item = write_scan(scans(tmp_path, NASTY[:1]))
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), item.proposal_nifti)
    with pytest.raises(UserError, match=r"1.nii.gz: has \(3, 4, 5\) voxels"):
        pictures.picture_of(item, CLASSES)
    item.image.write_bytes(b"no scan")
    with pytest.raises(UserError, match=r"scan 1.nii.gz: cannot be read"):
        pictures.picture_of(item, CLASSES)


def test_images_are_shown_whole_and_deep_ones_from_dark_to_bright(tmp_path):
    Image.fromarray(np.tile(np.linspace(1000, 3000, 2048), (4, 1)).astype(np.uint16)).save(tmp_path / "deep.png")
    picture, longer = pictures.click_image(tmp_path / "deep.png")
    pixels = decoded(picture)
    assert longer == 2048 and pixels.shape == (2, 1024, 3) and pixels.min() < 8 and pixels.max() > 247
    (tmp_path / "none.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read as an image"):
        pictures.click_image(tmp_path / "none.png")


# In a browser


@contextlib.contextmanager
def opened(browser, path, width=1280):
    """A tab with a page from disk, which must give no cause for complaint."""
    context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, permissions=["clipboard-read"])
    tab, problems = context.new_page(), []
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("requestfailed", lambda request: problems.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    assert problems == []
    context.close()


@pytest.fixture
def on_disk(tmp_path):
    worklist = scans(tmp_path, (*NASTY, "x" * 120))
    write_scan(worklist)
    picture = pictures.picture_of(worklist.items[0], CLASSES)
    worklist.items[2] = worklist.items[2]._replace(returned=("The segment 'Segment_1' is none of the classes.",))
    folder = tmp_path / "readers" / "anna"
    write.write_worklists(worklist, folder, {item.case: picture for item in worklist.items})
    return folder / "worklist.html"


def test_a_narrow_window_never_scrolls_sideways_with_everything_open(browser, on_disk):
    with opened(browser, on_disk, 380) as tab:
        tab.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 380
        assert tab.title() == "liver & spleen </script>: anna 'ä'"
        assert tab.locator(".card").count() == 7 and tab.locator(".card h2").nth(0).inner_text().startswith("3. Müller")
        assert tab.evaluate("[...document.images].slice(0, 1).every(image => image.naturalWidth > 300)")


def test_commands_are_reached_and_copied_with_the_keyboard(browser, on_disk):
    with opened(browser, on_disk) as tab:
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")
        assert tab.locator("details").first.get_attribute("open") is not None
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.textContent") == "Copy"
        tab.keyboard.press("Enter")
        tab.get_by_text("Copied").wait_for()
        assert tab.evaluate("navigator.clipboard.readText()").startswith("import pathlib; __file__ = ")


def test_on_paper_everything_is_open_and_there_are_no_buttons(browser, on_disk):
    with opened(browser, on_disk, 700) as tab:
        tab.emulate_media(media="print")
        tab.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert tab.locator("details:not([open])").count() == 0
        assert tab.locator(".copy button:visible").count() == 0 and tab.locator(".copy code:visible").count() > 7
