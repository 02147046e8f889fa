"""Files for readers' programs: read by SimpleITK and slicerio (values in tests/fixtures/label_merging.json), by nibabel and by us."""

import json
from pathlib import Path

import label_files
import nibabel
import numpy as np
import pytest
from label_files import CLASSES, SHAPE, truth

from jaxal.errors import UserError
from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.placing import Grid
from jaxal.labels.writing import colours_of, write_nifti, write_seg_nrrd

AFFINE = label_files.own_affine()
GRID = Grid(SHAPE, AFFINE)
VALUES = json.loads((Path(__file__).parents[1] / "fixtures" / "label_merging.json").read_text())["written"]


def test_other_libraries_read_the_header_that_is_written(tmp_path):
    """The fixture has the header that the libraries read, and what they saw in it."""
    path = tmp_path / "ours.seg.nrrd"
    write_seg_nrrd(path, truth(), GRID, ("liver", "Gefäße, links", "spleen", "none here"))
    assert path.read_bytes().split(b"\n\n")[0].decode() == VALUES["header"]
    seen = VALUES["slicerio"]
    np.testing.assert_allclose(seen["affine_lps"], np.diag([-1, -1, 1, 1]) @ AFFINE, atol=1e-12)
    assert seen["voxels_agree"]
    names = ["liver", "Gefe, links", "spleen", "none here"]  # pynrrd, on which slicerio stands, leaves out letters beyond ASCII
    assert [part["name"] for part in seen["segments"]] == names
    assert [(part["labelValue"], part["layer"]) for part in seen["segments"]] == [(value, 0) for value in (1, 2, 3, 4)]
    for value, part in enumerate(seen["segments"][:3], start=1):
        places = np.argwhere(truth() == value)
        assert part["extent"] == np.stack([places.min(0), places.max(0)], axis=1).ravel().tolist()
    assert seen["segments"][3]["extent"] == [0, -1, 0, -1, 0, -1]
    for image in VALUES["sitk"]:
        matrix = np.reshape(image["direction"], (3, 3)) * image["spacing"]
        np.testing.assert_allclose(matrix, (np.diag([-1, -1, 1, 1]) @ AFFINE)[:3, :3], atol=1e-6)
        np.testing.assert_allclose(image["origin"], (np.diag([-1, -1, 1, 1]) @ AFFINE)[:3, 3], atol=1e-5)
        assert image["voxels_agree"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["seg.nrrd", "nii.gz"])
@pytest.mark.parametrize("classes", [CLASSES, ("Gefäße 血管", "a:b=c \\n d", " x|y~z^ ")])
def test_what_is_written_is_received_as_it_was(tmp_path, kind, order, classes):
    labels = np.array(truth(), order=order)
    path = tmp_path / f"p.{kind}"
    classes = tuple(name.strip() for name in classes)
    if kind == "seg.nrrd":
        write_seg_nrrd(path, labels, GRID, classes)
    else:
        write_nifti(path, labels, GRID)
    first = path.read_bytes()
    delivered = receive(path, Expected("c", GRID, classes))
    np.testing.assert_array_equal(delivered.labels, truth())
    assert delivered.notes == ()
    (write_seg_nrrd(path, labels, GRID, classes) if kind == "seg.nrrd" else write_nifti(path, labels, GRID))
    assert path.read_bytes() == first


def test_what_is_not_annotated_makes_the_round_trip(tmp_path):
    labels = truth()
    labels[..., 0] = 255
    write_seg_nrrd(tmp_path / "p.seg.nrrd", labels, GRID, CLASSES)
    np.testing.assert_array_equal(receive(tmp_path / "p.seg.nrrd", Expected("c", GRID, CLASSES, partial=True)).labels, labels)


def test_both_forms_of_the_affine_are_written(tmp_path):
    write_nifti(tmp_path / "p.nii.gz", truth(), GRID)
    image = nibabel.load(tmp_path / "p.nii.gz")
    for affine, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), truth())
    assert image.get_data_dtype() == np.uint8 and image.header.get_xyzt_units()[0] == "mm"
    sheared = AFFINE.copy()
    sheared[0, 1] += 0.3
    write_nifti(tmp_path / "p.nii.gz", truth(), Grid(SHAPE, sheared))
    image = nibabel.load(tmp_path / "p.nii.gz")
    np.testing.assert_allclose(image.affine, sheared, atol=1e-5)
    assert image.header["qform_code"] == 0


def test_a_left_handed_grid_is_written(tmp_path):
    for signs in ((1, 1, 1), (-1, 1, 1), (1, -1, -1)):
        affine = np.diag([*signs, 1.0]) @ np.diag([2, 3, 4, 1.0])
        write_nifti(tmp_path / "p.nii.gz", truth(), Grid(SHAPE, affine))
        image = nibabel.load(tmp_path / "p.nii.gz")
        np.testing.assert_allclose(image.get_qform(), affine, atol=1e-6)


def test_a_folder_that_cannot_be_written_to_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "p.nii.gz"
    write_nifti(path, truth(), GRID)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="No space left"):
        write_nifti(path, truth() * 0, GRID)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_colours_differ():
    colours = np.array(colours_of(20))
    assert ((colours >= 0) & (colours <= 1)).all()
    apart = np.abs(colours[:, None] - colours[None]).max(-1) + np.eye(20)
    assert apart.min() > 0.05
