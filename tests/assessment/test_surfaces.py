import json
from pathlib import Path

import numpy as np
import pytest

from jaxal.assessment.surfaces import apart, detection, distances_between, surface_distances

FIXTURES = Path(__file__).parents[1] / "fixtures"
VALUES = json.loads((FIXTURES / "agreement.json").read_text())
SCORES = json.loads((FIXTURES / "segmentation_scores.json").read_text())
TOLERANCE = VALUES["tolerance_mm"]


def masks(pair):
    places = np.arange(np.prod(VALUES["shape"]))
    return [np.isin(places, pair[side]).reshape(VALUES["shape"]) for side in ("first", "second")]


def by_name(pair):
    return f"{pair['name']} {pair['spacing']}"


@pytest.mark.parametrize("pair", VALUES["pairs"], ids=by_name)
def test_distances_are_those_of_monai(pair):
    result = apart(*masks(pair), pair["spacing"], TOLERANCE)
    assert result.hausdorff95_mm == pytest.approx(pair["monai"]["hausdorff95"], rel=1e-6)
    assert result.surface_dice == pytest.approx(pair["monai"]["surface dice"], rel=1e-6)


FLAT = [pair for pair in VALUES["pairs"] if pair["name"] in ("boxes", "one voxel", "slabs")]


@pytest.mark.parametrize("pair", FLAT, ids=by_name)
def test_distances_of_flat_surfaces_are_those_of_deepmind_too(pair):
    """Elsewhere theirs are weighed by area, and lie on the corners between voxels."""
    result = apart(*masks(pair), pair["spacing"], TOLERANCE)
    assert result.hausdorff95_mm == pytest.approx(pair["surface-distance"]["hausdorff95"], rel=1e-6)
    if pair["name"] != "slabs":  # whose rims at the image's edge have an area of their own there
        assert result.surface_dice == pytest.approx(pair["surface-distance"]["surface dice"], abs=0.01)


def test_two_voxels_by_hand():
    first, second = np.zeros((2, 5, 9), bool)
    first[1, 2], second[4, 6] = True, True
    there, back = surface_distances(first, second, (2.0, 0.5))
    assert there == back == pytest.approx(np.hypot(3 * 2.0, 4 * 0.5))
    assert apart(first, second, (2.0, 0.5), 6.3).surface_dice == 0.0
    assert apart(first, second, (2.0, 0.5), 6.4).surface_dice == 1.0


def test_the_tolerance_itself_is_near():
    first, second = np.zeros((2, 6, 6), bool)
    first[1], second[3] = True, True
    assert apart(first, second, (1.0, 1.0), 2.0) == (2.0, 1.0)
    assert apart(first, second, (1.0, 1.0), 1.9).surface_dice == 0.0


def test_distances_are_symmetric_and_do_not_see_what_lies_around():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 6, 7, 5)) < 0.4
    padded = [np.pad(mask, ((2, 3), (1, 0), (4, 4))) for mask in (first, second)]
    result = apart(first, second, (1.0, 0.5, 2.0), 0.5)
    assert result == apart(second, first, (1.0, 0.5, 2.0), 0.5) == apart(*padded, (1.0, 0.5, 2.0), 0.5)
    scaled = apart(first, second, (10.0, 5.0, 20.0), 5.0)
    assert scaled == pytest.approx((10 * result.hausdorff95_mm, result.surface_dice))


def test_empty_and_equal_structures():
    empty, full = np.zeros((4, 4, 4), bool), np.ones((4, 4, 4), bool)
    assert np.isnan(apart(empty, empty, (1, 1, 1), 1.0)).all()
    assert apart(empty, full, (1, 1, 1), 1.0) == apart(full, empty, (1, 1, 1), 1.0) == (np.inf, 0.0)
    assert apart(full, full, (1, 1, 1), 0.0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="spacing"):
        apart(full, full, (1, 1), 1.0)
    with pytest.raises(ValueError, match="shapes"):
        apart(full, full[1:], (1, 1, 1), 1.0)


def test_directed_and_mean_distances_are_those_of_monai():
    """The last image's prediction is empty, where MONAI's percentiles are NaN; ours are infinite."""
    for image in SCORES["images"][:-1]:
        predicted, truth = np.array(image["predicted"]), np.array(image["truth"])
        for class_ in (1, 2):
            found = distances_between(predicted == class_, truth == class_, SCORES["spacing_mm"])
            names = ("mean there", "mean back", "mean", "95 there", "95 back")
            np.testing.assert_allclose(found, [image[name][class_ - 1] for name in names], rtol=1e-5)
            assert found.hausdorff95 == pytest.approx(image["95"][class_ - 1], rel=1e-5)
            assert found.hausdorff95 == apart(predicted == class_, truth == class_, SCORES["spacing_mm"], 1.0).hausdorff95_mm


def test_directions_by_hand():
    """A line of which the second map holds the first three elements only, 2 mm apart."""
    first, second = np.zeros((2, 1, 8), bool)
    first[0, :5] = second[0, :3] = True
    found = distances_between(first, second, (1.0, 2.0))
    assert found[:3] == pytest.approx(((2 + 4) / 5, 0.0, (2 + 4) / 8))
    assert (found.percentile95_there, found.percentile95_back) == pytest.approx((np.percentile([0, 0, 0, 2, 4], 95), 0.0))
    assert found.hausdorff95 == found.percentile95_there
    turned = distances_between(second, first, (1.0, 2.0))
    assert (turned.mean_there, turned.mean_back, turned.mean) == (found.mean_back, found.mean_there, found.mean)


def test_distances_of_empty_structures():
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert np.isnan(distances_between(empty, empty, (1, 1))).all()
    assert distances_between(empty, full, (1, 1)) == distances_between(full, empty, (1, 1)) == (np.inf,) * 5


def test_components_by_hand():
    first, second = np.zeros((2, 3, 12), bool)
    first[0, [0, 1, 4, 8]] = True  # three lesions
    first[1, 2] = True  # joins the first lesion at a corner
    second[0, [1, 2]] = True
    second[1, 5] = second[2, 10] = True  # beside a lesion and far from all: neither is met
    found = detection(first, second)
    assert found == (3, 1, 3, 1)
    assert found.agreement() == pytest.approx(2 / 6)
    assert detection(second, first).agreement() == found.agreement()


def test_one_component_may_meet_several():
    first, second = np.zeros((2, 9), bool)
    first[:] = True
    second[[1, 4, 7]] = True
    assert detection(first, second) == (1, 1, 3, 3)


def test_components_of_empty_maps():
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert np.isnan(detection(empty, empty).agreement())
    assert detection(empty, full).agreement() == 0.0
    assert detection(full, full).agreement() == 1.0
