"""Tasks of the leaderboard on simulated images: brains with two groups of patients, brains with scores, and glands by region."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxal.data.images.masks import find_masks
from jaxal.data.scans.folder import FolderConfig
from jaxal.data.simulated import brain, glands
from jaxal.data.simulated.atrophy import AtrophyConfig, write_atrophy
from jaxal.data.simulated.structures import StructureName
from jaxal.leaderboard.studies import Made, kept
from jaxal.networks.dcan import DCANConfig
from jaxal.networks.unet import UNetConfig
from jaxal.scoring.members import MembersConfig
from jaxal.studies import masks, scans, targets
from jaxal.studies.presets import Preset
from jaxal.studies.workers import Progress, made_once
from jaxal.training.config import TrainingConfig

COHORT = 2  # seed of the simulated subjects, which no other study has
BRAINS = Preset(
    cases=72, spacing_mm=3.0, rounds=4, query_size=3, initial_size=6, evaluation=0.15, test=0.35,
    network=UNetConfig(width=6), training=TrainingConfig(steps=100, warm_steps=40, steps_per_case=4),
    members=MembersConfig(dropout=6),
)  # fmt: skip
COGNITION = targets.TargetPreset(
    5, 30, 30, targets.NETWORK, TrainingConfig(steps=200, warm_steps=60, batch_size=16, peak_rate=3e-3, dice=False),
    members=MembersConfig(dropout=6),
)  # fmt: skip
ATROPHY = AtrophyConfig(400, 8.0, seed=COHORT)
TISSUE = glands.GlandsConfig((40, 20, 0), (64, 96), stain_variation=0.5, noise=12.0, seed=COHORT)
GLANDS = masks.MaskPreset(
    96, (48, 48), 4, 4, 2, 0.15, 0.3, DCANConfig(architecture="small", width=8, features=8, entry="narrow"),
    dataclasses.replace(masks.TRAINING, steps=200, warm_steps=80, attempts=1), MembersConfig(dropout=6),
)  # fmt: skip


def of_brains(bias: brain.Bias, structure: StructureName = "left_caudate") -> Callable[[Path, Any], Made]:
    """A study on simulated brains, whose second group is short at the start and has a bias."""
    config = brain.BrainConfig(BRAINS.cases, BRAINS.spacing_mm, bias, seed=COHORT, structure=structure)

    @kept
    def make(prepared: Path, display: Any) -> Made:
        folder = prepared / f"brains-{bias}-{structure}"
        _simulated(folder, lambda progress: brain.write_cohort(config, folder, progress), display)
        whole = FolderConfig(patch_voxels=sys.maxsize, levels=BRAINS.network.levels)
        ready = scans.read_folder(folder, prepared / "scans" / folder.name, whole, display)
        identity = {"simulation": {**config.described, "generator": brain.GENERATOR}}
        return BRAINS, scans.make_source(bias, scans.ScanArguments(prepared=prepared), BRAINS, ready, identity)

    return make


@kept
def cognition(prepared: Path, display: Any) -> Made:
    """A study on simulated brains with atrophy, whose scores are to be predicted."""
    folder = prepared / "atrophy"
    _simulated(folder, lambda progress: write_atrophy(ATROPHY, folder, progress), display)
    table = folder / "participants.tsv"
    ready = targets.read_table(table, targets.TARGETS, prepared / "scans" / folder.name, FolderConfig(), display)
    return COGNITION, targets.make_source(targets.TargetArguments(prepared=prepared, data=table), COGNITION, ready)


@kept
def glands_by_region(prepared: Path, display: Any) -> Made:
    """A study on simulated tissue, where readers are asked for regions of images."""
    folder = prepared / "glands"
    _simulated(folder, lambda progress: glands.write_glands(TISSUE, folder, progress), display)
    identity = {"simulation": {**dataclasses.asdict(TISSUE), "generator": glands.GENERATOR}}
    arguments = masks.MaskArguments(prepared=prepared, unit="region")
    return masks.sizes_and_source(arguments, GLANDS, find_masks(folder), identity, prepared / "scans" / folder.name, display)


def _simulated(folder: Path, write: Callable[[Progress], object], display: Any) -> None:
    """Simulates a folder that is not there."""

    def make(progress: Progress) -> str:
        write(progress)
        return f"Simulated {folder}"

    made_once(folder, make, display, "simulating")
