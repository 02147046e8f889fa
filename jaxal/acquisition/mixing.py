"""What becomes of predictions when features are mixed with those of labelled images, or moved as those differ."""

import numpy as np
from scipy.special import logsumexp


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


def spread_of_classes(probability: np.ndarray, of: np.ndarray) -> np.ndarray:
    """How far labelled images of a class differ in what divides it from the others, `[classes, classes]`: variances of the logits less that of the class.

    They are (w_j - w_c)ᵀ Σ_c (w_j - w_c), with Σ_c the covariance of the features of class c: no covariance of features has to be kept. A class with fewer than two
    images has the mean variances over the other classes, and none where there are no two images of any class.

    Args:
      probability: predicted for labelled images, `[images, classes]`.
      of: their classes, `[images]`.
    """
    logits = np.log(np.maximum(np.asarray(probability, np.float64), 1e-30))
    classes = logits.shape[1]
    known = {class_: (logits - logits[:, [class_]])[of == class_].var(0) for class_ in range(classes) if (of == class_).sum() > 1}
    others = [np.delete(spread, class_).mean() for class_, spread in known.items()]
    found = np.full((classes, classes), np.mean(others) if others else 0.0)
    np.fill_diagonal(found, 0.0)
    for class_, spread in known.items():
        found[class_] = spread
    return found


def augmented_loss(probability: np.ndarray, spread: np.ndarray, strength: float) -> np.ndarray:
    """The loss of the predicted class to be expected at most where features are moved as those of labelled images of that class differ, `[images]`, in nats (implicit semantic
    data augmentation, Wang et al. 2019, arXiv 1909.12220).

    Args:
      probability: predicted, `[images, classes]`.
      spread: see `spread_of_classes`.
      strength: of the moves; 0 leaves features as they are.
    """
    logits = np.log(np.maximum(np.asarray(probability, np.float64), 1e-30))
    best = logits.argmax(-1)
    return logsumexp(logits - np.take_along_axis(logits, best[:, None], 1) + strength / 2 * spread[best], axis=-1)
