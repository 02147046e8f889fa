"""Which dermoscopic images to label next: seven kinds of skin lesion, the second study of the information-gain paper.

    python -m experiments.skin_lesions --data DIR --strategy aeig
    python -m experiments.skin_lesions --preset smoke

DIR is task 3 of ISIC 2018: the training images and their one-hot table of classes; images of one lesion stay in one split if the table of
lesions is there. The paper (Mehta et al. 2022, arXiv 2208.00974) takes all 10015 images, 6000 for training, 1500 for evaluation and 2515 for
the test, at 600 x 450 pixels and a rate of 1e-4; all else is as for retinopathy, whose module tells where the preset `paper` departs
from it. Needs a GPU; not yet measured. The paper reports 95 % of full-data AUC with 14 % of the labels for AEIG, 14.1 to 18.2 % for the others.
"""

import dataclasses
import sys
from typing import Literal

from jaxal.cli import command
from jaxal.data.images.isic import SKIN_MEANT, read_skin_lesions
from jaxal.data.simulated import pretend
from jaxal.networks.resnet import ResNetConfig
from jaxal.scoring.members import MembersConfig
from jaxal.studies import images
from jaxal.studies.presets import OF_IMAGES, OF_IMAGES_AS_PUBLISHED

PRESETS = {
    "smoke": images.ImagePreset(
        (24, 32), 2, 0.3, 0.15, 0.2, 0.3, ResNetConfig(architecture="small", width=8, groups=4, entry="narrow"),
        dataclasses.replace(OF_IMAGES, steps=10, warm_steps=5, batch_size=8), MembersConfig(dropout=4), batch_size=16,
    ),
    "small": images.ImagePreset((48, 64), 6, 0.10, 0.06, 0.15, 0.25, ResNetConfig(width=16, groups=4), OF_IMAGES),
    "paper": images.ImagePreset(
        (450, 600), 6, 0.10, 0.06, 0.15, 0.25, ResNetConfig(dtype="bfloat16"), dataclasses.replace(OF_IMAGES_AS_PUBLISHED, peak_rate=1e-4, warm_rate=1e-4)
    ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Arguments(images.FolderArguments):
    """Decides which dermoscopic images to label next, and reports each class's AUC."""

    preset: Literal[tuple(PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (a minute; without --data on made-up images), small (64 x 48 pixels, two cores), paper (600 x 450, a GPU)."""


STUDY = images.FolderStudy(
    "skin_lesions", PRESETS, lambda folder, _: read_skin_lesions(folder), pretend.write_skin_lesions, SKIN_MEANT, True
)


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run_study(lambda display: images.run_folder(STUDY, arguments, display), arguments)


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
