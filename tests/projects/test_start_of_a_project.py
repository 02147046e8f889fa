"""The beginning of a project: every layout, with any share of labels, and what is refused."""

import json
import shutil

import folders
import nibabel
import numpy as np
import pytest
from made_projects import digest_of, read

from jaxal.cli.main import main
from jaxal.data.scans.folder import FolderConfig
from jaxal.errors import UserError
from jaxal.projects.project import open_project
from jaxal.projects.start import add_class, add_readers, is_unfinished, move_data
from jaxal.training import trainer
from jaxal.training.weighting import Order, named_method


def flat(scans, folder):
    """The scans as plain files of one folder."""
    folder.mkdir()
    for path in (scans / "data" / "imagesTr").iterdir():
        shutil.copy(path, folder / path.name.replace("_0000", ""))
    return folder


def test_a_folder_without_any_label(begin, scans):
    before = digest_of(scans / "data")
    made = begin()
    assert len(made.project.cases) == 16 and made.state.with_status("unlabelled") == sorted(made.project.cases)
    assert made.state.classes[0] == "background" and made.state.present == ["anna", "ben"]
    assert {scan.group for scan in made.project.settings.cases} == {"A", "B"}
    assert digest_of(scans / "data") == before
    assert made.project.settings.scans.plan.why and made.project.settings.protocol.size == 5


def test_a_folder_of_files_needs_the_names_of_labels(begin, scans, tmp_path):
    data = flat(scans, tmp_path / "flat")
    with pytest.raises(UserError, match="what is to be drawn"):
        begin(data=data)
    made = begin(data=data, labels=("ball",), name="second")
    assert made.state.classes == ["background", "ball"] and made.project.channels == ("image",)
    assert all(not scan.group for scan in made.project.settings.cases)
    made.ask()
    made.answer()
    assert len(made.state.with_status("labelled")) == 5


def test_a_table_of_paths(begin, scans, tmp_path):
    data = flat(scans, tmp_path / "flat")
    names = sorted(path.name for path in data.iterdir())
    (data / "labels").mkdir()
    shutil.copy(scans / "truth" / names[0], data / "labels" / names[0])
    rows = [
        f"{name.removesuffix('.nii.gz')},{name},{f'labels/{name}' if name == names[0] else ''},{'XY'[n % 2]}"
        for n, name in enumerate(names)
    ]
    (data / "scans.csv").write_text("\n".join(["case,T1,label,group", *rows]) + "\n")
    made = begin(data=data / "scans.csv", labels=("ball",))
    assert made.project.channels == ("T1",) and {scan.group for scan in made.project.settings.cases} == {"X", "Y"}
    (case,) = made.state.with_status("labelled")
    assert np.array_equal(read(made.project.label_path(case, "data-1")), read(made.label(case)))


def test_a_tables_column_of_numbers_is_cut_into_groups(begin, scans, tmp_path):
    data = flat(scans, tmp_path / "flat")
    rows = [f"{path.name.removesuffix('.nii.gz')},{path.name},{50 + n}" for n, path in enumerate(sorted(data.iterdir()))]
    table = data / "scans.csv"
    table.write_text("\n".join(["case,T1,age", *rows]) + "\n")
    by_age = FolderConfig(group_column="age", bins=(60.0,), need_labels=False)
    made = begin(data=table, labels=("ball",), config=by_age)
    assert made.project.channels == ("T1",)
    assert [scan.group for scan in made.project.settings.cases] == ["<60"] * 10 + [">=60"] * 6
    with pytest.raises(UserError, match="has no column 'sex'; its columns are 'case', 'T1', 'age'"):
        begin(data=table, labels=("ball",), config=FolderConfig(group_column="sex", need_labels=False), name="other")
    table.write_text(table.read_text().replace(",50\n", ",\n"))
    with pytest.raises(UserError, match=r"line 2: the case '.*' has no group in the column 'age'"):
        begin(data=table, labels=("ball",), config=by_age, name="other")


def test_a_method_of_training_is_decided_at_the_start(begin, scans, tmp_path, monkeypatch):
    known = []

    def order(weighting, membership, *rest):
        known.append((weighting.method, membership.sizes.tolist()))
        return Order(weighting, membership, *rest)

    monkeypatch.setattr(trainer, "Order", order)
    made = begin(method="groupdro,step_size=0.5")
    assert open_project(made.folder).settings.scans.preset.training.weighting == named_method("groupdro,step_size=0.5")
    made.ask()
    made.answer()
    made.ask()
    assert known[0][0] == "groupdro" and sorted(known[0][1]) == [2, 2], "four of five labels are trained on, two of each group"
    assert "weighting" not in (begin(name="usual").folder / "project.json").read_text()
    with pytest.raises(UserError, match="no case has a group"):
        begin(data=flat(scans, tmp_path / "flat"), labels=("ball",), method="balanced", name="flat-project")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("case,T1\na,none.nii.gz\n", r"scans.csv, line 2: .*none.nii.gz: no such file"),
        ("case,T1\na,../x.nii.gz\n", r"line 2: the path '../x.nii.gz' may lead out"),
        ("case,T1\n,x.nii.gz\n", "line 2: the column 'case' is empty"),
        ("case,T1\na,\n", "line 2: the column 'T1' is empty"),
        ("id,T1\na,x.nii.gz\n", "expected a column 'case'"),
        ("case\tT1\na\tx.nii.gz\n", "separated by tabs"),
    ],
)
def test_a_bad_table_is_named_with_its_line(begin, tmp_path, text, told):
    (tmp_path / "scans.csv").write_text(text)
    with pytest.raises(UserError, match=told):
        begin(data=tmp_path / "scans.csv", labels=("ball",))


def test_the_decathlons_test_scans_are_asked_for(begin, tmp_path):
    data = folders.decathlon(tmp_path / "decathlon", cases=10)
    description = json.loads((data / "dataset.json").read_text())
    listed = description["training"]
    folders.change_description(data, training=listed[:3], test=[entry["image"] for entry in listed[3:]])
    made = begin(data=data, config=FolderConfig(need_labels=False))
    assert len(made.state.with_status("labelled")) == 3 and len(made.state.unasked()) == 7
    for case in made.state.with_status("labelled"):
        assert np.array_equal(read(made.project.label_path(case, "data-1")), read(data / "labelsTr" / f"{case}.nii.gz"))


def test_bids_without_label_maps(begin, tmp_path):
    data = folders.bids(tmp_path / "bids", subjects=6)
    shutil.rmtree(data / "derivatives")
    made = begin(data=data, labels=("lesion",))
    assert made.state.classes == ["background", "lesion"] and len(made.state.unasked()) == 6
    assert made.project.channels == ("FLAIR", "T1w")


def test_labels_in_turned_storage_are_placed_on_the_scans_own_grid(begin, scans, tmp_path):
    data = shutil.copytree(scans / "data", tmp_path / "data")
    name = sorted((scans / "truth").iterdir())[0].name
    image = nibabel.load(scans / "truth" / name)
    turned = image.as_reoriented(nibabel.orientations.axcodes2ornt(("P", "I", "R")))
    (data / "labelsTr").mkdir()
    nibabel.save(turned, data / "labelsTr" / name)
    made = begin(data=data)
    case = name.removesuffix(".nii.gz")
    assert np.array_equal(read(made.project.label_path(case, "data-1")), read(scans / "truth" / name))


@pytest.mark.parametrize(
    ("readers", "told"),
    [
        ((), "--readers names nobody"),
        (("a/b",), "cannot be a reader's name"),
        ((".anna",), "cannot be a reader's name"),
        (("anna", "Anna"), "twice"),
        (("data",), "taken by jaxal itself"),
        (("merged",), "taken by jaxal itself"),
    ],
)
def test_names_of_readers_that_cannot_be(begin, readers, told):
    with pytest.raises(UserError, match=told):
        begin(readers=readers)


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ({"random_share": 1.5}, "--random-share is 1.5"),
        ({"far_apart": 1.5}, "--far-apart is 1.5; a Dice lies between 0 and 1"),
        ({"lease_days": 0.0}, "--lease-days is 0; it takes days, more than none"),
        ({"double_share": -0.1}, "--double-share"),
        ({"size": 0}, "--size is 0"),
        ({"minutes": 0}, "--minutes is 0"),
        ({"strategy": "entrpy"}, "entropy"),
        ({"strategy": "aeig", "evaluation_share": 0.0}, "--evaluation-share must be above 0"),
        ({"strategy": "aeig", "size": 1}, "--size at least 2"),
    ],
)
def test_senseless_values_are_refused_before_any_file_is_read(begin, tmp_path, protocol, told):
    with pytest.raises(UserError, match=told):
        begin(data=tmp_path / "nowhere", **protocol)


@pytest.mark.parametrize("labels", [("a", "a"), ("a", " A "), ("", "b"), tuple(map(str, range(254)))])
def test_names_of_labels_that_cannot_be(begin, scans, tmp_path, labels):
    with pytest.raises(UserError, match="--labels"):
        begin(data=flat(scans, tmp_path / "flat"), labels=labels)


def test_other_labels_than_those_that_are_drawn_are_refused(begin, scans, tiny_folder):
    with pytest.raises(UserError, match="Leave --labels out"):
        begin(data=tiny_folder, labels=("liver",))


def test_a_bad_label_of_the_folder_is_named(begin, scans, tmp_path):
    data = shutil.copytree(scans / "data", tmp_path / "data")
    name = sorted((scans / "truth").iterdir())[0].name
    image = nibabel.load(scans / "truth" / name)
    folders.save(data / "labelsTr" / name, np.asarray(image.dataobj).astype(np.uint8), image.affine + np.diag([0.5, 0, 0, 0]))
    with pytest.raises(UserError, match=name):
        begin(data=data)


def test_a_second_start_is_refused_and_a_stopped_one_goes_on(begin, scans, tiny_folder, monkeypatch):
    with monkeypatch.context() as patched:
        calls = []
        real = __import__("jaxal.projects.scans.start", fromlist=["receive"]).receive

        def stop_at_the_third(*given, **options):
            calls.append(given)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return real(*given, **options)

        patched.setattr("jaxal.projects.scans.start.receive", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            begin(data=tiny_folder)
    made = begin(data=tiny_folder)
    assert len(made.state.with_status("labelled")) == 16 and not is_unfinished(made.folder)
    assert sum(event.kind == "label" for event in made.project.log.read()) == 16
    with pytest.raises(UserError, match="holds a project already"):
        begin(data=tiny_folder)


def test_readers_are_added_and_taken_back(begin):
    made = begin()
    assert add_readers(made.project, ["carla", "anna"]) == ["carla"]
    assert made.state.present == ["anna", "ben", "carla"] and (made.folder / "readers" / "carla" / "inbox").is_dir()
    with pytest.raises(UserError, match="twice"):
        add_readers(made.project, ["CARLA"])


def test_a_class_is_added(begin):
    made = begin()
    made.ask()
    made.answer()
    with pytest.raises(UserError, match="twice"):
        add_class(made.project, made.state.classes[1].upper(), "absent")
    add_class(made.project, "vessel", "absent")
    assert made.state.classes[-1] == "vessel" and len(made.state.with_status("labelled")) == 5
    made.ask()
    made.answer()
    made.ask()
    add_class(made.project, "duct", "ask")
    assert made.state.with_status("labelled") == []


def test_data_that_were_moved_are_found_where_they_are(begin, scans, tmp_path):
    data = shutil.copytree(scans / "data", tmp_path / "data")
    made = begin(data=data)
    data.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="If they were moved"):
        made.ask()
    with pytest.raises(UserError, match="no such folder"):
        move_data(made.project, tmp_path / "nowhere")
    move_data(made.project, tmp_path / "moved")
    made.ask()


def test_a_project_copied_elsewhere_is_the_same(begin, tmp_path):
    made = begin()
    made.ask()
    shutil.copytree(made.folder, tmp_path / "copy")
    assert open_project(tmp_path / "copy").state() == made.state


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: text.replace('"format": 1', '"format": 9'), "newer version"),
        (lambda text: text[:-40], "not the settings of a project"),
        (lambda text: "[]", "not the settings of a project"),
        (lambda text: text.replace('"seed": 0', '"seed": 1'), "line 1: it belongs to another project"),
    ],
)
def test_settings_that_are_not_the_projects(begin, change, told):
    made = begin()
    path = made.folder / "project.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(UserError, match=told):
        open_project(made.folder).state()


def test_what_is_decided_at_the_start_cannot_be_asked_for_later(own, capsys):
    assert main(["start", str(own.folder), "--size", "9"]) == 2
    assert "--size is decided when a project is started" in capsys.readouterr().err
    events = len(own.project.log.read())
    assert main(["start", str(own.folder), "--data", str(own.project.data(own.state))]) == 0
    assert "as before" in capsys.readouterr().out and len(own.project.log.read()) == events
    assert main(["start", str(own.folder), "--add-class", "shell", "--old-labels", "ask"]) == 0
    assert "0 labels do not count any more, and 5 open readings are taken back" in capsys.readouterr().out
