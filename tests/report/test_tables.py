"""Tables: what is shown of intervals, and which side of a table lies across."""

import numpy as np
import pytest

from jaxal.report import curves, tables
from jaxal.report.comparison import Estimate
from jaxal.report.tables import Cell, Head
from jaxal.tasks.classification import CLASSIFICATION

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("estimate", "seeds", "known"),
    [
        (Estimate(0.5, 0.4, 0.6), 3, True),
        (Estimate(0.5, 0.4, 0.6), 2, False),
        (Estimate(0.5, NAN, NAN), 3, False),
        (Estimate(0.5, 0.5, 0.5), 3, False),
        (Estimate(INF, 8.0, INF), 3, True),
        (Estimate(NAN, -INF, INF), 3, False),
        (Estimate(INF, INF, INF), 3, False),
    ],
)
def test_an_interval_is_shown_where_it_says_something(estimate, seeds, known):
    assert tables.has_interval(estimate, seeds) == known


def test_infinite_ends_are_told_in_words():
    assert tables.interval(Estimate(9.0, 8.0, INF), 1) == "at least 8.0"
    assert tables.interval(Estimate(-9.0, -INF, -8.0), 1, signed=True) == "at most −8.0"
    assert tables.interval(Estimate(0.5, 0.4, 0.6), 2) == "0.40\u00a0to 0.60"


def test_numbers_never_break_and_unknown_ones_are_dashes():
    assert [tables.number(value, 2, signed=True) for value in (0.5, -0.5, NAN)] == ["+0.50", "−0.50", "–"]


def test_the_shorter_side_of_a_long_table_lies_across():
    def heads_of(columns, lines):
        heads = [Head(f"c{place}", key=place) for place in range(columns)]
        cells = [
            (Head(f"l{line}"), [Cell(place + 100 * line, f"{line}:{place}") for place in range(columns)]) for line in range(lines)
        ]
        text = tables.fitted("name", "line", heads, cells, "column")
        return text.split("</thead>")[0].count('scope="col"'), text

    assert heads_of(8, 2)[0] == 9
    assert heads_of(12, 12)[0] == 13
    across, text = heads_of(12, 2)
    assert across == 3
    assert '<th scope="row" data-value="11">c11</th><td data-value="11">0:11</td><td data-value="111">1:11</td>' in text
    assert " wide" not in text
    assert " wide" in heads_of(20, 20)[1]


def test_every_strategy_has_a_look_of_its_own_and_neighbours_have_other_marks():
    looks = [tuple(curves.look(index).items()) for index in range(30)]
    assert len(set(looks)) == 30
    assert all(curves.look(index)["marker"] != curves.look(index + 1)["marker"] for index in range(29))


def test_the_worst_and_the_best_group_of_a_round():
    values = dict(curves.extreme_panels(CLASSIFICATION.assessment))
    entry = {"auc": {"overall": 0.8, "by_group": {"a": 0.7, "b": 0.9}}}
    assert (values["AUC, worst group"](entry), values["AUC, best group"](entry)) == (0.7, 0.9)
    assert np.isnan(values["AUC, worst group"]({"auc": {"overall": 0.8, "by_group": {}}}))
