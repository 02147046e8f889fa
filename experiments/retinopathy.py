"""Which fundus images to grade next: diabetic retinopathy in five grades, the first study of the information-gain paper.

    python -m experiments.retinopathy --data DIR --strategy aeig
    python -m experiments.retinopathy --preset smoke

DIR is Kaggle's diabetic retinopathy detection: `trainLabels.csv` and the images in `train/`. Both eyes of a patient stay in one split.
The paper (Mehta et al. 2022, arXiv 2208.00974) takes 8408 of Kaggle's 35126 images, 5000 for training, 1000 for evaluation and 2408 for the
test, a ResNet-18 with ImageNet's weights at 512 x 512 pixels, 100 epochs of Adam in batches of 64 at a rate of 5e-4 that falls by 0.5 % an
epoch, flips and rotations of up to 30 degrees. The preset `paper` has its sizes and its training but for this: it draws 8408 images of its
own, since nobody knows the paper's, angles come from a normal distribution, weights decay beside the gradient (AdamW), and batch norms stay
as the weights bring them (`jaxal/networks/resnet.py`). Needs a GPU and `--weights`; not yet measured. The paper reports 95 % of full-data AUC
with 19 % of the labels for AEIG, 21 to 27 % for entropy, BALD, core-set and random.
"""

import dataclasses
import sys
from typing import Literal

from jaxal.cli import command
from jaxal.data.images.layouts import RETINOPATHY_MEANT, read_retinopathy
from jaxal.data.simulated import pretend
from jaxal.networks.resnet import ResNetConfig
from jaxal.scoring.members import MembersConfig
from jaxal.studies import images
from jaxal.studies.presets import OF_IMAGES, OF_IMAGES_AS_PUBLISHED

PRESETS = {
    "smoke": images.ImagePreset(
        (32, 32), 2, 0.3, 0.15, 0.2, 0.3, ResNetConfig(width=8, groups=4, entry="narrow"),
        dataclasses.replace(OF_IMAGES, steps=10, warm_steps=5, batch_size=8), MembersConfig(dropout=4), batch_size=16,
    ),
    "small": images.ImagePreset((64, 64), 6, 0.10, 0.06, 0.12, 0.29, ResNetConfig(width=16, groups=4), OF_IMAGES),
    "paper": images.ImagePreset((512, 512), 6, 0.10, 0.06, 0.12, 0.29, ResNetConfig(dtype="bfloat16"), OF_IMAGES_AS_PUBLISHED, images=8408),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Arguments(images.FolderArguments):
    """Decides which fundus images to grade next, and reports the AUC of each grade."""

    preset: Literal[tuple(PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (a minute; without --data on made-up images), small (64 x 64 pixels, two cores), paper (512 x 512, a GPU)."""


STUDY = images.FolderStudy(
    "retinopathy", PRESETS, lambda folder, _: read_retinopathy(folder), pretend.write_retinopathy, RETINOPATHY_MEANT, True
)


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run_study(lambda display: images.run_folder(STUDY, arguments, display), arguments)


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
