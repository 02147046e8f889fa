"""What readers' files are called, and what lies in an inbox besides labels."""

import shutil

import nibabel
import numpy as np
import pytest
from made_projects import inbox, nothing, of

from jaxal.projects import decisions
from jaxal.projects.take import named_case, take_inboxes
from jaxal.projects.worklists import worklist_of


@pytest.mark.parametrize(
    "name",
    [
        "case_007", "CASE_007", "case_007 (1)", "case_007(2)", "case_007_seg", "case_007-label", "case_007.segmentation", "case_007_mask",
        "case_007-20261126T123335-f536", "case_007-anna-1", "case_007-dora2-12",
    ],
)  # fmt: skip
def test_names_that_mean_a_case(begin, name):
    assert named_case(begin().project, name) == "case_007"


@pytest.mark.parametrize("name", ["case_07", "case_0077", "other", "case_007_liver", "segmentation", "(1)"])
def test_names_that_mean_none_stay_as_they_are(begin, name):
    assert named_case(begin().project, name) == name


def test_a_returned_file_that_is_put_back_into_the_inbox_is_the_same_case(own):
    case = of(own, "anna")[0]
    own.draw("anna", case)
    decisions.give_back(own.project, [case], "the top is missing")
    inbox(own, "anna", case)
    (first,) = take_inboxes(own.project, nothing)
    assert first.refused.code == "came-back"
    (returned,) = (own.folder / "readers" / "anna" / "returned").glob("*.nii.gz")
    shutil.move(returned, own.folder / "readers" / "anna" / "inbox" / returned.name)
    (second,) = take_inboxes(own.project, nothing)
    assert second.receipt.version == "anna-2", "handed in once more, it is meant"


@pytest.mark.parametrize("name", ["case_001.mha", "case_001.nii.gz.zip", "notes.docx", "README"])
def test_what_is_no_label_is_returned_with_a_sentence(own, name):
    path = own.folder / "readers" / "anna" / "inbox" / name
    path.write_text("anything")
    shutil.copystat(own.label("case_001"), path)
    (taken,) = take_inboxes(own.project, nothing)
    assert f"{name}: is nothing that can be handed in; that is .seg.nrrd" in taken.refused.sentence and not path.exists()
    assert [file.read_text() for file in path.parents[1].glob("returned/*") if file.suffix != ".txt"] == ["anything"]


@pytest.mark.parametrize(
    "name", ["case_001.json", "case_001.done", "labels.txt", "case_001.nii.gz.part", "x.interim.nrrd", ".hidden"]
)
def test_what_programs_leave_beside_labels_stays(own, name):
    path = own.folder / "readers" / "anna" / "inbox" / name
    path.write_text("{}")
    shutil.copystat(own.label("case_001"), path)
    assert take_inboxes(own.project, nothing) == [] and path.exists()


def test_a_refusal_stands_on_the_readers_list_until_the_case_is_taken(own):
    case = of(own, "anna")[0]
    image = nibabel.nifti1.load(own.label(case))
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), own.folder / "empty.nii.gz")
    inbox(own, "anna", case, own.folder / "empty.nii.gz")
    (taken,) = take_inboxes(own.project, nothing)

    def came_back():
        return next(item.returned for item in worklist_of(own.project, own.state, "anna").items if item.case == case)

    assert came_back() == (taken.refused.sentence,)
    own.draw("anna", case)
    assert came_back() == ()
