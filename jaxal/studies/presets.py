"""Sizes of the studies on simulated brains, from a smoke test to the paper's, and trainings that studies on images share.

Why these numbers of steps? Mean test Dice of groups A / B at `small`, strong bias, over three seeds
(`python -m experiments.brain_steps --preset small --seeds 3`): eight labelled cases are at their plateau by 200 steps (50: 0.848 /
0.659, 100: 0.885 / 0.739, 200: 0.908 / 0.775, 400: 0.915 / 0.777). Sixty are not: 0.917 / 0.899 at 200 steps and 0.938 / 0.922 at
400 (one seed, an earlier bias field). Hence a base and some steps for every case. After four more labels 120 warm steps do what
220 from scratch do (0.919 / 0.834 and 0.918 / 0.832).
"""

import dataclasses
from typing import Any, TypeVar

import jax

from jaxal.networks.layers import Dtype, dtype_here
from jaxal.networks.unet import UNetConfig
from jaxal.scoring.members import MembersConfig
from jaxal.training.config import TrainingConfig

T = TypeVar("T")
_BATCH_OF_A_TPU = 8  # of fewer cases its compiler makes twice the traffic (docs/benchmarks.md)


@dataclasses.dataclass(frozen=True)
class Preset:
    """Sizes of a study.

    Attributes:
      cases: simulated subjects, half of them in group B.
      spacing_mm: voxel size of the simulation.
      rounds, query_size, initial_size: see `common_options.StudyArguments`.
      evaluation, test: shares of the cases that go to these splits.
      network, training: configuration.
      members: whose disagreement uncertainty is.
      batch_size: cases scored at once on each device.
    """

    cases: int
    spacing_mm: float
    rounds: int
    query_size: int
    initial_size: int
    evaluation: float
    test: float
    network: UNetConfig
    training: TrainingConfig
    members: MembersConfig = MembersConfig()  # noqa: RUF009 (frozen)
    batch_size: int = 1


PRESETS = {
    "smoke": Preset(
        cases=24,
        spacing_mm=4.0,
        rounds=2,
        query_size=2,
        initial_size=4,
        evaluation=0.2,
        test=0.3,
        network=UNetConfig(width=4),
        training=TrainingConfig(steps=30, warm_steps=20),
        members=MembersConfig(dropout=4),
    ),
    "demo": Preset(
        cases=80,
        spacing_mm=2.0,
        rounds=5,
        query_size=4,
        initial_size=8,
        evaluation=0.15,
        test=0.35,
        network=UNetConfig(width=8),
        training=TrainingConfig(steps=120, warm_steps=50, steps_per_case=4),
    ),
    "small": Preset(
        cases=120,
        spacing_mm=2.0,
        rounds=6,
        query_size=4,
        initial_size=8,
        evaluation=0.15,
        test=0.35,
        network=UNetConfig(width=8),
        training=TrainingConfig(steps=160, warm_steps=60, steps_per_case=5),
    ),
    "paper": Preset(
        cases=400,
        spacing_mm=1.0,
        rounds=8,
        query_size=10,
        initial_size=20,
        evaluation=0.1,
        test=0.3,
        network=UNetConfig(width=16, levels=4, dtype="bfloat16"),
        training=TrainingConfig(steps=2000, warm_steps=500, steps_per_case=20, batch_size=4, rotation_degrees=5.0, scaling=0.05),
        batch_size=4,
    ),
}

# Trainings of images with one class each: one for a few hundred of them, and the information-gain paper's (Mehta et al. 2022).
OF_IMAGES = TrainingConfig(
    steps=200, warm_steps=100, batch_size=32, peak_rate=2e-3, dice=False, flips=(0, 1), rotation_degrees=15.0
)
OF_IMAGES_AS_PUBLISHED = TrainingConfig(
    steps=0, warm_steps=0, steps_per_case=100 / 64, batch_size=64, peak_rate=5e-4, warm_rate=5e-4, decay_per_epoch=0.995,
    weight_decay=1e-5, clip_norm=None, dice=False, flips=(0, 1), rotation_degrees=15.0, contrast=0.0, brightness=0.0, noise=0.0,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class OwnScans:
    """What a preset of own scans decides; how many cases are labelled follows from how many there are."""

    width: int
    training: TrainingConfig
    patch_voxels: int
    rounds: int
    members: MembersConfig


OWN_SCANS = {
    "smoke": OwnScans(4, TrainingConfig(steps=40, warm_steps=20), 2**15, 2, MembersConfig(dropout=4)),
    "small": OwnScans(8, TrainingConfig(steps=160, warm_steps=60, steps_per_case=5), 2**17, 5, MembersConfig()),
    "paper": OwnScans(
        32,
        TrainingConfig(steps=2000, warm_steps=500, steps_per_case=20, batch_size=4, rotation_degrees=5.0, scaling=0.05),
        2**21,
        8,
        MembersConfig(),
    ),
}


def on_this_machine(preset: T, batch_size: int | None, dtype: Dtype | None) -> T:
    """A preset with what was asked for, and else with what suits the device.

    Args:
      preset: of scans or of images; a dataclass with `batch_size` and `network`.
      batch_size: cases that are scored at once on each device; left out, the preset's, on a TPU at least eight.
      dtype: what networks compute in; left out, the preset's, and bfloat16 on accelerators.
    """
    given: Any = preset
    least = _BATCH_OF_A_TPU if jax.default_backend() == "tpu" else 1
    network = dataclasses.replace(given.network, dtype=dtype or dtype_here(given.network.dtype))
    return dataclasses.replace(given, batch_size=batch_size or max(given.batch_size, least), network=network)
