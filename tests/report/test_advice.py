"""What the leaderboard has found, told to whoever asks what to use."""

import json
import math

import pytest

from jaxal.assessment.intervals import Estimate
from jaxal.cli import strategies
from jaxal.cli.main import main
from jaxal.errors import UserError
from jaxal.report import advice as module
from jaxal.report.advice import Found, Measured, Setting, advice, read_evidence, told_of, write_evidence


def found(value, low, high, milliseconds=3.0, failures=0):
    return Found(Estimate(value, low, high, 10), milliseconds, failures)


FEW = Measured(
    "few labels",
    "AUC",
    Setting("classification", 5, 600, 10, 50, 1),
    {
        "random": found(math.nan, math.nan, math.nan, 0.4),
        "typiclust": found(0.03, 0.01, 0.05, 12.0),
        "entropy": found(-0.02, -0.03, -0.01),
        "bald": found(0.01, -0.01, 0.03, failures=2),
    },
)
MANY = FEW._replace(
    about="many labels",
    setting=Setting("classification", 5, 6000, 500, 2000, 1),
    found={**FEW.found, "entropy": found(0.04, 0.02, 0.06)},
)
GROUPS = FEW._replace(about="groups", setting=Setting("segmentation", 2, 36, 6, 15, 2), found={"entropy": found(0.0, -0.1, 0.1)})
EVIDENCE = {"few": FEW, "many": MANY, "brains": GROUPS}


@pytest.fixture
def known(tmp_path, monkeypatch):
    path = tmp_path / "found.json"
    write_evidence(path, EVIDENCE)
    monkeypatch.setattr(strategies, "read_evidence", lambda: read_evidence(path))
    return path


def test_what_is_written_is_read(known):
    again = read_evidence(known)
    assert repr(again) == repr(EVIDENCE)  # NaN is not equal to itself
    assert read_evidence(known.with_name("none.json")) == {}


def test_the_study_that_is_most_like_it_decides():
    few = advice(Setting("classification", 2, 300, 4, 20, 1), EVIDENCE)
    assert "Most like this is few: 5 classes or targets, 10 labelled at first and 50 in the end of 600." in few
    assert "There typiclust (+0.030 [+0.010, +0.050]) did best" in few and "1 of 4 strategies did worse than random" in few
    many = advice(Setting("classification", 10, 9000, 900, 5000, 1), EVIDENCE)
    assert "Most like this is many" in many and "There entropy (+0.040 [+0.020, +0.060]), typiclust (+0.030" in many
    assert "did worse" not in many
    none = advice(Setting("segmentation", 3, 100, 8, 40, 1), EVIDENCE)
    assert "no strategy was surely better than random sampling" in none
    assert advice(Setting("regression", 1, 100, 8, 40, 1), EVIDENCE) == ""


def test_groups_are_more_alike_than_numbers():
    with_groups = {"plain": FEW, "grouped": FEW._replace(setting=FEW.setting._replace(groups=2, start=20))}
    assert "is grouped" in advice(FEW.setting._replace(groups=3), with_groups)
    assert "is plain" in advice(FEW.setting, with_groups)


def test_a_strategy_is_told_of_with_its_tasks(known, capsys):
    assert told_of("bald", EVIDENCE) == [
        f"{task}: not told from random, +0.010 [-0.010, +0.030]; 3 ms a query; 2 runs failed" for task in ("few", "many")
    ]
    assert told_of("random", EVIDENCE)[0] == "few: random itself; 0 ms a query"
    assert main(["strategies", "entropy"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Measured: few: worse than random, -0.020 [-0.030, -0.010]; 3 ms a query. many: better than random, +0.040" in told


def test_the_list_tells_what_a_query_took(known, capsys):
    assert main(["strategies", "--cost", "--for", "images"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["typiclust", "12", "ms:"] for line in lines)
    assert any(line.split()[0] == "coreset" and "ms:" not in line for line in lines if line.strip())
    assert any("6000 cases in the pool" in line for line in lines)
    assert main(["strategies", "--cost", "--for", "regression"]) == 2
    assert "nothing was measured of regression" in capsys.readouterr().err


def test_a_file_of_something_else_is_named(tmp_path):
    for content in ("{", "[]", json.dumps({"few": {"about": "x"}}), json.dumps({"few": 3})):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(UserError, match="not what the leaderboard has found"):
            read_evidence(tmp_path / "x.json")


def test_the_librarys_own_file_is_sound():
    for measured in read_evidence().values():
        assert measured.found and measured.setting.start < measured.setting.end <= measured.setting.pool
    assert module.FILE == "leaderboard.json"
