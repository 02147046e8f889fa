"""Projects of images with one class each: from files without classes to a network, answers, disputes, the curve and the export."""

import csv
import html
import itertools
import json
import shutil
from collections import Counter

import numpy as np
import pytest
from made_images import CLASSES, write_images
from made_projects import digest_of, nothing
from PIL import Image

from jaxal.assessment.honest_curve import mean_dice
from jaxal.data.images.layouts import find_images
from jaxal.data.scans.folder import FolderConfig
from jaxal.errors import UserError
from jaxal.labels.refusals import Refused
from jaxal.projects import decisions
from jaxal.projects.check import problems
from jaxal.projects.estimates import estimates_of
from jaxal.projects.export import export
from jaxal.projects.images.guesses import guess_of
from jaxal.projects.measures import honest, query_of, unseen
from jaxal.projects.page import text_of
from jaxal.projects.past import past_of
from jaxal.projects.review_page import review_text
from jaxal.projects.settle import settle
from jaxal.projects.start import add_class
from jaxal.projects.status import in_words, status_of
from jaxal.projects.worklists import worklist_of, write_all
from jaxal.training.trainer import Interrupted


@pytest.fixture
def asked(begin_images):
    made = begin_images()
    made.ask()
    return made


@pytest.fixture
def measured(begin_images):
    """A project of two rounds, whose second query is answered."""
    made = begin_images(double_share=0.0)
    made.ask()
    made.answer()
    made.ask()
    made.answer()
    return made


# The start


def test_a_folder_that_says_nothing_of_classes(begin_images):
    made = begin_images()
    assert made.state.classes == list(CLASSES) and len(made.state.unasked()) == 40
    assert made.project.settings.images.pixels == (8, 8) and not made.project.settings.images.colour


def test_folders_that_are_called_like_classes_tell_them(begin_images, tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "images" / "right").rename(tmp_path / "images" / "rare")
    data = tmp_path / "images"
    made = begin_images(data=shutil.move(data, tmp_path / "other"))
    state = made.state
    assert len(state.with_status("labelled")) == 20 and len(state.unasked()) == 20
    assert {state.cases[id_].version("data-1").category for id_ in state.with_status("labelled")} == {"rare"}
    assert len(state.labels("evaluation")) == 5, "of as many labels as a first network needs a quarter is for evaluation"


def test_a_table_tells_classes_groups_and_subjects_where_they_are_known(begin_images, tmp_path):
    truth = write_images(tmp_path / "data")
    names = sorted(truth)
    with (tmp_path / "data" / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "group", "subject"])
        table.writerows(
            [name, truth[name] if place < 3 else "", "XY"[place % 2], f"s{place // 2}"] for place, name in enumerate(names)
        )
    made = begin_images(data=tmp_path / "data" / "images.csv")
    known = [made.project.cases[name] for name in names[:3]]
    assert [(one.group, one.subject) for one in known] == [("X", "s0"), ("Y", "s0"), ("X", "s1")]
    assert {id_: made.state.cases[id_].version("data-1").category for id_ in names[:3]} == {
        name: truth[name] for name in names[:3]
    }
    with pytest.raises(UserError, match="has the class 'common', and --labels names a, b"):
        begin_images(data=tmp_path / "data", labels=("a", "b"), name="other")


def test_ages_make_groups_and_images_without_one_are_left_out(begin_images, tmp_path):
    names = sorted(write_images(tmp_path / "data"))
    rows = [f"{name},{'' if place == 3 else 40 + place}" for place, name in enumerate(names)]
    (tmp_path / "data" / "images.csv").write_text("\n".join(["path,age", *rows]) + "\n")
    config = FolderConfig(group_column="age", bins=(60.0,), need_labels=False)
    with pytest.raises(UserError, match=r"'age'.*--without-group leave-out"):
        begin_images(data=tmp_path / "data", config=config)
    made = begin_images(data=tmp_path / "data", config=config, without_group="leave-out")
    assert Counter(image.group for image in made.project.settings.cases) == {"<60": 19, ">=60": 20}
    assert len(begin_images.told) == 1 and "1" in begin_images.told[0]


@pytest.mark.parametrize(
    ("spoil", "labels", "message"),
    [
        (lambda folder: None, (), "nothing there tells the classes. Name all that readers choose from: --labels"),
        (lambda folder: None, ("one",), "only 'one' is known"),
        (lambda folder: None, ("a", "A"), "'a' is there twice"),
        (lambda folder: (folder / "x.nii.gz").write_bytes(b""), CLASSES, r"holds scans \(x.nii.gz\) and images"),
        (lambda folder: (folder / "left" / "x.dcm").write_bytes(b""), CLASSES, "x.dcm: only .*are read"),
        (lambda folder: (folder / "x.png").write_bytes(b"no image"), CLASSES, "x.png: cannot be read as an image"),
        (lambda folder: Image.new("RGB", (8, 8), (9, 0, 0)).save(folder / "x.png"), CLASSES, "1 of 41 images have colour"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_data_is_told_at_the_start(begin_images, tmp_path, spoil, labels, message):
    write_images(tmp_path / "data")
    spoil(tmp_path / "data")
    with pytest.raises(UserError, match=message):
        begin_images(data=tmp_path / "data", labels=labels)
    assert not (tmp_path / "project" / "project.json").exists()


def test_one_file_for_all_images_has_nothing_to_look_at(begin_images, tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="needs a file for each image"):
        begin_images(data=tmp_path / "x.npz")


# Rounds


def test_the_network_learns_from_what_readers_chose(measured):
    begun = measured.state.rounds[1]
    assert [version for _, version in begun.training] and len(begun.training) + len(begun.evaluation) == 10
    asked = {entry["case"] for entry in begun.asked["readings"]}
    for id_ in asked:
        guess = guess_of(measured.project, id_, 2)
        assert guess.shape == (3,) and guess.sum() == pytest.approx(1, abs=1e-4)
    (one,) = unseen(measured.project, measured.state)
    for id_, row in zip(one.cases, one.scores, strict=True):
        right = CLASSES[guess_of(measured.project, id_, 2).argmax()] == measured.truth[id_]
        expected = [float(right) if name == measured.truth[id_] else np.nan for name in CLASSES]
        assert np.array_equal(row, expected, equal_nan=True)
    chosen = np.array([part == "chosen" for part in one.parts])
    accuracy = mean_dice(one.scores)
    of_rest = accuracy[~chosen].mean()
    sizes = one.sizes[("", True)], one.sizes[("", False)]
    by_hand = (sizes[0] * accuracy[chosen].mean() + sizes[1] * of_rest) / sum(sizes)
    assert honest(one).over_all.value == pytest.approx(by_hand)


def test_a_stopped_round_asks_for_the_same_images(begin_images, monkeypatch):
    made, other = begin_images(name="one", strategy="aeig"), begin_images(name="two", strategy="aeig")
    for project in (made, other):
        project.ask()
        project.answer()
    expected = other.ask()
    with monkeypatch.context() as patched:
        patched.setattr("jaxal.projects.images.guesses.predict", lambda *given: (_ for _ in ()).throw(Interrupted))
        with pytest.raises(Interrupted):
            made.ask()
    assert made.state.rounds[-1].asked is None
    assert made.ask().asked["readings"] == expected.asked["readings"]


def test_images_are_decoded_once_and_normalised_as_at_the_start(measured):
    before = digest_of(measured.folder / "prepared")
    measured.ask()
    assert digest_of(measured.folder / "prepared") == before
    left = measured.state.unasked()[0]
    decisions.exclude(measured.project, [left], "blurred")
    (measured.project.image_paths(left, measured.project.data(measured.state))[0]).unlink()
    shutil.rmtree(measured.folder / "prepared")
    measured.answer()
    query = measured.ask()
    assert left not in {entry["case"] for entry in query.asked["readings"]}


def test_a_class_that_was_added_can_be_chosen_and_learnt(asked):
    add_class(asked.project, "new", "absent")
    readings = asked.state.open_readings
    with pytest.raises(Refused, match='"other" is no class of this project; there are common, scarce, rare, new'):
        asked.choose(readings[0].reader, readings[0].case, "other")
    asked.choose(readings[0].reader, readings[0].case, "new")
    asked.answer()
    query = asked.ask()
    assert guess_of(asked.project, query.asked["readings"][0]["case"], 2).shape == (4,)


def test_far_apart_by_an_untrained_network(begin_images):
    made = begin_images(first="k_center")
    assert len({entry["case"] for entry in made.ask().asked["readings"]}) == 10


@pytest.mark.parametrize("first", ["typiclust", "kmeans,features=contrastive,epochs=1"])
def test_a_first_query_by_features_that_need_no_label(begin_images, first):
    made, again, random = begin_images(first=first, name="one"), begin_images(first=first, name="two"), begin_images(name="three")

    def asked(project):
        return {entry["case"] for entry in project.ask().asked["readings"]}

    chosen = asked(made)
    assert len(chosen) == 10 and chosen == asked(again) != asked(random)
    assert chosen != asked(begin_images(first="coreset", name="four"))
    state = made.state
    assert f"by {first}" in json.dumps(query_of(made.project, state.rounds[0].number))
    assert len([case for case in state.cases.values() if case.role == "evaluation"]) == 2


def test_what_reads_more_than_features_is_refused_as_a_first_query(begin_images):
    with pytest.raises(UserError, match=r"--first entropy: .*only features are known"):
        begin_images(first="entropy")
    with pytest.raises(UserError, match=r"--first tipiclust: There is no strategy 'tipiclust'. Did you mean typiclust"):
        begin_images(first="tipiclust")


# Several readers


def test_who_differs_is_settled_by_a_third_and_three_classes_by_a_person(begin_images):
    made = begin_images(readers=("anna", "ben", "carla"), double_share=0.4)
    made.ask()
    double = sorted({reading.case for reading in made.state.open_readings if reading.double})
    assert len(double) == 4
    readings = made.state.open_readings
    for place, reading in enumerate(readings):
        first = min(other.reader for other in readings if other.case == reading.case)
        differs = reading.case in double[:2] and reading.reader != first
        made.clock.wait(2 + place)
        made.choose(reading.reader, reading.case, "rare" if differs else "common" if reading.case in double else None)
    told = settle(made.project)
    assert (
        sum("2 readings agree" in sentence for sentence in told) == 2
        and sum("reads it, too" in sentence for sentence in told) == 2
    )
    thirds = {reading.case: reading.reader for reading in made.state.open_readings}
    assert sorted(thirds) == double[:2]
    made.choose(thirds[double[0]], double[0], "rare")
    made.choose(thirds[double[1]], double[1], "scarce")
    settle(made.project)
    state = made.state
    assert state.cases[double[0]].version(state.cases[double[0]].label).category == "rare"
    assert state.with_status("disputed") == [double[1]]
    page = review_text(made.project)
    assert "chose different classes" in page and page.count('<th scope="row">') == 3 and "--take anna-1" in page
    decisions.decide(made.project, double[1], "carla-1", "Dr. Berg")
    assert made.state.with_status("disputed") == []
    assert decisions.give_back(made.project, [f"{double[0]}/anna-1"], "look again") == [(double[0], "anna")]


def test_the_page_speaks_of_accuracy_and_kappa(begin_images):
    made = begin_images(double_share=0.4)
    for _ in range(3):
        made.ask()
        for number, reading in enumerate(made.state.open_readings):
            made.choose(reading.reader, reading.case, "rare" if number == 3 else None, seconds=2.0)
        settle(made.project)
        for id_ in made.state.with_status("disputed"):
            decisions.decide(made.project, id_, made.state.cases[id_].disputed[0], "head")
    stands, past = status_of(made.project), past_of(made.project)
    page, kappa = html.unescape(text_of(made.project, stands)), estimates_of(stands, past).kappa
    assert "Accuracy of each round's network" in page and "Of a class it is the share of its images that are recognised." in page
    same = sum(len(set(pair.chosen)) == 1 for pair in past.pairs)
    assert f"the same class for {same} of {len(past.pairs)} images" in page and f"kappa is {kappa.value:.3f}" in page
    assert "Dice" not in page.replace("click", "") and "draws" not in page
    assert any("accuracy" in line for line in in_words(stands))


# Worklists and export


def test_readers_see_no_guess_unless_the_project_says_so(begin_images):
    for proposals in (False, True):
        made = begin_images(name=f"project-{proposals}", proposals=proposals, double_share=0.0)
        made.ask()
        made.answer()
        made.ask()
        lists = [worklist_of(made.project, made.state, reader) for reader in ("anna", "ben")]
        assert all(worklist.kind == "images" for worklist in lists)
        shown = {bool(item.guess) for worklist in lists for item in worklist.items}
        assert shown == {proposals}
        write_all(made.project)
        first = next(item for item in lists[0].items)
        assert (made.folder / "readers" / "anna" / "labelstudio.json").read_text().count("predictions") == proposals * len(
            lists[0].items
        )
        if proposals:
            receipt = made.choose("anna", first.case, first.guess.name)
            assert [note.code for note in receipt.notes] == ["unchanged"]


def test_what_is_exported_can_be_studied(measured, tmp_path):
    for layout, link in itertools.product(("table", "folders"), (False, True)):
        exported(measured, tmp_path / f"out-{layout}-{link}", layout, link)
    with pytest.raises(UserError, match=r"--layout nnunet is not for images\. Choose one of table, folders"):
        export(measured.project, tmp_path / "more", "nnunet", False, nothing)


def exported(measured, out, layout, link):
    ids = export(measured.project, out, layout, link, nothing)
    listing = find_images(out)
    assert len(listing.images) == len(ids) == 20
    for image in listing.images:
        source = next(id_ for id_ in ids if image.file.as_posix().endswith(id_))
        assert image.category == measured.truth[source]
        assert (
            image.file.read_bytes() == measured.project.image_paths(source, measured.project.data(measured.state))[0].read_bytes()
        )
    assert len((out / "labels.tsv").read_text().splitlines()) == 21


def test_an_image_that_changed_is_named(measured):
    assert problems(measured.project, nothing) == []
    id_ = measured.state.unasked()[0]
    Image.new("L", (8, 8), 3).save(measured.project.image_paths(id_, measured.project.data(measured.state))[0])
    (found,) = problems(measured.project, nothing)
    assert id_ in found and "has changed since the project began" in found
    with pytest.raises(UserError, match="has changed since the project began"):
        measured.ask()


def test_options_of_scans_are_not_passed_over(begin_images):
    with pytest.raises(UserError, match=r"--channels is for scans, and .* holds images"):
        begin_images(config=FolderConfig(need_labels=False, channels=("T1w",)))
