"""What may be asked for at once, and what is refused before anything is trained."""

import dataclasses

import pytest

from jaxal.acquisition.regions import Search
from jaxal.errors import UserError
from jaxal.studies.scans import ScanArguments
from jaxal.studies.units import UnitOptions, check_units, query_size_of, search_for
from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS

SHAPE = (40, 40, 32)


@pytest.mark.parametrize(
    ("options", "search"),
    [
        (UnitOptions("box"), Search((10, 10, 8), 1, 12)),
        (UnitOptions("box", (7,)), Search((7, 7, 7), 1, 12)),
        (UnitOptions("box", (7, 8, 9), stride=4, overlap="allow", per_case=2), Search((7, 8, 9), 4, 2, True)),
        (UnitOptions("slice"), Search((0, 0, 1), 1, 12)),
        (UnitOptions("slice", (3,), slice_axis=0), Search((3, 0, 0), 1, 12)),
        (UnitOptions("box", (8,), query_elements=1100), Search((8, 8, 8), 1, 6)),  # twice the three boxes that it pays for
    ],
)
def test_what_is_looked_for(options, search):
    check_units(options, 3)
    assert search_for(options, SHAPE, 12) == search


def test_regions_are_windows_of_plane_images():
    check_units(UnitOptions("region", (30,)), 2)
    assert search_for(UnitOptions("region", (30,)), (176, 256), 20) == Search((30, 30), 1, 20)
    assert search_for(UnitOptions("region"), (176, 256), 20).size == (44, 64)


@pytest.mark.parametrize(
    ("options", "rank", "told"),
    [
        (UnitOptions("box", stride=0), 3, "--stride is 0; it must be at least 1"),
        (UnitOptions("box", per_case=0), 3, "--per-case is 0; it must be at least 1"),
        (UnitOptions("box", query_elements=-1), 3, "--query-elements is -1"),
        (UnitOptions("box", (0,)), 3, "--unit-size is 0; it must be at least 1"),
        (UnitOptions("image", (4,)), 3, "--unit-size is for parts of cases. Give --unit slice, box or region, too"),
        (UnitOptions("image", query_elements=9), 3, "--query-elements is for parts of cases"),
        (UnitOptions("region"), 3, "--unit region: images here have 3 axes; it takes image, slice or box"),
        (UnitOptions("box"), 2, "--unit box: images here have 2 axes; it takes image or region"),
        (UnitOptions("box", (4, 4)), 3, "--unit-size is 4 x 4; it takes one number, or one for each of the 3 axes"),
        (UnitOptions("slice", (4, 4, 4)), 3, "--unit-size is 4 x 4 x 4; it takes one number."),
        (UnitOptions("image", stride=3), 3, "--stride is for parts of cases"),
        (UnitOptions("image", overlap="allow"), 3, "--overlap is for parts of cases"),
        (UnitOptions("image", pseudo_threshold=0.9), 3, "--pseudo-threshold is for parts of cases"),
        (UnitOptions("image", pseudo_decay=0.9), 3, "--pseudo-decay is for parts of cases"),
        (UnitOptions("image", slice_axis=0), 3, "--slice-axis is for slices. Give --unit slice, too."),
        (UnitOptions("box", slice_axis=0), 3, "--slice-axis is for slices. Give --unit slice, too."),
        (UnitOptions("slice", slice_axis=3), 3, "--slice-axis is 3; images here have the axes 0 to 2"),
    ],
)
def test_what_does_not_go_with_the_images_is_refused(options, rank, told):
    with pytest.raises(UserError, match=told.replace("(", r"\(")):
        check_units(options, rank)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (UnitOptions("box", (41, 8, 8)), "--unit-size is 41 x 8 x 8; images have 40 x 40 x 32 elements. Give less"),
        (
            UnitOptions("box", (8,), query_elements=511),
            "--query-elements is 511, but one box of 8 x 8 x 8 has 512. Give more, or",
        ),
        (UnitOptions("slice", query_elements=100), "--query-elements is 100, but one slice of 40 x 40 x 1 has 1600"),
    ],
)
def test_a_part_that_cannot_be_asked_for_is_refused(options, told):
    with pytest.raises(UserError, match=told):
        search_for(options, SHAPE, 12)


def test_a_query_of_parts_has_four_for_each_case_unless_somebody_says_how_many():
    assert query_size_of(UnitOptions(), None, 5) == 5 and query_size_of(UnitOptions("box"), None, 5) == 20
    assert query_size_of(UnitOptions("box"), 7, 7) == 7 and query_size_of(UnitOptions("box", query_elements=9), None, 5) > 10**5


def test_the_kind_of_task_follows_from_the_unit():
    assert ScanArguments().kind == SEGMENTATION
    assert dataclasses.replace(ScanArguments(), unit="slice").kind == SEGMENTATION_OF_PARTS
