"""Cases resampled and normalised once, kept as plain arrays on disk, from which patches are read without reading the rest."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxal.data.cases import Dataset, Fingerprint
from jaxal.data.parts import holds, mask_in, within_parts
from jaxal.data.scans.layouts import Files, ScanListing
from jaxal.data.scans.plan import Plan, Scaling, read_checked, resampled_shape, spacing_of
from jaxal.data.scans.resampling import resample, resample_label
from jaxal.data.shards import SMALL_BYTES, Packing, is_shard, read_packed
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

    The name of an array tells the content it was made from, the plan it was made by and, of a label map, the way it was made in, so nothing
    old is ever taken for new, a new label prepares no image anew, and a stopped preparation goes on where it was. Small arrays are packed
    into shards (`shards.py`); of those a kill loses what was not written yet.

    Args:
      listing: of the data set.
      groups: of each subject.
      plan: how.
      folder: where arrays go; made if it is not there.
      fingerprints: of each case's files.
      progress: called with the number of cases done and of all.

    Raises:
      UserError: a scan is bad, or a shard that is there is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = _Kept(folder, plan.digest())
    meaning = f"{len(listing.classes)}-{listing.ignore}-{LABELS}"
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
    cases = [kept.case(case, groups.get(case.subject, ""), fingerprints[case.id], meaning) for case in listing.cases]
    sizes = zip(plan.patch, plan.largest, plan.multiples, strict=True)
    shape = tuple(max(size, -(-largest // multiple) * multiple) for size, largest, multiple in sizes)
    return Dataset(tuple(sorted(cases)), listing.channels, listing.classes, shape, plan.spacing_mm)


class _Kept:
    """Prepared arrays of a plan on disk: small ones in shards, large ones, and small ones of earlier versions, in files of their own."""

    def __init__(self, folder: Path, plan: str):
        self._folder, self._plan = folder, plan
        self.packing = Packing(folder, f"shard-{plan}")

    def has(self, name: str) -> bool:
        return name in self.packing.shard_of or self._alone(name).is_file()

    def case(self, files: Files, group: str, content: Fingerprint, meaning: str) -> Case:
        """A case whose arrays are on disk."""
        label = None
        if files.label:
            version = f"{content.label}-{meaning}"
            label = Label(version, self._path(f"{files.id}-{version}.label"))
        return Case(files.id, group, self._path(f"{files.id}-{content.image}.image"), label, files.subject, content.image)

    def _path(self, name: str) -> Path:
        return self.packing.shard_of.get(name) or self._alone(name)

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps arrays that belong together, all in shards or all in files of their own; the last one says that the others are there."""
        in_order = {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # batches are copied from it in a row
        if all(array.nbytes <= SMALL_BYTES for array in in_order.values()):
            self.packing.add(in_order)
            return
        for name, values in in_order.items():
            _save(self._alone(name), values)

    def _alone(self, name: str) -> Path:
        stem, _, what = name.rpartition(".")
        return self._folder / f"{stem}-{self._plan}.{what}.npy"


def _prepare_case(case: Files, listing: ScanListing, plan: Plan, kept: _Kept, image_name: str, label_name: str | None) -> None:
    image, label = read_checked(case, listing)
    shape = resampled_shape(image.values.shape[:3], spacing_of(image.affine), plan.spacing_mm)
    if not kept.has(f"{image_name}.image"):
        values = np.stack([resample(image.values[..., channel], shape) for channel in range(image.values.shape[-1])], axis=-1)
        values = np.stack([normalise(values[..., index], scaling) for index, scaling in enumerate(plan.scaling)], axis=-1)
        kept.add({f"{image_name}.image": values.astype(np.float32)})
    if label is None or label_name is None or kept.has(f"{label_name}.label"):
        return
    classes = len(listing.classes)
    marked = np.where(label.values == listing.ignore, classes, label.values) if listing.ignore is not None else label.values
    labels = resample_label(marked, shape)
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
    image, label = _open_case(case)
    return within_parts(_example(image, label, dataset.shape), case.label)


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
        places = _open(case.label.path, f"{case.id}-{case.label.version}.places")
        places = places[holds(parts, places[:, 1:])] if parts is not None else places
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
    values = None if label is None else np.where(mask_in(parts, start, label[window].shape), label[window], UNLABELLED)
    return _example(np.asarray(image[window]), values, patch)


def prepared_shape(case: Case) -> tuple[int, ...]:
    """The size of a prepared case without its padding."""
    return _open(case.image, f"{case.id}-{case.version}.image").shape[:-1]


def is_padded(dataset: Dataset, size: Sequence[int]) -> bool:
    """Whether any prepared case is shorter along an axis than what a network sees at once."""
    return any(length < room for case in dataset.cases for length, room in zip(prepared_shape(case), size, strict=True))


def _open_case(case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    image = _open(case.image, f"{case.id}-{case.version}.image")
    if case.label is None or case.label.path is None:
        return image, None
    return image, _open(case.label.path, f"{case.id}-{case.label.version}.label")


def _open(path: Path, name: str) -> np.ndarray:
    """An array in a shard, or in a file of its own, beside which the places of a label map lie."""
    if is_shard(path):
        return read_packed(path, name)
    return open_array(path.with_name(path.name.replace(".label.npy", ".places.npy")) if name.endswith(".places") else path)


def _example(image: np.ndarray, label: np.ndarray | None, shape: Sequence[int]) -> Example:
    """Padded at the far ends to a shape; without a label map nothing is labelled, and all of the image is still inside."""
    shape, size = tuple(shape), image.shape[:-1]
    inside, nothing = _everywhere(shape, True), _everywhere(shape, False)
    if size != shape:
        padding = [(0, target - length) for target, length in zip(shape, size, strict=True)]
        image, inside = np.pad(image, [*padding, (0, 0)]), np.pad(_everywhere(size, True), padding)
        label = None if label is None else np.pad(label, padding, constant_values=UNLABELLED)
    values = np.array(image, np.float32)  # read now, where it was mapped
    if label is None:
        return Example(values, nothing.view(np.uint8), inside, nothing)
    labelled = label != UNLABELLED
    return Example(values, np.where(labelled, label, 0).astype(np.uint8), inside, labelled)


@functools.lru_cache(maxsize=16)
def _everywhere(shape: tuple[int, ...], value: bool) -> np.ndarray:
    """One value at all voxels; shared by examples, therefore read-only."""
    values = np.full(shape, value)
    values.flags.writeable = False
    return values
