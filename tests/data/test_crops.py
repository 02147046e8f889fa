"""Crops at random: of all maps alike, within the image, around what has a label."""

import numpy as np
import pytest

from jaxal.data.crops import random_crop
from jaxal.types import Example, Label

SHAPE, EXTENT, SIZE = (20, 24), (15, 18), (6, 8)


@pytest.fixture
def example():
    """Every pixel tells its place; the image is padded at the far ends."""
    places = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    inside = np.zeros(SHAPE, bool)
    inside[: EXTENT[0], : EXTENT[1]] = True
    return Example(places[..., None].astype(np.float32), places % 251, inside, inside & (places % 3 > 0), {"contour": places % 7})


def first_of(crop):
    return np.unravel_index(int(crop.image[0, 0, 0]), SHAPE)


def test_all_maps_are_cut_alike_and_within_the_image(example):
    firsts = set()
    for seed in range(300):
        crop = random_crop(example, Label("1"), SIZE, np.random.default_rng(seed))
        row, column = first_of(crop)
        window = np.s_[row : row + SIZE[0], column : column + SIZE[1]]
        assert crop.inside.all()
        for part, whole in zip(crop[:4], example[:4], strict=True):
            np.testing.assert_array_equal(part, whole[window])
        np.testing.assert_array_equal(crop.targets["contour"], example.targets["contour"][window])
        firsts.add((int(row), int(column)))
    assert {row for row, _ in firsts} == set(range(EXTENT[0] - SIZE[0] + 1))
    assert {column for _, column in firsts} == set(range(EXTENT[1] - SIZE[1] + 1))


def test_where_parts_have_labels_a_crop_holds_an_element_of_one(example):
    parts = (((0, 0), (2, 2)), ((12, 15), (3, 3)))
    met = []
    for seed in range(200):
        row, column = first_of(random_crop(example, Label("1", parts=parts), SIZE, np.random.default_rng(seed)))
        meets = [
            row < first[0] + size[0] and first[0] < row + SIZE[0] and column < first[1] + size[1] and first[1] < column + SIZE[1]
            for first, size in parts
        ]
        assert any(meets)
        met.append(meets.index(True))
    assert 60 < sum(met) < 140  # each part about as often as the other


def test_of_a_smaller_image_the_crop_has_all(example):
    crop = random_crop(example, None, (18, 20), np.random.default_rng(0))
    assert first_of(crop) == (0, 0) and crop.inside.sum() == np.prod(EXTENT)
