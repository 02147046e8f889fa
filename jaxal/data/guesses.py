"""Pseudo-labels: what a network is sure of where no reader has labelled, as maps on disk, one a case.

Wang et al. 2017 (CEAL, arXiv 1701.03551) take a prediction for a label where its entropy is below a threshold that falls from round to
round, and forget it after the next training. Here the elements of cases that readers labelled in parts are taken so.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxal.data.prepared import UNLABELLED
from jaxal.errors import UserError
from jaxal.files import PARSING, write_whole
from jaxal.types import Case, Example, Label, Load

LABEL = "label"  # the map of classes; others are named as the targets that they stand for


def entropy_share(probability: np.ndarray) -> np.ndarray:
    """The entropy of predictions as a share of its maximum, `[classes, *shape]` to `[*shape]` in [0, 1]."""
    return -(probability * np.log(np.maximum(probability, 1e-12))).sum(0) / np.log(len(probability))


def sure_classes(probability: np.ndarray, below: float) -> np.ndarray:
    """The class of each element whose entropy, as a share of its maximum, is below a threshold; `UNLABELLED` elsewhere.

    Args:
      probability: `[classes, *shape]`.
      below: the threshold, in [0, 1].

    Returns:
      `[*shape]`, uint8.
    """
    return np.where(entropy_share(probability) < below, probability.argmax(0), UNLABELLED).astype(np.uint8)


def write_guess(place: Path, classes: np.ndarray, targets: Mapping[str, np.ndarray]) -> None:
    """Writes what `sure_classes` says of a case, and further maps that its network was sure of as far.

    Args:
      place: of the files, which are named `PLACE.MAP.npy`; the classes' comes last and says that the others are there.
      classes: `[*shape]`, `UNLABELLED` in padding, too.
      targets: maps by name, `[*shape]` each, as `Example.targets` has them.
    """
    for name, values in [*targets.items(), (LABEL, classes)]:
        write_whole(_file(place, name), functools.partial(np.save, arr=values.astype(np.uint8), allow_pickle=False))


def has_guess(place: Path) -> bool:
    """Whether there are pseudo-labels of a case."""
    return _file(place, LABEL).is_file()


def read_guess(place: Path, name: str = LABEL) -> np.ndarray:
    """One of the maps of a case, on disk until it is looked at.

    Raises:
      UserError: the file is gone or damaged.
    """
    path = _file(place, name)
    try:
        with PARSING:
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: no pseudo-labels can be read there ({error}). They are made once a round; begin anew with --fresh."
        ) from error


def _file(place: Path, name: str) -> Path:
    return place.with_name(f"{place.name}.{name}.npy")


def as_trained(load: Load, case: Case) -> Example:
    """A case as training sees it; what `load` keeps in memory is what readers know, whatever the round."""
    known = case._replace(label=case.label._replace(guess=None)) if case.label else case
    return with_guess(load(known), case.label)


def with_guess(example: Example, label: Label | None, window: tuple[slice, ...] = ()) -> Example:
    """An example, labelled too where a network was sure and no reader has labelled; for training alone.

    Args:
      example: as readers labelled it, or a patch of it.
      label: of the case; where it names no pseudo-labels, the example stays as it is.
      window: where the patch lies in the case; everything when left out.
    """
    if label is None or label.guess is None:
        return example
    place, shape = label.guess, example.label.shape
    classes = _padded(read_guess(place)[window], shape)
    guessed = (classes != UNLABELLED) & ~example.labelled

    def joined(known: np.ndarray, name: str) -> np.ndarray:
        if not _file(place, name).is_file():
            return known
        return np.where(guessed, _padded(read_guess(place, name)[window], shape), known).astype(known.dtype)

    targets = example.targets and {name: joined(part, name) for name, part in example.targets.items()}
    joint = np.where(guessed, classes, example.label).astype(example.label.dtype)
    return example._replace(label=joint, labelled=example.labelled | guessed, targets=targets)


def _padded(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    room = [(0, length - part) for length, part in zip(shape, values.shape, strict=True)]
    return np.pad(values, room, constant_values=UNLABELLED) if any(after for _, after in room) else np.asarray(values)
