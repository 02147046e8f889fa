"""Scans that lie in no known layout: the NIfTI files of a folder, or those that a table lists."""

from collections import Counter
from pathlib import Path

from jaxal.data.groups import MISSING, Grouping, columns_named, make_groups, read_rows
from jaxal.data.scans.listing import ENDINGS, Files
from jaxal.errors import UserError
from jaxal.files import path_within, why_no_file


def flat_scans(folder: Path, channels: int | None = None) -> list[Files]:
    """The scans of a folder of NIfTI files, a file a channel (`CASE_0000.nii.gz`), or one file for all of them (`CASE.nii.gz`).

    Args:
      folder: of the files.
      channels: how many every scan must have, for a network that was trained on so many; as the first scan has when left out.

    Raises:
      UserError: there are none, or a scan lacks a channel.
    """
    paths: dict[str, Path] = {}
    for path in sorted(folder.glob("[!.]*")):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending and path.is_file():
            stem = path.name[: -len(ending)]
            if stem in paths:
                raise UserError(
                    f"{path}: lies beside {paths[stem].name}. One scan must be one file; remove the one that is not meant."
                )
            paths[stem] = path
    if not paths:
        raise UserError(
            f"{folder}: holds no scans. Expected NIfTI files CASE_0000.nii.gz, one for each channel, or CASE.nii.gz, or a data set with dataset.json or "
            "dataset_description.json, or cases of BraTS."
        )
    numbered = {stem: stem.rpartition("_") for stem in paths}
    if not all(case and number.isdigit() and len(number) == 4 for case, _, number in numbered.values()):
        return [Files(stem, stem, (path,), None) for stem, path in paths.items()]
    counts = Counter(case for case, _, _ in numbered.values())
    wanted, because = (channels, "the network was trained on") if channels else (max(counts.values()), "others have")
    for case in sorted(counts):
        for channel in range(wanted):
            if f"{case}_{channel:04d}" not in paths:
                raise UserError(
                    f"{folder}: the scan {case!r} has no channel {channel} (a file {case}_{channel:04d}.nii.gz); {because} {wanted}."
                )
        if counts[case] > wanted:
            raise UserError(f"{folder}: the scan {case!r} has {counts[case]} channels; {because} {wanted}.")
    return [
        Files(case, case, tuple(paths[f"{case}_{channel:04d}"] for channel in range(wanted)), None) for case in sorted(counts)
    ]


def listed_scans(table: Path, grouping: Grouping) -> tuple[tuple[str, ...], list[Files], dict[str, str]]:
    """The scans of a table (`.csv` or `.tsv`): columns `case`, one for each channel, and perhaps `label`, `subject` and `group`.

    Paths are relative to the table's folder.

    Args:
      table: its path.
      grouping: which columns make the groups instead of `group`; they are no channels.

    Returns:
      Names of the channels, the scans, and each subject's group where the table tells one.

    Raises:
      UserError: a column, a value or a file is missing, or a case is there twice.
    """
    names, rows = read_rows(table, "," if table.suffix == ".csv" else "\t")
    columns = columns_named(grouping.column or "group", names)
    if (missing := set(columns) - set(names)) and (grouping.column or grouping.bins):
        raise UserError(
            f"{table}: has no column {min(missing)!r}; its columns are {', '.join(map(repr, names))}. See --group-column."
        )
    known = ("case", "label", "subject", "group", *columns)
    channels = tuple(name for name in names if name not in known)
    if "case" not in names or not channels:
        raise UserError(
            f"{table}: expected a column 'case' and one for each channel, such as 'image'; the columns are {', '.join(names) or 'none'}."
        )
    cases, values = [], {}
    for line, row in rows:
        if not (id_ := (row.get("case") or "").strip()):
            raise UserError(f"{table}, line {line}: the column 'case' is empty.")
        images = []
        for channel in channels:
            if not (given := (row.get(channel) or "").strip()):
                raise UserError(f"{table}, line {line}: the column {channel!r} is empty; every case needs every channel.")
            images.append(_file(table, line, given))
        label = (row.get("label") or "").strip()
        subject = (row.get("subject") or "").strip() or id_
        cases.append(Files(id_, subject, tuple(images), _file(table, line, label) if label else None))
        if not missing:
            values[subject] = {name: (row.get(name) or "").strip() for name in columns}
            if grouping.column and (empty := [name for name, value in values[subject].items() if value in MISSING]):
                raise UserError(
                    f"{table}, line {line}: the case {id_!r} has no group in the column {empty[0]!r}. Fill it in or leave the case out."
                )
    if twice := [id_ for id_, count in Counter(case.id for case in cases).items() if count > 1]:
        raise UserError(f"{table}: lists the case {twice[0]!r} twice. Ids must differ.")
    if not cases:
        raise UserError(f"{table}: lists no case.")
    if grouping.column or grouping.bins:
        return channels, cases, make_groups(table, values, columns, grouping.bins)
    return channels, cases, {subject: of["group"] for subject, of in values.items()}


def _file(table: Path, line: int, given: str) -> Path:
    path = path_within(table.parent, given, f"{table}, line {line}")
    if not path.is_file():
        raise UserError(f"{table}, line {line}: {path}: {why_no_file(path)}.")
    return path
