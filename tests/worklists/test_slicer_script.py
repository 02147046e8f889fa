"""The script for 3D Slicer, run with a fake Slicer: it is valid for Slicer's Python, opens, keeps and hands in."""

import ast
import itertools
import json
import shutil
import sys

import fake_slicer
import pytest
from asked_cases import CLASSES, NASTY, scans

from jaxal.worklists import slicer, slicer_script
from jaxal.worklists.items import AskedPart
from jaxal.worklists.tables import with_ending


@pytest.fixture
def worklist(tmp_path):
    """The worklist, with its files and folders; the second case has no proposal."""
    asked = scans(tmp_path)
    asked.items[1] = asked.items[1]._replace(proposal_seg=None, uncertainty=None)
    for item in asked.items:
        for path in [*item.images.values(), *filter(None, (item.proposal_seg, item.uncertainty))]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([[CLASSES[0].name, 5]]))
        item.result.parent.mkdir(parents=True, exist_ok=True)
        item.unfinished.parent.mkdir(parents=True, exist_ok=True)
    return asked


def folder_of(worklist):
    return worklist.items[0].result.parent.parent


def run(worklist, folder=None):
    """The module that the script is, once it is written and run as Slicer runs it."""
    folder = folder or folder_of(worklist)
    folder.mkdir(parents=True, exist_ok=True)
    text = slicer.script_text(worklist, folder)
    (folder / "slicer_worklist.py").write_text(text, encoding="ascii")
    module = {"__name__": "slicer_worklist", "__file__": str(folder / "slicer_worklist.py")}
    exec(compile(text, "slicer_worklist.py", "exec"), module)
    return type("Script", (), {name: staticmethod(value) if callable(value) else value for name, value in module.items()})


def session(worklist, fake=None, now=None):
    script = run(worklist)
    return script.Session(fake or fake_slicer.fake_slicer(), now=now or (lambda: 0.0))


def drawn(path):
    return dict(json.loads(path.read_text()))


def test_slicers_python_compiles_it_whatever_the_encoding(worklist, tmp_path):
    text = slicer.script_text(worklist, tmp_path)
    assert text.isascii()  # Slicer reads it in the system's encoding
    ast.parse(text, feature_version=(3, 9))
    names = {
        name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import)
        for name in (alias.name for alias in node.names)
    }
    assert names - {"qt", "slicer"} <= sys.stdlib_module_names


def test_it_holds_the_cases_whatever_their_names(worklist):
    read = run(worklist).WORKLIST
    assert [item["case"] for item in read["items"]] == list(NASTY)
    assert [name for name, _ in read["classes"]] == [entry.name for entry in CLASSES]
    assert read["classes"][0][1] == pytest.approx([0xE6 / 255, 0x9F / 255, 0])
    assert (read["project"], read["reader"]) == (worklist.project, worklist.reader)


def test_the_template_has_no_cases_and_starts_nothing():
    assert slicer_script.WORKLIST["items"] == []


def test_three_hundred_cases_fit(tmp_path):
    many = scans(tmp_path, [f"case {number}" for number in range(300)])
    text = slicer.script_text(many, tmp_path)
    assert len(text) < 1e6 and len(ast.parse(text).body) > 10


def test_a_case_opens_with_all_channels_and_its_proposal_in_the_classes_colours(worklist):
    fake = fake_slicer.fake_slicer()
    session(worklist, fake).open(0)
    *volumes, segmentation = fake.nodes
    assert [node.name for node in volumes] == ["case 01 CT", "case 01 PET 'a'"]
    assert [node.path for node in volumes] == [str(path) for path in worklist.items[0].images.values()]
    assert fake.opened == [str(worklist.items[0].proposal_seg)] and segmentation.reference is volumes[0]
    segments = list(segmentation.segmentation.segments.values())
    assert [(segment.name, segment.voxels) for segment in segments] == [(CLASSES[0].name, 5), (CLASSES[1].name, 0)]
    assert [[round(255 * part) for part in segment.colour] for segment in segments] == [list(entry.rgb) for entry in CLASSES]
    assert (fake.layers["background"], fake.layers["foreground"], fake.layers["module"]) == (*volumes, "SegmentEditor")
    assert (fake.editor.segmentation, fake.editor.volume) == (segmentation, volumes[0])


def test_an_older_slicer_opens_a_case_too(worklist):
    fake = fake_slicer.fake_slicer(old=True)
    session(worklist, fake).open(0)
    assert fake.editor.volume is fake.nodes[0]


def test_a_case_without_proposal_opens_with_empty_segments(worklist):
    fake = fake_slicer.fake_slicer()
    session(worklist, fake).open(1)
    segments = fake.nodes[-1].segmentation.segments.values()
    assert [(segment.name, segment.voxels) for segment in segments] == [(entry.name, 0) for entry in CLASSES]


def test_the_next_case_takes_the_last_one_away_and_keeps_its_work(worklist):
    fake = fake_slicer.fake_slicer()
    open_ = session(worklist, fake)
    open_.open(0)
    open_.segmentation.draw(CLASSES[1].name, 7)
    open_.open(2, "half done")
    assert {node.name for node in fake.nodes} == {"Müller-größe 日本 CT", "Müller-größe 日本 PET 'a'", "Müller-größe 日本"}
    assert drawn(with_ending(worklist.items[0].unfinished, ".seg.nrrd")) == {CLASSES[0].name: 5, CLASSES[1].name: 7}
    assert list(worklist.items[0].result.parent.iterdir()) == []  # nothing unfinished is in the inbox
    open_.open(0)
    assert fake.opened[-1] == str(with_ending(worklist.items[0].unfinished, ".seg.nrrd"))
    assert open_.notes(open_.item)["comment"] == "half done"


def test_slicers_own_save_never_touches_proposal_or_inbox(worklist):
    for place in (0, 1):  # with a proposal, and without
        open_ = session(worklist)
        open_.open(place)
        own = str(with_ending(worklist.items[place].unfinished, ".seg.nrrd"))
        assert open_.segmentation.GetStorageNode().path == own
        open_.segmentation.draw(CLASSES[1].name)
        open_.keep()
        assert open_.segmentation.GetStorageNode().path == own
        assert open_.hand_in() == "" and open_.segmentation.GetStorageNode().path == own


def test_another_reading_of_a_case_begins_afresh_and_one_that_came_back_goes_on(worklist):
    open_ = session(worklist)
    open_.open(0)
    open_.segmentation.draw(CLASSES[1].name)
    open_.close()
    item = worklist.items[0]
    for changed, path in (
        (item._replace(reading=2), item.proposal_seg),
        (item._replace(returned=("Upside down.",)), with_ending(item.unfinished, ".seg.nrrd")),
    ):
        fake = fake_slicer.fake_slicer()
        session(worklist._replace(items=[changed]), fake).open(0)
        assert fake.opened == [str(path)]


def test_handing_in_writes_segmentation_and_notes(worklist):
    time = [0.0]
    open_ = session(worklist, now=lambda: time[0])
    open_.open(0)
    time[0] = 90.0
    open_.segmentation.draw(CLASSES[1].name, 3)
    assert open_.hand_in("small one") == ""
    inbox = worklist.items[0].result.parent
    assert {path.name for path in inbox.iterdir()} == {"case 01.seg.nrrd", "case 01.json"}
    assert drawn(inbox / "case 01.seg.nrrd") == {CLASSES[0].name: 5, CLASSES[1].name: 3}
    notes = json.loads((inbox / "case 01.json").read_text())
    assert notes.pop("handed_in").endswith("+00:00")
    assert notes == {
        "case": "case 01", "reader": worklist.reader, "reading": 1, "comment": "small one", "empty": False, "seconds": 90.0, "minutes": 1.5,
        "program": "3D Slicer",
    }  # fmt: skip


def test_the_notes_are_there_before_the_segmentation_is_seen(worklist, monkeypatch):
    """A segmentation in the inbox may be taken at once."""
    fake = fake_slicer.fake_slicer()
    open_ = session(worklist, fake)
    open_.open(0)
    seen, inbox = [], worklist.items[0].result.parent
    replace = sys.modules["os"].replace
    monkeypatch.setattr("os.replace", lambda source, place: (seen.append(str(place)), replace(source, place))[1])
    assert open_.hand_in() == ""
    in_inbox = [path for path in seen if path.startswith(str(inbox))]
    assert [path.rsplit(".", 1)[1] for path in in_inbox] == ["json", "nrrd"]
    assert [path.name for path in fake.saved if path.parent == inbox] == [".case 01.seg.nrrd"]  # written aside


def test_a_full_disk_leaves_the_inbox_as_it_was(worklist):
    fake = fake_slicer.fake_slicer()
    open_ = session(worklist, fake)
    open_.open(0)
    open_.segmentation.draw(CLASSES[1].name)
    fake.full = True
    with pytest.raises(OSError, match="disk full"):
        open_.hand_in()
    folder = worklist.items[0].result.parent.parent
    assert [path for path in folder.rglob("*") if path.name.startswith(".") or "seg" in path.name] == [] and not open_.is_done(
        open_.item
    )
    assert open_.segmentation.GetStorageNode().path == str(with_ending(worklist.items[0].unfinished, ".seg.nrrd"))


def test_an_empty_case_needs_a_word_and_a_drawn_one_forbids_it(worklist):
    open_ = session(worklist)
    open_.open(1)
    assert "Nothing is drawn" in open_.hand_in()
    assert open_.hand_in(nothing_to_see=True) == ""
    assert json.loads(with_ending(worklist.items[1].result, ".json").read_text())["empty"] is True
    open_.segmentation.draw(CLASSES[0].name, 1)
    assert "Something is drawn" in open_.hand_in(nothing_to_see=True)


@pytest.mark.parametrize("voxels", [None, 0, -1])
def test_a_segment_without_voxels_is_empty_however_slicer_keeps_it(worklist, voxels):
    open_ = session(worklist)
    open_.open(1)
    for segment in open_.segmentation.segmentation.segments.values():
        segment.voxels = voxels
    assert "Nothing is drawn" in open_.hand_in()


def test_a_segment_of_another_name_is_not_handed_in(worklist):
    open_ = session(worklist)
    open_.open(0)
    open_.segmentation.segmentation.AddEmptySegment("", "Segment_1", (0, 0, 0))
    assert '"Segment_1" is none of the classes (liver, ' in open_.hand_in()
    assert list(worklist.items[0].result.parent.iterdir()) == []


def test_the_clock_stands_still_after_five_idle_minutes():
    time = [0.0]
    clock = slicer_script.Clock(10.0, lambda: time[0])
    for now, seconds in ((60.0, 70.0), (359.0, 369.0), (360.0, 370.0), (10_000.0, 670.0), (10_001.0, 671.0)):
        time[0] = now
        clock.touch()
        assert clock.seconds == seconds


def test_time_goes_on_when_a_case_is_opened_again_and_does_not_pass_while_another_is(worklist):
    time = itertools.count(0.0, 10.0)
    open_ = session(worklist, now=lambda: next(time))
    for place in (0, 2, 0):
        open_.open(place)
    open_.close()
    seconds = [open_.notes(item).get("seconds") for item in open_.items[:3]]
    assert seconds == [seconds[2] * 2, None, seconds[2]] and seconds[2] > 0


def test_the_first_case_is_the_first_that_was_not_handed_in(worklist):
    open_ = session(worklist)
    assert open_.first_open() == 0
    open_.open(0)
    assert open_.hand_in() == ""
    assert open_.first_open() == 1
    back = worklist.items[0]._replace(returned=("Upside down.",))
    assert session(worklist._replace(items=[back, *worklist.items[1:]])).first_open() == 0
    assert session(worklist._replace(items=[item._replace(state="delivered") for item in worklist.items])).first_open() == 0


def test_on_a_computer_with_another_name_for_the_disk_files_are_found_beside_the_script(worklist, tmp_path_factory):
    moved = tmp_path_factory.mktemp("mounted") / "project"
    script_folder = moved / "readers" / "anna"
    run(worklist)
    shutil.move(folder_of(worklist).parents[1], moved)
    module = {"__name__": "x", "__file__": str(script_folder / "slicer_worklist.py")}
    exec((script_folder / "slicer_worklist.py").read_text(), module)
    fake = fake_slicer.fake_slicer()
    open_ = module["Session"](fake)
    open_.open(0)
    assert fake.opened == [str(moved / "proposals" / "1.seg.nrrd")] and open_.hand_in() == ""
    assert (script_folder / "inbox" / "case 01.seg.nrrd").exists()


def test_a_scan_that_is_missing_is_told_and_the_way_on_is_free(worklist):
    worklist.items[0].image.unlink()
    fake = fake_slicer.fake_slicer()
    open_ = session(worklist, fake)
    with pytest.raises(OSError, match="is not there"):
        open_.open(0)
    assert open_.hand_in() == "No case is open."
    open_.open(1)
    assert open_.item["case"] == NASTY[1]


def test_uncertainty_lies_over_the_image_when_it_is_asked_for(worklist):
    fake = fake_slicer.fake_slicer()
    open_ = session(worklist, fake)
    open_.open(0)
    open_.show_unsure(True)
    assert fake.layers["foreground"].path == str(worklist.items[0].uncertainty) and fake.layers["foregroundOpacity"] > 0
    open_.show_unsure(False)
    assert fake.layers["foreground"] is open_.volumes[1] and fake.layers["foregroundOpacity"] == 0
    open_.close()
    assert fake.nodes == []


def panel(worklist, monkeypatch, folder=None):
    """The window, as `main` opens it."""
    fake = fake_slicer.fake_slicer()
    qt = fake_slicer.fake_qt(fake)
    monkeypatch.setitem(sys.modules, "slicer", fake)
    monkeypatch.setitem(sys.modules, "qt", qt)
    run(worklist, folder).main()
    return fake, qt


def test_the_window_leads_through_the_list(worklist, monkeypatch):
    fake, qt = panel(worklist, monkeypatch)
    shown = fake.jaxal_worklist
    assert "Case case 01 (1 of 6)" in shown.told.text and "About 11 minutes." in shown.told.text
    assert shown.dock in qt.window.inside and shown.unsure.visible
    shown.comment.text = "hm"
    qt.press("Hand in")
    assert with_ending(worklist.items[0].result, ".seg.nrrd").exists() and "(2 of 6)" in shown.told.text
    assert json.loads(with_ending(worklist.items[0].result, ".json").read_text())["comment"] == "hm"
    assert shown.comment.text == "" and not shown.unsure.visible
    qt.press("Hand in")
    assert "Nothing is drawn" in fake.shown[-1] and "(2 of 6)" in shown.told.text
    shown.nothing.setChecked(True)
    qt.press("Hand in")
    assert "(3 of 6)" in shown.told.text and not shown.nothing.checked
    qt.press("Previous case")
    qt.press("Previous case")
    qt.press("Previous case")
    assert "(1 of 6)" in shown.told.text and shown.comment.text == "hm"


def test_the_window_says_when_a_case_came_back_and_when_the_list_ends(worklist, monkeypatch):
    back = worklist.items[0]._replace(returned=("Upside down.",))
    fake, qt = panel(worklist._replace(items=[back]), monkeypatch)
    assert "It came back: Upside down." in fake.jaxal_worklist.told.text
    qt.press("Hand in")
    assert "last case" in fake.shown[-1]


def test_work_is_kept_by_the_timer_at_the_end_and_when_the_script_starts_again(worklist, monkeypatch):
    fake, _ = panel(worklist, monkeypatch)
    kept = with_ending(worklist.items[0].unfinished, ".seg.nrrd")
    for number, keep in enumerate((fake.jaxal_worklist.timer.slots["timeout()"], fake.app.slots["aboutToQuit()"]), 1):
        fake.jaxal_worklist.session.segmentation.draw(CLASSES[1].name, number)
        keep()
        assert drawn(kept)[CLASSES[1].name] == number
    fake.jaxal_worklist.session.segmentation.draw(CLASSES[1].name, 3)
    old = fake.jaxal_worklist
    run(worklist).main()
    assert fake.jaxal_worklist is not old and drawn(kept)[CLASSES[1].name] == 3 and old.session.segmentation is None


def test_moving_the_mouse_over_the_images_is_work(worklist, monkeypatch):
    fake, qt = panel(worklist, monkeypatch)
    touched = []
    monkeypatch.setattr(fake.jaxal_worklist.session.clock, "touch", lambda: touched.append(True))
    qt.observers[0](None, 22000)
    assert touched == [True]


def test_a_full_disk_is_told_and_nothing_is_lost(worklist, monkeypatch):
    fake, qt = panel(worklist, monkeypatch)
    fake.jaxal_worklist.session.segmentation.draw(CLASSES[1].name)
    fake.full = True
    qt.press("Next case")
    qt.press("Hand in")
    assert "disk full" in fake.shown[0] and "not handed in" in fake.shown[1]
    fake.full = False
    qt.press("Hand in")
    assert drawn(with_ending(worklist.items[0].result, ".seg.nrrd"))[CLASSES[1].name] == 10


def test_an_empty_worklist_says_so(worklist, monkeypatch, tmp_path):
    fake, _ = panel(worklist._replace(items=[]), monkeypatch, tmp_path)
    assert fake.shown == ["Nothing is asked of you now."]


def test_the_line_for_the_console_runs_the_script(worklist, monkeypatch, tmp_path):
    folder = tmp_path / 'it\'s "here"'
    fake, _ = panel(worklist._replace(items=[]), monkeypatch, folder)
    namespace = {"__name__": "__main__"}
    exec(slicer.console_line(folder / "slicer_worklist.py"), namespace)
    assert len(fake.shown) == 2 and namespace["HERE"] == str(folder)


def test_parts_are_coloured_and_gone_to_one_after_the_other(worklist, tmp_path):
    parts = (AskedPart("axial slice 3 of 20", (1.0, 2.0, 3.0)), AskedPart("axial slice 9 of 20", (1.0, 2.0, 9.0)))
    mask = tmp_path / "asked.nii.gz"
    mask.write_text("")
    worklist.items[0] = worklist.items[0]._replace(parts=parts, mask=mask)
    fake = fake_slicer.fake_slicer()
    script = run(worklist)
    open_ = script.Session(fake)
    open_.open(0)
    assert fake.jumps == [(1.0, 2.0, 3.0)] and fake.layers["label"].name == "asked for"
    assert "Draw only in axial slice 9 of 20." in script.told(open_.item, 0, 2)
    open_.next_part()
    open_.next_part()
    assert [place[2] for place in fake.jumps] == [3.0, 9.0, 3.0]
    assert sum(node.name == "asked for" for node in fake.nodes) == 1
    open_.open(1)
    assert len(fake.jumps) == 3 and all(node.name != "asked for" for node in fake.nodes)
