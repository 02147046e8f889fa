"""The script that makes a worklist of 3D Slicer: a template, filled with a reader's cases."""

from importlib import resources
from pathlib import Path
from typing import Any

from jaxal.worklists.items import Item, Worklist, in_order, json_for_script, relative
from jaxal.worklists.tables import with_ending

PLACE = 'WORKLIST = {"project": "", "reader": "", "classes": [], "items": []}\n'


def script_text(worklist: Worklist, folder: Path) -> str:
    """One file for `Slicer --python-script`, in plain ASCII, that needs nothing else.

    Args:
      worklist: of one reader, of scans.
      folder: that the script will lie in. It looks for files at their whole path first, then relative to itself, because a reader's computer
        may have the same disk under another name.
    """
    template = resources.files("jaxal.worklists").joinpath("slicer_script.py").read_text(encoding="ascii")
    filled = {
        "project": worklist.project,
        "reader": worklist.reader,
        "classes": [[entry.name, [value / 255 for value in entry.rgb]] for entry in worklist.classes],
        "items": [_item(item, folder) for item in in_order(worklist.items)],
    }
    before, after = template.split(PLACE)
    return f"{before}WORKLIST = json.loads(r'''{json_for_script(filled)}''')\n{after}"


def console_line(script: Path) -> str:
    """What to paste into Slicer's Python Console (Ctrl+3) where nobody wants a terminal."""
    return f"import pathlib; __file__ = {str(script)!r}; exec(pathlib.Path(__file__).read_text())"


def _item(item: Item, folder: Path) -> dict[str, Any]:
    def places(path: Path | None) -> list[str] | None:
        return None if path is None else [str(path), relative(path, folder)]

    return {
        "case": item.case,
        "images": [[channel, places(path)] for channel, path in item.images.items()],
        "proposal": places(item.proposal_seg),
        "uncertainty": places(item.uncertainty),
        "parts": [[part.words, list(part.middle_mm)] for part in item.parts],
        "mask": places(item.mask),
        "result": places(with_ending(item.result, ".seg.nrrd")),
        "answer": places(with_ending(item.result, ".json")),
        "unfinished": places(with_ending(item.unfinished, ".seg.nrrd")),
        "notes": places(with_ending(item.unfinished, ".json")),
        "reason": item.reason,
        "returned": list(item.returned),
        "minutes": item.minutes,
        "reading": item.reading,
        "delivered": item.state == "delivered",
    }
