"""Pictures of why a case was asked for: slices through the most uncertain place, and images to choose a class for."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxal.errors import UserError
from jaxal.tasks.pictures import draw_image, outline
from jaxal.worklists.items import Class, Item

HEIGHT = 240  # pixels of a slice, at most twice that
CLICK_PIXELS = 1024  # of an image's longer side on the page to choose classes
BLOCK_MM = 6.0  # a place is as uncertain as the block of this size around it, because single voxels are noise
BLOCKS = 96  # at most along an axis
CROSS = (255, 255, 255)
GAP = 10  # pixels that the cross leaves free around its place


def draw_why(
    image: np.ndarray,
    proposal: np.ndarray | None,
    uncertainty: np.ndarray | None,
    spacing_mm: Sequence[float],
    colours: Sequence[tuple[int, int, int]],
    asked: np.ndarray | None = None,
) -> bytes:
    """Three orthogonal slices through the most uncertain place as a WebP image, and below them, in warm colours, the uncertainty.

    Without an uncertainty the slices are those that hold most of the proposal, and there is one row; without either, the middle ones.

    Args:
      image: `[x, y, z]` in RAS order.
      proposal: label map of the same shape.
      uncertainty: of the same shape; its largest value is the brightest.
      spacing_mm: of the voxels along each axis.
      colours: of the classes 1, 2 … in the proposal's outlines, red, green and blue.
      asked: map of parts 1, 2 … of the same shape that are asked for; slices go through the middle of the first, and lines frame all.
    """
    if asked is not None:
        place = middle_of_part(asked)
    else:
        place = most_uncertain(uncertainty, spacing_mm) if uncertainty is not None else fullest(proposal, image.shape)
    low, high = grey_range(image)
    brightest = max(float(uncertainty.max()), 1e-6) if uncertainty is not None else 1.0
    columns = []
    for axis in (2, 1, 0):  # axial, coronal, sagittal
        others = [other for other in range(3) if other != axis]
        size = slice_size(image.shape, spacing_mm, axis)
        grey = np.clip((slice_of(image, place, axis, size).astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
        rows = [np.repeat((200 * np.nan_to_num(grey)).astype(np.uint8)[..., None], 3, -1)]
        if proposal is not None:
            draw_outlines(rows[0], slice_of(proposal, place, axis, size), colours)
        if uncertainty is not None:
            rows.append(_warm(grey, np.clip(slice_of(uncertainty, place, axis, size) / brightest, 0, 1)))
        if asked is not None:
            for row in rows:
                draw_outlines(row, _off_the_edge(slice_of(asked, place, axis, size) > 0), [CROSS])
        elif uncertainty is not None:
            across, up = others
            at = (1 - (place[up] + 0.5) / image.shape[up]) * size[1], (place[across] + 0.5) / image.shape[across] * size[0]
            for row in rows:
                _draw_cross(row, (int(at[0]), int(at[1])))
        columns.append(np.concatenate(rows))
    return side_by_side(columns)


def most_uncertain(uncertainty: np.ndarray, spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """The voxel in the middle of the block whose mean uncertainty is largest; the first of several.

    Args:
      uncertainty: `[x, y, z]`.
      spacing_mm: of the voxels along each axis.
    """
    sizes = [
        min(size, max(1, round(BLOCK_MM / spacing), -(-size // BLOCKS)))
        for size, spacing in zip(uncertainty.shape, spacing_mm, strict=True)
    ]
    counts = [length // size for length, size in zip(uncertainty.shape, sizes, strict=True)]
    whole = uncertainty[tuple(slice(count * size) for count, size in zip(counts, sizes, strict=True))]
    blocks = whole.reshape(counts[0], sizes[0], counts[1], sizes[1], counts[2], sizes[2]).mean((1, 3, 5), dtype=np.float64)
    best = np.unravel_index(int(np.nan_to_num(blocks, nan=-np.inf).argmax()), blocks.shape)
    x, y, z = (int(index) * size + size // 2 for index, size in zip(best, sizes, strict=True))
    return x, y, z


def middle_of_part(asked: np.ndarray) -> tuple[int, int, int]:
    """The voxel in the middle of the first part of a map of parts; the map's own middle where it is empty."""
    places = [np.flatnonzero((asked == 1).any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    x, y, z = (
        int((ends[0] + ends[-1] + 1) // 2) if len(ends) else size // 2 for ends, size in zip(places, asked.shape, strict=True)
    )
    return x, y, z


def picture_of(item: Item, classes: Sequence[Class]) -> bytes:
    """The picture of a case with its scan, proposal and uncertainty from their files.

    Raises:
      UserError: a file cannot be read, or does not fit the scan.
    """
    import nibabel

    image = nibabel.as_closest_canonical(opened(item.image))
    spacing = [float(size) for size in image.header.get_zooms()[:3]]
    values = values_of(image)

    def fitting(path: Path | None) -> np.ndarray | None:
        if path is None:
            return None
        other = values_of(nibabel.as_closest_canonical(opened(path)))
        if other.shape != values.shape:
            raise UserError(
                f"{path}: has {other.shape} voxels, and the scan {item.image} has {values.shape}. Make the proposals anew."
            )
        return other

    colours = [entry.rgb for entry in classes]
    return draw_why(values, fitting(item.proposal_nifti), fitting(item.uncertainty), spacing, colours, fitting(item.mask))


def click_image(path: Path) -> tuple[bytes, int]:
    """An image for the page to choose classes: WebP of at most 1024 pixels along the longer side, and how many that side has in the file.

    Raises:
      UserError: the file is no image.
    """
    picture = _image(path)
    longer = max(picture.size)
    if longer > CLICK_PIXELS:
        picture.thumbnail((CLICK_PIXELS, CLICK_PIXELS))
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=85)
    return packed.getvalue(), longer


def thumbnail(path: Path) -> bytes:
    """An image of one class as a small WebP.

    Raises:
      UserError: the file is no image.
    """
    return draw_image(np.asarray(_image(path)))


def _image(path: Path) -> Any:
    """An image in red, green and blue; one of a single channel with more than 8 bits from its darkest to its brightest value."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            if not opened.mode.startswith(("I", "F")):
                return opened.convert("RGB")
            pixels = np.asarray(opened, np.float32)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as an image ({error}). Put the file in order, or exclude the case.") from error
    low, high = float(pixels.min()), float(pixels.max())
    return Image.fromarray((255 * (pixels - low) / max(high - low, 1e-6)).astype(np.uint8)).convert("RGB")


def opened(path: Path) -> Any:
    """A scan's file.

    Raises:
      UserError: it cannot be read.
    """
    import nibabel

    try:
        return nibabel.load(path)
    except (OSError, nibabel.filebasedimages.ImageFileError) as error:
        raise UserError(f"{path}: cannot be read ({error}). See whether the file is there and whole.") from error


def values_of(image: Any) -> np.ndarray:
    """Its voxels, `[x, y, z]`; of a file with several channels, the first."""
    values = np.asarray(image.dataobj)
    return values[..., 0] if values.ndim == 4 else values


def fullest(labels: np.ndarray | None, shape: Sequence[int]) -> tuple[int, int, int]:
    """Along each axis the slice that holds most of a label map; the middle one where it is empty."""
    if labels is None or not (structure := labels > 0).any():
        return shape[0] // 2, shape[1] // 2, shape[2] // 2
    x, y, z = (int(structure.sum(tuple({0, 1, 2} - {axis})).argmax()) for axis in range(3))
    return x, y, z


def grey_range(image: np.ndarray) -> tuple[float, float]:
    """Values of an image that are shown black and white."""
    sample = image[tuple(slice(None, None, max(1, size // 64)) for size in image.shape)]
    known = sample[np.isfinite(sample)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.quantile(known, (0.01, 0.99))
    return float(low), float(high)


def slice_size(shape: Sequence[int], spacing_mm: Sequence[float], axis: int) -> tuple[int, int]:
    """Pixels of a slice across and up, in which millimetres have one length in both directions."""
    lengths_mm = [shape[other] * spacing_mm[other] for other in range(3) if other != axis]
    scale = min(HEIGHT / max(lengths_mm[1], 1e-6), 2 * HEIGHT / max(lengths_mm[0], 1e-6))
    across, up = (max(1, round(length * scale)) for length in lengths_mm)
    return across, up


def slice_of(values: np.ndarray, place: Sequence[int], axis: int, size: tuple[int, int]) -> np.ndarray:
    """A slice as people look at it, right way up, the nearest voxel at each of `size` pixels across and up."""
    plane = np.take(values, place[axis], axis)
    rows, columns = (np.arange(pixels) * length // pixels for pixels, length in zip(size, plane.shape, strict=True))
    return np.rot90(plane[np.ix_(rows, columns)])


def draw_outlines(picture: np.ndarray, labels: np.ndarray, colours: Sequence[tuple[int, ...]]) -> None:
    """Draws a slice's outlines into a picture, in the colours of the classes 1, 2 …"""
    edge = outline(labels)
    edge |= outline(np.where(edge, 0, labels))  # two pixels wide, because one gets lost on small screens
    for value, colour in enumerate(colours, start=1):
        picture[edge & (labels == value)] = colour


def _warm(grey: np.ndarray, unsure: np.ndarray) -> np.ndarray:
    """A grey picture under a heat: dark grey where the network is sure, orange to yellow where it is not."""
    heat = np.stack([grey * 120 + unsure * 135, grey * 120 * (1 - unsure) + 180 * unsure**2, grey * 120 * (1 - unsure)], -1)
    return np.clip(np.nan_to_num(heat), 0, 255).astype(np.uint8)


def _off_the_edge(inside: np.ndarray) -> np.ndarray:
    """A slice of a part that leaves the picture's edge free, so that its frame is seen where the part covers all of the slice."""
    inside = inside.astype(np.uint8)
    inside[[0, -1]] = inside[:, [0, -1]] = 0
    return inside


def _draw_cross(picture: np.ndarray, place: tuple[int, int]) -> None:
    """Four thin lines that point at a place and leave it free."""
    row, column = place
    picture[row, : max(column - GAP, 0)] = picture[row, column + GAP :] = CROSS
    picture[: max(row - GAP, 0), column] = picture[row + GAP :, column] = CROSS


def _filled(column: np.ndarray, height: int) -> np.ndarray:
    return np.pad(column, [(0, height - len(column)), (1, 1), (0, 0)])


def side_by_side(columns: Sequence[np.ndarray]) -> bytes:
    """Slices beside each other as a WebP image."""
    tallest = max(len(column) for column in columns)
    return _packed(np.concatenate([_filled(column, tallest) for column in columns], axis=1), quality=75)


def _packed(pixels: np.ndarray, quality: int) -> bytes:
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "WEBP", quality=quality, method=4, use_sharp_yuv=True)
    return packed.getvalue()
