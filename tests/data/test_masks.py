"""Folders of images with masks in every layout, and files that do not belong together."""

import json
import re

import pytest
from mask_folders import HEAD, glas, isic, numbers_of, pairs, picture, save

from jaxal.data.groups import Grouping
from jaxal.data.images.masks import find_masks, holds_masks
from jaxal.errors import UserError
from jaxal.studies.masks import MaskArguments, read_listing


def test_the_layout_of_glas(tmp_path):
    folder = glas(tmp_path / "glas")
    listing = find_masks(folder)
    assert (listing.layout, listing.names.classes, listing.instances) == ("GlaS", ("background", "gland"), True)
    by_id = {image.id: image for image in listing.images}
    assert list(by_id) == ["testA_1", "testB_1", "train_1", "train_2"]
    assert [by_id[name].part for name in by_id] == ["testA", "testB", "train", "train"]
    assert [by_id[name].group for name in by_id] == ["benign", "malignant", "benign", "malignant"]
    assert [by_id[name].subject for name in by_id] == ["5", "5", "4", "4"]
    assert (by_id["train_2"].image, by_id["train_2"].mask) == (folder / "train_2.bmp", folder / "train_2_anno.bmp")
    finer = find_masks(folder, grouping=Grouping("grade (Sirinukunwattana et al. 2015)"))
    assert {image.group for image in finer.images} == {"healthy", "moderately differentiated"}
    assert find_masks(folder, instances=False).instances is False


def test_the_archive_of_glas_has_a_folder_within(tmp_path):
    glas(tmp_path / "download" / "Warwick QU Dataset (Released 2016_07_08)")
    assert len(find_masks(tmp_path / "download").images) == 4


@pytest.mark.parametrize(
    ("inputs", "truths", "mark"),
    [
        ("ISBI2016_ISIC_Part1_{}_Data", "ISBI2016_ISIC_Part1_{}_GroundTruth", "_Segmentation"),
        ("ISIC-2017_{}_Data", "ISIC-2017_{}_Part1_GroundTruth", "_segmentation"),
        ("ISIC2018_Task1-2_{}_Input", "ISIC2018_Task1_{}_GroundTruth", "_segmentation"),
        ("", "", "_segmentation"),
    ],
)
def test_the_layouts_of_isic(tmp_path, inputs, truths, mark):
    parts = ("Training", "Validation") if inputs else ("Training",)
    folder = isic(tmp_path / "isic", inputs, truths, mark, parts)
    save(folder / inputs.format("Training") / "ISIC_0000000_superpixels.png", picture(9))
    (folder / truths.format("Training") / "LICENSE.txt").write_text("x")
    listing = find_masks(folder)
    assert (listing.layout, listing.names.classes, listing.instances) == ("ISIC", ("background", "lesion"), False)
    assert [image.part for image in listing.images] == (["train"] * 3 + ["validation"] * 3 if inputs else [""] * 3)
    for image in listing.images:
        assert image.mask.stem.lower() == f"{image.id}_segmentation".lower()


@pytest.mark.parametrize("masks", ["masks", "labels"])
def test_pairs_in_two_folders(tmp_path, masks):
    folder = pairs(tmp_path / "pairs", masks=masks)
    listing = find_masks(folder)
    assert (listing.layout, listing.names.classes, listing.instances) == ("pairs", ("background", "object"), False)
    assert [(image.id, image.mask.name) for image in listing.images] == [(f"case_{n}", f"case_{n}.png") for n in range(4)]
    (folder / masks / "case_1.png").rename(folder / masks / "case_1_mask.png")
    assert find_masks(folder).images[1].mask.name == "case_1_mask.png"


@pytest.mark.parametrize("mark", ["_mask", "_anno", "_segmentation", "_label", "_MASK"])
def test_pairs_beside_each_other(tmp_path, mark):
    for number in range(3):
        save(tmp_path / f"x_{number}.jpg", picture(number))
        save(tmp_path / f"x_{number}{mark}.png", numbers_of(value=1))
    listing = find_masks(tmp_path, instances=True)
    assert [(image.id, image.mask.name) for image in listing.images] == [(f"x_{n}", f"x_{n}{mark}.png") for n in range(3)]
    assert listing.instances


@pytest.mark.parametrize(
    ("name", "content", "classes", "values", "ignore"),
    [
        ("classes.json", ["background", "gland"], ("background", "gland"), None, None),
        ("classes.json", {"gland": 1, "background": 0}, ("background", "gland"), None, None),
        ("classes.json", ["background", "gland", "tumour"], ("background", "gland", "tumour"), {0: 0, 1: 1, 2: 2}, None),
        (
            "classes.json",
            {"background": 0, "gland": 128, "tumour": 200},
            ("background", "gland", "tumour"),
            {0: 0, 128: 1, 200: 2},
            None,
        ),
        ("dataset.json", {"labels": {"background": 0, "gland": 1, "ignore": 255}}, ("background", "gland"), {0: 0, 1: 1}, 255),
    ],
)
def test_names_of_classes(tmp_path, name, content, classes, values, ignore):
    folder = pairs(tmp_path / "pairs")
    (folder / name).write_text(json.dumps(content))
    names = find_masks(folder).names
    assert (names.classes, names.values, names.ignore) == (classes, values, ignore)


@pytest.mark.parametrize(
    "content", [["one"], ["a", "a"], {"a": 1, "b": 2}, {"a": 0, "b": "x"}, {"a": 0, "b": 0}, {"a": 0, "b": 2, "ignore": 2}, 5]
)
def test_names_of_classes_that_are_not_understood(tmp_path, content):
    folder = pairs(tmp_path / "pairs")
    (folder / "classes.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"classes\.json: its classes are .*expected such as"):
        find_masks(folder)
    (folder / "classes.json").write_text("{")
    with pytest.raises(UserError, match=r"classes\.json: not valid JSON"):
        find_masks(folder)


def test_groups_and_subjects_stand_in_a_table(tmp_path):
    folder = pairs(tmp_path / "pairs")
    rows = [
        ("participant_id", "group", "age", "subject"),
        *((f"case_{n}", "AB"[n % 2], str(30 + 20 * n), f"p{n // 2}") for n in range(4)),
    ]
    for name, mark in (("participants.tsv", "\t"), ("participants.csv", ",")):
        (folder / name).write_text("\n".join(mark.join(row) for row in rows) + "\n")
        images = find_masks(folder).images
        assert [image.group for image in images] == ["A", "B", "A", "B"]
        assert [image.subject for image in images] == ["p0", "p0", "p1", "p1"]
        binned = find_masks(folder, grouping=Grouping("age", bins=(60,))).images
        assert [image.group for image in binned] == ["<60", "<60", ">=60", ">=60"]
        asked = MaskArguments(data=folder, group_column="age", bins=("60,80",))
        assert [image.group for image in read_listing(asked).images] == ["<60", "<60", "60-80", ">=80"]
        (folder / name).unlink()
    assert {image.group for image in find_masks(folder).images} == {""}
    with pytest.raises(UserError, match=r"participants\.tsv: no such file.*a column 'sex'"):
        find_masks(folder, grouping=Grouping("sex"))
    (folder / "participants.tsv").write_text("participant_id\tgroup\ncase_0\tA\n")
    with pytest.raises(UserError, match=r"does not list the image 'case_1'"):
        find_masks(folder)
    (folder / "participants.tsv").write_text("participant_id\tgroup\n" + "".join(f"case_{n}\tA\n" for n in range(5)))
    with pytest.raises(UserError, match=r"lists the image 'case_4', but .* holds no such image"):
        find_masks(folder)


def spoil_pairs(folder, how):
    """One mistake in a folder of pairs."""
    if how == "no mask":
        (folder / "masks" / "case_2.png").unlink()
    elif how == "no image":
        (folder / "images" / "case_2.png").unlink()
    elif how == "two images":
        save(folder / "images" / "case_2.jpg", picture(7))
    elif how == "two masks":
        save(folder / "masks" / "case_2_mask.png", numbers_of())
    elif how == "two folders":
        (folder / "labels").mkdir()
    elif how == "unread":
        (folder / "masks" / "case_2.gif").write_bytes(b"x")
    elif how == "nothing":
        for path in [*folder.glob("*/*")]:
            path.unlink()


MISTAKES = {
    "no mask": r"images/case_2\.png: has no mask\. Add one \(such as masks/case_2\.png\)",
    "no image": r"masks/case_2\.png: there is no image 'case_2'",
    "two images": r"images/case_2\.png: case_2\.jpg beside it has the same name but for its ending",
    "two masks": r"masks/case_2_mask\.png: case_2\.png is a mask of the same image",
    "two folders": r"holds both masks and labels",
    "unread": r"masks/case_2\.gif: only \.jpeg, .* are read",
    "nothing": r"pairs: holds no images .*Expected are images/X\.png with masks/X\.png",
}


@pytest.mark.parametrize("how", MISTAKES)
def test_pairs_that_do_not_belong_together(tmp_path, how):
    folder = pairs(tmp_path / "pairs")
    spoil_pairs(folder, how)
    with pytest.raises(UserError, match=MISTAKES[how]):
        find_masks(folder)


def test_images_need_no_masks_where_readers_will_draw_them(tmp_path):
    folder = pairs(tmp_path / "pairs")
    spoil_pairs(folder, "no mask")
    assert [image.mask is None for image in find_masks(folder, need_masks=False).images] == [False, False, True, False]
    for path in (folder / "masks").iterdir():
        path.unlink()
    (folder / "masks").rmdir()
    assert [image.mask for image in find_masks(folder, need_masks=False).images] == [None] * 4
    with pytest.raises(UserError, match=r"holds images, but no folder masks or labels beside it"):
        find_masks(folder)
    spoil_pairs(pairs(tmp_path / "other"), "no image")
    with pytest.raises(UserError, match=r"there is no image 'case_2'"):
        find_masks(tmp_path / "other", need_masks=False)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["train_1,4, benign, healthy"], r"train_2\.bmp: Grade\.csv does not list it"),
        (
            ["train_1,4, benign, x", "train_2,4, odd, x"],
            r"line 3: the grade of 'train_2' is 'odd'; it must be benign or malignant",
        ),
        (["train_1,4, benign, x", "train_2,, benign, x"], r"line 3: the column 'patient ID' is empty"),
        (["train_1,4, benign, x", "train_1,4, benign, x"], r"line 3: the image 'train_1' is listed twice"),
        (["train_1,4, benign, x", "train_3,4, benign, x"], r"line 3: names the image 'train_3', but there is no such file"),
    ],
)
def test_grades_that_do_not_fit(tmp_path, rows, message):
    folder = glas(tmp_path / "glas", names=("train_1", "train_2"))
    (folder / "Grade.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    with pytest.raises(UserError, match=message):
        find_masks(folder)


def test_other_mistakes_about_a_folder(tmp_path):
    folder = glas(tmp_path / "glas")
    with pytest.raises(UserError, match=r"has no column 'sex'"):
        find_masks(folder, grouping=Grouping("sex"))
    with pytest.raises(UserError, match=r"its grades are names, which --bins and --quantiles do not cut"):
        find_masks(folder, grouping=Grouping(quantiles=2))
    with pytest.raises(UserError, match=r"--group-column is empty"):
        find_masks(folder, grouping=Grouping(""))
    (folder / "train_1_anno.bmp").unlink()
    with pytest.raises(UserError, match=r"train_1\.bmp: has no mask"):
        find_masks(folder)
    with pytest.raises(UserError, match=r"no such folder"):
        find_masks(tmp_path / "nowhere")
    lesions = isic(tmp_path / "isic")
    save(lesions / "ISIC_0000001.jpg", picture(1))
    with pytest.raises(UserError, match=re.escape("ISIC_0000001.jpg has the same name. Ids must differ")):
        find_masks(lesions)
    three = pairs(tmp_path / "three")
    (three / "classes.json").write_text('["background", "gland", "tumour"]')
    with pytest.raises(UserError, match=r"3 classes are named .* masks of --instances number objects of one"):
        find_masks(three, instances=True)


def test_a_folder_is_recognised_by_its_names(tmp_path):
    side = tmp_path / "side"
    save(side / "a.png", picture(0)), save(side / "a_mask.png", numbers_of())
    for folder in (glas(tmp_path / "glas"), isic(tmp_path / "isic"), pairs(tmp_path / "pairs"), side):
        assert holds_masks(folder)
    classes = tmp_path / "classes"
    save(classes / "benign" / "a.png", picture(0)), save(classes / "malignant" / "b.png", picture(1))
    flat = save(tmp_path / "flat" / "a.png", picture(0)).parent
    assert not holds_masks(classes) and not holds_masks(flat) and not holds_masks(tmp_path / "nowhere")
