"""A tiny set of images: a bright bar whose place tells the class, in noise, and a network that learns it in seconds. Tiny files, too."""

from pathlib import Path

import numpy as np
from PIL import Image

from jaxal.data.images.decoded import ImageSet, make_images
from jaxal.data.images.listing import Listed, Listing
from jaxal.networks.resnet import ResNetConfig
from jaxal.training.config import TrainingConfig

SIDE = 8
CLASSES = ("common", "scarce", "rare")
NETWORK = ResNetConfig(classes=3, architecture="small", width=4, groups=2, entry="narrow")
TRAINING = TrainingConfig(steps=30, warm_steps=10, batch_size=8, peak_rate=1e-2, dice=False, noise=0.0)


def listing(count: int = 40, groups: tuple[str, ...] = ("",)) -> Listing:
    """Of ten images six are common, three scarce and one is rare."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(60, 130, (count, SIDE, SIDE)).astype(np.uint8)
    images = []
    for place in range(count):
        label = (0, 0, 1, 0, 0, 1, 2, 0, 0, 1)[place % 10]
        pixels[place, 1 + 2 * label : 3 + 2 * label] += 80
        images.append(Listed(f"image_{place:03d}", CLASSES[label], groups[place % len(groups)], source="the test"))
    return Listing("tiny", CLASSES, tuple(images), pixels)


def read(folder: Path, count: int = 40, groups: tuple[str, ...] = ("",)) -> ImageSet:
    return make_images(listing(count, groups), folder, (SIDE, SIDE))


def in_two_classes(folder: Path) -> Path:
    """Four grey files in a folder for each class."""
    for place in range(4):
        path = folder / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 40 * place).save(path)
    return folder


def cut_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])
