"""A pool of synthetic volumes on disk, the network and the strategies' surroundings that the benchmarks share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxal.data.cases import Dataset
from jaxal.data.images.decoded import make_images
from jaxal.data.images.listing import Listed, Listing
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.data.scans.prepare import load_case
from jaxal.data.stream import batches
from jaxal.networks.resnet import ResNetConfig, resnet
from jaxal.networks.unet import UNetConfig, unet
from jaxal.task_kind import TaskKind
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Case, Example, Model, Params


class Sizes(NamedTuple):
    """What a run measures."""

    cases: int
    shape: tuple[int, int, int]
    width: int
    members: int


FULL = Sizes(cases=64, shape=(48, 48, 32), width=16, members=20)
QUICK = Sizes(cases=4, shape=(24, 24, 16), width=8, members=8)


class Bench(NamedTuple):
    """A pool and a network with weights."""

    dataset: Dataset
    model: Model
    params: Params
    kind: TaskKind = SEGMENTATION

    def load(self, case: Case):
        return load_case(case, self.dataset)


def write_pool(folder: Path, cases: int, shape: tuple[int, int, int]) -> None:
    """Writes noisy volumes with a bright ball each, in nnU-Net's layout, two groups in turn."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    rows = ["participant_id\tgroup"]
    for index in range(cases):
        rng = np.random.default_rng(index)
        radius = min(shape) / 5
        centre = rng.uniform(radius, np.array(shape) - radius)
        label = (np.linalg.norm(grid - centre, axis=-1) < radius).astype(np.uint8)
        image = (100 + 60 * label + 30 * rng.standard_normal(shape)).astype(np.int16)
        id_ = f"case_{index:05d}"
        write_volume(folder / "imagesTr" / f"{id_}_0000.nii.gz", Volume(image, np.eye(4)))
        write_volume(folder / "labelsTr" / f"{id_}.nii.gz", Volume(label, np.eye(4)))
        rows.append(f"{id_}\t{'AB'[index % 2]}")
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    labels = {"background": 0, "ball": 1}
    description = {"channel_names": {"0": "T1"}, "labels": labels, "numTraining": cases, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(description))


def make_bench(folder: Path, sizes: Sizes, dropout: str = "head", dtype: str = "float32") -> Bench:
    """The pool of a folder, written first if it is not there, and a network whose random weights see some foreground."""
    if not folder.exists():
        write_pool(folder, sizes.cases, sizes.shape)
    dataset = make_ready(folder, folder.with_name(f"{folder.name}-prepared"), FolderConfig(levels=3)).dataset
    config = UNetConfig(width=sizes.width, dropout=dropout, dtype=dtype, foreground_prior=0.3)
    model = unet(config)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, *dataset.shape, 1)))
    return Bench(dataset, model, params)


def write_loose(bench: Bench, folder: Path) -> Path:
    """Writes the prepared cases as one `.npy` file each, as a program reads them that knows nothing of shards; returns the folder."""
    folder.mkdir()
    for case in bench.dataset.cases:
        example = bench.load(case)
        np.save(folder / f"{case.id}.image.npy", example.image)
        np.save(folder / f"{case.id}.label.npy", example.label)
    return folder


IMAGE_SIDE, CLASSES, IMAGE_BATCH = 64, 5, 32  # a batch is what each device takes at once


class ImageBench(NamedTuple):
    """Images and a ResNet-18 with weights; `about` tells another process where the pixels lie and how they are normalised."""

    dataset: Dataset
    model: Model
    params: Params
    load: Callable[[Case], Example]
    about: dict[str, Any]
    kind: TaskKind = CLASSIFICATION


def make_image_bench(folder: Path, images: int) -> ImageBench:
    """Noise in colour, kept as one array of bytes, and the network of the information-gain paper with random weights."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, IMAGE_SIDE, IMAGE_SIDE, 3), np.uint8)
    listed = tuple(Listed(f"{place:05d}", str(place % CLASSES)) for place in range(images))
    ready = make_images(Listing("noise", tuple(map(str, range(CLASSES))), listed, pixels), folder, (IMAGE_SIDE, IMAGE_SIDE))
    model = resnet(ResNetConfig(classes=CLASSES, norm="frozen"))
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, IMAGE_SIDE, IMAGE_SIDE, 3)))
    params = jax.tree_util.tree_map_with_path(lambda path, leaf: 0.7 * leaf if path[-1].key == "frozen_scale" else leaf, params)
    path = ready.dataset.cases[0].image
    info = json.loads(path.with_name("info.json").read_text())
    about = {"path": str(path), "mean": info["mean"], "deviation": info["deviation"]}
    return ImageBench(ready.dataset, model, params, ready.load, about)


def named_weights(params: Params, prefix: str = "") -> dict[str, np.ndarray]:
    """Weights by the paths of their parameters, for a process that knows nothing of jaxal."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {prefix + "/".join(str(part.key) for part in path): np.asarray(leaf) for path, leaf in leaves}


def key() -> jax.Array:
    return jax.random.key(0)


def on_all_devices(function, bench: Bench | ImageBench, batch_size: int):
    """A call that streams cases through `function(params, images)` on all devices, as the pass does, and keeps what it returns."""
    mesh = Mesh(np.array(jax.local_devices()), ("cases",))

    spread = jax.jit(jax.shard_map(function, mesh=mesh, in_specs=(P(), P("cases")), out_specs=P("cases"), check_vma=False))
    everywhere, shared = NamedSharding(mesh, P()), NamedSharding(mesh, P("cases"))

    def run(cases):
        params = jax.device_put(bench.params, everywhere)
        read = batches(cases, bench.load, batch_size * mesh.size)
        return jax.block_until_ready([spread(params, jax.device_put(batch.examples.image, shared)) for batch in read])

    return run


def convolution_flops(sizes: Sizes, levels: int = 3) -> float:
    """Floating-point operations of a case in the network's convolutions and upsamplings; the rest is small beside them."""
    total, voxels = 0.0, float(np.prod(sizes.shape))
    for level in range(levels):
        channels, here = sizes.width * 2**level, voxels / 8**level
        entering = 1 if level == 0 else channels // 2
        total += 2 * 27 * here * (entering * channels + channels * channels)
        if level < levels - 1:  # the decoder's two convolutions and the product that doubles the grid below
            total += 2 * 27 * here * (2 * channels * channels + channels * channels) + 2 * here * 2 * channels * channels
    return total


def resnet18_flops(side: int, width: int = 64) -> float:
    """Floating-point operations of an image of this side in a ResNet-18's convolutions."""
    total = 2 * 49 * 3 * width * (side / 2) ** 2
    for stage in range(4):
        channels, here = width * 2**stage, (side / 4 / 2**stage) ** 2
        total += 2 * 9 * channels * channels * here * 4
        if stage:  # the first convolution has half the channels to look at, and there is a shortcut
            total += -9 * channels * channels * here + channels * channels * here
    return total


def matmul_ceiling(dtype: str = "float32", size: int = 2048, repeats: int = 5) -> float:
    """Floating-point operations a second of a large matrix product, the best of some."""
    from benchmarks.measure import interleaved

    matrix = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    product = jax.jit(jnp.matmul)
    return 2 * size**3 / min(interleaved({"matmul": lambda: product(matrix, matrix)}, repeats)["matmul"])
