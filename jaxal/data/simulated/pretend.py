"""Tiny folders in the layouts that people download, with made-up images: to see that every part works before a download is paid for."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jaxal.data.images.isic import SKIN_CLASSES
from jaxal.data.images.layouts import RETINOPATHY_CLASSES

SIDE = 48
SHARES = (0.4, 0.2, 0.2, 0.1, 0.1)  # of the retinopathy's grades; of the lesions each has as many


def write_retinopathy(folder: Path, images: int = 80) -> Path:
    """Kaggle's layout: a bright disc on black, with the more dark spots the higher the grade; both eyes of a patient have one grade."""
    rng = np.random.default_rng(0)
    grades = np.repeat(range(len(RETINOPATHY_CLASSES)), [max(4, round(share * images / 2)) for share in SHARES])
    (folder / "train").mkdir(parents=True, exist_ok=True)
    rows = []
    for patient, grade in enumerate(grades):
        for side in ("left", "right"):
            pixels = _disc(rng, (200, 90, 40), spots=3 * int(grade))
            Image.fromarray(pixels).save(folder / "train" / f"{patient}_{side}.jpeg")
            rows.append((f"{patient}_{side}", int(grade)))
    _write_table(folder / "trainLabels.csv", ("image", "level"), rows)
    return folder


def write_skin_lesions(folder: Path, images: int = 84) -> Path:
    """The layout of ISIC 2018, task 3: a spot on skin, its colour and size by class."""
    rng = np.random.default_rng(0)
    inside = folder / "ISIC2018_Task3_Training_Input"
    inside.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(images):
        label = number % len(SKIN_CLASSES)
        colour = (90 + 20 * label, 60 + 10 * label, 140 - 15 * label)
        pixels = _disc(rng, colour, background=(220, 180, 160), radius=SIDE // 8 + 2 * label)
        id_ = f"ISIC_{number:07d}"
        Image.fromarray(pixels).save(inside / f"{id_}.jpg")
        rows.append((id_, *(float(label == other) for other in range(len(SKIN_CLASSES)))))
    table = folder / "ISIC2018_Task3_Training_GroundTruth" / "ISIC2018_Task3_Training_GroundTruth.csv"
    table.parent.mkdir(exist_ok=True)
    _write_table(table, ("image", *SKIN_CLASSES), rows)
    return folder


def _disc(
    rng: np.random.Generator, colour: Sequence[int], background=(0, 0, 0), radius: int = SIDE // 2 - 2, spots: int = 0
) -> np.ndarray:
    grid = np.indices((SIDE, SIDE)) - SIDE / 2
    inside = np.hypot(*(grid + rng.integers(-2, 3, size=(2, 1, 1)))) < radius
    pixels = np.where(inside[..., None], np.array(colour), np.array(background)).astype(float)
    for top, left in rng.integers(SIDE // 4, 3 * SIDE // 4, size=(spots, 2)):
        pixels[top : top + 3, left : left + 3] *= 0.3
    return np.clip(pixels + 8 * rng.standard_normal(pixels.shape), 0, 255).astype(np.uint8)


def _write_table(path: Path, head: Sequence[str], rows: Sequence[Sequence]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
