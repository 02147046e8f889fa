"""Label files as readers' programs write them, made without the code that reads them."""

import gzip
import itertools

import nibabel
import numpy as np
from nibabel.affines import from_matvec

SHAPE = (7, 6, 5)
CLASSES = ("liver", "tumour", "spleen")


def own_affine():
    """An oblique grid whose axes run to the left, to the front and to the feet, and whose spacing differs by axis."""
    angle = np.radians(11.0)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return from_matvec(turn @ np.diag([-0.7, 0.8, -2.5]), [31.3, -20.9, 55.1])


def truth():
    """A map in which no flip, turn or exchange of classes goes unnoticed."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 1:4, 1:3] = 1
    labels[2:4, 2:4, 2:4] = 2
    labels[5, 1, 3] = 3
    labels[4, 4, 1:4] = 3
    return labels


def forty_eight():
    """All ways to store axes: which of the grid's axes each stored one is, and its sign."""
    return list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def stored(labels, affine, axes, signs, start=(0, 0, 0), stop=None):
    """The part of a map from `start` to `stop`, its axes stored in another way, and the affine of what is stored; voxel by voxel."""
    stop = labels.shape if stop is None else stop
    to_own = np.zeros((3, 3), int)
    shift = np.zeros(3, int)
    for place, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        to_own[axis, place] = sign
        shift[axis] = start[axis] if sign > 0 else stop[axis] - 1
    shape = tuple(stop[axis] - start[axis] for axis in axes)
    result = np.zeros(shape, labels.dtype)
    for index in np.ndindex(shape):
        result[index] = labels[tuple(to_own @ index + shift)]
    return result, affine @ from_matvec(to_own, shift)


def write_nifti(path, labels, affine, dtype=None, **header):
    image = nibabel.Nifti1Image(labels if dtype is None else labels.astype(dtype), affine)
    for name, value in header.items():
        image.header[name] = value
    content = image.to_bytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path


def segment_lines(segments):
    """Of `(name, value)` or `(name, value, layer)`."""
    lines = []
    for number, (name, value, *layer) in enumerate(segments):
        fields = {"ID": f"Segment_{number}", "Name": name, "LabelValue": value, "Layer": layer[0] if layer else 0}
        lines += [f"Segment{number}_{key}:={text}" for key, text in fields.items()]
    return [*lines, "Segmentation_ReferenceImageExtentOffset:=0 0 0", "Segmentation_MasterRepresentation:=Binary labelmap"]


def write_nrrd(path, labels, affine, lines=(), *, space="left-posterior-superior", encoding="gzip", change=None):
    """A NRRD file of three axes, or with layers first. `change` may alter the fields before they are written; None leaves one out."""
    flip = {
        "left-posterior-superior": (-1, -1, 1),
        "LPS": (-1, -1, 1),
        "RAS": (1, 1, 1),
        "right-anterior-superior": (1, 1, 1),
        "LAS": (-1, 1, 1),
        "left-anterior-superior": (-1, 1, 1),
    }[space]
    matrix = np.diag([*flip, 1]) @ affine
    vectors = ["(" + ",".join(f"{part:.17g}" for part in matrix[:3, column]) + ")" for column in range(4)]
    kinds = {"u1": "unsigned char", "i2": "short", "u2": "ushort", "i4": "int", "f4": "float", "f8": "double"}
    fields = {
        "type": kinds[labels.dtype.str[1:]],
        "dimension": labels.ndim,
        "space": space,
        "sizes": " ".join(map(str, labels.shape)),
        "space directions": " ".join([*(["none"] if labels.ndim == 4 else []), *vectors[:3]]),
        "kinds": " ".join([*(["list"] if labels.ndim == 4 else []), *["domain"] * 3]),
        "endian": "big" if labels.dtype.str[0] == ">" else "little",
        "encoding": encoding,
        "space origin": vectors[3],
        **(change or {}),
    }
    text = ["NRRD0004", *(f"{key}: {value}" for key, value in fields.items() if value is not None), *lines]
    content = labels.tobytes(order="F")
    packed = {
        "gzip": lambda: gzip.compress(content, mtime=0),
        "raw": lambda: content,
        "bzip2": lambda: __import__("bz2").compress(content),
    }
    path.write_bytes(("\n".join(text) + "\n\n").encode() + packed.get(encoding, packed["raw"])())
    return path
