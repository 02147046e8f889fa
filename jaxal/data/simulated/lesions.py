"""Simulated dermoscopy: eight kinds of skin lesion on light and dark skin, in the layout of ISIC 2019. Nothing is downloaded.

A picture is made as light sees skin: melanin, blood and pigment deep in the skin absorb by the law of Beer and Lambert, and scale, scars and cysts
reflect. The kinds differ as the textbooks of dermoscopy have it (Argenziano et al. 2003): a melanoma (MEL) is asymmetric, irregular and of many
colours, with streaks at its edge; a naevus (NV) is an even brown oval with a regular network; a basal cell carcinoma (BCC) is pink, with branching vessels and blue nests;
an actinic keratosis (AK) is a red patch without an edge, with scale; a benign keratosis (BKL) has a sharp edge, bright cysts and dark
openings; a dermatofibroma (DF) has a white scar in a brown ring; a vascular lesion (VASC) holds red lagoons; a squamous cell carcinoma (SCC) is red with a mass of keratin and
dotted vessels. Each lesion borrows traits of another kind, so that kinds overlap.

Dark skin holds more melanin, and lesions stand out less from it. So a network that saw few lesions on dark skin errs there more often.

It is no model of disease. It serves to compare strategies and to try out networks, and figures on it say nothing of patients.
"""

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxal.data.images.isic import COLUMNS_2019, INPUT_2019, METADATA_2019, SKIN_CLASSES_2019, TRUTH_2019
from jaxal.data.simulated.dermoscopy import Scene, Traits, photograph
from jaxal.errors import UserError
from jaxal.files import whole_folder

GENERATOR = 1  # raised whenever the same configuration would make other images
TONES = ("light", "dark")
SKIN = {"light": (0.12, 0.06), "dark": (1.08, 0.17)}  # its melanin, mean and deviation
EVEN_STEPS = np.array(
    [0.7548776662466927, 0.5698402909980532]
)  # 1 / p and 1 / p**2, p**3 = p + 1: few steps fill the plane evenly
SITES = ("anterior torso", "head/neck", "lower extremity", "palms/soles", "posterior torso", "upper extremity")
SUNNY = ("BCC", "AK", "SCC")  # kinds that are mostly of head and neck
KINDS = {
    "MEL": Traits(0.66, 0.9, 0.8, 0.10, 0.95, 0.10, 1.0, 0.45, 0.7, 0.7, 0.1, 0.55, scar=0.15),
    "NV": Traits(0.54, 0.2, 0.15, 0.12, 0.62, 0.08, 0.25, 0.75, 0.1, 0.4),
    "BCC": Traits(0.56, 0.5, 0.4, 0.16, 0.06, 0.34, 0.3, nests=0.8, vessels=0.95, scar=0.15),
    "AK": Traits(0.66, 0.5, 0.6, 0.40, 0.12, 0.42, 0.4, points=0.2, scale=0.75),
    "BKL": Traits(0.60, 0.4, 0.45, 0.05, 0.50, 0.06, 0.5, 0.12, 0.0, 0.1, 0.75, scale=0.15, cysts=0.8),
    "DF": Traits(0.48, 0.2, 0.15, 0.26, 0.42, 0.14, 0.15, 0.4, 0.0, 0.1, scar=0.95),
    "VASC": Traits(0.46, 0.3, 0.3, 0.08, 0.05, 0.45, 0.2, lagoons=1.0, nests=0.15),
    "SCC": Traits(0.60, 0.6, 0.6, 0.20, 0.14, 0.50, 0.4, points=0.85, vessels=0.25, scale=0.4, scar=0.6),
}
AGES = {"MEL": 62, "NV": 44, "BCC": 67, "AK": 68, "BKL": 63, "DF": 50, "VASC": 50, "SCC": 70}  # means, in years


@dataclasses.dataclass(frozen=True)
class LesionsConfig:
    """What decides the images, to the last pixel.

    Attributes:
      images: how many.
      size: height and width in pixels; the same lesions are drawn at every size.
      classes: kinds of lesion that there are, of those of ISIC 2019.
      frequencies: of the eight kinds of ISIC 2019, in its order, as shares of any sum; milder than there.
      dark_share: of the images, on dark skin.
      dark_contrast: how much lesions on dark skin stand out from it, against those on light skin.
      overlap: how much of another kind's traits a lesion borrows, at most; 1 makes kinds hard to tell apart.
      hairs: share of images with hairs.
      noise: standard deviation of the camera's noise in grey values.
      images_per_lesion: pictures of the same lesion, turned and lit otherwise.
      missing: share of the images whose age, sex and skin tone the table leaves empty, each by itself.
      seed: of the draws. An image depends on the seed and its own number alone.
    """

    images: int = 1000
    size: tuple[int, int] = (64, 64)
    classes: tuple[str, ...] = SKIN_CLASSES_2019
    frequencies: tuple[float, ...] = (0.18, 0.34, 0.14, 0.07, 0.12, 0.04, 0.05, 0.06)
    dark_share: float = 0.15
    dark_contrast: float = 0.7
    overlap: float = 0.35
    hairs: float = 0.25
    noise: float = 4.0
    images_per_lesion: int = 1
    missing: float = 0.0
    seed: int = 0


class Lesion(NamedTuple):
    """One simulated image and what is known of it.

    Attributes:
      image: `[h, w, 3]` uint8.
      category: its kind, one of `SKIN_CLASSES_2019`.
      tone: of the skin, `light` or `dark`.
      age: of the patient, to five years as in ISIC.
      sex: `female` or `male`.
      site: of the body, in ISIC's words.
      lesion: number of the lesion, which several images may share.
    """

    image: np.ndarray
    category: str
    tone: str
    age: int
    sex: str
    site: str
    lesion: int


def check_config(config: LesionsConfig) -> None:
    """Makes sure that images can be made of it.

    Raises:
      UserError: a class is unknown or there twice, a size is too small, or a share is none.
    """
    if not config.classes or set(config.classes) - set(SKIN_CLASSES_2019) or len(set(config.classes)) < len(config.classes):
        raise UserError(
            f"The classes are {', '.join(config.classes) or 'none'}; name different ones of {', '.join(SKIN_CLASSES_2019)}."
        )
    if len(config.frequencies) != len(SKIN_CLASSES_2019) or min(config.frequencies) <= 0:
        raise UserError(
            f"The frequencies are {config.frequencies}; {len(SKIN_CLASSES_2019)} numbers above zero are expected, one for each "
            f"of {', '.join(SKIN_CLASSES_2019)}."
        )
    for name in ("dark_share", "overlap", "hairs", "missing"):
        if not 0 <= getattr(config, name) <= 1:
            raise UserError(f"{name} is {getattr(config, name)}; it must be 0 to 1.")
    if len(config.size) != 2 or min(config.size) < 16:
        raise UserError(f"The size is {config.size}; a height and a width of at least 16 pixels are expected.")
    if min(config.images, config.images_per_lesion) < 1:
        raise UserError(f"images is {config.images} and images_per_lesion {config.images_per_lesion}; each must be at least 1.")


def kind_and_tone(config: LesionsConfig, lesion: int) -> tuple[str, str]:
    """The kind of a lesion and the tone of its skin; the first n lesions have nearly the shares that were asked for, whatever n is."""
    begin = np.random.default_rng([config.seed, 0]).random(2)
    place, tone = (begin + (lesion + 1) * EVEN_STEPS) % 1
    kinds = [name for name in SKIN_CLASSES_2019 if name in config.classes]
    shares = np.cumsum([config.frequencies[SKIN_CLASSES_2019.index(name)] for name in kinds])
    kind = kinds[min(int(np.searchsorted(shares / shares[-1], place, side="right")), len(kinds) - 1)]
    return kind, TONES[int(tone < config.dark_share)]


def simulate(config: LesionsConfig, number: int) -> Lesion:
    """Simulates one image; image `number` is the same however many there are."""
    lesion = number // config.images_per_lesion
    own, view = np.random.default_rng([config.seed, 1, lesion]), np.random.default_rng([config.seed, 2, number])
    kind, tone = kind_and_tone(config, lesion)
    age = int(5 * np.clip(np.round((AGES[kind] + 14 * own.standard_normal()) / 5), 3, 17))
    sex = ("female", "male")[int(own.random() < 0.53)]
    site = "head/neck" if kind in SUNNY and own.random() < 0.6 else SITES[int(own.integers(len(SITES)))]
    traits = draw_traits(own, kind, config.overlap)
    scene = Scene(*SKIN[tone], config.dark_contrast if tone == "dark" else 1.0, config.hairs, config.noise)
    image = photograph(own, view, config.size, traits, scene)
    return Lesion(image, kind, tone, age, sex, site, lesion)


def draw_traits(rng: np.random.Generator, kind: str, overlap: float) -> Traits:
    """A lesion's traits: those of its kind, of another kind to some extent, and each stronger or weaker by chance."""
    others = [name for name in KINDS if name != kind]
    typical, borrowed = np.array(KINDS[kind]), np.array(KINDS[others[int(rng.integers(len(others)))]])
    mixed = typical + overlap * rng.beta(1.0, 1.2) * (borrowed - typical)
    return Traits(
        *(mixed * np.exp(0.3 * np.clip(rng.standard_normal(len(mixed)), -2, 2) * np.array([0.5, *[1] * (len(mixed) - 1)])))
    )


def write_lesions(config: LesionsConfig, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Simulates images into a new folder in the layout of ISIC 2019, as JPEG; the folder appears only when complete.

    Args:
      config: of the images.
      folder: must not exist.
      progress: called with the number of images written and of all.

    Raises:
      UserError: the configuration makes no images.
    """
    check_config(config)
    truths: list[tuple[str, ...]] = [("image", *SKIN_CLASSES_2019, "UNK")]
    metadata: list[tuple[str, ...]] = [(*COLUMNS_2019, "skin_tone")]
    with whole_folder(folder) as aside:
        (aside / INPUT_2019).mkdir()
        for number in range(config.images):
            lesion, name = simulate(config, number), f"ISIC_{number + 1:07d}"
            Image.fromarray(lesion.image).save(aside / INPUT_2019 / f"{name}.jpg", quality=95)
            truths.append((name, *(str(float(lesion.category == other)) for other in (*SKIN_CLASSES_2019, "UNK"))))
            empty = np.random.default_rng([config.seed, 3, number]).random(3) < config.missing
            age, sex, tone = (
                "" if gone else str(value) for gone, value in zip(empty, (lesion.age, lesion.sex, lesion.tone), strict=True)
            )
            metadata.append((name, age, lesion.site, f"SIM_{lesion.lesion + 1:07d}", sex, tone))
            if progress:
                progress(number + 1, config.images)
        for name, rows in ((TRUTH_2019, truths), (METADATA_2019, metadata)):
            with (aside / name).open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
        (aside / "simulated.json").write_text(json.dumps({"generator": GENERATOR, **dataclasses.asdict(config)}, indent=2) + "\n")
