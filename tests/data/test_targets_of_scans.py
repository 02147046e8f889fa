"""Scans with numbers: tables of targets, good and bad, and the data set that is made of them."""

import json

import jax
import numpy as np
import pytest

from jaxal.data.cases import initial_set, split
from jaxal.data.scans.folder import FolderConfig
from jaxal.data.scans.nifti import Volume, write_volume
from jaxal.data.scans.targets import label_of, load_targets, make_targets_ready, read_targets
from jaxal.errors import UserError

ROWS = {
    "participant_id": ["b", "a", "c", "d"],
    "image": [f"images/{id_}_T1.nii.gz" for id_ in "bacd"],
    "ADAS13": ["12.33", "4", "-1e1", " 30 "],
    "MMSE": ["27", "30", "25", "12"],
    "age": ["61", "71.5", "80", "69.9"],
    "group": ["x", "y", "x", "y"],
}


def volume(seed, shape=(6, 5, 4)):
    return Volume(np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32), np.diag([2.0, 2.0, 3.0, 1.0]))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    (folder / "images").mkdir()
    for seed, id_ in enumerate("abcd"):
        shape = (6, 5, 4) if id_ != "d" else (5, 7, 4)
        write_volume(folder / "images" / f"{id_}_T1.nii.gz", volume(seed, shape))
        write_volume(folder / "images" / f"{id_}_FLAIR.nii.gz", volume(seed + 10, shape))
    (folder / "images" / "broken.nii.gz").write_bytes(b"no scan")
    return folder


def write(folder, columns, name="table.tsv"):
    mark = "," if name.endswith(".csv") else "\t"
    lines = [mark.join(columns), *(mark.join(row) for row in zip(*columns.values(), strict=True))]
    (folder / name).write_text("\n".join(lines) + "\n")
    return folder / name


def changed(column, place, text):
    return {**ROWS, column: [text if row == place else value for row, value in enumerate(ROWS[column])]}


@pytest.mark.parametrize("name", ["table.tsv", "table.csv"])
def test_values_lie_in_the_order_of_the_cases(images, name):
    read = read_targets(write(images, ROWS, name), ("MMSE", "ADAS13"))
    assert [case.id for case in read.listing.cases] == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(read.values, [[30, 4], [27, 12.33], [25, -10], [12, 30]])
    assert read.values.dtype == np.float64
    assert read.listing.channels == ("image",) and read.listing.classes == ()
    first = read.listing.cases[0]
    assert first.images == (images / "images" / "a_T1.nii.gz",) and first.label is None and first.subject == "a"


def test_a_channel_has_a_column_and_a_case_may_have_a_name_of_its_own(images):
    columns = {"case": list("bacd"), **ROWS, "participant_id": ["s1", "s2", "s1", "s3"], "T1": ROWS["image"]}
    columns["FLAIR"] = [path.replace("T1", "FLAIR") for path in ROWS["image"]]
    read = read_targets(write(images, columns), ["MMSE"], ("FLAIR", "T1"))
    case = read.listing.cases[1]
    assert read.listing.channels == ("FLAIR", "T1")
    assert (case.id, case.subject, [path.name for path in case.images]) == ("b", "s1", ["b_FLAIR.nii.gz", "b_T1.nii.gz"])
    alone = {("case" if name == "participant_id" else name): values for name, values in ROWS.items()}
    assert read_targets(write(images, alone), ["MMSE"]).listing.cases[1].subject == "b"


LINE = "table.tsv, line 3, column "  # of the second case


@pytest.mark.parametrize(
    ("columns", "targets", "message"),
    [
        (changed("ADAS13", 1, ""), ["ADAS13"], LINE + "'ADAS13': is empty. Fill it in, or leave the case out"),
        (changed("ADAS13", 1, "n/a"), ["ADAS13"], LINE + "'ADAS13': is 'n/a'"),
        (changed("ADAS13", 1, "NaN"), ["ADAS13"], LINE + "'ADAS13': is 'NaN'. Fill it in"),
        (changed("ADAS13", 1, "-inf"), ["ADAS13"], LINE + "'ADAS13': '-inf' is not finite"),
        (changed("ADAS13", 1, "1e39"), ["ADAS13"], LINE + "'ADAS13': '1e39' is not finite"),
        (changed("ADAS13", 1, "mild"), ["ADAS13"], LINE + "'ADAS13': 'mild' is no number"),
        (changed("ADAS13", 1, "1_000"), ["ADAS13"], LINE + "'ADAS13': '1_000' is no number"),
        (changed("ADAS13", 1, "4,5"), ["ADAS13"], "with a point, not a comma"),
        (changed("image", 1, "images/e.nii.gz"), ["MMSE"], "no such file. Paths are relative"),
        (changed("image", 1, "images/e.nii.gz"), ["MMSE"], LINE + "'image': "),
        (changed("image", 1, ""), ["MMSE"], LINE + "'image': is empty"),
        (changed("image", 1, "../a.nii.gz"), ["MMSE"], LINE + "'image': the path '../a.nii.gz' may lead out"),
        (changed("image", 1, ROWS["image"][0]), ["MMSE"], "b_T1.nii.gz is a file of the case 'b', too"),
        (changed("participant_id", 1, "b"), ["MMSE"], "line 3: the case 'b' is listed twice, first in line 2"),
        (changed("participant_id", 1, ""), ["MMSE"], "line 3: the column 'participant_id' is empty"),
        (changed("participant_id", 1, "x/y"), ["MMSE"], "line 3: the column 'participant_id' holds 'x/y'"),
        ({**ROWS, "MMSE": ["30"] * 4}, ["ADAS13", "MMSE"], "the column 'MMSE' is 30 in all 4 cases"),
        (ROWS, ["CDR"], "no column 'CDR', which --targets names; its columns are 'participant_id', 'image'"),
        (ROWS, [], "name columns of numbers in --targets"),
        (ROWS, ["MMSE", "MMSE"], "--targets names 'MMSE' twice"),
        (ROWS, ["image"], "--targets names 'image', a column that tells"),
        ({name: values for name, values in ROWS.items() if name != "participant_id"}, ["MMSE"], "no column 'participant_id'"),
        ({name: values for name, values in ROWS.items() if name != "image"}, ["MMSE"], "no column 'image', which --channels"),
        ({name: [] for name in ROWS}, ["MMSE"], "lists no case"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_table_is_told_with_its_place(images, columns, targets, message):
    with pytest.raises(UserError) as error:
        read_targets(write(images, columns), targets)
    assert message in str(error.value) and str(error.value).count("\n") == 0


def test_a_table_that_is_none_is_refused(images):
    with pytest.raises(UserError, match=r"no such file\. It lists a case a line: participant_id, image, MMSE"):
        read_targets(images / "nowhere.tsv", ["MMSE"])
    with pytest.raises(UserError, match="separated by commas"):
        read_targets(write(images, ROWS, "table.csv").rename(images / "comma.tsv"), ["MMSE"])


def test_only_targets_that_are_asked_for_must_be_numbers(images):
    assert read_targets(write(images, changed("ADAS13", 1, "")), ["MMSE"]).values.shape == (4, 1)


@pytest.fixture(scope="module")
def ready(images, tmp_path_factory):
    prepared = tmp_path_factory.mktemp("prepared")
    config = FolderConfig(group_column="age", bins=(70.0,))
    return make_targets_ready(write(images, ROWS, "ready.tsv"), ("ADAS13", "MMSE"), prepared, config)


def test_a_case_is_its_whole_image_and_its_numbers(images, ready):
    dataset = ready.dataset
    assert dataset.classes == ("ADAS13", "MMSE") and dataset.channels == ("image",)
    assert dataset.shape == (6, 7, 4)  # the largest along each axis
    assert ready.plan.whole and ready.plan.levels == 1 and ready.plan.multiples == (1, 1, 1)
    assert "patch 6 x 7 x 4: the largest case, since each is seen whole" in ready.plan.why
    case = dataset.cases[1]
    assert (case.id, case.group, case.label.values, case.category) == ("b", "<70", (12.33, 27.0), "")
    example = load_targets(case, dataset)
    assert example.image.shape == (6, 7, 4, 1) and example.image.dtype == np.float32
    values = volume(1).values
    np.testing.assert_allclose(example.image[:, :5, :, 0], (values - values.mean()) / values.std(), atol=1e-4)
    np.testing.assert_array_equal(example.image[:, 5:], 0)
    np.testing.assert_array_equal(example.label, np.array([12.33, 27], np.float32))
    assert example.label.dtype == np.float32
    assert example.inside.tolist() == example.labelled.tolist() == [True, True]
    assert example.inside.dtype == example.labelled.dtype == bool


def test_a_case_of_the_pool_is_scored_and_tells_no_number(ready):
    dataset = ready.dataset
    hidden, known = (load_targets(case, dataset) for case in (dataset.cases[0]._replace(label=None), dataset.cases[0]))
    assert hidden.label.tolist() == [0, 0] and hidden.label.dtype == np.float32
    assert hidden.labelled.tolist() == [False, False] and hidden.inside.tolist() == [True, True]
    assert jax.tree.map(np.shape, hidden) == jax.tree.map(np.shape, known)
    np.testing.assert_array_equal(hidden.image, known.image)


def test_labels_are_of_the_numbers_and_images_are_not(images, ready, tmp_path):
    assert label_of([1.0, 2]) == label_of((1, 2.0)) and label_of([1.0, 2.0]).version != label_of([2.0, 1.0]).version
    columns = changed("MMSE", 0, "28")
    config = FolderConfig(group_column="age", bins=(70.0,))
    again = make_targets_ready(write(images, columns), ("ADAS13", "MMSE"), tmp_path, config)
    assert again.fingerprint != ready.fingerprint
    now, before = again.dataset.cases, ready.dataset.cases
    assert [case.version for case in now] == [case.version for case in before]
    assert [one.label.version == other.label.version for one, other in zip(now, before, strict=True)] == [True, False, True, True]
    same = make_targets_ready(write(images, ROWS), ("ADAS13", "MMSE"), tmp_path, config)
    assert same.fingerprint == ready.fingerprint
    assert json.loads(json.dumps(dict(same.contents)))["cases"]["b"]["values"] == [12.33, 27.0]
    assert same.contents["targets"] == ["ADAS13", "MMSE"]
    renamed = write(images, {("CDR" if name == "MMSE" else name): values for name, values in ROWS.items()})
    assert make_targets_ready(renamed, ("ADAS13", "CDR"), tmp_path, config).fingerprint != ready.fingerprint


def test_groups_are_a_column_of_the_table(images, ready, tmp_path):
    assert ready.group_column == "age" and [case.group for case in ready.dataset.cases] == [">=70", "<70", ">=70", "<70"]
    table = write(images, ROWS)
    named = make_targets_ready(table, ["MMSE"], tmp_path, FolderConfig())
    assert named.group_column == "group" and [case.group for case in named.dataset.cases] == ["y", "x", "x", "y"]
    without = write(images, {name: values for name, values in ROWS.items() if name != "group"})
    assert make_targets_ready(without, ["MMSE"], tmp_path, FolderConfig()).dataset.groups == ("",)
    others = {"participant_id": list("abcd"), "sex": list("fmfm")}
    config = FolderConfig(group_column="sex", participants=write(images, others, "sexes.tsv"))
    assert make_targets_ready(table, ["MMSE"], tmp_path, config).dataset.groups == ("f", "m")
    with pytest.raises(UserError, match="no column 'site'; its columns are"):
        make_targets_ready(table, ["MMSE"], tmp_path, FolderConfig(group_column="site"))
    with pytest.raises(UserError, match="line 4, column 'group': is empty"):
        make_targets_ready(write(images, changed("group", 2, "n/a")), ["MMSE"], tmp_path, FolderConfig())
    scans = {"case": list("bacd"), **ROWS, "participant_id": list("stss")}
    with pytest.raises(UserError, match="line 5, column 'group': 's' is in the group 'y' here and in 'x' elsewhere"):
        make_targets_ready(write(images, scans), ["MMSE"], tmp_path, FolderConfig())


def test_a_bad_image_is_told_with_its_place_in_the_table(images, tmp_path):
    table = write(images, changed("image", 2, "images/broken.nii.gz"))
    with pytest.raises(UserError, match=r"broken.nii.gz: not a readable NIfTI.*table.tsv, line 4, column 'image' names it"):
        make_targets_ready(table, ["MMSE"], tmp_path, FolderConfig())


def test_cases_with_numbers_are_split_and_drawn_by_group(ready):
    many = [case._replace(id=f"{case.id}{copy}", subject="") for copy in range(10) for case in ready.dataset.cases]
    splits = split(many, 0, 0.2, 0.2)
    assert [len(part) for part in splits] == [24, 8, 8]
    assert sorted(case.group for case in initial_set(splits.pool, 4, 0)) == ["<70", "<70", ">=70", ">=70"]
