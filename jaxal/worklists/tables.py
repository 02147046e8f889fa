"""Worklists that other programs read as they are: a CSV file, MITK's task list, ITK-SNAP's labels, and the commands that open a case."""

import csv
import html
import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxal.worklists.items import Class, Item, Worklist, channels, check_classes, in_order, relative

# CART takes every column with one of these words in its name for a file of that kind (its README, "The CART Standard Format").
CART_WORDS = ("volume", "segmentation", "markup")
MITK_LABELS, MITK_OLD_LABELS = "mitk_labels.json", "mitk_labels-until-2025.08.json"

SNAP_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""


class Commands(NamedTuple):
    """What to type to work on a case.

    Attributes:
      slicer: opens image and proposal in 3D Slicer.
      snap: makes a copy of the proposal, unless there is one, and opens it in ITK-SNAP.
      hand_in: moves what was saved from ITK-SNAP to the inbox.
    """

    slicer: str
    snap: str
    hand_in: str


def csv_text(worklist: Worklist) -> str:
    """A table for 3D Slicer's extensions CART and CaseIterator, and for people.

    CART reads `uid`, each `volume_<channel>` and `segmentation_proposal`. CaseIterator reads `path`, `image` and `mask`, as its window names
    them from the start; `path` is empty because the paths are whole. Its `ID` names the case while it loads. Where parts of scans are asked for,
    `parts` tells them in words, and `asked_for` is the file that shows them.
    """
    columns = {channel: _volume_column(channel, place) for place, channel in enumerate(channels(worklist))}
    text = io.StringIO()
    head = [
        "uid",
        *columns.values(),
        "segmentation_proposal",
        "ID",
        "path",
        "image",
        "mask",
        "place",
        "state",
        "reason",
        "minutes",
    ]
    of_parts = ["parts", "asked_for"] if any(item.parts for item in worklist.items) else []
    rows = csv.DictWriter(text, [*head, "returned", "result", *of_parts], lineterminator="\n", restval="")
    rows.writeheader()
    for item in in_order(worklist.items):
        proposal = str(item.proposal_seg or item.proposal_nifti or "")
        rows.writerow(
            {column: str(item.images.get(channel, "")) for channel, column in columns.items()}
            | {
                "uid": item.case,
                "segmentation_proposal": proposal,
                "ID": item.case,
                "path": "",
                "image": item.image,
                "mask": proposal,
            }
            | {"place": item.place, "state": item.state, "reason": item.reason, "returned": " ".join(item.returned)}
            | {
                "minutes": "" if item.minutes is None else f"{item.minutes:.1f}",
                "result": f"{item.result}.nii.gz" if worklist.kind == "scans" else "",
            }
            | ({"parts": _words(item), "asked_for": str(item.mask or "")} if of_parts else {})
        )
    return text.getvalue()


def _words(item: Item) -> str:
    return "; ".join(part.words for part in item.parts)


def _volume_column(channel: str, place: int) -> str:
    """A channel's column; its number stands for a name that CART would take for another kind of file."""
    return f"volume_{place + 1 if any(word in channel.lower() for word in CART_WORDS) else channel}"


def mitk_text(worklist: Worklist, folder: Path, labels: str = MITK_LABELS) -> str:
    """MITK's Segmentation Task List, version 1, which its Workbench of 2023.04 and later opens and walks through.

    A case's description is escaped, because MITK shows it as HTML. Cases that were handed in are left out, because MITK takes a file at a
    result's place for a finished task, and what lay in the inbox has been taken from there.

    Args:
      worklist: of one reader.
      folder: that the file will lie in; paths are relative to it.
      labels: name of the file of suggested labels beside it.
    """
    tasks = []
    for item in in_order(worklist.items):
        if item.state == "delivered":
            continue
        where = [f"Draw only in {_words(item)}."] if item.parts else []
        where += [f"To see where that is, add {relative(item.mask, folder)}."] if item.mask else []
        why = " ".join([*(f"Came back: {reason}" for reason in item.returned), item.reason, *where])
        task = {"Name": item.case, "Description": html.escape(why, quote=False), "Image": relative(item.image, folder)}
        if item.proposal_nifti:
            task["Segmentation"] = relative(item.proposal_nifti, folder)
        else:
            task["LabelName"] = worklist.classes[0].name  # of the one label that a new segmentation has, whose value is 1
        tasks.append(task | {"Result": relative(with_ending(item.result, ".nrrd"), folder)})
    whole = {
        "FileFormat": "MITK Segmentation Task List",
        "Version": 1,
        "Name": f"{worklist.project}: {worklist.reader}",
        "Defaults": {"LabelNameSuggestions": labels},
        "Tasks": tasks,
    }
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def mitk_labels_text(classes: Sequence[Class]) -> str:
    """MITK's Label Suggestions, names and colours to choose from for a new label, as its Workbench of 2025.12 and later reads them.

    https://docs.mitk.org/latest/MITKSegmentationStackFormatPage.html
    """
    labels = [{"name": entry.name, "color": list(entry.rgb)} for entry in classes]
    suggestions = {"version": 3, "type": "org.mitk.multilabel.segmentation.suggestions", "groups": [{"labels": labels}]}
    return json.dumps(suggestions, ensure_ascii=False, indent=2) + "\n"


def mitk_old_labels_text(classes: Sequence[Class]) -> str:
    """The same as Workbenches until 2025.08 read them; neither reads the other's."""
    return json.dumps([{"name": name, "color": colour} for name, colour in classes], ensure_ascii=False, indent=2) + "\n"


def labels_text(classes: Sequence[Class]) -> str:
    """ITK-SNAP's label description, whose numbers are the values of the project's label maps.

    Raises:
      UserError: a name that ITK-SNAP cannot hold.
    """
    check_classes(classes)
    lines = []
    for value, entry in enumerate(classes, start=1):
        red, green, blue = entry.rgb
        lines.append(f'{value:5d} {red:5d} {green:4d} {blue:4d}        1  1  1    "{entry.name}"\n')
    return SNAP_HEAD + "".join(lines)


def commands(item: Item, labels: Path) -> Commands:
    """What to type in a Unix shell to open a case, and to hand it in from ITK-SNAP.

    ITK-SNAP saves to the file that it was given, so it is given a copy beside the inbox: one in the inbox would be taken as an answer
    before the reader drew anything.

    Args:
      item: the case.
      labels: ITK-SNAP's label description.
    """
    proposal = [item.proposal_seg] if item.proposal_seg else []  # a `.nii.gz` would be opened as one more scan
    slicer = line("Slicer", *item.images.values(), *proposal)
    draft, answer = with_ending(item.unfinished, ".nii.gz"), with_ending(item.result, ".nii.gz")
    others = [part for path in list(item.images.values())[1:] for part in ("-o", path)]
    snap = line("itksnap", "-g", item.image, *others, "-l", labels)
    if item.proposal_nifti:
        snap = f"test -e {line(draft)} || {line('cp', item.proposal_nifti, draft)}; {snap} {line('-s', draft)}"
    return Commands(slicer, snap, line("mv", draft, answer))


def with_ending(path: Path, ending: str) -> Path:
    """A path with an ending more; `Path.with_suffix` would cut a case's id at its last dot."""
    return path.with_name(path.name + ending)


def line(*parts: str | Path) -> str:
    """A command's parts as a Unix shell takes them."""
    return shlex.join(map(str, parts))
