"""All worklists of a reader, written into the reader's folder."""

from collections.abc import Mapping
from pathlib import Path

from jaxal.files import write_text
from jaxal.worklists import click, label_studio, page, pictures, slicer, tables
from jaxal.worklists.items import Worklist, check_classes


def write_worklists(
    worklist: Worklist,
    folder: Path,
    drawn: Mapping[str, bytes] | None = None,
    large: Mapping[str, tuple[bytes, int]] | None = None,
) -> list[Path]:
    """Writes every form of a worklist, each file as a whole, and makes the folders for answers and for unfinished work.

    Args:
      worklist: of one reader.
      folder: of the reader; absolute.
      drawn: pictures of cases by id that are known already, because a scan takes seconds to draw; the others are drawn. An empty
        one is of a scan that cannot be drawn.
      large: images to choose a class for, as `pictures.click_image` makes them, that are known already; the others are made.

    Returns:
      the files.

    Raises:
      UserError: a class's name or colour cannot be written, a scan or an image cannot be read, or the disk is full.
    """
    check_classes(worklist.classes)
    for item in worklist.items:
        item.result.parent.mkdir(parents=True, exist_ok=True)
        item.unfinished.parent.mkdir(parents=True, exist_ok=True)
    texts = {"worklist.csv": tables.csv_text(worklist)}
    known = dict(drawn or {})
    left = [item for item in worklist.items if item.state != "delivered"]
    if worklist.kind == "scans":
        shown = {
            item.case: known[item.case] if item.case in known else pictures.picture_of(item, worklist.classes) for item in left
        }
        texts["worklist.mitk.json"] = tables.mitk_text(worklist, folder)
        texts["worklist.mitk-until-2025.08.json"] = tables.mitk_text(worklist, folder, tables.MITK_OLD_LABELS)
        texts[tables.MITK_LABELS] = tables.mitk_labels_text(worklist.classes)
        texts[tables.MITK_OLD_LABELS] = tables.mitk_old_labels_text(worklist.classes)
        texts["labels.txt"] = tables.labels_text(worklist.classes)
        texts["slicer_worklist.py"] = slicer.script_text(worklist, folder)
    else:
        there = dict(large or {})
        images = {item.case: there.get(item.case) or pictures.click_image(item.image) for item in left}
        shown = {item.case: known[item.case] if item.case in known else pictures.thumbnail(item.image) for item in left}
        texts["labelstudio.json"] = label_studio.tasks_text(worklist)
        texts["labelstudio.xml"] = label_studio.interface_text(worklist.classes)
        texts["click.html"] = click.click_text(worklist, images)
    texts["worklist.html"] = page.page_text(worklist, folder, shown)
    for name, text in texts.items():
        write_text(folder / name, text)
    return [folder / name for name in texts]
