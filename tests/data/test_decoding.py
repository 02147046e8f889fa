"""Images become arrays: what does not decode is named, and what was decoded is not decoded again."""

import shutil

import numpy as np
import pytest
import tiny_images
from PIL import Image

from jaxal.data.images import decoded as images_module
from jaxal.data.images.decoded import decode, make_images
from jaxal.data.images.layouts import find_images
from jaxal.errors import UserError
from jaxal.training.trainer import Interrupted


def test_an_array_that_does_not_fit_on_the_disk_is_refused_before_it_is_written(tmp_path, monkeypatch):
    """Writing to a mapped file on a full disk ends the process by a signal."""
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(images_module.shutil, "disk_usage", lambda folder: free)
    with pytest.raises(UserError, match=r"the decoded images take .* GB, but .* GB are free there"):
        make_images(tiny_images.listing(20), tmp_path, (8, 8))


def test_images_that_do_not_decode_are_named_together(fundus, tmp_path):
    folder = shutil.copytree(fundus, tmp_path / "fundus")
    for place in range(12):
        tiny_images.cut_end(folder / "train" / f"{place}_left.jpeg")
    with pytest.raises(UserError) as error:
        make_images(find_images(folder), tmp_path / "prepared", (16, 16), colour=True)
    assert str(error.value).count("does not decode") == 8
    assert "4 more images" in str(error.value)
    assert not list((tmp_path / "prepared").iterdir())  # what is done anew leaves nothing behind


def test_a_value_that_is_no_number_is_named(tmp_path):
    values = np.ones((9, 9), np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tiny_images.in_two_classes(tmp_path / "in") / "a" / "nan.tif")
    with pytest.raises(UserError, match=r"nan.tif: does not decode .it holds NaN or infinity"):
        make_images(find_images(tmp_path / "in"), tmp_path / "prepared", (8, 8))


@pytest.mark.parametrize(
    ("odd", "others", "advice"), [("L", "RGB", "colour .RGB."), ("RGB", "L", "grey"), ("RGBA", "I;16", "grey")]
)
@pytest.mark.parametrize("place", [0, 3])
def test_the_one_image_that_differs_in_colour_is_named_and_not_the_others(tmp_path, odd, others, advice, place):
    for number in range(6):
        (tmp_path / "in" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        mode = odd if number == place else others
        pixels = Image.new(mode, (9, 9), 40 * number if mode in ("L", "I;16") else (200, 9 * number, 9))
        pixels.save(tmp_path / "in" / "ab"[number % 2] / f"{number}.png")
    (tmp_path / "in" / "a" / "._2.png").write_bytes(b"what a Mac leaves in archives")
    listing = find_images(tmp_path / "in")
    assert len(listing.images) == 6
    with pytest.raises(UserError, match=rf"{place}\.png \({odd}\)\. Convert them to {advice}") as error:
        make_images(listing, tmp_path / "prepared", (8, 8))
    assert str(error.value).count(".png") == 1
    assert "1 of 6 images" in str(error.value)
    assert not (tmp_path / "prepared").exists()  # refused before anything was decoded


def test_decoding_goes_on_where_it_was_and_is_done_once(tmp_path, monkeypatch):
    listing, done = tiny_images.listing(600), []

    def stop(count, total):
        if count >= 256:
            raise Interrupted

    with pytest.raises(Interrupted):
        make_images(listing, tmp_path, (8, 8), progress=stop)
    real = images_module.Image.fromarray
    monkeypatch.setattr(images_module.Image, "fromarray", lambda pixels: done.append(1) or real(pixels))
    ready = make_images(listing, tmp_path, (8, 8))
    assert len(done) == 600 - 256
    again = make_images(listing, tmp_path, (8, 8))
    assert len(done) == 600 - 256
    assert again.fingerprint == ready.fingerprint
    np.testing.assert_array_equal(again.load(ready.dataset.cases[300]).image, ready.load(ready.dataset.cases[300]).image)


def test_a_flipped_bit_of_a_decoded_image_is_told_of_and_made_anew(tmp_path):
    listing = tiny_images.listing(20)
    ready = make_images(listing, tmp_path, (8, 8))
    images, path = [ready.load(case).image for case in ready.dataset.cases], ready.dataset.cases[0].image
    content = bytearray(path.read_bytes())
    content[128 + 3 * 64 + 5] ^= 1
    path.write_bytes(content)
    again = make_images(listing, tmp_path, (8, 8))
    np.testing.assert_array_equal(again.load(ready.dataset.cases[2]).image, images[2])
    with pytest.raises(UserError, match=r"pixels\.npy: decoded images that are damaged .*image 4 .*Remove the file and run"):
        again.load(ready.dataset.cases[3])
    path.unlink()
    anew = make_images(listing, tmp_path, (8, 8))
    np.testing.assert_array_equal([anew.load(case).image for case in anew.dataset.cases], images)


def test_the_fingerprint_sees_pixels_classes_and_groups(fundus, tmp_path):
    listing = tiny_images.listing(20)
    plain = make_images(listing, tmp_path, (8, 8)).fingerprint
    brighter = listing.pixels.copy()
    brighter[3, 2, 2] += 1
    first = listing.images[0]
    for other in (
        listing._replace(pixels=brighter),
        listing._replace(images=(first._replace(category="rare"), *listing.images[1:])),
        listing._replace(images=(first._replace(group="B"), *listing.images[1:])),
    ):
        assert make_images(other, tmp_path, (8, 8)).fingerprint != plain
    moved = shutil.copytree(fundus, tmp_path / "elsewhere")
    here, there = (make_images(find_images(folder), tmp_path / name, (8, 8)) for folder, name in ((fundus, "a"), (moved, "b")))
    assert here.fingerprint == there.fingerprint


def test_a_photograph_taken_sideways_stands_upright(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255  # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    listed = images_module.Listed("turned", "a", file=tmp_path / "turned.png")
    upright = decode(listed, (16, 8), colour=True)
    assert upright[:4].mean() > 250 and upright[-4:].mean() < 5


def test_an_image_of_twelve_bits_keeps_its_contrast(tmp_path):
    values = np.linspace(100, 4095, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    decoded = decode(images_module.Listed("deep", "a", file=tmp_path / "deep.png"), (8, 8), colour=False)
    np.testing.assert_allclose(decoded[..., 0], 255 * (values - 100.0) / 3995, atol=0.51)
    Image.fromarray(np.full((8, 8), 700, np.uint16)).save(tmp_path / "flat.png")
    assert not decode(images_module.Listed("flat", "a", file=tmp_path / "flat.png"), (8, 8), colour=False).any()
