"""Parts that are divided among the classes, on windows made by hand."""

import jax
import numpy as np
import pytest

from jaxal.acquisition.regions import Windows
from jaxal.strategies.contract import Context, decide
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import STRATEGIES_OF_PARTS
from jaxal.types import Case, Seen, Unit

CLASSES, EACH, ELEMENTS = 3, 6, 10


@pytest.fixture
def windows():
    """Six windows of ten elements for the plain entropy and for each of three classes, all side by side; the first class has the largest scores, the plain entropy the least."""
    place = np.arange((1 + CLASSES) * EACH).reshape(1, 1 + CLASSES, EACH)
    score = (np.array([1.0, 100.0, 10.0, 5.0])[:, None] - 0.1 * np.arange(EACH)).astype(np.float32)[None]
    return Windows(score, ELEMENTS * place[..., None], np.full((*place.shape, 1), ELEMENTS), np.full(place.shape, ELEMENTS))


@pytest.mark.parametrize("limit", [None, 60.0, 69.0])
@pytest.mark.parametrize(
    ("name", "counts"), [("class_balanced", [0, 2, 2, 2]), ("clasp_pe,share=0.5", [3, 1, 1, 1]), ("clasp_pe", [3, 1, 1, 1])]
)
def test_classes_have_their_shares_of_a_query_of_parts_and_of_elements(windows, name, counts, limit):
    """A budget in elements comes with next to no limit of parts; what a class leaves of its share the next one has."""
    context = Context(jax.random.key(0), [Unit(Case("a", "", None))], cost_at_most=limit)
    strategy = named_strategy(name, STRATEGIES_OF_PARTS).strategy
    statistics, nobody = {"windows_entropy_by_class": windows}, Seen((), {})
    query = decide(strategy, context, None, statistics, nobody, nobody, 6 if limit is None else 10**6).query
    of = [int(unit.split("@")[1].split("+")[0]) // (ELEMENTS * EACH) for unit in query.units]
    if limit != 69.0:
        assert [of.count(class_) for class_ in range(1 + CLASSES)] == counts
    assert len(of) == 6 and [of.count(class_) for class_ in range(1, 1 + CLASSES)] >= [1, 1, 1]
