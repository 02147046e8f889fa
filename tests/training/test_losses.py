import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

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
