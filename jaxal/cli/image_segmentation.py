"""Active learning on your own images with masks: which of them, or which regions of them, to label next.

    python -m jaxal.cli.image_segmentation --data DIR --strategy random bald --unit region --seeds 3

DIR holds images with a mask each, as pairs of files, in the layout of GlaS or of ISIC's segmentation tasks (`jaxal/data/images/masks.py` shows all). It is
read only: images are decoded and made smaller once, into --prepared. Masks are taken from it, as if readers drew them on demand: the study tells
which strategy would have been worth following.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from jaxal.cli import command
from jaxal.errors import UserError
from jaxal.report import terminal
from jaxal.studies import common_options, masks, revisit
from jaxal.studies.fairness_option import with_fairness


@dataclasses.dataclass(frozen=True)
class Arguments(masks.MaskArguments):
    """Decides which of your images, or which regions of them, to label next, and reports F1 of all pixels."""

    preset: Literal[tuple(masks.PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (every part, within a minute), small (128 pixels, minutes on two cores), paper (784 pixels, for a GPU, untried)."""


def main(arguments: Arguments) -> int:
    """Runs a study or looks at a run again; returns the exit status."""
    return command.run_study(lambda display: _run(arguments, display), arguments)


def _run(arguments: Arguments, display: terminal.Display) -> int:
    arguments = with_fairness(arguments)
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    if arguments.data is None:
        raise UserError("--data DIR is needed: the folder of images with masks (docs/own-masks.md says what it may look like).")
    out = arguments.out or Path("runs") / f"image-segmentation-{arguments.data.resolve().name}-{arguments.preset}"
    common_options.check_options(arguments, arguments.data, out)
    return masks.run(arguments, masks.PRESETS[arguments.preset], masks.read_listing(arguments), {}, out, display)


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
