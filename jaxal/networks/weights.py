"""Weights of a torchvision ResNet for ours, read from files that hold arrays and nothing that could run."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxal.errors import UserError
from jaxal.networks.resnet import Architecture, ResNetConfig
from jaxal.types import Model, Params

BATCH_NORM_EPSILON = 1e-5  # torchvision's
_CONVERT = "In Python with torch: safetensors.torch.save_file(torchvision.models.resnet18(weights='DEFAULT').state_dict(), 'resnet18.safetensors')"


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Reads a state dict, `.safetensors` or `.npz`, never unpickling anything.

    Raises:
      UserError: the file is missing, of another kind, or broken.
    """
    if not path.is_file():
        raise UserError(f"--weights {path}: there is no such file. {_CONVERT}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except (SafetensorError, ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"--weights {path}: cannot be read ({error}).") from error
    raise UserError(
        f"--weights {path}: must be .safetensors or .npz; files of other kinds, such as .pth, may run code when they are read. {_CONVERT}"
    )


def network_of(state: Mapping[str, np.ndarray], config: ResNetConfig) -> ResNetConfig:
    """The network that weights are of: torchvision's ResNet-18, or 50 where blocks have three convolutions."""
    architecture: Architecture = "resnet50" if "layer1.0.conv3.weight" in state else "resnet18"
    return dataclasses.replace(config, architecture=architecture, width=64, entry="wide", norm="frozen")


def with_weights(model: Model, config: ResNetConfig, state: Mapping[str, np.ndarray], path: Path, channels: int = 3) -> Model:
    """The model, beginning from these weights; the last layer stays fresh where its classes are others, or where the file has none.

    Args:
      model: of the configuration, whose norm must be `frozen`.
      config: of the network.
      state: torchvision's names and layouts: kernels `[out, in, height, width]`, batch norms with their running statistics.
      path: for messages.
      channels: of the images; of grey ones the first kernel is the sum over colours, which is what it makes of three equal channels.

    Raises:
      UserError: a weight is missing, of another shape, not known or not finite; all of them are named as the file has them.
    """
    if config.norm != "frozen":
        raise ValueError("Weights with batch norms need the norm 'frozen'.")
    if (config.space_rank, config.activation) != (2, "relu"):
        raise ValueError("Weights of torchvision are those of images and of 'relu'; leave space_rank and activation as they are.")
    folded = _folded(state, path)
    example = jax.ShapeDtypeStruct((1, 64, 64, channels), np.float32)
    shapes = _by_name(jax.eval_shape(model.init, jax.random.key(0), example))
    entry = folded.get("conv1.kernel")
    if channels == 1 and entry is not None and entry.value.shape[2:3] == (3,):
        folded["conv1.kernel"] = entry._replace(value=entry.value.sum(2, keepdims=True))
    other_classes = "kernel" in folded and folded["kernel"].value.shape[1:] != (config.classes,)
    weights = {name: part for name, part in folded.items() if not (other_classes and name == "bias")}
    _check({name: leaf.shape for name, leaf in shapes.items()}, weights, path, other_classes)
    taken = {name: part.value for name, part in weights.items() if not (other_classes and name == "kernel")}

    def init(key: jax.Array, example: jax.Array) -> Params:
        params = model.init(key, example)
        leaves, tree = jax.tree.flatten(params)
        return jax.tree.unflatten(tree, [taken.get(name, leaf) for name, leaf in zip(_by_name(params), leaves, strict=True)])

    return model._replace(init=init)


class _Part(NamedTuple):
    """A weight in our layout, and in the file's: its name there, and the axes that lead back."""

    value: np.ndarray
    name: str
    axes: tuple[int, ...] = (0,)


def _by_name(params: Params) -> dict[str, Any]:
    """Leaves by the names of the modules that lead to them, in the tree's order."""
    return {".".join(part.key for part in path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}


def _check(shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, _Part], path: Path, other_classes: bool) -> None:
    problems = []
    for name, part in weights.items():
        if name not in shapes:
            problems.append(f"{part.name}: not part of this network")
            continue
        in_file, in_network = (
            ([shape[axis] for axis in part.axes] for shape in (part.value.shape, shapes[name]))
            if part.value.ndim == len(shapes[name])
            else (part.value.shape, shapes[name])
        )
        if other_classes and name == "kernel":
            in_file, in_network = in_file[1:], in_network[1:]  # the classes may be others, what they are made of may not
        if list(in_file) != list(in_network):
            problems.append(f"{part.name}: {tuple(in_file)} in the file, {tuple(in_network)} here")
        elif not np.isfinite(part.value).all():
            problems.append(f"{part.name}: not all numbers are finite")
    needed = set(shapes) if {"kernel", "bias"} & weights.keys() and not other_classes else set(shapes) - {"kernel", "bias"}
    problems += [f"{_their_name(name)}: missing" for name in shapes if name in needed - weights.keys()]
    if problems:
        shown = "\n  ".join(problems[:8]) + (f"\n  and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise UserError(f"--weights {path}: does not fit the network, {len(problems)} weights differ:\n  {shown}\n{_CONVERT}")


def _folded(state: Mapping[str, np.ndarray], path: Path) -> dict[str, _Part]:
    """Torchvision's names and layouts to ours; each batch norm becomes what it does with its running statistics."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for name, value in state.items():
        module, _, part = name.rpartition(".")
        modules.setdefault(module, {})[part] = value
    weights: dict[str, _Part] = {}
    for module, parts in modules.items():
        place = _our_name(module)
        if "running_var" in parts:
            if lacking := [part for part in ("weight", "bias", "running_mean") if part not in parts]:
                raise UserError(f"--weights {path}: the batch norm {module} lacks {', '.join(lacking)}.")
            weight, bias, mean, variance = (
                np.asarray(parts[part], np.float64) for part in ("weight", "bias", "running_mean", "running_var")
            )
            if len({part.shape for part in (weight, bias, mean, variance)}) > 1:
                raise UserError(f"--weights {path}: the parts of the batch norm {module} have different shapes.")
            scale = weight / np.sqrt(variance + BATCH_NORM_EPSILON)
            weights[f"{place}.frozen_scale"] = _Part(scale, f"{module}.weight")
            weights[f"{place}.frozen_bias"] = _Part(bias - mean * scale, f"{module}.bias")
            continue
        for part, value in parts.items():
            name = f"{module}.{part}" if module else part
            if module == "fc":
                axes = (1, 0) if np.ndim(value) == 2 else (0,)
                weights["kernel" if part == "weight" else part] = _Part(np.transpose(value), name, axes)
            elif part == "weight" and np.ndim(value) == 4:
                weights[f"{place}.kernel"] = _Part(np.transpose(value, (2, 3, 1, 0)), name, (3, 2, 0, 1))
            else:
                weights[f"{place}.{part}"] = _Part(value, name, tuple(range(np.ndim(value))))
    return {name: part._replace(value=np.asarray(part.value, np.float32)) for name, part in weights.items()}


def _our_name(module: str) -> str:
    """`layer1.0.bn2` to `layer1_0.norm2`, `layer2.0.downsample.1` to `layer2_0.shortcut_norm`."""
    name = re.sub(r"^(layer\d+)\.(\d+)\.", r"\1_\2.", module)
    name = name.replace("downsample.0", "shortcut_conv").replace("downsample.1", "shortcut_norm")
    return re.sub(r"(^|\.)bn(\d)$", r"\1norm\2", name)


def _their_name(name: str) -> str:
    """The way back, of a weight."""
    name = re.sub(r"^(layer\d+)_(\d+)\.", r"\1.\2.", name)
    name = name.replace("shortcut_conv", "downsample.0").replace("shortcut_norm", "downsample.1")
    name = re.sub(r"(^|\.)norm(\d)\.", r"\1bn\2.", name)
    name = f"fc.{name}" if name in ("kernel", "bias") else name
    return name.replace("frozen_scale", "weight").replace("frozen_bias", "bias").replace("kernel", "weight")
