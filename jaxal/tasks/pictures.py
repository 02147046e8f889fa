"""What a reader would want to see of a case: three slices, the truth, the prediction, and where it is unsure."""

import io
from collections.abc import Sequence

import jax
import numpy as np

from jaxal.types import Example

WIDEST, SMALLEST = 720, 160  # pixels
TRUTH, PREDICTION = (64, 200, 96), (240, 80, 64)


def draw_case(example: Example, probability: np.ndarray, spacing_mm: Sequence[float] = (1.0, 1.0, 1.0)) -> bytes:
    """Two rows of three orthogonal slices as a WebP image: outlines of truth and prediction, and below the entropy of the prediction.

    Along each axis the slice is the one that holds most of what is predicted or true; the middle one where there is neither.

    Args:
      example: the case, `[x, y, z]` in RAS order, with its label.
      probability: `[classes, x, y, z]`.
      spacing_mm: of the voxels along each axis, so that millimetres have one length in all directions.
    """
    from PIL import Image

    box = _without_padding(example.inside)
    example, probability = jax.tree.map(lambda part: part[box], example), probability[:, *box]
    predicted = probability.argmax(0)
    entropy = -(probability * np.log(np.maximum(probability, 1e-12))).sum(0) / np.log(len(probability))
    structure = ((predicted > 0) | (example.label > 0)) & example.inside
    others = [tuple(other for other in range(3) if other != axis) for axis in range(3)]
    seen = [int(structure.sum(other).argmax()) for other in others]
    middle = seen if structure.any() else [size // 2 for size in structure.shape]
    steps = np.maximum(np.round(np.array(spacing_mm) / min(spacing_mm)), 1).astype(int)
    known = example.image[..., 0][example.inside]
    low, high = np.quantile(known, (0.01, 0.99)) if known.size else (0.0, 1.0)
    grey = np.clip((example.image[..., 0] - low) / max(high - low, 1e-6), 0, 1)
    top, bottom = [], []
    for axis in (2, 1, 0):  # axial, coronal, sagittal
        across, up = (int(steps[other]) for other in others[axis])
        image, truth, guess, unsure = (
            np.rot90(np.take(values, middle[axis], axis).repeat(across, 0).repeat(up, 1))
            for values in (grey, example.label, predicted, entropy)
        )
        outlined = np.repeat((200 * image).astype(np.uint8)[..., None], 3, axis=-1)
        outlined[outline(truth)] = TRUTH
        outlined[outline(guess)] = PREDICTION
        top.append(outlined)
        warm = np.stack(
            [image * 120 + unsure * 135, image * 120 * (1 - unsure) + 110 * unsure, image * 120 * (1 - unsure)], axis=-1
        )
        bottom.append(np.clip(warm, 0, 255).astype(np.uint8))
    height = max(part.shape[0] for part in top)
    rows = [np.concatenate([_padded(part, height) for part in row], axis=1) for row in (top, bottom)]
    picture = Image.fromarray(np.concatenate(rows))
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


def outline(labels: np.ndarray) -> np.ndarray:
    """Pixels of a label that touch another one."""
    edge = np.zeros(labels.shape, bool)
    for axis in range(2):
        differs = np.diff(labels.astype(np.int16), axis=axis) != 0
        pad = [(0, 1) if other == axis else (0, 0) for other in range(2)]
        edge |= np.pad(differs, pad) | np.pad(differs, [pair[::-1] for pair in pad])
    return edge & (labels > 0)


def _padded(part: np.ndarray, height: int) -> np.ndarray:
    return np.pad(part, [(0, height - part.shape[0]), (0, 2), (0, 0)])
