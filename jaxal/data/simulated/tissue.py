"""Patches of a T1-weighted brain, classified by the tissue or structure at their centre: nothing is downloaded.

The brain is the MNI152 template that nilearn ships, with its maps of grey and white matter; the structures are cut from them by hand-made
rules, which are good enough to set a task and no anatomical reference. Classes have the frequencies of the diabetic retinopathy study of
the information-gain paper (Mehta et al. 2022, arXiv 2208.00974). Patches are turned at random and get scanner noise and a gain of
their own. Each cube of the brain is one subject, so that patches of nearly the same place stay in one split. Patches are wider than the cubes, and
all of them are of one brain: across the cubes' faces splits still see some of the same voxels, under another angle and with other noise. So the AUC
says nothing of other brains; it serves to compare strategies, for all of which it is the same.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from jaxal.data.images.listing import Listed, Listing
from jaxal.data.simulated.digits import FREQUENCIES
from jaxal.data.simulated.structures import caudate_label

CLASSES = ("white matter", "fluid", "cortex", "cerebellum", "caudate")


@dataclasses.dataclass(frozen=True)
class TissueConfig:
    """What decides the patches, to the last pixel.

    Attributes:
      patches: how many.
      side: of a patch in pixels, which are millimetres.
      noise: standard deviation of the scanner noise as a share of the brightest tissue.
      gain: standard deviation of the logarithm of each patch's own gain.
      block_mm: side of the cubes whose patches stay together.
      seed: of the draws.
    """

    patches: int = 20_000
    side: int = 24
    noise: float = 0.15
    gain: float = 0.15
    block_mm: int = 12
    seed: int = 0


def make_tissue(config: TissueConfig) -> Listing:
    """Cuts the patches, axial slices around voxels drawn of each class."""
    from nilearn import datasets  # slow to import

    template = datasets.load_mni152_template(resolution=1)
    grey, white = (
        np.asarray(load(resolution=1).get_fdata(), np.float32)
        for load in (datasets.load_mni152_gm_template, datasets.load_mni152_wm_template)
    )
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=1).get_fdata()) > 0
    image = np.asarray(template.get_fdata(), np.float32)
    image = np.clip(image / np.percentile(image[brain], 99.5), 0, 1.2)
    structures = _structures(grey, white, brain, template.affine)
    rng = np.random.default_rng(config.seed)
    reach = int(np.ceil(config.side * 0.75))  # of a patch that is turned
    inside = np.zeros(image.shape, bool)
    inside[reach:-reach, reach:-reach] = True
    chosen = []
    for number, (mask, frequency) in enumerate(zip(structures, FREQUENCIES, strict=True)):
        places = np.argwhere(mask & inside)
        count = min(round(config.patches * frequency / sum(FREQUENCIES)), len(places))
        chosen += [(number, place) for place in places[rng.choice(len(places), count, replace=False)]]
    images, pixels = [], np.empty((len(chosen), config.side, config.side), np.uint8)
    for row, place in enumerate(rng.permutation(len(chosen))):
        number, centre = chosen[place]
        block = "-".join(str(part // config.block_mm) for part in centre)
        images.append(Listed(f"{row:05d}", CLASSES[number], subject=block, source="nilearn's MNI152"))
        pixels[row] = _patch(image, centre, config, rng)
    return Listing("tissue", CLASSES, tuple(images), pixels)


def _structures(grey: np.ndarray, white: np.ndarray, brain: np.ndarray, affine: np.ndarray) -> list[np.ndarray]:
    """Masks of the classes, `[x, y, z]` each."""
    x, y, z = (affine[axis, 3] + affine[axis, axis] * np.indices(grey.shape, np.float32)[axis] for axis in range(3))
    left = caudate_label(grey, affine)
    mirrored = np.round((-x - affine[0, 3]) / affine[0, 0]).astype(int)[:, 0, 0]
    within = (mirrored >= 0) & (mirrored < grey.shape[0])
    caudate = left.copy()
    caudate[within] |= left[mirrored[within]]
    below = (z < -20) & (y < -44)
    deep = (np.abs(x) < 38) & (y > -40) & (y < 26) & (z > -16) & (z < 24)
    return [
        (white > 0.9) & ~below,
        brain & (grey < 0.1) & (white < 0.1),
        (grey > 0.8) & ~below & ~deep,
        ((grey > 0.5) | (white > 0.5)) & below,
        caudate,
    ]


def _patch(image: np.ndarray, centre: np.ndarray, config: TissueConfig, rng: np.random.Generator) -> np.ndarray:
    """An axial patch around a voxel, turned, with noise and a gain: bytes."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    grid = np.indices((config.side, config.side)) - (config.side - 1) / 2
    points = np.tensordot(turn, grid, 1) + centre[:2, None, None]
    values = ndimage.map_coordinates(image[:, :, centre[2]], points, order=1, mode="nearest")
    values = values * np.exp(config.gain * rng.standard_normal()) + config.noise * rng.standard_normal(values.shape)
    return np.clip(255 * (0.15 + 0.6 * values), 0, 255).astype(np.uint8)
