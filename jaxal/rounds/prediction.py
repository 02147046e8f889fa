"""What a finished round's network makes of every case: label maps on the grids that the cases came with, or probabilities of images."""

import csv
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from nibabel import orientations

from jaxal.assessment import metrics
from jaxal.data.cases import Case
from jaxal.data.scans.layouts import Found
from jaxal.data.scans.nifti import open_image, read_label
from jaxal.data.scans.prepare import resample
from jaxal.rounds import loop
from jaxal.rounds.checkpoint import write_text
from jaxal.scoring.members import predict


class Predicted(NamedTuple):
    """One case's prediction.

    Attributes:
      case: whose.
      part: `labelled`, `pool`, `evaluation` or `test`.
      path: of the label map that was written.
      dice: of each class above 0, on the original grid; NaN where neither truth nor prediction holds it.
    """

    case: Case
    part: str
    path: Path
    dice: dict[str, float]

    @property
    def mean_dice(self) -> float:
        """Over the classes that are defined; NaN where none is."""
        defined = [value for value in self.dice.values() if not np.isnan(value)]
        return float(np.mean(defined)) if defined else float("nan")


def predict_round(
    folder: Path, config: loop.LoopConfig, task: loop.Task, found: Found, progress: Callable[[int, int], None]
) -> list[Predicted]:
    """Writes what the last round's network, of several the first, makes of every case, on the grid of the case's label map.

    Args:
      folder: of the run; label maps go to `predictions/ID.nii.gz` in it.
      config, task: as the run was made with.
      found: where the cases came from.
      progress: called with the number of cases done and of all.

    Raises:
      UserError: no round is finished, or its checkpoint is gone.
    """
    round_, labelled = loop.last_round(folder, task)
    params = loop.make_networks(folder, config, task)[0].restored(round_)
    splits = task.splits._asdict() | {"labelled": labelled, "pool": sorted(set(task.splits.pool) - set(labelled))}
    parts = sorted((case, part) for part, cases in splits.items() for case in cases)
    sources = {files.id: files.label for files in found.cases}
    predicted = []
    for case, part in parts:
        probability = predict(task.model, params, task.load(case).image)
        own = tuple(slice(size) for size in np.load(case.label, mmap_mode="r", allow_pickle=False).shape)
        path = folder / "predictions" / f"{case.id}.nii.gz"
        write_image(path, to_original_grid(probability[:, *own], sources[case.id]))
        truth, guess = read_label(sources[case.id]).values, read_label(path).values
        valid = truth != found.ignore if found.ignore is not None else np.ones(truth.shape, bool)
        counts = metrics.overlap_of_maps(guess, truth, len(found.classes), valid)
        dice = dict(zip(found.classes[1:], metrics.dice(counts)[1:].tolist(), strict=True))
        predicted.append(Predicted(case, part, path, dice))
        progress(len(predicted), len(parts))
    return predicted


def predict_images(
    path: Path, folder: Path, config: loop.LoopConfig, task: loop.Task, progress: Callable[[int, int], None]
) -> None:
    """Writes a table of what the last round's network, of several the first, makes of every image: a row an image.

    Arguments are those of `predict_round`; `path` is the table's.
    """
    round_, labelled = loop.last_round(folder, task)
    params = loop.make_networks(folder, config, task)[0].restored(round_)
    parts = task.splits._asdict() | {"labelled": labelled, "pool": sorted(set(task.splits.pool) - set(labelled))}
    rows = sorted((case, part) for part, cases in parts.items() for case in cases)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = task.dataset.classes
    writer.writerow(["image", "group", "part", "class", "predicted", *(f"probability_{name}" for name in classes)])
    for done, (case, part) in enumerate(rows, 1):
        probability = predict(task.model, params, task.load(case).image)
        numbers = [f"{value:.6g}" for value in probability]
        writer.writerow([case.id, case.group, part, case.category, classes[int(probability.argmax())], *numbers])
        progress(done, len(rows))
    write_text(path, text.getvalue())


def write_predictions(path: Path, predicted: Sequence[Predicted]) -> None:
    """Writes a table of predictions, a row a case."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = list(predicted[0].dice)
    writer.writerow(["case", "group", "part", "dice", *(f"dice_{name}" for name in classes), "file"])
    for one in predicted:
        numbers = ["" if np.isnan(value) else f"{value:.4f}" for value in (one.mean_dice, *one.dice.values())]
        writer.writerow([one.case.id, one.case.group, one.part, *numbers, one.path.relative_to(path.parent)])
    write_text(path, text.getvalue())


def to_original_grid(probability: np.ndarray, source: Path) -> nibabel.Nifti1Image:
    """The most probable class on the grid of a file, axes, affine and all.

    Args:
      probability: `[classes, *shape]` of the prepared case, without padding.
      source: the label map or image whose grid it is.
    """
    original = open_image(source)
    grid = original.shape[:3]
    turn = orientations.io_orientation(original.affine)  # from the file's axes to RAS
    turned = tuple(np.array(grid)[np.argsort(turn[:, 0])])
    best, winner = np.full(turned, -1.0, np.float32), np.zeros(turned, np.uint8)
    for label, share in enumerate(probability):
        share = resample(share, turned, order=1)
        winner = np.where(share > best, np.uint8(label), winner)
        best = np.maximum(best, share)
    back = orientations.ornt_transform(np.array([[axis, 1] for axis in range(3)]), turn)
    image = nibabel.Nifti1Image(orientations.apply_orientation(winner, back), original.affine)
    image.header.set_xyzt_units("mm")
    for name in ("qform", "sform"):  # viewers differ in which of the two they believe, so both stay what they were
        affine, code = getattr(original, f"get_{name}")(coded=True)
        getattr(image, f"set_{name}")(affine, int(code))
    return image


def write_image(path: Path, image: nibabel.Nifti1Image) -> None:
    """Writes a `.nii.gz` aside and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        nibabel.save(image, aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
