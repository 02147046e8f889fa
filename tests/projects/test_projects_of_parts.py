"""Projects that ask for slices or boxes of scans: what is asked for, what is taken, what counts, and what is trained on."""

import csv
import json
import shutil

import nibabel
import numpy as np
import pytest
import tiny
from made_parts import PARTS, ask_again, is_asked, parts_of, saved
from made_projects import nothing, of, read

from jaxal.data.cases import Dataset
from jaxal.data.parts import mask_of
from jaxal.data.scans.prepare import load_case
from jaxal.data.simulated.readers import Reader
from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects import decisions
from jaxal.projects.deliver import correct
from jaxal.projects.export import export
from jaxal.projects.kind import AskedUnits, Delivery
from jaxal.projects.kinds import kind_of
from jaxal.projects.measures import parts_of_query, unseen
from jaxal.projects.page import text_of
from jaxal.projects.past import past_of
from jaxal.projects.project import IGNORE
from jaxal.projects.scans.labels import read_label, read_version
from jaxal.projects.simulated import World, play
from jaxal.projects.status import in_words, status_of
from jaxal.studies.scans import showing_on


@pytest.fixture
def asked(begin):
    """A project whose first query of four slices waits."""
    made = begin(**{**PARTS, "size": 4})
    made.ask()
    return made


def test_the_first_query_asks_for_several_slices_of_few_cases_at_random(begin):
    made = begin(**{**PARTS, "size": 10})
    round_ = made.ask()
    entries = round_.asked["readings"]
    assert len(entries) == 3 and sorted(len(entry["parts"]) for entry in entries) == [3, 3, 4]
    for entry in entries:
        assert entry["part"] == "first" and entry["minutes"] == 15.0 * len(entry["parts"])
        places = [start[2] for start, _ in entry["parts"]]
        assert len(set(places)) == len(places) and all(
            size == [8, 8, 1] and start[:2] == [0, 0] for start, size in entry["parts"]
        )
    assert {entry["role"] for entry in entries} == {"training"}, "entropy looks at no evaluation set"
    again = begin(**{**PARTS, "size": 10}, name="again").ask()
    assert again.asked["readings"] == entries, "draws are those of the seed"


def test_only_what_was_asked_for_is_taken(asked):
    case = of(asked, "anna")[0] if of(asked, "anna") else of(asked, "ben")[0]
    reader = next(reading.reader for reading in asked.state.open_readings if reading.case == case)
    everywhere = np.ones(tiny.SHAPE, np.uint8)
    asked.draw(reader, case, path=saved(asked, case, everywhere))
    stored, inside = read(asked.project.label_path(case, f"{reader}-1")), is_asked(asked, case)
    assert inside.sum() == 4 * 64
    assert (stored[inside] == 1).all() and (stored[~inside] == IGNORE).all()
    assert asked.state.cases[case].counts == f"{reader}-1" and asked.state.cases[case].status == "labelled"
    assert case in asked.state.unasked(), "there is more of the case to ask for"


def test_nothing_in_the_asked_part_is_refused_once_whatever_is_drawn_elsewhere(asked):
    reading = asked.state.open_readings[0]
    outside = saved(asked, reading.case, ~is_asked(asked, reading.case))
    with pytest.raises(
        Refused, match=r"Nothing is drawn in what was asked for: axial slice \d of 8.*Something is drawn elsewhere"
    ) as refused:
        asked.draw(reading.reader, reading.case, path=outside)
    assert refused.value.code == "empty" and reading.case not in asked.state.with_status("labelled")
    asked.draw(reading.reader, reading.case, path=outside)
    stored = read(asked.project.label_path(reading.case, f"{reading.reader}-1"))
    assert set(np.unique(stored)) == {0, IGNORE}


def test_an_empty_file_of_one_part_says_nothing_of_the_next(asked):
    reading = asked.state.open_readings[0]
    empty = saved(asked, reading.case, np.zeros(tiny.SHAPE))
    with pytest.raises(Refused):
        asked.draw(reading.reader, reading.case, path=empty)
    asked.draw(reading.reader, reading.case, path=empty)
    asked.clock.wait(60)
    free = np.flatnonzero(~is_asked(asked, reading.case)[0, 0])[0]
    ask_again(asked, reading.case, [[[0, 0, int(free)], [8, 8, 1]]])
    with pytest.raises(Refused, match="Nothing is drawn in what was asked for"):
        asked.draw("anna", reading.case, path=empty)


@pytest.mark.parametrize(("shape", "shift", "code"), [((8, 8, 9), 0.5, "between-voxels"), ((8, 8, 8), 0.4, "between-voxels")])
def test_a_wrong_grid_and_a_case_that_nobody_asked_for_are_refused(asked, tmp_path, shape, shift, code):
    reading = asked.state.open_readings[0]
    affine = np.eye(4)
    affine[2, 3] = shift
    nibabel.save(nibabel.Nifti1Image(np.ones(shape, np.uint8), affine), tmp_path / "x.nii.gz")
    with pytest.raises(Refused) as refused:
        asked.draw(reading.reader, reading.case, path=tmp_path / "x.nii.gz")
    assert refused.value.code == code
    stranger = next(case for case, known in asked.state.cases.items() if not known.readings)
    with pytest.raises(Refused, match="was not asked of"):
        asked.draw("anna", stranger)


def test_parts_of_several_rounds_come_together_and_later_ones_lie_over_earlier_ones(asked):
    reading = asked.state.open_readings[0]
    case, first = reading.case, parts_of(asked, reading.case)
    asked.draw(reading.reader, case, path=saved(asked, case, np.ones(tiny.SHAPE)))
    (place,) = {start[2] for start, _ in first[:1]}
    free = int(np.flatnonzero(~is_asked(asked, case)[0, 0])[0])
    low, high = min(place, free), max(place, free)
    again = [[[0, 0, low], [4, 8, 1]], [[0, 0, high], [4, 8, 1]]]  # half a slice that is known, and half of one that is not
    ask_again(asked, case, again)
    assert asked.state.cases[case].status == "asked" and asked.state.cases[case].counts == f"{reading.reader}-1"
    asked.draw("anna", case, path=saved(asked, case, np.zeros(tiny.SHAPE)), empty=True)
    state = asked.state
    own = f"anna-{2 if reading.reader == 'anna' else 1}"
    assert state.cases[case].counts == f"{reading.reader}-1/{own}" and state.labels("training") == [
        (case, f"{reading.reader}-1/{own}")
    ]
    expected = np.full(tiny.SHAPE, IGNORE)
    expected[mask_of(first, tiny.SHAPE)] = 1
    expected[mask_of([(tuple(start), tuple(size)) for start, size in again], tiny.SHAPE)] = 0
    assert (read_label(asked.project, state, case, state.cases[case].counts) == expected).all()
    assert (read_version(asked.project, case, f"{reading.reader}-1") != 0).all(), "versions stay as they were"
    out = asked.folder.parent / "out"
    export(asked.project, out, None, False, nothing)
    assert json.loads((out / "dataset.json").read_text())["labels"] == {"background": 0, "ball": 1, "ignore": 2}
    assert (read(out / "labelsTr" / f"{case}.nii.gz") == np.where(expected == IGNORE, 2, expected)).all()
    (row,) = csv.DictReader((out / "labels.tsv").read_text().splitlines(), delimiter="\t")
    assert row["round"] == "1,2" and row["version"] == state.cases[case].counts and row["sha256_or_class"].count(",") == 1
    parts = status_of(asked.project).parts
    assert parts.voxels == 4 * 64 + 32 and (parts.asked, parts.labelled) == (6, 6)
    assert parts.of == 16 * 512 and parts.left == round((16 * 512 - 288) / 64)


def test_what_comes_back_counts_no_more_and_its_own_part_is_asked_for_again(asked):
    reading = asked.state.open_readings[0]
    case, first = reading.case, parts_of(asked, reading.case)
    asked.draw(reading.reader, case, path=saved(asked, case, np.ones(tiny.SHAPE)))
    free = int(np.flatnonzero(~is_asked(asked, case)[0, 0])[0])
    ask_again(asked, case, [[[0, 0, free], [8, 8, 1]]])
    name = f"{reading.reader}-1"
    with pytest.raises(UserError, match="other parts of the case are with anna"):
        decisions.give_back(asked.project, [f"{case}/{name}"], "look again")
    asked.draw("anna", case, path=saved(asked, case, np.ones(tiny.SHAPE)))
    later = asked.state.cases[case].label
    decisions.give_back(asked.project, [f"{case}/{name}"], "look again")
    state = asked.state.cases[case]
    assert state.counts == later and state.asked_parts == first and state.readings[reading.reader].status == "returned"
    asked.draw(reading.reader, case, path=saved(asked, case, 1 - is_asked(asked, case)), empty=True)
    state = asked.state
    label = read_label(asked.project, state, case, state.cases[case].counts)
    assert (label[mask_of(first, tiny.SHAPE)] == 0).all() and (label[..., free] == 1).all()
    decisions.reopen(asked.project, [case], "new definition")
    reopened = asked.state.cases[case]
    assert reopened.status == "asked" and reopened.counts == state.cases[case].counts
    assert set(reopened.asked_parts) == {*first, ((0, 0, free), (8, 8, 1))}
    assert not decisions.decide(asked.project, case, later, "Dr. Berg"), "it counts already"


def test_minutes_of_each_part_are_spent_once(asked):
    """Of a scan that was labelled in parts over two rounds, each round's network was trained on what came before it."""
    reading = asked.state.open_readings[0]
    case, minutes = reading.case, {}
    for number in (1, 2):
        asked.clock.wait(60)
        asked.draw(
            reading.reader if number == 1 else "anna", case, path=saved(asked, case, np.full(tiny.SHAPE, 1)), seconds=60 * number
        )
        free = int(
            np.flatnonzero(~mask_of(asked.state.cases[case].parts_of(asked.state.cases[case].counts), tiny.SHAPE)[0, 0])[0]
        )
        ask_again(asked, case, [[[0, 0, free], [8, 8, 1]]], network=number - 1)
        minutes[number + 1] = float(number)
    assert past_of(asked.project).spent == minutes


def test_a_reviewers_label_tells_of_all_that_counts(asked):
    reading = asked.state.open_readings[0]
    case, first = reading.case, parts_of(asked, reading.case)
    correction = Delivery("Dr. Berg", case, saved(asked, case, np.ones(tiny.SHAPE)))
    with pytest.raises(Refused, match="other parts of it are being read"):
        correct(asked.project, correction)
    asked.draw(reading.reader, case, path=saved(asked, case, np.zeros(tiny.SHAPE)), empty=True)
    free = int(np.flatnonzero(~is_asked(asked, case)[0, 0])[0])
    ask_again(asked, case, [[[0, 0, free], [8, 8, 1]]])
    asked.draw("anna", case, path=saved(asked, case, np.zeros(tiny.SHAPE)), empty=True)
    correct(asked.project, correction._replace(path=saved(asked, case, np.ones(tiny.SHAPE))))
    state = asked.state
    label = read_label(asked.project, state, case, state.cases[case].counts)
    known = mask_of([*first, ((0, 0, free), (8, 8, 1))], tiny.SHAPE)
    assert (label[known] == 1).all() and (label[~known] == IGNORE).all()


def test_two_readers_of_a_part_become_one_label_of_it(begin):
    made = begin(**{**PARTS, "size": 2, "double_share": 1.0})
    made.ask()
    (case,) = {reading.case for reading in made.state.open_readings}
    inside = is_asked(made, case)
    halves = [np.ones(tiny.SHAPE), np.ones(tiny.SHAPE)]
    halves[1][:1] = 0
    for reading, labels in zip(list(made.state.open_readings), halves, strict=True):
        made.draw(reading.reader, case, path=saved(made, case, labels))
    made.answer([])
    label = read_label(made.project, made.state, case, "merged-1")
    assert made.state.cases[case].counts == "merged-1" and made.state.cases[case].version("merged-1").parts == parts_of(
        made, case
    )
    assert (label[1:][inside[1:]] == 1).all() and (label[:1] == IGNORE).all() and (label[~inside] == IGNORE).all()


def test_a_case_leaves_the_pool_when_all_of_it_is_known(asked):
    reading = asked.state.open_readings[0]
    case = reading.case
    asked.draw(reading.reader, case, path=saved(asked, case, np.ones(tiny.SHAPE)))
    free = np.flatnonzero(~is_asked(asked, case)[0, 0]).tolist()
    ask_again(asked, case, [[[0, 0, place], [8, 8, 1]] for place in free[:-1]])
    asked.draw("anna", case, path=saved(asked, case, np.ones(tiny.SHAPE)))
    assert case in asked.state.unasked()
    ask_again(asked, case, [[[0, 0, free[-1]], [8, 8, 1]]])
    asked.draw("anna", case, path=saved(asked, case, np.ones(tiny.SHAPE)))
    assert case not in asked.state.unasked() and asked.state.cases[case].status == "labelled"


def test_rounds_of_boxes_train_on_what_is_known_and_ask_for_what_is_not(begin, capsys):
    """Simulated readers go through rounds; what they labelled is what is trained on, and nothing is asked for twice."""
    made = begin(**{**PARTS, "units": AskedUnits("box", (3,)), "size": 8, "random_share": 0.25})
    readers = (Reader("anna"), Reader("ben", minutes=3.0))
    play(made.project, World(made.truth, readers, made.clock), 2, showing_on(made.watcher), made.watcher)
    state = made.state
    second = parts_of_query(state, state.rounds[1])
    assert len(second) == 8 and sum(entry.at_random for entry in second) == 2
    training = dict(state.rounds[1].training)
    for entry in second:
        before = state.cases[entry.case].parts_of(training[entry.case]) if entry.case in training else ()
        new = mask_of([entry.part], tiny.SHAPE) & ~mask_of(before, tiny.SHAPE)
        assert new.any() and entry.part[1] == (3, 3, 3)
    (measured,) = unseen(made.project, state)
    assert measured.waiting == 0 and len(measured.cases) == 8 and measured.trained_on == 8
    assert sorted(measured.parts) == ["chosen"] * 6 + ["random"] * 2
    for entry, scores in zip(second, measured.scores, strict=True):
        box = tuple(slice(first, first + length) for first, length in zip(*entry.part, strict=True))
        guess, truth = read(made.project.proposal_path(entry.case, 2, ".nii.gz"))[box], read(made.label(entry.case))[box]
        drawn = guess.sum() + truth.sum()
        np.testing.assert_allclose(scores, [2 * (guess & truth).sum() / drawn if drawn else np.nan])
    known = 8 * 27
    assert sum(measured.sizes.values()) == pytest.approx((16 * 512 - known) / 27, abs=2)
    ready = kind_of(made.project).ready(made.project, state, state.labels("training"), showing_on(made.watcher))
    dataset = Dataset(tuple(ready.cases.values()), ("T1",), ("background", "ball"), tiny.SHAPE, (1.0, 1.0, 1.0))
    for id_, name in state.labels("training"):
        labels, case = read_label(made.project, state, id_, name), ready.cases[id_]
        trained_on, seen = load_case(case, dataset), load_case(case._replace(label=ready.known[id_]), dataset)
        assert (trained_on.labelled == (labels != IGNORE)).all()
        assert (trained_on.label == np.where(labels == IGNORE, 0, labels)).all() and labels[labels != IGNORE].size < 512
        assert (seen.labelled == (labels != IGNORE)).all() and not seen.label.any(), "the pool knows where, and not what"
    told = "\n".join(in_words(status_of(made.project)))
    assert "16 of 16 parts that were asked for are labelled; 5." in told
    assert "% of all voxels have a label" in text_of(made.project) and "labelled, %" in text_of(made.project)


def test_a_strategy_that_looks_at_an_evaluation_set_gets_parts_of_some_scans_which_are_asked_for_no_more(begin):
    made = begin(**{**PARTS, "strategy": "aeig", "size": 12})
    entries = made.ask().asked["readings"]
    (evaluation,) = {entry["case"] for entry in entries if entry["role"] == "evaluation"}
    made.answer()
    state = made.state
    assert [id_ for id_, _ in state.labels("evaluation")] == [evaluation] and len(state.labels("training")) == 2
    assert evaluation not in state.unasked() and {id_ for id_, _ in state.labels("training")} <= set(state.unasked())


def test_scans_that_are_labelled_at_the_start_are_known_as_a_whole(begin, scans, tmp_path):
    data = shutil.copytree(scans / "data", tmp_path / "data")
    (data / "labelsTr").mkdir()
    names = sorted(path.name for path in (scans / "truth").iterdir())[:3]
    for name in names:
        shutil.copy(scans / "truth" / name, data / "labelsTr" / name)
    made = begin(**PARTS, data=data)
    labelled = [name.split(".")[0] for name in names]
    assert made.state.with_status("labelled") == labelled and not {*made.state.unasked()} & {*labelled}
    assert status_of(made.project).parts.voxels == 3 * 512
    decisions.reopen(made.project, labelled[:1], "look again", "anna")
    assert made.state.cases[labelled[0]].asked_parts == ()
    made.redraw("anna", labelled[0])
    assert made.state.cases[labelled[0]].counts == "anna-1" and IGNORE not in read(made.project.label_path(labelled[0], "anna-1"))


def test_who_gets_a_scan_from_another_reader_gets_its_parts(asked):
    reading = asked.state.open_readings[0]
    parts = parts_of(asked, reading.case)
    other = decisions.skip(asked.project, reading.reader, reading.case)
    assert other not in (None, reading.reader) and parts_of(asked, reading.case) == parts
    asked.draw(other, reading.case, path=saved(asked, reading.case, np.ones(tiny.SHAPE)))
    assert asked.state.cases[reading.case].versions[0].parts == parts
