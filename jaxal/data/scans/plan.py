"""What is derived from a data set before anything is trained on it: voxel spacing, intensities, patch. As nnU-Net does it (Isensee et
al. 2021, Nature Methods 18): look at all files once (fingerprint), decide (plan), and write down what was decided and why.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxal.data.prepared import UNLABELLED
from jaxal.data.scans.listing import Files, ScanListing, read_classes
from jaxal.data.scans.nifti import Volume, read_image
from jaxal.errors import UserError

SAMPLES_A_CASE = 2000  # foreground voxels of which intensities are looked at
ANISOTROPIC = 3.0
RESOLUTIONS = 3  # at most
COARSEST = 4  # voxels that a halved axis keeps at least
THICK = 2.0  # times the finest spacing; coarser axes wait until the others are as coarse


class Look(NamedTuple):
    """What one look at a case found.

    Attributes:
      shape: voxels along each axis, turned to RAS.
      spacing_mm: voxel size along each axis.
      intensities: of foreground voxels drawn at random, `[samples, channels]`.
      classes: which classes are there, `[classes]`, boolean.
      constant: which channels have one value everywhere, `[channels]`, boolean.
      volumes_mm3: of each class, `[classes]`; zeros without a label map.
    """

    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    intensities: np.ndarray
    classes: np.ndarray
    constant: np.ndarray
    volumes_mm3: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scaling:
    """How a channel's intensities are normalised: (clipped x - mean) / deviation, each case by its own numbers where they are None."""

    name: str
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was decided, in the order of RAS axes.

    Attributes:
      spacing_mm: to which all cases are resampled.
      patch: voxels that the network sees at once.
      levels: resolutions of the U-Net.
      scaling: of each channel.
      largest: voxels along each axis of the largest case after resampling.
      why: a sentence for each decision.
      pooling: from each resolution to the next, by what each axis is divided, 1 or 2; all by 2 when empty.
    """

    spacing_mm: tuple[float, ...]
    patch: tuple[int, ...]
    levels: int
    scaling: tuple[Scaling, ...]
    largest: tuple[int, ...]
    why: tuple[str, ...]
    pooling: tuple[tuple[int, ...], ...] = ()

    @property
    def multiples(self) -> tuple[int, ...]:
        """Of which each axis of the patch is a multiple."""
        return _multiples(self.pooling, self.levels, len(self.spacing_mm))

    @property
    def whole(self) -> bool:
        """Whether every case fits into a patch."""
        return all(size <= room for size, room in zip(self.largest, self.patch, strict=True))

    def digest(self) -> str:
        """Sixteen hexadecimal digits of what decides how a case is prepared."""
        decides = json.dumps([self.spacing_mm, [dataclasses.asdict(channel) for channel in self.scaling]])
        return hashlib.sha256(decides.encode()).hexdigest()[:16]


def read_checked(case: Files, listing: ScanListing) -> tuple[Volume, Volume | None]:
    """One case's channels, `[x, y, z, channels]`, and its label map as numbers of classes, if it has one, checked against each other.

    Raises:
      UserError: grids differ, a channel is missing or a label is unknown.
    """
    parts = [read_image(path) for path in case.images]
    label = read_classes(case.label, listing) if case.label else None
    grid, place = (label, case.label) if label else (parts[0], case.images[0])
    shape = grid.values.shape[:3]
    for path, part in zip(case.images, parts, strict=True):
        if part.values.shape[:3] != shape:
            raise UserError(f"{path} has shape {part.values.shape[:3]}, but {place} has {shape}. Resample one onto the other.")
        if not np.allclose(part.affine, grid.affine, atol=1e-3):
            raise UserError(
                f"{path} and {place} have different affines ({_flat(part.affine)} and {_flat(grid.affine)}), so their voxels lie "
                "in different places. Resample one onto the other."
            )
    image = np.concatenate([part.values for part in parts], axis=-1)
    if image.shape[-1] != len(listing.channels):
        several = [path for path, part in zip(case.images, parts, strict=True) if part.values.shape[-1] > 1]
        if len(parts) > 1 and several:
            raise UserError(f"{several[0]}: holds {image.shape[-1] - len(parts) + 1} volumes, but a file holds one channel here.")
        named = f"{len(listing.channels)} ({', '.join(listing.channels)})"
        held = f"{image.shape[-1]} channel{'' if image.shape[-1] == 1 else 's'}"
        raise UserError(f"{case.images[0]}: holds {held}, but the data set has {named}.")
    return Volume(image, grid.affine), label


def _flat(affine: np.ndarray) -> str:
    return "; ".join(" ".join(f"{value:g}" for value in row) for row in affine[:3])


def spacing_of(affine: np.ndarray) -> tuple[float, ...]:
    """Voxel size along each axis in millimetres; for an oblique affine the length of its columns."""
    return tuple(float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))


def look_at(case: Files, listing: ScanListing) -> Look:
    """Reads and checks one case; without a label map nothing is known of its foreground."""
    image, label = read_checked(case, listing)
    shape = image.values.shape[:3]
    constant = np.ptp(image.values, axis=(0, 1, 2)) == 0
    if label is None:
        none, absent = np.zeros((0, image.values.shape[-1]), image.values.dtype), np.zeros(len(listing.classes), bool)
        return Look(shape, spacing_of(image.affine), none, absent, constant, absent.astype(np.float64))
    foreground = np.flatnonzero((label.values > 0) & (label.values != UNLABELLED))
    drawn = np.random.default_rng(0).choice(foreground, min(SAMPLES_A_CASE, foreground.size), replace=False)
    intensities = image.values.reshape(-1, image.values.shape[-1])[np.sort(drawn)]
    voxels = np.bincount(label.values.reshape(-1), minlength=256)[: len(listing.classes)]
    voxel_mm3 = abs(float(np.linalg.det(image.affine[:3, :3])))
    return Look(shape, spacing_of(image.affine), intensities, voxels > 0, constant, voxels * voxel_mm3)


def check_looks(looks: Sequence[Look], listing: ScanListing) -> None:
    """Makes sure that there is something to learn.

    Raises:
      UserError: there are label maps, and none holds anything but background.
    """
    label = next((case.label for case in listing.cases if case.label), None)
    if label and not np.any([look.classes[1:] for look in looks]):
        raise UserError(f"{label.parent}: no label map holds anything but background, so there is nothing to learn.")


def make_plan(
    channels: Sequence[str],
    looks: Sequence[Look],
    patch_voxels: int | None,
    spacing_mm: Sequence[float] | None = None,
    levels: int | None = None,
) -> Plan:
    """Decides.

    Args:
      channels: names.
      looks: at every case.
      patch_voxels: at most so many, for the device's memory and the time of a step; None where cases must be seen whole.
      spacing_mm, levels: instead of those derived from the data.
    """
    why: list[str] = []
    spacing = np.array(spacing_mm) if spacing_mm else _target_spacing(looks, why)
    if spacing_mm:
        why.append(f"spacing {_numbers(spacing)} mm: as asked for")
    shapes = np.array([resampled_shape(look.shape, look.spacing_mm, spacing.tolist()) for look in looks])
    largest, median = shapes.max(0), np.median(shapes, axis=0)
    pooling: tuple[tuple[int, ...], ...] = ()
    if levels is None:
        levels, pooling = _resolutions(median, spacing, why)
    multiple = np.array(_multiples(pooling, levels, len(spacing)))
    patch = -(-largest // multiple) * multiple
    if patch_voxels is None:
        why.append(f"patch {_numbers(patch)}: the largest case, since each is seen whole")
    elif np.prod(patch) > patch_voxels:
        patch = _patch(median, patch_voxels, multiple)
        why.append(
            f"patch {_numbers(patch)}: the median case's proportions within {patch_voxels} voxels; scored in overlapping windows"
        )
    else:
        why.append(f"patch {_numbers(patch)}: the largest case fits whole into {patch_voxels} voxels")
    scaling = tuple(
        _scaling(name, np.concatenate([look.intensities[:, index] for look in looks]), why) for index, name in enumerate(channels)
    )
    return Plan(
        tuple(float(size) for size in spacing),
        tuple(map(int, patch)),
        levels,
        scaling,
        tuple(map(int, largest)),
        tuple(why),
        pooling,
    )


def _multiples(pooling: Sequence[Sequence[int]], levels: int, rank: int) -> tuple[int, ...]:
    steps = pooling or ((2,) * rank,) * (levels - 1)
    return tuple(int(size) for size in np.prod([(1,) * rank, *steps], axis=0))


def _resolutions(median: np.ndarray, spacing: np.ndarray, why: list[str]) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """How often the U-Net halves which axis, as nnU-Net decides it: short axes and thick slices stay whole while others are halved."""
    size, voxel = np.array(median, float), np.array(spacing, float)
    steps: list[tuple[int, ...]] = []
    while len(steps) < RESOLUTIONS - 1 and (size >= 2 * COARSEST).any():
        enough = size >= 2 * COARSEST
        halved = enough & (voxel <= THICK * voxel[enough].min())
        steps.append(tuple(2 if half else 1 for half in halved))
        size, voxel = np.where(halved, size / 2, size), np.where(halved, voxel * 2, voxel)
    levels = len(steps) + 1
    reason = f"{levels} resolutions: the median case is {_numbers(median)} voxels, and the coarsest keeps at least four"
    if all(min(step) == 2 for step in steps):
        why.append(reason)
        return levels, ()
    times = _numbers(np.log2(_multiples(steps, levels, len(size))))
    why.append(
        f"{reason} along what is halved; axes are halved {times} times, because short axes and thick slices are not halved"
    )
    return levels, tuple(steps)


def resampled_shape(shape: Sequence[int], spacing_mm: Sequence[float], target_mm: Sequence[float]) -> tuple[int, ...]:
    return tuple(
        max(1, round(size * spacing / target)) for size, spacing, target in zip(shape, spacing_mm, target_mm, strict=True)
    )


def _target_spacing(looks: Sequence[Look], why: list[str]) -> np.ndarray:
    spacings, shapes = np.array([look.spacing_mm for look in looks]), np.array([look.shape for look in looks])
    target, sizes = np.median(spacings, axis=0), np.median(shapes, axis=0)
    why.append(f"spacing {_numbers(target)} mm: the median of {len(looks)} cases along each axis")
    worst = int(target.argmax())
    others = [axis for axis in range(len(target)) if axis != worst]
    if target[worst] > ANISOTROPIC * target[others].min() and ANISOTROPIC * sizes[worst] < sizes[others].min():
        target[worst] = max(np.quantile(spacings[:, worst], 0.1), target[others].max())
        why[-1] = (
            f"spacing {_numbers(target)} mm: the median along each axis, but along the coarse one the 10th percentile, so that fine cases "
            "keep their detail"
        )
    return target


def _patch(median: np.ndarray, voxels: int, multiple: np.ndarray) -> np.ndarray:
    """The median case's proportions within a number of voxels, along each axis a multiple of its own."""
    patch = np.maximum(np.round(median / multiple), 1).astype(int) * multiple
    while np.prod(patch) > voxels:
        shrinkable = np.where(patch > multiple, patch / median, -1.0)
        if shrinkable.max() < 0:
            break
        patch[shrinkable.argmax()] -= multiple[shrinkable.argmax()]
    return patch


def _scaling(name: str, intensities: np.ndarray, why: list[str]) -> Scaling:
    if name.lower() == "nonorm":
        why.append(f"{name}: intensities as they are, as its name asks")
        return Scaling("none", mean=0.0, deviation=1.0)
    if name.lower() == "ct" and not len(intensities):
        why.append(f"{name}: each case to zero mean and unit deviation, since no label tells which intensities matter")
        return Scaling("z-score")
    if name.lower() == "ct":
        low, high = np.quantile(intensities, (0.005, 0.995))
        clipped = np.clip(intensities, low, high)
        why.append(
            f"{name}: clipped to the foreground's 0.5th to 99.5th percentile and scaled alike for all, since Hounsfield units are absolute"
        )
        return Scaling("ct", float(low), float(high), float(clipped.mean()), float(max(clipped.std(), 1e-6)))
    why.append(f"{name}: each case to zero mean and unit deviation, since its units are arbitrary")
    return Scaling("z-score")


def _numbers(values: Sequence[float] | np.ndarray) -> str:
    return " x ".join(f"{value:g}" for value in values)


def to_json(plan: Plan, listing: ScanListing) -> dict[str, Any]:
    """For `plan.json`."""
    return {
        "layout": listing.layout,
        "channels": listing.channels,
        "classes": listing.classes,
        "ignore": listing.ignore,
        **({"values": listing.values} if listing.values else {}),
        **dataclasses.asdict(plan),
    }
