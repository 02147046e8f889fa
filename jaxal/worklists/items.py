"""What is asked of a reader: plain records that every worklist is written from.

Nothing here knows of a project's log or of its network, and nothing of a file's header gets in: what readers see of a case is its id.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxal.errors import UserError

Kind = Literal["scans", "images"]
State = Literal["asked", "in work", "delivered"]
# Colours that differ for people who see no red or no green, too (Okabe & Ito 2008), brightened for outlines on grey.
COLOURS = ("#e69f00", "#56b4e9", "#00c08b", "#f0e442", "#d55e00", "#cc79a7", "#3f8efc", "#b8b8b8")


class Class(NamedTuple):
    """A class that readers draw, or choose.

    Attributes:
      name: as the project has it; names are the key in all that readers hand in.
      colour: `#rrggbb`.
    """

    name: str
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.colour.removeprefix("#"))
        return red, green, blue


class Guess(NamedTuple):
    """The class that the network thinks an image has.

    Attributes:
      name: of the class.
      probability: that the network gives it, 0 to 1.
    """

    name: str
    probability: float


class AskedPart(NamedTuple):
    """A part of a scan that is to be drawn in, where not all of it is.

    Attributes:
      words: by which a reader finds it (`parts.words_of_part`).
      middle_mm: of it, to the right, to the front and to the head.
    """

    words: str
    middle_mm: tuple[float, ...]


class Item(NamedTuple):
    """A case that a reader is asked for.

    Attributes:
      case: its id.
      images: absolute path of each channel's file, by the channel's name, the one to draw on first.
      result: where the reader's answer goes, in the inbox, without an ending.
      reason: why this case was asked for, in a sentence.
      place: in the reader's list, from 1.
      proposal_seg: the network's proposal as `.seg.nrrd`; None where the reader is to begin with nothing.
      proposal_nifti: the same as `.nii.gz`.
      uncertainty: of the network at each voxel, `.nii.gz` on the case's grid.
      minutes: that the reading will probably take; None where nobody can tell yet.
      returned: why the reader's last answer came back; empty if it did not.
      state: how far the reader is.
      reading: the reader's how-manieth reading of the case this is. A case that came back keeps the number and opens with the reader's
        own work; one that is asked for anew has another and opens afresh.
      guess: the network's, of images with one class; None where readers shall not see one.
      parts: of the scan that are to be drawn in; empty where all of it is.
      mask: of these parts on the scan's own grid, `.nii.gz`: the first has the value 1, the second 2, and so on; None where there are none.
    """

    case: str
    images: Mapping[str, Path]
    result: Path
    reason: str
    place: int
    proposal_seg: Path | None = None
    proposal_nifti: Path | None = None
    uncertainty: Path | None = None
    minutes: float | None = None
    returned: tuple[str, ...] = ()
    state: State = "asked"
    reading: int = 1
    guess: Guess | None = None
    parts: tuple[AskedPart, ...] = ()
    mask: Path | None = None

    @property
    def image(self) -> Path:
        """The file of the first channel."""
        return next(iter(self.images.values()))

    @property
    def unfinished(self) -> Path:
        """Where the reader's unfinished work is kept, without an ending: beside the inbox, since nothing there may be taken as an answer."""
        return self.result.parent.parent / "unfinished" / f"{self.result.name}~{self.reading}"


class Worklist(NamedTuple):
    """All that a reader is asked for.

    Attributes:
      project, reader: their names.
      classes: in the project's order. Of scans the first has the value 1 in a label map, because 0 is what belongs to none of them.
      items: in any order; `in_order` sorts them.
      kind: whether readers draw on scans or choose a class for an image.
      key: tells the project from another of the same name, so that a browser which kept answers does not take them for this one's.
    """

    project: str
    reader: str
    classes: Sequence[Class]
    items: Sequence[Item]
    kind: Kind = "scans"
    key: str = ""


def coloured(names: Sequence[str]) -> tuple[Class, ...]:
    """Classes of these names, each with a colour of its own as far as there are colours."""
    return tuple(Class(name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(names))


def in_order(items: Sequence[Item]) -> list[Item]:
    """What came back first, then what is open, then what is handed in; each by its place."""
    return sorted(items, key=lambda item: (item.state == "delivered", not item.returned, item.place))


def channels(worklist: Worklist) -> tuple[str, ...]:
    """The channels' names, in the order in which the cases have them."""
    return tuple(dict.fromkeys(channel for item in worklist.items for channel in item.images))


def check_classes(classes: Sequence[Class]) -> None:
    """Classes that all readers' programs can write and give back by name.

    Raises:
      UserError: a name is empty, twice there, or has a quotation mark, a line break or another control character, which ITK-SNAP's label
        files cannot hold; or a colour is none.
    """
    names = [entry.name for entry in classes]
    for name, colour in classes:
        if not name.strip():
            raise UserError("A class has no name. Give every class a name of its own.")
        if '"' in name or not name.isprintable():
            raise UserError(
                f"class {name!r}: quotation marks and line breaks get lost in readers' programs. Choose another name."
            )
        if names.count(name) > 1:
            raise UserError(f"class {name!r}: is there twice. Give every class a name of its own.")
        if len(colour) != 7 or colour[0] != "#" or not set(colour[1:].lower()) <= set("0123456789abcdef"):
            raise UserError(f"class {name!r}: {colour!r} is no colour. Write it as #rrggbb.")


def relative(path: Path, folder: Path) -> str:
    """A path as seen from a folder, with `/` between its parts; the whole path where none leads there, as from another drive of Windows."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.as_posix()


def json_for_script(value: Any) -> str:
    """JSON in plain ASCII that can stand in a page's script and in a raw string of Python, whatever names it holds."""
    text = json.dumps(value, ensure_ascii=True, indent=1)
    return text.replace("<", "\\u003c").replace("'", "\\u0027")
