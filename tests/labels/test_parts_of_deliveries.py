"""Deliveries of which only parts were asked for: what is kept, and what is noticed of it."""

import dataclasses

import label_files
import nibabel
import numpy as np
import pytest
from label_files import CLASSES, SHAPE, stored, truth

from jaxal.data.parts import mask_of
from jaxal.labels.deliveries import Expected, only_parts, receive
from jaxal.labels.findings import History
from jaxal.labels.placing import Grid
from jaxal.labels.refusals import Refused

PARTS = (((0, 0, 2), (7, 6, 1)), ((2, 1, 1), (3, 4, 2)))
AFFINE = label_files.own_affine()
USUAL = History(cases=9, share={"spleen": 1.0}, volumes_ml={"liver": [500.0] * 9})
EXPECTED = Expected("case_1", Grid(SHAPE, AFFINE), CLASSES, parts=PARTS, asked_for="two places", history=USUAL)


def delivered(tmp_path, labels, axes=(0, 1, 2), signs=(1, 1, 1), **changes):
    turned, affine = stored(labels, AFFINE, axes, signs)
    nibabel.save(nibabel.Nifti1Image(turned, affine), tmp_path / "case_1.nii.gz")
    return receive(tmp_path / "case_1.nii.gz", dataclasses.replace(EXPECTED, **changes), names=CLASSES)


@pytest.mark.parametrize(("axes", "signs"), [((0, 1, 2), (1, 1, 1)), ((2, 0, 1), (-1, 1, -1))])
def test_parts_lie_on_the_scans_own_grid_however_the_file_is_stored(tmp_path, axes, signs):
    taken = delivered(tmp_path, truth(), axes, signs)
    inside = mask_of(PARTS, SHAPE)
    assert (taken.labels == np.where(inside, truth(), 255)).all()
    voxel_ml = abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    assert taken.volumes_ml["liver"] == pytest.approx((truth()[inside] == 1).sum() * voxel_ml)
    assert [note.code for note in taken.notes if note.code != "placed"] == [], (
        "what is usual of whole scans is not compared with parts"
    )


def test_a_proposal_is_compared_within_the_parts_alone(tmp_path):
    inside, other = mask_of(PARTS, SHAPE), truth()
    other[~mask_of(PARTS, SHAPE)] = 0
    assert [note.code for note in delivered(tmp_path, truth(), proposal=other).notes] == ["unchanged"]
    wrong = np.where(inside, 0, truth()).astype(np.uint8)
    wrong[2:4, 1, 2] = 1
    codes = [note.code for note in delivered(tmp_path, truth(), proposal=wrong).notes]
    assert codes == ["far-from-proposal"]
    nothing = np.where(inside, 0, truth()).astype(np.uint8)
    assert delivered(tmp_path, nothing, proposal=nothing, empty_is_meant=True).notes == (), "of nothing nothing was taken over"


def test_an_empty_part_is_told_in_words(tmp_path):
    with pytest.raises(Refused, match=r"^case_1: Nothing is drawn in what was asked for: two places\. If there is nothing"):
        delivered(tmp_path, np.zeros(SHAPE, np.uint8))
    with pytest.raises(Refused, match=r"two places\. Something is drawn elsewhere in the scan, which nobody asked for\. If"):
        delivered(tmp_path, np.where(mask_of(PARTS, SHAPE), 0, truth()).astype(np.uint8))


def test_what_lies_outside_of_parts_is_not_annotated():
    labels = only_parts(truth(), [((1, 1, 1), (2, 2, 2))])
    assert (labels[1:3, 1:3, 1:3] == truth()[1:3, 1:3, 1:3]).all() and (labels == 255).sum() == labels.size - 8
