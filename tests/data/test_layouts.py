"""The layouts that have a description, and what is refused in them with one clear message."""

import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tiny
from folders import OBLIQUE, bids, change_description, decathlon, save, table, volumes

from jaxal.data.images.layouts import find_images
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.scans.layouts import find_cases
from jaxal.data.scans.plan import look_at
from jaxal.errors import UserError


def test_decathlon_with_two_channels_three_classes_and_an_oblique_affine(tmp_path):
    ready = make_ready(decathlon(tmp_path / "data"), tmp_path / "prepared", FolderConfig())
    assert ready.listing.layout == "Decathlon"
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
        r"scan_1\.nii\.gz: holds 1 channel, but the data set has 2 \(MRI0, MRI1\)",
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


def test_channels_that_nobody_has_or_that_are_named_twice(tmp_path):
    folder = bids(tmp_path / "data")
    with pytest.raises(UserError, match="no case has a T2w; choose --channels among FLAIR, T1w"):
        find_cases(folder, ["T2w"])
    with pytest.raises(UserError, match="--channels names T1w twice"):
        find_cases(folder, ["T1w", "T1w"])


def test_the_current_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path}: the current folder, for --data is empty or a dot, holds no dataset.json"):
        find_cases(Path())
