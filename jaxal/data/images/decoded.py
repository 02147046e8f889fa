"""Images with one class each: decoded and resized once into one array on disk, then read row by row."""

import hashlib
import json
import math
import os
import shutil
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxal.data.cases import Dataset
from jaxal.data.images.listing import Listed, Listing, cases_of, check_listing
from jaxal.errors import UserError
from jaxal.files import open_array, read_part, write_text
from jaxal.types import Case, Example

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "F")  # more than eight bits
GREY_MODES = ("1", "L", "LA", *DEEP_MODES)
ROWS_AT_ONCE = 256
MESSAGES = 8  # of one kind, at most


class Frozen(NamedTuple):
    """What was decided when images were decoded first, and stays so whatever becomes of their files.

    Attributes:
      state: names the folder of the decoded images.
      mean, deviation: of each channel, by which images are normalised; those of all images when empty.
    """

    state: str
    mean: Sequence[float] = ()
    deviation: Sequence[float] = ()


class ImageSet(NamedTuple):
    """Images that can be trained on.

    Attributes:
      dataset: the cases.
      load: reads one, normalised by the mean and deviation of all.
      pixels: of one as people see it, `[height, width, channels]` uint8.
      fingerprint: sixteen hexadecimal digits that change when a pixel, a class or a group does, wherever the images lie.
      normalise: from pixels to what the network sees, by the mean and deviation of all.
      mean, deviation: of each channel.
      contents: what the fingerprint is of, ready for JSON: the names of classes, and each image's class, group, subject, file (bytes by
        name) and checksum of its pixels.
    """

    dataset: Dataset
    load: Callable[[Case], Example]
    pixels: Callable[[Case], np.ndarray]
    fingerprint: str
    normalise: Callable[[np.ndarray], np.ndarray]
    mean: np.ndarray
    deviation: np.ndarray
    contents: Mapping[str, Any] = MappingProxyType({})


def make_images(
    listing: Listing,
    prepared: Path,
    size: tuple[int, int],
    colour: bool | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    frozen: Frozen | None = None,
) -> ImageSet:
    """Decodes and resizes what was not before, and opens it for reading.

    Args:
      listing: of a layout.
      prepared: where arrays are kept, in a folder of their own for every state of the files.
      size: height and width.
      colour: whether images have three channels; when left out, they have if any of the files has.
      progress: called with images done and images in all.
      frozen: of images that were decoded before, of which not all need have a class or a file now; one without a file is black.

    Raises:
      UserError: a file is missing, does not decode, or is grey where the others have colour; the message names it and its line.
    """
    if frozen is None:
        check_listing(listing)
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # what is really too large is an error
    required, colour = colour, is_colour(listing) if colour is None else colour
    folder = prepared / f"images-{frozen.state if frozen else _state(listing, size, colour)}"
    if not ((folder / "info.json").is_file() and (folder / "pixels.npy").is_file()):
        if required is None:
            check_alike(listing)
        _decode_all(listing, folder, (*size, 3 if colour else 1), colour, progress)
    info = json.loads((folder / "info.json").read_text())
    pixels = _Decoded(folder / "pixels.npy", info.get("rows", ()))
    normal = frozen._asdict() if frozen and frozen.mean else info
    mean, deviation = (np.array(normal[name], np.float32) for name in ("mean", "deviation"))
    number = {name: place for place, name in enumerate(listing.classes)}
    row = {image.id: place for place, image in enumerate(listing.images)}

    def normalise(image: np.ndarray) -> np.ndarray:
        return (image.astype(np.float32) - mean) / deviation

    def load(case: Case) -> Example:
        image = normalise(pixels[row[case.id]])
        labelled = bool(case.category)
        label = np.array(number[case.category] if labelled else 0, np.uint8)
        return Example(image, label, np.array(True), np.array(labelled))

    about = [
        [image.id, image.group, image.subject, [image.refusal] if image.refusal else image.category] for image in listing.images
    ]
    digest = hashlib.sha256(json.dumps([info["pixels"], listing.classes, about]).encode())
    channels = ("red", "green", "blue") if colour else ("grey",)
    dataset = Dataset(cases_of(listing, folder / "pixels.npy"), channels, listing.classes, tuple(size), (1.0, 1.0))
    contents = {"classes": list(listing.classes), "cases": _contents(listing, info.get("rows", ()))}
    return ImageSet(
        dataset, load, lambda case: pixels[row[case.id]], digest.hexdigest()[:16], normalise, mean, deviation, contents
    )


class _Decoded:
    """Decoded images on disk, each read by itself.

    Args:
      path: of the array.
      checksums: of each image; none of what an older version decoded.
    """

    def __init__(self, path: Path, checksums: Sequence[str]):
        array = open_array(path)
        assert isinstance(array, np.memmap)
        self._path, self._shape, self._begin = path, array.shape[1:], array.offset
        self._checksums = np.array([int(checksum, 16) for checksum in checksums], np.uint32)

    def __getitem__(self, place: int) -> np.ndarray:
        size = math.prod(self._shape)
        content = read_part(self._path, self._begin + place * size, size)
        if len(content) < size or (len(self._checksums) and zlib.crc32(content) != self._checksums[place]):
            raise UserError(
                f"{self._path}: decoded images that are damaged (the checksum of image {place + 1} is wrong). Remove the file and run the same "
                "command again; it is made anew."
            )
        return np.frombuffer(content, np.uint8).reshape(self._shape)


def _contents(listing: Listing, checksums: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is known of each image; arrays that an older version decoded come without checksums."""
    return {
        image.id: {
            "class": image.category or image.refusal,
            "group": image.group,
            "subject": image.subject,
            "image": checksums[place] if checksums else None,
            "files": {image.file.name: image.file.stat().st_size} if image.file else {},
        }
        for place, image in enumerate(listing.images)
    }


def is_colour(listing: Listing) -> bool:
    """Whether any of the images has colour."""
    if listing.pixels is not None:
        return listing.pixels.ndim == 4 and listing.pixels.shape[-1] == 3
    return any(_mode(image) not in GREY_MODES for image in listing.images)


def check_alike(listing: Listing) -> None:
    """Makes sure that all images have colour or none has, by their headers alone.

    Raises:
      UserError: some differ from the rest; the message names the fewer of the two kinds, because those are the odd ones out.
    """
    if listing.pixels is not None:
        return
    grey = [image for image in listing.images if _mode(image) in GREY_MODES]
    coloured = sorted(set(listing.images) - set(grey))
    if not grey or not coloured:
        return
    rarer, are, advice = (grey, "are grey", "colour (RGB)") if len(grey) < len(coloured) else (coloured, "have colour", "grey")
    named = ", ".join(f"{image.file} ({_mode(image)})" for image in rarer[:MESSAGES])
    more = f" and {len(rarer) - MESSAGES} more" if len(rarer) > MESSAGES else ""
    raise UserError(
        f"{listing.layout}: {len(rarer)} of {len(listing.images)} images {are} and the rest not, but all must be alike: {named}{more}. "
        f"Convert them to {advice}, or leave them out."
    )


def _mode(image: Listed) -> str:
    with _opened(image) as opened:
        return opened.mode


def _state(listing: Listing, size: tuple[int, int], colour: bool) -> str:
    """Changes when a file seems to have changed, which is seen by size and time: images are many, and their content is hashed once."""
    digest = hashlib.sha256(json.dumps([size, colour, listing.layout]).encode())
    if listing.pixels is not None:
        digest.update(str(listing.pixels.shape).encode() + np.ascontiguousarray(listing.pixels).tobytes())
    for image in listing.images:
        stat = image.file.stat() if image.file else None
        digest.update(f"{image.id} {stat and (stat.st_size, stat.st_mtime_ns)}".encode())
    return digest.hexdigest()[:16]


def _opened(image: Listed) -> Image.Image:
    assert image.file is not None  # only a listing that holds the pixels itself names no files
    try:
        return Image.open(image.file)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{image.file}: cannot be read as an image ({error}; {image.source} names it). Copy it again, or leave it out."
        ) from error


def decode(image: Listed, size: tuple[int, int], colour: bool) -> np.ndarray:
    """Reads one image, upright, resized: `[height, width, channels]`, uint8; grey of more than eight bits goes from its darkest to its brightest.

    Raises:
      UserError: it does not decode, or is grey where colour is expected.
    """
    with _opened(image) as opened:
        if colour and opened.mode in GREY_MODES:
            raise UserError(f"{image.file}: is a grey image, but colour is expected ({image.source} names it).")
        mode, wanted = "RGB" if colour else "L", (size[1], size[0])
        opened.draft(mode, (max(wanted),) * 2)  # a JPEG is decoded no larger than it has to be, whichever way it will be turned
        try:
            upright = in_bytes(ImageOps.exif_transpose(opened)).convert(mode)
            resized = upright.resize(wanted, Image.Resampling.BILINEAR, reducing_gap=3.0)
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(
                f"{image.file}: does not decode ({error}; {image.source} names it). Copy it again, or leave it out."
            ) from error
    return np.asarray(resized, np.uint8).reshape(*size, -1)


def in_bytes(image: Image.Image) -> Image.Image:
    """An image of more than eight bits from its darkest to its brightest value; others as they are.

    Pillow would cut deeper values off at 255, and of what share of its bits an image makes use, no file tells.

    Raises:
      ValueError: it holds NaN or infinity.
    """
    if image.mode not in DEEP_MODES:
        return image
    values = np.asarray(image, np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinity")
    low, high = values.min(), values.max()
    return Image.fromarray(np.round(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8))


def _decode_all(listing: Listing, folder: Path, shape: tuple[int, int, int], colour: bool, progress) -> None:
    """Fills `pixels.npy`; what is done is marked, so that a killed decoding goes on, and `info.json` is written last.

    Images that do not decode are all found and named together, as each of them is a reason to start again.
    """
    count = len(listing.images)
    _check_room(folder, count * math.prod(shape))
    pixels = _array(folder / "pixels.npy", (count, *shape))
    done = _array(folder / "done.npy", (count,))

    def fill(place: int) -> str | None:
        try:
            pixels[place] = decoded(place)
        except UserError as error:
            return str(error)
        return None

    def decoded(place: int) -> np.ndarray:
        if listing.pixels is not None:
            given = Image.fromarray(np.squeeze(listing.pixels[place]))
            resized = given.convert("RGB" if colour else "L")
            if resized.size != (shape[1], shape[0]):
                resized = resized.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
            return np.asarray(resized, np.uint8).reshape(shape)
        if listing.images[place].file is None:
            return np.zeros(shape, np.uint8)
        return decode(listing.images[place], shape[:2], colour)

    problems: list[str] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, count, ROWS_AT_ONCE):
            rows = [place for place in range(first, min(first + ROWS_AT_ONCE, count)) if not done[place]]
            problems += filter(None, pool.map(fill, rows))
            pixels.flush()  # before they are marked
            done[rows] = 1
            progress(min(first + ROWS_AT_ONCE, count), count)
    if problems:
        shutil.rmtree(folder)  # of files that will be others
        more = f"\n… and {len(problems) - MESSAGES} more images like these." if len(problems) > MESSAGES else ""
        raise UserError("\n".join(problems[:MESSAGES]) + more)
    write_text(folder / "info.json", json.dumps(_summary(pixels)))
    (folder / "done.npy").unlink()


def _check_room(folder: Path, size: int) -> None:
    """Makes the folder, and makes sure that an array of so many bytes fits on the disk: writing to a mapped file ends the process when it is full.

    Raises:
      UserError: it does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reclaimed = sum(path.stat().st_blocks * 512 for path in folder.iterdir())  # of a decoding that was stopped
    free = shutil.disk_usage(folder).free
    if size > free + reclaimed:
        raise UserError(
            f"{folder}: the decoded images take {size / 1e9:,.1f} GB, but {free / 1e9:,.1f} GB are free there. Free some space, choose another "
            "--prepared, or a smaller --size."
        )


def _array(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Opens a byte array on disk, or creates one of zeros if none of this shape is there."""
    if path.is_file():
        try:
            array = np.lib.format.open_memmap(path, "r+")
            if array.shape == shape and array.dtype == np.uint8:
                return array
        except ValueError:
            pass
    return np.lib.format.open_memmap(path, "w+", np.uint8, shape)


def _summary(pixels: np.ndarray) -> dict:
    """Mean and deviation of each channel, a checksum of all, and one of each image."""
    total, square, checksum = 0.0, 0.0, 0
    checksums: list[str] = []
    for first in range(0, len(pixels), ROWS_AT_ONCE):
        rows = np.ascontiguousarray(pixels[first : first + ROWS_AT_ONCE])
        values = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
        total, square = total + values.sum(0), square + np.square(values).sum(0)
        checksum = zlib.crc32(rows.tobytes(), checksum)
        checksums += [f"{zlib.crc32(row.tobytes()):08x}" for row in rows]
    count = pixels.size // pixels.shape[-1]
    mean = total / count
    deviation = np.sqrt(np.maximum(square / count - np.square(mean), 1e-6))
    normalisation = {"mean": mean.tolist(), "deviation": np.maximum(deviation, 1.0).tolist()}
    return {**normalisation, "pixels": f"{checksum:08x}", "rows": checksums}
