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
from jaxal.files import write_whole
from jaxal.types import Case, Example

LABEL = "label"  # the map of classes; others are named as the targets that they stand for
MAPS_AT_ONCE = 256  # kept in memory


def sure_classes(probability: np.ndarray, below: float) -> np.ndarray:
    """The class of each element whose entropy, as a share of its maximum, is below a threshold; `UNLABELLED` elsewhere.

    Args:
      probability: `[classes, *shape]`.
      below: the threshold, in [0, 1].

    Returns:
      `[*shape]`, uint8.
    """
    entropy = -(probability * np.log(np.maximum(probability, 1e-12))).sum(0) / np.log(len(probability))
    return np.where(entropy < below, probability.argmax(0), UNLABELLED).astype(np.uint8)


def write_guess(path: Path, classes: np.ndarray, targets: Mapping[str, np.ndarray]) -> None:
    """Writes what `sure_classes` says of a case, and further maps that its network was sure of as far.

    Args:
      path: of the file.
      classes: `[*shape]`, `UNLABELLED` in padding, too.
      targets: maps by name, `[*shape]` each, as `Example.targets` has them.
    """
    maps = {LABEL: classes, **{name: values.astype(np.uint8) for name, values in targets.items()}}
    write_whole(path, lambda file: np.savez_compressed(file, **maps))  # type: ignore[arg-type]


def read_guess(path: Path) -> Mapping[str, np.ndarray]:
    """The maps of a case.

    Raises:
      UserError: the file is gone or damaged.
    """
    return _read(path, path.stat().st_mtime_ns if path.exists() else 0)


@functools.lru_cache(MAPS_AT_ONCE)
def _read(path: Path, _written: int) -> Mapping[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as maps:
            return {name: maps[name] for name in maps.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise UserError(
            f"{path}: no pseudo-labels can be read there ({error}). They are made once a round; begin anew with --fresh."
        ) from error


def without_guess(case: Case) -> Case:
    """A case as its readers know it."""
    return case._replace(label=case.label._replace(guess=None)) if case.label and case.label.guess else case


def with_guess(example: Example, path: Path | None, window: tuple[slice, ...] = ()) -> Example:
    """An example, labelled too where a network was sure and no reader has labelled; for training alone.

    Args:
      example: as readers labelled it, or a patch of it.
      path: of the case's pseudo-labels; None where there are none, and the example stays as it is.
      window: where the patch lies in the case; everything when left out.
    """
    if path is None:
        return example
    shape = example.label.shape
    maps = {name: _padded(values[window], shape) for name, values in read_guess(path).items()}
    guessed = (maps[LABEL] != UNLABELLED) & ~example.labelled
    targets = example.targets and {
        name: np.where(guessed, maps[name], part).astype(part.dtype) if name in maps else part
        for name, part in example.targets.items()
    }
    label = np.where(guessed, maps[LABEL], example.label).astype(example.label.dtype)
    return example._replace(label=label, labelled=example.labelled | guessed, targets=targets)


def _padded(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    room = [(0, length - part) for length, part in zip(shape, values.shape, strict=True)]
    return np.pad(values, room, constant_values=UNLABELLED) if any(after for _, after in room) else values
