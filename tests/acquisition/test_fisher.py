"""BAIT with inverses that are updated against inverses that are made anew, and influences against a training step."""

import numpy as np
import pytest

from jaxal.acquisition import fisher
from jaxal.acquisition.fisher import Seen, bait, bait_of_best_class, influence


def seen(rng, count, features=3, classes=3):
    logits = 2 * rng.normal(size=(count, classes))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return Seen(np.concatenate([rng.normal(size=(count, features)), np.ones((count, 1))], -1), p)


def full(feature, p):
    return np.kron(np.diag(p) - np.outer(p, p), np.outer(feature, feature))


def binary(feature, p):
    return p.max() * (1 - p.max()) * np.outer(feature, feature)


def plain(of_one, pool, labelled, budget, weights, ridge):
    """The published loop: forwards to twice as many, backwards to as many, every trace by an inverse of its own."""
    each = [of_one(*image) for image in zip(*pool, strict=True)]
    known = sum(of_one(*image) for image in zip(*labelled, strict=True))
    everything = sum(each) + known

    def trace(chosen):
        information = weights[0] * known + weights[1] * sum((each[place] for place in chosen), 0 * known)
        return np.trace(np.linalg.inv(ridge * np.eye(len(known)) + information) @ everything)

    chosen = []
    for _ in range(min(2 * budget, len(each))):
        left = [place for place in range(len(each)) if place not in chosen]
        chosen.append(min(left, key=lambda place: trace([*chosen, place])))
    while len(chosen) > budget:
        chosen.remove(min(chosen, key=lambda place: trace([other for other in chosen if other != place])))
    return chosen


@pytest.mark.parametrize(("choose", "of_one"), [(bait, full), (bait_of_best_class, binary)])
@pytest.mark.parametrize("weights", [(1 / 9, 1 / 9), (1 / 9, 5 / 9)], ids=["average", "published"])
def test_updated_inverses_choose_what_new_ones_choose(rng, choose, of_one, weights):
    pool, labelled = seen(rng, 20), seen(rng, 4)
    places, gains = choose(pool, labelled, np.ones(20, bool), 5, weights, ridge=0.7)
    assert places.tolist() == plain(of_one, pool, labelled, 5, weights, 0.7)
    assert (gains > 0).all()
    some = rng.uniform(size=20) < 0.5
    assert set(choose(pool, labelled, some, int(some.sum()), weights)[0]) == set(np.flatnonzero(some))


def test_both_forms_are_one_of_two_classes(rng):
    """With two classes the full information is the binary one twice, as (1, -1) outer (1, -1)."""
    pool, labelled = seen(rng, 15, classes=2), seen(rng, 4, classes=2)
    first, _ = bait(pool, labelled, np.ones(15, bool), 4, (0.5, 1.0), ridge=1.0)
    # (1, -1) has the squared length two, so the information along it is twice as large.
    second, _ = bait_of_best_class(pool, labelled, np.ones(15, bool), 4, (1.0, 2.0), ridge=1.0)
    assert first.tolist() == second.tolist()


def test_roots_are_roots(rng):
    p = seen(rng, 6).probability
    roots = fisher._roots(p)
    np.testing.assert_allclose(roots @ np.swapaxes(roots, 1, 2), [np.diag(one) - np.outer(one, one) for one in p], atol=1e-12)


def test_sure_predictions_have_nothing_to_tell(rng):
    sure = Seen(rng.normal(size=(6, 4)), np.eye(3)[[0, 1, 2, 0, 1, 2]])
    for choose in (bait, bait_of_best_class):
        places, gains = choose(sure, sure, np.ones(6, bool), 3, (1.0, 1.0))
        assert len(set(places.tolist())) == 3 and np.isfinite(gains).all()


def test_the_influence_is_what_a_small_step_does(rng):
    """The evaluation loss before and after a step of the last layer along -H⁻¹ g, as small as a derivative needs."""
    pool, labelled, evaluation, labels = seen(rng, 8), seen(rng, 9), seen(rng, 7), rng.integers(0, 3, 7)
    values = influence(pool, labelled, evaluation, labels, ridge=0.05)
    hessian = sum(full(*image) for image in zip(*labelled, strict=True)) / 9 + 0.05 * np.eye(12)

    def loss(change):
        logits = np.log(evaluation.probability) + evaluation.features @ change.reshape(3, 4).T
        return np.mean([np.log(np.exp(z).sum()) - z[label] for z, label in zip(logits, labels, strict=True)])

    for value, feature, p in zip(values, *pool, strict=True):
        gradient = np.outer(p - np.eye(3)[p.argmax()], feature).reshape(-1)
        step = 1e-5 * np.linalg.solve(hessian, gradient)
        assert value == pytest.approx((loss(step) - loss(-step)) / 2e-5, rel=1e-4, abs=1e-6)
