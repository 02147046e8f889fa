"""Pictures of where readers of one case differ: slices through the largest place at which they do."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxal.worklists import pictures
from jaxal.worklists.items import COLOURS

READERS = tuple(
    tuple(bytes.fromhex(colour[1:])) for colour in (COLOURS[0], COLOURS[1], COLOURS[2])
)  # told apart without red and green, too
OTHERWISE = (204, 121, 167)  # both drew something there, but not the same
IGNORE = 255
TINT = 0.55


class Drawn(NamedTuple):
    """Pictures of a case.

    Attributes:
      alone: each reader's map, in their order, as WebP: three slices with outlines.
      together: all outlines, and where they differ in the colour of whoever drew something there.
      place: voxel that the slices go through.
    """

    alone: list[bytes]
    together: bytes
    place: tuple[int, int, int]


def draw_differences(image: np.ndarray, maps: Sequence[np.ndarray], spacing_mm: Sequence[float]) -> Drawn:
    """Draws two or three readers' maps of a case.

    Args:
      image: `[x, y, z]` in RAS order.
      maps: of the readers, of the same shape; voxels that are `IGNORE` in one of them are no difference.
      spacing_mm: of the voxels along each axis.
    """
    place = largest_difference(maps)
    low, high = pictures.grey_range(image)
    alone: list[list[np.ndarray]] = [[] for _ in maps]
    together: list[np.ndarray] = []
    for axis in (2, 1, 0):  # axial, coronal, sagittal
        size = pictures.slice_size(image.shape, spacing_mm, axis)
        grey = np.clip((pictures.slice_of(image, place, axis, size).astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
        picture = np.repeat((200 * np.nan_to_num(grey)).astype(np.uint8)[..., None], 3, -1)
        slices = [np.where(part == IGNORE, 0, part) for part in (pictures.slice_of(labels, place, axis, size) for labels in maps)]
        for row, labels, colour in zip(alone, slices, READERS, strict=False):
            row.append(_outlined(picture, [labels], [colour]))
        known = np.all([pictures.slice_of(labels, place, axis, size) != IGNORE for labels in maps], axis=0)
        together.append(_outlined(_tinted(picture, slices, known), slices, READERS))
    return Drawn([pictures.side_by_side(row) for row in alone], pictures.side_by_side(together), place)


def largest_difference(maps: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """The middle of the largest connected place where not all maps are alike: along each axis the slice that holds most of it.

    Where they are alike everywhere, the slices that hold most of the first map.
    """
    differs = differing(maps)
    if not differs.any():
        return pictures.fullest(maps[0], maps[0].shape)
    box = ndimage.find_objects(differs.astype(np.uint8))[0]
    pieces, _ = ndimage.label(differs[box])
    largest = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    inside = pictures.fullest(largest, largest.shape)
    x, y, z = (int(part.start) + step for part, step in zip(box, inside, strict=True))
    return x, y, z


def differing(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Voxels at which not all maps are alike, and none is `IGNORE`."""
    differs = np.any([labels != maps[0] for labels in maps[1:]], axis=0)
    for labels in maps:
        differs &= labels != IGNORE
    return differs


def _outlined(picture: np.ndarray, slices: Sequence[np.ndarray], colours: Sequence[tuple[int, ...]]) -> np.ndarray:
    outlined = picture.copy()
    for labels, colour in zip(slices, colours, strict=False):
        pictures.draw_outlines(outlined, labels, [colour] * int(labels.max(initial=0)))
    return outlined


def _tinted(picture: np.ndarray, slices: Sequence[np.ndarray], known: np.ndarray) -> np.ndarray:
    """A picture in which what one reader alone drew has that reader's colour, and what several drew as something else another one."""
    drew = np.stack([labels > 0 for labels in slices])
    differs = known & np.any([labels != slices[0] for labels in slices[1:]], axis=0)
    tinted = picture.astype(np.float32)
    for mine, colour in [*zip(drew & (drew.sum(0) == 1), READERS, strict=False), (drew.sum(0) > 1, OTHERWISE)]:
        where = differs & mine
        tinted[where] = (1 - TINT) * tinted[where] + TINT * np.array(colour, np.float32)
    return tinted.astype(np.uint8)
