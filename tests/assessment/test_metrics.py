import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from jaxal.assessment import metrics

VALUES = json.loads((Path(__file__).parents[1] / "fixtures" / "segmentation_scores.json").read_text())


def counts_of_images():
    """Of MONAI's images, `[images, classes]`."""
    maps = [(np.array(image["predicted"]), np.array(image["truth"])) for image in VALUES["images"]]
    of_images = [metrics.overlap_of_maps(*pair, 3, np.ones(pair[0].shape, bool)) for pair in maps]
    return metrics.Overlap(*(np.stack(parts) for parts in zip(*of_images, strict=True)))


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


def test_dice_and_jaccard_are_those_of_monai():
    """The last image has no second class, and none of it was predicted."""
    counts = counts_of_images()
    np.testing.assert_allclose(metrics.dice(counts), [image["dice"] for image in VALUES["images"]], rtol=1e-6)
    np.testing.assert_allclose(metrics.jaccard(counts), [image["iou"] for image in VALUES["images"]], rtol=1e-6)


def test_pooled_f1_is_that_of_torchmetrics():
    counts = counts_of_images()
    np.testing.assert_allclose(metrics.pooled_f1(counts), VALUES["pooled f1"], rtol=1e-6)
    of_foreground = metrics.pooled_f1(metrics.foreground(counts))
    assert of_foreground == pytest.approx(VALUES["pooled f1 of foreground"], rel=1e-6)


def test_foreground_is_one_class_of_all():
    predicted, truth = np.array([0, 1, 1, 2, 2, 0]), np.array([0, 1, 2, 0, 2, 1])
    labelled = np.array([True] * 5 + [False])
    counts = metrics.foreground(metrics.overlap_of_maps(predicted, truth, 3, labelled))
    assert counts == (3, 1, 0)  # which foreground it is taken for does not matter


def test_pooled_and_mean_f1_by_hand():
    """A large structure that is outlined well, a small one that is missed, and an image without any."""
    counts = metrics.Overlap(*(np.array(part)[:, None] for part in ([90, 0, 0], [5, 0, 0], [15, 10, 0])))
    assert metrics.pooled_f1(counts) == pytest.approx([180 / (180 + 5 + 25)])
    mean = metrics.mean_image_f1(counts)
    assert mean.mean == pytest.approx([(0.9 + 0.0) / 2])
    assert mean.undefined.tolist() == [1]
    nothing = metrics.mean_image_f1(metrics.Overlap(*np.zeros((3, 2, 1))))
    assert np.isnan(nothing.mean).all() and nothing.undefined.tolist() == [2]
    assert np.isnan(metrics.pooled_f1(metrics.Overlap(*np.zeros((3, 2, 1))))).all()


def test_jaccard_of_misses():
    assert metrics.jaccard(counts_of([0, 0, 0], [0, 1, 1]))[1] == 0.0
    assert np.isnan(metrics.jaccard(counts_of([0, 0], [0, 0]))[1:]).all()


def test_elements_of_classes_are_those_of_the_truth():
    maps = [np.array(image["truth"]) for image in VALUES["images"]]
    counted = metrics.elements_of_classes(counts_of_images())
    assert counted.tolist() == [sum(int((truth == class_).sum()) for truth in maps) for class_ in range(3)]


def test_the_probability_of_the_truth_is_that_of_the_class_and_unknown_without_one():
    probability = np.array([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]])
    found = metrics.probability_of_truth(np.array([1, 1, 0]), probability, np.array([True, True, False]))
    np.testing.assert_array_equal(found, [0.8, 0.3, np.nan])


def test_what_is_explained_is_r2_over_the_variance_of_all_and_unknown_without_a_target():
    label = np.array([[1.0, 10.0, 5.0], [3.0, 30.0, 5.0], [2.0, 20.0, 5.0], [9.0, 0.0, 5.0]])
    mean = np.array([[1.0, 20.0, 7.0], [2.0, 30.0, 5.0], [2.0, 20.0, 5.0], [0.0, 0.0, 5.0]])
    known = np.array([[True] * 3] * 3 + [[True, False, True]])
    found = metrics.share_explained(label, mean, known)
    # Variances of the three known cases are 2/3 and 200/3; the third target does not vary.
    np.testing.assert_allclose(found, [1 - (0 + 1.5) / 2, 1 - (1.5 + 0) / 2, 1.0, np.nan])
    both = [sklearn.metrics.r2_score(label[:3, target], mean[:3, target]) for target in (0, 1)]
    assert np.nanmean(found) == pytest.approx(np.mean(both))
    assert np.isnan(metrics.share_explained(label[:1], mean[:1], known[:1])).all()
    assert np.isnan(metrics.share_explained(label, mean, np.zeros((4, 3), bool))).all()
