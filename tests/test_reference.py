"""The reference of the site shows every public name and every strategy."""

import re
from pathlib import Path

import jaxal
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES

PAGES = sorted((Path(__file__).parents[1] / "docs" / "api").glob("*.md"))


def shown():
    """Names that the pages show, by the module or object that each names; of a module all, or those that are listed."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for place, options in re.findall(r"^::: (\S+)\n((?: +.*\n)*)", text + "\n", re.MULTILINE):
        listed = re.search(r"members: \[(.*)\]", options)
        yield from (f"{place}.{name}" for name in listed[1].split(", ")) if listed else (place,)


def test_every_public_name_is_shown():
    names = set(shown())
    assert [f"{place}.{name}" for name, place in jaxal._PLACE.items() if not {place, f"{place}.{name}"} & names] == []


def test_every_strategy_is_shown():
    names = set(shown())
    made = {*STRATEGIES.values(), *CLASSIFICATION_STRATEGIES.values()}
    missing = [make.__name__ for make in made if not {make.__module__, f"{make.__module__}.{make.__name__}"} & names]
    assert missing == [], "not among the members in docs/api/strategies.md"
