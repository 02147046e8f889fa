import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from jaxal.acquisition import aggregate


def test_masked_mean_by_hand():
    values = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    mask = jnp.array([[True, False, True], [False, False, False]])
    np.testing.assert_allclose(np.asarray(aggregate.masked_mean(values, mask)), [2.0, 0.0])


def test_a_sum_over_a_size_by_hand():
    values, mask = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([True, True, False, True])
    assert float(aggregate.sum_over_size(values, mask, jnp.int32(14), at_least=10)) == 0.5
    assert float(aggregate.sum_over_size(values, mask, jnp.int32(0), at_least=10)) == np.float32(0.7)  # found nowhere


def test_dilation_equals_scipy(rng):
    shape = (6, 7, 5)
    mask = rng.random(shape) < 0.05
    for steps in (0, 1, 2):
        expected = ndimage.binary_dilation(mask, np.ones((2 * steps + 1,) * 3))
        ours = np.asarray(aggregate.dilate_mask(jnp.asarray(mask.reshape(-1)), shape, steps)).reshape(shape)
        np.testing.assert_array_equal(ours, expected)


def interest(foreground, shape, inside=None, **options):
    foreground = jnp.asarray(np.asarray(foreground, np.float32).reshape(-1))
    inside = jnp.ones(foreground.shape, bool) if inside is None else jnp.asarray(inside.reshape(-1))
    probability = jnp.stack([1 - foreground, foreground])
    return np.asarray(aggregate.region_of_interest(probability, inside, shape, **options)).reshape(shape)


def test_region_is_the_dilated_prediction_and_what_exceeds_the_threshold():
    foreground = np.full((1, 12), 0.01)
    foreground[0, 2] = 0.9
    foreground[0, 9] = 0.2
    mask = interest(foreground, (1, 12), dilate=2, at_least=1)
    assert np.flatnonzero(mask).tolist() == [0, 1, 2, 3, 4, 9]


def test_without_foreground_the_likeliest_elements_stand_in_never_the_whole():
    foreground = np.linspace(0.0, 0.05, 100).reshape(10, 10)
    mask = interest(foreground, (10, 10), at_least=7)
    assert np.flatnonzero(mask).tolist() == list(range(93, 100))


def test_padding_is_never_of_interest():
    foreground, inside = np.full((4, 4), 0.9), np.ones((4, 4), bool)
    inside[:, 2:] = False
    assert not interest(foreground, (4, 4), inside, at_least=1)[:, 2:].any()
    assert not interest(np.zeros((4, 4)), (4, 4), inside, at_least=12)[:, 2:].any()


def test_of_equal_elements_the_first_stand_in():
    mask = interest(np.full((1, 12), 0.01), (1, 12), at_least=5)
    assert np.flatnonzero(mask).tolist() == [0, 1, 2, 3, 4]


def test_a_broken_network_is_not_scored_as_a_sure_one():
    """Its mean over the region must be NaN, which is refused, and not zero."""
    for broken in (slice(None), slice(0, 1)):  # everywhere, and in the first rows alone
        foreground = np.full((4, 8), 0.01)
        foreground[broken] = np.nan
        mask = interest(foreground, (4, 8), at_least=16)
        assert np.isnan(aggregate.masked_mean(jnp.asarray(foreground.reshape(-1)), jnp.asarray(mask.reshape(-1))))


def test_no_volume_is_sorted_for_its_region_of_interest():
    """The compiler would, were the last of the largest values sliced off; it takes sixty times as long as to find them."""
    shape = (16, 16, 8)
    elements = int(np.prod(shape))
    run = jax.jit(functools.partial(aggregate.region_of_interest, shape=shape))
    compiled = run.lower(jnp.full((2, elements), 0.5), jnp.ones(elements, bool)).compile().as_text()
    assert " sort(" not in compiled and "TopK" in compiled
