"""Objects in what a network makes of a plane image."""

import numpy as np

from jaxal.task_kind import Prediction
from jaxal.tasks.image_segmentation import objects_in


def test_objects_that_touch_are_told_apart_by_their_contour():
    """Two squares share an edge; the network's contour runs along it. Padding has none, whatever is predicted there."""
    foreground = np.full((16, 24), 0.01)
    foreground[3:13, 2:20] = 0.9
    foreground[:, 22:] = 0.9  # padding
    contour = np.full((16, 24), -9.0)
    contour[:, 10:12] = -1.0  # a chance of 0.27, which is above a fifth
    probability = np.stack([1 - foreground, foreground])
    apart = objects_in(Prediction(probability, {"contour": contour}), (16, 22))
    assert apart.shape == (16, 22) and apart.max() == 2 and ((apart > 0) == (foreground[:, :22] > 0.5)).all()
    assert (apart[3:13, 2:11] == apart[3, 2]).all() and (apart[3:13, 11:20] == apart[3, 19]).all()
    assert objects_in(Prediction(probability, {}), (16, 22)).max() == 1
    weak = objects_in(Prediction(probability, {"contour": contour - 1}), (16, 22))
    assert weak.max() == 1  # 0.12 is no contour
