"""The three layouts, groups from a table, and what is refused with one clear message."""

import gzip
import json
import os
import shutil
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny
from folders import OBLIQUE, bids, decathlon, save, table, volumes

from jaxal.data.groups import read_groups
from jaxal.data.images.layouts import find_images
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.layouts import find_cases
from jaxal.data.scans.plan import look_at
from jaxal.errors import UserError


def test_decathlon_with_two_channels_three_classes_and_an_oblique_affine(tmp_path):
    ready = make_ready(decathlon(tmp_path / "data"), tmp_path / "prepared", FolderConfig())
    assert ready.found.layout == "Decathlon"
    assert ready.dataset.channels == ("MRI0", "MRI1")
    assert ready.dataset.classes == ("background", "part 1", "part 2")
    assert [case.id for case in ready.dataset.cases] == [f"scan_{index}" for index in range(6)]
    np.testing.assert_allclose(ready.dataset.spacing_mm, np.linalg.norm(OBLIQUE[:3, :3], axis=0))


@pytest.mark.parametrize("sessions", [("",), ("ses-1",), ("ses-1", "ses-2")])
def test_bids_with_and_without_sessions(tmp_path, sessions):
    listing = find_cases(bids(tmp_path / "data", sessions=sessions))
    assert listing.layout == "BIDS"
    assert listing.channels == ("FLAIR", "T1w")
    assert listing.classes == ("background", "structure")
    assert len(listing.cases) == 6 * len(sessions)
    assert listing.cases[0].subject == "sub-00"
    assert listing.cases[0].id == ("sub-00_ses-1" if sessions[0] else "sub-00")
    assert [path.name.rsplit("_", 1)[1] for path in listing.cases[0].images] == ["FLAIR.nii.gz", "T1w.nii.gz"]
    assert find_cases(tmp_path / "data", ["T1w"]).channels == ("T1w",)


def test_both_sessions_of_a_subject_stay_in_one_split(tmp_path):
    from jaxal.data.cases import split

    ready = make_ready(bids(tmp_path / "data", 12, ("ses-1", "ses-2")), tmp_path / "prepared", FolderConfig())
    parts = split(ready.dataset.cases, 0, 0.2, 0.3)
    subjects = [{case.subject for case in part} for part in parts]
    assert sum(map(len, subjects)) == 12
    assert sum(map(len, parts)) == 24


def test_bids_subjects_without_a_label_map_do_not_count(tmp_path):
    folder = bids(tmp_path / "data")
    ages = {f"sub-{index:02d}": 20 + index for index in range(6)}
    table(folder, {**ages, "sub-90": "n/a", **{f"sub-{index}": 80 + index / 10 for index in range(91, 99)}}, "age")
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig("age", bins=(23,)))
    assert ready.dataset.groups == ("<23", ">=23")


def test_channels_are_for_bids_alone(tmp_path):
    with pytest.raises(UserError, match="--channels chooses among the images of a BIDS folder"):
        find_cases(decathlon(tmp_path / "data"), ["MRI0"])


def test_bids_names_of_classes(tmp_path):
    folder = bids(tmp_path / "data")
    (folder / "derivatives" / "readers" / "dseg.tsv").write_text("index\tname\n1\tcaudate\n")
    assert find_cases(folder).classes == ("background", "caudate")


def test_nnunet_may_list_its_files(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    description = json.loads((folder / "dataset.json").read_text())
    listed = {
        f"patient-{index}": {"images": [f"imagesTr/case_{index:03d}_0000.nii.gz"], "label": f"labelsTr/case_{index:03d}.nii.gz"}
        for index in range(4)
    }
    (folder / "dataset.json").write_text(json.dumps({**description, "dataset": listed}))
    assert [case.id for case in find_cases(folder).cases] == [f"patient-{index}" for index in range(4)]
    listed["../patient"] = listed.pop("patient-1")
    (folder / "dataset.json").write_text(json.dumps({**description, "dataset": listed}))
    with pytest.raises(UserError, match="a name that no file can have"):
        find_cases(folder)


def in_decathlon(folder, given):
    path = decathlon(folder) / "dataset.json"
    description = json.loads(path.read_text())
    description["training"][1]["label"] = given
    path.write_text(json.dumps(description))
    return path


def in_nnunet(folder, given):
    path = tiny.write_dataset(folder, cases=2) / "dataset.json"
    listed = {"a": {"images": [given], "label": "labelsTr/case_000.nii.gz"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "dataset": listed}))
    return path


def in_a_table(folder, given):
    folder.mkdir()
    (folder / "images.csv").write_text(f"path,label\n{given},a\nb.png,b\n")
    return folder / "images.csv, line 2"


@pytest.mark.parametrize("given", ["/etc/hostname.nii.gz", "../other/scan.nii.gz", "imagesTr/../../scan.nii.gz"])
@pytest.mark.parametrize(("write", "find"), [(in_decathlon, find_cases), (in_nnunet, find_cases), (in_a_table, find_images)])
def test_paths_that_may_lead_out_of_the_folder_are_refused_alike(tmp_path, write, find, given):
    source = write(tmp_path / "data", given)
    with pytest.raises(UserError) as error:
        find(tmp_path / "data")
    assert str(error.value) == (
        f"{source}: the path {given!r} may lead out of the folder {tmp_path / 'data'}. Paths must be relative to it and without '..': "
        "put the file, or a link to it, inside."
    )


@pytest.mark.parametrize("make", [decathlon, bids, lambda path: tiny.write_dataset(path, cases=6)])
def test_links_into_an_archive_are_followed_and_one_to_nothing_is_named(tmp_path, make):
    """As nnU-Net's users keep their raw folders, and as datalad gives out its data sets."""
    folder, archive = make(tmp_path / "data"), tmp_path / "archive"
    archive.mkdir()
    files = sorted(folder.rglob("*.nii.gz"))
    for number, path in enumerate(files):
        shutil.move(path, archive / str(number))
        path.symlink_to(archive / str(number))
    assert len(make_ready(folder, tmp_path / "prepared", FolderConfig()).dataset.cases) == 6
    (archive / "3").unlink()
    with pytest.raises(UserError) as error:
        make_ready(folder, tmp_path / "prepared", FolderConfig())
    assert str(error.value).startswith(f"{files[3]}: not a file but a link to {archive / '3'}, which is not there; ")


def test_ids_may_hold_other_letters(tmp_path):
    folder = tiny.write_dataset(tmp_path / "Köpfe", cases=4)
    for part, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        os.rename(folder / part / f"case_001{ending}", folder / part / f"Žofia-测试{ending}")
    text = (folder / "participants.tsv").read_text().replace("case_001", "Žofia-测试")
    (folder / "participants.tsv").write_text(text, encoding="utf-8")
    assert "Žofia-测试" in [case.id for case in tiny.read(folder).cases]


@pytest.mark.parametrize("make", [lambda path: tiny.write_dataset(path, cases=4), bids])
def test_hidden_files_are_nobodys_scans(tmp_path, make):
    """Copies from some systems have one beside each file."""
    folder = make(tmp_path / "data")
    for path in list(folder.rglob("*.nii.gz")):
        path.with_name(f"._{path.name}").write_bytes(b"notes")
    assert all(not path.name.startswith(".") for case in find_cases(folder).cases for path in (*case.images, case.label))


def test_a_read_only_folder_is_enough(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    tiny.read(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def loop_of_links(folder):
    path = folder / "labelsTr" / "case_002.nii.gz"
    path.unlink()
    path.symlink_to(path)


def twice(folder):
    description = json.loads((folder / "dataset.json").read_text())
    description["training"].append(description["training"][0])
    (folder / "dataset.json").write_text(json.dumps(description))


def second_map(folder):
    _, label = volumes(0)
    save(folder / "derivatives" / "other" / "sub-00" / "ses-1" / "anat" / "sub-00_ses-1_dseg.nii.gz", label)


BAD = {
    "a loop of links": (lambda path: tiny.write_dataset(path, cases=6), loop_of_links, r"case_002\.nii\.gz: not a file"),
    "a case listed twice": (decathlon, twice, r"the case 'scan_0' is there twice"),
    "a channel missing": (
        decathlon,
        lambda folder: save(folder / "imagesTr" / "scan_1.nii.gz", volumes(1)[0], OBLIQUE),
        r"scan_1\.nii\.gz: 1 channels, but the data set has MRI0, MRI1",
    ),
    "a channel missing in BIDS": (
        bids,
        lambda folder: (folder / "sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz").unlink(),
        r"sub-02_ses-1 has no FLAIR",
    ),
    "a second label map": (bids, second_map, r"a second label map of 'sub-00_ses-1'"),
    "a channel of one alone in BIDS": (
        bids,
        lambda folder: (folder / "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz").rename(
            folder / "sub-02/ses-1/anat/sub-02_ses-1_T1W.nii.gz"
        ),
        r"only sub-02_ses-1 of 6 cases has a T1W. Rename or remove .*sub-02_ses-1_T1W.nii.gz",
    ),
    "names of classes in other letters": (
        bids,
        lambda folder: (folder / "derivatives/readers/dseg.tsv").write_bytes("index\tname\n1\tKörper\n".encode("latin-1")),
        r"dseg.tsv: not a table in UTF-8",
    ),
    "names of classes without numbers": (
        bids,
        lambda folder: (folder / "derivatives/readers/dseg.tsv").write_text("index\tname\none\tbody\n"),
        r"dseg.tsv, line 2: expected a whole number in the column 'index'",
    ),
    "training without a label": (
        decathlon,
        lambda folder: change_description(folder, training=[{"image": "imagesTr/scan_0.nii.gz"}]),
        r"'training' lists {\"image\": \"imagesTr/scan_0.nii.gz\"}; expected an image and a label",
    ),
    "labels the other way round": (
        decathlon,
        lambda folder: change_description(folder, labels={"background": 0, "part": 1}),
        r"the Decathlon has numbers and names",
    ),
    "two labels of one name": (
        decathlon,
        lambda folder: change_description(folder, labels={"0": "background", "1": "part", "2": "part"}),
        r"two labels have the name 'part'",
    ),
    "no label maps": (bids, lambda folder: os.rename(folder / "derivatives", folder / "elsewhere"), r"holds no label maps"),
    "a subject not listed": (
        bids,
        lambda folder: table(folder, {"sub-00": "A", "sub-01": "B"}),
        r"does not list the case 'sub-02'",
    ),
    "a label map in another grid": (
        decathlon,
        lambda folder: save(folder / "labelsTr" / "scan_1.nii.gz", np.zeros((8, 8, 5), np.uint8), OBLIQUE),
        r"shape \(8, 8, 6\), but .*scan_1\.nii\.gz has \(8, 8, 5\)",
    ),
    "none of the layouts": (
        lambda path: path.mkdir() or path,
        lambda folder: None,
        r"holds no dataset\.json and no dataset_description",
    ),
    "a list for a description": (
        decathlon,
        lambda folder: (folder / "dataset.json").write_text("[]"),
        r"dataset\.json: expected an object",
    ),
    "regions of labels": (
        lambda path: tiny.write_dataset(path, cases=4),
        lambda folder: (folder / "dataset.json").write_text(
            json.dumps({**json.loads((folder / "dataset.json").read_text()), "labels": {"background": 0, "whole": [1, 2]}})
        ),
        r"regions of several are not",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_folders_end_in_one_message(tmp_path, name):
    make, change, message = BAD[name]
    folder = make(tmp_path / "data")
    change(folder)
    with pytest.raises(UserError, match=message):
        make_ready(folder, tmp_path / "prepared", FolderConfig())


def test_the_ignore_label_is_not_annotated(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    description = json.loads((folder / "dataset.json").read_text())
    description["labels"]["ignore"] = 2
    (folder / "dataset.json").write_text(json.dumps(description))
    label = np.asarray(nibabel.load(folder / "labelsTr" / "case_000.nii.gz").dataobj).copy()
    label[:2] = 2
    save(folder / "labelsTr" / "case_000.nii.gz", label)
    from jaxal.data.scans.prepare import load_case

    dataset = tiny.read(folder)
    assert dataset.classes == ("background", "ball")
    example = load_case(dataset.cases[0], dataset)
    assert example.inside.all()  # it is scored like the rest
    assert not example.labelled[:2].any()
    assert example.labelled[2:].all()
    assert example.label.max() == 1
    listing = find_cases(folder)
    ball = int((label == 1).sum())
    assert len(look_at(listing.cases[0], listing).intensities) == ball < (label > 0).sum()  # intensities of the foreground alone
    description["labels"]["ignore"] = 7
    (folder / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="'ignore' is 7"):
        tiny.read(folder)


# Groups


def participants(tmp_path, values, column="age"):
    table(tmp_path, {f"p{index:03d}": value for index, value in enumerate(values)}, column)
    return tmp_path / "participants.tsv"


def test_numbers_are_cut_at_edges_or_quantiles(tmp_path):
    path = participants(tmp_path, ["59.9", "60", "74", "75", "90"])
    assert list(read_groups(path, "age", (60, 75)).values()) == ["<60", "60-75", "60-75", ">=75", ">=75"]
    path = participants(tmp_path, range(20))
    assert list(read_groups(path, "age").values()) == ["<9.5"] * 10 + [">=9.5"] * 10
    thirds = list(read_groups(path, "age", quantiles=4).values())
    assert sorted({group: thirds.count(group) for group in thirds}.values()) == [5, 5, 5, 5]


def test_few_numbers_are_names(tmp_path):
    assert set(read_groups(participants(tmp_path, [1, 2, 1, 2]), "age").values()) == {"1", "2"}


@pytest.mark.parametrize(
    ("values", "bins", "message"),
    [
        ([f"name {index}" for index in range(200)], (), "holds 200 different values"),
        (["60", "old", "70"], (65,), "--bins cut numbers, but the column 'age' holds 'old'"),
        (["60", "65", "70"], (65, 60), "expected rising numbers"),
        (["0"] * 40 + [str(number) for number in range(14)], (), None),
    ],
)
def test_columns_that_make_no_groups(tmp_path, values, bins, message):
    path = participants(tmp_path, values)
    if message is None:
        with pytest.raises(UserError, match="are the same for --quantiles 4"):
            read_groups(path, "age", bins, quantiles=4)
        return
    with pytest.raises(UserError, match=message):
        read_groups(path, "age", bins)


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


def change_description(folder, **entries):
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


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


@pytest.mark.parametrize(("bins", "why"), [((), "the column 'group' holds names"), ((3.0,), "--bins are given")])
def test_quantiles_that_would_be_ignored_are_refused(tmp_path, bins, why):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    with pytest.raises(UserError, match=f"--quantiles 3 cuts a column of many different numbers, but {why}"):
        read_groups(folder / "participants.tsv", "group", bins, 3)


def test_channels_that_nobody_has_or_that_are_named_twice(tmp_path):
    folder = bids(tmp_path / "data")
    with pytest.raises(UserError, match="no case has a T2w; choose --channels among FLAIR, T1w"):
        find_cases(folder, ["T2w"])
    with pytest.raises(UserError, match="--channels names T1w twice"):
        find_cases(folder, ["T1w", "T1w"])


def test_empty_lines_of_a_table_are_passed_over_and_one_without_lines_is_refused(tmp_path):
    path = participants(tmp_path, ["A", "B"], "group")
    path.write_text(path.read_text() + "  \n\t\n\n")
    assert read_groups(path, "group") == {"p000": "A", "p001": "B"}
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    (folder / "participants.tsv").write_text("participant_id\tgroup\n")
    with pytest.raises(UserError, match=r"participants.tsv: does not list the case 'case_000', so it has no group. Add a line"):
        make_ready(folder, tmp_path / "prepared", FolderConfig())
    with pytest.raises(UserError, match="--group-column is empty"):
        make_ready(folder, tmp_path / "prepared", FolderConfig(""))


def test_the_current_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}: the current folder, for --data is empty or a dot, holds no dataset.json"):
        find_cases(Path())
