"""What readers refused, and which cases are like it."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from jaxal.acquisition.open_set import SHRINK, nearer_to_refused


def by_discriminant_analysis(points, labelled, of_labelled, refused, of_refused):
    """The same from scikit-learn's discriminants, which are half the distances but for what all clusters have in common; its covariance is divided by all cases."""
    clusters = np.concatenate([of_labelled, len(labelled) + of_refused])
    rows = np.concatenate([labelled, refused])
    names = np.unique(clusters)
    analysis = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINK).fit(rows, clusters)
    far = -2.0 * (points @ analysis.coef_.T + analysis.intercept_ - np.log(analysis.priors_))
    far *= (len(rows) - len(names)) / len(rows)
    return far[:, names < len(labelled)].min(-1) - far[:, names >= len(labelled)].min(-1)


@pytest.mark.parametrize(("classes", "groups"), [(3, 2), (1, 2), (2, 3)])
def test_it_is_linear_discriminant_analysis_of_clusters(rng, classes, groups):
    labelled, refused, points = rng.normal(size=(20, 6)), rng.normal(1.0, 2.0, size=(15, 6)), rng.normal(size=(40, 6))
    of_labelled, of_refused = np.arange(20) % classes, np.arange(15) % groups
    found = nearer_to_refused(points, labelled, of_labelled, refused, of_refused)
    expected = by_discriminant_analysis(points, labelled, of_labelled, refused, of_refused)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert (found > 0).any() and (found < 0).any()


def test_one_case_of_each_is_the_nearer_of_two(rng):
    labelled, refused, points = rng.normal(size=(1, 4)), rng.normal(size=(1, 4)), rng.normal(size=(9, 4))
    none = np.zeros(1, int)
    expected = ((points - labelled) ** 2).sum(-1) - ((points - refused) ** 2).sum(-1)
    np.testing.assert_allclose(nearer_to_refused(points, labelled, none, refused, none), expected, rtol=1e-12)


def test_both_sides_are_treated_alike(rng):
    labelled, refused, points = rng.normal(size=(8, 3)), rng.normal(1.0, size=(7, 3)), rng.normal(size=(9, 3))
    of_labelled, of_refused = np.arange(8) % 2, np.zeros(7, int)
    there = nearer_to_refused(points, labelled, of_labelled, refused, of_refused)
    np.testing.assert_allclose(there, -nearer_to_refused(points, refused, of_refused, labelled, of_labelled), rtol=1e-9)
