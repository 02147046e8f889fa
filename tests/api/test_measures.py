"""Measures on arrays: other libraries' values, the layout, and what is refused."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxal
from jaxal.api import measures

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
UNCERTAINTY = json.loads((FIXTURES / "uncertainty.json").read_text())
BATCHES = json.loads((FIXTURES / "batchbald.json").read_text())
K_CENTER = json.loads((FIXTURES / "k_center.json").read_text())
SINGLE = ("entropy", "expected_entropy", "least_confidence", "margin")
OF_MEMBERS = ("bald", "mean_std", "variance", "variation_ratio")


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("measure", "library"), [(measure, library) for measure, values in UNCERTAINTY["values"].items() for library in values]
)
def test_values_are_those_of_other_libraries(measure, library):
    logits = np.swapaxes(np.array(UNCERTAINTY["logits"]), 0, 1)  # members first
    expected = UNCERTAINTY["values"][measure][library]
    for given in ({"logits": logits}, {"probabilities": softmax(logits)}):
        np.testing.assert_allclose(getattr(jaxal, measure)(**given), expected, atol=2e-6)  # BaaL clips at 1e-5 or so


def test_batches_are_those_of_batchbald_redux():
    members = np.swapaxes(softmax(np.array(BATCHES["logits"])), 0, 1)
    assert jaxal.batch_bald(probabilities=members, budget=4, samples=1000).tolist() == BATCHES["batchbald_redux"]["indices"]


@pytest.mark.parametrize("measure", [*SINGLE, *OF_MEMBERS])
def test_maps_are_measured_element_by_element_whatever_fits_at_once(measure, rng, monkeypatch):
    logits = 2 * rng.normal(size=(3, 7, 4, 5, 3)).astype(np.float32)
    whole = getattr(jaxal, measure)(logits)
    assert whole.shape == (7, 4, 5)
    assert whole.dtype == np.float32
    flat = getattr(jaxal, measure)(logits.reshape(3, -1, 3))
    np.testing.assert_allclose(whole.reshape(-1), flat, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr(measures, "_NUMBERS_AT_ONCE", 3 * 2 * 4 * 5 * 3)  # two of seven items
    np.testing.assert_allclose(getattr(jaxal, measure)(logits), whole, rtol=1e-6, atol=1e-7)


def test_double_precision_stays_and_leaves_no_trace(rng):
    logits = rng.normal(size=(4, 6, 3))
    p = softmax(logits)
    mean = p.mean(0)
    expected = (p * np.log(p)).sum(-1).mean(0) - (mean * np.log(mean)).sum(-1)
    np.testing.assert_allclose(jaxal.bald(logits), expected, rtol=1e-12)
    assert jaxal.bald(logits).dtype == np.float64
    assert not jax.config.jax_enable_x64


def test_a_single_member_has_an_entropy(rng):
    p = softmax(rng.normal(size=(1, 6, 3)))
    np.testing.assert_allclose(jaxal.entropy(probabilities=p), -(p[0] * np.log(p[0])).sum(-1), rtol=1e-12)


def test_saturated_predictions_are_finite():
    p = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    np.testing.assert_allclose(jaxal.bald(probabilities=p), [np.log(2), 0], atol=1e-12)
    np.testing.assert_allclose(jaxal.bald(1e4 * p), [np.log(2), 0], atol=1e-12)


def plain_gain(features, kernel, bias, evaluation, labels, rate):
    """AEIG with one gradient step for each item and label, written out."""

    def entropy(kernel, bias):
        p = softmax(evaluation @ kernel + bias)
        return -(p * np.log(p)).sum(-1).mean()

    frequency = np.bincount(labels, minlength=len(bias)) / len(labels)
    scores = []
    for x in features:
        p, after = softmax(x @ kernel + bias), []
        for label in range(len(bias)):
            error = p - np.eye(len(bias))[label]
            after.append(entropy(kernel - rate * np.outer(x, error), bias - rate * error))
        scores.append(entropy(kernel, bias) - (p * frequency * np.array(after)).sum())
    return np.array(scores)


def test_information_gain_is_that_of_steps_written_out(rng):
    features, evaluation = rng.normal(size=(5, 4)), rng.normal(size=(7, 4))
    kernel, bias, labels = rng.normal(size=(4, 3)), rng.normal(size=3), rng.integers(0, 3, 7)
    gain = jaxal.information_gain(features, (kernel, bias), (evaluation, labels), step_rate=0.3)
    np.testing.assert_allclose(gain, plain_gain(features, kernel, bias, evaluation, labels, 0.3), rtol=1e-9)


def test_gradients_are_those_of_the_mean_prediction(rng):
    features, logits = rng.normal(size=(5, 4)), rng.normal(size=(3, 5, 3))
    p, length = softmax(logits).mean(0), np.sqrt(1 + np.square(features).sum(-1))
    expected = sum(p[:, c] * np.linalg.norm(p - np.eye(3)[c], axis=-1) for c in range(3)) * length
    np.testing.assert_allclose(jaxal.expected_gradient_length(features, logits), expected, rtol=1e-9)
    entropy = -(p * np.log(p)).sum(-1, keepdims=True)
    np.testing.assert_allclose(
        jaxal.entropy_gradient_norm(features, logits), length * np.linalg.norm(p * (np.log(p) + entropy), axis=-1), rtol=1e-9
    )


def test_choices_are_distinct_and_fill_the_budget(rng):
    features, logits = rng.normal(size=(5, 4)), rng.normal(size=(3, 5, 3))
    for budget, expected in ((3, 3), (20, 5)):
        for places in (
            jaxal.k_center(features, features[:2] + 1, budget),
            jaxal.badge(features, logits, budget),
            jaxal.batch_bald(logits, budget),
            jaxal.power_select(jaxal.bald(logits), budget),
            jaxal.select(jaxal.bald(logits), budget),
        ):
            assert len(set(places.tolist())) == expected
            assert set(places.tolist()) <= set(range(5))


def test_the_farthest_point_comes_first():
    assert jaxal.k_center(np.array([[0.0], [3.0], [10.0], [9.0]]), np.array([[0.5]]), 3).tolist() == [2, 1, 3]


def test_the_longest_gradient_comes_first(rng):
    features, logits = rng.normal(size=(9, 4)), rng.normal(size=(1, 9, 3))
    p = softmax(logits)[0]
    length = np.sqrt(1 + np.square(features).sum(-1)) * np.linalg.norm(p - np.eye(3)[p.argmax(-1)], axis=-1)
    assert jaxal.badge(features, logits, 3)[0] == length.argmax()


def test_ties_go_to_the_earlier_item():
    assert jaxal.select([1.0, 2.0, 1.0, 2.0], 3).tolist() == [1, 3, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: jaxal.bald(z[0]), r"logits have shape \(5, 3\); the layout is \[members, items, ..., classes\]. Of a single"),
        (lambda z: jaxal.bald(z[:1]), "one member; how members disagree takes two"),
        (lambda z: jaxal.bald(probabilities=z), "must not be negative and sum to 1 .* give them as logits"),
        (lambda z: jaxal.bald(z, probabilities=z), "either logits or probabilities"),
        (lambda z: jaxal.bald(), "either logits or probabilities"),
        (lambda z: jaxal.bald(np.where(z == z.max(), np.nan, z)), "logits hold 1 numbers that are not finite, first at"),
        (lambda z: jaxal.bald(z[:, :0]), "so there are none"),
        (lambda z: jaxal.bald([["a"]]), "logits must be numbers"),
        (lambda z: jaxal.entropy(z[..., :1]), "the last axis is that of the classes"),
        (lambda z: jaxal.select(z, 1), r"scores have shape \(2, 5, 3\); 1 axes are needed"),
        (lambda z: jaxal.select(z[0, :, 0], 0), "budget is 0"),
        (lambda z: jaxal.select(z[0, :, 0], 2.5), "budget is 2.5; it must be a whole number"),
        (lambda z: jaxal.k_center(z[0], z[1], "2"), "budget is '2'; it must be a whole number"),
        (lambda z: jaxal.bald([z[0], z[0][:4]]), r"logits are no array, .* one shape, but have \(5, 3\) and \(4, 3\)"),
        (lambda z: jaxal.select([1.0, np.nan], 1), "scores hold 1 numbers that are not finite"),
        (lambda z: jaxal.power_select([-1.0, 2.0], 1), "must not be negative"),
        (lambda z: jaxal.k_center(z[0], z[1][:, :2], 1), "must have 3 features"),
        (lambda z: jaxal.k_center(np.full((2, 2), np.nan), np.ones((1, 2)), 1), "embeddings hold 4 numbers that are not finite"),
        (lambda z: jaxal.badge(z[0], z[:, :4], 1), r"Predictions \[members, items, classes\] of 5 items are needed"),
        (lambda z: jaxal.badge(z[0] * np.inf, z, 1), "features hold 15 numbers that are not finite"),
        (lambda z: jaxal.batch_bald(z[:, None], 1), r"takes \[members, items, classes\]"),
        (
            lambda z: jaxal.information_gain(z[0], (np.ones((3, 2)), np.ones(3)), (z[0], np.zeros(5, int))),
            "the kernel has 2 classes",
        ),
        (
            lambda z: jaxal.information_gain(z[0], (np.ones((4, 2)), np.ones(2)), (z[0], np.zeros(5, int))),
            "must have 4 features",
        ),
        (
            lambda z: jaxal.information_gain(z[0], (np.ones((3, 2)), np.ones(2)), (z[0], np.full(5, 2))),
            "there are 2 classes, 0 to 1",
        ),
        (lambda z: jaxal.information_gain(z[0], (np.ones((3, 2)), np.ones(2)), (z[0], np.ones(5))), "5 whole numbers are needed"),
        (
            lambda z: jaxal.information_gain(z[0], (np.ones((3, 2)), np.ones(2)), (z[0], np.eye(2)[[0, 1, 0, 1, 0]])),
            r"one-hot labels .*argmax\(-1\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(rng, call, message):
    with pytest.raises(jaxal.UserError, match=message):
        call(np.abs(rng.normal(size=(2, 5, 3))) + 1)


def test_every_public_name_is_there_and_known_to_type_checkers():
    tree = ast.parse((ROOT / "jaxal" / "__init__.py").read_text())
    typed = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names if alias.asname}
    assert typed == set(dir(jaxal)) - {"networks"}
    assert all(getattr(jaxal, name) for name in dir(jaxal))
    assert jaxal.networks.adapters.linen
    with pytest.raises(AttributeError, match="no attribute 'balld'"):
        jaxal.balld  # noqa: B018
    for first in ("jaxal.score", "jaxal.bald"):  # which import some of the networks, or none
        code = f"import jaxal; {first}; print(jaxal.networks.adapters.linen.__name__)"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "linen\n"
    code = "import jaxal, sys; jaxal.UserError; assert 'jax' not in sys.modules; print(jaxal.networks.adapters.nnx.__name__)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "nnx\n"
