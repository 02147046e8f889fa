"""Pictures show what was asked for, and where it lies."""

import io

import numpy as np
from PIL import Image

from jaxal.task_kind import Sight
from jaxal.tasks.pictures import ASKED, ASKED_TOO, draw_case, draw_plane
from jaxal.tasks.segmentation import SEGMENTATION
from jaxal.types import Example


def example_of(label):
    return Example(np.zeros((*label.shape, 1), np.float32), label, *[np.ones(label.shape, bool)] * 2)


def unsure_nowhere(label):
    foreground = (label > 0).astype(np.float32)
    return np.stack([1 - foreground, foreground])


def pixels_of(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)


def near(pixels, colour):
    return np.abs(pixels - np.array(colour)).max(-1) < 60


def test_a_frame_lies_around_a_window_and_the_pictures_own_is_brighter():
    """The picture is four times as large as the image, with a gap of two pixels between its halves."""
    label = np.zeros((40, 44), np.uint8)
    own, other = ((10, 12), (8, 10)), ((26, 4), (8, 10))
    drawn = pixels_of(draw_plane(example_of(label), None, unsure_nowhere(label), [own, other]))
    assert drawn.shape == (160, 4 * 92, 3)
    for half in (drawn[:, : 4 * 44], drawn[:, 4 * 46 : 4 * 90]):
        rows, columns = np.nonzero(near(half, ASKED))
        assert (rows.min() // 4, rows.max() // 4, columns.min() // 4, columns.max() // 4) == (9, 18, 11, 22)
        assert not near(half[40:72, 48:88], ASKED).any()  # nothing of the window itself is hidden
        pale = near(half, ASKED_TOO) & ~near(half, ASKED)
        assert pale[100:140, :60].sum() > 200


def test_slices_go_through_the_middle_of_a_part():
    """The structure lies elsewhere, so its green outline is not in the axial slice, which goes through the part."""
    label = np.zeros((24, 26, 20), np.uint8)
    label[4:10, 4:10, 2:6] = 1
    sure, part = unsure_nowhere(0 * label), ((14, 15, 12), (4, 5, 3))
    plain, framed = (pixels_of(draw_case(example_of(label), sure, (1.0, 1.0, 1.0), parts)) for parts in ((), [part]))
    axial = plain.shape[1] // (24 + 24 + 26 + 6)
    for drawn, green, yellow in ((plain, True, False), (framed, False, True)):
        slice_ = drawn[: 26 * axial, : 24 * axial]
        assert (near(slice_, (64, 200, 96)).sum() > 20) == green
        assert (near(slice_, ASKED).sum() > 20) == yellow
    rows, columns = (places // axial for places in np.nonzero(near(framed[: 26 * axial, : 24 * axial], ASKED)))
    assert (columns.min(), columns.max()) == (13, 18)  # around elements 14 to 17
    assert (25 - rows.max(), 25 - rows.min()) == (14, 20)  # around elements 15 to 19, which are drawn upwards


def test_padding_is_left_out_and_large_images_are_made_smaller():
    inside = np.pad(np.ones((30, 40), bool), [(0, 18), (0, 24)])
    padded = Example(np.zeros((48, 64, 1), np.float32), np.zeros((48, 64), np.uint8), inside, inside)
    colours = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    drawn = pixels_of(draw_plane(padded, colours, unsure_nowhere(np.zeros((48, 64))), ()))
    assert drawn.shape == (30 * 4, 84 * 4, 3)
    assert np.abs(drawn[:, :150] - (200, 100, 50)).max() < 12
    large = np.zeros((300, 500), np.uint8)
    large[100:200, 100:400] = 1
    drawn = pixels_of(draw_plane(example_of(large), None, unsure_nowhere(large), [((20, 20), (60, 60))]))
    assert drawn.shape[1] == 720
    assert (drawn[:, :360, 0] - drawn[:, :360, 2] > 90).sum() > 300  # yellow


def test_both_plane_images_and_volumes_have_pictures():
    plane, volume = np.zeros((16, 16), np.uint8), np.zeros((8, 8, 8), np.uint8)
    for label, spacing in ((plane, (1.0, 1.0)), (volume, (1.0, 1.0, 2.0))):
        part = (0,) * label.ndim, (4,) * label.ndim
        sight = Sight(example_of(label), None, lambda label=label: unsure_nowhere(label), spacing, [part])
        assert near(pixels_of(SEGMENTATION.picture(sight)), ASKED).any()
