import jax
import numpy as np
import pytest

from jaxal.acquisition import discriminator

KEY = jax.random.key(0)


def heaps(rng, count=40):
    return np.concatenate([rng.normal(size=(count, 4)) + 3.0, rng.normal(size=(count, 4)) - 3.0]).astype(np.float32)


def test_all_that_is_chosen_is_of_the_heap_without_labels(rng):
    """Gissin's first example: of two heaps one is labelled."""
    points = heaps(rng)
    places, chances = discriminator.most_unlike_labelled(KEY, points[30:], points[:30], 10, parts=2)
    assert len(set(places.tolist())) == 10 and (places >= 10).all()
    assert (chances > 0.5).all()


def test_a_network_learns_until_it_tells_them_apart(rng):
    points = heaps(rng)
    chance = discriminator.chance_of_no_label(KEY, points, np.arange(80) < 40)
    assert ((chance > 0.5) == (np.arange(80) >= 40)).mean() >= 0.98


def test_both_sides_count_alike(rng):
    """Five of a hundred points of one heap are labelled: chance is one half, not nineteen in twenty."""
    points = np.repeat(rng.normal(size=(1, 4)), 100, axis=0).astype(np.float32)
    chance = discriminator.chance_of_no_label(KEY, points, np.arange(100) < 5)
    assert chance == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("budget", [1, 7])
def test_parts_of_any_size_make_the_query(rng, budget):
    points = heaps(rng, 10)
    apart = points[10:], points[:3]  # what is told apart soon
    places, _ = discriminator.most_unlike_labelled(KEY, *apart, budget, parts=3)
    assert len(set(places.tolist())) == budget
    again, _ = discriminator.most_unlike_labelled(KEY, *apart, budget, parts=3)
    np.testing.assert_array_equal(places, again)
