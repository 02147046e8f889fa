"""The reader's worklist in 3D Slicer: opens a case, keeps unfinished work, hands in.

To start it: `Slicer --python-script slicer_worklist.py`, or paste the line from the worklist page into Slicer's Python Console.
This file is a template, too: `jaxal.worklists.slicer` puts a reader's cases in place of the line that begins with `WORKLIST =`. It
runs in Slicer's own Python (3.9 or later), needs no other package, and is plain ASCII, because Slicer reads it in the system's encoding.

Calls of Slicer that it relies on, by where they are documented:
  Script repository, segmentations.md: `slicer.util.loadSegmentation`, `slicer.util.saveNode`, `GetSegmentIdBySegmentName`,
    `GetSegment(id).SetColor`, `GetBinaryLabelmapRepresentation(id, slicer.vtkOrientedImageData())`,
    `SetReferenceImageGeometryParameterFromVolumeNode`, `slicer.modules.segmenteditor.widgetRepresentation().self().editor`.
  Script repository, gui.md: `slicer.util.selectModule`, `slicer.util.mainWindow`, the node "Crosshair" with
    `CursorPositionModifiedEvent`, `GetStorageNode`, `AddDefaultStorageNode`, `SetFileName`, `--python-script`.
  Script repository, volumes.md, models.md, markups.md: `loadVolume` with `colorNodeID`, "vtkMRMLColorTableNodeWarm1", `JumpSlicesToLocation`.
  slicer/util.py: properties `name`, `show`, `singleFile`, `labelmap` of `loadVolume`; `setSliceViewerLayers`, `infoDisplay`, `errorDisplay`.
  API (apidocs.slicer.org): `vtkSegmentation.AddEmptySegment(id, name, color)`, `vtkOrientedImageData.IsEmpty`,
    `vtkMRMLStorableNode.GetModifiedSinceRead`, `qMRMLSegmentEditorWidget.setSegmentationNode`, `.setSourceVolumeNode` (before Slicer 5.2
    `.setMasterVolumeNode`), `vtkMRMLSegmentationStorageNode` (`saveNode` writes the whole grid of the image, not the drawn part).
  Qt, as Slicer's own DICOM module uses it: `qt.QDockWidget`, `mainWindow().addDockWidget`, `slicer.app.connect("aboutToQuit()", ...)`.
"""

import datetime
import json
import os
import time

WORKLIST = {"project": "", "reader": "", "classes": [], "items": []}
HERE = os.path.dirname(os.path.abspath(globals().get("__file__", "slicer_worklist.py")))
IDLE_SECONDS = 300.0  # without a move of the mouse or a change, after which the clock stands still
KEEP_SECONDS = 180.0  # between two times that unfinished work is kept


class Clock:
    """Seconds of work: those in which the reader does something, and up to five minutes after it."""

    def __init__(self, seconds=0.0, now=time.monotonic):
        self.seconds, self._now, self._last = float(seconds), now, now()

    def touch(self):
        """The reader did something."""
        here = self._now()
        self.seconds += min(here - self._last, IDLE_SECONDS)
        self._last = here


def located(places):
    """Where a file is: at its whole path, else at that relative to this script, as on a computer with other drives; None if nowhere."""
    if not places:
        return None
    candidates = [places[0], os.path.normpath(os.path.join(HERE, places[1]))]
    return next((path for path in candidates if os.path.exists(path)), None)


def target(places):
    """The place to write to: the whole path where its folder is there, else the one beside this script; its folder is made."""
    candidates = [places[0], os.path.normpath(os.path.join(HERE, places[1]))]
    path = next((path for path in candidates if os.path.isdir(os.path.dirname(path))), candidates[-1])
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return path


def write_aside(path, write):
    """Replaces a file by what `write(path)` writes, as a whole: a file that is half written must never be seen in the inbox."""
    aside = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        if os.path.exists(aside):
            os.remove(aside)


def write_json(path, value):
    """Replaces a JSON file."""

    def write(aside):
        with open(aside, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)

    write_aside(path, write)


def read_json(path):
    """A JSON file; empty if there is none or if it is damaged, because only the time that was spent is in it."""
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
        return value if isinstance(value, dict) else {}
    except (OSError, ValueError):
        return {}


def save_here(node, path):
    """Makes Slicer's own "Save" write to a path, because a reader who presses it must not overwrite the proposal, or fill the inbox."""
    if node.GetStorageNode() is None:
        node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(path)


def write_segmentation(slicer, node, path, own):
    """Writes a segmentation as `.seg.nrrd`, on the grid of the image; OSError if Slicer could not. `own` is where "Save" writes to."""

    def write(aside):
        # The dictionary is given because the default one of `saveNode` is shared by all calls.
        if not slicer.util.saveNode(node, aside, {}):
            raise OSError("3D Slicer could not write " + path + ". Is the disk full, or the folder read-only?")

    try:
        write_aside(path, write)
    finally:
        save_here(node, own)


def load_volumes(slicer, item):
    """Loads all channels of a case, the first one to draw on; OSError if a file is not there."""
    nodes = []
    for channel, places in item["images"]:
        path = located(places)
        if path is None:
            raise OSError("The scan " + places[0] + " is not there. Ask who runs the project whether it was moved.")
        name = item["case"] + " " + channel
        nodes.append(slicer.util.loadVolume(path, {"name": name, "show": False, "singleFile": True}))
    return nodes


def load_segmentation(slicer, item, classes, volume):
    """Opens the reader's unfinished work, else the proposal, else an empty segmentation, with a named and coloured segment a class."""
    path = located(item["unfinished"]) or located(item["proposal"])
    if path:
        node = slicer.util.loadSegmentation(path, {"name": item["case"]})
    else:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", item["case"])
        node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation = node.GetSegmentation()
    for name, colour in classes:
        segment = segmentation.GetSegmentIdBySegmentName(name)
        if segment:
            segmentation.GetSegment(segment).SetColor(*colour)
        else:
            segmentation.AddEmptySegment("", name, colour)
    save_here(node, target(item["unfinished"]))
    return node


def segment_ids(node):
    """The ids of a segmentation's segments."""
    segmentation = node.GetSegmentation()
    return [segmentation.GetNthSegmentID(place) for place in range(segmentation.GetNumberOfSegments())]


def is_empty(slicer, node):
    """Whether no segment has a voxel."""
    for segment in segment_ids(node):
        image = slicer.vtkOrientedImageData()
        there = node.GetBinaryLabelmapRepresentation(segment, image)
        if there and not image.IsEmpty() and image.GetScalarRange()[1] > 0:
            return False
    return True


def why_not(slicer, node, classes, nothing_to_see):
    """Why a case cannot be handed in as it is, in a sentence; empty if it can. `nothing_to_see` is what the reader says."""
    known, segmentation = {name for name, _ in classes}, node.GetSegmentation()
    strange = [name for name in (segmentation.GetSegment(id_).GetName() for id_ in segment_ids(node)) if name not in known]
    if strange:
        return (
            'The segment "' + strange[0] + '" is none of the classes (' + ", ".join(name for name, _ in classes) + "). "
            "Rename it or remove it; double click its name to rename it."
        )
    empty = is_empty(slicer, node)
    if empty and not nothing_to_see:
        return 'Nothing is drawn. If that is right, tick "Nothing to see here" and hand in again.'
    if nothing_to_see and not empty:
        return 'Something is drawn, and "Nothing to see here" is ticked. Untick it, or remove what is drawn.'
    return ""


def show_case(slicer, volumes, segmentation):
    """Shows a case in the slice views and opens it in the Segment Editor."""
    other = volumes[1] if len(volumes) > 1 else None
    slicer.util.setSliceViewerLayers(background=volumes[0], foreground=other, foregroundOpacity=0.0, fit=True)
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    set_volume = editor.setSourceVolumeNode if hasattr(editor, "setSourceVolumeNode") else editor.setMasterVolumeNode
    set_volume(volumes[0])


class Session:
    """A reader's way through the worklist: one case is open, its clock runs, its work is kept."""

    def __init__(self, slicer, worklist=None, now=time.monotonic):
        self.slicer, self.worklist, self._now = slicer, WORKLIST if worklist is None else worklist, now
        self.items, self.place, self.part = self.worklist["items"], -1, -1
        self.volumes, self.segmentation, self.unsure, self.asked, self.clock = [], None, None, None, Clock(now=now)

    @property
    def item(self):
        """The case that is open."""
        return self.items[self.place]

    def notes(self, item):
        """What was kept of a case besides its segmentation: seconds, comment, whether it was handed in."""
        path = located(item["notes"])
        return read_json(path) if path else {}

    def first_open(self):
        """The place of the first case that is still to be drawn; the first of all if there is none."""
        return next((place for place, item in enumerate(self.items) if not self.is_done(item)), 0)

    def is_done(self, item):
        """Whether a case was handed in, and has not come back since."""
        notes = self.notes(item)
        return item["delivered"] or (bool(notes.get("handed_in")) and notes.get("returned") == item["returned"])

    def open(self, place, comment=""):
        """Closes the case that is open, and opens another; an error leaves none open, and the way on is free."""
        self.close(comment)
        self.place, self.part, item = place, -1, self.items[place]
        self.volumes = load_volumes(self.slicer, item)
        self.segmentation = load_segmentation(self.slicer, item, self.worklist["classes"], self.volumes[0])
        self.clock = Clock(self.notes(item).get("seconds", 0.0), self._now)
        show_case(self.slicer, self.volumes, self.segmentation)
        if item["parts"]:
            self.next_part()

    def next_part(self):
        """Colours what is asked for, where that is not all of the case, and moves the slice views to the next part of it."""
        parts, path = self.item["parts"], located(self.item["mask"])
        if path and self.asked is None:
            self.asked = self.slicer.util.loadVolume(path, {"name": "asked for", "show": False, "labelmap": True})
            self.slicer.util.setSliceViewerLayers(label=self.asked, labelOpacity=0.2)
        self.part = (self.part + 1) % len(parts)
        self.slicer.modules.markups.logic().JumpSlicesToLocation(*parts[self.part][1], True)

    def show_unsure(self, shown):
        """Lays the network's uncertainty over the image, or takes it away."""
        path = located(self.item["uncertainty"])
        if shown and path and self.unsure is None:
            colours = {"name": "unsure", "show": False, "singleFile": True, "colorNodeID": "vtkMRMLColorTableNodeWarm1"}
            self.unsure = self.slicer.util.loadVolume(path, colours)
        other = self.unsure if shown else self.volumes[1] if len(self.volumes) > 1 else None
        self.slicer.util.setSliceViewerLayers(foreground=other, foregroundOpacity=0.4 if shown else 0.0)

    def keep(self, comment="", handed_in=""):
        """Keeps unfinished work, so that it is there when the case is opened again; only what changed is written."""
        if self.segmentation is None:
            return
        if self.segmentation.GetModifiedSinceRead():
            own = target(self.item["unfinished"])
            write_segmentation(self.slicer, self.segmentation, own, own)
        earlier = self.notes(self.item)
        notes = {"case": self.item["case"], "seconds": round(self.clock.seconds, 1), "comment": comment}
        notes["handed_in"] = handed_in or earlier.get("handed_in", "")
        notes["returned"] = self.item["returned"] if handed_in else earlier.get("returned", [])
        write_json(target(self.item["notes"]), notes)

    def hand_in(self, comment="", nothing_to_see=False):
        """Writes the answer to the inbox; returns why it cannot be handed in, or nothing.

        The notes come first, because the segmentation is taken as soon as it is seen.
        """
        if self.segmentation is None:
            return "No case is open."
        problem = why_not(self.slicer, self.segmentation, self.worklist["classes"], nothing_to_see)
        if problem:
            return problem
        self.clock.touch()
        when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")  # noqa: UP017
        seconds = self.clock.seconds
        answer = {
            "case": self.item["case"],
            "reader": self.worklist["reader"],
            "reading": self.item["reading"],
            "comment": comment,
        }
        answer.update({"empty": bool(nothing_to_see), "seconds": round(seconds, 1), "minutes": round(seconds / 60, 2)})
        answer.update({"handed_in": when, "program": "3D Slicer"})
        self.keep(comment)
        write_json(target(self.item["answer"]), answer)
        write_segmentation(self.slicer, self.segmentation, target(self.item["result"]), target(self.item["unfinished"]))
        self.keep(comment, when)
        return ""

    def close(self, comment=""):
        """Keeps the work on the case that is open and takes the case away."""
        if self.segmentation is not None:
            self.clock.touch()
            self.keep(comment)
        for node in filter(None, [*self.volumes, self.segmentation, self.unsure, self.asked]):
            self.slicer.mrmlScene.RemoveNode(node)
        self.volumes, self.segmentation, self.unsure, self.asked = [], None, None, None


class Panel:
    """The window beside the images: what is asked, and buttons."""

    def __init__(self, slicer, qt, session):
        self.slicer, self.session = slicer, session
        window = slicer.util.mainWindow()
        self.dock = qt.QDockWidget("Worklist", window)
        self.dock.setObjectName("JaxalWorklist")
        inside = qt.QWidget()
        rows = qt.QVBoxLayout(inside)
        self.told, self.comment, self.nothing = qt.QLabel(), qt.QLineEdit(), qt.QCheckBox("Nothing to see here")
        self.unsure, self.next_part = qt.QCheckBox("Show where the network is unsure"), qt.QPushButton("Next part")
        self.told.setTextFormat(qt.Qt.PlainText)
        self.told.setWordWrap(True)
        self.comment.setPlaceholderText("Comment, without patients' names")
        hand_in, before, after = qt.QPushButton("Hand in"), qt.QPushButton("Previous case"), qt.QPushButton("Next case")
        for widget in (self.told, self.next_part, self.unsure, self.nothing, self.comment, hand_in, before, after):
            rows.addWidget(widget)
        rows.addStretch(1)
        hand_in.connect("clicked()", self.hand_in)
        before.connect("clicked()", lambda: self.go(-1))
        after.connect("clicked()", lambda: self.go(1))
        self.unsure.connect("toggled(bool)", session.show_unsure)
        self.next_part.connect("clicked()", session.next_part)
        self.dock.setWidget(inside)
        window.addDockWidget(qt.Qt.RightDockWidgetArea, self.dock)
        self.timer = qt.QTimer()
        self.timer.setInterval(int(1000 * KEEP_SECONDS))
        self.timer.connect("timeout()", self.keep)
        self.timer.start()
        slicer.app.connect("aboutToQuit()", self.keep)
        crosshair = slicer.util.getNode("Crosshair")
        crosshair.AddObserver(slicer.vtkMRMLCrosshairNode.CursorPositionModifiedEvent, lambda *_: session.clock.touch())

    def keep(self):
        """Keeps unfinished work; says so if it cannot."""
        try:
            self.session.keep(self.comment.text)
        except OSError as error:
            self.slicer.util.errorDisplay("Your work could not be kept: " + str(error))

    def end(self):
        """Keeps the work and takes the window away, since the script was started once more."""
        self.session.close(self.comment.text)
        self.timer.stop()
        self.dock.deleteLater()

    def go(self, step):
        """Goes to the next or the previous case."""
        self.show(min(max(self.session.place + step, 0), len(self.session.items) - 1))

    def show(self, place):
        """Opens a case and says what is asked."""
        try:
            self.session.open(place, self.comment.text)
        except (OSError, RuntimeError) as error:
            self.slicer.util.errorDisplay(str(error))
            return
        self.told.setText(told(self.session.item, place, len(self.session.items)))
        self.comment.setText(self.session.notes(self.session.item).get("comment", ""))
        self.nothing.setChecked(False)
        self.unsure.setChecked(False)
        self.unsure.setVisible(located(self.session.item["uncertainty"]) is not None)
        self.next_part.setVisible(len(self.session.item["parts"]) > 1)

    def hand_in(self):
        """Hands in, and opens the next case."""
        try:
            problem = self.session.hand_in(self.comment.text, self.nothing.isChecked())
        except OSError as error:
            problem = "It was not handed in: " + str(error)
        if problem:
            self.slicer.util.errorDisplay(problem)
        elif self.session.place + 1 < len(self.session.items):
            self.go(1)
        else:
            self.slicer.util.infoDisplay("Handed in. That was the last case of this list. Thank you!")


def told(item, place, count):
    """What a reader is told of a case."""
    lines = ["Case " + item["case"] + " (" + str(place + 1) + " of " + str(count) + ")"]
    lines += ["It came back: " + reason for reason in item["returned"]]
    lines += [item["reason"], *("Draw only in " + words + "." for words, _ in item["parts"])]
    if item["minutes"] is not None:
        lines.append("About " + str(max(1, round(item["minutes"]))) + " minutes.")
    return "\n\n".join(lines)


def main():
    """Starts the worklist in the Slicer that runs this."""
    import qt
    import slicer

    session = Session(slicer)
    if not session.items:
        slicer.util.infoDisplay("Nothing is asked of you now.")
        return
    if hasattr(slicer, "jaxal_worklist"):
        slicer.jaxal_worklist.end()
    slicer.jaxal_worklist = Panel(slicer, qt, session)  # Slicer keeps it: a panel that nothing refers to would be gone at once
    slicer.jaxal_worklist.show(session.first_open())


if __name__ == "__main__":
    main()
