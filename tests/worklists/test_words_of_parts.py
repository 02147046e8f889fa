"""Parts in words: numbers of slices and places, worked by hand."""

import numpy as np
import pytest

from jaxal.labels.placing import Grid
from jaxal.worklists.parts import middle_of, words_of, words_of_part

LAS = Grid((10, 20, 30), np.array([[-1.0, 0, 0, 5], [0, 2, 0, -10], [0, 0, 3, -30], [0, 0, 0, 1]]))
SAGITTAL = Grid(
    (20, 30, 10), np.array([[0, 0, 4.0, -18], [-1, 0, 0, 9], [0, -1, 0, 12], [0, 0, 0, 1]])
)  # i to the back, j down, k to the right
ANGLE = np.radians(20)
TILTED = Grid(
    (10, 20, 30),
    np.array([[1, 0, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE), 0], [0, np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 0, 1]]),
)


@pytest.mark.parametrize(
    ("grid", "part", "words"),
    [
        (LAS, ((0, 0, 4), (10, 20, 1)), "axial slice 5 of 30 (k = 4 counted from 0), at I 18.0 mm"),
        (LAS, ((0, 0, 4), (10, 20, 3)), "axial slices 5 to 7 of 30 (k = 4 to 6 counted from 0), at I 18.0 mm to I 12.0 mm"),
        (LAS, ((1, 0, 0), (1, 20, 30)), "sagittal slice 2 of 10 (i = 1 counted from 0), at R 4.0 mm"),
        (LAS, ((0, 5, 0), (10, 1, 30)), "coronal slice 6 of 20 (j = 5 counted from 0), at A 0.0 mm"),
        (LAS, ((1, 2, 3), (4, 5, 6)), "voxels i 1 to 4, j 2 to 6, k 3 to 8 (counted from 0), 4 x 10 x 18 mm around R 2.5, P 2.0, I 13.5 mm"),
        (SAGITTAL, ((0, 0, 2), (20, 30, 1)), "sagittal slice 3 of 10 (k = 2 counted from 0), at L 10.0 mm"),
        (SAGITTAL, ((0, 3, 0), (20, 1, 10)), "axial slice 4 of 30 (j = 3 counted from 0), at S 9.0 mm"),
        (TILTED, ((0, 0, 0), (10, 20, 1)), "axial slice 1 of 30 (k = 0 counted from 0), at R 4.5, A 8.9, S 3.2 mm"),
        (TILTED, ((2, 0, 0), (1, 20, 30)), "sagittal slice 3 of 10 (i = 2 counted from 0), at R 2.0 mm"),
    ],
)  # fmt: skip
def test_words_name_the_slice_or_the_box_and_its_place(grid, part, words):
    assert words_of_part(part, grid) == words


def test_several_parts_are_told_one_after_the_other_and_none_in_no_words():
    parts = [((0, 0, 4), (10, 20, 1)), ((1, 0, 0), (1, 20, 30))]
    assert words_of(parts, LAS) == "; ".join(words_of_part(part, LAS) for part in parts) and words_of([], LAS) == ""
    assert middle_of(((0, 0, 0), (1, 1, 1)), SAGITTAL).tolist() == [-18, 9, 12]
