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
import functools
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxal.data.images.isic import COLUMNS_2019, INPUT_2019, METADATA_2019, SKIN_CLASSES_2019, TRUTH_2019
from jaxal.errors import UserError

GENERATOR = 1  # raised whenever the same configuration would make other images
TONES = ("light", "dark")
ABSORPTION = np.array([[0.48, 0.72, 1.00], [0.15, 0.85, 0.65], [1.00, 0.80, 0.50]])  # of red, green, blue; by melanin, blood, deep pigment
SKIN_MELANIN = ((0.12, 0.06), (1.08, 0.17))  # of light and dark skin, mean and deviation
REFLECTING = np.array([1.02, 0.97, 0.86])  # colour of keratin, relative to the light of the skin around it
EVEN_STEPS = np.array([0.7548776662466927, 0.5698402909980532])  # the plane's most even additive sequence: powers of the inverse plastic number
SITES = ("anterior torso", "head/neck", "lower extremity", "palms/soles", "posterior torso", "upper extremity")
SUNNY = ("BCC", "AK", "SCC")  # kinds that are mostly of head and neck


class Traits(NamedTuple):
    """How strong each feature of a lesion is; about one is strong, and zero is none.

    Attributes:
      radius: of the lesion, as a share of half the shorter side.
      asymmetry, irregularity: of the outline and of how colour is spread.
      blur: of the edge, as a share of the radius.
      melanin, blood: how brown and how red it is.
      unevenness: how much the brown differs from place to place.
      network, streaks, dots, openings: dark lines inside, radial ones at the edge, small and large dark spots.
      nests: spots of deep pigment, blue-grey.
      lagoons: red blobs.
      vessels: branching red lines.
      points: dotted vessels.
      scale, cysts, scar: white flecks, small white spots, a white middle.
    """

    radius: float
    asymmetry: float = 0.2
    irregularity: float = 0.2
    blur: float = 0.10
    melanin: float = 0.0
    blood: float = 0.0
    unevenness: float = 0.2
    network: float = 0.0
    streaks: float = 0.0
    dots: float = 0.0
    openings: float = 0.0
    nests: float = 0.0
    lagoons: float = 0.0
    vessels: float = 0.0
    points: float = 0.0
    scale: float = 0.0
    cysts: float = 0.0
    scar: float = 0.0


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
    overlap: float = 0.5
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
    canvas = _Canvas.draw(own, view, config.size, traits)
    absorbing, reflecting = _lesion(own, canvas, traits)
    image = _photographed(own, view, config, tone, canvas, absorbing, reflecting)
    return Lesion(image, kind, tone, age, sex, site, lesion)


def draw_traits(rng: np.random.Generator, kind: str, overlap: float) -> Traits:
    """A lesion's traits: those of its kind, of another kind to some extent, and each stronger or weaker by chance."""
    others = [name for name in KINDS if name != kind]
    typical, borrowed = np.array(KINDS[kind]), np.array(KINDS[others[int(rng.integers(len(others)))]])
    mixed = typical + overlap * rng.beta(1.0, 1.2) * (borrowed - typical)
    return Traits(*(mixed * np.exp(0.3 * np.clip(rng.standard_normal(len(mixed)), -2, 2) * np.array([0.5, *[1] * (len(mixed) - 1)]))))


@functools.lru_cache(maxsize=64)
def _spread(pixels: int, cells: int) -> np.ndarray:
    """Weights, `[pixels, cells + 3]`, of the cubic B-spline through random numbers at the corners of cells along an axis."""
    places = (np.arange(pixels) + 0.5) / pixels * cells + 1
    distance = np.abs(places[:, None] - np.arange(cells + 3))
    near, far = 2 / 3 - distance**2 * (1 - distance / 2), np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def _smooth(rng: np.random.Generator, shape: tuple[int, int], cells: int, fields: int) -> np.ndarray:
    """Smooth random maps, `[fields, h, w]`, of about unit deviation; their waves are as wide as a share of the image, whatever its size."""
    rows, columns = (_spread(pixels, cells) for pixels in shape)
    corners = rng.standard_normal((fields, cells + 3, cells + 3), np.float32)
    return 2.1 * (rows @ corners @ columns.T)


class _Canvas(NamedTuple):
    """Where things are: maps `[h, w]` of an image, in units of half its shorter side.

    Attributes:
      y, x: coordinates along the axes, `[h, 1]` and `[1, w]`; the lesion's centre is zero.
      inward: depth below the lesion's outline, as a share of its radius; 1 in the middle, negative outside.
      angle: around the lesion's centre, in radians.
      inside: 0 to 1.
      turn: of the view, in radians.
      coarse, fine: smooth maps, `[4, h, w]` and `[3, h, w]`.
      pixel: width of a pixel.
    """

    y: np.ndarray
    x: np.ndarray
    inward: np.ndarray
    angle: np.ndarray
    inside: np.ndarray
    turn: float
    coarse: np.ndarray
    fine: np.ndarray
    pixel: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, view: np.random.Generator, shape: tuple[int, int], traits: Traits
    ) -> "_Canvas":
        half = min(shape) / 2
        turn = float(view.uniform(0, 2 * np.pi))
        centre = view.normal(0, 0.1, 2)
        y, x = (
            ((np.arange(length) + 0.5 - length / 2) / half - middle).astype(np.float32)
            for length, middle in zip(shape, centre, strict=True)
        )
        y, x = y[:, None], x[None]
        coarse, fine = _smooth(rng, shape, 6, 4), _smooth(rng, shape, 26, 3)
        warp = traits.irregularity * traits.radius
        place = (x + 0.13 * warp * coarse[0]) + 1j * (y + 0.13 * warp * coarse[1]) + 0.02 * warp * fine[0]
        place = place * np.complex64(np.exp(-1j * turn))
        stretch = 1 + 0.25 * rng.random()
        place = place.real * stretch**-0.5 + 1j * place.imag * stretch**0.5
        distance = np.abs(place)
        unit = place / np.maximum(distance, 1e-3)
        sizes = np.array([0.14 * traits.asymmetry, 0.10 * traits.asymmetry, 0.07 * traits.irregularity, 0.07 * traits.irregularity])
        waves = (sizes * rng.uniform(0.5, 1.2, 4) * np.exp(2j * np.pi * rng.random(4))).astype(np.complex64)
        outline = 1 + ((((waves[3] * unit + waves[2]) * unit + waves[1]) * unit + waves[0]) * unit * unit).real
        inward = 1 - distance / (traits.radius * outline)
        inside = 1 / (1 + np.exp(np.clip(-4 * inward / max(traits.blur, 0.02), -30, 30)))
        return cls(y, x, inward, np.angle(unit), inside, turn, coarse, fine, 1 / half)

    def spots(self, places: np.ndarray, radii: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Soft round spots, `[h, w]`: the sum of bells at `places`, `[n, 2]`, no narrower than the pixels can show."""
        radii = np.maximum(radii, 0.6 * self.pixel)[:, None]
        rows = np.exp(-0.5 * ((self.y.T - places[:, :1]) / radii) ** 2) * strengths[:, None]
        return rows.T @ np.exp(-0.5 * ((self.x - places[:, 1:]) / radii) ** 2)


def _within(rng: np.random.Generator, count: int, near: float, far: float) -> np.ndarray:
    """Places of a ring around the centre, evenly by area, `[count, 2]`."""
    distance = np.sqrt(rng.uniform(near**2, far**2, count))
    angle = rng.uniform(0, 2 * np.pi, count)
    return (distance * np.stack([np.sin(angle), np.cos(angle)])).T.astype(np.float32)


def _scattered(
    rng: np.random.Generator, canvas: _Canvas, traits: Traits, strength: float, most: int, radius: float, near: float = 0.0
) -> np.ndarray:
    """Spots in the lesion, the more and the stronger the stronger the trait: 0 to about 1, `[h, w]`."""
    count = int(rng.poisson(most * min(strength, 1.3)))
    places = _within(rng, most * 3, near, 0.9)[:count] * traits.radius
    radii = traits.radius * radius * rng.uniform(0.7, 1.3, most * 3)[:count]
    strengths = rng.uniform(0.6, 1.0, most * 3)[:count] * min(0.4 + 0.6 * strength, 1.2)
    return 1 - np.exp(-1.6 * canvas.spots(places, radii, strengths)) if count else np.zeros_like(canvas.inside)


def _curve(rng: np.random.Generator, start: np.ndarray, direction: float, length: float, bend: float, points: int) -> np.ndarray:
    """Points along a curve that wanders off its direction, `[points, 2]`."""
    angles = direction + bend * np.cumsum(rng.standard_normal(points)) / np.sqrt(points)
    return start + np.cumsum(length / points * np.stack([np.sin(angles), np.cos(angles)], -1), 0)


def _vessels(rng: np.random.Generator, canvas: _Canvas, traits: Traits) -> np.ndarray:
    """Branching vessels: trunks that come in from the edge, and twigs that leave them; 0 to 1, `[h, w]`."""
    lines, widths = [], []
    for start in _within(rng, 1 + int(rng.poisson(2.0 * min(traits.vessels, 1.2))), 0.75, 1.0) * traits.radius:
        inward = float(np.arctan2(-start[0], -start[1])) + rng.normal(0, 0.5)
        trunk = _curve(rng, start, inward, 1.3 * traits.radius, 1.1, 40)
        lines.append(trunk)
        widths.append(np.linspace(0.05, 0.025, 40))
        for place in rng.integers(5, 35, 3):
            lines.append(_curve(rng, trunk[place], inward + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1), 0.5 * traits.radius, 0.9, 18))
            widths.append(np.linspace(0.03, 0.018, 18))
    width = np.concatenate(widths) * traits.radius
    spacing = 1.3 * traits.radius / 40
    bells = canvas.spots(np.concatenate(lines), width, np.full(len(width), 0.8) * spacing / np.maximum(width, 0.6 * canvas.pixel))
    return 1 - np.exp(-1.5 * bells)


def _network(rng: np.random.Generator, canvas: _Canvas, traits: Traits) -> np.ndarray:
    """A net of dark lines around pale holes, the more distorted the more irregular the lesion is; of zero mean, `[h, w]`."""
    wave = 2 * np.pi / (0.15 * rng.uniform(0.9, 1.15))
    bent = 0.035 + 0.04 * traits.irregularity
    y, x = canvas.y + bent * (canvas.fine[1] + canvas.coarse[1]), canvas.x + bent * (canvas.fine[2] + canvas.coarse[2])
    turns = canvas.turn + rng.uniform(0, np.pi) + np.arange(3) * np.pi / 3
    holes = functools.reduce(np.add, (np.cos(wave * (np.cos(turn) * x + np.sin(turn) * y)) for turn in turns))
    return 0.35 - np.clip(0.5 * holes, -0.45, 1.2)


def _lesion(rng: np.random.Generator, canvas: _Canvas, traits: Traits) -> tuple[np.ndarray, np.ndarray]:
    """What a lesion adds to the skin: melanin, blood and deep pigment, `[3, h, w]`, and how much of the light keratin reflects, `[h, w]`."""
    edge = np.exp(-(((canvas.inward - 0.08) / 0.16) ** 2))
    uneven = 0.45 * traits.unevenness * (canvas.coarse[2] + 0.35 * canvas.fine[0])
    lean = rng.uniform(0, 2 * np.pi) + canvas.turn
    slope = 0.5 * traits.asymmetry * (np.cos(lean) * canvas.x + np.sin(lean) * canvas.y) / traits.radius
    melanin = traits.melanin * np.clip(1 + uneven + slope, 0.15, 2.2)
    net = np.clip(1.2 * canvas.inward + 0.6 + 0.5 * traits.irregularity * canvas.coarse[3], 0, 1)
    melanin += 0.42 * traits.network * net * _network(rng, canvas, traits)
    streaks = np.cos(canvas.angle * int(rng.integers(11, 17)) + 2.5 * canvas.coarse[3])
    melanin += 0.8 * traits.streaks * edge * np.clip(streaks + 0.3 * canvas.coarse[2], 0, 1.5)
    melanin += 0.9 * _scattered(rng, canvas, traits, traits.dots, 16, 0.055, 0.3)
    melanin += 1.1 * _scattered(rng, canvas, traits, traits.openings, 10, 0.085)
    blood = traits.blood * (1 + 0.3 * canvas.coarse[3]) + 0.9 * traits.vessels * _vessels(rng, canvas, traits)
    blood += 0.8 * _scattered(rng, canvas, traits, traits.points, 24, 0.04)
    lagoons = _scattered(rng, canvas, traits, traits.lagoons, 9, 0.20)
    blood += 1.3 * lagoons
    deep = 0.9 * _scattered(rng, canvas, traits, traits.nests, 5, 0.16, 0.2) + 0.3 * lagoons**2
    flecks = np.clip(canvas.fine[1] + 0.5 * canvas.coarse[1] - 0.7, 0, 1)
    scar = np.exp(-((np.clip(1 - canvas.inward + 0.12 * canvas.coarse[0], 0, None) / 0.45) ** 2))
    cysts = _scattered(rng, canvas, traits, traits.cysts, 12, 0.06)
    white = 0.9 * traits.scale * flecks + 0.75 * min(traits.scar, 1.2) * scar + 0.8 * cysts
    return np.clip(np.stack([melanin, blood, deep]), 0, 2.6) * canvas.inside, np.clip(white, 0, 0.9) * canvas.inside


def _hairs(view: np.random.Generator, canvas: _Canvas) -> np.ndarray:
    """Hairs across the image, 0 to 1, `[h, w]`."""
    direction, lines = view.uniform(0, np.pi), []
    for _ in range(int(view.integers(1, 7))):
        lines.append(_curve(view, view.uniform(-1.2, 0.6, 2), direction + view.normal(0, 0.4), 1.8, 0.5, 90))
    places = np.concatenate(lines)
    width = np.full(len(places), 0.014)
    return 1 - np.exp(-canvas.spots(places, width, 0.9 * 0.02 / np.maximum(width, 0.6 * canvas.pixel)))


def _photographed(
    own: np.random.Generator,
    view: np.random.Generator,
    config: LesionsConfig,
    tone: str,
    canvas: _Canvas,
    absorbing: np.ndarray,
    reflecting: np.ndarray,
) -> np.ndarray:
    """What a dermatoscope sees: `[h, w, 3]` uint8."""
    dark = TONES.index(tone)
    contrast = config.dark_contrast if dark else 1.0
    mean, deviation = SKIN_MELANIN[dark]
    melanin = mean + deviation * np.clip(own.standard_normal(), -1.7, 1.7)
    skin = _smooth(own, config.size, 40, 1)[0]
    furrows = np.exp(-((skin / 0.45) ** 2))  # thin lines where the map changes sign
    amounts = contrast * absorbing
    amounts[0] += melanin * (1 + 0.06 * canvas.coarse[3] + 0.05 * canvas.fine[2]) + 0.05 * furrows
    amounts[1] += 0.14 * np.exp(0.25 * np.clip(own.standard_normal(), -2, 2)) + 0.03 * canvas.coarse[2] + 0.02 * canvas.fine[0]
    if view.random() < config.hairs:
        amounts[0] += 1.5 * _hairs(view, canvas)
    light = np.exp(-np.moveaxis(np.maximum(amounts, 0), 0, -1) @ ABSORPTION.astype(np.float32))
    around = np.exp(-0.4 * melanin) * REFLECTING.astype(np.float32)
    share = (contrast * reflecting)[..., None]
    light = light + share * (around - light)
    vignette = 1 - view.uniform(0.05, 0.3) * ((canvas.y**2 + canvas.x**2) / 2)
    gain = 243 * np.exp(0.06 * view.standard_normal() + 0.015 * view.standard_normal(3))
    grey = light * vignette[..., None] * gain.astype(np.float32)
    noise = config.noise * view.standard_normal(grey.shape, np.float32)
    return np.clip(np.round(grey + noise), 0, 255).astype(np.uint8)


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    truths: list[tuple[str, ...]] = [("image", *SKIN_CLASSES_2019, "UNK")]
    metadata: list[tuple[str, ...]] = [(*COLUMNS_2019, "skin_tone")]
    try:
        (aside / INPUT_2019).mkdir()
        for number in range(config.images):
            lesion, name = simulate(config, number), f"ISIC_{number + 1:07d}"
            Image.fromarray(lesion.image).save(aside / INPUT_2019 / f"{name}.jpg", quality=95)
            truths.append((name, *(str(float(lesion.category == other)) for other in (*SKIN_CLASSES_2019, "UNK"))))
            empty = np.random.default_rng([config.seed, 3, number]).random(3) < config.missing
            age, sex, tone = ("" if gone else str(value) for gone, value in zip(empty, (lesion.age, lesion.sex, lesion.tone), strict=True))
            metadata.append((name, age, lesion.site, f"SIM_{lesion.lesion + 1:07d}", sex, tone))
            if progress:
                progress(number + 1, config.images)
        for name, rows in ((TRUTH_2019, truths), (METADATA_2019, metadata)):
            with (aside / name).open("w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows(rows)
        (aside / "simulated.json").write_text(json.dumps({"generator": GENERATOR, **dataclasses.asdict(config)}, indent=2) + "\n")
        aside.chmod(0o755)
        try:
            aside.rename(folder)
        except OSError:
            if not folder.is_dir():  # another process finished the same images first: its files are as good
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
