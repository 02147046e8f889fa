"""Images with a mask each: decoded, checked and made smaller once, kept as plain arrays on disk, and read as examples of one size."""

import dataclasses
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxal.data.cases import Dataset, Fingerprint, fingerprint_of
from jaxal.data.images.contours import contour_map
from jaxal.data.images.mask_files import class_map, objects_of, read_image, read_mask, size_of
from jaxal.data.images.masks import Masked, MaskListing, find_masks
from jaxal.data.images.resizing import area_averaged, majority
from jaxal.data.prepared import UNLABELLED, Kept, padded_example, read_kept
from jaxal.errors import UserError
from jaxal.types import Case, Example, Label

WAY = 1  # in which arrays are prepared, counted up when it changes
AT_ONCE = 32  # images that are decoded before they are kept
MESSAGES = 8  # of images that are bad, at most


@dataclasses.dataclass(frozen=True)
class SegmentedConfig:
    """How images and masks are prepared.

    Attributes:
      scale: by which height and width of all images are multiplied, at most 1.
      longest_side: of the largest image in pixels, from which one scale for all images follows; images that are smaller anyhow keep their size.
      multiple: the common height and width are multiples of it, as the network needs them.
      contour_radius: of contours, in pixels of the prepared images.
    """

    scale: float | None = None
    longest_side: int | None = None
    multiple: int = 1
    contour_radius: int = 3


class SegmentedImages(NamedTuple):
    """Images with masks that can be trained on.

    Attributes:
      dataset: the cases; lengths are in pixels of the images as they came.
      load: reads one, padded at the far ends, normalised by mean and deviation of all images; `targets` has its `contour`.
      instances: of a labelled case, the number of the object at each pixel, `[h, w]` uint16 without padding, 0 where there is none.
      pixels: of a case as people see it, `[h, w, 3]` uint8 without padding.
      shape_of: height and width of a case without padding.
      listing: of the folder that they came from, with the published split.
      scale: by which they were made smaller.
      mean, deviation: of each channel.
      empty: names of cases whose masks hold no object.
      fingerprint: sixteen hexadecimal digits that change when a case, its group or a file's content does, wherever the folder lies.
      contents: what the fingerprint is of, ready for JSON.
    """

    dataset: Dataset
    load: Callable[[Case], Example]
    instances: Callable[[Case], np.ndarray]
    pixels: Callable[[Case], np.ndarray]
    shape_of: Callable[[Case], tuple[int, int]]
    listing: MaskListing
    scale: float
    mean: np.ndarray
    deviation: np.ndarray
    empty: tuple[str, ...]
    fingerprint: str
    contents: Mapping[str, Any] = MappingProxyType({})


def make_segmented(
    listing: MaskListing,
    prepared: Path,
    config: SegmentedConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SegmentedImages:
    """Decodes, checks and prepares what was not before, and opens it for reading.

    The name of an array tells the content that it was made from and how, so a new mask prepares no image anew, and a preparation that was
    stopped goes on where it was.

    Args:
      listing: of a folder.
      prepared: where arrays are kept; made if it is not there.
      config: how to prepare.
      progress: called with images done and images in all.

    Raises:
      UserError: files are bad; each has a line that names it.
    """
    config = config or SegmentedConfig()
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # what is really too large is an error
    prepared.mkdir(parents=True, exist_ok=True)
    scale = _scale_of(listing, config)
    files = {image.id: fingerprint_of([image.image], image.mask) for image in listing.images}
    kept = Kept(prepared, hashlib.sha256(json.dumps([WAY, scale]).encode()).hexdigest()[:16])
    recipe = _Recipe(listing, scale, config.contour_radius)
    _prepare_all(recipe, files, kept, progress)
    cases = tuple(_case(kept, image, files[image.id], recipe) for image in listing.images)
    about = [read_kept(case.image, f"{case.id}-{case.version}.about") for case in cases]
    mean, deviation = _normalisation(about)
    sizes = {case.id: (int(sums[2, 0]), int(sums[2, 1])) for case, sums in zip(cases, about, strict=True)}
    shape = tuple(-(-length // config.multiple) * config.multiple for length in np.max(list(sizes.values()), axis=0).tolist())
    dataset = Dataset(cases, ("red", "green", "blue"), listing.names.classes, shape, (1 / scale, 1 / scale))
    contents = _contents(listing, files)
    return SegmentedImages(
        dataset,
        lambda case: _load(case, shape, mean, deviation),
        lambda case: _read_label(case, "instances"),
        lambda case: read_kept(case.image, f"{case.id}-{case.version}.pixels"),
        lambda case: sizes[case.id],
        listing,
        scale,
        mean,
        deviation,
        tuple(case.id for case in cases if case.label and not _read_label(case, "pixels_of_class")[1:].any()),
        hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:16],
        contents,
    )


def make_new(
    folder: Path, like: SegmentedImages, prepared: Path, multiple: int, progress: Callable[[int, int], None]
) -> SegmentedImages:
    """Images that were never in a run, prepared as the run's own were; where they have masks, these mean what the run's do.

    Args:
      folder: in any of the layouts, or of images alone.
      like: the run's images.
      prepared: where arrays are kept.
      multiple: see `SegmentedConfig`.
      progress: called with images done and images in all.

    Raises:
      UserError: see `find_masks` and `make_segmented`.
    """
    listing = find_masks(folder, like.listing.instances, need_masks=False)
    images = make_segmented(
        listing._replace(names=like.listing.names), prepared, SegmentedConfig(like.scale, multiple=multiple), progress
    )
    shape = images.dataset.shape
    return images._replace(
        load=lambda case: _load(case, shape, like.mean, like.deviation), mean=like.mean, deviation=like.deviation
    )


def _scale_of(listing: MaskListing, config: SegmentedConfig) -> float:
    if config.scale is not None and config.longest_side is not None:
        raise UserError("A scale and a longest side are given, and each says how large images become. Leave one out.")
    if config.scale is not None and not 0 < config.scale <= 1:
        raise UserError(f"The scale is {config.scale:g}; it must be above 0 and at most 1, because images are only made smaller.")
    if config.longest_side is None:
        return config.scale or 1.0
    if config.longest_side < 1:
        raise UserError(f"The longest side is {config.longest_side}; it must be at least 1 pixel.")
    return min(1.0, config.longest_side / max(max(size_of(image.image)) for image in listing.images))


class _Recipe(NamedTuple):
    """How images and masks become arrays."""

    listing: MaskListing
    scale: float
    radius: int

    def label_version(self, content: Fingerprint) -> str:
        """Of a mask: its content, and what else decides its arrays."""
        names = self.listing.names
        values = sorted(names.values.items()) if names.values else None
        meaning = json.dumps([len(names.classes), values, names.ignore, self.listing.instances, self.radius])
        return f"{content.label}-{hashlib.sha256(meaning.encode()).hexdigest()[:8]}"


def _prepare_all(recipe: _Recipe, files: Mapping[str, Fingerprint], kept: Kept, progress: Callable[[int, int], None]) -> None:
    """Images are decoded by threads and kept in order; those that are bad are all found and named together."""
    images, problems = recipe.listing.images, list[str]()

    def prepare(image: Masked) -> list[dict[str, np.ndarray]] | UserError:
        try:
            return _arrays_of(image, files[image.id], recipe, kept)
        except UserError as error:
            return error

    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for first in range(0, len(images), AT_ONCE):
                for result in pool.map(prepare, images[first : first + AT_ONCE]):
                    if isinstance(result, UserError):
                        problems.append(str(result))
                        continue
                    for arrays in result:
                        kept.add(arrays)
                progress(min(first + AT_ONCE, len(images)), len(images))
    finally:
        kept.packing.flush()  # what was done stays done
    if problems:
        more = f"\n... and {len(problems) - MESSAGES} more images like these." if len(problems) > MESSAGES else ""
        raise UserError("\n".join(problems[:MESSAGES]) + more)


def _arrays_of(image: Masked, content: Fingerprint, recipe: _Recipe, kept: Kept) -> list[dict[str, np.ndarray]]:
    """The arrays of an image and those of its mask, by name, as far as they are not kept yet."""
    found: list[dict[str, np.ndarray]] = []
    pixels_name = f"{image.id}-{content.image}"
    label_name = f"{image.id}-{recipe.label_version(content)}"
    if not kept.has(f"{pixels_name}.pixels"):
        found.append({f"{pixels_name}.{kind}": array for kind, array in _image_arrays(image.image, recipe.scale).items()})
    if image.mask is not None and not kept.has(f"{label_name}.label"):
        found.append({f"{label_name}.{kind}": array for kind, array in _mask_arrays(image, image.mask, recipe).items()})
    return found


def _image_arrays(path: Path, scale: float) -> dict[str, np.ndarray]:
    """The pixels, and what mean and deviation are made of: `about`, `[3, 3]`, sums, sums of squares, and height and width."""
    whole = read_image(path)
    pixels = area_averaged(whole, _scaled(whole.shape, scale))
    values = pixels.reshape(-1, 3).astype(np.float64)
    about = np.stack([values.sum(0), np.square(values).sum(0), np.array([*pixels.shape[:2], 0.0])])
    return {"about": about, "pixels": pixels}


def _mask_arrays(image: Masked, path: Path, recipe: _Recipe) -> dict[str, np.ndarray]:
    names, instances = recipe.listing.names, recipe.listing.instances
    values, size = read_mask(path), size_of(image.image)
    if values.shape != size:
        raise UserError(
            f"{path}: the mask has {values.shape[0]} x {values.shape[1]} pixels (height x width), but its image {image.image.name} "
            f"has {size[0]} x {size[1]}. They must have the same size."
        )
    shape = _scaled(size, recipe.scale)
    classes = class_map(values, names, instances, path)
    if instances:  # the numbers are made smaller, so that an object stays one that only touches another
        values = majority(values, shape)
        classes = class_map(values, names, instances, path)
        objects = np.where((classes == 0) | (classes == UNLABELLED), 0, values).astype(np.uint16)
    else:
        classes = majority(classes, shape)
        objects = objects_of(classes)
    counts = np.bincount(classes[classes != UNLABELLED], minlength=len(names.classes))
    contour = contour_map(objects, recipe.radius)
    return {"pixels_of_class": counts, "instances": objects, "contour": contour, "label": classes}


def _scaled(size: Sequence[int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _normalisation(about: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel over all images."""
    total, square, _ = np.sum(about, axis=0)
    count = sum(float(sums[2, 0] * sums[2, 1]) for sums in about)
    mean = total / count
    deviation = np.sqrt(np.maximum(square / count - np.square(mean), 1.0))
    return mean.astype(np.float32), deviation.astype(np.float32)


def _case(kept: Kept, image: Masked, content: Fingerprint, recipe: _Recipe) -> Case:
    """A case whose arrays are on disk."""
    label = None
    if image.mask is not None:
        version = recipe.label_version(content)
        label = Label(version, kept.path(f"{image.id}-{version}.label"))
    return Case(image.id, image.group, kept.path(f"{image.id}-{content.image}.pixels"), label, image.subject, content.image)


def _contents(listing: MaskListing, files: Mapping[str, Fingerprint]) -> dict[str, Any]:
    paths = [path for image in listing.images for path in (image.image, image.mask) if path is not None]
    folder = os.path.commonpath([path.parent for path in paths])
    cases = {
        image.id: {
            "group": image.group,
            "subject": image.subject,
            "image": files[image.id].image,
            "label": files[image.id].label,
            "files": {
                path.relative_to(folder).as_posix(): path.stat().st_size for path in (image.image, image.mask) if path is not None
            },
        }
        for image in listing.images
    }
    names = listing.names
    values = sorted(names.values.items()) if names.values else None
    return {
        "classes": list(names.classes),
        "values": values,
        "ignore": names.ignore,
        "instances": listing.instances,
        "cases": cases,
    }


def _read_label(case: Case, kind: str) -> np.ndarray:
    assert case.label is not None and case.label.path is not None  # only what is labelled has objects
    return read_kept(case.label.path, f"{case.id}-{case.label.version}.{kind}")


def _load(case: Case, shape: Sequence[int], mean: np.ndarray, deviation: np.ndarray) -> Example:
    """A prepared case, padded at the far ends; a contour is there without a label, too, because all examples of a batch have the same parts."""
    pixels = read_kept(case.image, f"{case.id}-{case.version}.pixels")
    image, label = (pixels.astype(np.float32) - mean) / deviation, None
    contour = np.zeros(shape, np.uint8)
    if case.label is not None and case.label.path is not None:
        label = _read_label(case, "label")
        contour[: label.shape[0], : label.shape[1]] = _read_label(case, "contour")
    return padded_example(image, label, shape)._replace(targets={"contour": contour})
