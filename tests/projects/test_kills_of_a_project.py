"""A few kills at random moments; `tests/soak_projects.py` has many."""

import random
import shutil

import killing_projects as story
import pytest


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    return story.write_scans(tmp_path_factory.mktemp("killed"), 16)


def test_kills_lose_nothing_take_nothing_twice_and_change_no_pick(scans, tmp_path, cache):
    data, truth = scans
    rng = random.Random(0)
    for name in ("undisturbed", "killed"):
        story.begin(tmp_path / name, data, strategy="entropy", size=5)
    undisturbed, killed = (story.Killed(tmp_path / name, truth, tmp_path / "compiled", rng) for name in ("undisturbed", "killed"))
    story.go_through(undisturbed, 2, story.NO_KILLS, story.LONGEST)
    shutil.copytree(cache, tmp_path / "compiled")  # whose writers may be killed
    story.go_through(killed, 2, {"ask": 1, "take": 1, "serve": 1}, {**story.LONGEST, "ask": 3.0, "take": 0.3})
    assert undisturbed.wrong == killed.wrong == []
    assert killed.struck.total() >= 2 and len(killed.told) == len(undisturbed.told) >= 10
    assert story.picks(killed.project) == story.picks(undisturbed.project)
