"""Folders of older versions open without an edit, and those of other settings and of newer versions are refused."""

import copy
import json
from pathlib import Path

import pytest

from jaxal.errors import UserError
from jaxal.numbers import NUMBERS
from jaxal.rounds.identity import FORMAT, config_hash, decisive, differences, numbers_of
from jaxal.tasks.classification import CLASSIFICATION
from jaxal.tasks.segmentation import SEGMENTATION

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def asked_by_the_brain_study():
    """What `experiments.brain_caudate --preset small` asks for, but for the data's fingerprint, which it does not have."""
    from experiments.brain_caudate import Arguments
    from jaxal.data.cases import Dataset, Splits
    from jaxal.data.scans.folder import Ready
    from jaxal.studies import scans
    from jaxal.studies.presets import PRESETS

    stored = json.loads((RESULTS / "brain_caudate-small" / "config.json").read_text())
    dataset = Dataset((), ("T1",), tuple(stored["data"]["classes"]), tuple(stored["data"]["shape"]), (2.0, 2.0, 2.0))
    ready = Ready(dataset, None, None, "", "group")
    chosen = scans.Chosen(Splits((), (), ()), ())
    task = scans.make_task(ready, PRESETS["small"], chosen, Arguments().training, stored["data"])
    return stored, dict(task.settings)


def test_a_folder_of_the_last_version_opens_without_an_edit():
    stored, asked = asked_by_the_brain_study()
    assert "format" not in stored and asked["format"] == FORMAT
    before = copy.deepcopy(stored)
    assert differences(stored, asked, SEGMENTATION) == []
    assert stored == before


def test_a_folder_of_version_0_1_opens_without_an_edit():
    stored = json.loads((RESULTS / "brain_bias-small" / "config.json").read_text())
    assert "members" in stored["sizes"] and "strategy" not in stored
    assert differences(stored, asked_by_the_brain_study()[1], SEGMENTATION) == []


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("training", "steps", 100, "training.steps: the folder has 100, this command asks for 160"),
        ("members", "networks", 2, "members.networks: the folder has 2, this command asks for 1"),
        ("training", "dice", False, "training.dice: the folder has False, this command asks for True"),
        ("statistics", "roi_dilate", 5, "statistics.roi_dilate: the folder has 5, this command asks for 2"),
        ("strategy", "gamma", 3.0, "strategy.gamma: the folder has 3.0, this command does not"),
        ("strategy", "step_rate", 0.5, "strategy.step_rate: the folder has 0.5, this command does not"),
        ("training", "magic", 1, "training.magic: the folder has 1, this command does not"),
    ],
)
def test_what_decides_results_is_compared_in_old_folders_too(section, name, value, message):
    stored, asked = asked_by_the_brain_study()
    stored[section][name] = value
    assert differences(stored, asked, SEGMENTATION) == [message]


def test_a_setting_that_is_missing_means_what_there_was_before_it():
    stored, asked = asked_by_the_brain_study()
    del stored["training"]["dice"], stored["members"]["networks"], stored["data"]["simulation"]["generator"]
    assert differences(stored, asked, SEGMENTATION) == []
    asked["training"]["dice"] = False
    assert differences(stored, asked, SEGMENTATION) == ["training.dice: the folder has True, this command asks for False"]


def test_the_generation_of_the_numbers_is_recorded():
    stored, asked = asked_by_the_brain_study()
    assert numbers_of(stored) == 3 and numbers_of(asked) == NUMBERS > 3
    assert decisive(CLASSIFICATION, {})["numbers"] == NUMBERS


def test_what_decides_nothing_for_a_kind_of_task_is_no_part_of_it():
    sections = {"sizes": {"test": 0.3}, "training": {"dice": True, "steps": 3}, "statistics": {"roi_dilate": 2}, "strategy": {}}
    settings = decisive(CLASSIFICATION, sections)
    assert settings["training"] == {"steps": 3} and "statistics" not in settings
    assert decisive(SEGMENTATION, sections)["training"]["dice"] is True
    assert config_hash(settings) == config_hash(json.loads(json.dumps(settings)))


def test_a_folder_of_a_newer_version_is_refused():
    stored, asked = asked_by_the_brain_study()
    with pytest.raises(UserError, match=rf"A newer version of jaxal wrote these settings \(they have format {FORMAT + 1}"):
        differences({**stored, "format": FORMAT + 1}, asked, SEGMENTATION)
    assert differences(json.loads(json.dumps(asked)), asked, SEGMENTATION) == []


@pytest.mark.parametrize(
    "stored", [[], None, 3, {}, {"format": None}, {"format": "2"}, {"sizes": 3, "training": {}}, {"training": []}]
)
def test_what_is_no_configuration_is_named(stored):
    with pytest.raises(UserError, match="not the settings of a study"):
        differences(stored, asked_by_the_brain_study()[1], SEGMENTATION)
