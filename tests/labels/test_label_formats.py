"""What delivered files mean: names, layers, values of all types, packed in all ways."""

import gzip
import json

import label_files
import nibabel
import numpy as np
import pytest
from label_files import CLASSES, SHAPE, segment_lines, truth, write_nifti, write_nrrd

from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.placing import Grid
from jaxal.labels.refusals import Refused

AFFINE = label_files.own_affine()
EXPECTED = Expected("case_7", Grid(SHAPE, AFFINE), CLASSES)
NAMED = segment_lines([("liver", 1), ("tumour", 2), ("spleen", 3)])


def delivered(path, expected=EXPECTED, **options):
    return receive(path, expected, **options)


def assert_true(path, expected=EXPECTED, **options):
    result = delivered(path, expected, **options)
    np.testing.assert_array_equal(result.labels, truth())
    return result


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", "<i4", ">i4", "<u4", "<i8", "<f4", ">f4", "<f8"])
def test_nifti_of_any_type(tmp_path, dtype):
    header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(np.dtype(dtype))
    image = nibabel.Nifti1Image(truth().astype(dtype), AFFINE, header)
    path = tmp_path / "d.nii"
    path.write_bytes(image.to_bytes())
    assert_true(path)


@pytest.mark.parametrize(
    "dtype, slope, intercept", [("i2", 0.5, 0.0), ("u1", 1 / 80, 0.0), ("i2", 1.0, -100.0), ("i4", 0.1, 0.0), ("f4", 3.0, -3.0)]
)
def test_scaled_values_count(tmp_path, dtype, slope, intercept):
    raw = np.rint((truth() - intercept) / slope) if dtype != "f4" else (truth() - intercept) / slope
    image = nibabel.Nifti1Image(raw.astype(dtype), AFFINE)
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(nibabel.Nifti1Image(raw.astype(dtype), AFFINE), tmp_path / "d.nii")
    content = bytearray((tmp_path / "d.nii").read_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()  # scl_slope, scl_inter
    (tmp_path / "d.nii").write_bytes(content)
    assert_true(tmp_path / "d.nii")


def test_nifti_2_and_trailing_axes_of_one(tmp_path):
    path = tmp_path / "d.nii"
    path.write_bytes(nibabel.Nifti2Image(truth()[..., None], AFFINE).to_bytes())
    assert_true(path)


def test_packed_or_not_whatever_the_name_says(tmp_path):
    write_nifti(tmp_path / "d.nii", truth(), AFFINE)
    plain = (tmp_path / "d.nii").read_bytes()
    for name, content in {
        "plain.nii.gz": plain,
        "packed.nii": gzip.compress(plain),
        "in two.nii.gz": gzip.compress(plain[:500]) + gzip.compress(plain[500:]),
        "garbage behind.nii.gz": gzip.compress(plain) + b"left over",
        "nifti.seg.nrrd": gzip.compress(plain),
        "no ending": plain,
    }.items():
        (tmp_path / name).write_bytes(content)
        assert assert_true(tmp_path / name).kind == "nifti"


@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz", "bzip2"])
@pytest.mark.parametrize(
    "space", ["left-posterior-superior", "RAS", "LAS", "LPS", "right-anterior-superior", "left-anterior-superior"]
)
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<f4"])
def test_nrrd_in_all_ways(tmp_path, dtype, space, encoding):
    labels = truth().astype(dtype)
    path = tmp_path / "d.nii.gz"  # its ending lies
    if encoding == "gz":
        write_nrrd(path, labels, AFFINE, space=space)
        path.write_bytes(path.read_bytes().replace(b"encoding: gzip", b"encoding: gz"))
    else:
        write_nrrd(path, labels, AFFINE, space=space, encoding=encoding)
    assert assert_true(path).kind == "nrrd"


def test_names_are_the_key(tmp_path):
    """Values as another program gives them; unused names mean nothing, whatever they are."""
    labels = np.array([0, 70, 4, 300], np.int16)[truth()]
    lines = segment_lines([("tumour", 4), ("something else", 9), ("spleen", 300), ("liver", 70)])
    result = assert_true(write_nrrd(tmp_path / "d.seg.nrrd", labels, AFFINE, lines))
    assert result.kind == "seg.nrrd" and result.notes == ()


def test_names_in_another_spelling_are_told(tmp_path):
    expected = Expected("c", EXPECTED.grid, ("Leber-Gefäße", "tumour", "spleen"))
    path = write_nrrd(
        tmp_path / "d.seg.nrrd", truth(), AFFINE, segment_lines([("leber gefäße", 1), ("tumour", 2), ("spleen", 3)])
    )
    notes = assert_true(path, expected).notes
    assert [note.code for note in notes] == ["spelling"] and "Leber-Gefäße" in notes[0].sentence
    exact = write_nrrd(
        tmp_path / "e.seg.nrrd", truth(), AFFINE, segment_lines([("Leber-Gefäße", 1), ("tumour", 2), ("spleen", 3)])
    )
    assert assert_true(exact, expected).notes == ()


def test_a_name_in_another_encoding_is_not_taken_for_what_is_left_of_it(tmp_path):
    expected = Expected("c", EXPECTED.grid, ("Gefe", "tumour", "spleen"))
    path = write_nrrd(tmp_path / "d.seg.nrrd", truth(), AFFINE, NAMED)
    path.write_bytes(path.read_bytes().replace(b"Name:=liver", "Name:=Gefäße".encode("latin-1")))
    with pytest.raises(Refused) as error:
        delivered(path, expected)
    assert error.value.code == "unknown-name"


def test_spellings_of_two_classes_are_never_confused(tmp_path):
    expected = Expected("c", EXPECTED.grid, ("Liver", "liver", "spleen"))
    assert_true(
        write_nrrd(tmp_path / "d.seg.nrrd", truth(), AFFINE, segment_lines([("liver", 2), ("Liver", 1), ("spleen", 3)])), expected
    )
    with pytest.raises(Refused) as error:
        delivered(
            write_nrrd(tmp_path / "d.seg.nrrd", truth(), AFFINE, segment_lines([("LIVER", 1), ("liver", 2), ("spleen", 3)])),
            expected,
        )
    assert error.value.code == "unknown-name"


def test_a_list_of_names_counts_from_one_and_leaves_out_the_background(tmp_path):
    """As MONAI Label's client sends it, whose `idx` counts the background, too."""
    path = write_nifti(tmp_path / "d.nii.gz", np.array([0, 2, 3, 1], np.uint8)[truth()], AFFINE)
    assert_true(path, names=["Background", "spleen", "liver", "tumour"])
    plain = write_nrrd(tmp_path / "d.nrrd", np.array([0, 2, 3, 1], np.uint8)[truth()], AFFINE)
    assert_true(plain, names=["spleen", "liver", "tumour"])


def test_a_files_own_names_win_over_a_list(tmp_path):
    assert_true(write_nrrd(tmp_path / "d.seg.nrrd", truth(), AFFINE, NAMED), names=["spleen", "tumour", "liver"])


SNAP = """################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    5   255    0    0        1  1  1    "spleen"
    6     0  255    0        1  1  1    "liver"
    7     0    0  255        1  1  1    "tumour"
    8     0    0  255        0.5  1  1    "Label 8"
"""


def test_itk_snaps_label_description_names_values(tmp_path):
    labels = np.array([0, 6, 7, 5], np.uint8)[truth()]
    path = write_nifti(tmp_path / "case.nii.gz", labels, AFFINE)
    (tmp_path / "case.txt").write_text(SNAP)
    assert_true(path)
    (tmp_path / "case.txt").rename(tmp_path / "mine.label")
    with pytest.raises(Refused, match="values 5, 6, 7, which mean nothing here"):
        delivered(path)
    assert_true(path, description=tmp_path / "mine.label")
    (tmp_path / "case.txt").write_text("Anna: had to guess the lower pole.\n")  # some other text
    write_nifti(path, truth(), AFFINE)
    assert_true(path)


def test_layers_in_which_values_repeat(tmp_path):
    """Layers come first; what Slicer before 4.11 wrote gives neither values nor layers."""
    parts = np.stack([truth() == 2, truth() == 1, truth() == 3]).astype(np.uint8)
    lines = segment_lines([("liver", 1, 1), ("spleen", 1, 2), ("tumour", 1, 0)])
    assert_true(write_nrrd(tmp_path / "d.seg.nrrd", parts, AFFINE, lines))
    old = [
        line
        for line in segment_lines([("tumour", 1), ("liver", 1), ("spleen", 1)])
        if "Value" not in line and "Layer" not in line
    ]
    assert_true(write_nrrd(tmp_path / "d.seg.nrrd", parts, AFFINE, old))


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f4"])
def test_many_layers_need_one_map_only(tmp_path, dtype):
    """Twenty layers whose voxels overlap by twos: the codes are those of combinations."""
    classes = tuple(f"class {number}" for number in range(20))
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 21, (9, 8, 7)).astype(np.uint8)
    parts = np.stack([(truth == number + 1) * (number % 3 + 1) for number in range(20)]).astype(dtype)
    lines = segment_lines([(name, number % 3 + 1, number) for number, name in enumerate(classes)])
    path = write_nrrd(tmp_path / "d.seg.nrrd", parts, np.diag([1, 2, 3, 1.0]), lines)
    expected = Expected("c", Grid(truth.shape, np.diag([1, 2, 3, 1.0])), classes)
    np.testing.assert_array_equal(receive(path, expected).labels, truth)


def test_a_single_voxel_means_that_there_is_nothing(tmp_path):
    path = write_nrrd(
        tmp_path / "d.seg.nrrd", np.zeros((1, 1, 1), np.uint8), np.diag([9, 9, 9, 1.0]), segment_lines([("liver", 1)])
    )
    with pytest.raises(Refused, match="The label is empty"):
        delivered(path)
    result = delivered(path, Expected("c", EXPECTED.grid, CLASSES, empty_is_meant=True))
    assert result.labels.shape == SHAPE and not result.labels.any() and result.notes == ()


@pytest.mark.parametrize(
    "precedence", [("liver", "tumour", "spleen"), ("tumour", "spleen", "liver"), ("spleen", "liver", "tumour")]
)
def test_precedence_decides_where_segments_overlap(tmp_path, precedence):
    parts = {"liver": np.zeros(SHAPE, np.uint8), "tumour": np.zeros(SHAPE, np.uint8), "spleen": np.zeros(SHAPE, np.uint8)}
    parts["liver"][0:4] = parts["tumour"][:, 2:4] = parts["spleen"][..., 1:3] = 1
    lines = segment_lines([(name, 1, layer) for layer, name in enumerate(parts)])
    path = write_nrrd(tmp_path / "d.seg.nrrd", np.stack(list(parts.values())), AFFINE, lines)
    right = np.zeros(SHAPE, np.uint8)
    for name in reversed(precedence):
        right[parts[name] > 0] = CLASSES.index(name) + 1
    result = delivered(path, Expected("c", EXPECTED.grid, CLASSES, precedence=precedence))
    np.testing.assert_array_equal(result.labels, right)


def test_what_is_not_annotated_is_taken_where_that_is_meant(tmp_path):
    labels = truth()
    labels[..., 4] = 255
    expected = Expected("c", EXPECTED.grid, CLASSES, partial=True)
    result = delivered(write_nifti(tmp_path / "d.nii.gz", labels, AFFINE), expected)
    np.testing.assert_array_equal(result.labels, labels)
    with pytest.raises(Refused, match="the value 4"):
        delivered(write_nifti(tmp_path / "d.nii.gz", np.where(labels == 255, 4, labels).astype(np.uint8), AFFINE), expected)
    lines = [*NAMED, *[line.replace("Segment0", "Segment9") for line in segment_lines([("Ignore", 4)])[:4]]]
    path = write_nrrd(tmp_path / "d.seg.nrrd", np.where(labels == 255, 4, labels).astype(np.uint8), AFFINE, lines)
    np.testing.assert_array_equal(delivered(path, expected).labels, labels)
    with pytest.raises(Refused, match='"Ignore" is none of the classes'):
        delivered(path)


def test_what_was_delivered_is_described(tmp_path):
    path = write_nrrd(tmp_path / "d.seg.nrrd", truth(), AFFINE, NAMED)
    result = delivered(path)
    import hashlib

    assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    voxel = 0.7 * 0.8 * 2.5 / 1000
    for value, name in enumerate(CLASSES, start=1):
        assert result.volumes_ml[name] == pytest.approx((truth() == value).sum() * voxel)
        right, front, head = (np.argwhere(truth() == value) + 0.5).mean(0) / SHAPE
        assert result.centres[name] == pytest.approx((1 - right, front, 1 - head))  # the axes run to the left, front and feet


def test_more_layers_than_combinations_is_no_map(tmp_path):
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 2, (12, 9, 9, 9)).astype(np.uint8)
    lines = segment_lines([(f"c{number}", 1, number) for number in range(12)])
    path = write_nrrd(tmp_path / "d.seg.nrrd", parts, np.eye(4), lines)
    with pytest.raises(Refused) as error:
        delivered(path, Expected("c", Grid((9, 9, 9), np.eye(4)), tuple(f"c{number}" for number in range(12))))
    assert error.value.code == "not-a-map"


def mitk_lines(*groups):
    """The header of a segmentation of MITK's: groups of `(name, value)`."""
    said = [{"labels": [{"name": name, "value": value, "locked": True} for name, value in labels] or None} for labels in groups]
    return ["modality:=org.mitk.multilabel.segmentation", f"org.mitk.multilabel.segmentation.labelgroups:={json.dumps(said)}"]


def test_a_segmentation_of_mitk_is_mapped_by_its_names(tmp_path):
    other = np.choose(truth(), [0, 7, 2, 5]).astype("u2")  # MITK numbers its labels as it likes
    assert_true(write_nrrd(tmp_path / "d.nrrd", other, AFFINE, mitk_lines([("spleen", 5), ("liver", 7), ("tumour", 2)])))
    layers = np.stack([np.where(truth() == 2, 1, 0), np.where(truth() == 1, 2, np.where(truth() == 3, 1, 0))]).astype("u1")
    assert_true(write_nrrd(tmp_path / "l.nrrd", layers, AFFINE, mitk_lines([("tumour", 1)], [("spleen", 1), ("liver", 2)])))
    with pytest.raises(Refused) as refused:
        delivered(write_nrrd(tmp_path / "x.nrrd", other, AFFINE, mitk_lines([("spleen", 5), ("kidney", 7), ("tumour", 2)])))
    assert "kidney" in refused.value.sentence


@pytest.mark.parametrize("said", ["{}", "[1]", "nothing", '[{"labels": [{"value": 1}]}]'])
def test_mitks_names_that_are_none_are_refused(tmp_path, said):
    lines = [f"org.mitk.multilabel.segmentation.labelgroups:={said}"]
    with pytest.raises(Refused) as refused:
        delivered(write_nrrd(tmp_path / "d.nrrd", truth().astype("u1"), AFFINE, lines))
    assert refused.value.code in ("damaged", "unknown-value", "unnamed-value", "unknown-name")
