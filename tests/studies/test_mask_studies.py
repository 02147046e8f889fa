"""Studies on images with a mask each, as the command line runs them."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from jaxal.cli.main import main
from jaxal.data.images.masks import find_masks
from jaxal.data.images.segmented import SegmentedConfig, make_segmented
from jaxal.data.simulated.glands import GlandsConfig, write_glands
from jaxal.errors import UserError
from jaxal.networks.dcan import DCANConfig
from jaxal.rounds.ledger import Ledger
from jaxal.scoring.members import MembersConfig
from jaxal.studies import masks

NETWORK = DCANConfig(architecture="small", width=4, groups=2, features=4, entry="narrow")
TRAINING = dataclasses.replace(masks.TRAINING, steps=6, attempts=1, batch_size=2)
TINY = masks.MaskPreset(48, (16, 16), 2, 2, 1, 0.2, 0.3, NETWORK, TRAINING, MembersConfig(dropout=2))


@pytest.fixture(scope="module")
def tissue(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tissue") / "glands"
    write_glands(GlandsConfig((9, 3, 0), (40, 52)), folder)
    return folder


@pytest.fixture(scope="module")
def images(tissue, tmp_path_factory):
    return make_segmented(find_masks(tissue), tmp_path_factory.mktemp("prepared"), SegmentedConfig(longest_side=48, multiple=4))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(masks.PRESETS, "smoke", TINY)


@pytest.fixture(scope="module")
def finished(tissue, tmp_path_factory):
    """The folder of a study that asks for regions, and of its run."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(masks.PRESETS, "smoke", TINY)
        given = ["--preset", "smoke", "--strategy", "bald", "--unit", "region", "--unit-size", "12"]
        places = ["--out", str(folder / "out"), "--prepared", str(folder / "prepared")]
        assert main(["simulate", str(tissue), *given, *places]) == 0
    return folder / "out", folder / "out" / "images" / "bald" / "seed-0"


def test_regions_are_asked_for_and_the_run_is_predicted(finished, tiny, capsys):
    out, run = finished
    first, second = Ledger(run / "rounds.jsonl").read()
    assert first["task"] == "image segmentation" and 0 <= first["f1"]["overall"] <= 1 and len(first["queried"]) == 4
    assert all(unit.startswith("train_") and unit.endswith("+12,12") for unit in first["queried"])
    assert set(first["test"]) == {"testA_1", "testA_2", "testA_3"}  # the published split
    assert second["labelled_elements"] - first["labelled_elements"] == first["cost"] == 4 * 144
    assert json.loads((out / "config.json").read_text())["unit"]["size"] == [12, 12]
    assert "labelled pixels" in (out / "report.html").read_text()
    assert (run / "pictures" / "round-000" / f"{first['queried'][0]}.webp").is_file()
    assert main(["predict", str(run)]) == 0
    rows = {row["case"]: row for row in csv.DictReader((run / "predictions.csv").read_text().splitlines())}
    assert len(rows) == 12 and rows["testA_1"]["part"] == "test"
    drawn = np.asarray(Image.open(run / rows["testA_1"]["file"]))
    assert drawn.shape == (40, 52) and set(np.unique(drawn)) <= {0, 1}  # of the size that the image came with
    objects = {row["case"]: row for row in csv.DictReader((run / "objects.csv").read_text().splitlines())}
    assert objects.keys() == rows.keys()
    numbered = np.asarray(Image.open(run / "objects" / "testA_1.png"))
    assert numbered.shape == (40, 52) and numbered.max() == int(objects["testA_1"]["found"]) + int(objects["testA_1"]["false"])
    assert not numbered[drawn == 0].any()
    assert len(list((run / "pseudo_labels" / "round-001").iterdir())) >= 1  # kept, and never trained on unless that is asked for


def test_images_that_were_never_in_the_run_are_predicted_as_its_own_are(tissue, finished, tiny, tmp_path, capsys):
    """Images of the run come out as they did there, with their masks and alone; others may have another size."""
    _, run = finished
    assert main(["predict", str(run)]) == 0
    (tmp_path / "alone").mkdir()
    for name in ("testA_1", "testA_2"):
        Image.open(tissue / f"{name}.png").save(tmp_path / "alone" / f"{name}.png")
    Image.fromarray(np.full((31, 70, 3), 99, np.uint8)).save(tmp_path / "alone" / "larger.png")
    capsys.readouterr()
    assert main(["predict", str(run), str(tmp_path / "alone")]) == 0, capsys.readouterr().err
    assert main(["predict", str(run), str(tissue), "--out", str(tmp_path / "again")]) == 0
    assert "new        mean Dice" in capsys.readouterr().out
    known, again = (
        {row["case"]: row for row in csv.DictReader((folder / "predictions.csv").read_text().splitlines())}
        for folder in (run, tmp_path / "again")
    )
    assert {id_: row["dice"] for id_, row in known.items()} == {id_: row["dice"] for id_, row in again.items()}
    for name in ("testA_1", "testA_2"):
        drawn = [np.asarray(Image.open(folder / "predictions" / f"{name}.png")) for folder in (run, run / "new" / "alone")]
        assert (drawn[0] == drawn[1]).all()
    assert np.asarray(Image.open(run / "new" / "alone" / "predictions" / "larger.png")).shape == (31, 70)


def test_pseudo_labels_change_what_is_learnt(tissue, tiny, tmp_path):
    levels = []
    for number, more in enumerate([[], ["--pseudo-labels", "--pseudo-threshold", "1", "--pseudo-decay", "0"]]):
        places = ["--out", str(tmp_path / f"out-{number}"), "--prepared", str(tmp_path / "prepared")]
        given = ["--preset", "smoke", "--strategy", "random", "--unit", "region", "--unit-size", "12", *more]
        assert main(["simulate", str(tissue), *given, *places]) == 0
        levels.append([line["f1"] for line in Ledger(tmp_path / f"out-{number}/images/random/seed-0/rounds.jsonl").read()])
    assert levels[0][0] == levels[1][0] and levels[0][1] != levels[1][1]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--pseudo-labels"], "--pseudo-labels is for parts of cases. Give --unit slice, box or region, too."),
        (
            ["--unit", "region", "--pseudo-threshold", "0"],
            "--pseudo-threshold is 0; it must be above 0 and at most 1.",
        ),
        (["--unit", "region", "--pseudo-decay", "-1"], "--pseudo-decay is -1; it must not be negative."),
        (["--unit", "box"], "--unit box: images here have 2 axes; it takes image or region"),
        (["--unit", "region", "--unit-size", "64"], "--unit-size is 64 x 64; images have 37 x 48 elements"),
        (
            ["--unit", "region", "--query-elements", "9", "--unit-size", "4"],
            "--query-elements is 9, but one region of 4 x 4 has 16",
        ),
        (["--initial-size", "20"], "The pool has 7 of 12 images"),
        (["--strategy", "batchbald"], "The strategy 'batchbald' is for images that have one class each"),
    ],
)
def test_what_does_not_fit_is_told_before_any_training(tissue, tiny, tmp_path, capsys, given, told):
    places = ["--out", str(tmp_path / "out"), "--prepared", str(tmp_path / "prepared")]
    assert main(["simulate", str(tissue), "--preset", "smoke", *given, *places]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_masks_without_any_object_are_refused_before_any_training(tiny, tmp_path, capsys):
    for number in range(8):
        for folder, pixels in (("images", np.full((40, 40, 3), 30 * number)), ("masks", np.zeros((40, 40)))):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / folder / f"{number}.png")
    places = ["--out", str(tmp_path / "out"), "--prepared", str(tmp_path / "prepared")]
    assert main(["simulate", str(tmp_path / "data"), "--preset", "smoke", *places]) == 2
    assert "the masks of all 8 images hold no object, so there is nothing to learn" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_folder_without_masks_has_no_regions(tmp_path, capsys):
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "a.png")
    assert main(["simulate", str(tmp_path), "--unit", "region"]) == 2
    assert "holds neither scans nor images with masks" in " ".join(capsys.readouterr().err.split())


def test_readers_are_not_asked_for_masks_yet(tissue, tmp_path, capsys):
    assert main(["start", str(tmp_path / "project"), "--data", str(tissue), "--readers", "anna"]) == 2
    assert "holds images with masks" in " ".join(capsys.readouterr().err.split())


def test_a_published_test_set_stays_and_the_rest_is_drawn_by_seed(images):
    first, again, other = (masks.draw_splits(images, TINY, masks.MaskArguments(), seed) for seed in (0, 0, 1))
    assert first == again != other
    for splits, initial in (first, other):
        assert [case.id for case in splits.test] == ["testA_1", "testA_2", "testA_3"]
        assert len(splits.evaluation) == 2 and len(splits.pool) == 7 and not set(splits.pool) & set(splits.evaluation)
        assert {case.group for case in splits.evaluation} == {case.group for case in initial} == {"benign", "malignant"}


def test_without_a_published_split_all_parts_are_drawn(images):
    unknown = images._replace(
        listing=images.listing._replace(
            images=tuple(image._replace(part="", subject=image.id) for image in images.listing.images)
        ),
        dataset=images.dataset._replace(cases=tuple(case._replace(subject=case.id) for case in images.dataset.cases)),
    )
    splits, _ = masks.draw_splits(unknown, TINY, masks.MaskArguments(), 0)
    assert len(splits.test) == 4 and len({*splits.pool, *splits.evaluation, *splits.test}) == 12
    with pytest.raises(UserError, match="The pool has 6 of 12 images"):
        masks.draw_splits(unknown, dataclasses.replace(TINY, initial_size=6), masks.MaskArguments(), 0)
