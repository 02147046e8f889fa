"""Simulated glands: their masks are consistent, every image depends on its own number alone, and no threshold of a colour finds them."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from jaxal.data.images.masks import find_masks
from jaxal.data.images.segmented import make_segmented
from jaxal.data.simulated import glands
from jaxal.data.simulated.glands import GlandsConfig, is_malignant, simulate, write_glands

CONFIG = GlandsConfig()
EIGHT = np.ones((3, 3), int)


@pytest.fixture(scope="module")
def tissues():
    return [simulate(CONFIG, number) for number in range(16)]


def test_numbers_have_no_gaps_and_each_gland_is_one_piece_without_holes(tissues):
    for tissue in tissues:
        numbers = np.unique(tissue.glands)
        assert numbers.tolist() == list(range(len(numbers))) and len(numbers) > 5
        for number in numbers[1:]:
            mask = tissue.glands == number
            assert ndimage.label(mask, EIGHT)[1] == 1
            assert mask.sum() >= 90
            np.testing.assert_array_equal(ndimage.binary_fill_holes(mask), mask)


def touching(numbers):
    """Pairs of glands that lie side by side."""
    pairs = [(numbers[1:], numbers[:-1]), (numbers[:, 1:], numbers[:, :-1])]
    meet = np.concatenate([np.stack([one, other], -1)[(one != other) & (one > 0) & (other > 0)] for one, other in pairs])
    return len(np.unique(np.sort(meet, -1), axis=0))


def at_border(numbers):
    """Numbers at the image's border, 0 among them."""
    return np.unique(np.concatenate([numbers[[0, -1]].ravel(), numbers[:, [0, -1]].ravel()]))


def test_glands_touch_and_are_cut_by_the_border(tissues):
    assert sum(touching(tissue.glands) for tissue in tissues) > 16
    for tissue in tissues:
        assert 0 < len(at_border(tissue.glands)) - 1 < tissue.glands.max()


def roundness_of(mask):
    """How round an outline is: 1 of a disc, less of lobes."""
    edge = mask & ~ndimage.binary_erosion(mask)
    return 4 * np.pi * mask.sum() / max(edge.sum(), 1) ** 2


def test_malignant_glands_are_irregular_and_both_kinds_cover_about_a_half(tissues):
    roundness, share = {True: [], False: []}, {True: [], False: []}
    for tissue in tissues:
        whole = set(range(1, tissue.glands.max() + 1)) - set(at_border(tissue.glands))
        roundness[tissue.malignant] += [roundness_of(tissue.glands == number) for number in whole]
        share[tissue.malignant].append((tissue.glands > 0).mean())
    assert np.median(roundness[True]) < 0.85 * np.median(roundness[False])
    assert all(0.4 < np.mean(shares) < 0.65 for shares in share.values())


def test_as_many_are_malignant_as_in_glas_wherever_one_looks():
    malignant = [is_malignant(CONFIG, number % CONFIG.patients) for number in range(165)]
    assert abs(np.mean(malignant) - 91 / 165) < 0.02
    assert abs(np.mean(malignant[:85]) - 48 / 85) < 0.02
    assert abs(np.mean(malignant[145:]) - 0.55) < 0.11


def test_an_image_depends_on_the_seed_and_its_number_alone(tissues):
    again = simulate(dataclasses.replace(CONFIG, parts=(3, 0, 0)), 5)
    other = simulate(dataclasses.replace(CONFIG, seed=1), 5)
    np.testing.assert_array_equal(again.image, tissues[5].image)
    np.testing.assert_array_equal(again.glands, tissues[5].glands)
    assert (other.image != tissues[5].image).mean() > 0.9


def test_patients_differ_in_stain(tissues):
    """Images of one patient are closer in colour than those of different ones."""
    colours = {number: np.median(tissue.image.reshape(-1, 3), axis=0) for number, tissue in enumerate(tissues)}
    again = {number: np.median(simulate(CONFIG, number + 16).image.reshape(-1, 3), axis=0) for number in range(0, 16, 4)}
    same = np.mean([np.abs(colours[number] - again[number]).mean() for number in again])
    others = np.mean([np.abs(colours[one] - colours[two]).mean() for one in colours for two in colours if one < two])
    assert same < 0.6 * others


def otsu(values):
    """The threshold that makes the two sides differ most (Otsu 1979)."""
    counts, edges = np.histogram(values, 128)
    middles, below = (edges[1:] + edges[:-1]) / 2, np.cumsum(counts)[:-1]
    sums, above = np.cumsum(counts * middles), counts.sum() - below
    means = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    return middles[np.argmax(below * above * means**2)]


def test_no_threshold_of_a_colour_finds_glands(tissues):
    """F1 of all pixels together, for the better side of each colour, smoothed or not; to call all of it gland gives 0.67."""
    worst = {}
    for tissue in tissues:
        truth, colours = tissue.glands > 0, tissue.image.astype(float)
        absorbed = -np.log((colours + 1) / 256)
        seen = [
            *np.moveaxis(colours, -1, 0),
            colours[..., 0] - colours[..., 2],
            *np.moveaxis(absorbed @ np.linalg.pinv(glands.STAINS), -1, 0),
        ]
        for name, values in enumerate(seen):
            for sigma in (0, 2, 4):
                smoothed = ndimage.gaussian_filter(values, sigma) if sigma else values
                dark = smoothed <= otsu(smoothed)
                for side, found in ((0, dark), (1, ~dark)):
                    counts = np.array([(found & truth).sum(), found.sum() + truth.sum()])
                    worst[name, sigma, side] = worst.get((name, sigma, side), 0) + counts
    scores = {setting: 2 * both / sizes for setting, (both, sizes) in worst.items()}
    assert max(scores.values()) < 0.75
    assert max(scores.values()) > 0.6  # a colour still says something


def test_the_folder_is_read_as_glas_and_appears_when_complete(tmp_path):
    config, seen = GlandsConfig(parts=(4, 2, 1), shape=(64, 96), patients=4), []

    def stopping(done, total):
        seen.append((done, total))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_glands(config, tmp_path / "glands", stopping)
    assert seen == [(1, 7), (2, 7), (3, 7)] and list(tmp_path.iterdir()) == []
    write_glands(config, tmp_path / "glands")
    listing = find_masks(tmp_path / "glands")
    assert (listing.layout, listing.instances, len(listing.images)) == ("GlaS", True, 7)
    assert {image.part for image in listing.images} == {"train", "testA", "testB"}
    ready = make_segmented(listing, tmp_path / "prepared")
    names = [f"{part}_{place}" for part, count in zip(glands.PARTS, config.parts, strict=True) for place in range(1, count + 1)]
    for number in (0, 3, 6):
        (case,) = [case for case in ready.dataset.cases if case.id == names[number]]
        tissue = simulate(config, number)
        np.testing.assert_array_equal(ready.instances(case), tissue.glands)
        np.testing.assert_array_equal(ready.pixels(case), tissue.image)
        assert (case.subject, case.group) == (str(tissue.patient + 1), "malignant" if tissue.malignant else "benign")
    before = (tmp_path / "glands" / "train_1.png").read_bytes()
    write_glands(dataclasses.replace(config, seed=9), tmp_path / "glands")  # another process was first
    assert (tmp_path / "glands" / "train_1.png").read_bytes() == before
