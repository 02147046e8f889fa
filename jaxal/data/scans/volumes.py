"""Groups of cases by the volume of a structure in their label maps, instead of by a column of a table: `--group-column volume:CLASS`."""

from collections.abc import Sequence
from pathlib import Path

from jaxal.data.groups import Quantiles, check_quantiles, in_bins
from jaxal.data.scans.listing import ScanListing
from jaxal.data.scans.plan import Look
from jaxal.errors import UserError

PREFIX = "volume:"


def class_asked(column: str | None, participants: Path | None, listing: ScanListing) -> int | None:
    """The number of the class whose volume makes the groups; None where groups are those of a table.

    Args:
      column: as `--group-column` has it.
      participants: a table that was named, too.
      listing: of the folder.

    Raises:
      UserError: there is no such class, a case has no label map, or a table was named, too.
    """
    if column is None or not column.startswith(PREFIX):
        return None
    if participants:
        raise UserError(
            f"--group-column {column} is measured in label maps, so --participants {participants} would be ignored. Leave one out."
        )
    name = column.removeprefix(PREFIX)
    if name not in listing.classes[1:]:
        raise UserError(
            f"--group-column {column}: no class is called {name!r}; the classes are {', '.join(map(repr, listing.classes[1:]))}."
        )
    lacking = [case.id for case in listing.cases if case.label is None]
    if lacking:
        raise UserError(
            f"--group-column {column}: the volume of {name!r} is known from label maps alone, and {len(lacking)} of {len(listing.cases)} cases have "
            f"none, such as {lacking[0]!r}. Add them, or name a column of a table."
        )
    return listing.classes.index(name)


def groups_by_volume(
    looks: Sequence[Look], listing: ScanListing, number: int, bins: Sequence[float], quantiles: Quantiles
) -> dict[str, str]:
    """Each case's group by the volume of a class, by the cases' ids, such as `<7000` and `>=7000`.

    Args:
      looks: at every case of the listing.
      listing: of the folder.
      number: of the class.
      bins: edges in mm³, rising; a volume on an edge belongs to the upper group.
      quantiles: groups of equal numbers of cases, where no edges are given; two when left out.

    Raises:
      UserError: the edges do not rise, both are given, or too many volumes are equal.
    """
    check_quantiles(quantiles, bins)
    volumes = {case.id: float(look.volumes_mm3[number]) for case, look in zip(listing.cases, looks, strict=True)}
    return in_bins(volumes, bins, quantiles, f"--group-column {PREFIX}{listing.classes[number]}")
