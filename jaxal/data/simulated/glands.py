"""Simulated histology of the colon, stained with haematoxylin and eosin: glands to be found, in the layout of GlaS. Nothing is downloaded.

A picture is made as light sees a section: two stains absorb by the law of Beer and Lambert, with colours about those that Macenko et al. (2009)
estimate from slides. A benign gland is round or oval: a ring of nuclei at its edge, pale goblet cells above them, a lumen in the middle. A malignant one is lobed or fused with
others, its nuclei are large, dark and in several layers, its lumens small, split and full of debris. Between glands lies stroma: fibres,
spindles along them, lymphocytes in clusters, and white gaps where the section tore. So no colour is a gland's alone: the lumen is as white
as a gap, the nuclei are as dark as lymphocytes, the cytoplasm is as pink as fibres. Patients differ in hue and strength of both stains, images in focus and noise.

It is no model of disease. It serves to compare strategies and to try out networks, and figures on it say nothing of real tissue.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from jaxal.files import whole_folder

GENERATOR = 1  # raised whenever the same configuration would make other images
PARTS = ("train", "testA", "testB")
STAINS = np.array([[0.56, 0.72, 0.41], [0.22, 0.80, 0.56]])  # how much haematoxylin and eosin absorb of red, green and blue
PITCH = 3.3  # pixels between places where a nucleus may lie
REACH = 4  # pixels around a nucleus' centre that it may cover
PIXELS_A_TRY = 375  # to place a gland
FAR = -1e3  # outside of a gland
GLANDS_AT_MOST = 255  # of an image, whose mask has eight bits
RADII = ((20.0, 36.0), (17.0, 36.0))  # of benign glands, and of malignant ones, in pixels
WAVES = (np.array([0.13, 0.05, 0.03]), np.array([0.15, 0.11, 0.07, 0.04]))  # amplitudes of outlines, as shares of the radius
WARPS = (1.3, 2.4)  # of outlines, in pixels


@dataclasses.dataclass(frozen=True)
class GlandsConfig:
    """What decides the images, to the last pixel.

    Attributes:
      parts: images of the parts `train`, `testA` and `testB`, as many as in GlaS.
      shape: height and width in pixels; a benign gland is some 55 pixels wide, about as in GlaS at a third of its size.
      patients: who share the images in turns.
      malignant_share: of the patients; in GlaS 48 of 85 images.
      stain_variation: standard deviation of the logarithms of a patient's strengths of stain; hues turn along.
      noise: standard deviation of the camera's noise in grey values.
      seed: of the draws. An image depends on the seed and its own number alone.
    """

    parts: tuple[int, int, int] = (85, 60, 20)
    shape: tuple[int, int] = (176, 256)
    patients: int = 16
    malignant_share: float = 48 / 85
    stain_variation: float = 0.18
    noise: float = 4.0
    seed: int = 0


class Tissue(NamedTuple):
    """One simulated image: `[h, w, 3]` uint8, the number of the gland at each pixel `[h, w]` uint8, whose it is and whether it is malignant."""

    image: np.ndarray
    glands: np.ndarray
    patient: int
    malignant: bool


def is_malignant(config: GlandsConfig, patient: int) -> bool:
    """Whether a patient's glands are malignant; both kinds follow each other as evenly as their shares allow."""
    return int((patient + 1) * config.malignant_share + 0.5) > int(patient * config.malignant_share + 0.5)


def simulate(config: GlandsConfig, number: int) -> Tissue:
    """Simulates one image; image `number` is the same however many there are."""
    patient = number % config.patients
    malignant = is_malignant(config, patient)
    rng = np.random.default_rng([config.seed, 1, number])
    fields = _Fields.draw(rng, config.shape)
    glands = _place_glands(rng, config.shape, malignant, fields)
    haematoxylin, eosin = _stained(rng, glands, malignant, fields)
    image = _photographed(rng, config, patient, haematoxylin, eosin)
    return Tissue(image, glands, patient, malignant)


class _Fields(NamedTuple):
    """Smooth random maps of an image, `[h, w]` each, of zero mean and unit deviation but for the angle; the name says what they are used for."""

    angle: np.ndarray  # of the fibres, in radians
    crowd: np.ndarray  # where lymphocytes crowd, and where glands keep apart
    tint: np.ndarray  # of the stroma
    tear: np.ndarray  # where the section tore, and where lumens split
    grain: np.ndarray  # of everything
    warp: np.ndarray  # [2, h, w], of outlines

    @classmethod
    def draw(cls, rng: np.random.Generator, shape: tuple[int, int]) -> "_Fields":
        def smooth(sigma: float) -> np.ndarray:
            noise = ndimage.gaussian_filter(rng.standard_normal(shape, np.float32), sigma, mode="reflect")
            return (noise - noise.mean()) / noise.std()

        return cls(
            np.pi * 0.6 * smooth(22.0), smooth(11.0), smooth(10.0), smooth(4.5), smooth(1.0), np.stack([smooth(5.0), smooth(5.0)])
        )


class _Lobe(NamedTuple):
    """An outline around a centre: at an angle a its radius is `radius * (1 + sum of waves[k] * exp(i (k + 2) a))`, of which the real part counts."""

    centre: np.ndarray
    radius: float
    waves: np.ndarray

    def inward(self, points: np.ndarray) -> np.ndarray:
        """How far points, `[2, h, w]`, lie within the outline along the ray from the centre, `[h, w]`; negative outside."""
        offset = (points[1] - self.centre[1]) + 1j * (points[0] - self.centre[0])
        distance = np.abs(offset)
        turn = offset / np.maximum(distance, 1e-3)
        waves = functools.reduce(lambda inner, wave: inner * turn + wave, self.waves[::-1], np.zeros_like(turn))
        return self.radius * (1 + (waves * turn * turn).real) - distance


def _place_glands(rng: np.random.Generator, shape: tuple[int, int], malignant: bool, fields: _Fields) -> np.ndarray:
    """Numbers of the glands, `[h, w]`: 1 to n without gaps; each is in one piece, and those that touch have numbers of their own."""
    placed: list[tuple[np.ndarray, float, list[_Lobe]]] = []
    for _ in range(shape[0] * shape[1] // PIXELS_A_TRY):
        radius = float(rng.uniform(*RADII[malignant]))
        centre, near = rng.uniform(-0.5 * radius, np.array(shape) + 0.5 * radius), rng.uniform(0.82, 1.10)
        if all(np.hypot(*(centre - other)) > near * (radius + its) for other, its, _ in placed):
            placed.append((centre, radius, _lobes(rng, centre, radius, malignant)))
    points = np.indices(shape, np.float32) + WARPS[malignant] * fields.warp
    best, second = np.full((2, *shape), FAR, np.float32)
    owner = np.zeros(shape, np.int64)
    for number, (_, _, lobes) in enumerate(placed, 1):
        inward = np.full(shape, FAR, np.float32)
        for lobe in lobes:
            reach = 1.7 * lobe.radius
            box = tuple(slice(max(int(middle - reach), 0), max(int(middle + reach), 0)) for middle in lobe.centre)
            inward[box] = np.maximum(inward[box], lobe.inward(points[:, *box]))
        owner = np.where(inward > best, number, owner)
        second = np.maximum(second, np.minimum(best, inward))
        best = np.maximum(best, inward)
    apart = np.where(fields.crowd > 0.3, 3.5, 0.0)  # stroma comes between some of those that meet
    return _numbered(np.where((best > 0) & (best - second > apart), owner, 0))


def _lobes(rng: np.random.Generator, centre: np.ndarray, radius: float, malignant: bool) -> list[_Lobe]:
    """One outline, or several that are fused to one gland."""
    lobes = []
    for number in range(1 + (int(rng.integers(0, 4)) if malignant else 0)):
        turn, far = rng.uniform(0, 2 * np.pi), 0.8 * radius if number else 0.0
        waves = WAVES[malignant] * rng.uniform(0.3, 1.0, len(WAVES[malignant]))
        waves = waves * np.exp(2j * np.pi * rng.random(len(waves)))
        place = centre + far * np.array([np.sin(turn), np.cos(turn)])
        lobes.append(_Lobe(place, radius * (0.75 if malignant else 1.0), waves.astype(np.complex64)))
    return lobes


def _numbered(owner: np.ndarray, smallest: int = 90) -> np.ndarray:
    """The largest piece of each gland, without holes; what is smaller than `smallest` pixels is no gland."""
    glands, count = np.zeros(owner.shape, np.uint8), 0
    for number, box in enumerate(ndimage.find_objects(owner), 1):
        if box is None or count == GLANDS_AT_MOST:
            continue
        pieces, _ = ndimage.label(owner[box] == number)
        largest = ndimage.binary_fill_holes(pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]))
        free = largest & (glands[box] == 0)
        if free.sum() >= smallest:
            count += 1
            glands[box][free] = count
    return glands


def _stained(rng: np.random.Generator, glands: np.ndarray, malignant: bool, fields: _Fields) -> tuple[np.ndarray, np.ndarray]:
    """How much haematoxylin and eosin there is at each pixel, `[h, w]` each."""
    edges = ndimage.maximum_filter(glands, 3) != ndimage.minimum_filter(glands, 3)
    depth = ndimage.distance_transform_edt(~edges).astype(np.float32)  # from the nearest outline, on both sides
    inside = glands > 0
    streaks = _along(fields.angle, rng.standard_normal(glands.shape, np.float32))
    haematoxylin = 0.21 + 0.17 * np.tanh(fields.tint) + 0.02 * fields.grain + 0.03 * streaks
    eosin = 0.40 - 0.10 * np.tanh(fields.tint) + 0.09 * streaks + 0.03 * fields.grain
    gap = ~inside & (fields.tear > 1.75 - 0.2 * fields.crowd)
    thick = (10.5 if malignant else 12.0) + 1.6 * fields.warp[0]
    lumen = inside & (depth > thick) & ((fields.tear > -0.5) | (not malignant))
    if malignant:  # and small ones anywhere
        lumen |= inside & (depth > 4.0) & (fields.tear > 1.5)
    cytoplasm = inside & ~lumen
    # Each gland has its own colour, and stroma many, so that a colour tells nothing.
    own = rng.uniform(-1, 1, (2, glands.max() + 1))[:, glands]
    haematoxylin = np.where(cytoplasm, (0.24 if malignant else 0.18) + 0.15 * own[0] + 0.03 * fields.grain, haematoxylin)
    eosin = np.where(cytoplasm, 0.40 + 0.13 * own[1] + 0.04 * fields.grain, eosin)
    if not malignant:
        goblets = _discs(rng, cytoplasm & (depth > 5.0), 5.4, 2.9, 0.62)
        haematoxylin, eosin = haematoxylin * (1 - 0.5 * goblets), eosin * (1 - 0.62 * goblets)
    mucus = np.clip(fields.warp[1], 0, None)
    haematoxylin = np.where(lumen, 0.03 + 0.03 * mucus, haematoxylin)
    eosin = np.where(lumen, 0.05 + (0.10 if malignant else 0.05) * mucus, eosin)
    haematoxylin, eosin = (np.where(gap, 0.03, stain) for stain in (haematoxylin, eosin))
    nuclei = _nuclei(rng, depth, cytoplasm, lumen, ~inside & ~gap, malignant, fields)
    return np.maximum(haematoxylin, nuclei), np.where(nuclei > 0.3, 0.8 * eosin, eosin)


def _along(angle: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Noise smeared along the direction at each pixel, which looks like fibres; of unit deviation."""
    rows, columns = np.indices(angle.shape)
    total = np.zeros(angle.shape, np.float32)
    for step in range(-6, 7):
        y = np.clip(np.round(rows + step * np.sin(angle)).astype(int), 0, angle.shape[0] - 1)
        x = np.clip(np.round(columns + step * np.cos(angle)).astype(int), 0, angle.shape[1] - 1)
        total += noise[y, x]
    return total / total.std()


def _jittered(rng: np.random.Generator, shape: tuple[int, int], pitch: float) -> np.ndarray:
    """Places that lie about `pitch` pixels apart, `[places, 2]`."""
    grid = np.stack(np.meshgrid(*(np.arange(0, size, pitch) for size in shape), indexing="ij"), -1).reshape(-1, 2)
    return np.clip(grid + rng.uniform(-0.38, 0.38, grid.shape) * pitch, 0, np.array(shape) - 1.01)


def _discs(rng: np.random.Generator, where: np.ndarray, pitch: float, radius: float, share: float) -> np.ndarray:
    """Round soft spots within a mask, 0 to 1."""
    places = _jittered(rng, where.shape, pitch)
    chosen = where[tuple(np.round(places).astype(int).T)] & (rng.random(len(places)) < share)
    sizes = radius * rng.uniform(0.75, 1.15, (len(places), 2))
    spots = _ellipses(where.shape, places, np.zeros(len(places)), sizes, np.ones(len(places)), chosen)
    return np.where(where, spots, 0)


def _ellipses(
    shape: tuple[int, int], places: np.ndarray, angles: np.ndarray, axes: np.ndarray, strengths: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """The strongest of soft ellipses at each pixel; the first of `axes` lies along the angle."""
    places, angles, axes, strengths = places[chosen], angles[chosen], axes[chosen], strengths[chosen]
    reach = np.arange(-REACH, REACH + 1)
    offsets = np.stack(np.meshgrid(reach, reach, indexing="ij"), -1).reshape(1, -1, 2)
    pixels = np.round(places).astype(int)[:, None] + offsets
    y, x = np.moveaxis(pixels - places[:, None], -1, 0)
    along = (y * np.sin(angles)[:, None] + x * np.cos(angles)[:, None]) / axes[:, :1]
    across = (x * np.sin(angles)[:, None] - y * np.cos(angles)[:, None]) / axes[:, 1:]
    values = strengths[:, None] * np.clip(2.6 * (1.15 - np.hypot(along, across)), 0, 1)
    within = ((pixels >= 0) & (pixels < np.array(shape))).all(-1)
    canvas = np.zeros(shape)
    np.maximum.at(canvas, tuple(pixels[within].T), values[within])
    return canvas


def _nuclei(
    rng: np.random.Generator,
    depth: np.ndarray,
    cytoplasm: np.ndarray,
    lumen: np.ndarray,
    stroma: np.ndarray,
    malignant: bool,
    fields: _Fields,
) -> np.ndarray:
    """How much haematoxylin nuclei hold at each pixel: along the edge of glands, spindles along fibres, lymphocytes in clusters, debris."""
    places = _jittered(rng, depth.shape, PITCH)
    at = tuple(np.round(places).astype(int).T)
    chance, kind, own = rng.random(len(places)), rng.random(len(places)), rng.standard_normal((len(places), 3))
    deep = depth[at]
    if malignant:
        wanted = np.where((deep > 1.0) & (deep < 5.5), 0.95, np.where(deep < 9.5, 0.35, 0.06))
    else:
        wanted = np.where((deep > 1.2) & (deep < 5.2), 0.9, 0.02)
    crowded = 1 / (1 + np.exp(-4 * (fields.crowd[at] - 1.0)))
    wanted = np.where(
        cytoplasm[at], wanted, np.where(stroma[at], 0.13 + 0.55 * crowded, np.where(lumen[at], 0.10 if malignant else 0.01, 0.0))
    )
    up, right = (ndimage.sobel(depth, axis)[at] for axis in (0, 1))
    spindle = stroma[at] & (kind > 0.35 + 0.6 * crowded)
    angles = np.where(cytoplasm[at], np.arctan2(up, right), fields.angle[at]) + 0.25 * own[:, 0]
    of_gland = np.array([3.0, 1.75] if malignant else [2.4, 1.45])
    axes = np.where(cytoplasm[at][:, None], of_gland, np.where(spindle[:, None], [3.0, 0.85], [1.55, 1.45]))
    axes = axes * np.exp((0.22 if malignant else 0.12) * own[:, 1:2])
    strengths = np.where(cytoplasm[at], 1.0, 1.1) + (0.22 if malignant else 0.1) * own[:, 2]
    return _ellipses(depth.shape, places, angles, np.clip(axes, 0.7, 3.4), np.clip(strengths, 0.6, 1.7), chance < wanted)


def _photographed(
    rng: np.random.Generator, config: GlandsConfig, patient: int, haematoxylin: np.ndarray, eosin: np.ndarray
) -> np.ndarray:
    """What a camera sees: `[h, w, 3]` uint8."""
    own = np.random.default_rng([config.seed, 2, patient])
    colours = STAINS * np.exp(0.5 * config.stain_variation * own.standard_normal((2, 3)))
    strengths = np.exp(config.stain_variation * own.standard_normal(2)) * np.exp(0.05 * rng.standard_normal(2))
    focus = rng.uniform(0.45, 0.95)
    amounts = np.stack([ndimage.gaussian_filter(stain, focus) for stain in (haematoxylin, eosin)], -1) * strengths
    light = 245.0 * np.exp(-np.maximum(amounts, 0) @ colours)
    return np.clip(np.round(light + config.noise * rng.standard_normal(light.shape)), 0, 255).astype(np.uint8)


def write_glands(config: GlandsConfig, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Simulates images into a new folder in the layout of GlaS, as PNG; the folder appears only when complete.

    Args:
      config: of the images.
      folder: must not exist.
      progress: called with the number of images written and of all.
    """
    names = [f"{part}_{place}" for part, count in zip(PARTS, config.parts, strict=True) for place in range(1, count + 1)]
    with whole_folder(folder) as aside:
        rows = ["name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"]
        for number, name in enumerate(names):
            tissue = simulate(config, number)
            Image.fromarray(tissue.image).save(aside / f"{name}.png")
            Image.fromarray(tissue.glands).save(aside / f"{name}_anno.png")
            grades = ("malignant", "moderately differentiated") if tissue.malignant else ("benign", "healthy")
            rows.append(f"{name},{tissue.patient + 1}, {grades[0]}, {grades[1]}")
            if progress:
                progress(number + 1, len(names))
        (aside / "Grade.csv").write_text("\n".join(rows) + "\n")
        (aside / "simulated.json").write_text(json.dumps({"generator": GENERATOR, **dataclasses.asdict(config)}, indent=2) + "\n")
