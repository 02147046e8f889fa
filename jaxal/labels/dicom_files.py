"""Delivered DICOM segmentations, read by highdicom (Bridge et al. 2022), which is an extra."""

import io
import warnings

import numpy as np

from jaxal.labels.coding import Coded, coded, joined
from jaxal.labels.layers import Content, Segment, on_axes
from jaxal.labels.nifti_files import check_size
from jaxal.labels.refusals import Refused
from jaxal.labels.streams import Stream

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_dicom(content: bytes, most_voxels: int) -> Content:
    """Reads a DICOM-SEG file: one layer a segment, because segments may overlap.

    Args:
      content: of the whole file.
      most_voxels: more, in one segment, are refused before memory is taken for them.

    Raises:
      Refused: "needs-dicom", "damaged", "not-a-segmentation", "fractions", "axes", "too-large".
    """
    try:
        import highdicom
        import pydicom
    except ImportError:
        raise Refused(
            "needs-dicom",
            "The file is a DICOM segmentation, which this installation cannot read. Deliver .nii.gz or .seg.nrrd, or ask for "
            "jaxal's extra 'dicom' to be installed (pip install 'jaxal[dicom]').",
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(content))
            modality = str(dataset.get("Modality", ""))
        except Exception:  # pydicom's errors are of many kinds, and their text may quote the header
            raise Refused(
                "damaged", "The DICOM file cannot be read. Save the segmentation again and deliver that file."
            ) from None
        if modality != "SEG":
            raise Refused(
                "not-a-segmentation", "The DICOM file is no segmentation (modality SEG). Export the segmentation, not the scan."
            )
        if str(dataset.get("SegmentationType", "")) == "FRACTIONAL":
            raise Refused(
                "fractions", "The DICOM segmentation holds fractions instead of labels. Export it as a binary segmentation."
            )
        try:
            return _content(highdicom.seg.Segmentation.from_dataset(dataset, copy=False), most_voxels)
        except Refused:
            raise
        except Exception:
            raise Refused(
                "axes", "The slices of the DICOM segmentation make no regular volume. Export it as .nii.gz or .seg.nrrd instead."
            ) from None


def _content(segmentation, most_voxels: int) -> Content:  # type: ignore[no-untyped-def]  # highdicom is an extra
    geometry = segmentation.get_volume_geometry()
    if geometry is None:
        raise ValueError
    check_size(geometry.spatial_shape, int(np.prod(geometry.spatial_shape, dtype=object)), most_voxels)
    segments: list[Segment] = []
    voxels = Coded(np.zeros(0, np.uint8), np.zeros((256, 0)), np.zeros(256, bool))
    for place, number in enumerate(segmentation.segment_numbers):
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=False)
        drawn = (np.asarray(volume.array)[..., 0] > 0).astype(np.uint8).ravel(order="F")
        voxels = joined(voxels, drawn) if place else coded(Stream(iter([drawn.tobytes()])), drawn.dtype, len(drawn))
        segments.append(Segment(str(segmentation.get_segment_description(number).segment_label).strip(), 1, place))
    shape = tuple(volume.spatial_shape)
    affine = _TO_RAS @ np.asarray(volume.affine, np.float64)
    return Content("dicom-seg", shape, affine, True, tuple(segments), on_axes(voxels, shape))
