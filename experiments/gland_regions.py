"""Regions or whole images? Active learning for glands in histology, with networks whose uncertainty is looked at, too.

    python -m experiments.gland_regions --strategy bald --unit region
    python -m experiments.gland_regions --strategy bald --unit image

Li & Alstrøm 2020 ask readers for square regions of images instead of whole ones, and reach the same accuracy with about half of the pixels
labelled. Here is their setting: a residual network with a contour-aware decoder, dropout in its last two stages, T samples of it, weights
averaged over the training. Tissue is simulated (`jaxal/data/simulated/glands.py`); --data takes GlaS, ISIC or any folder of images with masks.

The default, ten rounds, takes three and a half minutes on two cores, simulation and compilation included. Tissue and sizes were chosen by looking at
seed 0; from seed 1 on regions took 0.33 to 0.83 of the pixels that whole images took to reach the same F1 (`docs/study-regions.md`).
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from jaxal.cli import command
from jaxal.data.images.masks import MaskListing, find_masks
from jaxal.data.simulated import glands
from jaxal.report import terminal
from jaxal.rounds.identity import config_hash
from jaxal.studies import common_options, masks, option_types, revisit
from jaxal.studies.fairness_option import with_fairness
from jaxal.studies.masks import PRESETS
from jaxal.studies.workers import Progress, made_once

TISSUE = {
    "smoke": glands.GlandsConfig((16, 8, 0), (48, 64)),
    "small": glands.GlandsConfig(stain_variation=0.5, noise=12.0),
    "paper": glands.GlandsConfig(shape=(528, 784), stain_variation=0.5, noise=12.0),
}


@dataclasses.dataclass(frozen=True)
class Arguments(masks.MaskArguments):
    """Decides which images, or which regions of them, to label next; here for glands."""

    strategy: option_types.strategies("clasp_pe,share=0.5") = ("bald",)  # type: ignore[valid-type]
    preset: Literal[tuple(PRESETS)] = "small"  # type: ignore[valid-type]
    """Sizes: smoke (every part, within a minute), small (minutes on two cores), paper (for a GPU, untried)."""
    cohorts: Path = Path("runs/cohorts")
    """Where simulated tissue is kept, to be used again."""


def main(arguments: Arguments) -> int:
    """Runs a study, or looks at one of its runs again; returns the exit status."""
    return command.run_study(lambda display: _run(arguments, display), arguments)


def _run(arguments: Arguments, display: terminal.Display) -> int:
    arguments = with_fairness(arguments)
    if revisit.is_asked_for(arguments):
        arguments = revisit.with_options_of_run(arguments)
    name = arguments.data.resolve().name if arguments.data else f"{arguments.preset}-{arguments.unit}"
    out = arguments.out or Path("runs") / f"gland_regions-{name}"
    common_options.check_options(arguments, arguments.data, out)
    listing, identity = (masks.read_listing(arguments), {}) if arguments.data else _simulated(arguments, display)
    return masks.run(arguments, PRESETS[arguments.preset], listing, identity, out, display)


def _simulated(arguments: Arguments, display: terminal.Display) -> tuple[MaskListing, dict]:
    """Simulated tissue, which is made first if it is not there; returns what identifies it, too."""
    config = TISSUE[arguments.preset]
    everything = {**dataclasses.asdict(config), "generator": glands.GENERATOR}
    folder = arguments.cohorts / f"glands-{sum(config.parts)}-{config_hash(everything)}"

    def make(progress: Progress) -> str:
        glands.write_glands(config, folder, progress)
        return f"Simulated {sum(config.parts)} images into {folder}"

    made_once(folder, make, display, "simulating")
    return find_masks(folder), {"simulation": everything}


if __name__ == "__main__":
    sys.exit(main(command.parse(Arguments, __spec__.name)))
