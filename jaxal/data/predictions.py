"""Class probabilities that lie on disk, made by anybody's network: one file a member and case.

    DIR/MEMBER/CASE.npz          nnU-Net's folds, of `nnUNetv2_predict -f N --save_probabilities -o DIR/MEMBER`: [classes, *space]
    DIR/MEMBER/CASE.npy          the same as a plain array
    DIR/MEMBER/CASE.nii.gz       classes along the last axis, as MONAI writes them; of three axes the foreground's probability
    DIR/CASE.npz                 a single member

A member is a network, a dropout sample or a view. Where a folder holds `.npz` files, NIfTI files of the same names beside them are
nnU-Net's label maps and are left alone, as are its `.pkl` and `.json` files. An array of a single axis is one image's classes.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxal.data.scans.nifti import open_image
from jaxal.errors import UserError

ENDINGS = (".npz", ".npy", ".nii.gz", ".nii")
KEYS = ("probabilities", "softmax")  # of nnU-Net's second and first version
TOLERANCE = 0.02  # by which sums may be off 1: half precision and compression lose as much
MEANT = "Each member is a folder with one file a case, CASE.npz, CASE.npy or CASE.nii.gz."


class Predictions(NamedTuple):
    """Predictions on disk.

    Attributes:
      members: names, sorted.
      files: of each case, by its id, one a member in their order; sorted by id.
    """

    members: tuple[str, ...]
    files: dict[str, tuple[Path, ...]]


def find_predictions(folders: Sequence[Path]) -> Predictions:
    """Finds members and cases.

    Args:
      folders: of several each is a member; of one, its folders are, or it is the only member itself.

    Raises:
      UserError: a folder is not there or holds nothing, or members have different cases.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: {'a file, not a folder' if folder.exists() else 'no such folder'}. {MEANT}")
    if len(folders) == 1:
        of_members = _members_of(folders[0])
    else:
        of_members = {str(folder): _cases_of(folder) for folder in folders}
        for name, cases in of_members.items():
            if not cases:
                raise UserError(f"{name}: holds no predictions. {MEANT}")
        if len(of_members) < len(folders):
            raise UserError("A folder of predictions is named twice; members must differ.")
    members = tuple(of_members)
    every = sorted({case for cases in of_members.values() for case in cases})
    for case in every:
        lacks = [member for member in members if case not in of_members[member]]
        if lacks:
            has = next(member for member in members if case in of_members[member])
            raise UserError(
                f"The member {lacks[0]} has no prediction of {case!r}, which {has} has. Every member must have predicted every case; predict "
                "the pool with each of the networks."
            )
    return Predictions(members, {case: tuple(of_members[member][case] for member in members) for case in every})


def _members_of(folder: Path) -> dict[str, dict[str, Path]]:
    below = {path.name: _cases_of(path) for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    of_members = {name: cases for name, cases in below.items() if cases}
    alone = _cases_of(folder)
    if alone and of_members:
        raise UserError(
            f"{folder}: holds predictions itself ({next(iter(alone.values())).name}) and folders with predictions ({next(iter(of_members))}). "
            f"{MEANT}"
        )
    if not alone and not of_members:
        deeper = [path for path in sorted(folder.glob("*/*")) if path.is_dir() and _cases_of(path)]
        hint = f" There are some in {deeper[0]}; name such folders themselves, each as a member." if deeper else ""
        raise UserError(f"{folder}: holds no predictions. {MEANT}{hint}")
    return {folder.name: alone} if alone else of_members


def _cases_of(folder: Path) -> dict[str, Path]:
    """The files of a member by case."""
    of_ending: dict[str, dict[str, Path]] = {ending: {} for ending in ENDINGS}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending and path.is_file() and not path.name.startswith("."):
            of_ending[ending][path.name[: -len(ending)]] = path
    if packed := of_ending[".npz"]:
        label_maps = {**of_ending[".nii"], **of_ending[".nii.gz"]}
        if bare := sorted(label_maps.keys() - packed.keys()):
            raise UserError(
                f"{label_maps[bare[0]]}: has no {bare[0]}.npz beside it, as other cases have. Predict it again with --save_probabilities, or move it away."
            )
        of_ending[".nii"], of_ending[".nii.gz"] = {}, {}
    cases: dict[str, Path] = {}
    for files in of_ending.values():
        for case, path in files.items():
            if case in cases:
                raise UserError(f"{path}: lies beside {cases[case].name}. One prediction must be one file; remove one.")
            cases[case] = path
    return cases


def read_members(files: Sequence[Path]) -> Iterator[np.ndarray]:
    """One case's predictions, member after member, as probabilities `[*space, classes]` float32 that sum to 1.

    Raises:
      UserError: a file cannot be read, holds no probabilities, or has another shape than the first.
    """
    first: tuple[int, ...] = ()
    for path in files:
        values = read_probabilities(path)
        first = first or values.shape
        if values.shape != first:
            raise UserError(f"{path}: has shape {values.shape}, but {files[0]} has {first}. Members must predict on one grid.")
        yield values


def read_probabilities(path: Path) -> np.ndarray:
    """One file's probabilities, `[*space, classes]` float32, divided by their sums.

    Raises:
      UserError: it cannot be read, or what it holds are no probabilities; the message says what they look like.
    """
    values = _nifti(path) if path.name.endswith((".nii", ".nii.gz")) else np.moveaxis(_array(path), 0, -1)
    if not np.isfinite(values).all():
        raise UserError(f"{path}: {int((~np.isfinite(values)).sum())} of {values.size} numbers are NaN or infinite.")
    lowest, highest = float(values.min()), float(values.max())
    if lowest < -TOLERANCE or highest > 1 + TOLERANCE:
        what = "a label map" if np.array_equal(values, np.round(values)) else "logits or something else"
        raise UserError(
            f"{path}: holds numbers from {lowest:.4g} to {highest:.4g}, so it is {what}. Probabilities lie between 0 and 1; take the softmax "
            "of logits first."
        )
    sums = values.sum(-1, keepdims=True)
    off = float(np.abs(sums - 1).max())
    if off > TOLERANCE:
        other = [axis for axis in range(values.ndim - 1) if np.abs(values.sum(axis) - 1).max() <= TOLERANCE]
        hint = (
            f"They do along axis {other[0] + (not path.name.endswith(('.nii', '.nii.gz')))} of the file; move that axis"
            if other
            else "Of classes that overlap (nnU-Net's regions) there is no such prediction; give the softmax's output"
        )
        raise UserError(f"{path}: its probabilities do not sum to 1 over the classes (a sum is off by {off:.3g}). {hint}.")
    return np.maximum(values, 0) / sums


def _nifti(path: Path) -> np.ndarray:
    values = np.asarray(open_image(path).dataobj, np.float32)
    if values.ndim == 5 and values.shape[3] == 1:  # NIfTI's own place for vectors is the fifth axis
        values = values[:, :, :, 0]
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim == 3:
        values = np.stack([1 - values, values], axis=-1)
    if values.ndim != 4:
        raise UserError(f"{path}: has shape {values.shape}; expected [x, y, z, classes], or [x, y, z] of the foreground.")
    return values


def _array(path: Path) -> np.ndarray:
    try:
        with path.open("rb") as file:  # NumPy leaves a damaged file open
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                names = [key for key in KEYS if key in loaded.files] or loaded.files
                if len(names) != 1:
                    raise UserError(f"{path}: holds {', '.join(loaded.files) or 'nothing'}; expected one array, {KEYS[0]!r}.")
                loaded = loaded[names[0]]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, PermissionError):
            raise
        what = "an array of Python objects, which are never loaded" if "pickle" in str(error) else f"{error}"
        raise UserError(f"{path}: not a readable array ({what}). Predict the case again.") from error
    if not 1 <= loaded.ndim <= 4 or loaded.shape[0] < 2 or loaded.dtype.kind not in "fiu" or not loaded.size:
        raise UserError(
            f"{path}: has shape {loaded.shape} and type {loaded.dtype}; expected probabilities [classes, *space] of two classes or more."
        )
    return loaded.astype(np.float32)
