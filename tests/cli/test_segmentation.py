"""Default sizes of a study follow from how many scans there are."""

import types
from pathlib import Path

import pytest

from jaxal.cli import segmentation
from jaxal.data.cases import Dataset, initial_set, pool_size, split
from jaxal.data.scans.folder import Ready
from jaxal.studies import scans
from jaxal.types import Case


def ready(groups):
    cases = tuple(Case(f"case_{index:03d}", group, Path(), None) for index, group in enumerate(groups))
    dataset = Dataset(cases, ("T1",), ("background", "ball"), (8, 8, 8), (1.0, 1.0, 1.0))
    return Ready(dataset, types.SimpleNamespace(spacing_mm=(1.0, 1.0, 1.0), levels=2, pooling=()), None, "", None)


@pytest.mark.parametrize(
    "groups",
    [
        *("AB" * count for count in range(3, 30)),
        *("ABA" * count for count in (3, 4, 5, 9)),
        *("A" * count + "BBB" for count in range(3, 15)),
        *([""] * count for count in range(4, 60)),
        *("ABCDEFGH" * count for count in (3, 4, 5, 6, 10)),
    ],
)
def test_no_folder_is_refused_with_the_tools_own_defaults(groups):
    """6, 7, 10 and 13 scans were, and 40 in eight groups."""
    made = ready(groups)
    preset = segmentation._preset(segmentation.OWN_SCANS["small"], made)
    splits = split(made.dataset.cases, 0, preset.evaluation, preset.test)
    assert pool_size(made.dataset.cases, preset.evaluation, preset.test) == len(splits.pool)
    shares = scans.imbalanced_shares(made.dataset) if len(made.dataset.groups) > 1 else None  # as the default start has it
    assert len(initial_set(splits.pool, preset.initial_size, 0, shares)) == preset.initial_size >= 1
    assert 1 <= preset.query_size <= len(splits.pool) - preset.initial_size


@pytest.mark.parametrize(("cases", "initial", "query"), [(40, 4, 2), (100, 5, 2), (400, 20, 10)])
def test_sizes_of_larger_folders_stay_a_tenth_and_a_twentieth(cases, initial, query):
    preset = segmentation._preset(segmentation.OWN_SCANS["small"], ready("AB" * (cases // 2)))
    assert (preset.initial_size, preset.query_size) == (initial, query)
