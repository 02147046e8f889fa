"""Simulated T1-weighted brain MRIs around the left caudate, with a bias in one group of patients.

The mechanics are those of SimBA (Stanley et al. 2023, github.com/estanley16/SimBA): one template is warped by a subject effect
and, in the biased group, by a local bias effect, both stationary velocity fields integrated by scaling and squaring. Here the
label is warped by the very same map, so that segmentation can be studied. Departures from SimBA, and why:

- The velocity bases are random smooth fields from a fixed key, not principal components of real scans: nothing is downloaded.
- Each component of the subject effect has its own coefficient. One scalar for all, as in SimBA, would put every subject on a
  single line of shapes, far too easy to learn.
- There are two kinds of bias. One displaces the caudate by a field without divergence, so its volume stays nearly as it was (group B's caudates are
  1.3 % larger on average at `strong`, 0.6 % at `weak`; 120 subjects at 2 mm). A network is unsure of a caudate that lies elsewhere. The other
  thins it (`thin_strong`, `thin_weak`): what lies around the caudate moves in from all sides. A network that saw few thin ones draws them too
  large and is not unsure, so uncertainty alone passes the group over. It must stay mild: a field that shrinks the caudate much makes the group harder
  whatever is labelled, since small bodies score lower Dice, and no query could help.

The template is the MNI152 T1 with its grey-matter map as nilearn ships them inside the package; `structures.py` cuts the labels out of them, one class or
several (`deep_structures`: caudate, putamen and the front of the ventricle of the left side). How strong
the biases of published studies were is not known; `strong` and `weak` are this project's own scale.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # loads `scipy.stats`, which takes half a second, where it is used first
from jax.scipy.ndimage import map_coordinates
from scipy import ndimage

from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.data.simulated.structures import STRUCTURES, StructureName
from jaxal.data.simulated.velocities import (
    FIELD_SPACING_MM,
    SUBJECT_COMPONENTS,
    TEMPLATE_SPACING_MM,
    bias_field,
    subject_basis,
    thinning_field,
)
from jaxal.files import whole_folder

Array = jax.Array
Bias = Literal["strong", "weak", "thin_strong", "thin_weak", "none"]

BIAS_MEAN = {"strong": 2.0, "weak": 1.0, "thin_strong": 2.0, "thin_weak": 1.0, "none": 0.0}
GENERATOR = 1  # raised whenever the same configuration would make other cohorts
GROUPS = ("A", "B")  # B is the group that the bias acts on
BOX_ORIGIN_MM = np.array(STRUCTURES["left_caudate"].box_origin_mm)
BOX_SIZE_MM = np.array([80.0, 80.0, 64.0])
MARGIN_MM = 24.0  # the fields reach this far beyond the box, so that nothing is sampled outside them
SQUARINGS = 6
GAIN_SPREAD = 0.2  # standard deviation of the logarithm of the scanner's gain


@dataclasses.dataclass(frozen=True)
class BrainConfig:
    """What decides a simulated cohort, to the last voxel.

    Attributes:
      cases: number of subjects; every second one belongs to group B.
      spacing_mm: voxel size; the box is 80 x 80 x 64 mm.
      bias: how strong the bias of group B is.
      bias_mm: velocity that moves the caudate, in mm, for a bias coefficient of one; coefficients are N(2, 1), N(1, 1)
        (both cut off at two standard deviations) or zero. The field is at rest, so what leaves it slows down: large
        coefficients displace by less than their velocity.
      thin_mm: the same of the biases that thin the caudate: the largest velocity with which its border moves in.
      subject_mm: root mean square of the subject effect's displacement at full strength.
      noise: standard deviation of the scanner noise as a share of the template's brightest tissue.
      shading: amplitude of the smooth multiplicative intensity field.
      seed: of the subjects. Cohorts that differ only in `bias` have the same subjects and the same noise.
      structure: that is segmented; of several classes the bias acts on the first.
    """

    cases: int
    spacing_mm: float
    bias: Bias
    bias_mm: float = 7.5
    thin_mm: float = 1.2
    subject_mm: float = 3.0
    noise: float = 0.04
    shading: float = 0.15
    seed: int = 0
    structure: StructureName = "left_caudate"

    @property
    def described(self) -> dict[str, Any]:
        """Its settings as they were written before there was thinning or another structure, where there is none."""
        settings = dataclasses.asdict(self)
        if not self.bias.startswith("thin"):
            del settings["thin_mm"]
        if self.structure == "left_caudate":
            del settings["structure"]
        return settings

    @property
    def box_origin_mm(self) -> np.ndarray:
        """MNI coordinates of the first voxel."""
        return np.array(STRUCTURES[self.structure].box_origin_mm)

    @property
    def shape(self) -> tuple[int, int, int]:
        width, depth, height = (int(size) for size in np.round(BOX_SIZE_MM / self.spacing_mm))
        return width, depth, height


class Template(NamedTuple):
    """The template around a structure, at 1 mm.

    Attributes:
      image: intensities in [0, 1.2], `[x, y, z]`.
      parts: of each class the share of a voxel, `[classes, x, y, z]`.
      origin_mm: where voxel 0 lies in MNI mm.
    """

    image: np.ndarray
    parts: np.ndarray
    origin_mm: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """Of the first class, which the bias acts on, `[x, y, z]`."""
        return self.parts[0]


class Subject(NamedTuple):
    """One simulated case: image in arbitrary units, label {0, 1, …}, the smallest Jacobian determinant of the map, its effects."""

    image: np.ndarray
    label: np.ndarray
    jacobian_min: float
    bias_coefficient: float


@functools.cache
def load_template(name: StructureName = "left_caudate") -> Template:
    """Reads the MNI152 T1 and grey-matter maps that nilearn ships and cuts a structure's box, with its margin, out of them."""
    from nilearn import datasets  # slow to import and needed only to simulate

    image = datasets.load_mni152_template(resolution=TEMPLATE_SPACING_MM)
    grey_matter = datasets.load_mni152_gm_template(resolution=TEMPLATE_SPACING_MM)
    structure = STRUCTURES[name]
    intensities = np.asarray(image.get_fdata(), np.float32)
    low_mm = np.array(structure.box_origin_mm) - MARGIN_MM
    first = np.round((low_mm - image.affine[:3, 3]) / TEMPLATE_SPACING_MM).astype(int)
    count = np.round((BOX_SIZE_MM + 2 * MARGIN_MM) / TEMPLATE_SPACING_MM).astype(int) + 1
    window = tuple(slice(start, start + size) for start, size in zip(first, count, strict=True))
    origin_mm = image.affine[:3, 3] + TEMPLATE_SPACING_MM * first
    scale = np.percentile(intensities[window], 99.5)
    grey = np.asarray(grey_matter.get_fdata())
    parts = [cut(intensities / scale, grey, grey_matter.affine)[window].astype(np.float32) for cut in structure.parts.values()]
    return Template(np.clip(intensities[window] / scale, 0, 1.2), np.stack(parts), origin_mm)


def integrate(velocity: Array) -> Array:
    """The displacement of exp(v), by scaling and squaring (Arsigny et al. 2006).

    Args:
      velocity: `[3, x, y, z]`, in voxels of its own grid.

    Returns:
      Displacement `[3, x, y, z]` in voxels: the flow of the field after unit time is `x -> x + displacement(x)`.
    """
    points = grid(velocity.shape[1:])
    return jax.lax.fori_loop(0, SQUARINGS, lambda _, half: half + sample(half, points + half), velocity / 2**SQUARINGS)


def sample(volumes: Array, points: Array) -> Array:
    """Linear interpolation of `[channels, x, y, z]` at `[3, ...]` voxel coordinates; the border's value goes on outside."""
    return jax.vmap(lambda volume: map_coordinates(volume, list(points), order=1, mode="nearest"))(volumes)


def jacobian_determinant(points: Array) -> Array:
    """Determinant of the Jacobian of a map given as points `[3, x, y, z]` in units of the grid, by central differences."""
    rows = jnp.stack([jnp.stack(jnp.gradient(component)) for component in points])
    return jnp.linalg.det(jnp.moveaxis(rows, (0, 1), (-2, -1)))


def grid(shape: tuple[int, ...]) -> Array:
    """Voxel coordinates of a grid, `[axes, *shape]`."""
    return jnp.stack(jnp.meshgrid(*(jnp.arange(size, dtype=jnp.float32) for size in shape), indexing="ij"))


class _Fields(NamedTuple):
    subject: np.ndarray
    bias: np.ndarray
    thinning: np.ndarray
    origin_mm: np.ndarray


@functools.cache
def _fields(structure: StructureName = "left_caudate") -> _Fields:
    """Velocity bases on a coarse grid that covers the template's box; they are smooth, so a coarse grid loses nothing."""
    template, direction = load_template(structure), np.array(STRUCTURES[structure].direction)
    step = int(FIELD_SPACING_MM / TEMPLATE_SPACING_MM)
    near = ndimage.binary_dilation(template.label > 0.5, iterations=5)
    window = ndimage.gaussian_filter(near.astype(np.float32), 4.0)
    window = np.clip(window / 0.9, 0, 1)[::step, ::step, ::step]
    centre = np.array(ndimage.center_of_mass(template.label)) / step
    bias = bias_field(window, direction / np.linalg.norm(direction), centre, FIELD_SPACING_MM)
    thinning = thinning_field(template.label)[:, ::step, ::step, ::step]
    return _Fields(subject_basis(window.shape), bias, thinning, template.origin_mm)


class Draw(NamedTuple):
    """Everything random about one subject. NumPy's streams are the same in every version, so cohorts can be made again."""

    subject: np.ndarray  # [components], coefficients of the subject effect
    bias: float  # coefficient of the bias effect, before its mean
    noise: np.ndarray  # [2, x, y, z], standard normal
    shading: np.ndarray  # [3, 3, 3], amplitudes of the cosines of the intensity field
    gain: float  # logarithm of the scanner's gain, in standard deviations


def draw_subject(config: BrainConfig, index: int) -> Draw:
    """Draws all that is random about a subject, whatever the cohort's size."""
    rng = np.random.default_rng([config.seed, index])
    return Draw(
        truncated(rng, 3.5, SUBJECT_COMPONENTS),
        float(truncated(rng, 2.0, 1)[0]),
        rng.standard_normal((2, *config.shape), np.float32),
        rng.standard_normal((3, 3, 3)).astype(np.float32),
        float(rng.standard_normal()),
    )


def truncated(rng: np.random.Generator, limit: float, count: int) -> np.ndarray:
    """Standard normal numbers between `-limit` and `limit`, `[count]`."""
    return scipy.stats.truncnorm.rvs(-limit, limit, size=count, random_state=rng).astype(np.float32)


def simulate(config: BrainConfig, index: int) -> Subject:
    """Simulates one subject of a cohort; subject `index` is the same whatever the cohort's size or bias."""
    draw, fields = draw_subject(config, index), _fields(config.structure)
    biased = index % len(GROUPS) == 1 and config.bias != "none"
    coefficient = BIAS_MEAN[config.bias] + draw.bias if biased else 0.0
    strength_mm, field = (config.thin_mm, fields.thinning) if config.bias.startswith("thin") else (config.bias_mm, fields.bias)
    bias_velocity = -strength_mm * coefficient / FIELD_SPACING_MM * field
    velocities = np.stack([velocity_of(draw.subject, config.subject_mm), bias_velocity])
    (image, *shares), jacobian_min = warp_template(config, velocities)
    label = np.argmax([1 - np.sum(shares, axis=0), *shares], axis=0).astype(np.uint8)
    return Subject(scan_of(config, draw, image), label, jacobian_min, float(coefficient))


def velocity_of(coefficients: np.ndarray, subject_mm: float) -> np.ndarray:
    """The velocity of a subject effect, `[3, x, y, z]` in voxels of the coarse grid; later components weigh less.

    Args:
      coefficients: `[SUBJECT_COMPONENTS]`, about standard normal.
      subject_mm: root mean square of the displacement at full strength.
    """
    spectrum = np.sqrt(0.8 ** np.arange(len(coefficients)))
    weights = coefficients * spectrum / np.linalg.norm(spectrum)
    return -subject_mm / FIELD_SPACING_MM * np.tensordot(weights, _fields().subject, 1)


def warp_template(config: BrainConfig, velocities: np.ndarray) -> tuple[np.ndarray, float]:
    """Warps the template by velocities of the fields' grid, the first one last, as a subject of the cohort is warped.

    Args:
      config: whose shape and spacing the result has.
      velocities: `[effects, 3, x, y, z]` in voxels of the fields' grid; they pull back, so a volume at x shows what the template has
        at the end of the flow that begins at x.

    Returns:
      Image and shares of the classes, `[1 + classes, *config.shape]`, and the smallest Jacobian determinant of the map; it folds where that is not positive.
    """
    smooth = max(0.0, config.spacing_mm / TEMPLATE_SPACING_MM - 1) * 0.4  # against aliasing in coarser grids
    volumes = _smoothed(config.structure, smooth)
    first_mm = (config.box_origin_mm - load_template(config.structure).origin_mm).astype(np.float32)
    warped, jacobian_min = warp(config.shape, volumes, velocities.astype(np.float32), first_mm, np.float32(config.spacing_mm))
    return np.asarray(warped), float(jacobian_min)


def scan_of(config: BrainConfig, draw: Draw, clean: np.ndarray) -> np.ndarray:
    """What a subject's scanner makes of one channel; see `scan`."""
    return scan(clean, shading_field(draw.shading, config.shading, config.shape), draw.gain, config.noise * draw.noise)


@functools.cache
def _smoothed(structure: StructureName, sigma: float) -> np.ndarray:
    template = load_template(structure)
    volumes = [template.image, *template.parts]
    return np.stack([ndimage.gaussian_filter(volume, sigma) if sigma else volume for volume in volumes])


@functools.partial(jax.jit, static_argnums=0)
def warp(shape: tuple[int, ...], volumes: Array, velocities: Array, first_mm: Array, spacing_mm: Array) -> tuple[Array, Array]:
    """Warps volumes by the subject effect after the bias effect, sampled on a grid of this shape; smallest Jacobian determinant.

    The local effect belongs to the template's space and the subject effect carries it along: template(bias(subject(x))). That
    is the conjugation by which SimBA moves the effect into the subject's space, written as a pull-back.
    """
    flows = jax.vmap(integrate)(velocities)
    points = (grid(shape) * spacing_mm + first_mm.reshape(3, 1, 1, 1)) / FIELD_SPACING_MM
    for flow in flows:
        points = points + sample(flow, points)
    jacobian = jacobian_determinant(points * (FIELD_SPACING_MM / spacing_mm))
    return sample(volumes, points * (FIELD_SPACING_MM / TEMPLATE_SPACING_MM)), jacobian.min()


def scan(clean: np.ndarray, shading: np.ndarray, gain: float, noise: np.ndarray) -> np.ndarray:
    """What a scanner makes of one channel: smooth shading, its gain and the Rician noise of magnitude images, rounded to whole numbers.

    Args:
      clean: `[x, y, z]`, the brightest tissue about one.
      shading: logarithm of the intensity field, `[x, y, z]`; see `shading_field`.
      gain: in standard deviations of its logarithm.
      noise: of the real and the imaginary part, `[2, x, y, z]`, in units of `clean`.
    """
    real, imaginary = noise
    return np.round(1000.0 * np.exp(GAIN_SPREAD * gain) * np.hypot(clean * np.exp(shading) + real, imaginary)).astype(np.float32)


def shading_field(amplitudes: np.ndarray, strength: float, shape: tuple[int, ...]) -> np.ndarray:
    """A smooth field, `[x, y, z]`, of standard deviation `strength`: cosines with these amplitudes, `[3, 3, 3]`, without the constant one."""
    waves = [np.cos(np.pi * np.arange(3)[:, None] * (np.arange(size) + 0.5) / size) for size in shape]
    varying = amplitudes.copy()
    varying[0, 0, 0] = 0.0
    field = np.einsum("ijk,ix,jy,kz->xyz", varying, *waves)
    return strength * field / field.std()


def write_cohort(config: BrainConfig, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Simulates a cohort into a new folder in nnU-Net's layout, with `participants.tsv`; the folder appears only when complete.

    Args:
      config: of the cohort.
      folder: must not exist.
      progress: called with the number of cases written and of all cases.

    Raises:
      ValueError: a map folds somewhere (its Jacobian determinant is not positive); the effects are then too strong.
    """
    with whole_folder(folder) as aside:
        (aside / "imagesTr").mkdir()
        (aside / "labelsTr").mkdir()
        affine = np.diag([*(config.spacing_mm,) * 3, 1.0])
        affine[:3, 3] = config.box_origin_mm
        rows = ["participant_id\tgroup\tbias_coefficient\tjacobian_min"]
        for index in range(config.cases):
            subject = simulate(config, index)
            id_, jacobian = f"brain_{index:04d}", subject.jacobian_min
            if not jacobian > 0:
                raise ValueError(
                    f"Subject {index}: the map folds (smallest Jacobian determinant {jacobian:.3f}); lower bias_mm, thin_mm or subject_mm."
                )
            image = np.clip(subject.image, 0, np.iinfo(np.int16).max).astype(np.int16)
            write_volume(aside / "imagesTr" / f"{id_}_0000.nii.gz", Volume(image, affine))
            write_volume(aside / "labelsTr" / f"{id_}.nii.gz", Volume(subject.label, affine))
            rows.append(f"{id_}\t{GROUPS[index % len(GROUPS)]}\t{subject.bias_coefficient:.4f}\t{jacobian:.4f}")
            if progress:
                progress(index + 1, config.cases)
        description = {
            "channel_names": {"0": "T1"},
            "labels": {"background": 0, **{part: 1 + place for place, part in enumerate(STRUCTURES[config.structure].parts)}},
            "numTraining": config.cases,
            "file_ending": ".nii.gz",
            "name": f"simulated {STRUCTURES[config.structure].title}",
            "description": "Simulated from the MNI152 template; the label is approximate. " + json.dumps(config.described),
        }
        (aside / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")
        (aside / "participants.tsv").write_text("\n".join(rows) + "\n")
