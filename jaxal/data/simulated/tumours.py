"""Simulated brain tumours in four MRI channels, in the layout of BraTS 2019, where few of the patients have little enhancing tumour. Nothing is downloaded.

A patient is the template of `brain.py`, warped by a subject effect of its own. A map from T1 intensity to those of other sequences gives it a T2 (fluid is
bright) and a FLAIR (fluid is dark). A tumour has a centre in white matter and a core whose outline is an ellipsoid with smooth random bumps. The
core's outer shell takes up contrast agent and is bright in T1ce alone; what it encloses is necrotic. Oedema lies around the core, farther where there is white matter, never in
fluid, and is bright in T2 and FLAIR. Vessels take up contrast agent, too. The tumour displaces nothing, which real ones do.

The volume of enhancing tumour is drawn, and the core grows until it has it. So the two groups lie apart: up to 7/8 of `edge_mm3`, and from
9/8 of it to 18000 mm³ at most. Studies of real tumours cut at 7000 mm³; in a box of 80 x 80 x 64 mm 4000 mm³ is as good. A small enhancing volume is not a small copy of a large one: its shell is
thinner, open in places, and takes up less contrast agent, as in gliomas of lower grade.

It is no model of disease. It serves to compare strategies and to try out networks, and figures on it say nothing of real tumours.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.data.simulated import brain
from jaxal.errors import UserError
from jaxal.files import whole_folder

GENERATOR = 1  # raised whenever the same configuration would make other patients
CHANNELS = ("t1", "t1ce", "t2", "flair")  # as the files' names have them
NECROTIC, OEDEMA, ENHANCING = 1, 2, 4  # as BraTS numbers them
KNOT_MM = 8.0  # between the knots of smooth random fields
VOLUMES = {True: (1 / 6, 7 / 8), False: (9 / 8, 4.0)}  # of small enhancing tumours and of others, as shares of the edge
SHELLS = {True: (0.22, 0.32), False: (0.28, 0.45)}  # thickness of the enhancing shell, as a share of the core's radius
THINNEST_MM = 2.2  # the mean thickness of the shell of a small core
HOLES = {True: 0.40, False: 0.18}  # how much the shell's thickness varies, as a share of it
UPTAKES = {True: (0.30, 0.55), False: (0.50, 0.90)}  # what contrast agent adds to T1
REACH_MM = (4.0, 11.0)  # of oedema around the core
EDGES_MM3, VOLUME_AT_MOST_MM3 = (1000.0, 10_000.0), 18_000.0  # larger tumours would leave the box
RADIUS_AT_MOST_MM = 32.0  # of a core, half of the box's shortest side
SEARCHED = 14  # halvings of the core's radius
PLACES = 400  # that are tried until one lies in white matter

FLUID, GREY, WHITE = 0.28, 0.70, 0.94  # T1 intensities of the template
TISSUES = np.array([0.0, FLUID, GREY, WHITE, 1.2])
CONTRASTS = {"t2": np.array([1.05, 1.0, 0.55, 0.40, 0.35]), "flair": np.array([0.05, 0.12, 0.62, 0.50, 0.45])}
# What each part of a tumour looks like, channels in the order of `CHANNELS`, before contrast agent.
NECROTIC_LOOK = np.array([0.38, 0.40, 0.92, 0.45])
OEDEMA_LOOK = np.array([0.62, 0.62, 0.82, 0.95])
ENHANCING_LOOK = np.array([0.60, 0.60, 0.66, 0.74])


@dataclasses.dataclass(frozen=True)
class TumoursConfig:
    """What decides the patients, to the last voxel.

    Attributes:
      cases: number of patients.
      spacing_mm: voxel size; the box is 80 x 80 x 64 mm.
      small_share: of patients whose enhancing tumour is smaller than the edge; they follow the others as evenly as the share allows.
      edge_mm3: of the enhancing volume, between the two groups; about 2000 to 7000 mm³ make sense in this box, 1000 to 10000 are taken.
      subject_mm: root mean square of the subject effect's displacement at full strength.
      noise: standard deviation of the scanner noise as a share of the template's brightest tissue.
      shading: amplitude of each channel's smooth multiplicative intensity field.
      variation: standard deviation of the looks of a tumour's parts, which each patient has of its own.
      seed: of the draws. A patient depends on the seed and its own number alone.

    Raises:
      UserError: the edge is not within its bounds.
    """

    cases: int
    spacing_mm: float = 2.5
    small_share: float = 0.15
    edge_mm3: float = 4000.0
    subject_mm: float = 3.0
    noise: float = 0.04
    shading: float = 0.12
    variation: float = 0.06
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = EDGES_MM3
        if not low <= self.edge_mm3 <= high:
            raise UserError(
                f"edge_mm3 is {self.edge_mm3:g}; expected {low:g} to {high:g} mm³, since tumours must be seen and fit into the box of "
                "80 x 80 x 64 mm. Choose another edge."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        width, depth, height = (int(size) for size in np.round(brain.BOX_SIZE_MM / self.spacing_mm))
        return width, depth, height


class Patient(NamedTuple):
    """One simulated case.

    Attributes:
      images: `[4, x, y, z]` int16 in arbitrary units, in the order of `CHANNELS`, zero outside the brain.
      label: `[x, y, z]` uint8 with the values of BraTS.
      is_small: whether the enhancing volume is below the edge.
    """

    images: np.ndarray
    label: np.ndarray
    is_small: bool


class Parts(NamedTuple):
    """Shares of a tumour's parts in each voxel, `[x, y, z]` in [0, 1] each; where they overlap, the first one counts."""

    enhancing: np.ndarray
    necrotic: np.ndarray
    oedema: np.ndarray

    @property
    def label(self) -> np.ndarray:
        """Values of BraTS, `[x, y, z]` uint8."""
        return np.select([part > 0.5 for part in self], [ENHANCING, NECROTIC, OEDEMA]).astype(np.uint8)


def is_small(config: TumoursConfig, index: int) -> bool:
    """Whether a patient belongs to the group of small enhancing tumours."""
    return int((index + 1) * config.small_share + 0.5) > int(index * config.small_share + 0.5)


def simulate(config: TumoursConfig, index: int) -> Patient:
    """Simulates one patient; patient `index` is the same however many there are."""
    rng, small = np.random.default_rng([config.seed, 3, index]), is_small(config, index)
    anatomy, mask = _anatomy(config, brain.truncated(rng, 3.5, brain.SUBJECT_COMPONENTS))
    parts = _tumour(config, rng, anatomy, mask, small)
    clean = _seen(config, rng, anatomy, parts, rng.uniform(*UPTAKES[small]))
    images = np.zeros((len(CHANNELS), *config.shape), np.int16)
    for channel, values in enumerate(clean):
        shading = brain.shading_field(rng.standard_normal((3, 3, 3)), config.shading, config.shape)
        noise = config.noise * rng.standard_normal((2, *config.shape))
        scanned = brain.scan(values, shading, float(rng.standard_normal()), noise)
        images[channel] = np.where(mask, np.clip(scanned, 1, np.iinfo(np.int16).max), 0)
    return Patient(images, parts.label, small)


@functools.cache
def _template(sigma: float) -> np.ndarray:
    """The template's T1 and where it is brain, `[2, x, y, z]`."""
    image = brain.load_template().image
    volumes = np.stack([image, (image > 0).astype(np.float32)])
    return ndimage.gaussian_filter(volumes, (0, sigma, sigma, sigma)) if sigma else volumes


def _anatomy(config: TumoursConfig, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A patient's T1 without a tumour, and where there is brain, `[x, y, z]` each."""
    smooth = max(0.0, config.spacing_mm / brain.TEMPLATE_SPACING_MM - 1) * 0.4  # against aliasing in coarser grids
    velocity = brain.velocity_of(coefficients, config.subject_mm).astype(np.float32)[None]
    first_mm = (brain.BOX_ORIGIN_MM - brain.load_template().origin_mm).astype(np.float32)
    (image, share), _ = brain.warp(config.shape, _template(smooth), velocity, first_mm, np.float32(config.spacing_mm))
    return np.asarray(image), np.asarray(share) > 0.5


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], knot_mm: float = KNOT_MM) -> np.ndarray:
    """A smooth random field over the box, `[x, y, z]`, of zero mean and unit deviation; the same on every grid."""
    knots = np.maximum(np.round(brain.BOX_SIZE_MM / knot_mm).astype(int), 4)
    field = rng.standard_normal(knots)
    for size, count in zip(shape, knots, strict=True):  # each turn takes the first axis and puts it last
        field = np.tensordot(field, _spline(int(count), size), (0, 0))
    return (field - field.mean()) / field.std()


@functools.cache
def _spline(knots: int, size: int) -> np.ndarray:
    """What each knot of a cubic spline gives each of `size` places over the same extent, `[knots, size]`."""
    return np.stack([ndimage.zoom(row, size / knots, order=3, mode="nearest", grid_mode=True) for row in np.eye(knots)])


def _tumour(config: TumoursConfig, rng: np.random.Generator, anatomy: np.ndarray, mask: np.ndarray, small: bool) -> Parts:
    """A tumour whose enhancing volume is what was drawn for its group, to some voxels."""
    low, high = np.minimum(config.edge_mm3 * np.array(VOLUMES[small]), VOLUME_AT_MOST_MM3)
    wanted = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    share, reach = rng.uniform(*SHELLS[small]), rng.uniform(*REACH_MM)
    axes = np.exp(0.15 * brain.truncated(rng, 2.0, 3))
    bumps = 0.11 * smooth_field(rng, config.shape, 16.0) + 0.05 * smooth_field(rng, config.shape)
    varied = np.clip(1 + HOLES[small] * smooth_field(rng, config.shape), 0, 1.8)
    fingers = 0.30 * smooth_field(rng, config.shape, 12.0)
    solid = wanted / (4 / 3 * np.pi * (1 - (1 - share) ** 3))  # of the core, in units of its radius cubed
    centre = _centre(config, rng, anatomy, mask, margin_mm=8.0 + np.cbrt(solid))
    points = (np.indices(config.shape) + 0.5) * config.spacing_mm - centre.reshape(3, 1, 1, 1)
    distance = np.sqrt(((points / axes.reshape(3, 1, 1, 1)) ** 2).sum(0))
    voxel_mm3 = config.spacing_mm**3

    def core(radius: float) -> tuple[np.ndarray, np.ndarray]:
        """The core's enhancing shell and what is within, as depths in mm below their outlines; negative outside."""
        depth = np.where(mask, radius * (1 + bumps) - distance, -np.inf)
        shell = max(share * radius, THINNEST_MM) * varied
        return np.minimum(depth, shell - depth), depth - shell

    smallest, largest = 0.0, RADIUS_AT_MOST_MM
    for _ in range(SEARCHED):
        radius = (smallest + largest) / 2
        enough = np.count_nonzero(core(radius)[0] > 0) * voxel_mm3 >= wanted
        smallest, largest = (smallest, radius) if enough else (radius, largest)
    enhancing, necrotic = core(largest)
    white = ndimage.gaussian_filter(np.clip((anatomy - GREY) / (WHITE - GREY), 0, 1), 2.5 / config.spacing_mm)
    spread = (largest + reach * (0.45 + 1.1 * white)) * (1 + bumps + fingers * reach / (largest + reach)) - distance
    fluid = anatomy < (FLUID + GREY) / 2
    oedema = np.where(mask & ~fluid, spread, -np.inf)
    return _as_shares(config.spacing_mm, enhancing, necrotic, oedema)


def _centre(
    config: TumoursConfig, rng: np.random.Generator, anatomy: np.ndarray, mask: np.ndarray, margin_mm: float
) -> np.ndarray:
    """A place in white matter, in mm from the box's corner, at least some margin within the box; if none is found, the last that was tried."""
    room = np.minimum(margin_mm, 0.4 * brain.BOX_SIZE_MM)
    for _ in range(PLACES):
        place = rng.uniform(room, brain.BOX_SIZE_MM - room)
        voxel = tuple(np.minimum((place / config.spacing_mm).astype(int), np.array(config.shape) - 1))
        if mask[voxel] and anatomy[voxel] > (GREY + WHITE) / 2:
            break
    return place


def _as_shares(spacing_mm: float, enhancing: np.ndarray, necrotic: np.ndarray, oedema: np.ndarray) -> Parts:
    """Shares of voxels from depths below outlines, in mm; oedema without islands that do not touch the core."""
    pieces, _ = ndimage.label((oedema > 0) | (enhancing > 0) | (necrotic > 0))
    main = np.argmax(np.bincount(pieces[(enhancing > 0) | (necrotic > 0)]))
    return Parts(
        *(np.clip(0.5 + np.where(pieces == main, depth, -np.inf) / spacing_mm, 0, 1) for depth in (enhancing, necrotic, oedema))
    )


def _seen(config: TumoursConfig, rng: np.random.Generator, anatomy: np.ndarray, parts: Parts, uptake: float) -> np.ndarray:
    """The four channels before the scanner, `[4, x, y, z]`."""
    vessels = np.clip(smooth_field(rng, config.shape, 5.0) - 1.2, 0, 1) * (anatomy < GREY)
    healthy = np.stack([anatomy, anatomy + 0.5 * vessels, *(np.interp(anatomy, TISSUES, look) for look in CONTRASTS.values())])
    looks = np.stack([OEDEMA_LOOK, NECROTIC_LOOK, ENHANCING_LOOK])
    shifts = config.variation * brain.truncated(rng, 2.0, looks.size).reshape(looks.shape)
    shifts[:, 1] = shifts[:, 0]  # contrast agent alone makes T1ce differ from T1
    looks = looks + shifts
    looks[2, 1] += uptake
    texture = 0.05 * smooth_field(rng, config.shape, 5.0)
    seen = healthy
    for share, look in zip((parts.oedema, parts.necrotic, parts.enhancing), looks, strict=True):
        seen = seen + share * (look.reshape(4, 1, 1, 1) + texture - seen)
    return seen


def write_tumours(config: TumoursConfig, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Simulates patients into a new folder in the layout of BraTS 2019; the folder appears only when complete.

    Args:
      config: of the patients.
      folder: must not exist.
      progress: called with the number of patients written and of all.
    """
    affine = np.diag([*(config.spacing_mm,) * 3, 1.0])
    affine[:3, 3] = brain.BOX_ORIGIN_MM
    with whole_folder(folder) as aside:
        for index in range(config.cases):
            patient, name = simulate(config, index), f"BraTS19_SIM_{index + 1:04d}_1"
            (aside / name).mkdir()
            for channel, image in zip(CHANNELS, patient.images, strict=True):
                write_volume(aside / name / f"{name}_{channel}.nii.gz", Volume(image, affine))
            write_volume(aside / name / f"{name}_seg.nii.gz", Volume(patient.label, affine))
            if progress:
                progress(index + 1, config.cases)
        (aside / "simulated.json").write_text(json.dumps({"generator": GENERATOR, **dataclasses.asdict(config)}, indent=2) + "\n")
