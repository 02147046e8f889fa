"""A reader's worklist as one HTML page that needs nothing else: what to do now, and why each case was asked for."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxal.report.looks import STYLE
from jaxal.worklists.items import Item, Worklist, in_order
from jaxal.worklists.looks import COPY_SCRIPT, PAGE_STYLE
from jaxal.worklists.slicer import console_line
from jaxal.worklists.tables import commands, line

STATES = {"asked": "to do", "in work": "begun", "delivered": "handed in"}


def page_text(worklist: Worklist, folder: Path | None, pictures: Mapping[str, bytes]) -> str:
    """The page; what came back comes first, what is handed in last.

    Args:
      worklist: of one reader.
      folder: that the page and the other worklists will lie in; None of a page that is served, whose reader may see no folder.
      pictures: WebP images by case id, of those that are not handed in; a case without one is shown without.
    """
    items = in_order(worklist.items)
    body = [
        f"<h1>{html.escape(worklist.project)}: worklist of {html.escape(worklist.reader)}</h1>",
        f'<p class="lead">{html.escape(lead(worklist))}</p>',
        _how(worklist, folder) if items else "",
        f'<div class="cards {worklist.kind}">',
        *(_card(item, worklist, folder, pictures.get(item.case), item is items[0]) for item in items),
        "</div>",
    ]
    return whole_page(f"{worklist.project}: {worklist.reader}", "\n".join(body), PAGE_STYLE, COPY_SCRIPT)


def whole_page(title: str, body: str, style: str, script: str) -> str:
    """An HTML page around a body, which loads nothing from anywhere.

    Args:
      title: of the window.
      body: HTML.
      style: besides the report's.
      script: run at its end.
    """
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{html.escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}{style}</style></head>'
        f"<body><main>{body}</main><script>{script}</script></body></html>\n"
    )


def lead(worklist: Worklist) -> str:
    """What the reader should do now, in a sentence or two."""
    items = in_order(worklist.items)
    left = [item for item in items if item.state != "delivered"]
    if not left:
        handed_in = f" There {_counted(len(items))} handed in and being checked; thank you." if items else ""
        return f"Nothing to do now.{handed_in}"
    first = left[0]
    verb = "draw" if worklist.kind == "scans" else "choose a class for"
    if first.returned:
        begin = f"Start with {first.case}, which came back: {first.returned[0]}"
        begin += "" if begin.endswith((".", "!", "?")) else "."
    elif first.state == "in work":
        begin = f"Go on with {first.case}, which you have begun."
    else:
        begin = f"Start with {first.case}."
    return f"{begin} There {_counted(len(left))} to {verb}{_in_all(left)}."


def _counted(count: int) -> str:
    return "is 1 case" if count == 1 else f"are {count} cases"


def _in_all(items: Sequence[Item]) -> str:
    known = [item.minutes for item in items if item.minutes is not None]
    if not known:
        return ""
    told = "about" if len(known) == len(items) else "at least"
    return f", {told} {duration(sum(known))}" + (" in all" if len(items) > 1 else "")


def duration(minutes: float) -> str:
    """Minutes as people say them: whole ones, below one in steps of five seconds, from two hours on in half hours."""
    if minutes < 0.95:
        return f"{max(5, 5 * round(12 * minutes))} seconds"
    if minutes < 120:
        whole = round(minutes)
        return f"{whole} minute{'' if whole == 1 else 's'}"
    return f"{round(minutes / 30) / 2:g} hours"


def _how(worklist: Worklist, folder: Path | None) -> str:
    """How to open the cases and how to hand them in; folded up, since a reader needs it once."""
    shown = "".join(
        f'<li><span class="swatch" style="background:{colour}"></span>{html.escape(name)}</li>'
        for name, colour in worklist.classes
    )
    classes = f'<ul class="classes" aria-label="Classes">{shown}</ul>'
    if worklist.kind == "images":
        elsewhere = (
            ""
            if folder is None
            else " For Label Studio, import <code>labelstudio.json</code> into a project with the labelling interface of <code>labelstudio.xml</code>."
        )
        return f'<p><a href="click.html">Open the page to choose the classes</a>. It keeps what you did when you close it.{elsewhere}</p>{classes}'
    if folder is None:
        return (
            f"{classes}<details><summary>How to open a case and hand it in</summary><p>In 3D Slicer, open <b>Edit → Application Settings → MONAI Label"
            f'</b> and give as server this address:</p><div class="copy"><code id="server">the address of this page, up to /readers/</code>'
            f'<button type="button">Copy</button></div><p>As <b>Client/User-ID</b> give <code>{html.escape(worklist.reader)}</code>. Then open the module '
            f"<b>MONAILabel</b>, press <b>Next Sample</b>, draw, and press <b>Submit Label</b>. Cases come in the order of this page.</p></details>"
            '<script>document.getElementById("server").textContent=location.href.split("/readers/")[0]</script>'
        )
    script, inbox = folder / "slicer_worklist.py", worklist.items[0].result.parent
    ways = [
        f"<b>3D Slicer</b> walks you through this list, shows the network's proposal and has a button to hand in. Start Slicer, press "
        f"<kbd>Ctrl</kbd>+<kbd>3</kbd> to open its Python Console, paste this line and press <kbd>Enter</kbd>:{_copy(console_line(script))}"
        "If this page lies elsewhere on your computer, as on Windows, write the folder as your computer knows it, such as <code>Z:\\…</code>. "
        f"Or in a terminal:{_copy(line('Slicer', '--python-script', script))}On a Mac the program is "
        f"<code>/Applications/Slicer.app/Contents/MacOS/Slicer</code>, on Windows <code>start Slicer</code>.",
        f"<b>MITK Workbench</b>: open this file and accept each task when it is done:{_copy(str(folder / 'worklist.mitk.json'))}"
        "Until version 2025.08, open <code>worklist.mitk-until-2025.08.json</code>.",
        f"<b>Slicer's CART or CaseIterator</b> read this table:{_copy(str(folder / 'worklist.csv'))}",
        f"<b>ITK-SNAP and others</b>: each case below has commands. Whatever you draw with, save it under the case's name as "
        f"<code>.seg.nrrd</code> or <code>.nii.gz</code> into your inbox:{_copy(str(inbox))}",
    ]
    listed = "".join(f"<li>{way}</li>" for way in ways)
    return f'{classes}<details><summary>How to open a case and hand it in</summary><ol class="ways">{listed}</ol></details>'


def _card(item: Item, worklist: Worklist, folder: Path | None, picture: bytes | None, is_first: bool) -> str:
    """A case: why it came back, what there is to see and why it was asked for, and commands to copy."""
    look = "done" if item.state == "delivered" else "back" if item.returned else "next" if is_first else ""
    minutes = "" if item.minutes is None or item.state == "delivered" else f" · about {duration(item.minutes)}"
    parts = [
        f"<h2><span>{item.place}. {html.escape(item.case)}</span><small>{STATES[item.state]}{minutes}</small></h2>",
        *(f'<p class="returned">Returned because {html.escape(_lower(reason))}</p>' for reason in item.returned),
        f'<p class="reason">{html.escape(item.reason)}</p>',
        _parts(item, folder) if item.state != "delivered" else "",
    ]
    if picture and item.state != "delivered":
        parts.append(_figure(item, worklist, picture))
    if worklist.kind == "scans" and item.state != "delivered" and folder is not None:
        slicer, snap, hand_in = commands(item, folder / "labels.txt")
        also = f"When you have saved, hand in:{_copy(hand_in)}" if item.proposal_nifti else ""
        parts.append(
            f"<details><summary>Commands for this case</summary>Look at it in 3D Slicer:{_copy(slicer)}Draw in ITK-SNAP:{_copy(snap)}{also}</details>"
        )
    return f'<section class="card {look}">{"".join(parts)}</section>'


def _parts(item: Item, folder: Path | None) -> str:
    """What of the case is asked for, where that is not all of it, and the file that shows it in any viewer."""
    if not item.parts:
        return ""
    listed = "".join(f"<li>{html.escape(part.words)}</li>" for part in item.parts)
    shown = (
        ""
        if item.mask is None or folder is None
        else f"To see where that is, lay this file over the scan:{_copy(str(item.mask))}"
    )
    return (
        f"<p>Draw all that is there in {'this part' if len(item.parts) == 1 else 'these parts'}, and only there; nothing else is taken:</p>"
        f'<ol class="parts">{listed}</ol>{shown}'
    )


def _figure(item: Item, worklist: Worklist, picture: bytes) -> str:
    told = ""
    if item.parts:
        told = "Through the middle of the first part; white lines frame what is asked for"
        told += ", with the outline of the network's proposal" if item.proposal_nifti else ""
        told += "; below, yellow is where the network is unsure." if item.uncertainty else "."
    elif worklist.kind == "scans" and item.uncertainty:
        told = "Through the most uncertain place, which the lines point at"
        told += "; above with the outline of the network's proposal" if item.proposal_nifti else ""
        told += "; below, yellow is where the network is unsure."
    elif item.proposal_nifti:
        told = "With the outline of the network's proposal."
    data = base64.b64encode(picture).decode()
    return (
        f'<figure class="picture {worklist.kind}"><img loading="lazy" alt="{html.escape(item.case)}" src="data:image/webp;base64,{data}">'
        f"{f'<figcaption>{told}</figcaption>' if told else ''}</figure>"
    )


def _copy(text: str) -> str:
    return f'<div class="copy"><code>{html.escape(text)}</code><button type="button">Copy</button></div>'


def _lower(reason: str) -> str:
    """A sentence as it goes on after "because"; abbreviations such as "CT" stay as they are."""
    return reason[:1].lower() + reason[1:] if reason[1:2].islower() or reason[1:2] == " " else reason
