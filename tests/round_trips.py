"""Label maps of small structures, and their way to another grid and back by jaxal and by others."""

import itertools

import nibabel
import numpy as np
from nibabel import orientations
from nilearn.image import resample_img

from jaxal.data.scans.plan import resampled_shape, spacing_of

SPACINGS = [  # of the prepared grid, where that of the case is 1 mm: finer, coarser, both
    *((size,) * 3 for size in (0.5, 0.8, 1.25, 2.0)),
    *((0.5, 1.0, 0.8), (1.25, 1.0, 2.0), (1.0, 1.0, 2.0), (2.0, 2.0, 0.8)),
]


def _distance(points, places):
    return np.linalg.norm(np.moveaxis(places, 0, -1)[..., None, :] - points, axis=-1)


def _ellipsoid(places, centre, radii):
    return sum(((place - middle) / radius) ** 2 for place, middle, radius in zip(places, centre, radii, strict=True)) <= 1


def label_maps():
    """Two ellipsoids, a curved tube as thin as the tail of a caudate, four touching classes, a shell; and a small map of three."""
    places = np.indices((22, 20, 18)).astype(float)
    along = np.linspace(0, 1, 200)
    empty = np.zeros(places.shape[1:], np.uint8)
    ellipsoids, touching, shell = empty.copy(), empty.copy(), empty.copy()
    ellipsoids[_ellipsoid(places, (6.2, 6.6, 5.1), (3.1, 2.2, 2.6))] = 1
    ellipsoids[_ellipsoid(places, (15.0, 12.5, 11.3), (2.1, 4.2, 1.7))] = 2
    curve = np.stack([4 + 13 * along, 6 + 6 * np.sin(np.pi * along), 4 + 9 * along**2], axis=1)
    caudate = (_distance(curve, places) <= 1.9 - 0.9 * along).any(-1).astype(np.uint8)
    seeds = np.array([(7, 7, 7), (13, 8, 8), (10, 13, 8), (10, 9, 12)])
    whole = _ellipsoid(places, (10.4, 9.7, 8.6), (7.3, 6.1, 5.2))
    touching[whole] = 1 + _distance(seeds, places).argmin(-1)[whole]
    radius = _distance(np.array([(10.5, 9.5, 8.5)]), places)[..., 0]
    shell[radius <= 6] = 1
    shell[radius <= 4.8] = 2
    places = np.indices((12, 11, 10)).astype(float)
    small = np.where(_ellipsoid(places, (3.2, 4.1, 5.3), (2.3, 1.8, 3.1)), 1, 0).astype(np.uint8)
    small[_ellipsoid(places, (6.9, 4.4, 5.0), (1.8, 2.4, 2.1))] = 2
    small[2:10, 8, 3] = small[9, 7:9, 3:8] = 3
    return {"ellipsoids": ellipsoids, "caudate": caudate, "touching": touching, "shell": shell, "small": small}


def orientations_of(shape):
    """The 48 affines that put axes of 1 mm in every order and direction."""
    for axes, flips in itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)):
        affine = np.eye(4)
        affine[:3] = 0
        for axis, (to, flip) in enumerate(zip(axes, flips, strict=True)):
            affine[to, axis], affine[to, 3] = (-1.0, shape[axis] - 1.0) if flip else (1.0, 0.0)
        yield affine


def prepared_grid(labels, affine, spacing_mm):
    """Affine and shape of the grid to which jaxal prepares; its outer faces are those of the case."""
    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, affine))
    shape = resampled_shape(turned.shape, spacing_of(turned.affine), spacing_mm)
    size = np.array(turned.shape) / shape
    prepared = np.diag([*size, 1.0])
    prepared[:3, 3] = turned.affine[:3, 3] + (size - 1) / 2
    return prepared, shape


def turned_to_ras(labels, affine):
    return np.asarray(nibabel.as_closest_canonical(nibabel.Nifti1Image(labels, affine)).dataobj)


def turned_from_ras(labels, affine):
    axes = np.array([[axis, 1] for axis in range(3)])
    return orientations.apply_orientation(labels, orientations.ornt_transform(axes, orientations.io_orientation(affine)))


def one_hot(labels, classes):
    return np.stack([labels == label for label in range(classes)]).astype(np.float32)


def mean_dice(labels, truth):
    """Over the classes above 0."""
    return np.mean(
        [
            2 * ((labels == label) & (truth == label)).sum() / ((labels == label).sum() + (truth == label).sum())
            for label in range(1, truth.max() + 1)
        ]
    )


def nilearn_there_and_back(labels, affine, prepared, shape, how):
    """`nearest`; `linear`, a one-hot map whose largest wins on either grid; or `shares`, where it wins only once it is back."""
    there = {"target_affine": prepared, "target_shape": shape, "interpolation": "nearest" if how == "nearest" else "linear"}
    back = {**there, "target_affine": affine, "target_shape": labels.shape}
    common = {"force_resample": True, "copy_header": True, "order": "C"}
    if how == "nearest":
        middle = resample_img(nibabel.Nifti1Image(labels, affine), **there, **common)
        return np.asarray(resample_img(middle, **back, **common).dataobj)
    classes = int(labels.max()) + 1
    parts = np.moveaxis(one_hot(labels, classes), 0, -1)
    middle = resample_img(nibabel.Nifti1Image(parts, affine), **there, **common)
    if how == "linear":
        winner = np.asarray(middle.dataobj).argmax(-1)
        middle = nibabel.Nifti1Image(np.moveaxis(one_hot(winner, classes), 0, -1), prepared)
    return np.asarray(resample_img(middle, **back, **common).dataobj).argmax(-1)
