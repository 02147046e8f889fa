"""Folders of images in every layout, and images that are not what they should be."""

import csv
import shutil

import numpy as np
import pytest
import tiny_images
from PIL import Image

from experiments import digits
from jaxal.data.cases import split
from jaxal.data.groups import Grouping
from jaxal.data.images import decoded as images_module
from jaxal.data.images.decoded import make_images
from jaxal.data.images.isic import read_skin_lesions
from jaxal.data.images.layouts import find_images, read_retinopathy
from jaxal.data.images.listing import check_listing, with_refused
from jaxal.data.simulated import pretend
from jaxal.data.simulated.digits import CLASSES, FREQUENCIES, make_digits
from jaxal.data.simulated.tissue import TissueConfig, make_tissue
from jaxal.errors import UserError
from jaxal.studies.images import choose_sizes, draw_splits, part_of


@pytest.fixture(scope="module")
def lesions(tmp_path_factory):
    return pretend.write_skin_lesions(tmp_path_factory.mktemp("data") / "lesions", images=28)


def test_the_retinopathy_layout(fundus, tmp_path):
    listing = find_images(fundus)
    assert listing == read_retinopathy(fundus)
    assert listing.classes[0] == "no DR"
    by_id = {image.id: image for image in listing.images}
    assert by_id["0_left"].subject == by_id["0_right"].subject == "0"
    assert by_id["0_left"].category == "no DR"
    assert by_id["0_left"].file == fundus / "train" / "0_left.jpeg"
    ready = make_images(listing, tmp_path, (16, 24), colour=True)
    example = ready.load(ready.dataset.cases[0])
    assert (example.image.shape, example.image.dtype) == ((16, 24, 3), np.float32)
    assert (example.label.shape, example.inside.shape, example.labelled.shape) == ((), (), ())
    splits = split(ready.dataset.cases, 0, 0.2, 0.3)
    for part in splits:
        assert {case.category for case in part} == set(listing.classes)
    subjects = [{case.subject for case in part} for part in splits]
    assert not subjects[0] & subjects[1] and not subjects[0] & subjects[2] and not subjects[1] & subjects[2]


def test_the_skin_lesion_layout(lesions, tmp_path):
    listing = find_images(lesions)
    assert listing == read_skin_lesions(lesions)
    assert [image.category for image in listing.images[:3]] == ["MEL", "NV", "BCC"]
    copy = shutil.copytree(lesions, tmp_path / "grouped")
    (copy / "ISIC2018_Task3_Training_LesionGroupings.csv").write_text(
        "image,lesion_id,diagnosis_confirm_type\nISIC_0000000,HAM_1,x\nISIC_0000007,HAM_1,x\n"
    )
    subjects = {image.id: image.subject for image in find_images(copy).images}
    assert subjects["ISIC_0000000"] == subjects["ISIC_0000007"] == "HAM_1"
    assert subjects["ISIC_0000001"] == "ISIC_0000001"


def test_a_folder_a_class_and_a_table(tmp_path):
    rng = np.random.default_rng(0)
    for place in range(12):
        inside = tmp_path / "folders" / ("10", "9", "benign")[place % 3]
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (10, 12), np.uint8)).save(inside / f"{place}.png")
    listing = find_images(tmp_path / "folders")
    assert listing.classes == ("9", "10", "benign")  # numbers by size, then names
    assert listing.images[0].id == "10/0.png"
    ready = make_images(listing, tmp_path / "prepared", (10, 12))
    assert ready.dataset.channels == ("grey",)
    first = np.asarray(Image.open(tmp_path / "folders" / "10" / "0.png"), np.float32)
    pixels = np.stack([np.asarray(Image.open(image.file), np.float64) for image in listing.images])
    np.testing.assert_allclose(
        ready.load(ready.dataset.cases[0]).image[..., 0], (first - pixels.mean()) / pixels.std(), atol=1e-5
    )
    with (tmp_path / "folders" / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("path", "label", "sex", "subject"), *((image.id, image.category, "f", "s1") for image in listing.images)]
        )
    table = find_images(tmp_path / "folders", Grouping("sex"))
    assert {(image.group, image.subject) for image in table.images} == {("f", "s1")}
    assert table.classes == listing.classes


def test_medmnist(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for name, count in (("train", 10), ("val", 4), ("test", 6)):
        arrays |= {
            f"{name}_images": rng.integers(0, 255, (count, 28, 28, 3), np.uint8),
            f"{name}_labels": rng.integers(0, 3, (count, 1)),
        }
    arrays["train_labels"][:3, 0] = (0, 1, 2)
    np.savez(tmp_path / "some.npz", **arrays)
    listing = find_images(tmp_path / "some.npz")
    assert (len(listing.images), listing.classes) == (20, ("0", "1", "2"))
    assert listing.images[12].category == str(arrays["val_labels"][2, 0])
    ready = make_images(listing, tmp_path / "prepared", (28, 28))
    image = ready.load(ready.dataset.cases[12]).image
    pixels = np.concatenate([arrays[f"{name}_images"] for name in ("train", "val", "test")]).astype(np.float64)
    mean, deviation = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    np.testing.assert_allclose(image, (arrays["val_images"][2] - mean) / deviation, atol=1e-4)
    volume = {**arrays, "train_images": np.zeros((10, 28, 28, 28, 1), np.uint8)}
    for name, spoiled, message in (
        ("float", {**arrays, "val_images": arrays["val_images"].astype(np.float32)}, "images of bytes are expected"),
        ("volume", volume, "images of bytes are expected"),
        ("several", {**arrays, "test_labels": np.zeros((6, 14), int)}, "several labels an image"),
        ("other", {"a": np.zeros(3)}, "is no MedMNIST file"),
        ("sizes", {**arrays, "val_images": np.zeros((4, 20, 20, 3), np.uint8)}, "All images must have one size"),
        ("grey", {**arrays, "val_images": np.zeros((4, 28, 28), np.uint8)}, "as many channels"),
        (
            "real",
            {**arrays, "val_labels": np.zeros((4, 1))},
            "val_labels are float64 from 0.0 to 0.0; whole numbers from 0 to 254",
        ),
        ("text", {**arrays, "val_labels": np.full((4, 1), "x")}, "val_labels are <U1; whole numbers"),
        ("minus", {**arrays, "val_labels": np.full((4, 1), -1)}, "val_labels are int64 from -1 to -1"),
        ("huge", {**arrays, "val_labels": np.full((4, 1), 10**9)}, "whole numbers from 0 to 254 are expected"),
        ("scalar", {**arrays, "val_labels": np.uint8(3)}, "images of bytes are expected"),
        ("deep", {**arrays, "test_images": np.zeros((6, 28, 28, 28), np.uint8)}, "images of bytes are expected"),
        (
            "none",
            {**arrays, "test_images": np.zeros((0, 28, 28, 3), np.uint8), "test_labels": np.zeros((0, 1), int)},
            "images of bytes",
        ),
    ):
        np.savez(tmp_path / f"{name}.npz", **spoiled)
        with pytest.raises(UserError, match=message):
            find_images(tmp_path / f"{name}.npz")
    whole = (tmp_path / "some.npz").read_bytes()
    for broken in (b"", whole[:2000], whole[:600] + bytes(500) + whole[1100:]):
        (tmp_path / "broken.npz").write_bytes(broken)
        with pytest.raises(UserError, match="is no MedMNIST file"):
            find_images(tmp_path / "broken.npz")


def spoil_missing(folder):
    (folder / "train" / "3_left.jpeg").unlink()


def spoil_grey(folder):
    Image.new("L", (9, 9)).save(folder / "train" / "3_left.jpeg")


def spoil_content(folder):
    (folder / "train" / "3_left.jpeg").write_bytes(b"\xff\xd8\xff not an image")


def spoil_end(folder):
    tiny_images.cut_end(folder / "train" / "3_left.jpeg")


def spoil_level(folder):
    path = folder / "trainLabels.csv"
    path.write_text(path.read_text().replace("3_left,0", "3_left,7"))


def spoil_empty(folder):
    path = folder / "trainLabels.csv"
    path.write_text(path.read_text().replace("3_left,0", "3_left,"))


def spoil_twice(folder):
    path = folder / "trainLabels.csv"
    path.write_text(path.read_text() + "3_left,0\n")


def spoil_lines(folder):
    (folder / "trainLabels.csv").write_text("image,level\n")


def spoil_class(folder):
    path = folder / "trainLabels.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if not line.strip().endswith(",4")))


def spoil_stem(folder):
    shutil.copy(folder / "train" / "3_left.jpeg", folder / "train" / "3_left.png")


def spoil_columns(folder):
    path = folder / "trainLabels.csv"
    path.write_text(path.read_text().replace("image,level", "image,grade"))


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        (spoil_missing, ("trainLabels.csv, line 8", "3_left")),
        (spoil_grey, ("3_left.jpeg: is a grey image, but colour is expected", "line 8")),
        (spoil_content, ("3_left.jpeg: cannot be read as an image", "line 8")),
        (spoil_end, ("3_left.jpeg: does not decode", "line 8")),
        (spoil_level, ("trainLabels.csv, line 8", "'7'", "0 to 4")),
        (spoil_empty, ("trainLabels.csv, line 8", "'level' is empty")),
        (spoil_twice, ("'3_left' is there twice", "line 8", "line 50")),
        (spoil_lines, ("trainLabels.csv: holds no lines",)),
        (spoil_class, ("no image is of the class 'proliferative'",)),
        (spoil_stem, ("3_left.png", "3_left.jpeg", "Remove one")),
        (spoil_columns, ("no column 'level'", "'image', 'grade'")),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(fundus, tmp_path, spoil, messages):
    folder = shutil.copytree(fundus, tmp_path / "fundus")
    spoil(folder)
    with pytest.raises(UserError) as error:
        make_images(find_images(folder), tmp_path / "prepared", (16, 16), colour=True)
    for message in messages:
        assert message in str(error.value)


def test_tables_that_do_not_fit_are_named(lesions, tmp_path):
    folder = shutil.copytree(lesions, tmp_path / "lesions")
    table = next(folder.rglob("*GroundTruth.csv"))
    table.write_text(table.read_text().replace("ISIC_0000002,0.0", "ISIC_0000002,1.0"))
    with pytest.raises(UserError, match=r"line 4: 'ISIC_0000002' has 2 classes"):
        find_images(folder)
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "empty", "images.csv")):
        with pytest.raises(UserError, match=message):
            find_images(path)
    with pytest.raises(UserError, match="has no groups"):
        find_images(lesions, Grouping("sex"))
    (tmp_path / "images.csv").write_text("path,label\nmissing.png,a\nother.png,b\n")
    with pytest.raises(UserError, match=r"images.csv, line 2: names the image 'missing.png'"):
        make_images(find_images(tmp_path), tmp_path / "prepared", (8, 8))


def with_splits(folder):
    for split_ in ("train", "test"):
        tiny_images.in_two_classes(folder / split_)
    shutil.rmtree(folder / "a")
    shutil.rmtree(folder / "b")


def flat(folder):
    for path in folder.glob("*/*.png"):
        path.rename(folder / path.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "c").mkdir(), "c: holds no image"),
        (lambda folder: shutil.copy(folder / "a" / "0.png", folder / "a" / "0.gif"), "0.gif: only .*are read. Convert it"),
        (lambda folder: (folder / "b" / "9.dcm").write_text("x"), "9.dcm: only .*are read. Convert it"),
        (lambda folder: shutil.rmtree(folder / "b"), "all 2 images are of the class 'a', and there must be at least two"),
        (with_splits, "folders test, train are splits, not classes. .*such as .*/test"),
        (flat, "holds 4 images, but no folders and no table"),
        (
            lambda folder: [
                path.rename(folder / "a" / f"{place}_0000.nii.gz") for place, path in enumerate(folder.glob("*/*.png"))
            ],
            r"holds scans .a/0_0000.nii.gz., but no dataset.json",
        ),
    ],
)
def test_folders_that_are_no_classes_are_told_of(tmp_path, change, message):
    folder = tiny_images.in_two_classes(tmp_path / "in")
    change(folder)
    with pytest.raises(UserError, match=message):
        make_images(find_images(folder), tmp_path / "prepared", (8, 8))


def test_scans_without_a_description_are_recognised(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "case_0000.nii.gz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"holds scans .*, but no dataset.json"):
        find_images(tmp_path / "imagesTr")
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match=f"holds scans .* Give {tmp_path}, which holds one"):
        find_images(tmp_path / "imagesTr")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path;label", "a.png;x"], "its columns are separated by semicolons"),
        (["path\tlabel", "a.png\tx"], "its columns are separated by tabs"),
        (["path, label", "a.png,x"], "no column 'label'; its columns are 'path', ' label'"),
        (["path,label", "a,b.png,x"], "line 2: has more fields than there are columns"),
        (["path,label", "sub\\a.png,x"], "line 2: the path .* is written with backslashes"),
        (["path,label", "a.png,x", "./a.png,y"], "line [23] and .*line [23] both name the file .*a.png"),
    ],
)
def test_tables_of_strangers_are_told_of(tmp_path, lines, message):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "images.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=message):
        images_module.check_listing(find_images(tmp_path))


def test_a_link_to_nothing_is_named_instead_of_left_out(tmp_path):
    """As files of a git-annex that were not fetched are."""
    for place in range(4):
        (tmp_path / "in" / "ab"[place % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 40 * place).save(tmp_path / f"{place}.png")
        (tmp_path / "in" / "ab"[place % 2] / f"{place}.png").symlink_to(tmp_path / f"{place}.png")
    make_images(find_images(tmp_path / "in"), tmp_path / "prepared", (8, 8))
    (tmp_path / "2.png").unlink()
    with pytest.raises(UserError, match=r"a/2\.png: not a file but a link to .*/2\.png, which is not there"):
        make_images(find_images(tmp_path / "in"), tmp_path / "prepared", (8, 8))


def test_classes_are_at_least_two_and_numbers_of_any_kind_are_names(tmp_path):
    (tmp_path / "images.csv").write_text("path,label\na.png,x\nb.png,x\n")
    with pytest.raises(UserError, match="1 classes were found"):
        images_module.check_listing(find_images(tmp_path))
    (tmp_path / "images.csv").write_text("path,label,age\n" + "".join(f"{age}.png,²,{age}\n" for age in range(13)))
    assert find_images(tmp_path).classes == ("²",)
    groups = [image.group for image in find_images(tmp_path, Grouping("age")).images]
    assert sorted(groups) == ["<6"] * 6 + [">=6"] * 7  # at the median


def test_a_part_of_the_images_keeps_subjects_whole(fundus):
    listing = find_images(fundus)
    part = part_of(listing, 15)
    assert len(part.images) == 16  # both eyes of eight patients
    assert part == part_of(listing._replace(images=tuple(listing.images)), 15)
    assert {image.subject for image in part.images}.isdisjoint(
        {image.subject for image in set(listing.images) - set(part.images)}
    )
    arrays = tiny_images.listing(30)
    some = part_of(arrays, 10)
    assert len(some.images) == 10
    for image, pixels in zip(some.images, some.pixels, strict=True):
        np.testing.assert_array_equal(pixels, arrays.pixels[arrays.images.index(image)])


def test_digits_and_tissue_have_the_frequencies_of_the_study():
    wanted = np.array(FREQUENCIES) / sum(FREQUENCIES)
    digits, tissue = make_digits(), make_tissue(TissueConfig(patches=1000))
    for listing, classes in ((digits, CLASSES), (tissue, None)):
        counts = np.array([sum(image.category == name for image in listing.images) for name in classes or listing.classes])
        np.testing.assert_allclose(counts / counts.sum(), wanted, atol=0.003)
        assert listing.pixels.dtype == np.uint8
        assert len(listing.pixels) == len(listing.images)
    np.testing.assert_array_equal(make_digits().pixels, digits.pixels)
    assert (make_digits(1).pixels != digits.pixels).any()
    blocks = {}
    for image in tissue.images:
        blocks.setdefault(image.subject, set()).add(image.category)
    assert max(map(len, blocks.values())) > 1


def test_images_of_refused_classes_lie_in_the_pool_alone(tmp_path):
    listing = with_refused(make_digits(), ["9", "25"])
    check_listing(listing)
    assert listing.classes == ("01367", "4", "8")
    images = make_images(listing, tmp_path, (8, 8))
    refused = [case for case in images.dataset.cases if case.label.refusal]
    assert {case.label.refusal for case in refused} == {"9", "25"} and not any(case.category for case in refused)
    assert not images.load(refused[0]).labelled
    sizes = choose_sizes(digits.Arguments(), digits.PRESETS["smoke"], listing)
    splits, initial = draw_splits(images.dataset.cases, sizes, 0)
    assert {case for case in splits.pool if case.label.refusal} == set(refused)
    assert not any(case.label.refusal for case in (*splits.evaluation, *splits.test, *initial))
    plain, few = draw_splits([case for case in images.dataset.cases if case.category], sizes, 0)
    assert (plain.test, plain.evaluation, few) == (splits.test, splits.evaluation, initial)  # others do not change the draw
    assert make_images(listing, tmp_path, (8, 8)).fingerprint == images.fingerprint
    assert make_images(make_digits(), tmp_path, (8, 8)).fingerprint != images.fingerprint


def test_classes_that_cannot_be_refused():
    with pytest.raises(UserError, match="--refuse 7: there is no such class; there are 01367, 4, 25, 8, 9"):
        with_refused(make_digits(), ["7"])
    with pytest.raises(UserError, match="--refuse leaves 1 of 5 classes"):
        with_refused(make_digits(), ["4", "25", "8", "9"])
