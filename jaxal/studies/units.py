"""What is asked for at once: whole cases, or parts of them, and how much of a query's budget they are."""

import dataclasses
from collections.abc import Sequence
from math import ceil, prod
from typing import Annotated, Any, Literal

import tyro

from jaxal.acquisition.regions import Search, sizes_in
from jaxal.errors import UserError
from jaxal.rounds.setup import PseudoLabels
from jaxal.studies.option_types import Number, Numbers

Name = Literal["image", "region", "slice", "box"]
# Parts in a query by default, for each whole case that would be in it; Li & Alstrøm 2020 have 20 regions for 5 images.
MORE_PARTS = 4
SHARE = 4  # of each axis that a region or a box covers by default, as its denominator
UNLIMITED = 10**6  # parts in a query whose budget is given in elements
SPARE = 2  # times as many windows leave a case as a budget in elements pays for: those that are partly labelled cost less


@dataclasses.dataclass(frozen=True, kw_only=True)
class SureOptions:
    """Options that say what networks' own predictions are taken for."""

    pseudo_labels: bool = False
    """Train, too, on what the last round's network was sure of: in cases that are labelled in parts, where it is kept in any case, and of images that have one
    class in the rest of the pool (CEAL)."""
    pseudo_threshold: float = PseudoLabels.below
    """Entropy, as a share of its maximum, below which an element counts as sure in the first round."""
    pseudo_decay: float = PseudoLabels.decay
    """By how much that threshold falls from round to round."""

    @property
    def sure(self) -> PseudoLabels:
        return PseudoLabels(self.pseudo_labels, self.pseudo_threshold, self.pseudo_decay)


@dataclasses.dataclass(frozen=True)
class UnitOptions(SureOptions):
    """Options that say what is asked for at once."""

    unit: Annotated[Name, tyro.conf.arg(metavar="{image,slice,box,region}")] = "image"
    """What is asked for at once: image, all of a case; slice, one of a volume's slices; box, a box of a volume; region, a window of a plane image."""
    unit_size: Numbers = ()
    """Elements of a box or region along each axis, one number for all; by default a quarter of each axis. Of a slice, how thick it is; by default one."""
    slice_axis: int = 2
    """Axis (0, 1, 2) along which slices lie one behind the other."""
    stride: int = 1
    """Elements between the places where a part may lie; 1 looks at all of them."""
    overlap: Literal["none", "allow"] = "none"
    """Whether parts of one query may overlap; what has a label counts nothing in any case."""
    per_case: Number = None
    """Parts of one case in a query, at most. Default: no limit."""
    query_elements: Number = None
    """Pixels or voxels without a label that a query asks for, at most, instead of --query-size. Default: no limit."""

    @property
    def of_parts(self) -> bool:
        return self.unit != "image"


def check_sure(options: SureOptions) -> None:
    """Refuses thresholds that are none.

    Raises:
      UserError: a number is out of range.
    """
    if not 0 < options.pseudo_threshold <= 1:
        raise UserError(f"--pseudo-threshold is {options.pseudo_threshold:g}; it must be above 0 and at most 1.")
    if options.pseudo_decay < 0:
        raise UserError(f"--pseudo-decay is {options.pseudo_decay:g}; it must not be negative.")


def check_units(options: UnitOptions, rank: int) -> None:
    """Refuses what does not go with the images.

    Args:
      options: asked for.
      rank: axes of the images.

    Raises:
      UserError: a number is out of range, or the unit is one of images of other axes.
    """
    named = {"stride": options.stride, "per-case": options.per_case, "query-elements": options.query_elements}
    for name, value in named.items():
        if value is not None and value < 1:
            raise UserError(f"--{name} is {value}; it must be at least 1.")
    if options.unit_size and min(options.unit_size) < 1:
        raise UserError(f"--unit-size is {_text(options.unit_size)}; it must be at least 1.")
    check_sure(options)
    if options.slice_axis != UnitOptions.slice_axis and options.unit != "slice":
        raise UserError("--slice-axis is for slices. Give --unit slice, too.")
    if not options.of_parts:
        given = {
            "--unit-size": options.unit_size,
            "--per-case": options.per_case,
            "--query-elements": options.query_elements,
            "--stride": options.stride != UnitOptions.stride,
            "--overlap": options.overlap != UnitOptions.overlap,
            "--pseudo-labels": options.pseudo_labels,
            "--pseudo-threshold": options.pseudo_threshold != UnitOptions.pseudo_threshold,
            "--pseudo-decay": options.pseudo_decay != UnitOptions.pseudo_decay,
        }
        if alone := [name for name, value in given.items() if value]:
            raise UserError(f"{alone[0]} is for parts of cases. Give --unit slice, box or region, too.")
        return
    fitting = {2: ("region",), 3: ("slice", "box")}[rank]
    if options.unit not in fitting:
        raise UserError(
            f"--unit {options.unit}: images here have {rank} axes; it takes {', '.join(('image', *fitting[:-1]))} or {fitting[-1]}."
        )
    if len(options.unit_size) not in ((0, 1) if options.unit == "slice" else (0, 1, rank)):
        raise UserError(
            f"--unit-size is {_text(options.unit_size)}; it takes one number"
            + ("." if options.unit == "slice" else f", or one for each of the {rank} axes.")
        )
    if options.unit == "slice" and options.slice_axis not in range(rank):
        raise UserError(f"--slice-axis is {options.slice_axis}; images here have the axes 0 to {rank - 1}.")


def query_size_of(options: UnitOptions, asked: int | None, cases: int) -> int:
    """Units in a query: of parts, if no number was asked for, some for each whole case, or as many as a budget in elements pays for."""
    if asked is not None or not options.of_parts:
        return cases
    return MORE_PARTS * cases if options.query_elements is None else UNLIMITED


def search_for(options: UnitOptions, shape: Sequence[int], query_size: int, largest: Sequence[int] | None = None) -> Search:
    """Which windows are looked for.

    Args:
      options: checked.
      shape: of the cases, with their padding.
      query_size: parts in a query.
      largest: length of the longest case along each axis, without padding; the shape when left out.

    Raises:
      UserError: a part is larger than the images, or dearer than the budget.
    """
    if options.unit == "slice":
        thickness = options.unit_size[0] if options.unit_size else 1
        size = tuple(thickness if axis == options.slice_axis else 0 for axis in range(len(shape)))
    else:
        size = options.unit_size or tuple(max(1, length // SHARE) for length in shape)
        size = size * len(shape) if len(size) == 1 else size
    largest = largest or shape
    if any(part > length for part, length in zip(size, largest, strict=True)):
        raise UserError(f"--unit-size is {_text(size)}; images have {_text(largest)} elements. Give less.")
    volume = prod(sizes_in(shape, size))
    count = query_size
    if options.query_elements is not None:
        if options.query_elements < volume:
            raise UserError(
                f"--query-elements is {options.query_elements}, but one {options.unit} of {_text(sizes_in(shape, size))} has {volume}. Give more, or "
                "a smaller --unit-size."
            )
        count = min(count, SPARE * ceil(options.query_elements / volume))
    return Search(tuple(size), options.stride, min(count, options.per_case or count), options.overlap == "allow")


def settings_of(options: UnitOptions | SureOptions, search: Search | None, calibrate: str) -> dict[str, dict[str, Any]]:
    """Sections of a study's settings that say what is asked for and how networks are calibrated; none for whole cases and networks as they are."""
    unit = {}
    if search:
        assert isinstance(options, UnitOptions)
        unit = {"unit": {"name": options.unit, **search._asdict(), "query_elements": options.query_elements}}
    sure = {"pseudo_labels": dataclasses.asdict(options.sure)} if options.sure != PseudoLabels() else {}
    return unit | sure | ({"calibration": {"method": calibrate}} if calibrate != "none" else {})


def _text(numbers: Sequence[int]) -> str:
    return " x ".join(map(str, numbers))
