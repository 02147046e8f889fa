"""Labels as DICOM segmentations, written by highdicom; skipped where that extra is not installed."""

import numpy as np
import pytest
from label_files import CLASSES, SHAPE, own_affine, truth

from jaxal.labels.deliveries import Expected, receive
from jaxal.labels.placing import Grid
from jaxal.labels.refusals import Refused

highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed: pip install 'jaxal[dicom]'")
pydicom = pytest.importorskip("pydicom")

pytestmark = pytest.mark.filterwarnings("ignore")  # of pydicom, about names and values of the made-up series
GRID = Grid(SHAPE, own_affine())


def source_images():
    """A series whose slices are the third axis of the case's grid; rows run along the second, columns along the first."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ GRID.affine
    size = np.linalg.norm(lps[:3, :3], axis=0)
    unit = lps[:3, :3] / size
    images = []
    for k in range(SHAPE[2]):
        image = pydicom.Dataset()
        image.file_meta = pydicom.dataset.FileMetaDataset()
        image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        image.SOPClassUID = pydicom.uid.CTImageStorage
        image.SOPInstanceUID, image.StudyInstanceUID = f"1.2.3.4.{k + 1}", "1.2.3"
        image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3.5", "1.2.3.6"
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Mueller^Hans", "17", "19500101", "M"
        image.StudyDate, image.StudyTime, image.AccessionNumber, image.StudyID = "20260101", "101010", "1", "1"
        image.ReferringPhysicianName, image.Modality, image.SeriesNumber, image.InstanceNumber = "", "CT", 1, k + 1
        image.Rows, image.Columns = SHAPE[1], SHAPE[0]
        image.PixelSpacing, image.SliceThickness = [float(size[1]), float(size[0])], float(size[2])
        image.ImageOrientationPatient = [*map(float, unit[:, 0]), *map(float, unit[:, 1])]
        image.ImagePositionPatient = [float(part) for part in lps[:3, 3] + k * lps[:3, 2]]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.PixelData = np.zeros((SHAPE[1], SHAPE[0]), np.uint16).tobytes()
        images.append(image)
    return images


def write_dicom(path, layers, names, kind="BINARY"):
    codes = highdicom.sr.coding.Code if hasattr(highdicom.sr.coding, "Code") else pydicom.sr.coding.Code
    tissue = codes("85756007", "SCT", "Tissue")
    segments = [
        highdicom.seg.SegmentDescription(number, name, tissue, tissue, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL)
        for number, name in enumerate(names, start=1)
    ]
    array = np.stack([layer.transpose(2, 1, 0) for layer in layers], axis=-1)
    highdicom.seg.Segmentation(
        source_images(),
        array.astype(np.float32) if kind == "FRACTIONAL" else array.astype(np.uint8),
        kind,
        segments,
        series_instance_uid="1.2.9",
        series_number=2,
        sop_instance_uid="1.2.10",
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)
    return path


def test_segments_are_placed_by_name(tmp_path):
    path = write_dicom(tmp_path / "d.dcm", [truth() == value for value in (3, 1, 2)], ["spleen", "liver", "tumour"])
    delivered = receive(path, Expected("c", GRID, CLASSES))
    np.testing.assert_array_equal(delivered.labels, truth())
    assert delivered.kind == "dicom-seg" and {note.code for note in delivered.notes} <= {"placed"}


def test_overlaps_and_unknown_names_are_refused(tmp_path):
    path = write_dicom(tmp_path / "d.nii.gz", [truth() > 0, truth() == 2], ["liver", "tumour"])
    with pytest.raises(Refused, match="liver and tumour share 8 voxels"):
        receive(path, Expected("c", GRID, CLASSES))
    first = receive(path, Expected("c", GRID, CLASSES, precedence=("tumour", "liver", "spleen")))
    np.testing.assert_array_equal(first.labels, np.where(truth() == 2, 2, truth() > 0))
    with pytest.raises(Refused, match='"kidney" is none'):
        receive(write_dicom(tmp_path / "d.dcm", [truth() > 0], ["kidney"]), Expected("c", GRID, CLASSES))


def test_fractions_are_refused(tmp_path):
    path = write_dicom(tmp_path / "d.dcm", [(truth() > 0) * 0.5], ["liver"], "FRACTIONAL")
    with pytest.raises(Refused, match="fractions instead of labels"):
        receive(path, Expected("c", GRID, CLASSES))


def test_a_scan_and_a_damaged_file_are_refused(tmp_path):
    source_images()[0].save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    with pytest.raises(Refused, match="no segmentation") as error:
        receive(tmp_path / "ct.dcm", Expected("c", GRID, CLASSES))
    assert "Mueller" not in error.value.sentence
    path = write_dicom(tmp_path / "d.dcm", [truth() > 0], ["liver"])
    content = path.read_bytes()
    for end in (140, len(content) // 2, len(content) - 9):
        path.write_bytes(content[:end])
        with pytest.raises(Refused) as error:
            receive(path, Expected("c", GRID, CLASSES))
        assert "Mueller" not in error.value.sentence


@pytest.mark.parametrize("slices", [(2,), (0, 3), (0, 2, 4)])
def test_slices_without_a_label_are_not_stored_and_not_missed(tmp_path, slices):
    labels = np.zeros(SHAPE, np.uint8)
    for k in slices:
        labels[1:4, 2:5, k] = 1
    path = write_dicom(tmp_path / "d.dcm", [labels == 1, labels == 2], ["liver", "tumour"])
    np.testing.assert_array_equal(receive(path, Expected("c", GRID, CLASSES)).labels, labels)
