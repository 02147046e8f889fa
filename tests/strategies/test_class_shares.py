"""Queries that are divided among the classes, on entropies made by hand, against the rule written out."""

import jax
import numpy as np
import pytest

from jaxal.acquisition.uncertainty import moments_of
from jaxal.arrays import gumbels_of
from jaxal.scoring.statistics import View, entropy_by_class
from jaxal.strategies.by_class import power_of_round
from jaxal.strategies.contract import Context, decide
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES
from jaxal.types import Case, Seen, Unit

COUNT, KEY = 30, jax.random.key(5)
NAMES = [f"case_{place:02d}" for place in range(COUNT)]
TABLES = {"scans": STRATEGIES, "images": CLASSIFICATION_STRATEGIES}


def query(name, task, parts, budget, round_=0):
    context = Context(KEY, [Unit(Case(id_, "", None)) for id_ in NAMES], round_, 5)
    nobody = Seen((), {})
    strategy = named_strategy(name, TABLES[task]).strategy
    return decide(strategy, context, None, {"entropy_by_class": parts}, nobody, nobody, budget).query


def written_out(parts, classes, budget, share, power):
    """A share of the query divided among the classes in the order that is drawn, each class's best by its own noise; the rest by noisy entropy."""
    key = jax.random.fold_in(KEY, 1)
    order = [classes[place] for place in np.asarray(jax.random.permutation(key, len(classes)))]

    def noisy(class_, number):
        gumbels = gumbels_of(jax.random.fold_in(key, number), NAMES) if power else 0.0
        return np.log(parts[:, class_]) + (gumbels / power if power else 0.0)

    divided, taken = int(share * budget), []
    for turn, class_ in enumerate(order):
        wanted = divided // len(order) + (turn < divided % len(order))
        values = noisy(class_, 1 + class_ - classes[0])
        best = [place for place in np.argsort(-values, kind="stable") if place not in taken]
        taken += best[:wanted]
    values = noisy(0, 0)
    taken += [place for place in np.argsort(-values, kind="stable") if place not in taken][: budget - len(taken)]
    return tuple(NAMES[place] for place in taken)


@pytest.mark.parametrize(("task", "classes"), [("scans", [2, 3]), ("images", [1, 2, 3])])
@pytest.mark.parametrize("budget", [1, 7, 10])
def test_a_query_is_divided_among_the_classes(rng, task, classes, budget):
    """Of scans class 0 is the background, which has no share."""
    parts = rng.uniform(0.1, 1.0, (COUNT, 4))
    assert query("class_balanced", task, parts, budget).units == written_out(parts, classes, budget, 1.0, None)
    for round_ in (0, 2, 4):
        expected = written_out(parts, classes, budget, 0.66, (1.0, 10.0, 100.0)[round_ // 2])
        assert query("clasp_pe", task, parts, budget, round_).units == expected
    assert query("class_balanced,share=0", task, parts, budget).units == tuple(np.array(NAMES)[np.argsort(-parts[:, 0])][:budget])


def test_of_two_classes_two_thirds_go_by_the_structures_part(rng):
    parts = rng.uniform(0.1, 1.0, (COUNT, 3))
    found = query("class_balanced,share=0.66", "scans", parts, 9).units
    assert found[:5] == tuple(np.array(NAMES)[np.argsort(-parts[:, 2])][:5])


def test_the_noise_wanes():
    assert [power_of_round(Context(KEY, [], round_, 5)) for round_ in range(5)] == pytest.approx(
        [1, 100**0.25, 10, 100**0.75, 100]
    )
    assert power_of_round(Context(KEY, [], 0, 1)) == 1.0


@pytest.mark.parametrize("name", ["clasp_pe,share=1.1", "class_balanced,share=-0.1"])
def test_a_share_is_one(name):
    for table in TABLES.values():
        with pytest.raises(Exception, match="it must be from 0 to 1"):
            named_strategy(name, table)


def test_parts_of_classes_add_up_to_the_entropy(rng):
    logits = rng.normal(size=(1, 3, 20)).astype(np.float32)
    inside = np.arange(20) < 15
    view = View(**dict.fromkeys(View._fields, None))._replace(single=moments_of(logits), inside=inside)
    found = np.asarray(entropy_by_class(view, None))
    p = np.exp(logits[0]) / np.exp(logits[0]).sum(0)
    entropy = -(p * np.log(p)).sum(0)
    np.testing.assert_allclose(found, [entropy[:15].mean(), *(p * entropy)[:, :15].mean(1)], rtol=1e-5)
    assert found[1:].sum() == pytest.approx(found[0], rel=1e-5)
