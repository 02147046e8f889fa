"""Simulated T1-weighted brain MRIs that shrink with disease and with age, and the clinical scores that go with them.

The brains are those of `brain.py`: one template, a subject effect, shading, noise. Two further effects move tissue. Both are velocities
along the gradient of a smoothed map of fluid, so fluid expands and the tissue beside it is pressed together:

- The ventricles grow with disease and with age, and the caudates at their sides thin.
- The fissures widen with age alone.

So an image tells disease from normal ageing only to who looks at both. ADAS-13 (0 to 85, higher is worse) and MMSE (0 to 30, higher is
better) follow the disease and, weakly, the age. Their noise stands for what no image shows. Who reads the ventricles alone takes the young
for healthier than they are, by a point of ADAS-13 on average, because the same ventricles are more disease in them.

The cohort is about that of ADNI in Mehta, Shui & Arbel 2023 (PMLR 227): ages from 55 to 90, of which 27 % are below 70 (163 of 603); ADAS-13
has a mean of 15 and a deviation of 8.5, MMSE of 27 and 3. The true disease and ageing, which an image shows at best, explain 0.67 of the
variance of ADAS-13 (0.64 by the ventricles alone) and 0.79 of that of MMSE (0.74): root mean square errors of 4.9 and 1.4 points, where the
mean has 8.4 and 3.0 (quadratic regression on 10,000 subjects, measured on 10,000 others).

It is no model of Alzheimer's disease. It serves to compare ways of learning, and figures on it say nothing of patients.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.data.simulated import brain
from jaxal.files import whole_folder

GENERATOR = 1  # raised whenever the same configuration would make other cohorts
OLD_FROM = 70.0  # years, where the older group begins
SITES = ("002", "011", "023", "041")
FLUID_BELOW = 0.52  # of the template's brightest tissue; grey matter begins at 0.55
SMOOTH_MM = 4.0  # of maps of fluid, so that velocities reach into the tissue beside it
_PEOPLE = 1  # sets a subject's draws of age and scores apart from those of its image


@dataclasses.dataclass(frozen=True)
class AtrophyConfig:
    """What decides a simulated cohort, to the last voxel and point.

    Attributes:
      cases: number of subjects.
      spacing_mm: voxel size; the box is that of `brain.py`, 80 x 80 x 64 mm.
      share_young: of subjects below 70 years, in [0, 1]; any first part of a cohort has it, up to one subject.
      disease_mm: largest velocity, in mm, by which a disease of one widens ventricles; diseases are from 0 to 5, 1.5 on average.
      ageing_mm: the same for each ten years of age beyond 55.
      fissures_mm: of the fissures, for each ten years of age beyond 55.
      subject_mm: root mean square of the subject effect's displacement at full strength.
      noise: standard deviation of the scanner noise as a share of the template's brightest tissue.
      shading: amplitude of the smooth multiplicative intensity field.
      adas_noise: standard deviation of what of ADAS-13 no image shows, in points.
      mmse_noise: of MMSE.
      seed: of the subjects.
    """

    cases: int
    spacing_mm: float
    share_young: float = 0.27
    disease_mm: float = 1.3
    ageing_mm: float = 0.6
    fissures_mm: float = 1.3
    subject_mm: float = 2.5
    noise: float = 0.04
    shading: float = 0.15
    adas_noise: float = 5.0
    mmse_noise: float = 1.5
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.share_young <= 1:
            raise ValueError(f"share_young is {self.share_young}; it must be from 0 to 1.")

    @property
    def brain(self) -> brain.BrainConfig:
        """What `brain.py` is told of it."""
        subject_mm, noise, shading = self.subject_mm, self.noise, self.shading
        return brain.BrainConfig(
            self.cases, self.spacing_mm, "none", subject_mm=subject_mm, noise=noise, shading=shading, seed=self.seed
        )


class Person(NamedTuple):
    """Who a subject is.

    Attributes:
      age: in years, from 55 to 90, to a tenth.
      sex: `F` or `M`.
      site: of the scanner.
      disease: how far the disease has gone, from 0 to 5.
      ageing: of the brain in tens of years beyond 55; brains of one age differ.
      adas13, mmse: scores.
    """

    age: float
    sex: str
    site: str
    disease: float
    ageing: float
    adas13: float
    mmse: float

    @property
    def group(self) -> str:
        """As `data.groups` cuts ages at 70."""
        return f"<{OLD_FROM:g}" if self.age < OLD_FROM else f">={OLD_FROM:g}"


class Subject(NamedTuple):
    """One simulated case: image in arbitrary units, caudate {0, 1}, the smallest Jacobian determinant of the map, who it is."""

    image: np.ndarray
    caudate: np.ndarray
    jacobian_min: float
    person: Person


def is_young(index: int, share: float) -> bool:
    """Whether a subject is below 70: the young are spread evenly, so that a cohort's size changes nobody."""
    return int(np.floor((index + 1) * share + 1e-9)) > int(np.floor(index * share + 1e-9))


def adas13_of(disease: float, age: float, noise: float) -> float:
    """ADAS-13 in thirds of points, in [0, 85]; `noise` is in points."""
    points = 6.0 + 6.0 * disease + 0.15 * (age - 72.0) + noise
    return float(np.clip(np.round(3 * points) / 3, 0.0, 85.0))


def mmse_of(disease: float, age: float, noise: float) -> float:
    """MMSE in whole points, in [0, 30]; it falls ever faster as the disease goes on. `noise` is in points."""
    points = 29.6 - 0.8 * disease - 0.35 * disease**2 - 0.03 * (age - 72.0) + noise
    return float(np.clip(np.round(points), 0.0, 30.0))


def draw_person(config: AtrophyConfig, index: int) -> Person:
    """Draws who a subject is, without its image; subject `index` is the same whatever the cohort's size."""
    rng = np.random.default_rng([config.seed, index, _PEOPLE])
    young, old = 55.0 + 15.0 * rng.beta(2.2, 1.2), OLD_FROM + 20.0 * rng.beta(1.4, 2.2)
    age = float(np.floor(10 * (young if is_young(index, config.share_young) else old)) / 10)
    disease = float(min(rng.gamma(1.5, 1.0), 5.0))
    ageing = float(max(0.0, (age - 55.0) / 10.0 * (1.0 + 0.25 * rng.standard_normal())))
    adas13 = adas13_of(disease, age, config.adas_noise * float(rng.standard_normal()))
    mmse = mmse_of(disease, age, config.mmse_noise * float(rng.standard_normal()))
    sex, site = "FM"[int(rng.integers(2))], SITES[int(rng.integers(len(SITES)))]
    return Person(age, sex, site, disease, ageing, adas13, mmse)


def ventricles(image: np.ndarray, origin_mm: np.ndarray) -> np.ndarray:
    """Cuts the lateral ventricles out of the MNI152 T1 at 1 mm by hand-made rules: good enough to simulate with, no anatomical reference.

    Args:
      image: intensities `[x, y, z]`, the brightest tissue at one; zero outside the brain.
      origin_mm: where voxel 0 lies in MNI millimetres.

    Returns:
      Boolean mask of about 16 cm³.

    Raises:
      ValueError: there is no fluid where the left ventricle's frontal horn must be.
    """
    x, y, z = (origin_mm[axis] + np.arange(size) for axis, size in enumerate(image.shape))
    x, y, z = x[:, None, None], y[:, None], z
    fluid = _fluid(image) & (np.abs(x) < 36) & (y < 40) & (z > -2) & (z < 34)
    fluid &= ~((y < -18) & (z < 4))  # cisterns
    components, _ = ndimage.label(fluid)
    component = components[tuple(np.round(np.array([-8.0, 15.0, 12.0]) - origin_mm).astype(int))]
    if component == 0:
        raise ValueError("The image has no ventricle at MNI (-8, 15, 12) mm; is it in MNI152 space?")
    return components == component


def _fluid(image: np.ndarray) -> np.ndarray:
    return (image < FLUID_BELOW) & (image > 0.05)


def expansion_field(fluid: np.ndarray, smooth_mm: float) -> np.ndarray:
    """A velocity that leads into fluid: the gradient of the smoothed map, at most one long.

    A pull-back along it shows fluid where tissue was, and tissue pressed together beyond.

    Args:
      fluid: `[x, y, z]`, voxels of 1 mm.
      smooth_mm: standard deviation of the smoothing.

    Returns:
      `[3, x, y, z]`.
    """
    slope = np.stack(np.gradient(ndimage.gaussian_filter(fluid.astype(np.float32), smooth_mm)))
    return slope / max(float(np.linalg.norm(slope, axis=0).max()), 1e-12)


@functools.cache
def _fields() -> np.ndarray:
    """Velocities that widen the ventricles and the fissures, `[2, 3, x, y, z]`, on the coarse grid of `brain.py`."""
    template, step = brain.load_template(), int(brain.FIELD_SPACING_MM / brain.TEMPLATE_SPACING_MM)
    inner = ventricles(template.image, template.origin_mm)
    fissures = _fluid(template.image) & ~ndimage.binary_dilation(inner, iterations=3)
    fields = [expansion_field(fluid, SMOOTH_MM) for fluid in (inner, fissures)]
    return np.stack(fields)[..., ::step, ::step, ::step].astype(np.float32)


def simulate(config: AtrophyConfig, index: int) -> Subject:
    """Simulates one subject of a cohort; subject `index` is the same whatever the cohort's size."""
    person, draw = draw_person(config, index), brain.draw_subject(config.brain, index)
    widths_mm = [config.disease_mm * person.disease + config.ageing_mm * person.ageing, config.fissures_mm * person.ageing]
    atrophy = np.tensordot(np.array(widths_mm), _fields(), 1) / brain.FIELD_SPACING_MM
    velocities = np.stack([brain.velocity_of(draw.subject, config.subject_mm), atrophy])
    (image, share), jacobian_min = brain.warp_template(config.brain, velocities)
    return Subject(brain.scan_of(config.brain, draw, image), np.asarray(share > 0.5, np.uint8), jacobian_min, person)


def write_atrophy(config: AtrophyConfig, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Simulates a cohort into a new folder: scans below `images`, a table `participants.tsv`; the folder appears only when complete.

    The table has the columns participant_id, image, ADAS13, MMSE, age, sex and site. What was configured stands in `simulated.json`.

    Args:
      config: of the cohort.
      folder: must not exist.
      progress: called with the number of cases written and of all cases.

    Raises:
      ValueError: a map folds somewhere (its Jacobian determinant is not positive); the effects are then too strong.
    """
    affine = np.diag([*(config.spacing_mm,) * 3, 1.0])
    affine[:3, 3] = brain.BOX_ORIGIN_MM
    with whole_folder(folder) as aside:
        (aside / "images").mkdir()
        rows = ["participant_id\timage\tADAS13\tMMSE\tage\tsex\tsite"]
        for index in range(config.cases):
            subject, id_ = simulate(config, index), f"ADNI_{index + 1:04d}"
            if not subject.jacobian_min > 0:
                raise ValueError(
                    f"Subject {index}: the map folds (smallest Jacobian determinant {subject.jacobian_min:.3f}); lower disease_mm, "
                    "ageing_mm, fissures_mm or subject_mm."
                )
            name, person = f"images/{id_}_T1.nii.gz", subject.person
            image = np.clip(subject.image, 0, np.iinfo(np.int16).max).astype(np.int16)
            write_volume(aside / name, Volume(image, affine))
            scores = f"{person.adas13:.2f}\t{person.mmse:g}"
            rows.append(f"{id_}\t{name}\t{scores}\t{person.age:.1f}\t{person.sex}\t{person.site}")
            if progress:
                progress(index + 1, config.cases)
        described = {"generator": GENERATOR, "brains": brain.GENERATOR, **dataclasses.asdict(config)}
        (aside / "simulated.json").write_text(json.dumps(described, indent=2) + "\n")
        (aside / "participants.tsv").write_text("\n".join(rows) + "\n")
