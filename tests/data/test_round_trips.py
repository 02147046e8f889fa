"""Label maps on the way to the prepared grid and back lose no more than by nilearn's and SimpleITK's interpolation."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import round_trips
from scipy import ndimage

from jaxal.data.scans.resampling import _linear, most_probable, resample, resample_label

SIMPLEITK = json.loads((Path(__file__).parents[1] / "fixtures" / "round_trips.json").read_text())
SMALL = round_trips.label_maps()["small"]


def there_and_back(labels, affine, shape):
    turned = round_trips.turned_to_ras(labels, affine)
    prepared = resample_label(turned, shape)
    parts = round_trips.one_hot(prepared, int(labels.max()) + 1)
    return round_trips.turned_from_ras(most_probable(resample(part, turned.shape, order=1) for part in parts), affine)


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (1.25, 1.25, 1.25), (2.0, 2.0, 2.0), (1.0, 1.0, 2.0)])
def test_small_structures_lose_no_more_than_by_nilearn_and_simpleitk_in_48_orientations(spacing):
    theirs = SIMPLEITK[f"small {' '.join(map(str, spacing))}"]
    for number, affine in enumerate(round_trips.orientations_of(SMALL.shape)):
        prepared, shape = round_trips.prepared_grid(SMALL, affine, spacing)
        dice = round_trips.mean_dice(there_and_back(SMALL, affine, shape), SMALL)
        best = theirs[number]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nilearn tells of its defaults
            for how in ("nearest", "linear"):
                way = round_trips.nilearn_there_and_back(SMALL, affine, prepared, shape, how)
                best = max(best, round_trips.mean_dice(way, SMALL))
        assert dice >= best - 0.005, (number, dice, best)


@pytest.mark.parametrize("name", ["caudate", "ellipsoids", "shell", "touching"])
def test_to_a_finer_grid_and_back_nothing_is_lost(name):
    labels = round_trips.label_maps()[name]
    for spacing in [(0.8, 0.8, 0.8), (0.5, 1.0, 0.8)]:
        _, shape = round_trips.prepared_grid(labels, np.eye(4), spacing)
        np.testing.assert_array_equal(there_and_back(labels, np.eye(4), shape), labels)


def test_probabilities_go_back_as_by_nilearn():
    """Rounded to labels only once they are back, as a prediction is."""
    _, shape = round_trips.prepared_grid(SMALL, np.eye(4), (1.25, 1.0, 2.0))
    prepared, _ = round_trips.prepared_grid(SMALL, np.eye(4), (1.25, 1.0, 2.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = round_trips.nilearn_there_and_back(SMALL, np.eye(4), prepared, shape, "shares")
    shares = [resample(part, shape, order=1) for part in round_trips.one_hot(SMALL, 4)]
    ours = most_probable(resample(share, SMALL.shape, order=1) for share in shares)
    assert (ours != theirs).mean() < 0.005  # ties


def test_the_background_loses_ties():
    half = np.full((2, 1, 1), 0.5)
    assert most_probable([half, half]).ravel().tolist() == [1, 1]
    assert most_probable([half, 0 * half, half]).ravel().tolist() == [2, 2]
    with pytest.raises(ValueError, match="no classes"):
        most_probable([])


@pytest.mark.parametrize(("old", "new"), [(7, 7), (5, 9), (9, 5), (12, 6), (6, 12), (1, 4), (4, 1), (11, 3)])
def test_the_way_that_labels_look_at_is_the_one_that_probabilities_take(old, new):
    way = _linear(old, new)
    matrix = np.zeros((new, old))
    np.add.at(matrix, (np.arange(new)[:, None], way.source), way.weight)
    zoom = ndimage.zoom(np.eye(old), (new / old, 1), order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(matrix, zoom, atol=1e-6)


def test_voxels_that_nothing_comes_back_from_are_interpolated_alone():
    """Three times as fine along one axis: only every third voxel lies where one of the case lies."""
    labels = np.zeros((2, 2, 4), np.uint8)
    labels[..., 2:] = 1
    assert (resample_label(labels, (2, 2, 12)) == np.arange(12) // 6).all()


@pytest.mark.parametrize("value", [0, 3, 255])
def test_maps_of_one_class_stay_so(value):
    assert (resample_label(np.full((4, 5, 6), value, np.uint8), (6, 3, 6)) == value).all()
