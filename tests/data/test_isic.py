"""ISIC 2019 with its metadata: classes, lesions, groups from one column or several, and what does not fit."""

import csv
import dataclasses
import shutil

import pytest
from PIL import Image

from jaxal.cli.classification import STUDY, Arguments
from jaxal.data.groups import Grouping
from jaxal.data.images import isic
from jaxal.data.images.layouts import find_images, is_known_layout
from jaxal.data.images.listing import check_listing
from jaxal.data.images.unlabelled import find_unlabelled
from jaxal.errors import UserError
from jaxal.studies import images

# Image, class, age, site, lesion, sex; in the order of their names.
ROWS = (
    ("ISIC_0000000", "NV", "55", "anterior torso", "", "female"),
    ("ISIC_0000001", "NV", "30", "", "HAM_1", "female"),
    ("ISIC_0000002_downsampled", "MEL", "60", "upper extremity", "HAM_2", "female"),
    ("ISIC_0000004", "MEL", "80", "posterior torso", "HAM_2", "male"),
    ("ISIC_0000006", "SCC", "", "", "", "male"),
    ("ISIC_0000007", "SCC", "85", "head/neck", "", ""),
)
HEAD = ("image", *isic.SKIN_CLASSES_2019, "UNK")


def write(folder, rows=ROWS, metadata=True):
    """The layout as it is downloaded."""
    (folder / isic.INPUT_2019).mkdir(parents=True)
    (folder / isic.INPUT_2019 / "LICENSE.txt").write_text("CC-BY-NC")
    for place, (name, *_) in enumerate(rows):
        Image.new("RGB", (9, 9), (30 * place, 90, 90)).save(folder / isic.INPUT_2019 / f"{name}.jpg")
    with (folder / isic.TRUTH_2019).open("w", newline="") as file:
        csv.writer(file).writerows([HEAD, *((name, *(float(kind == other) for other in HEAD[1:])) for name, kind, *_ in rows)])
    if metadata:
        with (folder / isic.METADATA_2019).open("w", newline="") as file:
            csv.writer(file).writerows([isic.COLUMNS_2019, *((row[0], *row[2:]) for row in rows)])
    return folder


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "isic")


def groups(folder, *grouping):
    listing = find_images(folder, Grouping(*grouping))
    return [image.group for image in listing.images], listing.notes


def test_classes_lesions_and_what_nobody_has(folder):
    listing = find_images(folder)
    check_listing(listing)
    assert (listing.layout, listing.classes) == ("ISIC 2019", ("MEL", "NV", "SCC"))  # in ISIC's order; nobody has UNK
    assert listing.notes == ("No image is of the class BCC or AK or BKL or DF or VASC, so there is no such class.",)
    assert [image.category for image in listing.images] == ["NV", "NV", "MEL", "MEL", "SCC", "SCC"]
    assert [image.subject for image in listing.images] == [
        "ISIC_0000000", "HAM_1", "HAM_2", "HAM_2", "ISIC_0000006", "ISIC_0000007",
    ]  # fmt: skip
    assert {image.group for image in listing.images} == {""}
    assert listing.images[2].file == folder / isic.INPUT_2019 / "ISIC_0000002_downsampled.jpg"
    assert is_known_layout(folder)


def test_unknown_is_a_class_where_somebody_has_it(tmp_path):
    rows = (*ROWS, ("ISIC_0000009", "UNK", "40", "", "", "male"))
    assert find_images(write(tmp_path / "isic", rows)).classes == ("MEL", "NV", "SCC", "UNK")


def test_without_metadata_each_image_is_a_subject_and_nobody_has_a_group(tmp_path):
    folder = write(tmp_path / "isic", metadata=False)
    assert {image.subject for image in find_images(folder).images} == {row[0] for row in ROWS}
    with pytest.raises(UserError, match=r"holds no ISIC_2019_Training_Metadata.csv, which has the column 'sex'. Download it"):
        groups(folder, "sex")


def test_groups_are_cut_and_images_without_one_are_counted(folder):
    """Ages 55, 30, 60, 80, none and 85; the sex of the last is not known."""
    made, notes = groups(folder, "age_approx", (60,), None, "leave-out")
    assert made == ["<60", "<60", ">=60", ">=60", ">=60"]
    assert notes[0] == "1 of 6 images have no value in the column 'age_approx' and are left out."
    made, notes = groups(folder, "sex", (), None, "leave-out")
    assert made == ["female"] * 3 + ["male"] * 2
    made, notes = groups(folder, "sex,age_approx", (60,), None, "leave-out")
    assert made == ["female, <60", "female, <60", "female, >=60", "male, >=60"]
    assert notes[0].startswith("2 of 6 images have no value in the column 'sex' or 'age_approx'")
    assert "AK or BKL or DF or VASC or SCC" in notes[1]  # whose images were left out
    with pytest.raises(UserError, match="1 of 6 images have no value in the column 'age_approx', 'ISIC_0000006' the first"):
        groups(folder, "age_approx", (60,))
    with pytest.raises(UserError, match=r"1 of 6 images have no value .* leave these images out: --without-group leave-out"):
        groups(folder, "sex")


def test_an_image_that_the_metadata_do_not_list_has_no_group(folder):
    table = folder / isic.METADATA_2019
    table.write_text("".join(line for line in table.read_text().splitlines(keepends=True) if "ISIC_0000004" not in line))
    made, notes = groups(folder, "sex", (), None, "leave-out")
    assert made == ["female"] * 3 + ["male"] and notes[0].startswith("2 of 6 images")
    assert next(image.subject for image in find_images(folder).images if image.id == "ISIC_0000004") == "ISIC_0000004"


def spoil(folder, table, old, new):
    path = folder / table
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("table", "old", "new", "grouping", "message"),
    [
        (isic.TRUTH_2019, "ISIC_0000001,0.0,1.0", "ISIC_0000001,1.0,1.0", (), "line 3: 'ISIC_0000001' has 2 classes"),
        (isic.TRUTH_2019, "ISIC_0000001,", "ISIC_0000003,", (), "line 3: names the image 'ISIC_0000003', but there is no such"),
        (isic.TRUTH_2019, ",SCC,", ",SQC,", (), "has no column 'SCC'"),
        (isic.METADATA_2019, "ISIC_0000001,", "ISIC_0000000,", (), "line 3: the image 'ISIC_0000000' is listed twice"),
        (isic.METADATA_2019, "", "", ("tone",), "Metadata.csv: has no column 'tone'; its columns are 'image', 'age_approx'"),
        (isic.METADATA_2019, "", "", ("sex,tone",), "has no column 'tone'"),
        (isic.METADATA_2019, "", "", ("",), "--group-column is empty"),
        (isic.METADATA_2019, "", "", (None, (60,)), "--bins is about groups, and no --group-column names them"),
        (isic.METADATA_2019, "", "", (None, (), 3), "--quantiles is about groups"),
        (isic.METADATA_2019, "", "", (None, (), None, "leave-out"), "--without-group is about groups"),
        (isic.METADATA_2019, ",male", ",", ("sex", (60,), None, "leave-out"), "--bins cut numbers, but the column 'sex' holds"),
        (isic.METADATA_2019, ",HAM_", ",", ("lesion_id", (), 1, "leave-out"), "--quantiles is 1; it must be at least 2"),
    ],
)
def test_what_does_not_fit_is_told(folder, table, old, new, grouping, message):
    spoil(folder, table, old, new) if old else None
    with pytest.raises(UserError, match=message):
        find_images(folder, Grouping(*grouping))


def test_a_column_that_nobody_filled_in_leaves_no_image(tmp_path):
    folder = write(tmp_path / "isic", [(*row[:5], "") for row in ROWS])
    with pytest.raises(UserError, match=r"6 of 6 images have no value in the column 'sex'.* or name another --group-column"):
        groups(folder, "sex", (), None, "leave-out")


def test_an_archive_within_an_archive_is_found(folder, tmp_path):
    inner = folder / isic.INPUT_2019
    shutil.move(inner, tmp_path / "moved")
    inner.mkdir()
    shutil.move(tmp_path / "moved", inner / isic.INPUT_2019)
    assert find_images(folder).images[0].file == inner / isic.INPUT_2019 / "ISIC_0000000.jpg"


def test_a_table_of_images_has_the_same_bins_quantiles_and_choice(tmp_path):
    lines = ["path,label,age,sex", *(f"{place:02d}.png,{'ab'[place % 2]},{place},{'fm'[place % 2]}" for place in range(20))]
    (tmp_path / "images.csv").write_text("\n".join([*lines, "20.png,a,,f"]) + "\n")
    assert groups(tmp_path, "age", (5, 15), None, "leave-out")[0] == ["<5"] * 5 + ["5-15"] * 10 + [">=15"] * 5
    made, notes = groups(tmp_path, "age", (), 4, "leave-out")
    assert [made.count(name) for name in dict.fromkeys(made)] == [5, 5, 5, 5]
    assert notes == ("1 of 21 images have no value in the column 'age' and are left out.",)
    assert groups(tmp_path, "age,sex", (10,), None, "leave-out")[0][9:11] == ["<10, m", ">=10, f"]
    with pytest.raises(UserError, match=r"images.csv: 1 of 21 images have no value in the column 'age', '20.png' the first"):
        groups(tmp_path, "age")
    listing = find_unlabelled(tmp_path, (), Grouping("sex"))
    assert {image.group for image in listing.images} == {"f", "m"}


class Display:
    """What a run tells."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_the_command_cuts_leaves_out_and_says_so(folder, tmp_path):
    given = {"data": folder, "group_column": "sex,age_approx", "bins": ("60",), "without_group": "leave-out"}
    arguments, display = Arguments(**given), Display()
    listing = STUDY.read(folder, arguments)
    assert {image.group for image in listing.images} == {"female, <60", "female, >=60", "male, >=60"}
    with pytest.raises(UserError, match=r"The pool|Class 'MEL' has"):  # so few images make no splits
        images.run(arguments, STUDY.presets["smoke"], listing, None, {}, tmp_path / "out", display)
    assert display.notes == list(listing.notes) and "2 of 6 images" in display.notes[0]
    with pytest.raises(UserError, match="--bins is old; it takes numbers"):
        STUDY.read(folder, dataclasses.replace(arguments, bins=("old",)))
