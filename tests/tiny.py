"""A tiny study: 8 x 8 x 8 volumes with a bright ball in each, in nnU-Net's layout, and a network that learns it in seconds."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxal.data.cases import Dataset
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.networks.unet import UNetConfig
from jaxal.scoring.statistics import StatisticsConfig
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.training.config import TrainingConfig
from jaxal.types import Model

SHAPE = (8, 8, 8)
NETWORK = UNetConfig(width=4, levels=1)
TRAINING = TrainingConfig(steps=12, warm_steps=6, peak_rate=2e-2)
OF_LABEL_MAPS = list(SEGMENTATION.statistics)
STATISTICS = StatisticsConfig(roi_dilate=1, roi_at_least=8, region_size=2, regions_at_most=16, evaluation_samples=32)


def write_dataset(folder: Path, cases: int = 16, shape=SHAPE, groups=("A", "B"), affine=None) -> Path:
    """Writes a data set; returns its folder."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    rows = ["participant_id\tgroup"]
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    for index in range(cases):
        rng = np.random.default_rng(index)
        centre = rng.uniform(2.5, np.array(shape) - 3.5)
        label = (np.linalg.norm(grid - centre, axis=-1) < 2.2).astype(np.uint8)
        image = (100 + 80 * label + 10 * rng.standard_normal(shape)).astype(np.float32)
        id_ = f"case_{index:03d}"
        write_volume(folder / "imagesTr" / f"{id_}_0000.nii.gz", Volume(image, np.eye(4) if affine is None else affine))
        write_volume(folder / "labelsTr" / f"{id_}.nii.gz", Volume(label, np.eye(4) if affine is None else affine))
        rows.append(f"{id_}\t{groups[index % len(groups)]}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    description = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "ball": 1},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def too_large(model: Model) -> Model:
    """The same network, whose tail takes more memory than any machine has."""

    def tail(params, hidden, masks):
        output = model.tail(params, hidden, masks)
        numbers = jnp.arange(2**30, dtype=jnp.float32)[:, None] * jnp.broadcast_to(output.features.mean(), (1, 2**14))
        extreme = jax.lax.stop_gradient(jnp.sort(numbers, 0)[0].sum())  # sorted numbers have to be somewhere
        return output._replace(features=output.features + extreme)

    return model._replace(tail=tail)


def read(folder: Path, prepared: Path | None = None) -> Dataset:
    """The data set in a folder, whole cases, prepared beside it; padded as two levels need it."""
    return make_ready(folder, prepared or folder.parent / "prepared", FolderConfig(levels=2)).dataset
