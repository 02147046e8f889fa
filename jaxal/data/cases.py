"""Data sets, and the three disjoint splits of a study."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxal.errors import UserError
from jaxal.types import Case

PIECES, PIECE_BYTES = 16, 2**16  # of a large file, for its fingerprint


class Dataset(NamedTuple):
    """Cases that share channels and classes.

    Attributes:
      cases: sorted by id.
      channels: name of each channel.
      classes: name of each class, index 0 is background; of cases that have numbers, name of each target.
      shape: common size of all cases, in voxels, after padding at the far ends.
      spacing_mm: common voxel size along each axis.
    """

    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sorted({case.group for case in self.cases}))


class Splits(NamedTuple):
    """Disjoint cases: what may be queried, what strategies may look at besides, and what only the reported metrics see."""

    pool: tuple[Case, ...]
    evaluation: tuple[Case, ...]
    test: tuple[Case, ...]


class Fingerprint(NamedTuple):
    """Sixteen hexadecimal digits each, which change when the content of a case's files does.

    Attributes:
      image: of the image files.
      label: of the label map; empty without one.
      whole: of both together.
    """

    image: str
    label: str
    whole: str


def file_fingerprint(paths: Sequence[Path]) -> str:
    """Sixteen hexadecimal digits that change when the content of one of some files does."""
    return _digest(paths).hexdigest()[:16]


def fingerprint_of(images: Sequence[Path], label: Path | None) -> Fingerprint:
    """The fingerprint of a case's files; image and label are told apart, so that a new label makes no image a new one."""
    digest = _digest(images)
    image = digest.hexdigest()[:16]
    if label is None:
        return Fingerprint(image, "", image)
    whole = _digest([label], digest.copy())
    return Fingerprint(image, file_fingerprint([label]), whole.hexdigest()[:16])


def _digest(paths: Sequence[Path], digest: Any = None) -> Any:
    """Of a large file pieces all over it are looked at, the ends among them: gzip writes all that follows a change anew, and a
    checksum at its end.
    """
    digest = digest or hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            digest.update(size.to_bytes(8, "little"))
            whole = size <= PIECES * PIECE_BYTES
            for start in [0] if whole else np.linspace(0, size - PIECE_BYTES, PIECES).astype(int).tolist():
                file.seek(start)
                digest.update(file.read(-1 if whole else PIECE_BYTES))
    return digest


def by_refusal(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Cases that have labels, and those that readers would not label, each by id."""
    refused = sorted(case for case in cases if case.label and case.label.refusal)
    return sorted(case for case in cases if not (case.label and case.label.refusal)), refused


def _share_of(subjects: int, share: float) -> int:
    return max(1, round(share * subjects))


def pool_size(cases: Sequence[Case], evaluation: float, test: float) -> int:
    """Subjects that `split` leaves in the pool, each of them one case at least; arguments are those of `split`."""
    group_of = {case.subject or case.id: stratum(case) for case in cases}
    sizes = Counter(group_of.values()).values()
    return sum(max(count - _share_of(count, evaluation) - _share_of(count, test), 0) for count in sizes)


def split(cases: Sequence[Case], seed: int, evaluation: float, test: float) -> Splits:
    """Splits subjects at random within each stratum, so that each split has the strata's proportions and no subject is in two.

    Strata are groups of patients, or the classes of images that have one as a whole; a subject with images of several belongs to the rarest.

    Args:
      cases: all of them.
      seed: of the draw.
      evaluation, test: shares of each stratum's subjects, rounded; each split gets at least one subject of every stratum.

    Raises:
      UserError: a stratum has too few subjects, or a split lacks one.
    """
    scans: dict[str, list[Case]] = {}
    for case in sorted(cases):
        scans.setdefault(case.subject or case.id, []).append(case)
    sizes = Counter(stratum(case) for case in cases)
    subjects = [min(of_subject, key=lambda case: (sizes[stratum(case)], case)) for of_subject in scans.values()]
    parts: dict[str, list[Case]] = {"pool": [], "evaluation": [], "test": []}
    for name, members in by_stratum(subjects, np.random.default_rng([seed, 1])).items():
        evaluation_count, test_count = (_share_of(len(members), share) for share in (evaluation, test))
        if evaluation_count + test_count >= len(members):
            if len(members) >= (everybody := _subjects_with(name, cases)):
                raise UserError(_too_few(members[0], everybody))
            # Others have the class, too, and go by a rarer one; whether every split has it is seen below.
            evaluation_count, test_count = (min(round(len(members) * share), len(members) // 2) for share in (evaluation, test))
        cuts = {"test": members[:test_count], "evaluation": members[test_count : test_count + evaluation_count]}
        for name, chosen in {**cuts, "pool": members[test_count + evaluation_count :]}.items():
            parts[name] += [scan for first in chosen for scan in scans[first.subject or first.id]]
    for name, part in parts.items():
        if missing := sorted(sizes.keys() - {stratum(case) for case in part}):
            raise UserError(
                f"The {name} split of seed {seed} holds no image of class {missing[0]!r}, which {_subjects_with(missing[0], cases)} subjects have. "
                "Add subjects that have it, leave it out, or try another --seed, which draws others."
            )
    return Splits(*(tuple(sorted(part)) for part in (parts["pool"], parts["evaluation"], parts["test"])))


def _subjects_with(name: str, cases: Sequence[Case]) -> int:
    """How many subjects have a case in this stratum, whatever else they have."""
    return len({case.subject or case.id for case in cases if stratum(case) == name})


def _too_few(case: Case, subjects: int) -> str:
    stratum_named = f"Class {case.category!r}" if case.category else f"Group {case.group!r}"
    count = f"{subjects} subject{'s' if subjects != 1 else ''}"
    advice = (
        "Add images of it, or leave it out"
        if case.category
        else "Join groups in the table (or by fewer --bins), or name another --group-column"
    )
    return f"{stratum_named} has {count}; at least three are needed, one for each of the pool, the evaluation and the test split. {advice}."


def initial_set(pool: Sequence[Case], size: int, seed: int, shares: dict[str, float] | None = None) -> tuple[Case, ...]:
    """Draws the cases that are labelled before the first round.

    Args:
      pool: to draw from.
      size: cases to draw.
      seed: of the draw.
      shares: each stratum's share of the draw; when left out, as equal as the pool allows: of a stratum that has too few cases all are
        drawn, and the others fill up. Every stratum with a share above zero gets at least one case if `size` allows.

    Raises:
      UserError: a stratum has too few cases in the pool for the share that was asked for, or the pool has too few.
    """
    members = by_stratum(pool, np.random.default_rng([seed, 2]))
    if shares is None and size > len(pool):
        raise UserError(f"The initial set needs {size} cases, but the pool has {len(pool)}. Lower --initial-size.")
    counts = _even(size, {name: len(cases) for name, cases in members.items()}) if shares is None else _apportion(size, shares)
    chosen: list[Case] = []
    for group, count in counts.items():
        if count > len(members.get(group, [])):
            kind, advice = ("class", "") if pool[0].category else ("group", ", or choose the other --initial")
            raise UserError(
                f"The initial set needs {count} cases of {kind} {group!r}, but the pool has {len(members.get(group, []))}. "
                f"Lower --initial-size{advice}."
            )
        chosen += members[group][:count]
    return tuple(sorted(chosen))


def _even(size: int, available: dict[str, int]) -> dict[str, int]:
    """Whole numbers that sum to `size`, as equal as can be with no more of each stratum than there are."""
    counts: dict[str, int] = {}
    left = dict(available)
    while left:
        asked = _apportion(size - sum(counts.values()), dict.fromkeys(left, 1 / len(left)))
        scarce = [name for name in left if asked.get(name, 0) > left[name]]
        if not scarce:
            return counts | asked
        counts |= {name: left.pop(name) for name in scarce}
    return counts


def _apportion(size: int, shares: dict[str, float]) -> dict[str, int]:
    """Whole numbers that sum to `size`, at least one where a share is above zero, else by largest remainder."""
    groups = [group for group in sorted(shares) if shares[group] > 0]
    counts = {group: min(1, size) for group in groups[:size]}
    total = sum(shares[group] for group in groups)
    while sum(counts.values()) < size:
        counts_of = {group: shares[group] / total * size - counts.get(group, 0) for group in groups}
        neediest = max(groups, key=lambda group: (counts_of[group], group))
        counts[neediest] = counts.get(neediest, 0) + 1
    return counts


def stratum(case: Case) -> str:
    """What splits and draws keep the proportions of: the class of an image that has one, else the group of patients."""
    return case.category or case.group


def by_stratum(cases: Sequence[Case], rng: np.random.Generator | None = None) -> dict[str, list[Case]]:
    """Cases of each stratum, strata in alphabetical order, cases by id or shuffled.

    Shuffled, the groups of patients within a stratum follow each other in proportion, so that any first part has all of them.
    """
    strata: dict[str, list[Case]] = {}
    for case in sorted(cases):
        strata.setdefault(stratum(case), []).append(case)
    if rng is None:
        return dict(sorted(strata.items()))
    shuffled = {name: [members[i] for i in rng.permutation(len(members))] for name, members in sorted(strata.items())}
    return {name: _interleaved(members) for name, members in shuffled.items()}


def _interleaved(cases: list[Case]) -> list[Case]:
    size, places = Counter(case.group for case in cases), []
    seen: Counter[str] = Counter()
    for case in cases:
        places.append(((seen[case.group] + 0.5) / size[case.group], case.group))
        seen[case.group] += 1
    return [cases[place] for place in sorted(range(len(cases)), key=places.__getitem__)]
