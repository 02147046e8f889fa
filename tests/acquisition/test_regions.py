"""Windows of maps: sums against float64, picks against a plain scan over all positions, and what may not be chosen."""

import functools
import itertools
import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import regions
from jaxal.acquisition.regions import Search

compiled_sums = jax.jit(regions.window_sums, static_argnums=1)


def plain_sums(values: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Sums of all windows in float64, one after the other; what lies beyond the end counts nothing."""
    sums = np.zeros(values.shape)
    for corner in np.ndindex(values.shape):
        sums[corner] = values[tuple(slice(first, first + part) for first, part in zip(corner, size, strict=True))].sum(
            dtype=np.float64
        )
    return sums


@pytest.mark.parametrize(
    ("shape", "size"), [((17,), (5,)), ((9, 14), (3, 14)), ((6, 7, 5), (1, 4, 5)), ((6, 7, 5), (3, 7, 2)), ((5, 9, 4), (5, 6, 3))]
)
def test_sums_are_those_of_every_window(shape, size):
    values = np.random.default_rng(0).random(shape).astype(np.float32)
    np.testing.assert_allclose(compiled_sums(values, size), plain_sums(values, size), rtol=1e-6)


@pytest.mark.parametrize(("at_once", "slab"), [(0, 40), (0, 1), (0, 10**6)])
def test_slab_by_slab_the_sums_are_the_same(monkeypatch, at_once, slab):
    values = jnp.asarray(np.random.default_rng(1).random((11, 6, 7)).astype(np.float32))
    whole = compiled_sums(values, (4, 3, 5))
    monkeypatch.setattr(regions, "_AT_ONCE", at_once)
    monkeypatch.setattr(regions, "_SLAB", slab)
    np.testing.assert_array_equal(jax.jit(lambda values: regions.window_sums(values, (4, 3, 5)))(values), whole)


def test_a_window_of_zeros_sums_to_zero_behind_large_values():
    """With running sums that subtract what leaves the window, a rest of the large values would stay."""
    values = np.zeros((4, 64), np.float32)
    values[:, :20] = np.random.default_rng(0).random((4, 20)) * 1e4 + 0.1
    sums = np.asarray(compiled_sums(values, (4, 8)))
    assert (sums[:, 20:] == 0).all() and (sums[:, :20] > 0).all()


def test_sums_of_a_large_row_are_as_exact_as_asked():
    values = np.random.default_rng(0).random((64, 4096)).astype(np.float32)
    table = np.zeros((65, 4097))
    table[1:, 1:] = values.cumsum(0, dtype=np.float64).cumsum(1)
    exact = table[32:, 150:] - table[:-32, 150:] - table[32:, :-150] + table[:-32, :-150]
    sums = np.asarray(compiled_sums(values, (32, 150)))[:33, :3947]
    assert np.abs(sums / exact - 1).max() < 1e-6
    in_single = values.cumsum(0, dtype=np.float32).cumsum(1)  # the table of the same numbers in float32 is not
    of_table = in_single[32:, 150:] - in_single[:-32, 150:] - in_single[32:, :-150] + in_single[:-32, :-150]
    assert np.abs(of_table / exact[1:, 1:] - 1).max() > 1e-5


def patches_of_nnactive(
    image: np.ndarray, size: tuple[int, ...], annotated: list, count: int
) -> list[tuple[float, tuple[int, ...]]]:
    """The rule of nnActive for the patches of an image: means of all patches that lie in it, best first; a patch is accepted if its box
    overlaps none that was selected or annotated before."""
    positions = itertools.product(*(range(length - part + 1) for length, part in zip(image.shape, size, strict=True)))
    means = {
        at: image[tuple(slice(a, a + part) for a, part in zip(at, size, strict=True))].mean(dtype=np.float64) for at in positions
    }
    chosen: list[tuple[float, tuple[int, ...]]] = []
    for at, mean in sorted(means.items(), key=lambda item: -item[1]):
        taken = [*annotated, *(other for _, other in chosen)]
        if all(any(abs(a - b) >= part for a, b, part in zip(at, other, size, strict=True)) for other in taken):
            chosen.append((mean, at))
        if len(chosen) == count:
            break
    return chosen


@functools.partial(jax.jit, static_argnums=3)
def compiled_search(values, open_, inside, search):
    extent = regions.extent_of(inside)
    return regions.best_windows(regions.window_means(values, open_, extent, search), open_, extent, search)


def search_in(values, size, open_=None, inside=None, **options) -> regions.Windows:
    inside = np.ones(values.shape, bool) if inside is None else inside
    return jax.tree.map(np.asarray, compiled_search(values, inside if open_ is None else open_, inside, Search(size, **options)))


@pytest.mark.parametrize(("shape", "size"), [((19, 23), (5, 4)), ((9, 8, 10), (3, 2, 4))])
@pytest.mark.parametrize("seed", [0, 1])
def test_picks_are_those_of_nnactives_rule(shape, size, seed):
    values = np.random.default_rng(seed).random(shape).astype(np.float32)
    found = search_in(values, size, at_most=6)
    expected = patches_of_nnactive(values, size, [], 6)
    assert [tuple(start) for start in found.start.tolist()] == [at for _, at in expected]
    np.testing.assert_allclose(found.score, [mean for mean, _ in expected], rtol=1e-6)
    assert (found.cost == np.prod(size)).all() and (found.size == size).all()


def plain_pick(scores: np.ndarray, reach: tuple[int, ...], count: int):
    """Looks through the whole map for every pick."""
    left, places = scores.copy(), []
    for _ in range(count):
        place = np.unravel_index(left.argmax(), left.shape)
        places.append((left[place], place))
        left[tuple(slice(max(0, at - part + 1), at + part) for at, part in zip(place, reach, strict=True))] = -np.inf
    return places, left


@pytest.mark.parametrize("reach", [(1, 1, 1), (4, 1, 3), (2, 9, 2), (9, 9, 9)])
def test_picks_by_rows_are_those_of_the_whole_map(reach):
    scores = np.random.default_rng(2).integers(0, 50, (7, 6, 8)).astype(np.float32)  # with ties
    values, places, left = jax.jit(regions.pick, static_argnums=(1, 2))(scores, reach, 12)
    expected, plain_left = plain_pick(scores, reach, 12)
    some = values > -jnp.inf
    assert some.sum() == sum(value > -np.inf for value, _ in expected)
    np.testing.assert_array_equal(np.asarray(values)[some], [value for value, _ in expected if value > -np.inf])
    np.testing.assert_array_equal(np.asarray(places)[some], [place for value, place in expected if value > -np.inf])
    np.testing.assert_array_equal(left, plain_left)


def test_windows_that_may_overlap_are_the_largest_positions():
    """The paper's mode: neighbours of one hot spot are all chosen."""
    values = np.zeros((8, 8), np.float32)
    values[3:5, 3:5] = 1
    values[0, 7] = 0.5
    found = search_in(values, (3, 3), at_most=4, overlap=True)
    assert (found.score == np.float32(4 / 9)).all()
    assert found.start.tolist() == [[2, 2], [2, 3], [3, 2], [3, 3]]
    apart = search_in(values, (3, 3), at_most=4)
    assert (
        apart.start.tolist()[0] == [2, 2]
        and not regions.overlap(apart.start[0], apart.size[0], apart.start[1:], apart.size[1:]).any()
    )


def test_a_stride_keeps_to_its_grid_and_to_the_border():
    """Positions of methods: multiples of the stride, and the last window ends where the image ends."""
    values = np.random.default_rng(0).random((11, 10)).astype(np.float32)
    found = search_in(values, (4, 3), stride=3, at_most=50, overlap=True)
    starts = [tuple(start) for start, cost in zip(found.start.tolist(), found.cost, strict=True) if cost]
    assert sorted(starts) == list(itertools.product([0, 3, 6, 7], [0, 3, 6, 7]))
    assert (found.score[len(starts) :] == 0).all()  # slots that stayed empty


def test_labelled_elements_count_zero_and_wholly_labelled_windows_are_never_chosen():
    values, open_ = np.ones((6, 6), np.float32), np.ones((6, 6), bool)
    open_[:, :3] = False
    found = search_in(values, (2, 2), open_, np.ones((6, 6), bool), at_most=9)
    used = found.cost > 0
    assert found.cost[used].tolist() == [4, 4, 4]  # columns 3 and 4; what is left are 3 windows of 2 new elements each at most
    assert found.score[used].tolist() == [1, 1, 1]
    assert not search_in(values, (2, 2), np.zeros((6, 6), bool), np.ones((6, 6), bool), at_most=3).cost.any()


def test_windows_of_which_a_measure_says_nothing_come_last_but_come():
    values = np.zeros((4, 4), np.float32)
    values[0, 0] = 1
    found = search_in(values, (2, 2), at_most=4)
    assert (found.cost == 4).all() and len({tuple(start) for start in found.start.tolist()}) == 4
    assert found.start[0].tolist() == [0, 0]


def test_windows_lie_in_the_image_and_not_in_its_padding():
    inside = np.zeros((10, 12), bool)
    inside[:7, :9] = True
    values = np.random.default_rng(0).random((10, 12)).astype(np.float32) + 1
    found = search_in(values, (4, 4), inside, inside, at_most=4)
    assert (found.start + found.size <= (7, 9)).all() and (found.cost == 16).sum() == 2  # two of them fit


def test_a_window_larger_than_the_image_is_the_image():
    inside = np.zeros((10, 12), bool)
    inside[2:7, 3:9] = True
    values = np.full((10, 12), 2.0, np.float32)
    found = search_in(values, (8, 4), inside, inside, at_most=2)
    assert found.start[0].tolist() == [2, 3] and found.size[0].tolist() == [5, 4] and found.cost[0] == 20
    np.testing.assert_allclose(found.score[0], 2.0)
    whole = search_in(values, (0, 99), inside, inside, at_most=2)
    assert whole.start[0].tolist() == [2, 3] and whole.size[0].tolist() == [5, 6] and whole.cost.tolist() == [30, 0]


def test_slices_are_windows_of_one_element_by_whole_axes():
    values = np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)
    found = search_in(values, (0, 1, 0), at_most=6)
    order = np.argsort(-values.mean((0, 2)))
    assert found.start.tolist() == [[0, at, 0] for at in order] and (found.size == (5, 1, 7)).all()


def test_noise_of_power_zero_is_at_random_and_of_a_large_power_none():
    scores = jnp.where(jnp.arange(40) < 30, jnp.linspace(0.1, 2, 40), -jnp.inf).reshape(8, 5)
    strong = regions.power_noise(jax.random.key(0), scores, 1e4)
    order = np.argsort(-np.asarray(strong).reshape(-1))
    assert order[:30].tolist() == list(range(29, -1, -1)) and (np.asarray(strong).reshape(-1)[30:] == -np.inf).all()
    keys = jax.random.split(jax.random.key(1), 4000)
    first = jax.vmap(lambda key: regions.power_noise(key, scores, 0.0).reshape(-1).argmax())(keys)
    shares = np.bincount(first, minlength=40) / 4000
    assert np.abs(shares[:30] - 1 / 30).max() < 0.012 and not shares[30:].any()
    squared = jax.vmap(lambda key: regions.power_noise(key, scores, 2.0).reshape(-1).argmax())(keys)
    wanted = np.where(np.arange(40) < 30, np.linspace(0.1, 2, 40) ** 2, 0)
    assert np.abs(np.bincount(squared, minlength=40) / 4000 - wanted / wanted.sum()).max() < 0.02


def test_noise_draws_no_window_that_is_wholly_labelled():
    """At random, too, where scores count nothing: every slot is filled as long as there is something to label."""
    open_, inside, search = np.zeros((12, 12), bool), np.ones((12, 12), bool), Search((3, 3), at_most=4)
    open_[::4, ::4] = True

    def draw(key):
        extent = regions.extent_of(inside)
        means = regions.window_means(open_.astype(np.float32), open_, extent, search)
        return regions.best_windows(regions.power_noise(key, means, 0.0), open_, extent, search).cost

    assert (jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 30)) > 0).all()


def test_cases_in_a_batch_do_not_know_each_other():
    values = np.random.default_rng(3).random((3, 9, 8)).astype(np.float32)
    inside = np.ones((3, 9, 8), bool)
    inside[1, 6:] = False
    search = Search((3, 3), at_most=4)

    together = jax.vmap(compiled_search, (0, 0, 0, None))(values, inside, inside, search)
    for place in range(3):
        alone = compiled_search(values[place], inside[place], inside[place], search)
        chex.assert_trees_all_equal(jax.tree.map(operator.itemgetter(place), together), alone)


def test_a_case_is_cut_into_tiles_from_its_first_corner(rng):
    """The image lies in padding; the last tile along an axis is what is left, and a slot beyond the image is empty."""
    shape, size, first, length = (9, 8), (4, 3), (1, 2), (6, 5)
    features, inside = rng.normal(size=(*shape, 3)).astype(np.float32), np.zeros(shape, bool)
    inside[1:7, 2:7] = True
    inside[3, 4] = False
    open_ = inside & (rng.uniform(size=shape) < 0.6)
    extent = regions.Extent(jnp.array(first), jnp.array(length))
    found = jax.jit(regions.tiles_of, static_argnums=4)(features, inside, open_, extent, size)
    starts = [(a, b) for a in (1, 5, 9) for b in (2, 5, 8)]
    for slot, start in enumerate(starts):
        part = tuple(
            slice(begin, min(begin + many, one + all_)) for begin, many, one, all_ in zip(start, size, first, length, strict=True)
        )
        held = inside[part]
        assert found.cost[slot] == open_[part].sum()
        if held.size:
            assert found.start[slot].tolist() == list(start) and found.size[slot].tolist() == list(held.shape)
            np.testing.assert_allclose(found.embedding[slot], features[part][held].mean(0), rtol=1e-5)
        else:
            assert not found.size[slot].any() and not found.embedding[slot].any()
    assert (np.asarray(found.size).all(-1)).sum() == 4
