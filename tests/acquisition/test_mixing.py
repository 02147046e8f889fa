import numpy as np
import pytest

from jaxal.acquisition.mixing import share_that_flips


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
