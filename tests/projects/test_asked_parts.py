"""Which parts of scans a project asks for, how readers are told, and what cannot be asked for."""

import csv
import json

import nibabel
import numpy as np
import pytest
import tiny
from made_parts import PARTS, SLICES, is_asked, parts_of

from jaxal.cli.main import main
from jaxal.data.scans.folder import FolderConfig
from jaxal.errors import UserError
from jaxal.projects.kind import AskedUnits
from jaxal.projects.kinds import kind_of_beginning
from jaxal.projects.scans.parts import arguments_of, distinct, windows_at_random
from jaxal.projects.settings import OfParts, read_settings
from jaxal.projects.worklists import worklist_of, write_all
from jaxal.server.project_desk import ProjectDesk
from jaxal.studies.units import search_for


@pytest.fixture
def asked(begin):
    """A project whose first query of four slices waits."""
    made = begin(**{**PARTS, "size": 4})
    made.ask()
    return made


def test_a_worklist_names_the_part_and_offers_a_mask(asked):
    reading = asked.state.open_readings[0]
    (folder,) = write_all(asked.project, [reading.reader])
    item = next(item for item in worklist_of(asked.project, asked.state, reading.reader).items if item.case == reading.case)
    mask = nibabel.load(item.mask)
    assert (mask.affine == nibabel.load(asked.label(reading.case)).affine).all()
    values = np.asarray(mask.dataobj)
    assert ((values > 0) == is_asked(asked, reading.case)).all() and values.max() == len(item.parts) == 4
    (start, _), words = parts_of(asked, reading.case)[0], item.parts[0].words
    assert words == f"axial slice {start[2] + 1} of 8 (k = {start[2]} counted from 0), at S {start[2]}.0 mm"
    assert item.reason == "The first parts are a sample of all." and item.place == 1
    page = (folder / "worklist.html").read_text()
    assert words in page and str(item.mask) in page and "white lines frame" in page and "nothing else is taken" in page
    (row,) = [row for row in csv.DictReader((folder / "worklist.csv").read_text().splitlines()) if row["uid"] == reading.case]
    assert row["parts"].startswith(words) and row["asked_for"] == str(item.mask)
    task = next(task for task in json.loads((folder / "worklist.mitk.json").read_text())["Tasks"] if task["Name"] == reading.case)
    assert words in task["Description"] and "asked/" in task["Description"]
    assert words in (folder / "slicer_worklist.py").read_text()


@pytest.mark.parametrize(
    "parts", [OfParts("box", (3, 4, 5)), OfParts("slice", (0, 2, 0), per_case=3), OfParts("slice", (0, 0, 1))]
)
def test_studies_search_for_the_parts_that_were_frozen(parts):
    search = search_for(arguments_of(parts), (8, 8, 8), 10)
    assert search.size == parts.size and search.at_most == (parts.per_case or 10)


def test_windows_at_random_come_from_every_place_that_has_something_to_label():
    open_ = np.ones((4, 3, 5), bool)
    open_[:, :, :2] = False
    places = set()
    for seed in range(300):
        drawn = windows_at_random(open_, (2, 0, 2), 3, np.random.default_rng(seed))
        covered = np.zeros(open_.shape, int)
        for start, size in drawn:
            box = tuple(slice(first, first + length) for first, length in zip(start, size, strict=True))
            assert size == (2, 3, 2) and open_[box].any()
            covered[box] += 1
        assert covered.max() == 1 and len(drawn) in (1, 2, 3)
        places.add(drawn[0][0])
    expected = {(i, 0, k) for i in range(3) for k in range(4) if open_[i : i + 2, :, k : k + 2].any()}
    assert places == expected and len(expected) == 9
    assert windows_at_random(~open_ & open_, (1, 1, 1), 2, np.random.default_rng(0)) == []


def test_parts_that_lie_within_others_are_asked_for_once():
    whole, inner, beside = ((0, 0, 3), (8, 8, 2)), ((0, 0, 4), (8, 8, 1)), ((0, 0, 5), (8, 8, 1))
    assert distinct([inner, whole, beside, whole]) == [whole, beside]


TURNED = np.array(
    [[0, 0.2, -2.98, 40.0], [-1.0, 0, 0, 7.0], [0, 1.49, 0.4, -12.0], [0, 0, 0, 1]]
)  # sagittal, of thick slices, tilted


@pytest.mark.parametrize("spacing_mm", [(), (1.0, 1.0, 1.0)])
def test_slices_of_a_turned_and_tilted_scan_are_its_own_whole_slices(begin, tmp_path, spacing_mm):
    """Where the network sees voxels of a third of a slice, three of them that lie in one slice ask for it once."""
    data = tiny.write_dataset(tmp_path / "turned", cases=5, shape=(8, 10, 6), affine=TURNED)
    (data / "labelsTr").rename(tmp_path / "labels")
    made = begin(**{**PARTS, "size": 12}, data=data, config=FolderConfig(need_labels=False, spacing_mm=spacing_mm))
    assert made.project.settings.scans.parts.size == (1, 0, 0)
    for entry in made.ask().asked["readings"]:
        places = [start[2] for start, _ in entry["parts"]]
        assert all(
            start == [0, 0, place] and size[:2] == [8, 10] for (start, size), place in zip(entry["parts"], places, strict=True)
        )
        if not spacing_mm:
            assert len(set(places)) == 4 and all(size[2] == 1 for _, size in entry["parts"])
        item = next(item for item in worklist_of(made.project, made.state, entry["reader"]).items if item.case == entry["case"])
        mask = nibabel.load(item.mask)
        assert np.allclose(mask.affine, TURNED, atol=1e-5) and all(part.words.startswith("sagittal slice") for part in item.parts)
        inside = np.argwhere(np.asarray(mask.dataobj) == 1)
        assert np.allclose(item.parts[0].middle_mm, (TURNED @ [*inside.mean(0), 1])[:3], atol=1e-4)


def test_the_extension_is_told_what_is_asked_for(asked):
    reading = asked.state.open_readings[0]
    desk = ProjectDesk(asked.project, (), str, str, str, str)
    assert desk.asked_for(reading.reader, reading.case).startswith("axial slice")
    assert desk.asked_for("nobody", reading.case) == ""
    stranger = next(case for case, known in asked.state.cases.items() if not known.readings)
    assert desk.asked_for(reading.reader, stranger) == ""


@pytest.mark.parametrize(
    ("units", "more", "sentence"),
    [
        (AskedUnits("region"), {}, r"--unit region: images here have 3 axes; it takes image, slice or box"),
        (AskedUnits("box", (9,)), {}, r"--unit-size is 9 x 9 x 9; images have 8 x 8 x 8 elements"),
        (AskedUnits("slice", (2, 2)), {}, r"--unit-size is 2 x 2; it takes one number"),
        (AskedUnits("slice", slice_axis=3), {}, r"--slice-axis is 3"),
        (AskedUnits("box", slice_axis=1), {}, r"--slice-axis is for slices"),
        (AskedUnits(per_case=2), {}, r"--per-case is for parts of cases"),
        (AskedUnits("slice"), {"test_cases": 4}, r"--test-cases is 4: where parts of scans are asked for"),
        (AskedUnits("slice"), {"strategy": "badge"}, r"badge"),
        (AskedUnits("slice"), {"strategy": "aeig", "size": 4}, r"--size at least 5"),
    ],
)
def test_what_cannot_be_asked_for_is_said_at_the_start(begin, units, more, sentence):
    with pytest.raises(UserError, match=sentence):
        begin(**{**PARTS, "units": units, **more})


def test_images_with_one_class_have_no_parts(begin_images, tmp_path):
    begin_images()
    with pytest.raises(UserError, match=r"--unit slice: .* holds images with one class"):
        kind_of_beginning(tmp_path / "images", SLICES)


def test_projects_of_whole_scans_are_written_as_before(begin):
    made = begin()
    stored = json.loads((made.folder / "project.json").read_text())
    assert stored["format"] == 1 and "parts" not in stored["of_scans"]
    of_parts = begin(**PARTS, name="parts")
    stored = json.loads((of_parts.folder / "project.json").read_text())
    assert stored["format"] == 2 and stored["of_scans"]["parts"] == {"unit": "slice", "size": [0, 0, 1], "per_case": None}
    assert read_settings(of_parts.folder)[0] == of_parts.project.settings


def test_a_project_of_slices_begins_from_the_command_line(scans, tmp_path, quick, capsys):
    folder = str(tmp_path / "project")
    options = ["--strategy", "entropy", "--preset", "smoke", "--unit", "slice", "--unit-size", "2", "--size", "6"]
    assert main(["start", folder, "--data", str(scans / "data"), "--readers", "anna", *options]) == 0
    assert main(["ask", folder]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "axial slices of 2 mm" in told and "asks for 6 parts of 2 cases: anna reads 2" in told
    assert main(["start", folder, "--unit", "box"]) == 2
    assert "--unit is decided when a project is started" in " ".join(capsys.readouterr().err.split())
