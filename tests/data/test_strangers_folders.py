"""What folders of others hold that a reader does not expect: it is refused in one sentence or may be."""

import gzip
import shutil
import struct

import nibabel
import numpy as np
import pytest
import tiny
from folders import change_description, save

from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.errors import UserError


def first_image(folder):
    return min((folder / "imagesTr").glob("*.nii.gz"))


def with_affine_of_no_length(folder):
    image = nibabel.load(first_image(folder))
    affine = image.affine.copy()
    affine[:, 1] = 0
    broken = nibabel.Nifti1Image(np.asarray(image.dataobj), None)
    broken.header["sform_code"] = 1
    broken.header.set_sform(affine, 1)
    nibabel.save(broken, first_image(folder))


def with_huge_header(folder):
    content = bytearray(gzip.decompress(first_image(folder).read_bytes()))
    content[40:56] = struct.pack("<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1)
    first_image(folder).write_bytes(bytes(content))


def beside_a_twin(folder):
    nibabel.save(nibabel.load(first_image(folder)), str(first_image(folder)).removesuffix(".gz"))


def in_table(folder, old, new):
    path = folder / "participants.tsv"
    path.write_text(path.read_text().replace(old, new))


def with_commas(folder):
    in_table(folder, "\t", ",")


def with_voxels_of(folder, millimetres, *paths):
    for path in paths:
        save(path, np.asarray(nibabel.load(path).dataobj), np.diag([millimetres] * 3 + [1.0]))


def with_metres(folder):
    with_voxels_of(folder, 0.001, first_image(folder), folder / "labelsTr" / "case_000.nii.gz")


def with_metres_in_all(folder):
    with_voxels_of(folder, 1000.0, *folder.rglob("*.nii.gz"))


def with_a_value_beyond(folder):
    values = np.zeros(tiny.SHAPE)
    values[0, 0, 0] = 1e300
    save(first_image(folder), values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: first_image(folder).write_bytes(b"0123456789"),
            "not a readable NIfTI file .it does not begin as a NIfTI",
        ),
        (
            lambda folder: first_image(folder).write_text("a text " * 90),
            "not a readable NIfTI file .it does not begin as a NIfTI",
        ),
        (with_affine_of_no_length, "its affine gives voxels no volume .1 0 0 0; 0 0 0 0; 0 0 1 0."),
        (with_huge_header, "its header promises 32767 x 32767 x 32767 values, .* bytes, but there are 2,400"),
        (lambda folder: change_description(folder, channel_names={}), "channel_names names no channel"),
        (
            lambda folder: change_description(folder, labels={f"part {number}": number for number in range(256)}),
            "names 256 labels; label maps hold at most 255",
        ),
        (beside_a_twin, "case_000_0000.nii: lies beside case_000_0000.nii.gz. One scan must be one file"),
        (with_commas, "participants.tsv: its columns are separated by commas"),
        (lambda folder: in_table(folder, "\t", ";"), "participants.tsv: its columns are separated by semicolons"),
        (lambda folder: in_table(folder, "\t", "  "), "participants.tsv: its columns are separated by spaces"),
        (lambda folder: in_table(folder, "\tgroup", "\tgroup\tgroup"), "participants.tsv: has two columns 'group'"),
        (
            lambda folder: in_table(folder, "case_", "sub-"),
            "case_000', so it has no group; it lists 'sub-000', 'sub-001', 'sub-002' …",
        ),
        (
            lambda folder: shutil.copy(first_image(folder), folder / "imagesTr" / "case_001_0001.nii.gz"),
            "case_001_0001.nii.gz: is of the channel 1, but dataset.json names 1 channel, from 0",
        ),
        (
            lambda folder: first_image(folder).rename(folder / "imagesTr" / "case_000.nii.gz"),
            "case_000.nii.gz: not named CASE_0000.nii.gz",
        ),
        (lambda folder: change_description(folder, file_ending=".nii"), "no label maps named CASE.nii, but case_000.nii.gz"),
        (
            lambda folder: change_description(folder, channel_names=["T1"]),
            r'channel_names is \["T1"\]; expected numbers and names',
        ),
        (lambda folder: change_description(folder, channel_names={"T1": "0"}), r'channel_names is {"T1": "0"}; expected numbers'),
        (
            lambda folder: change_description(folder, labels=["background"]),
            r'labels are \["background"\]; expected names and numbers',
        ),
        (lambda folder: change_description(folder, labels={"0": "background"}), "expected names and numbers, such as"),
        (lambda folder: change_description(folder, dataset={}), "the entry 'dataset' is {}; it must name images and a label"),
        (
            lambda folder: change_description(folder, dataset={"a": {"images": "one.nii", "label": "two.nii"}}),
            "for the case 'a'; expected a list of images and a label, as paths",
        ),
        (with_metres, "case_000_0000.nii.gz: its voxels are 0.001 x 0.001 x 0.001 mm, those of the median case about 1 mm"),
        (with_metres_in_all, "its voxels are 1000 x 1000 x 1000 mm. Is its affine in another unit"),
        (with_a_value_beyond, "1 of 512 voxels are NaN, infinite or beyond 3e38"),
        (lambda folder: first_image(folder).write_text("version https://git-lfs.github.com/spec/v1"), "a pointer of Git LFS"),
    ],
)
def test_what_strangers_folders_hold_is_refused_in_one_sentence(tmp_path, change, message):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    change(folder)
    with pytest.raises(UserError, match=message):
        make_ready(folder, tmp_path / "prepared", FolderConfig())


def test_what_strangers_folders_hold_and_may(tmp_path):
    """A byte order mark, a table that lists the test set, too, and an image in which nothing is to be seen, which is named."""
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    text = (folder / "dataset.json").read_bytes()
    (folder / "dataset.json").write_bytes(b"\xef\xbb\xbf" + text)
    (folder / "imagesTs").mkdir()
    shutil.copy(first_image(folder), folder / "imagesTs" / "case_099_0000.nii.gz")
    path = folder / "participants.tsv"
    path.write_text(path.read_text() + "case_099\tA\n")
    save(first_image(folder), np.full(tiny.SHAPE, 7, np.float32), np.eye(4))
    for _ in range(2):  # the second time from what was kept of the first look
        ready = make_ready(folder, tmp_path / "prepared", FolderConfig())
        assert [case.id for case in ready.dataset.cases] == [f"case_{index:03d}" for index in range(4)]
        assert ready.constant == ("case_000 (T1)",)
    path.write_text(path.read_text() + "case_098\tA\n")
    with pytest.raises(UserError, match=r"lists the case 'case_098', but .* holds no such case"):
        make_ready(folder, tmp_path / "prepared", FolderConfig())
