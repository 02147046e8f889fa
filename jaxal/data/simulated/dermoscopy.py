"""How a dermatoscope sees a lesion on skin, drawn from the strengths of its features.

Melanin, blood and pigment deep in the skin absorb by the law of Beer and Lambert; keratin, scars and cysts reflect. All lengths are
shares of the image, so that a lesion looks the same at every size, only finer.
"""

import functools
from typing import NamedTuple

import numpy as np

# How much melanin, blood and deep pigment absorb of red, green and blue.
ABSORPTION = np.array([[0.48, 0.72, 1.00], [0.15, 0.85, 0.65], [1.00, 0.80, 0.50]], np.float32)
REFLECTING = np.array([1.02, 0.97, 0.86], np.float32)  # colour of keratin, relative to the light of the skin around it


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


class Scene(NamedTuple):
    """Whose skin it is, and how it was photographed.

    Attributes:
      melanin, spread: of the skin, mean and standard deviation; 0.1 is light and 1.1 dark.
      contrast: how much a lesion stands out; 1 as on light skin.
      hairs: probability that there are some.
      noise: standard deviation in grey values.
    """

    melanin: float
    spread: float
    contrast: float
    hairs: float
    noise: float


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
    def draw(cls, rng: np.random.Generator, view: np.random.Generator, shape: tuple[int, int], traits: Traits) -> "_Canvas":
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
        sizes = np.array(
            [0.14 * traits.asymmetry, 0.10 * traits.asymmetry, 0.07 * traits.irregularity, 0.07 * traits.irregularity]
        )
        waves = (sizes * rng.uniform(0.5, 1.2, 4) * np.exp(2j * np.pi * rng.random(4))).astype(np.complex64)
        outline = 1 + ((((waves[3] * unit + waves[2]) * unit + waves[1]) * unit + waves[0]) * unit * unit).real
        inward = 1 - distance / (traits.radius * outline)
        inside = 1 / (1 + np.exp(np.clip(-4 * inward / max(traits.blur, 0.02), -30, 30)))
        return cls(y, x, inward, np.angle(unit), inside, turn, coarse, fine, 1 / half)

    def spots(self, places: np.ndarray, radii: np.ndarray, strengths: np.ndarray) -> np.ndarray:
        """Soft round spots, `[h, w]`: the sum of bells at `places`, `[n, 2]`, no narrower than the pixels can show."""
        places, radii, strengths = (np.asarray(given, np.float32) for given in (places, radii, strengths))
        shown = np.maximum(radii, 0.6 * self.pixel)
        strengths = (
            strengths * (radii / shown) ** 2
        )  # a spot that is smaller than a pixel is as dark as a whole, not at its middle
        radii = shown[:, None]
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
            lines.append(
                _curve(rng, trunk[place], inward + rng.choice([-1, 1]) * rng.uniform(0.5, 1.1), 0.5 * traits.radius, 0.9, 18)
            )
            widths.append(np.linspace(0.03, 0.018, 18))
    width = np.concatenate(widths) * traits.radius
    spacing = 1.3 * traits.radius / 40
    bells = canvas.spots(np.concatenate(lines), width, np.full(len(width), 0.8) * spacing / width)
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
    width = np.full(len(places), 0.016)
    return 1 - np.exp(-canvas.spots(places, width, 1.4 * 0.02 / width))


def photograph(
    own: np.random.Generator, view: np.random.Generator, size: tuple[int, int], traits: Traits, scene: Scene
) -> np.ndarray:
    """Draws a lesion as a dermatoscope sees it.

    Args:
      own: of all that two pictures of the lesion share, the skin among it.
      view: of what differs between them: turn, place, hairs, light, noise.
      size: height and width in pixels.
      traits: the lesion.
      scene: the skin, and the camera.

    Returns:
      `[h, w, 3]` uint8.
    """
    canvas = _Canvas.draw(own, view, size, traits)
    absorbing, reflecting = _lesion(own, canvas, traits)
    melanin = scene.melanin + scene.spread * float(np.clip(own.standard_normal(), -1.7, 1.7))
    furrows = np.exp(-((_smooth(own, size, 40, 1)[0] / 0.45) ** 2))  # thin lines where the map changes sign
    amounts = scene.contrast * absorbing
    amounts[0] += melanin * (1 + 0.06 * canvas.coarse[3] + 0.05 * canvas.fine[2]) + 0.05 * furrows
    amounts[1] += 0.14 * float(np.exp(0.25 * np.clip(own.standard_normal(), -2, 2)))
    amounts[1] += 0.03 * canvas.coarse[2] + 0.02 * canvas.fine[0]
    vignette = 1 - float(view.uniform(0.05, 0.3)) * ((canvas.y**2 + canvas.x**2) / 2)
    gain = 243 * np.exp(0.06 * view.standard_normal() + 0.015 * view.standard_normal(3)).astype(np.float32)
    if view.random() < scene.hairs:
        amounts[0] += 1.5 * _hairs(view, canvas)
    light = np.exp(-(ABSORPTION.T @ np.maximum(amounts, 0).reshape(3, -1))).reshape(amounts.shape)
    around = float(np.exp(-0.4 * melanin)) * REFLECTING[:, None, None]
    light += scene.contrast * reflecting * (around - light)
    grey = light * vignette * gain[:, None, None] + scene.noise * view.standard_normal(light.shape, np.float32)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
