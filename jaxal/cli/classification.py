"""Active learning on your own images: which of them to label next.

    python -m jaxal.cli.classification --data DIR --strategy random entropy aeig --seeds 3
    python -m jaxal.cli.classification --data breastmnist.npz --study
    python -m jaxal.cli.classification --data ISIC --group-column sex,age_approx --bins 60 --without-group leave-out

DIR holds a table `images.csv` with the columns `path` and `label`, perhaps `subject` and columns of groups; or one folder a class; or is in the
layout of Kaggle's diabetic retinopathy, of ISIC 2018, task 3, or of ISIC 2019; or it is a MedMNIST file (`jaxal/data/images/layouts.py` shows all). It is read
only: images are decoded and resized once, into --prepared. Labels are taken from it, as if readers gave them on demand: the study tells
which strategy would have been worth following.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from jaxal.cli import command
from jaxal.data.groups import Grouping, WithoutGroup
from jaxal.data.images.layouts import MEANT, find_images
from jaxal.data.images.listing import Listing
from jaxal.report import terminal
from jaxal.studies import images, option_types
from jaxal.studies.fairness_option import STRATEGIES_OF_IMAGES, FairnessOption, check_groups, with_fairness


@dataclasses.dataclass(frozen=True)
class Arguments(images.FolderArguments, FairnessOption):
    """Decides which of your images to label next, and reports each class's AUC."""

    preset: Literal[tuple(images.OWN_IMAGES)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (a minute), small (64 x 64 pixels, two cores), paper (512 x 512, a GPU)."""
    size: option_types.Numbers = ()
    """Height and width to which images are brought. Default: the preset's."""
    group_column: option_types.Name = None
    """Column of images.csv, or of ISIC 2019's metadata, that names each image's group of patients; of several, such as sex,age_approx, each
    combination is a group."""
    bins: option_types.Edges = ()
    """Edges that cut a --group-column of numbers into groups, such as 60 75 or 60,75."""
    quantiles: option_types.Number = None
    """Groups of equal size for a --group-column of many different numbers, where no --bins are given. Default: two."""
    without_group: WithoutGroup = "refuse"
    """What becomes of images that have no value in --group-column: none may be without (refuse), or they are left out and counted (leave-out)."""
    fairness: bool = False
    """Is entropy unfair to a group of patients here, and what mends it? In place of --strategy random, stratified_random, entropy and worst_group, with
    three seeds or more and training on everything."""


def _read(folder: Path, arguments: Arguments) -> Listing:
    bins = option_types.edges(arguments.bins)
    listing = find_images(folder, Grouping(arguments.group_column, bins, arguments.quantiles, arguments.without_group))
    check_groups(arguments, sorted({image.group for image in listing.images}))
    return listing


STUDY = images.FolderStudy("classification", images.OWN_IMAGES, _read, None, MEANT)


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run_study(lambda display: _run(arguments, display), arguments)


def _run(arguments: Arguments, display: terminal.Display) -> int:
    return images.run_folder(STUDY, with_fairness(arguments, STRATEGIES_OF_IMAGES), display)


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
