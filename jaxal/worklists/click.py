"""One HTML page to choose the class of each image, by mouse, finger or keyboard; it works from disk and when it is served."""

import base64
import html
from collections.abc import Mapping

from jaxal.worklists.answers import REFUSALS
from jaxal.worklists.click_looks import CLICK_SCRIPT, CLICK_STYLE
from jaxal.worklists.items import Worklist, check_classes, in_order, json_for_script
from jaxal.worklists.page import whole_page


def click_text(worklist: Worklist, images: Mapping[str, tuple[bytes, int]]) -> str:
    """The page. Cases that were handed in are not on it.

    From disk it keeps the answers in the browser and gives them as a file. When it is served over HTTP it posts each, as JSON
    `{"case", "class", "seconds", "refusal"}`, to `answer` beside it, five seconds after the choice, so that a slip can be undone before. What could not be
    posted stays in the browser and is tried again.

    Args:
      worklist: of one reader, of images with one class.
      images: of each case, a WebP image and how many pixels its longer side has in the file.

    Raises:
      UserError: a class's name cannot be shown or given back.
    """
    check_classes(worklist.classes)
    cases = [
        {
            "case": item.case,
            "image": "data:image/webp;base64," + base64.b64encode(images[item.case][0]).decode(),
            "pixels": images[item.case][1],
            "reason": item.reason,
            "returned": list(item.returned),
            "reading": item.reading,
            "guess": item.guess.name if item.guess else "",
        }
        for item in in_order(worklist.items)
        if item.state != "delivered"
    ]
    data = {
        "project": worklist.project,
        "key": worklist.key,
        "reader": worklist.reader,
        "classes": list(worklist.classes),
        "refusals": list(REFUSALS),
        "cases": cases,
    }
    body = (
        f'<p class="lead" id="lead" role="status"></p>'
        f'<div id="work"><figure><img id="image" alt=""><figcaption id="told"></figcaption></figure>'
        f'<div id="side"><p id="returned" class="returned"></p><p id="reason"></p><div id="classes" role="group" aria-label="Classes"></div>'
        f'<div id="refusals" role="group" aria-label="No class"></div>'
        f'<div id="moves"><button type="button" id="before">← Previous</button><button type="button" id="after">Next →</button>'
        f'<button type="button" id="undo" title="Backspace">Undo ⌫</button></div><p id="state" role="status"></p></div></div>'
        f'<div id="files"><button type="button" id="json">Save answers as JSON</button><button type="button" id="csv">Save answers as CSV</button></div>'
        f"<noscript>This page needs JavaScript; a browser that forbids it can use Label Studio instead.</noscript>"
        f'<script type="application/json" id="data">{json_for_script(data)}</script>'
    )
    title = f"{worklist.project}: {worklist.reader}"
    return whole_page(title, f"<h1>{html.escape(title)}</h1>{body}", CLICK_STYLE, CLICK_SCRIPT)
