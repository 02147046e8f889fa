"""What a project's page tells of the past: read from the log, and from proposals what they have in common."""

import nibabel
import numpy as np
from made_pages import Seen

from jaxal.projects import decisions
from jaxal.projects.page import write_page
from jaxal.projects.past import past_of


def seen_of(made):
    return Seen(write_page(made.project).read_text(encoding="utf-8"))


def test_two_readings_count_as_they_were_first_drawn_disputes_among_them(begin):
    made = begin(double_share=1.0, far_apart=0.9, size=3)
    made.ask()
    first = sorted({reading.case for reading in made.state.open_readings})[0]
    for reading in made.state.open_readings:
        moved = made.folder / f"{reading.case}.nii.gz"
        label = nibabel.load(made.label(reading.case))
        labels = np.asarray(label.dataobj)
        shift = 3 if (reading.case, reading.reader) == (first, "ben") else 0
        nibabel.save(nibabel.Nifti1Image(np.roll(labels, shift, 0), label.affine), moved)
        made.draw(reading.reader, reading.case, path=moved)
    made.answer()
    past = past_of(made.project)
    assert [(one.disputed, one.scores[0] == 1.0) for one in sorted(past.pairs)] == [(True, False), (False, True), (False, True)]
    assert all(one.readers == ("anna", "ben") and one.volumes_ml[0] for one in past.pairs)
    again = past.pairs[-1].case if past.pairs[-1].case != first else past.pairs[0].case
    decisions.give_back(made.project, [f"{again}/anna-1"], "look again")
    moved, label = made.folder / f"{again}.nii.gz", nibabel.load(made.label(again))
    nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(label.dataobj), 1, 0), label.affine), moved)
    made.draw("anna", again, path=moved)
    made.answer()
    assert past_of(made.project).pairs == past.pairs  # she knew by then that something was wrong
    decisions.decide(made.project, first, "anna-1", "Dr. Ott")
    assert past_of(made.project).pairs == past.pairs  # what was decided does not make them agree
    decisions.exclude(made.project, [first], "unusable")
    assert len(past_of(made.project).pairs) == 2
    assert f"{first}was" not in seen_of(made).text and "is left out" in seen_of(made).text


def test_what_came_back_is_read_from_the_log(begin):
    made = begin(double_share=0.0)
    made.ask()
    made.answer()
    case_id = made.state.labels("training")[0][0]
    drew = made.state.cases[case_id].versions[0].reader
    decisions.give_back(made.project, [case_id], "half is missing", "Dr. Ott")
    made.clock.wait(60)
    decisions.skip(made.project, drew, case_id, "not my organ")
    assert [(one.kind, one.reader, one.case, one.why, one.by) for one in past_of(made.project).back] == [
        ("released", drew, case_id, "not my organ", ""), ("returned", drew, case_id, "half is missing", "Dr. Ott")
    ]  # fmt: skip
    assert "half is missing (Dr. Ott)" in seen_of(made).text
    assert [one.had_proposal for one in past_of(made.project).taken] == [False] * 5


def test_networks_are_compared_on_what_neither_was_trained_on(begin):
    made = begin(double_share=0.0)
    case_id = sorted(made.project.cases)[0]
    truth = nibabel.load(made.label(case_id))
    for number, shift in ((1, 0), (2, 0), (3, 1)):
        with made.project.log.held() as pen:
            pen.add("round", round=number, network=number, training=[], evaluation=[], test=[[case_id, "anna-1"]], unasked=[])
            pen.add("asked", round=number, readings=[])
        path = made.project.proposal_path(case_id, number, ".nii.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(truth.dataobj), shift, 0), truth.affine), path)
    same, moved = past_of(made.project).stable
    assert same.shape == (1, len(made.state.classes) - 1) and (same == 1).all() and (moved < 1).all()
    for path in made.folder.glob("proposals/*/*.nii.gz"):
        path.write_bytes(path.read_bytes()[:10])
    assert [rows.tolist() for rows in past_of(made.project).stable] == [same.tolist(), moved.tolist()]  # not compared again


def test_minutes_of_a_round_are_those_of_its_new_labels(begin):
    made = begin(double_share=0.0)
    made.ask()
    ids = sorted(id_ for id_, case in made.state.cases.items() if case.role == "training" and case.readings)
    minutes = {id_: (10.0, 20.0, 40.0, 1500.0)[place] for place, id_ in enumerate(ids)}  # the last one over a night
    for reading in made.state.open_readings:
        made.draw(reading.reader, reading.case, seconds=60 * minutes.get(reading.case, 7.0))
    labels = [[id_, label] for id_, label in made.state.labels("training")]
    assert [id_ for id_, _ in labels] == ids and len(ids) == 4
    with made.project.log.held() as pen:
        for number, training in ((2, labels[:2]), (3, labels), (4, labels)):
            pen.add("round", round=number, network=number, training=training, evaluation=[], test=[], unasked=[])
            pen.add("asked", round=number, readings=[])
    spent = past_of(made.project).spent
    assert (spent[2], spent[3]) == (30.0, 40.0) and np.isnan(spent[4])


def test_a_folder_with_a_space_makes_a_command_that_works(begin):
    made = begin(name="my project")
    text = seen_of(made).text
    assert f"jaxal ask '{made.folder}'" in text
