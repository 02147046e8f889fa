"""A desk without a project: cases of a few bytes, labels that are taken as they come, and a log on disk that survives a kill."""

import hashlib
import html
import json
import os
import threading
import time
from pathlib import Path

from jaxal.labels.refusals import Note, Refused
from jaxal.server.desk import Counts, Entry, Image, Receipt, UnknownCase, Version
from jaxal.server.uploads import clear

READERS = {"anna": "reader", "ben": "reader", "carol": "reviewer"}
CLASSES = ("liver", "tumour")
EMPTY, WRONG = b"empty", b"wrong"  # what labels begin with that are refused


def content_of(case):
    """The bytes that stand for a scan."""
    return f"scan of {case}".encode() * 1000


class FakeDesk:
    """See `jaxal.server.desk.Desk`. Cases go to whoever asks first."""

    def __init__(self, folder, cases=("case_001", "case_002", "case_003"), readers=READERS, pause=0.0, clear_uploads=True):
        self.folder = Path(folder)
        self.name = "liver"
        self.classes = CLASSES
        self.uploads = self.folder / "uploads"
        self.pause = pause  # seconds that a label takes to be checked
        self.seen = []  # of all that was handed in: what the server said of it, and the bytes
        self._ids = list(cases)
        self._readers = dict(readers)
        self._lock = threading.RLock()
        self._stored = self.folder / "labels"
        self._log = self.folder / "log.jsonl"
        if clear_uploads:
            clear(self.uploads)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stored.mkdir(exist_ok=True)
        for place, case in enumerate(self._ids):
            self._path(place, "image").write_bytes(content_of(case))
            self._path(place, "proposal").write_bytes(b"proposal")
        self.unproposed = set()
        self.events = [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []

    def _path(self, place, what):
        return self.folder / f"{what}{place}.nii.gz"

    def _add(self, **event):
        with self._lock, self._log.open("a") as file:
            file.write(json.dumps(event) + "\n")
            file.flush()
            os.fsync(file.fileno())
            self.events.append(event)

    def of(self, kind):
        with self._lock:
            return [event for event in self.events if event["kind"] == kind]

    def roles(self):
        return dict(self._readers)

    def _completed(self):
        return {event["case"] for event in self.of("label")}

    def counts(self):
        return Counts(len(self._ids), len(self._completed()))

    def accuracy(self):
        return 0.75 if self._completed() else None

    def cases(self):
        completed = self._completed()
        return [Entry(case, self.image(case).file_name, case in completed, case not in self.unproposed) for case in self._ids]

    def current_case(self, reader):
        current = None
        for event in self.events:
            if event.get("reader") == reader:
                current = event["case"] if event["kind"] == "given" else None if event["case"] == current else current
        return current

    def next_case(self, reader):
        with self._lock:
            if current := self.current_case(reader):
                return current
            skipped = {event["case"] for event in self.of("skipped") if event["reader"] == reader}
            held = {self.current_case(name) for name in self._readers}
            left = [case for case in self._ids if case not in self._completed() | skipped | held]
            if not left:
                return None
            self._add(kind="given", reader=reader, case=left[0])
            return left[0]

    def asked_for(self, reader, case):
        return ""

    def skip(self, reader, case):
        self._add(kind="skipped", reader=reader, case=case)

    def image(self, case):
        if case not in self._ids:
            raise UnknownCase("There is no case of that name.")
        digest = hashlib.sha256(content_of(case)).hexdigest()
        return Image(self._path(self._ids.index(case), "image"), f"{case}-{digest[:8]}.nii.gz", digest)

    def proposal(self, case, reader=None):
        return None if case in self.unproposed else self._path(self._ids.index(case), "proposal")

    def deliver(self, handed):
        if handed.case not in {event["case"] for event in self.of("given") if event["reader"] == handed.reader}:
            raise Refused("not-asked", f"{handed.case} was not asked of {handed.reader}.")
        return self._take(handed)

    def submit_version(self, handed):
        return self._take(handed)

    def _take(self, handed):
        content = handed.path.read_bytes()
        self.seen.append((handed, content))
        time.sleep(self.pause)
        if content.startswith(EMPTY) and not handed.empty:
            raise Refused("empty", "The label is empty.")
        if content.startswith(WRONG):
            raise Refused(
                "other-spacing",
                f"{handed.case}: the label is on another grid. Draw it on the scan that you were given. “Spacing” differs.",
            )
        with self._lock:
            number = 1 + sum(event["case"] == handed.case and event["reader"] == handed.reader for event in self.of("label"))
            version = f"{handed.reader}-{number}"
            path = self._stored / f"{self._ids.index(handed.case)}-{version}.seg.nrrd"
            path.write_bytes(content)
            self._add(
                kind="label", reader=handed.reader, case=handed.case, version=version, names=handed.names, time=int(time.time())
            )
        return Receipt(version, f"{handed.case}: taken as {version}.", (Note("unchanged", "It is the proposal."),))

    def answer(self, reader, case, name, seconds, at="", refusal=""):
        if refusal:
            return Receipt("", f"{case}: taken as unusable.")
        if name not in CLASSES:
            raise Refused("unknown-name", f"{name} is none of the classes.")
        self._add(kind="label", reader=reader, case=case, version=f"{reader}-1", names=[name], time=0, seconds=seconds)
        return Receipt(f"{reader}-1", f"{case}: taken.")

    def versions(self):
        versions = {}
        for event in self.of("label"):
            said = [
                other for other in self.of("review") if (other["case"], other["version"]) == (event["case"], event["version"])
            ]
            standing = {"approve": "approved", "flag": "flagged", "comment": ""}[said[-1]["decision"]] if said else ""
            who, text = (said[-1]["reviewer"], said[-1]["text"]) if said else ("", "")
            versions.setdefault(event["case"], []).append(
                Version(event["version"], event["reader"], event["time"], standing, who, text)
            )
        return versions

    def version_file(self, case, version):
        return self._stored / f"{self._ids.index(case)}-{version}.seg.nrrd"

    def review(self, reviewer, case, version, decision, text):
        self._add(kind="review", reviewer=reviewer, case=case, version=version, decision=decision, text=text)

    def status_page(self):
        return f"<!doctype html><title>liver</title><p>{len(self._completed())} of {len(self._ids)}"

    def review_page(self):
        return "<!doctype html><p>Decide"

    def worklist_page(self, reader):
        return f"<!doctype html><p>Worklist of {html.escape(reader)}"

    def click_page(self, reader):
        return f"<!doctype html><p id=state>Click, {html.escape(reader)}"
