"""Groups from a column of a table, and tables and columns that make none."""

import pytest
import tiny
from folders import table

from jaxal.data.groups import EDGES_ONLY, check_several, make_groups, read_groups
from jaxal.data.scans.folder import FolderConfig, make_ready
from jaxal.errors import UserError


def participants(tmp_path, values, column="age"):
    table(tmp_path, {f"p{index:03d}": value for index, value in enumerate(values)}, column)
    return tmp_path / "participants.tsv"


def test_numbers_are_cut_at_edges_or_quantiles(tmp_path):
    path = participants(tmp_path, ["59.9", "60", "74", "75", "90"])
    assert list(read_groups(path, "age", (60, 75)).values()) == ["<60", "60-75", "60-75", ">=75", ">=75"]
    path = participants(tmp_path, range(20))
    assert list(read_groups(path, "age").values()) == ["<9.5"] * 10 + [">=9.5"] * 10
    thirds = list(read_groups(path, "age", quantiles=4).values())
    assert sorted({group: thirds.count(group) for group in thirds}.values()) == [5, 5, 5, 5]


def test_few_numbers_are_names(tmp_path):
    assert set(read_groups(participants(tmp_path, [1, 2, 1, 2]), "age").values()) == {"1", "2"}


@pytest.mark.parametrize(
    ("values", "bins", "message"),
    [
        ([f"name {index}" for index in range(200)], (), "holds 200 different values"),
        (["60", "old", "70"], (65,), "--bins cut numbers, but the column 'age' holds 'old'"),
        (["60", "65", "70"], (65, 60), "expected rising numbers"),
        (["0"] * 40 + [str(number) for number in range(14)], (), None),
    ],
)
def test_columns_that_make_no_groups(tmp_path, values, bins, message):
    path = participants(tmp_path, values)
    if message is None:
        with pytest.raises(UserError, match="are the same for --quantiles 4"):
            read_groups(path, "age", bins, quantiles=4)
        return
    with pytest.raises(UserError, match=message):
        read_groups(path, "age", bins)


@pytest.mark.parametrize(("bins", "why"), [((), "the column 'group' holds names"), ((3.0,), "--bins are given")])
def test_quantiles_that_would_be_ignored_are_refused(tmp_path, bins, why):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    with pytest.raises(UserError, match=f"--quantiles 3 cuts a column of many different numbers, but {why}"):
        read_groups(folder / "participants.tsv", "group", bins, 3)


def test_empty_lines_of_a_table_are_passed_over_and_one_without_lines_is_refused(tmp_path):
    path = participants(tmp_path, ["A", "B"], "group")
    path.write_text(path.read_text() + "  \n\t\n\n")
    assert read_groups(path, "group") == {"p000": "A", "p001": "B"}
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    (folder / "participants.tsv").write_text("participant_id\tgroup\n")
    with pytest.raises(UserError, match=r"participants.tsv: does not list the case 'case_000', so it has no group. Add a line"):
        make_ready(folder, tmp_path / "prepared", FolderConfig())
    with pytest.raises(UserError, match="--group-column is empty"):
        make_ready(folder, tmp_path / "prepared", FolderConfig(""))


def test_an_unknown_group_column_lists_the_columns(tiny_folder, tmp_path):
    with pytest.raises(UserError, match="no column 'sex'; its columns are 'participant_id', 'group'"):
        make_ready(tiny_folder, tmp_path, FolderConfig("sex"))


def test_a_table_that_is_named_must_be_there_and_name_groups(tmp_path):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    table = folder / "participants.tsv"
    for config in (FolderConfig("sex"), FolderConfig(participants=tmp_path / "other.tsv"), FolderConfig(bins=(60.0,))):
        with pytest.raises(UserError, match=r"no column 'sex'|no such file|--bins cut numbers"):
            make_ready(folder, tmp_path / "prepared", config)
    table.unlink()
    with pytest.raises(UserError, match=r"participants\.tsv: no such file"):
        make_ready(folder, tmp_path / "prepared", FolderConfig("group"))


@pytest.mark.parametrize(
    ("change", "groups", "column"),
    [
        (lambda table: table.unlink(), ("",), None),
        (lambda table: table.write_text(table.read_text().replace("group", "sex")), ("",), None),
        (lambda table: table.write_text(table.read_text().replace("\tB", "\tA")), ("A",), "group"),
    ],
)
def test_one_group_or_none_is_legal(tmp_path, change, groups, column):
    folder = tiny.write_dataset(tmp_path / "data", cases=4)
    change(folder / "participants.tsv")
    ready = make_ready(folder, tmp_path / "prepared", FolderConfig())
    assert (ready.dataset.groups, ready.group_column) == (groups, column)


PEOPLE = {
    f"p{place:02d}": {"sex": sex, "age": str(age), "site": site}
    for place, (sex, age, site) in enumerate([("F", 20, "a"), ("F", 70, "b"), ("M", 59, "a"), ("M", 60, "a")])
}


def test_each_combination_of_several_columns_is_a_group():
    assert list(make_groups("the table", PEOPLE, ("sex", "age"), (60,)).values()) == ["F, <60", "F, >=60", "M, <60", "M, >=60"]
    assert list(make_groups("the table", PEOPLE, ("site", "sex")).values()) == ["a, F", "b, F", "a, M", "a, M"]
    many = {str(place): {"code": str(place % 2), "age": str(place)} for place in range(14)}
    of_many = set(make_groups("the table", many, ("code", "age"), quantiles=3).values())
    assert of_many == {f"{code}, {age}" for code in "01" for age in ("<4.33333", "4.33333-8.66667", ">=8.66667")}


@pytest.mark.parametrize(
    ("columns", "bins", "message"),
    [
        (("sex", "site"), (60,), "the table: --bins and --quantiles cut one column of numbers, but 'sex', 'site' hold names"),
        (("age", "code"), (60,), "cut one column of numbers, but 'age' and 'code' hold them"),
        (("sex", "id"), (), "the columns 'sex', 'id' make 14 groups, such as 'F, t'. Groups are few .at most 12"),
    ],
)
def test_columns_that_do_not_go_together(columns, bins, message):
    people = {name: {**row, "code": str(place)} for place, (name, row) in enumerate(PEOPLE.items())}
    if "id" in columns:
        people = {str(place): {"sex": "FM"[place % 2], "id": "tuvwxyz"[place // 2]} for place in range(14)}
    with pytest.raises(UserError, match=message):
        make_groups("the table", people, columns, bins)


def test_scans_take_several_columns_and_a_name_with_a_comma(tmp_path):
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tsex\tage, years\np0\tF\t30\np1\tM\t70\np2\tM\t20\n")
    assert list(read_groups(path, "age, years", (60,)).values()) == ["<60", ">=60", "<60"]
    with pytest.raises(UserError, match="has no column 'age'"):
        read_groups(path, "sex,age")
    path.write_text("participant_id\tsex\tage\np0\tF\t30\np1\tM\t70\np2\tM\tn/a\n")
    assert read_groups(path, "sex, age", (60,), only={"p0", "p1"}) == {"p0": "F, <60", "p1": "M, >=60"}
    with pytest.raises(UserError, match=r"line 4: the case 'p2' has no group in the column 'age'. Fill it in"):
        read_groups(path, "sex,age", (60,))


def test_one_group_is_told_of_where_several_are_needed():
    check_several(["F", "M", "F"], "sex")
    for groups, told in (
        (["F", "F"], "all 2 cases are of the group 'F'"),
        (["", ""], "no case has a group"),
        ([], "no case has a group"),
    ):
        with pytest.raises(UserError, match=f"--group-column sex: {told}, and at least two groups are needed"):
            check_several(groups, "sex")


def test_no_number_of_quantiles_stands_for_edges_only():
    ages = {f"case {age}": {"age": str(age)} for age in range(40)}
    with pytest.raises(UserError, match="--quantiles is 0; it must be at least 2"):
        make_groups("the table", ages, ("age",), quantiles=0)
    with pytest.raises(UserError, match=r"holds numbers, and nothing says where groups part. Give edges, such as --bins 19.5"):
        make_groups("the table", ages, ("age",), quantiles=EDGES_ONLY)
    assert set(make_groups("the table", ages, ("age",), (20.0,), EDGES_ONLY).values()) == {"<20", ">=20"}
    names = {"a": {"sex": "F", "site": "x"}, "b": {"sex": "M", "site": "x"}}
    assert make_groups("the table", names, ("sex", "site"), quantiles=EDGES_ONLY) == {"a": "F, x", "b": "M, x"}
