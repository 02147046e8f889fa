"""Active learning on your own images: which of them to label next.

    python -m jaxal.cli.classification --data DIR --strategy random entropy aeig --seeds 3
    python -m jaxal.cli.classification --data breastmnist.npz --study

DIR holds a table `images.csv` with the columns `path` and `label`, perhaps `subject` and columns of groups; or one folder a class; or is in the
layout of Kaggle's diabetic retinopathy or ISIC 2018, task 3; or it is a MedMNIST file (`jaxal/data/images/layouts.py` shows all). It is read
only: images are decoded and resized once, into --prepared. Labels are taken from it, as if readers gave them on demand: the study tells
which strategy would have been worth following.
"""

import dataclasses
import sys
from typing import Literal

from jaxal.cli import command
from jaxal.data.images.layouts import MEANT, find_images
from jaxal.studies import images, option_types


@dataclasses.dataclass(frozen=True)
class Arguments(images.FolderArguments):
    """Decides which of your images to label next, and reports each class's AUC."""

    preset: Literal[tuple(images.OWN_IMAGES)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (a minute), small (64 x 64 pixels, two cores), paper (512 x 512, a GPU)."""
    size: option_types.Numbers = ()
    """Height and width to which images are brought. Default: the preset's."""
    group_column: option_types.Name = None
    """Column of images.csv that names each image's group of patients."""


STUDY = images.FolderStudy(
    "classification", images.OWN_IMAGES, lambda folder, arguments: find_images(folder, arguments.group_column), None, MEANT
)


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run(lambda display: images.run_folder(STUDY, arguments, display), arguments.hosts, arguments.submission)


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
