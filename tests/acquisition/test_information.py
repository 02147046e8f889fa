"""Closed-form information gain against the brute force: copy the head, take one autodiff step, evaluate again."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import information

VARIANTS = ("eig", "aeig", "uig", "cfig")
FEATURES, CLASSES, ELEMENTS = 5, 3, 40


def make_problem(rng, dtype=np.float64, candidates=7, spread=1.0):
    kernel, bias = rng.normal(size=(FEATURES, CLASSES)) * spread, rng.normal(size=CLASSES)
    evaluation = rng.normal(size=(FEATURES, ELEMENTS))
    weights = rng.uniform(0.1, 2.0, ELEMENTS)
    frequency = np.array([70.0, 20.0, 10.0])
    pool = rng.normal(size=(candidates, FEATURES))
    arrays = (kernel, bias, evaluation, weights, frequency, pool)
    return tuple(jnp.asarray(array, dtype) for array in arrays)


def softmax(logits):
    return jax.nn.softmax(logits, axis=-1)


def brute_force(kernel, bias, evaluation, weights, frequency, features, variant, rate, step, renormalise):
    """The score of one candidate whose elements are the rows of `features`, by autodiff; nothing is shared or rearranged."""
    weights = weights / weights.sum()
    frequency = frequency / frequency.sum()

    def evaluation_entropy(head):
        p = softmax(evaluation.T @ head[0] + head[1][None])
        return (weights * -(p * jnp.log(p)).sum(-1)).sum()

    def label_loss(head, label):
        return -jax.nn.log_softmax(features @ head[0] + head[1][None], axis=-1)[:, label].mean()

    head = (kernel, bias)
    probability = softmax(features @ kernel + bias[None]).mean(0)
    q = {
        "eig": probability,
        "aeig": probability * frequency,
        "uig": jnp.full((CLASSES,), 1 / CLASSES, probability.dtype),
        "cfig": frequency,
    }[variant]
    if renormalise:
        q = q / q.sum()
    if rate == "normalised":
        mean = jnp.append(features.mean(0), 1.0)
        rate = 0.5 / (mean @ mean)
    score = evaluation_entropy(head)
    for label in range(CLASSES):
        gradient = jax.grad(label_loss)(head, label)
        if step == "sign":
            gradient = jax.tree.map(jnp.sign, gradient)
        stepped = jax.tree.map(lambda weight, slope: weight - rate * slope, head, gradient)
        score = score - q[label] * evaluation_entropy(stepped)
    return score


def tolerance(expected):
    """1e-10 of the largest score; the oracle itself, a difference of entropies near one, is only good to a few 1e-16."""
    return 1e-10 * np.abs(expected).max() + 2e-15


OPTIONS = [
    (variant, step, rate, renormalise)
    for variant, step, rate, renormalise in itertools.product(VARIANTS, ("sgd", "sign"), (0.3, "normalised"), (False, True))
    if variant == "aeig" or not renormalise  # the others' weights sum to one already
]


@pytest.mark.parametrize(("variant", "step", "rate", "renormalise"), OPTIONS)
def test_cases_equal_autodiff(float64, rng, variant, step, rate, renormalise):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    probability = softmax(pool @ kernel + bias[None])
    expected = np.array(
        [brute_force(kernel, bias, evaluation, weights, frequency, item[None], variant, rate, step, renormalise) for item in pool]
    )
    fast = information.information_gain(
        information.Items(pool, probability), reference, variant, rate, step, renormalise, block=3
    )
    plain = information.information_gain(
        information.candidates_of(information.Items(pool, probability)), reference, variant, rate, step, renormalise, block=3
    )
    for gain in (fast, plain):
        np.testing.assert_allclose(np.asarray(gain.mass + gain.gain), expected, rtol=0, atol=tolerance(expected))


@pytest.mark.parametrize("variant", VARIANTS)
def test_classes_may_tie_for_the_most_probable_one(float64, rng, variant):
    """As they do for a head that is all zero, or for elements without features."""
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng, candidates=2)
    kernel, bias = kernel.at[:, 1].set(kernel[:, 0]).at[:, 2].multiply(0.1), bias.at[:2].set(2.0)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    assert (np.asarray(reference.probability[0]) == np.asarray(reference.probability[1])).all()
    expected = np.array(
        [brute_force(kernel, bias, evaluation, weights, frequency, item[None], variant, 0.3, "sgd", False) for item in pool]
    )
    gain = information.information_gain(information.Items(pool, softmax(pool @ kernel + bias[None])), reference, variant, 0.3)
    np.testing.assert_allclose(np.asarray(gain.mass + gain.gain), expected, rtol=0, atol=tolerance(expected))


@pytest.mark.parametrize(("variant", "step", "rate", "renormalise"), OPTIONS)
def test_regions_equal_autodiff(float64, rng, variant, step, rate, renormalise):
    kernel, bias, evaluation, weights, frequency, _ = make_problem(rng)
    shape, size = (4, 5, 2), 2  # the middle axis leaves an incomplete region
    features = jnp.asarray(rng.normal(size=(40, FEATURES)))
    probability = softmax(features @ kernel + bias[None]).T
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    candidates = information.region_candidates(features, probability, jnp.ones(40, bool), shape, size, jnp.arange(6))
    gain = information.information_gain(candidates, reference, variant, rate, step, renormalise, block=4)
    index = np.arange(40).reshape(shape)
    expected = []
    for x, y, z in itertools.product(range(0, 4, 2), range(0, 5, 2), range(0, 2, 2)):
        rows = features[index[x : x + 2, y : y + 2, z : z + 2].reshape(-1)]
        expected.append(brute_force(kernel, bias, evaluation, weights, frequency, rows, variant, rate, step, renormalise))
    expected = np.array(expected)
    np.testing.assert_allclose(np.asarray(gain.mass + gain.gain), expected, rtol=0, atol=tolerance(expected))


def test_regions_average_over_what_is_inside(float64, rng):
    features, probability = jnp.asarray(rng.normal(size=(16, 3))), jnp.asarray(rng.dirichlet(np.ones(2), 16).T)
    inside = jnp.arange(16) % 4 != 3
    spoiled = jnp.where(inside[:, None], features, 1e6)
    candidates, spoiled_candidates = (
        information.region_candidates(part, probability, inside, (4, 4), 2, jnp.arange(4)) for part in (features, spoiled)
    )
    np.testing.assert_array_equal(np.asarray(candidates.joint), np.asarray(spoiled_candidates.joint))
    block = [2, 6]  # the region in the upper right has these elements inside the image
    np.testing.assert_allclose(np.asarray(candidates.mean)[1, :3], np.asarray(features)[block].mean(0))
    np.testing.assert_allclose(np.asarray(candidates.probability)[1], np.asarray(probability)[:, block].mean(1))
    nothing = information.region_candidates(features, probability, jnp.zeros(16, bool), (4, 4), 2, jnp.arange(4))
    np.testing.assert_array_equal(np.asarray(nothing.joint), 0.0)


def test_an_evaluation_set_without_the_structure_counts_classes_alike(rng):
    kernel, bias, evaluation, weights, _, _ = make_problem(rng, np.float32)
    reference = information.make_reference(evaluation, kernel, bias, weights, jnp.zeros(CLASSES))
    np.testing.assert_allclose(np.asarray(reference.class_frequency), 1 / 3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_float32_keeps_the_ranking(rng, variant):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng, np.float32, candidates=200)

    def scores(dtype):
        arrays = [np.asarray(array, dtype) for array in (evaluation, kernel, bias, weights, frequency, pool)]
        reference = information.make_reference(*map(jnp.asarray, arrays[:5]))
        probability = softmax(jnp.asarray(arrays[5] @ arrays[1] + arrays[2][None]))
        gain = information.information_gain(information.Items(jnp.asarray(arrays[5]), probability), reference, variant, 3e-3)
        return np.asarray(gain.mass + gain.gain)

    single = scores(np.float32)
    with jax.enable_x64(True):
        double = scores(np.float64)
    np.testing.assert_allclose(single, double, rtol=0, atol=2e-4 * np.abs(double).max())
    assert set(np.argsort(-single)[:20]) == set(np.argsort(-double)[:20])


def test_eig_grows_with_the_square_of_the_rate(float64, rng):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    probability = softmax(pool @ kernel + bias[None])
    small, large = (
        np.asarray(information.information_gain(information.Items(pool, probability), reference, "eig", rate).gain)
        for rate in (1e-5, 2e-5)
    )
    np.testing.assert_allclose(large / small, 4.0, rtol=1e-2)


def test_without_a_step_only_the_literal_aeig_keeps_its_mass(float64, rng):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    probability = softmax(pool @ kernel + bias[None])
    share = np.asarray(frequency / frequency.sum())
    for variant in VARIANTS:
        gain = information.information_gain(information.Items(pool, probability), reference, variant, 0.0)
        np.testing.assert_allclose(np.asarray(gain.gain), 0.0, atol=1e-15)
        left = (1 - np.asarray(probability) @ share) * float(reference.mean_entropy) if variant == "aeig" else np.zeros(len(pool))
        np.testing.assert_allclose(np.asarray(gain.mass), left, atol=1e-15)


def test_uig_equals_eig_for_two_even_classes(float64, rng):
    features = jnp.asarray(rng.normal(size=(6, 4)))
    even = jnp.full((6, 2), 0.5, features.dtype)
    reference = information.make_reference(
        jnp.asarray(rng.normal(size=(4, 9))), jnp.asarray(rng.normal(size=(4, 2))), jnp.zeros(2), jnp.ones(9), jnp.ones(2)
    )
    uig, eig = (
        information.information_gain(information.Items(features, even), reference, variant, 0.1) for variant in ("uig", "eig")
    )
    np.testing.assert_array_equal(np.asarray(uig.gain), np.asarray(eig.gain))


def test_saturated_predictions_give_finite_scores(rng):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng, np.float32, spread=300.0)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    probability = softmax(pool @ kernel + bias[None])
    for variant in VARIANTS:
        gain = information.information_gain(information.Items(pool, probability), reference, variant, 3e-3)
        assert np.isfinite(np.asarray(gain.mass + gain.gain)).all()


@pytest.mark.parametrize("step", ["sgd", "sign"])
@pytest.mark.parametrize(
    ("classes", "rate", "as_items"),
    [
        *((2, rate, True) for rate in (1e-5, 1e-2, 0.05, 1.0)),
        *((3, rate, True) for rate in (1e-3, 1e-2, 0.05, 0.2, 1.0)),
        *((classes, 1.0, False) for classes in (2, 3, 5)),
    ],
)
def test_long_steps_from_sure_predictions_stay_exact(rng, classes, rate, as_items, step):
    """Features as a trained U-Net has them: probabilities down to 1e-30, logits that move by up to thousands, several of them upwards."""
    kernel, bias = rng.normal(size=(FEATURES, classes)), rng.normal(size=classes)
    evaluation, pool = 12 * rng.normal(size=(FEATURES, 400)), 12 * rng.normal(size=(60, FEATURES))
    probability = softmax(jnp.asarray(pool @ kernel + bias, jnp.float32))
    arrays = [jnp.asarray(part, jnp.float32) for part in (evaluation, kernel, bias, np.ones(400), np.ones(classes))]
    reference = information.make_reference(*arrays)
    items = information.Items(jnp.asarray(pool, jnp.float32), probability)
    candidates = items if as_items else information.candidates_of(items)
    gains = information.information_gain(candidates, reference, "uig", rate, step)

    def entropy(logits):
        p = np.exp(logits - logits.max(0)) / np.exp(logits - logits.max(0)).sum(0)
        return -(p * np.log(np.maximum(p, 1e-300))).sum(0)

    evaluation, kernel, bias, pool, probability = (
        np.float64(np.float32(part)) for part in (evaluation, kernel, bias, pool, probability)
    )
    logits, expected = kernel.T @ evaluation + bias[:, None], []
    for features, p in zip(pool, probability, strict=True):
        total = 0.0
        for label in range(classes):
            error = np.where(np.arange(classes) == label, -np.delete(p, label).sum(), p)
            gradient = np.outer(error, np.append(features, 1.0))
            gradient = np.sign(gradient) if step == "sign" else gradient
            moved = logits - rate * gradient @ np.append(evaluation, np.ones((1, 400)), axis=0)
            total += (entropy(logits) - entropy(moved)).mean() / classes
        expected.append(total)
    tolerance = 1e-3 if rate < 1e-4 else 1e-4  # of the shortest steps little but rounding is left in single precision
    np.testing.assert_allclose(np.asarray(gains.gain), expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("step", ["sgd", "sign"])
def test_no_step_is_too_long_for_a_finite_score(rng, step):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng, np.float32)
    reference = information.make_reference(30 * evaluation, kernel, bias, weights, frequency)
    probability = softmax(30 * pool @ kernel + bias[None])
    for variant in VARIANTS:
        gain = information.information_gain(information.Items(30 * pool, probability), reference, variant, 10.0, step)
        assert np.isfinite(np.asarray(gain.mass + gain.gain)).all()


def test_elements_of_no_weight_do_not_count(float64, rng):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng)
    probability = softmax(pool @ kernel + bias[None])
    few = information.make_reference(evaluation[:, :25], kernel, bias, weights[:25], frequency)
    many = information.make_reference(evaluation, kernel, bias, weights.at[25:].set(0.0), frequency)
    gain_of_few, gain_of_many = (
        np.asarray(information.information_gain(information.Items(pool, probability), part, "cfig", 0.1).gain)
        for part in (few, many)
    )
    np.testing.assert_allclose(gain_of_few, gain_of_many, atol=1e-15)


def test_mass_by_hand():
    probability, frequency = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0.9, 0.1])
    np.testing.assert_allclose(information.mass(probability, frequency), [0.5, 0.1], rtol=1e-6)


def test_blocks_do_not_change_scores(rng):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng, np.float32, candidates=11)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    probability = softmax(pool @ kernel + bias[None])
    gains = [
        information.information_gain(information.Items(pool, probability), reference, "aeig", 0.1, block=block)
        for block in (1, 4, 11, 50)
    ]
    for gain in gains[1:]:
        np.testing.assert_allclose(
            np.asarray(gain.gain), np.asarray(gains[0].gain), rtol=0, atol=1e-6 * np.abs(gains[0].gain).max()
        )


@pytest.mark.parametrize(("logits", "block"), [(2**26, 180), (1, 64), (100 * 2 * 3 * 40, 100)])
def test_an_accelerator_takes_as_many_candidates_at_once_as_fit(as_elsewhere, monkeypatch, rng, logits, block):
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng, np.float32, candidates=180)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    monkeypatch.setattr(information, "_LOGITS_AT_ONCE", logits // (3 * 40) * reference.probability.size)
    items, sizes, map_ = information.Items(pool, softmax(pool @ kernel + bias[None])), [], jax.lax.map
    monkeypatch.setattr(
        jax.lax, "map", lambda *given, batch_size: sizes.append(batch_size) or map_(*given, batch_size=batch_size)
    )
    elsewhere = information.information_gain(items, reference, "aeig", 0.1)
    on_cpu = information.information_gain(items, reference, "aeig", 0.1, block=64)
    assert sizes == [block, 64]
    np.testing.assert_allclose(np.asarray(elsewhere.gain), np.asarray(on_cpu.gain), rtol=0, atol=1e-6 * np.abs(on_cpu.gain).max())


@pytest.mark.parametrize(("variant", "renormalise"), [*((variant, False) for variant in VARIANTS), ("aeig", True)])
def test_the_linear_form_is_the_first_order_in_the_rate(float64, rng, variant, renormalise):
    kernel, bias, evaluation, weights, frequency, _ = make_problem(rng)
    features = jnp.asarray(rng.normal(size=(24, FEATURES)))
    probability = softmax(features @ kernel + bias[None]).T
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    candidates = information.region_candidates(features, probability, jnp.ones(24, bool), (4, 6), 2, jnp.arange(6))
    linear = information.linear_information_gain(candidates, reference, variant, 1.0, renormalise)
    rate = 1e-6
    exact = information.information_gain(candidates, reference, variant, rate, renormalise=renormalise)
    np.testing.assert_allclose(np.asarray(linear.gain), np.asarray(exact.gain) / rate, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.asarray(linear.mass), np.asarray(exact.mass))


def test_the_linear_form_of_every_element_is_a_dense_map(float64, rng):
    """For single elements EIG has no first order; the others have the published one, rate φᵀ M (S p - q)."""
    kernel, bias, evaluation, weights, frequency, pool = make_problem(rng)
    reference = information.make_reference(evaluation, kernel, bias, weights, frequency)
    probability = softmax(pool @ kernel + bias[None])
    candidates = information.candidates_of(information.Items(pool, probability))
    eig = information.linear_information_gain(candidates, reference, "eig", 0.1)
    np.testing.assert_allclose(np.asarray(eig.gain), 0.0, atol=1e-15)
    q = probability * reference.class_frequency[None]
    total = q.sum(-1, keepdims=True)
    extended = information.extend(pool)
    slope = jax.grad(lambda head: _evaluation_entropy(head, evaluation, weights))(jnp.concatenate([kernel, bias[None]]))
    expected = 0.1 * ((extended @ slope) * (total * probability - q)).sum(-1)
    aeig = information.linear_information_gain(candidates, reference, "aeig", 0.1)
    np.testing.assert_allclose(np.asarray(aeig.gain), np.asarray(expected), atol=1e-14)


def _evaluation_entropy(head, evaluation, weights):
    p = softmax(information.extend(evaluation.T) @ head)
    return (weights / weights.sum() * -(p * jnp.log(p)).sum(-1)).sum()


@pytest.mark.parametrize("as_items", [True, False])
def test_the_sign_step_of_a_sure_prediction_goes_towards_it(as_items):
    """The error of its own class is minus the sum of the others': one minus a probability that rounds to one would have no sign."""

    def score(dtype):
        kernel = jnp.asarray([[12.0, -12.0, -11.0], [0.5, 0.2, -0.3]], dtype)
        evaluation = jnp.asarray(np.random.default_rng(0).normal(size=(2, 20)) * 0.1, dtype)
        reference = information.make_reference(evaluation, kernel, jnp.zeros(3, dtype), jnp.ones(20, dtype), jnp.ones(3, dtype))
        features = jnp.asarray([[1.5, 0.5], [1.0, -0.5]], dtype)
        items = information.Items(features, softmax(jnp.matmul(features, kernel, precision="highest")))
        candidates = items if as_items else information.candidates_of(items)
        return np.asarray(information.information_gain(candidates, reference, "eig", 0.1, "sign").gain)

    with jax.enable_x64(True):
        exact = score(np.float64)
    single = score(np.float32)
    assert np.abs(exact).min() > 1e-4
    np.testing.assert_allclose(single, exact, rtol=1e-3)
