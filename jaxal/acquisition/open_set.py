"""Which cases are what a study is about, and which are like those that readers refused: an open set (OpenAL, Qu et al. 2023, arXiv 2307.05254)."""

import numpy as np

SHRINK = 0.1  # of the covariance towards that of a ball, because there are fewer cases than features


def nearer_to_refused(
    points: np.ndarray, labelled: np.ndarray, of_labelled: np.ndarray, refused: np.ndarray, of_refused: np.ndarray
) -> np.ndarray:
    """How much farther points are from what has a label than from what was refused, by squared Mahalanobis distance to the nearest cluster's mean.

    All clusters share one covariance, which is what cases differ by within clusters, so that distances to both sides are in one measure. The authors have one
    for each cluster, and scale both distances by the pool's extremes.

    Args:
      points: features of cases, `[cases, features]`.
      labelled: of cases that have a label, `[labelled, features]`.
      of_labelled: their clusters, `[labelled]`.
      refused: of cases that were refused, `[refused, features]`.
      of_refused: their clusters, `[refused]`.

    Returns:
      `[cases]`; above zero where a case is more like refused ones.
    """
    means, deviations = [], []
    for rows, clusters in ((labelled, of_labelled), (refused, of_refused)):
        own = np.stack([rows[clusters == cluster].mean(0) for cluster in np.unique(clusters)]).astype(np.float64)
        means.append(own)
        deviations.append(rows - own[np.unique(clusters, return_inverse=True)[1]])
    within = np.concatenate(deviations)
    covariance = np.matmul(within.T, within) / max(len(within) - sum(map(len, means)), 1)
    size = np.trace(covariance) / len(covariance)
    ball = np.eye(len(covariance))
    covariance = (1.0 - SHRINK) * covariance + SHRINK * size * ball if size > 0 else ball
    whitened = np.linalg.inv(np.linalg.cholesky(covariance)).T
    of_points = np.matmul(points, whitened)
    to_labelled, to_refused = (
        np.min([((of_points - mean) ** 2).sum(-1) for mean in np.matmul(own, whitened)], axis=0) for own in means
    )
    return to_labelled - to_refused
