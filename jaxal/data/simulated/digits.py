"""Handwritten digits as a hard little classification task: real scans that scikit-learn ships, so nothing is downloaded.

Five classes with the frequencies of the diabetic retinopathy study of the information-gain paper (Mehta et al. 2022, arXiv 2208.00974):
6150, 588, 1283, 221 and 166. The digits themselves are easy (random sampling begins at more than 90 % of what all labels give), so each
is partly covered, and noisy: as much as lets random sampling reach 95 % of what all labels give in the last of six rounds. With two
covered rows and twice the noise no strategy gets there in six.
"""

import numpy as np

from jaxal.data.images.listing import Listed, Listing

FREQUENCIES = (6150, 588, 1283, 221, 166)
DIGITS_OF_CLASS = ((0, 1, 3, 6, 7), (4,), (2, 5), (8,), (9,))
CLASSES = ("01367", "4", "25", "8", "9")
BAR = 1  # rows or columns that are covered
NOISE = 0.08  # standard deviation, of the brightest ink


def make_digits(seed: int = 0) -> Listing:
    """About 1200 images of 8 x 8 pixels, always the same ones for a seed."""
    from sklearn.datasets import load_digits  # slow to import

    scans = load_digits()
    rng = np.random.default_rng(seed)
    members = [rng.permutation(np.flatnonzero(np.isin(scans.target, digits))) for digits in DIGITS_OF_CLASS]
    total = min(len(places) * sum(FREQUENCIES) // frequency for places, frequency in zip(members, FREQUENCIES, strict=True))
    images, pixels = [], []
    for name, places, frequency in zip(CLASSES, members, FREQUENCIES, strict=True):
        for place in places[: round(total * frequency / sum(FREQUENCIES))]:
            images.append(Listed(f"{place:04d}", name, source="scikit-learn's digits"))
            pixels.append(_hardened(scans.images[place] / 16, rng))
    order = sorted(range(len(images)), key=lambda place: images[place].id)
    return Listing("digits", CLASSES, tuple(images[place] for place in order), np.stack([pixels[place] for place in order]))


def _hardened(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A digit behind a bar, with noise: bytes."""
    digit = digit.copy()
    turned = digit if rng.integers(2) else digit.T
    first = rng.integers(len(turned) - BAR + 1)
    turned[first : first + BAR] *= 0.25
    noisy = digit + NOISE * rng.standard_normal(digit.shape)
    return np.clip(255 * (0.25 + 0.5 * noisy), 0, 255).astype(np.uint8)
