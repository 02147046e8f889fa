"""Scores of predictions that somebody else's network made are those of the measures on plain arrays."""

import jax
import numpy as np
import pytest

import jaxal
from jaxal.api import predictions
from jaxal.api.predictions import (
    Keep,
    Predictions,
    chosen_strategies,
    kind_of_prediction,
    score_predictions,
    strategies_of_predictions,
)
from jaxal.arrays import keys_of
from jaxal.errors import UserError
from jaxal.scoring.given import statistics_of
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Case

MEASURES = {
    "least_confidence": jaxal.least_confidence,
    "margin": jaxal.margin,
    "entropy": jaxal.entropy,
    "mc_entropy": jaxal.entropy,
    "bald": jaxal.bald,
    "mean_std": jaxal.mean_std,
    "variation_ratio": jaxal.variation_ratio,
}


def make(shape, seed=0, members=3, classes=3):
    """`[members, *shape, classes]` logits."""
    return (2 * np.random.default_rng(seed).normal(size=(members, *shape, classes))).astype(np.float32)


def scored(predictions, strategies, kind=SEGMENTATION, **options):
    names = list(predictions)
    cases = [Case(name, "", None) for name in names]
    return score_predictions(
        cases,
        Predictions(kind, lambda name: iter(predictions[name]), of_probabilities=False),
        chosen_strategies(strategies, kind),
        key=jax.random.key(0),
        **options,
    )


def test_maps_of_different_sizes_get_the_mean_of_the_measures():
    predictions = {name: make(shape, seed) for seed, (name, shape) in enumerate({"a": (5, 6, 7), "b": (40, 3, 3)}.items())}
    scores = scored(predictions, list(MEASURES))
    for name, measure in MEASURES.items():
        expected = [measure(values[:, None]).mean() for values in predictions.values()]
        np.testing.assert_allclose(scores[name], expected, rtol=2e-5, err_msg=name)


def test_images_get_the_measures_themselves():
    values = make((12,), 1)
    predictions = {f"i{item:02d}": values[:, item] for item in range(12)}
    assert kind_of_prediction(values[0, 0]) is CLASSIFICATION
    scores = scored(predictions, [*MEASURES, "batchbald"], CLASSIFICATION)
    for name, measure in MEASURES.items():
        np.testing.assert_allclose(scores[name], measure(values), rtol=2e-5, atol=1e-7, err_msg=name)
    np.testing.assert_array_equal(scores.select("bald", 4), jaxal.select(jaxal.bald(values), 4))
    np.testing.assert_array_equal(scores.select("batchbald", 4), jaxal.batch_bald(values, budget=4))


def test_many_images_at_once_have_the_statistics_of_one_by_one(monkeypatch):
    """Some have other numbers of members, and they do not come to a full piece."""
    values = {f"i{item:02d}": make((), item, members=3 + item % 2) for item in range(11)}
    monkeypatch.setattr(predictions, "_IMAGES_AT_ONCE", 4)
    strategies = strategies_of_predictions(CLASSIFICATION)
    needs = {need for make in strategies.values() for need in make().needs.pool} - {"member_probability"}
    names = sorted(name for name in strategies if "member_probability" not in strategies[name]().needs.pool)
    found = scored(values, names, CLASSIFICATION)._evidence.pool
    assert set(found) == needs
    keys = keys_of(jax.random.fold_in(jax.random.key(0), 1), list(values))
    for place, (members, key) in enumerate(zip(values.values(), keys, strict=True)):
        alone = statistics_of(CLASSIFICATION, sorted(needs), StatisticsConfig(), iter(members), key, False)
        for name, expected in alone.items():
            for part, whole in zip(jax.tree.leaves(expected), jax.tree.leaves(found[name]), strict=True):
                np.testing.assert_allclose(whole[place], part, rtol=2e-5, atol=1e-6, err_msg=name)


def test_probabilities_score_as_their_logits_do():
    logits = make((4, 4, 4), 2)
    names = ["bald", "entropy", "masked_entropy"]
    of_logits = scored({"a": logits, "b": logits[::-1]}, names)
    probabilities = np.asarray(jax.nn.softmax(logits, -1))
    cases = [Case(name, "", None) for name in "ab"]
    strategies = chosen_strategies(names, SEGMENTATION)
    scores = score_predictions(
        cases, Predictions(SEGMENTATION, lambda name: iter(probabilities)), strategies, key=jax.random.key(0)
    )
    for name in names:
        np.testing.assert_allclose(scores[name], of_logits[name], rtol=1e-4)


def test_certain_predictions_have_no_uncertainty():
    certain = np.zeros((2, 4, 4, 4, 2), np.float32)
    certain[..., 0] = 1
    cases = [Case("a", "", None)]
    strategies = chosen_strategies(["bald", "entropy", "mean_std"], SEGMENTATION)
    scores = score_predictions(cases, Predictions(SEGMENTATION, lambda name: iter(certain)), strategies, key=jax.random.key(0))
    assert [scores[name][0] for name in scores] == pytest.approx([0, 0, 0], abs=1e-12)


def test_what_needs_more_than_predictions_is_refused():
    for name in set(SEGMENTATION.strategies) - set(strategies_of_predictions(SEGMENTATION)):
        with pytest.raises(UserError, match=rf"{name}: needs .* and there are only predictions"):
            chosen_strategies([name], SEGMENTATION)
    assert {"random", "bald", "masked_entropy", "power_bald", "stratified_random"} <= set(strategies_of_predictions(SEGMENTATION))
    assert "batchbald" in strategies_of_predictions(CLASSIFICATION)
    with pytest.raises(UserError, match="No strategy is named"):
        chosen_strategies([], SEGMENTATION)
    with pytest.raises(UserError, match="bald: how members disagree takes the predictions of two at least"):
        scored({"a": make((4, 4, 4), members=1)}, ["bald"])


def test_what_was_scored_is_not_read_again(tmp_path):
    predictions = {name: make((4, 4, 4), seed) for seed, name in enumerate("abc")}
    versions = {name: f"{name} 1" for name in predictions}

    class Stopped(Exception):
        pass

    def stop(done, total):
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        scored(predictions, ["bald"], keep=Keep(tmp_path / "scores", versions, 0), progress=stop)
    wrong = {**predictions, "a": None, "b": None}  # reading them would fail
    again = scored(wrong, ["bald"], keep=Keep(tmp_path / "scores", versions, 0))
    np.testing.assert_array_equal(again["bald"], scored(predictions, ["bald"])["bald"])
    changed = Keep(tmp_path / "scores", {**versions, "a": "a 2"}, 0)
    with pytest.raises(TypeError):
        scored(wrong, ["bald"], keep=changed)
    changed.clear()
    assert not (tmp_path / "scores").exists()
