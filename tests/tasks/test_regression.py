"""Regression from the loss to a finished run, on tiny images of a bright area whose height is one number and whose width is another."""

import contextlib
import csv
import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_images
from scipy import stats

from jaxal.arrays import flat, logits_of
from jaxal.data.cases import Dataset, split
from jaxal.data.stream import stacked
from jaxal.errors import UserError
from jaxal.networks.auxiliary import with_auxiliary
from jaxal.networks.resnet import resnet
from jaxal.networks.scaled import Scaled, with_scale
from jaxal.rounds.setup import RoundsConfig, Task, open_run
from jaxal.rounds.simulate import simulate
from jaxal.scoring.members import MembersConfig, predict
from jaxal.scoring.pool_pass import Pass
from jaxal.strategies.contract import Context
from jaxal.strategies.named import named_strategy
from jaxal.strategies.table import REGRESSION_STRATEGIES
from jaxal.task_kind import Predicting, Prediction
from jaxal.tasks.regression import REGRESSION, Predicted, Spread, entries, loss, success
from jaxal.training.config import TrainingConfig
from jaxal.types import Case, Example, Label, Seen, Unit

TARGETS = ("ADAS13", "MMSE")
NETWORK = dataclasses.replace(tiny_images.NETWORK, classes=4)
TRAINING = TrainingConfig(steps=80, batch_size=8, peak_rate=1e-2, dice=False, noise=0.0, contrast=0.0, brightness=0.0)


def make_cases(count=60):
    rng = np.random.default_rng(0)
    images = {}
    cases = []
    for place in range(count):
        height, width = rng.integers(1, 8, 2)
        image = 0.2 * rng.normal(size=(8, 8, 1)).astype(np.float32)
        image[:height, :width] += 1.0
        images[f"case_{place:02d}"] = image
        values = (15.0 + 4.0 * height, 30.0 - width + 0.1 * rng.normal())
        label = Label(str(place), values=tuple(round(value, 4) for value in values))
        cases.append(Case(f"case_{place:02d}", "ab"[place % 4 == 0], None, label))
    return cases, images


def make_task():
    cases, images = make_cases()

    def load(case):
        known = case.label is not None
        values = np.array(case.label.values if known else (0.0, 0.0), np.float32)
        return Example(images[case.id], values, np.ones(2, bool), np.full(2, known))

    splits = split(cases, 0, 0.2, 0.3)
    initial = splits.pool[:20]
    label = np.array([case.label.values for case in initial])
    model = with_scale(resnet(NETWORK), tuple(label.mean(0).tolist()), tuple(label.std(0).tolist()))
    dataset = Dataset(tuple(cases), ("grey",), TARGETS, (8, 8), (1.0, 1.0))
    return Task(REGRESSION, model, dataset, splits, initial, load, TRAINING)


@pytest.fixture(scope="module")
def task():
    return make_task()


class Silent:
    def progress(self, what):
        return contextlib.nullcontext(lambda done, total: None)

    def note(self, text):
        raise AssertionError(text)  # a training collapsed

    def should_stop(self):
        return False


@pytest.fixture(scope="module")
def lines(task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    config = RoundsConfig(rounds=2, query_size=3, seed=0, members=MembersConfig(networks=2, dropout=4), batch_size=4)
    return list(simulate(open_run(folder, "total_variance", config, task, Silent())))


def test_a_run_learns_and_its_lines_tell_how_well(lines, task):
    first, second = lines
    assert (first["task"], first["labelled"], second["labelled"]) == ("regression", 20, 23)
    assert set(first["queried_values"]) == set(first["queried"])
    assert second["r2"]["overall"] > 0.3 and set(second["r2"]["by_group"]) == {"a", "b"}
    assert set(second["rmse"]) == set(TARGETS) == set(second["rmse_by_group"]["a"])
    for id_, known in second["test"].items():
        case = next(case for case in task.splits.test if case.id == id_)
        assert known["values"] == pytest.approx(list(case.label.values), rel=1e-5)
    label, mean = (np.array([known[name] for known in second["test"].values()]) for name in ("values", "mean"))
    assert list(second["rmse"].values()) == pytest.approx(np.sqrt(((label - mean) ** 2).mean(0)).tolist(), rel=1e-3)
    r2 = 1 - ((label - mean) ** 2).mean(0) / label.var(0)
    assert second["r2"]["overall"] == pytest.approx(r2.mean(), rel=1e-3)


def test_gaps_and_coverage_are_those_of_the_kept_predictions(lines):
    line = lines[-1]
    rows = line["test"].values()
    label, mean, variance = (np.array([row[name] for row in rows]) for name in ("values", "mean", "variance"))
    groups = np.array([row["group"] for row in rows])
    for group in "ab":
        here = groups == group
        expected = (1 - ((label - mean)[here] ** 2).mean(0) / label.var(0)).mean()
        assert line["r2"]["by_group"][group] == pytest.approx(expected, rel=1e-3)
    inside = [(np.abs(label - mean) <= stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance)).mean() for level in (0.5, 0.9)]
    assert [line["coverage"][4], line["coverage"][8]] == pytest.approx(inside, abs=1e-6)
    assert line["nll"] == pytest.approx(-stats.norm.logpdf(label, mean, np.sqrt(variance)).mean(), rel=1e-3)


def test_the_loss_is_the_gaussian_likelihood_over_what_is_known(rng):
    logits, label = rng.normal(size=(5, 4, 1)), rng.normal(size=(5, 2))
    known = rng.random((5, 2)) < 0.6
    batch = Example(None, jnp.asarray(label, jnp.float32), None, jnp.asarray(known))
    found = loss(None, jnp.asarray(logits, jnp.float32), batch)
    plain = -stats.norm.logpdf(label, logits[:, :2, 0], np.exp(0.5 * logits[:, 2:, 0])) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(found, np.where(known, plain, 0.0).sum(1), rtol=1e-5, atol=1e-5)
    nothing = batch._replace(labelled=jnp.zeros((5, 2), bool), label=jnp.full((5, 2), jnp.nan))
    gradient = jax.grad(lambda logits: loss(None, logits, nothing).sum())(jnp.asarray(logits, jnp.float32))
    assert not np.asarray(gradient).any()


@pytest.mark.parametrize("unit", [1.0, 1e5, 1e-5])
def test_units_change_what_is_read_and_nothing_that_is_learnt(task, unit):
    """Labels in units of the deviations and a plain network against labels in their own units and a network that has them."""
    centre, deviation = (15.0 * unit, 27.0 * unit), (8.0 * unit, 2.0 * unit)
    batch = stacked([task.load(case) for case in task.splits.pool[:8]])
    batch = batch._replace(label=(batch.label * np.float32(unit)).astype(np.float32))
    in_units = batch._replace(label=((batch.label - np.array(centre)) / deviation).astype(np.float32))
    found = []
    for model, examples in ((with_scale(resnet(NETWORK), centre, deviation), batch), (resnet(NETWORK), in_units)):

        def total(params, model=model, examples=examples):
            output = model.tail(params, model.stem(params, examples.image), None)
            logits = logits_of(flat(output), *model.head(params))
            return loss(None, logits, examples).mean(), logits[..., 0]

        params = jax.jit(model.init)(jax.random.key(0), batch.image[:1])
        plain = params.params if isinstance(params, Scaled) else params
        plain = {**plain, "kernel": 0.1 * jax.random.normal(jax.random.key(1), plain["kernel"].shape)}
        params = params._replace(params=plain) if isinstance(params, Scaled) else plain
        gradient, logits = jax.jit(jax.grad(total, has_aux=True))(params)
        found.append((gradient.params if isinstance(gradient, Scaled) else gradient, np.asarray(logits)))
    expected = np.concatenate([found[1][1][:, :2] * deviation + centre, found[1][1][:, 2:] + 2 * np.log(deviation)], 1)
    np.testing.assert_allclose(found[0][1], expected, rtol=1e-4, atol=1e-4 * unit)
    for one, other in zip(jax.tree.leaves(found[0][0]), jax.tree.leaves(found[1][0]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(jnp.abs(other).max()) + 1e-6)


def test_units_are_never_trained_and_share_their_programs():
    one, other = (with_scale(resnet(NETWORK), (centre, 0.0), (1.0, 2.0)) for centre in (0.0, 5.0))
    assert one.stem is other.stem and one.head is other.head
    params = one.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    assert one.trainable(params).deviation is False and one.trainable(params).centre is False


@pytest.mark.parametrize("strategy", sorted(REGRESSION_STRATEGIES))
def test_every_strategy_asks_for_distinct_cases_of_the_pool(strategy, task, tmp_path):
    config = RoundsConfig(rounds=1, query_size=4, seed=0, members=MembersConfig(dropout=4), batch_size=4)
    quick = task._replace(training=dataclasses.replace(TRAINING, steps=2, attempts=1))
    (line,) = simulate(open_run(tmp_path, strategy, config, quick, Quiet()))
    pool = {case.id for case in task.splits.pool} - {case.id for case in task.initial}
    assert len(set(line["queried"])) == 4 and set(line["queried"]) <= pool
    assert np.isfinite(line["scores"]).all()


def test_a_network_with_a_mixture_predicts_one_case_and_tells_its_components(task):
    auxiliary = named_strategy("mixture_variance,components=3", REGRESSION_STRATEGIES).strategy.auxiliary
    model = with_auxiliary(task.model, auxiliary)
    case = task.load(task.splits.test[0])
    params = jax.jit(model.init)(jax.random.key(0), jnp.asarray(case.image[None]))
    found = predict(REGRESSION, model, params, case)
    assert found.probability.shape == (4,)
    assert [part.shape for part in found.outputs["mixture"]] == [(2, 3)] * 3
    np.testing.assert_allclose(np.exp(found.outputs["mixture"].log_weight).sum(-1), 1.0, rtol=1e-5)


class Quiet(Silent):
    def note(self, text):
        """Two steps may collapse."""


def test_scores_are_those_of_members_one_by_one(task):
    model, config = task.model, MembersConfig(dropout=6)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    params = params._replace(
        params={**params.params, "kernel": 0.3 * jax.random.normal(jax.random.key(1), params.params["kernel"].shape)}
    )
    statistics = ["spread", "member_values", "prediction"]
    seen = Pass(REGRESSION, model, statistics, config, 4, None)(params, jax.random.key(2), task.splits.test, task.load)
    members = seen["member_values"]
    np.testing.assert_allclose(seen["spread"].mean, members.mean(1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(seen["spread"].epistemic, members.var(1), rtol=2e-3, atol=1e-4)
    variance = np.array([case.label.values for case in task.splits.test]).var(0)
    strategy = named_strategy("total_variance", REGRESSION_STRATEGIES).strategy
    context = types.SimpleNamespace(value=variance)
    expected = ((members.var(1) + seen["spread"].aleatoric) / variance).mean(-1)
    np.testing.assert_allclose(strategy.score(seen, context), expected, rtol=2e-3)


def test_how_far_predictions_moved_is_half_the_squared_distance_of_two(task):
    """And in the first round, which has nothing to compare with, it draws."""
    strategy = named_strategy("cod", REGRESSION_STRATEGIES).strategy
    old, new = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]), np.array([[3.0, 10.0], [2.0, 24.0], [3.0, 30.0]])
    two = np.stack([old, new])
    statistics = {"spread": Spread(two.mean(0), two.var(0), np.ones((3, 2)), new, np.ones((3, 2), bool))}
    units = [Unit(Case(name, "a", None)) for name in "abc"]
    context = Context(jax.random.key(0), units, value=np.array([1.0, 4.0]), round=1)
    found = strategy.score(statistics, context)
    np.testing.assert_allclose(found, (np.square(new - old) / [1.0, 4.0]).mean(-1) / 4)
    first = strategy.score(statistics, context._replace(round=0))
    assert strategy.last_network == "alone" and len(set(first)) == 3 and set(first).isdisjoint(found)


def test_information_gain_over_classes_is_refused():
    with pytest.raises(UserError, match="'aeig' weighs each class that a label may be"):
        named_strategy("aeig", REGRESSION_STRATEGIES)


def seen_of(mean, label):
    mean, label = np.asarray(mean, np.float32), np.asarray(label, np.float32)
    found = Predicted(mean, np.ones_like(mean), label, np.ones(label.shape, bool))
    return Seen([Case(str(place), "ab"[place % 2], None) for place in range(len(label))], {"prediction": found})


def test_constants_explain_nothing_and_equal_labels_say_nothing():
    assert success(seen_of([[2.0], [2.0], [2.0]], [[1.0], [2.0], [3.0]])) == pytest.approx(0.0)
    assert success(seen_of([[1.0], [2.0], [3.0]], [[1.0], [2.0], [3.0]])) == 1.0
    assert success(seen_of([[1.0], [1.0]], [[1.0], [1.0]])) is None
    assert success(seen_of([[1.0]], [[1.0]])) is None
    line = entries(seen_of([[1.0], [2.0]], [[1.0], [2.0]]), seen_of([[2.0], [2.0]], [[1.0], [3.0]]), ["score"])
    assert line["r2"]["overall"] == pytest.approx(0.0) and line["rmse"] == {"score": pytest.approx(1.0)}


def test_predictions_are_written_in_the_targets_units(tmp_path):
    case, other = Case("one", "a", None, Label("1", values=(15.0, 27.5))), Case("two", "b", None)
    found = Prediction(np.array([14.0, 28.0, np.log(4.0), np.log(0.25)]), {})
    REGRESSION.predictions(
        Predicting(tmp_path, [(case, "test"), (other, "new")], lambda case: found, TARGETS, None, lambda done, total: None)
    )
    rows = list(csv.DictReader((tmp_path / "predictions.csv").read_text().splitlines()))
    assert rows[0] == {
        "case": "one", "group": "a", "part": "test", "ADAS13": "15", "ADAS13_predicted": "14", "ADAS13_deviation": "2",
        "MMSE": "27.5", "MMSE_predicted": "28", "MMSE_deviation": "0.5",
    }  # fmt: skip
    assert rows[1]["ADAS13"] == "" and rows[1]["MMSE_predicted"] == "28"
