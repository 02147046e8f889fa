"""The verbs of a project with readers, as somebody types them."""

import dataclasses
import json
import shutil

import pytest

from jaxal.cli.help_projects import PROJECT_HELP
from jaxal.cli.main import main
from jaxal.cli.project_options import PROJECT_OPTIONS
from jaxal.projects.project import open_project
from jaxal.projects.run import share_answered
from jaxal.projects.scans import start as of_scans


@pytest.fixture(scope="module")
def scans(tiny_folder, tmp_path_factory):
    """Scans without labels, and the labels apart."""
    folder = tmp_path_factory.mktemp("of-projects")
    shutil.copytree(tiny_folder, folder / "data", ignore=shutil.ignore_patterns("labelsTr"))
    shutil.copytree(tiny_folder / "labelsTr", folder / "truth")
    return folder


@pytest.fixture
def begun(scans, tmp_path, monkeypatch, capsys):
    """A project that was started on the command line, and asked once."""
    size = of_scans.OWN_SCANS["smoke"]
    quick = dataclasses.replace(size, training=dataclasses.replace(size.training, steps=4, attempts=1))
    monkeypatch.setitem(of_scans.OWN_SCANS, "smoke", quick)
    folder = tmp_path / "balls"
    options = ["--readers", "anna,ben", "--size", "5", "--preset", "smoke", "--strategy", "entropy", "--double-share", "0"]
    assert main(["start", str(folder), "--data", str(scans / "data"), *options]) == 0
    told = capsys.readouterr().out
    assert "16 cases, 0 with labels" in told and f"jaxal ask {folder}" in told
    assert main(["ask", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "Round 1 asks for 5 cases: anna reads 3, ben reads 2." in told and "worklist.html" in told
    return folder


def hand_in(folder, scans):
    for reading in open_project(folder).state().open_readings:
        inbox = folder / "readers" / reading.reader / "inbox"
        shutil.copy(scans / "truth" / f"{reading.case}.nii.gz", inbox / f"{reading.case}.nii.gz")
        (inbox / f"{reading.case}.done").touch()


def test_a_round_on_the_command_line(begun, scans, tmp_path, capsys):
    assert main(["status", str(begun)]) == 0
    assert "Wait for 5 readings of round 1: anna 3, ben 2." in capsys.readouterr().out
    assert main(["ask", str(begun)]) == 2
    assert "open readings: anna 3, ben 2" in capsys.readouterr().err
    hand_in(begun, scans)
    (begun / "readers" / "ben" / "inbox" / "nonsense.nii.gz").write_text("hello")
    (begun / "readers" / "ben" / "inbox" / "nonsense.done").touch()
    assert main(["take", str(begun)]) == 2, "one was returned"
    told = capsys.readouterr().out
    assert "5 taken, 1 returned; 0 readings are open." in told and "nonsense.nii.gz returned: 'nonsense' is no case" in told
    assert main(["take", str(begun)]) == 0
    assert main(["check", str(begun)]) == 0
    assert "All is as written down" in capsys.readouterr().out
    assert main(["export", str(begun), str(tmp_path / "out"), "--layout", "nnunet"]) == 0
    assert len(list((tmp_path / "out" / "labelsTr").iterdir())) == 5


def test_status_as_json_is_json_alone(begun, capsys):
    assert main(["status", str(begun), "--json"]) == 0
    stands = json.loads(capsys.readouterr().out)
    assert stands["counts"]["asked"] == 5 and stands["todo"][0]["sentence"].startswith("Wait for 5 readings")


def test_decisions_on_the_command_line(begun, scans, capsys):
    hand_in(begun, scans)
    assert main(["take", str(begun)]) == 0
    case = open_project(begun).state().with_status("labelled")[0]
    for verb, told in (("return", "returned to"), ("exclude", "Left out")):
        assert main([verb, str(begun), case]) == 2
        assert "say why" in capsys.readouterr().err
        assert main([verb, str(begun), case, "--why", "motion"]) == 0
        assert told in capsys.readouterr().out
    other = open_project(begun).state().with_status("labelled")[0]
    assert main(["reopen", str(begun), other, "--why", "shifted", "--reader", "anna"]) == 0
    assert f"{other}: anna is asked again" in capsys.readouterr().out
    assert main(["release", str(begun), "--reader", "anna", "--away"]) == 0
    assert f"{other}: ben gets it." in capsys.readouterr().out
    assert main(["start", str(begun), "--readers", "anna"]) == 0
    assert "anna new or back" in capsys.readouterr().out
    assert main(["review", str(begun)]) == 0
    assert "Readers differ too much on no case." in capsys.readouterr().out


def test_a_run_takes_asks_and_ends(begun, scans, capsys):
    hand_in(begun, scans)
    assert main(["run", str(begun), "--until", "5 cases", "--every", "1"]) == 0
    assert "5 cases are labelled." in capsys.readouterr().out
    assert share_answered(open_project(begun).state()) == 1.0
    for given, told in ((["--until", "soon"], "--until is 'soon'"), (["--until", "1 h", "--answered", "2"], "--answered is 2")):
        assert main(["run", str(begun), *given]) == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ask"], "the PROJECT's folder comes first"),
        (["ask", "nowhere"], "nowhere: no such folder."),
        (["ask", "."], "holds no project. `jaxal start . --data DIR --readers NAMES` begins one."),
        (["start", "new", "--data", "."], "--readers names nobody"),
        (["start", "new", "--readers", "anna"], "--data DIR is needed"),
        (["start", "new", "--data", "nowhere", "--readers", "anna"], "--data nowhere: no such folder"),
        (["start", "new", "--add-class", "x"], "holds no project yet"),
        (["demo"], "jaxal demo readers"),
        (["demo", "x"], "jaxal demo readers"),
        (["take", "nowhere"], "nowhere: no such folder."),
    ],
)
def test_what_is_wrong_is_said(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "new" / "project.json").exists()


def test_a_second_start_changes_nothing(begun, scans, capsys):
    before = (begun / "log.jsonl").read_bytes()
    assert main(["start", str(begun)]) == 2
    assert "holds a project already" in capsys.readouterr().err
    assert main(["start", str(begun), "--add-class", "vessel"]) == 2
    assert "--old-labels absent" in capsys.readouterr().err
    assert (begun / "log.jsonl").read_bytes() == before


def test_the_help_of_a_projects_verb_names_all_its_options():
    positional = {"project": "PROJECT", "files": "FILE", "cases": "CASE", "case": "CASE", "out": "OUT"}
    for verb, kind in PROJECT_OPTIONS.items():
        for field in dataclasses.fields(kind):
            if verb in ("return", "reopen", "exclude", "release") and field.name in ("reader", "to", "away"):
                continue
            name = field.name.replace("_", "-")
            assert f"--{name}" in PROJECT_HELP[verb] or positional.get(field.name, "?") in PROJECT_HELP[verb], f"{verb}: {name}"


def test_a_query_of_so_many_minutes(begun, scans, capsys):
    hand_in(begun, scans)
    main(["take", str(begun)])
    capsys.readouterr()
    assert main(["ask", str(begun), "--within-minutes", "5"]) == 2
    assert "--within-minutes is 5, and a single case takes about 15 minutes" in " ".join(capsys.readouterr().err.split())
    assert main(["ask", str(begun), "--within-minutes", "65"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "Round 2 asks for 4 cases: anna reads 2, ben reads 2. That takes about 60 minutes in all." in told
