"""Parts of scans: from the prepared grid, where they are chosen, to each scan's own grid, where they are asked for, and back."""

from collections.abc import Sequence

import numpy as np

from jaxal.acquisition.regions import sizes_in
from jaxal.arrays import numbers_of
from jaxal.data.parts import mask_of
from jaxal.data.scans.own_grid import Grids, grids_of, slices_lie_along, to_own_grid, to_prepared_grid
from jaxal.projects.kind import Drawing, Size
from jaxal.projects.project import Project
from jaxal.projects.scans.measures import dice_in_parts
from jaxal.projects.settings import OfParts, Source
from jaxal.projects.state import State
from jaxal.studies.scans import ScanArguments
from jaxal.types import Label, Part, Unit
from jaxal.worklists.parts import PLANES

scores_of_parts = dice_in_parts


def sizes_are_unknown(project: Project, ids: Sequence[str], round_: int) -> dict[str, Size]:
    """None: minutes of a part are not known by how much the proposal shows in the whole scan."""
    return {}


def asked_parts_of(project: Project) -> OfParts:
    """Which parts the project asks for."""
    parts = project.settings.scans.parts
    assert parts is not None
    return parts


def parts_in_words(project: Project) -> str:
    """Which parts are asked for, in a sentence, and of how many scans they are not the slices that they have themselves."""
    parts, spacing_mm = asked_parts_of(project), project.settings.scans.plan.spacing_mm
    if parts.unit == "box":
        lengths = " x ".join(f"{size * mm:g}" for size, mm in zip(parts.size, spacing_mm, strict=True))
        return f"boxes of {' x '.join(map(str, parts.size))} voxels for the network, {lengths} mm"
    (axis,) = np.flatnonzero(parts.size)
    others = sum(slices_lie_along(np.array(scan.affine)) != axis for scan in project.cases.values())
    told = f"{PLANES[axis]} slices of {parts.size[axis] * spacing_mm[axis]:g} mm"
    return told + (
        f"; of {others} of {len(project.cases)} scans they lie across the slices that the scan has itself" if others else ""
    )


def arguments_of(parts: OfParts) -> ScanArguments:
    """What a study of such parts is asked for."""
    if parts.unit == "box":
        return ScanArguments(unit="box", unit_size=parts.size, per_case=parts.per_case)
    (axis,) = np.flatnonzero(parts.size)
    return ScanArguments(unit="slice", unit_size=(parts.size[axis],), slice_axis=int(axis), per_case=parts.per_case)


def grids(project: Project, scan: Source) -> Grids:
    """A scan's own grid over its prepared one."""
    return grids_of(scan.shape, np.array(scan.affine), project.settings.scans.plan.spacing_mm)


def own_parts(project: Project, units: Sequence[Unit]) -> dict[str, list[Part]]:
    """Parts of prepared scans on the scans' own grids, by case."""
    found: dict[str, list[Part]] = {}
    for unit in units:
        part = to_own_grid((unit.start, unit.size), grids(project, project.cases[unit.case.id]))
        found.setdefault(unit.case.id, []).append(part)
    return {id_: distinct(parts) for id_, parts in found.items()}


def distinct(parts: Sequence[Part]) -> list[Part]:
    """Parts without those that lie within others: several elements of a prepared scan may lie in one slice of the file."""
    kept: list[Part] = []
    for part in sorted(dict.fromkeys(parts), key=lambda part: -int(np.prod(part[1]))):
        if not any(_is_within(part, other) for other in kept):
            kept.append(part)
    return [part for part in dict.fromkeys(parts) if part in kept]


def _is_within(part: Part, other: Part) -> bool:
    (start, size), (first, length) = part, other
    return all(b <= a and a + n <= b + m for a, n, b, m in zip(start, size, first, length, strict=True))


def draw_parts(project: Project, state: State, drawing: Drawing) -> dict[str, list[Part]]:
    """Draws parts at random, with the same chance for each place that has something to label, as `strategies.regions.random` does."""
    size, seed, drawn = asked_parts_of(project).size, project.settings.protocol.seed, {}
    for id_, count in sorted(drawing.counts.items()):
        between = grids(project, project.cases[id_])
        known = [to_prepared_grid(part, between) for part in (*_known(state, drawing, id_), *drawing.besides.get(id_, ()))]
        rng = np.random.default_rng([seed % 2**64, *numbers_of([f"parts of {drawing.name}: {id_}"]).tolist()])
        windows = windows_at_random(~mask_of(known, between.prepared), size, count, rng)
        drawn[id_] = distinct([to_own_grid(window, between) for window in windows])
    return drawn


def _known(state: State, drawing: Drawing, id_: str) -> tuple[Part, ...]:
    return state.cases[id_].parts_of(drawing.known[id_]) if id_ in drawing.known else ()


def windows_at_random(open_: np.ndarray, size: Sequence[int], count: int, rng: np.random.Generator) -> list[Part]:
    """Windows that do not overlap, one after the other from all places that have something to label, each with the same chance.

    It is done here and not in a compiled program, because every shape of a scan would have to be compiled anew.

    Args:
      open_: elements that have no label yet, `[*shape]`, boolean.
      size: of a window; zero is the whole axis.
      count: windows; there are fewer where no place is left.
      rng: of the draw.
    """
    window = sizes_in(open_.shape, size)
    sums = open_.astype(np.int64)
    for axis, length in enumerate(window):
        before = np.insert(sums.cumsum(axis), 0, 0, axis)
        sums = np.take(before, range(length, before.shape[axis]), axis) - np.take(
            before, range(before.shape[axis] - length), axis
        )
    may_lie, drawn = sums > 0, list[Part]()
    while len(drawn) < count and may_lie.any():
        places = np.flatnonzero(may_lie)
        start = np.unravel_index(int(places[rng.integers(len(places))]), may_lie.shape)
        drawn.append((tuple(map(int, start)), window))
        near = [slice(max(int(first) - length + 1, 0), int(first) + length) for first, length in zip(start, window, strict=True)]
        may_lie[tuple(near)] = False
    return drawn


def known_at(project: Project, state: State, id_: str, label: str) -> Label | None:
    """Where a label of a case is known on the prepared grid, and not what it is; None where it is known as a whole."""
    parts = state.cases[id_].parts_of(label)
    if not parts:
        return None
    between = grids(project, project.cases[id_])
    prepared = tuple(part for part in (to_prepared_grid(part, between) for part in parts) if all(part[1]))
    return Label(f"known-{state.cases[id_].digest_of(label)[:16]}", parts=prepared)
