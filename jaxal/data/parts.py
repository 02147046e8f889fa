"""Parts of cases, such as a box of a volume: their names, and labels that are known only in some of them."""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod

import numpy as np

from jaxal.types import Case, Example, Label, Part, Unit

_NAME = re.compile(r"(?P<case>.+)@(?P<start>\d+(?:,\d+)*)\+(?P<size>\d+(?:,\d+)*)")


def read_unit(name: str, cases: Mapping[str, Case]) -> Unit | None:
    """The unit of a name, as `Unit.id` writes it; None where there is no such case."""
    if name in cases:
        return Unit(cases[name])
    found = part_of(name)
    if not found or found[0] not in cases:
        return None
    case, (start, size) = found
    return Unit(cases[case], start, size, float(prod(size)))


def part_of(name: str) -> tuple[str, Part] | None:
    """The case's name and the part that a unit's name speaks of, whatever cases there are; None where it has the form of no part."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    start, size = (tuple(map(int, match[what].split(","))) for what in ("start", "size"))
    return match["case"], (start, size)


def mask_of(parts: Iterable[Part], shape: Sequence[int]) -> np.ndarray:
    """The elements that lie in any of some parts, `[*shape]`, boolean."""
    return mask_in(list(parts), (0,) * len(shape), shape)


def mask_in(parts: Sequence[Part] | None, first: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """The elements of a patch that begins at `first` which lie in any of some parts, `[*shape]`; all of them where there are no parts."""
    if parts is None:
        return np.ones(tuple(shape), bool)
    mask = np.zeros(tuple(shape), bool)
    for start, size in parts:
        bounds = zip(start, size, first, strict=True)
        mask[tuple(slice(max(begin - from_, 0), max(begin + length - from_, 0)) for begin, length, from_ in bounds)] = True
    return mask


def count_in(parts: Sequence[Part], shape: Sequence[int]) -> int:
    """How many elements of an array lie in any of some parts; it makes no map of them, which a large scan's would be too slow for."""
    cuts = []
    for axis, length in enumerate(shape):
        ends = {min(end, length) for start, size in parts for end in (start[axis], start[axis] + size[axis])}
        cuts.append(sorted({0, length, *ends}))
    cells = np.zeros([len(ends) - 1 for ends in cuts], bool)
    for start, size in parts:
        bounds = zip(cuts, start, size, strict=True)
        spans = [slice(*np.searchsorted(ends, (begin, begin + part)).tolist()) for ends, begin, part in bounds]
        cells[tuple(spans)] = True
    volumes = functools.reduce(np.multiply.outer, [np.diff(np.array(ends, np.int64)) for ends in cuts])
    return int(volumes[cells].sum())


def cost_of(units: Iterable[Unit]) -> float:
    """What it costs to label some units together: of parts, how many elements have no label yet, each of them once however parts overlap."""
    total, asked = 0.0, dict[str, list[Part]]()
    known: dict[str, list[Part]] = {}
    for unit in units:
        if not unit.size:
            total += unit.cost
            continue
        asked.setdefault(unit.case.id, []).append((unit.start, unit.size))
        known[unit.case.id] = list(unit.case.label.parts or ()) if unit.case.label else []
    for id_, parts in asked.items():
        every = [*known[id_], *parts]
        room = np.max([np.add(start, size) for start, size in every], axis=0).tolist()
        total += count_in(every, room) - (count_in(known[id_], room) if known[id_] else 0)
    return total


def holds(parts: Sequence[Part], places: np.ndarray) -> np.ndarray:
    """Which places, `[places, axes]`, lie in any of some parts, `[places]`."""
    inside = [((places >= start) & (places < np.add(start, size))).all(-1) for start, size in parts]
    return np.any(inside, axis=0) if inside else np.zeros(len(places), bool)


def within_parts(example: Example, label: Label | None) -> Example:
    """An example whose label is known only where parts of it were asked for; what is hidden reads zero.

    A label that has no map says where one is known, and not what it is: a strategy must know the one, and may not see the other.
    """
    if label is None or label.parts is None:
        return example
    known_at = example.inside if label.path is None else example.labelled
    labelled = known_at & mask_of(label.parts, example.labelled.shape)
    known, *targets = (
        np.where(labelled, part, 0).astype(part.dtype) for part in (example.label, *(example.targets or {}).values())
    )
    named = dict(zip(example.targets, targets, strict=True)) if example.targets else example.targets
    return example._replace(labelled=labelled, label=known, targets=named)


def with_parts(label: Label, units: Sequence[Unit]) -> Label:
    """A label of which these units were answered: all of it, or parts, in an order of their own."""
    if any(not unit.size for unit in units):
        return label
    return label._replace(parts=tuple(sorted({(unit.start, unit.size) for unit in units})))


def labelled_elements(case: Case, shape: Sequence[int]) -> int:
    """How many elements of a case have a label; where a label map leaves some out, they count."""
    if case.label is None:
        return 0
    return prod(shape) if case.label.parts is None else int(mask_of(case.label.parts, shape).sum())
