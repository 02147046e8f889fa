"""Velocity fields that make simulated brains differ: one of subjects, one that displaces a structure, and one that thins it.

They are computed once, on grids in millimetres, and integrated where they are used (`data/simulated/brain.py`).
"""

import numpy as np
from scipy import ndimage

TEMPLATE_SPACING_MM = 1
FIELD_SPACING_MM = 4.0
SUBJECT_COMPONENTS = 10


def subject_basis(shape: tuple[int, int, int], components: int = SUBJECT_COMPONENTS, smooth_mm: float = 14.0) -> np.ndarray:
    """Orthogonal random smooth velocity fields `[components, 3, x, y, z]`, each of unit root mean square."""
    noise = np.random.default_rng(20230).standard_normal((components, 3, *shape))
    smooth = ndimage.gaussian_filter(noise, (0, 0, *(smooth_mm / FIELD_SPACING_MM,) * 3), mode="reflect")
    orthogonal = np.linalg.qr(smooth.reshape(components, -1).T)[0].T.reshape(smooth.shape)
    return (orthogonal * np.sqrt(orthogonal[0].size / 3)).astype(np.float32)


def bias_field(window: np.ndarray, direction: np.ndarray, centre: np.ndarray, spacing_mm: float) -> np.ndarray:
    """A velocity field without divergence that moves what lies under a window as one body.

    It is the curl of `window * (direction x r) / 2`: inside the window, where the window is constant, that equals `direction`;
    outside, the tissue flows back around. No volume is gained or lost anywhere, up to the grid's discretisation.

    Args:
      window: `[x, y, z]` in [0, 1], smooth.
      direction: displacement in mm at the window's plateau.
      centre: voxel coordinates about which `r` is measured.
      spacing_mm: of the grid.

    Returns:
      `[3, x, y, z]` in mm.
    """
    position = (np.stack(np.meshgrid(*map(np.arange, window.shape), indexing="ij")) - centre.reshape(3, 1, 1, 1)) * spacing_mm
    potential = 0.5 * np.cross(direction, position, axisb=0, axisc=0) * window
    slope = [[np.gradient(component, spacing_mm, axis=axis) for axis in range(3)] for component in potential]
    return np.stack([slope[2][1] - slope[1][2], slope[0][2] - slope[2][0], slope[1][0] - slope[0][1]]).astype(np.float32)


def thinning_field(label: np.ndarray, smooth_mm: float = 3.0) -> np.ndarray:
    """A velocity field that moves what lies around a body into it from all sides: the gradient of the smoothed label, at most one in length.

    Args:
      label: `[x, y, z]` in [0, 1], at the template's spacing.
      smooth_mm: standard deviation of the smoothing; the field reaches about twice as far beyond the body.

    Returns:
      `[3, x, y, z]`, of largest length one.
    """
    slope = np.stack(np.gradient(ndimage.gaussian_filter(label.astype(np.float64), smooth_mm / TEMPLATE_SPACING_MM)))
    return (slope / np.linalg.norm(slope, axis=0).max()).astype(np.float32)
