"""What people decide about cases, and that what is written down can be checked and taken elsewhere."""

import contextlib
import csv
import json
import os
import shutil

import nibabel
import numpy as np
import pytest
from made_projects import digest_of, read

from jaxal.cli.main import main
from jaxal.data.scans.folder import FolderConfig, groups_of
from jaxal.data.scans.layouts import find_cases
from jaxal.errors import UserError
from jaxal.labels.merging import majority
from jaxal.labels.refusals import Refused
from jaxal.labels.staple import staple
from jaxal.projects import decisions
from jaxal.projects.check import problems
from jaxal.projects.export import export
from jaxal.projects.settle import settle
from jaxal.projects.status import in_words, status_of, to_json


@pytest.fixture
def labelled(begin):
    """A project of which five cases are labelled."""
    made = begin(double_share=0.0)
    made.ask()
    made.answer()
    return made


def nothing(done, total):
    pass


def test_returned_labels_are_not_trained_on(labelled):
    case = labelled.state.labels("training")[0][0]
    reader = labelled.state.cases[case].versions[0].reader
    assert decisions.give_back(labelled.project, [case], "half is missing") == [(case, reader)]
    assert case not in dict(labelled.state.labels("training"))
    labelled.ask(even_if_open=True)
    assert case not in dict(labelled.state.rounds[-1].training)
    with pytest.raises(
        Refused, match=r"you handed in before, and it came back \(half is missing\)\. Correct it first\..*once more"
    ):
        labelled.draw(reader, case)
    labelled.redraw(reader, case)
    assert labelled.state.cases[case].label == f"{reader}-2"
    decisions.give_back(labelled.project, [case], "again")
    for _ in range(2):
        with contextlib.suppress(Refused):
            labelled.draw(reader, case)
    assert labelled.state.cases[case].label == f"{reader}-3", "who hands in the very same file twice means it"


def test_reopened_labels_are_trained_on_until_the_new_ones_are_there(labelled):
    case, version = labelled.state.labels("training")[0]
    other = ({"anna", "ben"} - {labelled.state.cases[case].versions[0].reader}).pop()
    assert decisions.reopen(labelled.project, [case], "shifted", other) == [(case, other)]
    labelled.ask(even_if_open=True)
    assert (case, version) in labelled.state.rounds[-1].training
    labelled.draw(other, case)
    assert labelled.state.cases[case].label == f"{other}-1"
    assert decisions.reopen(labelled.project, [case], "again")[0][1] == other, "who drew it last corrects it"


def test_three_readers_of_whom_no_two_come_near_each_other_leave_it_to_a_person(begin, tmp_path):
    made = begin(readers=("anna", "ben", "carla"), double_share=0.4)
    made.ask()
    case = next(reading.case for reading in made.state.open_readings if reading.double)
    truth = nibabel.load(made.label(case))
    values = np.asarray(truth.dataobj).astype(np.uint8)
    for place, by in enumerate(((0, 0), (5, 0), (0, 5))):
        reader = next(reading.reader for reading in made.state.open_readings if reading.case == case)
        nibabel.save(nibabel.Nifti1Image(np.roll(values, by, (0, 1)), truth.affine), tmp_path / f"{place}.nii.gz")
        made.draw(reader, case, path=tmp_path / f"{place}.nii.gz")
        settle(made.project)
    assert made.state.with_status("disputed") == [case] and made.state.cases[case].label is None
    assert len(made.state.cases[case].disputed) == 3


def test_a_case_whose_second_reader_changed_is_compared_all_the_same(begin):
    made = begin(readers=("anna", "ben", "carla"), double_share=0.4)
    made.ask()
    case, (first, second) = next((id_, sorted(one.readings)) for id_, one in made.state.cases.items() if len(one.readings) == 2)
    third = ({"anna", "ben", "carla"} - {first, second}).pop()
    for reader in (first, second):
        made.draw(reader, case)
    decisions.give_back(made.project, [f"{case}/{second}-1"], "look again")
    decisions.release(made.project, second, [case], "ill", third)
    assert made.state.cases[case].label is None, "it does not count before it is compared"
    made.redraw(third, case)
    settle(made.project)
    assert made.state.cases[case].label == "merged-1" and made.state.cases[case].version("merged-1").round == 1


def test_a_decision_says_who_and_why_and_ends_what_nobody_has_begun(begin, tmp_path, capsys):
    made = begin(readers=("anna", "ben", "carla"), double_share=0.4)
    made.ask()
    case, (first, second) = next((id_, sorted(one.readings)) for id_, one in made.state.cases.items() if len(one.readings) == 2)
    image = nibabel.load(made.label(case))
    nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(image.dataobj), 5, 0), image.affine), tmp_path / "far.nii.gz")
    made.draw(first, case)
    made.draw(second, case, path=tmp_path / "far.nii.gz")
    settle(made.project)
    third = next(reading.reader for reading in made.state.open_readings if reading.case == case and reading.part == "third")
    command = ["review", str(made.folder), case, "--take", f"{first}-1"]
    for more, message in (
        ([], "say who decides"), (["--by", "head"], "say why"), (["--by", "head", "--why", "TEXT"], "say why"), (["--third"], "give one of them"),
    ):  # fmt: skip
        assert main([*command, *more]) == 2 and message in capsys.readouterr().err
    assert main([*command[:3], "--third", "--reader", first]) == 2
    assert f"{first} reads it or has read it" in capsys.readouterr().err
    assert main([*command, "--by", "head", "--why", "the other is far off"]) == 0
    assert made.state.cases[case].label == f"{first}-1" and third not in made.state.cases[case].readings
    assert (
        main([*command, "--by", "other", "--why", "more"]) == 0
        and "counts already, so nothing was written" in capsys.readouterr().out
    )
    decided = [event.fields for event in made.project.log.read() if event.kind == "decided"]
    assert [(one["by"], one["why"]) for one in decided] == [("head", "the other is far off")]


@pytest.mark.parametrize("merging", ["majority", "staple"])
def test_three_readings_become_one_as_the_project_says(begin, tmp_path, merging):
    made = begin(readers=("anna", "ben", "carla"), double_share=0.4, merging=merging)
    made.ask()
    case = next(reading.case for reading in made.state.open_readings if reading.double)
    truth = nibabel.load(made.label(case))
    values = np.asarray(truth.dataobj).astype(np.uint8)
    drawn = [values, np.roll(values, 2, 0), np.roll(values, 2, 1)]
    for place, labels in enumerate(drawn):
        reader = next(reading.reader for reading in made.state.open_readings if reading.case == case)
        nibabel.save(nibabel.Nifti1Image(labels, truth.affine), tmp_path / f"{place}.nii.gz")
        made.draw(reader, case, path=tmp_path / f"{place}.nii.gz")
        told = settle(made.project)
    by_hand = majority(drawn, 1) if merging == "majority" else staple(drawn, 1)[0]
    assert not np.array_equal(majority(drawn, 1), staple(drawn, 1)[0]), "both ways differ here"
    assert np.array_equal(read(made.project.label_path(case, "merged-1")), by_hand)
    assert told == [f"{case}: {'the majority' if merging == 'majority' else 'what STAPLE makes'} of 3 readings counts."]


def test_excluded_cases_are_gone(labelled):
    asked, unasked = labelled.state.with_status("labelled")[0], labelled.state.unasked()[0]
    assert decisions.exclude(labelled.project, [asked, unasked], "motion") == [asked, unasked]
    assert decisions.exclude(labelled.project, [asked], "motion") == []
    labelled.ask()
    fields = labelled.state.rounds[-1].fields
    assert unasked not in fields["unasked"] and asked not in {*dict(fields["training"]), *dict(fields["evaluation"])}


def test_a_reader_who_is_away(begin):
    made = begin(readers=("anna", "ben", "carla"), double_share=0.4)
    made.ask()
    open_before = [reading.case for reading in made.state.open_readings if reading.reader == "anna"]
    moved = decisions.away(made.project, "anna")
    assert [case for case, _ in moved] == open_before and {reader for _, reader in moved} <= {"ben", "carla"}
    state = made.state
    assert state.present == ["ben", "carla"] and all(reading.reader != "anna" for reading in state.open_readings)
    for case in state.cases.values():
        assert len(case.readings) == len(set(case.readings))
    made.answer()
    assert {entry["reader"] for entry in made.ask().asked["readings"]} <= {"ben", "carla"}


def test_cases_are_handed_over_by_name(begin):
    made = begin(readers=("anna", "ben", "carla"), double_share=0.0)
    made.ask()
    case = next(reading.case for reading in made.state.open_readings if reading.reader == "anna")
    assert decisions.release(made.project, "anna", [case], "busy", "carla") == [(case, "carla")]
    with pytest.raises(UserError, match="anna has no open reading"):
        decisions.release(made.project, "anna", [case], "busy")
    with pytest.raises(UserError, match="'zoe' is no reader"):
        decisions.release(made.project, "carla", [case], "busy", "zoe")


def test_what_nobody_opens_goes_to_somebody_else(begin):
    made = begin(readers=("anna", "ben"), double_share=0.0, lease_days=7.0)
    made.ask()
    made.clock.wait(6 * 86400)
    assert decisions.release_overdue(made.project) == []
    for reading in made.state.open_readings:
        if reading.reader == "anna":
            decisions.mark_opened(made.project, "anna", [reading.case], "test")
    made.clock.wait(2 * 86400)
    moved = decisions.release_overdue(made.project)
    assert {reader for _, reader in moved} == {"anna"}, "anna has opened one, so all of ben's cases go to her"
    assert made.state.active == ["anna"] and made.state.present == ["anna", "ben"]
    assert {reading.reader for reading in made.state.open_readings} == {"anna"}
    made.answer()
    assert {entry["reader"] for entry in made.ask().asked["readings"]} == {"anna"}


def test_a_skipped_case_goes_to_another_reader_or_back_to_the_pool(begin):
    made = begin(double_share=0.0)
    made.ask()
    case = next(reading.case for reading in made.state.open_readings if reading.reader == "anna")
    assert decisions.skip(made.project, "anna", case) == "ben"
    alone = begin(readers=("anna",), name="alone")
    alone.ask()
    case = alone.state.open_readings[0].case
    assert decisions.skip(alone.project, "anna", case) is None
    assert case in alone.state.unasked()


def test_a_dispute_is_decided(begin, tmp_path):
    made = begin(double_share=1.0)
    made.ask()
    case = made.state.open_readings[0].case
    image = nibabel.load(made.label(case))
    far = nibabel.Nifti1Image(np.roll(np.asarray(image.dataobj).astype(np.uint8), 5, 0), image.affine)
    nibabel.save(far, tmp_path / "far.nii.gz")
    made.draw("anna", case)
    made.draw("ben", case, path=tmp_path / "far.nii.gz")
    settle(made.project)
    with pytest.raises(UserError, match="no version 'zoe-1'; there are anna-1, ben-1"):
        decisions.decide(made.project, case, "zoe-1", "head")
    decisions.decide(made.project, case, "anna-1", "head", "ben took another structure")
    assert made.state.cases[case].label == "anna-1" and made.state.cases[case].status == "labelled"
    with pytest.raises(UserError, match="nobody is left"):
        decisions.ask_a_third(made.project, case)


@pytest.mark.parametrize("verb", [decisions.exclude, decisions.reopen, decisions.give_back])
def test_the_record_needs_a_reason_and_a_case(labelled, verb):
    case = labelled.state.with_status("labelled")[0]
    with pytest.raises(UserError, match="say why"):
        verb(labelled.project, [case], " ")
    with pytest.raises(UserError, match=r"'case_00' is no case of this project. Did you mean case_00\d"):
        verb(labelled.project, ["case_00"], "x")


def test_a_project_is_as_written_down(labelled):
    labelled.ask()
    assert problems(labelled.project, nothing) == []


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda made, case: made.project.label_path(case, made.state.cases[case].label).unlink(),
            "is missing; it is the label of",
        ),
        (
            lambda made, case: made.project.label_path(case, made.state.cases[case].label).write_bytes(b"x"),
            "was altered after it was accepted",
        ),
        (lambda made, case: (made.folder / "labels" / case / "zoe-1.nii.gz").write_bytes(b"x"), "the log does not speak of it"),
        (
            lambda made, case: (made.folder / "rounds" / "001" / "query.json").write_text("{}"),
            "was altered after the query was asked",
        ),
        (
            lambda made, case: (made.folder / "rounds" / "001" / "query.json").unlink(),
            "it says why the cases of round 1 were chosen",
        ),
    ],
)
def test_what_is_not_as_written_down_is_named(labelled, spoil, told):
    spoil(labelled, labelled.state.with_status("labelled")[0])
    (problem,) = problems(labelled.project, nothing)
    assert told in problem


@pytest.mark.parametrize("layout", ["nnunet", "decathlon", "bids"])
def test_an_export_is_read_as_it_was_written(labelled, tmp_path, layout):
    before = digest_of(labelled.folder / "labels")
    cases = export(labelled.project, tmp_path / "out", layout, False, nothing)
    assert cases == labelled.state.with_status("labelled")
    listing = find_cases(tmp_path / "out")
    assert listing.classes == tuple(labelled.state.classes) and len(listing.cases) == 5
    for files, case in zip(listing.cases, cases, strict=True):
        assert np.array_equal(read(files.label), read(labelled.label(case)))
        original = labelled.project.image_paths(case, labelled.project.data(labelled.state))[0]
        assert np.array_equal(nibabel.load(files.images[0]).get_fdata(), nibabel.load(original).get_fdata())
    rows = list(csv.DictReader((tmp_path / "out" / "labels.tsv").read_text().splitlines(), delimiter="\t"))
    assert [row["case"] for row in rows] == cases and {row["readers"] for row in rows} <= {"anna", "ben"}
    assert {row["round"] for row in rows} == {"1"}
    assert digest_of(labelled.folder / "labels") == before
    _, groups = groups_of(tmp_path / "out", FolderConfig(), listing)
    assert [groups[files.subject] for files in listing.cases] == [labelled.project.cases[case].group for case in cases]
    with pytest.raises(UserError, match="lies in the project's own folder"):
        export(labelled.project, labelled.folder / "out", layout, False, nothing)
    with pytest.raises(UserError, match="not empty"):
        export(labelled.project, tmp_path / "out", layout, False, nothing)


def test_links_instead_of_copies_and_what_nobody_knows(begin, tmp_path):
    made = begin(double_share=1.0)
    made.ask()
    case = made.state.open_readings[0].case
    values = read(made.label(case))
    values[tuple(np.argwhere(values == 1)[0])] = 0
    nibabel.save(nibabel.Nifti1Image(values, nibabel.load(made.label(case)).affine), tmp_path / "other.nii.gz")
    made.draw("anna", case)
    made.draw("ben", case, path=tmp_path / "other.nii.gz")
    settle(made.project)
    export(made.project, tmp_path / "out", "nnunet", True, nothing)
    assert os.path.islink(tmp_path / "out" / "imagesTr" / f"{case}_0000.nii.gz")
    listing = find_cases(tmp_path / "out")
    assert listing.ignore == len(made.state.classes) and (read(listing.cases[0].label) == listing.ignore).sum() == 1


def test_nothing_is_exported_of_nothing(begin, tmp_path):
    with pytest.raises(UserError, match="nothing to export"):
        export(begin().project, tmp_path / "out", "nnunet", False, nothing)
    assert not (tmp_path / "out").exists()


def test_what_to_do_now_comes_first(begin, tmp_path):
    made = begin()
    words = lambda: in_words(status_of(made.project))[0]  # noqa: E731
    assert words().startswith("Ask for the first cases.")
    made.ask()
    assert words().startswith("Wait for 7 readings of round 1: anna")
    reading = made.state.open_readings[0]
    inbox = made.folder / "readers" / reading.reader / "inbox"
    shutil.copy(made.label(reading.case), inbox / f"{reading.case}.nii.gz")
    assert words().startswith(f"Take in what lies in the inboxes ({reading.reader} 1).")
    (inbox / f"{reading.case}.nii.gz").unlink()
    made.answer()
    assert words().startswith("Ask for the next 5 cases.")
    made.ask()
    stands = status_of(made.project)
    assert stands.counts == {"labelled": 5, "asked": 5, "disputed": 0, "unlabelled": 6, "excluded": 0}
    assert sum(reader.accepted for reader in stands.readers) == 7 and stands.rounds == 2
    record = json.loads(json.dumps(to_json(stands), allow_nan=False))
    assert record["todo"][0]["sentence"] == words().strip() and len(record["cases"]) == 16
