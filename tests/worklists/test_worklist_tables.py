"""What other programs read: the documented columns and keys, and names that break what is not escaped."""

import csv
import io
import json
import shlex
from pathlib import Path

import pytest
from asked_cases import CLASSES, NASTY, scans

from jaxal.errors import UserError
from jaxal.worklists import items, tables


@pytest.fixture
def worklist(tmp_path):
    return scans(tmp_path)


def rows(worklist):
    return list(csv.DictReader(io.StringIO(tables.csv_text(worklist), newline="")))


def test_cart_finds_case_volumes_and_proposal(worklist):
    """CART: one `uid`, at least one column with `volume`, and every column with `segmentation` or `markup` is loaded."""
    table = rows(worklist)
    assert [row["uid"] for row in table] == list(NASTY)
    columns = list(table[0])
    assert [column for column in columns if "volume" in column] == ["volume_CT", "volume_PET 'a'"]
    assert [column for column in columns if "segmentation" in column or "markup" in column] == ["segmentation_proposal"]
    item = worklist.items[1]
    assert table[1]["volume_PET 'a'"] == str(item.images["PET 'a'"]) and Path(table[1]["volume_CT"]).is_absolute()
    assert table[1]["segmentation_proposal"] == str(item.proposal_seg)


def test_case_iterator_finds_its_columns_as_its_window_names_them(worklist):
    row = rows(worklist)[0]
    item = worklist.items[0]
    assert (row["path"], row["image"], row["mask"], row["ID"]) == ("", str(item.image), str(item.proposal_seg), "case 01")


def test_a_channel_whose_name_means_something_to_cart_gets_a_number(tmp_path):
    strange = scans(
        tmp_path, images={"segmentation of T1": Path("/a.nii.gz"), "Markup": Path("/b.nii.gz"), "T2": Path("/c.nii.gz")}
    )
    assert list(rows(strange)[0])[1:4] == ["volume_1", "volume_2", "volume_T2"]


def test_a_case_without_proposal_and_minutes_has_empty_cells(tmp_path):
    row = rows(scans(tmp_path, proposal_seg=None, proposal_nifti=None, minutes=None))[0]
    assert (row["segmentation_proposal"], row["mask"], row["minutes"]) == ("", "", "")


def test_what_came_back_is_first_and_what_is_handed_in_is_last(worklist):
    first, second, third = worklist.items[:3]
    mixed = [first._replace(state="delivered", returned=("once",)), second, third._replace(returned=("Upside down.",))]
    assert [item.place for item in items.in_order(mixed)] == [3, 2, 1]


def test_mitk_finds_the_documented_keys(worklist, tmp_path):
    """https://docs.mitk.org/2024.06/MITKSegmentationTaskListsPage.html, and what its reader insists on."""
    folder = tmp_path / "readers" / "anna"
    read = json.loads(tables.mitk_text(worklist, folder))
    assert read["FileFormat"] == "MITK Segmentation Task List" and read["Version"] == 1
    assert read.keys() == {"FileFormat", "Version", "Name", "Defaults", "Tasks"}
    assert read["Defaults"] == {"LabelNameSuggestions": "mitk_labels.json"}  # a Result there is refused
    assert len(read["Tasks"]) == len(NASTY)
    for task, item in zip(read["Tasks"], worklist.items, strict=True):
        assert task.keys() == {"Name", "Description", "Image", "Segmentation", "Result"} and task["Name"] == item.case
        assert (folder / task["Image"]).resolve() == item.image and not Path(task["Image"]).is_absolute()
        assert (folder / task["Segmentation"]).resolve() == item.proposal_nifti
        assert task["Result"] == f"inbox/{item.result.name}.nrrd"
    assert len({task["Result"] for task in read["Tasks"]}) == len(NASTY)
    assert "&lt;b&gt;" in read["Tasks"][1]["Description"]  # MITK shows it as HTML


def test_mitk_gets_no_task_that_is_handed_in_and_no_segmentation_that_is_not_there(worklist, tmp_path):
    first, second = worklist.items[:2]
    asked = [first._replace(state="delivered"), second._replace(proposal_nifti=None, returned=("Empty.",))]
    (task,) = json.loads(tables.mitk_text(worklist._replace(items=asked), tmp_path))["Tasks"]
    assert task.keys() == {"Name", "Description", "Image", "LabelName", "Result"} and task["LabelName"] == CLASSES[0].name
    assert task["Description"].startswith("Came back: Empty. The network")


def test_mitk_suggests_the_classes():
    """Keys and forms of colours as MITK's own list `mitk_classic.json` has them, and as its documents had them before."""
    new = json.loads(tables.mitk_labels_text(CLASSES))
    assert new["version"] == 3 and new["type"].startswith("org.mitk.multilabel.segmentation.")
    names = [entry.name for entry in CLASSES]
    assert new["groups"] == [
        {"labels": [{"name": name, "color": list(entry.rgb)} for name, entry in zip(names, CLASSES, strict=True)]}
    ]
    old = json.loads(tables.mitk_old_labels_text(CLASSES))
    assert old == [{"name": names[0], "color": "#e69f00"}, {"name": names[1], "color": "#56b4e9"}]


def test_each_mitk_finds_its_own_suggestions(worklist, tmp_path):
    old = json.loads(tables.mitk_text(worklist, tmp_path, tables.MITK_OLD_LABELS))
    assert old["Defaults"]["LabelNameSuggestions"] == "mitk_labels-until-2025.08.json"


def test_itk_snap_reads_values_colours_and_names():
    read = []
    for line in tables.labels_text(CLASSES).splitlines():
        if not line.startswith("#"):
            *numbers, _ = (line[: line.index('"')] + " x").split()
            read.append(([float(number) for number in numbers], line.split('"')[1]))  # up to the next quotation mark
    assert read == [
        ([0, 0, 0, 0, 0, 0, 0], "Clear Label"),
        ([1, 0xE6, 0x9F, 0, 1, 1, 1], CLASSES[0].name),
        ([2, 0x56, 0xB4, 0xE9, 1, 1, 1], CLASSES[1].name),
    ]


@pytest.mark.parametrize(
    ("name", "colour", "said"),
    [
        ('a "b"', "#000000", "quotation marks"),
        ("a\nb", "#000000", "line breaks"),
        ("  ", "#000000", "no name"),
        ("liver", "#000000", "is there twice"),
        ("spleen", "red", "no colour"),
        ("spleen", "#00000g", "no colour"),
    ],
)
def test_a_class_that_a_program_would_lose_is_refused(name, colour, said):
    with pytest.raises(UserError, match=said):
        tables.labels_text([*CLASSES, items.Class(name, colour)])


def test_classes_get_colours_that_differ():
    assert len({entry.rgb for entry in items.coloured([str(number) for number in range(8)])}) == 8
    items.check_classes(items.coloured([str(number) for number in range(254)]))


def test_commands_survive_a_shell(worklist, tmp_path):
    for item in worklist.items:
        line = tables.commands(item, tmp_path / "the labels.txt")
        files = [str(path) for path in item.images.values()]
        assert shlex.split(line.slicer) == ["Slicer", *files, str(item.proposal_seg)]
        draft, answer = f"{item.unfinished}.nii.gz", f"{item.result}.nii.gz"
        assert shlex.split(line.hand_in) == ["mv", draft, answer]
        snap = shlex.split(line.snap)
        assert snap[snap.index("itksnap") :] == [
            "itksnap", "-g", files[0], "-o", files[1], "-l", str(tmp_path / "the labels.txt"), "-s", draft
        ]  # fmt: skip
        assert Path(draft).parent.name == "unfinished" and Path(answer).parent.name == "inbox"


def test_a_shell_copies_the_proposal_once_and_never_into_the_inbox(worklist, tmp_path):
    import subprocess

    item = worklist.items[3]
    for folder in (item.proposal_nifti.parent, item.result.parent, item.unfinished.parent):
        folder.mkdir(parents=True, exist_ok=True)
    item.proposal_nifti.write_text("proposal")
    line = tables.commands(item, tmp_path / "labels.txt")
    opened = ["sh", "-c", line.snap.replace("itksnap", "true")]
    subprocess.run(opened, check=True)
    draft = tables.with_ending(item.unfinished, ".nii.gz")
    assert draft.read_text() == "proposal" and list(item.result.parent.iterdir()) == []
    draft.write_text("drawn")
    subprocess.run(opened, check=True)
    subprocess.run(["sh", "-c", line.hand_in], check=True)
    assert tables.with_ending(item.result, ".nii.gz").read_text() == "drawn" and not draft.exists()


def test_without_a_proposal_itk_snap_gets_nothing_to_save_to(tmp_path):
    line = tables.commands(scans(tmp_path, proposal_nifti=None, proposal_seg=None).items[0], tmp_path / "labels.txt")
    assert "-s" not in shlex.split(line.snap) and "cp" not in shlex.split(line.snap)


def test_an_ending_is_added_behind_dots():
    assert tables.with_ending(Path("/a/v1.2.nii"), ".json") == Path("/a/v1.2.nii.json")
