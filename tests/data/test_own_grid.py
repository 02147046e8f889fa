"""Parts of prepared scans on the scans' own grids: against voxel by voxel work on files of all 48 orientations."""

import itertools

import nibabel
import numpy as np
import pytest
from nibabel import orientations

from jaxal.data.parts import count_in, mask_of
from jaxal.data.scans.own_grid import Grids, grids_of, slices_lie_along, to_own_grid, to_prepared_grid
from jaxal.data.scans.plan import resampled_shape, spacing_of

SHAPE, SPACING_MM = (7, 9, 12), (2.0, 1.0, 0.7)
TURNS = [
    np.array(list(zip(axes, ways, strict=True)))
    for axes in itertools.permutations(range(3))
    for ways in itertools.product((1, -1), repeat=3)
]


def stored(turn, tilt_degrees=0.0):
    """A file whose voxels are numbered in RAS order, with its axes turned."""
    angle = np.radians(tilt_degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(SPACING_MM)
    affine[:3, 3] = (-20, 4, 31)
    image = nibabel.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE), affine)
    return image.as_reoriented(turn)


def boxes(shape, count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ends = [np.sort(rng.choice(length + 1, 2, replace=False)) for length in shape]
        yield tuple(int(low) for low, _ in ends), tuple(int(high - low) for low, high in ends)


@pytest.mark.parametrize("spacing_mm", [SPACING_MM, (1.5, 1.5, 1.5), (3.1, 0.6, 0.7), (0.9, 2.2, 2.0)])
def test_nothing_that_was_chosen_is_lost_and_nothing_else_is_asked_for(spacing_mm):
    """Voxel by voxel: the own part holds the voxels that a chosen element touches, and no others."""
    for turn, tilt in zip(TURNS, itertools.cycle((0.0, 25.0, -40.0)), strict=False):
        image = stored(turn, tilt)
        grids = grids_of(image.shape, image.affine, spacing_mm)
        ras = nibabel.as_closest_canonical(image)
        assert grids.prepared == resampled_shape(ras.shape, spacing_of(ras.affine), spacing_mm)
        for part in boxes(grids.prepared, 4):
            start, size = part
            touched = np.ones(ras.shape, bool)
            for axis, (length, elements) in enumerate(zip(ras.shape, grids.prepared, strict=True)):
                ratio = length / elements
                voxels = np.arange(length)
                meets = (voxels + 1 > start[axis] * ratio + 1e-9) & (voxels < (start[axis] + size[axis]) * ratio - 1e-9)
                touched &= meets.reshape([-1 if other == axis else 1 for other in range(3)])
            own = mask_of([to_own_grid(part, grids)], image.shape)
            as_stored = orientations.apply_orientation(touched, orientations.ornt_transform(
                orientations.axcodes2ornt("RAS"), orientations.io_orientation(image.affine)))  # fmt: skip
            assert (own == as_stored).all()


@pytest.mark.parametrize("spacing_mm", [SPACING_MM, (1.5, 1.5, 1.5), (3.1, 0.6, 0.7), (0.9, 2.2, 2.0)])
def test_the_way_back_holds_the_elements_whose_centres_lie_there(spacing_mm):
    for turn in TURNS[::5]:
        image = stored(turn)
        grids = grids_of(image.shape, image.affine, spacing_mm)
        to_ras = orientations.io_orientation(image.affine)
        for part in boxes(image.shape, 5):
            within = orientations.apply_orientation(mask_of([part], image.shape), to_ras)
            centres = [
                ((np.arange(count) + 0.5) * length / count).astype(int)
                for length, count in zip(within.shape, grids.prepared, strict=True)
            ]
            assert (mask_of([to_prepared_grid(part, grids)], grids.prepared) == within[np.ix_(*centres)]).all()
        for part in boxes(grids.prepared, 5):
            there_and_back = to_prepared_grid(to_own_grid(part, grids), grids)
            missing = mask_of([part], grids.prepared) & ~mask_of([there_and_back], grids.prepared)
            assert not missing.any(), "what was chosen is known once it was answered, so it is not chosen again"


def test_a_slice_becomes_whole_slices():
    image = stored(TURNS[29])
    grids = grids_of(image.shape, image.affine, (1.5, 1.5, 1.5))
    for axis in range(3):
        size = tuple(1 if other == axis else length for other, length in enumerate(grids.prepared))
        start, own = to_own_grid(((0, 0, 0), size), grids)
        across = [place for place, runs in enumerate(grids.runs_along) if runs != axis]
        assert all(start[place] == 0 and own[place] == image.shape[place] for place in across)


def test_an_axis_of_known_numbers():
    """Ten voxels become four elements of 2.5: elements 1 and 2 are voxels 2.5 to 7.5, that is 2 to 7; reversed 2 to 7 as well, element 0 is 7 to 9."""
    grids = Grids((10, 1, 1), (4, 1, 1), (0, 1, 2), (False, False, False))
    assert to_own_grid(((1, 0, 0), (2, 1, 1)), grids) == ((2, 0, 0), (6, 1, 1))
    assert to_own_grid(((0, 0, 0), (1, 1, 1)), grids._replace(is_reversed=(True, False, False))) == ((7, 0, 0), (3, 1, 1))
    assert to_prepared_grid(((2, 0, 0), (6, 1, 1)), grids) == ((1, 0, 0), (2, 1, 1))  # centres at 1.25, 3.75, 6.25, 8.75
    assert to_prepared_grid(((2, 0, 0), (1, 1, 1)), grids)[1][0] == 0


@pytest.mark.parametrize(
    ("codes", "spacing_mm", "axis"),
    [("RAS", (1, 1, 3), 2), ("RAS", (3, 1, 1), 0), ("PSR", (1, 1, 3), 0), ("LAS", (1, 1, 1.1), 2), ("PIR", (1, 1, 1), 0), ("LIP", (1, 1, 1), 1)],
)  # fmt: skip
def test_slices_lie_along_the_thickest_voxels_else_along_the_last_axis(codes, spacing_mm, axis):
    affine = np.eye(4)
    for column, code in enumerate(codes):
        axis_of, way = next((place, 1 - 2 * pair.index(code)) for place, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        affine[:3, column] = way * spacing_mm[column] * np.eye(3)[axis_of]
    assert slices_lie_along(affine) == axis


def test_elements_of_parts_are_counted_once():
    rng = np.random.default_rng(0)
    for number in range(40):
        shape = tuple(rng.integers(1, 9, 3).tolist())
        parts = list(boxes(shape, number % 5, number))
        assert count_in(parts, shape) == mask_of(parts, shape).sum()
    assert count_in([((2, 0), (9, 1))], (4, 3)) == 2, "what reaches beyond the end is not counted"
