"""Weights of a torchvision ResNet for ours, read from files that hold arrays and nothing that could run."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxal.errors import UserError
from jaxal.networks.resnet import ResNetConfig
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
            with np.load(path, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
    except (SafetensorError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"--weights {path}: cannot be read ({error}).") from error
    raise UserError(
        f"--weights {path}: must be .safetensors or .npz; files of other kinds, such as .pth, may run code when they are read. {_CONVERT}"
    )


def with_weights(model: Model, config: ResNetConfig, state: Mapping[str, np.ndarray], path: Path) -> Model:
    """The model, beginning from these weights; the last layer stays fresh where its classes are others.

    Args:
      model: of the configuration, whose norm must be `frozen`.
      config: of the network.
      state: torchvision's names and layouts: kernels `[out, in, height, width]`, batch norms with their running statistics.
      path: for messages.

    Raises:
      UserError: a weight is missing, of another shape, or not known; all of them are named.
    """
    if config.norm != "frozen":
        raise ValueError("Weights with batch norms need the norm 'frozen'.")
    folded = _folded(state, path)

    def init(key: jax.Array, example: jax.Array) -> Params:
        params = model.init(key, example)
        paths, tree = jax.tree_util.tree_flatten_with_path(params)
        names = [".".join(part.key for part in path_) for path_, _ in paths]
        leaves = dict(zip(names, (leaf for _, leaf in paths), strict=True))
        own = {name: value for name, value in folded.items() if not (_is_head(name) and value.shape != leaves[name].shape)}
        _check(leaves, own, path)
        return jax.tree.unflatten(tree, [own.get(name, leaf) for name, leaf in leaves.items()])

    return model._replace(init=init)


def _is_head(name: str) -> bool:
    return name in ("kernel", "bias")


def _check(leaves: Mapping[str, jax.Array], own: Mapping[str, np.ndarray], path: Path) -> None:
    missing = [f"{name}: missing" for name in leaves if name not in own and not _is_head(name)]
    unknown = [f"{name}: not part of this network" for name in own if name not in leaves]
    differing = [
        f"{name}: {value.shape} in the file, {leaves[name].shape} here"
        for name, value in own.items()
        if name in leaves and value.shape != leaves[name].shape
    ]
    if problems := [*differing, *missing, *unknown]:
        shown = "\n  ".join(problems[:8]) + (f"\n  and {len(problems) - 8} more" if len(problems) > 8 else "")
        raise UserError(f"--weights {path}: does not fit the network, {len(problems)} weights differ:\n  {shown}")


def _folded(state: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Torchvision's names and layouts to ours; each batch norm becomes what it does with its running statistics."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for name, value in state.items():
        module, _, part = name.rpartition(".")
        modules.setdefault(module, {})[part] = value
    found: dict[str, np.ndarray] = {}
    for module, parts in modules.items():
        place = _our_name(module)
        if "running_var" in parts:
            if lacking := [part for part in ("weight", "bias", "running_mean") if part not in parts]:
                raise UserError(f"--weights {path}: the batch norm {module} lacks {', '.join(lacking)}.")
            weight, bias, mean, variance = (
                np.asarray(parts[part], np.float64) for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = weight / np.sqrt(variance + BATCH_NORM_EPSILON)
            found[f"{place}.frozen_scale"], found[f"{place}.frozen_bias"] = scale, bias - mean * scale
        elif module == "fc":
            found.update({{"weight": "kernel"}.get(part, part): np.transpose(value) for part, value in parts.items()})
        else:
            for part, value in parts.items():
                is_kernel = part == "weight" and np.ndim(value) == 4
                found[f"{place}.kernel" if is_kernel else f"{place}.{part}"] = value.transpose(2, 3, 1, 0) if is_kernel else value
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def _our_name(module: str) -> str:
    """`layer1.0.bn2` to `layer1_0.norm2`, `layer2.0.downsample.1` to `layer2_0.shortcut_norm`."""
    name = re.sub(r"^(layer\d+)\.(\d+)\.", r"\1_\2.", module)
    name = name.replace("downsample.0", "shortcut_conv").replace("downsample.1", "shortcut_norm")
    return re.sub(r"(^|\.)bn(\d)$", r"\1norm\2", name)
