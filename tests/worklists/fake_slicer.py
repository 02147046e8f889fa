"""As much of 3D Slicer as its documentation promises to the worklist script, without a window: what is not here fails as in Slicer."""

import json
import types
from pathlib import Path


class Segment:
    def __init__(self, name, colour=(0.5, 0.5, 0.5), voxels=0):
        self.name, self.colour, self.voxels = name, tuple(colour), voxels

    def GetName(self):
        return self.name

    def SetColor(self, red, green, blue):
        self.colour = (red, green, blue)


class Segmentation:
    def __init__(self):
        self.segments = {}

    def GetNumberOfSegments(self):
        return len(self.segments)

    def GetNthSegmentID(self, place):
        return list(self.segments)[place]

    def GetSegment(self, id_):
        return self.segments[id_]

    def GetSegmentIdBySegmentName(self, name):
        return next((id_ for id_, segment in self.segments.items() if segment.name == name), "")

    def AddEmptySegment(self, id_="", name="", colour=None):
        id_ = id_ or f"Segment_{len(self.segments) + 1}"
        self.segments[id_] = Segment(name, colour)
        return id_


class Image:
    """`vtkOrientedImageData`: an image without voxels is empty, and its range of values says nothing."""

    voxels = None

    def IsEmpty(self):
        return self.voxels is None

    def GetScalarRange(self):
        return (0.0, 1.0) if self.voxels is None else (0.0, float(self.voxels > 0))


class Node:
    def __init__(self, name, kind, path=None):
        self.name, self.kind, self.path = name, kind, path
        self.segmentation, self.modified, self.reference = Segmentation(), False, None

    def CreateDefaultDisplayNodes(self):
        pass

    def GetStorageNode(self):
        """The node itself stands for it; a new node has none."""
        return self if self.path else None

    def AddDefaultStorageNode(self):
        self.path = "default"

    def SetFileName(self, path):
        assert self.path
        self.path = path

    def SetReferenceImageGeometryParameterFromVolumeNode(self, volume):
        assert volume.kind == "volume"
        self.reference = volume

    def GetSegmentation(self):
        assert self.kind == "segmentation"
        return self.segmentation

    def GetModifiedSinceRead(self):
        return self.modified

    def GetBinaryLabelmapRepresentation(self, id_, image):
        segment = self.segmentation.segments[id_]
        if segment.voxels is None:
            return False
        image.voxels = segment.voxels if segment.voxels >= 0 else None  # below 0: there is a representation of no extent
        return True

    def draw(self, name, voxels=10):
        """What a reader does."""
        self.segmentation.segments[self.segmentation.GetSegmentIdBySegmentName(name)].voxels = voxels
        self.modified = True


class Editor:
    """The Segment Editor's widget; before Slicer 5.2 its volume was the "master" one."""

    def __init__(self, old=False):
        self.segmentation, self.volume = None, None
        setattr(self, "setMasterVolumeNode" if old else "setSourceVolumeNode", self._set_volume)

    def setSegmentationNode(self, node):
        self.segmentation = node

    def _set_volume(self, node):
        self.volume = node


def fake_slicer(old=False, full=False):
    """The module `slicer`; `full` is a disk that has no space left, `shown` what the reader is told."""
    nodes, layers, shown, editor = [], {}, [], Editor(old)
    slicer = types.SimpleNamespace(
        full=full, nodes=nodes, layers=layers, shown=shown, saved=[], opened=[], editor=editor, vtkOrientedImageData=Image
    )

    def load_volume(path, properties):
        assert Path(path).is_file() and properties.keys() <= {"name", "show", "singleFile", "colorNodeID", "labelmap"}
        nodes.append(Node(properties["name"], "volume", path))
        return nodes[-1]

    def load_segmentation(path, properties):
        assert path.endswith(".seg.nrrd") and properties.keys() == {"name"}
        slicer.opened.append(path)
        nodes.append(Node(properties["name"], "segmentation", path))
        for name, voxels in json.loads(Path(path).read_text()):
            nodes[-1].segmentation.segments[f"S{len(nodes[-1].segmentation.segments)}"] = Segment(name, voxels=voxels)
        return nodes[-1]

    def save_node(node, path, properties):
        assert path.endswith(".seg.nrrd") and properties == {}
        slicer.saved.append(Path(path))
        node.path = path
        if slicer.full:
            Path(path).write_text("half")
            return False
        segments = node.segmentation.segments.values()
        Path(path).write_text(json.dumps([[segment.name, segment.voxels] for segment in segments]))
        node.modified = False
        return True

    def add_node(kind, name):
        assert kind == "vtkMRMLSegmentationNode"
        nodes.append(Node(name, "segmentation"))
        return nodes[-1]

    def set_layers(**given):
        assert given.keys() <= {"background", "foreground", "foregroundOpacity", "fit", "label", "labelOpacity"}
        layers.update(given)

    slicer.mrmlScene = types.SimpleNamespace(AddNewNodeByClass=add_node, RemoveNode=nodes.remove)
    slicer.util = types.SimpleNamespace(
        loadVolume=load_volume, loadSegmentation=load_segmentation, saveNode=save_node, setSliceViewerLayers=set_layers,
        selectModule=lambda name: layers.update(module=name), errorDisplay=shown.append, infoDisplay=shown.append,
    )  # fmt: skip
    widget = types.SimpleNamespace(self=lambda: types.SimpleNamespace(editor=editor))
    slicer.jumps = []
    logic = types.SimpleNamespace(JumpSlicesToLocation=lambda r, a, s, centred: slicer.jumps.append((r, a, s)))
    slicer.modules = types.SimpleNamespace(
        segmenteditor=types.SimpleNamespace(widgetRepresentation=lambda: widget),
        markups=types.SimpleNamespace(logic=lambda: logic),
    )
    return slicer


class Widget:
    """A widget of Qt as PythonQt shows it: signals by name, `text` a property."""

    def __init__(self, text="", *_):
        self.text, self.checked, self.visible, self.slots, self.inside = text, False, True, {}, []

    def connect(self, signal, slot):
        self.slots[signal] = slot

    def setText(self, text):
        self.text = text

    def isChecked(self):
        return self.checked

    def setChecked(self, checked):
        changed, self.checked = self.checked != checked, checked
        if changed and "toggled(bool)" in self.slots:
            self.slots["toggled(bool)"](checked)

    def setVisible(self, visible):
        self.visible = visible

    def addWidget(self, widget, *_):
        self.inside.append(widget)

    addDockWidget = lambda self, area, widget: self.inside.append(widget)  # noqa: E731
    setWidget = addWidget

    def _nothing(self, *_):
        pass

    setObjectName = setTextFormat = setWordWrap = setPlaceholderText = addStretch = setInterval = start = stop = deleteLater = (
        _nothing
    )


def fake_qt(slicer):
    """The module `qt`, and what `slicer` needs for a window; `press` finds a button by its text."""
    made = []

    def make(*given):
        made.append(Widget(*(part for part in given if isinstance(part, str))))
        return made[-1]

    window, observers = Widget(), []
    names = ("QDockWidget", "QWidget", "QVBoxLayout", "QLabel", "QLineEdit", "QCheckBox", "QPushButton", "QTimer")
    qt = types.SimpleNamespace(**dict.fromkeys(names, make), Qt=types.SimpleNamespace(PlainText=0, RightDockWidgetArea=2))
    qt.made, qt.observers, qt.window = made, observers, window
    qt.press = lambda text: next(widget for widget in made if widget.text == text).slots["clicked()"]()
    crosshair = types.SimpleNamespace(AddObserver=lambda event, slot: observers.append(slot))
    slicer.util.mainWindow, slicer.util.getNode = lambda: window, lambda name: {"Crosshair": crosshair}[name]
    slicer.vtkMRMLCrosshairNode = types.SimpleNamespace(CursorPositionModifiedEvent=22000)
    slicer.app = Widget()
    return qt
