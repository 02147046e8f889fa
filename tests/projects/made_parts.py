"""What the tests of projects that ask for parts share."""

import nibabel
import numpy as np
import tiny

from jaxal.data.parts import mask_of
from jaxal.projects.kind import AskedUnits

SLICES = AskedUnits("slice")
PARTS = {"test_cases": 0, "double_share": 0.0, "units": SLICES}


def parts_of(made, case):
    return made.state.cases[case].asked_parts


def is_asked(made, case, shape=tiny.SHAPE):
    return mask_of(parts_of(made, case), shape)


def saved(made, case, labels):
    path = made.folder.parent / "saved" / f"{case}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.uint8), nibabel.load(made.label(case)).affine), path)
    return path


def ask_again(made, case, parts, network=None):
    """The next query, which asks for parts of one case: as `ask` writes it into the log, without a network."""
    state, log = made.state, made.project.log
    number = len(state.rounds) + 1
    known = {"training": state.labels("training"), "evaluation": [], "test": []}
    entry = {"case": case, "reader": "anna", "part": "strategy", "role": "training", "double": False, "proposal": True, "minutes": 2.0,
             "parts": parts, "at_random": []}  # fmt: skip
    with log.held() as pen:
        pen.add("round", round=number, network=network, classes=list(state.classes), unasked=state.unasked(), **known)
        pen.add("asked", round=number, readings=[entry], query="")
