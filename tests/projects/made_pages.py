"""Records of a project by hand, and how its pages are looked at."""

import contextlib
import dataclasses
import html.parser

import numpy as np

from jaxal.projects.measures import Unseen
from jaxal.projects.past import Back, Pair, Past, Taken
from jaxal.projects.status import STATUSES, CaseStatus, ReaderStatus, Status, Todo

NASTY = "a<b>&\"c\" 'd' </script>"


class Seen(html.parser.HTMLParser):
    """Tags of a page, addresses that it loads or leads to, and its text; `cells` are the texts of its table cells."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.tags, self.text, self.cells, self.first = [], [], "", [], ""
        self._silent, self._cell, self._lead = False, False, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "srcset", "data", "poster")]
        self._silent = tag in ("style", "script")
        self._lead = ("class", "lead") in attributes and not self.first
        if tag in ("td", "th"):
            self.cells.append("")
            self._cell = True

    def handle_endtag(self, tag):
        self._silent = self._lead = False
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._silent:
            return
        self.text += data
        self.first += data if self._lead else ""
        if self._cell:
            self.cells[-1] += data


def case(number, status="unlabelled", group="", **more):
    known = {"label": "anna-1", "accepted": "2026-03-01T10:00:00+00:00", "minutes": 12.5, "readers": ("anna",), "round": 1}
    fields = {"round": None, "readers": (), "label": None, "accepted": None, "minutes": None, "notes": (), "why": ""}
    fields |= known if status == "labelled" else {"readers": ("anna",), "round": 2} if status in ("asked", "disputed") else {}
    return CaseStatus(f"case_{number:03d}", group, status, **{**fields, **more})


def reader(name="anna", **more):
    fields = {"present": True, "open": 3, "returned": 0, "accepted": 8, "unchanged": 0, "minutes": 12.5, "waiting": 0}
    return ReaderStatus(name, **{**fields, **more})


def unseen(round_=2, level=0.8, cases=8, groups=("",), classes=1, **more):
    rng = np.random.default_rng(round_)
    parts = ("chosen", "random") * (cases // 2) + ("chosen",) * (cases % 2)
    strata = tuple((groups[place // 2 % len(groups)], part == "chosen") for place, part in enumerate(parts))
    sizes = {key: strata.count(key) + (0 if key[1] else 20) for key in strata}
    dice = np.clip(level + rng.normal(0, 0.05, (cases, classes)), 0, 1)
    fields = {"trained_on": 10 * round_, "waiting": 0, "scores": dice}
    ids = tuple(f"case_{place:03d}" for place in range(cases))
    return Unseen(round=round_, cases=ids, parts=parts, strata=strata, sizes=sizes, **{**fields, **more})


def status(cases=None, **more):
    cases = tuple(cases or [case(0, "labelled"), case(1, "asked"), case(2)])
    fields = {
        "name": "liver", "folder": "/data/liver", "at": "2026-03-02T10:00:00+00:00", "cases": cases, "readers": (reader(), reader("ben")),
        "todo": (Todo("Take in what lies in the inboxes (anna 1).", "jaxal take /data/liver"), Todo("Wait for 1 reading of round 2: anna 1.")),
        "counts": {name: sum(one.status == name for one in cases) for name in STATUSES}, "classes": ("tumour",), "score": "Dice", "rounds": 2,
        "unseen": (), "agreement": (), "minutes": 0.0, "guess": 15.0, "size": 10, "least_gain": None, "refused": (),
    }  # fmt: skip
    return Status(**{**fields, **more})


def taken(name="anna", minutes=10.0, drawn=12.0, proposed=10.0):
    return Taken(name, minutes, drawn, proposed, not np.isnan(proposed))


def pair(number=0, dice=(0.9,), readers=("anna", "ben"), volumes=(10.0, 12.0), disputed=False):
    return Pair(f"case_{number:03d}", readers, dice, tuple({"tumour": volume} for volume in volumes), disputed)


def full():
    """A project in the middle: something to show in every part of the page."""
    groups = ("A", "B")
    cases = [case(number, STATUSES[number % 5], groups[number % 2]) for number in range(40)]
    rounds = tuple(unseen(number, 0.6 + 0.04 * number, 12, groups, 2) for number in range(2, 8))
    told = status(
        cases,
        classes=("tumour", "liver"),
        unseen=rounds,
        readers=(reader(unchanged=5), reader("ben", present=False, returned=1), reader("carl", waiting=2)),
        minutes=1234.0,
        refused=(("2026-02-01T10:00:00+00:00", "ben", "case_004", "The label lies on another grid."),),
    )
    rng = np.random.default_rng(0)
    pairs = [
        pair(number, tuple(rng.uniform(0.8, 0.95, 2)), volumes=tuple(rng.uniform(8, 12, 2)), disputed=number == 1)
        for number in range(6)
    ]
    labels = [
        taken(name, float(rng.uniform(8, 16)), float(rng.uniform(9, 14))) for name in ("anna", "ben", "carl") for _ in range(5)
    ]
    back = Back("2026-02-03T10:00:00+00:00", "returned", "anna", "case_003", "The edge is missing.", "Dr. Ott")
    stable = [rng.uniform(0.9, 0.99, (5, 2)) for _ in range(5)]
    past = Past((back,), labels, pairs, dict.fromkeys(range(2, 8), 100.0), stable, 0.2, True)
    return told, past


def replaced(told, **changes):
    return dataclasses.replace(told, **changes)


def nasty():
    told, past = full()
    cases = [case(0, "labelled", NASTY, readers=(NASTY,), label=NASTY, notes=(NASTY,)), case(1, "excluded", "B", why=NASTY)]
    told = replaced(
        told, name=NASTY, folder=NASTY, cases=(*cases, replaced(case(2), id=NASTY)), todo=(Todo(NASTY, NASTY),) * 2,
        readers=(reader(NASTY, unchanged=9), reader("anna")), classes=(NASTY, "liver"), refused=(("2026-02-01T10:00:00", NASTY, NASTY, NASTY),),
        unseen=tuple(unseen(number, 0.8, 12, (NASTY, "B"), 2) for number in (2, 3)), at=NASTY,
    )  # fmt: skip
    back = (Back(NASTY, "skipped", NASTY, NASTY, NASTY, NASTY),)
    pairs = [pair(number, (0.9, 0.8), (NASTY, "ben")) for number in range(3)]
    return told, past._replace(back=back, pairs=pairs, taken=[taken(NASTY)] * 5)


@contextlib.contextmanager
def opened(browser, address, width=1280, **options):
    """A tab with a page, which must give no cause for complaint."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    tab, problems = context.new_page(), []
    tab.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    if not address.startswith("http"):
        tab.on(
            "request", lambda request: problems.append(request.url) if not request.url.startswith(("file:", "data:")) else None
        )
    tab.problems = problems
    yield tab, address
    assert problems == []
    context.close()
