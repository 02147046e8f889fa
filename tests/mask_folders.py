"""Small folders of images with masks, in the layouts of others."""

import numpy as np
from PIL import Image

HEAD = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
RECTANGLES = {1: (slice(2, 8), slice(3, 7)), 2: (slice(2, 8), slice(7, 12)), 3: (slice(10, 13), slice(1, 5))}  # 1 and 2 touch


def numbers_of(shape=(16, 20), objects=3, value=None):
    """A mask of objects, each with its number, or all with one value."""
    mask = np.zeros(shape, np.uint8)
    for number in range(1, objects + 1):
        mask[RECTANGLES[number]] = number if value is None else value
    return mask


def picture(seed, shape=(16, 20)):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def glas(folder, names=("train_1", "train_2", "testA_1", "testB_1"), ending="bmp"):
    rows = [HEAD]
    for number, name in enumerate(names):
        save(folder / f"{name}.{ending}", picture(number))
        save(folder / f"{name}_anno.{ending}", numbers_of(objects=1 + number % 3))
        rows.append(
            f"{name},{number // 2 + 4}, {('benign', 'malignant')[number % 2]}, {('healthy', 'moderately differentiated')[number % 2]}"
        )
    (folder / "Grade.csv").write_text("\r\n".join(rows) + "\r\n")
    return folder


def pairs(folder, count=4, masks="masks", value=255):
    for number in range(count):
        save(folder / "images" / f"case_{number}.png", picture(number))
        save(folder / masks / f"case_{number}.png", numbers_of(value=value))
    return folder


def isic(
    folder, inputs="ISIC2018_Task1-2_{}_Input", truths="ISIC2018_Task1_{}_GroundTruth", mark="_segmentation", parts=("Training",)
):
    for place, part in enumerate(parts):
        for number in range(3):
            name = f"ISIC_{10 * place + number:07d}"
            save(folder / inputs.format(part) / f"{name}.jpg", picture(number))
            save(folder / truths.format(part) / f"{name}{mark}.png", numbers_of(value=255))
    return folder
