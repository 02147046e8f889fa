"""A results folder keeps to one configuration, and says in words in what a command or its data differ."""

import dataclasses
import json
import shutil

import pytest
import tiny
import tiny_images
from folders import bids

from jaxal.cli.segmentation import Arguments
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.data.simulated.brain import BrainConfig
from jaxal.errors import UserError
from jaxal.rounds import identity
from jaxal.rounds.identity import config_hash
from jaxal.rounds.setup import Task
from jaxal.studies.configuration import changes, settle_config
from jaxal.studies.revisit import with_options_of_run
from jaxal.studies.study import set_aside
from jaxal.tasks.segmentation import SEGMENTATION


def asked(ready=None, steps=10):
    """A task of which only the settings matter."""
    data = {"fingerprint": ready.fingerprint, "plan": ready.plan.digest()} if ready else {}
    settings = {"format": 2, "numbers": 4, "task": "segmentation", "data": data, "training": {"steps": steps}}
    task = Task(SEGMENTATION, None, ready and ready.dataset, None, (), None, None, settings=settings)
    return task._replace(contents=ready.contents, plan=dataclasses.asdict(ready.plan)) if ready else task


def write_round(out, task, name="rounds.jsonl"):
    ledger = out / "data" / "random" / "seed-0" / name
    ledger.parent.mkdir(parents=True, exist_ok=True)
    ledger.write_text(json.dumps({"round": 0, "config": config_hash(task.settings)}) + "\n")
    return ledger


@pytest.mark.parametrize("name", ["rounds.jsonl", "pending.json"])
def test_a_missing_configuration_lets_no_second_one_into_a_ledger(tmp_path, name):
    ledger = write_round(tmp_path, asked(steps=10), name)
    with pytest.raises(UserError, match=rf"config.json: is missing, but {ledger}, line 1, is a round of other settings") as error:
        settle_config(tmp_path / "config.json", asked(steps=20))
    assert "Restore the file" in str(error.value) and "--fresh" in str(error.value)
    assert not (tmp_path / "config.json").exists()
    settle_config(tmp_path / "config.json", asked(steps=10))  # the same settings restore it
    assert json.loads((tmp_path / "config.json").read_text())["training"] == {"steps": 10}
    ledger.write_text('{"round": 0}\n')
    (tmp_path / "config.json").unlink()
    with pytest.raises(UserError, match="config none, here"):
        settle_config(tmp_path / "config.json", asked())
    ledger.write_text("[]\n")
    with pytest.raises(UserError, match="not records of rounds"):
        settle_config(tmp_path / "config.json", asked())


def test_a_folder_of_rounds_without_a_configuration_can_be_set_aside(tmp_path):
    write_round(tmp_path / "out", asked())
    assert set_aside(tmp_path / "out") == tmp_path / "out.old-1"


def ready_of(folder):
    return make_ready(folder, folder.parent / "prepared", FolderConfig())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_dataset(tmp_path_factory.mktemp("data") / "balls", cases=6)


def another_group(folder):
    path = folder / "participants.tsv"
    path.write_text(path.read_text().replace("case_003\tB", "case_003\tA"))


def fewer(folder):
    for path in folder.glob("*/case_004*"):
        path.unlink()
    path = folder / "participants.tsv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "case_004" not in line))


def another_label(folder):
    shutil.copy(folder / "labelsTr" / "case_001.nii.gz", folder / "labelsTr" / "case_002.nii.gz")


def another_class(folder):
    path = folder / "dataset.json"
    path.write_text(path.read_text().replace("ball", "tumour"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (another_group, "data: 1 case with another group: case_003 (was B, is A)"),
        (fewer, "data: 1 case no longer there: case_004"),
        (another_label, "data: 1 file changed in size: labelsTr/case_002.nii.gz ("),
        (another_class, "data: classes: before background, ball; now background, tumour"),
    ],
)
def test_changed_data_are_told_by_what_changed(folder, tmp_path, change, told):
    copy = shutil.copytree(folder, tmp_path / "data")
    out = tmp_path / "out" / "config.json"
    settle_config(out, asked(ready_of(copy)))
    written = (tmp_path / "out" / "data.json").read_text()
    settle_config(out, asked(ready_of(shutil.copytree(copy, tmp_path / "moved"))))  # it may have moved
    assert (tmp_path / "out" / "data.json").read_text() == written
    change(copy)
    with pytest.raises(UserError) as error:
        settle_config(out, asked(ready_of(copy)))
    assert told in str(error.value)
    assert str(error.value).count("data: ") == 1
    assert "fingerprint" not in str(error.value)
    (tmp_path / "out" / "data.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no data\.json that would tell which have changed"):
        settle_config(out, asked(ready_of(copy)))


def test_another_plan_is_told_by_its_entries(folder, tmp_path):
    plain = make_ready(folder, tmp_path / "prepared", FolderConfig())
    coarse = make_ready(folder, tmp_path / "prepared", FolderConfig(spacing_mm=(1.0, 1.0, 2.0)))
    settle_config(tmp_path / "out" / "config.json", asked(plain))
    with pytest.raises(UserError, match=r"plan.json: cases would be prepared otherwise; the file is missing"):
        settle_config(tmp_path / "out" / "config.json", asked(coarse))
    (tmp_path / "out" / "plan.json").write_text(json.dumps(asked(plain).plan))
    with pytest.raises(UserError, match=r"plan.json: spacing_mm was 1.0, 1.0, 1.0, here 1.0, 1.0, 2.0") as error:
        settle_config(tmp_path / "out" / "config.json", asked(coarse))
    assert plain.plan.digest() not in str(error.value)


def test_data_of_the_same_size_are_told_apart_by_their_content():
    case = {"group": "A", "image": "12", "label": "34", "files": {"a.nii": 5}}
    other = {**case, "image": "13"}
    assert changes({"cases": {"a": case}}, {"cases": {"a": other}}) == ["1 case with another image of the same size: a"]
    assert changes({"cases": {"a": case}}, {"cases": {"a": {**case, "image": None}}}) == []
    many = {f"{number}": case for number in range(9)}
    assert changes({"cases": {}}, {"cases": many}) == ["9 cases added: 0, 1, 2, 3, 4 and 4 more"]


def test_images_are_told_apart_pixel_by_pixel(tmp_path):
    from jaxal.data.images.decoded import make_images

    listing = tiny_images.listing(20)
    before = make_images(listing, tmp_path, (8, 8)).contents
    brighter = listing.pixels.copy()
    brighter[3, 2, 2] += 1
    first = listing.images[0]._replace(category="rare", group="B")
    other = listing._replace(pixels=brighter, images=(first, *listing.images[1:-1], listing.images[-1]._replace(id="new")))
    assert changes(json.loads(json.dumps(before)), make_images(other, tmp_path, (8, 8)).contents) == [
        "1 case added: new",
        "1 case no longer there: image_019",
        "1 case with another class: image_000 (was common, is rare)",
        "1 case with another group: image_000 (was none, is B)",
        "1 case with another image of the same size: image_003",
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": "x"}, 'seed is "x"'),
        ({"preset": "tiny"}, 'preset is "tiny"'),
        ({"rounds": 1.5, "samples": True}, "samples is true"),
        ({"flips": [0, "a"]}, r'flips is \[0, "a"\]'),
        ({"data": 3}, "data is 3"),
    ],
)
def test_options_of_a_run_that_nobody_could_have_given_are_refused(tmp_path, options, told):
    arguments = Arguments(score_only=tmp_path)
    (tmp_path / "options.json").write_text(json.dumps({"seed": 3, "preset": "smoke", "spacing_mm": [1, 1.5, 2], "data": None}))
    assert with_options_of_run(arguments).spacing_mm == (1, 1.5, 2)
    (tmp_path / "options.json").write_text(json.dumps({"seed": 0, **options}))
    with pytest.raises(UserError, match=rf"options.json: not the options of a run \({told}\). Restore the file"):
        with_options_of_run(arguments)


def test_sessions_of_bids_are_listed_with_their_files(tmp_path):
    contents = ready_of(bids(tmp_path / "data")).contents
    assert contents["channels"] == ["FLAIR", "T1w"]
    assert sorted(contents["cases"]["sub-00_ses-1"]["files"]) == [
        "derivatives/readers/sub-00/ses-1/anat/sub-00_ses-1_space-orig_dseg.nii.gz",
        "sub-00/ses-1/anat/sub-00_ses-1_FLAIR.nii.gz",
        "sub-00/ses-1/anat/sub-00_ses-1_T1w.nii.gz",
    ]


def test_brains_of_folders_that_knew_no_thinning_are_those_of_today():
    """Their cohorts have none, whatever its strength is; so a folder goes on."""
    today = BrainConfig(80, 2.0, "strong")
    assert identity._ABSENT["data"]["simulation"]["thin_mm"] == today.thin_mm
