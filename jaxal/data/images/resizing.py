"""Images and masks made smaller: colours by averages over areas, numbers by who has most of an area."""

import numpy as np
from scipy import ndimage, sparse


def overlaps(old: int, new: int) -> sparse.csr_array:
    """How much of each of `old` pixels in a row lies in each of `new` ones over the same length, `[new, old]`.

    Lengths are whole numbers of the `new`-th part of an old pixel, so that sums are exact and ties are ties; a row sums to `old`.
    """
    ends = np.union1d(np.arange(old + 1) * new, np.arange(new + 1) * old)
    begins = ends[:-1]
    return sparse.csr_array((np.diff(ends), (begins // old, begins // new)), shape=(new, old), dtype=np.float32)


def area_averaged(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Each new pixel is the mean over its area of the old ones.

    Args:
      pixels: `[h, w, channels]` uint8.
      shape: new height and width.
    """
    if pixels.shape[:2] == shape:
        return pixels
    down, across = (overlaps(old, new) for old, new in zip(pixels.shape[:2], shape, strict=True))
    sums = [_summed(down, across, pixels[..., channel]) for channel in range(pixels.shape[-1])]
    return np.round(np.stack(sums, -1) / np.prod(pixels.shape[:2])).astype(np.uint8)


def majority(numbers: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Each new pixel has the number that covers most of its area.

    Of equal areas the lowest number above 0 wins, because thin objects would lose every tie to the background.

    Args:
      numbers: of classes or objects, `[h, w]`, unsigned.
      shape: new height and width.
    """
    if numbers.shape == shape:
        return numbers
    down, across = (overlaps(old, new) for old, new in zip(numbers.shape, shape, strict=True))
    winner, most = np.zeros(shape, numbers.dtype), _summed(down, across, numbers == 0) - 0.5
    for number, box in enumerate(ndimage.find_objects(numbers.astype(np.int32)), 1):
        if box is not None:
            covered = _summed(down[:, box[0]], across[:, box[1]], numbers[box] == number)
            winner = np.where(covered > most, numbers.dtype.type(number), winner)
            most = np.maximum(most, covered)
    return winner


def _summed(down: sparse.csr_array, across: sparse.csr_array, values: np.ndarray) -> np.ndarray:
    """Values times the areas in which old pixels lie in new ones; exact for whole numbers."""
    rows = down @ values.astype(np.float32)
    return (across.astype(np.float64) @ rows.T.astype(np.float64)).T
