import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.assessment import metrics


def counts_of(predicted, truth, labelled=None, classes=3):
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    logits = jnp.asarray((predicted[None] == np.arange(classes)[:, None]).astype(np.float32))
    labelled = np.ones(truth.shape, bool) if labelled is None else np.asarray(labelled)
    return metrics.overlap(logits, jnp.asarray(truth, jnp.int32), jnp.asarray(labelled))


def test_dice_by_hand():
    counts = counts_of([0, 1, 1, 2], [0, 1, 2, 2])
    np.testing.assert_allclose(metrics.dice(counts), [1.0, 2 / 3, 2 / 3])
    assert metrics.mean_foreground_dice(counts) == pytest.approx(2 / 3)


def test_a_total_miss_scores_zero():
    assert metrics.mean_foreground_dice(counts_of([0, 0, 0], [0, 1, 1])) == 0.0
    assert metrics.mean_foreground_dice(counts_of([0, 1, 1], [0, 0, 0])) == 0.0


def test_only_doubly_empty_classes_are_undefined():
    counts = counts_of([0, 1, 1], [0, 1, 0])
    assert np.isnan(metrics.dice(counts)[2])
    assert metrics.mean_foreground_dice(counts) == pytest.approx(2 / 3)
    assert np.isnan(metrics.mean_foreground_dice(counts_of([0, 0], [0, 0])))


def test_padding_does_not_count():
    counts = counts_of([0, 1, 1], [0, 1, 0], labelled=[True, True, False])
    np.testing.assert_allclose(metrics.dice(counts)[:2], [1.0, 1.0])


def test_label_maps_are_counted_as_logits_are(rng):
    predicted, truth = rng.integers(0, 3, (2, 4, 5, 6))
    labelled = rng.random((4, 5, 6)) < 0.7
    ours = metrics.overlap_of_maps(predicted.astype(np.uint8), truth.astype(np.uint8), 3, labelled)
    known = counts_of(predicted.reshape(-1), truth.reshape(-1), labelled.reshape(-1))
    for count, expected in zip(ours, known, strict=True):
        np.testing.assert_array_equal(count, np.asarray(expected))
