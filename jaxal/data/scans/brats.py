"""Folders of the BraTS challenges, a folder a case, which need no description. No voxel is read here.

BraTS 2017 to 2021                          labels 0, 1, 2 and 4
    DIR/NAME/NAME_{t1,t1ce,t2,flair,seg}.nii.gz
    DIR/{HGG,LGG}/NAME/...                      as the earlier ones have it
BraTS 2023 and later                        labels 0, 1, 2 and 3
    DIR/NAME/NAME-{t1n,t1c,t2w,t2f,seg}.nii.gz  a name ends in a subject's number and the scan's among the subject's, -00002-001

The four values mean the same in both (Menze et al. 2015, IEEE TMI 34; Baid et al. 2021, arXiv 2107.02314): background, necrotic core (up
to 2019 with what of the core does not enhance), oedema, enhancing tumour.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from jaxal.data.scans.listing import ENDINGS, Files, ScanListing
from jaxal.errors import UserError
from jaxal.files import why_no_file

CHANNELS = ("T1", "T1ce", "T2", "FLAIR")
CLASSES = ("background", "necrotic core", "oedema", "enhancing")
# What the challenges measure: each region is made of several classes, and lies within the one before.
REGIONS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"whole tumour": (1, 2, 3), "tumour core": (1, 3), "enhancing tumour": (3,)}
)
GRADES = ("HGG", "LGG")  # folders between


class _Naming(NamedTuple):
    """How the files of some years are named, and what values their label maps have; see `ScanListing.values`."""

    years: str
    mark: str
    channels: tuple[str, ...]
    values: tuple[int, ...]

    def stem(self, case: Path, part: str) -> Path:
        """The path of a case's channel or label map without its ending."""
        return case / f"{case.name}{self.mark}{part}"


_NAMINGS = (
    _Naming("2017 to 2021", "_", ("t1", "t1ce", "t2", "flair"), (0, 1, 2, 4)),
    _Naming("2023 and later", "-", ("t1n", "t1c", "t2w", "t2f"), ()),
)


def holds_brats(folder: Path) -> bool:
    """Whether a folder holds a case that is named as those of BraTS are, by its names alone."""
    return folder.is_dir() and any(_naming_of(case) for case in _case_folders(folder))


def find_brats(folder: Path, need_labels: bool) -> ScanListing:
    """Finds the cases of a folder of BraTS.

    Args:
      folder: of the cases.
      need_labels: whether a case without a label map is a mistake.

    Raises:
      UserError: a case lacks a file or has it twice, or cases of early and of late years lie beside each other.
    """
    cases, first = [], None
    for case in _case_folders(folder):
        naming = _naming_of(case)
        if naming is None:
            if scans := sorted(path.name for ending in ENDINGS for path in case.glob(f"[!.]*{ending}")):
                raise UserError(
                    f"{case}: holds {scans[0]}, but no {case.name}_t1.nii.gz or {case.name}-t1n.nii.gz. Rename its files."
                )
            continue
        if first is None:
            first = case, naming
        if naming != first[1]:
            raise UserError(
                f"{case}: is named as in BraTS {naming.years}, but {first[0]} as in BraTS {first[1].years}, whose label maps have other values. Give "
                "two folders."
            )
        images = tuple(_file(naming, case, channel) for channel in naming.channels)
        label = _file(naming, case, "seg") if need_labels or _paths(naming, case, "seg") else None
        cases.append(Files(case.name, _subject(naming, case.name), images, label))
    if first is None:
        raise UserError(f"{folder}: holds no case NAME/NAME_t1.nii.gz or NAME/NAME-t1n.nii.gz.")
    return ScanListing("BraTS", CHANNELS, CLASSES, None, tuple(cases), first[1].values)


def _case_folders(folder: Path) -> Iterator[Path]:
    for place in (folder, *(folder / grade for grade in GRADES)):
        if place.is_dir():
            yield from sorted(path for path in place.glob("[!.]*") if path.is_dir() and path.name not in GRADES)


def _paths(naming: _Naming, case: Path, part: str) -> list[Path]:
    """Files of a part, there or linked to; two where both endings are."""
    paths = [Path(f"{naming.stem(case, part)}{ending}") for ending in ENDINGS]
    return [path for path in paths if path.is_file() or path.is_symlink()]


def _naming_of(case: Path) -> _Naming | None:
    return next((naming for naming in _NAMINGS if any(_paths(naming, case, part) for part in (*naming.channels, "seg"))), None)


def _file(naming: _Naming, case: Path, part: str) -> Path:
    paths = _paths(naming, case, part)
    meant = "its label map" if part == "seg" else f"its channel {CHANNELS[naming.channels.index(part)]}"
    if not paths:
        raise UserError(
            f"{naming.stem(case, part)}.nii.gz: no such file; the case {case.name!r} lacks {meant}. Add it, or leave the case out."
        )
    if len(paths) > 1:
        raise UserError(f"{paths[1]}: lies beside {paths[0].name}. One scan must be one file; remove the one that is not meant.")
    if not paths[0].is_file():
        raise UserError(f"{paths[0]}: {why_no_file(paths[0])}; the case {case.name!r} lacks {meant}.")
    return paths[0]


def _subject(naming: _Naming, name: str) -> str:
    """Whose scan it is: late years number the scans of one subject."""
    numbered = re.fullmatch(r"(.+-\d+)-\d{3}", name) if naming.mark == "-" else None
    return numbered[1] if numbered else name
