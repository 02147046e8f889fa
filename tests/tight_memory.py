"""Runs a study over a folder that does not fit into the memory it may have, for a test.

    python tests/tight_memory.py WORK CASES MEGABYTES

A first study over a few cases loads and compiles everything. Then the process may have so many megabytes more, and runs the same
study over all cases, which is shown not to fit.
"""

import dataclasses
import json
import resource
import sys
from pathlib import Path

import nibabel
import numpy as np

from experiments import segmentation
from jaxal.cli import command
from jaxal.studies.presets import OWN_SCANS

SHAPE, CHANNELS, FEW = (24, 24, 24), 64, 12
SMOKE = OWN_SCANS["smoke"]
OWN_SCANS["smoke"] = dataclasses.replace(
    SMOKE, training=dataclasses.replace(SMOKE.training, steps=4, attempts=1)
)  # how long says nothing of memory


def write_cases(folder: Path, cases: int) -> Path:
    """A data set in the Decathlon's layout, eight bits a voxel."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    listed, rows = [], ["participant_id\tgroup"]
    for index in range(cases):
        name, rng = f"case_{index:03d}.nii", np.random.default_rng(index)
        label = np.zeros(SHAPE, np.uint8)
        label[8:18, 10:20, 8 + index % 6 : 18 + index % 6] = 1
        image = rng.integers(0, 100, (*SHAPE, CHANNELS), np.uint8) + 60 * label[..., None]
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "imagesTr" / name)
        nibabel.save(nibabel.Nifti1Image(label, np.eye(4)), folder / "labelsTr" / name)
        listed.append({"image": f"imagesTr/{name}", "label": f"labelsTr/{name}"})
        rows.append(f"case_{index:03d}\t{'AB'[index % 2]}")
    channels = {str(channel): f"MR{channel}" for channel in range(CHANNELS)}
    description = {"modality": channels, "labels": {"0": "background", "1": "box"}, "training": listed}
    (folder / "dataset.json").write_text(json.dumps(description))
    (folder / "participants.tsv").write_text("\n".join(rows) + "\n")
    return folder


def study(work: Path, data: Path) -> int:
    options = ["--data", str(data), "--out", str(work / f"out-{data.name}"), "--prepared", str(work / "prepared")]
    sizes = ["--preset", "smoke", "--initial-size", "4", "--query-size", "2", "--patch-voxels", "4096", "--rounds", "1"]
    return segmentation.main(
        command.parse(segmentation.Arguments, "experiments.segmentation", [*options, *sizes, "--strategy", "entropy"])
    )


def data_bytes() -> int:
    """Private memory that the process may write to: what RLIMIT_DATA limits."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData"))
    return int(line.split()[1]) * 1024


def main(work: Path, cases: int, megabytes: int) -> int:
    few, many = write_cases(work / "few", FEW), write_cases(work / "many", cases)
    if study(work, few):
        return 1
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + megabytes * 10**6, resource.RLIM_INFINITY))
    needed = cases * int(np.prod(SHAPE)) * CHANNELS * 4
    try:
        np.empty(needed, np.uint8)
    except MemoryError:
        print(f"do not fit: {needed // 10**6} {megabytes} megabytes", flush=True)
    else:
        return 1
    return study(work, many)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
