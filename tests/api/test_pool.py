"""Scores of images in memory, against plain arrays and loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import jaxal
from jaxal.arrays import flat, logits_of
from jaxal.assessment.temperature import best_temperature, temperature_sums
from jaxal.errors import UserError
from jaxal.networks import adapters
from jaxal.networks.unet import unet

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(12, 6, 1)).astype(np.float32)  # of six pixels in a row
LABELS = RNG.integers(0, 3, 12)


@pytest.fixture(scope="module")
def linear():
    """Networks without dropout: the features are the pixels' hyperbolic tangents."""
    networks = [
        {"first": jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32), "kernel": jnp.asarray(RNG.normal(size=(4, 3)), jnp.float32)}
        for _ in range(3)
    ]

    def features(params, images, key):
        return jnp.tanh(jnp.matmul(images.reshape(len(images), -1), params["first"], precision="highest"))

    model, _ = adapters.function(features, lambda params: (params["kernel"], jnp.zeros(3)), networks[0], IMAGES[:2])
    return model, networks


def plain(params, images):
    """Features and logits in double precision."""
    features = np.tanh(images.reshape(len(images), -1).astype(np.float64) @ np.asarray(params["first"], np.float64))
    return features, features @ np.asarray(params["kernel"], np.float64)


def test_scores_are_those_of_arrays(linear):
    model, (params, *_) = linear
    scores = jaxal.score(model, params, IMAGES[:8], ["entropy", "aeig", "egl", "margin"], evaluation=(IMAGES[8:], LABELS[8:]))
    features, logits = plain(params, IMAGES)
    assert list(scores) == ["entropy", "aeig", "egl", "margin"]
    np.testing.assert_allclose(scores["entropy"], jaxal.entropy(logits[None, :8]), rtol=1e-5)
    np.testing.assert_allclose(scores["margin"], jaxal.margin(logits[None, :8]), rtol=1e-4)
    np.testing.assert_allclose(scores["egl"], jaxal.expected_gradient_length(features[:8], logits[None, :8]), rtol=1e-5)
    expected = jaxal.information_gain(features[:8], (params["kernel"], np.zeros(3)), (features[8:], LABELS[8:]))
    np.testing.assert_allclose(scores["aeig"], expected, rtol=1e-5)
    assert scores.select("aeig", 3).tolist() == jaxal.select(expected, 3).tolist()


def test_an_ensembles_networks_disagree(linear):
    model, networks = linear
    members = np.stack([plain(params, IMAGES)[1] for params in networks])
    scores = jaxal.score(model, jaxal.ensemble(networks), IMAGES, ["bald", "entropy", "batchbald"])
    np.testing.assert_allclose(scores["bald"], jaxal.bald(members), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(scores["entropy"], jaxal.entropy(members[:1]), rtol=1e-5)  # the first network speaks for itself
    assert scores.select("batchbald", 4).tolist() == jaxal.batch_bald(members, 4).tolist()


def test_flips_are_members(linear):
    model, (params, *_) = linear
    scores = jaxal.score(model, params, IMAGES, "bald", options=jaxal.ScoreOptions(flips=(0,)))
    members = np.stack([plain(params, view)[1] for view in (IMAGES, IMAGES[:, ::-1])])
    np.testing.assert_allclose(scores["bald"], jaxal.bald(members), rtol=1e-4, atol=1e-7)


def test_sets_are_chosen_with_all_that_is_labelled(linear):
    model, (params, *_) = linear
    scores = jaxal.score(model, params, IMAGES[:8], ["coreset", "badge"], labelled=(IMAGES[8:], None))
    features, _ = plain(params, IMAGES)
    assert scores.select("coreset", 4).tolist() == jaxal.k_center(features[:8], features[8:], 4).tolist()
    assert len(set(scores.select("badge", 20).tolist())) == 8


def test_a_strategy_gives_its_statistic_what_the_evaluation_set_says(linear):
    """`clue` is scored by the entropy at a temperature, which must reach the pass: a number, and that of the evaluation set."""
    model, (params, *_) = linear
    evaluation = (IMAGES[8:], LABELS[8:])

    def scores(name):
        return jaxal.score(model, params, IMAGES[:8], name, evaluation=evaluation)[name]

    logits = plain(params, IMAGES)[1]
    for temperature in (1.0, 4.0):
        p = np.exp(logits[:8] / temperature) / np.exp(logits[:8] / temperature).sum(-1, keepdims=True)
        np.testing.assert_allclose(scores(f"clue,temperature={temperature:g}"), -(p * np.log(p)).sum(-1), rtol=1e-4)
    labels = jnp.asarray(LABELS[8:])
    sums = temperature_sums(jnp.asarray(logits[8:].T, jnp.float32), labels, jnp.ones(4, bool))
    best = best_temperature(sums)
    np.testing.assert_allclose(scores("clue,temperature=evaluation"), scores(f"clue,temperature={best!r}"), rtol=1e-4)
    assert abs(best - 1) > 0.05  # else it would say nothing
    with pytest.raises(UserError, match="Two strategies give 'tempered_entropy' the numbers 1 and 4"):
        jaxal.score(model, params, IMAGES[:8], ["clue", "clue,temperature=4"])


def test_images_are_read_one_by_one_and_once(linear):
    model, (params, *_) = linear
    read = []

    class OnDisk:
        def __len__(self):
            return 12

        def __getitem__(self, place):
            read.append(place)
            return IMAGES[place]

    told = []
    scores = jaxal.score(model, params, OnDisk(), ["entropy", "egl"], progress=lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(scores["entropy"], jaxal.score(model, params, IMAGES, "entropy")["entropy"])
    assert sorted(read)[1:] == list(range(12))  # the first tells the shape, too
    assert told[-1] == (12, 12)


def test_elements_with_classes_of_their_own():
    model = unet(tiny.NETWORK)
    images = RNG.normal(size=(4, *tiny.SHAPE, 1)).astype(np.float32)
    params = jax.jit(model.init)(jax.random.key(0), images[:1])
    masks = RNG.integers(-1, 2, (4, *tiny.SHAPE))  # of a third nobody knows the class
    options = jaxal.ScoreOptions(dropout_samples=3, statistics=tiny.STATISTICS)
    scores = jaxal.score(model, params, images, ["entropy", "aeig", "bald"], evaluation=(images, masks), options=options)
    output = jax.jit(lambda params, images: model.tail(params, model.stem(params, images), None))(params, images)
    logits = np.moveaxis(np.asarray(logits_of(flat(output), *model.head(params))), 1, -1)
    np.testing.assert_allclose(scores["entropy"], jaxal.entropy(logits[None]).mean(-1), rtol=1e-4)
    assert all(np.isfinite(scores[name]).all() for name in scores)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategies": "entropi"}, "no strategy 'entropi'. Did you mean entropy"),
        ({"strategies": []}, "No strategy is named; there are"),
        ({"strategies": "bald"}, "bald: how members disagree is measured, but no dropout of this network is known"),
        ({"strategies": "aeig"}, "aeig: looks at an evaluation set; give evaluation="),
        ({"strategies": "aeig", "evaluation": (IMAGES, None)}, "aeig: looks at an evaluation set"),
        ({"strategies": "coreset"}, "coreset: compares with what is labelled; give labelled="),
        ({"strategies": "entropy,gamma=3"}, "no option 'gamma'"),
        ({"images": IMAGES[:0]}, "images: there are none"),
        ({"images": 3}, "images must be an array or a sequence"),
        ({"images": IMAGES[:, :5]}, "does not run on images of shape"),
        ({"images": [IMAGES[0], IMAGES[0][:4]]}, "image 1 has shape"),
        ({"images": np.where(IMAGES[7].max() == IMAGES, np.nan, IMAGES)}, "image 7 holds numbers that are not finite"),
        ({"strategies": "aeig", "evaluation": IMAGES}, r"evaluation is of type .*; give evaluation=\(images, labels\)"),
        ({"strategies": "aeig", "evaluation": (IMAGES, LABELS * 0 - 1)}, "evaluation: no label is known"),
        ({"strategies": "aeig", "evaluation": (IMAGES, LABELS[:5])}, "evaluation: labels have shape"),
        (
            {"strategies": "aeig", "evaluation": (IMAGES, LABELS + 1)},
            "evaluation: a label is 3, but the network knows classes 0 to 2",
        ),
        ({"strategies": "aeig", "evaluation": (IMAGES, LABELS.astype(float))}, "the network needs whole numbers"),
        ({"params": {}}, "does not run on images"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(linear, change, message):
    model, (params, *_) = linear
    with pytest.raises(jaxal.UserError, match=message):
        jaxal.score(**{"model": model, "params": params, "images": IMAGES, "strategies": "entropy", **change})


def test_what_was_not_scored_is_not_selected(linear):
    model, (params, *_) = linear
    scores = jaxal.score(model, params, IMAGES, "entropy")
    for strategy, budget, message in (
        ("margin", 2, "'margin' was not scored; there are entropy"),
        ("entropy", 0, "budget is 0"),
        ("entropy", 2.5, "a whole number"),
    ):
        with pytest.raises(jaxal.UserError, match=message):
            scores.select(strategy, budget)
    with pytest.raises(jaxal.UserError, match="'aieg' was not scored; there are entropy"):
        scores["aieg"]
    assert "aieg" not in scores
    assert scores.get("aieg") is None
    with pytest.raises(jaxal.UserError, match="two networks at least"):
        jaxal.ensemble([params])
