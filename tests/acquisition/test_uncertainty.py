import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxal.acquisition import uncertainty
from jaxal.acquisition.uncertainty import ClassMoments

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "uncertainty.json").read_text())
MEASURES = {
    name: jax.jit(getattr(uncertainty, name))
    for name in (
        *("entropy", "bald", "margin", "least_confidence", "variation_ratio", "variance"),
        *("gini", "best_versus_second", "vote_entropy", "pairwise_divergence"),
    )
}


@jax.jit
def streamed(logits) -> ClassMoments:
    """Moments of logits `[members, classes, elements]`, one member after the other; compiled, as the measures are, because the pass compiles them."""
    moments = uncertainty.no_moments(jax.nn.softmax(logits[0], -2))
    for member in logits:
        moments = uncertainty.add_member(moments, member)
    return moments


@pytest.mark.parametrize(
    ("measure", "library"), [(measure, library) for measure, values in FIXTURE["values"].items() for library in values]
)
def test_equals_other_libraries(float64, measure, library):
    logits = np.moveaxis(np.array(FIXTURE["logits"]), 0, -1)
    with np.errstate(all="raise"):
        values = MEASURES[measure](streamed(logits))
    np.testing.assert_allclose(np.asarray(values), FIXTURE["values"][measure][library], atol=2e-6)  # BaaL clips at 1e-5 or so


def test_equals_plain_numpy(float64, rng):
    logits = rng.normal(size=(7, 3, 11)) * 3
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mean, expected_entropy = p.mean(0), -(p * np.log(p)).sum(1).mean(0)
    entropy = -(mean * np.log(mean)).sum(0)
    ordered = np.sort(mean, axis=0)
    votes = np.stack([np.bincount(p[:, :, element].argmax(1), minlength=3) for element in range(11)], -1)
    expected = {
        "entropy": entropy,
        "bald": entropy - expected_entropy,
        "margin": 1 - (ordered[-1] - ordered[-2]),
        "least_confidence": 1 - mean.max(0),
        "variation_ratio": 1 - votes.max(0) / 7,
        "variance": p.var(0).mean(0),
        "gini": 1 - (mean**2).sum(0),
        "best_versus_second": ordered[-2] / ordered[-1],
        "vote_entropy": scipy.stats.entropy(votes / 7),
        "pairwise_divergence": np.mean(
            [(p[s] * np.log(p[s] / p[t])).sum(0) for s in range(7) for t in range(7) if s != t], axis=0
        ),
    }
    assert expected.keys() == MEASURES.keys(), "a measure without its formula in NumPy, here above"
    moments = streamed(logits)
    for name, values in expected.items():
        np.testing.assert_allclose(np.asarray(MEASURES[name](moments)), values, atol=1e-13, err_msg=name)
    np.testing.assert_allclose(np.asarray(uncertainty.expected_entropy(moments)), expected_entropy, atol=1e-13)


def test_values_worked_by_hand():
    # Two members that are sure of different classes: all of the uncertainty is disagreement.
    logits = np.array([[[50.0, 0.0], [-50.0, 0.0]], [[-50.0, 0.0], [50.0, 0.0]]], np.float32)
    moments = streamed(logits)
    np.testing.assert_allclose(np.asarray(uncertainty.bald(moments)), [np.log(2), 0.0], atol=1e-6)
    np.testing.assert_allclose(np.asarray(uncertainty.entropy(moments)), [np.log(2)] * 2, atol=1e-6)
    np.testing.assert_allclose(
        np.asarray(uncertainty.variation_ratio(moments)), [0.5, 0.0]
    )  # the lower class wins the second's ties
    np.testing.assert_allclose(np.asarray(uncertainty.margin(moments)), [1.0, 1.0])
    np.testing.assert_allclose(np.asarray(uncertainty.variance(moments)), [0.25, 0.0])


def test_gini_ranks_as_the_variance_over_classes(rng):
    """The survey's table 1 has the variance of the probabilities around 1 / C, with its sign turned."""
    logits = rng.normal(size=(1, 5, 40)).astype(np.float32)
    p = np.exp(logits[0]) / np.exp(logits[0]).sum(0)
    values = np.asarray(uncertainty.gini(streamed(logits)))
    assert scipy.stats.spearmanr(values, -p.var(0)).statistic == pytest.approx(1.0)


def test_the_variance_is_the_jensen_difference_of_ginis(float64, rng):
    """Gini of the mean less the mean of the members' Ginis is C times the variance: no quadratic entropy of its own is needed."""
    logits = rng.normal(size=(6, 4, 30))
    of_each = np.mean([np.asarray(uncertainty.gini(streamed(member[None]))) for member in logits], axis=0)
    moments = streamed(logits)
    np.testing.assert_allclose(
        np.asarray(uncertainty.gini(moments)) - of_each, 4 * np.asarray(uncertainty.variance(moments)), atol=1e-12
    )


@pytest.mark.parametrize("name", MEASURES)
def test_saturated_members_and_their_gradients_are_finite(name):
    logits = jnp.array([[[1e4, -1e4, 0.0], [0.0, 0.0, 0.0]]] * 2)

    def total(logits):
        return MEASURES[name](streamed(logits)).sum()

    assert np.isfinite(total(logits))
    if name not in ("variation_ratio", "vote_entropy"):  # which count
        assert np.isfinite(jax.grad(total)(logits)).all()


@pytest.mark.parametrize("name", MEASURES)
def test_identical_members_neither_disagree_nor_go_below_zero(name, rng):
    logits = np.repeat(rng.normal(size=(1, 4, 500)).astype(np.float32) * 5, 9, axis=0)
    values = np.asarray(MEASURES[name](streamed(logits)))
    assert (values >= 0).all()
    if name in ("bald", "variance", "variation_ratio", "vote_entropy", "pairwise_divergence"):
        assert values.max() < 1e-5


@pytest.mark.parametrize(("spread", "correlation"), [(1e-2, 0.9999), (1e-3, 0.999), (1e-4, 0.9)])
def test_members_that_hardly_differ_are_told_apart(rng, spread, correlation):
    """Against double precision. As a difference of two entropies BALD's Spearman correlation with the truth was 0.72 at 1e-3."""
    scale = rng.uniform(0.3, 1.0, (1, 1, 2000))  # elements differ in how much members do
    logits = (2 * rng.normal(size=(1, 4, 2000)) + spread * scale * rng.normal(size=(20, 4, 2000))).astype(np.float32)
    with jax.enable_x64(True):
        exact = uncertainty.moments_of(jnp.asarray(logits, jnp.float64))
        truth = {name: np.asarray(getattr(uncertainty, name)(exact)) for name in ("bald", "mean_std", "variance")}
    moments = uncertainty.moments_of(jnp.asarray(logits))
    for name, expected in truth.items():
        values = np.asarray(getattr(uncertainty, name)(moments))
        assert scipy.stats.spearmanr(values, expected).statistic > correlation, name


def test_identical_members_have_no_deviation_at_all(rng):
    logits = jnp.asarray(np.repeat(5 * rng.normal(size=(1, 4, 500)), 9, axis=0), jnp.float32)
    for moments in (uncertainty.moments_of(logits), uncertainty.moments_of_probabilities(jax.nn.softmax(logits, 1))):
        for measure in (uncertainty.mean_std, uncertainty.variance):
            assert not np.asarray(measure(moments)).any()
        assert np.asarray(uncertainty.bald(moments)).max() < 1e-13  # where a probability is below 1e-7


@pytest.mark.parametrize("around", [0, 3, "uniform", "saturated"])
def test_what_moments_are_kept_around_does_not_matter(float64, rng, around):
    logits = jnp.asarray(3 * rng.normal(size=(6, 3, 40)))
    saturated = jnp.zeros((3, 40)).at[0].set(1.0)
    around = {"uniform": jnp.full((3, 40), 1 / 3), "saturated": saturated}.get(
        around, jax.nn.softmax(logits, 1)[around if around in (0, 3) else 0]
    )
    expected, shifted = uncertainty.moments_of(logits), uncertainty.moments_of(logits, around)
    for name, measure in MEASURES.items():
        np.testing.assert_allclose(np.asarray(measure(shifted)), np.asarray(measure(expected)), atol=1e-10, err_msg=name)


def test_parts_of_the_members_join_to_all_of_them(float64, rng):
    logits = jnp.asarray(rng.normal(size=(6, 3, 40)))
    around = jax.nn.softmax(logits, 1)[0]
    parts = [uncertainty.moments_of(part, around) for part in (logits[:2], logits[2:])]
    for joined, whole in zip(uncertainty.join(*parts), uncertainty.moments_of(logits, around), strict=True):
        np.testing.assert_allclose(np.asarray(joined), np.asarray(whole), atol=1e-13)


def test_order_of_classes_and_shift_of_logits_do_not_matter(float64, rng):
    logits = rng.normal(size=(5, 4, 20))
    for name, measure in MEASURES.items():
        plain = np.asarray(measure(streamed(logits)))
        np.testing.assert_allclose(np.asarray(measure(streamed(logits[:, ::-1]))), plain, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(np.asarray(measure(streamed(logits + 7.5))), plain, atol=1e-12, err_msg=name)


def test_entropy_from_logits_equals_entropy_from_probabilities(float64, rng):
    logits = jnp.asarray(rng.normal(size=(3, 6, 10)) * 4)
    probability, entropy = uncertainty.softmax_and_entropy(logits)
    np.testing.assert_allclose(np.asarray(probability), np.asarray(jax.nn.softmax(logits, axis=-2)), atol=1e-15)
    np.testing.assert_allclose(np.asarray(entropy), np.asarray(uncertainty.probability_entropy(probability)), atol=1e-13)


def test_members_at_once_equal_members_one_by_one(float64, rng):
    logits = jnp.asarray(rng.normal(size=(6, 3, 4, 9)))
    for at_once, one_by_one in zip(uncertainty.moments_of(logits), streamed(logits), strict=True):
        np.testing.assert_allclose(np.asarray(at_once), np.asarray(one_by_one), atol=1e-14)


def test_a_tie_gives_one_vote_to_the_lowest_class():
    """One member ties between both classes, the other is for the second: one vote each, not two for the second."""
    moments = streamed(np.array([[[1.0], [1.0]], [[0.0], [3.0]]], np.float32))
    np.testing.assert_array_equal(np.asarray(moments.votes), [[1.0], [1.0]])
    np.testing.assert_allclose(np.asarray(uncertainty.variation_ratio(moments)), [0.5])


def test_mean_std_is_the_deviation_over_members_averaged_over_classes(rng):
    logits = rng.normal(size=(7, 4, 30)).astype(np.float32)  # members, classes, elements
    probability = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    mean_std = np.asarray(uncertainty.mean_std(uncertainty.moments_of(jnp.asarray(logits))))
    np.testing.assert_allclose(mean_std, probability.std(0).mean(0), rtol=1e-4)
    alike = uncertainty.moments_of(jnp.zeros((3, 4, 5)))
    assert not np.asarray(uncertainty.mean_std(alike)).any()


@pytest.mark.parametrize("name", sorted({*MEASURES, "mean_std", "expected_entropy"} - {"variation_ratio"}))
def test_nan_stays_nan(name):
    """A network that is broken must not look sure. (Its members have no votes, so the variation ratio is the largest there is.)"""
    moments = uncertainty.moments_of(jnp.full((3, 2, 4), jnp.nan))
    assert np.isnan(np.asarray(getattr(uncertainty, name)(moments))).all()
