"""Every way to store a map ends as the same map on the case's own grid, voxel for voxel."""

import itertools

import label_files
import numpy as np
import pytest
from label_files import CLASSES, SHAPE, forty_eight, segment_lines, stored, truth

from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.placing import Fit, Grid, Misfit, fit

AFFINE = label_files.own_affine()
GRID = Grid(SHAPE, AFFINE)
EXPECTED = Expected("case_7", GRID, CLASSES)
BOX = (1, 1, 1), (6, 5, 4)  # around all that is drawn
ORDERS = list(itertools.permutations((1, 2, 3)))


def renumbered(labels, order):
    """Values as a program might give them: class k has the value order[k - 1]."""
    return np.array([0, *order], np.uint8)[labels]


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("part", ["whole", "cropped"])
@pytest.mark.parametrize("kind", ["nii.gz", "seg.nrrd"])
def test_each_of_48_orientations_gives_the_truth(tmp_path, kind, part, order):
    start, stop = BOX if part == "cropped" else ((0, 0, 0), SHAPE)
    named = [(name, value) for name, value in zip(CLASSES, order, strict=True)]
    for axes, signs in forty_eight():
        labels, affine = stored(renumbered(truth(), order), AFFINE, axes, signs, start, stop)
        path = tmp_path / f"delivered.{kind}"
        if kind == "seg.nrrd":
            label_files.write_nrrd(path, labels, affine, segment_lines(named))
            names = None
        else:
            label_files.write_nifti(path, labels, affine)
            names = [name for name, _ in sorted(named, key=lambda pair: pair[1])]
        delivered = receive(path, EXPECTED, names=names)
        np.testing.assert_array_equal(delivered.labels, truth(), err_msg=f"{axes} {signs}")
        assert delivered.labels.dtype == np.uint8
        is_told = {note.code for note in delivered.notes} == {"placed"}
        assert is_told == (part == "cropped" or (axes, signs) != ((0, 1, 2), (1, 1, 1)))


@pytest.mark.parametrize("axes, signs", forty_eight()[::5])
def test_layers_are_placed_alike(tmp_path, axes, signs):
    """Segments in layers of their own, in which values repeat."""
    layers = [stored((truth() == value).astype(np.uint8), AFFINE, axes, signs, *BOX) for value in (3, 1, 2)]
    lines = segment_lines([("spleen", 1, 0), ("liver", 1, 1), ("tumour", 1, 2)])
    path = label_files.write_nrrd(tmp_path / "d.seg.nrrd", np.stack([part for part, _ in layers]), layers[0][1], lines)
    np.testing.assert_array_equal(receive(path, EXPECTED).labels, truth())


def test_a_larger_map_is_cropped_to_the_scan(tmp_path):
    padded = np.pad(truth(), 2)
    affine = AFFINE @ np.array([[1, 0, 0, -2], [0, 1, 0, -2], [0, 0, 1, -2], [0, 0, 0, 1.0]])
    delivered = receive(label_files.write_nifti(tmp_path / "d.nii", padded, affine), EXPECTED)
    np.testing.assert_array_equal(delivered.labels, truth())
    padded[0, 0, 0] = 1
    delivered = receive(label_files.write_nifti(tmp_path / "d.nii", padded, affine), EXPECTED)
    np.testing.assert_array_equal(delivered.labels, truth())
    assert [note.code for note in delivered.notes] == ["outside"] and "1 of" in delivered.notes[0].sentence


@pytest.mark.parametrize("shift, is_placed", [(0.0, True), (0.04, True), (0.06, False), (0.94, False), (0.97, True)])
def test_the_tolerance_counts_in_voxels_of_the_case(shift, is_placed):
    affine = AFFINE.copy()
    affine[:3, 3] += shift * AFFINE[:3, 2]
    placed = fit(GRID, Grid(SHAPE, affine))
    assert isinstance(placed, Fit) == is_placed
    assert not is_placed or placed.shift == (0, 0, round(shift))


def test_the_tolerance_holds_at_every_corner():
    """A scale that is off by a thousandth is nothing in a small map and too much in a large one."""
    affine = np.diag([1, 1, 1.001, 1.0])
    own = np.eye(4)
    affine[0, 3] = own[0, 3] = 17.0
    assert isinstance(fit(Grid((9, 9, 9), own), Grid((9, 9, 9), affine)), Fit)
    placed = fit(Grid((9, 9, 200), own), Grid((9, 9, 200), affine))
    assert isinstance(placed, Misfit) and placed.code == "other-spacing"


def test_what_differs_is_told_axis_by_axis():
    """Axes stored as 2, 0, 1, and twice the spacing along the second: the sizes are compared with those of the right axes."""
    turn = np.array([[0, 1, 0], [0, 0, 2], [1, 0, 0]])
    affine = AFFINE.copy()
    affine[:3, :3] = AFFINE[:3, :3] @ turn
    placed = fit(GRID, Grid((5, 7, 3), affine))
    assert isinstance(placed, Misfit) and "measure 2.5 x 0.7 x 1.6 mm, the scan's 2.5 x 0.7 x 0.8 mm" in placed.sentence


def test_single_precision_does_not_matter():
    placed = fit(GRID, Grid(SHAPE, AFFINE.astype(np.float32).astype(np.float64)))
    assert placed == Fit((0, 1, 2), (1, 1, 1), (0, 0, 0))


def test_trusted_grid_is_taken_as_it_lies(tmp_path):
    path = label_files.write_nifti(tmp_path / "d.nii.gz", truth(), np.eye(4))
    delivered = receive(path, EXPECTED, trust_grid=True)
    np.testing.assert_array_equal(delivered.labels, truth())
    assert [note.code for note in delivered.notes] == ["grid-trusted"]


@pytest.mark.parametrize("layered", [False, True])
def test_resampling_takes_the_nearest_voxel(tmp_path, layered):
    """A map with voxels of half the size, each of the case's voxels eight times, comes back as it was."""
    fine = truth().repeat(2, 0).repeat(2, 1).repeat(2, 2)
    half = AFFINE @ np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 0.5, -0.25], [0, 0, 0, 1]])
    if layered:
        parts = np.stack([(fine == value).astype(np.uint8) for value in (1, 2, 3)])
        lines = segment_lines([(name, 1, layer) for layer, name in enumerate(CLASSES)])
        path = label_files.write_nrrd(tmp_path / "d.nrrd", parts, half, lines)
    else:
        path = label_files.write_nifti(tmp_path / "d.nii.gz", fine, half)
    delivered = receive(path, EXPECTED, resample=True)
    np.testing.assert_array_equal(delivered.labels, truth())
    assert [note.code for note in delivered.notes] == ["resampled"]
