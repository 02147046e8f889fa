"""How long a delivered label of 512 x 512 x 300 voxels takes until it is stored, and how much memory; two cores suffice.

    python -m benchmarks.deliveries [--out results.json]

Asked for: at most 5 s, and under three times the map (uint8) of memory. Each delivery runs in a process of its own, whose peak of
resident memory is read before and after; what the imports take is not counted, and printed beside it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SHAPE = (512, 512, 300)
CLASSES = ("body", "liver", "left kidney", "right kidney", "tumour")
KINDS = (
    "nii.gz",
    "turned.nii.gz",
    "int16.nii.gz",
    "float32.nii.gz",
    "plain.nii",
    "seg.nrrd",
    "cropped.seg.nrrd",
    "layers.seg.nrrd",
)


def ellipsoids() -> np.ndarray:
    """A body that fills most of the scan, with organs in it."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size, dtype=np.float32) for size in SHAPE), indexing="ij", sparse=True)
    labels = np.zeros(SHAPE, np.uint8, order="F")
    organs = [((0, 0, 0), (0.8, 0.6, 3)), ((0.3, 0, 0.2), (0.3, 0.3, 0.5)), ((-0.3, 0.2, -0.2), (0.1, 0.1, 0.2))]
    organs += [((0.3, 0.3, -0.4), (0.1, 0.1, 0.2)), ((0.35, 0.05, 0.2), (0.05, 0.05, 0.1))]
    for value, (centre, size) in enumerate(organs, start=1):
        inside = sum(((axis - middle) / extent) ** 2 for axis, middle, extent in zip(axes, centre, size, strict=True))
        labels[inside < 1] = value
    return labels


def write(folder: Path, kind: str) -> Path:
    """The delivered file."""
    from jaxal.labels.placing import Grid
    from jaxal.labels.writing import write_nifti, write_seg_nrrd

    labels, grid, path = ellipsoids(), Grid(SHAPE, AFFINE), folder / f"delivered.{kind}"
    if kind == "turned.nii.gz":
        turn = np.array([[0, 0, -1, SHAPE[0] - 1], [1, 0, 0, 0], [0, -1, 0, SHAPE[2] - 1], [0, 0, 0, 1.0]])
        turned = labels.transpose(1, 2, 0)[:, ::-1, ::-1]
        write_nifti(path, turned, Grid(turned.shape, AFFINE @ turn))
    elif kind in ("int16.nii.gz", "float32.nii.gz", "plain.nii"):
        import nibabel

        dtype = {"i": np.int16, "f": np.float32, "p": np.uint8}[kind[0]]
        nibabel.save(nibabel.Nifti1Image(labels.astype(dtype), AFFINE), path)
    elif kind == "cropped.seg.nrrd":
        shift = np.eye(4)
        shift[:3, 3] = (40, 90, 0)
        write_seg_nrrd(path, labels[40:470, 90:420], Grid((430, 330, 300), AFFINE @ shift), CLASSES)
    elif kind == "layers.seg.nrrd":
        write_layers(path, labels)
    elif kind == "seg.nrrd":
        write_seg_nrrd(path, labels, grid, CLASSES)
    else:
        write_nifti(path, labels, grid)
    return path


def write_layers(path: Path, labels: np.ndarray) -> None:
    """Two layers, as Slicer writes overlapping segments: the body apart from all that lies in it."""
    import nrrd

    stack = np.stack([labels == 1, np.where(labels > 1, labels - 1, 0)]).astype(np.uint8)
    header = {
        "space": "left-posterior-superior",
        "space directions": np.vstack([np.full(3, np.nan), (np.diag([-1, -1, 1]) @ AFFINE[:3, :3]).T]),
        "space origin": np.diag([-1, -1, 1]) @ AFFINE[:3, 3],
        "kinds": ["list", "domain", "domain", "domain"],
    }
    for place, name in enumerate(CLASSES):
        fields = {"Name": name, "LabelValue": str(max(place, 1)), "Layer": str(int(place > 0))}
        header |= {f"Segment{place}_{key}": text for key, text in fields.items()}
    nrrd.write(str(path), stack, header, compression_level=1)


AFFINE = np.array([[-0.8, 0, 0, 200], [0, 0.8, 0, -190], [0, 0, 1.5, -300], [0, 0, 0, 1.0]])


def peak_kib() -> int:
    """The peak of this process's resident memory; `ru_maxrss` would count what its parent had when it forked."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def deliver(path: Path, proposal: Path) -> None:
    """Takes the file in and stores it; prints seconds and bytes as JSON."""
    from jaxal.labels.deliveries import Expected, receive
    from jaxal.labels.formats import read
    from jaxal.labels.placing import Grid
    from jaxal.labels.writing import write_nifti

    grid = Grid(SHAPE, AFFINE)
    expected = Expected("case", grid, CLASSES, proposal=lambda: read(proposal, 1 << 27).voxels.codes)
    before = peak_kib()
    start, busy = time.perf_counter(), time.process_time()
    delivered = receive(path, expected, names=CLASSES)
    middle = time.perf_counter()
    write_nifti(path.with_name("stored.nii.gz"), delivered.labels, grid)
    end = time.perf_counter()
    peak = peak_kib()
    size = int(np.prod(SHAPE)) / 1024
    notes = [note.code for note in delivered.notes]
    numbers = {
        "received_s": middle - start,
        "stored_s": end - middle,
        "seconds": end - start,
        "cpu_s": time.process_time() - busy,
        "maps": (peak - before) / size,
    }
    print(json.dumps({**{key: round(value, 2) for key, value in numbers.items()}, "imports_mib": before // 1024, "notes": notes}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--deliver", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.deliver:
        deliver(*options.deliver)
        return
    results = {}
    with tempfile.TemporaryDirectory() as name:
        proposal = Path(name) / "proposal.nii.gz"
        from jaxal.labels.placing import Grid
        from jaxal.labels.writing import write_nifti

        write_nifti(proposal, np.roll(ellipsoids(), 3, axis=0), Grid(SHAPE, AFFINE))
        for kind in options.kinds:
            path = write(Path(name), kind)
            command = [sys.executable, "-m", "benchmarks.deliveries", "--deliver", str(path), str(proposal)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            results[kind] = json.loads(answer) | {"file_mib": round(path.stat().st_size / 2**20, 1)}
            print(kind, results[kind], f"load {os.getloadavg()[0]:.1f}", flush=True)
            path.unlink()
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
