"""What cannot be taken: each kind with its one sentence, and nothing on disk changes."""

import contextlib
import gzip
import hashlib

import label_files
import numpy as np
import pytest
from label_files import CLASSES, SHAPE, segment_lines, truth, write_nifti, write_nrrd

from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.findings import History
from jaxal.labels.placing import Grid
from jaxal.labels.refusals import Refused

AFFINE = label_files.own_affine()
OTHER = np.diag([1.0, 1.0, 3.0, 1.0])
OTHER[:3, 3] = 5, 6, 7
NAMED = segment_lines([("liver", 1), ("tumour", 2), ("spleen", 3)])
PATIENT = "Mueller^Hans"


def moved(*shift):
    return AFFINE @ np.array([[1, 0, 0, shift[0]], [0, 1, 0, shift[1]], [0, 0, 1, shift[2]], [0, 0, 0, 1.0]])


def scaled(*factors):
    return AFFINE @ np.diag([*factors, 1.0])


def rotated(degrees):
    turn = np.eye(4)
    turn[:2, :2] = [
        [np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))],
        [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))],
    ]
    return turn @ AFFINE


def nii(labels=None, affine=AFFINE, cut=None, patch=None, pack=gzip.compress, **header):
    """Writes a NIfTI file; `cut` leaves bytes out at its end, `patch` overwrites some of the unpacked ones."""

    def write(path):
        write_nifti(path, truth() if labels is None else labels, affine, descrip=PATIENT.encode(), **header)
        content = path.read_bytes()
        content = bytearray(gzip.decompress(content) if path.name.endswith(".gz") else content)
        for place, some in (patch or {}).items():
            content[place : place + len(some)] = some
        packed = pack(bytes(content))
        path.write_bytes(packed[:cut])

    return write


def raw(content):
    return lambda path: path.write_bytes(content)


def seg(labels=None, affine=AFFINE, lines=NAMED, cut=None, replace=None, **options):
    def write(path):
        comments = [f"PatientName:={PATIENT}", "# " + PATIENT, *lines]
        write_nrrd(path, truth() if labels is None else labels, affine, comments, **options)
        content = path.read_bytes()
        for old, new in (replace or {}).items():
            assert old in content
            content = content.replace(old, new, 1)
        path.write_bytes(content[:cut])

    return write


def in_layers(*parts):
    return np.stack([np.asarray(part, np.uint8) for part in parts])


def broken_checksum(content):
    packed = bytearray(gzip.compress(content))
    packed[-6] ^= 1  # the checksum lies in the last eight bytes
    return bytes(packed)


def with_value(value, dtype=np.float32):
    labels = truth().astype(dtype)
    labels[1, 1, 1] = value
    return labels


COLOURS = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
OVERLAP = segment_lines([("liver", 1, 0), ("tumour", 1, 1)])

BAD = {
    # readable whole
    "nothing in it": (raw(b""), "empty-file", "The file is empty"),
    "packed data cut": (nii(cut=-40), "damaged", "ends? too early"),
    "checksum cut off": (nii(cut=-5), "damaged", "ends? too early"),
    "checksum wrong": (nii(pack=broken_checksum), "damaged", "checksum is wrong"),
    "garbage packed": (nii(pack=lambda content: gzip.compress(content)[:30] + b"garbage" * 30), "damaged", "packed data"),
    "unpacked data cut": (nii(pack=bytes, cut=-40), "damaged", "ends too early"),
    "only a header": (nii(pack=bytes, cut=352), "damaged", "ends too early"),
    "header cut": (nii(pack=bytes, cut=100), "damaged", "ends too early"),
    "unknown type of values": (nii(pack=bytes, patch={70: b"\x99\x11"}), "damaged", "header of the NIfTI file is broken"),
    "half of a pair": (nii(pack=bytes, patch={344: b"ni1\0"}), "half-a-pair", "one half of a pair"),
    "promises too much": (nii(pack=bytes, patch={42: b"\xff\x7f\xff\x7f\xff\x7f"}), "too-large", "32767 x 32767 x 32767"),
    "holds far more than it says": (nii(pack=lambda c: gzip.compress(c + bytes(1 << 25))), "damaged", "far more than its header"),
    "zeros only": (raw(bytes(5000)), "damaged", "zeros only"),
    "nrrd cut": (seg(cut=-20), "damaged", "packed data end too early"),
    "nrrd without the end of its header": (raw(b"NRRD0004\ntype: uchar\n"), "damaged", "header of the NRRD file is broken"),
    "nrrd with a field twice": (seg(lines=["PatientName:=again"]), "damaged", "header of the NRRD file is broken"),
    "nrrd without sizes": (seg(change={"sizes": None}), "damaged", "header of the NRRD file is broken"),
    "nrrd of an unknown type": (seg(change={"type": PATIENT}), "damaged", "header of the NRRD file is broken"),
    "nrrd of a version to come": (seg(replace={b"NRRD0004": b"NRRD0099"}), "damaged", "header of the NRRD file is broken"),
    "nrrd without an order of bytes": (seg(truth().astype("<i2"), change={"endian": None}), "damaged", "header of the NRRD file"),
    "nrrd whose voxels lie elsewhere": (seg(change={"data file": "/etc/passwd"}), "half-a-pair", "only a header"),
    "nrrd as text": (seg(encoding="ascii"), "unknown-packing", "gzip compression"),
    "nrrd of two lines skipped": (seg(change={"line skip": 2}), "unknown-packing", "gzip compression"),
    # what it is
    "a scene": (raw(b"PK\x03\x04" + bytes(200)), "unknown-format", "a zip archive, as a scene"),
    "a MetaImage": (raw(b"ObjectType = Image\nNDims = 3\n"), "unknown-format", "MetaImage"),
    "a pointer of Git LFS": (raw(b"version https://git-lfs.github.com/spec/v1\noid"), "unknown-format", "was not fetched"),
    "a web page": (raw(b"<!DOCTYPE html><html>Log in</html>"), "unknown-format", "a web page"),
    "a picture": (raw(b"\x89PNG\r\n\x1a\n" + bytes(99)), "unknown-format", "a picture, not a segmentation"),
    "some text": (raw(PATIENT.encode() * 9), "unknown-format", "no NIfTI, NRRD or DICOM segmentation"),
    # three axes or layers
    "a series": (nii(np.zeros((*SHAPE, 4), np.uint8)), "axes", "axes 7 x 6 x 5 x 4"),
    "one slice": (nii(truth()[..., 2]), "axes", "axes 7 x 6;"),
    "colours": (nii(COLOURS), "not-a-map", "colours"),
    "nrrd of one slice": (seg(change={"sizes": "7 30", "dimension": 2, "kinds": None, "space directions": None}), "axes", "7 x 30"),
    "layers without names": (seg(in_layers(truth(), truth()), lines=()), "axes", "axes 2 x 7 x 6 x 5"),
    "layers last": (seg(in_layers(truth(), truth()), change={"kinds": None, "space directions": None}), "axes", "2 x 7 x 6 x 5"),
    # geometry
    "affine lost": (nii(affine=np.eye(4)), "affine-lost", "row 3, column 4 of its affine is 0 instead of 55.1.*--trust-grid"),
    "sform and qform 0": (nii(patch={252: bytes(4)}, pack=bytes), "affine-lost", "has lost its place"),
    "nrrd without a space": (seg(change={"space": None}), "affine-lost", "has lost its place"),
    "no place and cropped": (seg(truth()[1:], change={"space": None}), "no-place", "does not say where it lies"),
    "no volume": (seg(change={"space directions": "(1,0,0) (1,0,0) (0,0,1)"}), "broken-affine", "no volume"),
    "NaN in the affine": (seg(change={"space origin": "(nan,0,0)"}), "broken-affine", "no volume"),
    "another spacing": (nii(truth()[:4], scaled(1.5, 1, 1)), "other-spacing", "1.05 x 0.8 x 2.5 mm, the scan's 0.7 x 0.8 x 2.5 mm.*can have it resampled"),
    "the scan's size at another spacing": (nii(affine=scaled(1, 1, 0.4)), "other-spacing", "0.7 x 0.8 x 1 mm.*--trust-grid"),
    "turned by degrees": (seg(affine=rotated(5.0)), "other-directions", "turned by 5 degrees"),
    "between voxels": (seg(affine=moved(0, 0.5, 3)), "between-voxels", "shifted by 0.00, 0.50, 0.00 voxels"),
    "altogether elsewhere": (nii(affine=moved(0, 0, 5)), "elsewhere", "altogether outside the scan"),
    "of another case": (nii(np.ones((8, 8, 8), np.uint8), OTHER), "other-case", "fits the scan of case case_9"),
    "of another case, turned": (nii(*label_files.stored(np.ones((8, 8, 8), np.uint8), OTHER, (1, 2, 0), (-1, 1, -1))), "other-case", "case_9"),
    "of a longer scan at the same place": (nii(np.ones((7, 6, 9), np.uint8)), "other-case", "fits the scan of case case_8"),
    # whole values
    "fractions": (nii(with_value(0.5)), "fractions", "value 0.5, which is no whole number"),
    "not a number": (nii(with_value(np.nan)), "fractions", "value nan"),
    "infinite": (seg(with_value(np.inf)), "fractions", "value inf"),
    "fractions by scaling": (nii(pack=bytes, patch={112: np.array([0.3, 0], "<f4").tobytes()}), "fractions", "interpolated or holds"),
    "the scan itself": (nii(np.arange(210, dtype=np.int16).reshape(SHAPE) * 3), "unknown-value", "mean nothing here"),
    "a large scan itself": (nii(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), moved(-1, -1, -1)), "not-a-map", "may be the scan itself"),
    "values beyond all labels": (nii(with_value(1e6)), "not-a-map", "more different values"),
    # names and values
    "255 for 1": (nii((truth() > 0).astype(np.uint8) * 255), "unknown-value", "the value 255, which means nothing here.*1 liver, 2 tumour, 3 spleen"),
    "one value too many": (nii(with_value(4, np.uint8)), "unknown-value", "the value 4, which"),
    "a negative value": (nii(with_value(-1, np.int16)), "unknown-value", "the value -1"),
    "an unknown name": (seg(lines=segment_lines([("liver", 1), ("kidney", 2), ("spleen", 3)])), "unknown-name", '"kidney" is none of the classes'),
    "unknown names": (seg(lines=segment_lines([("Segment_1", 1), ("Segment_2", 2), ("spleen", 3)])), "unknown-name", '"Segment_1", "Segment_2" are none'),
    "a value without a name": (seg(lines=NAMED[:8]), "unnamed-value", 'value 3, for which it has no name; its names are "liver", "tumour"'),
    "one name for two segments": (seg(lines=segment_lines([("liver", 1), ("tumour", 2), ("Liver", 3)])), "name-twice", 'Two segments are called "Liver"'),
    "two names for one value": (seg(lines=[*NAMED, *segment_lines([("", 0)] * 3 + [("x", 1)])[12:16]]), "value-twice", 'both "liver" and "x"'),
    "overlap": (seg(in_layers(truth() == 1, truth() > 0), lines=OVERLAP), "overlap", "liver and tumour share 20 voxels"),
    # empty
    "empty": (nii(np.zeros(SHAPE, np.uint8)), "empty", "is empty. If there is nothing to see"),
    "empty segmentation": (seg(np.zeros((1, 1, 1), np.uint8), np.eye(4)), "empty", "is empty"),
    "drawn outside only": (nii(np.pad(truth()[:2] * 0, ((0, 7), (0, 0), (0, 0))) + (np.arange(9) > 7)[:, None, None].astype(np.uint8)), "all-outside", "outside of the scan"),
}  # fmt: skip

EXPECTED = Expected(
    "case_7",
    Grid(SHAPE, AFFINE),
    CLASSES,
    others={"case_8": Grid((7, 6, 9), AFFINE), "case_9": Grid((8, 8, 8), OTHER), "case_7": Grid(SHAPE, AFFINE)},
)


def everything(folder):
    return {path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.mark.parametrize("name", BAD)
def test_each_is_refused_with_its_sentence(tmp_path, name):
    write, code, words = BAD[name]
    path = tmp_path / "delivered.nii"
    write(path)
    before = everything(tmp_path)
    with pytest.raises(Refused, match=words) as error:
        receive(path, EXPECTED)
    assert error.value.code == code
    assert error.value.sentence.startswith("case_7: ") and str(error.value) == error.value.sentence
    assert "\n" not in error.value.sentence and error.value.sentence.endswith((".", ")."))
    assert "Mueller" not in error.value.sentence and str(tmp_path) not in error.value.sentence
    assert everything(tmp_path) == before


def test_there_are_enough_of_them():
    assert len(BAD) >= 40


def test_what_is_missing_or_locked(tmp_path):
    with pytest.raises(Refused, match="cannot be read"):
        receive(tmp_path / "nothing.nii.gz", EXPECTED)
    with pytest.raises(Refused, match="cannot be read"):
        receive(tmp_path, EXPECTED)


def test_another_size_is_not_trusted(tmp_path):
    nii(truth()[1:])(tmp_path / "d.nii")
    with pytest.raises(Refused, match="6 x 6 x 5 voxels, the scan 7 x 6 x 5") as error:
        receive(tmp_path / "d.nii", EXPECTED, trust_grid=True)
    assert error.value.code == "other-size"


def test_a_broken_label_description(tmp_path):
    nii()(tmp_path / "d.nii.gz")
    (tmp_path / "d.txt").write_text(f'# ITK-SnAP Label Description File\n0 0 0 0 0 0 0 "Clear Label"\n1 255 0 {PATIENT}\n')
    with pytest.raises(Refused, match="Line 3 of the label description") as error:
        receive(tmp_path / "d.nii.gz", EXPECTED)
    assert error.value.code == "label-description" and "Mueller" not in error.value.sentence
    with pytest.raises(Refused, match="cannot be read"):
        receive(tmp_path / "d.nii.gz", EXPECTED, description=tmp_path / "none.txt")


def test_a_name_in_a_sentence_is_cut_and_harmless(tmp_path):
    name = "<b>\x1b[31m" + "x" * 500
    seg(lines=segment_lines([(name, 1), ("tumour", 2), ("spleen", 3)]))(tmp_path / "d.seg.nrrd")
    with pytest.raises(Refused) as error:
        receive(tmp_path / "d.seg.nrrd", EXPECTED)
    assert "\x1b" not in error.value.sentence and len(error.value.sentence) < 300


@pytest.mark.parametrize("code", ["unchanged", "placed"])
def test_a_project_makes_a_note_a_refusal(tmp_path, code):
    path = write_nifti(tmp_path / "d.nii.gz", np.pad(truth(), 1), moved(-1, -1, -1))
    expected = Expected("case_7", Grid(SHAPE, AFFINE), CLASSES, proposal=truth(), hard=frozenset([code]), history=History())
    with pytest.raises(Refused) as error:
        receive(path, expected)
    assert error.value.code == code


def test_dicom_needs_an_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    raw(bytes(128) + b"DICM" + bytes(300))(tmp_path / "d.nii.gz")
    with pytest.raises(Refused, match=r"jaxal\[dicom\]") as error:
        receive(tmp_path / "d.nii.gz", EXPECTED)
    assert error.value.code == "needs-dicom"


def test_damage_at_any_byte_never_ends_in_another_error(tmp_path, rng):
    """Bytes overwritten at random: a label or a refusal, nothing else."""
    for kind, write in (("d.nii", nii(pack=bytes)), ("d.nii.gz", nii()), ("d.seg.nrrd", seg())):
        path = tmp_path / kind
        write(path)
        content = path.read_bytes()
        for _ in range(150):
            broken = bytearray(content)
            broken[rng.integers(min(len(broken), 900))] = rng.integers(256)
            path.write_bytes(broken)
            with contextlib.suppress(Refused):
                receive(path, EXPECTED)


def test_expectations_are_checked():
    for wrong in ({"classes": ("liver", "liver")}, {"hard": frozenset(["nonsense"])}, {"precedence": ("liver",)}):
        with pytest.raises(ValueError):
            Expected(**{"case": "c", "grid": Grid(SHAPE, AFFINE), "classes": CLASSES, **wrong})
