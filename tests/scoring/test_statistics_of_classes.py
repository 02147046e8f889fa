"""Statistics of one case, made by hand, against loops over its elements and members."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import uncertainty
from jaxal.scoring.statistics import StatisticsConfig, View
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION

SHAPE, CLASSES, MEMBERS, FEATURES = (4, 5, 3), 3, 5, 4
CONFIG = StatisticsConfig(roi_dilate=0, roi_threshold=0.5, roi_at_least=1)


def softmax(z, axis):
    return np.exp(z) / np.exp(z).sum(axis, keepdims=True)


def entropy(p):
    return -(p * np.log(p)).sum(0)


@pytest.fixture
def case(rng):
    """A view, and what it was made from."""
    count = int(np.prod(SHAPE))
    kernel, features = rng.normal(size=(FEATURES, CLASSES)), rng.normal(size=(count, FEATURES))
    logits = (features @ kernel).T
    members = logits + rng.normal(size=(MEMBERS, CLASSES, count))
    inside, labelled, label = rng.uniform(size=count) < 0.8, rng.uniform(size=count) < 0.5, rng.integers(0, CLASSES, count)
    single = uncertainty.moments_of(jnp.asarray(logits[None], jnp.float32))
    view = View(
        jnp.asarray(features, jnp.float32),
        jnp.zeros(2),
        {},
        jnp.asarray(logits, jnp.float32),
        single,
        uncertainty.moments_of(jnp.asarray(members, jnp.float32)),
        None,
        jnp.asarray(inside),
        jnp.asarray(labelled),
        jnp.asarray(label, jnp.int32),
        jax.random.key(0),
        SHAPE,
        None,
        jnp.zeros((count, 1)),
        jnp.asarray(kernel, jnp.float32),
    )
    p = softmax(logits, 0)
    interest = (((p.argmax(0) > 0) | (1 - p[0] > 0.5)) & inside).nonzero()[0]
    return view, {"p": p, "logits": logits, "members": members, "inside": inside, "interest": interest, "kernel": kernel}


def of(name, view, given=None):
    return np.asarray(SEGMENTATION.statistics[name].evaluate(view._replace(given=given), CONFIG))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_uncertainty_at_a_temperature_is_that_of_divided_logits(case, temperature):
    view, made = case
    p = softmax(made["logits"] / temperature, 0)
    ordered = np.sort(p, 0)
    expected = {"tempered_entropy": entropy(p), "tempered_margin": 1 - (ordered[-1] - ordered[-2])}
    for name, values in expected.items():
        assert of(name, view, temperature) == pytest.approx(values[made["inside"]].mean(), rel=1e-5)


def test_dissent_is_the_share_of_members_with_another_class(case):
    view, made = case
    other = made["members"].argmax(1) != made["p"].argmax(0)
    assert of("dissent", view) == pytest.approx(other[:, made["interest"]].mean(), rel=1e-6)


def test_shares_and_counts_of_classes(case):
    view, made = case
    np.testing.assert_allclose(of("class_shares", view), made["p"][:, made["interest"]].mean(1), rtol=1e-5)
    label, labelled = np.asarray(view.label), np.asarray(view.labelled)
    assert of("class_counts", view).tolist() == [int(((label == c) & labelled).sum()) for c in range(CLASSES)]


def test_mixtures_weigh_by_entropy(case):
    view, made = case
    p, h = made["p"], entropy(made["p"])
    for class_, row in enumerate(of("contextual_mixtures", view)):
        own = (p.argmax(0) == class_) & made["inside"]
        expected = (p[:, own] * h[own]).sum(1) / h[own].sum() if own.any() else np.zeros(CLASSES)
        np.testing.assert_allclose(row, expected, rtol=1e-4)


def test_mixtures_of_sure_predictions_and_of_none(case):
    """Where no entropy is left, elements count alike; a class that is predicted nowhere has zeros."""
    view, made = case
    sure = jnp.asarray(np.where(np.arange(CLASSES)[:, None] == 1, 1e4, 0.0) * np.ones_like(made["p"]), jnp.float32)
    mixtures = of("contextual_mixtures", view._replace(logits=sure, single=uncertainty.moments_of(sure[None])))
    np.testing.assert_array_equal(mixtures, [[0, 0, 0], [0, 1, 0], [0, 0, 0]])


def test_the_error_is_one_minus_dice_over_what_is_labelled(case):
    view, made = case
    predicted, label, labelled = made["p"].argmax(0), np.asarray(view.label), np.asarray(view.labelled)
    dice = [
        2
        * ((predicted == c) & (label == c) & labelled).sum()
        / (((predicted == c) & labelled).sum() + ((label == c) & labelled).sum())
        for c in range(1, CLASSES)
    ]
    assert of("error", view) == pytest.approx(1 - np.mean(dice), rel=1e-5)
    assert of("error", view._replace(labelled=jnp.zeros_like(view.labelled))) == 0.0


def test_the_error_of_an_image_is_what_its_class_lacks(case):
    view, made = case
    image = view._replace(
        single=uncertainty.moments_of(view.logits[None, :, :1]), label=view.label[:1], labelled=jnp.ones(1, bool), shape=()
    )
    error = CLASSIFICATION.statistics["error"].evaluate
    assert float(error(image, None)) == pytest.approx(1 - made["p"][int(view.label[0]), 0], rel=1e-5)
    assert float(error(image._replace(labelled=jnp.zeros(1, bool)), None)) == 0.0


def test_the_boundary_is_that_of_the_last_layers_weights(case):
    view, made = case
    nearest = []
    for place in made["interest"]:
        z, best = made["logits"][:, place], made["logits"][:, place].argmax()
        others = [c for c in range(CLASSES) if c != best]
        nearest.append(min((z[best] - z[c]) / np.linalg.norm(made["kernel"][:, c] - made["kernel"][:, best]) for c in others))
    assert of("nearness_to_boundary", view) == pytest.approx(-np.mean(nearest), rel=1e-4)


def test_energy_and_the_expected_dice_are_over_the_image(case):
    view, made = case
    inside = made["inside"]
    assert of("free_energy", view) == pytest.approx(-np.log(np.exp(made["logits"]).sum(0))[inside].mean(), rel=1e-5)
    p = made["p"][1:, inside]
    assert of("expected_error_of_dice", view) == pytest.approx(np.mean(1 - (p**2).sum(1) / p.sum(1)), rel=1e-5)
