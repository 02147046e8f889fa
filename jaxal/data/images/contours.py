"""Contours of objects, which tell objects apart that touch."""

import numpy as np
from scipy import ndimage


def contour_map(instances: np.ndarray, radius: int = 3) -> np.ndarray:
    """Where objects end: the edges of all of them, made thick.

    As in DCAN (Chen et al. 2016, arXiv 1604.02677), an edge is where a Sobel filter of the objects' numbers is not zero, dilated by a
    disc. Where two objects touch there is an edge, too, because their numbers differ; at the border of the image there is none.

    Args:
      instances: number of the object at each pixel, `[h, w]`, 0 where there is none.
      radius: of the disc, in pixels.

    Returns:
      `[h, w]` uint8, 1 on contours.
    """
    numbers = instances.astype(np.float64)
    edges = (ndimage.sobel(numbers, 0, mode="nearest") != 0) | (ndimage.sobel(numbers, 1, mode="nearest") != 0)
    reach = np.arange(-radius, radius + 1)
    disc = reach[:, None] ** 2 + reach[None, :] ** 2 <= radius**2
    return ndimage.binary_dilation(edges, disc).astype(np.uint8)
