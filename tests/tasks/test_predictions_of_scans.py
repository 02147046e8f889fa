"""The table of what a network makes of scans: Dice and distances on the grid of the files."""

import csv

import nibabel
import numpy as np
import pytest

from jaxal.data.scans.listing import ScanListing
from jaxal.tasks.segmentation import Predicted, _measured, write_table
from jaxal.types import Case

# Oblique, and the axes have a length each: the file's first axis runs about along y in steps of 2 mm, its second about along x in steps of 4 mm.
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
AFFINE = nibabel.affines.from_matvec(TURN @ [[0.0, -4, 0], [2, 0, 0], [0, 0, 1]], [7, -3, 5])
IGNORE = 9


def write(path, values):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.uint8), AFFINE), path)
    return path


@pytest.fixture
def measured(tmp_path):
    """A plane of class 1 that is predicted a voxel further along the file's second axis; class 2 is predicted only, class 3 nowhere."""
    truth, guess = np.zeros((2, 6, 7, 5)).astype(int)
    truth[1:5, 2, 1:4], guess[1:5, 3, 1:4] = 1, 1
    guess[0, 0, 0] = 2
    truth[:, :, 4], guess[:, :, 4] = IGNORE, 1  # what has no label counts nothing
    (tmp_path / "predictions").mkdir()
    one = Predicted(
        Case("case", "A", tmp_path / "image"),
        "test",
        write(tmp_path / "predictions" / "case.nii.gz", guess),
        dict.fromkeys("xyz", 0.0),
    )
    return _measured(
        one, write(tmp_path / "truth.nii.gz", truth), ScanListing("test", ("T1",), ("background", *"xyz"), IGNORE, ())
    )


def test_distances_are_in_millimetres_of_the_file(measured):
    assert measured.apart["x"].hausdorff95 == measured.apart["x"].mean == pytest.approx(4.0)
    assert measured.apart["y"].mean == np.inf and np.isnan(measured.apart["z"].mean)
    assert measured.dice["x"] == measured.dice["y"] == 0.0 and np.isnan(measured.dice["z"])


def test_the_table_leaves_empty_what_is_unknown(measured, tmp_path):
    unknown = measured._replace(case=measured.case._replace(id="other"), dice=dict.fromkeys("xyz", np.nan), apart={})
    write_table(tmp_path / "predictions.csv", [measured, unknown])
    known, empty = csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines())
    assert (known["hausdorff95_mm_x"], known["mean_distance_mm_x"], known["hausdorff95_mm_y"]) == ("4.0000", "4.0000", "inf")
    assert known["hausdorff95_mm_z"] == known["dice_z"] == "" and known["dice_x"] == "0.0000"
    assert {name for name, value in empty.items() if value} == {"case", "group", "part", "file"}
    write_table(tmp_path / "predictions.csv", [unknown])
    assert "mm" not in (tmp_path / "predictions.csv").read_text().splitlines()[0]
