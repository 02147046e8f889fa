"""Single images and masks of every kind of file, resizing by areas, and contours, against plain loops and by hand."""

import numpy as np
import pytest
from mask_folders import numbers_of, picture, save
from PIL import Image
from scipy import ndimage

from jaxal.data.images.class_names import DEFAULT, ClassNames
from jaxal.data.images.contours import contour_map
from jaxal.data.images.mask_files import class_map, objects_of, read_image, read_mask
from jaxal.data.images.resizing import area_averaged, majority
from jaxal.errors import UserError

THREE = ClassNames(("background", "gland", "tumour"), {0: 0, 5: 1, 9: 2}, ignore=7)


# Images


def test_images_of_all_modes_become_three_colours(tmp_path):
    colours = picture(0)
    grey = colours[..., 0]
    transparent = np.dstack([colours, np.where(grey > 128, 0, 255).astype(np.uint8)])
    np.testing.assert_array_equal(read_image(save(tmp_path / "rgb.bmp", colours)), colours)
    np.testing.assert_array_equal(read_image(save(tmp_path / "grey.png", grey)), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(save(tmp_path / "alpha.png", transparent)), colours)  # what nobody sees is kept
    palette = Image.fromarray(colours).quantize(16)
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "clear.png", transparency=bytes([0] * 8 + [255] * 8))
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "clear.png"), expected)


def test_deep_images_go_from_their_darkest_to_their_brightest(tmp_path):
    deep = np.linspace(1000, 5000, 320).reshape(16, 20).astype(np.uint16)
    read = read_image(save(tmp_path / "deep.png", deep))
    np.testing.assert_allclose(read[..., 1], 255 * (deep - 1000.0) / 4000, atol=0.51)
    assert (read.min(), read.max()) == (0, 255)


def test_images_that_are_refused(tmp_path):
    upright = Image.fromarray(picture(0))
    exif = upright.getexif()
    exif[0x0112] = 6
    upright.save(tmp_path / "turned.jpg", exif=exif)
    with pytest.raises(UserError, match=r"turned\.jpg: is to be turned before it is shown \(EXIF orientation\)"):
        read_image(tmp_path / "turned.jpg")
    upright.save(tmp_path / "pages.tif", save_all=True, append_images=[upright])
    with pytest.raises(UserError, match=r"pages\.tif: holds several images"):
        read_image(tmp_path / "pages.tif")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match=r"text\.png: cannot be read as an image"):
        read_image(tmp_path / "text.png")
    content = save(tmp_path / "cut.png", picture(0, (64, 64))).read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=r"cut\.png: does not decode"):
            read(tmp_path / "cut.png")


# Masks


def test_masks_of_all_modes_have_their_values(tmp_path):
    numbers = numbers_of()
    opaque = np.full(numbers.shape, 255, np.uint8)
    palette = Image.fromarray(numbers).convert("P")
    palette.putpalette([10, 20, 30, 0, 0, 0, 255, 255, 255, 9, 9, 9])
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "palette.bmp")
    deep = numbers.astype(np.uint16) * 700
    files = {
        "grey.png": (numbers, numbers),
        "grey.bmp": (numbers, numbers),
        "same.png": (np.dstack([numbers] * 3), numbers),
        "opaque.png": (np.dstack([numbers] * 3 + [opaque]), numbers),
        "two.png": (np.dstack([numbers, opaque]), numbers),
        "bits.png": (numbers > 0, numbers > 0),
        "deep.png": (deep, deep),
        "whole.tif": (deep.astype(np.int32), deep),
        "real.tif": (numbers.astype(np.float32), numbers),
    }
    for name, (written, expected) in files.items():
        read = read_mask(save(tmp_path / name, written))
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, expected, err_msg=name)
    for name in ("palette.png", "palette.bmp"):  # indices, whatever their colours
        np.testing.assert_array_equal(read_mask(tmp_path / name), numbers)


def test_masks_that_are_refused(tmp_path):
    numbers = numbers_of()
    clear = np.where(numbers == 2, 0, 255).astype(np.uint8)
    palette = Image.fromarray(numbers).convert("P")
    palette.save(tmp_path / "clear_palette.png", transparency=0)
    refused = {
        "coloured.png": (np.dstack([numbers, numbers, numbers * 2]), "the mask has colours"),
        "clear.png": (np.dstack([numbers] * 3 + [clear]), "parts of the mask are transparent"),
        "clear_grey.png": (np.dstack([numbers, clear]), "parts of the mask are transparent"),
        "fractions.tif": (numbers + np.float32(0.5), "must be whole numbers from 0 to 65535"),
        "negative.tif": (numbers.astype(np.int32) - 1, "must be whole numbers from 0 to 65535"),
        "large.tif": (numbers.astype(np.int32) * 40_000, "must be whole numbers from 0 to 65535"),
        "nan.tif": (np.where(numbers == 1, np.nan, 0).astype(np.float32), "must be whole numbers from 0 to 65535"),
    }
    for name, (written, message) in refused.items():
        with pytest.raises(UserError, match=f"{name}: .*{message}"):
            read_mask(save(tmp_path / name, written))
    with pytest.raises(UserError, match=r"clear_palette\.png: parts of the mask are transparent"):
        read_mask(tmp_path / "clear_palette.png")
    Image.fromarray(picture(0)).convert("CMYK").save(tmp_path / "print.tif")
    with pytest.raises(UserError, match=r"print\.tif: the mask has the mode CMYK"):
        read_mask(tmp_path / "print.tif")


def test_what_values_of_masks_mean(tmp_path):
    path = tmp_path / "mask.png"
    of = lambda *values: np.array([values], np.uint16)  # noqa: E731
    assert class_map(of(0, 1, 1), DEFAULT, False, path).tolist() == [[0, 1, 1]]
    assert class_map(of(0, 255, 0), DEFAULT, False, path).tolist() == [[0, 1, 0]]
    assert class_map(of(0, 0), DEFAULT, False, path).tolist() == [[0, 0]]
    assert class_map(of(255), DEFAULT, False, path).tolist() == [[1]]
    assert class_map(of(0, 5, 9, 7), THREE, False, path).tolist() == [[0, 1, 2, 255]]
    assert class_map(of(0, 3, 60_000), DEFAULT, True, path).tolist() == [[0, 1, 1]]
    assert class_map(of(0, 3, 7), THREE, True, path).tolist() == [[0, 1, 255]]


@pytest.mark.parametrize(
    ("values", "names", "name", "message"),
    [
        ((0, 1, 2), DEFAULT, "a.png", r"a\.png: the mask holds the values 0, 1, 2, but 2 is of no class; there are background 0, object 1 \(or 255\)\. Name all classes in a file classes\.json, or, if each object has a number of its own, say --instances"),
        ((0, 1, 255), DEFAULT, "a.png", r"but 255 is of no class"),
        ((0, 3), DEFAULT, "a.png", r"but 3 is of no class"),
        ((0, 5, 6), THREE, "a.png", r"but 6 is of no class; there are background 0, gland 5, tumour 9\. Name all"),
        (tuple(range(30)), DEFAULT, "a.jpg", r"values 0, 1, 2, 3, 4, 5, 6, 7 \.\.\., but 2 is of no class.*JPEG changes values"),
    ],
)  # fmt: skip
def test_values_of_no_class(tmp_path, values, names, name, message):
    with pytest.raises(UserError, match=message):
        class_map(np.array([values], np.uint16), names, False, tmp_path / name)


def test_objects_are_what_hangs_together_in_one_class():
    classes = np.array([[1, 1, 0, 2], [0, 0, 1, 2], [2, 0, 0, 255], [2, 0, 1, 0]], np.uint8)
    assert objects_of(classes).tolist() == [[1, 1, 0, 3], [0, 0, 1, 3], [4, 0, 0, 0], [4, 0, 2, 0]]
    assert objects_of(np.zeros((3, 3), np.uint8)).max() == 0


# Resizing


def covered(start, stop, old):
    """Share of each old pixel between two places of a row."""
    return [max(min(stop, place + 1) - max(start, place), 0) for place in range(old)]


def areas(old, new, place):
    """Share of each old pixel in one new one, `[h, w]`, pixel by pixel."""
    sides = [
        covered(place[axis] * old[axis] / new[axis], (place[axis] + 1) * old[axis] / new[axis], old[axis]) for axis in range(2)
    ]
    return np.outer(*sides)


@pytest.mark.parametrize("new", [(8, 10), (5, 7), (1, 1), (16, 3)])
def test_resizing_agrees_with_a_loop_over_areas(new):
    pixels, numbers = picture(1), numbers_of() * np.uint16(300)
    averaged, most = area_averaged(pixels, new), majority(numbers, new)
    assert (averaged.dtype, most.dtype) == (np.uint8, np.uint16)
    for place in np.ndindex(new):
        share = areas(pixels.shape[:2], new, place)
        np.testing.assert_allclose(averaged[place], (pixels * share[..., None]).sum((0, 1)) / share.sum(), atol=0.501)
        by_number = {number: share[numbers == number].sum() for number in np.unique(numbers)}
        largest = max(by_number.values())
        best = [number for number, area in by_number.items() if area > largest - 1e-9]
        assert most[place] == min(best, key=lambda number: (number == 0, number))


def test_ties_go_to_objects_and_to_the_lowest():
    assert majority(np.array([[0, 3]], np.uint8), (1, 1)).tolist() == [[3]]
    assert majority(np.array([[4, 2], [2, 4]], np.uint8), (1, 1)).tolist() == [[2]]
    assert majority(np.array([[0, 0, 3]], np.uint8), (1, 1)).tolist() == [[0]]


def test_of_its_own_size_nothing_changes():
    assert area_averaged(picture(0), (16, 20)) is not None
    np.testing.assert_array_equal(area_averaged(picture(0), (16, 20)), picture(0))
    np.testing.assert_array_equal(majority(numbers_of(), (16, 20)), numbers_of())


# Contours


def plain_contour(numbers, radius):
    """Every pixel within the radius of one whose neighbours differ from left to right or from top to bottom."""
    padded, edges = np.pad(numbers.astype(int), 1, mode="edge"), []
    down = np.array([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    for y, x in np.ndindex(numbers.shape):
        window = padded[y : y + 3, x : x + 3]
        if (window * down).sum() or (window * down.T).sum():
            edges.append((y, x))
    contour = np.zeros(numbers.shape, np.uint8)
    for y, x in np.ndindex(numbers.shape):
        contour[y, x] = any((y - top) ** 2 + (x - left) ** 2 <= radius**2 for top, left in edges)
    return contour


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_contours_agree_with_a_loop(radius):
    numbers = numbers_of().astype(np.uint16) * 20_000
    contour = contour_map(numbers, radius)
    assert contour.dtype == np.uint8
    np.testing.assert_array_equal(contour, plain_contour(numbers, radius))


def test_glands_that_touch_are_parted_by_their_contour():
    numbers = np.zeros((40, 60), np.uint16)
    numbers[8:32, 5:30], numbers[8:32, 30:55] = 1, 2
    assert ndimage.label(numbers > 0)[1] == 1
    contour = contour_map(numbers)
    assert ndimage.label((numbers > 0) & (contour == 0))[1] == 2
    assert contour[20, 26:34].all() and not contour[20, 0] and not contour[20, 15]


def test_the_border_of_an_image_and_no_object_have_no_contour():
    assert not contour_map(np.zeros((9, 9), np.uint16)).any()
    assert not contour_map(np.ones((9, 9), np.uint16)).any()
