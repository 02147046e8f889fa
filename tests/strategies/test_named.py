"""Strategies by name: options that are read, refused and explained."""

import inspect
import re

import pytest

from jaxal.errors import UserError
from jaxal.strategies.named import named_strategy, options_of, summary_of
from jaxal.strategies.table import CLASSIFICATION_STRATEGIES, STRATEGIES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weighted-entropy", "no strategy 'weighted-entropy'. Did you mean weighted_entropy?"),
        ("zzz", "`jaxal strategies` lists all"),
        ("aeig,gama=3", "no option 'gama'. It has step_rate, step, method, renormalise, group_gamma."),
        ("entropy,gamma=3", "no option 'gamma'. It has none."),
        ("weighted_entropy,gamma=much", "gamma is 'much'; it takes a number"),
        ("weighted_entropy,gamma=nan", "gamma is 'nan'"),
        ("weighted_entropy,weight_source=test", "it takes labelled or evaluation"),
        ("aeig,step", "step is ''; it takes sgd or sign"),
        ("aeig,renormalise=yes", "it takes true or false"),
        ("aeig,step_rate=fast", "it takes a number or training or normalised"),
        ("aeig,step_rate=-1", "step_rate is -1; it must be above zero"),
        ("aeig,method=linear,step=sign", "not of sign, training"),
        ("eig,method=linear,step_rate=normalised", "not of sgd, normalised"),
    ],
)
def test_strategies_that_there_are_not(name, message):
    with pytest.raises(UserError, match=re.escape(message)):
        named_strategy(name, STRATEGIES)


def test_options_given_to_all_reach_those_that_have_them():
    given = {"renormalise": True, "step": "sign"}
    assert named_strategy("aeig", STRATEGIES, given).identity["renormalise"] is True
    assert named_strategy("aeig,step=sgd", STRATEGIES, given).identity["step"] == "sgd"  # its own go first
    assert named_strategy("eig", STRATEGIES, given).identity == {
        "name": "eig",
        "step_rate": "training",
        "step": "sign",
        "method": "exact",
    }
    assert named_strategy("entropy", STRATEGIES, given).identity == {"name": "entropy"}


def test_whole_numbers_are_whole():
    with pytest.raises(UserError, match=re.escape("joint_samples is '2.5'; it takes a whole number")):
        named_strategy("batchbald,joint_samples=2.5", CLASSIFICATION_STRATEGIES)


@pytest.mark.parametrize("table", [STRATEGIES, CLASSIFICATION_STRATEGIES])
def test_every_strategy_says_what_it_does_and_what_its_options_mean(table):
    for name, make in table.items():
        text = inspect.getdoc(make)
        assert summary_of(make).endswith("."), name
        for option in options_of(make):
            assert f"\n  {option}: " in text, (name, option)
