"""The page of what is to be decided: both maps, where they differ, how much, and commands that decide; names are names."""

import io
import re
import shlex

import nibabel
import numpy as np
import pytest
from made_pages import NASTY, Seen
from PIL import Image

from jaxal.cli import main
from jaxal.labels.findings import dice_with
from jaxal.projects import decisions
from jaxal.projects.project import IGNORE
from jaxal.projects.review_page import Dispute, dispute_of, page_text, review_text, write_review
from jaxal.projects.scans.labels import read_version
from jaxal.projects.state import Version
from jaxal.worklists.differences import OTHERWISE, READERS, draw_differences, largest_difference

SHAPE = (40, 40, 40)


def version(reader="anna", **volumes_ml):
    name = f"{reader}-1"
    return Version(name, "c", reader, 1, 1, "2026-01-01T00:00:00+00:00", 5.0, (), "d" * 64, "", 3, None, volumes_ml=volumes_ml)


def dispute(**more):
    fields = {
        "case": "case 1", "group": "A", "versions": [version("anna", tumour=1.25), version("ben", tumour=2.5)], "dice": [[0.4321, np.nan]],
        "pictures": [b"one", b"two", b"both"], "others": ["carl"],
    }  # fmt: skip
    return Dispute(**{**fields, **more})


def page(*disputes, name="liver", classes=("tumour", "vessel"), folder="/data/my liver"):
    return page_text(name, folder, classes, disputes, 0.7, "2026-11-26T09:40:00+00:00")


@pytest.fixture
def disputed(begin):
    """A project with three cases, of which ben has drawn the first somewhere else."""
    made = begin(double_share=1.0, far_apart=0.9, size=3)
    made.ask()
    first = sorted({reading.case for reading in made.state.open_readings})[0]
    for reading in made.state.open_readings:
        moved, label = made.folder / f"{reading.case}.nii.gz", nibabel.load(made.label(reading.case))
        shift = 3 if (reading.case, reading.reader) == (first, "ben") else 0
        nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(label.dataobj), shift, 0), label.affine), moved)
        made.draw(reading.reader, reading.case, path=moved)
    made.answer()
    assert made.state.with_status("disputed") == [first]
    return made, first


def test_the_first_sentence_says_what_to_do():
    assert Seen(page(dispute())).first == "Decide on this case: as long as you do not, no label of it counts."
    assert Seen(page(dispute(), dispute())).first.startswith("Decide on these 2 cases:")
    nothing = Seen(page())
    assert nothing.first == "Nothing is to be decided: readers differ too much on no case." and "img" not in nothing.tags


def test_every_way_to_decide_has_its_command():
    commands = [shlex.split(command) for command in re.findall(r"<code>(.*?)</code>", page(dispute()).replace("&#x27;", "'"))]
    begin, who = ["jaxal", "review", "/data/my liver", "case 1"], ["--by", "NAME", "--why", "TEXT"]
    assert commands == [
        [*begin, "--take", "anna-1", *who], [*begin, "--take", "ben-1", *who], [*begin, "--third"],
        ["jaxal", "return", "/data/my liver", "case 1/anna-1", "--why", "TEXT"], ["jaxal", "return", "/data/my liver", "case 1/ben-1", "--why", "TEXT"],
        ["jaxal", "exclude", "/data/my liver", "case 1", "--why", "TEXT"],
    ]  # fmt: skip
    assert "carl" in Seen(page(dispute())).text and "--third" not in page(dispute(others=()))


def test_every_number_comes_from_the_records():
    cells = Seen(page(dispute())).cells
    assert cells == ["class", "Dice", "anna, ml", "ben, ml", "tumour", "0.432", "1.25", "2.50", "vessel", "–", "0.00", "0.00"]
    others = Seen(page(dispute(dice=[[0.9876, 0.5]], versions=[version(tumour=7.0), version("ben", vessel=8.0)]))).cells
    assert others[4:] == ["tumour", "0.988", "7.00", "0.00", "vessel", "0.500", "0.00", "8.00"]
    assert "a Dice below 0.7," in Seen(page(dispute())).text


def test_three_readers_have_a_dice_for_each_pair():
    three = dispute(
        versions=[version(name) for name in ("anna", "ben", "carl")],
        dice=[[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]],
        pictures=[b"x"] * 4,
    )
    cells = Seen(page(three)).cells
    assert cells[1:4] == ["Dice, anna and ben", "Dice, anna and carl", "Dice, ben and carl"]
    assert cells[8:11] == ["0.100", "0.300", "0.500"] and page(three).count("<img") == 4


def test_names_are_shown_as_they_are_and_nothing_comes_from_elsewhere():
    text = page(
        dispute(case=NASTY, group=NASTY, versions=[version(NASTY), version("ben")], others=[NASTY]),
        name=NASTY,
        classes=(NASTY, "b"),
        folder=NASTY,
    )
    known = Seen(text)
    assert known.text.count(NASTY) > 8 and "b" not in known.tags and known.tags.count("script") == 1
    assert all(address.startswith("data:") for address in known.addresses)
    assert not re.search(r"https?:|url\(|@import|//[a-z]+\.[a-z]", re.sub(r"base64,[^\"]*", "", text))


def test_a_disputed_case_is_shown_with_its_maps(disputed):
    made, id_ = disputed
    text = write_review(made.project).read_text(encoding="utf-8")
    assert (made.folder / "review.html").is_file() and text.count("<section") == 1 and text.count("<img") == 3
    maps = [read_version(made.project, id_, name) for name in ("anna-1", "ben-1")]
    dice = dice_with(*maps, len(made.state.classes) - 1)
    cells = Seen(text).cells
    for name, value in zip(made.state.classes[1:], dice, strict=True):
        assert cells[cells.index(name) + 1] == f"{value:.3f}"


def test_what_is_decided_is_gone_from_the_page(disputed):
    made, id_ = disputed
    command = next(
        command
        for command in re.findall(r"<code>(.*?)</code>", review_text(made.project).replace("&#x27;", "'"))
        if "--take ben" in command
    )
    assert main.main(shlex.split(command)[1:]) == 2, "the words that stand for a reason are none"
    assert main.main(shlex.split(command.replace("TEXT", "'ben saw the vessel'"))[1:]) == 0
    assert made.state.cases[id_].label == "ben-1"
    assert Seen(review_text(made.project)).first.startswith("Nothing is to be decided")


def test_pictures_are_drawn_once_and_anew_for_another_label(disputed):
    made, id_ = disputed
    first = dispute_of(made.project, made.state, id_).pictures
    kept = sorted((made.folder / "cache" / "review").iterdir())
    kept[0].write_bytes(b"kept")
    assert dispute_of(made.project, made.state, id_).pictures[0] == b"kept" and len(kept) == 3
    decisions.give_back(made.project, [f"{id_}/ben-1"], "elsewhere")
    moved, label = made.folder / f"{id_}.nii.gz", nibabel.load(made.label(id_))
    nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(label.dataobj), 3, 1), label.affine), moved)
    made.draw("ben", id_, path=moved)
    made.answer()
    again = dispute_of(made.project, made.state, id_).pictures
    assert again[1] != first[1] and again[2] != first[2]


# Pictures


def decoded(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def close_to(pixels, colour, tolerance=45):
    return (np.abs(pixels - colour) < tolerance).all(-1)


def maps():
    """Two readers: they agree at the left front, one alone drew at the left back, and they call the right back something else."""
    first, second = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    first[4:14, 26:36, 15:25] = second[4:14, 26:36, 15:25] = 1
    first[4:14, 4:14, 15:25] = 1
    first[26:36, 4:14, 15:25], second[26:36, 4:14, 15:25] = 1, 2
    return first, second


def corner(pixels, x, y):
    """A part of the axial slice: 240 pixels for 40 voxels, y goes up."""
    return pixels[240 - 6 * (y + 9) : 240 - 6 * (y + 1), 1 + 6 * (x + 1) : 1 + 6 * (x + 9)]


def test_what_differs_has_the_colour_of_who_drew_it():
    first, second = maps()
    drawn = draw_differences(np.zeros(SHAPE), [first, second], (1.0, 1.0, 1.0))
    together = decoded(drawn.together)
    tint = [np.array(colour) * 0.55 for colour in (*READERS[:2], OTHERWISE)]
    assert close_to(corner(together, 4, 4), tint[0]).mean() > 0.7  # the first alone
    assert close_to(corner(together, 26, 4), tint[2]).mean() > 0.7  # both, but not the same
    assert (corner(together, 5, 27)[9:-9, 9:-9] < 40).all()  # alike
    swapped = decoded(draw_differences(np.zeros(SHAPE), [second, first], (1.0, 1.0, 1.0)).together)
    assert close_to(corner(swapped, 4, 4), tint[1]).mean() > 0.7


def test_each_reader_is_outlined_alone_in_a_colour_of_their_own():
    drawn = draw_differences(np.zeros(SHAPE), maps(), (1.0, 1.0, 1.0))
    mine, others = (decoded(picture)[:, 1:241] for picture in drawn.alone)
    assert close_to(mine, READERS[0]).any() and not close_to(mine, READERS[1]).any()
    assert close_to(others, READERS[1]).any() and not close_to(others, READERS[0]).any()
    assert not close_to(corner(others, 4, 4), READERS[1]).any()  # ben drew nothing there


def test_slices_go_through_the_largest_place_at_which_they_differ():
    first = np.zeros(SHAPE, np.uint8)
    second = first.copy()
    second[2:5, 2:5, 2:5] = 1
    second[30:38, 20:29, 10:17] = 1  # the largest
    second[::2, 0, 39] = 1  # many small ones
    assert largest_difference([first, second]) in {(x, y, z) for x in range(30, 38) for y in range(20, 29) for z in range(10, 17)}
    second[30:38, 20:29, 10:17] = IGNORE  # nobody knows, so that is no difference
    assert largest_difference([first, second]) in {(x, y, z) for x in range(2, 5) for y in range(2, 5) for z in range(2, 5)}
    first[7, 8, 9] = 1
    assert largest_difference([first, first]) == (7, 8, 9)


def test_what_nobody_annotated_is_not_drawn():
    first, second = maps()
    second[4:14, 4:14, 15:25] = IGNORE
    together = decoded(draw_differences(np.zeros(SHAPE), [first, second], (1.0, 1.0, 1.0)).together)
    assert not close_to(corner(together, 5, 5)[9:-9, 9:-9], np.array(READERS[0]) * 0.55).any()


def test_three_readers_and_thick_slices_are_drawn():
    first, second = maps()
    drawn = draw_differences(np.zeros(SHAPE), [first, second, np.zeros(SHAPE, np.uint8)], (1.0, 1.0, 3.0))
    assert len(drawn.alone) == 3 and decoded(drawn.together).shape == decoded(drawn.alone[2]).shape
    assert decoded(drawn.together).shape[1] == 240 + 80 + 80 + 6
