"""What a delivered file holds, before anybody asks what it means."""

from typing import NamedTuple

import numpy as np

from jaxal.labels.coding import Coded


class Layer(NamedTuple):
    """A map of codes on the file's own axes.

    Attributes:
      codes: `[i, j, k]`, uint8, axes as stored.
      values: what the file means by each code, `[256]`, float64.
      used: which codes there are, `[256]`, boolean.
    """

    codes: np.ndarray
    values: np.ndarray
    used: np.ndarray


class Segment(NamedTuple):
    """A name that a file gives to one value in one of its layers."""

    name: str
    value: int
    layer: int = 0


class Content(NamedTuple):
    """A delivered file.

    Attributes:
      kind: "nifti", "nrrd", "seg.nrrd" or "dicom-seg".
      layers: one, or several where segments overlap; none of a segmentation that says of itself that it is empty.
      affine: from voxels to millimetres (RAS+), `[4, 4]`.
      knows_place: whether the file gives an affine at all; where it does not, `affine` is a guess.
      segments: what the file itself calls its values; None where it has no names.
      fraction: a value that is no whole number, or None.
      is_no_map: the values are too many for a map of labels.
      sha256: of the file's bytes, in hexadecimal.
    """

    kind: str
    layers: tuple[Layer, ...]
    affine: np.ndarray
    knows_place: bool
    segments: tuple[Segment, ...] | None
    fraction: float | None = None
    is_no_map: bool = False
    sha256: str = ""


def layers_of(codes: Coded, shape: tuple[int, ...], layer_axis: int | None = None) -> tuple[Layer, ...]:
    """Flat codes as layers; the first axis runs fastest, as in NIfTI and NRRD files."""
    array = codes.codes.reshape(shape, order="F")
    if layer_axis is None:
        return (Layer(array, codes.values, codes.used),)
    layers = []
    for part in np.moveaxis(array, layer_axis, 0):
        used = np.zeros(256, bool)
        for place in range(part.shape[2]):
            used[part[..., place]] = True
        layers.append(Layer(part, codes.values, used))
    return tuple(layers)
