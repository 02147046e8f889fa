"""Segmentation of plane images, such as glands in histology: F1 of all pixels at once, and predictions as images of the size that they came with."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from jaxal.assessment import metrics
from jaxal.assessment.objects import objects_of
from jaxal.files import write_whole
from jaxal.strategies.table import STRATEGIES_OF_PARTS
from jaxal.task_kind import Predicting
from jaxal.tasks.objects import CaseObjects, write_objects
from jaxal.tasks.overlap import POOLED_F1
from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS, Predicted, in_short, write_table


def predictions(asked: Predicting) -> list[str]:
    """Writes `predictions/ID.png` for every image, of its own size, each pixel the number of its class; `predictions.csv`; and `objects.csv`.

    Dice is that of the prepared images, which may be smaller. Objects are connected parts of what is predicted as foreground.
    """
    predicted: list[Predicted] = []
    sizes = {image.id: image.image for image in asked.origin.listing.images}

    def objects() -> Iterator[CaseObjects]:
        for case, part in asked.cases:
            shape = asked.origin.shape_of(case)
            classes = asked.predict(case)[:, : shape[0], : shape[1]].argmax(0).astype(np.uint8)
            path = asked.folder / "predictions" / f"{case.id}.png"
            with Image.open(sizes[case.id]) as image:
                _write_image(path, classes, image.size)
            dice = dict.fromkeys(asked.classes[1:], float("nan"))
            if case.label:
                example = asked.origin.load(case)
                truth, labelled = (map_[: shape[0], : shape[1]] for map_ in (example.label, example.labelled))
                counts = metrics.overlap_of_maps(classes, truth, len(asked.classes), labelled)
                dice = dict(zip(asked.classes[1:], metrics.dice(counts)[1:].tolist(), strict=True))
            predicted.append(Predicted(case, part, path, dice))
            asked.progress(len(predicted), len(asked.cases))
            if case.label:
                yield CaseObjects(case.id, part, objects_of(classes > 0), asked.origin.instances(case))

    lines = write_objects(asked.folder / "objects.csv", objects(), asked.origin.dataset.spacing_mm)
    table = asked.folder / "predictions.csv"
    write_table(table, predicted)
    folder = asked.folder / "predictions"
    return [*in_short(predicted), *lines, f"Label maps, of the images' own size: {folder}", f"Dice of each: {table}"]


def _write_image(path: Path, classes: np.ndarray, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    enlarged = Image.fromarray(classes).resize(size, Image.Resampling.NEAREST)
    write_whole(path, lambda file: enlarged.save(file, "PNG"))


IMAGE_SEGMENTATION = SEGMENTATION._replace(
    name="image segmentation", elements="pixels", plane=True, assessment=POOLED_F1, predictions=predictions
)
IMAGE_SEGMENTATION_OF_PARTS = IMAGE_SEGMENTATION._replace(
    statistics=SEGMENTATION_OF_PARTS.statistics, strategies=STRATEGIES_OF_PARTS, in_parts=True
)
