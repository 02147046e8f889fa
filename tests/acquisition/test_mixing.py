import numpy as np
import pytest

from jaxal.acquisition.mixing import augmented_loss, share_that_flips, spread_of_classes


def flips(share, feature, kernel, bias, means):
    """Whether any class's mean, mixed in as the paper writes it, changes the class."""
    logits = feature @ kernel + bias
    p = np.exp(logits) / np.exp(logits).sum()
    gradient = kernel @ (p - np.eye(len(p))[p.argmax()])  # of the cross-entropy with the predicted class
    for mean in means:
        part = (
            share
            / np.sqrt(len(feature))
            * np.linalg.norm(mean - feature)
            / np.linalg.norm(gradient)
            * gradient
            / (mean - feature)
        )
        mixed = (1 - part) * feature + part * mean
        if (mixed @ kernel + bias).argmax() != logits.argmax():
            return True
    return False


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_the_share_is_where_the_class_changes(rng, scale):
    """The paper's mixing tried just below and just above."""
    features, means = rng.normal(size=(60, 6)), rng.normal(size=(4, 6))
    kernel, bias = scale * rng.normal(size=(6, 4)), rng.normal(size=4)
    logits = features @ kernel + bias
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    shares = share_that_flips(features, probability, kernel, means)
    assert np.isfinite(shares).any()
    for feature, share in zip(features, shares, strict=True):
        assert flips(min(share, 1e6) * 1.001, feature, kernel, bias, means) == np.isfinite(share)
        assert not flips(min(share, 1e6) * 0.999, feature, kernel, bias, means)


def test_nothing_flips_without_a_gradient_or_a_way_to_go(rng):
    sure = np.eye(3)[:2] * (1 - 2e-12) + 1e-12
    assert (share_that_flips(np.ones((2, 4)), sure, np.zeros((4, 3)), np.ones((1, 4))) == np.inf).all()
    assert (share_that_flips(np.ones((2, 4)), sure, rng.normal(size=(4, 3)), np.ones((1, 4))) == np.inf).all()


def softmax(logits):
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def test_the_expected_loss_is_that_of_features_that_are_moved_at_random(rng):
    """By the features' own covariance of each class, and a million draws; the mean is taken within the logarithm, as the paper bounds it."""
    kernel, bias = rng.normal(size=(3, 4)), rng.normal(size=4)
    labelled, of = rng.normal(size=(40, 3)), rng.integers(4, size=40)
    features, strength = rng.normal(size=(5, 3)), 0.8
    spread = spread_of_classes(softmax(labelled @ kernel + bias), of)
    found = augmented_loss(softmax(features @ kernel + bias), spread, strength)
    for row, feature in enumerate(features):
        class_ = (feature @ kernel + bias).argmax()
        covariance = np.cov(labelled[of == class_].T, bias=True)
        moved = rng.multivariate_normal(feature, strength * covariance, size=10**6) @ kernel + bias
        expected = np.log(np.exp(moved - moved[:, [class_]]).mean(0).sum())
        assert found[row] == pytest.approx(expected, rel=0.02)
        for other in range(4):
            step = kernel[:, other] - kernel[:, class_]
            assert spread[class_, other] == pytest.approx(step @ covariance @ step, abs=1e-9)


def test_without_moves_the_expected_loss_is_that_of_the_predicted_class(rng):
    probability = rng.dirichlet(np.ones(3), 8)
    np.testing.assert_allclose(augmented_loss(probability, np.ones((3, 3)), 0.0), -np.log(probability.max(-1)), rtol=1e-12)


def test_classes_with_too_few_labels_are_taken_as_the_others(rng):
    probability, of = rng.dirichlet(np.ones(3), 7), np.array([0, 0, 0, 0, 2, 2, 1])
    spread = spread_of_classes(probability, of)
    others = [spread[0, 1:].mean(), spread[2, :2].mean()]
    np.testing.assert_allclose(spread[1], [np.mean(others), 0.0, np.mean(others)])
    assert not spread_of_classes(probability[:3], np.array([0, 1, 2])).any()
