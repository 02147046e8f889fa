import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import digamma, gammaln

from jaxal.training import losses


def everything(shape):
    return jnp.ones(shape, bool)


@pytest.mark.parametrize("classes", [2, 3, losses._CLASSES_WRITTEN_OUT, losses._CLASSES_WRITTEN_OUT + 1])
def test_cross_entropy_equals_optax(rng, classes):
    """Of few classes, which are written out, and of many; with the gradient; far from zero, too."""
    logits = jnp.asarray(rng.normal(scale=30, size=(2, classes, 50)) + 500, jnp.float32)
    labels = jnp.asarray(rng.integers(0, classes, (2, 50)), jnp.int32)

    def ours(logits):
        return losses.cross_entropy(logits, labels, everything(labels.shape)).sum()

    def theirs(logits):
        return optax.softmax_cross_entropy_with_integer_labels(jnp.moveaxis(logits, 1, -1), labels).mean(-1).sum()

    for mine, expected in zip(jax.value_and_grad(ours)(logits), jax.value_and_grad(theirs)(logits), strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(expected), rtol=1e-5, atol=1e-7)


def test_class_weights_count_their_elements_more():
    logits = jnp.zeros((2, 4))
    labels = jnp.array([0, 0, 0, 1])
    loss = losses.cross_entropy(logits, labels, everything(4), jnp.array([1.0, 5.0]))
    assert float(loss) == pytest.approx((3 + 5) * np.log(2) / 4)


def test_dice_by_hand():
    logits = jnp.array([[50.0, 50.0, -50.0, -50.0], [-50.0, -50.0, 50.0, 50.0]])
    labels = jnp.array([0, 1, 1, 1])
    loss = losses.soft_dice(logits, labels, everything(4), jnp.array([False, True]), smooth=0.0)
    assert float(loss) == pytest.approx(1 - 2 * 2 / (2 + 3))


def test_masked_elements_change_neither_loss_nor_gradient(rng):
    logits = jnp.asarray(rng.normal(size=(3, 20)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, 20), jnp.int32)
    labelled = jnp.arange(20) < 12
    other = jnp.where(labelled, labels, (labels + 1) % 3)
    present = jnp.array([False, True, True])

    def both(logits, labels):
        return losses.cross_entropy(logits, labels, labelled) + losses.soft_dice(logits, labels, labelled, present)

    assert float(both(logits, labels)) == float(both(logits, other))
    gradient = jax.grad(both)(logits, labels)
    np.testing.assert_array_equal(np.asarray(gradient)[:, 12:], 0.0)
    assert np.abs(np.asarray(gradient)[:, :12]).min() > 0


def test_a_class_that_is_not_annotated_leaves_dice_alone(rng):
    logits = jnp.asarray(rng.normal(size=(3, 20)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 2, 20), jnp.int32)
    present = losses.present_foreground(labels, everything(20), 3)
    assert present.tolist() == [False, True, False]
    annotated = losses.soft_dice(logits, labels, everything(20), present)
    only = losses.soft_dice(logits, labels, everything(20), jnp.array([False, True, False]))
    both = losses.soft_dice(logits, labels, everything(20), jnp.array([False, True, True]))
    assert float(annotated) == float(only) != float(both)


def test_presence_ignores_what_is_not_labelled():
    labels = jnp.array([0, 1, 2])
    assert losses.present_foreground(labels, jnp.array([True, True, False]), 3).tolist() == [False, True, False]


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
@pytest.mark.parametrize("labelled", [[True] * 3, [False] * 3])
def test_loss_and_gradient_are_finite_at_the_edges(labels, labelled):
    labels, labelled = jnp.array(labels), jnp.array(labelled)
    present = losses.present_foreground(labels, labelled, 2)

    def both(logits):
        return losses.cross_entropy(logits, labels, labelled) + losses.soft_dice(logits, labels, labelled, present)

    for scale in (0.0, 1.0, 1e4):
        value, gradient = jax.value_and_grad(both)(scale * jnp.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]))
        assert np.isfinite(value)
        assert np.isfinite(np.asarray(gradient)).all()


def test_missing_the_only_structure_costs_nearly_all_of_dice():
    logits = jnp.array([[50.0] * 30, [-50.0] * 30])
    labels = jnp.arange(30) // 15
    assert float(losses.soft_dice(logits, labels, everything(30), jnp.array([False, True]))) > 0.9


def test_binary_cross_entropy_equals_optax(rng):
    logits = jnp.asarray(rng.normal(scale=30, size=(2, 50)), jnp.float32)
    targets = jnp.asarray(rng.integers(0, 2, (2, 50)), jnp.uint8)

    def ours(logits):
        return losses.binary_cross_entropy(logits, targets, everything(targets.shape)).sum()

    def theirs(logits):
        return optax.sigmoid_binary_cross_entropy(logits, targets.astype(jnp.float32)).mean(-1).sum()

    for mine, expected in zip(jax.value_and_grad(ours)(logits), jax.value_and_grad(theirs)(logits), strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(expected), rtol=1e-5, atol=1e-7)


def test_the_loss_of_a_contour_aware_network_is_a_mean_over_what_is_labelled(rng):
    """Of each output by itself, element by element; what is not labelled changes nothing."""
    outputs = {name: rng.normal(size=shape).astype(np.float32) for name, shape in
               {"side_objects": (2, 3, 4, 5, 6), "contour": (2, 5, 6), "side_contours": (2, 3, 5, 6)}.items()}  # fmt: skip
    labels, contours = rng.integers(0, 4, (2, 5, 6)).astype(np.uint8), rng.integers(0, 2, (2, 5, 6)).astype(np.uint8)
    labelled = rng.random((2, 5, 6)) < 0.6

    def of_contours(logits, item):
        probability = 1 / (1 + np.exp(-logits))
        return -np.log(np.where(contours[item] > 0, probability, 1 - probability))[labelled[item]].mean()

    expected = []
    for item in range(2):
        total = of_contours(outputs["contour"][item], item)
        for side in range(3):
            logits = outputs["side_objects"][item, side]
            chosen = np.take_along_axis(logits, labels[item][None].astype(int), 0)[0]
            total += 0.25 * (np.log(np.exp(logits).sum(0)) - chosen)[labelled[item]].mean()
            total += 0.25 * of_contours(outputs["side_contours"][item, side], item)
        expected.append(total)

    def ours(labels, contours):
        arrays = jax.tree.map(jnp.asarray, (outputs, labels, contours, labelled))
        return np.asarray(losses.contour_aware(*arrays, jnp.float32(0.25)))

    np.testing.assert_allclose(ours(labels, contours), expected, rtol=1e-5)
    others = np.where(labelled, labels, (labels + 1) % 4), np.where(labelled, contours, 1 - contours)
    np.testing.assert_array_equal(ours(*others), ours(labels, contours))


def test_side_outputs_count_less_and_less():
    """As in the paper's 1300 epochs, whatever the number of steps."""
    places = [(0, 1.0), (299, 1.0), (300, 0.1), (599, 0.1), (600, 0.01), (900, 0.001), (1199, 0.001), (1200, 0.0), (1299, 0.0)]
    for times in (1, 100):
        for epoch, weight in places:
            got = losses.auxiliary_weight(jnp.int32(epoch * times), jnp.int32(1300 * times))
            assert float(got) == pytest.approx(weight)
    few = [float(losses.auxiliary_weight(jnp.int32(step), jnp.int32(5))) for step in range(5)]
    assert few == pytest.approx([1.0, 1.0, 0.1, 0.01, 0.001])


def kl_of_dirichlet_to_uniform(alpha):
    """By SciPy's functions, double precision, over the first axis."""
    total = alpha.sum(0)
    log_normaliser = gammaln(total) - gammaln(alpha).sum(0) - gammaln(len(alpha))
    return log_normaliser + ((alpha - 1) * (digamma(alpha) - digamma(total))).sum(0)


@pytest.mark.parametrize("classes", [2, 3, 9])
def test_evidence_for_wrong_classes_costs_the_divergence_from_knowing_nothing(rng, classes):
    logits = rng.normal(scale=1.5, size=(classes, 40)).astype(np.float32)
    labels, labelled = rng.integers(0, classes, 40), np.arange(40) < 25
    alpha = np.exp(logits.astype(np.float64))
    alpha[labels, np.arange(40)] = 1.0
    expected = kl_of_dirichlet_to_uniform(alpha)[labelled].mean() / classes
    given = jnp.asarray(labels, jnp.int32), jnp.asarray(labelled)
    assert float(losses.evidence_divergence(jnp.asarray(logits), *given)) == pytest.approx(expected, rel=1e-4)
    gradient = np.asarray(jax.grad(losses.evidence_divergence)(jnp.asarray(logits), *given))
    assert (gradient[:, ~labelled] == 0).all() and (gradient[labels, np.arange(40)] == 0).all()
    step = 1e-5
    for place in ((0, 0), (1, 3), (classes - 1, 7)):
        if labels[place[1]] != place[0]:
            ends = [alpha.copy() for _ in range(2)]
            for end, sign in zip(ends, (1, -1), strict=True):
                end[place] *= np.exp(sign * step)
            slope = np.subtract(*[kl_of_dirichlet_to_uniform(end)[labelled].mean() for end in ends]) / (2 * step) / classes
            assert gradient[place] == pytest.approx(slope, rel=1e-3)


def test_no_evidence_costs_nothing_and_the_extreme_stays_finite():
    labels = jnp.zeros(3, jnp.int32)
    assert float(losses.evidence_divergence(jnp.zeros((4, 3)), labels, everything(3))) == pytest.approx(0.0, abs=1e-6)
    for value in (-1e4, 1e4):
        logits = jnp.full((4, 3), value)
        assert np.isfinite(jax.grad(losses.evidence_divergence)(logits, labels, everything(3))).all()


def test_pairs_are_ranked_as_written_out(rng):
    predicted, lost = rng.normal(size=9), rng.uniform(size=9)
    expected = [max(0.0, 1.0 - np.sign(lost[i] - lost[8 - i]) * (predicted[i] - predicted[8 - i])) for i in range(9)]
    ours = losses.pair_ranking(jnp.asarray(predicted, jnp.float32), jnp.asarray(lost, jnp.float32))
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    ordered = losses.pair_ranking(jnp.array([3.0, 1.0]), jnp.array([0.2, 0.1]))
    np.testing.assert_array_equal(ordered, 0.0)


def test_the_predicted_overlap_is_lowest_at_the_dice_that_is_reached(rng):
    logits = jnp.asarray(rng.normal(size=(2, 3, 30)), jnp.float32)
    labels = jnp.asarray(rng.integers(0, 3, (2, 30)), jnp.int32).at[1].set(0)
    labelled = jnp.ones((2, 30), bool)
    present = losses.present_foreground(labels, labelled, 3)
    reached = 1 - losses.soft_dice(logits, labels, labelled, present)
    score = jnp.log(reached / (1 - reached))

    def lost(score):
        return losses.predicted_overlap(score, logits, labels, labelled)

    slope = jax.vmap(jax.grad(lambda one, row: lost(jnp.stack([one, one]))[row]))(score, jnp.arange(2))
    assert float(slope[0]) == pytest.approx(0.0, abs=1e-6)
    assert float(lost(score)[1]) == 0.0  # without a structure there is nothing to predict
    assert float(lost(score + 1)[0]) > float(lost(score)[0]) < float(lost(score - 1)[0])
    logits_alone = jax.grad(lambda logits: losses.predicted_overlap(score, logits, labels, labelled).sum())(logits)
    np.testing.assert_array_equal(np.asarray(logits_alone), 0.0)  # the network is not trained to be predictable
