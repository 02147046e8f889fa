"""What the report says of how a study asked and trained."""

import json

import pytest

from jaxal.report import ways

UNIT = {"name": "box", "size": [4, 0, 5], "stride": 1, "at_most": 8, "overlap": False, "query_elements": None}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, ""),
        (
            {"unit": UNIT, "sizes": {"query_size": 8}},
            "Asked for at once: a box of 4 x all x 5 elements; 8 of them a query, at any position. They never overlap.",
        ),
        (
            {"unit": {**UNIT, "stride": 3, "overlap": True, "query_elements": 900}},
            "Asked for at once: a box of 4 x all x 5 elements; up to 900 elements a query, at every 3 elements. They may overlap.",
        ),
        (
            {"calibration": {"method": "temperature"}},
            "Logits are divided by the temperature that suits the evaluation set; the ledgers hold it for each round.",
        ),
        ({"pseudo_labels": {"train": False, "below": 0.1, "decay": 0.0}}, ""),
        (
            {"pseudo_labels": {"train": True, "below": 0.05, "decay": 0.0033}},
            "Networks train, too, on what the round before was sure of besides labels: entropy below 0.05 of its maximum, 0.0033 less each "
            "round.",
        ),
    ],
)
def test_what_is_not_plain_is_told(tmp_path, config, told):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert ways.sentences(tmp_path) == told


def test_ledgers_that_came_alone_say_nothing_of_it(tmp_path):
    assert ways.sentences(tmp_path) == ""
    (tmp_path / "config.json").write_text("{")
    assert ways.sentences(tmp_path) == ""
