"""Simulated lesions: kinds and tones have their shares, an image depends on its own number alone, and dark skin hides more."""

import csv
import dataclasses

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from jaxal.data.groups import Grouping
from jaxal.data.images.decoded import make_images
from jaxal.data.images.isic import METADATA_2019, SKIN_CLASSES_2019
from jaxal.data.images.layouts import find_images
from jaxal.data.simulated import dermoscopy
from jaxal.data.simulated.lesions import KINDS, LesionsConfig, check_config, draw_traits, kind_and_tone, simulate, write_lesions
from jaxal.errors import UserError

CONFIG = LesionsConfig()


def of(kind, tone, count, config=CONFIG):
    """The first lesions of a kind on skin of a tone."""
    numbers = [number for number in range(4000) if kind_and_tone(config, number) == (kind, tone)]
    return np.stack([simulate(config, number).image for number in numbers[:count]]).astype(float)


def middle(images):
    return images[:, 24:40, 24:40]


def border(images):
    """Skin in the corners, where no lesion reaches."""
    return np.concatenate([images[:, rows, columns].reshape(len(images), -1, 3) for rows in (slice(5), slice(-5, None)) for columns in (slice(5), slice(-5, None))], 1)  # fmt: skip


def test_kinds_and_tones_have_their_shares_wherever_one_stops():
    drawn = [kind_and_tone(CONFIG, number) for number in range(1000)]
    for count in (100, 1000):
        kinds = np.array([[kind == other for other in SKIN_CLASSES_2019] for kind, _ in drawn[:count]]).mean(0)
        np.testing.assert_allclose(kinds, CONFIG.frequencies, atol=4 / count)
        assert abs(np.mean([tone == "dark" for _, tone in drawn[:count]]) - 0.15) < 4 / count
    dark = [kind for kind, tone in drawn if tone == "dark"]
    assert all(
        abs(dark.count(kind) / 150 - share) < 0.04 for kind, share in zip(SKIN_CLASSES_2019, CONFIG.frequencies, strict=True)
    )
    few = dataclasses.replace(CONFIG, classes=("NV", "MEL"), dark_share=0.0)
    drawn = [kind_and_tone(few, number) for number in range(520)]
    assert abs([kind for kind, _ in drawn].count("MEL") - 180) < 5 and {tone for _, tone in drawn} == {"light"}


def test_an_image_depends_on_the_seed_and_its_number_alone():
    lesion = simulate(CONFIG, 5)
    again = simulate(dataclasses.replace(CONFIG, images=6), 5)
    np.testing.assert_array_equal(again.image, lesion.image)
    assert again[1:] == lesion[1:]
    assert (simulate(dataclasses.replace(CONFIG, seed=1), 5).image != lesion.image).mean() > 0.9
    assert (lesion.image.shape, lesion.image.dtype) == ((64, 64, 3), np.uint8)


def test_the_same_lesion_is_drawn_at_every_size():
    plain = dataclasses.replace(CONFIG, noise=0.0, hairs=0.0)
    large = dataclasses.replace(plain, size=(128, 128))
    for number in range(4):
        halved = simulate(large, number).image.reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(halved - simulate(plain, number).image).mean() < 3
    assert simulate(dataclasses.replace(plain, size=(48, 70)), 0).image.shape == (48, 70, 3)


def test_pictures_of_one_lesion_share_it_and_differ():
    config = dataclasses.replace(CONFIG, images_per_lesion=2, hairs=0.0)
    first, second, other = (simulate(config, number) for number in range(3))
    assert first[1:] == second[1:] and (first.lesion, second.lesion, other.lesion) == (0, 0, 1)
    assert np.abs(first.image.astype(float) - second.image).mean() > 5
    ratio = border(first.image[None]).mean((0, 1)) / border(second.image[None]).mean((0, 1))
    assert ratio.max() / ratio.min() < 1.12  # the same skin but for the light


def test_lesions_stand_out_less_from_dark_skin():
    """Of skin in the corners, and of how far the middle of naevi differs from it."""
    plain = dataclasses.replace(CONFIG, hairs=0.0, overlap=0.0)
    light, dark = (of("NV", tone, 16, plain) for tone in ("light", "dark"))
    assert border(light).mean() > 1.6 * border(dark).mean()
    assert border(light).mean((1, 2)).min() > border(dark).mean((1, 2)).max()
    contrast = [border(images).mean() - middle(images).mean() for images in (light, dark)]
    assert contrast[0] > 2 * contrast[1] > 10
    same = of("NV", "dark", 16, dataclasses.replace(plain, dark_contrast=1.0))
    assert border(same).mean() - middle(same).mean() > 1.25 * contrast[1]


def test_kinds_look_as_the_books_have_it():
    """Of twelve lesions each that borrow nothing: colours of the middle, spots of blue, a white middle, and the outline."""
    plain = dataclasses.replace(CONFIG, hairs=0.0, overlap=0.0)
    images = {kind: of(kind, "light", 12, plain) for kind in KINDS}
    colour = {kind: middle(of_kind).mean((0, 1, 2)) for kind, of_kind in images.items()}
    assert min(colour, key=lambda kind: colour[kind].sum()) == "MEL"
    assert max(colour, key=lambda kind: colour[kind][0] / colour[kind][1]) == "VASC"
    brown = {kind: green - blue for kind, (_, green, blue) in colour.items()}
    assert min(brown[kind] for kind in ("MEL", "NV", "BKL", "DF")) > 10
    assert max(brown[kind] for kind in ("BCC", "AK", "VASC", "SCC")) < 5
    bluest = {kind: (of_kind[..., 2] - of_kind[..., 0])[:, 16:48, 16:48].max((1, 2)).mean() for kind, of_kind in images.items()}
    assert max(bluest, key=bluest.__getitem__) == "BCC" and bluest["BCC"] > bluest["NV"] + 10
    lines = {kind: images[kind][:, :, 28:36].mean((0, 2, 3)) for kind in ("DF", "NV")}
    white = {kind: line[30:34].mean() - line[[23, 24, 40, 41]].mean() for kind, line in lines.items()}
    assert white["DF"] > 12 > white["NV"]
    assert np.mean([asymmetry(image) for image in images["MEL"]]) > 2 * np.mean([asymmetry(image) for image in images["NV"]])


def asymmetry(image):
    """How far a dark lesion's outline differs from itself after half a turn about its own middle, as a share of its area."""
    grey = ndimage.gaussian_filter(image.mean(-1), 2)
    dark = ndimage.binary_fill_holes(grey < 0.55 * grey.max() + 0.45 * grey.min())
    pieces, _ = ndimage.label(dark)
    rows, columns = np.nonzero(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]))
    there = set(zip(rows.tolist(), columns.tolist(), strict=True))
    turned = {(round(2 * rows.mean()) - row, round(2 * columns.mean()) - column) for row, column in there}
    return len(there ^ turned) / len(there)


PLAIN = dermoscopy.Traits(0.6, 0.0, 0.0, 0.1, 0.5, 0.3, 0.0)
LIGHT = dermoscopy.Scene(0.12, 0.0, 1.0, 0.0, 0.0)


def drawn(traits=PLAIN, scene=LIGHT, size=64, count=6):
    """Pictures of lesions of these traits, which differ in what is drawn by chance."""
    rngs = [(np.random.default_rng([1, seed]), np.random.default_rng([2, seed])) for seed in range(count)]
    return np.stack([dermoscopy.photograph(*pair, (size, size), traits, scene) for pair in rngs]).astype(float)


def rough(images):
    """How much the middle differs from its own neighbourhood."""
    grey = images.mean(-1)
    return middle(grey - ndimage.gaussian_filter(grey, (0, 3, 3))).std()


def jagged(images):
    """How much a ring at the outline differs from place to place."""
    y, x = np.indices((64, 64)) - 31.5
    grey = images.mean(-1)
    return (grey - ndimage.gaussian_filter(grey, (0, 4, 4)))[:, np.abs(np.hypot(y, x) - 17) < 1.5].std()


def reddest(images):
    return middle(images[..., 0] - images[..., 1]).max((1, 2)).mean()


def brightest(images):
    return middle(images.mean(-1)).max((1, 2)).mean()


def darkest(images):
    return -middle(images.mean(-1)).min((1, 2)).mean()


@pytest.mark.parametrize(
    ("trait", "measure", "least"),
    [
        ("network", rough, 6),
        ("streaks", jagged, 4),
        ("vessels", reddest, 10),
        ("points", reddest, 10),
        ("scale", brightest, 25),
        ("cysts", brightest, 25),
        ("openings", darkest, 10),
        ("dots", darkest, 15),
        ("unevenness", lambda images: middle(images.mean(-1)).std((1, 2)).mean(), 5),
        ("asymmetry", lambda images: np.mean([asymmetry(image) for image in images]), 0.1),
        ("irregularity", lambda images: np.mean([asymmetry(image) for image in images]), 0.13),
    ],
)
def test_each_trait_is_seen(trait, measure, least):
    """Against a plain reddish brown disc."""
    assert measure(drawn(PLAIN._replace(**{trait: 1.0}))) > measure(drawn()) + least


def test_hairs_noise_and_light_are_those_asked_for():
    noisy = drawn(scene=LIGHT._replace(noise=5.0)) - drawn()
    assert abs(noisy.std() - 5) < 0.4 and abs(noisy.mean()) < 0.3
    shade = {size: (drawn(size=size) - drawn(scene=LIGHT._replace(hairs=1.0), size=size)).mean() for size in (64, 128)}
    assert shade[128] > 3 and abs(shade[64] / shade[128] - 1) < 0.25  # thinner than a pixel, and no darker as a whole
    bare = drawn(PLAIN._replace(melanin=0.0, blood=0.0), count=12).mean((0, 3))
    assert bare[24:40, 24:40].mean() > 1.08 * bare[[0, 0, -1, -1], [0, -1, 0, -1]].mean()  # a vignette


def test_a_spot_weighs_the_same_wherever_it_lies():
    """A bell of radius r, in pixels, sums to 2 pi r**2; also where r is a fraction of a pixel and its middle lies between pixels."""
    rng = np.random.default_rng(0)
    canvas = dermoscopy._Canvas.draw(rng, rng, (32, 32), PLAIN)
    for radius in (0.2, 1.0, 2.0):
        for place in rng.uniform(-0.2, 0.2, (20, 2)):
            spot = canvas.spots(place[None], np.array([radius / 16]), np.array([0.7]))
            np.testing.assert_allclose(spot.sum(), 0.7 * 2 * np.pi * radius**2, rtol=0.03)


def test_traits_are_those_of_the_kind_until_kinds_overlap():
    traits = np.array([draw_traits(np.random.default_rng(number), "NV", 0.0) for number in range(200)])
    typical = np.array(KINDS["NV"])
    assert (traits[:, typical == 0] == 0).all()
    np.testing.assert_allclose(np.median(traits, 0), typical, rtol=0.12)
    borrowed = np.array([draw_traits(np.random.default_rng(number), "NV", 1.0) for number in range(200)])
    assert (borrowed[:, typical == 0].max(0) > 0).all()


def test_smooth_maps_have_unit_deviation_at_every_size():
    rng = np.random.default_rng(0)
    for size, cells in ((64, 6), (200, 6), (64, 26)):
        maps = dermoscopy._smooth(rng, (size, size), cells, 30)
        assert maps.shape == (30, size, size) and 0.85 < maps.std() < 1.15
    np.testing.assert_allclose(dermoscopy._spread(50, 7).sum(1), 1, rtol=1e-5)  # a B-spline's weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("MEL", "AKIEC")}, "The classes are MEL, AKIEC; name different ones of MEL, NV"),
        ({"classes": ("MEL", "MEL")}, "name different ones"),
        ({"frequencies": (1.0, 2.0)}, "8 numbers above zero are expected"),
        ({"dark_share": 1.5}, "dark_share is 1.5; it must be 0 to 1"),
        ({"size": (8, 64)}, "at least 16 pixels"),
        ({"images": 0}, "images is 0"),
    ],
)
def test_what_makes_no_images_is_refused(tmp_path, change, message):
    check_config(CONFIG)
    with pytest.raises(UserError, match=message):
        write_lesions(dataclasses.replace(CONFIG, **change), tmp_path / "lesions")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_read_as_isic_2019_and_appears_when_complete(tmp_path):
    config, seen = LesionsConfig(images=40, size=(24, 32), classes=("MEL", "NV"), images_per_lesion=2, missing=0.3), []

    def stopping(done, total):
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lesions(config, tmp_path / "lesions", stopping)
    assert seen == [(1, 40), (2, 40), (3, 40)] and list(tmp_path.iterdir()) == []
    write_lesions(config, tmp_path / "lesions")
    listing = find_images(tmp_path / "lesions")
    lesions = [simulate(config, number) for number in range(40)]
    assert listing.classes == ("MEL", "NV")
    assert [image.category for image in listing.images] == [lesion.category for lesion in lesions]
    assert [image.subject for image in listing.images] == [f"SIM_{number // 2 + 1:07d}" for number in range(40)]
    assert make_images(listing, tmp_path / "prepared", (24, 32)).dataset.channels == ("red", "green", "blue")
    near = np.abs(np.asarray(Image.open(listing.images[7].file), float) - lesions[7].image)
    assert near.mean() < 6  # but for the losses of JPEG
    rows = list(csv.DictReader((tmp_path / "lesions" / METADATA_2019).read_text().splitlines()))
    for row, lesion in zip(rows, lesions, strict=True):
        for name, value in (("age_approx", str(lesion.age)), ("sex", lesion.sex), ("skin_tone", lesion.tone)):
            assert row[name] in ("", value)
        assert row["anatom_site_general"] == lesion.site and lesion.age % 5 == 0
    for name in ("age_approx", "sex", "skin_tone"):
        assert 4 <= sum(row[name] == "" for row in rows) <= 20
    tones = find_images(tmp_path / "lesions", Grouping("skin_tone", without="leave-out"))
    assert {image.group for image in tones.images} == {"light", "dark"}
    assert len(tones.images) == sum(row["skin_tone"] != "" for row in rows)
    before = (tmp_path / "lesions" / "simulated.json").read_bytes()
    write_lesions(dataclasses.replace(config, seed=9), tmp_path / "lesions")  # another process was first
    assert (tmp_path / "lesions" / "simulated.json").read_bytes() == before
