"""What is odd about a map of labels though it can be taken. Each finding is a pure function that gives notes."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxal.labels.naming import IGNORE
from jaxal.labels.placing import Grid
from jaxal.labels.refusals import Note
from jaxal.labels.survey import Survey, affordable, centres, gaps, pieces, volumes_ml, world_axes

SIDES = ("left and right", "front and back", "head and foot")
CODES = (
    "unchanged", "class-missing", "far-from-proposal", "mirrored", "other-side", "odd-volume", "fragments", "gaps", "too-fast", "outside", "spelling",
    "not-empty", "placed", "resampled", "grid-trusted",
)  # fmt: skip


@dataclass(frozen=True)
class History:
    """What labelled cases of a project were like.

    Attributes:
      cases: how many there are.
      share: of them with each class, by its name.
      volumes_ml: the volumes that each class had where it was there, in millilitres.
      centres: where each class lay, as `survey.centres` gives it, `[cases, 3]`.
      minutes: that readings took.
    """

    cases: int = 0
    share: Mapping[str, float] = field(default_factory=dict)
    volumes_ml: Mapping[str, Sequence[float]] = field(default_factory=dict)
    centres: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    minutes: Sequence[float] = ()


@dataclass(frozen=True)
class Limits:
    """From where on something is odd.

    Attributes:
      cases: labelled cases that the history must have before anything is compared with it.
      share: of them with a class, from which on its absence is odd.
      dice: with the proposal, below which a label is far from it.
      deviations: of the logarithm of a volume, robust ones, beyond which it is odd; and of a place, for mirrored labels.
      crumb: share of the largest piece, below which a piece is a crumb.
      crumbs: how many of these are odd.
      minutes: below which a reading is too fast while nobody knows what is usual.
      minutes_share: of the usual minutes, below which a reading is too fast.
    """

    cases: int = 5
    share: float = 0.9
    dice: float = 0.3
    deviations: float = 3.0
    crumb: float = 0.01
    crumbs: int = 3
    minutes: float = 0.5
    minutes_share: float = 0.2


def dice_with(labels: np.ndarray, proposal: np.ndarray, classes: int) -> np.ndarray:
    """Dice (1945) of two maps by class, `[classes]`, without the background; NaN where neither has the class.

    Voxels that either map leaves out (`IGNORE`) do not count. A slice at a time.
    """
    table = np.zeros((256, 256), np.int64)
    for k in range(labels.shape[2]):
        first, second = (part[..., k].ravel(order="F") for part in (labels, proposal))
        places = np.flatnonzero(first | second)
        pairs = first[places].astype(np.int32) * 256 + second[places]
        table += np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
    table[IGNORE], table[:, IGNORE] = 0, 0
    both, sizes = table.diagonal(), table.sum(0) + table.sum(1)
    known = slice(1, classes + 1)
    return np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), np.nan)[known]


def unchanged(is_same: bool) -> list[Note]:
    """The proposal came back as it was."""
    return (
        [Note("unchanged", "The label is the proposal, voxel for voxel. That is fine if nothing had to be corrected.")]
        if is_same
        else []
    )


def far_from_proposal(dice: np.ndarray, classes: Sequence[str], limits: Limits) -> list[Note]:
    """Classes that the proposal and the label see quite differently."""
    far = [f"{name} (Dice {value:.2f})" for name, value in zip(classes, dice, strict=True) if value < limits.dice]
    if not far:
        return []
    return [
        Note(
            "far-from-proposal",
            f"The label differs much from the proposal in {', '.join(far)}. Have a look whether that is meant.",
        )
    ]


def class_missing(counted: Survey, classes: Sequence[str], history: History, limits: Limits) -> list[Note]:
    """Classes that nearly all labelled cases have."""
    if history.cases < limits.cases:
        return []
    usual = [
        f"{name} (in {history.share[name]:.0%})"
        for place, name in enumerate(classes, start=1)
        if counted.counts[place] == 0 and history.share.get(name, 0) >= limits.share
    ]
    if not usual:
        return []
    return [
        Note(
            "class-missing",
            f"Nearly all labelled cases have {', '.join(usual)}, but this one has not. Have a look whether it was forgotten.",
        )
    ]


def odd_volume(counted: Survey, grid: Grid, classes: Sequence[str], history: History, limits: Limits) -> list[Note]:
    """Classes whose volume is far from the usual: by median and median absolute deviation of its logarithm, at least a tenth."""
    odd = []
    volumes = volumes_ml(counted, grid)
    for place, name in enumerate(classes, start=1):
        usual = np.asarray(history.volumes_ml.get(name, ()), np.float64)
        usual = np.log(usual[usual > 0])
        if len(usual) < limits.cases or volumes[place] == 0:
            continue
        middle = np.median(usual)
        deviation = max(1.4826 * float(np.median(np.abs(usual - middle))), 0.1)
        if abs(np.log(volumes[place]) - middle) > limits.deviations * deviation:
            odd.append(f"{name} has {volumes[place]:.3g} ml, usual are {np.exp(middle):.3g} ml")
    return [Note("odd-volume", f"A volume is unusual: {'; '.join(odd)}. Have a look whether that is right.")] if odd else []


def fragments(labels: np.ndarray, counted: Survey, classes: Sequence[str], limits: Limits) -> list[Note]:
    """Classes with crumbs: pieces of less than a hundredth of the largest one, as a slip of the brush leaves them."""
    odd = []
    for index in affordable(counted):
        sizes = pieces(labels, counted, index)
        crumbs = sizes[sizes < limits.crumb * sizes[0]]
        if len(crumbs) >= limits.crumbs:
            odd.append(f"{classes[index - 1]} has {len(crumbs)} tiny pieces of {crumbs.sum()} voxels together")
    return (
        [Note("fragments", f"There may be slips of the brush: {'; '.join(odd)}. Remove them if they are none of it.")]
        if odd
        else []
    )


def left_out(labels: np.ndarray, counted: Survey, classes: Sequence[str]) -> list[Note]:
    """Classes with gaps between slices."""
    odd = []
    for index in map(int, np.flatnonzero(counted.counts)):
        missing = gaps(labels, counted, index)
        if missing:
            axis, place = missing[0]
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            odd.append(f"{classes[index - 1]} is not in slice {place} of the {('first', 'second', 'third')[axis]} axis{more}")
    return (
        [Note("gaps", f"Slices may have been left out: {'; '.join(odd)} (counted from 0). Fill them if they were forgotten.")]
        if odd
        else []
    )


def too_fast(minutes: float | None, history: History, limits: Limits) -> list[Note]:
    """A reading much faster than the usual ones."""
    if minutes is None:
        return []
    least = limits.minutes
    if len(history.minutes) >= limits.cases:
        least = limits.minutes_share * float(np.median(history.minutes))
    if minutes >= least:
        return []
    return [
        Note(
            "too-fast", f"The case was read in {minutes:.1f} minutes, much faster than usual. Have a look whether it is complete."
        )
    ]


def mirrored_to_proposal(labels: np.ndarray, proposal: np.ndarray, affine: np.ndarray, classes: int) -> list[Note]:
    """A label that agrees with the proposal much better once it is flipped; every second or fourth voxel tells."""
    step = max(1, round((labels.size / 2e6) ** (1 / 3)))
    thin = (slice(None, None, step),) * 3
    plain = _mean_dice(labels[thin], proposal[thin], classes)
    if plain > 0.6:
        return []
    best, flipped = max(
        ((_mean_dice(np.flip(labels, axes)[thin], proposal[thin], classes), axes) for axes in _flips()), key=lambda pair: pair[0]
    )
    if best < 0.5 or best < plain + 0.35:
        return []
    world = [SIDES[place] for place, axis in enumerate(world_axes(affine)) if axis in flipped]
    return [_mirrored("mirrored", world, f"agrees with the proposal at a Dice of {best:.2f} instead of {plain:.2f}")]


def mirrored_to_usual(counted: Survey, grid: Grid, classes: Sequence[str], history: History, limits: Limits) -> list[Note]:
    """A label whose classes lie where they usually do only once it is flipped."""
    here, usual = [], []
    for index, place in centres(counted, grid).items():
        known = np.asarray(history.centres.get(classes[index - 1], ()), np.float64).reshape(-1, 3)
        if len(known) >= limits.cases:
            here.append(place)
            usual.append((np.median(known, 0), np.maximum(1.4826 * np.median(np.abs(known - np.median(known, 0)), 0), 0.03)))
    if not here:
        return []
    middle, spread = (np.array(part) for part in zip(*usual, strict=True))

    def off(axes: tuple[int, ...]) -> float:
        flip = np.isin(np.arange(3), axes)
        return float(np.sqrt((((np.where(flip, 1 - np.array(here), here) - middle) / spread) ** 2).sum(1)).mean())

    plain, (best, flipped) = off(()), min((off(axes), axes) for axes in _flips())
    if plain <= 2 * limits.deviations or best > plain / 3:
        return []
    return [_mirrored("other-side", [SIDES[axis] for axis in flipped], "lies where such labels usually lie")]


def _mirrored(code: str, world: Sequence[str], what: str) -> Note:
    return Note(
        code,
        f"The label {what} once {' and '.join(world)} are exchanged, so it may be mirrored. Have a look, and export it again if it is.",
    )


def _flips() -> list[tuple[int, ...]]:
    return [axes for count in (1, 2, 3) for axes in itertools.combinations(range(3), count)]


def _mean_dice(first: np.ndarray, second: np.ndarray, classes: int) -> float:
    values = dice_with(first, second, classes)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else 0.0
