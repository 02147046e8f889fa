"""What a reader would want to see of a case: the truth, the prediction, where it is unsure, and what is asked for."""

import io
import math
from collections.abc import Sequence

import jax
import numpy as np
from scipy import ndimage

from jaxal.data.guesses import entropy_share
from jaxal.data.parts import mask_of
from jaxal.types import Example, Part

WIDEST, SMALLEST = 720, 160  # pixels
TRUTH, PREDICTION, SURE = (64, 200, 96), (240, 80, 64), (96, 170, 255)
ASKED, ASKED_TOO = (
    (255, 214, 0),
    (222, 208, 140),
)  # frames of what is asked for: the picture's own part, and others of the same query


def draw_case(
    example: Example,
    probability: np.ndarray,
    spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
    parts: Sequence[Part] = (),
    sure_below: float = 0.0,
) -> bytes:
    """Two rows of three orthogonal slices as a WebP image: outlines of truth and prediction, and below the entropy of the prediction.

    Along each axis the slice is the one that holds most of what is predicted or true; the middle one where there is neither. Where a part is asked
    for, it is the slice through its middle, and a frame lies around the part.

    Args:
      example: the case, `[x, y, z]` in RAS order, with its label.
      probability: `[classes, x, y, z]`.
      spacing_mm: of the voxels along each axis, so that millimetres have one length in all directions.
      parts: that are asked for, the picture's own first; others are not drawn, because they lie elsewhere.
      sure_below: entropy, as a share of its maximum, below which a prediction is kept as a pseudo-label; lines go around them.
    """
    box = _without_padding(example.inside)
    example, probability = jax.tree.map(lambda part: part[box], example), probability[:, *box]
    predicted, entropy = probability.argmax(0), entropy_share(probability)
    middle = _middle_of(parts[0]) if parts else _most_of((predicted > 0) | (example.label > 0), example.inside)
    steps = np.maximum(np.round(np.array(spacing_mm) / min(spacing_mm)), 1).astype(int)
    frame, sure = mask_of(parts[:1], predicted.shape), _sure(predicted, entropy, sure_below)
    grey = _grey(example)
    top, bottom = [], []
    for axis in (2, 1, 0):  # axial, coronal, sagittal
        across, up = (int(steps[other]) for other in range(3) if other != axis)
        image, truth, guess, unsure, surely, asked = (
            np.rot90(np.take(values, middle[axis], axis).repeat(across, 0).repeat(up, 1))
            for values in (grey, example.label, predicted, entropy, sure, frame)
        )
        outlined = _outlined(np.repeat((200 * image).astype(np.uint8)[..., None], 3, axis=-1), truth, guess)
        warm = _warm(image, unsure)
        warm[outline(surely)] = SURE
        for drawn in (outlined, warm):
            drawn[_around(asked)] = ASKED
        top.append(outlined)
        bottom.append(warm)
    height = max(part.shape[0] for part in top)
    return _packed(np.concatenate([_side_by_side(row, height) for row in (top, bottom)]))


def draw_plane(
    example: Example, pixels: np.ndarray | None, probability: np.ndarray, parts: Sequence[Part] = (), sure_below: float = 0.0
) -> bytes:
    """A plane image as a WebP: on its left with outlines of truth and prediction, on its right the entropy of the prediction.

    Args:
      example: `[height, width]`, with its label.
      pixels: as people see it, `[height, width, 1 or 3]` uint8 without padding; the example's first channel where there are none.
      probability: `[classes, height, width]`.
      parts: windows that are asked for, the picture's own first.
      sure_below: see `draw_case`.
    """
    box = _without_padding(example.inside)
    example, probability = jax.tree.map(lambda part: part[box], example), probability[:, *box]
    if pixels is None or pixels.shape[:2] != example.label.shape:
        pixels = (255 * _grey(example)).astype(np.uint8)[..., None]
    pixels = pixels if pixels.shape[-1] == 3 else np.repeat(pixels, 3, axis=-1)
    smaller = 2 * pixels.shape[1] / WIDEST
    width = 1 + math.ceil(smaller) if smaller > 1 else 1  # lines survive where the picture is made smaller
    predicted, entropy = probability.argmax(0), entropy_share(probability)
    outlined = _outlined(pixels.copy(), example.label, predicted, width)
    warm = _warm(pixels.mean(-1) / 255, entropy)
    warm[outline(_sure(predicted, entropy, sure_below), width)] = SURE
    for place, part in reversed(list(enumerate(parts))):  # the picture's own last, so that none hides it
        frame = _around(mask_of([part], example.label.shape), width)
        for drawn in (outlined, warm):
            drawn[frame] = ASKED_TOO if place else ASKED
    return _packed(_side_by_side([outlined, warm], len(outlined)))


def _around(asked: np.ndarray, width: int = 1) -> np.ndarray:
    """The frame that lies around what is asked for, `[height, width]`, and hides nothing of it."""
    return ndimage.binary_dilation(asked, np.ones((3, 3)), iterations=width) & ~asked


def _sure(predicted: np.ndarray, entropy: np.ndarray, below: float) -> np.ndarray:
    """Elements that are kept as pseudo-labels, each class with a number of its own, 0 elsewhere."""
    return np.where(entropy < below, predicted + 1, 0)


def _middle_of(part: Part) -> list[int]:
    return [first + length // 2 for first, length in zip(*part, strict=True)]


def _most_of(structure: np.ndarray, inside: np.ndarray) -> list[int]:
    """Along each axis the slice that holds most of a structure; the middle one where there is none of it."""
    structure = structure & inside
    if not structure.any():
        return [size // 2 for size in structure.shape]
    return [int(structure.sum(tuple(other for other in range(3) if other != axis)).argmax()) for axis in range(3)]


def _grey(example: Example) -> np.ndarray:
    """The first channel in [0, 1], from its darkest to its brightest hundredth."""
    known = example.image[..., 0][example.inside]
    low, high = np.quantile(known, (0.01, 0.99)) if known.size else (0.0, 1.0)
    return np.clip((example.image[..., 0] - low) / max(high - low, 1e-6), 0, 1)


def _outlined(pixels: np.ndarray, truth: np.ndarray, guess: np.ndarray, width: int = 1) -> np.ndarray:
    pixels[outline(truth, width)] = TRUTH
    pixels[outline(guess, width)] = PREDICTION
    return pixels


def _warm(image: np.ndarray, unsure: np.ndarray) -> np.ndarray:
    """A grey image in [0, 1] that glows where the prediction is unsure."""
    grey = image * 120
    glowing = np.stack([grey + unsure * 135, grey * (1 - unsure) + 110 * unsure, grey * (1 - unsure)], axis=-1)
    return np.clip(glowing, 0, 255).astype(np.uint8)


def _side_by_side(parts: Sequence[np.ndarray], height: int) -> np.ndarray:
    return np.concatenate([np.pad(part, [(0, height - part.shape[0]), (0, 2), (0, 0)]) for part in parts], axis=1)


def _packed(pixels: np.ndarray) -> bytes:
    """A WebP, made larger in whole steps or smaller, so that it is easily seen."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    scale = max(1, round(360 / picture.width)) if picture.width < WIDEST else WIDEST / picture.width
    size = round(picture.width * scale), round(picture.height * scale)
    picture = picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=55, method=4)
    return packed.getvalue()


def draw_image(pixels: np.ndarray) -> bytes:
    """An image, `[height, width, 1 or 3]` uint8, as a small WebP; of a grey one the darkest and brightest values are black and white."""
    from PIL import Image

    if pixels.shape[-1] == 1:
        low, high = int(pixels.min()), int(pixels.max())
        pixels = np.repeat((255.0 * (pixels - float(low)) / max(high - low, 1)).astype(np.uint8), 3, -1)
    picture = Image.fromarray(np.asarray(pixels))
    scale = SMALLEST / max(picture.size)
    size = round(picture.width * scale), round(picture.height * scale)
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    picture.save(packed, "WEBP", quality=80)
    return packed.getvalue()


def _without_padding(inside: np.ndarray) -> tuple[slice, ...]:
    """The box of what is inside; padding lies at the far ends and is nothing to look at."""
    places = np.argwhere(inside)
    return tuple(slice(last + 1) for last in places.max(0)) if len(places) else (slice(None),) * inside.ndim


def outline(labels: np.ndarray, width: int = 1) -> np.ndarray:
    """Pixels of a label that touch another one; of a `width` above 1 all pixels of a label that are so near."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(2):
        differs = np.diff(labels.astype(np.int16), axis=axis) != 0
        pad = [(0, 1) if other == axis else (0, 0) for other in range(2)]
        edge |= np.pad(differs, pad) | np.pad(differs, [pair[::-1] for pair in pad])
    if width > 1:
        edge = ndimage.binary_dilation(edge, iterations=width - 1)
    return edge & (labels > 0)
