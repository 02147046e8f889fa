"""What goes wrong around a project: scans that change, disks that are full, clocks, copies, logs that were cut or altered."""

import json
import shutil

import nibabel
import numpy as np
import pytest
from made_projects import alter, digest_of, image_of, inbox, nothing, of

from jaxal.cli.main import main
from jaxal.errors import UserError
from jaxal.files import lock
from jaxal.projects.check import problems
from jaxal.projects.decisions import exclude, mark_opened, release_overdue, reopen
from jaxal.projects.export import export
from jaxal.projects.project import sha256_of
from jaxal.projects.settle import settle
from jaxal.projects.start import add_class, move_data
from jaxal.projects.take import take_inboxes
from jaxal.projects.worklists import write_all
from jaxal.server.project_desk import ProjectDesk
from jaxal.training.trainer import Interrupted


def desk(made):
    return ProjectDesk(made.project, (), str, str, lambda: None, str)


# A scan that changed or went.


def change(path):
    alter(path)


def remove(path):
    path.unlink()


@pytest.mark.parametrize(("do", "told"), [(change, "has changed since"), (remove, "no such file")])
def test_the_server_gives_nobody_a_scan_that_is_another(own, do, told):
    case, other = of(own, "anna")[:2]
    do(image_of(own, case))
    serving = desk(own)
    with pytest.raises(UserError, match=told):
        serving.image(case)
    assert serving.image(other).sha256 == sha256_of(image_of(own, other))
    assert {entry.id for entry in serving.cases()} == set(own.project.cases), "the others are there"
    assert len({entry.file_name for entry in serving.cases()}) == 16


@pytest.mark.parametrize("do", [change, remove])
def test_worklists_are_written_without_the_picture_of_a_scan_that_is_gone(own, do):
    case = of(own, "anna")[0]
    do(image_of(own, case))
    write_all(own.project)
    assert of(own, "anna")[1] in (own.folder / "readers" / "anna" / "worklist.html").read_text()


def test_a_label_is_taken_though_its_scan_is_gone_and_the_round_says_so(own):
    case = of(own, "anna")[0]
    image_of(own, case).unlink()
    assert own.draw("anna", case).version == "anna-1"
    own.answer()
    with pytest.raises(UserError, match=rf"no such file.*{case}.*jaxal exclude"):
        own.ask()
    assert any("is missing; it is an image" in problem for problem in problems(own.project, nothing))
    exclude(own.project, [case], "lost")
    own.ask()


@pytest.mark.parametrize(("do", "told"), [(change, "has changed since"), (remove, "no such file")])
def test_what_is_exported_is_what_was_drawn_on(own, do, told, tmp_path):
    own.answer()
    do(image_of(own, own.state.with_status("labelled")[0]))
    with pytest.raises(UserError, match=told):
        export(own.project, tmp_path / "out", "nnunet", False, nothing)
    assert not (tmp_path / "out").exists()


# A label file that was altered.


@pytest.mark.parametrize(("do", "told"), [(change, "was altered after it was accepted"), (remove, "is missing")])
def test_an_altered_label_is_neither_trained_on_nor_exported(own, do, told, tmp_path):
    own.answer()
    case, version = own.state.labels("training")[0]
    do(own.project.label_path(case, version))
    with pytest.raises(UserError, match=rf"{case}.*{told}"):
        own.ask()
    with pytest.raises(UserError, match=rf"{case}.*{told}"):
        export(own.project, tmp_path / "out", "nnunet", False, nothing)
    assert [problem for problem in problems(own.project, nothing) if told in problem]
    shutil.copy(own.label(case), own.project.label_path(case, version))  # the same voxels in another file
    with pytest.raises(UserError, match="was altered"):
        own.ask()


def test_an_altered_reading_is_not_merged(begin):
    made = begin(double_share=1.0)
    made.ask()
    case = of(made, "anna")[0]
    made.draw("anna", case)
    alter(made.project.label_path(case, "anna-1"))
    made.draw("ben", case)
    with pytest.raises(UserError, match="was altered after it was accepted"):
        settle(made.project)
    assert made.state.cases[case].label is None


# Inboxes.


def test_a_kill_after_a_doubtful_label_was_refused_does_not_confirm_it(own, monkeypatch, tmp_path):
    case = of(own, "anna")[0]
    image = nibabel.load(own.label(case))
    nibabel.save(nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), tmp_path / "empty.nii.gz")
    inbox(own, "anna", case, tmp_path / "empty.nii.gz")
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.unlink", lambda path, **options: 1 / 0 if path.name == f"{case}.nii.gz" else None)
        with pytest.raises(ZeroDivisionError):
            take_inboxes(own.project, nothing, wait=False)
    (taken,) = take_inboxes(own.project, nothing, wait=False)
    assert taken.refused.code == "empty" and own.state.cases[case].label is None
    inbox(own, "anna", case, tmp_path / "empty.nii.gz")
    (taken,) = take_inboxes(own.project, nothing, wait=False)
    assert taken.receipt.version == "anna-1"


def test_what_lies_beside_a_label_goes_with_it(own):
    case = of(own, "anna")[0]
    path = inbox(own, "anna", case)
    path.with_name(f"{case}.json").write_text('{"seconds": 60}')
    path.with_name(f"{case}.done").touch()
    take_inboxes(own.project, nothing, wait=False)
    assert [left.name for left in path.parent.iterdir()] == ["taken"], "a .done would say of a later file that it is whole"


def test_a_bad_word_beside_a_label_returns_it_and_the_others_are_taken(own):
    first, second = of(own, "anna")[:2]
    inbox(own, "anna", first).with_name(f"{first}.json").write_text("{")
    inbox(own, "anna", second)
    taken = {taken.case: taken for taken in take_inboxes(own.project, nothing, wait=False)}
    assert taken[first].refused.code == "bad-json" and taken[second].receipt.version == "anna-1"
    assert own.project.log.read()[-2].fields["code"] == "bad-json"
    inbox(own, "anna", first)
    assert take_inboxes(own.project, nothing, wait=False)[0].receipt.version == "anna-1"


# Two at once, and clocks.


def test_two_servers_on_one_project(own, capsys):
    with lock(own.folder / "uploads"):
        assert main(["serve", str(own.folder), "--port", "0"]) == 2
    assert "a server serves this project already" in " ".join(capsys.readouterr().err.split())


def test_two_rounds_at_once_are_one(own, monkeypatch):
    """Two `jaxal ask` at the same time ask for the same cases once."""
    own.answer()
    real = __import__("jaxal.projects.ask", fromlist=["assign"]).assign

    def both(*given):
        with monkeypatch.context() as patched:
            patched.setattr("jaxal.projects.ask.assign", real)
            own.ask()
        return real(*given)

    monkeypatch.setattr("jaxal.projects.ask.assign", both)
    own.ask()
    assert [event.kind for event in own.project.log.read()].count("asked") == 2 and len(own.state.rounds) == 2


def test_a_clock_that_runs_backwards_tells_no_minutes(own):
    first, second = of(own, "anna")[:2]
    mark_opened(own.project, "anna", [first], "test")
    own.clock.wait(-3600)
    assert release_overdue(own.project) == []
    receipt = own.draw("anna", first)
    assert own.state.cases[first].versions[0].minutes is None and receipt.notes == ()
    mark_opened(own.project, "anna", [second], "test")  # its line has the time of the line before
    own.clock.wait(600)
    own.draw("anna", second)
    assert own.state.cases[second].versions[0].minutes == 10.0
    times = [event.time for event in own.project.log.read()]
    assert times == sorted(times)


# Readers nobody knows, classes that come later, copies.


def test_a_reader_nobody_knows(own, capsys):
    case = of(own, "anna")[0]
    path = own.folder / "readers" / "zoe" / "inbox" / f"{case}.nii.gz"
    path.parent.mkdir(parents=True)
    shutil.copy(own.label(case), path)
    assert take_inboxes(own.project, nothing, wait=False) == [] and path.is_file(), "a folder makes nobody a reader"
    assert main(["take", str(own.folder), str(path), "--reader", "zoe"]) == 2
    assert "'zoe' is no reader of this project" in " ".join(capsys.readouterr().out.split())
    assert desk(own).next_case("zoe") is None
    with pytest.raises(UserError, match="'zoe' is no reader"):
        own.answer()
        reopen(own.project, [case], "look", "zoe")


@pytest.mark.parametrize("old", ["absent", "ask"])
def test_a_class_that_comes_while_a_round_is_trained(begin, monkeypatch, old):
    made, other = begin(name="one"), begin(name="two")
    for project in (made, other):
        project.ask()
        project.answer()
    expected = other.ask()
    with monkeypatch.context() as patched:
        patched.setattr("jaxal.projects.scans.network.to_original_grid", lambda *given: (_ for _ in ()).throw(Interrupted))
        with pytest.raises(Interrupted):
            made.ask()
    add_class(made.project, "vessel", old)
    round_ = made.ask()
    assert [entry["case"] for entry in round_.asked["readings"]] == [entry["case"] for entry in expected.asked["readings"]]


def test_a_class_that_comes_between_two_warm_rounds(begin, scans, quick, tmp_path):
    from made_projects import Clock, Made, Watcher

    from jaxal.data.scans.folder import FolderConfig
    from jaxal.projects import start as starting
    from jaxal.projects.kind import Beginning
    from jaxal.projects.settings import Protocol
    from jaxal.studies.scans import showing_on

    folder, clock = tmp_path / "project", Clock()
    protocol = Protocol(size=4, strategy="entropy")
    asked = Beginning(
        scans / "data", (), ("anna",), protocol, FolderConfig(need_labels=False), "smoke", "warm"
    )  # fmt: skip
    starting.start(folder, asked, showing_on(Watcher()), clock)
    made = Made(folder, scans / "truth", clock)
    for _ in range(2):
        made.ask()
        made.answer()
    add_class(made.project, "vessel", "absent")
    made.ask()
    assert len(made.state.rounds) == 3


def test_a_copy_goes_on_where_the_project_was(begin, scans, tmp_path, monkeypatch):
    made = begin(data=shutil.copytree(scans / "data", tmp_path / "data"))
    made.ask()
    made.answer()
    with monkeypatch.context() as patched:
        patched.setattr("jaxal.projects.scans.network.to_original_grid", lambda *given: (_ for _ in ()).throw(Interrupted))
        with pytest.raises(Interrupted):
            made.ask()
    shutil.copytree(made.folder, tmp_path / "elsewhere" / "copy")
    (tmp_path / "data").rename(tmp_path / "elsewhere" / "data")
    copy = type(made)(tmp_path / "elsewhere" / "copy", made.truth, made.clock)
    with pytest.raises(UserError, match="If they were moved"):
        copy.ask()
    move_data(copy.project, tmp_path / "elsewhere" / "data")
    asked = copy.ask().asked["readings"]
    copy.answer()
    assert problems(copy.project, nothing) == []
    (tmp_path / "elsewhere" / "data").rename(tmp_path / "data")
    assert made.ask().asked["readings"] == asked


def test_a_project_of_a_newer_version_is_left_alone(own, capsys):
    path = own.folder / "project.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 9, "anything": 1}))
    before = digest_of(own.folder)
    for verb in (["ask"], ["take"], ["serve", "--port", "0"], ["status"], ["check"], ["start", "--readers", "zoe"]):
        assert main([verb[0], str(own.folder), *verb[1:]]) == 2
        assert "written by a newer version of jaxal" in " ".join(capsys.readouterr().err.split())
    assert digest_of(own.folder) == before
