"""What the methods' own papers and codes warn of, on cases made by hand."""

import jax
import numpy as np
import pytest

from jaxal.acquisition.predictive_information import epig
from jaxal.errors import UserError
from jaxal.strategies.contract import Context, decide
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES
from jaxal.types import Case, Seen, Unit


def query(name, statistics, labelled=None, budget=1):
    count = len(jax.tree.leaves(statistics)[0])
    pool = [Unit(Case(f"case_{place:02d}", "", None)) for place in range(count)]
    context, nobody = Context(jax.random.key(0), pool), Seen((), {})
    strategy = named_strategy(name, CLASSIFICATION_STRATEGIES).strategy
    known = Seen((), labelled) if labelled else nobody
    found = decide(strategy, context, (np.zeros((2, 2)), np.zeros(2)), statistics, known, nobody, budget)
    return [int(unit.removeprefix("case_")) for unit in found.query.units]


def test_core_set_takes_an_outlier_and_coverage_does_not(rng):
    """A cloud of thirty cases to one side, and a single one to the other."""
    cloud = np.array([1.0, 0.0, 0.0]) + 0.05 * rng.normal(size=(31, 3))
    embedding = np.concatenate([cloud[:30], [[-1.0, 0.1, 0.0]]]).astype(np.float32)
    within, aside = {"embedding": cloud[30:].astype(np.float32)}, {"embedding": np.array([[0.0, 1.0, 0.0]], np.float32)}
    assert query("coreset", {"embedding": embedding}, within) == [30]
    for name in ("probcover,delta=0.3", "maxherding", "facility_location", "typiclust"):
        assert query(name, {"embedding": embedding}, aside) != [30], name


def test_a_copy_as_the_only_target_tells_less_than_bald(rng):
    """Two labels of the same case are drawn apart, given the member: one tells of the other only what both tell of the member."""
    logits = rng.normal(size=(1, 6, 3)) * 2
    members = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)

    def entropy(p):
        return -(p * np.log(p)).sum(-1)

    bald = entropy(members.mean(1)) - entropy(members).mean(1)
    joint = np.einsum("kc,kd->cd", members[0], members[0]) / 6
    expected = 2 * entropy(members.mean(1))[0] - entropy(joint.reshape(-1))
    found = float(np.asarray(epig(members.astype(np.float32), members.astype(np.float32)))[0])
    assert found == pytest.approx(expected, rel=1e-4)
    assert 0 < found < 0.9 * bald[0]


@pytest.mark.parametrize(("name", "output"), [("learning_loss", "predicted_loss")])
def test_a_further_output_that_is_not_finite_is_told_of(name, output):
    broken = {"auxiliary": {output: np.array([0.1, np.nan, 0.3], np.float32)}}
    with pytest.raises(
        UserError, match=r"not finite for 1 of 3 pool cases, the first is case_01 \(seen in the statistic 'auxiliary'\)"
    ):
        query(name, broken)
