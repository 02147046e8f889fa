"""Folders of BraTS, label maps whose values are not the classes' numbers, and groups by volume."""

import contextlib
import hashlib
import json
import shutil
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from folders import OBLIQUE, brats, decathlon, save

from jaxal.data.cases import fingerprint_of
from jaxal.data.scans import brats as layout
from jaxal.data.scans.folder import FolderConfig, groups_of, look_at_all, make_ready
from jaxal.data.scans.layouts import find_cases, holds_data_set
from jaxal.data.scans.listing import read_classes
from jaxal.data.scans.prepare import load_case, prepare
from jaxal.errors import UserError
from jaxal.projects import start as starting
from jaxal.projects.kind import Beginning
from jaxal.projects.kinds import kind_of_data
from jaxal.projects.scans.kind import SCANS
from jaxal.projects.scans.labels import read_map
from jaxal.projects.scans.start import names_of_values
from jaxal.projects.settings import Protocol
from jaxal.task_kind import Predicting
from jaxal.tasks.segmentation import predictions

VOXEL_MM3 = abs(np.linalg.det(OBLIQUE[:3, :3]))
CLASSES = ("background", "necrotic core", "oedema", "enhancing")


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """Six cases as in 2019; not to be changed."""
    return brats(tmp_path_factory.mktemp("brats") / "data")


def silently(done, total):
    pass


@contextlib.contextmanager
def showing(what):
    yield silently


def part_of(folder, case, part):
    return folder / case / f"{case}_{part}.nii.gz"


def with_values(path, table):
    save(path, np.array(table, np.uint8)[np.asarray(nibabel.load(path).dataobj)], OBLIQUE)


@pytest.mark.parametrize(
    ("late", "values", "names"),
    [(False, (0, 1, 2, 4), ("t1", "t1ce", "t2", "flair")), (True, (), ("t1n", "t1c", "t2w", "t2f"))],
)
def test_both_namings_are_found(tmp_path, late, values, names):
    folder = brats(tmp_path / "data", late=late)
    listing = find_cases(folder)
    assert holds_data_set(folder) and kind_of_data(folder) is SCANS
    assert (listing.layout, listing.channels, listing.classes) == ("BraTS", ("T1", "T1ce", "T2", "FLAIR"), CLASSES)
    assert (listing.values, listing.ignore, len(listing.cases)) == (values, None, 6)
    case, mark = listing.cases[0], "-" if late else "_"
    assert case.images == tuple(folder / case.id / f"{case.id}{mark}{name}.nii.gz" for name in names)
    assert case.label == folder / case.id / f"{case.id}{mark}seg.nii.gz"


def test_scans_of_one_subject_of_late_years_belong_together(tmp_path):
    cases = find_cases(brats(tmp_path / "late", late=True)).cases
    assert [case.subject for case in cases] == [f"BraTS-GLI-{number:05d}" for number in (0, 0, 1, 1, 2, 2)]
    assert all(case.subject == case.id for case in find_cases(brats(tmp_path / "early")).cases)


def test_cases_may_lie_below_grades_and_need_not_be_packed(tmp_path):
    folder = brats(tmp_path / "data", grades=("HGG", "LGG"))
    path = part_of(folder / "LGG", "BraTS19_X_1_1", "t2")
    nibabel.save(nibabel.load(path), path.with_name(path.name.removesuffix(".gz")))
    path.unlink()
    (folder / "survival_data.csv").write_text("x")
    listing = find_cases(folder)
    assert [case.label.parts[-3] for case in listing.cases] == ["HGG", "LGG"] * 3
    assert listing.cases[1].images[2].name == "BraTS19_X_1_1_t2.nii"


def test_both_codings_of_the_same_tumours_are_prepared_alike(tmp_path, early):
    old = make_ready(early, tmp_path / "old", FolderConfig())
    new = make_ready(brats(tmp_path / "late", late=True), tmp_path / "new", FolderConfig())
    for first, second in zip(old.dataset.cases, new.dataset.cases, strict=True):
        examples = load_case(first, old.dataset), load_case(second, new.dataset)
        np.testing.assert_array_equal(examples[0].label, examples[1].label)
        np.testing.assert_array_equal(examples[0].image, examples[1].image)
        assert np.bincount(examples[0].label.ravel()).tolist() == [8 * 8 * 6 - 24, 6, 6, 12]
    assert old.contents["values"] == [0, 1, 2, 4] and "values" not in new.contents


def test_looks_prepared_labels_and_fingerprints_notice_the_values(tmp_path, early, monkeypatch):
    ready = make_ready(early, tmp_path / "prepared", FolderConfig())
    turned = ready.listing._replace(values=(0, 4, 2, 1))
    files = {case.id: fingerprint_of(case.images, case.label) for case in turned.cases}
    kept = tmp_path / "prepared" / "looks"
    looks = [look_at_all(listing, files, kept, silently)[0] for listing in (ready.listing, turned)]
    np.testing.assert_allclose(looks[0].volumes_mm3 / VOXEL_MM3, [360, 6, 6, 12])
    np.testing.assert_allclose(looks[1].volumes_mm3 / VOXEL_MM3, [360, 12, 6, 6])
    dataset = prepare(turned, {}, ready.plan, tmp_path / "prepared", files)
    before, after = (load_case(these.cases[0], these) for these in (ready.dataset, dataset))
    np.testing.assert_array_equal(np.array([0, 3, 2, 1])[before.label], after.label)
    namings = tuple(naming._replace(values=turned.values) for naming in layout._NAMINGS)
    monkeypatch.setattr(layout, "_NAMINGS", namings)
    assert make_ready(early, tmp_path / "prepared", FolderConfig()).fingerprint != ready.fingerprint


def test_data_without_values_of_their_own_keep_the_fingerprint_that_they_had(tmp_path):
    ready = make_ready(decathlon(tmp_path / "data"), tmp_path / "prepared", FolderConfig())
    listing, groups = ready.listing, {case.id: case.group for case in ready.dataset.cases}
    files = sorted((case.id, fingerprint_of(case.images, case.label).whole) for case in listing.cases)
    digest = hashlib.sha256(json.dumps([listing.channels, listing.classes, None, files]).encode())
    digest.update(json.dumps(sorted(groups.items())).encode())
    assert ready.fingerprint == digest.hexdigest()[:16]
    assert set(groups.values()) == {"A", "B"}


def test_what_is_not_annotated_stays_apart_from_classes_whatever_the_values(tmp_path):
    listing = find_cases(brats(tmp_path / "data", cases=2))._replace(ignore=3)
    path = listing.cases[0].label
    with_values(path, (0, 1, 3, 0, 4))
    numbers = read_classes(path, listing).values
    assert np.bincount(numbers.ravel(), minlength=256)[[0, 1, 2, 3, 255]].tolist() == [360, 6, 0, 12, 6]


def misnamed(folder):
    for path in (folder / "BraTS19_X_2_1").iterdir():
        path.rename(path.with_name(path.name.replace("BraTS19_X_2_1", "W39_1998")))


def linked_to_nothing(folder):
    path = part_of(folder, "BraTS19_X_2_1", "t2")
    path.unlink()
    path.symlink_to(folder / "elsewhere")


def doubled(folder):
    path = part_of(folder, "BraTS19_X_2_1", "flair")
    volume = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.stack([np.asarray(volume.dataobj)] * 2, -1), volume.affine), path)


BAD = {
    "two volumes in one file": (doubled, r"BraTS19_X_2_1_flair\.nii\.gz: holds 2 volumes, but a file holds one channel here"),
    "a channel missing": (
        lambda folder: part_of(folder, "BraTS19_X_2_1", "t1ce").unlink(),
        r"BraTS19_X_2_1_t1ce\.nii\.gz: no such file; the case 'BraTS19_X_2_1' lacks its channel T1ce\. Add it, or leave the case out",
    ),
    "no label map": (
        lambda folder: part_of(folder, "BraTS19_X_2_1", "seg").unlink(),
        r"BraTS19_X_2_1_seg\.nii\.gz: no such file; the case 'BraTS19_X_2_1' lacks its label map",
    ),
    "a value of other years": (
        lambda folder: with_values(part_of(folder, "BraTS19_X_2_1", "seg"), (0, 1, 2, 0, 3)),
        r"BraTS19_X_2_1_seg\.nii\.gz: holds the label 3, which the data set does not name \(its labels are 0, 1, 2 and 4\)",
    ),
    "two files": (
        lambda folder: shutil.copy(part_of(folder, "BraTS19_X_2_1", "t2"), folder / "BraTS19_X_2_1/BraTS19_X_2_1_t2.nii"),
        r"BraTS19_X_2_1_t2\.nii: lies beside BraTS19_X_2_1_t2\.nii\.gz",
    ),
    "years that are mixed": (lambda folder: brats(folder, 1, late=True), r"is named as in BraTS 20.*Give two folders"),
    "other names": (misnamed, r"BraTS19_X_2_1: holds W39_1998_flair\.nii\.gz, but no BraTS19_X_2_1_t1\.nii\.gz"),
    "a link to nothing": (linked_to_nothing, r"BraTS19_X_2_1_t2\.nii\.gz: not a file but a link to"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_cases_end_in_one_message(tmp_path, early, name):
    folder = shutil.copytree(early, tmp_path / "data")
    BAD[name][0](folder)
    with pytest.raises(UserError, match=BAD[name][1]):
        make_ready(folder, tmp_path / "prepared", FolderConfig())


def test_a_value_too_many_of_late_years_is_refused_as_well(tmp_path):
    folder = brats(tmp_path / "data", late=True)
    with_values(folder / "BraTS-GLI-00001-000" / "BraTS-GLI-00001-000-seg.nii.gz", (0, 1, 2, 4))
    with pytest.raises(UserError, match=r"00001-000-seg\.nii\.gz: holds the label 4, .*\(its labels are 0 to 3\)"):
        make_ready(folder, tmp_path / "prepared", FolderConfig())


def test_label_maps_are_not_needed_where_none_are_asked_for(tmp_path, early):
    folder = shutil.copytree(early, tmp_path / "data")
    part_of(folder, "BraTS19_X_2_1", "seg").unlink()
    assert [case.label is None for case in find_cases(folder, need_labels=False).cases] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]


def test_channels_cannot_be_chosen(early):
    with pytest.raises(UserError, match="is in BraTS's layout, which takes all"):
        find_cases(early, ["T1"])


def test_regions_are_nested_and_made_of_classes():
    named = {name: {CLASSES[number] for number in numbers} for name, numbers in layout.REGIONS.items()}
    assert named == {
        "whole tumour": {"necrotic core", "oedema", "enhancing"},
        "tumour core": {"necrotic core", "enhancing"},
        "enhancing tumour": {"enhancing"},
    }


def test_predictions_have_the_values_of_the_data_and_are_measured_by_them(tmp_path, early):
    ready = make_ready(early, tmp_path / "prepared", FolderConfig())
    cases, dataset = ready.dataset.cases[:2], ready.dataset

    def predict(case):
        label = load_case(case, dataset).label
        if case == cases[1]:
            label = np.where(label == 3, 2, label)  # all that enhances is taken for oedema
        return SimpleNamespace(probability=np.stack([label == number for number in range(4)]).astype(np.float32))

    rows = [(case, "test") for case in cases]
    list(predictions(Predicting(tmp_path / "run", rows, predict, dataset.classes, ready.listing, silently)))
    written = [nibabel.load(tmp_path / "run" / "predictions" / f"{case.id}.nii.gz") for case in cases]
    truth = nibabel.load(ready.listing.cases[0].label)
    np.testing.assert_array_equal(np.asarray(written[0].dataobj), np.asarray(truth.dataobj))
    assert set(np.unique(written[1].dataobj)) == {0, 1, 2}
    table = [line.split(",") for line in (tmp_path / "run" / "predictions.csv").read_text().splitlines()]
    columns = [table[0].index(f"dice_{name}") for name in CLASSES[1:]]
    assert [table[1][column] for column in columns] == ["1.0000"] * 3
    # Of oedema 6 of 6 voxels are found among 18: 2 * 6 / (6 + 18).
    assert [table[2][column] for column in columns] == ["1.0000", "0.5000", "0.0000"]


def test_a_project_takes_the_label_maps_that_are_there(tmp_path, early):
    folder = shutil.copytree(early, tmp_path / "data")
    for number in (0, 1, 2, 3):
        part_of(folder, f"BraTS19_X_{number}_1", "seg").unlink()
    asked = Beginning(folder, (), ("anna",), Protocol(size=2, double_share=0.0), FolderConfig(need_labels=False), "smoke")
    project = starting.start(tmp_path / "project", asked, showing)
    assert project.state().classes == list(CLASSES)
    labelled = project.state().with_status("labelled")
    assert labelled == ["BraTS19_X_4_1", "BraTS19_X_5_1"]
    for case in labelled:
        label = read_map(project.label_path(case, "data-1"))
        np.testing.assert_array_equal(np.array([0, 1, 2, 4])[label], nibabel.load(part_of(early, case, "seg")).dataobj)


def test_values_between_those_of_classes_have_a_name_that_no_class_has(early):
    listing = find_cases(early)
    assert names_of_values(listing) == ["necrotic core", "oedema", "value 3", "enhancing"]
    assert names_of_values(listing._replace(values=(), ignore=4)) == [*CLASSES[1:], "ignore"]


# Groups by volume


def test_volumes_make_groups_at_edges_and_quantiles(tmp_path, early):
    folder = shutil.copytree(early, tmp_path / "data")
    for number in (1, 4):  # what is necrotic enhances, too
        with_values(part_of(folder, f"BraTS19_X_{number}_1", "seg"), (0, 4, 2, 0, 4))
    for edge, groups in ((12.5, "<>"), (12.0, ">>"), (18.0, "<>")):
        ready = make_ready(folder, tmp_path / "prepared", FolderConfig("volume:enhancing", bins=(edge * VOXEL_MM3 - 1e-3,)))
        assert ready.group_column == "volume:enhancing"
        assert "".join(case.group[0] for case in ready.dataset.cases) == "".join(groups[number in (1, 4)] for number in range(6))
    assert ready.contents["cases"]["BraTS19_X_1_1"]["group"] == ready.dataset.cases[1].group
    other = make_ready(folder, tmp_path / "prepared", FolderConfig("volume:oedema", bins=(1.0,)))
    assert other.dataset.groups == (">=1",) and other.fingerprint != ready.fingerprint
    with pytest.raises(
        UserError, match=r"--group-column volume:oedema: too many values are the same for --quantiles 3; give --bins"
    ):
        make_ready(folder, tmp_path / "prepared", FolderConfig("volume:oedema", quantiles=3))
    halves = make_ready(folder, tmp_path / "prepared", FolderConfig("volume:enhancing", quantiles=None))
    assert halves.dataset.groups == (f">={12 * VOXEL_MM3:g}",)  # of six volumes four are the median, which the upper group has


def test_scans_of_one_subject_may_be_in_different_groups(tmp_path):
    folder = brats(tmp_path / "data", late=True)
    with_values(folder / "BraTS-GLI-00001-001" / "BraTS-GLI-00001-001-seg.nii.gz", (0, 1, 2, 0))
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig("volume:enhancing", bins=(10.0,)))
    assert {case.id: case.group for case in ready.dataset.cases if case.subject == "BraTS-GLI-00001"} == {
        "BraTS-GLI-00001-000": ">=10",
        "BraTS-GLI-00001-001": "<10",
    }


def test_any_layout_has_volumes(tmp_path):
    folder = decathlon(tmp_path / "data")  # twelve voxels of part 2 in each case
    path = folder / "labelsTr" / "scan_3.nii.gz"
    with_values(path, (0, 1, 0))
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig("volume:part 2", bins=(11 * VOXEL_MM3, 13 * VOXEL_MM3)))
    assert [case.group.startswith("<") for case in ready.dataset.cases] == [False, False, False, True, False, False]
    assert len(ready.dataset.groups) == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            FolderConfig("volume:enhancin"),
            r"no class is called 'enhancin'; the classes are 'necrotic core', 'oedema', 'enhancing'",
        ),
        (FolderConfig("volume:background"), r"no class is called 'background'"),
        (FolderConfig("volume:enhancing", bins=(3.0, 2.0)), r"--bins are 3 2; expected rising numbers"),
        (FolderConfig("volume:enhancing", bins=(3.0,), quantiles=2), r"but --bins are given"),
    ],
)
def test_volumes_that_make_no_groups_are_refused(tmp_path, early, config, message):
    with pytest.raises(UserError, match=message):
        make_ready(early, tmp_path / "prepared", config)


def test_a_table_beside_volumes_and_a_missing_label_map_are_refused(tmp_path, early):
    with pytest.raises(UserError, match=r"so --participants .*table\.tsv would be ignored"):
        make_ready(early, tmp_path / "prepared", FolderConfig("volume:enhancing", tmp_path / "table.tsv"))
    folder = shutil.copytree(early, tmp_path / "data")
    part_of(folder, "BraTS19_X_2_1", "seg").unlink()
    with pytest.raises(UserError, match=r"1 of 6 cases have none, such as 'BraTS19_X_2_1'"):
        make_ready(folder, tmp_path / "prepared", FolderConfig("volume:enhancing", need_labels=False))
    with pytest.raises(UserError, match="groups by volume are for studies"):
        groups_of(folder, FolderConfig("volume:enhancing"), find_cases(early))


def test_looks_of_versions_without_volumes_are_looked_at_anew(tmp_path, early):
    make_ready(early, tmp_path / "prepared", FolderConfig())
    path = next((tmp_path / "prepared" / "looks").glob("BraTS19_X_0_1*"))
    with np.load(path) as stored:
        older = {name: stored[name] for name in stored.files if name != "volumes_mm3"}
    assert len(older) == 5
    np.savez(path, **older)
    make_ready(early, tmp_path / "prepared", FolderConfig("volume:enhancing", bins=(10.0,)))
    with np.load(path) as stored:
        np.testing.assert_allclose(stored["volumes_mm3"] / VOXEL_MM3, [360, 6, 6, 12])
