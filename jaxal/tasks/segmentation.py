"""Segmentation: every element of an image has a class.

All that differs from other kinds of tasks is here or named here: the loss, the statistics of label maps, how networks are assessed (`overlap.py`), pictures of
cases, and predictions on the grids that the cases came with.
"""

import csv
import functools
import io
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from nibabel.affines import voxel_sizes

from jaxal.acquisition import uncertainty
from jaxal.assessment import calibration, filtering, metrics
from jaxal.assessment.surfaces import SurfaceDistances, distances_between
from jaxal.data.prepared import UNLABELLED
from jaxal.data.scans.listing import ScanListing, read_classes
from jaxal.data.scans.prepare import prepared_shape
from jaxal.files import write_text
from jaxal.scoring import windows
from jaxal.scoring.statistics import StatisticsConfig, View, of_classes
from jaxal.strategies.table import STRATEGIES, STRATEGIES_OF_PARTS
from jaxal.task_kind import Curves, Predicting, Sight, Statistic, TaskKind
from jaxal.tasks.curves import of_dropped_elements
from jaxal.tasks.objects import PARTS_OF_DATA
from jaxal.tasks.original_grid import to_original_grid, write_image
from jaxal.tasks.overlap import DICE
from jaxal.tasks.pictures import draw_case, draw_plane
from jaxal.tasks.regions import OF_MAPS, WINDOWS_OF_GAIN, region_of_interest
from jaxal.training import losses
from jaxal.types import Case, Example, Seen

Array = jax.Array

# Training


def loss(config: Any, logits: Array, batch: Example) -> Array:
    """Cross-entropy, by default soft Dice, and if asked for what evidence costs, over the labelled elements (see `training.losses`)."""
    items, classes = logits.shape[:2]
    labels, labelled = batch.label.reshape(items, -1).astype(jnp.int32), batch.labelled.reshape(items, -1)
    total = losses.cross_entropy(logits, labels, labelled, losses.class_weights(classes, config.foreground_weight))
    if config.dice:
        total = total + losses.soft_dice(logits, labels, labelled, losses.present_foreground(labels, labelled, classes))
    if config.evidence:
        total = total + config.evidence * losses.evidence_divergence(logits, labels, labelled)
    return total


# Statistics


def overlap(view: View, config: StatisticsConfig) -> metrics.Overlap:
    """True and false positives and false negatives of each class over the labelled elements."""
    return metrics.overlap(view.logits, view.label, view.labelled)


def drawn(view: View, config: StatisticsConfig) -> Array:
    """How much of the case is predicted to be drawn: elements above class 0, and along each axis how many slices hold one, `[1 + rank]`."""
    is_drawn = ((uncertainty.mean_probability(view.single).argmax(0) > 0) & view.inside).reshape(view.shape)
    axes = range(is_drawn.ndim)
    slices = [is_drawn.any(tuple(other for other in axes if other != axis)).sum() for axis in axes]
    return jnp.stack([is_drawn.sum(), *slices])


def calibration_sums(view: View, config: StatisticsConfig) -> calibration.CalibrationSums:
    """What NLL, calibration errors and the Brier score over the labelled elements are made of."""
    return calibration.calibration_sums(view.logits, view.label, view.labelled)


def structures(classes: int, config: StatisticsConfig) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The structures whose uncertainty is assessed: unions of classes that were named, or each class above 0, whose names are then empty."""
    return config.regions or tuple(("", (number,)) for number in range(1, classes))


def filtered(view: View, config: StatisticsConfig) -> filtering.FilteredCounts:
    """What of each structure is kept at each threshold of the members' entropy, `[structures, thresholds]` each.

    Inside the organ is where the first channel is not at its lowest value: scans of brains are zero outside of them, and in others that is nearly
    everything.
    """
    probability = uncertainty.mean_probability(view.members)
    best, brightness = probability.argmax(0), view.image[:, 0]
    lowest = jnp.where(view.inside, brightness, jnp.inf).min()
    organ = view.inside & (brightness > lowest)

    def of(classes: tuple[int, ...]) -> filtering.FilteredCounts:
        share = functools.reduce(operator.add, (probability[number] for number in classes))
        entropy = uncertainty.probability_entropy(jnp.stack([share, 1.0 - share]))
        predicted, truth = (
            functools.reduce(operator.or_, (which == number for number in classes)) for which in (best, view.label)
        )
        return filtering.filtered_counts(filtering.percent_of_entropy(entropy, 2), predicted, truth, view.labelled, organ)

    found = [of(classes) for _, classes in structures(len(probability), config)]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *found)


def curves(test: Seen, classes: Sequence[str], config: StatisticsConfig) -> dict[str, Any]:
    """Dice and QU-BraTS of each structure over what is kept."""
    counts, groups, found = test.statistics["filtered"], [case.group for case in test.cases], {}
    for place, (name, numbers) in enumerate(structures(len(classes), config)):
        title = name or classes[numbers[0]]
        of_structure = jax.tree.map(lambda part, place=place: np.asarray(part)[:, place], counts)
        found[title] = of_dropped_elements(f"Dice of {title}", of_structure, groups)
    return found


STATISTICS: Mapping[str, Statistic] = {
    **of_classes(region_of_interest),
    **OF_MAPS,
    "overlap": Statistic(overlap),
    "drawn": Statistic(drawn),
    "calibration": Statistic(calibration_sums),
    "filtered": Statistic(filtered, needs_members=True),
}


# Pictures and predictions


def picture(sight: Sight) -> bytes | None:
    """Slices of a volume, or a plane image, with truth, prediction, where it is unsure, and what is asked for."""
    if len(sight.spacing_mm) == 2:
        return draw_plane(sight.example, sight.pixels, sight.predict(), sight.parts, sight.sure_below)
    return draw_case(sight.example, sight.predict(), sight.spacing_mm, sight.parts, sight.sure_below)


_UNKNOWN = SurfaceDistances(*[float("nan")] * 5)


class Predicted(NamedTuple):
    """One case's prediction.

    Attributes:
      case, part: as `Predicting.cases` has them.
      path: of its label map.
      dice: of each class above 0 on the original grid, NaN where it is undefined or unknown.
      apart: how far the surfaces of the same classes lie apart on that grid, in mm; none where the truth is unknown.
    """

    case: Case
    part: str
    path: Path
    dice: dict[str, float]
    apart: Mapping[str, SurfaceDistances] = MappingProxyType({})

    @property
    def mean_dice(self) -> float:
        """Over the classes that are defined; NaN where none is."""
        defined = [value for value in self.dice.values() if not np.isnan(value)]
        return float(np.mean(defined)) if defined else float("nan")


def predictions(asked: Predicting) -> list[str]:
    """Writes `predictions/ID.nii.gz` for every case, on the grid of the case's own files, and `predictions.csv`.

    Where a case has a label map, its Dice and the distances of surfaces are those on the original grid.
    """
    files, predicted = {case.id: case for case in asked.origin.cases}, []
    for case, part in asked.cases:
        scan, path = files[case.id], asked.folder / "predictions" / f"{case.id}.nii.gz"
        unpadded = tuple(slice(size) for size in prepared_shape(case))
        probability = asked.predict(case).probability[:, *unpadded]
        write_image(path, to_original_grid(probability, scan.label or scan.images[0], asked.origin.values))
        one = Predicted(case, part, path, dict.fromkeys(asked.classes[1:], float("nan")))
        if scan.label:
            one = _measured(one, scan.label, asked.origin)
        predicted.append(one)
        asked.progress(len(predicted), len(asked.cases))
    table = asked.folder / "predictions.csv"
    write_table(table, predicted)
    folder = asked.folder / "predictions"
    told = f"Dice of each, and how far surfaces lie apart: {table}"
    return [*in_short(predicted), f"Label maps, each on the grid of the case's own files: {folder}", told]


def _measured(predicted: Predicted, label: Path, listing: ScanListing) -> Predicted:
    """A prediction with its measures on the original grid, over what is labelled."""
    volume, guess = read_classes(label, listing), read_classes(predicted.path, listing).values
    truth, classes = volume.values, list(predicted.dice)
    labelled = truth != UNLABELLED
    dice = metrics.dice(metrics.overlap_of_maps(guess, truth, len(classes) + 1, labelled))[1:].tolist()
    spacing_mm = voxel_sizes(volume.affine).tolist()
    apart = {
        name: distances_between((guess == number) & labelled, (truth == number) & labelled, spacing_mm)
        for number, name in enumerate(classes, 1)
    }
    return predicted._replace(dice=dict(zip(classes, dice, strict=True)), apart=apart)


def in_short(predicted: Sequence[Predicted]) -> list[str]:
    """A line for each part of the data: its mean Dice."""
    lines = []
    for part in PARTS_OF_DATA:
        values = [row.mean_dice for row in predicted if row.part == part and not np.isnan(row.mean_dice)]
        if values:
            lines.append(f"  {part:<10} mean Dice {np.mean(values):.3f} over {len(values)} cases")
    return lines


def write_table(path: Path, predicted: Sequence[Predicted]) -> None:
    """Writes a row a case: its group and part of the data, its Dice and, where any case has them, the distances of surfaces.

    What is undefined, because a class is neither there nor predicted, or unknown, is left empty; a distance to nothing is `inf`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = list(predicted[0].dice)
    measured = classes if any(row.apart for row in predicted) else []
    distances = [f"{what}_mm_{name}" for name in measured for what in ("hausdorff95", "mean_distance")]
    writer.writerow(["case", "group", "part", "dice", *(f"dice_{name}" for name in classes), *distances, "file"])
    for row in predicted:
        apart = [row.apart.get(name, _UNKNOWN) for name in measured]
        values = [row.mean_dice, *row.dice.values(), *(value for one in apart for value in (one.hausdorff95, one.mean))]
        numbers = ["" if np.isnan(value) else f"{value:.4f}" for value in values]
        writer.writerow([row.case.id, row.case.group, row.part, *numbers, row.path.relative_to(path.parent)])
    write_text(path, text.getvalue())


SEGMENTATION = TaskKind(
    name="segmentation",
    dense=True,
    label_type=jnp.int32,
    elements="voxels",
    loss=loss,
    moments=uncertainty.CLASS_MOMENTS,
    statistics=STATISTICS,
    strategies=STRATEGIES,
    assessment=DICE,
    picture=picture,
    predictions=predictions,
    curves=Curves("filtered", curves),
)

# Where parts of cases are asked for.
SEGMENTATION_OF_PARTS = SEGMENTATION._replace(
    statistics={**STATISTICS, **windows.STATISTICS, **WINDOWS_OF_GAIN}, strategies=STRATEGIES_OF_PARTS, in_parts=True
)
