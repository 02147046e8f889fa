"""The catalogue names what there is, and counts it."""

import re
from pathlib import Path

from jaxal.strategies.composed import RULES
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, REGRESSION_STRATEGIES, STRATEGIES_OF_MASKS, STRATEGIES_OF_PARTS

TEXT = (Path(__file__).parents[1] / "docs" / "catalogue.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in TEXT.splitlines() if re.match(r"\| \d", line)]
NAMES = {*STRATEGIES_OF_MASKS, *CLASSIFICATION_STRATEGIES, *REGRESSION_STRATEGIES, *STRATEGIES_OF_PARTS}


def test_what_the_catalogue_names_is_there():
    pages = [page for page in (Path(__file__).parents[1] / "docs").glob("*.md") if page.name != "catalogue.md"]
    options = " ".join(page.read_text(encoding="utf-8") for page in pages)
    for name in re.findall(r"`([^`]+)`", " ".join(row[2] for row in ROWS) + TEXT.split("Beyond the survey")[1]):
        if name.startswith("--"):
            assert name.removeprefix("--") in options, name
        else:
            strategy, *rules = re.split(r"\+", name.split(":")[0] if name.startswith("+") else name)
            strategy = strategy.split(",")[0]
            assert not strategy or strategy in NAMES, name
            assert {rule.split(":")[0] for rule in rules} <= RULES.keys(), name


def test_the_catalogue_counts_its_rows():
    assert [int(row[0]) for row in ROWS] == list(range(1, 142))
    outside = [row for row in ROWS if row[2].startswith("out of scope: ")]
    missing = [row for row in ROWS if row[2].startswith("–")]
    assert [row for row in missing if len(row[2]) < 14] == [], "what is missing has a reason"
    there = [row for row in ROWS if row not in outside and row not in missing]
    methods, in_scope, found = map(int, re.findall(r"(\d+) methods, of which (\d+) .*?: (\d+) of these", TEXT)[0])
    assert (methods, in_scope, found) == (len(ROWS), len(ROWS) - len(outside), len(there))
