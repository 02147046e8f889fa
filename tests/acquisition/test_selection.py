import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import gradients, selection
from jaxal.acquisition.selection import (
    draws_by_distance,
    k_center,
    k_means_plus_plus,
    k_means_plus_plus_of_gradients,
    power_scores,
    top_k,
)
from jaxal.arrays import gumbels_of

K_CENTER = json.loads((Path(__file__).parents[1] / "fixtures" / "k_center.json").read_text())


def test_takes_the_best_and_reports_the_gap_at_the_cut():
    query = top_k(["a", "b", "c", "d"], np.array([0.1, 0.9, 0.4, 0.7]), 2)
    assert query.units == ("b", "d")
    assert query.scores == (0.9, 0.7)
    assert query.gap == pytest.approx(0.3)


def test_ties_go_to_the_first_name_whatever_the_order(rng):
    units = [f"case_{index}" for index in range(8)]
    for _ in range(5):
        order = rng.permutation(8)
        query = top_k([units[i] for i in order], np.zeros(8), 3)
        assert query.units == ("case_0", "case_1", "case_2")
        assert query.gap == 0.0


def test_a_budget_beyond_the_pool_takes_all():
    query = top_k(["a", "b"], np.array([1.0, 2.0]), 5)
    assert query.units == ("b", "a")
    assert query.gap is None
    assert top_k([], np.array([]), 3).units == ()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="1 units have a score that is not finite, b first"):
        top_k(["a", "b"], np.array([1.0, bad]), 1)


def test_numbers_of_units_and_scores_must_agree():
    with pytest.raises(ValueError, match=r"2 units but scores of shape \(3,\)"):
        top_k(["a", "b"], np.zeros(3), 1)


def plain_k_center(points, labelled, budget):
    """All distances at once, in float64."""
    nearest = np.square(points[:, None] - labelled[None]).sum(-1).min(1)
    chosen, distances = [], []
    for _ in range(budget):
        index = int(nearest.argmax())
        chosen.append(index)
        distances.append(np.sqrt(nearest[index]))
        nearest = np.minimum(nearest, np.square(points - points[index]).sum(-1))
        nearest[chosen] = -1
    return chosen, distances


def test_k_center_equals_the_plain_form_and_scikit_activeml(rng):
    points, labelled = np.array(K_CENTER["points"]), np.array(K_CENTER["labelled"])
    chosen, distances = k_center(as32(points), as32(labelled), jnp.ones(len(points), bool), 8)
    expected, expected_distances = plain_k_center(points, labelled, 8)
    assert np.asarray(chosen).tolist() == expected == K_CENTER["scikit-activeml"]
    np.testing.assert_allclose(np.asarray(distances), expected_distances, rtol=1e-5)


def test_k_center_leaves_out_what_is_not_available_and_takes_twins_last(rng):
    points = as32(np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [50.0, 0.0]]))
    available = jnp.array([True, True, True, True, False])
    chosen, distances = k_center(points, as32(np.array([[0.0, 1.0]])), available, 4)
    assert np.asarray(chosen).tolist() == [3, 2, 0, 1]
    assert float(distances[-1]) == 0.0


def as32(values):
    return jnp.asarray(values, jnp.float32)


def test_k_means_plus_plus_draws_in_proportion_to_squared_distance(rng):
    """The longest first; the second follows the law of D², counted over many keys."""
    points = rng.normal(size=(6, 3))
    draws = jax.vmap(lambda seed: k_means_plus_plus(jax.random.key(seed), as32(points), jnp.ones(6, bool), 2)[0])(
        jnp.arange(4000)
    )
    first = int(np.square(points).sum(-1).argmax())
    assert set(np.asarray(draws)[:, 0].tolist()) == {first}
    weights = np.square(points - points[first]).sum(-1)
    expected = 4000 * weights / weights.sum()
    counts = np.bincount(np.asarray(draws)[:, 1], minlength=6)
    assert counts[first] == 0
    others = np.arange(6) != first
    chi_square = (np.square(counts - expected)[others] / expected[others]).sum()
    assert chi_square < 18.5  # 4 degrees of freedom, p = 0.001


def test_draws_of_gradients_equal_draws_of_their_vectors(rng):
    """The factorised distances give the same choice as the embeddings written out, and no pick twice."""
    features, probability = rng.normal(size=(40, 5)), rng.dirichlet(np.ones(3), 40)
    error = as32(np.asarray(gradients.hallucinated_error(as32(probability).T)).T)
    vectors = (np.asarray(error)[:, :, None] * np.append(features, np.ones((40, 1)), 1)[:, None, :]).reshape(40, -1)
    available = jnp.arange(40) < 35
    chosen, squares = k_means_plus_plus_of_gradients(jax.random.key(4), as32(features), error, available, 12)
    plain, plain_squares = k_means_plus_plus(jax.random.key(4), as32(vectors), available, 12)
    assert np.asarray(chosen).tolist() == np.asarray(plain).tolist()
    np.testing.assert_allclose(np.asarray(squares), np.asarray(plain_squares), rtol=1e-4)
    assert len(set(np.asarray(chosen).tolist())) == 12
    assert max(np.asarray(chosen)) < 35
    # Each square is the distance that a plain loop finds, given the choice.
    for place in range(1, 12):
        distances = np.square(vectors - vectors[np.asarray(chosen)[:place]][:, None]).sum(-1).min(0)
        assert float(squares[place]) == pytest.approx(distances[int(chosen[place])], rel=1e-4)


def test_k_means_plus_plus_of_twins_still_fills_the_budget():
    chosen, _ = k_means_plus_plus(jax.random.key(0), jnp.ones((5, 2)), jnp.ones(5, bool), 5)
    assert sorted(np.asarray(chosen).tolist()) == [0, 1, 2, 3, 4]


def test_power_sampling_follows_the_power_of_the_scores():
    scores = np.array([1.0, 2.0, 4.0])
    drawn = np.stack([gumbels_of(jax.random.key(seed), ("a", "b", "c")) for seed in range(3000)])
    for beta in (1.0, 2.0):
        noisy = np.array([power_scores(noise, scores, beta) for noise in drawn])
        expected = 3000 * scores**beta / (scores**beta).sum()
        counts = np.bincount(noisy.argmax(1), minlength=3)
        assert (np.square(counts - expected) / expected).sum() < 13.8  # 2 degrees of freedom, p = 0.001
    assert np.isfinite(power_scores(drawn[0], np.zeros(3), 1.0)).all()
    even = np.array([power_scores(noise, scores, 0.0) for noise in drawn]).argmax(1)
    assert (np.square(np.bincount(even, minlength=3) - 1000) / 1000).sum() < 13.8
    with pytest.raises(ValueError, match="not negative"):
        power_scores(np.zeros(1), np.array([-1.0]), 1.0)


def test_selection_takes_no_square_of_the_points():
    """Memory of the compiled programs grows with the number of points, not with its square."""
    points, features, error = jnp.zeros((20_000, 8)), jnp.zeros((20_000, 8)), jnp.zeros((20_000, 3))
    available = jnp.ones(20_000, bool)
    key = jax.random.key(0)
    for lowered in (
        k_center.lower(points, points[:50], available, 10),
        k_means_plus_plus.lower(key, points, available, 10),
        k_means_plus_plus_of_gradients.lower(key, features, error, available, 10),
    ):
        assert lowered.compile().memory_analysis().temp_size_in_bytes < 40 * 20_000 * 4


def test_draws_equal_a_plain_loop_with_noise_of_its_own_for_each(rng):
    points, key, budget = rng.normal(size=(12, 3)), jax.random.key(5), 7
    chosen = [int(np.square(points).sum(-1).argmax())]
    for number in range(1, budget):
        nearest = np.min([np.square(points - points[index]).sum(-1) for index in chosen], axis=0)
        noise = np.asarray(jax.random.gumbel(jax.random.fold_in(key, number), (12,)))
        weight = np.log(np.maximum(nearest, 1e-37)) + noise
        weight[chosen] = -np.inf
        chosen.append(int(weight.argmax()))
    drawn, _ = k_means_plus_plus(key, as32(points), jnp.ones(12, bool), budget)
    assert np.asarray(drawn).tolist() == chosen


BATCHES = json.loads((Path(__file__).parents[1] / "fixtures" / "batchbald.json").read_text())


def members_of_fixture():
    logits = np.array(BATCHES["logits"])
    return jnp.asarray(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("library", ["batchbald_redux", "scikit-activeml"])
def test_batches_of_bald_are_those_of_other_libraries(float64, library):
    members = members_of_fixture()
    chosen, scores = selection.batch_bald(jax.random.key(0), members, jnp.ones(30, bool), 4, samples=1000)
    assert chosen.tolist() == BATCHES[library]["indices"]
    np.testing.assert_allclose(np.asarray(scores), BATCHES[library]["scores"], rtol=1e-6)


def test_joint_entropy_by_enumeration(float64):
    """Mutual information of three items' labels with the member, every combination written out."""
    members = members_of_fixture()[:5]
    chosen, scores = selection.batch_bald(jax.random.key(0), members, jnp.ones(5, bool), 3, samples=10**6)
    p = np.asarray(members)[np.asarray(chosen)]  # [items, members, classes]
    joint = np.einsum("ma,mb,mc->abc", *p) / p.shape[1]
    conditional = -(p * np.log(p)).sum(-1).mean(-1).sum()
    assert float(scores[-1]) == pytest.approx(-(joint * np.log(joint)).sum() - conditional, rel=1e-12)


def test_sampled_combinations_come_close_to_all_of_them(float64):
    members = members_of_fixture()
    exact = selection.batch_bald(jax.random.key(0), members, jnp.ones(30, bool), 4, samples=10**6)
    sampled = selection.batch_bald(jax.random.key(0), members, jnp.ones(30, bool), 4, samples=60)  # of 64 and of 256
    assert sampled[0][:3].tolist() == exact[0][:3].tolist()
    np.testing.assert_allclose(np.asarray(sampled[1]), np.asarray(exact[1]), rtol=0.15)


def test_joint_entropies_from_drawn_combinations_have_no_bias(float64):
    """Two items in all combinations, a third and a fourth drawn: within three standard errors of all combinations of the four."""
    members, chosen = members_of_fixture(), (13, 21, 29, 8)
    exact, drawn = (jnp.ones((1, 8)), jnp.ones(1)), []
    for place in chosen:
        exact = selection._extended(jax.random.key(0), *exact, members[place], None)
    expected = np.asarray(selection._joint_entropy(*exact, members[:3]))
    for seed in range(200):
        state = (jnp.ones((1, 8)), jnp.ones(1))
        for step, place in enumerate(chosen):
            key = jax.random.fold_in(jax.random.key(seed), step)
            state = selection._extended(key, *state, members[place], 50 if step > 1 else None)
        drawn.append(np.asarray(selection._joint_entropy(*state, members[:3])))
    error = np.std(drawn, axis=0) / np.sqrt(len(drawn))
    assert (np.abs(np.mean(drawn, axis=0) - expected) < 3 * error).all()
    assert (error < 0.02).all()


def test_batches_take_what_is_available_and_no_twins():
    """An item twice tells less than another that is a little less unsure by itself."""
    rows = np.array(
        [[[0.95, 0.05], [0.05, 0.95]], [[0.95, 0.05], [0.05, 0.95]], [[0.1, 0.9], [0.9, 0.1]], [[0.9, 0.1], [0.9, 0.1]]]
    )
    three = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]])
    members = jnp.asarray(np.stack([three, three, three[[1, 0, 2]]]), jnp.float32)
    chosen, _ = selection.batch_bald(jax.random.key(0), members, jnp.ones(3, bool), 2, 100)
    assert chosen.tolist() == [0, 2]
    chosen, _ = selection.batch_bald(
        jax.random.key(0), jnp.asarray(rows, jnp.float32), jnp.array([False, True, True, True]), 3, 100
    )
    assert 0 not in chosen.tolist()


def test_batches_wait_for_no_value():
    """What has no values cannot be waited for: each wait would leave a device idle, twice an item."""
    members, available = jax.ShapeDtypeStruct((16, 5, 3), np.float32), jax.ShapeDtypeStruct((16,), bool)
    key = jax.eval_shape(lambda: jax.random.key(0))
    choose = functools.partial(selection.batch_bald, budget=4, samples=20)
    chosen, scores = jax.eval_shape(choose, key, members, available)
    assert (chosen.shape, scores.shape) == ((4,), (4,))


@pytest.mark.parametrize(("numbers", "expected"), [(2**26, [32]), (9 * 3 * 20, [16]), (1, [8])])
def test_an_accelerator_takes_as_many_items_at_once_as_fit(as_elsewhere, monkeypatch, rng, numbers, expected):
    """Nine combinations of three labels each: the same entropies, of at most so many numbers at once."""
    monkeypatch.setattr(selection, "_NUMBERS_AT_ONCE", numbers)
    sizes, form = [], selection._joint_entropy_of
    monkeypatch.setattr(selection, "_joint_entropy_of", lambda at_once, *given: sizes.append(at_once) or form(at_once, *given))
    members = jnp.asarray(rng.dirichlet(np.ones(3), (32, 5)), jnp.float32)
    joint, weights = selection._extended(
        jax.random.key(0),
        *selection._extended(jax.random.key(0), jnp.ones((1, 5)), jnp.ones(1), members[0], None),
        members[1],
        None,
    )
    elsewhere = selection._joint_entropy.__wrapped__(joint, weights, members)
    assert sizes == expected
    np.testing.assert_allclose(np.asarray(elsewhere), np.asarray(form(8, joint, weights, members)), rtol=1e-6)


def test_what_costs_more_than_is_left_is_passed_over():
    names, scores, costs = list("abcde"), np.array([5.0, 4, 3, 2, 1]), np.array([4.0, 7, 3, 4, 3])
    assert top_k(names, scores, 9, costs, 10.0).units == ("a", "c", "e")  # b and then d do not fit any more
    assert top_k(names, scores, 2, costs, 10.0).units == ("a", "c")
    assert top_k(names, scores, 9, costs, 2.0).units == ()
    assert top_k(names, scores, 2, costs, None).units == ("a", "b") and top_k(names, scores, 9, costs, 10.0).gap is None


def test_draws_follow_the_squared_distance_to_the_nearest_known_point():
    """Five points on a line, of which two are known, at 0 and at 10: their squares are 1, 9 and 4, and the last may not be drawn."""
    points, known = as32([[1.0], [3.0], [8.0], [5.0]]), as32([[0.0], [10.0]])
    available = jnp.array([True, True, True, False])
    keys = jax.random.split(jax.random.key(0), 4000)
    first, second = (
        np.asarray(part) for part in jax.vmap(lambda key: draws_by_distance(key, points, known, available, 2)[0])(keys).T
    )
    np.testing.assert_allclose(np.bincount(first, minlength=4) / 4000, [1 / 14, 9 / 14, 4 / 14, 0], atol=0.02)
    after = second[first == 1]  # then 3 is known, too: 1 is a distance of 1 from 0, and 8 one of 2 from 10
    np.testing.assert_allclose(np.bincount(after, minlength=4) / len(after), [1 / 5, 0, 4 / 5, 0], atol=0.03)
    assert (first != second).all()
