"""Segmentation of plane images: pixels instead of voxels, and predictions as images of the size that they came with."""

from jaxal.tasks.segmentation import SEGMENTATION, SEGMENTATION_OF_PARTS

PLANE_SEGMENTATION = SEGMENTATION._replace(elements="pixels", plane=True)
PLANE_SEGMENTATION_OF_PARTS = SEGMENTATION_OF_PARTS._replace(elements="pixels", plane=True)
