"""Cases resampled and normalised once, kept as plain arrays on disk, from which patches are read without reading the rest."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.data.cases import Dataset, Fingerprint
from jaxal.data.guesses import with_guess
from jaxal.data.parts import holds, mask_in, within_parts
from jaxal.data.prepared import UNLABELLED, Kept, padded_example, read_kept
from jaxal.data.scans.listing import Files, ScanListing
from jaxal.data.scans.plan import Plan, Scaling, read_checked, resampled_shape, spacing_of
from jaxal.data.scans.resampling import resample, resample_label
from jaxal.types import Case, Example, Label

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

    The name of an array tells the content it was made from, the plan it was made by and, of a label map, the way it was made in, so nothing
    old is ever taken for new, a new label prepares no image anew, and a stopped preparation goes on where it was. Small arrays are packed
    into shards (`shards.py`); of those a kill loses what was not written yet.

    Args:
      listing: of the data set.
      groups: of the cases, by their ids.
      plan: how.
      folder: where arrays go; made if it is not there.
      fingerprints: of each case's files.
      progress: called with the number of cases done and of all.

    Raises:
      UserError: a scan is bad, or a shard that is there is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = Kept(folder, plan.digest())
    values = "".join(f"-{value}" for value in listing.values)
    meaning = f"{len(listing.classes)}-{listing.ignore}-{LABELS}{values}"
    try:
        for done, case in enumerate(listing.cases, 1):
            content = fingerprints[case.id]
            image = f"{case.id}-{content.image}"
            label = f"{case.id}-{content.label}-{meaning}" if case.label else None
            if not (kept.has(f"{image}.image") and (label is None or kept.has(f"{label}.label"))):
                _prepare_case(case, listing, plan, kept, image, label)
            if progress:
                progress(done, len(listing.cases))
    finally:
        kept.packing.flush()  # what was done before a bad scan stays done
    cases = [_case(kept, case, groups.get(case.id, ""), fingerprints[case.id], meaning) for case in listing.cases]
    sizes = zip(plan.patch, plan.largest, plan.multiples, strict=True)
    shape = tuple(max(size, -(-largest // multiple) * multiple) for size, largest, multiple in sizes)
    return Dataset(tuple(sorted(cases)), listing.channels, listing.classes, shape, plan.spacing_mm)


def _case(kept: Kept, files: Files, group: str, content: Fingerprint, meaning: str) -> Case:
    """A case whose arrays are on disk."""
    label = None
    if files.label:
        version = f"{content.label}-{meaning}"
        label = Label(version, kept.path(f"{files.id}-{version}.label"))
    return Case(files.id, group, kept.path(f"{files.id}-{content.image}.image"), label, files.subject, content.image)


def _prepare_case(case: Files, listing: ScanListing, plan: Plan, kept: Kept, image_name: str, label_name: str | None) -> None:
    image, label = read_checked(case, listing)
    shape = resampled_shape(image.values.shape[:3], spacing_of(image.affine), plan.spacing_mm)
    if not kept.has(f"{image_name}.image"):
        values = np.stack([resample(image.values[..., channel], shape) for channel in range(image.values.shape[-1])], axis=-1)
        values = np.stack([normalise(values[..., index], scaling) for index, scaling in enumerate(plan.scaling)], axis=-1)
        kept.add({f"{image_name}.image": values.astype(np.float32)})
    if label is None or label_name is None or kept.has(f"{label_name}.label"):
        return
    classes = len(listing.classes)
    labels = resample_label(np.where(label.values == UNLABELLED, classes, label.values), shape)
    labels = np.where(labels == classes, UNLABELLED, labels).astype(np.uint8)
    kept.add({f"{label_name}.places": _places(labels, classes), f"{label_name}.label": labels})


def _places(labels: np.ndarray, classes: int) -> np.ndarray:
    """Voxels of each class above 0, `[places, 4]`: the class, then the voxel."""
    parts = [np.zeros((0, 4), np.int32)]
    for label in range(1, classes):
        places = np.argwhere(labels == label)
        drawn = np.sort(np.random.default_rng(0).permutation(len(places))[:PLACES_AT_MOST])
        parts.append(np.concatenate([np.full((len(drawn), 1), label), places[drawn]], axis=1).astype(np.int32))
    return np.concatenate(parts)


def normalise(values: np.ndarray, scaling: Scaling) -> np.ndarray:
    """Normalises one channel, in double precision until the end."""
    if scaling.low is not None:
        values = np.clip(values, scaling.low, scaling.high)
    mean = values.mean(dtype=np.float64) if scaling.mean is None else scaling.mean
    deviation = max(values.std(dtype=np.float64), 1e-6) if scaling.deviation is None else scaling.deviation
    return ((values - mean) / deviation).astype(np.float32)


def load_case(case: Case, dataset: Dataset) -> Example:
    """A prepared case, padded at the far ends to the data set's common shape."""
    image, label = _open_case(case)
    return within_parts(padded_example(image, label, dataset.shape), case.label)


def draw_patch(case: Case, patch: Sequence[int], foreground_share: float, rng: np.random.Generator) -> Example:
    """A patch at random of a prepared case; only its voxels are read. Where parts of a case have labels, a patch lies around one of them.

    Args:
      case: prepared.
      patch: voxels along each axis; a shorter case is padded.
      foreground_share: chance that the patch is drawn around a voxel of a class above 0, each class as often as any other.
      rng: of the draw.
    """
    image, label = _open_case(case)
    free = [max(size - length, 0) for size, length in zip(image.shape[:-1], patch, strict=True)]
    start = [int(rng.integers(room + 1)) for room in free]
    parts = case.label.parts if case.label else None
    centre = None
    if rng.random() < foreground_share and case.label and case.label.path:
        places = read_kept(case.label.path, f"{case.id}-{case.label.version}.places")
        places = places if parts is None else places[holds(parts, places[:, 1:])]
        if len(places):
            classes = np.unique(places[:, 0])
            of_class = np.flatnonzero(places[:, 0] == classes[rng.integers(len(classes))])
            centre = places[of_class[rng.integers(len(of_class))], 1:]
    if centre is None and parts:  # elsewhere there may be nothing to learn
        first, size = parts[rng.integers(len(parts))]
        centre = np.array(first) + rng.integers(size)
    if centre is not None:
        start = [int(np.clip(place - length // 2, 0, room)) for place, length, room in zip(centre, patch, free, strict=True)]
    window = tuple(slice(first, first + length) for first, length in zip(start, patch, strict=True))
    values = None if label is None else np.asarray(label[window])
    if values is not None and parts is not None:
        values = np.where(mask_in(parts, start, values.shape), values, UNLABELLED)
    example = padded_example(np.asarray(image[window]), values, patch)
    return with_guess(example, case.label, window)


def prepared_shape(case: Case) -> tuple[int, ...]:
    """The size of a prepared case without its padding; a small case is read whole for it, so each is asked once."""
    return _shape_of(case.image, f"{case.id}-{case.version}.image")


@functools.lru_cache(maxsize=2**17)
def _shape_of(path: Path, name: str) -> tuple[int, ...]:
    return read_kept(path, name).shape[:-1]


def is_padded(dataset: Dataset, size: Sequence[int]) -> bool:
    """Whether any prepared case is shorter along an axis than what a network sees at once."""
    return any(length < room for case in dataset.cases for length, room in zip(prepared_shape(case), size, strict=True))


def _open_case(case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    image = read_kept(case.image, f"{case.id}-{case.version}.image")
    if case.label is None or case.label.path is None:
        return image, None
    return image, read_kept(case.label.path, f"{case.id}-{case.label.version}.label")
