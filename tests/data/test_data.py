"""Volumes and folders of scans are read, streamed and told apart, and each mistake in them is named."""

import gzip
import json
import os

import nibabel
import numpy as np
import pytest
import tiny

from jaxal.data import cases as cases_module
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.nifti import Volume, read_image, read_label, write_volume
from jaxal.data.scans.plan import Scaling
from jaxal.data.scans.prepare import load_case, normalise
from jaxal.errors import UserError
from jaxal.tasks.original_grid import to_original_grid


def test_volumes_come_back_as_they_were_and_bytes_repeat(tmp_path, rng):
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    values = rng.integers(-100, 3000, (3, 4, 5)).astype(np.int16)
    for name in ("one.nii.gz", "two.nii.gz"):
        write_volume(tmp_path / name, Volume(values, affine))
    assert (tmp_path / "one.nii.gz").read_bytes() == (tmp_path / "two.nii.gz").read_bytes()
    volume = read_image(tmp_path / "one.nii.gz")
    np.testing.assert_array_equal(volume.values[..., 0], values)
    np.testing.assert_array_equal(volume.affine, affine)
    assert volume.values.dtype == np.float32


def test_slope_and_orientation_are_applied(tmp_path, rng):
    stored = rng.integers(0, 200, (3, 4, 5)).astype(np.int16)
    image = nibabel.Nifti1Image(stored, np.diag([-2.0, 2.0, 2.0, 1.0]))  # first axis runs from left to right
    image.header.set_slope_inter(0.5, 10.0)
    nibabel.save(image, tmp_path / "scaled.nii")
    again = nibabel.load(tmp_path / "scaled.nii").get_fdata()
    volume = read_image(tmp_path / "scaled.nii")
    np.testing.assert_allclose(volume.values[..., 0], again[::-1], rtol=1e-6)
    assert volume.affine[0, 0] == 2.0


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_every_kind_of_number_is_read_with_its_slope(tmp_path, kind):
    stored = np.arange(120, dtype=kind).reshape(4, 5, 6)
    image = nibabel.Nifti1Image(stored, np.eye(4), dtype=kind)
    image.header.set_slope_inter(0.5, -10.0)
    image.header["vox_offset"] = 352
    path = tmp_path / "image.nii.gz"
    with gzip.open(path, "wb") as packed:  # nibabel's own writing would store other numbers, so that they mean the same
        packed.write(b"".join([image.header.binaryblock, bytes(4), stored.tobytes(order="F")]))
    np.testing.assert_array_equal(read_image(path).values[..., 0], 0.5 * stored.astype(np.float64) - 10)
    labels = tmp_path / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(stored, np.eye(4), dtype=kind), labels)
    np.testing.assert_array_equal(read_label(labels).values, stored.astype(np.uint8))


def test_a_fourth_axis_of_one_is_no_axis_and_names_do_not_tell_what_is_packed(tmp_path):
    path = tmp_path / "label.nii.gz"
    path.write_bytes(nibabel.Nifti1Image(np.ones((4, 5, 6, 1), np.uint8), np.eye(4)).to_bytes())
    assert read_label(path).values.shape == (4, 5, 6)
    assert to_original_grid(np.stack([np.zeros((4, 5, 6)), np.ones((4, 5, 6))]), path).shape == (4, 5, 6)


def test_a_label_map_stored_as_float_reads_as_whole_numbers(tmp_path):
    write_volume(tmp_path / "label.nii.gz", Volume(np.array([[[0.0, 1.0]]], np.float32), np.eye(4)))
    assert read_label(tmp_path / "label.nii.gz").values.dtype == np.uint8
    write_volume(tmp_path / "odd.nii.gz", Volume(np.array([[[0.0, 1.5]]], np.float32), np.eye(4)))
    with pytest.raises(UserError, match=r"odd\.nii\.gz.*1\.5"):
        read_label(tmp_path / "odd.nii.gz")


def test_reads_the_layout(tiny_folder, tiny_dataset):
    assert tiny_dataset.groups == ("A", "B")
    assert tiny_dataset.classes == ("background", "ball")
    assert tiny_dataset.shape == tiny.SHAPE
    assert tiny_dataset.spacing_mm == (1.0, 1.0, 1.0)
    assert [case.id for case in tiny_dataset.cases] == [f"case_{index:03d}" for index in range(16)]
    example = load_case(tiny_dataset.cases[3], tiny_dataset)
    assert example.image.shape == (*tiny.SHAPE, 1)
    assert abs(example.image.mean()) < 1e-5
    assert example.image.std() == pytest.approx(1.0, abs=1e-4)
    assert example.label.sum() > 10
    assert example.inside.all()


def test_two_channels_are_stacked_in_the_order_of_their_numbers(tmp_path):
    folder = tiny.write_dataset(tmp_path / "two", cases=4)
    description = json.loads((folder / "dataset.json").read_text())
    description["channel_names"] = {"1": "T2", "0": "T1"}
    (folder / "dataset.json").write_text(json.dumps(description))
    for index in range(4):
        values = np.arange(512, dtype=np.float32).reshape(tiny.SHAPE)
        write_volume(folder / "imagesTr" / f"case_{index:03d}_0001.nii.gz", Volume(values, np.eye(4)))
    dataset = tiny.read(folder)
    assert dataset.channels == ("T1", "T2")
    example = load_case(dataset.cases[0], dataset)
    ramp = (np.arange(512) - 255.5) / np.arange(512).std()
    np.testing.assert_allclose(example.image[..., 1].reshape(-1), ramp, atol=1e-4)


def test_padding_is_marked_and_comes_after_normalising(tmp_path):
    folder = tiny.write_dataset(tmp_path / "small", cases=4, shape=(7, 8, 7))
    dataset = tiny.read(folder)
    assert dataset.shape == (8, 8, 8)
    example = load_case(dataset.cases[0], dataset)
    assert example.inside.sum() == 7 * 8 * 7
    assert example.image[example.inside].std() == pytest.approx(1.0, abs=1e-4)
    assert (example.image[~example.inside] == 0).all()
    assert (example.label[~example.inside] == 0).all()


def test_a_constant_image_is_normalised_to_zero():
    assert (normalise(np.full((2, 2, 2), 7.0, np.float32), Scaling("z-score")) == 0).all()


# Bad input: one clear message that names the file, what it holds and what to do.


def damage(folder, name, change):
    path = folder / name
    change(path)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the checksum's first byte: the data unpack, but are not what was written
    path.write_bytes(content)


def rewrite(values, affine=None):
    return lambda path: write_volume(path, Volume(values, np.eye(4) if affine is None else affine))


def edit_json(**entries):
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def edit_table(change):
    return lambda path: path.write_text(change(path.read_text()))


IMAGE, LABEL = "imagesTr/case_002_0000.nii.gz", "labelsTr/case_002.nii.gz"
SHIFTED = np.eye(4)
SHIFTED[0, 3] = 5.0
NOT_A_NUMBER = np.zeros(tiny.SHAPE, np.float32)
NOT_A_NUMBER[1, 2, 3] = np.nan

BAD = {
    "truncated image": (IMAGE, truncate, r"case_002_0000\.nii\.gz: .*(truncated|not a readable).*Copy it again"),
    "truncated label": (LABEL, truncate, r"labelsTr/case_002\.nii\.gz: .*(truncated|not a readable).*Copy it again"),
    "empty image": (IMAGE, lambda path: path.write_bytes(b""), r"case_002_0000\.nii\.gz: the file is empty"),
    "text for an image": (IMAGE, lambda path: path.write_text("hello" * 100), r"case_002_0000\.nii\.gz: not a readable NIfTI"),
    "zipped text": (
        IMAGE,
        lambda path: path.write_bytes(gzip.compress(b"hello" * 100)),
        r"case_002_0000\.nii\.gz: not a readable NIfTI",
    ),
    "a byte changed": (IMAGE, flip, r"case_002_0000\.nii\.gz: not a readable"),
    "complex numbers": (
        IMAGE,
        rewrite(np.zeros(tiny.SHAPE, np.complex64)),
        r"case_002_0000\.nii\.gz: holds values of type complex64",
    ),
    "a table in Latin-1": (
        "participants.tsv",
        lambda path: path.write_bytes(path.read_bytes() + b"caf\xe9\tA\n"),
        r"not a table in UTF-8",
    ),
    "infinity": (
        IMAGE,
        rewrite(np.full(tiny.SHAPE, np.inf, np.float32)),
        r"case_002_0000\.nii\.gz: 512 of 512 voxels are NaN, infinite",
    ),
    "NaN": (IMAGE, rewrite(NOT_A_NUMBER), r"case_002_0000\.nii\.gz: 1 of 512 voxels are NaN, infinite"),
    "four axes": (
        IMAGE,
        rewrite(np.zeros((*tiny.SHAPE, 2), np.float32)),
        r"case_002_0000\.nii\.gz: holds 2 channels, but .* has 1 \(T1\)",
    ),
    "five axes": (
        IMAGE,
        rewrite(np.zeros((*tiny.SHAPE, 2, 2), np.float32)),
        r"case_002_0000\.nii\.gz: has shape \(8, 8, 8, 2, 2\)",
    ),
    "four axes of labels": (LABEL, rewrite(np.zeros((*tiny.SHAPE, 2), np.uint8)), r"case_002\.nii\.gz: has shape \(8, 8, 8, 2\)"),
    "other shape": (LABEL, rewrite(np.zeros((8, 8, 6), np.uint8)), r"shape \(8, 8, 8\), but .*case_002\.nii\.gz has \(8, 8, 6\)"),
    "other affine": (LABEL, rewrite(np.zeros(tiny.SHAPE, np.uint8), SHIFTED), r"case_002.*different affines"),
    "unknown label": (LABEL, rewrite(np.full(tiny.SHAPE, 3, np.uint8)), r"labelsTr/case_002\.nii\.gz: holds the label 3.*0 to 1"),
    "image missing": (IMAGE, os.unlink, r"case_002_0000\.nii\.gz: no such file; it is the channel 'T1' of the case 'case_002'"),
    "label missing": (LABEL, os.unlink, r"case 'case_002' has no label map"),
    "no description": ("dataset.json", os.unlink, r"holds no dataset\.json and no dataset_description"),
    "broken description": ("dataset.json", lambda path: path.write_text("{"), r"dataset\.json: not valid JSON"),
    "no labels entry": (
        "dataset.json",
        lambda path: path.write_text('{"channel_names": {"0": "T1"}}'),
        r"lacks the entry 'labels'",
    ),
    "gap in the labels": ("dataset.json", edit_json(labels={"background": 0, "ball": 2}), r"labels are .*consecutive"),
    "no group": (
        "participants.tsv",
        edit_table(lambda text: text.replace("case_002\tA", "case_002\t")),
        r"line 4: the case 'case_002' has no group",
    ),
    "case not listed": (
        "participants.tsv",
        edit_table(lambda text: text.replace("case_002\tA\n", "")),
        r"does not list the case 'case_002'",
    ),
    "case listed twice": ("participants.tsv", edit_table(lambda text: text + "case_002\tA\n"), r"'case_002' is listed twice"),
    "case without files": ("participants.tsv", edit_table(lambda text: text + "case_099\tA\n"), r"lists the case 'case_099'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_found_when_read(tmp_path, name):
    folder = tiny.write_dataset(tmp_path / "bad", cases=6)
    path, change, message = BAD[name]
    damage(folder, path, change)
    with pytest.raises(UserError, match=message):
        tiny.read(folder)


def test_labels_of_background_alone_are_refused(tmp_path):
    folder = tiny.write_dataset(tmp_path / "empty", cases=4)
    for path in (folder / "labelsTr").iterdir():
        write_volume(path, Volume(np.zeros(tiny.SHAPE, np.uint8), np.eye(4)))
    with pytest.raises(UserError, match="nothing to learn"):
        tiny.read(folder)


def test_nifti2_and_garbage_after_gzip_are_read(tmp_path, rng):
    values = rng.integers(0, 100, (3, 4, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti2Image(values, np.eye(4)), tmp_path / "two.nii.gz")
    with (tmp_path / "two.nii.gz").open("ab") as file:
        file.write(b"garbage")
    np.testing.assert_array_equal(read_image(tmp_path / "two.nii.gz").values[..., 0], values)


def test_the_fingerprint_sees_content_and_groups_but_not_the_place(tmp_path):
    folders = [tiny.write_dataset(tmp_path / name, cases=4) for name in ("one", "two", "three", "four")]
    (folders[2] / "participants.tsv").write_text(
        (folders[2] / "participants.tsv").read_text().replace("case_003\tB", "case_003\tA")
    )
    values = read_label(folders[3] / LABEL).values.copy()
    values[0, 0, 0] = 1
    write_volume(folders[3] / LABEL, Volume(values, np.eye(4)))
    plain, alike, other_group, other_voxel = (
        make_ready(folder, tmp_path / "prepared", FolderConfig()).fingerprint for folder in folders
    )
    assert plain == alike
    assert len({plain, other_group, other_voxel}) == 3


def test_reading_changes_nothing(tmp_path):
    folder = tiny.write_dataset(tmp_path / "kept", cases=4)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    dataset = tiny.read(folder)
    load_case(dataset.cases[0], dataset)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_fingerprint_sees_a_change_under_padding_and_in_large_files(tmp_path):
    """Some tools fill files up, so that neither size nor end say anything of the content."""
    path = tmp_path / "label.nii.gz"
    path.write_bytes(gzip.compress(b"one" * 1000).ljust(2**15, b"\0"))
    before = cases_module.file_fingerprint([path])
    path.write_bytes(gzip.compress(b"two" * 1000).ljust(2**15, b"\0"))
    assert cases_module.file_fingerprint([path]) != before
    large = np.random.default_rng(0).integers(0, 4, 12_000_000, np.uint8)
    path.write_bytes(gzip.compress(large.tobytes(), 1, mtime=0) + bytes(64))
    size, before = path.stat().st_size, cases_module.file_fingerprint([path])
    assert size > cases_module.PIECES * cases_module.PIECE_BYTES
    assert cases_module.file_fingerprint([path]) == before
    large[1_000_000] ^= 1
    path.write_bytes((gzip.compress(large.tobytes(), 1, mtime=0) + bytes(64)).ljust(size, b"\0")[:size])
    assert cases_module.file_fingerprint([path]) != before
    path.write_bytes(b"ab")
    other = tmp_path / "other"
    other.write_bytes(b"c")
    before = cases_module.file_fingerprint([path, other])
    path.write_bytes(b"a")
    other.write_bytes(b"bc")
    assert cases_module.file_fingerprint([path, other]) != before  # where a file ends counts, too


def test_what_a_kill_left_of_a_preparation_goes_with_the_next_one(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig())
    image, look = ready.dataset.cases[0].image, next((tmp_path / "prepared" / "looks").glob("case_000*"))
    left = []
    for path in (image, look):
        path.unlink()
        left.append(path.with_name(f".{path.name}.{2**22 + 1}.tmp"))  # of no process that there can be
        left[-1].write_bytes(b"half")
        os.utime(left[-1], (0, 0))
    make_ready(folder, tmp_path / "prepared", FolderConfig())
    assert image.is_file() and look.is_file()
    assert not any(path.exists() for path in left)
