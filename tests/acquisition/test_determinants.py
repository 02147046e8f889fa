"""Greedy determinants against determinants that are computed whole."""

import itertools

import numpy as np
import pytest

from jaxal.acquisition.determinants import greedy_determinant, most_mutual_determinant


def directions(rng, count, dimensions=4):
    points = rng.normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def greedy_by(value, count, budget):
    """Chooses what makes a function of sets largest, by trying all."""
    chosen = []
    for _ in range(budget):
        values = [-np.inf if place in chosen else value([*chosen, place]) for place in range(count)]
        chosen.append(int(np.argmax(values)))
    return chosen


def test_the_determinant_grows_by_most_each_time(rng):
    points, worth = directions(rng, 25), rng.uniform(0.5, 2, 25)
    kernel = worth[:, None] * np.exp(-np.square(points[:, None] - points[None]).sum(-1)) * worth
    places, gains = greedy_determinant(np.diag(kernel), lambda place: kernel[place], np.ones(25, bool), 8)
    assert places.tolist() == greedy_by(lambda chosen: np.linalg.slogdet(kernel[np.ix_(chosen, chosen)])[1], 25, 8)
    assert np.prod(gains) == pytest.approx(np.linalg.det(kernel[np.ix_(places, places)]), rel=1e-8)
    some = np.arange(25) % 2 == 0
    assert set(greedy_determinant(np.diag(kernel), lambda place: kernel[place], some, 13)[0]) == set(np.flatnonzero(some))


def test_what_lies_in_the_span_comes_last(rng):
    """Of rank two there are two to choose; a twin and a mixture come after them, the longest first."""
    points = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [3.0, 0.1], [1.0, 1.0]])
    kernel = points @ points.T
    places, gains = greedy_determinant(np.diag(kernel), lambda place: kernel[place], np.ones(5, bool), 5)
    assert set(places[:2]) <= {3, 2, 4} and places[0] == 3
    assert sorted(places.tolist()) == [0, 1, 2, 3, 4]
    assert (gains[2:] < 1e-10).all()
    lengths = np.diag(kernel)[places[2:]]
    assert lengths.tolist() == sorted(lengths, reverse=True)


@pytest.mark.parametrize("eta", [1.0, 0.6])
def test_mutual_information_of_determinants_by_definition(rng, eta):
    points, queries = directions(rng, 14), directions(rng, 3)
    ridge = 1e-3
    kernel, cross = points @ points.T + ridge * np.eye(14), points @ queries.T
    inverse = np.linalg.inv(queries @ queries.T + ridge * np.eye(3))

    def information(chosen):
        own = kernel[np.ix_(chosen, chosen)]
        told = own - eta**2 * cross[chosen] @ inverse @ cross[chosen].T
        return np.linalg.slogdet(own)[1] - np.linalg.slogdet(told)[1]

    places, gains = most_mutual_determinant(points, queries, np.ones(14, bool), 4, eta)
    assert places.tolist() == greedy_by(information, 14, 4)
    for count in range(1, 5):
        assert gains[:count].sum() == pytest.approx(information(places[:count].tolist()), rel=1e-6)
    if eta < 1:  # greedy comes close to the best of all sets
        best = max(information(list(chosen)) for chosen in itertools.combinations(range(14), 3))
        assert gains[:3].sum() > 0.6 * best
