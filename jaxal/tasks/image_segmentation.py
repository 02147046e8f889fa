"""Segmentation of plane images, such as glands in histology: F1 of all pixels at once, and predictions as images of the size that they came with."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.special import expit

from jaxal.acquisition import maps
from jaxal.assessment import metrics
from jaxal.assessment.objects import objects_of, separated
from jaxal.files import write_whole
from jaxal.scoring.statistics import StatisticsConfig, View
from jaxal.strategies.table import STRATEGIES_OF_MASKS, STRATEGIES_OF_PARTS
from jaxal.task_kind import Predicting, Prediction, Statistic
from jaxal.tasks.objects import CaseObjects, write_objects
from jaxal.tasks.overlap import POOLED_F1
from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS, Predicted, in_short, write_table
from jaxal.types import Array


def predictions(asked: Predicting) -> list[str]:
    """Writes for every image, of its own size, `predictions/ID.png`, each pixel the number of its class, and `objects/ID.png`, of its object.

    `predictions.csv` has Dice of the prepared images, which may be smaller, and `objects.csv` how well single objects were found.
    """
    predicted: list[Predicted] = []
    sizes = {image.id: image.image for image in asked.origin.listing.images}

    def objects() -> Iterator[CaseObjects]:
        for case, part in asked.cases:
            shape = asked.origin.shape_of(case)
            prediction = asked.predict(case)
            classes = prediction.probability[:, : shape[0], : shape[1]].argmax(0).astype(np.uint8)
            found = objects_in(prediction, shape)
            path = asked.folder / "predictions" / f"{case.id}.png"
            with Image.open(sizes[case.id]) as image:
                _write_image(path, classes, image.size)
                _write_image(asked.folder / "objects" / f"{case.id}.png", found.astype(np.uint16), image.size)
            dice = dict.fromkeys(asked.classes[1:], float("nan"))
            if case.label:
                example = asked.origin.load(case)
                truth, labelled = (map_[: shape[0], : shape[1]] for map_ in (example.label, example.labelled))
                counts = metrics.overlap_of_maps(classes, truth, len(asked.classes), labelled)
                dice = dict(zip(asked.classes[1:], metrics.dice(counts)[1:].tolist(), strict=True))
            predicted.append(Predicted(case, part, path, dice))
            asked.progress(len(predicted), len(asked.cases))
            if case.label:
                yield CaseObjects(case.id, part, found * labelled, asked.origin.instances(case) * labelled)

    spacing = asked.origin.dataset.spacing_mm  # in pixels of the images as they came
    lines = write_objects(asked.folder / "objects.csv", objects(), spacing, "px")
    table = asked.folder / "predictions.csv"
    write_table(table, predicted)
    where = f"{asked.folder / 'predictions'}, and numbers of objects: {asked.folder / 'objects'}"
    return [*in_short(predicted), *lines, f"Label maps, of the images' own size: {where}", f"Dice of each: {table}"]


def objects_in(prediction: Prediction, shape: tuple[int, ...]) -> np.ndarray:
    """The number of each pixel's object, `[height, width]` without padding, 0 where there is none.

    Objects are connected parts of the foreground, told apart by their contours where the network has learned any.
    """
    foreground = prediction.probability[:, : shape[0], : shape[1]].argmax(0) > 0
    if "contour" not in prediction.outputs:
        return objects_of(foreground)
    return separated(foreground.astype(float), expit(prediction.outputs["contour"][: shape[0], : shape[1]]))


def _write_image(path: Path, numbers: np.ndarray, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    enlarged = Image.fromarray(numbers).resize(size, Image.Resampling.NEAREST)
    write_whole(path, lambda file: enlarged.save(file, "PNG"))


def disagreement_with_sides(view: View, config: StatisticsConfig) -> Array:
    """How far the contour-aware network's side outputs are from its last one."""
    sides = view.auxiliary["side_objects"]
    return maps.disagreement_with_sides(sides.reshape(*sides.shape[:2], -1), view.logits, view.inside)


OF_SIDES = {"disagreement_with_sides": Statistic(disagreement_with_sides, needs_features=True)}
IMAGE_SEGMENTATION = SEGMENTATION._replace(
    name="image segmentation",
    elements="pixels",
    plane=True,
    assessment=POOLED_F1,
    predictions=predictions,
    statistics={**SEGMENTATION.statistics, **OF_SIDES},
    strategies=STRATEGIES_OF_MASKS,
)
IMAGE_SEGMENTATION_OF_PARTS = IMAGE_SEGMENTATION._replace(
    statistics=SEGMENTATION_OF_PARTS.statistics, strategies=STRATEGIES_OF_PARTS, in_parts=True
)
