"""Sets that other libraries choose of the same points (`fixtures/make_selection.py`, `fixtures/make_clusters.py`), and what they choose by."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxal.acquisition import uncertainty
from jaxal.acquisition.clusters import k_means, nearest_to_centres
from jaxal.acquisition.coverage import Cover, gains_of_first, greedy_coverage, uncovered_by, unit_rows
from jaxal.acquisition.determinants import greedy_determinant, most_mutual_determinant
from jaxal.acquisition.mutual_information import most_mutual_information
from jaxal.acquisition.predictive_information import epig
from jaxal.acquisition.sequential import ranked_batch

FIXTURE, CLUSTERS = (
    json.loads((Path(__file__).parents[1] / "fixtures" / f"{name}.json").read_text()) for name in ("selection", "clusters")
)
POINTS, LABELLED, QUERIES, UNSURE = (np.array(FIXTURE[name]) for name in ("points", "labelled", "queries", "unsure"))
COUNT, CHOSEN, ETA, RIDGE = len(POINTS), 8, 0.8, 1e-3
EVERYBODY = np.ones(COUNT, bool)
SOUGHT = (1 + POINTS @ QUERIES.T) / 2


def cover(kernel, width=1.0, labelled=LABELLED, floor=None):
    points = unit_rows(POINTS)
    uncovered = uncovered_by(points, unit_rows(labelled.reshape(-1, POINTS.shape[1])), kernel, width)
    return Cover(points, np.ones(COUNT), uncovered, kernel, width, floor)


def covered(*arguments, **options):
    return greedy_coverage(cover(*arguments, **options), EVERYBODY, CHOSEN)


def test_herding_of_scikit_activeml():
    assert covered("gaussian")[0].tolist() == FIXTURE["maxherding"]["scikit-activeml"]


def test_coverage_of_scikit_activeml():
    assert gains_of_first(cover("ball", 0.9)).tolist() == FIXTURE["probcover"]["scikit-activeml"]


def test_facility_location_of_apricot():
    places, gains = covered("cosine", labelled=LABELLED[:0])
    assert places.tolist() == FIXTURE["facility_location"]["apricot"]
    np.testing.assert_allclose(gains, FIXTURE["facility_location"]["gains"], rtol=1e-5)


def test_ranked_batches_of_modal():
    assert ranked_batch(POINTS, UNSURE, LABELLED, CHOSEN)[0].tolist() == FIXTURE["ranked_batch"]["modAL"]


def test_vote_entropy_of_scikit_activeml():
    votes = np.eye(3)[np.array(FIXTURE["votes"])]  # [points, members, classes]
    moments = uncertainty.moments_of(jnp.asarray(np.moveaxis(votes, 0, -1), jnp.float32))
    np.testing.assert_allclose(uncertainty.vote_entropy(moments), FIXTURE["vote_entropy"]["scikit-activeml"], rtol=1e-5)


def mutual_information(name):
    if name == "flvmi":
        return covered("cosine", labelled=LABELLED[:0], floor=1 - np.minimum(ETA * SOUGHT.max(1), 1))
    if name == "flqmi":
        return most_mutual_information(jnp.asarray(SOUGHT, jnp.float32), jnp.asarray(EVERYBODY), CHOSEN, jnp.float32(ETA))
    if name == "gcmi":
        scores = SOUGHT.sum(1)  # half of what the paper has, which changes no rank
        places = np.argsort(-scores)[:CHOSEN]
        return places, scores[places]
    return most_mutual_determinant(POINTS, QUERIES, EVERYBODY, CHOSEN, ETA)


@pytest.mark.parametrize("name", ["flvmi", "flqmi", "gcmi", "logdetmi"])
def test_mutual_information_of_submodlib(name):
    """Once little is gained any more, several points gain the same, and libraries differ in which comes next."""
    expected = FIXTURE["submodlib"][name]
    places, gains = (np.asarray(part) for part in mutual_information(name))
    np.testing.assert_allclose(gains, expected["gains"], rtol=1e-3, atol=1e-4)
    gained = sum(gain > 0.1 for gain in expected["gains"])
    assert gained >= 3 and places[:gained].tolist() == expected["places"][:gained]


def test_determinants_of_submodlib():
    kernel = POINTS @ POINTS.T + RIDGE * np.eye(COUNT)
    places, gains = greedy_determinant(np.diag(kernel), lambda place: kernel[place], EVERYBODY, 3)
    expected = FIXTURE["submodlib"]["determinant"]
    np.testing.assert_allclose(np.log(gains), expected["gains"], rtol=1e-4, atol=1e-4)
    assert places[1:].tolist() == expected["places"][1:]  # the first are all of one length


def test_clue_of_scikit_activeml():
    """Heaps lie so far apart that any start of k-means ends in them; within each the weights decide."""
    points, shares = (np.array(CLUSTERS[name]) for name in ("points", "shares"))
    unsure = -(shares * np.log(shares)).sum(-1)
    chosen = CLUSTERS["clue"]["scikit-activeml"]
    clusters = k_means(jax.random.key(0), points, unsure, len(chosen))
    assert set(nearest_to_centres(points, np.ones(len(points), bool), clusters, len(chosen)).tolist()) == set(chosen)
    plain = k_means(jax.random.key(0), points, np.ones(len(points)), len(chosen))
    assert set(nearest_to_centres(points, np.ones(len(points), bool), plain, len(chosen)).tolist()) != set(chosen)


def test_epig_of_baal():
    members = np.moveaxis(np.array(CLUSTERS["logits"]), -1, 1)  # [items, members, classes]
    shares, targets = np.asarray(jax.nn.softmax(jnp.asarray(members, jnp.float32))), CLUSTERS["targets"]
    found = epig(jnp.asarray(shares[targets:]), jnp.asarray(shares[:targets]))
    np.testing.assert_allclose(found, CLUSTERS["epig"]["baal"], rtol=1e-4, atol=1e-6)
