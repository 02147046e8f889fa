"""Projects that ask for slices or boxes of scans: what is asked for, what is taken, what counts, and what is trained on."""

import csv
import json
import shutil

import nibabel
import numpy as np
import pytest
import tiny
from made_projects import nothing, of, read

from jaxal.cli.main import main
from jaxal.data.cases import Dataset
from jaxal.data.parts import mask_of
from jaxal.data.scans.folder import FolderConfig
from jaxal.data.scans.prepare import load_case
from jaxal.data.simulated.readers import Reader
from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects import decisions
from jaxal.projects.deliver import correct
from jaxal.projects.export import export
from jaxal.projects.kind import AskedUnits, Delivery
from jaxal.projects.kinds import kind_of, kind_of_beginning
from jaxal.projects.measures import parts_of_query, unseen
from jaxal.projects.page import text_of
from jaxal.projects.past import past_of
from jaxal.projects.project import IGNORE
from jaxal.projects.scans.labels import read_label, read_version
from jaxal.projects.scans.parts import arguments_of, distinct, windows_at_random
from jaxal.projects.settings import OfParts, read_settings
from jaxal.projects.simulated import World, play
from jaxal.projects.status import in_words, status_of
from jaxal.projects.worklists import worklist_of, write_all
from jaxal.server.project_desk import ProjectDesk
from jaxal.studies.scans import showing_on
from jaxal.studies.units import search_for

SLICES = AskedUnits("slice")
PARTS = {"test_cases": 0, "double_share": 0.0, "units": SLICES}


@pytest.fixture
def asked(begin):
    """A project whose first query of four slices waits."""
    made = begin(**{**PARTS, "size": 4})
    made.ask()
    return made


def parts_of(made, case):
    return made.state.cases[case].asked_parts


def is_asked(made, case, shape=tiny.SHAPE):
    return mask_of(parts_of(made, case), shape)


def saved(made, case, labels):
    path = made.folder.parent / "saved" / f"{case}.nii.gz"
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.astype(np.uint8), nibabel.load(made.label(case)).affine), path)
    return path


def ask_again(made, case, parts, network=None):
    """The next query, which asks for parts of one case: as `ask` writes it into the log, without a network."""
    state, log = made.state, made.project.log
    number = len(state.rounds) + 1
    known = {"training": state.labels("training"), "evaluation": [], "test": []}
    entry = {"case": case, "reader": "anna", "part": "strategy", "role": "training", "double": False, "proposal": True, "minutes": 2.0,
             "parts": parts, "at_random": []}  # fmt: skip
    with log.held() as pen:
        pen.add("round", round=number, network=network, classes=list(state.classes), unasked=state.unasked(), **known)
        pen.add("asked", round=number, readings=[entry], query="")


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
    page = (folder / "worklist.html").read_text()
    assert words in page and str(item.mask) in page and "white lines frame" in page and "nothing else is taken" in page
    (row,) = [row for row in csv.DictReader((folder / "worklist.csv").read_text().splitlines()) if row["uid"] == reading.case]
    assert row["parts"].startswith(words) and row["asked_for"] == str(item.mask)
    task = next(task for task in json.loads((folder / "worklist.mitk.json").read_text())["Tasks"] if task["Name"] == reading.case)
    assert words in task["Description"] and "asked/" in task["Description"]
    assert words in (folder / "slicer_worklist.py").read_text()


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
        (AskedUnits("region"), {}, r"--unit region: images here have 3 axes; it takes image or slice or box"),
        (AskedUnits("box", (9,)), {}, r"--unit-size is 9 x 9 x 9; images have 8 x 8 x 8 elements"),
        (AskedUnits("slice", (2, 2)), {}, r"--unit-size is 2 x 2; it takes one number"),
        (AskedUnits("slice", slice_axis=3), {}, r"--slice-axis is 3"),
        (AskedUnits("box", slice_axis=1), {}, r"--slice-axis is for slices"),
        (AskedUnits(per_case=2), {}, r"--per-case is for parts of cases"),
        (AskedUnits("slice"), {"test_cases": 4}, r"--test-cases is 4: where parts of scans are asked for"),
        (AskedUnits("slice"), {"strategy": "coreset"}, r"coreset"),
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
