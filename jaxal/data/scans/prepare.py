"""Cases resampled and normalised once, kept as plain arrays on disk, from which patches are read without reading the rest."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from jaxal.data.cases import Case, Dataset, Example
from jaxal.data.scans.layouts import Files, Found
from jaxal.data.scans.plan import Plan, Scaling, read_checked, resampled_shape, spacing_of

IGNORED = 255  # in prepared label maps: not annotated
PLACES_AT_MOST = 10_000  # voxels of a class and case that patches may be drawn around


def prepare(
    found: Found,
    groups: dict[str, str],
    plan: Plan,
    folder: Path,
    fingerprints: dict[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Prepares every case that is not prepared yet.

    A file's name tells the content it was made from and the plan it was made by, so nothing old is ever taken for new, and a
    stopped preparation goes on where it was.

    Args:
      found: the data set.
      groups: of each subject.
      plan: how.
      folder: where arrays go; made if it is not there.
      fingerprints: of each case's files.
      progress: called with the number of cases done and of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for case in found.cases:
        stem = folder / f"{case.id}-{fingerprints[case.id]}-{plan.digest()}"
        image, label = stem.with_name(stem.name + ".image.npy"), stem.with_name(stem.name + ".label.npy")
        if not label.is_file():  # written last
            _prepare_case(case, found, plan, image, label)
        cases.append(Case(case.id, groups[case.subject], image, label, case.subject))
        if progress:
            progress(len(cases), len(found.cases))
    multiple = 2 ** (plan.levels - 1)
    shape = tuple(max(size, -(-largest // multiple) * multiple) for size, largest in zip(plan.patch, plan.largest, strict=True))
    return Dataset(tuple(sorted(cases)), found.channels, found.classes, shape, plan.spacing_mm)


def _prepare_case(case: Files, found: Found, plan: Plan, image_path: Path, label_path: Path) -> None:
    image, label = read_checked(case, found)
    spacing = spacing_of(label.affine)
    shape = resampled_shape(label.values.shape, spacing, plan.spacing_mm)
    values = np.stack([resample(image.values[..., channel], shape) for channel in range(image.values.shape[-1])], axis=-1)
    values = np.stack([normalise(values[..., index], scaling) for index, scaling in enumerate(plan.scaling)], axis=-1)
    classes = len(found.classes)
    marked = np.where(label.values == found.ignore, classes, label.values) if found.ignore is not None else label.values
    labels = resample_label(marked, shape, classes + (found.ignore is not None))
    labels = np.where(labels == classes, IGNORED, labels).astype(np.uint8)
    _save(image_path, values.astype(np.float32))
    _save(_places_path(label_path), _places(labels, classes))
    _save(label_path, labels)  # the last: it tells that the others are there


def _places(labels: np.ndarray, classes: int) -> np.ndarray:
    """Voxels of each class above 0, `[places, 4]`: the class, then the voxel."""
    parts = [np.zeros((0, 4), np.int32)]
    for label in range(1, classes):
        places = np.argwhere(labels == label)
        some = np.sort(np.random.default_rng(0).permutation(len(places))[:PLACES_AT_MOST])
        parts.append(np.concatenate([np.full((len(some), 1), label), places[some]], axis=1).astype(np.int32))
    return np.concatenate(parts)


def _places_path(label: Path) -> Path:
    return label.with_name(label.name.replace(".label.npy", ".places.npy"))


def _save(path: Path, values: np.ndarray) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            np.save(file, values, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def resample(values: np.ndarray, shape: Sequence[int], order: int = 3) -> np.ndarray:
    """Resamples `[x, y, z]` to another shape over the same extent, by splines."""
    if values.shape == tuple(shape):
        return values
    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    return ndimage.zoom(values, factors, order=order, mode="nearest", grid_mode=True)


def resample_label(labels: np.ndarray, shape: Sequence[int], classes: int) -> np.ndarray:
    """Resamples a label map: each class by linear interpolation, then the largest wins."""
    if labels.shape == tuple(shape):
        return labels
    best, winner = np.full(tuple(shape), -1.0, np.float32), np.zeros(tuple(shape), np.uint8)
    for label in range(classes):
        share = resample((labels == label).astype(np.float32), shape, order=1)
        winner = np.where(share > best, np.uint8(label), winner)
        best = np.maximum(best, share)
    return winner


def normalise(values: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Normalises one channel, in double precision until the end."""
    if scaling.low is not None:
        values = np.clip(values, scaling.low, scaling.high)
    mean = values.mean(dtype=np.float64) if scaling.mean is None else scaling.mean
    deviation = max(values.std(dtype=np.float64), 1e-6) if scaling.deviation is None else scaling.deviation
    return ((values - mean) / deviation).astype(np.float32)


def load_case(case: Case, dataset: Dataset) -> Example:
    """A prepared case, padded at the far ends to the data set's common shape."""
    image, label = _open(case)
    padding = [(0, target - size) for target, size in zip(dataset.shape, label.shape, strict=True)]
    return _example(np.pad(image, [*padding, (0, 0)]), np.pad(label, padding, constant_values=IGNORED))


def draw_patch(case: Case, patch: Sequence[int], foreground_share: float, rng: np.random.Generator) -> Example:
    """A patch at random of a prepared case; only its voxels are read.

    Args:
      case: prepared.
      patch: voxels along each axis; a shorter case is padded.
      foreground_share: chance that the patch is drawn around a voxel of a class above 0, each class as often as any other.
      rng: of the draw.
    """
    image, label = _open(case)
    free = [max(size - length, 0) for size, length in zip(label.shape, patch, strict=True)]
    start = [int(rng.integers(room + 1)) for room in free]
    if rng.random() < foreground_share:
        places = np.load(_places_path(case.label), mmap_mode="r", allow_pickle=False)
        if len(places):
            there = np.unique(places[:, 0])
            own = np.flatnonzero(places[:, 0] == there[rng.integers(len(there))])
            centre = places[own[rng.integers(len(own))], 1:]
            start = [int(np.clip(place - length // 2, 0, room)) for place, length, room in zip(centre, patch, free, strict=True)]
    window = tuple(slice(first, first + length) for first, length in zip(start, patch, strict=True))
    image, label = np.asarray(image[window]), np.asarray(label[window])
    padding = [(0, length - size) for length, size in zip(patch, label.shape, strict=True)]
    return _example(np.pad(image, [*padding, (0, 0)]), np.pad(label, padding, constant_values=IGNORED))


def _open(case: Case) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in (case.image, case.label))


def _example(image: np.ndarray, label: np.ndarray) -> Example:
    valid = label != IGNORED
    return Example(image.astype(np.float32), np.where(valid, label, 0).astype(np.uint8), valid)
