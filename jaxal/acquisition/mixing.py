"""How far features must be mixed with those of labelled images until the predicted class changes."""

import numpy as np


def share_that_flips(features: np.ndarray, probability: np.ndarray, kernel: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The smallest share ε of ALFA-Mix at which an image's class changes (Parvaneh et al. 2022, arXiv 2203.07034), `[images]`; infinite where none does.

    The paper mixes the features with the mean features of each class, by as much as lets the loss grow most:
    φ + ε ‖mean_c - φ‖ / √F · g / ‖g‖, with g the gradient of the loss of the predicted class. Only the distance to the mean is left of it, so the farthest class
    decides; and along g logits are linear, so the share at which another one takes over is a quotient, and nothing has to be tried.

    Args:
      features: `[images, features]`, which the last layer reads.
      probability: predicted, `[images, classes]`, above zero.
      kernel: of the last layer, `[features, classes]`.
      means: mean features of labelled images by class, `[classes that have any, features]`.
    """
    features, probability, kernel, means = (np.asarray(part, np.float64) for part in (features, probability, kernel, means))
    logits, best, rows = np.log(np.maximum(probability, 1e-300)), probability.argmax(-1), np.arange(len(features))
    error = probability.copy()
    error[rows, best] -= 1.0
    gradient = np.matmul(error, kernel.T)
    length = np.linalg.norm(gradient, axis=-1, keepdims=True)
    slope = np.matmul(gradient / np.where(length > 0, length, 1.0), kernel)
    gained, lead = slope - slope[rows, best][:, None], logits[rows, best][:, None] - logits
    steps = np.where(gained > 0, lead / np.where(gained > 0, gained, 1.0), np.inf)
    steps[rows, best] = np.inf
    farthest = np.stack([np.linalg.norm(features - mean, axis=-1) for mean in means]).max(0)
    reach = farthest / np.sqrt(features.shape[1])
    return np.where(reach > 0, steps.min(-1) / np.where(reach > 0, reach, 1.0), np.inf)
