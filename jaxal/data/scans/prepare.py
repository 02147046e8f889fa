"""Cases resampled and normalised once, kept as plain arrays on disk, from which patches are read without reading the rest."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.data.cases import Dataset, Fingerprint
from jaxal.data.scans.layouts import Files, ScanListing
from jaxal.data.scans.plan import Plan, Scaling, read_checked, resampled_shape, spacing_of
from jaxal.data.scans.resampling import resample, resample_label
from jaxal.files import open_array, write_whole
from jaxal.types import Case, Example, Label

UNLABELLED = 255  # in prepared label maps: not annotated
LABELS = 2  # the way in which label maps are prepared, counted up when it changes
PLACES_AT_MOST = 10_000  # voxels of a class and case that patches may be drawn around


def prepare(
    listing: ScanListing,
    groups: Mapping[str, str],
    plan: Plan,
    folder: Path,
    fingerprints: Mapping[str, Fingerprint],
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Prepares every image and every label map that is not prepared yet.

    A file's name tells the content it was made from, the plan it was made by and, of a label map, the way it was made in, so nothing
    old is ever taken for new, a new label prepares no image anew, and a stopped preparation goes on where it was.

    Args:
      listing: of the data set.
      groups: of each subject.
      plan: how.
      folder: where arrays go; made if it is not there.
      fingerprints: of each case's files.
      progress: called with the number of cases done and of all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cases: list[Case] = []
    for case in listing.cases:
        content = fingerprints[case.id]
        image = folder / f"{case.id}-{content.image}-{plan.digest()}.image.npy"
        label = None
        if case.label:
            meaning = f"{len(listing.classes)}-{listing.ignore}-{LABELS}"
            path = folder / f"{case.id}-{content.label}-{meaning}-{plan.digest()}.label.npy"
            label = Label(f"{content.label}-{meaning}", path)
        if not image.is_file() or (label and label.path and not label.path.is_file()):
            _prepare_case(case, listing, plan, image, label.path if label else None)
        cases.append(Case(case.id, groups.get(case.subject, ""), image, label, case.subject, content.image))
        if progress:
            progress(len(cases), len(listing.cases))
    sizes = zip(plan.patch, plan.largest, plan.multiples, strict=True)
    shape = tuple(max(size, -(-largest // multiple) * multiple) for size, largest, multiple in sizes)
    return Dataset(tuple(sorted(cases)), listing.channels, listing.classes, shape, plan.spacing_mm)


def _prepare_case(case: Files, listing: ScanListing, plan: Plan, image_path: Path, label_path: Path | None) -> None:
    image, label = read_checked(case, listing)
    shape = resampled_shape(image.values.shape[:3], spacing_of(image.affine), plan.spacing_mm)
    if not image_path.is_file():
        values = np.stack([resample(image.values[..., channel], shape) for channel in range(image.values.shape[-1])], axis=-1)
        values = np.stack([normalise(values[..., index], scaling) for index, scaling in enumerate(plan.scaling)], axis=-1)
        _save(image_path, values.astype(np.float32))
    if label is None or label_path is None or label_path.is_file():
        return
    classes = len(listing.classes)
    marked = np.where(label.values == listing.ignore, classes, label.values) if listing.ignore is not None else label.values
    labels = resample_label(marked, shape)
    labels = np.where(labels == classes, UNLABELLED, labels).astype(np.uint8)
    _save(_places_path(label_path), _places(labels, classes))
    _save(label_path, labels)  # the last: it tells that the places are there


def _places(labels: np.ndarray, classes: int) -> np.ndarray:
    """Voxels of each class above 0, `[places, 4]`: the class, then the voxel."""
    parts = [np.zeros((0, 4), np.int32)]
    for label in range(1, classes):
        places = np.argwhere(labels == label)
        drawn = np.sort(np.random.default_rng(0).permutation(len(places))[:PLACES_AT_MOST])
        parts.append(np.concatenate([np.full((len(drawn), 1), label), places[drawn]], axis=1).astype(np.int32))
    return np.concatenate(parts)


def _places_path(label: Path) -> Path:
    return label.with_name(label.name.replace(".label.npy", ".places.npy"))


def _save(path: Path, values: np.ndarray) -> None:
    write_whole(path, lambda file: np.save(file, values, allow_pickle=False))


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
    return _example(image, label, dataset.shape)


def draw_patch(case: Case, patch: Sequence[int], foreground_share: float, rng: np.random.Generator) -> Example:
    """A patch at random of a prepared case; only its voxels are read.

    Args:
      case: prepared.
      patch: voxels along each axis; a shorter case is padded.
      foreground_share: chance that the patch is drawn around a voxel of a class above 0, each class as often as any other.
      rng: of the draw.
    """
    image, label = _open(case)
    free = [max(size - length, 0) for size, length in zip(image.shape[:-1], patch, strict=True)]
    start = [int(rng.integers(room + 1)) for room in free]
    if rng.random() < foreground_share and case.label and case.label.path:
        places = open_array(_places_path(case.label.path))
        if len(places):
            classes = np.unique(places[:, 0])
            of_class = np.flatnonzero(places[:, 0] == classes[rng.integers(len(classes))])
            centre = places[of_class[rng.integers(len(of_class))], 1:]
            start = [int(np.clip(place - length // 2, 0, room)) for place, length, room in zip(centre, patch, free, strict=True)]
    window = tuple(slice(first, first + length) for first, length in zip(start, patch, strict=True))
    return _example(np.asarray(image[window]), None if label is None else np.asarray(label[window]), patch)


def prepared_shape(case: Case) -> tuple[int, ...]:
    """The size of a prepared case without its padding."""
    return open_array(case.image).shape[:-1]


def is_padded(dataset: Dataset, size: Sequence[int]) -> bool:
    """Whether any prepared case is shorter along an axis than what a network sees at once."""
    return any(length < room for case in dataset.cases for length, room in zip(prepared_shape(case), size, strict=True))


def _open(case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    image = open_array(case.image)
    if case.label is None or case.label.path is None:
        return image, None
    return image, open_array(case.label.path)


def _example(image: np.ndarray, label: np.ndarray | None, shape: Sequence[int]) -> Example:
    """Padded at the far ends to a shape; without a label map nothing is labelled, and all of the image is still inside."""
    padding = [(0, target - size) for target, size in zip(shape, image.shape[:-1], strict=True)]
    inside = np.pad(np.ones(image.shape[:-1], bool), padding)
    padded = np.zeros(inside.shape, np.uint8) if label is None else np.pad(label, padding, constant_values=UNLABELLED)
    labelled = np.zeros(inside.shape, bool) if label is None else padded != UNLABELLED
    values = np.pad(image, [*padding, (0, 0)]).astype(np.float32)
    return Example(values, np.where(labelled, padded, 0).astype(np.uint8), inside, labelled)
